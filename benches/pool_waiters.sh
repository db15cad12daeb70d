#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "10,000 guests (in ten instances) on a pool of 10: each connects through a socket, asks SELECT 1 and
closes, four times over. How long they wait for a session in the last three turns, and the memory of one that waits.
  pool_waiters          the longest wait over the median
  pool_waiters_memory   bytes of the host for one more waiter: memory with 10,000 less that with 10, without
                        the guest's own (the peer column has the guest's)" "$@"
find_warp
database
database_config 10 "connect_timeout = \"600s\"
max_waiters = 20000"
instances=10 each=$((1000 * scale / 100)) few=2
guest=$(rust_guest rust-sockets web_p3)

# wait_all GUESTS: ten requests at once, each an instance of its own with so many guests; sets median,
# longest (us), guest_kb and rss_kb (the largest that the process had).
wait_all() {
  local i asked=()
  serve_ours "$guest" 1 "max_concurrent = 1
[limits]
memory = \"1GiB\"
request_timeout = \"10m\"
[env]
DB_HOST = \"db.bench.warp.local\"
DB_PORT = \"$PGPORT\"
DB_NAME = \"$PGDATABASE\"
$(sed 1d "$db_config")"
  for ((i = 1; i <= instances; i++)); do
    curl -s --fail-with-body --max-time 600 -o "$work/waits.$i" "http://127.0.0.1:$port/waiters?n=$1&turns=4" &
    asked+=($!)
  done
  for i in "${asked[@]}"; do wait "$i" || die "a request failed: $(head -c 300 "$work"/waits.*)"; done
  rss_kb=$(awk '/^VmHWM:/ {print $2}' "/proc/$pid/status")
  stop_server
  guest_kb=$(head -qn 1 "$work"/waits.* | awk '{n += $1} END {print n}')
  read -r median longest < <(tail -qn +2 "$work"/waits.* | sort -n |
    awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)], v[NR]}')
}
longest_us=() median_us=() ratios=() bytes=() guest_bytes=()
for ((round = 1; round <= rounds; round++)); do
  wait_all $few
  few_rss=$rss_kb few_kb=$guest_kb
  wait_all "$each"
  say "round $round: median_us=$median longest_us=$longest rss_kb=$few_rss..$rss_kb guest_kb=$few_kb..$guest_kb"
  longest_us+=("$longest") median_us+=("$median")
  ratios+=("$(over "$longest" "$median")")
  more=$((instances * (each - few)))
  bytes+=("$(((rss_kb - few_rss - guest_kb + few_kb) * 1024 / more))")
  guest_bytes+=("$(((guest_kb - few_kb) * 1024 / more))")
done
n=$((instances * each * 3 * rounds))
ratio_result pool_waiters "$(median "${ratios[@]}")" "$(median "${longest_us[@]}")" "$(median "${median_us[@]}")" "$n" us
result pool_waiters_memory "$(median "${bytes[@]}")" "$(median "${guest_bytes[@]}")" "$n" B
