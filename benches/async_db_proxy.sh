#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "Queries a second through the database proxy, of one WASI 0.3 instance and of WASI 0.2 (US-507): a service
with tokio-postgres, one query for each request, a connection of the pool each; one worker.
  async_over_sync_50ms_c50  one WASI 0.3 instance at 50 clients, queries of 50 ms; peer: one WASI 0.2
                            instance, asked by one client, so one by one: ratio of speeds, real PostgreSQL
  async_over_50_sync        the same; peer: up to 50 WASI 0.2 instances at once
  async_c1_0ms_http         SELECT 1, one client: time of WASI 0.3 over WASI 0.2
  async_c1_0ms_bare         the same in a loop in the guest, without HTTP
Then Criterion (async_db_proxy/): 1, 10, 50 and 100 clients, 0, 5 and 50 ms, each side, against a mock
of PostgreSQL and against PostgreSQL (serial: one client at all of them); reports are in target/criterion." "$@"
need wrk wrk
need cargo rustup
find_warp
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
cargo build --release --locked -q --manifest-path "$root/benches/async_db_proxy/Cargo.toml" --bins --benches ||
  die "cannot build the mock"
# Each of the two servers keeps up to 100 connections.
database --set max_connections=240
p2=$(unset CARGO_TARGET_DIR; rust_guest rust-sockets web_p2)
p3=$(unset CARGO_TARGET_DIR; rust_guest rust-sockets web_p3)
mock_port=$(free_port)
# As in start(): no function stands between, so that the pid is the mock's.
mock=("$CARGO_TARGET_DIR/release/async_db_proxy" "$mock_port")
[ "$(nproc)" -lt 2 ] || mock=(taskset -c "$load_core" "${mock[@]}")
"${mock[@]}" >"$work/mock.log" 2>&1 &
pids+=($!)
seconds=2
[ "$scale" = 100 ] || seconds=1

# config PORT ADMIN: the lines of warp.toml of one side, with the database and the admin endpoint at those ports.
config() {
  cat <<TOML
max_concurrent = 128
instance_idle = "60s"
[admin]
listen = ["127.0.0.1:$2"]
[env]
DB_HOST = "db.bench.warp.local"
DB_PORT = "5432"
DB_NAME = "$PGDATABASE"
DB_USER = "app_trust"
[databases.bench]
protocol = "postgres"
host = "db.bench.warp.local"
port = 5432
address = "127.0.0.1"
address_port = $1
database = "$PGDATABASE"
user = "app_trust"
pool_size = 100
TOML
}

declare -A pids_of ports_of admin_of
path='/sql?q=SELECT+1'
declare -A backends=([mock]=$mock_port [pg]=$PGPORT)
for backend in mock pg; do
  for side in p2 p3; do
    admin=$(free_port)
    serve_ours "${!side}" 1000000 "$(config "${backends[$backend]}" "$admin")"
    name=${side}_$backend
    pids_of[$name]=$pid ports_of[$name]=$port admin_of[$name]=$admin
  done
done
# Both sides, and both databases, answer alike.
for backend in mock pg; do
  for query in 'SELECT+1' 'SELECT+pg_sleep(5e-3)'; do
    a=$(curl -sf --max-time 10 "http://127.0.0.1:${ports_of[p2_$backend]}/sql?q=$query") || die "WASI 0.2 fails ($backend)"
    b=$(curl -sf --max-time 10 "http://127.0.0.1:${ports_of[p3_$backend]}/sql?q=$query") || die "WASI 0.3 fails ($backend)"
    [ "$a" = "$b" ] || die "the sides differ for $query ($backend): '$a', '$b'"
  done
done
say "the sides answer alike"

# stat SERVER KEY: the first number of that name in its statistics.
stat() {
  curl -sf --max-time 10 "http://127.0.0.1:${admin_of[$1]}/stats" | grep -o "\"$2\":[0-9]*" | head -n 1 | cut -d: -f2
}
# What is compared is the same work: a request is one query, one lease of the pool, on either side.
for name in p2_mock p3_mock; do
  before=$(stat $name leases)
  answers=$(curl -s --max-time 30 -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:${ports_of[$name]}$path&n=[1-200]" |
    grep -cx 200)
  leases=$(($(stat $name leases) - before))
  [ "$answers $leases" = "200 200" ] || die "$name: 200 requests, $answers answers, $leases leases of the pool"
  say "$name: 200 requests, $leases leases"
done

slow='/sql?q=SELECT+pg_sleep(0.05)'
side() { # SERVER CLIENTS PATH
  pid=${pids_of[$1]} port=${ports_of[$1]} path=$3
  load "$2" "$seconds"
  echo "rps=$rps us=$(over 1000000 "$rps") n=$requests"
}
run_async() { side p3_pg 50 "$slow"; }
# One client is one instance: a WASI 0.2 service has another for each request at once, and beyond [limits]
# instances they are refused (503), not queued.
run_serial() { side p2_pg 1 "$slow"; }
run_sync_50() { side p2_pg 50 "$slow"; }
run_http_p2() { side p2_pg 1 '/sql?q=SELECT+1'; }
run_http_p3() { side p3_pg 1 '/sql?q=SELECT+1'; }
database_config 10 'spin = "off"'
loop_p2=$(guest db-loop-p2) loop_p3=$(guest db-loop-p3)
loops=$((20 * scale))
bare() {
  pinned $server_core "$WARP_BIN" run "$1" --config "$db_config" --env "DB_HOST=db.bench.warp.local" \
    --env "DB_PORT=$PGPORT" --env "DB_NAME=$PGDATABASE" -- loop 1 "$loops" 2>>"$work/guest.log"
}
run_bare_p2() { bare "$loop_p2"; }
run_bare_p3() { bare "$loop_p3"; }
# The first runs are not timed: how many instances are at work?
for name in p3_pg p2_pg; do
  side $name 50 "$slow" >/dev/null &
  sleep 0.6
  instances=$(stat $name instances)
  wait $! || die "$name fails under load"
  say "$name: $instances instance(s)"
  [ $name = p2_pg ] || [ "$instances" = 1 ] || say "warning: the WASI 0.3 side is not one instance: the machine is busy"
done
take_turns rps async serial sync_50
take_turns us http_p2 http_p3
take_turns per_op_us bare_p2 bare_p3
compare async_over_sync_50ms_c50 async serial $((seconds * rounds))s /s
compare async_over_50_sync async sync_50 $((seconds * rounds))s /s
compare async_c1_0ms_http http_p3 http_p2 $((seconds * rounds))s
compare async_c1_0ms_bare bare_p3 bare_p2 $((loops * rounds))

# Criterion has no rounds; quick: two of its concurrencies, to see that it works.
filter=()
[ "$scale" = 100 ] || filter=('_0ms/.*(mock/10|pg/100)$')
export WARPGRID_SIDES=
for backend in mock pg; do
  WARPGRID_SIDES+="async_$backend=${ports_of[p3_$backend]} serial_$backend=${ports_of[p2_$backend]} sync_$backend=${ports_of[p2_$backend]} "
done
(cd "$root" && pinned $load_core cargo bench -q --locked --manifest-path benches/async_db_proxy/Cargo.toml \
  --bench async_db_proxy -- ${filter[@]+"${filter[@]}"}) >&2 || die "criterion failed"
for pid in "${pids_of[@]}"; do stop_server; done
