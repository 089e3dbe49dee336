"""No password in anything that is printed, logged or raised."""

from __future__ import annotations

import copy
import dataclasses
import functools
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from improved_db.errors import ConfigError
from improved_db.settings.secret import Secret, seal
from improved_db.settings.settings import ConnectOptions
from improved_db.settings.sources import parse_url
from tests.canary import CANARY, leaks
from tests.unit import configured
from tests.unit.configured import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def test_nothing_that_is_printed_holds_a_password() -> None:
    """Settings are logged when a program starts."""
    options = {"ssl": {"ca": "/x", "password": CANARY}, "ssl_key_password": CANARY, "auth_plugin_map": {b"x": CANARY}}
    found = settings(f"mysql://u:{CANARY}@h/d", options)
    forms = [found, found.connect, dict(found.connect), list(found.connect.values()), dataclasses.asdict(found)]
    for form in [*forms, parse_url(f"mysql://u:{CANARY}@h"), seal({"password": CANARY}), Secret(CANARY)]:
        assert CANARY not in repr(form)
        assert CANARY not in f"{form}"
    assert "host='h'" in repr(found)
    assert found.connect.resolve()["password"] == CANARY


def test_connect_options_made_by_hand_hide_their_password_too() -> None:
    """Callers that build them need not know the rule."""
    connect = ConnectOptions({"password": CANARY, "host": "h"})
    assert CANARY not in repr(connect)
    assert connect.resolve() == {"password": CANARY, "host": "h"}
    assert (len(connect), list(connect), connect["host"]) == (2, ["password", "host"], "h")


def test_secret_is_equal_by_value_and_survives_a_copy() -> None:
    """Pools are told apart by their whole configuration, password included."""
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert pickle.loads(pickle.dumps(Secret("a"))) == copy.deepcopy(Secret("a"))


def test_sealed_input_is_taken_as_it_is() -> None:
    """A caller whose own frame must not show the password seals first."""
    sealed = settings(Secret("mysql://u:p@h"), seal({"password": "q"}))
    assert sealed.connect.resolve()["password"] == "q"
    assert settings(parse_url("mysql://u:p@h")).connect.resolve()["password"] == "p"
    assert settings(Secret(None), environ={"IMPROVED_DB_URL": "mysql://h"}).connect.host == "h"


def leaked(error: BaseException) -> list[str]:
    """Look everywhere but in the frames of this file and its helper, which hold what the tests give."""
    return list(leaks(error, lambda file: file not in {__file__, configured.__file__}))


