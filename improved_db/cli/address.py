"""Which server a command talks to, and how it gets there.

Knows the options of the address and where a password may come from. Does not know what a command does there.
"""

from __future__ import annotations

import contextlib
import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from improved_db import ConfigError, ImprovedDb, ImprovedDbError
from improved_db.cli.ending import Exit, Failure, one_line
from improved_db.settings.secret import Secret
from improved_db.settings.sources import parse_url
from improved_db.wire.exchange import DriverError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from improved_db.cli.console import Console
    from improved_db.settings.secret import Sealed


def add_address(parser: ArgumentParser) -> None:
    """Add the options that say where the server is."""
    group = parser.add_argument_group("server")
    group.add_argument(
        "-u", "--url", metavar="URL", help="mysql://user@host:3306/database; if missing, the environment or ~/.my.cnf"
    )
    group.add_argument("--password-file", metavar="FILE", help="read the password from the first line of FILE")
    group.add_argument("--ask-password", action="store_true", help="ask for the password on the terminal")
    group.add_argument(
        "--connect-timeout", type=seconds, default=10.0, metavar="SECONDS", help="wait so long for the server (10)"
    )


def seconds(text: str) -> float:
    """Return a number of seconds above zero, given as text.

    Raises:
        ValueError: It is none; argparse turns this into an error of the option.
    """
    value = float(text)
    if not 0 < value <= 31_536_000:
        raise ValueError(text)
    return value


def whole(text: str) -> int:
    """Return a number that is not negative, given as text.

    Raises:
        ValueError: It is none.
    """
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def positive(text: str) -> int:
    """Return a number of at least one, given as text.

    Raises:
        ValueError: It is none.
    """
    return whole(text) or int("none")


def keywords(args: Namespace, console: Console) -> dict[str, Any]:
    """Return the keyword arguments for `ImprovedDb` that the options give; a password is sealed.

    Raises:
        Failure: There is no terminal to ask for the password.
        OSError: The password's file cannot be read.
    """
    if args.url and has_password(args.url):
        console.say(
            "warning: every user of this machine can read the password in the command line (ps); give it by "
            "--password-file, --ask-password or $IMPROVED_DB_URL",
            "yellow",
        )
    if args.password_file and args.ask_password:
        raise Failure("--password-file and --ask-password: give only one of them", Exit.USAGE)
    if args.password_file:
        text = Secret(Path(args.password_file).read_text(encoding="utf-8"))
        return {"password": Secret(text.value.partition("\n")[0].rstrip("\r"))}
    if args.ask_password:
        if not sys.stdin.isatty():
            raise Failure("--ask-password needs a terminal; use --password-file", Exit.USAGE)
        return {"password": Secret(getpass.getpass("password: ", stream=console.err))}
    return {}


def has_password(url: str) -> bool:
    """Whether a password is part of a URL; an invalid URL has none."""
    try:
        found: Sealed = Secret.of(parse_url(Secret(url)).get("password"))
    except ConfigError:
        return False
    return bool(found.value)


@contextlib.contextmanager
def opened(
    args: Namespace, console: Console, given: dict[str, Any] | None = None, **options: Any
) -> Iterator[ImprovedDb]:
    """Give an `ImprovedDb` that has one connection open.

    Args:
        args: The arguments.
        console: Where warnings go.
        given: What `keywords` returned, if the command has called it; a password is asked for only once.
        **options: Further options.

    Raises:
        ConfigError: The address is invalid.
        Failure: There is no connection; the text says why.
    """
    with ImprovedDb(
        args.url, **{**waiting(args), **options, **(keywords(args, console) if given is None else given)}
    ) as db:
        try:
            db.create_pool(1)
        except (ImprovedDbError, DriverError, OSError) as error:
            raise unreachable(db, error) from error
        yield db


def waiting(args: Namespace) -> dict[str, Any]:
    """Return the options that bound the wait for a server that does not answer."""
    return {"connect_timeout": args.connect_timeout, "acquire_timeout": args.connect_timeout}


def unreachable(db: ImprovedDb, error: BaseException) -> Failure:
    """Return the failure of a command that got no connection."""
    if isinstance(error, ConfigError):
        return Failure(one_line(error), Exit.USAGE)
    return Failure(f"no connection to {db.stats().name}: {one_line(error)}", Exit.UNREACHABLE)
