#!/bin/sh
# Print the CPythons found here from 3.10 on, the oldest first, one a line: version and path. It looks in PATH and where
# pyenv keeps its own.
set -eu

for python in python3 python3.10 python3.11 python3.12 python3.13 python3.14 python3.15 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3; do
    command -v "$python" >/dev/null 2>&1 || continue
    "$python" -c '
import sys
if sys.version_info >= (3, 10) and sys.implementation.name == "cpython" and sys.version_info.releaselevel == "final":
    print("%d.%d" % sys.version_info[:2], sys.executable)
' 2>/dev/null || true
done | sort -t . -k 2,2n -u
