#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Guests, real databases, and everything that goes wrong between them, for minutes: soak.py.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

seconds=300
seed= protocols=postgres,mysql,redis
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      cat <<'USAGE'
usage: soak.sh [--seed N] [--protocols LIST] [SECONDS]

Serves guests that ask a real PostgreSQL, MariaDB and Redis, for SECONDS (300), while connections are
killed, the servers are killed and restarted, the network is cut, stalled and delayed, guests trap and
run into their time limit, and clients hang up. Every answer is checked against its question: a token that
the database echoes; what a session must not know of the one before; every write that was answered is
there.

  --seed N          repeats the choices of an earlier run, which printed it
  --protocols LIST  of postgres, mysql, redis, with commas; default: all three

Prints lines `RESULT soak_... name=value...`. Ends with 1 when an answer was wrong or a question
was answered neither by its result nor by an error, when the host did not recover or did not end in
order, or a sanitizer reported something.

Environment: WARP_BIN         the program; default: the newest build. An asan build will do too
             WARPGRID_GUESTS  folder of the guests; default: the build's
USAGE
      exit 0 ;;
    --seed) seed=${2:-}; shift ;;
    --protocols) protocols=${2:-}; shift ;;
    *) seconds=$1 ;;
  esac
  shift
done
[[ $seconds =~ ^[1-9][0-9]{0,5}$ ]] || die "'$seconds' is no number of seconds" "see --help"
[[ $seed =~ ^[0-9]{0,18}$ ]] || die "--seed wants a number"
[[ $protocols =~ ^(postgres|mysql|redis)(,(postgres|mysql|redis))*$ ]] || die "--protocols wants a list" "see --help"
need python3 python3
find_warp
probe=$(guest dbprobe-p2)
WARP_BIN=$WARP_BIN WARPGRID_GUESTS=$(dirname "$probe") PYTHONPATH=$root/tests/e2e PYTHONDONTWRITEBYTECODE=1 \
  exec python3 "$root/benches/soak.py" "$protocols" "$seconds" ${seed:+"$seed"}
