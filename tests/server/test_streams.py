"""Answers that come in parts, end early or take another way, from a real server."""

from __future__ import annotations

import gc
import shlex
import shutil
import subprocess
import sys
import threading
import warnings
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pymysql.connections
import pytest
from pymysql.constants import CLIENT, SERVER_STATUS
from pymysql.cursors import Cursor, SSCursor, SSDictCursor

from improved_db.testing import TemporaryServer
from improved_db.wire import support
from improved_db.wire.connection import Connection
from improved_db.wire.results import read_query_result, read_rows
from tests.capabilities import Capabilities
from tests.server.wired import PyMySQLConnection, Wired, read_all, rest_of, typed

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.usefixtures("row_reader")


def test_several_results_come_as_with_pymysql(database: dict[str, Any]) -> None:
    """Procedures and several statements in one answer with several results."""
    seen: list[list[Any]] = []
    for kind in (PyMySQLConnection, Wired):
        for cursor_kind in (Cursor, SSCursor):
            with closing(kind(**database, client_flag=CLIENT.MULTI_STATEMENTS)) as connection:
                connection.query("drop procedure if exists p")
                connection.query("create procedure p() begin select 1, 'a'; select 2 as b; end")
                with connection.cursor(cursor_kind) as cursor:
                    cursor.execute("select 1 as a; call p(); set @x = 1; select 'last' from dual where 0")
                    rows: list[Any] = [cursor.fetchall()]
                    while cursor.nextset():
                        rows.append(cursor.fetchall() if cursor.description else None)
                seen.append([list(part) if part else part for part in rows])
    assert seen[0] == seen[2]
    assert seen[1] == seen[3]
    assert len(seen[3]) == 6


def test_the_status_after_a_select_is_kept(database: dict[str, Any]) -> None:
    """Without it a SELECT that opened a transaction goes unnoticed, and its snapshot lives as long as the pool."""
    with closing(Wired(**database, autocommit=False)) as wired:
        wired.query("create table t (n int) engine=innodb")
        assert not wired.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS
        wired.query("select * from t")
        assert wired.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS
        wired.commit()
        assert not wired.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS


def test_an_error_among_the_rows_leaves_the_connection_ready(database: dict[str, Any]) -> None:
    """A statement can fail after its first rows were sent."""
    query = "select seq from seq_1_to_1000 union all select (select 1 union all select 2)"
    with closing(Wired(**database)) as wired:
        for unbuffered in (False, True):
            with pytest.raises(pymysql.err.MySQLError) as caught:
                read_all(wired, query, unbuffered)
            assert caught.value.args[0] == 1242
            wired.query("select 5")
            assert wired.result.rows == ((5,),)


def test_streams_left_early_are_read_past_by_the_next_statement(database: dict[str, Any]) -> None:
    """As with PyMySQL, warning included, unless the connection is closed instead."""
    with closing(Wired(**database)) as wired:
        wired.query("select seq from seq_1_to_100000", unbuffered=True)
        assert len(read_rows(wired.result, 10)) == 10
        with pytest.warns(UserWarning, match="left incomplete"):
            wired.query("select 5")
        assert wired.result.rows == ((5,),)
        cursor = wired.cursor(SSDictCursor)
        cursor.execute("select seq from seq_1_to_100000")
        assert cursor.fetchone() == {"seq": 1}
        assert list(cursor.fetchmany(2)) == [{"seq": 2}, {"seq": 3}]
        cursor.close()
        wired.query("select 6")
        assert wired.result.rows == ((6,),)


def test_a_stream_that_is_dropped_leaves_the_rest_unread(database: dict[str, Any]) -> None:
    """Collecting garbage must not wait for a server."""
    with closing(Wired(**database)) as wired, warnings.catch_warnings():
        warnings.simplefilter("error")
        wired.query("select seq from seq_1_to_1000000", unbuffered=True)
        assert len(read_rows(wired.result, 10)) == 10
        wired._result = None
        gc.collect()
        assert wired.buffer_size() > 0


