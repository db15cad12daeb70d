#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "A service that asks PostgreSQL SELECT 1 for each request: the whole path from HTTP to the database,
with a stock component (tokio-postgres over sockets). Requests a second, ours over the peer: more is
better; 32 connections of wrk.
  db_http_p2        WASI 0.2, a fresh instance and a connection for each request; peer: 'wasmtime serve'
                    with the same component, which logs in each time (no password asked)
  db_http_p2_kept   WASI 0.2, instances that live on and keep their connection; the same peer
  db_http_p3        WASI 0.3, a connection for each request; the same peer
  db_http_workers   db_http_p2 with two workers on two cores; peer: itself with one on one
  db_http_epochs    db_http_p2; peer: itself with epochs = false
  db_http_unix      db_http_p2 by the server's Unix socket; peer: itself by TCP" "$@"
need wrk wrk
find_warp
find_wasmtime
database --set max_connections=1000
p2=$(rust_guest rust-sockets web_p2) p3=$(rust_guest rust-sockets web_p3)
seconds=2
[ "$scale" = 100 ] || seconds=1

# config [ADDRESS]: the lines of warp.toml of one of ours.
config() {
  cat <<TOML
[env]
DB_HOST = "db.bench.warp.local"
DB_PORT = "$PGPORT"
DB_NAME = "$PGDATABASE"
DB_USER = "app_trust"
[databases.bench]
protocol = "postgres"
host = "db.bench.warp.local"
port = $PGPORT
address = "${1:-$PGHOST}"
database = "$PGDATABASE"
user = "${2:-app_trust}"
password = "\${PGPASSWORD}"
pool_size = 32
TOML
}

declare -A pids_of ports_of paths_of
path=/
kept() { pids_of[$1]=$pid ports_of[$1]=$port paths_of[$1]=$2; }
ours() { # SIDE COMPONENT REUSE PATH [ADDRESS] [USER] [MORE]
  serve_ours "$2" "$3" "${7:-}$(config "${5:-}" "${6:-}")"
  kept "$1" "$4"
}
peer() { # SIDE COMPONENT REUSE PATH
  local reuse=()
  [ "$3" = default ] || reuse=(--max-instance-reuse-count "$3")
  port=$(free_port)
  start "$work/peer.log" env TOKIO_WORKER_THREADS=1 "$WASMTIME_BIN" serve -S cli -S inherit-network \
    -S allow-ip-name-lookup --env "DB_HOST=$PGHOST" --env "DB_PORT=$PGPORT" --env "DB_NAME=$PGDATABASE" \
    --env DB_USER=app_trust --addr "127.0.0.1:$port" "${reuse[@]}" "$2"
  kept "$1" "$4"
}
query='/sql?q=SELECT+1'
ours ours_p2 "$p2" 0 "$query"
ours ours_kept "$p2" 1000000 "$query&keep=1"
ours ours_p3 "$p3" default "$query"
ours ours_epochs "$p2" 0 "$query" '' '' $'[limits]\nepochs = false\n'
ours ours_unix "$p2" 0 "$query" "$WARPGRID_PG_HOME" "$PGUSER"
workers=2 server_core=0,1 ours ours_workers "$p2" 0 "$query"
peer peer_p2 "$p2" 1 "$query"
peer peer_kept "$p2" 1000000 "$query&keep=1"
peer peer_p3 "$p3" default "$query"

side() {
  pid=${pids_of[$1]} port=${ports_of[$1]} path=${paths_of[$1]}
  load 32 "$seconds"
  echo "rps=$rps p50=$p50 p99=$p99 cpu_us=$cpu_us n=$requests"
}
for name in "${!pids_of[@]}"; do
  eval "run_$name() { side $name; }"
  side "$name" >/dev/null # warm
done
take_turns rps ours_p2 peer_p2 ours_kept peer_kept ours_p3 peer_p3 ours_workers ours_epochs ours_unix
n=$((seconds * rounds))s
compare db_http_p2 ours_p2 peer_p2 "$n" /s
compare db_http_p2_kept ours_kept peer_kept "$n" /s
compare db_http_p3 ours_p3 peer_p3 "$n" /s
compare db_http_workers ours_workers ours_p2 "$n" /s
compare db_http_epochs ours_p2 ours_epochs "$n" /s
compare db_http_unix ours_unix ours_p2 "$n" /s
for pid in "${pids_of[@]}"; do stop_server; done
