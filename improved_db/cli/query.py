"""``improved-db query``: run statements and write their rows.

Knows which statements may run and how their rows are written. Does not know how a statement gets to the server.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from improved_db.cli.address import add_address, opened, seconds, whole
from improved_db.cli.ending import Exit, Failure, failure_of
from improved_db.cli.formats import FORMATS, write_rows
from improved_db.sql.statement import is_read_only
from improved_db.sql.tokens import tokens_of

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator, Mapping

    from improved_db import ImprovedDb
    from improved_db.cli.console import Console

HELP = "Run statements and write their rows to standard output."
USAGE = "[options] SQL | - | -f FILE"
_ON_TERMINAL = 1000
_BATCH = 1000


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("sql", nargs="?", metavar="SQL", help="statements, with ; between them; - reads standard input")
    parser.add_argument("-f", "--file", metavar="FILE", help="read the statements from FILE")
    parser.add_argument(
        "-p", "--param", action="append", default=[], metavar="NAME=TEXT", help="the value of %%(NAME)s, a text"
    )
    parser.add_argument(
        "-P", "--json-param", action="append", default=[], metavar="NAME:=JSON",
        help="the value of %%(NAME)s: a number, true, false, null or a text in quotes",
    )  # fmt: skip
    parser.add_argument("--write", action="store_true", help="also run statements that may change something")
    parser.add_argument(
        "--format", choices=(*FORMATS, "parquet"), default="auto", help="auto: a table on a terminal, else csv"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write the rows to FILE (needed for parquet)")
    parser.add_argument(
        "--limit", type=whole, metavar="N", help=f"at most N rows; 0: all ({_ON_TERMINAL} on a terminal, else 0)"
    )
    parser.add_argument("--timeout", type=seconds, metavar="SECONDS", help="how long each statement may run")
    parser.add_argument("--timing", action="store_true", help="say on standard error how long each statement took")
    parser.add_argument("--watch", type=seconds, metavar="SECONDS", help="run all of it again and again, so long apart")
    add_address(parser)


class Statement(NamedTuple):
    """One of several statements.

    Attributes:
        text: Without its semicolon.
        line: Where it begins.
    """

    text: str
    line: int


def statements_of(text: str) -> list[Statement]:
    """Cut a text at its semicolons.

    Raises:
        Failure: A piece of it can be read in two ways.
    """
    cuts: list[tuple[int, int]] = []
    begin, end, found = 0, 0, False
    for token in tokens_of(text):
        if token.kind == "unclear":
            line = 1 + text.count("\n", 0, token.start)
            if cuts:
                raise Failure(
                    f"line {line}: servers read this piece in different ways: give this statement alone", Exit.USAGE
                )
            return [Statement(text.strip().removesuffix(";"), 1)]
        if token.key == ";":
            if found:
                cuts.append((begin, end))
            found = False
        elif token.kind != "comment":
            begin, end, found = (begin if found else token.start), token.end, True
    if found:
        cuts.append((begin, end))
    return [Statement(text[begin:end], 1 + text.count("\n", 0, begin)) for begin, end in cuts]


def parameters(args: Namespace) -> Mapping[str, Any] | None:
    """Return the values that the options give; None without one.

    Raises:
        Failure: One has no name, or no valid value.
    """
    found: dict[str, Any] = {}
    for pair in args.param:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise Failure("-p takes NAME=TEXT", Exit.USAGE)
        found[name] = text
    for pair in args.json_param:
        name, equals, text = pair.partition(":=")
        try:
            found[name] = json.loads(text)
        except ValueError:
            equals = ""
        if not equals or not name or isinstance(found[name], (list, dict)):
            raise Failure("-P takes NAME:=JSON, as in -P id:=42 or -P name:='\"Ann\"'", Exit.USAGE)
    return found or None


def run(args: Namespace, console: Console) -> int:
    """Run the statements."""
    if (args.sql is None) is (args.file is None):
        raise Failure("give statements, or - for standard input, or -f FILE", Exit.USAGE)
    text = Path(args.file).read_text(encoding="utf-8") if args.file else args.sql
    statements = statements_of(sys.stdin.read() if text == "-" and not args.file else text)
    if not statements:
        raise Failure("there is no statement", Exit.USAGE)
    values = parameters(args)
    if not args.write:
        _refuse_writes(statements)
    if args.format == "parquet":
        return _to_parquet(args, console, statements, values)
    limits = {"deadline": args.timeout} if args.timeout else {}  # a retry gets no more time
    with opened(args, console, **limits) as db, _output(args, console) as target:
        while True:
            for number, statement in enumerate(statements, 1):
                try:
                    _run_one(db, statement, values, args, target)
                except BrokenPipeError:
                    raise
                except Exception as error:
                    raise _of_statement(error, number, statement, len(statements)) from error
            if args.watch is None:
                return Exit.OK
            time.sleep(args.watch)


def _refuse_writes(statements: list[Statement]) -> None:
    for number, statement in enumerate(statements, 1):
        if not is_read_only(statement.text):
            which = f"statement {number} (line {statement.line}) may" if len(statements) > 1 else "this statement may"
            raise Failure(f"{which} change something; nothing was run; add --write to allow that", Exit.USAGE)


def _of_statement(error: Exception, number: int, statement: Statement, total: int) -> Failure:
    failure = failure_of(error)
    if total == 1:
        return failure
    before = f"; the {number - 1} before it ran" if number > 1 else "; nothing ran before it"
    return Failure(f"statement {number} of {total} (line {statement.line}): {failure}{before}", failure.code)


class _output:  # noqa: N801  # used as a function
    """Give the console, or one whose data go to a file; a file is there only if all of them are."""

    def __init__(self, args: Namespace, console: Console) -> None:
        self._path = Path(args.output) if args.output else None
        self._console = console

    def __enter__(self) -> Console:
        if self._path is None:
            return self._console
        self._part = self._path.with_name(self._path.name + ".part")
        self._file = self._part.open("w", encoding="utf-8", newline="")
        return type(self._console)(self._file, self._console.err, color="never")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._path is not None:
            self._file.close()
            if error is None:
                self._part.replace(self._path)
            else:
                self._part.unlink()


def _run_one(
    db: ImprovedDb, statement: Statement, values: Mapping[str, Any] | None, args: Namespace, console: Console
) -> None:
    limit = args.limit if args.limit is not None else _ON_TERMINAL if console.out_is_terminal else 0
    began = time.monotonic()
    if is_read_only(statement.text):
        with db.stream(statement.text, values, batch_size=_BATCH, timeout=args.timeout) as stream:
            rows = iter(stream)
            count = write_rows(console, args.format, stream.columns, itertools.islice(rows, limit or None))
            more = bool(limit) and count == limit and next(rows, None) is not None
        if more:
            console.say(f"there are more than {limit:,} rows; --limit 0 shows all", "yellow")
        told = f"{count:,} rows"
    else:
        result = db.execute_query(statement.text, values, timeout=args.timeout)
        if result.columns:
            write_rows(console, args.format, result.columns, result[: limit or None])
        told = f"{result.rowcount:,} rows"
        warned = f", {result.warning_count} warnings" if result.warning_count else ""
        console.say(f"{told} {'returned' if result.columns else 'affected'}{warned}")
    if args.timing:
        console.say(f"{told} in {time.monotonic() - began:.3f} s")


def _to_parquet(
    args: Namespace, console: Console, statements: list[Statement], values: Mapping[str, Any] | None
) -> int:
    from improved_db.frames.libraries import library  # noqa: PLC0415  # an extra

    if len(statements) > 1 or args.watch or not args.output:
        raise Failure("--format parquet takes one statement, no --watch, and a file: -o FILE", Exit.USAGE)
    parquet = library("pyarrow.parquet")
    with opened(args, console) as db, db.stream_arrow(statements[0].text, values, timeout=args.timeout) as reader:
        path = Path(args.output)
        part = path.with_name(path.name + ".part")
        try:
            with parquet.ParquetWriter(part, reader.schema) as writer:
                for batch in _limited(reader, args.limit or 0):
                    writer.write_batch(batch)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    return Exit.OK


def _limited(batches: Iterator[Any], limit: int) -> Iterator[Any]:
    left = limit
    for batch in batches:
        yield batch.slice(0, left) if limit else batch
        left -= batch.num_rows
        if limit and left <= 0:
            return
