#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "A service that asks another by wasi:http for each request, 16 clients, one worker on one core.
ratio = median over the rounds of the peer's server CPU per request over ours: how many times less we
need.
  http_outgoing_p2     WASI 0.2, a fresh instance for every request, the other service on the other core;
                       peer: wasmtime serve with the same component
  http_outgoing_p3     the same of WASI 0.3, with both's defaults for reuse
  http_in_process      a service of the same process by its name; peer: the same two in two processes, CPU
                       of both" "$@"
need wrk wrk
need curl curl
find_warp
find_wasmtime
seconds=3
[ "$scale" = 100 ] || seconds=1
p2=$(rust_guest rust-outgoing outgoing_p2)
p3=$(rust_guest rust-outgoing outgoing_p3)
hello=$(guest hello-p2)

declare -A pids_of ports_of urls also
# known NAME URL [PID]: the server that was started last; its guest asks URL, whose server is PID.
known() { pids_of[$1]=$pid ports_of[$1]=$port urls[$1]=$2 also[$1]=${3:-}; }
server_core=$load_core serve_ours "$hello" 1000000
hello_pid=$pid
other=http://127.0.0.1:$port/
allow="
[net]
allow = [\"127.0.0.1:$port\"]"
for side in p2 p3; do
  reuse=1
  [ $side = p2 ] || reuse=default
  serve_ours "${!side}" $reuse "$allow"
  known ours_$side "$other"
  serve_peer "${!side}" $reuse
  known peer_$side "$other"
done
port=$(free_port)
cat >"$work/two.toml" <<TOML
name = "two"
[http]
listen = ["127.0.0.1:$port"]
workers = 1
reuse = 1000000
[services.front]
component = "$p2"
[services.back]
component = "$hello"
path = "/back"
TOML
start "$work/two.log" "$WARP_BIN" serve --config "$work/two.toml"
known in_process http://back.warp.local/
serve_ours "$p2" 1000000 "$allow"
known two_processes "$other" "$hello_pid"
for name in "${!urls[@]}"; do
  [ "$(curl -sf --max-time 10 -H "x-to: ${urls[$name]}" "http://127.0.0.1:${ports_of[$name]}/")" = \
    "$(curl -sf --max-time 10 "$other")" ] || die "$name does not answer as the other service does"
done

# run NAME: server CPU a request, that of a second process too.
run() {
  local before=0 after=0
  pid=${pids_of[$1]} port=${ports_of[$1]} header="x-to: ${urls[$1]}"
  [ -z "${also[$1]}" ] || before=$(ticks "${also[$1]}")
  load 16 "$seconds"
  [ -z "${also[$1]}" ] || after=$(ticks "${also[$1]}")
  awk -v own="$cpu_us" -v t=$((after - before)) -v u="$tick_us" -v n="$requests" -v rps="$rps" \
    'BEGIN {printf "us=%.2f rps=%s n=%s\n", own + t * u / n, rps, n}'
}
for name in "${!urls[@]}"; do
  eval "run_$name() { run $name; }"
  "run_$name" >/dev/null # warms up
done
take_turns us ours_p2 peer_p2
take_turns us ours_p3 peer_p3
take_turns us in_process two_processes
compare_speed http_outgoing_p2 ours_p2 peer_p2 $((seconds * rounds))s
compare_speed http_outgoing_p3 ours_p3 peer_p3 $((seconds * rounds))s
compare_speed http_in_process in_process two_processes $((seconds * rounds))s
