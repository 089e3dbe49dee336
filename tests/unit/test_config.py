"""Which source wins, what is asked again, and what comes of it all."""

from __future__ import annotations

import copy
import dataclasses
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from improved_db.errors import ConfigError
from improved_db.settings.settings import DEFAULT_RETRY
from tests.unit.configured import refusal, resolved, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def test_nothing_given_means_the_drivers_own_defaults_with_autocommit() -> None:
    """`ImprovedDb()` on a developer's machine connects to localhost, and a statement alone is committed."""
    found = settings()
    assert found.connect.resolve() == {"autocommit": True}
    assert (found.connect.host, found.connect.port, found.connect.unix_socket) == ("localhost", 3306, None)
    assert (found.connect.user, found.connect.database) == (None, None)


def test_dict_goes_to_the_driver_as_it_is() -> None:
    """The dict people already pass to pymysql.connect(**config) works unchanged."""
    config = {"host": "db", "port": 3307, "user": "u", "password": "p", "database": "d", "charset": "utf8mb4"}
    assert resolved(config) == {**config, "autocommit": True}


def test_dict_may_hold_pool_options() -> None:
    """One dict from a settings file configures the driver and the pool."""
    found = settings({"host": "db", "max_size": 3, "acquire_timeout": 1})
    assert (found.pool.max_size, found.pool.acquire_timeout) == (3, 1.0)
    assert "max_size" not in found.connect


def test_keyword_arguments_win_over_dict_url_and_environment() -> None:
    """A caller can override one value of a shared configuration."""
    assert resolved({"user": "a", "port": 1}, user="b") == {"user": "b", "port": 1, "autocommit": True}
    assert resolved("mysql://a@h/d", user="b")["user"] == "b"
    assert resolved(None, environ={"IMPROVED_DB_URL": "mysql://a@h/d"}, user="b")["user"] == "b"


def test_environment_is_used_only_without_a_config() -> None:
    """A deployment sets the URL; a program that names its database is not moved to another by a variable."""
    environ = {"IMPROVED_DB_URL": "mysql://u:p@envhost/d?max_size=4"}
    assert settings(None, environ=environ).connect.host == "envhost"
    assert settings(None, environ=environ).pool.max_size == 4
    assert settings({"user": "u"}, environ=environ).connect.host == "localhost"
    assert settings({}, environ=environ).connect.host == "localhost"


def test_empty_variable_counts_as_unset() -> None:
    """`IMPROVED_DB_URL= program` switches the variable off, as in every shell script."""
    assert settings(None, environ={"IMPROVED_DB_URL": ""}).connect.host == "localhost"


def test_error_in_the_variable_names_the_variable() -> None:
    """Users do not look for a mistake in an environment they did not know was read."""
    assert refusal(None, environ={"IMPROVED_DB_URL": "mysql://h:x/"}).startswith("IMPROVED_DB_URL: port must be")
    assert refusal(None, environ={"IMPROVED_DB_URL": "h/d"}).startswith("IMPROVED_DB_URL cannot be read")


def test_environment_wins_over_the_default_option_file(write_file: Callable[[str], Path]) -> None:
    """The deployment is more specific than the file in a home directory."""
    path = write_file("[client]\nuser=file\nhost=filehost\n")
    environ = {"IMPROVED_DB_URL": "mysql://envhost"}
    assert resolved(None, environ=environ, option_files=[path]) == {"host": "envhost", "autocommit": True}


def test_default_option_file_is_read_only_without_config_and_variable(write_file: Callable[[str], Path]) -> None:
    """A program that says where its database is gets nothing else from a file it did not ask for."""
    path = write_file("[client]\nuser=file\n")
    assert resolved(None, option_files=[path])["user"] == "file"
    assert resolved(None, option_files=[path], user="kw")["user"] == "kw"
    assert "user" not in resolved({"host": "h"}, option_files=[path])
    assert "user" not in resolved({}, option_files=[path])


def test_named_option_file_lies_under_the_config_that_names_it(write_file: Callable[[str], Path]) -> None:
    """The file holds the password, the config says the rest; the file's name does not reach the driver."""
    path = write_file("[client]\nuser=file\npassword=pw\nport=3310\n")
    expected = {"host": "h", "user": "u", "password": "pw", "port": 3310, "autocommit": True}
    assert resolved({"host": "h", "user": "u", "read_default_file": str(path)}) == expected
    assert resolved(f"mysql://u@h?{urlencode({'read_default_file': path})}") == expected
    assert resolved({"host": "h", "user": "u"}, read_default_file=path) == expected


