"""SQLAlchemy over each door: its engine borrows from our pools, or its pool from an enabled ``pymysql.connect``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import Session, registry

from tests.compat import users
from tests.compat.users import MOST, Account
from tests.fakes import Caller

tables = MetaData()
person = Table("person", tables, Column("id", Integer, primary_key=True), Column("name", String(40), unique=True))


class Person:
    """A row of ``person``, for the ORM."""

    def __init__(self, name: str) -> None:
        self.id: int | None = None
        self.name = name


registry(metadata=tables).map_imperatively(Person, person)


@pytest.fixture
def engine(engine: Any) -> Any:
    """An engine through each door, with the table made through it."""
    tables.create_all(engine)
    return engine


def names(engine: Any) -> list[str]:
    """Return who is in the table."""
    with engine.connect() as connection:
        found: list[str] = connection.scalars(select(person.c.name).order_by(person.c.id)).all()
    return found


def session_of(connection: Any) -> int:
    """Return the server's number of the session that the connection has."""
    number: int = connection.scalar(select(func.connection_id()))
    return number


def test_core_creates_reads_updates_and_deletes(engine: Any) -> None:
    """The smallest program that a user has."""
    with engine.begin() as connection:
        added = connection.execute(insert(person).values(name="Ada"))
        assert added.inserted_primary_key == (1,)
        assert connection.execute(insert(person), [{"name": "Grace"}, {"name": "Edsger 100%"}]).rowcount == 2
    assert names(engine) == ["Ada", "Grace", "Edsger 100%"]

    with engine.begin() as connection:
        changed = connection.execute(update(person).where(person.c.id > 1).values(name=person.c.name + "!"))
        assert changed.rowcount == 2
        assert connection.execute(delete(person).where(person.c.name == "Grace!")).rowcount == 1
    assert names(engine) == ["Ada", "Edsger 100%!"]


def test_orm_creates_reads_updates_and_deletes(engine: Any) -> None:
    """The ORM reads generated keys and counts rows, which takes more of a connection than Core does."""
    with Session(engine) as session:
        session.add_all([Person("Ada"), Person("Grace"), Person("Edsger")])
        session.commit()
    with Session(engine) as session:
        ada, grace, edsger = session.scalars(select(Person).order_by(person.c.id))
        assert (ada.id, grace.name) == (1, "Grace")
        ada.name = "Countess"
        session.delete(edsger)
        session.flush()
        with session.begin_nested() as savepoint:
            grace.name = "nobody"
            session.flush()
            savepoint.rollback()
        session.commit()
    assert names(engine) == ["Countess", "Grace"]


def test_an_error_in_a_block_leaves_nothing_of_it(engine: Any) -> None:
    """A connection that goes back in the middle of a transaction must not take half of it to the next user."""
    with engine.begin() as connection:
        connection.execute(insert(person).values(name="Ada"))

    def core() -> None:
        with engine.begin() as connection:
            connection.execute(insert(person).values(name="Grace"))
            connection.execute(insert(person).values(name="Ada"))

    def orm() -> None:
        with Session(engine) as session:
            session.add(Person("Edsger"))
            session.flush()
            raise LookupError

    with pytest.raises(IntegrityError):
        core()
    with pytest.raises(LookupError):
        orm()
    assert names(engine) == ["Ada"]


def test_one_session_serves_one_user_after_the_other(engine: Any, account: Account) -> None:
    """This is what a pool is for; an engine that opened a session each time would look just the same otherwise."""
    seen = set()
    for _ in range(10):
        with engine.connect() as connection:
            seen.add(session_of(connection))
    assert len(seen) == 1
    assert seen == account.sessions()


def test_a_setting_of_one_user_is_not_the_next_ones(engine: Any) -> None:
    """Autocommit that stays on makes the next user's rollback do nothing."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        first = session_of(connection)
        connection.execute(insert(person).values(name="Ada"))
    with engine.connect() as connection:
        assert session_of(connection) == first
        connection.execute(insert(person).values(name="Grace"))
        connection.rollback()
    assert names(engine) == ["Ada"]


def test_a_result_read_in_part_does_not_reach_the_next_user(engine: Any) -> None:
    """Rows that are still on their way would be taken for the answer to the next statement."""
    with engine.begin() as connection:
        connection.execute(insert(person), [{"name": f"person {number}"} for number in range(500)])
    with engine.connect().execution_options(stream_results=True, max_row_buffer=5) as connection:
        assert connection.execute(select(person.c.id).order_by(person.c.id)).fetchmany(3) == [(1,), (2,), (3,)]
    assert len(names(engine)) == 500


def test_threads_have_no_more_sessions_than_promised(
    request: pytest.FixtureRequest, engine: Any, account: Account
) -> None:
    """The server has a limit, and refuses the next connection of every user when a pool does not keep its own."""
    waits = request.node.callspec.params["engine"] in {"ConnectionPool", users.ENABLED}  # at the others no caller waits

    def work(number: int) -> int:
        with engine.begin() as connection:
            connection.execute(insert(person).values(name=f"person {number}"))
            connection.execute(text("DO SLEEP(0.002)"))
            return session_of(connection)

    with ThreadPoolExecutor(4 * MOST if waits else MOST) as threads:
        sessions = set(threads.map(work, range(100)))

    assert len(names(engine)) == 100
    assert account.sessions() == sessions
    assert 1 <= len(sessions) <= MOST


def test_a_connection_serves_others_when_the_thread_that_opened_it_has_ended(engine: Any) -> None:
    """A server with a thread for each request: SQLAlchemy keeps a connection for longer than the thread lives."""
    engine.dispose()  # of what the fixture's thread has opened
    Caller(lambda: engine.connect().close(), dies=True).result()
    with engine.begin() as connection:
        connection.execute(insert(person).values(name="Ada"))
        engine.connect().close()  # a second one is opened, and lost ones are looked for
        connection.execute(insert(person).values(name="Grace"))
    assert names(engine) == ["Ada", "Grace"]


def test_sessions_that_were_killed_while_idle_are_replaced_unnoticed(engine: Any, account: Account) -> None:
    """A restarted server, or its wait_timeout, ends every idle session at once."""
    connections = [engine.connect() for _ in range(MOST)]
    numbers = {session_of(connection) for connection in connections}
    for connection in connections:
        connection.close()
    assert account.kill_sessions() == numbers

    for _ in range(2 * MOST):
        with engine.begin() as connection:
            assert session_of(connection) not in numbers


def test_a_session_that_is_killed_in_use_is_an_error_once(engine: Any, account: Account) -> None:
    """SQLAlchemy tells a lost session from an error of the statement by what the driver raises."""
    with engine.connect() as connection:
        connection.execute(insert(person).values(name="Ada"))
        account.kill_sessions()
        with pytest.raises(DBAPIError) as caught:
            session_of(connection)
        assert caught.value.connection_invalidated
    assert isinstance(caught.value, OperationalError)
    assert names(engine) == []
