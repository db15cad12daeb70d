#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "What clients see while a component is swapped 20 times under load, one worker on one core.
Each swap replaces the file and sends SIGHUP; the next begins when the log says that it is served.
An error is a response other than 2xx, or a connection that broke; one ends the bench with exit 1.
ratio = requests a second with swaps over those without, in the same process.
  hot_swap      WASI 0.2: the same component again, so that both sides serve the same code
  hot_swap_p3   the same in WASI 0.3" "$@"
need curl curl
need wrk wrk
find_warp
swaps=20
seconds=$((10 * scale / 100))
[ "$seconds" -ge 6 ] || seconds=6

# swap KIND: puts a component in place and waits until it is served.
swap() {
  cp "$(guest "hello-$1")" "$work/served.part"
  mv "$work/served.part" "$work/served.wasm"
  kill -HUP "$pid"
  local i
  for i in $(seq 600); do
    ! grep -q "event=reloaded generation=$((swapped + 2)) " "$work/ours.log" || { swapped=$((swapped + 1)); return; }
    ! grep -q 'event=reload_failed' "$work/ours.log" || die "a reload failed"
    sleep 0.02
  done
  die "reload $((swapped + 1)) is not served within 12 s"
}

# measure FILE: load for $seconds in the background; its pid is in $load_pid.
measure() {
  pinned $load_core wrk -t1 -c16 "-d${seconds}s" --latency "http://127.0.0.1:$port/" >"$1" &
  load_pid=$!
}
rps_of() { awk '/^Requests\/sec/ {print $2}' "$1"; }
# errors_of FILE: responses other than 2xx and broken connections.
errors_of() {
  awk '/Non-2xx/ {n += $NF} /Socket errors/ {gsub(",", ""); n += $4 + $6 + $8 + $10} END {print n + 0}' "$1"
}

total_errors=0
for kind in p2 p3; do
  name=hot_swap
  [ $kind = p2 ] || name=hot_swap_p3
  ratios=() with=() without=()
  for ((round = 1; round <= rounds; round++)); do
    cp "$(guest "hello-$kind")" "$work/served.wasm"
    swapped=0
    serve_ours "$work/served.wasm" default
    for side in $( ((round % 2)) && echo "calm swaps" || echo "swaps calm"); do
      measure "$work/$side.out"
      if [ "$side" = swaps ]; then
        for _ in $(seq $swaps); do
          swap $kind
          sleep "$(awk -v s="$seconds" -v n=$swaps 'BEGIN {print s / n * 0.6}')"
        done
      fi
      kill -0 "$load_pid" 2>/dev/null || [ "$side" = calm ] || die "the load ended before the swaps did"
      wait "$load_pid"
      errors=$(errors_of "$work/$side.out")
      total_errors=$((total_errors + errors))
      say "round $round $kind $side: rps=$(rps_of "$work/$side.out") errors=$errors"
    done
    stop_server
    with+=("$(rps_of "$work/swaps.out")")
    without+=("$(rps_of "$work/calm.out")")
    ratios+=("$(over "${with[-1]}" "${without[-1]}")")
  done
  ratio_result $name "$(median "${ratios[@]}")" "$(median "${with[@]}")" "$(median "${without[@]}")" "$((swaps * rounds))"
done
say "errors: $total_errors in $((swaps * rounds * 2)) swaps"
[ "$total_errors" = 0 ] || die "$total_errors requests failed"
