#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Stops what up.sh started in a folder, and removes its data. Twice is fine.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"

case ${1:-} in
  -h | --help) printf 'usage: test-infra/down.sh DIR\n\nStops the servers that test-infra/up.sh started in DIR and removes their data.\n'; exit 0 ;;
  '' | -*) say 'usage: test-infra/down.sh DIR'; exit 2 ;;
esac
dir=$1
env_file=$dir/env
if [ ! -e "$env_file" ]; then
  say "nothing runs in '$dir'"
  exit 0
fi
exec 9>"$dir/.lock"
flock -w 60 9 || die "another script holds '$dir/.lock'"
[ -e "$env_file" ] || exit 0

# stop PID WORD SIGNAL LAST_SIGNAL: asks, then insists.
stop() {
  ! is_gone "$1" "$2" || return 0
  kill "-$3" "$1" 2>/dev/null || true
  wait_gone "$1" "$2" 20 && return 0
  kill "-$4" "$1" 2>/dev/null || true
  wait_gone "$1" "$2" 10 || die "process $1 does not end"
}

home=$(get "$env_file" WARPGRID_PG_HOME)
stop "$(get "$env_file" WARPGRID_PGBOUNCER_PID)" "$home" INT KILL
redis_port=$(get "$env_file" REDIS_PORT)
[ -z "$redis_port" ] || stop "$(get "$env_file" WARPGRID_REDIS_PID)" "127.0.0.1:$redis_port" TERM KILL
stop "$(get "$env_file" WARPGRID_REGISTRY_PID)" mock_registry.py TERM KILL
# A "fast" shutdown first (open transactions are rolled back), then an "immediate" one.
stop "$(pg_pid "$env_file")" "$home" INT QUIT
case $home in */warpgrid-pg.*) rm -rf -- "$home" ;; esac
rm -f "$env_file"
# Of a folder that up.sh made for itself nothing is left.
case $dir in "${TMPDIR:-/tmp}"/warpgrid-infra.??????) rm -rf -- "$dir" ;; esac
