"""What an option may be called and may be, and what is said when it is something else."""

from __future__ import annotations

import dataclasses
import inspect
import math
import string
from typing import Any

import pymysql.connections
import pymysql.cursors
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from improved_db import ImprovedDb
from improved_db.errors import ConfigError
from improved_db.settings.settings import PoolSettings
from tests.unit.configured import DRIVER, refusal, resolved, settings

POOL = frozenset(field.name for field in dataclasses.fields(PoolSettings))
OURS = POOL | {"retry", "deadline", "connection_pool", "pool_init_size"}
REFUSED = {"defer_connect", "compress", "named_pipe"}


@pytest.mark.parametrize(("old", "new"), [("passwd", "password"), ("db", "database")])
def test_deprecated_spelling_becomes_the_right_one(old: str, new: str) -> None:
    """Code written for MySQLdb runs, and without the driver's deprecation warning."""
    assert resolved({old: "x"})[new] == "x"
    assert resolved({}, **{old: "x"})[new] == "x"
    assert resolved({new: "y"}, **{old: "x"})[new] == "x"
    assert old not in resolved({old: "x"})


def test_two_spellings_with_one_value_are_no_conflict_and_with_two_are() -> None:
    """Which of two databases was meant is not ours to guess."""
    assert resolved({"db": "x", "database": "x"})["database"] == "x"
    assert resolved({"db": None, "database": "x"})["database"] == "x"
    assert "two spellings of 'database'" in refusal({"db": "x", "database": "y"})
    assert "two spellings of 'password'" in refusal({}, passwd="x", password="y")


def test_unknown_option_names_the_nearest_known_one() -> None:
    """A misspelt autocommit that is silently ignored costs a day."""
    assert refusal({}, antocomit=True) == "unknown option 'antocomit': did you mean 'autocommit'?"
    assert refusal({"antocomit": True}) == "unknown option 'antocomit': did you mean 'autocommit'?"
    assert refusal({"maxsize": 1}) == "unknown option 'maxsize': did you mean 'max_size'?"
    assert "unknown option 'antocomit': did you mean 'autocommit'?" in refusal("mysql://h/d?antocomit=1")


def test_unknown_option_with_nothing_near_says_where_the_list_is() -> None:
    """An error without a way out is half an error."""
    assert "help()" in refusal({}, zzzzzz=1)


def test_name_that_is_no_text_is_refused() -> None:
    """A dict read from YAML may have a number for a key."""
    assert "name of an option must be a str" in refusal({3306: "port"})


@given(data=st.data(), name=st.sampled_from(sorted((DRIVER | OURS) - REFUSED)))
def test_any_near_miss_of_a_known_option_gets_a_suggestion(data: st.DataObject, name: str) -> None:
    """One slip of the finger, anywhere in any option, is answered with a name that exists."""
    at = data.draw(st.integers(0, len(name) - 1))
    letter = data.draw(st.sampled_from(string.ascii_lowercase + "_-"))
    edits = [name[:at] + name[at + 1 :], name[:at] + letter + name[at:], name[:at] + letter + name[at + 1 :]]
    near = data.draw(st.sampled_from([*edits, name.upper(), name.replace("_", "-")]))
    assume(near not in DRIVER | OURS | {"ssl_mode", ""})
    text = refusal({}, options={near: "x"})
    assert "did you mean" in text
    assert any(f"{known!r}?" in text for known in {*inspect.signature(ImprovedDb).parameters, *DRIVER})


@pytest.mark.parametrize("near", ["d", "b", "xb", "bd", "dxb"])
def test_near_miss_of_the_shortest_option_gets_a_suggestion(near: str) -> None:
    """One slip in two letters leaves little in common."""
    assert refusal({}, options={near: "x"}) == f"unknown option {near!r}: did you mean 'db'?"


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_option_that_cannot_be_given_says_why(name: str) -> None:
    """A did-you-mean would be a riddle to a user who spelt it right; switched off it is harmless."""
    assert f"{name} is not supported: " in refusal({}, **{name: True})
    assert name not in resolved({}, **{name: False})
    assert name not in resolved(f"mysql://h?{name}=no")


def test_every_other_option_of_the_driver_is_accepted_by_name() -> None:
    """Nothing PyMySQL can do is lost behind this package."""
    examples: dict[str, object] = {
        "port": 1, "client_flag": 2, "max_allowed_packet": 1024, "connect_timeout": 1, "read_timeout": 1.5,
        "write_timeout": 2, "use_unicode": True, "local_infile": True, "binary_prefix": True, "ssl_disabled": True,
        "ssl_verify_cert": True, "ssl_verify_identity": True, "conv": {}, "auth_plugin_map": {}, "ssl": {"ca": "/x"},
        "autocommit": False, "cursorclass": pymysql.cursors.DictCursor,
    }  # fmt: skip
    names = DRIVER - REFUSED - {"read_default_file", "read_default_group", "passwd", "db"}
    given_options = {name: examples.get(name, "x") for name in names}
    assert resolved(given_options) == given_options


