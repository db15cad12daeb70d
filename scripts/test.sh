#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# All tests of a preset: builds, runs CTest, and counts the cases.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'USAGE'
usage: scripts/test.sh [PRESET] [CTEST ARGUMENT...]

Builds a preset (default: dev) with its guests, runs its tests, and ends with one line that counts
the cases inside of them: "N passed, N failed". For example:

  scripts/test.sh dev -L quick        unit tests only
  scripts/test.sh asan -R e2e.http    one file under the sanitizers
USAGE
}
case ${1-} in -h | --help) usage; exit 0 ;; esac
preset=dev
case ${1-} in '' | -*) ;; *) preset=$1; shift ;; esac

if [ "$preset" = tsan ]; then build "$preset" all; else build "$preset" all guests sdk; fi
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=0}
export LSAN_OPTIONS=${LSAN_OPTIONS:-suppressions=$root/tests/lsan.supp:print_suppressions=0}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1}
# Sanitizers make everything slower; deadlines of the tests, not those under test, follow.
case $preset in asan | tsan | coverage) export WARPGRID_TEST_SLOW=${WARPGRID_TEST_SLOW:-4} ;; esac

code=0
junit=$root/build/$preset/tests.xml
(cd "$root" && ctest --preset "$preset" -j "$(nproc)" --output-junit "$junit" \
  --test-output-size-passed 1000000 --test-output-size-failed 1000000 "$@") || code=$?
python3 "$root/scripts/count-tests.py" "$junit" || code=1
exit "$code"
