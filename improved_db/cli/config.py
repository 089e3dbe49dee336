"""``improved-db config explain``: every setting, its value, and where it comes from.

Knows how settings are shown. Does not know which source wins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from improved_db.cli.address import add_address, keywords
from improved_db.cli.ending import Exit
from improved_db.cli.formats import FORMATS, write_rows
from improved_db.settings.origins import explain
from improved_db.wire.pymysql_driver import OPTIONS

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from improved_db.cli.console import Console

HELP = "Show each setting with its value and its source; secrets are not shown, and nothing connects."
USAGE = "[options] explain"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("action", choices=("explain",), metavar="explain", help="the only thing to do so far")
    parser.add_argument("--all", action="store_true", help="also settings that have their default")
    parser.add_argument("--format", choices=FORMATS, default="auto", help="auto: a table on a terminal, else csv")
    add_address(parser)


def run(args: Namespace, console: Console) -> int:
    """Show the settings."""
    found = explain(args.url, keywords(args, console), driver_options=OPTIONS)
    rows = [origin for origin in found if args.all or origin.source != "default"]
    write_rows(console, args.format, ("setting", "value", "source"), rows)
    return Exit.OK
