#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# All benches, on the release build.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case ${1-} in
  -h | --help)
    cat <<'USAGE'
usage: scripts/bench.sh [OPTION OF A BENCH...]

Builds the release preset with its guests and runs every bench of benches/ with the given options
(--quick, --rounds N). Figures are the lines that begin with RESULT.
USAGE
    exit 0 ;;
esac
build release warp guests sdk dns_hit
code=0
for bench in "$root"/benches/*.sh; do
  case $bench in */lib.sh | */soak.sh) continue ;; esac
  say "# $(basename "$bench")"
  WARP_BIN=$root/build/release/warp WARPGRID_GUESTS=$root/build/release/guests "$bench" "$@" || code=1
done
exit "$code"
