"""Say how much of the public interface a type checker knows, and fail below the share that is asked for.

``pyright --verifytypes`` counts every module without an underscore. Public are fewer: what `improved_db` exports,
`improved_db.errors`, `improved_db.testing` and the doors in `improved_db.compat`. So its report is counted again.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import improved_db  # noqa: E402  # of this folder, whatever is installed

ASKED = 0.99
MODULES = (
    "improved_db.errors",
    "improved_db.aio",
    "improved_db.observe.otel.instrument",
    "improved_db.observe.otel.Instrumented",
    "improved_db.observe.prometheus",
    "improved_db.testing",
    "improved_db.compat",
)


def public_names() -> tuple[str, ...]:
    """Return the full names that users may use; what lies inside them is public, too."""
    exported = [getattr(improved_db, name) for name in improved_db.__all__]
    defined = [f"{value.__module__}.{value.__qualname__}" for value in exported if inspect.isclass(value)]
    return (*MODULES, *defined, *(f"improved_db.{name}" for name in improved_db.__all__))


def report() -> dict[str, Any]:
    """Return what the checker says of the package."""
    command = ["basedpyright", "--verifytypes", "improved_db", "--ignoreexternal", "--outputjson"]
    tool = Path(sys.executable).with_name(command[0])
    command = [str(tool), *command[1:], "--pythonpath", sys.executable]
    ran = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    found: dict[str, Any] = json.loads(ran.stdout)["typeCompleteness"]
    return found


def main() -> None:
    """Print the shares, of everything and of the public part, and what is missing in the latter."""
    names = public_names()
    told = report()
    symbols = [
        symbol
        for symbol in told["symbols"]
        if symbol["isExported"] and any(f"{symbol['name']}.".startswith(f"{name}.") for name in names)
    ]
    unknown = [symbol for symbol in symbols if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]]
    for symbol in unknown:
        reasons = [one["message"] for one in symbol["diagnostics"]] or ["a part of it is not known"]
        sys.stdout.write(f"{symbol['name']}: {reasons[0]}\n")
    share = 1 - len(unknown) / len(symbols) if symbols else 0.0
    sys.stdout.write(
        f"types known: {share:.1%} of {len(symbols)} public names, {told['completenessScore']:.1%} of all names\n"
    )
    sys.exit(share < ASKED)


if __name__ == "__main__":
    main()
