#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "A GET over and over, 1,000 of them at once, and connect, one GET, close, to Redis: a stock program of
BSD sockets as a guest, over the same program compiled for this machine, direct, which logs in. Mean time of
one turn; ratio = median of the rounds' ratios.
  redis_roundtrip_c1        the guest, spin = \"off\"
  redis_roundtrip_c1_spin   the guest, spin = \"auto\"
  redis_pipeline            the native batch over the guest's: 1 is the native throughput
  redis_connect             the guest's connect over the native one; min_idle = 2: a connection is at
                            hand while another is reset
  redis_connect_tls         the same with TLS, which the host speaks and has spoken before; name and
                            certificate checked by both" "$@"
find_warp
redis_loop= ca= redis_tls_port= # set by what follows
native_from "$root/benches/guests/redis_loop.c" redis_loop -DWITH_TLS -lssl -lcrypto
certificate cache.bench.warp.local
redis_server
off=$work/off.toml auto=$work/auto.toml ready=$work/ready.toml secure=$work/secure.toml
db_config_as=$off redis_config 10 'spin = "off"'
db_config_as=$auto redis_config 10 'spin = "auto"'
db_config_as=$ready redis_config 10 'spin = "off"
min_idle = 2'
db_config_as=$secure redis_config 10 "spin = \"off\"
min_idle = 2
tls = \"verify-full\"
tls_ca = \"$ca\"" "$redis_tls_port"
# Short slices, many of them: the machine drifts by more than the difference within seconds.
n=5000
[ "$scale" = 100 ] && rounds=$((rounds * 4)) || n=2000
component=$(guest redis-loop)
both=0,1
[ "$(nproc)" -ge 2 ] || both=0

run_native() { # CORES VERB N
  DB_HOST=127.0.0.1 DB_PORT=${native_port:-$redis_port} DB_PASSWORD=secret pinned "$1" "$redis_loop" "$2" "$3"
}
run_guest() { # CORES CONFIG VERB N
  pinned "$1" "$WARP_BIN" run "$component" --config "$2" --env "DB_HOST=cache.bench.warp.local" \
    --env DB_PORT=6379 -- "$3" "$4" 2>>"$work/guest.log"
}
run_direct() { run_native $server_core loop "$n"; }
run_direct_both() { run_native $both loop "$n"; }
run_ours() { run_guest $server_core "$off" loop "$n"; }
run_spin() { run_guest $both "$auto" loop "$n"; }
run_direct_pipeline() { run_native $server_core pipeline $((n / 20)); }
run_ours_pipeline() { run_guest $server_core "$off" pipeline $((n / 20)); }
run_direct_connect() { run_native $server_core connect $((n / 5)); }
run_ours_connect() { run_guest $server_core "$ready" connect $((n / 5)); }
run_direct_connect_tls() {
  native_port=$redis_tls_port DB_TLS_CA=$ca DB_TLS_NAME=cache.bench.warp.local \
    run_native $server_core connect $((n / 10))
}
run_ours_connect_tls() { run_guest $server_core "$secure" connect $((n / 5)); }

take_turns per_op_us direct ours direct_both spin direct_pipeline ours_pipeline direct_connect ours_connect \
  direct_connect_tls ours_connect_tls
compare redis_roundtrip_c1 ours direct $((n * rounds))
compare redis_roundtrip_c1_spin spin direct_both $((n * rounds))
compare redis_pipeline direct_pipeline ours_pipeline $((rounds * n / 20))
compare redis_connect ours_connect direct_connect $((rounds * n / 5))
compare redis_connect_tls ours_connect_tls direct_connect_tls $((rounds * n / 5))
