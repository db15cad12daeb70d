#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds libpq, PostgreSQL's C client, for wasm32-wasip2, and psql as a component. PostgreSQL's source
# is compiled as it is; what it asks of a Unix that wasi-libc does not have is in sdk/libpq.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<USAGE
usage: scripts/build-libpq.sh [--psql] [--sysroot DIR] [--output DIR]

Builds PostgreSQL ${POSTGRES_SOURCE_VERSION%%-*}'s libpq for C programs of the target wasm32-wasip2:

  OUTPUT/include           libpq-fe.h and what it includes
  OUTPUT/lib/libpq.a       with those parts of libpgport and libpgcommon that it needs
  OUTPUT/lib/pkgconfig     libpq.pc, for any folder that OUTPUT is moved to

It knows no TLS, GSSAPI, LDAP and Unix sockets: inside of a component nothing is to be encrypted, and
WarpGrid speaks TLS to the server. docs/guides/c-services.md shows a program. Kept in the cache by
content; the first build takes half a minute.

  --psql         also OUTPUT/psql.wasm, psql as a command component, without readline
  --sysroot DIR  the sysroot of guests (default: build/sysroot-patched, made by scripts/build-libc.sh
                 when it is not there)
  --output DIR   default: build/libpq
  -h, --help

environment:
  WARPGRID_CLANG   the compiler (default: the clang-NN of versions.env)
  WARPGRID_CACHE   folder for downloads and results
USAGE
}

psql=0 sysroot=$root/build/sysroot-patched output=$root/build/libpq
while [ $# -gt 0 ]; do
  case $1 in
    --psql) psql=1 ;;
    --sysroot) sysroot=${2?}; shift ;;
    --output) output=${2?}; shift ;;
    -h | --help) usage; exit 0 ;;
    *) say "error: unknown option '$1'"; usage >&2; exit 2 ;;
  esac
  shift
done

target=wasm32-wasip2
here=$root/sdk/libpq
clang=${WARPGRID_CLANG:-clang-$LLVM_MAJOR}
for tool in "$clang" "wasm-ld-$LLVM_MAJOR" "llvm-ar-$LLVM_MAJOR" "llvm-nm-$LLVM_MAJOR" make rustc; do
  command -v "$tool" >/dev/null || die "'$tool' is not installed" "run scripts/bootstrap.sh"
done
if [ "$sysroot" = "$root/build/sysroot-patched" ] && [ ! -d "$sysroot" ]; then
  "$root/scripts/build-libc.sh" --patched
fi
[ -f "$sysroot/lib/$target/libc.a" ] || die "no lib/$target/libc.a in '$sysroot'" \
  "scripts/build-libc.sh makes build/sysroot-stock and build/sysroot-patched"
sysroot=$(cd "$sysroot" && pwd)

kept=$cache/libpq
mkdir -p "$kept" "$output"
exec 9>"$kept/.lock" # one builds, the others wait
flock 9
work=''
trap '[ -z "$work" ] || rm -rf "$work"' EXIT

# -- PostgreSQL's source --

source=$kept/source-$POSTGRES_SOURCE_SHA256
if [ ! -d "$source" ]; then
  work=$(mktemp -d "$kept/.fetch.XXXXXX")
  say "fetching the sources of postgresql-15 $POSTGRES_SOURCE_VERSION"
  sha256=$POSTGRES_SOURCE_SHA256
  if ! timeout 300 "$root/scripts/fetch-deb.sh" --suite "$POSTGRES_SOURCE_SUITE" --source --out "$work" \
    "postgresql-15=$POSTGRES_SOURCE_VERSION" >&2; then
    # A release moves on; apt has checked what comes instead.
    say "warning: $POSTGRES_SOURCE_SUITE has postgresql-15 $POSTGRES_SOURCE_VERSION no more; taking its present one"
    sha256=
    timeout 300 "$root/scripts/fetch-deb.sh" --suite "$POSTGRES_SOURCE_SUITE" --source --out "$work" \
      postgresql-15 >&2 || die "cannot fetch the sources of postgresql-15"
  fi
  tar=$(find "$work" -name '*.orig.tar.*' ! -name '*.asc')
  sum=$(sha256sum "$tar" | cut -d' ' -f1)
  [ -z "$sha256" ] || [ "$sum" = "$sha256" ] || die "$(basename "$tar") has sha256 $sum, expected $sha256" \
    "nothing was kept; check versions.env"
  mkdir "$work/all"
  tar -xf "$tar" -C "$work/all" --strip-components=1 --exclude='*/po/*' --exclude='*/src/test/*' \
    --exclude='*/doc/*' --exclude='*/contrib/*'
  mv -T "$work/all" "$source"
  rm -rf "$work"
  work=''
