# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What build-libc.sh, rebase-libc.sh and test-libc.sh share; sourced, not run.

# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

patches=${WARPGRID_LIBC_PATCHES:-$root/libc-patches}
libc_build=${WARPGRID_LIBC_BUILD:-$root/build/libc}
target=wasm32-wasip2
clang=${WARPGRID_CLANG:-clang-$LLVM_MAJOR}

# ref KEY: a value of UPSTREAM_REF.
ref() { sed -n "s/^$1 //p" "$patches/UPSTREAM_REF"; }

check_ref() {
  local key
  for key in commit tag date package version sha256; do
    [ -n "$(ref $key)" ] || die "no '$key' in libc-patches/UPSTREAM_REF"
  done
  if [ "$(ref version)" != "$WASI_LIBC_VERSION" ] || [ "$(ref sha256)" != "$WASI_LIBC_SHA256" ]; then
    die "libc-patches/UPSTREAM_REF and versions.env name two versions of wasi-libc" \
      "one sysroot serves all guests: write the same version and sha256 into both"
  fi
}

# The same names and dates on every machine: equal trees make equal commits and equal patches.
libc_git() { # folder arguments...
  local dir=$1 date
  shift
  date=$(ref date)
  env -u GIT_DIR -u GIT_WORK_TREE -u GIT_INDEX_FILE GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null \
    GIT_AUTHOR_NAME=WarpGrid GIT_AUTHOR_EMAIL=warpgrid@localhost GIT_AUTHOR_DATE="$date" \
    GIT_COMMITTER_NAME=WarpGrid GIT_COMMITTER_EMAIL=warpgrid@localhost GIT_COMMITTER_DATE="$date" \
    git -C "$dir" -c core.autocrlf=false -c commit.gpgsign=false -c am.threeWay=false \
    -c gc.auto=0 -c advice.mergeConflict=false -c init.defaultBranch=warpgrid "$@"
}

# build_tool: sets $tool to wasm-symbols, built unless WARPGRID_BUILD names a folder that has it.
build_tool() {
  [ -n "${WARPGRID_BUILD-}" ] || build dev wasm-symbols
  tool=${WARPGRID_BUILD:-$root/build/dev}/wasm-symbols
}

# make_base DIR SYSROOT NAME [COMMAND]: the base tree as a git work tree, its one commit tagged "upstream": the
# release's headers, objects and libraries, and index/LIBRARY/MEMBER/SYMBOL, a text of each definition.
# After build_tool. COMMAND DIR sees to the index before it is committed.
make_base() {
  local dir=$1 sysroot=$2 name=$3 mend=${4-} library
  rm -rf "$dir"
  mkdir -p "$dir/index"
  libc_git "$dir" init -q
  mkdir "$dir/include" "$dir/lib"
  cp -rL "$sysroot/include/$target" "$dir/include/"
  cp -rL "$sysroot/lib/$target" "$dir/lib/"
  chmod -R u+w "$dir"
  for library in "$dir/lib/$target"/*.a; do
    "$tool" index "$library" "$dir/index/$(basename "$library")"
  done
  [ -z "$mend" ] || "$mend" "$dir"
  printf '* -text\n*.a -diff\n*.o -diff\n' >"$dir/.gitattributes"
  libc_git "$dir" add -A -f
  libc_git "$dir" commit -q -m "$name"
  libc_git "$dir" tag upstream
}

base_name() { echo "wasi-libc $(ref version) ($(ref tag), $(ref commit))"; }

# part PATCH: dns, fs or socket, from the name NNNN-PART-....patch.
part() { basename "$1" | sed 's/^[0-9]*-\([a-z]*\)-.*/\1/'; }

# series [PART,PART...]: the files of the series, in order; only those of the parts.
series() {
  local file
  for file in "$patches"/[0-9][0-9][0-9][0-9]-*.patch; do
    [ -f "$file" ] || continue
    case ",${1-}," in ,, | *",$(part "$file"),"*) echo "$file" ;; esac
  done
}

# needs PATCH: numbers of the patches that its header says it depends on. grep's 1: none.
needs() { sed -n '1,/^---$/s/^Depends-On: *//p' "$1" | tr ', ' '\n\n' | grep -x '[0-9]\{4\}' || [ $? = 1 ]; }

# check_series FILE...: numbers without gaps among all, headers, and dependencies that come before.
check_series() {
  local file number need seen=' ' failed=0 key
  for file; do
    number=$(basename "$file" | cut -c1-4)
    for key in Purpose Depends-On Interface; do
      sed -n '1,/^---$/p' "$file" | grep -q "^$key: *[^ ]" ||
        { say "error: $(basename "$file") has no '$key:' in its header"; failed=1; }
    done
    for need in $(needs "$file"); do
      case $seen in *" $need "*) continue ;; esac
      say "error: $(basename "$file") needs patch $need, which $(
        if [ "$need" \< "$number" ]; then echo 'is not among those to apply'; else echo 'comes after it'; fi)"
      failed=1
    done
    seen="$seen$number "
  done
  return "$failed"
}

# drift PATCH DIR FILE: which lines of an index file are not as the patch has them.
drift() {
  local key was is
  [ -f "$2/$3" ] || return 0
  for key in kind binding signature aliases users; do
    was=$(awk -v start="diff --git a/$3 b/$3" -v key="$key" '$0 == start { on = 1; next }
      /^diff --git / { on = 0 } on && index($0, " " key " ") == 1 { print substr($0, length(key) + 3) }' "$1")
    is=$(sed -n "s/^$key //p" "$2/$3")
    [ -z "$was" ] || [ "$was" = "$is" ] || say "    $key was $was, is $is"
  done
}

# apply_series DIR FILE...: git am of each; names the files in conflict.
apply_series() {
  local dir=$1 file log
  shift
  log=$(mktemp)
  for file; do
    if ! libc_git "$dir" am -q --keep-cr --committer-date-is-author-date "$file" >"$log" 2>&1; then
      say "error: $(basename "$file") does not apply:"
      sed -n 's/^error: patch failed: \(.*\):[0-9]*$/\1/p' "$log" | sort -u | while read -r conflict; do
        say "  conflict in $conflict"
        drift "$file" "$dir" "$conflict"
      done
      sed -n 's/^error: \(.*\): does not exist in index$/  not there any more: \1/p
        s/^error: \(.*\): already exists in .*$/  there already: \1/p' "$log" | sort -u >&2
      grep -q '^error: ' "$log" || sed 's/^/  /' "$log" >&2
      # Nothing to abort, where git took the file for no patch at all.
      libc_git "$dir" am --abort >/dev/null 2>&1 || true
      rm -f "$log"
      return 1
    fi
  done
  rm -f "$log"
}

# find_wasm_tools: the path of wasm-tools.
find_wasm_tools() {
  local tool=${WASM_TOOLS-}
  [ -n "$tool" ] || tool=$(command -v wasm-tools || find "$cache/tools" -maxdepth 2 -name wasm-tools -type f 2>/dev/null | head -n 1)
  [ -x "$tool" ] || die "wasm-tools is not installed; it makes the component type of -lwarpgrid_shim" \
    "run scripts/bootstrap.sh test"
  echo "$tool"
}
