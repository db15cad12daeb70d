#!/bin/sh
# Packs the service, serves it on a free port, asks it, and stops it. WARP is the warp to test with.
set -eu
cd "$(dirname "$0")/.."
warp=${WARP:-warp}
work=$(mktemp -d)
server=
finish() {
  code=$?
  trap '' INT TERM
  if [ -n "$server" ]; then
    kill "$server" 2>/dev/null || : # it may have ended by itself
    wait "$server" || code=1
  fi
  if [ "$code" != 0 ] && [ -f "$work/log" ]; then cat "$work/log" >&2; fi
  rm -rf "$work"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

"$warp" pack
"$warp" serve --listen 127.0.0.1:0 >"$work/url" 2>"$work/log" &
server=$!
url=
for _ in $(seq 300); do
  read -r url <"$work/url" || :
  [ -z "$url" ] || break
  sleep 0.1
done
[ -n "$url" ] || { echo "warp serve does not listen" >&2; exit 1; }

# ask STATUS BODY CURL-ARGUMENT...: the answer must be exactly this.
ask() {
  status=$1 body=$2
  shift 2
  seen=$(curl -sS --max-time 30 -w ' %{http_code}' "$@")
  if [ "$seen" != "$body $status" ]; then
    echo "FAIL $*: expected '$body $status', got '$seen'" >&2
    exit 1
  fi
  echo "ok   $*"
}

ask 200 '{"service":"@@name@@"}' "$url/"
ask 200 '{"hello":"world"}' "$url/hello"
ask 200 '{"hello":"Ada"}' "$url/hello?name=Ada"
ask 200 '{"echo":{"a":[1,2]}}' -d '{"a":[1,2]}' "$url/echo"
ask 400 '{"error":"the body must be a JSON object or array"}' -d '{' "$url/echo"
ask 404 '{"error":"not found"}' "$url/nothing"
#@@if postgres
if [ -n "${PGHOST:-}" ]; then
  case $(curl -sS --max-time 30 "$url/time") in
    '{"time":"20'*) echo "ok   $url/time" ;;
    *) echo "FAIL $url/time" >&2; exit 1 ;;
  esac
else
  echo "skip $url/time: set PGHOST, PGUSER, ... to a PostgreSQL"
fi
#@@end
echo "all passed"
