#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "getaddrinfo of one name over and over in the same stock component (clang and wasi-libc, nothing of
WarpGrid): under warp, which has the name in [registry], over wasmtime run, which has it in the
machine's hosts file. Mean time of a lookup; ratio = median of the rounds' ratios.
  dns_guest_lookup  the peer's hosts file gets the name in a mount namespace of its own; where that
                    is not to be had, both look up localhost
  dns_hit           the host's part alone (native/dns_hit.c): CPU time of one answer out of a worker's
                    cache, and how many allocations all of them made; no peer" "$@"
find_warp
find_wasmtime
n=20000
[ "$scale" = 100 ] || n=2000
component=$(guest dns-loop)

# The machine's own /etc/hosts stays as it is.
name=orders.bench.warp.local
{ cat /etc/hosts; echo "10.1.2.3 $name"; } >"$work/hosts"
# shellcheck disable=SC2016 # the inner shell fills them in
in_namespace=(unshare --mount sh -c 'mount --bind "$1" /etc/hosts && shift && exec "$@"' sh "$work/hosts")
[ "$(id -u)" = 0 ] || in_namespace=("${in_namespace[0]}" --map-root-user "${in_namespace[@]:1}")
if ! "${in_namespace[@]}" getent hosts "$name" >/dev/null 2>&1; then
  say "warning: no mount namespace to be had: both sides look up localhost"
  name=localhost in_namespace=()
fi
printf '[registry]\n"%s" = ["10.1.2.3"]\n' "$name" >"$work/warp.toml"
[ "$name" != localhost ] || : >"$work/warp.toml"

run_ours() {
  pinned $server_core "$WARP_BIN" run "$component" --config "$work/warp.toml" -- "$name" "$n"
}
run_peer() {
  pinned $server_core ${in_namespace[@]+"${in_namespace[@]}"} "$WASMTIME_BIN" run \
    -S inherit-network,allow-ip-name-lookup "$component" "$name" "$n"
}

ours=() peer=() ratios=() p50s=()
for ((round = 1; round <= rounds; round++)); do
  if ((round % 2)); then order="ours peer"; else order="peer ours"; fi
  declare -A us=()
  for side in $order; do
    line=$("run_$side")
    us[$side]=$(field per_op_us "$line")
    [ -n "${us[$side]}" ] || die "$side printed no per_op_us: '$line'"
    p50s+=("$side $(field p50_us "$line")")
    say "round $round $side: $line"
  done
  ours+=("${us[ours]}") peer+=("${us[peer]}") ratios+=("$(over "${us[ours]}" "${us[peer]}")")
done
# shellcheck disable=SC2046
p50() { median $(printf "%s\n" "${p50s[@]}" | sed -n "s/^$1 //p"); }
ratio_result dns_guest_lookup "$(median "${ratios[@]}")" "$(median "${ours[@]}")" \
  "$(median "${peer[@]}")" $((n * rounds)) us
printf '  dns_guest_lookup p50: ours=%sus peer=%sus (%s)\n' "$(p50 ours)" "$(p50 peer)" "$name"

hit=$(dirname "$WARP_BIN")/benches/dns_hit
[ -x "$hit" ] || die "cannot find '$hit'" "build it with 'ninja -C $(dirname "$WARP_BIN") dns_hit'"
n=$((scale * 10000)) ns=() allocations=0
for ((round = 1; round <= rounds; round++)); do
  line=$(pinned $server_core "$hit" "$n")
  say "round $round dns_hit: $line"
  ns+=("$(field per_op_ns "$line")")
  allocations=$((allocations + $(field allocations "$line")))
done
printf 'RESULT dns_hit ns=%s allocations=%s n=%s\n' "$(median "${ns[@]}")" "$allocations" $((n * rounds))
