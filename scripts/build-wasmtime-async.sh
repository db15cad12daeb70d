#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the pinned Wasmtime with component-model-async, and lets a WASI 0.3 component answer on it.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case ${1-} in
  '') ;;
  -h | --help)
    cat <<USAGE
usage: scripts/build-wasmtime-async.sh

Builds warp over Wasmtime $WASMTIME_VERSION, which Cargo.lock pins by its checksum, with WASI 0.3 and its
async functions; compiles a WASI 0.3 handler that answers with a constant; serves it on a free port;
checks the status and the body of its answer. What was built is cached by content
(scripts/build-runtime.sh): while the pin stays, the next run compiles nothing of Wasmtime.
The last line on stdout is the answer. docs/wasi-03-api-surface.md lists what is linked.

environment:
  WARPGRID_BUILD   the folder of the preset to build in its place (default: build/dev)
USAGE
    exit 0 ;;
  *) die "unknown argument '$1'" "see scripts/build-wasmtime-async.sh --help" ;;
esac

grep -A2 -x 'name = "wasmtime"' "$root/Cargo.lock" | grep -qx "version = \"$WASMTIME_VERSION\"" ||
  die "Cargo.lock does not have wasmtime $WASMTIME_VERSION" "make WASMTIME_VERSION in versions.env and Cargo.lock agree"
grep -q '"component-model-async"' "$root/crates/warpgrid-runtime/Cargo.toml" ||
  die "warpgrid-runtime is built without component-model-async" "add the feature to its Cargo.toml"

preset=$(basename "${WARPGRID_BUILD:-dev}")
build "$preset" warp sdk
work=$(mktemp -d "${TMPDIR:-/tmp}/warpgrid-async.XXXXXX")
server=
finish() {
  local code=$?
  trap '' INT TERM
  if [ -n "$server" ]; then
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  [ "$code" = 0 ] || [ ! -s "$work/log" ] || tail -n 80 "$work/log" >&2
  rm -rf -- "$work"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

"$root/scripts/build-guest-c.sh" --world service-p3-callback --output "$work/hello.wasm" \
  "$root/tests/fixtures/http/hello.c" >&2
printf '[http]\nlisten = ["127.0.0.1:0"]\n' >"$work/warp.toml"
"$root/build/$preset/warp" serve "$work/hello.wasm" --config "$work/warp.toml" >"$work/url" 2>"$work/log" &
server=$!
for ((i = 0; i < 600; i++)); do
  url=$(head -n 1 "$work/url")
  [ -z "$url" ] || break
  kill -0 "$server" 2>/dev/null || die "warp serve ended"
  sleep 0.1
done
[ -n "$url" ] || die "warp serve did not listen within 60 s"
status=$(curl -sS --max-time 30 -o "$work/body" -w '%{http_code}' "$url/")
[ "$status" = 200 ] || die "the component answered with status $status instead of 200"
[ "$(cat "$work/body")" = "hello from C" ] || die "the component's answer has another body than it sends"
say "Wasmtime $WASMTIME_VERSION: status $status"
cat "$work/body"