fi

version=$(sed -n "s/^PACKAGE_VERSION='\(.*\)'$/\1/p" "$source/configure")

# -- libpq.a, and psql's objects --

# What decides the result: of the C library its headers, and which functions it has.
hash=$({ cat "${BASH_SOURCE[0]}"; echo "$POSTGRES_SOURCE_SHA256"; find "$here" -type f | LC_ALL=C sort | xargs cat
  "$clang" --version | head -n 1
  (cd "$sysroot/include/$target" && find . -type f | LC_ALL=C sort | xargs cat)
  "llvm-nm-$LLVM_MAJOR" --defined-only --extern-only --just-symbol-name "$sysroot/lib/$target/libc.a" \
    2>/dev/null | LC_ALL=C sort; } | sha256sum | cut -c1-32) || die "cannot read '$sysroot/lib/$target/libc.a'"
built=$kept/$hash

# objects FOLDER FILE.c...: what make is to build there; not what is for TLS, GSSAPI or Windows.
objects() {
  local file
  cd "$source/src/$1"
  shift
  # shellcheck disable=SC2068 # patterns of files
  for file in $@; do
    case $file in *openssl* | *gssapi* | *secure-common* | *win32*) ;; *) printf '%s ' "${file%.c}.o" ;; esac
  done
}

