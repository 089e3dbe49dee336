"""What users write, as type checkers see it. Checked by `mypy --strict` and pyright, never run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import pymysql
import tenacity
from typing_extensions import assert_type

from improved_db import (
    SQL,
    Borrowed,
    Connection,
    Enabled,
    Event,
    Finding,
    Host,
    Identifier,
    ImprovedDb,
    OutcomeUnknown,
    PoolStats,
    PoolTimeout,
    Reader,
    RetryPolicy,
    Rows,
    Seen,
    Statement,
    Statements,
    Stream,
    Transaction,
    Watch,
    enable,
)
from improved_db.aio import AsyncImprovedDb, AsyncTransaction
from improved_db.compat import pymysqlpool
from improved_db.compat.queuepool import PoolManager, QueuePool

if TYPE_CHECKING:
    import logging

    from improved_db.testing import TemporaryServer


def ways_to_make_one(server: TemporaryServer) -> None:
    """A URL, a dict, keywords, callables, a private server."""
    assert_type(ImprovedDb(), ImprovedDb)
    assert_type(ImprovedDb("mysql://app@db/shop", max_size=20, acquire_timeout=3.0, autocommit=True), ImprovedDb)
    assert_type(ImprovedDb({"host": "db", "user": "app"}, connection_pool=True, pool_init_size=10), ImprovedDb)
    assert_type(ImprovedDb(lambda: {"host": "db"}, password=lambda: "secret"), ImprovedDb)
    assert_type(ImprovedDb(server.url, retry=RetryPolicy(attempts=3)), ImprovedDb)
    assert_type(ImprovedDb(retry=tenacity.Retrying(stop=tenacity.stop_after_attempt(3))), ImprovedDb)
    assert_type(ImprovedDb(retry=None, deadline=5.0), ImprovedDb)
    with ImprovedDb.ephemeral(max_size=4) as db:
        assert_type(db, ImprovedDb)


class Pet(NamedTuple):
    """A row with names."""

    id: int
    name: str


@dataclass
class Owner:
    """A row with fields."""

    id: int


def fetched(db: ImprovedDb, tx: Transaction) -> None:
    """The class of the rows is that of `row_type`, with no annotation of the user's."""
    assert_type(db.fetch_all("select 1"), Rows)
    assert_type(db.fetch_all("select 1", row_type=dict), Rows[dict[str, Any]])
    assert_type(db.fetch_all("select 1", row_type=Pet), Rows[Pet])
    assert_type(db.fetch_all("select 1, 'a'", row_type=tuple[int, str]), Rows[tuple[int, str]])
    assert_type(db.fetch_one("select 1", row_type=dict[str, Any]), dict[str, Any] | None)
    assert_type(tx.fetch_all("select 1", row_type=Owner)[0].id, int)
    assert_type(db.fetch_one("select 1", row_type=Owner), Owner | None)
    assert_type(tx.fetch_one("select 1", row_type=Owner, required=True), Owner)
    assert_type(db.fetch_one("select 1", row_type=dict, required=True), dict[str, Any])
    assert_type(db.fetch_one("select 1"), tuple[Any, ...] | None)
    assert_type([pet.name for pet in db.fetch_all("select 1", row_type=Pet)], list[str])
    assert_type(db.fetch_column("select 1"), list[Any])


def several_servers(db: ImprovedDb, token: bytes) -> None:
    """Hosts, the reader, tokens; what writes is no attribute of a reader."""
    hosts: list[str | Host] = ["mysql://app@db1/shop", Host("db2", role="replica", weight=2, zone="b", max_size=4)]
    assert_type(ImprovedDb(hosts, topology="static", read_preference="nearest", zone="b"), ImprovedDb)
    assert_type(ImprovedDb(["mysql://app@db1/shop", "mysql://app@db2/shop"], max_replication_lag=2.0), ImprovedDb)
    assert_type(db.reader, Reader)
    assert_type(db.reader.execute_query("select 1", after=token), Rows)
    assert_type(db.reader.execute_query("select 1", dictcursor=True), Rows[dict[str, Any]])
    assert_type(db.reader.execute_query("select 1", return_one=True), tuple[Any, ...] | None)
    assert_type(db.reader.fetch_all("select 1", row_type=Pet), Rows[Pet])
    assert_type(db.reader.run_transaction(lambda tx: tx.fetch_column("select 1")), list[Any])
    with db.reader.transaction(after=token) as tx, db.reader.stream("select 1", dictcursor=True) as rows:
        assert_type(tx, Transaction)
        assert_type(rows, Stream[dict[str, Any]])
    assert_type(db.execute_query("select 1", read_only=True, after=db.causal_token()), Rows)
    assert_type([host.lag for host in db.hosts()], list[float | None])
    assert_type(db.stats().by_host["db1:3306"].idle, int)
    db.wait(5.0, role="replica")


