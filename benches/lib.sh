# SPDX-License-Identifier: Apache-2.0
# What the benches share; sourced, not run. A bench interleaves its sides round by round, changes
# which one goes first, and takes medians, so that a noisy machine is noisy for both. The program
# under test has core 0; load generator and database server have core 1.
#
# Figures are lines `RESULT <name> ratio=<x> ours=<..> peer=<..> n=<..>` on stdout; everything else
# that is worth reading is on stderr.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
server_core=0
load_core=1
work=

say() { printf '%s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$1" >&2; [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2; exit 1; }

# bench_main WHAT "$@": the options that all benches have; sets rounds and scale.
bench_main() {
  local what=$1
  shift
  rounds=5
  scale=100
  while [ $# -gt 0 ]; do
    case $1 in
      -h | --help)
        cat <<USAGE
usage: ${0##*/} [--rounds N] [--quick]

$what

  --rounds N   interleaved rounds that the medians are taken of; default 5
  --quick      3 rounds of a tenth of the length: to see that it works, not to publish

Environment: WARP_BIN, WASMTIME_BIN  the programs; default: the newest build, the cache's tools
             WARPGRID_GUESTS         folder of the guests; default: the build's
USAGE
        exit 0 ;;
      --rounds) rounds=${2:-}; shift ;;
      --quick) rounds=3; scale=10 ;;
      *) die "unknown option '$1'" "see --help" ;;
    esac
    shift
  done
  [[ $rounds =~ ^[1-9][0-9]?$ ]] || die "--rounds wants 1 to 99"
  work=$(mktemp -d "${TMPDIR:-/tmp}/warpgrid-bench.XXXXXX")
  trap bench_end EXIT
  trap 'exit 130' INT TERM
  [ "$(nproc)" -ge 2 ] || say "warning: one core only: server and load disturb each other"
}

