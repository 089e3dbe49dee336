#!/bin/sh
# See that the peers of the benchmarks that are written in C can be compiled: MariaDB's client library from apt, where
# it is missing. The benchmarks do without those peers if that fails.
set -eu
here=$(dirname "$0")

if command -v mariadb_config >/dev/null || command -v mysql_config >/dev/null || ! command -v apt-get >/dev/null; then
    exit 0
fi
"$here/apt_install.sh" libmariadb-dev pkg-config gcc libc6-dev
