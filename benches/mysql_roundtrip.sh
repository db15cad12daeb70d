#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "A prepared SELECT 1 over and over, and connect, one SELECT 1, close, to MariaDB: a stock program of
BSD sockets as a guest, over the same program compiled for this machine, direct. The guest's connections are
the pool's, so it never logs in; nor has the native one a password to prove. Mean time of one turn; ratio =
median of the rounds' ratios.
  mysql_roundtrip_c1        the guest, spin = \"off\"
  mysql_roundtrip_c1_spin   the guest, spin = \"auto\"
  mysql_connect             the guest's connect over the native one; min_idle = 2: a connection is at
                            hand while another is reset
  mysql_connect_tls         the same with TLS, which the host speaks and has spoken before; name and
                            certificate checked by both" "$@"
find_warp
my_loop= ca= # set by native_from and certificate
native_from "$root/benches/guests/my_loop.c" my_loop -DWITH_TLS -lssl -lcrypto
certificate db.bench.warp.local
mariadb_server
off=$work/off.toml auto=$work/auto.toml ready=$work/ready.toml secure=$work/secure.toml
db_config_as=$off mariadb_config 10 'spin = "off"'
db_config_as=$auto mariadb_config 10 'spin = "auto"'
db_config_as=$ready mariadb_config 10 'spin = "off"
min_idle = 2'
db_config_as=$secure mariadb_config 10 "spin = \"off\"
min_idle = 2
tls = \"verify-full\"
tls_ca = \"$ca\""
# Short slices, many of them: the machine drifts by more than the difference within seconds.
n=5000
[ "$scale" = 100 ] && rounds=$((rounds * 4)) || n=2000
component=$(guest my-loop)
both=0,1
[ "$(nproc)" -ge 2 ] || both=0

run_native() { # CORES VERB N
  DB_HOST=127.0.0.1 DB_PORT=$mariadb_port DB_NAME=bench DB_USER=bench pinned "$1" "$my_loop" "$2" "$3"
}
run_guest() { # CORES CONFIG VERB N
  pinned "$1" "$WARP_BIN" run "$component" --config "$2" --env "DB_HOST=db.bench.warp.local" \
    --env DB_PORT=3306 --env DB_NAME=bench --env DB_USER=bench -- "$3" "$4" 2>>"$work/guest.log"
}
run_direct() { run_native $server_core loop "$n"; }
run_direct_both() { run_native $both loop "$n"; }
run_ours() { run_guest $server_core "$off" loop "$n"; }
run_spin() { run_guest $both "$auto" loop "$n"; }
run_direct_connect() { run_native $server_core connect $((n / 5)); }
run_ours_connect() { run_guest $server_core "$ready" connect $((n / 5)); }
run_direct_connect_tls() {
  DB_TLS_CA=$ca DB_TLS_NAME=db.bench.warp.local run_native $server_core connect $((n / 10))
}
run_ours_connect_tls() { run_guest $server_core "$secure" connect $((n / 5)); }

take_turns per_op_us direct ours direct_both spin direct_connect ours_connect direct_connect_tls ours_connect_tls
compare mysql_roundtrip_c1 ours direct $((n * rounds))
compare mysql_roundtrip_c1_spin spin direct_both $((n * rounds))
compare mysql_connect ours_connect direct_connect $((rounds * n / 5))
compare mysql_connect_tls ours_connect_tls direct_connect_tls $((rounds * n / 5))
