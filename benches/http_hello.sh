#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "The same hello components under warp serve and wasmtime serve, one worker on one core.
ratio = median over the rounds of the peer's server CPU per request over ours, at c=32: how many
times less we need.
  http_hello_p2        a fresh instance for every request
  http_hello_p2_reuse  one instance serves up to 1000000 requests, one at a time
  http_hello_p3        both with their defaults for reuse" "$@"
need wrk wrk
need curl curl
find_warp
find_wasmtime
# Many rounds rather than long ones: the machine drifts.
seconds=2
if [ "$scale" = 100 ]; then rounds=$((rounds * 2)); else seconds=1; fi

# compare NAME COMPONENT REUSE
compare() {
  local name=$1 component=$2 reuse=$3 round side order
  declare -A cpu rps1 rps32
  local total=0
  for side in ours peer; do cpu[$side]= rps1[$side]= rps32[$side]=; done
  for ((round = 1; round <= rounds; round++)); do
    if ((round % 2)); then order="ours peer"; else order="peer ours"; fi
    for side in $order; do
      "serve_$side" "$component" "$reuse"
      load 8 1 # warms up
      load 1 1
      rps1[$side]+=" $rps"
      local at1="c=1 rps=$rps p50=$p50 p99=$p99 cpu_us=$cpu_us"
      load 32 "$seconds"
      rps32[$side]+=" $rps"
      cpu[$side]+=" $cpu_us"
      total=$((total + requests))
      say "$name round $round $side: $at1; c=32 rps=$rps p50=$p50 p99=$p99 cpu_us=$cpu_us pss_kb=$(pss_kb "$pid")"
      stop_server
    done
  done
  local -a ours peer ratios=()
  read -ra ours <<<"${cpu[ours]}"
  read -ra peer <<<"${cpu[peer]}"
  for round in "${!ours[@]}"; do ratios+=("$(over "${peer[$round]}" "${ours[$round]}")"); done
  ratio_result "$name" "$(median "${ratios[@]}")" "$(median "${ours[@]}")" "$(median "${peer[@]}")" \
    "$total" us
  # shellcheck disable=SC2086
  for side in ours peer; do
    printf '  %s %s: requests/s c=1 %s, c=32 %s\n' "$name" "$side" \
      "$(median ${rps1[$side]})" "$(median ${rps32[$side]})"
  done
}

p2=$(guest hello-p2)
p3=$(guest hello-p3)
compare http_hello_p2 "$p2" 1
compare http_hello_p2_reuse "$p2" 1000000
compare http_hello_p3 "$p3" default
