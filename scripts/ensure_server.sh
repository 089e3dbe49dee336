#!/bin/sh
# See that tests, demo and benchmarks have a server to start: one that is here, or MariaDB from apt. It is installed
# without the package that would run it as a service. Tests of a Galera need its library, too, and do without it.
set -eu
here=$(dirname "$0")
python=$1

try_server() {
    "$python" - <<'EOF'
import sys
from improved_db.errors import ServerNotFound
from improved_db.testing import TemporaryServer

try:
    with TemporaryServer() as server:
        print(f"Server: {server.version}")
except (ServerNotFound, RuntimeError) as error:
    sys.exit(f"No server that starts. {error}")
EOF
}

if ! command -v apt-get >/dev/null; then
    try_server
elif ! try_server 2>/dev/null; then
    "$here/apt_install.sh" mariadb-server-core mariadb-client-core
    try_server
fi

has_galera() {
    "$python" -c 'from improved_db.testing.galera import find_galera; find_galera()' 2>/dev/null
}

if ! has_galera && command -v apt-get >/dev/null; then
    "$here/apt_install.sh" galera-4 >/dev/null 2>&1 || true
fi
has_galera || echo "Tests of a Galera are skipped: its library is not here (the package galera-4)"