def test_local_files_are_loaded_as_pymysql_loads_them(database: dict[str, Any], tmp_path: Path) -> None:
    """LOAD DATA LOCAL turns the conversation round in the middle of an answer."""
    file = tmp_path / "rows.csv"
    file.write_text("1\n2\n3\n")
    with closing(Connection(**database, local_infile=True)) as connection, connection.cursor() as cursor:
        cursor.execute("create table t (n int primary key)")
        assert cursor.execute(f"load data local infile '{file}' into table t") == 3
        with pytest.raises(pymysql.err.OperationalError) as caught:
            cursor.execute(f"load data local infile '{file}x' into table t")
        assert caught.value.args[0] == 1017
        cursor.execute("select count(*) from t")
        assert cursor.fetchall() == ((3,),)


def test_threads_do_not_disturb_each_other(database: dict[str, Any]) -> None:
    """What is known about columns is shared by all connections."""
    failures: list[object] = []

    def fetch(number: int) -> None:
        with closing(Wired(**database)) as wired:
            wired.query(f"select seq, concat('t{number}-', seq) as c{number % 2} from seq_1_to_10000")
            expected = tuple((n, f"t{number}-{n}") for n in range(1, 10_001))
            if wired.result.rows != expected:
                failures.append(number)

    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_another_pymysql_is_left_to_read_by_itself(database: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """If its insides are not as expected the package goes on, slower and with the same results."""
    query = "select 1 as n, 'a' as t, null as z, 'b' as t union all select 2, 'c', 1.5, 'd'"
    seen: list[Any] = []
    assert support.supported()
    for _ in range(2):
        with Connection(**database) as connection:
            seen.append([connection._run(query).rows, connection._run(query, dict_rows=True).rows])
            for kind in (tuple, dict):
                connection._execute_command(3, query)
                read_query_result(connection, unbuffered=True, row_kind=kind)
                seen[-1].append(rest_of(connection._result, at_once=1))
                connection._result = None
        monkeypatch.setitem(support.METHODS, "_a_method_pymysql_does_not_have", "is for this test")
        support.supported.cache_clear()
        assert not support.supported()
    monkeypatch.undo()
    support.supported.cache_clear()
    assert seen[0] == seen[1]
    assert list(map(typed, seen[0])) == list(map(typed, seen[1]))


def test_query_sets_no_timeout_that_is_set_already(database: dict[str, Any]) -> None:
    """Each is a system call, during which another thread takes the interpreter."""
    calls: list[str] = []

    def hear(_: object, event: str, called: Any) -> None:
        if event == "c_call":
            calls.append(called.__name__)

    with Connection(**database) as connection:
        connection._run("select 1")
        sys.setprofile(hear)
        try:
            connection._run("select 1")
        finally:
            sys.setprofile(None)
    assert "sendall" in calls
    assert "settimeout" not in calls


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_encrypted_connections_are_read_too(tmp_path: Path) -> None:
    """TLS hands out records, not what the socket has."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {certificate}"
    subprocess.run(shlex.split(command), check=True, capture_output=True)
    options = [f"--ssl-cert={certificate}", f"--ssl-key={key}", "--loose-cte-max-recursion-depth=5000"]
    with TemporaryServer(tcp=True, options=options) as server:
        Capabilities(server.connect_options).give_numbers("test")
        host = {name: value for name, value in server.connect_options.items() if name != "unix_socket"}
        with closing(Wired(**{**host, "host": "127.0.0.1", "port": server.port, "ssl_disabled": False})) as wired:
            wired.query("show session status like 'ssl_cipher'")
            assert wired.result.rows[0][1]
            wired.query("select seq, repeat('x', 200) from seq_1_to_5000")
            assert wired.result.rows == tuple((n, "x" * 200) for n in range(1, 5001))
            assert len(read_all(wired, "select seq, repeat('x', 200) from seq_1_to_5000", unbuffered=True)) == 5000
