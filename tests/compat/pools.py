"""What the tests of pymysql-pool's door ask of its pools, of who waits for them, and of the table behind them."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import pytest

from improved_db.compat.pymysqlpool import GetConnectionFromPoolError
from improved_db.pool.loan import all_frames
from tests.fakes import Caller, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db import ImprovedDb
    from improved_db.compat.pymysqlpool import ConnectionPool

    Make = Callable[..., ConnectionPool]


def names(outside: ImprovedDb) -> list[str]:
    """Return what is in the table, as another session sees it."""
    return [name for (name,) in outside.execute_query("select name from user order by uid")]


def is_whole(pool: ConnectionPool, size: int = 2) -> bool:
    """Whether all of the pool's connections can be had at once, and none is out now."""
    if pool.size() != size:
        return False
    taken = [pool.get_connection(timeout=0, retry_num=0) for _ in range(size)]
    with pytest.raises(GetConnectionFromPoolError):
        pool.get_connection(timeout=0, retry_num=0)
    for connection in taken:
        connection.close()
    return pool.size() == size


def wait_in_line(caller: Caller[Any]) -> None:
    """Wait until the thread sleeps on a signal of the pool's."""

    def sleeps() -> bool:
        frame = all_frames().get(caller.ident or 0)
        stack = traceback.extract_stack(frame) if frame is not None else []
        return bool(stack) and (stack[-1].name, stack[-1].filename.endswith("clock.py")) == ("wait", True)

    eventually(sleeps)
