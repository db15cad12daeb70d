#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts the pinned wasi-libc (headers and libc.a of wasm32-wasip2) into the cache and prints where.
#
# The library is a package of Debian's unstable suite. It is an "all" package without dependencies,
# so it is downloaded through an apt configuration of its own and unpacked; nothing is installed,
# and the machine's own suites are left alone.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
WASI_LIBC_VERSION="0.0~git20260423.161b319-2"
WASI_LIBC_SHA256="1051dbb0a5e6d3f709de83b6afb423e07a8ab19a9e9f12ef20ff902131e7b8bc"
# shellcheck source=/dev/null
if [ -f "$root/versions.env" ]; then . "$root/versions.env"; fi
cache=${WARPGRID_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/warpgrid

usage() {
  cat <<USAGE
usage: scripts/build-guest-sysroot.sh [--check]

Fetches wasi-libc $WASI_LIBC_VERSION and prints the path of the sysroot on stdout. The second time
it only prints. Progress goes to stderr.

  --check   fetch nothing; exit 1 when the sysroot is not there yet
  -h, --help

environment:
  WASI_SYSROOT      an existing sysroot (of a wasi-sdk, say) to use in its place
  WARPGRID_CACHE    folder for downloads (default: \$XDG_CACHE_HOME or ~/.cache)
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

# What the guests and the SDK need of the library; a newer package must still have all of it.
needed="malloc free memcpy memmem snprintf strtod strtoll write read getenv clock_gettime nanosleep
        fopen exit __wasilibc_find_relpath getaddrinfo connect"
check_sysroot() { # folder -> 0 when it can build guests
  local dir=$1 lib=$1/lib/wasm32-wasip2 nm symbol missing=
  for file in include/wasm32-wasip2/stdio.h lib/wasm32-wasip2/libc.a \
    lib/wasm32-wasip2/crt1-command.o lib/wasm32-wasip2/crt1-reactor.o; do
    [ -f "$dir/$file" ] || { echo "no $file"; return 1; }
  done
  nm=$(command -v llvm-nm-22 || command -v llvm-nm || true)
  [ -n "$nm" ] || return 0 # cannot look inside without it; a link would tell
  local defined
  defined=$("$nm" --defined-only --extern-only --just-symbol-name "$lib/libc.a" 2>/dev/null)
  for symbol in $needed; do
    grep -qx "$symbol" <<<"$defined" || missing="$missing $symbol"
  done
  [ -z "$missing" ] || { echo "libc.a does not define$missing"; return 1; }
}

if [ -n "${WASI_SYSROOT-}" ]; then
  why=$(check_sysroot "$WASI_SYSROOT") || die "WASI_SYSROOT '$WASI_SYSROOT' is not usable: $why" \
    "unset it to use the pinned wasi-libc"
  printf '%s\n' "$WASI_SYSROOT"
  exit 0
fi

sysroot=$cache/wasi-sysroot/$WASI_LIBC_SHA256
if [ -f "$sysroot/.complete" ]; then printf '%s\n' "$sysroot"; exit 0; fi
[ "$check" = 0 ] || die "no sysroot in '$cache/wasi-sysroot'" "run scripts/build-guest-sysroot.sh"
for tool in apt-get dpkg-deb sha256sum; do
  command -v "$tool" >/dev/null || die "'$tool' is not installed" \
    "on other systems than Debian set WASI_SYSROOT to the share/wasi-sysroot of a wasi-sdk 33 or newer"
done

mkdir -p "$cache/wasi-sysroot"
exec 9>"$cache/wasi-sysroot/.lock" # one fetches, the others wait
flock 9
if [ -f "$sysroot/.complete" ]; then printf '%s\n' "$sysroot"; exit 0; fi
work=$(mktemp -d "$cache/wasi-sysroot/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "fetching wasi-libc $WASI_LIBC_VERSION" >&2
"$root/scripts/fetch-deb.sh" --suite sid --out "$work" "wasi-libc=$WASI_LIBC_VERSION" >&2 ||
  { echo "cannot fetch version $WASI_LIBC_VERSION; trying the suite's present one" >&2
    "$root/scripts/fetch-deb.sh" --suite sid --out "$work" wasi-libc >&2 ||
      die "cannot fetch wasi-libc" "set WASI_SYSROOT to a wasi-sdk's sysroot to go on without it"; }
deb=$(ls "$work"/wasi-libc_*.deb)
sum=$(sha256sum "$deb" | cut -d' ' -f1)
dpkg-deb -x "$deb" "$work/root"
mkdir "$work/sysroot"
for dir in include lib; do
  mkdir "$work/sysroot/$dir"
  # p1 and threads are not built for
  cp -r "$work/root/usr/$dir/wasm32-wasip2" "$work/sysroot/$dir/"
done
[ ! -d "$work/root/usr/share/doc/wasi-libc" ] ||
  cp -r "$work/root/usr/share/doc/wasi-libc" "$work/sysroot/doc"
why=$(check_sysroot "$work/sysroot") || die "package '$(basename "$deb")' cannot build guests: $why" \
  "pin a version that can in versions.env (WASI_LIBC_VERSION, WASI_LIBC_SHA256)"
if [ "$sum" != "$WASI_LIBC_SHA256" ]; then
  case $(basename "$deb") in
    *"${WASI_LIBC_VERSION#*:}"*)
      die "wasi-libc $WASI_LIBC_VERSION has sha256 $sum, expected $WASI_LIBC_SHA256" \
        "the download is broken or the package was replaced; nothing was kept" ;;
  esac
  echo "warning: using $(basename "$deb") (sha256 $sum), which has every symbol that is needed;" \
    "pin it in versions.env" >&2
fi
touch "$work/sysroot/.complete"
mv -T "$work/sysroot" "$sysroot"
printf '%s\n' "$sysroot"
