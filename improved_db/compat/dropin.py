"""`enable` makes `pymysql.connect` and `MySQLdb.connect` lend pooled connections, until `disable`.

Knows the names of "connect" in other modules. Does not know how a pool works.
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
#: The original of each pooled ``connect``: a later tracer may put a pooled one back after `Enabled.disable`.
_stands_before: weakref.WeakKeyDictionary[Any, Callable[..., Any]] = weakref.WeakKeyDictionary()


class _WrappedManager(PoolManager):
    """Pools whose connections a wrapper around `pymysql.connect` opens."""

    _driver_of_creator = WrappedDriver


class Enabled:
    """What `enable` returns: `disable` undoes it, as does the end of a ``with`` block."""

    def __init__(self) -> None:
        self._way_back = contextlib.ExitStack()
        self._on = True

    def replace(self, module: ModuleType, original: Callable[..., Any], manager: PoolManager) -> None:
        """Replace ``connect`` in *module* by one that borrows from *manager*."""

        def connect(*args: Any, **options: Any) -> Any:
            """Borrow a pooled connection; `close` returns it. Takes the driver's arguments."""
            given, sealed = tuple(map(Secret.of, args)), seal(options)
            pooled = self._on and not options.get("defer_connect")
            del args, options  # a traceback shows locals
            if pooled:
                return manager.connect(*given, **sealed)
            return original(*(one.value for one in given), **{name: one.value for name, one in sealed.items()})

        _stands_before[connect] = original
        self._way_back.callback(manager.dispose)
        for name in ("connect", "Connect"):  # ``Connection``, a class that programs use in isinstance(), stays
            self._way_back.callback(_put_back, module, name, connect, _behind(getattr(module, name)))
            setattr(module, name, connect)

    def disable(self) -> None:
        """Restore the drivers' own ``connect``, and close the pools. A second call does nothing.

        Idle connections are closed now, borrowed ones when they are returned. If a program kept a pooled ``connect``,
        it opens connections without a pool from now on. So does one that a tracer wrapped in the meantime; the tracer
        stays in place.
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
    """Let ``pymysql.connect`` and ``MySQLdb.connect`` lend pooled connections whose ``close`` returns them.

    It replaces ``pymysql.connect`` and ``pymysql.Connect``; the same names of ``MySQLdb`` if the program calls
    ``pymysql.install_as_MySQLdb()``, before or after; and mysqlclient's if it is installed.

    It does not replace a name that was imported before, by ``from pymysql import connect``, nor the class
    ``pymysql.Connection``. Call `enable` before you import a module that does that.

    There is one pool for each distinct set of arguments, so a caller never gets a connection with another password,
    charset or autocommit. No call waits: if no connection is idle, the caller opens one. PyMySQL's connections are
    `improved_db.Connection`, a subclass; when one is returned, the pool rolls back an open transaction and undoes
    changes of the session (SET, USE, a temporary table). mysqlclient's are only rolled back.

    If ``pymysql.connect`` was wrapped before, by a tracer for example, the pool opens its connections through that
    wrapper, and lends what it returns. Such a session is reset after each use, which costs a few round trips. A wrapper
    that comes after `enable` costs no round trip: it sees each borrowing.

    Args:
        pool_size: Connections kept for each distinct set of arguments.
        recycle: Seconds since its last use after which an idle connection is replaced instead of lent; None: never.

    Returns:
        A handle with `Enabled.disable`; leaving its ``with`` block calls it.

    Raises:
        AlreadyEnabled: Pooling is enabled already.
        ConfigError: *pool_size* or *recycle* is invalid.
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
        if mysqldb is not pymysql:  # mysqlclient, not PyMySQL under its name
            original = _behind(mysqldb.connect)
            handle.replace(mysqldb, original, PoolManager(pool_size, recycle, original))
    return handle


def _behind(connect: Callable[..., Any]) -> Callable[..., Any]:
    """Return the original of a pooled ``connect``; any other callable is returned as it is."""
    while type(connect) is FunctionType and connect in _stands_before:  # a tracer's proxy equals what it wraps
        connect = _stands_before[connect]
    return connect


def _put_back(module: ModuleType, name: str, ours: Callable[..., Any], original: Callable[..., Any]) -> None:
    """Restore the original, unless another program has replaced ours since."""
    if getattr(module, name) is ours:
        setattr(module, name, original)
