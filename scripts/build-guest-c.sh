#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds C guests: the SDK for all worlds, test fixtures, benchmark programs, or one program of
# your own. Everything is kept in the cache under the hash of what went in.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
sdk=$root/sdk/c
LLVM_MAJOR=22
# shellcheck source=/dev/null
if [ -f "$root/versions.env" ]; then . "$root/versions.env"; fi
cache=${WARPGRID_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/warpgrid
clang=${WARPGRID_CLANG:-clang-$LLVM_MAJOR}

usage() {
  cat <<'USAGE'
usage: scripts/build-guest-c.sh --fixtures DIR [NAME...]
       scripts/build-guest-c.sh --sdk DIR
       scripts/build-guest-c.sh --world WORLD --output FILE [FLAG...] SOURCE...

  --fixtures DIR   builds the guests that the guests.list of tests/fixtures, benches/guests and
                   test-apps name, or those given, into DIR/NAME.wasm
  --sdk DIR        makes a folder that compiles guests without this script: headers, one folder of
                   objects for each world, and guest.flags, where ${SDK} stands for the folder
  --world WORLD    builds one component; worlds are explained in sdk/c/guest.flags. The world 'stock'
                   is a command by clang and libc alone, without anything of WarpGrid
  -h, --help

environment:
  WARPGRID_CLANG   the compiler (default: the clang-NN of versions.env)
  WARPGRID_CACHE   folder for downloads and results
  WASI_SYSROOT     see scripts/build-guest-sysroot.sh
USAGE
}
die() { printf 'error: %s\n' "$1" >&2; [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2; exit 1; }
say() { printf '%s\n' "$*" >&2; }

mode='' world='' output='' words=()
while [ $# -gt 0 ]; do
  case $1 in
    --fixtures) mode=fixtures output=${2?}; shift ;;
    --sdk) mode=sdk output=${2?}; shift ;;
    --world) mode=one world=${2?}; shift ;;
    --output) output=${2?}; shift ;;
    -h | --help) usage; exit 0 ;;
    *) words+=("$1") ;;
  esac
  shift
done
if [ -z "$mode" ] || [ -z "$output" ]; then usage >&2; exit 2; fi

# -- Tools --

command -v "$clang" >/dev/null || die "'$clang' is not installed" "run scripts/bootstrap.sh"
rustc=$(command -v rustc) || die "'rustc' is not installed; its toolchain has wasm-component-ld" \
  "run scripts/bootstrap.sh"
host=$("$rustc" -vV | sed -n 's/^host: //p')
linker=$("$rustc" --print sysroot)/lib/rustlib/$host/bin/wasm-component-ld
[ -x "$linker" ] || linker=$(command -v wasm-component-ld) ||
  die "no wasm-component-ld in $("$rustc" --print sysroot)" "use a toolchain installed by rustup"
sysroot=$("$root/scripts/build-guest-sysroot.sh")
json=$("$root/scripts/fetch-guest-json.sh")

# -- guest.flags --

# The words of a key, one a line, with the folders filled in.
flags() { # key
  flags_with "$1" "$sdk" "$sysroot" "$linker" "$json"
}
flags_with() { # key sdk sysroot linker json
  sed -n "s|^$1: *||p" "$root/sdk/c/guest.flags" | tr -s ' ' '\n' | sed -e "s|\${SDK}|$2|g" \
    -e "s|\${SYSROOT}|$3|g" -e "s|\${COMPONENT_LD}|$4|g" -e "s|\${JSON}|$5|g"
}
worlds=$(flags worlds)

# -- The SDK's objects --

# Everything that decides them.
tool_id=$("$clang" --version | head -n 1; "$linker" --version; cksum <"$sysroot/lib/wasm32-wasip2/libc.a"
  basename "$json")
sdk_hash=$({ echo "$tool_id"; cat "${BASH_SOURCE[0]}" "$sdk/guest.flags"
  find "$sdk/include" "$sdk/src" "$sdk/generated" "$sdk/json" -type f | LC_ALL=C sort |
    xargs cat; } | sha256sum | cut -c1-24)
objects=$cache/guest-sdk/$sdk_hash

compile_one() { # object source flags...
  local object=$1 source=$2
  shift 2
  "$clang" "$@" -c "$source" -o "$object" || { say "error: cannot compile '$source'"; exit 1; }
}
export -f compile_one say
export clang

build_objects() {
  [ ! -f "$objects/.complete" ] || return 0
  mkdir -p "$cache/guest-sdk"
  # Several guests are built at once; one of them builds the SDK and the others wait.
  exec 9>"$cache/guest-sdk/.lock"
  flock 9
  if [ -f "$objects/.complete" ]; then exec 9>&-; return; fi
  local work w source
  work=$(mktemp -d "$cache/guest-sdk/.build.XXXXXX")
  for w in $worlds; do
    mkdir "$work/$w"
    for source in $(flags sources) $(flags "sources.$w"); do
      printf '%s\0' "compile_one '$work/$w/$(basename "$source" .c).o' '$source' $(
        { flags compile; flags "compile.$w"; flags compile-sdk; } | tr '\n' ' ')"
    done
  done | xargs -0 -n 1 -P "$(nproc)" bash -c || { rm -rf "$work"; die "the C SDK does not compile"; }
  touch "$work/.complete"
  mv -T "$work" "$objects"
  exec 9>&-
}

