"""The options as type checkers see them: they complete the names, and report unknown ones.

Imported for types alone; `options` checks values while a program runs, and a test holds the two together.

Knows the names of the options and the types of their values. Does not know how a value is checked, or what it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike
    from ssl import SSLContext

    import tenacity
    from pymysql.cursors import Cursor
    from typing_extensions import Required

    from improved_db.cluster.failover import FailoverReport
    from improved_db.execution.retry import RetryPolicy
    from improved_db.settings.hosts import Host
    from improved_db.wire.connection import Connection

    #: A URL, options by name, or several servers.
    Config: TypeAlias = str | Mapping[str, Any] | Sequence[str | Host]
    Path: TypeAlias = str | PathLike[str]
    Text: TypeAlias = str | bytes


class PoolOptions(TypedDict, total=False):
    """The options of the pool, the retries and a whole call; seconds are floats."""

    name: str
    min_size: int
    max_size: int
    acquire_timeout: float
    max_waiting: int | None
    max_lifetime: float | None
    lifetime_jitter: float
    idle_timeout: float | None
    ping_idle_after: float | None
    ping_timeout: float
    keepalive: float | None
    leak_warn_after: float | None
    max_opening: int
    reset: Literal["rollback", "session"] | Callable[[Connection], object]
    configure: Callable[[Connection], object] | None
    check: Callable[[Connection], object] | None
    on_leak: Callable[[Any], object] | None
    deadline: float | None
    retry: RetryPolicy | tenacity.BaseRetrying | Callable[..., Any] | None
    connection_pool: bool
    pool_init_size: int | None
    aware_datetimes: Literal["refuse", "session", "utc"]
    multiplex: Literal["auto", False]
    pipelining: Literal["auto"] | bool
    statements: int
    slow_query_threshold: float | None
    topology: Literal["auto", "replication", "galera", "group", "aurora", "equal", "sequential", "static"] | None
    read_preference: Literal["primary", "primary_preferred", "replica", "replica_preferred", "nearest"]
    max_replication_lag: float | None
    causal_reads: bool
    causal_timeout: float
    monitor_interval: float
    discover: bool
    zone: str | None
    on_failover: Callable[[FailoverReport], object] | None


class Options(PoolOptions, total=False):
    """Every keyword argument of `ImprovedDb`: those above, and PyMySQL's."""

    host: str | None
    port: int
    user: Text | None
    password: Text | Callable[[], Text] | None
    passwd: Text | Callable[[], Text] | None
    database: Text | None
    db: Text | None
    unix_socket: Path | None
    autocommit: bool | None
    charset: str
    collation: str | None
    sql_mode: str | None
    init_command: str | None
    connect_timeout: float | None
    read_timeout: float | None
    write_timeout: float | None
    max_allowed_packet: int
    read_default_file: Path | None
    read_default_group: str | None
    conv: Mapping[Any, Any] | None
    use_unicode: bool
    client_flag: int
    cursorclass: type[Cursor]
    local_infile: bool
    bind_address: str | None
    binary_prefix: bool
    program_name: str | None
    server_public_key: bytes | None
    auth_plugin_map: Mapping[str, Any] | None
    enable_cleartext_plugin: bool
    ssl: SSLContext | Mapping[str, Any] | None
    ssl_mode: str
    ssl_ca: Path | None
    ssl_cert: Path | None
    ssl_key: Path | None
    ssl_key_password: Text | None
    ssl_disabled: bool | None
    ssl_verify_cert: bool | Literal["none", "optional", "required"] | None
    ssl_verify_identity: bool | None


# --- queries: what the keyword arguments make of the rows ----------------------------------------------------------
# One class for each shape, and each in three sizes: on a connection of the caller's, in a transaction, on the pool.


class OnConnection(TypedDict, total=False):
    """What every form of `execute_query` takes, besides the shape of the rows."""

    exec_many: bool


class InTransaction(OnConnection, total=False):
    """What `Transaction.execute_query` takes."""

    timeout: float | None


class OnPool(InTransaction, total=False):
    """What `ImprovedDb.execute_query` takes."""

    idempotent: bool | None
    exactly_once: bool
    read_only: bool
    after: bytes | None


class Tuples(OnConnection, total=False):
    """All rows, as tuples."""

    dictcursor: Literal[False]
    return_one: Literal[False]


class Dicts(OnConnection, total=False):
    """All rows, as dicts."""

    dictcursor: Required[Literal[True]]
    return_one: Literal[False]


class OneTuple(OnConnection, total=False):
    """The first row, as a tuple, or None."""

    dictcursor: Literal[False]
    return_one: Required[Literal[True]]


class OneDict(OnConnection, total=False):
    """The first row, as a dict, or None."""

    dictcursor: Required[Literal[True]]
    return_one: Required[Literal[True]]


class AnyShape(OnConnection, total=False):
    """A shape that only the running program knows."""

    dictcursor: bool
    return_one: bool


class TuplesInTransaction(Tuples, InTransaction, total=False):
    """As `Tuples`."""


class DictsInTransaction(Dicts, InTransaction, total=False):
    """As `Dicts`."""


class OneTupleInTransaction(OneTuple, InTransaction, total=False):
    """As `OneTuple`."""


class OneDictInTransaction(OneDict, InTransaction, total=False):
    """As `OneDict`."""


class AnyShapeInTransaction(AnyShape, InTransaction, total=False):
    """As `AnyShape`."""


class TuplesOnPool(TuplesInTransaction, OnPool, total=False):
    """As `Tuples`."""


class DictsOnPool(DictsInTransaction, OnPool, total=False):
    """As `Dicts`."""


class OneTupleOnPool(OneTupleInTransaction, OnPool, total=False):
    """As `OneTuple`."""


class OneDictOnPool(OneDictInTransaction, OnPool, total=False):
    """As `OneDict`."""


class AnyShapeOnPool(AnyShapeInTransaction, OnPool, total=False):
    """As `AnyShape`."""


class OnReader(TypedDict, total=False):
    """What `Reader.execute_query` takes, besides the shape of the rows."""

    idempotent: bool | None
    timeout: float | None
    after: bytes | None


class TuplesOnReader(OnReader, total=False):
    """As `Tuples`."""

    dictcursor: Literal[False]
    return_one: Literal[False]


class DictsOnReader(OnReader, total=False):
    """As `Dicts`."""

    dictcursor: Required[Literal[True]]
    return_one: Literal[False]


class OneTupleOnReader(OnReader, total=False):
    """As `OneTuple`."""

    dictcursor: Literal[False]
    return_one: Required[Literal[True]]


class OneDictOnReader(OnReader, total=False):
    """As `OneDict`."""

    dictcursor: Required[Literal[True]]
    return_one: Required[Literal[True]]


class AnyShapeOnReader(OnReader, total=False):
    """As `AnyShape`."""

    dictcursor: bool
    return_one: bool


class Streaming(TypedDict, total=False):
    """How the rows of a stream come."""

    batch_size: int
    timeout: float | None
