"""Write docs/reference/command-line.md from the command line's own help; a test compares the two."""

from __future__ import annotations

from pathlib import Path

from improved_db.cli.main import ENDINGS, make_parser

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "command-line.md"

BEGIN = """\
# The command line

`pip install` brings the command `improved-db`; `python -m improved_db` is the same. It asks, loads, measures and checks
a server from a terminal or a script.

- Data go to standard output, everything else to standard error. `--format auto` is a table on a terminal, and CSV in a
  pipe.
- The server comes from `--url`, or else from where `ImprovedDb()` takes it: the environment, then `~/.my.cnf`. A
  password in `--url` can be seen by every user of the machine; `--password-file` and `--ask-password` show it to none.
- Colours only on a terminal, and not if `NO_COLOR` is set. A progress bar only if standard error is a terminal.
- A reader that ends early (`| head`) is no error.

| exit code | meaning |
|---|---|
"""
TABLE = "\n| option | meaning |\n|---|---|\n"
SHARED = {"--password-file", "--ask-password", "--connect-timeout", "--color"}


def page() -> str:
    """Return the page."""
    commands = make_parser()[1]
    parts = [BEGIN, *(f"| {code} | {meaning} |\n" for code, meaning in ENDINGS.items())]
    parts += ["\n## All commands\n", TABLE, *(line(entry) for entry in commands["ping"].entries() if is_shared(entry))]
    for name, parser in commands.items():
        parts += [f"\n## {name}\n\n{parser.description}\n\n```text\n{parser.usage}\n```\n"]
        mine = [line(entry) for entry in parser.entries() if not is_shared(entry)]
        parts += [TABLE, *mine] if mine else []
    return "".join(parts)


def is_shared(entry: tuple[str, str]) -> bool:
    """Whether an option is one that all commands have, or all that talk to a server."""
    return entry[0].partition(" ")[0] in SHARED or entry[0].startswith(("-h,", "-u,", "-v,"))


def line(entry: tuple[str, str]) -> str:
    """Return the line of one option."""
    written, meaning = entry
    bars = written.replace("|", "\\|")
    return f"| `{bars}` | {escaped(meaning)} |\n"


def escaped(text: str) -> str:
    """Return a text as Markdown shows it unchanged."""
    for char in "\\|*_`[]<$":
        text = text.replace(char, "\\" + char)
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
