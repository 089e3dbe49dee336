"""``improved-db load``: rows of a file into a table; whatever ends it, it says how many rows are in.

Knows files, and what a broken load has left. Does not know how rows get to the server.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from improved_db import OutcomeUnknown
from improved_db.cli.address import add_address, opened, whole
from improved_db.cli.ending import Exit, Failure, failure_of
from improved_db.cli.sources import KINDS, Source, json_lines, parquet, separated

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator, Sequence

    from improved_db import Connection, ImprovedDb
    from improved_db.cli.console import Console

HELP = "Load the rows of a CSV, TSV, JSON lines or Parquet file into a table."
USAGE = "[options] FILE TABLE"
_STRICT = "set session sql_mode = concat(@@sql_mode, ',STRICT_ALL_TABLES')"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("file", metavar="FILE", help="the file; - reads standard input")
    parser.add_argument("table", metavar="TABLE", help="table, or database.table")
    parser.add_argument(
        "--input", choices=sorted(set(KINDS.values())), help="what FILE is, if its name does not say it"
    )
    parser.add_argument(
        "--columns", metavar="A,B", help="the table's columns, in the file's order (json: the keys to take)"
    )
    parser.add_argument("--no-header", action="store_true", help="the first line of a CSV or TSV is a row")
    parser.add_argument("--delimiter", default=",", metavar="CHAR", help="what is between the fields of a CSV (,)")
    parser.add_argument("--null", metavar="TEXT", help="what stands for NULL (csv: nothing, without quotes; tsv: \\N)")
    parser.add_argument(
        "--method", choices=("insert", "load-data"), default="insert", help="how the rows are sent (insert)"
    )
    parser.add_argument(
        "--chunks", action="store_true", help="commit again and again, and say how far it got; else all rows or none"
    )
    parser.add_argument("--skip", type=whole, default=0, metavar="N", help="leave out the first N rows")
    parser.add_argument("--dry-run", action="store_true", help="read the file and look at the table; send no row")
    parser.add_argument("--no-progress", action="store_true", help="no bar (there is one only on a terminal)")
    add_address(parser)


def run(args: Namespace, console: Console) -> int:
    """Load the file."""
    kind = args.input or KINDS.get(Path(args.file).suffix.lower())
    if kind is None:
        raise Failure(f"what is {args.file}? --input csv, tsv, jsonl or parquet says it", Exit.USAGE)
    if args.chunks and args.method == "load-data":
        raise Failure("--chunks needs --method insert: LOAD DATA is one transaction", Exit.USAGE)
    if len(args.delimiter) != 1 or args.delimiter in '"\r\n':
        raise Failure("--delimiter must be one character, not a quote or the end of a line", Exit.USAGE)
    with contextlib.ExitStack() as open_:
        source = _source(args, kind, open_)
        db = open_.enter_context(opened(args, console, configure=_make_strict))
        columns = _columns(db, args, source)
        rows = itertools.islice(source.rows, args.skip, None)
        began = time.monotonic()
        if args.dry_run:
            count = sum(1 for _ in rows)
            console.say(f"{count:,} rows can be read; none was sent")
            return Exit.OK
        count = _send(db, args, columns, rows, console)
        took = max(time.monotonic() - began, 1e-6)
        console.say(f"{count:,} rows in {took:.1f} s ({count / took:,.0f} rows/s)")
    return Exit.OK


def _make_strict(connection: Connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_STRICT)  # a value that does not fit its column is an error, and is not cut


def _source(args: Namespace, kind: str, open_: contextlib.ExitStack) -> Source:
    columns = args.columns.split(",") if args.columns else None
    if kind == "parquet":
        if args.file == "-":
            raise Failure("a Parquet file cannot be read from standard input", Exit.USAGE)
        Path(args.file).stat()  # the usual error if it is not there
        return parquet(args.file)
    name = "standard input" if args.file == "-" else args.file
    file = sys.stdin.buffer
    if args.file != "-":
        file = open_.enter_context(open(args.file, "rb"))  # noqa: SIM115  # the stack closes it
    if kind == "jsonl":
        return json_lines(file, name, columns)
    header = not args.no_header
    return separated(file, name, kind, delimiter=args.delimiter, header=header, null=args.null)


def _columns(db: ImprovedDb, args: Namespace, source: Source) -> Sequence[str]:
    """Return the columns to load into, after a look at the table.

    Raises:
        Failure: The table lacks one of them, or there are more or fewer than the file has.
    """
    there = [row[0] for row in db.execute_query(f"show columns from {quoted(args.table)}")]
    wanted = args.columns.split(",") if args.columns else source.columns
    if wanted is None:
        wanted = there
    known = {name.lower() for name in there}
    for name in wanted:
        if name.lower() not in known:
            near = difflib.get_close_matches(name, there, n=1)
            hint = f"did you mean {near[0]}" if near else f"it has {', '.join(there)}"
            raise Failure(f"the table {args.table} has no column {name}: {hint}; nothing was loaded")
    if source.columns is not None and len(wanted) != len(source.columns):
        raise Failure(f"--columns has {len(wanted)} names, and {args.file} {len(source.columns)} columns", Exit.USAGE)
    return wanted


def quoted(table: str) -> str:
    """Return the name of a table, perhaps with its database, as SQL has it."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in table.split("."))


