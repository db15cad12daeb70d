#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Which lines of the host's C the tests run.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case ${1-} in
  -h | --help)
    cat <<'USAGE'
usage: scripts/coverage.sh [CTEST ARGUMENT...]

Runs the tests of the coverage preset (all of them, or those that the arguments select) and prints
lines and branches a file. The report by line is build/coverage/html.
USAGE
    exit 0 ;;
esac
dir=$root/build/coverage
rm -rf "$dir/profiles"
mkdir -p "$dir/profiles"
code=0
LLVM_PROFILE_FILE=$dir/profiles/%p-%8m.profraw "$root/scripts/test.sh" coverage "$@" || code=$?
find "$dir/profiles" -name '*.profraw' >"$dir/profiles/list"
"llvm-profdata-$LLVM_MAJOR" merge -sparse -f "$dir/profiles/list" -o "$dir/all.profdata"
objects=("$dir/warp")
while IFS= read -r test; do objects+=(-object "$test"); done < <(find "$dir/tests" -type f -name '*_test')
"llvm-cov-$LLVM_MAJOR" report "${objects[@]}" -instr-profile "$dir/all.profdata" \
  --show-region-summary=false --sources "$root/src"
"llvm-cov-$LLVM_MAJOR" show "${objects[@]}" -instr-profile "$dir/all.profdata" -format html \
  -output-dir "$dir/html" --sources "$root/src"
exit "$code"