# -- One guest --

build_one() { # world output flags-and-sources...
  local w=$1 out=$2 word hash file temp
  shift 2
  # Headers beside a source count as well, so all of its folder is hashed.
  hash=$({ printf '%s\n' "$sdk_hash" "$w" "$@"
    for word; do
      [ ! -f "$word" ] || find "$(dirname "$word")" -maxdepth 1 -type f | LC_ALL=C sort | xargs cat
    done; } | sha256sum | cut -c1-32)
  file=$cache/guests/$hash.wasm
  if [ ! -f "$file" ]; then
    temp=$(mktemp "$cache/guests/.build.XXXXXX")
    # shellcheck disable=SC2046 # the words of flags are meant to be split
    if [ "$w" = stock ]; then
      "$clang" --target=wasm32-wasip2 --sysroot="$sysroot" -D_GNU_SOURCE -O2 -Wall -Wextra \
        -fuse-ld="$linker" "$@" -o "$temp"
    else
      "$clang" $(flags compile) $(flags "compile.$w") "$@" $(flags link) $(flags "link.$w") \
        "$objects/$w"/*.o -o "$temp"
    fi || { rm -f "$temp"; die "cannot build '$(basename "$out")'"; }
    chmod 644 "$temp"
    mv "$temp" "$file"
  fi
  cmp -s "$file" "$out" || cp "$file" "$out"
}

# -- A guests.list --

# A line for each guest: name, world, flags and sources (relative to the list).
build_list() { # folder
  local name w rest jobs=$work/jobs
  : >"$jobs"
  while read -r name w rest; do
    case $name in '' | '#'*) continue ;; esac
    if [ ${#words[@]} -gt 0 ]; then
      case " ${words[*]} " in *" $name "*) found="$found $name" ;; *) continue ;; esac
    fi
    case " stock ${worlds//$'\n'/ } " in
      *" $w "*) ;;
      *) die "$1/guests.list: guest '$name' has the unknown world '$w'" ;;
    esac
    printf '%s\0' "set -euo pipefail; cd '$root/$1'; build_one $w '$output/$name.wasm' $rest" >>"$jobs"
  done <"$root/$1/guests.list"
  xargs -0 -r -n 1 -P "$(nproc)" bash -c <"$jobs" ||
    die "not all guests of $1 were built"
}

build_objects
mkdir -p "$cache/guests"
case $mode in
  one)
    [ ${#words[@]} -gt 0 ] || die "no source was given"
    case " stock ${worlds//$'\n'/ } " in
      *" $world "*) ;;
      *) die "unknown world '$world'" "one of: ${worlds//$'\n'/, }" ;;
    esac
    mkdir -p "$(dirname "$output")"
    build_one "$world" "$output" "${words[@]}"
    ;;
  fixtures)
    mkdir -p "$output"
    output=$(cd "$output" && pwd)
    work=$(mktemp -d) found=''
    trap 'rm -rf "$work"' EXIT
    export sdk cache root sysroot linker json sdk_hash objects
    export -f build_one flags flags_with die
    for list in tests/fixtures benches/guests test-apps; do
      if [ -f "$root/$list/guests.list" ]; then build_list "$list"; fi
    done
    for name in ${words[@]+"${words[@]}"}; do
      case " $found " in *" $name "*) ;; *) die "no guests.list has a guest '$name'" ;; esac
    done
    ;;
  sdk)
    # Built aside and swapped in, so that a compile that runs meanwhile sees one or the other.
    mkdir -p "$(dirname "$output")"
    if [ -f "$output/.hash" ] && [ "$(cat "$output/.hash")" = "$sdk_hash" ]; then exit 0; fi
    work=$(mktemp -d "$(dirname "$output")/.sdk.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mkdir "$work/bin" "$work/json"
    cp -r "$sdk/include" "$work/include"
    cp -r "$sdk/generated" "$work/generated"
    cp "$json"/jansson.h "$json"/LICENSE "$sdk"/json/*.h "$work/json"
    cp -r "$objects" "$work/obj"
    ln -s "$sysroot" "$work/sysroot"
    ln -s "$linker" "$work/bin/wasm-component-ld"
    {
      echo "# Made by scripts/build-guest-c.sh --sdk. \${SDK} is the folder of this file."
      echo "worlds: ${worlds//$'\n'/ }"
      for key in compile link; do
        for w in '' $worlds; do
          printf '%s: ' "$key${w:+.$w}"
          # shellcheck disable=SC2016 # the placeholders stay
          flags_with "$key${w:+.$w}" '${SDK}' '${SDK}/sysroot' '${SDK}/bin/wasm-component-ld' \
            '${SDK}/json' | tr '\n' ' '
          if [ "$key" = link ] && [ -n "$w" ]; then
            # shellcheck disable=SC2016
            for object in "$objects/$w"/*.o; do
              printf '${SDK}/obj/%s/%s ' "$w" "$(basename "$object")"
            done
          fi
          echo
        done
      done
    } >"$work/guest.flags"
    echo "$sdk_hash" >"$work/.hash"
    chmod -R a+rX "$work"
    # A compile meanwhile must find an SDK: two renames, then the old one goes.
    rm -rf "$output.old"
    [ ! -e "$output" ] || mv -T "$output" "$output.old"
    mv -T "$work" "$output"
    rm -rf "$output.old"
    ;;
esac