def _keeps_part(db: ImprovedDb, table: str) -> bool:
    """Whether a table has no transactions, so that a load that ends early leaves rows in it."""
    schema, _, name = table.rpartition(".")
    asked = (
        "select e.transactions from information_schema.tables t join information_schema.engines e"
        " on e.engine = t.engine where t.table_name = %s and t.table_schema = coalesce(%s, database())"
    )
    return bool(db.fetch_value(asked, (name, schema or None), default="YES") != "YES")


def _send(db: ImprovedDb, args: Namespace, columns: Sequence[str], rows: Iterator[Any], console: Console) -> int:
    keeps_part = _keeps_part(db, args.table)
    names = ", ".join(map(quoted_name, columns))
    statement = f"insert into {quoted(args.table)} ({names})".replace("%", "%%")
    statement += f" values ({', '.join(['%s'] * len(columns))})"
    bar = True if console.err_is_terminal and not args.no_progress else None
    try:
        if args.method == "load-data":
            return db.load_rows(args.table, rows, columns, progress=bar).rowcount
        return db.exec_many(statement, rows, atomic=not args.chunks, progress=bar).rowcount
    except (Exception, KeyboardInterrupt) as error:
        raise _half_way(error, args, keeps_part=keeps_part) from error


def quoted_name(name: str) -> str:
    """Return the name of a column as SQL has it."""
    return "`" + name.replace("`", "``") + "`"


def _half_way(error: BaseException, args: Namespace, *, keeps_part: bool) -> Failure:
    """Return how a load ended that did not get to its end, and how many rows are in."""
    failure = failure_of(error)
    text = "interrupted" if isinstance(error, KeyboardInterrupt) else str(failure)
    acked = getattr(error, "acked_rows", None)
    doubt = getattr(error, "unknown_rows", None)
    if acked is None:
        if isinstance(error, OutcomeUnknown):
            return Failure(f"{text}; either all rows are in, or none", Exit.UNKNOWN)
        left = "the table has no transactions and may have some of the rows" if keeps_part else "nothing was loaded"
        return Failure(f"{text}; {left}", failure.code)
    done = args.skip + acked
    if doubt:
        first, last = args.skip + doubt.start + 1, args.skip + doubt.stop
        text += f"; the first {done:,} rows are in, rows {first:,} to {last:,} may or may not be: look at the table"
        code = Exit.INTERRUPTED if failure.code is Exit.INTERRUPTED else Exit.UNKNOWN
        return Failure(text, code)
    return Failure(f"{text}; the first {done:,} rows are in: go on with --skip {done}", failure.code)
