#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds libwarpgrid_runtime.a, the static library over Wasmtime, once per content.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: scripts/build-runtime.sh [--output FILE] [--quiet] [--help]

Prints the path of libwarpgrid_runtime.a, building it first when the sources of
crates/warpgrid-runtime, wit/, Cargo.toml, Cargo.lock or the compiler changed.
A cold build takes 10 to 20 minutes on two cores; a known content takes no time.

  --output FILE  also links (or copies) the archive to FILE
  --quiet        does not print the path

Archives are kept by content in $WARPGRID_CACHE (default: the user's cache
folder, warpgrid/), Cargo's own files beside them.
EOF
}

output='' quiet_option=''
while [ $# -gt 0 ]; do
  case $1 in
  --output) output=${2:?--output needs a file}; shift ;;
  --quiet) quiet_option=--quiet ;;
  -h | --help) usage; exit 0 ;;
  *) echo "error: unknown option '$1'" >&2; usage >&2; exit 2 ;;
  esac
  shift
done

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cache=${WARPGRID_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/warpgrid
case $output in '' | /*) ;; *) output=$PWD/$output ;; esac
cd "$root"

# A toolchain that is installed for the user but not on PATH, as in a fresh shell.
command -v cargo >/dev/null 2>&1 || PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
if ! command -v cargo >/dev/null 2>&1; then
  echo "error: cargo was not found" >&2
  echo "hint: run scripts/bootstrap.sh" >&2
  exit 1
fi

# The pinned toolchain when rustup has it and the default is another one.
want=$(sed -n 's/^RUST_VERSION=//p' versions.env 2>/dev/null || true)
if [ -n "$want" ] && [ -z "${RUSTUP_TOOLCHAIN:-}" ] && ! rustc --version | grep -qF " $want " &&
  rustc "+$want" --version >/dev/null 2>&1; then
  export RUSTUP_TOOLCHAIN="$want"
fi

content_hash() {
  {
    rustc -vV
    find crates/warpgrid-runtime wit Cargo.toml Cargo.lock -type f ! -path '*/target/*' |
      LC_ALL=C sort | xargs sha256sum
    printf 'RUSTFLAGS=%s\n' "${RUSTFLAGS:-}"
  } | sha256sum | cut -c1-32
}
hash=$(content_hash)

store=$cache/runtime/$hash
archive=$store/libwarpgrid_runtime.a
if [ ! -f "$archive" ]; then
  target=$cache/cargo
  echo "building the runtime crate (10 to 20 minutes when cold, about 1 after a small change)" >&2
  # All checkouts share the folder, and Cargo takes their crates for one: one at a time, and newer
  # than what another one built there.
  mkdir -p "$target"
  exec 9>"$target/.warpgrid-lock"
  flock 9
  touch crates/warpgrid-runtime/src/lib.rs
  CARGO_TARGET_DIR=$target cargo build --release --locked -p warpgrid-runtime >&2
  # A source that changed meanwhile may be in the archive, or not: that content is the next run's.
  [ "$(content_hash)" = "$hash" ] || { echo "the sources changed meanwhile: building again" >&2
    exec 9>&-
    exec "$root/scripts/build-runtime.sh" ${output:+--output "$output"} ${quiet_option:+"$quiet_option"}; }
  mkdir -p "$store"
  # Through a temporary name: another build may look at the same moment.
  cp "$target/release/libwarpgrid_runtime.a" "$archive.$$"
  mv "$archive.$$" "$archive"
  exec 9>&-
  # An archive is 100 MB: keep the few that were used last.
  # shellcheck disable=SC2012
  ls -1dt "$cache"/runtime/*/ | tail -n +5 | while read -r old; do rm -rf "$old"; done
else
  touch "$store"
fi

if [ -n "$output" ]; then
  mkdir -p "$(dirname -- "$output")"
  # A copy with a time of its own: a link would make other build folders link again.
  cp --reflink=auto "$archive" "$output.$$"
  mv -f "$output.$$" "$output"
fi
[ -n "$quiet_option" ] || printf '%s\n' "$archive"
