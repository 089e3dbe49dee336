"""``improved-db ping``: is the server there, what is it, and how far away.

Knows what a first connection costs, step by step. Does not know pools.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import time
from typing import TYPE_CHECKING, Any

from improved_db import ImprovedDb, ImprovedDbError
from improved_db.cli.address import add_address, keywords, positive, seconds, unreachable, waiting
from improved_db.cli.ending import Exit
from improved_db.cli.formats import FORMATS, write_rows
from improved_db.settings.load import load
from improved_db.wire.exchange import DriverError
from improved_db.wire.pymysql_driver import OPTIONS

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from improved_db import Connection
    from improved_db.cli.console import Console
    from improved_db.settings.settings import ConnectOptions

HELP = "Connect, and say what the server is and how long each step takes."
USAGE = "[options]"
_ROUND = 20  # pings for one line of --latency


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("--wait", type=seconds, metavar="SECONDS", help="wait so long for a server that starts")
    parser.add_argument("--latency", action="store_true", help=f"measure {_ROUND} pings a line, in milliseconds")
    parser.add_argument("--count", type=positive, default=1, metavar="N", help="lines of --latency (1)")
    parser.add_argument("--format", choices=FORMATS, default="auto", help="auto: a table on a terminal, else csv")
    add_address(parser)


def run(args: Namespace, console: Console) -> int:
    """Ping the server."""
    given = {**waiting(args), **keywords(args, console)}
    with ImprovedDb(args.url, **given) as db:
        steps: list[tuple[str, object]] = []
        try:
            if args.wait is not None:
                db.wait(args.wait)
            with contextlib.suppress(OSError):  # the driver says it better, in a moment
                steps += _way(load(args.url, given, driver_options=OPTIONS).connect, args.connect_timeout)
            began = time.perf_counter()
            connection = db.connect()
        except (ImprovedDbError, DriverError, OSError) as error:
            raise unreachable(db, error) from error
        with connection:
            steps.append(("connect and log in", _ms(time.perf_counter() - began)))
            if args.latency:
                _latency(connection, args, console)
                return Exit.OK
            facts = _facts(connection)
            steps.append(("SELECT 1", _ms(min(_query_seconds(connection) for _ in range(3)))))
        write_rows(console, args.format, ("what", "value"), [("server", db.stats().name), *facts, *steps])
    return Exit.OK


def _ms(seconds_: float) -> str:
    return f"{seconds_ * 1000:.3f} ms"


def _way(options: ConnectOptions, timeout: float) -> list[tuple[str, object]]:
    """Time the way to a server by TCP: its name, and one connection that logs in nowhere."""
    if options.unix_socket:
        return []
    began = time.perf_counter()
    found = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)
    named = time.perf_counter()
    with socket.socket(found[0][0]) as there:
        there.settimeout(timeout)
        there.connect(found[0][4])
        reached = time.perf_counter()
    return [("name to address", _ms(named - began)), ("TCP", _ms(reached - named))]


def _facts(connection: Connection) -> list[tuple[str, object]]:
    asked = "select version(), @@version_comment, connection_id(), current_user(), database(), @@character_set_client"
    names = ("version", "name", "session", "account", "database", "charset")
    with connection.cursor() as cursor:
        cursor.execute(asked)
        values: Any = cursor.fetchone()
        cursor.execute("show session status like 'Ssl_%'")
        tls = dict(cursor.fetchall())
    cipher = tls.get("Ssl_cipher")
    return [*zip(names, values, strict=True), ("TLS", f"{tls.get('Ssl_version')}, {cipher}" if cipher else "no")]


def _query_seconds(connection: Connection) -> float:
    began = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute("select 1")
        cursor.fetchall()
    return time.perf_counter() - began


def _latency(connection: Connection, args: Namespace, console: Console) -> None:
    """Write one row for this machine's own delays, and one for each round of pings."""

    def line(what: str, times: list[float]) -> tuple[object, ...]:
        ordered = sorted(times)
        picked = (ordered[0], statistics.median(ordered), ordered[int(len(ordered) * 0.99)], ordered[-1])
        return (what, *(f"{value * 1000:.3f}" for value in picked))

    def lines() -> Any:
        yield line("this machine alone", [_idle_seconds() for _ in range(_ROUND)])
        for number in range(1, args.count + 1):
            yield line(f"round {number}", [_query_seconds(connection) for _ in range(_ROUND)])

    write_rows(console, args.format, ("what", "min", "p50", "p99", "max"), lines())


def _idle_seconds() -> float:
    """Return how much too long a sleep of a millisecond takes: no ping can be steadier than that."""
    began = time.perf_counter()
    time.sleep(0.001)
    return max(time.perf_counter() - began - 0.001, 0.0)
