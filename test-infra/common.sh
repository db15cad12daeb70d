# SPDX-License-Identifier: Apache-2.0
# Shared by up.sh and down.sh; sourced, not run.

say() { printf '%s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$1" >&2; [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2; exit 1; }

# get FILE KEY: the value of a KEY=VALUE line, without running the file.
get() { sed -n "s/^$2=//p" "$1" | tail -n 1; }

# pg_pid ENV_FILE: the postmaster; asked of the data folder, since a test may have restarted it.
pg_pid() {
  local home
  home=$(get "$1" WARPGRID_PG_HOME)
  head -n 1 "$home/data/postmaster.pid" 2>/dev/null || get "$1" WARPGRID_PG_PID
}

# is_process PID WORD: PID runs and its command line holds WORD (a pid may have been reused).
is_process() {
  [ -n "$1" ] && [ -r "/proc/$1/cmdline" ] && tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -qF -- "$2"
}

# is_gone PID WORD: the process ended; a zombie that nobody has waited for counts as gone.
is_gone() {
  ! is_process "$1" "$2" || grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null
}

# wait_gone PID WORD SECONDS
wait_gone() {
  local tries=$(($3 * 20))
  while ! is_gone "$1" "$2"; do
    [ "$tries" -gt 0 ] || return 1
    tries=$((tries - 1))
    sleep 0.05
  done
}
