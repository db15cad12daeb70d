#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "What an instance costs, against wasmtime serve with the same component, one worker on one core.
ratio = ours over peer.
  process_first_byte   from the start of the process to the first byte of its first answer, with
                       warm compilation caches on both sides
  instance_first_byte  from a request to the first byte of its answer by a fresh instance (p2)
  instance_memory      memory (PSS) that each of 200 instances adds while all wait in a request" "$@"
need curl curl
find_warp
find_wasmtime
http_probe= # set by native
native http_probe
n=$((5000 * scale / 100))
starts=$((20 * scale / 100))
held=$((200 * scale / 100))
component=$(guest hello-p2)
waiting=$(guest lab-p2)

# Wasmtime caches compiled code only when told where.
printf '[cache]\ndirectory = "%s"\n' "$work/cache" >"$work/wasmtime.toml"
[ ! -e "$work/cache" ] || die "cache folder exists"

process_ours() {
  local p
  p=$(free_port)
  printf '[http]\nlisten = ["127.0.0.1:%s"]\nworkers = 1\n' "$p" >"$work/process.toml"
  pinned $server_core "$http_probe" process "$p" / -- \
    "$WARP_BIN" serve "$component" --config "$work/process.toml" 2>"$work/process.log"
}
process_peer() {
  local p
  p=$(free_port)
  TOKIO_WORKER_THREADS=1 pinned $server_core "$http_probe" process "$p" / -- \
    "$WASMTIME_BIN" serve -C "cache=y,cache-config=$work/wasmtime.toml" -S cli --addr "127.0.0.1:$p" \
    "$component" 2>"$work/process.log"
}
first_byte() { pinned $load_core "$http_probe" requests "$port" / "$n"; }

# memory_of: PSS that each held request adds, in KiB, of the server in $pid.
memory_of() {
  local before after i
  before=$(pss_kb "$pid")
  # The pipe of a coprocess keeps the requests open until it is closed.
  coproc HOLD { exec "$http_probe" hold "$port" "/sleep?ms=60000" "$held"; }
  local hold_pid=$HOLD_PID line
  read -r -t 60 line <&"${HOLD[0]}" || die "the requests cannot be held"
  for i in $(seq 100); do # until the last of them has its instance: memory stands still
    after=$(pss_kb "$pid")
    sleep 0.1
    [ "$(pss_kb "$pid")" != "$after" ] || [ "$i" -lt 5 ] || break
  done
  eval "exec ${HOLD[1]}>&-"
  wait "$hold_pid" || die "a held request ended early"
  awk -v a="$after" -v b="$before" -v n="$held" 'BEGIN {printf "%.1f", (a - b) / n}'
}

declare -A process first memory
for side in ours peer; do process[$side]= first[$side]= memory[$side]=; done
process_ours >/dev/null # fill the caches
process_peer >/dev/null
for ((round = 1; round <= rounds; round++)); do
  if ((round % 2)); then order="ours peer"; else order="peer ours"; fi
  for side in $order; do
    ps=()
    for ((i = 0; i < starts; i++)); do ps+=("$(field p50_us "$("process_$side")")"); done
    p=$(median "${ps[@]}")
    "serve_$side" "$component" 1
    line=$(first_byte)
    stop_server
    path=/count "serve_$side" "$waiting" 1
    m=$(memory_of)
    stop_server
    process[$side]+=" $p"
    first[$side]+=" $(field p50_us "$line")"
    memory[$side]+=" $m"
    say "round $round $side: process_us=$p instance: $line memory_kb=$m"
  done
done
# shellcheck disable=SC2086
{
  result process_first_byte "$(median ${process[ours]})" "$(median ${process[peer]})" $((starts * rounds)) us
  result instance_first_byte "$(median ${first[ours]})" "$(median ${first[peer]})" $((n * rounds)) us
  result instance_memory "$(median ${memory[ours]})" "$(median ${memory[peer]})" $((held * rounds)) kB
}