class Shop:
    """Functions that are transactions: callers leave out `tx`, and the rest is checked."""

    db = ImprovedDb()

    @db.transactional
    def rename(self, tx: Transaction, pet: int, *, name: str) -> Pet:
        """Return a pet with its new name."""
        tx.execute_query("update pets set name = %s where id = %s", (name, pet))
        return tx.fetch_one("select id, name from pets where id = %s", pet, row_type=Pet, required=True)

    @staticmethod
    @db.transactional(exactly_once=True)
    def owners(tx: Transaction, least: int = 1) -> Rows[Owner]:
        """Return owners."""
        return tx.fetch_all("select id from owners where id >= %s", least, row_type=Owner)


def transactional(shop: Shop) -> None:
    """The decorator keeps the function's types."""
    assert_type(shop.rename(1, name="Rex"), Pet)
    assert_type(shop.owners(), Rows[Owner])
    assert_type(Shop.owners(least=2), Rows[Owner])
    shop.rename("one", name="Rex")  # type: ignore[arg-type]
    shop.rename(1)  # type: ignore[call-arg]


def queries(db: ImprovedDb, connection: Connection, dicts: bool) -> None:
    """What the keywords make of the rows, in both forms and under both names."""
    rows = db.execute_query("select 1")
    assert_type(rows, Rows[tuple[Any, ...]])
    assert_type(rows, Rows)
    assert_type(rows[0], tuple[Any, ...])
    assert_type(rows.rowcount, int)
    assert_type(rows.lastrowid, int)
    assert_type(rows.columns, tuple[str, ...])
    named = db.execute_query("select %s", 42, dictcursor=True, idempotent=True, timeout=3.0)
    assert_type(named, Rows[dict[str, Any]])
    assert_type([row["n"] for row in named], list[Any])
    assert_type(db.execute_query("select %s", (42,), return_one=True), tuple[Any, ...] | None)
    assert_type(db.execute_query("select 1", dictcursor=True, return_one=True, timeout=1.0), dict[str, Any] | None)
    assert_type(db.execute_query("select %(n)s", {"n": 42}, dictcursor=False, return_one=False), Rows)
    assert_type(db.execute_query("insert into t values (%s)", [(1,), (2,)], exec_many=True, exactly_once=True), Rows)
    assert_type(db.execute_query_multiplex("select %s", 42), Rows)
    assert_type(db.execute_query_multiplex("select %s", 42, dictcursor=True), Rows[dict[str, Any]])
    assert_type(db.execute_query_multiplex("select %s", 42, return_one=True), tuple[Any, ...] | None)
    assert_type(db.execute_query(connection, "select 1"), Rows)
    assert_type(db.execute_query(connection, "select 1", (1,), dictcursor=True), Rows[dict[str, Any]])
    assert_type(db.execute_query(connection, "select 1", return_one=True), tuple[Any, ...] | None)
    assert_type(
        db.execute_query_multiplex(connection, "select 1", dictcursor=True, return_one=True), dict[str, Any] | None
    )
    first: Any = db.execute_query("select 1", dictcursor=dicts, return_one=dicts)
    first[0]


