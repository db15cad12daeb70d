#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fuzzes the parsers of bytes from outside.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case ${1-} in
  -h | --help)
    cat <<'USAGE'
usage: scripts/fuzz.sh [SECONDS [TARGET...]]

Runs each target of tests/fuzz (or those given) for SECONDS (default: 60) under ASan and UBSan.
New inputs stay in build/fuzz/corpus/TARGET; an input that breaks a target is named at the end: copy
it to tests/fuzz/corpus/TARGET, where plain tests replay it.
USAGE
    exit 0 ;;
esac
seconds=${1:-60}
case $seconds in *[!0-9]* | '') die "'$seconds' is not a number of seconds" "see --help" ;; esac
shift || true
build fuzz fuzzers
bin=$root/build/fuzz/tests/fuzz
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  for file in "$bin"/fuzz_*; do targets+=("${file##*/fuzz_}"); done
fi
for target in "${targets[@]}"; do
  [ -x "$bin/fuzz_$target" ] || die "no fuzz target '$target'"
  grown=$root/build/fuzz/corpus/$target
  mkdir -p "$grown" "$root/build/fuzz/found"
  say "# $target: $seconds s"
  (cd "$root/build/fuzz/found" &&
    "$bin/fuzz_$target" -max_total_time="$seconds" -timeout=10 -print_final_stats=1 \
      -artifact_prefix="$target-" "$grown" "$root/tests/fuzz/corpus/$target" 2>&1 | tail -n 12)
done
