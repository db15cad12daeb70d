#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
. "$(dirname "$0")/lib.sh"
bench_main "50 statements of 50 ms at once from one WASI 0.3 instance, over sockets and a pool of 50 (US-506).
  db_async_50  milliseconds from when all are connected to the last answer; peer: one statement's 50 ms" "$@"
find_warp
database
database_config 50
asks=$((20 * scale / 100))
serve_ours "$(rust_guest rust-sockets web_p3)" default "[env]
DB_HOST = \"db.bench.warp.local\"
DB_PORT = \"$PGPORT\"
DB_NAME = \"$PGDATABASE\"
$(sed 1d "$db_config")"
ms=()
for ((i = 0; i <= rounds * asks; i++)); do
  took=$(curl -sf --max-time 30 "http://127.0.0.1:$port/warm?n=50&q=SELECT+pg_sleep(0.05)" | head -n 1) ||
    die "a request failed"
  ((i == 0)) || ms+=("$took") # the first one fills the pool
done
stop_server
result db_async_50 "$(median "${ms[@]}")" 50 ${#ms[@]} ms
