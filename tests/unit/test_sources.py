"""How a database URL and an option file are read."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from improved_db.settings.secret import Secret
from improved_db.settings.settings import PoolSettings
from improved_db.settings.sources import parse_url
from tests.unit.configured import refusal, resolved, settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CERTIFICATE = __file__  # any file that exists


@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mysql+pymysql", "MySQL"])
def test_url_of_each_scheme_is_taken_apart(scheme: str) -> None:
    """The URLs of SQLAlchemy, MariaDB and hosting companies work as they are."""
    assert parse_url(f"{scheme}://u:p@h:3307/d") == {
        "host": "h",
        "port": 3307,
        "user": "u",
        "password": Secret("p"),
        "database": "d",
    }


def test_missing_parts_of_a_url_are_not_given() -> None:
    """What is not in the URL may come from elsewhere."""
    assert parse_url("mysql://h") == {"host": "h"}
    assert parse_url("mysql://u@h/") == {"host": "h", "user": "u"}
    assert parse_url("mysql://:p@h:?") == {"host": "h", "password": Secret("p")}


@given(user=st.text(min_size=1), password=st.text(min_size=1), database=st.text(min_size=1), port=st.integers(1, 65535))
@example(user="a@b", password="p:@/?#%", database="x/y", port=1)
def test_url_gives_back_what_was_percent_encoded(user: str, password: str, database: str, port: int) -> None:
    """A generated password is any text."""
    url = f"mysql://{quote(user, safe='')}:{quote(password, safe='')}@h:{port}/{quote(database, safe='')}"
    assert parse_url(url) == {
        "host": "h",
        "port": port,
        "user": user,
        "password": Secret(password),
        "database": database,
    }


@given(
    st.dictionaries(
        st.sampled_from(["init_command", "charset", "sql_mode", "program_name", "name"]), st.text(min_size=1)
    )
)
def test_query_gives_back_what_urlencode_wrote(options: dict[str, str]) -> None:
    """`urlencode` writes a space as a plus sign."""
    assert parse_url(f"mysql://h?{urlencode(options)}") == {"host": "h", **options}


def test_password_may_have_an_unencoded_at_sign() -> None:
    """The last one before the path ends it, as everywhere; no other reading is possible."""
    assert parse_url("mysql://u:p@ss@h/d") == {
        "host": "h", "user": "u", "password": Secret("p@ss"), "database": "d"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "host", "port"), [("[::1]", "::1", 3306), ("[2001:db8::1]:3310", "2001:db8::1", 3310)]
)
def test_ipv6_host_stands_in_brackets(text: str, host: str, port: int) -> None:
    """Its colons are not the port's; the driver wants it without brackets."""
    found = settings(f"mysql://{text}/d")
    assert (found.connect.host, found.connect.port) == (host, port)
    assert found.pool.name == f"[{host}]:{port}/d"


def test_ipv6_zone_is_decoded() -> None:
    """RFC 6874: a link-local address names its interface after %25."""
    assert parse_url("mysql://[fe80::1%25eth0]/d")["host"] == "fe80::1%eth0"


def test_url_without_host_needs_a_socket() -> None:
    """`mysql:///d` would be a guess; with the socket it is the usual spelling."""
    assert resolved("mysql://u@/d?unix_socket=/run/my.sock")["unix_socket"] == "/run/my.sock"
    assert "names no host" in refusal("mysql://u@/d")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("connect_timeout=3", {"connect_timeout": 3.0}),
        ("read_timeout=2.5", {"read_timeout": 2.5}),
        ("client_flag=65536", {"client_flag": 65536}),
        ("local_infile=true", {"local_infile": True}),
        ("local_infile=1", {"local_infile": True}),
        ("local_infile=YES", {"local_infile": True}),
        ("local_infile=on", {"local_infile": True}),
        ("local_infile=false", {"local_infile": False}),
        ("autocommit=0", {"autocommit": False}),
        ("autocommit=none", {"autocommit": None}),
        ("ssl_verify_cert=required", {"ssl_verify_cert": "required"}),
        (f"ssl-ca={__file__}", {"ssl_ca": __file__, "ssl_verify_cert": True}),
        ("charset=utf8mb4&", {"charset": "utf8mb4"}),
        ("db=d", {"database": "d"}),
    ],
)
def test_option_of_the_query_gets_its_type(query: str, expected: dict[str, object]) -> None:
    """The string "false" is true, and the driver would not notice."""
    assert resolved(f"mysql://h?{query}") == {"host": "h", "autocommit": True, **expected}