def test_what_is_resolved_is_what_the_driver_takes() -> None:
    """No name or type of ours reaches the driver, and none it warns about."""
    found: Any = resolved("mariadb://u:p@h:3307/d?read_timeout=2", passwd="q", db="e", local_infile=1)
    connection = pymysql.connections.Connection(defer_connect=True, **found)
    assert (connection.host, connection.port, connection.user) == ("h", 3307, "u")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", -1), ("port", 65536), ("port", "3306"), ("port", True), ("port", 3306.0),
        ("connect_timeout", 0), ("connect_timeout", -1), ("connect_timeout", math.nan), ("connect_timeout", math.inf),
        ("connect_timeout", True), ("connect_timeout", "5"), ("connect_timeout", 10**400),
        ("read_timeout", 0), ("write_timeout", -0.5),
        ("min_size", -1), ("min_size", True), ("min_size", 1.0), ("max_size", 0), ("max_size", "10"),
        ("acquire_timeout", -1), ("acquire_timeout", math.nan), ("acquire_timeout", "x"),
        ("max_waiting", -1), ("max_lifetime", 0), ("idle_timeout", -1), ("ping_idle_after", -1), ("ping_timeout", 0),
        ("keepalive", 0), ("leak_warn_after", 0), ("max_opening", 0), ("lifetime_jitter", 1.1),
        ("lifetime_jitter", -0.1), ("lifetime_jitter", math.nan), ("reset", "never"), ("reset", 1),
        ("configure", "x"), ("check", 1), ("on_leak", 0), ("name", ""), ("name", 5), ("deadline", 0),
        ("pool_init_size", -1), ("connection_pool", "yes"), ("autocommit", "yes"), ("autocommit", 2),
        ("host", 5), ("host", "mysql://h/d"), ("user", 5), ("password", 5), ("database", 5), ("unix_socket", 5),
        ("charset", 5), ("conv", []), ("cursorclass", "DictCursor"), ("ssl_verify_cert", "maybe"), ("client_flag", "x"),
    ],
)  # fmt: skip
def test_value_of_the_wrong_type_or_range_is_refused_by_name(name: str, value: object) -> None:
    """A mistake is named where it is made and not where it hurts."""
    assert refusal({}, **{name: value}).startswith(f"{name} must be ")
    assert refusal({name: value}).startswith(f"{name} must be ")


def test_refused_number_is_repeated_and_refused_text_is_not() -> None:
    """70000 helps; a text may be a password in the wrong place."""
    assert refusal({}, port=70000) == "port must be an int from 0 to 65535, not 70000"
    assert refusal({}, port="70000") == "port must be an int from 0 to 65535, not a value of type str"
    assert refusal({}, password=70000).endswith("not a value of type int")


def test_zero_is_a_value_where_it_means_at_once() -> None:
    """acquire_timeout=0 does not wait, ping_idle_after=0 asks each time, port 0 is the usual port."""
    found = settings({}, acquire_timeout=0, ping_idle_after=0, max_waiting=0, min_size=0, port=0)
    assert (found.pool.acquire_timeout, found.pool.ping_idle_after, found.pool.max_waiting) == (0.0, 0.0, 0)
    assert found.connect.port == 3306


def test_min_size_above_max_size_is_refused_with_both_numbers() -> None:
    """A caller that raises one has to raise the other."""
    assert "20 > 10" in refusal({}, min_size=20)


def test_pool_settings_check_themselves() -> None:
    """A pool without an ImprovedDb is configured with them alone."""
    with pytest.raises(ConfigError, match="max_size must be an int of at least 1, not 0"):
        PoolSettings(max_size=0)
    with pytest.raises(ConfigError, match="name must be"):
        PoolSettings(name=None)  # type: ignore[arg-type]  # what is refused
    assert isinstance(PoolSettings(acquire_timeout=5).acquire_timeout, float)


def test_callbacks_of_the_pool_are_kept_as_given() -> None:
    """They are called, never compared or copied."""

    def callback(connection: object) -> None:
        """Do nothing."""

    found = settings({}, reset=callback, configure=callback, check=callback, on_leak=callback)
    pool = found.pool
    assert (found.reset, found.configure, pool.check, pool.on_leak) == (callback, callback, callback, callback)
