"""What `improved_db.testing` promises, on the server that is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pymysql
import pytest

from improved_db.errors import ConfigError, ServerNotFound
from improved_db.testing import TemporaryServer, find_server
from tests.fakes import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

START_AND_TELL = """
import signal, sys, time
from improved_db.testing import TemporaryServer
server = TemporaryServer()
print(server.pid, flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:  # pytest makes its own folder first
    """A temporary folder of the test's own, with a path short enough for a socket, in which nothing may remain."""
    path = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    monkeypatch.setenv("TMPDIR", str(path))
    yield path
    left = list(path.iterdir())
    shutil.rmtree(path)
    assert left == []


def query(server: TemporaryServer, sql: str, **options: Any) -> tuple[tuple[Any, ...], ...]:
    """Run one statement on a connection of its own."""
    options = {**server.connect_options, "autocommit": True, "ssl_disabled": True, **options}
    with pymysql.connect(**options) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return tuple(cursor.fetchall())


@contextmanager
def python(script: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start another interpreter on *script*; its first line says the number of its server's process.

    It has to end within `PATIENCE`. If the test fails first, it is killed: `Popen` alone would wait for it without
    limit, even after the test's time limit.
    """
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    ) as process:
        try:
            yield process
            process.wait(PATIENCE)
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def is_gone(pid: int) -> bool:
    """Whether a process has ended. Its parent may be one that never asks, so a zombie counts as ended."""
    if Path("/proc/self/cmdline").exists():
        command_line = Path(f"/proc/{pid}/cmdline")
        return not command_line.exists() or command_line.read_bytes() == b""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_constructor_returns_a_server_that_answers(folder: Path) -> None:
    """The first thing users do with it is to connect."""
    with TemporaryServer() as server:
        assert query(server, "SELECT DATABASE(), VERSION()") == (("test", server.version),)
        assert server.running


def test_url_leads_to_the_socket_that_connect_options_name(folder: Path) -> None:
    """The path has slashes in it, and a URL that does not quote them names a host."""
    with TemporaryServer() as server:
        head, _, path = server.url.partition("?unix_socket=")
        assert head == "mysql://root@localhost/test"
        assert "/" not in path
        assert unquote(path) == server.socket == server.connect_options["unix_socket"]


def test_only_its_user_can_reach_the_socket(folder: Path) -> None:
    """Root has no password on it: the folder is all that guards it."""
    with TemporaryServer() as server:
        assert Path(server.socket).parent.stat().st_mode & 0o777 == 0o700


def test_no_tcp_port_unless_asked(folder: Path) -> None:
    """A TCP port would be open to every user of the machine."""
    with TemporaryServer() as server:
        assert server.port is None
        assert query(server, "SELECT @@skip_networking") == ((1,),)


def test_tcp_when_asked_on_this_machine_only(server: TemporaryServer) -> None:
    """What speaks TCP needs a server too, but no other machine needs this one."""
    assert server.url == f"mysql://root@127.0.0.1:{server.port}/test"
    assert query(server, "SELECT @@port, @@bind_address") == ((server.port, "127.0.0.1"),)


def test_socket_path_fits_the_system_whatever_the_temporary_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CI systems have deep temporary folders and a socket's path has room for a hundred bytes."""
    deep = folder / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with TemporaryServer() as server:
        assert query(server, "SELECT 1") == ((1,),)
    deep.rmdir()


def test_options_reach_the_server_and_win(folder: Path) -> None:
    """Tests of timeouts need a server that is impatient; tests of size one with a bigger buffer."""
    with TemporaryServer(options=["--wait-timeout=77", "--innodb-buffer-pool-size=32M"]) as server:
        assert query(server, "SELECT @@global.wait_timeout, @@innodb_buffer_pool_size") == ((77, 32 << 20),)


def test_changed_options_hold_from_the_next_start(folder: Path) -> None:
    """A replica that was promoted is to be one after its restart, too."""
    with TemporaryServer() as server:
        server.options.append("--wait-timeout=78")
        server.restart()
        assert query(server, "SELECT @@global.wait_timeout") == ((78,),)


def test_environment_reaches_the_server(folder: Path) -> None:
    """Its time zone comes from there."""
    with TemporaryServer(environment={"TZ": "ABC-5"}) as server:
        assert query(server, "SELECT @@system_time_zone") == (("ABC",),)


def test_server_that_cannot_start_says_why_and_leaves_nothing(folder: Path) -> None:
    """The reason is in a log that is about to be removed."""
    with pytest.raises(RuntimeError, match="no-such-option") as caught:
        TemporaryServer(options=["--no-such-option"])
    assert list(folder.iterdir()) == []  # although the traceback still holds the server
    assert "--no-such-option" in str(caught.value)


def test_restart_keeps_data_socket_and_port(folder: Path) -> None:
    """A test of reconnecting needs the same server in the same place."""
    with TemporaryServer(tcp=True) as server:
        before = server.pid, server.socket, server.port
        query(server, "CREATE TABLE t AS SELECT 42 AS answer")
        server.restart()
        assert (server.socket, server.port) == before[1:]
        assert server.pid != before[0]
        assert query(server, "SELECT answer FROM t") == ((42,),)


def test_stopped_server_comes_back_with_its_data(folder: Path) -> None:
    """An outage has a beginning and an end, and the test decides when."""
    with TemporaryServer(tcp=True) as server:
        query(server, "CREATE TABLE t AS SELECT 42 AS answer")
        server.stop()
        assert (server.running, server.pid) == (False, None)
        with pytest.raises(pymysql.err.OperationalError):
            query(server, "SELECT 1")
        server.start()
        assert query(server, "SELECT answer FROM t") == ((42,),)


def test_killed_server_comes_back_with_every_commit(folder: Path) -> None:
    """Tests that count rows after a crash would blame the pool for what the server forgot."""
    with TemporaryServer() as server:
        query(server, "CREATE TABLE t (n INT PRIMARY KEY)")
        for number in range(100):
            query(server, f"INSERT INTO t VALUES ({number})")
        server.kill()
        assert not server.running
        server.start()
        assert query(server, "SELECT COUNT(*) FROM t") == ((100,),)


def test_paused_server_keeps_its_sockets_and_does_not_answer(folder: Path) -> None:
    """A server that hangs is the failure that costs most, and the one that kill cannot show."""
    with TemporaryServer() as server:
        server.pause()
        server.pause()
        assert (server.running, server.paused) == (True, True)
        with pytest.raises(pymysql.err.OperationalError):
            query(server, "SELECT 1", read_timeout=0.2)
        server.resume()
        assert not server.paused
        assert query(server, "SELECT 1") == ((1,),)


def test_paused_server_can_be_stopped_and_started(folder: Path) -> None:
    """A test that fails while the server is paused must not hang the ones after it."""
    with TemporaryServer() as server:
        server.pause()
        server.restart()
        assert query(server, "SELECT 1") == ((1,),)
        server.pause()


def test_closed_server_is_gone_for_good(folder: Path) -> None:
    """After close there is no folder to start on, no open file is left, and a second close has nothing to do."""
    files = len(os.listdir("/dev/fd"))
    server = TemporaryServer()
    pid = server.pid
    server.close()
    server.close()
    assert pid is not None
    assert is_gone(pid)
    assert list(folder.iterdir()) == []
    assert len(os.listdir("/dev/fd")) == files
    with pytest.raises(RuntimeError, match="closed"):
        server.start()


def test_exception_leaves_no_process_and_no_folder(folder: Path) -> None:
    """Failing tests are the normal case."""
    server = TemporaryServer()
    pid = server.pid
    assert pid is not None

    def fail() -> None:
        with server:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert is_gone(pid)
    assert list(folder.iterdir()) == []


def test_interpreter_that_ends_without_close_leaves_nothing(folder: Path) -> None:
    """A notebook, or a script of three lines, closes nothing."""
    with python(START_AND_TELL) as process:
        pid = int(first_line(process))
        assert process.wait(PATIENCE) == 0
    assert is_gone(pid)
    assert list(folder.iterdir()) == []


def test_ctrl_c_leaves_nothing(folder: Path) -> None:
    """The usual end of a test run that takes too long."""
    with python(START_AND_TELL + "signal.pause()") as process:
        pid = int(first_line(process))
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) != 0
    assert is_gone(pid)
    assert list(folder.iterdir()) == []


def test_ctrl_c_in_the_terminal_is_not_for_the_server(folder: Path) -> None:
    """A terminal sends it to the whole process group, and tests that clean up after it still need their server."""
    with TemporaryServer() as server:
        assert server.pid is not None
        assert os.getsid(server.pid) != os.getsid(0)


def test_next_start_removes_what_a_killed_interpreter_left(folder: Path) -> None:
    """Kill -9 runs no clean-up, and a CI machine that times tests out would fill with servers."""
    with python(START_AND_TELL + "signal.pause()") as process:
        orphan = int(first_line(process))
        process.kill()
    assert not is_gone(orphan)
    with TemporaryServer() as server:
        assert is_gone(orphan)
        assert list(folder.iterdir()) == [Path(server.socket).parent]


def test_start_leaves_the_servers_of_others_alone(folder: Path) -> None:
    """Test runs share a machine, and each of them starts by removing what has no owner."""
    with TemporaryServer() as first, python(START_AND_TELL + "signal.pause()") as process:
        other = int(first_line(process))
        with TemporaryServer() as second:
            assert query(first, "SELECT 1") == query(second, "SELECT 1") == ((1,),)
            assert not is_gone(other)
        process.send_signal(signal.SIGINT)


def test_start_leaves_the_folders_of_others_alone(folder: Path) -> None:
    """What is not a folder of ours, by its name or because it is a link, is not removed."""
    elsewhere = folder / "precious"
    elsewhere.mkdir()
    (folder / "improved_db-link").symlink_to(elsewhere)
    (folder / "improved_db-left").mkdir()
    with TemporaryServer():
        assert not (folder / "improved_db-left").exists()
    assert elsewhere.is_dir()
    (folder / "improved_db-link").unlink()
    elsewhere.rmdir()


def test_forked_child_uses_the_server_and_cannot_end_it(folder: Path) -> None:
    """Pre-forking servers and multiprocessing fork whatever is there, and their children end first."""
    script = (
        START_AND_TELL
        + """
import os, pymysql
if os.fork() == 0:
    try:
        server.stop()
    except RuntimeError:
        server.close()
        assert server.running
        sys.exit(7)
    sys.exit(8)
code = os.waitstatus_to_exitcode(os.wait()[1])
pymysql.connect(**server.connect_options).close()
print(code)
"""
    )
    with python(script) as process:
        said, complaint = process.communicate(timeout=PATIENCE)
    assert said.split()[1:] == ["7"], complaint
    assert process.returncode == 0


def test_second_server_is_a_copy_of_the_cached_template(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installing is most of the time that a first start takes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    TemporaryServer().close()
    (template,) = (tmp_path / "improved_db").iterdir()
    (template / "mark").touch()
    with TemporaryServer() as server:
        ((data,),) = query(server, "SELECT @@datadir")
        assert Path(data, "mark").exists()


def test_cache_that_cannot_be_written_costs_time_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers and CI systems have read-only homes; not even root can write here."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no-cache")
    with TemporaryServer() as server:
        assert query(server, "SELECT 1") == ((1,),)


def test_first_starts_at_the_same_time_do_not_disturb_each_other(folder: Path, tmp_path: Path) -> None:
    """The workers of pytest-xdist all start with the same empty cache."""
    cache = str(tmp_path)
    with python(START_AND_TELL, XDG_CACHE_HOME=cache) as one, python(START_AND_TELL, XDG_CACHE_HOME=cache) as two:
        assert (one.wait(), two.wait()) == (0, 0)
    assert len(list((tmp_path / "improved_db").iterdir())) == 1


def test_plain_user_without_a_home_gets_a_server(folder: Path) -> None:
    """The server has other rules for root than for other users; if the tests run as root, this one steps down."""
    folder.chmod(0o777)
    nobody = pwd.getpwnam("nobody")
    script = f"""
import os
from improved_db.testing import TemporaryServer
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({nobody.pw_gid})
    os.setuid({nobody.pw_uid})
with TemporaryServer() as server:
    print(os.stat(server.socket).st_uid == os.geteuid() != 0)
"""
    with python(script, HOME="/proc/no-home", XDG_CACHE_HOME="") as process:
        said, complaint = process.communicate(timeout=PATIENCE)
    assert said == "True\n", complaint


def test_missing_server_is_said_before_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the first thing a newcomer sees: a bare command would read like one that has failed."""
    monkeypatch.delenv("IMPROVED_DB_SERVER", raising=False)
    monkeypatch.setenv("PATH", "")
    command = r"\. This installs one: .*\b(install|add|-S) .*mariadb|\. Install MariaDB"
    with pytest.raises(ServerNotFound, match=rf"^neither mariadbd nor mysqld is installed \(looked in .*\)({command})"):
        find_server(folders=[])
    with pytest.raises(ConfigError, match=r"^flavour must be 'mariadb' or 'mysql', not 'MySQL'"):
        find_server("MySQL")  # type: ignore[arg-type]
    with pytest.raises(ServerNotFound, match=r"^no mysqld of MySQL is installed"):
        find_server("mysql", folders=[])


def test_server_named_in_the_environment_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users who have two servers must be able to choose."""
    installed = find_server()
    linked = tmp_path / "my-own-server"
    linked.symlink_to(installed.path)
    monkeypatch.setenv("IMPROVED_DB_SERVER", str(linked))
    assert find_server(folders=[]) == installed


def test_wrong_name_in_the_environment_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another server than the one that was asked for would test the wrong thing."""
    monkeypatch.setenv("IMPROVED_DB_SERVER", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="IMPROVED_DB_SERVER"):
        find_server()


def test_flavour_is_what_the_binary_says_and_not_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MariaDB installs itself under the name mysqld as well."""
    monkeypatch.delenv("IMPROVED_DB_SERVER", raising=False)
    for name, says in {"a": "Ver 10.4.2-MariaDB for Linux", "b": "Ver 8.4.3 for Linux"}.items():
        binary = tmp_path / name / "bin" / "mysqld"
        binary.parent.mkdir(parents=True)
        binary.write_text(f"#!/bin/sh\necho mysqld {says}\n")
        binary.chmod(0o755)
    folders = [tmp_path / "a" / "bin", tmp_path / "b" / "bin"]
    assert (find_server(folders=folders).flavour, find_server(folders=folders).version) == ("mariadb", "10.4.2-MariaDB")
    assert (find_server("mysql", folders=folders).base, find_server("mysql", folders=folders).version) == (
        tmp_path / "b",
        "8.4.3",
    )