def test_pool_options_of_the_query_get_their_types() -> None:
    """A deployment tunes the pool without a change of code."""
    found = settings(
        "mysql://h?max_size=20&min_size=2&max_lifetime=none&acquire_timeout=0.5&reset=session&deadline=9"
        "&connection_pool=yes&pool_init_size=3&name=jobs"
    )
    assert found.pool == PoolSettings(name="jobs", max_size=20, min_size=2, max_lifetime=None, acquire_timeout=0.5)
    assert (found.deadline, found.connection_pool, found.pool_init_size, found.reset) == (9.0, True, 3, "session")


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("DISABLED", {"ssl_disabled": True}),
        ("required", {"ssl": {"verify_mode": "none"}, "ssl_verify_cert": False}),
        ("PREFERRED", {"ssl_disabled": False, "ssl_verify_cert": False}),
        ("VERIFY_CA", {"ssl_verify_cert": True, "ssl_verify_identity": False}),
        ("VERIFY_IDENTITY", {"ssl_verify_cert": True, "ssl_verify_identity": True}),
    ],
)
def test_ssl_mode_of_hosting_companies_is_understood(mode: str, expected: dict[str, object]) -> None:
    """The URL copied from a console works, and is not quietly weaker than it says."""
    assert resolved(f"mysql://h?ssl-mode={mode}") == {"host": "h", "autocommit": True, **expected}
    assert resolved({"host": "h"}, ssl_mode=mode) == {"host": "h", "autocommit": True, **expected}


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "it is not a URL"),
        ("localhost", "it is not a URL"),
        ("root:pw@h/d", "it is not a URL"),
        ("mysql:/h/d", "it is not a URL"),
        ("mysql://[::1/d", "it is not a URL"),
        ("postgresql://h/d", "does not begin with one of mysql, mariadb"),
        ("://h/d", "does not begin with one of mysql, mariadb"),
        ("mysql://", "names no host"),
        ("mysql:///d", "names no host"),
        ("mysql://h:abc/d", "port must be an int from 0 to 65535"),
        ("mysql://h:3_306/d", "port must be an int from 0 to 65535"),
        ("mysql://h:70000/d", "port must be an int from 0 to 65535"),
        ("mysql://::1/d", "port must be an int from 0 to 65535"),
        ("mysql://[dbhost]/d", "not an IPv6 address"),
        ("mysql://h/a/b", "more than one database"),
        ("mysql://h/a?database=b", "gives database twice"),
        ("mysql://h/a?db=a", "gives database twice"),
        ("mysql://h?charset=a&charset=b", "gives charset twice"),
        ("mysql://h/d#x", "'#'"),
        ("mysql://u:p/w@h/d", "'@' after the host"),
        ("mysql://u:p?w@h/d", "'@' after the host"),
        ("mysql://u:p#w@h/d", "'@' after the host"),
        ("mysql://u:100%@h/d", "the password has a '%'"),
        ("mysql://u%zz@h/d", "the user has a '%'"),
        ("mysql://u:%ff@h/d", "the password is not UTF-8"),
        ("mysql://h/d?charset", "without '='"),
        ("mysql://h/d?=x", "not an option's name"),
        ("mysql://h/d?char%20set=x", "not an option's name"),
        ("mysql://h/d?connect_timeout=soon", "connect_timeout must be seconds"),
        ("mysql://h/d?local_infile=maybe", "local_infile must be a bool"),
        ("mysql://h/d?max_size=1.5", "max_size must be an int"),
        ("mysql://h/d?conv=x", "conv cannot be written as text"),
        ("mysql://h/d?retry=none", "retry cannot be written as text"),
        ("mysql://h/d?ssl-mode=ON", "ssl_mode must be DISABLED, PREFERRED"),
        ("mysql://a b/d", "host must be"),
    ],
)
def test_malformed_url_is_refused_with_the_reason(url: str, complaint: str) -> None:
    """A URL is written by hand, in a file without tests; the error has to do the explaining."""
    assert complaint in refusal(url)


def test_unreadable_url_is_answered_with_a_good_one() -> None:
    """The text shows what to write."""
    assert "mysql://user:password@host:3306/database?option=value" in refusal("root:pw@h")


