#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The demo behind `make run`: packs a service written in C, serves it with a private PostgreSQL
# behind the host's pool, asks it, and stops everything.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case ${1-} in
  '') ;;
  -h | --help)
    cat <<'USAGE'
usage: scripts/run.sh

Builds warp, starts a PostgreSQL of its own on a free port, packs test-apps/c-users, serves it on a
free port, sends GET, POST and GET with curl, shows the answers, and stops what it started. The last
line on stdout is the number of users that the service counts after the POST.
USAGE
    exit 0 ;;
  *) die "unknown argument '$1'" "see scripts/run.sh --help" ;;
esac

app=$root/test-apps/c-users
build dev warp sdk
warp=$root/build/dev/warp
work=$(mktemp -d "${TMPDIR:-/tmp}/warpgrid-run.XXXXXX")
server=
finish() {
  local code=$?
  trap '' INT TERM
  if [ -n "$server" ]; then
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  [ ! -d "$work/db" ] || "$root/test-infra/down.sh" "$work/db" >/dev/null 2>&1 || true
  if [ "$code" != 0 ] && [ -s "$work/log" ]; then
    say "--- the end of warp's log"
    tail -n 80 "$work/log" >&2
  fi
  rm -rf -- "$work"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

say "# PostgreSQL of its own, with 5 users"
env_file=$("$root/test-infra/up.sh" "$work/db")
set -a
# shellcheck source=/dev/null
. "$env_file"
set +a

say "# warp pack"
packed=$work/c-users.wasm
"$warp" pack --lang c --config "$app/warp.toml" --out "$packed" >/dev/null
say "c-users.wasm: $(stat -c %s "$packed") bytes"

say "# warp serve"
"$warp" serve "$packed" --config "$app/warp.toml" --listen 127.0.0.1:0 >"$work/url" 2>"$work/log" &
server=$!
url=
for _ in $(seq 300); do
  url=$(head -n 1 "$work/url")
  [ -z "$url" ] || break
  kill -0 "$server" 2>/dev/null || die "warp serve ended early"
  sleep 0.1
done
[ -n "$url" ] || die "warp serve does not listen"
say "$url"

# ask METHOD PATH [BODY]: prints the answer as a line; anything but 2xx ends the demo.
ask() {
  local args=(-sS --max-time 30 -X "$1" -w '\n%{http_code}') out
  [ $# -lt 3 ] || args+=(-H 'content-type: application/json' -d "$3")
  say "# $1 $2${3:+  $3}"
  out=$(curl "${args[@]}" "$url$2") || die "no answer from $url$2"
  case ${out##*$'\n'} in
    2*) ;;
    *) die "$1 $2 was answered ${out##*$'\n'}: ${out%$'\n'*}" ;;
  esac
  printf '%s\n' "${out%$'\n'*}"
}
ask GET /users
ask POST /users '{"name":"Radia Perlman","email":"radia@example.com"}'

count=$(ask GET /users/count)
say "# SIGTERM: requests finish, connections go back"
kill -TERM "$server"
wait "$server" || die "warp serve ended with $?"
server=
printf '%s\n' "$count"
