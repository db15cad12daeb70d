#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A rustc that makes wasm32-wasip2 components, for machines on which `rustup target add
# wasm32-wasip2` is not possible: Debian's compiler, with a standard library built from Debian's
# source package over the pinned wasi-libc.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${WARPGRID_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/warpgrid
packages="rustc-web cargo-web rust-web-src rust-web-llvm"
rustc=/usr/bin/rustc cargo=/usr/bin/cargo

usage() {
  cat <<USAGE
usage: scripts/build-guest-rust.sh [--check]

Builds Rust's standard library for wasm32-wasip2 from Debian's packages (2 minutes, once) and prints
the path of a rustc that has it. The second time it only prints. Progress goes to stderr. It needs:
  apt-get install --no-install-recommends $packages
'warp pack' finds the result by itself; with cargo: RUSTC=\$(scripts/build-guest-rust.sh) cargo build
--target wasm32-wasip2

  --check   build nothing; exit 1 when it is not there yet
  -h, --help

environment:
  WASI_SYSROOT      see scripts/build-guest-sysroot.sh
  WARPGRID_CACHE    folder for the result (default: \$XDG_CACHE_HOME or ~/.cache)
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

for file in "$rustc" "$cargo"; do
  [ -x "$file" ] || die "no '$file'" "as root: apt-get install --no-install-recommends $packages"
done
version=$("$rustc" -vV)
host=$(sed -n 's/^host: //p' <<<"$version")
rustlib=/usr/lib/rustlib
linker=$rustlib/$host/bin/wasm-component-ld
for file in "$rustlib/src/rust/library/std/Cargo.toml" "$linker"; do
  [ -e "$file" ] || die "no '$file'" "as root: apt-get install --no-install-recommends $packages"
done
if [ "$check" = 1 ]; then
  sysroot=$("$root/scripts/build-guest-sysroot.sh" --check)
else
  sysroot=$("$root/scripts/build-guest-sysroot.sh")
fi
libc=$sysroot/lib/wasm32-wasip2

# Everything that decides the result.
hash=$({ echo "$version"; "$linker" --version; cat "${BASH_SOURCE[0]}" "$libc/libc.a"
  cat "$rustlib/src/rust/library/Cargo.lock"; } | sha256sum | cut -c1-24)
result=$cache/guest-rust/$hash
if [ -f "$result/.complete" ]; then
  ln -sfn "$hash" "$cache/guest-rust/current"
  printf '%s\n' "$result/bin/rustc"
  exit 0
fi
[ "$check" = 0 ] || die "no Rust toolchain in '$cache/guest-rust'" "run scripts/build-guest-rust.sh"

mkdir -p "$cache/guest-rust"
exec 9>"$cache/guest-rust/.lock" # one builds, the others wait
flock 9
if [ -f "$result/.complete" ]; then printf '%s\n' "$result/bin/rustc"; exit 0; fi
work=$(mktemp -d "$cache/guest-rust/.build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

echo "building Rust's standard library for wasm32-wasip2 (2 minutes, once)" >&2
mkdir -p "$work/seed/src"
printf '[package]\nname = "seed"\nversion = "0.1.0"\nedition = "2021"\n' >"$work/seed/Cargo.toml"
echo 'fn main() {}' >"$work/seed/src/main.rs"
# The user's wrappers and flags have no say here. Without bitcode in the libraries, guests could not be
# linked with LTO.
(
  cd "$work/seed"
  unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET
  export RUSTC_WRAPPER="" RUSTC_WORKSPACE_WRAPPER=""
  export RUSTC=$rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$work/target
  export CARGO_TARGET_WASM32_WASIP2_LINKER=$linker
  export CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS="-C link-self-contained=no -L native=$libc
    -C link-arg=$libc/crt1-command.o -C panic=abort -C embed-bitcode=yes"
  CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS=$(tr -s '\n ' ' ' <<<"$CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS")
  "$cargo" build --release --target wasm32-wasip2 -Zbuild-std=std,panic_abort 9>&-
) >"$work/log" 2>&1 || {
  tail -n 30 "$work/log" >&2
  die "the standard library does not compile"
}

lib=$work/result/lib/rustlib/wasm32-wasip2/lib
mkdir -p "$lib/self-contained" "$work/result/bin" "$work/result/lib/rustlib/$host"
cp "$work"/target/wasm32-wasip2/release/deps/lib*.rlib "$lib/"
rm -f "$lib"/libseed-*.rlib
cp "$libc/crt1-command.o" "$libc/crt1-reactor.o" "$libc/libc.a" "$lib/self-contained/"
ln -s "$rustlib/$host/lib" "$work/result/lib/rustlib/$host/lib"
ln -s "$rustlib/$host/bin" "$work/result/lib/rustlib/$host/bin"
# The library fits this compiler only; after an upgrade of the package it is built again.
cat >"$work/result/bin/rustc" <<WRAPPER
#!/bin/sh
if [ "\$(stat -L -c %s.%Y $rustc)" != "$(stat -L -c %s.%Y "$rustc")" ]; then
  echo "error: $rustc has changed since its wasm32-wasip2 library was built" >&2
  echo "hint: run scripts/build-guest-rust.sh again" >&2
  exit 1
fi
exec $rustc --sysroot "\$(dirname "\$(dirname "\$(readlink -f "\$0")")")" "\$@"
WRAPPER
chmod +x "$work/result/bin/rustc"
touch "$work/result/.complete"
mv -T "$work/result" "$result"
ln -sfn "$hash" "$cache/guest-rust/current"
printf '%s\n' "$result/bin/rustc"