def bulk(db: ImprovedDb) -> None:
    """Any iterable of rows, and any way of watching."""
    assert_type(db.exec_many("insert into t values (%s)", ((n,) for n in range(10)), progress=True), Rows)
    assert_type(db.exec_many("insert into t values (%(n)s)", [{"n": 1}], atomic=False), Rows)
    told: list[tuple[int, int | None]] = []
    assert_type(
        db.exec_many("insert into t values (%s)", {1, 2}, progress=lambda done, total: told.append((done, total))), Rows
    )
    assert_type(db.load_rows("t", [(1, "a")], ["n", "s"]), Rows)
    assert_type(db.load_rows("t", iter([(1, "a")]), total=1, progress=True), Rows)


def streams(db: ImprovedDb) -> None:
    """A context manager over rows."""
    with db.stream("select * from t", batch_size=100) as rows:
        assert_type(rows, Stream)
        assert_type(rows.columns, tuple[str, ...])
        for row in rows:
            assert_type(row, tuple[Any, ...])
    with db.stream("select * from t", dictcursor=True) as named:
        assert_type(named, Stream[dict[str, Any]])
        assert_type(named.batch(), list[dict[str, Any]])


def transfer(tx: Transaction, amount: int, *, reason: str = "") -> str:
    """Stand for a user's function."""
    tx.execute_query("update account set money = money - %s", amount)
    with tx.savepoint():
        tx.exec_many("insert into log values (%s)", [(reason,)])
    tx.on_commit(reason.upper)
    return reason


def transactions(db: ImprovedDb) -> None:
    """A transaction of the caller's own, and one that is retried."""
    with db.transaction(isolation="serializable", read_only=False) as tx:
        assert_type(tx, Transaction)
        assert_type(tx.execute_query("select 1"), Rows)
        assert_type(tx.execute_query("select 1", dictcursor=True, timeout=1.0), Rows[dict[str, Any]])
        assert_type(tx.execute_query("select 1", return_one=True), tuple[Any, ...] | None)
        assert_type(tx.execute_query_multiplex("select 1", dictcursor=True, return_one=True), dict[str, Any] | None)
        assert_type(tx.exec_many("insert into t values (%s)", [1]), Rows)
    assert_type(db.run_transaction(transfer, 5, reason="rent"), str)
    assert_type(db.run_transaction(transfer, 5, exactly_once=True), str)
    assert_type(db.run_transaction(lambda tx: len(tx.execute_query("select 1")), isolation="serializable"), int)
    assert_type(db.run_transaction(transfer, amount=5, read_only=True), str)


def connections(db: ImprovedDb) -> None:
    """PyMySQL's interface, with or without the pool, in the first design's words and in today's."""
    with db.connection(timeout=3.0) as connection:
        assert_type(connection, Connection)
        with connection.cursor(pymysql.cursors.DictCursor) as cursor:
            assert_type(cursor, pymysql.cursors.DictCursor)
        assert_type(db.execute_query(connection, "select %s", (1,), True, True), Any)
    own = db.connect()
    assert_type(own, Connection)
    plain: pymysql.connections.Connection[Any] = own
    plain.close()
    db.create_pool(pool_init_size=10)
    borrowed = db.pool_get_connection(timeout=3, retry_num=1)
    assert_type(db.execute_query_multiplex(borrowed, "select 1", (), True, True), Any)
    db.pool_put_connection(db.pool_get_connection())


class Timer:
    """A listener needs no base class."""

    def waited(self, pool: str, seconds: float) -> None:
        """Hear."""

    def used(self, pool: str, seconds: float) -> None:
        """Hear."""

    def created(self, pool: str, seconds: float) -> None:
        """Hear."""


def looking(db: ImprovedDb) -> None:
    """Snapshots and the owner's verbs."""
    stats = db.stats()
    assert_type(stats, PoolStats)
    assert_type(stats.waiting, int)
    assert_type(db.borrowed(), list[Borrowed])
    assert_type(db.check_durability(), list[Finding])
    assert_type(db.ping(timeout=0.5), bool)
    assert_type(db.statements(order="calls", limit=None), Statements)
    assert_type(db.statements()[0], Statement)
    assert_type(db.statements()[0].errors_by_code["1062"], int)
    assert_type(db.events(after=3, kind="slow")[0], Event)
    with db.watch() as seen:
        assert_type(seen, Watch)
        assert_type(seen.similar(5), list[Seen])
    db.add_listener(Timer())
    db.wait(10.0)
    db.resize(20, min_size=2)
    db.drain()
    db.suspend()
    db.resume()
    assert_type(db.close(timeout=1.0, force=True), list[Borrowed])
    assert_type(db.closed, bool)


