"""On what something was measured: the machine, the Python, and the version of everything that took part.

Knows this computer. Does not know what was measured.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Final

DISTRIBUTIONS: Final = (
    "improved-db",
    "PyMySQL",
    "tenacity",
    "pymysql-pool",
    "DBUtils",
    "SQLAlchemy",
    "mysql-connector-python",
    "mysqlclient",
    "mariadb",
    "asyncmy",
    "cymysql",
    "psycopg",
    "psycopg-pool",
)


def about() -> dict[str, Any]:
    """Return date, machine and versions."""
    return {
        "date": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} on {platform.machine()}",
            "python": f"{platform.python_version()} ({platform.python_implementation()})",
            "load": os.getloadavg()[0],
        },
        "versions": {name: version for name in DISTRIBUTIONS if (version := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
