"""Which server is installed here, and how to install one if there is none.

Knows file names, folders and package managers. Does not know how a server is started.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from improved_db.errors import ConfigError, ServerNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Flavour: TypeAlias = Literal["mariadb", "mysql"]

#: The environment variable with the path of the server's binary; it comes before the usual places.
BINARY_VARIABLE = "IMPROVED_DB_SERVER"

_NAMES = ("mariadbd", "mysqld")
_USUAL_FOLDERS = (
    "/usr/sbin",
    "/usr/libexec",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/local/mysql/bin",
    "/usr/local/mariadb/bin",
    "/opt/homebrew/bin",
    "/opt/homebrew/opt/mariadb/bin",
    "/opt/homebrew/opt/mysql/bin",
)

# MariaDB's install script is in the server's package, and calls a program of the client's package.
_INSTALLERS = {
    # A new container has no lists of packages yet.
    "apt-get": ["apt-get update", "apt-get install -y --no-install-recommends mariadb-server-core mariadb-client-core"],
    "dnf": ["dnf install -y mariadb-server"],
    "apk": ["apk add mariadb"],
    "pacman": ["pacman -S --noconfirm mariadb"],
    "zypper": ["zypper install -y mariadb"],
}


@dataclass(frozen=True)
class ServerBinary:
    """An installed server.

    Attributes:
        path: The binary, with every symbolic link followed.
        flavour: ``"mariadb"`` or ``"mysql"``, by the answer of the binary to ``--version``, not by its name.
        version: As the binary tells it: ``"10.11.6-MariaDB"`` or ``"8.4.3"``.
    """

    path: Path
    flavour: Flavour
    version: str

    @property
    def base(self) -> Path:
        """The folder above the binary's folder; the server's other files are in it too."""
        return self.path.parent.parent


def find_server(flavour: Flavour | None = None, *, folders: Iterable[str | Path] | None = None) -> ServerBinary:
    """Find an installed mariadbd or mysqld; the file that ``IMPROVED_DB_SERVER`` names comes first.

    Args:
        flavour: Which of the two to find; None takes the first found, MariaDB before MySQL in each folder.
        folders: Where to look instead of ``PATH`` and the folders that package managers use.

    Raises:
        ServerNotFound: No server is installed; the text says so, and which command installs one here.
        ConfigError: ``IMPROVED_DB_SERVER`` names a file that is not a server; or *flavour* is none.
    """
    if flavour not in {None, "mariadb", "mysql"}:
        raise ConfigError(f"flavour must be 'mariadb' or 'mysql', not {flavour!r}")
    for path in _candidates(_search_path() if folders is None else folders):
        binary = _ask(path)
        if binary is not None and flavour in {None, binary.flavour}:
            return binary
    missing = {None: "neither mariadbd nor mysqld is installed", "mariadb": "no mariadbd is installed"}
    places = f"PATH, {_USUAL_FOLDERS[0]} and other usual folders" if folders is None else "the given folders"
    raise ServerNotFound(
        f"{missing.get(flavour, 'no mysqld of MySQL is installed')} (looked in {places}). {how_to_install(flavour)}"
    )


def how_to_install(flavour: Flavour | None = None) -> str:
    """Return a sentence with the command that installs a server on this system, or what to do if none is known."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    if flavour != "mysql":
        for installer, commands in _INSTALLERS.items():
            if shutil.which(installer, path=os.pathsep.join(["/usr/bin", "/sbin", "/bin"])):
                return f"This installs one: {' && '.join(sudo + command for command in commands)}"
    if shutil.which("brew", path=os.pathsep.join(["/opt/homebrew/bin", "/usr/local/bin"])):
        return f"This installs one: brew install {flavour or 'mariadb'}"
    return f"Install {flavour or 'MariaDB or MySQL'} and put its server on PATH, or name it in {BINARY_VARIABLE}"


def _candidates(folders: Iterable[str | Path]) -> Iterator[Path]:
    """Yield the paths that may be a server, best first."""
    named = os.environ.get(BINARY_VARIABLE)
    if named:
        if _ask(Path(named)) is None:
            raise ConfigError(f"{BINARY_VARIABLE}={named} is not a working mariadbd or mysqld; correct it or unset it")
        yield Path(named)
    for folder in folders:
        for name in _NAMES:
            yield Path(folder, name)


def _search_path() -> Iterator[str]:
    yield from filter(None, os.environ.get("PATH", os.defpath).split(os.pathsep))
    yield from _USUAL_FOLDERS


def _ask(path: Path) -> ServerBinary | None:
    """Ask the file at *path* for its flavour and version; None if it is not a server."""
    if not os.access(path, os.X_OK) or path.is_dir():
        return None
    return _ask_once(path.resolve())


@cache
def _ask_once(path: Path) -> ServerBinary | None:
    command = [str(path), "--no-defaults", "--version"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout  # noqa: S603 - no shell
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r"\bVer (\S+)", said)
    if version is None:
        return None
    return ServerBinary(path, "mariadb" if "MariaDB" in said else "mysql", version[1])
