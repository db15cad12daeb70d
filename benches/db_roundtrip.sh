#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "A prepared SELECT 1 over and over: a guest through the database proxy, over the same loop in
native C with blocking libpq, direct. Mean time of a round trip; ratio = median of the rounds'
ratios, guest over native (pgbouncer: through pgbouncer over direct).
  db_roundtrip_c1            WASI 0.2 guest, one connection
  db_roundtrip_c1_p3         WASI 0.3 guest, one connection
  db_roundtrip_c10           guest with ten connections at once; peer: ten native threads
  db_roundtrip_c10_epoll     the same; peer: one native epoll loop with ten connections
  db_roundtrip_c1_pgbouncer  the native loop through pgbouncer (session pooling)" "$@"
find_warp
pg_loop= # set by native
native pg_loop -lpq -lpthread
database --pgbouncer
database_config 10
# Short slices, many of them: the machine drifts by more than the difference within seconds.
n=5000
[ "$scale" = 100 ] && rounds=$((rounds * 4)) || n=2000

p2=$(guest db-loop-p2)
p3=$(guest db-loop-p3)

# Each prints one line with per_op_us=.
run_direct() { pinned $server_core "$pg_loop" loop "$n"; }
run_pgbouncer() { PGPORT=$PGBOUNCER_PORT pinned $server_core "$pg_loop" loop "$n"; }
run_threads() { pinned $server_core "$pg_loop" threads 10 $((n * 2)); }
run_epoll() { pinned $server_core "$pg_loop" epoll 10 $((n * 2)); }
run_guest() { # COMPONENT CONNECTIONS N
  pinned $server_core "$WARP_BIN" run "$1" --config "$db_config" --env "DB_HOST=db.bench.warp.local" \
    --env "DB_PORT=$PGPORT" --env "DB_NAME=$PGDATABASE" -- loop "$2" "$3" 2>>"$work/guest.log"
}
run_p2() { run_guest "$p2" 1 "$n"; }
run_p3() { run_guest "$p3" 1 "$n"; }
run_c10() { run_guest "$p2" 10 $((n * 2)); }

sides=(direct p2 p3 pgbouncer c10 threads epoll)
declare -A seen p50s
for side in "${sides[@]}"; do seen[$side]= p50s[$side]=; done
for ((round = 1; round <= rounds; round++)); do
  if ((round % 2)); then order=("${sides[@]}"); else order=(epoll threads c10 pgbouncer p3 p2 direct); fi
  for side in "${order[@]}"; do
    line=$("run_$side")
    us=$(field per_op_us "$line")
    [ -n "$us" ] || die "$side printed no per_op_us: '$line'"
    seen[$side]+=" $us"
    p50s[$side]+=" $(field p50_us "$line")"
    say "round $round $side: $line"
  done
done

# compare NAME OURS PEER N
compare() {
  local -a a b
  read -ra a <<<"${seen[$2]}"
  read -ra b <<<"${seen[$3]}"
  local i ratios=()
  for i in "${!a[@]}"; do ratios+=("$(over "${a[$i]}" "${b[$i]}")"); done
  ratio_result "$1" "$(median "${ratios[@]}")" "$(median "${a[@]}")" "$(median "${b[@]}")" "$4" us
  read -ra a <<<"${p50s[$2]}"
  read -ra b <<<"${p50s[$3]}"
  printf '  %s p50: ours=%sus peer=%sus\n' "$1" "$(median "${a[@]}")" "$(median "${b[@]}")"
}
total=$((n * rounds))
compare db_roundtrip_c1 p2 direct "$total"
compare db_roundtrip_c1_p3 p3 direct "$total"
compare db_roundtrip_c10 c10 threads $((total * 2))
compare db_roundtrip_c10_epoll c10 epoll $((total * 2))
compare db_roundtrip_c1_pgbouncer pgbouncer direct "$total"
