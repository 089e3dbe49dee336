"""Whether a read may be answered by another server than the primary, as far as its text tells.

Knows what describes one server alone. Does not know servers, roles or connections.
"""

from __future__ import annotations

import functools
from typing import Final

from improved_db.sql.statement import is_read_only
from improved_db.sql.tokens import clear_tokens

#: Words that make a read one about the server that answers it.
_OF_ONE_SERVER: Final = frozenset(
    {"SHOW", "DESC", "DESCRIBE", "EXPLAIN", "INFORMATION_SCHEMA", "PERFORMANCE_SCHEMA", "MYSQL", "SYS"}
    | {"VERSION", "UUID", "UUID_SHORT", "SLEEP"}
)


@functools.lru_cache(512)
def may_be_answered_by_replica(query: str) -> bool:
    """Say whether a statement provably only reads, and reads what every server has.

    Args:
        query: The statement, before its arguments are put in.

    Returns:
        False if in doubt; also for what describes one server: ``@@`` variables, SHOW, the system schemas.
    """
    if not is_read_only(query):
        return False
    tokens = clear_tokens(query)
    names = {token.text.strip("`").upper() for token in tokens if token.kind in {"word", "name"}}
    return names.isdisjoint(_OF_ONE_SERVER) and not any(token.kind == "setting" for token in tokens)
