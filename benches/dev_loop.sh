#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "From saving a source to the first answer of the new code, under 'warp dev': the save, as an
editor does it, to the answer over HTTP, asked without a pause. Median over the edits, seconds.
  dev_loop_c     a C service with PostgreSQL and JSON (test-apps/c-users), two sources
  dev_loop_rust  a Rust service of one file, debug profile (tests/e2e/projects/rust-p2)" "$@"
find_warp
WARP_BIN=$(realpath "$WARP_BIN")
edits=$((rounds * 2))

now() { date +%s.%N; }

# measure NAME FOLDER FILE: edits the line of FILE that has MARK-N.
measure() {
  local name=$1 folder=$2 file=$3 n began ended seconds=() told=()
  port=$(free_port)
  (cd "$folder" && exec "$WARP_BIN" dev --listen "127.0.0.1:$port" --log-level error) \
    >"$work/$name.log" 2>&1 &
  pid=$!
  pids+=("$pid")
  path=/mark
  await_server_long
  for ((n = 1; n <= edits; n++)); do
    sed "s/MARK-[0-9]*/MARK-$n/" "$folder/$file" >"$work/edited"
    mv "$work/edited" "$folder/.edited"
    touch "$folder/.edited"
    began=$(now)
    mv "$folder/.edited" "$folder/$file"
    until [[ $(curl -s --max-time 5 "http://127.0.0.1:$port$path") == *"MARK-$n"* ]]; do
      kill -0 "$pid" 2>/dev/null || die "warp dev ended"
      awk -v a="$began" -v b="$(now)" 'BEGIN {exit b - a > 120}' || die "no new answer within 120 s"
    done
    ended=$(now)
    seconds+=("$(awk -v a="$began" -v b="$ended" 'BEGIN {printf "%.3f", b - a}')")
    say "$name edit $n: ${seconds[-1]} s"
    sleep 0.3
  done
  mapfile -t told < <(sed -n 's/^serving: .*, \([0-9.]*\) s after the save$/\1/p' "$work/$name.log")
  [ ${#told[@]} -ge "$edits" ] || die "warp dev told ${#told[@]} times of $edits edits"
  say "$name: median $(median "${seconds[@]}") s, as warp dev tells it $(median "${told[@]}") s"
  printf 'RESULT %s seconds=%.3f n=%s\n' "$name" "$(median "${seconds[@]}")" "$edits"
  stop_server
}

await_server_long() { # the first build may compile dependencies
  local i
  for i in $(seq 1200); do
    if curl -s -o /dev/null --max-time 5 "http://127.0.0.1:$port$path"; then return; fi
    kill -0 "$pid" 2>/dev/null || { cat "$work"/*.log >&2; die "warp dev ended"; }
    sleep 0.25
  done
  die "warp dev does not answer"
}

cp -r "$root/test-apps/c-users" "$work/c"
rm -rf "$work/c/dist"
# An answer that tells the edit, in front of all others.
awk '/^void wg_http_handle/ {inside = 1}
  {print}
  inside && /{$/ {print "  if (wg_str_is(wg_http_path(req), \"/mark\")) {\n    wg_http_printf(res, \"MARK-0\");\n    return;\n  }"; inside = 0}' \
  "$root/test-apps/c-users/src/main.c" >"$work/c/src/main.c"
grep -q MARK-0 "$work/c/src/main.c" || die "c-users has no wg_http_handle() any more"
measure dev_loop_c "$work/c" src/main.c

cp -r "$root/tests/e2e/projects/rust-p2" "$work/rust"
sed -i 's/rust p2 {path}/MARK-0 {path}/' "$work/rust/src/lib.rs"
grep -q MARK-0 "$work/rust/src/lib.rs" || die "rust-p2 does not answer 'rust p2 {path}' any more"
measure dev_loop_rust "$work/rust" src/lib.rs
