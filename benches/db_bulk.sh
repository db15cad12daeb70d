#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "Large results, in rows of 64 KiB, through a pool of 1; MiB a second, ours over the same program
compiled for this machine, direct: more is better.
  db_bulk_1m, db_bulk_100m            a stock program of BSD sockets, results of 1 and of 100 MiB
  db_bulk_1m_shim, db_bulk_100m_shim  the same by the shim (WASI 0.2)
  db_bulk_rss                         memory: kB that 'warp run' had at most with the largest results, over
                                      those with one row; the growth is printed, too" "$@"
find_warp
sock_loop=
native_from "$root/benches/guests/sock_loop.c" sock_loop
database
database_config 1
trust=$work/trust.toml
(PGUSER=app_trust db_config_as=$trust database_config 1)
large=$((100 * scale / 100)) # MiB
n1=$((500 * scale / 100)) n100=3
stock=$(guest sock-loop) p2=$(guest db-loop-p2)
# Its largest resident set comes with the line of the program itself.
measured() {
  python3 -c 'import resource, subprocess, sys
out = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
print(out, "max_rss_kb=%d" % resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)' "$@"
}
run_guest() { # CONFIG COMPONENT ARGUMENTS
  local config=$1 component=$2
  shift 2
  measured taskset -c $server_core "$WARP_BIN" run "$component" --config "$config" \
    --env "DB_HOST=db.bench.warp.local" --env "DB_PORT=$PGPORT" --env "DB_NAME=$PGDATABASE" \
    --env DB_USER=app_trust -- "$@" 2>>"$work/guest.log"
}
run_native() {
  DB_HOST=$PGHOST DB_PORT=$PGPORT DB_NAME=$PGDATABASE DB_USER=app_trust pinned $server_core "$sock_loop" "$@"
}
run_native_1m() { run_native bulk $((1 << 20)) $n1; }
run_native_100m() { run_native bulk $((large << 20)) $n100; }
run_sockets_1m() { run_guest "$trust" "$stock" bulk $((1 << 20)) $n1; }
run_sockets_100m() { run_guest "$trust" "$stock" bulk $((large << 20)) $n100; }
run_shim_1m() { run_guest "$db_config" "$p2" bulk $((1 << 20)) $n1; }
run_shim_100m() { run_guest "$db_config" "$p2" bulk $((large << 20)) $n100; }
run_rss_row() { run_guest "$trust" "$stock" bulk 65536 10; }
run_rss_large() { run_sockets_100m; }
run_rss_shim_row() { run_guest "$db_config" "$p2" bulk 65536 10; }
run_rss_shim_large() { run_shim_100m; }

take_turns mib_s native_1m sockets_1m shim_1m native_100m sockets_100m shim_100m
compare db_bulk_1m sockets_1m native_1m $((n1 * rounds)) MiB/s
compare db_bulk_100m sockets_100m native_100m $((n100 * rounds)) MiB/s
compare db_bulk_1m_shim shim_1m native_1m $((n1 * rounds)) MiB/s
compare db_bulk_100m_shim shim_100m native_100m $((n100 * rounds)) MiB/s
rounds=3
take_turns max_rss_kb rss_row rss_large rss_shim_row rss_shim_large
compare db_bulk_rss rss_large rss_row $rounds kB
compare db_bulk_rss_shim rss_shim_large rss_shim_row $rounds kB
echo "growth of memory with results of $large MiB: sockets $((medians[rss_large] - medians[rss_row])) kB," \
  "shim $((medians[rss_shim_large] - medians[rss_shim_row])) kB"
