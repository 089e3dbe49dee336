"""``improved-db doctor``: what is set up badly on a server and at this end, and what to type.

Knows how rules are run and findings shown. Does not know what is good or bad.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final, NamedTuple

from improved_db.cli import rules_client, rules_schema, rules_server
from improved_db.cli.address import add_address, keywords, opened, positive
from improved_db.cli.ending import Exit, Failure, is_of_the_network, one_line
from improved_db.cli.findings import Level, Patient
from improved_db.cli.formats import FORMATS, write_rows
from improved_db.settings.load import load
from improved_db.settings.origins import explain
from improved_db.wire.exchange import DriverError
from improved_db.wire.pymysql_driver import OPTIONS

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from improved_db.cli.console import Console
    from improved_db.cli.findings import Rule

HELP = "Look for what is set up badly, on the server and at this end, and say what to type."
USAGE = "[options]"
#: Every rule, by its name.
RULES: Final = {rule.name: rule for rule in (*rules_client.RULES, *rules_server.RULES, *rules_schema.RULES)}
_COLOURS: Final = {Level.BAD: "red", Level.WARN: "yellow", Level.INFO: "cyan"}


class Finding(NamedTuple):
    """One line of the doctor's report."""

    level: str
    rule: str
    setting: str
    value: str
    why: str
    do: str


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command's own options."""
    parser.add_argument("--only", action="append", metavar="RULE", help="look at this rule alone; may be repeated")
    parser.add_argument(
        "--processes", type=positive, default=1, metavar="N", help="so many processes have such a pool (1)"
    )
    parser.add_argument(
        "--fail-on",
        choices=("info", "warn", "bad", "never"),
        default="warn",
        help="exit code 1 from this level on (warn)",
    )
    parser.add_argument("--rules", action="store_true", help="list the rules, and look at nothing")
    parser.add_argument("--format", choices=("text", *FORMATS[1:]), default="text", help="text: for people (text)")
    add_address(parser)


def run(args: Namespace, console: Console) -> int:
    """Look, and report."""
    if args.rules:
        listed = [(rule.name, rule.level.name.lower(), (rule.look.__doc__ or "").strip()) for rule in RULES.values()]
        form = "auto" if args.format == "text" else args.format
        write_rows(console, form, ("rule", "level", "looks at"), listed)
        return Exit.OK
    chosen = [_rule(name) for name in args.only] if args.only else list(RULES.values())
    given = keywords(args, console)
    settings = load(args.url, given, driver_options=OPTIONS)
    source = {origin.name: origin.source for origin in explain(args.url, given, driver_options=OPTIONS)}
    with opened(args, console, given, retry=None) as db:
        patient = Patient(db, settings, processes=args.processes, password_source=source.get("password", ""))
        findings = [finding for rule in chosen for finding in _look(rule, patient)]
    findings.sort(key=lambda finding: -Level[finding.level.upper()])
    if args.format == "text":
        _tell(findings, console)
    else:
        write_rows(console, args.format, Finding._fields, findings)
    counts = ", ".join(f"{sum(f.level == level for f in findings)} {level}" for level in ("bad", "warn", "info"))
    console.say(f"{len(chosen)} rules: {counts}")
    if args.fail_on == "never":
        return Exit.OK
    worst = max((Level[finding.level.upper()] for finding in findings), default=None)
    return Exit.FAILED if worst is not None and worst >= Level[args.fail_on.upper()] else Exit.OK


def _rule(name: str) -> Rule:
    if name in RULES:
        return RULES[name]
    near = difflib.get_close_matches(name, RULES, n=1)
    raise Failure(
        f"there is no rule {name!r}" + (f", did you mean {near[0]}?" if near else "; see --rules"), Exit.USAGE
    )


def _look(rule: Rule, patient: Patient) -> Iterator[Finding]:
    try:
        for found in rule.look(patient):
            yield Finding(rule.level.name.lower(), rule.name, found.setting, str(found.value), found.why, found.do)
    except DriverError as error:
        if is_of_the_network(error):
            raise
        why = f"could not look: {one_line(error)}"
        yield Finding("info", rule.name, "rights", "", why, "run the doctor with an account that may read it")


def _tell(findings: list[Finding], console: Console) -> None:
    for finding in findings:
        level = console.paint(f"{finding.level:5}", _COLOURS[Level[finding.level.upper()]])
        value = f" is {finding.value}" if finding.value else ""
        console.data(f"{level} {console.paint(finding.rule, 'bold')}: {finding.setting}{value}")
        console.data(f"      {finding.why}")
        console.data(f"      type: {finding.do}")
