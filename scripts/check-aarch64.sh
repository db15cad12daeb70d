#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compiles the host's C for aarch64, to find what takes x86_64 for granted.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'USAGE'
usage: scripts/check-aarch64.sh

Compiles every C file of the host to an aarch64 object, warnings as errors, with Debian's cross
compiler. What it proves: the sources, the public headers and the runtime's header compile where
char is unsigned and the architecture is another one. What it does not: nothing is linked or run,
the Rust crate is not compiled, and libuv, c-ares, jansson and OpenSSL are this machine's headers,
which are the same for both architectures (both are LP64 and little-endian).

Environment: CC_AARCH64  the compiler (default: aarch64-linux-gnu-gcc)
USAGE
}
case ${1-} in '') ;; -h | --help) usage; exit 0 ;; *) usage >&2; exit 2 ;; esac

cc=${CC_AARCH64:-aarch64-linux-gnu-gcc}
command -v "$cc" >/dev/null || die "'$cc' is not installed" "run scripts/bootstrap.sh lint"
# This program fails to compile anywhere else.
printf '#ifndef __aarch64__\n#error not aarch64\n#endif\n' | "$cc" -fsyntax-only -x c - ||
  die "'$cc' does not compile for aarch64"

work=$(mktemp -d "${TMPDIR:-/tmp}/warpgrid-aarch64.XXXXXX")
trap 'rm -rf "$work"' EXIT
# Only the third-party headers of this machine, not its libc's.
mkdir "$work/include"
host=$(cc -print-multiarch)
for name in uv.h uv openssl; do ln -s "/usr/include/$name" "$work/include/"; done
ln -s /usr/include/ares*.h /usr/include/jansson*.h "$work/include/"
mkdir "$work/arch"
[ ! -d "/usr/include/$host/openssl" ] || ln -s "/usr/include/$host/openssl" "$work/arch/"

cd "$root"
export cc work root
compile_one() {
  "$cc" -std=c11 -D_GNU_SOURCE -O2 -fPIC -fvisibility=hidden -Iinclude -Isrc \
    -Icrates/warpgrid-runtime/include -isystem "$work/include" -isystem "$work/arch" \
    -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Werror \
    -fno-strict-aliasing -c "$1" -o "$work/${1//\//_}.o"
}
export -f compile_one
mapfile -t files < <(git ls-files -co --exclude-standard -- 'src/*.c' ':!src/cli/templates')
printf '%s\0' "${files[@]}" | xargs -0 -P "$(nproc)" -n 1 bash -c 'compile_one "$1"' _ ||
  die "the host's C does not compile for aarch64"
made=("$work"/*.o)
readelf -h "${made[0]}" | grep -q AArch64 || die "'$cc' made no aarch64 objects"
[ ${#made[@]} = ${#files[@]} ] || die "${#made[@]} objects of ${#files[@]} sources"
say "${#made[@]} sources compile for aarch64"
