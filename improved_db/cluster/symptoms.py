"""What an error of a statement or a connect says about its server, in the words of a topology.

A time limit of ours, a lock wait or an error of the statement says nothing: slow is not down.

Knows error numbers. Does not know what became of the statement, or the rules of a topology.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from improved_db.cluster.views import absent
from improved_db.failures.raising import causes

if TYPE_CHECKING:
    from improved_db.cluster.views import HostFacts, HostView, Problem

_OVERLOADED: Final = frozenset({1040, 1203, 1226})
#: The account, the database, the address of the client, TLS and the plugin of the account.
_REJECTED: Final = frozenset({1044, 1045, 1049, 1129, 1130, 1251, 1698, 2026, 2059, 2061, 3118, 3159})
_LOST: Final = frozenset({1053, 1080, 1158, 1159, 1160, 1161, 2002, 2003, 2006, 2012, 2013, 2027, 2055})
_READ_ONLY: Final = frozenset({1836, 1874})
_OPTION, _WSREP = 1290, 1047

#: How much of a server's text stands in a log line.
_LONGEST: Final = 200


def problem_of(error: BaseException) -> Problem | None:
    """Return why a server could not be asked; None if the error says nothing of that kind."""
    code = _code(error)
    if code in _OVERLOADED:
        return "overloaded"
    if code in _REJECTED:
        return "rejected"
    chain = list(causes(error))
    if any(isinstance(link, (ConnectionRefusedError, FileNotFoundError)) for link in chain):
        return "refused"
    if any(isinstance(link, TimeoutError) for link in chain):
        return "silent"
    if code in _LOST or any(isinstance(link, (OSError, EOFError)) for link in chain):
        return "lost"
    return None


def hint_of(view: HostView, error: BaseException, now: float) -> HostFacts | None:
    """Return what an error of a statement says of its server, before that one is asked; None: ask it first.

    An error by which the server says that it is read-only needs no second opinion (F2). 1792 may come from a
    transaction that the caller made READ ONLY, so that is only a reason to ask.
    """
    code, text = _code(error), " ".join(str(part) for part in error.args[1:2]).lower()
    says_read_only = code in _READ_ONLY or (code == _OPTION and ("read-only" in text or "read_only" in text))
    if view.facts is not None and says_read_only:
        return replace(view.facts, at=now, asked_at=now, read_only=True)
    if view.facts is not None and code == _WSREP and "wsrep" in text:
        return replace(view.facts, at=now, asked_at=now, unfit="is not in the cluster (it said so to a statement)")
    problem = problem_of(error)
    return None if problem is None or problem == "silent" else absent(view.address, now, problem, described(error))


def described(error: BaseException) -> str:
    """Return an error in one short line."""
    text = " ".join(str(part) for part in error.args) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _code(error: BaseException) -> int | None:
    code = error.args[0] if error.args else None
    return code if isinstance(code, int) and not isinstance(error, OSError) else None
