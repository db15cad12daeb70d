#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# How long a newcomer waits: `make run` and `make test`, cold and warm.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'USAGE'
usage: scripts/time-setup.sh [--warm] [run|test]...

Times `make run` and `make test` (or one of them) cold, with an empty cache and no build folder, and
then warm. Works in a copy of the repository and a cache of its own, so that yours stay as they are;
packages of the system and cargo's downloads count as there. Prints lines like

  SETUP run cold=612s warm=4s

  --warm   only the warm times, in this folder with your cache
USAGE
}
warm_only=0 what=()
for arg; do
  case $arg in
    -h | --help) usage; exit 0 ;;
    --warm) warm_only=1 ;;
    run | test) what+=("$arg") ;;
    *) say "error: unknown argument '$arg'"; usage >&2; exit 2 ;;
  esac
done
[ ${#what[@]} -gt 0 ] || what=(run test)

# timed FOLDER TARGET: seconds with one digit
timed() {
  local begin end
  begin=$(date +%s%N)
  make -C "$1" "$2" >"$log" 2>&1 || { tail -n 30 "$log" >&2; die "make $2 failed"; }
  end=$(date +%s%N)
  awk -v n=$((end - begin)) 'BEGIN { printf "%.1f", n / 1e9 }'
}
log=$(mktemp "${TMPDIR:-/tmp}/warpgrid-time.XXXXXX")
work=
trap 'rm -f "$log"; [ -z "$work" ] || rm -rf "$work"' EXIT
if [ "$warm_only" = 1 ]; then
  for target in "${what[@]}"; do
    timed "$root" "$target" >/dev/null
    echo "SETUP $target warm=$(timed "$root" "$target")s"
  done
  exit 0
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/warpgrid-setup.XXXXXX")
for target in "${what[@]}"; do
  rm -rf "$work/copy" "$work/cache"
  mkdir "$work/copy" "$work/cache"
  (cd "$root" && git ls-files -co --exclude-standard -z | xargs -0 cp -P --parents -t "$work/copy")
  git -C "$work/copy" init -q
  export WARPGRID_CACHE=$work/cache CCACHE_DIR=$work/cache/ccache
  cold=$(timed "$work/copy" "$target")
  echo "SETUP $target cold=${cold}s warm=$(timed "$work/copy" "$target")s"
done
