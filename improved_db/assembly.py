"""What an `ImprovedDb` is made of, built from its settings: a pool and an executor, or a cluster and one for each lane.

With one address nothing of `cluster/` is imported, until a reader or the state of the servers is asked for.

Knows how the parts fit together. Does not know what users type, or what the parts do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from improved_db.execution.executor import Executor
from improved_db.execution.multiplex import Multiplexer
from improved_db.execution.retry import Retrier
from improved_db.pool.housekeeper import Housekeeper
from improved_db.pool.pool import Pool
from improved_db.wire.pymysql_driver import PyMySQLDriver

if TYPE_CHECKING:
    from collections.abc import Callable

    from improved_db.cluster.cluster import Cluster
    from improved_db.execution.bulk import BulkLoader
    from improved_db.execution.lane import Lane, LaneDriver
    from improved_db.execution.reader import Reader
    from improved_db.execution.transactions import Transactions
    from improved_db.observe.observer import Observer
    from improved_db.settings.settings import Settings
    from improved_db.wire.connection import Connection


class Assembly:
    """The parts of one `ImprovedDb`.

    Attributes:
        pools: What has the verbs of the pool's owner: the pool, or the cluster.
        driver: What opens connections of the caller's own.
        retrier: Makes attempts again; one for all lanes, with one budget.
        executor: Works on the primary.
        run: Runs one statement: on the primary, unless ``read_preference`` sends it elsewhere.
        executor_of: Returns the executor for a statement, by the same rule.
    """

    def __init__(self, settings: Settings) -> None:
        """Build the parts; nothing connects yet."""
        self._settings = settings
        self._autocommit = bool(settings.connect.get("autocommit", True))
        self._reader: Reader | None = None
        self._transactions: Transactions | None = None
        self._bulk_loader: BulkLoader | None = None
        self._cluster: Cluster | None = None
        self._observer: Observer | None = None
        self.pools: Pool[Connection] | Cluster
        self.driver: LaneDriver
        lane: Lane
        if settings.cluster is None:
            self.driver = driver = PyMySQLDriver(
                settings.connect.resolve,
                reset=settings.reset,
                configure=settings.configure,
                aware_datetimes=settings.aware_datetimes,
                pipelining=settings.pipelining,
                address=settings.connect.server,
                hint=settings.connect.hint,
            )
            self.pools = lane = pool = Pool(driver, settings.pool)
            Housekeeper.look_after(pool)
        else:
            self.pools = cluster = self.cluster()
            lane, self.driver = cluster.primary, cluster.driver
        self.retrier: Retrier = Retrier(settings.retry_source, self.pools.clock, self.pools.pause)
        self.executor: Executor = self._executor_on(lane)
        if self._autocommit and settings.multiplex:
            self.executor.multiplexer = Multiplexer(self.executor)
        self.run: Callable[..., Any] = self.executor.run
        self.executor_of: Callable[[str], Executor] = self._executor_of_one
        if settings.cluster is not None and settings.cluster.read_preference != "primary":
            self._direct()

    def let_look(self, observer: Observer) -> None:
        """Let *observer* hear what all parts do, also those that are made later."""
        self._observer = observer
        observer.look_at(self.executor)
        self.pools.tell_events(observer.events.add, observer.look_at_pool)

    def cluster(self) -> Cluster:
        """Return the servers, as a cluster also where there is one."""
        if self._cluster is None:
            from improved_db.cluster.cluster import Cluster  # noqa: PLC0415  # one address needs none of it

            adopted = None if self._settings.cluster is not None else self.pools
            assert adopted is None or isinstance(adopted, Pool)
            cluster = self.__dict__.setdefault("_made", Cluster(self._settings, adopted=adopted))
            if self._observer is not None:
                cluster.tell_events(self._observer.events.add, self._observer.look_at_pool)
            self._cluster = self.pools = cluster
        return self._cluster

    def reader(self) -> Reader:
        """Return the reader, which is made when it is first asked for."""
        if self._reader is None:
            from improved_db.execution.reader import Reader  # noqa: PLC0415  # programs that write only need none

            cluster = self.cluster()
            self._reader = self.__dict__.setdefault(
                "_made_reader", Reader(self._executor_on(cluster.reader), cluster.needs.seeing)
            )
        return self._reader

    def transactions(self) -> Transactions:
        """Return what makes transactions; the first call imports it."""
        if self._transactions is None:
            from improved_db.execution.transactions import Transactions  # noqa: PLC0415  # a script may need none

            self._transactions = self.__dict__.setdefault("_made_transactions", Transactions(self.executor))
        return self._transactions

    def bulk_loader(self) -> BulkLoader:
        """Return what runs statements for many rows; the first call imports it."""
        if self._bulk_loader is None:
            from improved_db.execution.bulk import BulkLoader  # noqa: PLC0415  # as above

            self._bulk_loader = self.__dict__.setdefault("_made_loader", BulkLoader(self.executor))
        return self._bulk_loader

    def _executor_on(self, lane: Lane) -> Executor:
        driver = self.driver if self._cluster is None else self._cluster.driver
        executor = Executor(lane, driver, self.retrier, autocommit=self._autocommit, limit=self._settings.deadline)
        if self._observer is not None:
            self._observer.look_at(executor)
        if self._cluster is not None:
            executor.loans.on_failure = self._cluster.heard
            executor.loans.term, executor.loans.settle = self._cluster.term, self._cluster.settle
        return executor

    def _executor_of_one(self, query: str) -> Executor:
        del query
        return self.executor

    def _direct(self) -> None:
        """Send reads to other servers than the primary where their text allows it."""
        from improved_db.sql.directing import may_be_answered_by_replica  # noqa: PLC0415  # as above

        on_primary, on_replica = self.executor, self.reader().executor

        def executor_of(query: str) -> Executor:
            return on_replica if may_be_answered_by_replica(query) else on_primary

        def run(query: str, *arguments: Any) -> Any:
            return executor_of(query).run(query, *arguments)

        self.run, self.executor_of = run, executor_of
