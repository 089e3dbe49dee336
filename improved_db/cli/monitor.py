"""``improved-db monitor``: the page about all processes that write into a spool folder.

Knows how the page is served from a terminal. Does not know what it shows.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from improved_db.cli.address import whole
from improved_db.cli.ending import Exit, Failure
from improved_db.observe.page.access import LOOPBACK
from improved_db.observe.page.monitor import Monitor
from improved_db.observe.page.spooled import SpooledSource
from improved_db.observe.spool import VARIABLE, Spool

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from improved_db.cli.console import Console

HELP = "Serve a page about all processes that write their statistics into a folder."
USAGE = "[options]"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    add_spool(parser)
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="the address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=whole, default=0, metavar="N", help="the port; 0: a free one (0)")
    parser.add_argument("--token-file", metavar="FILE", help="read the page's token from FILE; if missing, a new one")
    parser.add_argument(
        "--allowed-host", action="append", default=[], metavar="NAME", help="a host name by which it is reached"
    )


def add_spool(parser: ArgumentParser) -> None:
    """Add the option that names the folder."""
    parser.add_argument(
        "--spool", metavar="DIR", help=f"the folder that the processes' ${VARIABLE} names (${VARIABLE})"
    )


def spool_of(args: Namespace) -> Spool | None:
    """Return the folder; None if neither the option nor the variable names one.

    Raises:
        Failure: It is not there.
        ConfigError: It is no folder of this account's alone.
    """
    folder = args.spool or os.environ.get(VARIABLE)
    if folder and not Path(folder).is_dir():
        raise Failure(f"{folder}: there is no such folder", Exit.USAGE)
    return Spool(folder) if folder else None


def run(args: Namespace, console: Console) -> int:
    """Serve the page until the command is interrupted."""
    spool = spool_of(args)
    if spool is None:
        raise Failure(f"which folder? --spool DIR, or ${VARIABLE}; in a program, db.monitor() needs none", Exit.USAGE)
    if args.host not in LOOPBACK and not args.allowed_host:
        raise Failure("an address that others reach needs --allowed-host NAME, too", Exit.USAGE)
    token = secrets.token_urlsafe(24)
    if args.token_file:
        token = Path(args.token_file).read_text(encoding="utf-8").strip()
    monitor = Monitor(SpooledSource(spool), token=token, allowed_hosts=args.allowed_host)
    with contextlib.suppress(KeyboardInterrupt), monitor.serve(args.host, args.port) as server:
        shown = f"http://{args.host}:{server.port}/ with the token in {args.token_file}"
        console.data(shown if args.token_file else server.url)
        console.out.flush()
        console.say("Ctrl-C ends")
        server.wait()
    return Exit.OK
