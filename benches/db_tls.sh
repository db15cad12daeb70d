#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "TLS 1.3 between the host and PostgreSQL, certificate and name checked on both sides: a guest
(WASI 0.2, by the shim, spin = \"off\") over native libpq. ratio = median of the rounds' ratios.
  tls_roundtrip_c1     a prepared SELECT 1 over and over, over blocking libpq
  tls_roundtrip_plain  the same guest with TLS over itself without: what TLS costs
  tls_connect          connect, one SELECT 1, close: out of the pool over libpq's TLS and SCRAM log-in
  tls_connect_server   the same with reset = \"close\", so that the host connects and logs in each time
  tls_resume           the same through a front that resumes TLS sessions over one that does not
                       (PostgreSQL itself resumes none)
  tls_bulk             results of 100 MiB, speed: more is better; libpq takes them row by row" "$@"
find_warp
pg_loop= tls_front= # set by native
native pg_loop -lpq -lpthread
native tls_front -lssl -lcrypto -lpthread
database

ca= # set by certificate
certificate db.bench.warp.local
# PostgreSQL wants a key of its own user's.
for f in server.crt server.key; do
  install -m 600 -o "$(stat -c %u "$WARPGRID_PG_HOME")" "$work/$f" "$WARPGRID_PG_HOME/$f"
done
PGUSER=postgres PGPASSWORD=$PG_ADMIN_PASSWORD psql -qX \
  -c "ALTER SYSTEM SET ssl_cert_file = '$WARPGRID_PG_HOME/server.crt'" \
  -c "ALTER SYSTEM SET ssl_key_file = '$WARPGRID_PG_HOME/server.key'" \
  -c "ALTER SYSTEM SET ssl = on" -c "SELECT pg_reload_conf()" >>"$work/infra.log"
export PGSSLMODE=verify-full PGSSLROOTCERT=$ca
for _ in $(seq 100); do
  [ "$(psql -tAXc 'SHOW ssl' 2>>"$work/infra.log")" != on ] || break
  sleep 0.05
done
say "$(psql -tAXc "SELECT version || ' ' || cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()")"

checked="tls = \"verify-full\"
tls_ca = \"$ca\"
spin = \"off\""
secure=$work/secure.toml plain=$work/plain.toml each=$work/each.toml
front=$work/front.toml fronted=$work/fronted.toml
db_config_as=$secure database_config 10 "$checked"
db_config_as=$plain database_config 10 'spin = "off"'
db_config_as=$each database_config 10 "$checked
reset = \"close\""
# front NAME tickets|none: one more way to the same server, in the configuration $NAME.
front() {
  local cmd=("$tls_front" "$work/server.crt" "$work/server.key" "$PGPORT" "$2")
  [ "$(nproc)" -lt 2 ] || cmd=(taskset -c "$load_core" "${cmd[@]}")
  "${cmd[@]}" >"$work/$2.port" &
  pids+=("$!")
  disown "$!"
  local port= i
  for i in $(seq 100); do
    port=$(field port "$(cat "$work/$2.port")")
    [ -z "$port" ] || break
    sleep 0.05
  done
  (PGPORT=$port PGUSER=app_trust db_config_as=$1 database_config 10 "$checked
channel_binding = \"disable\"
reset = \"close\"")
}
front "$front" none
front "$fronted" tickets

n=5000 large=$((100 * scale / 100)) n100=3
[ "$scale" = 100 ] && turns=$((rounds * 4)) || { turns=$rounds n=2000; }
connects=$((500 * scale / 100))
component=$(guest db-loop-p2)
run_guest() { # CONFIG ARGUMENTS
  local config=$1 port
  shift
  port=$(sed -n 's/^port = //p' "$config")
  pinned $server_core "$WARP_BIN" run "$component" --config "$config" --env "DB_HOST=db.bench.warp.local" \
    --env "DB_PORT=$port" --env "DB_NAME=$PGDATABASE" -- "$@" 2>>"$work/guest.log"
}
run_direct() { pinned $server_core "$pg_loop" loop "$n"; }
run_ours() { run_guest "$secure" loop 1 "$n"; }
run_plain() { run_guest "$plain" loop 1 "$n"; }
run_connect_direct() { pinned $server_core "$pg_loop" connect "$connects"; }
run_connect() { run_guest "$secure" connect $((connects * 4)); }
run_connect_each() { run_guest "$each" connect "$connects"; }
run_anew() { run_guest "$front" connect "$connects"; }
run_resumed() { run_guest "$fronted" connect "$connects"; }
run_bulk_direct() { pinned $server_core "$pg_loop" bulk $((large << 20)) $n100; }
run_bulk() { run_guest "$secure" bulk $((large << 20)) $n100; }

take_turns per_op_us connect_direct connect connect_each anew resumed
take_turns mib_s bulk_direct bulk
connect_rounds=$rounds rounds=$turns
take_turns per_op_us direct ours plain
compare tls_roundtrip_c1 ours direct $((n * rounds))
compare tls_roundtrip_plain ours plain $((n * rounds))
compare tls_connect connect connect_direct $((connects * 4 * connect_rounds))
compare tls_connect_server connect_each connect_direct $((connects * connect_rounds))
compare tls_resume resumed anew $((connects * connect_rounds))
compare tls_bulk bulk bulk_direct $((n100 * connect_rounds)) MiB/s
