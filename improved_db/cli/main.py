"""The command line: which command was asked for, and the exit code that its ending has.

Knows the commands by their names. Does not know what they do.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final, NoReturn, Protocol, cast

from improved_db._version import __version__
from improved_db.cli.console import Console, console_of_process
from improved_db.cli.ending import Exit, failure_of

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The commands in the order of the help; each is a module of this folder.
COMMANDS: Final = ("ping", "query", "load", "bench", "doctor", "top", "monitor", "config", "playground")

#: What the exit codes mean.
ENDINGS: Final = {
    int(Exit.OK): "ok",
    int(Exit.FAILED): "failed, or found something",
    int(Exit.USAGE): "wrong usage, setting or file",
    int(Exit.UNREACHABLE): "no connection",
    int(Exit.UNKNOWN): "unknown whether a write was applied",
    int(Exit.INTERRUPTED): "interrupted",
}

#: What to say of a URL that stands where none is; it is not shown, because it may have a password.
URL_GIVEN: Final = "a URL stands behind -u: improved-db {} -u URL"


class Command(Protocol):
    """A module with one command.

    Attributes:
        HELP: What it does, in one sentence.
        USAGE: What follows its name.
    """

    HELP: str
    USAGE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own options."""

    def run(self, args: argparse.Namespace, console: Console) -> int:
        """Do it; return the exit code."""


class Parser(argparse.ArgumentParser):
    """One whose errors are one line, and whose help looks the same under every Python."""

    def __init__(
        self, *, prog: str, usage: str, description: str, epilog: str | None = None, add_help: bool = True
    ) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            epilog=epilog,
            add_help=add_help,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=100),
        )

    def error(self, message: str) -> NoReturn:
        """End with one line."""
        if wrong := re.match(r"argument COMMAND: invalid choice: '(.*?)'", message):
            near = difflib.get_close_matches(wrong[1], COMMANDS, n=1)
            shown = f" {wrong[1]!r}" if "://" not in wrong[1] else f"; {URL_GIVEN.format('ping')}"
            message = f"there is no command{shown}" + (f", did you mean {near[0]}?" if near else "")
        sys.stderr.write(f"{self.prog}: {message}; `{self.prog} --help` shows what is valid\n")
        raise SystemExit(Exit.USAGE)

    def options(self) -> list[str]:
        """Return the names of all options."""
        return [name for action in self._actions for name in action.option_strings]

    def entries(self) -> list[tuple[str, str]]:
        """Return each argument and option as it is written, and what it means, for a page."""
        found = []
        for action in self._actions:
            value = str(action.metavar or "|".join(map(str, action.choices or ())))
            written = ", ".join(action.option_strings) + (f" {value}" if action.nargs != 0 else "")
            found.append((written.strip(), (action.help or "").replace("%%", "%")))
        return found


def command(name: str) -> Command:
    """Return the module of a command."""
    return cast("Command", import_module(f"improved_db.cli.{name}"))


def make_parser() -> tuple[Parser, dict[str, Parser]]:
    """Return the parser of the whole command line, and that of each command."""
    parser = Parser(
        prog="improved-db",
        usage="improved-db COMMAND [options]",
        description="Ask, load, measure and check a MySQL or MariaDB server.",
        epilog="exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in ENDINGS.items()),
    )
    parser.add_argument("--version", action="version", version=f"improved-db {__version__}")
    places = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    found = {}
    for name in COMMANDS:
        module = command(name)
        one = places.add_parser(
            name,
            prog=f"improved-db {name}",
            usage=f"improved-db {name} {module.USAGE}",
            description=module.HELP,
            help=module.HELP,
        )
        module.add_arguments(one)
        one.add_argument(
            "--color",
            choices=("auto", "always", "never"),
            default="auto",
            help="colours (auto: on a terminal, unless NO_COLOR is set)",
        )
        one.add_argument(
            "-v", "--verbose", action="store_true", help="show the library's log, and where an error arose"
        )
        found[name] = one
    return parser, found


def _option(word: str) -> str:
    """Return the name of an option without its value, which may be a secret; any other word as it is."""
    return word.partition("=")[0] if word.startswith("--") or not word.startswith("-") else word[:2]


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments.

    Raises:
        SystemExit: They are invalid, or ask for help.
    """
    parser, commands = make_parser()
    given = sys.argv[1:] if argv is None else list(argv)
    first = _option(given[0]) if given else ""
    if first.startswith("-") and first not in parser.options():
        name = next((word for word in given if word in COMMANDS), "COMMAND")
        parser.error(f"write the command first, then its options: improved-db {name} {first} ...")
    args, unknown = parser.parse_known_args(argv)
    if args.command is None:
        parser.error("a command is missing")
    if unknown:
        mine = commands[args.command]
        wrong = _option(unknown[0])
        if not wrong.startswith("-"):
            mine.error(
                URL_GIVEN.format(args.command) if "://" in unknown[0] else f"one argument too many: {unknown[0]}"
            )
        near = difflib.get_close_matches(wrong, mine.options(), n=1)
        mine.error(f"unknown option {wrong}" + (f", did you mean {near[0]}?" if near else ""))
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: The arguments; None takes those of the process.
    """
    try:
        args = parsed(argv)
        console = console_of_process(args.color)
    except SystemExit as ending:
        return int(ending.code or 0)
    except OSError as error:
        if sys.stderr is not None:
            sys.stderr.write(f"improved-db: {error}\n")
        return Exit.USAGE
    try:
        with console.with_log(args.verbose):
            code = command(args.command).run(args, console)
        console.out.flush()
    except BrokenPipeError:
        # The reader of our data has had enough (`| head`); Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except (Exception, KeyboardInterrupt) as error:
        return _failed(args, console, error)
    return code


def _failed(args: argparse.Namespace, console: Console, error: BaseException) -> int:
    if args.verbose:
        import traceback  # noqa: PLC0415  # only an error that is looked into needs it

        traceback.print_exception(error, file=console.err)
    failure = failure_of(error)
    text = "interrupted" if isinstance(error, KeyboardInterrupt) else str(failure)
    console.say(f"improved-db {args.command}: {text}", "red")
    return failure.code