BAD: dict[str, tuple[Any, dict[str, Any]]] = {
    "no scheme": (f"root:{CANARY}@h/d", {}),
    "wrong scheme": (f"postgresql://u:{CANARY}@h/d", {}),
    "password is the scheme": (f"{CANARY}://h/d", {}),
    "bad port": (f"mysql://u:{CANARY}@h:x/d", {}),
    "no host": (f"mysql://u:{CANARY}@/d", {}),
    "forgotten host": (f"mysql://u:{CANARY}", {}),
    "forgotten user": (f"mysql://{CANARY}:@h:bad", {}),
    "slash in password": (f"mysql://u:a/{CANARY}@h/d", {}),
    "question mark in password": (f"mysql://u:a?{CANARY}@h/d", {}),
    "hash in password": (f"mysql://u:a#{CANARY}@h/d", {}),
    "percent sign in password": (f"mysql://u:{CANARY}%@h/d", {}),
    "password is no UTF-8": (f"mysql://u:{CANARY}%ff@h/d", {}),
    "surrogate in password": (f"mysql://u:{CANARY}\udcff@h/d", {}),
    "unclosed bracket": (f"mysql://u:{CANARY}@[::1/d", {}),
    "two databases": (f"mysql://u:{CANARY}@h/a/b", {}),
    "unknown query option": (f"mysql://u:{CANARY}@h/d?antocomit=1", {}),
    "misspelt password in query": (f"mysql://h/d?pasword={CANARY}", {}),
    "password in query twice": (f"mysql://u:x@h/d?password={CANARY}", {}),
    "query option is no name": (f"mysql://h/d?{CANARY}%20x=1", {}),
    "query option without value": (f"mysql://h/d?{CANARY}", {}),
    "query option of wrong type": (f"mysql://u:{CANARY}@h/d?port=x&max_size={CANARY}", {}),
    "option not writable as text": (f"mysql://u:{CANARY}@h/d?ssl={CANARY}", {}),
    "min above max": (f"mysql://u:{CANARY}@h/d?min_size=99", {}),
    "unknown option in dict": ({"password": CANARY, "antocomit": 1}, {}),
    "misspelt password in dict": ({"pasword": CANARY}, {}),
    "unknown keyword": (None, {"password": CANARY, "antocomit": 1}),
    "misspelt password keyword": (None, {"passwrd": CANARY}),
    "two spellings": ({"passwd": CANARY, "password": "x"}, {}),
    "two spellings in keywords": (None, {"passwd": "x", "password": CANARY}),
    "password in a list": ({"password": [CANARY]}, {}),
    "password with a stray surrogate": ({"password": f"{CANARY}\ud800"}, {}),
    "password as port": ({"port": CANARY}, {}),
    "password as size": (None, {"max_size": CANARY}),
    "URL as host": ({"host": f"mysql://u:{CANARY}@h/d"}, {}),
    "URL in bytes": (f"mysql://u:{CANARY}@h/d".encode(), {}),
    "config in a list": ([{"password": CANARY}], {}),
    "callable with bad URL": (lambda: f"mysql://u:{CANARY}@h:x", {}),
    "callable with bad dict": (lambda: {"pasword": CANARY}, {}),
    "partial with bad answer": (functools.partial(list, CANARY), {}),
    "bad keyword beside a URL": (f"mysql://u:{CANARY}@h/d", {"max_size": 0}),
    "missing file beside a URL": (f"mysql://u:{CANARY}@h/d", {"read_default_file": "/nonexistent/my.cnf"}),
    "key password": (None, {"ssl_key_password": CANARY, "port": -1}),
    "TLS dict": (None, {"ssl": {"password": CANARY}, "port": -1}),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_error_about_a_bad_config_shows_no_password(case: str) -> None:
    """Error reporters send texts, causes and the locals of all frames to a third party."""
    config, options = BAD[case]
    with pytest.raises(ConfigError) as caught:
        settings(config, options)
    assert leaked(caught.value) == []


@pytest.mark.parametrize("text", ["mysql://u:{}@h:x", "u:{}@h", "mysql://h?antocomit={}"])
def test_error_about_the_variable_shows_no_password(text: str) -> None:
    """The environment as a whole is a local variable too."""
    with pytest.raises(ConfigError) as caught:
        settings(None, environ={"IMPROVED_DB_URL": text.format(CANARY), "OTHER": CANARY})
    assert leaked(caught.value) == []


@pytest.mark.parametrize(
    "environ",
    [
        {"DATABASE_URL": f"postgres://u:{CANARY}@h/d"},
        {"DATABASE_URL": f"mysql://u:{CANARY}@h:x/d", "MYSQL_PWD": CANARY},
        {"MYSQL_PWD": CANARY, "MYSQL_TCP_PORT": CANARY},
        {"MYSQL_HOST": f"mysql://u:{CANARY}@h"},
    ],
)
def test_error_about_a_shared_variable_shows_no_password(environ: dict[str, str]) -> None:
    """It may be the password of another program's database."""
    with pytest.raises(ConfigError) as caught:
        settings(None, environ={**environ, "OTHER": CANARY})
    assert leaked(caught.value) == []


@pytest.mark.parametrize("line", ["port=x", "ssl-capath=/x", "ssl-mode=x", f"port={CANARY}"])
def test_error_about_an_option_file_shows_no_password(line: str, write_file: Callable[[str], Path]) -> None:
    """The file's other lines are locals of the function that reads it."""
    path = write_file(f"[client]\npassword={CANARY}\n{line}\n[app]\npassword={CANARY}\n")
    with pytest.raises(ConfigError) as caught:
        settings({}, read_default_file=path, read_default_group="app")
    assert leaked(caught.value) == []


def test_error_while_connecting_shows_no_password() -> None:
    """A callable that fails in the middle of a night is reported with everything around it."""

    def expired() -> str:
        raise LookupError("expired")

    answers: Iterator[object] = iter([{"host": "h"}, {"pasword": CANARY}, f"mysql://u:{CANARY}@h:x"])
    bad = [
        settings({"password": expired, "ssl_key_password": CANARY, "ssl": {"password": CANARY}}).connect,
        settings({"password": lambda: [CANARY], "ssl_key_password": CANARY}).connect,
        settings({"password": lambda: f"{CANARY}\ud800"}).connect,
        settings(lambda: next(answers), ssl_key_password=CANARY).connect,
    ]
    for connect in [*bad, bad[-1]]:
        with pytest.raises((ConfigError, LookupError)) as caught:
            connect.resolve()
        assert leaked(caught.value) == []


def test_url_error_of_parse_url_shows_no_password() -> None:
    """It is public, and called by scripts."""
    with pytest.raises(ConfigError) as caught:
        parse_url(f"mysql://u:{CANARY}@h:x")
    assert leaked(caught.value) == []
