#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Works on the series of libc-patches/: as commits in a work tree, and back into files.
set -euo pipefail
# shellcheck source=libc-common.sh
. "$(dirname "${BASH_SOURCE[0]}")/libc-common.sh"

usage() {
  cat <<'USAGE'
usage: scripts/rebase-libc.sh --apply | --export | --update [SYSROOT] | --validate

  --apply     makes the work tree build/libc/work anew: the release of libc-patches/UPSTREAM_REF,
              tagged "upstream", and one commit a patch on the branch "warpgrid". Names the files in
              conflict and fails, when a patch does not apply. Commits that are not exported yet are
              not thrown away: --apply refuses
  --export    writes libc-patches/*.patch from the commits of the work tree. Without a change the
              files stay the same, byte for byte. Refuses where a patch is newer than the work tree,
              or did not apply to it
  --update [SYSROOT]
              tries the series on another release: SYSROOT, or the newest package of the suite.
              Lists each patch as applied or in conflict, changes nothing, and fails when one does not
              apply
  --validate  checks names, order, headers and dependencies of the patches, without the release
  -h, --help

environment:
  WARPGRID_LIBC_PATCHES, WARPGRID_LIBC_BUILD   other folders than libc-patches and build/libc

To change a patch: --apply; edit in build/libc/work; `git commit --fixup`, `git rebase -i upstream`;
--export; scripts/test-libc.sh. docs/FORK-MAINTENANCE.md has the whole way.
USAGE
}

mode='' update=''
case ${1-} in
  --apply | --export | --validate) mode=${1#--}; [ $# = 1 ] || { usage >&2; exit 2; } ;;
  --update) mode=update update=${2-} ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
work=$libc_build/work

# The members of another build have other endings (netdb.o, netdb.c.obj): in the index they get those
# of the series. A function that went to another source file stays a conflict.
match_members() { # tree
  local member stem found names=''
  while IFS=/ read -r _ _ member _; do
    stem=${member%%.*}
    [ ! -e "$1/index/libc.a/$member" ] || continue
    for found in "$stem.o" "$stem.obj" "$stem.c.o" "$stem.c.obj"; do
      [ -d "$1/index/libc.a/$found" ] || continue
      mv -T "$1/index/libc.a/$found" "$1/index/libc.a/$member"
      names+=", $found as $member"
      break
    done
  done < <(sed -n 's|^diff --git a/\(index/[^ ]*\) .*|\1|p' "${files[@]}" | LC_ALL=C sort -u)
  [ -z "$names" ] || say "compared as members of the same source: ${names#, }"
}

# The patches of a work tree's commits, into a folder.
export_to() { # folder
  libc_git "$work" format-patch -q -N --zero-commit --no-signature --full-index --no-renames \
    --diff-algorithm=myers --src-prefix=a/ --dst-prefix=b/ --stat=80 -o "$1" upstream..warpgrid
}

# What a work tree was made of, so that nothing is lost by making it anew or by an export: its commit,
# and the patches that are in it.
note() { # work-tree file...
  local dir=$1 file
  shift
  {
    echo "head $(libc_git "$dir" rev-parse warpgrid)"
    for file; do printf '%s %s\n' "$(sum "$file")" "$(basename "$file")"; done
  } >"$dir/.git/warpgrid-series"
}
sum() { sha256sum <"$1" | cut -d' ' -f1; }
noted() { sed -n "s/^\(.*\) $1\$/\1/p" "$work/.git/warpgrid-series"; } # name of a patch -> its sum

# Whether the work tree has something that no file has.
has_work() {
  local kept head changed=0
  [ -d "$work/.git" ] || return 1
  [ -z "$(libc_git "$work" status --porcelain)" ] || return 0
  [ ! -d "$work/.git/rebase-apply" ] && [ ! -d "$work/.git/rebase-merge" ] || return 0
  head=$(libc_git "$work" rev-parse HEAD)
  if [ -f "$work/.git/warpgrid-series" ]; then
    ! grep -qx "head $head" "$work/.git/warpgrid-series"
    return
  fi
  kept=$(mktemp -d)
  export_to "$kept" 2>/dev/null || true # what cannot be exported differs below, and is kept
  cmp -s <(cat "$kept"/*.patch 2>/dev/null) <(cat "${files[@]}" /dev/null) || changed=1
  rm -rf "$kept"
  [ "$changed" = 1 ]
}

# An export must not take away what the work tree never had.
check_export() { # folder with the exported patches
  local file name
  [ -f "$work/.git/warpgrid-series" ] || return 0
  for file in "$patches"/[0-9]*.patch; do
    name=$(basename "$file")
    [ -f "$file" ] && ! cmp -s "$file" "$1/$name" || continue
    [ "$(noted "$name")" != "$(sum "$file")" ] || continue
    [ -n "$(noted "$name")" ] ||
      die "$name is not applied in build/libc/work" "git am it there, mend the file and --apply, or remove it"
    die "$name changed since build/libc/work was made" \
      "keep your commits (git format-patch), --apply in a fresh build/libc/work, and put them on top"
  done
}

validate() {
  local file number expected=1 failed=0
  mapfile -t files < <(series)
  for file in "${files[@]}"; do
    number=$(basename "$file" | cut -c1-4)
    [ "$number" = "$(printf %04d "$expected")" ] ||
      { say "error: $(basename "$file") should have the number $(printf %04d "$expected")"; failed=1; }
    case $(part "$file") in
      dns | fs | socket) ;;
      *) say "error: $(basename "$file") is not named NNNN-dns-, NNNN-fs- or NNNN-socket-"; failed=1 ;;
    esac
    expected=$((expected + 1))
  done
  check_series "${files[@]}" || failed=1
  [ "$failed" = 0 ] || return 1
  say "${#files[@]} patches: order, headers and dependencies are right"
}

if [ "$mode" != validate ]; then
  mkdir -p "$libc_build"
  exec 9>"$libc_build/.lock" # one works, the others wait
  flock 9
fi
case $mode in
  validate) validate || exit 1 ;;
  apply)
    check_ref
    sysroot=$("$root/scripts/build-guest-sysroot.sh")
    validate || die "the series is not in order"
    if has_work; then
      die "build/libc/work has changes that libc-patches/ has not" \
        "commit and --export them, or remove build/libc/work"
    fi
    build_tool
    new=$work.new # an apply that is cut short leaves the old tree
    make_base "$new" "$sysroot" "$(base_name)"
    fitting=()
    for file in "${files[@]}"; do
      apply_series "$new" "$file" || break
      fitting+=("$file")
    done
    note "$new" ${fitting[@]+"${fitting[@]}"}
    rm -rf "$work"
    mv -T "$new" "$work"
    [ ${#fitting[@]} = ${#files[@]} ] ||
      die "the series does not fit wasi-libc $(ref version)" "see docs/FORK-MAINTENANCE.md"
    say "build/libc/work: ${#files[@]} patches on $(ref tag)"
    ;;
  export)
    [ -d "$work/.git" ] || die "no work tree in build/libc/work" "run scripts/rebase-libc.sh --apply"
    [ -z "$(libc_git "$work" status --porcelain)" ] ||
      die "build/libc/work has changes that are not committed" "commit them there first"
    new=$(mktemp -d)
    trap 'rm -rf "$new"' EXIT
    export_to "$new"
    check_export "$new"
    for file in "$patches"/[0-9]*.patch; do
      if [ -f "$file" ] && [ ! -f "$new/$(basename "$file")" ]; then
        rm "$file"
        say "removed: $(basename "$file")"
      fi
    done
    for file in "$new"/*.patch; do
      [ -f "$file" ] || continue
      cmp -s "$file" "$patches/$(basename "$file")" && continue
      cp "$file" "$patches/"
      say "written: $(basename "$file")"
    done
    mapfile -t files < <(series)
    note "$work" "${files[@]}"
    validate || die "the exported series is not in order"
    ;;
  update)
    if [ -z "$update" ]; then
      fetched=$libc_build/update
      rm -rf "$fetched"
      mkdir -p "$fetched"
      "$root/scripts/fetch-deb.sh" --suite "$(ref suite)" --out "$fetched" "$(ref package)" ||
        die "cannot fetch $(ref package) of $(ref suite)" "give a sysroot as the argument"
      dpkg-deb -x "$fetched"/*.deb "$fetched/root"
      update=$fetched/root/usr
      name=$(basename "$fetched"/*.deb)
    else
      name=$update
    fi
    [ -f "$update/lib/$target/libc.a" ] || die "no lib/$target/libc.a in '$update'" "give a sysroot"
    mapfile -t files < <(series)
    build_tool
    tree=$libc_build/update-tree
    say "# $name"
    make_base "$tree" "$update" "another base" match_members
    applied=0 conflicts=0
    for file in "${files[@]}"; do
      if apply_series "$tree" "$file" 2>"$libc_build/update.log"; then
        say "applied   $(basename "$file")"
        applied=$((applied + 1))
      else
        say "conflict  $(basename "$file")"
        grep '^  ' "$libc_build/update.log" >&2 || cat "$libc_build/update.log" >&2
        conflicts=$((conflicts + 1))
      fi
    done
    say "$applied applied, $conflicts in conflict"
    [ "$conflicts" = 0 ] || die "the series does not fit" "see docs/FORK-MAINTENANCE.md"
    say "to take it: write its version, commit and sha256 into libc-patches/UPSTREAM_REF and versions.env"
    ;;
esac