def test_option_file_is_read_as_mysql_writes_it(write_file: Callable[[str], Path]) -> None:
    """The file in a home directory serves the mysql client first."""
    path = write_file(
        "\ufeff# comment\n"
        "stray = 1\n"
        "!include /etc/other.cnf\n"
        "!includedir /etc/mysql/conf.d/\n"
        "; comment\n"
        "[mysqld]\n"
        "port = 1\n"
        "user = mysql\n"
        "[client]\n"
        "compress\n"
        "no-beep\n"
        "max_allowed_packet=16M\n"
        "user = 'some one'\n"
        '  password="a#b \\"q\\" \\\\ x"   # comment\n'
        "host=db  # comment\n"
        "Port=3310\r\n"
        "socket=/run/my.sock\n"
        "bind-address=10.0.0.1\n"
        "default-character-set = utf8mb4\n"
        f"ssl_ca = {CERTIFICATE}\n"
        f"ssl-cert={CERTIFICATE}\n"
        f"ssl-key={CERTIFICATE}\n"
        "database=first\n"
        "database=second\n"
    )
    assert resolved({}, read_default_file=path) == {
        "user": "some one", "password": 'a#b "q" \\ x', "host": "db", "port": 3310, "unix_socket": "/run/my.sock",
        "bind_address": "10.0.0.1", "charset": "utf8mb4", "ssl_ca": CERTIFICATE, "ssl_cert": CERTIFICATE,
        "ssl_key": CERTIFICATE, "ssl_verify_cert": True, "ssl_verify_identity": True, "database": "second",
        "autocommit": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("plain", "plain"),
        ("a#b", "a#b"),
        ("a #b", "a"),
        ("#b", ""),
        ("'a #b'", "a #b"),
        ('"a\'b"', "a'b"),
        ("it's", "it's"),
        ('"', '"'),
        ("a\\sb\\\\c\\qd", "a b\\c\\qd"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_password_of_an_option_file_is_read_as_meant(
    written: str, meant: str, write_file: Callable[[str], Path]
) -> None:
    """Passwords are where the odd characters are."""
    assert resolved({}, read_default_file=write_file(f"[client]\npassword = {written}\n"))["password"] == meant


def test_bytes_of_an_option_file_that_are_no_utf8_reach_the_driver(tmp_path: Path) -> None:
    """A file saved as Latin-1 still logs in."""
    path = tmp_path / "my.cnf"
    path.write_bytes(b"[client]\npassword=caf\xe9\n")
    assert resolved({}, read_default_file=path)["password"] == b"caf\xe9"


def test_group_is_read_after_client(write_file: Callable[[str], Path]) -> None:
    """An application's own group needs to hold only what differs."""
    path = write_file("[app]\nuser=app\n[client]\nuser=me\nhost=h\n")
    found = resolved({}, read_default_file=path, read_default_group="app")
    assert (found["user"], found["host"]) == ("app", "h")
    assert "read_default_group" not in found


def test_group_alone_is_looked_for_in_the_default_files(write_file: Callable[[str], Path]) -> None:
    """Naming a group asks for a file."""
    path = write_file("[app]\nuser=app\n")
    assert resolved({"host": "h"}, option_files=[path], read_default_group="app")["user"] == "app"


def test_missing_group_is_an_error_that_names_it_and_the_file(write_file: Callable[[str], Path]) -> None:
    """Else the program connects to localhost as another user."""
    path = write_file("[client]\nuser=me\n")
    text = refusal({}, read_default_file=path, read_default_group="app")
    assert "[app]" in text
    assert str(path) in text


def test_later_default_file_wins_and_a_missing_one_is_no_error(
    write_file: Callable[[str], Path], tmp_path: Path
) -> None:
    """Most machines have no ~/.my.cnf."""
    first = tmp_path / "first.cnf"
    first.write_text("[client]\nuser=a\nport=1\n")
    second = write_file("[client]\nuser=b\n")
    found = resolved(None, option_files=[first, tmp_path / "missing.cnf", second])
    assert (found["user"], found["port"]) == ("b", 1)


@pytest.mark.parametrize("name", ["missing.cnf", "", "nul\0.cnf"])
def test_named_file_that_cannot_be_read_is_an_error_that_names_it(name: str, tmp_path: Path) -> None:
    """Else the program connects to localhost without a password. An empty name here is the directory itself."""
    path = str(tmp_path / name)
    assert path in refusal({}, read_default_file=path)


def test_home_directory_sign_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`read_default_file="~/.my.cnf"` is how users write it."""
    (tmp_path / ".my.cnf").write_text("[client]\nuser=home\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolved({}, read_default_file="~/.my.cnf")["user"] == "home"


def test_unfit_value_in_an_option_file_names_the_file(write_file: Callable[[str], Path]) -> None:
    """The mistake is found where it stands."""
    path = write_file("[client]\nport=abc\n")
    assert refusal({}, read_default_file=path).startswith(f"{path}: port must be an int")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (f"ssl-ca={CERTIFICATE}\nssl-verify-server-cert=0", {"ssl_verify_cert": True, "ssl_verify_identity": False}),
        (f"ssl-ca={CERTIFICATE}\nssl-mode=VERIFY_CA", {"ssl_verify_cert": True, "ssl_verify_identity": False}),
        ("ssl-verify-server-cert", {"ssl_verify_identity": True}),
        ("ssl-mode=DISABLED", {"ssl_disabled": True}),
    ],
)
def test_tls_of_an_option_file_is_not_weaker_than_it_says(
    lines: str, expected: dict[str, object], write_file: Callable[[str], Path]
) -> None:
    """A file that makes the mysql client verify the server must not make us trust any server."""
    found = resolved({}, read_default_file=write_file(f"[client]\n{lines}\n"))
    assert {name: found.get(name) for name in expected} == expected


def test_tls_option_of_a_file_that_cannot_be_honoured_is_an_error(write_file: Callable[[str], Path]) -> None:
    """Leaving it out would verify less than the file asks for."""
    assert "ssl-capath" in refusal({}, read_default_file=write_file("[client]\nssl-capath=/etc/ssl\n"))
