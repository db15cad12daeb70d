#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "A body of 1 GiB that a service sends back as it comes, under warp serve and wasmtime serve, one worker
on one core, curl on the other. ratio = median over the rounds of the peer's server CPU per MiB over
ours.
  http_stream_p2       WASI 0.2: read, write of 4 KiB
  http_stream_p3       WASI 0.3: read and write of up to 64 KiB
  http_stream_p3_pass  the request's stream is the response's; the guest sees no byte" "$@"
need curl curl
find_warp
find_wasmtime
mib=1024
[ "$scale" = 100 ] || mib=256
head -c "${mib}M" /dev/urandom >"$work/body"
sum=$(cksum <"$work/body")

# echo_once PATH: sets cpu_us (server's, a MiB) and speed (MiB/s).
echo_once() {
  local before after out
  before=$(ticks "$pid")
  # shellcheck disable=SC2016
  out=$(pinned $load_core bash -c 'curl -sSf -X POST -T "$1" -H Expect: --max-time 100 \
    -w "%{stderr}%{time_total}" "$2" 2>"$1.time" | cksum' echo "$work/body" "http://127.0.0.1:$port$1")
  after=$(ticks "$pid")
  [ "$out" = "$sum" ] || die "what came back is not what was sent"
  out=$(<"$work/body.time")
  cpu_us=$(awk -v t=$((after - before)) -v u="$tick_us" -v n="$mib" 'BEGIN {printf "%.1f", t * u / n}')
  speed=$(awk -v s="$out" -v n="$mib" 'BEGIN {printf "%.0f", n / s}')
}

# compare NAME COMPONENT PATH
compare() {
  local name=$1 component=$2 path=$3 round side order
  declare -A cpu speeds
  for side in ours peer; do cpu[$side]= speeds[$side]=; done
  for ((round = 1; round <= rounds; round++)); do
    if ((round % 2)); then order="ours peer"; else order="peer ours"; fi
    for side in $order; do
      if [ "$side" = ours ]; then
        path=/ serve_ours "$component" default $'[limits]\nbody = "1GiB"'
      else
        path=/ serve_peer "$component" default
      fi
      echo_once "$path" # warms up
      echo_once "$path"
      cpu[$side]+=" $cpu_us"
      speeds[$side]+=" $speed"
      say "$name round $round $side: cpu_us=$cpu_us a MiB, $speed MiB/s"
      stop_server
    done
  done
  local -a ours peer ratios=()
  read -ra ours <<<"${cpu[ours]}"
  read -ra peer <<<"${cpu[peer]}"
  for round in "${!ours[@]}"; do ratios+=("$(over "${peer[$round]}" "${ours[$round]}")"); done
  ratio_result "$name" "$(median "${ratios[@]}")" "$(median "${ours[@]}")" "$(median "${peer[@]}")" \
    "$((rounds * mib))" us
  # shellcheck disable=SC2086
  printf '  %s: MiB/s ours %s, peer %s\n' "$name" "$(median ${speeds[ours]})" "$(median ${speeds[peer]})"
}

p2=$(rust_guest rust-stream stream_p2)
p3=$(rust_guest rust-stream stream_p3)
compare http_stream_p2 "$p2" /copy
compare http_stream_p3 "$p3" /copy
compare http_stream_p3_pass "$p3" /pass
