#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "Connect, one SELECT 1, close: a guest out of the host's pool, over native libpq direct with
SCRAM-SHA-256. Mean time of one turn; ratio = median of the rounds' ratios.
  connect            the guest (WASI 0.2, by the shim) over native direct
  connect_sockets    a stock program of BSD sockets over native direct
  connect_pgbouncer  native through pgbouncer (its own SCRAM login each time) over native direct
  connect_over_pgbouncer  the guest over native through pgbouncer" "$@"
find_warp
pg_loop= # set by native
native pg_loop -lpq -lpthread
database --pgbouncer
database_config 10
n=$((500 * scale / 100))
component=$(guest db-loop-p2) stock=$(guest sock-loop)

run_direct() { pinned $server_core "$pg_loop" connect "$n"; }
run_pgbouncer() { PGPORT=$PGBOUNCER_PORT pinned $server_core "$pg_loop" connect "$n"; }
run_ours() {
  pinned $server_core "$WARP_BIN" run "$component" --config "$db_config" \
    --env "DB_HOST=db.bench.warp.local" --env "DB_PORT=$PGPORT" --env "DB_NAME=$PGDATABASE" \
    -- connect $((n * 4)) 2>>"$work/guest.log"
}

run_sockets() {
  pinned $server_core "$WARP_BIN" run "$stock" --config "$db_config" \
    --env "DB_HOST=db.bench.warp.local" --env "DB_PORT=$PGPORT" --env "DB_NAME=$PGDATABASE" \
    --env "DB_USER=$PGUSER" -- connect $((n * 4)) 2>>"$work/guest.log"
}

take_turns per_op_us direct ours sockets pgbouncer
compare connect ours direct $((n * 4 * rounds))
compare connect_sockets sockets direct $((n * 4 * rounds))
compare connect_pgbouncer pgbouncer direct $((n * rounds))
compare connect_over_pgbouncer ours pgbouncer $((n * 4 * rounds))