def test_host_given_over_a_socket_is_the_one_connected_to(write_file: Callable[[str], Path]) -> None:
    """The driver prefers a socket: one from ~/.my.cnf would silently lead to the wrong server."""
    path = write_file("[client]\nsocket=/run/local.sock\nuser=u\n")
    found = settings(None, option_files=[path], host="remote").connect
    assert (found.host, found.unix_socket, found.user) == ("remote", None, "u")
    assert settings({"unix_socket": "/run/a"}, host="remote").connect.unix_socket is None
    assert settings({"host": "h"}, unix_socket="/run/a").connect.unix_socket == "/run/a"


def test_tls_given_over_tls_switched_off_is_on() -> None:
    """The driver prefers ssl_disabled: a caller who asks for TLS must not get a plain connection."""
    assert "ssl_disabled" not in resolved("mysql://h?ssl_disabled=true", ssl_ca=__file__)
    assert resolved("mysql://h", ssl_disabled=True)["ssl_disabled"] is True


@pytest.mark.parametrize(
    ("options", "verified"),
    [
        ({}, True),
        ({"ssl_verify_identity": False}, True),
        ({"ssl_verify_cert": False}, False),
        ({"ssl_mode": "REQUIRED"}, False),
        ({"ssl_mode": "PREFERRED"}, False),
        ({"ssl_mode": "VERIFY_CA"}, True),
        ({"ssl_disabled": True}, None),
    ],
)
def test_authority_given_alone_verifies_the_server(options: dict[str, object], verified: bool | None) -> None:
    """PyMySQL reads the file and trusts any server; a caller who names an authority does not mean that."""
    assert resolved("mysql://h", ssl_ca=__file__, **options).get("ssl_verify_cert") is verified


@pytest.mark.parametrize("name", ["ssl_ca", "ssl_cert", "ssl_key"])
def test_certificate_that_is_not_there_is_refused_at_once(name: str, tmp_path: Path) -> None:
    """It is a mistake of the caller's, and no reason to retry for half a minute."""
    missing = tmp_path / "no.pem"
    assert refusal("mysql://h", **{name: missing}) == f"{name} must be the path of a file that exists"
    assert resolved("mysql://h", ssl_disabled=True, **{name: missing})["ssl_disabled"] is True


def test_whole_tls_context_leaves_out_the_pieces_it_wins_over() -> None:
    """The driver prefers ssl_ca over ssl: a caller's own context must be the one used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found = resolved("mysql://h?ssl_ca=/ca.pem&ssl_verify_cert=yes", ssl=context)
    assert found == {"host": "h", "ssl": context, "autocommit": True}


def test_none_counts_as_not_given() -> None:
    """Code that passes on optional arguments need not drop its Nones, and does not erase what the config says."""
    assert resolved("mysql://u@h/d", database=None, charset=None, password=None)["database"] == "d"
    assert settings({}, name=None, max_size=None).pool == settings().pool


def test_none_is_kept_where_it_means_something() -> None:
    """autocommit=None is the server's default, max_lifetime=None is for ever."""
    found = settings({}, autocommit=None, max_lifetime=None, max_waiting=None)
    assert found.connect.resolve() == {"autocommit": None}
    assert (found.pool.max_lifetime, found.pool.max_waiting) == (None, None)


@pytest.mark.parametrize("config", [5, b"mysql://h", {"mysql://h"}, object()])
def test_config_of_another_type_is_refused(config: object) -> None:
    """The error says what a config is."""
    assert "config must be a dict of options, a URL or a list of servers" in refusal(config)


def test_callable_password_is_asked_at_each_connect_and_not_before() -> None:
    """Tokens live for minutes: one fetched at the start is dead when the pool grows."""
    tokens = iter(["one", "two"])
    connect = settings({"password": lambda: next(tokens)}).connect
    assert [connect.resolve()["password"], connect.resolve()["password"]] == ["one", "two"]


def test_callable_config_is_asked_again_at_each_connect() -> None:
    """Credentials rotate without a restart; keyword arguments still win."""
    answers: Iterator[object] = iter(["mysql://a@h1/d?max_size=3", {"user": "b", "host": "h2"}, {"user": "c"}])
    found = settings(lambda: next(answers), port=3307)
    assert (found.pool.max_size, found.connect.host) == (3, "h1")
    assert found.connect.resolve() == {"user": "b", "host": "h2", "port": 3307, "autocommit": True}
    assert found.connect.resolve() == {"user": "c", "port": 3307, "autocommit": True}


