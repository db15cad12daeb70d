#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Starts a private PostgreSQL (and pgbouncer, Redis, a registry on request) for tests, examples and benches.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"

usage() {
  cat <<'USAGE'
usage: test-infra/up.sh [--all] [--redis] [--registry] [--pgbouncer [--pgbouncer-set NAME=VALUE]...]
                       [--set NAME=VALUE]... [DIR]

Starts a private PostgreSQL on a free port of 127.0.0.1, loads seed.sql, and writes
DIR/env: KEY=VALUE lines to source. Prints the path of that file. DIR defaults to a new
folder under ${TMPDIR:-/tmp}. Called again while the server runs, it only prints the path.

  --redis            also start Redis (or Valkey), with nothing kept on disk
  --registry         also start the mock registry (mock_registry.py)
  --all              both of these: what docker-compose.yml starts
  --pgbouncer        also start pgbouncer in front of it: database `warpgrid` by session
                     pooling, the same as `warpgrid_transaction` by transaction pooling
  --pgbouncer-set NAME=VALUE  a line of pgbouncer.ini
  --set NAME=VALUE   a line of postgresql.conf, for example --set log_connections=off
  -h, --help         this text

Roles of database `warpgrid`; each has the password of PGPASSWORD, except app_trust:
  warpgrid_app (owner; SCRAM-SHA-256)   app_md5 (md5)   app_plain (cleartext)
  app_trust (no password)               postgres (superuser; PG_ADMIN_PASSWORD)

Environment: PG_BINDIR  folder of initdb and postgres; default: Debian's
USAGE
}

with_pgbouncer=0
with_redis=0
with_registry=0
settings=()
bouncer_settings=()
dir=
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --pgbouncer) with_pgbouncer=1 ;;
    --redis) with_redis=1 ;;
    --registry) with_registry=1 ;;
    --all) with_redis=1 with_registry=1 ;;
    --set) [ $# -ge 2 ] || die "--set wants NAME=VALUE"; settings+=("$2"); shift ;;
    --pgbouncer-set) [ $# -ge 2 ] || die "--pgbouncer-set wants NAME=VALUE"; bouncer_settings+=("$2"); shift ;;
    --set=*) settings+=("${1#--set=}") ;;
    -*) say "error: unknown option '$1'"; usage >&2; exit 2 ;;
    *) [ -z "$dir" ] || die "more than one DIR: '$dir' and '$1'"; dir=$1 ;;
  esac
  shift
done

[ -n "$dir" ] || dir=$(mktemp -d "${TMPDIR:-/tmp}/warpgrid-infra.XXXXXX")
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
env_file=$dir/env

# Two starts at once: the second one waits, then finds the first one's server.
exec 9>"$dir/.lock"
flock -w 60 9 || die "another up.sh holds '$dir/.lock'"

if [ -e "$env_file" ]; then
  if ! is_gone "$(pg_pid "$env_file")" "$(get "$env_file" WARPGRID_PG_HOME)"; then
    if [ $with_pgbouncer = 1 ] && [ -z "$(get "$env_file" PGBOUNCER_PORT)" ]; then
      die "the server in '$dir' was started without pgbouncer" "run test-infra/down.sh '$dir' first"
    fi
    for one in redis registry; do
      wanted=with_$one
      [ "${!wanted}" = 0 ] || [ -n "$(get "$env_file" "${one^^}_PORT")" ] ||
        die "the server in '$dir' was started without $one" "run test-infra/down.sh '$dir' first"
    done
    printf '%s\n' "$env_file"
    exit 0
  fi
  say "note: '$env_file' is left over from a server that is gone; starting a new one"
  home=$(get "$env_file" WARPGRID_PG_HOME)
  case $home in */warpgrid-pg.*) rm -rf -- "$home" ;; esac
  rm -f "$env_file"
fi

