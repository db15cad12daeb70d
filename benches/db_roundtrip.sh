#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "A prepared SELECT 1 over and over: a guest through the database proxy, over a native program
direct. Mean time of a round trip; ratio = median of the rounds' ratios, ours over the peer.
  db_roundtrip_c1            WASI 0.2 guest by the shim, spin = \"off\"; peer: libpq that blocks
  db_roundtrip_c1_p3         the same, WASI 0.3 guest
  db_roundtrip_c1_unix       the same as c1, both by the server's Unix socket
  db_roundtrip_c1_spin       WASI 0.2 guest, spin = \"auto\"; peer: libpq that blocks
  db_roundtrip_c1_spin_p3    the same, WASI 0.3 guest
  db_roundtrip_c1_spin_alike WASI 0.2 guest, spin = \"auto\"; peer: libpq that spins
  db_roundtrip_sockets       a stock program of BSD sockets, spin = \"off\"; peer: the same component under
                             'wasmtime run', direct
  db_roundtrip_sockets_spin  the same, spin = \"auto\"
  db_roundtrip_c1_pgbouncer  libpq through pgbouncer (session pooling) over libpq direct
Whether an idle core halts decides how much spinning gains; that is found out, too." "$@"
find_warp
find_wasmtime
pg_loop= # set by native
native pg_loop -lpq -lpthread
database --pgbouncer
off=$work/off.toml auto=$work/auto.toml unix=$work/unix.toml trust=$work/trust.toml trust_auto=$work/trust-auto.toml
db_config_as=$off database_config 10 'spin = "off"'
db_config_as=$auto database_config 10 'spin = "auto"'
(PGHOST=$WARPGRID_PG_HOME db_config_as=$unix database_config 10 'spin = "off"')
# The stock program has no password to give to a server that it meets directly.
(PGUSER=app_trust db_config_as=$trust database_config 10 'spin = "off"')
(PGUSER=app_trust db_config_as=$trust_auto database_config 10 'spin = "auto"')
# Short slices, many of them: the machine drifts by more than the difference within seconds.
n=5000
[ "$scale" = 100 ] && rounds=$((rounds * 4)) || n=2000

p2=$(guest db-loop-p2)
p3=$(guest db-loop-p3)
stock=$(guest sock-loop)
# Who spins needs a core beside the server's: then the scheduler may choose among both.
both=0,1
[ "$(nproc)" -ge 2 ] || both=0

# Each prints one line with per_op_us=.
run_direct() { pinned $server_core "$pg_loop" loop "$n"; }
run_direct_unix() { PGHOST=$WARPGRID_PG_HOME pinned $server_core "$pg_loop" loop "$n"; }
run_direct_both() { pinned $both "$pg_loop" loop "$n"; }
run_direct_spin() { pinned $both "$pg_loop" spin "$n"; }
run_pgbouncer() { PGPORT=$PGBOUNCER_PORT pinned $server_core "$pg_loop" loop "$n"; }
run_guest() { # CORES CONFIG COMPONENT ARGUMENTS
  local cores=$1 config=$2 component=$3
  shift 3
  pinned "$cores" "$WARP_BIN" run "$component" --config "$config" --env "DB_HOST=db.bench.warp.local" \
    --env "DB_PORT=$PGPORT" --env "DB_NAME=$PGDATABASE" --env DB_USER=app_trust -- "$@" 2>>"$work/guest.log"
}
run_p2() { run_guest $server_core "$off" "$p2" loop 1 "$n"; }
run_p3() { run_guest $server_core "$off" "$p3" loop 1 "$n"; }
run_unix() { run_guest $server_core "$unix" "$p2" loop 1 "$n"; }
run_spin() { run_guest $both "$auto" "$p2" loop 1 "$n"; }
run_spin_p3() { run_guest $both "$auto" "$p3" loop 1 "$n"; }
run_sockets() { run_guest $server_core "$trust" "$stock" loop "$n"; }
run_sockets_spin() { run_guest $both "$trust_auto" "$stock" loop "$n"; }
run_wasmtime() {
  pinned "${1:-$server_core}" "$WASMTIME_BIN" run -S inherit-network -S allow-ip-name-lookup \
    --env "DB_HOST=$PGHOST" --env "DB_PORT=$PGPORT" --env "DB_NAME=$PGDATABASE" --env DB_USER=app_trust \
    "$stock" loop "$n" 2>>"$work/guest.log"
}
run_wasmtime_both() { run_wasmtime $both; }

take_turns per_op_us direct p2 p3 unix direct_unix pgbouncer sockets wasmtime \
  direct_both spin spin_p3 direct_spin sockets_spin wasmtime_both
total=$((n * rounds))
compare db_roundtrip_c1 p2 direct "$total"
compare db_roundtrip_c1_p3 p3 direct "$total"
compare db_roundtrip_c1_unix unix direct_unix "$total"
compare db_roundtrip_sockets sockets wasmtime "$total"
compare db_roundtrip_c1_pgbouncer pgbouncer direct "$total"
gain=$(median_ratio direct_spin direct_both)
if awk -v g="$gain" 'BEGIN {exit !(g < 0.7)}'; then halts=yes aim=0.60; else halts=no aim=0.80; fi
echo "idle cores halt: $halts (libpq that spins takes $gain of libpq that blocks; the aim is $aim)"
compare db_roundtrip_c1_spin spin direct_both "$total"
compare db_roundtrip_c1_spin_p3 spin_p3 direct_both "$total"
compare db_roundtrip_c1_spin_alike spin direct_spin "$total"
compare db_roundtrip_sockets_spin sockets_spin wasmtime_both "$total"
