#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "Many guests on a pool of 10 connections; questions a second, ours over the peer: more is better.
  db_throughput_c10          ten guests that keep their connections (prepared SELECT 1); peer: one native
                             epoll loop with ten connections, direct
  db_throughput_c10_p3       the same, WASI 0.3 guests
  db_throughput_c10_threads  the WASI 0.2 guests; peer: ten native threads that block
  db_throughput_c100         100 guests that connect, ask once and close, over and over, through sockets;
                             peer: the same program, native, through pgbouncer (session pooling, 10
                             servers, no password asked)
  db_throughput_c100_keep    the same 100 guests; peer: native, connected for good, through pgbouncer's
                             transaction pooling, which clears nothing between two clients" "$@"
find_warp
pg_loop= sock_loop=
native pg_loop -lpq -lpthread
native_from "$root/benches/guests/sock_loop.c" sock_loop
database --pgbouncer --pgbouncer-set auth_type=trust --pgbouncer-set default_pool_size=10
database_config 10
# PGUSER of the stock program: a role that is asked for no password on either side.
trust=$work/trust.toml
(PGUSER=app_trust db_config_as=$trust database_config 10 'connect_timeout = "60s"')
n=$((20000 * scale / 100)) turns=$((4000 * scale / 100))

p2=$(guest db-loop-p2) p3=$(guest db-loop-p3) stock=$(guest sock-loop)
run_guest() { # CONFIG COMPONENT ARGUMENTS
  local config=$1 component=$2
  shift 2
  pinned $server_core "$WARP_BIN" run "$component" --config "$config" --env "DB_HOST=db.bench.warp.local" \
    --env "DB_PORT=$PGPORT" --env "DB_NAME=$PGDATABASE" --env DB_USER=app_trust -- "$@" 2>>"$work/guest.log"
}
run_bouncer() { # DATABASE ARGUMENTS
  local name=$1
  shift
  DB_HOST=127.0.0.1 DB_PORT=$PGBOUNCER_PORT DB_NAME=$name DB_USER=app_trust \
    pinned $server_core "$sock_loop" "$@"
}
run_p2() { run_guest "$db_config" "$p2" loop 10 "$n"; }
run_p3() { run_guest "$db_config" "$p3" loop 10 "$n"; }
run_threads() { pinned $server_core "$pg_loop" threads 10 "$n"; }
run_epoll() { pinned $server_core "$pg_loop" epoll 10 "$n"; }
run_turns() { run_guest "$trust" "$stock" turns 100 "$turns"; }
run_session() { run_bouncer warpgrid turns 100 "$turns"; }
run_transaction() { run_bouncer warpgrid_transaction keep 100 "$turns"; }

take_turns per_op_us p2 epoll p3 threads turns session transaction
compare_speed db_throughput_c10 p2 epoll $((n * rounds))
compare_speed db_throughput_c10_p3 p3 epoll $((n * rounds))
compare_speed db_throughput_c10_threads p2 threads $((n * rounds))
compare_speed db_throughput_c100 turns session $((turns * rounds))
compare_speed db_throughput_c100_keep turns transaction $((turns * rounds))
