#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Downloads a Debian package (binary or source) of any suite from the machine's own mirror, through
# an apt configuration of its own: nothing is installed, no suite is added to the system.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: scripts/fetch-deb.sh --suite SUITE --out DIR [--source] PACKAGE[=VERSION]

Downloads the package's .deb, or with --source the files of its source package, into DIR. Apt checks
the archive's signature. Verify a pinned hash on top: suites move.
USAGE
}
die() { printf 'error: %s\n' "$1" >&2; [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2; exit 1; }

suite='' out='' type=deb package=''
while [ $# -gt 0 ]; do
  case $1 in
    --suite) suite=${2?}; shift ;;
    --out) out=${2?}; shift ;;
    --source) type=deb-src ;;
    -h | --help) usage; exit 0 ;;
    -*) usage >&2; exit 2 ;;
    *) package=$1 ;;
  esac
  shift
done
if [ -z "$suite" ] || [ -z "$out" ] || [ -z "$package" ]; then usage >&2; exit 2; fi
command -v apt-get >/dev/null || die "'apt-get' is not installed" "this needs a Debian system"

# The first archive labelled Debian that this machine already uses; its sources file otherwise.
# shellcheck disable=SC2016 # apt fills these in
mirror=$(apt-get indextargets --format '$(REPO_URI) $(LABEL)' 'Identifier: Packages' 2>/dev/null |
  awk '$2 == "Debian" { print $1; exit }')
[ -n "$mirror" ] || mirror=$(cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null |
  awk '/security/ { next } /^URIs:/ { print $2; exit }
       /^deb / { for (i = 2; i <= NF; i++) if ($i ~ /^[a-z]+:\//) { print $i; exit } }')
[ -n "$mirror" ] || die "no Debian mirror in this machine's apt sources"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -f "$keyring" ] || die "no '$keyring'" "apt install debian-archive-keyring"

apt=$(mktemp -d)
trap 'rm -rf "$apt"' EXIT
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$out"
printf '%s [signed-by=%s] %s %s main\n' "$type" "$keyring" "$mirror" "$suite" >"$apt/sources.list"
options=(-q -q -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
  -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache" -o APT::Get::List-Cleanup=0
  -o Acquire::Languages=none -o APT::Sandbox::User=root -o Acquire::Retries=3)
apt-get "${options[@]}" update
cd "$out"
if [ "$type" = deb ]; then
  apt-get "${options[@]}" download "$package"
else
  apt-get "${options[@]}" source --download-only "$package"
fi
