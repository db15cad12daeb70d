#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Waits until the servers of the tests accept connections (US-701).
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: test-infra/wait-for-deps.sh [--timeout SECONDS] [postgres] [redis] [registry]

Polls the named servers (default: all three), and exits 0 once all of them answer in their
own protocol, or 1 after 60 seconds with the names of those that did not.

Environment: PGHOST PGPORT (127.0.0.1 5432), REDIS_HOST REDIS_PORT (127.0.0.1 6379),
             REGISTRY_HOST REGISTRY_PORT (127.0.0.1 8500)
USAGE
}

timeout_s=60
names=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --timeout) [ $# -ge 2 ] || { usage >&2; exit 2; }; timeout_s=$2; shift ;;
    postgres | redis | registry) names+=("$1") ;;
    *) printf "error: unknown argument '%s'\n" "$1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done
[[ $timeout_s =~ ^[0-9]{1,4}$ ]] || { printf 'error: --timeout wants whole seconds\n' >&2; exit 2; }
[ ${#names[@]} -gt 0 ] || names=(postgres redis registry)

# ask HOST PORT COUNT REQUEST: sends printf-escaped bytes, prints COUNT bytes of the answer; 2 s.
ask() {
  timeout 2 bash -c '
    exec 3<>"/dev/tcp/$1/$2" || exit 1
    printf "$4" >&3
    head -c "$3" <&3 2>/dev/null | tr -d "\0"' _ "$@" 2>/dev/null || true
}

# Length 45, protocol 3.0, user and database: the answer starts with R (authentication
# request: it takes logins) or E (an error). A server that is still starting says E with 57P03.
check_postgres() {
  local answer
  answer=$(ask "${PGHOST:-127.0.0.1}" "${PGPORT:-5432}" \
    1 '\0\0\0\055\0\003\0\0user\0warpgrid_app\0database\0warpgrid\0\0')
  [[ $answer == R* ]]
}
check_redis() {
  [[ $(ask "${REDIS_HOST:-127.0.0.1}" "${REDIS_PORT:-6379}" 5 'PING\r\nQUIT\r\n') == +PONG* ]]
}
check_registry() {
  [[ $(ask "${REGISTRY_HOST:-127.0.0.1}" "${REGISTRY_PORT:-8500}" \
    12 'GET /healthz HTTP/1.0\r\n\r\n') == "HTTP/1."?" 200"* ]]
}

end=$((SECONDS + timeout_s))
while :; do
  missing=()
  for n in "${names[@]}"; do
    "check_$n" || missing+=("$n")
  done
  [ ${#missing[@]} -gt 0 ] || exit 0
  if [ "$SECONDS" -ge "$end" ]; then
    printf 'error: not ready after %s s: %s\n' "$timeout_s" "${missing[*]}" >&2
    exit 1
  fi
  sleep 0.2
done
