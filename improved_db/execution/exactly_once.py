"""Exactly once: a token that the transaction itself writes tells afterwards whether it was committed.

The transaction inserts its token (outcome 1) just before COMMIT. If the answer to COMMIT is lost, the resolver inserts
the same token (outcome 0). That INSERT waits for the row lock of the original transaction, so it is right even if the
COMMIT arrives late. If the INSERT succeeds, the server has rolled the original back, and it can never commit any more.
If the key exists, the row says which of the two wrote it. The idea is from FoundationDB's automatic idempotency and
Oracle's Transaction Guard.

Knows the table and what its rows mean. Does not know what the transactions did.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from improved_db.errors import OutcomeUnknown, PoolClosed, PoolError, ServerRefused
from improved_db.failures.decide import Unit
from improved_db.failures.raising import Failed
from improved_db.wire.ending import mark

if TYPE_CHECKING:
    from improved_db.execution.executor import Executor
    from improved_db.execution.stage import Stage
    from improved_db.wire.connection import Connection

logger: logging.Logger = logging.getLogger("improved_db.transaction")

TABLE: Final = "improved_db_outcomes"
# The statements below name the table by the constant above; values go in as arguments.
# ruff: noqa: S608
CREATE: Final = f"""CREATE TABLE IF NOT EXISTS {TABLE} (
    token BINARY(16) NOT NULL PRIMARY KEY,
    outcome TINYINT NOT NULL COMMENT '1: the transaction with this token is committed; 0: it never will be',
    written_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    KEY (written_at)
) ENGINE=InnoDB"""

COMMITTED, NEVER = 1, 0
DUPLICATE_KEY: Final = 1062

#: Seconds: the first and the longest pause between two looks, and how long one look waits for the original's lock.
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
LOCK_WAIT: Final = 1

#: Seconds that the resolver goes on, if the call has no deadline.
PATIENCE: Final = 30.0


class TokenTable:
    """The table of tokens in one database."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._made_in: int | None = None

    def ensure(self) -> None:
        """Create the table, once. Call it before a transaction begins: CREATE TABLE would end one."""
        term = self._executor.loans.term()
        if self._made_in is None:
            self._executor.run(CREATE, None, dict_rows=False, idempotent=True, timeout=None)
            self._made_in = term

    def ensure_on_new_primary(self, deadline: float | None) -> None:
        """Create the table on another server than before: a failover may have lost it.

        Raises:
            Failed: The server did not create it.
        """
        term = self._executor.loans.term()
        if self._made_in != term:
            self._executor.attempt(Unit.READ, lambda connection, _: connection._run(CREATE), deadline)
            self._made_in = term

    def purge(self, older_than: float) -> int:
        """Remove tokens older than *older_than* seconds, which must be longer than any call may take.

        Returns:
            How many tokens it removed.
        """
        self.ensure()
        result = self._executor.run(
            f"DELETE FROM {TABLE} WHERE written_at < NOW() - INTERVAL %s SECOND",
            (int(older_than),),
            dict_rows=False,
            idempotent=True,
            timeout=None,
        )
        return int(result.affected_rows or 0)

    def committed(self, token: bytes, lost_session: Connection | None, deadline: float | None) -> bool:
        """Say whether the transaction with *token* is committed; if it is not, make sure that it never will be.

        Args:
            token: The token of the transaction.
            lost_session: The connection on which the answer to its COMMIT was lost; if the server still has that
                session, this ends it. None if there was an answer, which did not tell the outcome.
            deadline: When to give up.

        Raises:
            OutcomeUnknown: The server did not tell in time.
        """
        clock = self._executor.pool.clock
        end = clock.now() + PATIENCE if deadline is None else deadline
        pause = FIRST_PAUSE
        why: BaseException | None = None
        while clock.now() < end and not isinstance(why, PoolClosed):
            try:
                if why is not None:
                    self._executor.pool.pause(min(pause, max(end - clock.now(), 0.0)))
                    pause = min(pause * 2, LONGEST_PAUSE)
                self._executor.loans.settle(end)
                self.ensure_on_new_primary(end)
                return self._look(token, lost_session, end)
            except (Failed, PoolError, ServerRefused) as error:
                why = error.error if isinstance(error, Failed) else error
                logger.info("the outcome of a transaction is not known yet: %s", why)
        unknown = OutcomeUnknown(
            2013, "COMMIT may or may not have been applied, and the server did not tell which in time"
        )
        unknown.token = token
        raise unknown from why

    def _look(self, token: bytes, lost_session: Connection | None, end: float) -> bool:
        def work(connection: Connection, _: Stage) -> bool:
            if lost_session is not None:
                self._executor.driver.end(mark(lost_session), through=connection)
            connection._run(f"SET SESSION innodb_lock_wait_timeout = {LOCK_WAIT}")
            try:
                write(connection, token, NEVER)
            except Exception as error:
                if not error.args or error.args[0] != DUPLICATE_KEY:
                    raise
            rows = connection._ask(f"SELECT outcome FROM {TABLE} WHERE token = %s", (token,))
            connection._commit_if_open()  # without this, the original transaction could still commit later
            return rows[0][0] == str(COMMITTED)

        return self._executor.attempt(Unit.WRITE, work, end)


def write(connection: Connection, token: bytes, outcome: int = COMMITTED) -> None:
    """Write the outcome of the transaction with *token*."""
    connection._run(f"INSERT INTO {TABLE} (token, outcome) VALUES (%s, {outcome:d})", (token,))
