#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "Connect, one SELECT 1, close: a guest out of the host's pool, over native libpq direct with
SCRAM-SHA-256. Mean time of one turn; ratio = median of the rounds' ratios.
  connect            the guest over native direct
  connect_pgbouncer  native through pgbouncer (its own SCRAM login each time) over native direct" "$@"
find_warp
pg_loop= # set by native
native pg_loop -lpq -lpthread
database --pgbouncer
database_config 10
n=$((500 * scale / 100))
component=$(guest db-loop-p2)

run_direct() { pinned $server_core "$pg_loop" connect "$n"; }
run_pgbouncer() { PGPORT=$PGBOUNCER_PORT pinned $server_core "$pg_loop" connect "$n"; }
run_ours() {
  pinned $server_core "$WARP_BIN" run "$component" --config "$db_config" \
    --env "DB_HOST=db.bench.warp.local" --env "DB_PORT=$PGPORT" --env "DB_NAME=$PGDATABASE" \
    -- connect $((n * 4)) 2>>"$work/guest.log"
}

ratios=() bouncer_ratios=() ours=() direct=() bouncer=()
for ((round = 1; round <= rounds; round++)); do
  declare -A us=()
  if ((round % 2)); then order="direct ours pgbouncer"; else order="pgbouncer ours direct"; fi
  for side in $order; do
    line=$("run_$side")
    us[$side]=$(field per_op_us "$line")
    [ -n "${us[$side]}" ] || die "$side printed no per_op_us: '$line'"
    say "round $round $side: $line"
  done
  ours+=("${us[ours]}") direct+=("${us[direct]}") bouncer+=("${us[pgbouncer]}")
  ratios+=("$(over "${us[ours]}" "${us[direct]}")")
  bouncer_ratios+=("$(over "${us[pgbouncer]}" "${us[direct]}")")
done
ratio_result connect "$(median "${ratios[@]}")" "$(median "${ours[@]}")" "$(median "${direct[@]}")" $((n * rounds)) us
ratio_result connect_pgbouncer "$(median "${bouncer_ratios[@]}")" "$(median "${bouncer[@]}")" \
  "$(median "${direct[@]}")" $((n * rounds)) us