find_bindir() {
  local major d
  if [ -n "${PG_BINDIR:-}" ]; then printf '%s\n' "$PG_BINDIR"; return; fi
  major=$(sed -n 's/^POSTGRES_MAJOR=\([0-9]*\).*/\1/p' "$here/../versions.env" 2>/dev/null || true)
  for d in ${major:+"/usr/lib/postgresql/$major/bin"} /usr/lib/postgresql/*/bin; do
    if [ -x "$d/initdb" ]; then printf '%s\n' "$d"; return; fi
  done
  d=$(command -v initdb || true)
  [ -z "$d" ] || dirname "$d"
}
bindir=$(find_bindir)
[ -n "$bindir" ] && [ -x "$bindir/initdb" ] && [ -x "$bindir/psql" ] ||
  die "cannot find PostgreSQL (initdb, psql)" "apt-get install postgresql, or set PG_BINDIR"
if [ $with_pgbouncer = 1 ]; then
  PATH=$PATH:/usr/sbin command -v pgbouncer >/dev/null ||
    die "cannot find pgbouncer" "apt-get install pgbouncer"
fi

redis=
if [ $with_redis = 1 ]; then
  redis=$(command -v redis-server || command -v valkey-server) ||
    die "cannot find Redis (redis-server, valkey-server)" "apt-get install redis-server"
fi

# PostgreSQL and pgbouncer refuse to run as root: then they get an account without rights. Their
# files are in a folder of their own, because that account need not be able to enter DIR.
[[ ${TMPDIR:-/tmp} =~ ^[A-Za-z0-9_./+,@%-]+$ ]] || die "cannot use TMPDIR '$TMPDIR': it needs quoting"
home=$(mktemp -d "${TMPDIR:-/tmp}/warpgrid-pg.XXXXXX")
as=()
if [ "$(id -u)" = 0 ]; then
  account=nobody
  ! getent passwd postgres >/dev/null || account=postgres
  chown "$account" "$home"
  as=(runuser -u "$account" --)
fi
in_home() { (cd "$home" && exec "${as[@]}" "$@"); }

started=0
clean_up() {
  [ $started = 0 ] || return 0
  [ ! -e "$home/data/postmaster.pid" ] || in_home "$bindir/pg_ctl" -D "$home/data" -m immediate stop >/dev/null 2>&1 || true
  [ ! -e "$home/pgbouncer.pid" ] || kill "$(cat "$home/pgbouncer.pid")" 2>/dev/null || true
  [ -z "${redis_pid-}" ] || kill "$redis_pid" 2>/dev/null || true
  [ -z "${registry_pid-}" ] || kill "$registry_pid" 2>/dev/null || true
  rm -rf -- "$home"
  rm -f "$env_file"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

random_hex() { od -An -N12 -tx1 /dev/urandom | tr -d ' \n'; }
admin_password=$(random_hex)
app_password=$(random_hex)

printf '%s\n' "$admin_password" | in_home tee pwfile >/dev/null
in_home "$bindir/initdb" -D "$home/data" -U postgres --pwfile="$home/pwfile" \
  --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --no-sync >"$dir/initdb.log" 2>&1 9>&- ||
  { cat "$dir/initdb.log" >&2; die "initdb failed"; }
rm -f "$home/pwfile"

{
  printf '%s\n' "listen_addresses = '127.0.0.1'" "unix_socket_directories = '$home'" \
    "fsync = off" "synchronous_commit = off" "full_page_writes = off" \
    "max_connections = 200" "shared_buffers = 32MB" "password_encryption = 'scram-sha-256'" \
    "log_connections = on" "log_disconnections = on" "log_line_prefix = '%m [%p] %u@%d '"
  for s in ${settings[@]+"${settings[@]}"}; do
    [[ $s == *=* ]] || die "--set wants NAME=VALUE, not '$s'"
    printf "%s = '%s'\n" "${s%%=*}" "${s#*=}"
  done
} | in_home tee -a "$home/data/postgresql.conf" >/dev/null
in_home tee "$home/data/pg_hba.conf" >/dev/null <<'HBA'
local all all                    scram-sha-256
host  all app_md5   127.0.0.1/32 md5
host  all app_plain 127.0.0.1/32 password
host  all app_trust 127.0.0.1/32 trust
host  all all       127.0.0.1/32 scram-sha-256
HBA

# Below the kernel's range for outgoing connections, so that only another server can be in the way.
free_port() { printf '%s\n' $((20000 + $(od -An -N2 -tu2 /dev/urandom) % 10000)); }
port=
for _ in 1 2 3 4 5 6 7 8 9 10; do
  try=$(free_port)
  if in_home "$bindir/pg_ctl" -D "$home/data" -l "$home/postgres.log" -w -t 30 \
    -o "-p $try" start >/dev/null 2>&1 9>&-; then
    port=$try
    break
  fi
  grep -q 'Address already in use' "$home/postgres.log" || break
done
[ -n "$port" ] || { cat "$home/postgres.log" >&2; die "PostgreSQL does not start"; }

PGPASSWORD=$admin_password "$bindir/psql" -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$port" -U postgres -d postgres \
  -v pw="$app_password" >&2 <<'SQL'
CREATE ROLE warpgrid_app LOGIN PASSWORD :'pw';
CREATE ROLE app_plain LOGIN PASSWORD :'pw';
CREATE ROLE app_trust LOGIN;
SET password_encryption = 'md5';
CREATE ROLE app_md5 LOGIN PASSWORD :'pw';
CREATE DATABASE warpgrid OWNER warpgrid_app;
SQL
export PGPASSWORD=$app_password
"$bindir/psql" -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$port" -U warpgrid_app -d warpgrid \
  -f "$here/seed.sql" \
  -c 'GRANT ALL ON ALL TABLES IN SCHEMA public TO app_md5, app_plain, app_trust' \
  -c 'GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app_md5, app_plain, app_trust' >&2

bouncer_port=
bouncer_pid=
if [ $with_pgbouncer = 1 ]; then
  printf '"warpgrid_app" "%s"\n"app_trust" ""\n' "$app_password" | in_home tee "$home/userlist.txt" >/dev/null
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    try=$(free_port)
    in_home tee "$home/pgbouncer.ini" >/dev/null <<INI
[databases]
warpgrid = host=127.0.0.1 port=$port dbname=warpgrid
warpgrid_transaction = host=127.0.0.1 port=$port dbname=warpgrid pool_mode=transaction
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $try
unix_socket_dir =
auth_type = scram-sha-256
auth_file = $home/userlist.txt
pool_mode = session
default_pool_size = 20
max_client_conn = 500
logfile = $home/pgbouncer.log
pidfile = $home/pgbouncer.pid
log_connections = 0
log_disconnections = 0
$(printf '%s\n' ${bouncer_settings[@]+"${bouncer_settings[@]}"})
INI
    PATH=$PATH:/usr/sbin in_home pgbouncer -d -q "$home/pgbouncer.ini" >/dev/null 2>&1 9>&- || true
    for _ in $(seq 100); do
      [ ! -s "$home/pgbouncer.pid" ] || break
      ! grep -q 'Address already in use' "$home/pgbouncer.log" 2>/dev/null || break
      sleep 0.02
    done
    if [ -s "$home/pgbouncer.pid" ] &&
      "$bindir/psql" -X -q -h 127.0.0.1 -p "$try" -U warpgrid_app -d warpgrid -c 'SELECT 1' >/dev/null 2>&1; then
      bouncer_port=$try
      bouncer_pid=$(cat "$home/pgbouncer.pid")
      break
    fi
  done
  [ -n "$bouncer_port" ] || { cat "$home/pgbouncer.log" >&2; die "pgbouncer does not start"; }
fi

# waits_for COMMAND...: for 5 s.
waits_for() {
  local tries=100
  until "$@"; do
    [ $((tries--)) -gt 0 ] || return 1
    sleep 0.05
  done
}
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

redis_port=
redis_pid=
if [ $with_redis = 1 ]; then
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    try=$(free_port)
    "$redis" --bind 127.0.0.1 --port "$try" --save '' --appendonly no --dir "$dir" \
      >"$dir/redis.log" 2>&1 </dev/null 9>&- &
    redis_pid=$!
    if waits_for answers "$try" && kill -0 "$redis_pid" 2>/dev/null; then
      redis_port=$try
      break
    fi
  done
  [ -n "$redis_port" ] || { cat "$dir/redis.log" >&2; die "Redis does not start"; }
fi

registry_port=
registry_pid=
if [ $with_registry = 1 ]; then
  python3 "$here/mock_registry.py" >"$dir/registry.url" 2>"$dir/registry.log" </dev/null 9>&- &
  registry_pid=$!
  waits_for test -s "$dir/registry.url" || { cat "$dir/registry.log" >&2; die "the registry does not start"; }
  registry_port=$(sed -n 's/.*://p' "$dir/registry.url")
fi

(
  umask 077
  cat >"$env_file.new" <<ENV
PGHOST=127.0.0.1
PGPORT=$port
PGUSER=warpgrid_app
PGPASSWORD=$app_password
PGDATABASE=warpgrid
PG_ADMIN_USER=postgres
PG_ADMIN_PASSWORD=$admin_password
PG_BINDIR=$bindir
PG_LOG=$home/postgres.log
WARPGRID_PG_HOME=$home
WARPGRID_PG_PID=$(head -n 1 "$home/data/postmaster.pid")
PGBOUNCER_PORT=$bouncer_port
WARPGRID_PGBOUNCER_PID=$bouncer_pid
REDIS_HOST=${redis_port:+127.0.0.1}
REDIS_PORT=$redis_port
WARPGRID_REDIS_PID=$redis_pid
REGISTRY_HOST=${registry_port:+127.0.0.1}
REGISTRY_PORT=$registry_port
WARPGRID_REGISTRY_PID=$registry_pid
ENV
)
mv "$env_file.new" "$env_file"
started=1
others=${bouncer_port:+, pgbouncer on 127.0.0.1:$bouncer_port}${redis_port:+, Redis on 127.0.0.1:$redis_port}
others+=${registry_port:+, registry on 127.0.0.1:$registry_port}
say "PostgreSQL on 127.0.0.1:$port$others; stop: test-infra/down.sh $dir"
printf '%s\n' "$env_file"
