"""Tests in the syntax of Python 3.14; older ones cannot read them."""

from __future__ import annotations

import sys

collect_ignore_glob = [] if sys.version_info >= (3, 14) else ["test_*.py"]