# Ends what this bench started, by pid.
pids=()
infra=
bench_end() {
  local status=$? p
  for p in ${pids[@]+"${pids[@]}"}; do kill -KILL "$p" 2>/dev/null || true; done
  [ -z "$infra" ] || "$root/test-infra/down.sh" "$infra" >/dev/null 2>&1 || true
  [ $status = 0 ] || [ -z "$work" ] || tail -n 5 "$work"/*.log >&2 2>/dev/null || true
  [ -z "$work" ] || rm -rf -- "$work"
  exit $status
}

# pinned CORE CMD...
pinned() {
  local core=$1
  shift
  if [ "$(nproc)" -ge 2 ]; then taskset -c "$core" "$@"; else "$@"; fi
}

# need PROGRAM PACKAGE
need() { command -v "$1" >/dev/null || die "cannot find $1" "apt-get install $2"; }

find_warp() {
  local f
  if [ -z "${WARP_BIN:-}" ]; then
    for f in "$root/build/release/warp" "$root/build/dev/warp"; do
      [ ! -x "$f" ] || { WARP_BIN=$f; break; }
    done
  fi
  [ -x "${WARP_BIN:-}" ] || die "cannot find warp" "build it with 'make', or set WARP_BIN"
  say "warp: $WARP_BIN ($("$WARP_BIN" --version | head -n 1))"
}

find_wasmtime() {
  local cached=${WARPGRID_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/warpgrid/tools/wasmtime
  if [ -z "${WASMTIME_BIN:-}" ]; then
    if [ -x "$cached" ]; then WASMTIME_BIN=$cached; else WASMTIME_BIN=$(command -v wasmtime || true); fi
  fi
  [ -x "${WASMTIME_BIN:-}" ] || die "cannot find wasmtime" "run scripts/bootstrap.sh, or set WASMTIME_BIN"
  say "peer: $("$WASMTIME_BIN" --version)"
}

# guest NAME: the path of a component of the build.
guest() {
  local d f
  for d in "${WARPGRID_GUESTS:-}" "$(dirname "$WARP_BIN")/guests" "$root/build/release/guests" "$root/build/dev/guests"; do
    f=$d/$1.wasm
    if [ -n "$d" ] && [ -f "$f" ]; then printf '%s\n' "$f"; return; fi
  done
  die "cannot find the guest '$1.wasm'" "build it with 'make', or set WARPGRID_GUESTS"
}

# native_from FILE NAME [LIBS...]: compiles a native peer and sets $NAME to its path.
native_from() {
  local file=$1 name=$2
  shift 2
  ${CC:-cc} -D_GNU_SOURCE -std=c11 -O2 -I/usr/include/postgresql -o "$work/$name" \
    "$file" "$@" || die "cannot compile '$file'" "apt-get install libpq-dev"
  printf -v "$name" %s "$work/$name"
}
# native NAME [LIBS...]: the same of benches/native.
native() { native_from "$root/benches/native/$1.c" "$@"; }

median() { printf '%s\n' "$@" | sort -g | awk '{v[NR]=$1} END {printf "%.10g\n", NR % 2 ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }
over() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.3f", a / b}'; }
# field NAME TEXT: the value of NAME=value.
field() { sed -n "s/.*\\b$1=\\([0-9.]*\\).*/\\1/p" <<<"$2" | tail -n 1; }

# result NAME OURS PEER N [UNIT]: ratio is ours over peer.
result() { ratio_result "$1" "$(over "$2" "$3")" "$2" "$3" "$4" "${5:-}"; }

# ratio_result NAME RATIO OURS PEER N [UNIT]: the same with a ratio made of per-round ratios.
ratio_result() {
  printf 'RESULT %s ratio=%.3f ours=%s%s peer=%s%s n=%s\n' "$1" "$2" "$3" "${6:-}" "$4" "${6:-}" "$5"
}

# CPU of a process in clock ticks, all its threads, also those that ended.
ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{print $12 + $13}'; }
tick_us=$((1000000 / $(getconf CLK_TCK)))
pss_kb() { awk '/^Pss:/{print $2}' "/proc/$1/smaps_rollup"; }

free_port() { echo $((20000 + $(od -An -N2 -tu2 /dev/urandom) % 10000)); }

# serve_ours COMPONENT REUSE [LINES of warp.toml]: sets pid and port.
serve_ours() {
  port=$(free_port)
  cat >"$work/warp.toml" <<TOML
name = "bench"
[http]
listen = ["127.0.0.1:$port"]
workers = ${workers:-1}
$([ "$2" = default ] || echo "reuse = $2")
${3:-}
TOML
  start "$work/ours.log" "$WARP_BIN" serve "$1" --config "$work/warp.toml"
}

# serve_peer COMPONENT REUSE: the same component, kind of instance and number of threads.
serve_peer() {
  port=$(free_port)
  # shellcheck disable=SC2046
  start "$work/peer.log" env TOKIO_WORKER_THREADS=1 "$WASMTIME_BIN" serve -S cli \
    --addr "127.0.0.1:$port" $([ "$2" = default ] || echo "--max-instance-reuse-count $2") "$1"
}

# start LOG CMD...: in the background on the server's core, until it answers; sets pid. No function
# stands between: taskset and env become CMD, so that the pid is CMD's.
start() {
  local log=$1
  shift
  if [ "$(nproc)" -ge 2 ]; then taskset -c $server_core "$@" >"$log" 2>&1 & else "$@" >"$log" 2>&1 & fi
  pid=$!
  pids+=("$pid")
  await_server
}

await_server() {
  local i
  for i in $(seq 600); do
    if curl -s -o /dev/null --max-time 5 "http://127.0.0.1:$port${path:-/}"; then return; fi
    kill -0 "$pid" 2>/dev/null || die "the server ended before it answered"
    sleep 0.05
  done
  die "the server does not answer"
}

stop_server() {
  kill -TERM "$pid"
  wait "$pid" 2>/dev/null || true
  local p rest=()
  for p in ${pids[@]+"${pids[@]}"}; do [ "$p" = "$pid" ] || rest+=("$p"); done
  pids=(${rest[@]+"${rest[@]}"})
}

# load C SECONDS: wrk against $port, with $header if it is set; sets rps, p50, p99, requests and cpu_us (server's, a request).
load() {
  local before after out
  before=$(ticks "$pid")
  out=$(pinned $load_core wrk -t1 "-c$1" "-d${2}s" ${header:+-H "$header"} --latency "http://127.0.0.1:$port${path:-/}")
  after=$(ticks "$pid")
  [ "$after" -gt "$before" ] || die "process $pid used no CPU under load"
  ! grep -E 'Non-2xx|Socket errors' <<<"$out" >&2 || die "the load saw errors (c=$1)"
  requests=$(awk '/requests in/ {print $1}' <<<"$out")
  rps=$(awk '/^Requests\/sec/ {print $2}' <<<"$out")
  p50=$(awk '$1 == "50%" {print $2}' <<<"$out")
  p99=$(awk '$1 == "99%" {print $2}' <<<"$out")
  cpu_us=$(awk -v t=$((after - before)) -v u="$tick_us" -v n="$requests" 'BEGIN {printf "%.2f", t * u / n}')
}

# database [OPTIONS of up.sh]: a private PostgreSQL on the load's core; exports PGHOST and so on.
database() {
  infra=$work/infra
  local env_file
  env_file=$(pinned $load_core "$root/test-infra/up.sh" --set log_connections=off \
    --set log_disconnections=off "$@" "$infra" 2>>"$work/infra.log") || die "PostgreSQL does not start"
  set -a
  # shellcheck disable=SC1090
  . "$env_file"
  set +a
}

# database_config POOL_SIZE [LINES of its table]: the warp.toml of guests that reach it; its path is in
# $db_config, which is $db_config_as where that is set.
database_config() {
  db_config=${db_config_as:-$work/db.toml}
  cat >"$db_config" <<TOML
name = "bench"
[databases.bench]
protocol = "postgres"
host = "db.bench.warp.local"
port = $PGPORT
address = "$PGHOST"
database = "$PGDATABASE"
user = "$PGUSER"
password = "\${PGPASSWORD}"
pool_size = $1
${2:-}
TOML
}

# certificate NAME: an authority, $ca, and its $work/server.{crt,key} for NAME and 127.0.0.1.
certificate() {
  need openssl openssl
  ca=$work/ca.crt
  {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
      -subj "/CN=bench authority" -keyout "$work/ca.key" -out "$ca"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
      -keyout "$work/server.key" -out "$work/server.csr"
    openssl x509 -req -in "$work/server.csr" -CA "$ca" -CAkey "$work/ca.key" -CAcreateserial -days 2 \
      -extfile <(echo "subjectAltName = DNS:$1, IP:127.0.0.1") -out "$work/server.crt"
  } 2>>"$work/openssl.log"
}

# mariadb_server: a private MariaDB on the load's core, with database and user `bench` (no password), and TLS
# by the certificate; sets mariadb_port.
mariadb_server() {
  local folder=$work/mariadb as=() i
  PATH=$PATH:/usr/sbin
  need mariadbd mariadb-server
  mkdir "$folder"
  [ "$(id -u)" != 0 ] || as=(--user=root)
  mariadb-install-db --no-defaults --skip-test-db --auth-root-authentication-method=normal \
    --datadir="$folder/data" --tmpdir="$folder" ${as[@]+"${as[@]}"} >"$work/mariadb.log" 2>&1 || die "MariaDB does not start"
  printf '%s\n' "CREATE DATABASE bench;" "CREATE USER bench@'%';" "GRANT ALL ON bench.* TO bench@'%';" \
    >"$folder/seed.sql"
  mariadb_port=$(free_port)
  as=(mariadbd --no-defaults ${as[@]+"${as[@]}"} --datadir="$folder/data" --tmpdir="$folder"
    --socket="$folder/mysqld.sock" --port="$mariadb_port" --bind-address=127.0.0.1
    --init-file="$folder/seed.sql" --ssl-cert="$work/server.crt" --ssl-key="$work/server.key")
  # As in start(): no function stands between, so that the pid is the server's.
  [ "$(nproc)" -lt 2 ] || as=(taskset -c "$load_core" "${as[@]}")
  "${as[@]}" >>"$work/mariadb.log" 2>&1 &
  pids+=($!)
  for i in $(seq 300); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$mariadb_port") 2>/dev/null; then return; fi
    sleep 0.1
  done
  die "MariaDB does not start"
}

# mariadb_config POOL_SIZE [LINES of its table]: as database_config.
mariadb_config() {
  cat >"$db_config_as" <<TOML
name = "bench"
[databases.bench]
protocol = "mysql"
host = "db.bench.warp.local"
address = "127.0.0.1"
address_port = $mariadb_port
database = "bench"
user = "bench"
pool_size = $1
${2:-}
TOML
}

# redis_server: a private Redis on the load's core, with password `secret`, a key `bench`, and TLS by the
# certificate at a port of its own; sets redis_port and redis_tls_port.
redis_server() {
  local folder=$work/redis as=() i
  need redis-server redis-server
  mkdir "$folder"
  redis_port=$(free_port) redis_tls_port=$(free_port)
  as=(redis-server --port "$redis_port" --bind 127.0.0.1 --dir "$folder" --save '' --requirepass secret
    --tls-port "$redis_tls_port" --tls-auth-clients no --tls-ca-cert-file "$ca"
    --tls-cert-file "$work/server.crt" --tls-key-file "$work/server.key")
  [ "$(nproc)" -lt 2 ] || as=(taskset -c "$load_core" "${as[@]}")
  "${as[@]}" >>"$work/redis.log" 2>&1 &
  pids+=($!)
  for i in $(seq 100); do
    if REDISCLI_AUTH=secret redis-cli -p "$redis_port" set bench value >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  die "Redis does not start"
}

# redis_config POOL_SIZE [LINES of its table [PORT]]: as database_config.
redis_config() {
  cat >"$db_config_as" <<TOML
name = "bench"
[databases.bench]
protocol = "redis"
host = "cache.bench.warp.local"
address = "127.0.0.1"
address_port = ${3:-$redis_port}
password = "secret"
pool_size = $1
${2:-}
TOML
}

# rust_guest PROJECT NAME: a component of tests/e2e/projects, built as the tests build it.
rust_guest() {
  PYTHONPATH=$root/tests/e2e PYTHONDONTWRITEBYTECODE=1 python3 -c \
    'import harness, sys; print(harness.rust_guest(*sys.argv[1:]))' "$@" ||
    die "cannot build the guest '$2'" "run scripts/bootstrap.sh test"
}

# ---- sides that take turns ----

declare -A seen medians side_p50s
# take_turns FIELD SIDE...: runs run_SIDE of each, $rounds times, in the other direction every second
# time, and keeps the FIELD= of the line that each prints.
take_turns() {
  local field=$1 round side line value reversed=
  shift
  for side in "$@"; do
    seen[$side]= side_p50s[$side]=
    reversed="$side $reversed"
  done
  for ((round = 1; round <= rounds; round++)); do
    # shellcheck disable=SC2086 # names without blanks
    for side in $( ((round % 2)) && echo "$*" || echo $reversed); do
      line=$("run_$side") || die "$side failed in round $round"
      value=$(field "$field" "$line")
      [ -n "$value" ] || die "$side printed no $field: '$line'"
      seen[$side]+=" $value"
      side_p50s[$side]+=" $(field p50_us "$line")"
      say "round $round $side: $line"
    done
  done
  for side in "$@"; do
    # shellcheck disable=SC2086
    medians[$side]=$(median ${seen[$side]})
  done
}

# median_ratio A B: the median of the rounds' ratios, A over B.
median_ratio() {
  local -a a b ratios=()
  local i
  read -ra a <<<"${seen[$1]}"
  read -ra b <<<"${seen[$2]}"
  for i in "${!a[@]}"; do ratios+=("$(over "${a[$i]}" "${b[$i]}")"); done
  median "${ratios[@]}"
}

# compare NAME OURS PEER N [UNIT]: of two sides that took turns. Behind it, where they print p50_us, the
# median of the rounds' medians, which a busy machine disturbs less.
compare() {
  ratio_result "$1" "$(median_ratio "$2" "$3")" "${medians[$2]}" "${medians[$3]}" "$4" "${5:-us}"
  [[ ${side_p50s[$2]} =~ [0-9] && ${side_p50s[$3]} =~ [0-9] ]] || return 0
  local a b
  # shellcheck disable=SC2086
  a=$(median ${side_p50s[$2]}) b=$(median ${side_p50s[$3]})
  printf '  %s p50: ratio=%s ours=%sus peer=%sus\n' "$1" "$(over "$a" "$b")" "$a" "$b"
}

# compare_speed NAME OURS PEER N: the same of times, as the ratio of speeds: more is better.
compare_speed() {
  ratio_result "$1" "$(median_ratio "$3" "$2")" "${medians[$2]}" "${medians[$3]}" "$4" us
}
