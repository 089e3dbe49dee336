"""The fixtures that the package brings for pytest, in runs of pytest as users have them."""

from __future__ import annotations

import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import improved_db
from improved_db import ImprovedDb
from tests.server import pages

if TYPE_CHECKING:
    from improved_db.testing import TemporaryServer

pytest_plugins = ["pytester"]

PLUGIN = ("-p", "pytest_improved_db")
SCHEMA = """
    import pytest

    @pytest.fixture(scope="session")
    def improved_db_schema():
        return ["create table user (uid int primary key, name varchar(20))"]
    """


@pytest.fixture
def run(pytester: pytest.Pytester, server: TemporaryServer, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project whose runs use the server of this run; the fixtures need one that may create databases."""
    monkeypatch.setenv("PYTHONPATH", str(Path(improved_db.__file__).parents[1]))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # others have nothing to do with it, and take time
    monkeypatch.setenv("SERVER_OF_THE_RUN", server.url)
    return pytester


def project(pytester: pytest.Pytester, *, conftest: str = SCHEMA, test: str, own_server: bool = False) -> None:
    """Write the two files of a project."""
    shared = """
    import os, types

    @pytest.fixture(scope="session")
    def improved_db_server():
        return types.SimpleNamespace(url=os.environ["SERVER_OF_THE_RUN"])
    """
    pytester.makeconftest(textwrap.dedent(conftest) + ("" if own_server else textwrap.dedent(shared)))
    pytester.makepyfile(textwrap.dedent(test))


def databases(server: TemporaryServer) -> list[str]:
    """Return the databases that runs have left; those of other fixtures have names without a worker."""
    with ImprovedDb(server.url) as db:
        return [name for (name,) in db.execute_query("show databases where `database` regexp '^test_(main|gw)'")]


def test_each_test_has_a_fresh_database_with_the_schema(run: pytest.Pytester, server: TemporaryServer) -> None:
    """What one test writes, or locks and leaves, the next one does not see; afterwards nothing is left."""
    project(
        run,
        test="""
        import pytest

        @pytest.mark.parametrize("name", ["Ada", "Grace"])
        def test_it_is_empty(improved_db, name):
            assert improved_db.execute_query("select * from user") == ()
            improved_db.execute_query("insert into user values (1, %s)", name)

        def test_a_transaction_that_is_left_open(improved_db):
            connection = improved_db.pool_get_connection()
            connection.begin()
            connection.cursor().execute("insert into user values (1, 'Ada')")
        """,
    )
    run.runpytest_inprocess(*PLUGIN).assert_outcomes(passed=3)
    assert databases(server) == []


def test_a_transaction_is_rolled_back_after_its_test(run: pytest.Pytester, server: TemporaryServer) -> None:
    """Also if the test fails; all of them share one database, whose schema is made once."""
    project(
        run,
        test="""
        import pytest

        seen = set()

        @pytest.mark.parametrize("fails", [False, True, False])
        def test_it_is_empty(improved_db_transaction, fails):
            tx = improved_db_transaction
            seen.add(tx.execute_query("select database()", return_one=True)[0])
            assert tx.execute_query("select * from user") == ()
            tx.execute_query("insert into user values (1, 'Ada')")
            assert not fails

        def test_one_database():
            assert len(seen) == 1
        """,
    )
    run.runpytest_inprocess(*PLUGIN).assert_outcomes(passed=3, failed=1)
    assert databases(server) == []


def test_a_test_that_commits_the_shared_transaction_is_told_of(run: pytest.Pytester) -> None:
    """Its rows are there for all later tests, which fail instead of it."""
    project(
        run,
        test="""
        def test_ddl(improved_db_transaction):
            improved_db_transaction.execute_query("create table other (a int)")

        def test_commit(improved_db_transaction):
            improved_db_transaction.commit()

        def test_rollback(improved_db_transaction):
            improved_db_transaction.rollback()
        """,
    )
    ran = run.runpytest_inprocess(*PLUGIN)
    ran.assert_outcomes(passed=3, errors=2)
    ran.stdout.fnmatch_lines(["*the test has committed improved_db_transaction*: use improved_db*"] * 2)


@pytest.mark.parametrize(
    ("fixture", "value", "says"),
    [
        ("schema", "'create table a (b int)'", "improved_db_schema must be a list of statements or a function"),
        ("server", "'mysql://root@127.0.0.1/'", "improved_db_server must have a url, as TemporaryServer has"),
    ],
)
def test_a_fixture_of_another_kind_is_named(run: pytest.Pytester, fixture: str, value: str, says: str) -> None:
    project(
        run,
        test=f"""
        import pytest

        @pytest.fixture(scope="session")
        def improved_db_{fixture}():
            return {value}

        def test_it(improved_db):
            pass
        """,
    )
    run.runpytest_inprocess(*PLUGIN).stdout.fnmatch_lines([f"*TypeError: {says}*"])


def test_a_function_may_fill_the_database_and_options_are_passed_on(run: pytest.Pytester) -> None:
    """Programs have a function that makes their tables, and settings of their own."""
    project(
        run,
        conftest="""
        import pytest

        @pytest.fixture(scope="session")
        def improved_db_schema():
            return lambda db: db.exec_many("create table {} (id int)", [])

        @pytest.fixture(scope="session")
        def improved_db_options():
            return {"max_size": 3, "name": "shop"}
        """,
        test="""
        def test_options(improved_db):
            assert (improved_db.stats().max_size, improved_db.stats().name) == (3, "shop")
        """,
    )
    run.runpytest_inprocess(*PLUGIN).assert_outcomes(passed=1)


def test_without_a_server_of_its_own_a_run_has_a_private_one(run: pytest.Pytester) -> None:
    """A new project needs no set-up at all."""
    project(
        run,
        own_server=True,
        test="""
        from improved_db.testing import TemporaryServer

        def test_it_answers(improved_db_server, improved_db):
            assert isinstance(improved_db_server, TemporaryServer)
            assert improved_db.execute_query("select count(*) from user") == ((0,),)
        """,
    )
    run.runpytest_inprocess(*PLUGIN).assert_outcomes(passed=1)


def test_the_example_of_the_page_about_tests_passes(run: pytest.Pytester) -> None:
    """Readers begin with it."""
    run.makepyfile(pages.blocks("docs/howto/testing.md")[0].code)
    run.runpytest_inprocess(*PLUGIN).assert_outcomes(passed=1)


@pytest.mark.skipif(find_spec("xdist") is None, reason="pytest-xdist is not installed")
def test_workers_of_xdist_do_not_meet(run: pytest.Pytester, server: TemporaryServer) -> None:
    """Two workers at a time, on one server: names of databases are each worker's own."""
    project(
        run,
        test="""
        import pytest

        @pytest.mark.parametrize("number", range(8))
        def test_mine_alone(improved_db, improved_db_transaction, number):
            assert improved_db.execute_query("select * from user") == ()
            improved_db.execute_query("insert into user values (1, 'Ada')")
            improved_db_transaction.execute_query("insert into user values (1, 'Ada')")
        """,
    )
    run.runpytest_subprocess(*PLUGIN, "-p", "xdist", "-n", "2").assert_outcomes(passed=8)
    assert databases(server) == []


def test_a_run_that_uses_no_fixture_does_not_import_the_package(run: pytest.Pytester) -> None:
    """It is loaded in every project; and coverage has to see the package being imported."""
    project(
        run,
        conftest="import pytest",
        test="""
        import sys

        def test_not_there():
            assert [name for name in sys.modules if name.startswith(("improved_db", "pymysql", "tenacity"))] == []
        """,
    )
    run.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=1)