def test_later_answer_of_a_callable_config_is_checked_again() -> None:
    """A secrets store that begins to answer nonsense gets a clear error, not a stack trace of the driver."""
    answers: Iterator[object] = iter([{"host": "h"}, {"hots": "h"}, None])
    connect = settings(lambda: next(answers)).connect
    with pytest.raises(ConfigError, match="unknown option 'hots': did you mean 'host'"):
        connect.resolve()
    with pytest.raises(ConfigError, match=r"config\(\) must return a dict .*, not None"):
        connect.resolve()


@pytest.mark.parametrize("answer", [None, 5, ["x"], lambda: "x"])
def test_password_callable_that_returns_no_text_is_refused(answer: object) -> None:
    """The driver's own error would be about an encode method."""
    connect = settings({"password": lambda: answer}).connect
    with pytest.raises(ConfigError, match=r"password\(\) must return a str or bytes"):
        connect.resolve()


def test_error_of_a_callable_passes_through() -> None:
    """The user's own error says more than any of ours."""

    def fail() -> str:
        raise LookupError("vault is sealed")

    with pytest.raises(LookupError, match="sealed"):
        settings(fail)
    connect = settings({"password": fail}).connect
    with pytest.raises(LookupError, match="sealed"):
        connect.resolve()


@pytest.mark.parametrize(
    ("password", "sent"), [("caf\xe9", "caf\xe9"), ("日本", "日本".encode()), (b"\xff", b"\xff"), ("", "")]
)
def test_password_the_driver_cannot_encode_goes_as_utf8(password: str | bytes, sent: str | bytes) -> None:
    """PyMySQL encodes Latin-1 and its UnicodeEncodeError would carry the password."""
    assert resolved({"password": password})["password"] == sent
    assert resolved({"password": lambda: password})["password"] == sent


def test_pool_is_named_after_its_server_and_database() -> None:
    """OpenTelemetry's default for db.client.connection.pool.name; logs of two pools can be told apart."""
    assert settings("mysql://u:p@h:3307/d").pool.name == "h:3307/d"
    assert settings("mysql://h").pool.name == "h:3306"
    assert settings({"unix_socket": "/run/my.sock", "db": "d"}).pool.name == "/run/my.sock/d"
    assert settings("mysql://h/d", name="jobs").pool.name == "jobs"


def test_pool_init_size_raises_max_size_to_fit() -> None:
    """`ImprovedDb(config, connection_pool=True, pool_init_size=20)` opens twenty, as it says."""
    found = settings({}, connection_pool=True, pool_init_size=20)
    assert (found.connection_pool, found.pool_init_size, found.pool.max_size, found.pool.min_size) == (True, 20, 20, 0)
    assert settings({}, pool_init_size=2).pool.max_size == 10
    assert settings({}, pool_init_size=5, max_size=3).pool.max_size == 5


def test_retry_passes_untouched_and_none_is_not_the_default() -> None:
    """None means the first attempt only."""
    policy = object()
    assert settings({}, retry=policy).retry_source is policy
    assert settings({}, retry=None).retry_source is None
    assert settings({}).retry_source is DEFAULT_RETRY
    assert settings({}, deadline=5).deadline == 5.0


def test_settings_are_frozen_and_replaceable() -> None:
    """What a pool was made with does not change under it; a variation is a new value."""
    found = settings("mysql://h/d")
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.deadline = 5.0  # type: ignore[misc]  # what is refused
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.pool.max_size = 5  # type: ignore[misc]  # what is refused
    other = dataclasses.replace(found, pool=dataclasses.replace(found.pool, max_size=3))
    assert (other.pool.max_size, other.pool.name, other.connect) == (3, "h:3306/d", found.connect)


def test_bytes_are_accepted_where_the_driver_takes_them() -> None:
    """PyMySQL takes user and database as bytes; names and properties are text all the same."""
    found = settings({"user": b"u", "database": b"d"})
    assert (found.connect.user, found.connect.database, found.pool.name) == ("u", "d", "localhost:3306/d")
    assert found.connect.resolve()["user"] == b"u"


def test_giving_options_changes_nothing_of_the_callers() -> None:
    """A shared config dict is read by many."""
    config = {"passwd": "p", "db": "d", "max_size": 2}
    before = copy.deepcopy(config)
    resolved(config)["password"] = "changed"
    assert config == before
    connect = settings(config).connect
    connect.resolve().clear()
    assert connect.resolve()["database"] == "d"
