#!/bin/sh
# Install Debian or Ubuntu packages, as root or through sudo; elsewhere say in one line what is missing.
set -eu

if ! command -v apt-get >/dev/null; then
    echo "Missing here: $*. Install what your system calls it, and run this again." >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    as_root=
elif command -v sudo >/dev/null; then
    as_root=sudo
else
    echo "Run this as root, then run make again: apt-get install -y --no-install-recommends $*" >&2
    exit 1
fi
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"
