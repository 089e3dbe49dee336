"""`enable`: from now on `pymysql.connect` and `MySQLdb.connect` lend pooled connections, until `disable`.

Knows which names of other modules stand for "connect". Does not know how a pool works.
"""

from __future__ import annotations

import contextlib
import importlib
import weakref
from types import FunctionType
from typing import TYPE_CHECKING, Any

import pymysql
import pymysql.connections

from improved_db.compat._dbapi_driver import WrappedDriver
from improved_db.compat.queuepool import PoolManager
from improved_db.errors import AlreadyEnabled
from improved_db.settings.secret import Secret, seal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from typing_extensions import Self

_in_force: dict[str, Enabled] = {}
#: What each pooled ``connect`` stands in front of: a tracer that came later may put one back after `Enabled.disable`.
_stands_before: weakref.WeakKeyDictionary[Any, Callable[..., Any]] = weakref.WeakKeyDictionary()


class _WrappedManager(PoolManager):
    """Pools over what something has made of `pymysql.connect`."""

    _driver_of_creator = WrappedDriver


class Enabled:
    """What `enable` returns: the way back. Usable with ``with``."""

    def __init__(self) -> None:
        self._way_back = contextlib.ExitStack()
        self._on = True

    def replace(self, module: ModuleType, original: Callable[..., Any], manager: PoolManager) -> None:
        """Let *module* lend connections of *manager*'s."""

        def connect(*args: Any, **options: Any) -> Any:
            """Borrow a pooled connection; `close` gives it back. Takes what the driver takes."""
            given, sealed = tuple(map(Secret.of, args)), seal(options)
            pooled = self._on and not options.get("defer_connect")
            del args, options  # a traceback shows locals
            if pooled:
                return manager.connect(*given, **sealed)
            return original(*(one.value for one in given), **{name: one.value for name, one in sealed.items()})

        _stands_before[connect] = original
        self._way_back.callback(manager.dispose)
        for name in ("connect", "Connect"):  # ``Connection``, a class that programs ask isinstance() about, stays
            self._way_back.callback(_put_back, module, name, connect, _behind(getattr(module, name)))
            setattr(module, name, connect)

    def disable(self) -> None:
        """Put everything back; connections are closed when they are idle. Calling it again is no error.

        A pooled ``connect`` that was kept opens connections without a pool from now on. So does one that a tracer
        wrapped in the meantime: the tracer stays where it is.
        """
        if self._on:
            self._on = False
            self._way_back.close()
            _in_force.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.disable()


def enable(pool_size: int = 8, recycle: float | None = 30) -> Enabled:
    """Let ``pymysql.connect`` and ``MySQLdb.connect`` lend pooled connections whose ``close`` gives them back.

    What it does not reach: a name taken before, by ``from pymysql import connect``, is the old one and stays so, and so
    is ``pymysql.Connection(...)``, a class that is left alone. Enable before importing what does that.

    Reached are ``pymysql.connect`` and ``pymysql.Connect``; the same under ``MySQLdb`` where
    ``pymysql.install_as_MySQLdb()`` was or will be called; and mysqlclient's where it is installed. There is one pool
    for each distinct set of arguments, so nobody gets a connection with another's password, charset or autocommit.
    Nobody waits: who finds no idle connection opens one. PyMySQL's come as `improved_db.Connection`, a subclass; what
    was left open on one is rolled back when it is given back, and what was changed (SET, USE, a temporary table) is
    undone. mysqlclient's are rolled back, no more.

    If something has wrapped ``pymysql.connect`` before (a tracer does), the pool opens its connections through that
    wrapper, and lends what it returns. Such a session is reset after each use, which costs a few round trips. A wrapper
    that comes after `enable` costs nothing: it sees each borrowing.

    Args:
        pool_size: Connections kept for each distinct set of arguments.
        recycle: Seconds since its last use after which an idle connection is replaced instead of lent; None: never.

    Returns:
        A handle with `Enabled.disable`; leaving its ``with`` block calls it.

    Raises:
        AlreadyEnabled: It is in force already.
        ConfigError: *pool_size* or *recycle* cannot be meant.
    """
    handle = Enabled()
    original = _behind(pymysql.connect)
    plain = original is pymysql.connections.Connection
    ours = PoolManager(pool_size, recycle) if plain else _WrappedManager(pool_size, recycle, original)
    if _in_force.setdefault("handle", handle) is not handle:
        raise AlreadyEnabled("pooling is enabled already: call disable() on what enable() returned before")
    handle.replace(pymysql, original, ours)
    with contextlib.suppress(ImportError):
        mysqldb = importlib.import_module("MySQLdb")
        if mysqldb is not pymysql:  # mysqlclient, not PyMySQL in its place
            original = _behind(mysqldb.connect)
            handle.replace(mysqldb, original, PoolManager(pool_size, recycle, original))
    return handle


def _behind(connect: Callable[..., Any]) -> Callable[..., Any]:
    """Return what stands behind a pooled ``connect`` whose pooling is over; anything else as it is."""
    while type(connect) is FunctionType and connect in _stands_before:  # a tracer's proxy equals what it wraps
        connect = _stands_before[connect]
    return connect


def _put_back(module: ModuleType, name: str, ours: Callable[..., Any], original: Callable[..., Any]) -> None:
    """Put the original back, unless something else has taken our place since."""
    if getattr(module, name) is ours:
        setattr(module, name, original)
