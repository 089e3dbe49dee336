"""A function that some server does not have built in may be a stored one there, and may write."""

from __future__ import annotations

import pytest

from improved_db.sql.statement import is_read_only


@pytest.mark.parametrize("name", ["md5", "sha", "sha1", "get_lock", "last_insert_id", "nextval", "setval", "benchmark"])
def test_a_function_not_built_into_every_server_is_no_read(name: str) -> None:
    """Nor one with an effect."""
    assert not is_read_only(f"select {name}('x')")
