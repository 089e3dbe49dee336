"""Pools of connections to nothing: the pool alone is left to be measured.

psycopg_pool, the one Python pool that serves its waiters in their order, takes such connections too, so its algorithm
can be compared with ours.

Knows what the two pools ask of a connection. Does not know what is measured.
"""

from __future__ import annotations

import importlib
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from improved_db.pool.pool import Pool
from improved_db.settings.settings import PoolSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


class Bare(NamedTuple):
    """A pool of connections to nothing.

    Attributes:
        borrow: Returns what `give_back` takes.
        give_back: Takes it.
        opened: Returns how many connections have been opened so far.
        waiting: Returns how many borrowers stand in line.
    """

    borrow: Callable[[], Any]
    give_back: Callable[[Any], object]
    opened: Callable[[], int]
    waiting: Callable[[], int]


class Nothing:
    """A connection to nothing."""


class NoDriver:
    """A driver of ours without a server."""

    idle_limit = None

    def __init__(self, connect_seconds: float) -> None:
        self._connect_seconds = connect_seconds

    def connect(self) -> Nothing:
        """Take as long as told."""
        time.sleep(self._connect_seconds)
        return Nothing()

    def is_alive(self, _: Nothing) -> bool:
        """Say yes."""
        return True

    def is_clean(self, _: Nothing) -> bool:
        """Say yes."""
        return True

    def ping(self, *_: object) -> bool:
        """Say yes."""
        return True

    def restore(self, _: Nothing) -> bool:
        """Say yes."""
        return True

    def close(self, connection: Nothing) -> None:
        """Do nothing."""

    def abandon(self, connection: Nothing) -> None:
        """Do nothing."""

    def cut(self, connection: Nothing) -> None:
        """Do nothing."""


@contextmanager
def ours(size: int, connect_seconds: float = 0.0, *, warm: bool = True, **settings: Any) -> Iterator[Bare]:
    """Open our pool."""
    pool = Pool(NoDriver(connect_seconds), PoolSettings(max_size=size, **settings))
    if warm:
        pool.wait(at_least=size)
    yield Bare(pool.acquire, pool.release, lambda: pool.stats().opened, lambda: pool.stats().waiting)
    pool.close()


@contextmanager
def psycopg_pool(size: int, connect_seconds: float = 0.0, *, warm: bool = True) -> Iterator[Bare]:
    """Open psycopg's pool."""
    module = importlib.import_module("psycopg_pool")
    idle = importlib.import_module("psycopg.pq").TransactionStatus.IDLE

    class PostgresNothing:
        pgconn = SimpleNamespace(transaction_status=idle)
        opened = 0

        @classmethod
        def connect(cls, *_: object, **__: object) -> PostgresNothing:
            time.sleep(connect_seconds)
            cls.opened += 1
            return cls()

        def close(self) -> None:
            pass

    smallest = size if warm else 0
    with module.ConnectionPool(connection_class=PostgresNothing, min_size=smallest, max_size=size, open=True) as pool:
        if warm:
            pool.wait()
        yield Bare(
            pool.getconn,
            pool.putconn,
            lambda: PostgresNothing.opened,
            lambda: int(pool.get_stats()["requests_waiting"]),
        )


POOLS: Final[dict[str, Callable[[int], AbstractContextManager[Bare]]]] = {
    "improved_db": ours,
    "psycopg_pool": psycopg_pool,
}
