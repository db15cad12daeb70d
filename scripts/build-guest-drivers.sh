#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the guests of tests/fixtures/drivers: small programs with stock C drivers, hiredis and MariaDB
# Connector/C, whose upstream sources are compiled as they are. Kept in the cache by content.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
here=$root/tests/fixtures/drivers
# shellcheck source=/dev/null
. "$root/versions.env"
cache=${WARPGRID_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/warpgrid

usage() {
  cat <<'USAGE'
usage: scripts/build-guest-drivers.sh --out DIR [redis_c] [mysql_c]

Builds DIR/redis_c.wasm and DIR/mysql_c.wasm, or those named: WASI 0.2 commands by clang and wasi-libc
alone, which know nothing of WarpGrid. The drivers need a few declarations that wasi-libc lacks; they
are in tests/fixtures/drivers/compat.
USAGE
}
die() { printf 'error: %s\n' "$1" >&2; [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2; exit 1; }

out='' names=()
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=${2?}; shift ;;
    -h | --help) usage; exit 0 ;;
    redis_c | mysql_c) names+=("$1") ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done
[ -n "$out" ] || { usage >&2; exit 2; }
[ ${#names[@]} -gt 0 ] || names=(redis_c mysql_c)
clang=${WARPGRID_CLANG:-clang-$LLVM_MAJOR}
command -v "$clang" >/dev/null || die "'$clang' is not installed" "run scripts/bootstrap.sh"
host=$(rustc -vV | sed -n 's/^host: //p')
linker=$(rustc --print sysroot)/lib/rustlib/$host/bin/wasm-component-ld

# sources PACKAGE VERSION SHA256 SUITE [PATTERN]: prints the folder with the upstream sources.
sources() {
  local package=$1 version=$2 sha256=$3 suite=$4 pattern=${5:-} dir=$cache/drivers/$1-$3 work tar sum
  if [ -d "$dir" ]; then printf '%s\n' "$dir"; return; fi
  work=$(mktemp -d "$cache/drivers/.fetch.XXXXXX")
  echo "fetching the sources of $package $version" >&2
  if ! "$root/scripts/fetch-deb.sh" --suite "$suite" --source --out "$work" "$package=$version" >&2; then
    # A release moves on; apt has checked what comes instead.
    echo "warning: $suite has $package $version no more; taking its present one" >&2
    sha256=
    "$root/scripts/fetch-deb.sh" --suite "$suite" --source --out "$work" "$package" >&2 ||
      die "cannot fetch the sources of $package"
  fi
  tar=$(find "$work" -name '*.orig.tar.*' ! -name '*.asc')
  sum=$(sha256sum "$tar" | cut -d' ' -f1)
  [ -z "$sha256" ] || [ "$sum" = "$sha256" ] || die "$(basename "$tar") has sha256 $sum, expected $sha256" \
    "nothing was kept; check versions.env"
  mkdir "$work/all"
  tar -xf "$tar" -C "$work/all" --strip-components=1 ${pattern:+--wildcards "$pattern"}
  mv -T "$work/all" "$dir"
  rm -rf "$work"
  printf '%s\n' "$dir"
}

build_redis_c() { # output
  local from file words=()
  from=$(sources hiredis "$HIREDIS_VERSION" "$HIREDIS_SHA256" "$HIREDIS_SUITE")
  for file in hiredis read net sds alloc async; do words+=("$from/$file.c"); done
  "$root/scripts/build-guest-c.sh" --world stock --output "$1" -w -I"$here/compat" -I"$from" \
    "$here/redis_c.c" "${words[@]}"
}

build_mysql_c() { # output
  local from build
  from=$(sources mariadb "$MARIADB_SOURCE_VERSION" "$MARIADB_SOURCE_SHA256" "$MARIADB_SOURCE_SUITE" \
    '*/libmariadb/*')/libmariadb
  build=$(mktemp -d "$cache/drivers/.build.XXXXXX")
  {
    echo 'set(CMAKE_SYSTEM_NAME WASI)'
    echo 'set(CMAKE_SYSTEM_PROCESSOR wasm32)'
    echo 'set(UNIX TRUE)'
    echo "set(CMAKE_C_COMPILER $clang)"
    echo 'set(CMAKE_C_COMPILER_TARGET wasm32-wasip2)'
    echo "set(CMAKE_SYSROOT $("$root/scripts/build-guest-sysroot.sh"))"
    echo "set(CMAKE_AR llvm-ar-$LLVM_MAJOR)"
    echo "set(CMAKE_RANLIB llvm-ranlib-$LLVM_MAJOR)"
    echo "set(CMAKE_C_FLAGS_INIT \"-w -I$here/compat -include $here/compat/compat.h" \
      '-D_WASI_EMULATED_SIGNAL -D_WASI_EMULATED_GETPID -D_WASI_EMULATED_PROCESS_CLOCKS")'
    # Its checks for functions link.
    echo "set(CMAKE_EXE_LINKER_FLAGS_INIT -fuse-ld=$linker)"
  } >"$build/toolchain.cmake"
  { cmake -G Ninja -S "$from" -B "$build" -DCMAKE_TOOLCHAIN_FILE="$build/toolchain.cmake" \
    -DCMAKE_BUILD_TYPE=Release -DWITH_SSL=OFF -DWITH_UNIT_TESTS=OFF -DWITH_CURL=OFF \
    -DCLIENT_PLUGIN_DIALOG=OFF -DCLIENT_PLUGIN_MYSQL_CLEAR_PASSWORD=OFF -DCLIENT_PLUGIN_PVIO_SOCKET=STATIC &&
    ninja -C "$build" mariadbclient; } >"$build/log" 2>&1 ||
    { tail -n 20 "$build/log" >&2; die "MariaDB Connector/C does not compile" "see $build/log"; }
  "$root/scripts/build-guest-c.sh" --world stock --output "$1" -I"$from/include" -I"$build/include" \
    "$here/mysql_c.c" "$here/compat/compat.c" "$build/libmariadb/libmariadbclient.a" \
    -lwasi-emulated-signal -lwasi-emulated-getpid -lwasi-emulated-process-clocks
  rm -rf "$build"
}

mkdir -p "$cache/drivers" "$out"
exec 9>"$cache/drivers/.lock" # one builds, the others wait
flock 9
for name in "${names[@]}"; do
  hash=$({ cat "${BASH_SOURCE[0]}" "$root/scripts/build-guest-c.sh" "$root/versions.env"
    find "$here" -type f | LC_ALL=C sort | xargs cat; "$clang" --version; } | sha256sum | cut -c1-32)
  kept=$cache/drivers/$name-$hash.wasm
  if [ ! -f "$kept" ]; then
    "build_$name" "$cache/drivers/.$name.wasm"
    mv "$cache/drivers/.$name.wasm" "$kept"
  fi
  cmp -s "$kept" "$out/$name.wasm" || cp "$kept" "$out/$name.wasm"
done
