#!/bin/sh
# Make the virtual environment $1 with the Python that $PYTHON names, or the newest one here from 3.10 on.
set -eu
here=$(dirname "$0")

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

found=
for python in ${PYTHON:-python3.13 python3.12 python3.11 python3.10 python3}; do
    if is_new_enough "$python"; then
        found=$python
        break
    fi
done
if [ -z "$found" ]; then
    echo "Python 3.10 or newer is needed: install one, or name it: make PYTHON=/path/to/python3" >&2
    exit 1
fi
if ! "$found" -c 'import ensurepip, venv' 2>/dev/null; then # Debian packs these apart
    "$here/apt_install.sh" "$("$found" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
fi
"$found" -m venv "$1"
