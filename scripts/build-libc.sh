#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the two sysroots of C guests: wasi-libc as it is released, and with the series of
# libc-patches/ on top. docs/FORK-MAINTENANCE.md says how the series works.
set -euo pipefail
# shellcheck source=libc-common.sh
. "$(dirname "${BASH_SOURCE[0]}")/libc-common.sh"

usage() {
  cat <<'USAGE'
usage: scripts/build-libc.sh [--stock] [--patched] [--subset PART[,PART]] [--sysroot DIR]
                             [--output DIR]

Unpacks the release that libc-patches/UPSTREAM_REF names into a git work tree (build/libc/tree),
applies libc-patches/*.patch to it with git am, and builds:

  build/sysroot-stock     headers and libraries of the release, unchanged
  build/sysroot-patched   the same; in libc.a the hooked functions have other names and the series'
                          own members take their places; libwarpgrid_shim.a for hosts that serve
                          warpgrid:shim

A guest is compiled with `clang --target=wasm32-wasip2 --sysroot=build/sysroot-patched`. It runs in
every WASI 0.2 host. With -lwarpgrid_shim it asks WarpGrid by its own interfaces and needs a host
that has them.

  --stock          only build/sysroot-stock
  --patched        only build/sysroot-patched
  --subset PARTS   only the patches of these parts: dns, fs, socket
  --sysroot DIR    patch a copy of another library: a sysroot of wasi-sdk, or the self-contained
                   folder of Rust's wasm32-wasip2. A symbol that is not as the series expects it is
                   an error. Needs --output
  --output DIR     where the patched sysroot goes; a sysroot or an empty folder is replaced
  -h, --help
USAGE
}

stock=0 patched=0 subset='' foreign='' output=''
while [ $# -gt 0 ]; do
  case $1 in
    --stock) stock=1 ;;
    --patched) patched=1 ;;
    --subset) subset=${2?}; shift ;;
    --sysroot) foreign=${2?}; shift ;;
    --output) output=${2?}; shift ;;
    -h | --help) usage; exit 0 ;;
    *) say "error: unknown option '$1'"; usage >&2; exit 2 ;;
  esac
  shift
done
if [ "$stock$patched" = 00 ]; then stock=1 patched=1; fi
if [ -n "$foreign" ]; then
  stock=0 patched=1
  [ -n "$output" ] || die "--sysroot needs --output" "the folder itself is not changed"
fi
if [ -n "$foreign" ]; then
  [ -d "$foreign" ] || die "no folder '$foreign'"
  [ "$(realpath -m "$output")" != "$(realpath "$foreign")" ] ||
    die "--output is the folder of --sysroot" "the folder itself is not changed"
fi
[ -n "$output" ] || output=$root/build/sysroot-patched
if [ -e "$output" ] && [ -n "$(ls -A "$output")" ] && ! [ -f "$output/lib/$target/libc.a" ] && ! [ -f "$output/libc.a" ]; then
  die "'$output' is there and no sysroot" "it would be replaced; give a new folder"
fi
for name in ${subset//,/ }; do
  case $name in dns | fs | socket) ;; *) die "'$name' is no part of the series" "one of: dns, fs, socket" ;; esac
done

check_ref
sysroot=$("$root/scripts/build-guest-sysroot.sh")
mkdir -p "$libc_build"
exec 9>"$libc_build/.lock" # one builds, the others wait
flock 9

# replace DIR NEW: NEW takes the place of DIR.
replace() {
  rm -rf "$1.old"
  [ ! -e "$1" ] || mv -T "$1" "$1.old"
  mv -T "$2" "$1"
  rm -rf "$1.old"
}

if [ "$stock" = 1 ]; then
  new=$root/build/.sysroot-stock.$$
  rm -rf "$new"
  mkdir -p "$new/include" "$new/lib"
  cp -rL "$sysroot/include/$target" "$new/include/"
  cp -rL "$sysroot/lib/$target" "$new/lib/"
  replace "$root/build/sysroot-stock" "$new"
  say "build/sysroot-stock"
fi
[ "$patched" = 1 ] || exit 0

# -- The tree with the series --

mapfile -t files < <(series "$subset")
check_series "${files[@]}" || die "the series cannot be applied" "see scripts/rebase-libc.sh --help"
build_tool
tree=$libc_build/tree${subset:+-${subset//,/-}}
make_base "$tree" "$sysroot" "$(base_name)"
apply_series "$tree" "${files[@]}" || die "the series does not fit wasi-libc $(ref version)" \
  "see docs/FORK-MAINTENANCE.md"

# -- Our members --

work=$(mktemp -d "$libc_build/.build.XXXXXX")
trap 'rm -rf "$work"' EXIT
compile() { # output source
  "$clang" --target=$target --sysroot="$tree" -std=c11 -D_GNU_SOURCE -O2 -ffunction-sections \
    -fdata-sections -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
    -Werror -I"$tree/warpgrid" -ffile-prefix-map="$tree/=" -c "$2" -o "$1" || die "cannot compile '$2'"
}
members=() shims=()
for source in "$tree"/warpgrid/*.c; do
  [ -f "$source" ] || continue
  compile "$work/warpgrid_$(basename "$source").obj" "$source"
  members+=("$work/warpgrid_$(basename "$source").obj")
done
for source in "$tree"/warpgrid/shim/*.c; do
  [ -f "$source" ] || continue
  compile "$work/shim_$(basename "$source").o" "$source"
  shims+=("$work/shim_$(basename "$source").o")
done

# -- Hooks --

# A patch adds the line "hook NEW-NAME" to the index file of a definition. Elsewhere the member may
# have another name.
any=0
[ -z "$foreign" ] || any=1
# grep's 1: no hook, as in a series of headers alone.
(cd "$tree/index" && { grep -rl '^hook ' . || [ $? = 1 ]; }) | LC_ALL=C sort | while IFS=/ read -r _ library member symbol; do
  file=$tree/index/$library/$member/$symbol
  [ "$library" = libc.a ] || die "a hook is in '$library'" "only libc.a is changed"
  [ "$any" = 0 ] || member='*'
  printf '%s %s %s %s\n' "$member" "$symbol" "$(sed -n 's/^hook //p' "$file")" \
    "$(sed -n 's/^signature //p' "$file")"
done >"$work/plan"

# -- The sysroot --

new=$work/sysroot
if [ -n "$foreign" ]; then
  cp -rL "$foreign" "$new"
  chmod -R u+w "$new"
  libc=$new/lib/$target/libc.a
  [ -f "$libc" ] || libc=$new/libc.a
  [ -f "$libc" ] || die "no libc.a in '$foreign'" \
    "give the sysroot of a wasi-sdk, or lib/rustlib/$target/lib/self-contained of a Rust toolchain"
  if [ -d "$new/include/$target" ] && [ -d "$tree/include/$target/warpgrid" ]; then
    cp -r "$tree/include/$target/warpgrid" "$new/include/$target/"
  fi
else
  mkdir "$new"
  cp -r "$tree/include" "$tree/lib" "$new/"
  libc=$new/lib/$target/libc.a
fi
"$tool" rename "$libc" "$work/plan" "$work/libc.a" ${members[@]+"${members[@]}"} ||
  die "the series does not fit '${foreign:-$sysroot}'"
mv "$work/libc.a" "$libc"
if [ ${#shims[@]} -gt 0 ]; then
  # One object by the name of an archive: the linker takes an object whole, but from an archive only
  # what a strong reference asks for, and libc's references to it are weak. The linker drops what is
  # not used. The section says what the imports are; it goes into an object by way of LLVM's text.
  "$(find_wasm_tools)" component embed --world shims "$root/wit/shim" --only-custom -o "$work/type"
  { echo '!wasm.custom_sections = !{!0}'
    printf '!0 = !{!"component-type:warpgrid-shim", !"'
    od -An -v -tx1 "$work/type" | tr -d '\n' | sed 's/ /\\/g'
    echo '"}'; } >"$work/type.ll"
  "$clang" --target=$target -Wno-override-module -c "$work/type.ll" -o "$work/type.o"
  "wasm-ld-$LLVM_MAJOR" -r --strip-debug -o "$(dirname "$libc")/libwarpgrid_shim.a" "${shims[@]}" "$work/type.o"
fi
mkdir -p "$(dirname "$output")"
replace "$output" "$new"
say "${output#"$root"/}: ${#files[@]} patches, $(wc -l <"$work/plan") hooks"
