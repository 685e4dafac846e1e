#!/bin/sh
# deps.sh - install what building, running and testing need, from Debian's packages
#
# Runs apt-get as root or through sudo, and only for what is missing.
set -eu
packages='gcc make pkg-config libjansson-dev libmsgpack-dev libsqlite3-dev libpng-dev libjpeg62-turbo-dev libpcre2-dev
    jq perl clang libclang-rt-dev libomp-dev mandoc bsdextrautils shellcheck sqlite3 git ca-certificates'
missing=
for p in $packages; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
if [ -z "$missing" ]; then
    echo "deps: everything is installed"
    exit 0
fi
echo "deps: apt-get install$missing"
as_root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "deps: not root and no sudo: run this as root:  apt-get install$missing" >&2; exit 4; }
    as_root=sudo
fi
$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
echo "deps: installed$missing"
