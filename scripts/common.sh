# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What the scripts behind the Makefile share; sourced, not run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034 # used by those who source this
cache=${WARPGRID_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/warpgrid
# shellcheck source=../versions.env
. "$root/versions.env"

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $1"; [ $# -lt 2 ] || say "hint: $2"; exit 1; }

# configure PRESET: once; ninja sees changes of the CMake files itself.
configure() {
  [ -f "$root/build/$1/build.ninja" ] ||
    (cd "$root" && cmake --preset "$1" >"$root/.configure.$$" 2>&1) || {
    cat "$root/.configure.$$" >&2
    rm -f "$root/.configure.$$"
    die "cannot configure the preset '$1'" "run scripts/bootstrap.sh"
  }
  rm -f "$root/.configure.$$"
}

# build PRESET TARGET...: quiet unless something is compiled; all output when it fails.
build() {
  local preset=$1
  shift
  configure "$preset"
  ninja -C "$root/build/$preset" --quiet "$@" >&2 || die "the build of '$preset' failed"
}

# find_component_ld: the path of the linker of components, which a Rust toolchain brings along.
find_component_ld() {
  local rustc linker
  rustc=$(command -v rustc) || die "'rustc' is not installed; its toolchain has wasm-component-ld" \
    "run scripts/bootstrap.sh"
  linker=$("$rustc" --print sysroot)/lib/rustlib/$("$rustc" -vV | sed -n 's/^host: //p')/bin/wasm-component-ld
  [ -x "$linker" ] || linker=$(command -v wasm-component-ld) || die "no wasm-component-ld" "run scripts/bootstrap.sh"
  echo "$linker"
}
