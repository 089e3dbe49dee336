"""A newly installed data folder: installed once, then copied for each server.

The first install (0.5 s for MariaDB, a few seconds for MySQL) is kept in the user's cache, with 21 MB for each server
version. If the cache cannot be written, every server is installed again. A copy contains an account root without a
password, for ``localhost`` and ``127.0.0.1``, and an empty database ``test``.

Knows how each flavour installs itself, and the options that its files are made with. Does not know a running server.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from improved_db.errors import ServerNotFound
from improved_db.testing.binary import how_to_install
from improved_db.testing.claim import Claim, data_option, reap

if TYPE_CHECKING:
    from improved_db.testing.binary import ServerBinary

_INSTALL_TIMEOUT = 300.0

# Small: the redo log is the largest part of a copy. `loose-`: no error where a version does not know the option.
_STORAGE = {
    "mariadb": ["--innodb-log-file-size=4M"],
    "mysql": ["--loose-innodb-redo-log-capacity=8M"],
}

# Packagers use --rpm and --cross-bootstrap: they add no rows for this host's name. Without --rpm, when root runs it,
# the script changes the owner of a set-uid helper in the system's plugin folder.
_MARIADB_INSTALL = ["--rpm", "--cross-bootstrap", "--auth-root-authentication-method=normal", "--skip-test-db"]

_MYSQL_ACCOUNTS = """\
CREATE DATABASE test;
CREATE USER root@'127.0.0.1' IDENTIFIED BY '';
GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;
"""


def common_options(binary: ServerBinary, folder: Path) -> list[str]:
    """Return the options for both installing and running; the data is in ``folder/data``."""
    return [
        "--no-defaults",
        f"--basedir={binary.base}",
        data_option(folder),
        f"--tmpdir={folder / 'tmp'}",
        *_STORAGE[binary.flavour],
        *(["--user=root"] if os.geteuid() == 0 else []),  # otherwise the server refuses to run as root
    ]


def furnish(binary: ServerBinary, folder: Path) -> None:
    """Make ``folder/data``, from the cache if it is there, and ``folder/tmp``.

    Raises:
        RuntimeError: The server's own installer failed; the text has the end of its output.
        ServerNotFound: The binary is installed, but not the script that installs its data.
    """
    data = folder / "data"
    (folder / "tmp").mkdir()
    template = _template_path(binary)
    if template is not None and template.is_dir() and template.stat().st_uid == os.geteuid():
        shutil.copytree(template, data)
        (data / "auto.cnf").unlink(missing_ok=True)  # the identity of a MySQL server: each is to make its own
        return
    _install(binary, folder)
    if template is not None:
        with suppress(OSError):  # without a cache the next server only starts more slowly
            _keep(data, template)


def _template_path(binary: ServerBinary) -> Path | None:
    """Return where the cache holds the data of *binary*, or None for a user without a home."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    status = binary.path.stat()
    made_of = [binary, status.st_size, status.st_mtime_ns, _STORAGE, _MARIADB_INSTALL, _MYSQL_ACCOUNTS]
    key = hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]
    return cache / "improved_db" / f"{binary.flavour}-{binary.version}-{key}"


def _keep(data: Path, template: Path) -> None:
    """Put a copy of *data* into the cache, either whole or not at all."""
    template.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    reap(template.parent)
    claim = Claim(template.parent)
    try:
        shutil.copytree(data, claim.path / "data")
        (claim.path / "data").rename(template)  # fails if another process was first
    finally:
        claim.release()


def _install(binary: ServerBinary, folder: Path) -> None:
    options = common_options(binary, folder)
    if binary.flavour == "mariadb":
        _run(binary, [str(_mariadb_installer(binary)), *options, *_MARIADB_INSTALL])
        (folder / "data" / "test").mkdir(mode=0o700)  # a database of MariaDB's is a folder
    else:
        accounts = folder / "accounts.sql"
        accounts.write_text(_MYSQL_ACCOUNTS, encoding="utf-8")
        _run(binary, [str(binary.path), *options, "--initialize-insecure", f"--init-file={accounts}"])


def _mariadb_installer(binary: ServerBinary) -> Path:
    folders: list[str | Path] = [binary.path.parent, binary.base / "bin", binary.base / "scripts", *os.get_exec_path()]
    for folder in folders:
        for name in ("mariadb-install-db", "mysql_install_db"):
            if os.access(Path(folder, name), os.X_OK):
                return Path(folder, name)
    raise ServerNotFound(
        f"{binary.path} is installed, but not mariadb-install-db, which makes its first data. "
        f"{how_to_install(binary.flavour)}"
    )


def _run(binary: ServerBinary, command: list[str]) -> None:
    done = subprocess.run(  # noqa: S603 - no shell, and every word is ours or the caller's
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_INSTALL_TIMEOUT,
        check=False,
    )
    if done.returncode != 0:
        said = "\n".join(done.stdout.strip().splitlines()[-25:])
        raise RuntimeError(
            f"{command[0]} ended with {done.returncode}; if a file is missing, the server is not installed whole. "
            f"{how_to_install(binary.flavour)}\n{said}"
        )