compile_all() ( # folder; in a shell of its own, for its -e
  set -e
  flags="--target=$target --sysroot=$sysroot -D_GNU_SOURCE -D_WASI_EMULATED_SIGNAL -D_WASI_EMULATED_GETPID"
  flags="$flags -D_WASI_EMULATED_PROCESS_CLOCKS -I$here/include -include $here/compat.h"
  # The checks of configure link; they need no component.
  printf '#!/bin/sh\nexec %s %s -fuse-ld=%s "$@"\n' "$clang" "$flags" \
    "$(command -v "wasm-ld-$LLVM_MAJOR")" >"$1/cc"
  printf '#!/bin/sh\nexec %s/cc %s "$@"\n' "$1" "$sjlj" >"$1/cc-sjlj"
  chmod +x "$1/cc" "$1/cc-sjlj"
  mkdir "$1/obj" "$1/out" "$1/out/psql"
  cd "$1/obj"
  # wasi-libc has a struct sockaddr_un, but no Unix sockets.
  CONFIG_SHELL=/bin/sh /bin/sh "$source/configure" --build="$(uname -m)-linux" --host=wasm32-unknown-linux \
    --with-template=linux --without-readline --without-zlib --disable-thread-safety --disable-spinlocks \
    --disable-atomics --prefix=/usr --sysconfdir=/etc/postgresql \
    ac_cv_type_struct_sockaddr_un=no ac_cv_header_termios_h=no \
    CC="$1/cc" AR="llvm-ar-$LLVM_MAJOR" RANLIB="llvm-ranlib-$LLVM_MAJOR" LIBS="$libs" \
    CFLAGS="-O2 -w -ffunction-sections -fdata-sections -ffile-prefix-map=$source=."
  make_in() { make -s -j "$(nproc)" -C "src/$1" "${@:2}"; }
  make_in port libpgport.a
  make_in backend generated-headers
  # One of them includes a header of the server, and that one setjmp.h.
  make_in common CC="$1/cc-sjlj" libpgcommon.a
  # shellcheck disable=SC2046 # words
  make_in interfaces/libpq $(objects interfaces/libpq 'fe-*.c' legacy-pqsignal.c libpq-events.c pqexpbuffer.c)
  make_in fe_utils CC="$1/cc-sjlj" libpgfeutils.a
  # shellcheck disable=SC2046
  make_in bin/psql CC="$1/cc-sjlj" $(objects bin/psql '*.c')
  for file in compat psql; do
    "$1/cc" -O2 -Wall -Wextra -Werror -Wno-unused-command-line-argument -ffunction-sections \
      -c "$here/$file.c" -o "$1/$file.o"
  done
  # Programs of users get what libpq uses; pg_strong_random is in compat.o.
  rm src/port/pg_strong_random.o
  mkdir -p "$1/out/include/libpq" "$1/out/lib/pkgconfig"
  # shellcheck disable=SC2046
  "llvm-ar-$LLVM_MAJOR" qcs "$1/out/lib/libpq.a" src/interfaces/libpq/*.o "$1/compat.o" \
    $(find src/common src/port -name '*.o' ! -name logging.o ! -name config_info.o ! -name exec.o | LC_ALL=C sort)
  cp src/bin/psql/*.o "$1/psql.o" src/fe_utils/libpgfeutils.a src/common/logging.o "$1/out/psql"
  cd "$source/src"
  cp interfaces/libpq/libpq-fe.h interfaces/libpq/libpq-events.h include/postgres_ext.h \
    "$1/obj/src/include/pg_config_ext.h" "$1/out/include"
  cp include/libpq/libpq-fs.h "$1/out/include/libpq"
  cp ../COPYRIGHT "$1/out"
  # shellcheck disable=SC2016 # pkg-config fills these in
  { printf 'prefix=${pcfiledir}/../..\n\nName: libpq\nDescription: PostgreSQL libpq library\n'
    printf 'Version: %s\nCflags: -I${prefix}/include\n' "$version"
    printf 'Libs: -L${prefix}/lib -lpq %s\n' "$libs"; } >"$1/out/lib/pkgconfig/libpq.pc"
)

libs='-lwasi-emulated-signal -lwasi-emulated-getpid -lwasi-emulated-process-clocks'
sjlj='-mllvm -wasm-enable-sjlj -mllvm -wasm-use-legacy-eh=false'
if [ ! -d "$built" ]; then
  work=$(mktemp -d "$kept/.build.XXXXXX")
  say "building libpq $version"
  if ! (export -f compile_all objects
    export source version target sysroot clang here libs sjlj LLVM_MAJOR
    timeout 600 bash -c 'compile_all "$1"' _ "$work" >"$work/log" 2>&1); then
    cp "$work/log" "$kept/log"
    tail -n 20 "$work/log" >&2
    die "libpq does not compile" "see $kept/log"
  fi
  mv -T "$work/out" "$built"
  rm -rf "$work"
  work=''
fi
cp -r "$built/include" "$built/lib" "$built/COPYRIGHT" "$output"
say "${output#"$root"/}: libpq $version"

# -- psql --

[ "$psql" = 1 ] || exit 0
linker=$(find_component_ld)
# shellcheck disable=SC2086 # words
"$clang" --target=$target --sysroot="$sysroot" -fuse-ld="$linker" -Wl,--gc-sections,-s,-z,stack-size=1048576 \
  -Wl,--wrap=__main_argc_argv,--component-type,"$here/psql.wit" \
  "$built"/psql/*.o "$built/psql/libpgfeutils.a" -L"$built/lib" -lpq $libs -lsetjmp -o "$output/psql.wasm.new" ||
  die "psql does not link"
mv "$output/psql.wasm.new" "$output/psql.wasm"
say "${output#"$root"/}/psql.wasm: psql $version"