def failures(db: ImprovedDb) -> int:
    """What errors carry."""
    try:
        db.execute_query("insert into t values (1)")
    except OutcomeUnknown as error:
        assert_type(error.verdict, str)
        assert_type(error.attempts, tuple[str, ...])
        return error.acked_rows or 0
    except (PoolTimeout, pymysql.err.OperationalError):
        raise
    return 1


def pymysql_pool(config: dict[str, Any]) -> None:
    """What programs for pymysql-pool write, of both versions."""
    pool = pymysqlpool.ConnectionPool(size=2, maxsize=3, pre_create_num=2, con_lifetime=300, name="mypool", **config)
    assert_type(pymysqlpool.ConnectionPool(2, 3, "mypool", 2, 3600, True, **config), pymysqlpool.ConnectionPool)
    assert_type(pymysqlpool.ConnectionPool(2, "pool1", **config), pymysqlpool.ConnectionPool)
    assert_type(pymysqlpool.ConnectionPoolSingleton(size=2), pymysqlpool.ConnectionPoolSingleton)
    assert_type(pool.total_num + pool.available_num + pool.size(), int)
    con = pool.get_connection(retry_num=3, retry_interval=0.1, pre_ping=True)
    assert_type(con, pymysqlpool.Connection)
    plain: pymysql.connections.Connection[Any] = con
    plain.close()
    with pool.get_connection(timeout=1, retry_num=1) as cur:
        assert_type(cur, pymysqlpool.Connection)
        cur.execute("select 1+1")
        assert_type(cur.fetchall(), Any)
    assert_type(con.execute_query("select %s", (1,), dictcursor=True, return_one=True), Any)
    assert_type(con.execute_query("insert into t values (%s)", [(1,)], exec_many=True), Any)
    pool.put_connection(con)
    pool.close()
    logger: logging.Logger = pymysqlpool.logger
    logger.setLevel("DEBUG")
    try:
        pymysqlpool.Connection(**config).close()
    except (pymysqlpool.GetConnectionFromPoolError, pymysqlpool.ReturnConnectionToPoolError, TimeoutError):
        raise


def short_cuts(cursor: pymysqlpool.Cursor, dicts: pymysqlpool.DictCursor) -> None:
    """Two methods of pymysql-pool's cursors."""
    assert_type(cursor.db_query("select %s", (1,)), Any)
    assert_type(dicts.db_query("select 1"), Any)
    assert_type(cursor.db_modify("insert into t values (%s)", [(1,)], exec_many=True), dict[str, int | None])


def queues(config: dict[str, Any]) -> None:
    """Any driver's connections, and one pool for each set of options."""
    queue = QueuePool(lambda: pymysql.connect(**config), pool_size=5, recycle=None)
    connection = queue.connect()
    assert_type(connection, Any)
    queue.return_conn(connection)
    queue.close(queue.connect())
    assert_type(queue.size() + queue.len() + len(queue), int)
    queue.clear()
    queue.dispose()
    manager = PoolManager(pool_size=8, recycle=30)
    manager.close_connection(manager.connect(host="db", user="app"))
    manager.dispose()


def drop_in() -> None:
    """One line at the start of a program, or a block."""
    enabled = enable(pool_size=8, recycle=30)
    assert_type(enabled, Enabled)
    enabled.disable()
    with enable(recycle=None) as handle:
        assert_type(handle, Enabled)
        pymysql.connect(host="db").close()


