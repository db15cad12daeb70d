#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "The hello component, which imports no shim, under warp serve with all shims on over the same with
all of them off: what they cost who does not use them. Server CPU per request at c=32, one worker on
one core; ratio = median of the rounds' ratios. Rounds are doubled: 10 as it stands.
  shims_unused     WASI 0.2, a fresh instance for every request, where linking would show
  shims_unused_p3  WASI 0.3, instances are reused" "$@"
need wrk wrk
need curl curl
find_warp
seconds=2
if [ "$scale" = 100 ]; then rounds=$((rounds * 2)); else seconds=1; fi
off='[shims]
filesystem = false
dns = false
signals = false
database_proxy = false
threading = false'

# compare NAME COMPONENT REUSE
compare() {
  local name=$1 component=$2 reuse=$3 round side order total=0
  local -a with=() without=() ratios=()
  for ((round = 1; round <= rounds; round++)); do
    if ((round % 2)); then order="on off"; else order="off on"; fi
    declare -A cpu=()
    for side in $order; do
      if [ "$side" = on ]; then serve_ours "$component" "$reuse"; else serve_ours "$component" "$reuse" "$off"; fi
      load 8 1 # warms up
      load 32 "$seconds"
      cpu[$side]=$cpu_us
      total=$((total + requests))
      say "$name round $round $side: rps=$rps p50=$p50 p99=$p99 cpu_us=$cpu_us"
      stop_server
    done
    with+=("${cpu[on]}") without+=("${cpu[off]}") ratios+=("$(over "${cpu[on]}" "${cpu[off]}")")
  done
  ratio_result "$name" "$(median "${ratios[@]}")" "$(median "${with[@]}")" "$(median "${without[@]}")" \
    "$total" us
}

compare shims_unused "$(guest hello-p2)" 1
compare shims_unused_p3 "$(guest hello-p3)" default
