#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Tests of the patched wasi-libc: C programs, each built and run in several ways.
set -euo pipefail
# shellcheck source=libc-common.sh
. "$(dirname "${BASH_SOURCE[0]}")/libc-common.sh"

usage() {
  cat <<'USAGE'
usage: scripts/test-libc.sh [--all | --stock | --ci] [NAME...]

Builds the sysroots (scripts/build-libc.sh) and the programs of libc-patches/tests (or those given),
runs each, and prints every test, then "N passed, N failed, N skipped". A program runs in these ways:

  wasi     patched sysroot, on WarpGrid
  shim     patched sysroot and -lwarpgrid_shim, on WarpGrid
  vanilla  the program of "wasi", in Wasmtime's own command
  mock     patched sysroot and mock shims (mock.c), in Wasmtime's own command
  stock    stock sysroot, in Wasmtime's own command; what needs a shim is skipped

  --all    all ways; those of Wasmtime's command are left out, with a message, where it is not
           installed (the default)
  --stock  only "stock"
  --ci     all ways, and exit 0 only when all ran and passed; writes build/libc/tests.xml (JUnit)
  -h, --help

environment:
  WASMTIME         Wasmtime's command (default: PATH, then what scripts/bootstrap.sh test installed)
  WARPGRID_BUILD   a build folder with warp and wasm-symbols (default: build/dev, which is built)
USAGE
}

mode=all names=()
while [ $# -gt 0 ]; do
  case $1 in
    --all | --stock | --ci) mode=${1#--} ;;
    -h | --help) usage; exit 0 ;;
    -*) say "error: unknown option '$1'"; usage >&2; exit 2 ;;
    *) names+=("${1%.c}") ;;
  esac
  shift
done

tests=$patches/tests
build_tool
[ -n "${WARPGRID_BUILD-}" ] || build dev warp
warp=${WARPGRID_BUILD:-$root/build/dev}/warp
wasmtime=${WASMTIME:-$(command -v wasmtime || true)} # not in PATH: the next line's
[ -n "$wasmtime" ] || wasmtime=$cache/tools/wasmtime
if [ "$mode" = stock ]; then ways=(stock); else ways=(wasi shim vanilla mock stock); fi
if ! [ -x "$wasmtime" ]; then
  [ "$mode" = all ] || die "no wasmtime" "run scripts/bootstrap.sh test, or set WASMTIME"
  say "skipped: vanilla, mock and stock: no wasmtime (scripts/bootstrap.sh test installs it)"
  ways=(wasi shim)
fi
"$root/scripts/build-libc.sh"

linker=$(find_component_ld)

if [ ${#names[@]} -eq 0 ]; then
  for file in "$tests"/*.c; do
    [ "$(basename "$file")" = mock.c ] || names+=("$(basename "$file" .c)")
  done
fi

out=$libc_build/tests
exec 8>"$libc_build/.tests.lock" # one tests, the others wait
flock 8
rm -rf "$out"
mkdir -p "$out"

compile() { # sysroot output source...
  local sysroot=$1
  shift
  "$clang" --target=$target --sysroot="$root/build/sysroot-$sysroot" -std=c11 -D_GNU_SOURCE -O2 \
    -Wall -Wextra -Werror -fuse-ld="$linker" -o "$@"
}

build_and_run() { # name way
  local name=$1 way=$2 file=$out/$1.$2.wasm source=$tests/$1.c
  case $way in
    wasi) compile patched "$file" "$source" ;;
    vanilla) file=$out/$1.wasi.wasm; [ -f "$file" ] || compile patched "$file" "$source" ;;
    shim) compile patched "$file" "$source" -lwarpgrid_shim ;;
    mock) compile patched "$file" "$source" "$tests/mock.c" ;;
    stock) compile stock "$file" "$source" ;;
  esac || return 1
  case $way in
    wasi | shim) timeout 120 "$warp" run -c "$tests/warp.toml" -e "LIBC_TEST_WAY=$way" \
      --dir "$tests::/real" "$file" ;;
    *) timeout 120 "$wasmtime" run -S inherit-network -S allow-ip-name-lookup \
      --env "LIBC_TEST_WAY=$way" --dir "$tests::/real" "$file" ;;
  esac
}

# Results are lines: way, program, and what the program printed.
results=$out/results
: >"$results"
for name in "${names[@]}"; do
  [ -f "$tests/$name.c" ] || die "no test '$name' in libc-patches/tests"
  for way in "${ways[@]}"; do
    code=0
    build_and_run "$name" "$way" >"$out/raw" 2>&1 || code=$?
    LC_ALL=C tr -cd '\n\040-\176' <"$out/raw" >"$out/log" # the report is XML
    sed -nE "s/^(ok|skip|FAIL) - /$way $name &/p; s/^  [a-z][a-z0-9_]*: /    &/p" "$out/log" >>"$results"
    if [ "$code" = 0 ] && ! grep -q '^end$' "$out/log"; then
      echo "$way $name FAIL - it did not come to its end: $(tr '\n' ' ' <"$out/log" | cut -c1-600)" >>"$results"
    fi
    if [ "$code" != 0 ] && ! grep -q '^FAIL - ' "$out/log"; then
      echo "$way $name FAIL - exit code $code: $(tr '\n' ' ' <"$out/log" | cut -c1-600)" >>"$results"
    fi
  done
done

# The library does not grow.
size() { stat -c %s "$root/build/sysroot-$1/lib/$target/libc.a"; }
if [ "$mode" != stock ]; then
  if [ $(($(size patched) * 100)) -lt $(($(size stock) * 105)) ]; then
    echo "size libc.a ok - us_205_libc_grows_by_less_than_5_percent" >>"$results"
  else
    echo "size libc.a FAIL - us_205_libc_grows_by_less_than_5_percent: $(size stock) to $(size patched) bytes" >>"$results"
  fi
fi

cat "$results"
count() { grep -cE "^[^ ]+ [^ ]+ $1 - " "$results" || [ $? = 1 ]; } # 1: the count is 0
passed=$(count ok) failed=$(count FAIL) skipped=$(count skip)
if [ "$mode" = ci ]; then
  escape() { sed -e 's/&/\&amp;/g' -e 's/</\&lt;/g' -e 's/>/\&gt;/g' -e 's/"/\&quot;/g'; }
  { echo '<?xml version="1.0" encoding="UTF-8"?>'
    echo "<testsuite name=\"libc\" tests=\"$((passed + failed + skipped))\" failures=\"$failed\" skipped=\"$skipped\">"
    # Further reasons of a failure stand below it, and are no tests.
    { grep -v '^ ' "$results" || [ $? = 1 ]; } | escape | while read -r way program what _ text; do
      printf '<testcase classname="%s.%s" name="%s">' "$way" "$program" "${text%%:*}"
      case $what in
        FAIL) printf '<failure message="%s"/>' "$text" ;;
        skip) printf '<skipped message="%s"/>' "${text#*: }" ;;
      esac
      echo '</testcase>'
    done
    echo '</testsuite>'; } >"$libc_build/tests.xml"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
