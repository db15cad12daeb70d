#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Static checks: layout and analysis of C, Rust and scripts. Changes nothing.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
  cat <<'USAGE'
usage: scripts/lint.sh [c|tidy|aarch64|rust|shell|licenses|bindings]...

  c         clang-format: layout of C
  tidy      clang-tidy: analysis of the host's C
  aarch64   the host's C compiles for aarch64
  rust      cargo fmt --check and clippy with warnings as errors
  shell     shellcheck: scripts
  licenses  docs/licenses.md against the lock files
  bindings  generated C bindings and WIT dependencies against their sources, where the tools are
Without arguments all of them. `clang-format-22 -i FILE` and `cargo fmt` repair layout.
USAGE
}
parts=()
for arg; do
  case $arg in
    -h | --help) usage; exit 0 ;;
    c | tidy | aarch64 | rust | shell | licenses | bindings) parts+=("$arg") ;;
    *) say "error: unknown part '$arg'"; usage >&2; exit 2 ;;
  esac
done
[ ${#parts[@]} -gt 0 ] || parts=(c tidy aarch64 rust shell licenses bindings)
cd "$root"
failed=0

# Our C, without what is generated or taken from others.
c_files() {
  git ls-files -co --exclude-standard -- 'include/*.h' 'src/*.[ch]' 'crates/*.h' 'tests/*.[ch]' \
    'benches/*.[ch]' 'docs/*.c' 'test-apps/*.[ch]' 'sdk/c/include/*.h' 'sdk/c/src/*.[ch]' 'sdk/libpq/*.[ch]' \
    'libc-patches/tests/*.[ch]'
}
lint_c() {
  local files
  mapfile -t files < <(c_files)
  "clang-format-$LLVM_MAJOR" --dry-run -Werror "${files[@]}"
}
lint_tidy() {
  local files
  configure dev
  # Templates are guests.
  mapfile -t files < <(git ls-files -co --exclude-standard -- 'src/*.c' ':!src/cli/templates')
  printf '%s\0' "${files[@]}" | xargs -0 -P "$(nproc)" -n 8 \
    "clang-tidy-$LLVM_MAJOR" -p build/dev --quiet 2>/dev/null
}
lint_aarch64() { scripts/check-aarch64.sh; }
lint_rust() {
  cargo fmt --check &&
    CARGO_TARGET_DIR=$cache/cargo cargo clippy --release --locked --workspace --all-targets -q -- -D warnings &&
    (cd benches/async_db_proxy && cargo fmt --check &&
      CARGO_TARGET_DIR=$cache/cargo cargo clippy --locked --all-targets -q -- -D warnings) &&
    lint_guest_crate
}
# The crate for guests, which is for wasm32, and its messages natively, too; and what is written with it.
lint_guest_crate() {
  local clippy=(cargo clippy --locked -q --lib) kinds library app
  (
    cd crates/warpgrid-async
    export CARGO_TARGET_DIR=$cache/guest-rust/target
    cargo fmt --check && "${clippy[@]}" --tests --all-features -- -D warnings || exit 1
    library=$(rustc --print target-libdir --target wasm32-wasip2 2>/dev/null) || library=
    if [ ! -d "$library" ]; then
      say "skipped: clippy for wasm32-wasip2: this rustc has no such target"
      exit 0
    fi
    "${clippy[@]}" --target wasm32-wasip2 -- -D warnings &&
      "${clippy[@]}" --target wasm32-wasip2 --examples --all-features -- -D warnings || exit 1
    for app in "$root"/test-apps/t*-rust-* "$root"/tests/fixtures/rust-* "$root"/tests/e2e/projects/rust-*; do
      cd "$app"
      kinds=(--bins)
      [ ! -f src/lib.rs ] || kinds+=(--lib)
      [ ! -d examples ] || kinds+=(--examples)
      cargo fmt --check && cargo clippy --locked -q "${kinds[@]}" --target wasm32-wasip2 -- -D warnings || exit 1
    done
  )
}
lint_shell() {
  local files
  mapfile -t files < <(git ls-files -co --exclude-standard -- '*.sh' .ci/run)
  shellcheck -S warning -x "${files[@]}"
}
lint_licenses() { scripts/audit-licenses.py --check; }
lint_bindings() {
  scripts/gen-bindings.sh --check && scripts/update-wit-deps.sh --check && scripts/gen-wasi-03-surface.py --check
}

for part in "${parts[@]}"; do
  say "# $part"
  "lint_$part" || { say "error: lint $part found something"; failed=1; }
done
exit "$failed"