def statements(db: ImprovedDb, tx: Transaction, connection: Connection, column: str, text: str) -> None:
    """A literal, or SQL put together of literals; a text that may hold a user's input has to be said to be trusted."""
    by_name = SQL("select {} from pets where name = {}").format(Identifier(column), "Ada")
    assert_type(by_name, SQL)
    assert_type(SQL(", ").join(map(Identifier, [column])) + SQL(" from pets"), SQL)
    assert_type(db.execute_query(by_name), Rows[tuple[Any, ...]])
    assert_type(db.execute_query(connection, by_name, dictcursor=True), Rows[dict[str, Any]])
    assert_type(tx.execute_query(by_name, return_one=True), tuple[Any, ...] | None)
    assert_type(db.fetch_all(by_name, row_type=Pet), Rows[Pet])
    db.exec_many(SQL("insert into {} values (%s)").format(Identifier("pets")), [(1,)])
    db.execute_query(SQL.trusted(text))
    tx.fetch_value(SQL.trusted(text))
    db.exec_many(text, [(1,)])  # pyright: ignore[reportArgumentType]  # mypy knows no LiteralString
    db.fetch_column(f"select {column} from pets")  # pyright: ignore[reportArgumentType]
    SQL(text)  # pyright: ignore[reportArgumentType]


async def coroutines(db: AsyncImprovedDb, pool: ImprovedDb) -> None:
    """The same verbs with the same types, awaited."""
    assert_type(AsyncImprovedDb("mysql://app@db/shop", max_size=20), AsyncImprovedDb)
    assert_type(AsyncImprovedDb(pool).sync, ImprovedDb)
    assert_type(await db.execute_query("select 1"), Rows[tuple[Any, ...]])
    assert_type(await db.execute_query("select 1", dictcursor=True, idempotent=True), Rows[dict[str, Any]])
    assert_type(await db.fetch_all("select 1", row_type=Pet), Rows[Pet])
    assert_type(await db.fetch_one("select 1", row_type=Pet), Pet | None)
    assert_type(await db.fetch_one(SQL("select {}").format(1), row_type=Pet, required=True), Pet)
    assert_type(await db.exec_many("insert into t values (%s)", [1], atomic=False), Rows[tuple[Any, ...]])
    assert_type(await db.run_transaction(transfer, 5), str)
    assert_type(await db.run_sync(len_of, "pets"), int)
    async with db.stream("select 1", dictcursor=True) as rows:
        async for row in rows:
            assert_type(row, dict[str, Any])
    async with db.transaction(read_only=True) as tx:
        assert_type(tx, AsyncTransaction)
        assert_type(await tx.execute_query("select 1", return_one=True), tuple[Any, ...] | None)
        async with tx.savepoint():
            assert_type(await tx.fetch_column("select 1"), list[Any])
        await tx.execute_query("select 1", idempotent=True)  # type: ignore[call-overload]
    await db.run_transaction(transfer, "5")  # type: ignore[call-overload]


def len_of(db: ImprovedDb, table: str) -> int:
    """Work for a thread."""
    return len(db.execute_query(SQL("select 1 from {:i}").format(table)))


def mistakes(db: ImprovedDb) -> None:
    """Each line is an error, which mypy must see: an ignore that is not needed is one too."""
    db.execute_query(42)  # type: ignore[call-overload]
    db.execute_query("select 1", return_on=True)  # type: ignore[call-overload]
    db.exec_many("insert into t values (%s)", 42)  # type: ignore[arg-type]
    db.pool_put_connection("connection")  # type: ignore[arg-type]
    db.stats().waiting = 3  # type: ignore[misc]
    db.run_transaction("transfer")  # type: ignore[call-overload]
    db.run_transaction(transfer)  # type: ignore[call-overload]
    db.run_transaction(transfer, "5")  # type: ignore[call-overload]
    db.run_transaction(transfer, 5, season="rent")  # type: ignore[call-arg]
    ImprovedDb(max_siz=3)  # type: ignore[call-arg]
    ImprovedDb.ephemeral(max_size="3")  # type: ignore[arg-type]
    db.execute_query("select 1", return_one=True)[0]  # type: ignore[index]
    with db.transaction() as tx:
        tx.execute_query("select 1", exactly_once=True)  # type: ignore[call-overload]
    pymysqlpool.ConnectionPool(size="2")  # type: ignore[arg-type]
    QueuePool("pymysql")  # type: ignore[arg-type]
    enable(pool_size=None)  # type: ignore[arg-type]
