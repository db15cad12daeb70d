#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts the sources of the JSON library for guests (jansson, MIT licence) into the cache and prints
# where. They are the upstream sources of Debian's stable package, checked against a pinned hash.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
JANSSON_VERSION=2.14-2
JANSSON_SHA256=c739578bf6b764aa0752db9a2fdadcfe921c78f1228c7ec0bb47fa804c55d17b
# shellcheck source=/dev/null
if [ -f "$root/versions.env" ]; then . "$root/versions.env"; fi
cache=${WARPGRID_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/warpgrid

case ${1-} in
  -h | --help)
    cat <<USAGE
usage: scripts/fetch-guest-json.sh

Fetches jansson $JANSSON_VERSION and prints the folder with its C sources. The second time it only
prints.
USAGE
    exit 0 ;;
  '') ;;
  *) echo "usage: scripts/fetch-guest-json.sh" >&2; exit 2 ;;
esac
die() { printf 'error: %s\n' "$1" >&2; [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2; exit 1; }

dir=$cache/jansson/$JANSSON_SHA256
if [ -f "$dir/jansson.h" ]; then printf '%s\n' "$dir"; exit 0; fi
mkdir -p "$cache/jansson"
exec 9>"$cache/jansson/.lock" # one fetches, the others wait
flock 9
if [ -f "$dir/jansson.h" ]; then printf '%s\n' "$dir"; exit 0; fi
work=$(mktemp -d "$cache/jansson/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "fetching jansson $JANSSON_VERSION" >&2
"$root/scripts/fetch-deb.sh" --suite bookworm --source --out "$work" "jansson=$JANSSON_VERSION" >&2 ||
  die "cannot fetch the sources of jansson $JANSSON_VERSION"
tar=$(ls "$work"/jansson_*.orig.tar.*)
sum=$(sha256sum "$tar" | cut -d' ' -f1)
[ "$sum" = "$JANSSON_SHA256" ] || die "$(basename "$tar") has sha256 $sum, expected $JANSSON_SHA256" \
  "nothing was kept; check JANSSON_VERSION and JANSSON_SHA256 in versions.env"
mkdir "$work/all" "$work/out"
tar -xf "$tar" -C "$work/all" --strip-components=1
cp "$work"/all/src/*.[ch] "$work"/all/LICENSE "$work/out"
mv -T "$work/out" "$dir"
printf '%s\n' "$dir"
