"""Several servers in the settings: how they are written, what they share, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from improved_db.errors import ConfigError
from improved_db.settings.hosts import Host
from improved_db.settings.settings import ClusterSettings, HostSettings
from tests.unit.configured import refusal, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

URL = "mysql://app:secret@db1,db2:3307,[::1]:3308/shop"


def hosts(config: Any = None, **options: Any) -> list[HostSettings]:
    """Return the servers of settings that have several."""
    return list(cluster(config, **options).hosts)


def cluster(config: Any = None, **options: Any) -> ClusterSettings:
    found = settings(config, **options).cluster
    assert found is not None
    return found


def places(config: Any = None, **options: Any) -> list[str]:
    return [host.address for host in hosts(config, **options)]


def plain(config: Any = None, **options: Any) -> list[dict[str, object]]:
    """Return what the driver would be given for each server."""
    return [host.connect.resolve() for host in hosts(config, **options)]


def test_url_list_environment_and_host_with_commas_mean_the_same() -> None:
    """A deployment writes one text, a program a list; neither is a second kind of cluster."""
    urls = ["mysql://app:secret@db1/shop", "mysql://app:secret@db2:3307/shop", "mysql://app:secret@[::1]:3308/shop"]
    expected = plain(URL)
    assert [(one["host"], one.get("port")) for one in expected] == [("db1", None), ("db2", 3307), ("::1", 3308)]
    assert {(one["user"], one["password"], one["database"]) for one in expected} == {("app", "secret", "shop")}
    assert plain(urls) == expected
    assert plain([urls[0], "db2:3307", Host("[::1]:3308")]) == expected
    assert plain(None, environ={"IMPROVED_DB_URL": URL}) == expected
    assert plain(host="db1,db2:3307,[::1]:3308", user="app", password="secret", database="shop") == expected
    account = {"user": "app", "password": "secret", "database": "shop"}
    assert plain({"host": "db1,db2:3307,[::1]:3308", **account}) == expected
    assert places(URL) == ["db1:3306", "db2:3307", "[::1]:3308"]


def test_one_address_is_no_cluster_unless_a_topology_says_so() -> None:
    """The pool of one server stays as it was; nothing of several servers is looked at."""
    assert settings("mysql://h/d").cluster is None
    assert settings(["mysql://u:p@h:3310/d"]).cluster is None
    assert settings(["mysql://u:p@h:3310/d"]).connect.resolve() == settings("mysql://u:p@h:3310/d").connect.resolve()
    assert settings("mysql://h/d", read_preference="replica_preferred", zone="a").cluster is None
    assert settings([Host("mysql://h/d", max_size=3)]).pool.max_size == 3
    assert places("mysql://h/d", topology="replication") == ["h:3306"]
    assert places("mysql://u@/d?unix_socket=/run/a.sock", topology="galera") == ["/run/a.sock"]


def test_sockets_are_servers_too() -> None:
    """Test servers listen on sockets alone."""
    urls = [f"mysql://u@/d?unix_socket=/run/{name}.sock" for name in "ab"]
    assert places(urls) == ["/run/a.sock", "/run/b.sock"]
    assert places([urls[0], "/run/b.sock"]) == ["/run/a.sock", "/run/b.sock"]
    assert places([urls[0], "mysql://h:3307"]) == ["/run/a.sock", "h:3307"]
    assert [one.get("unix_socket") for one in plain([urls[0], "mysql://h:3307"])] == ["/run/a.sock", None]


def test_what_a_server_does_not_say_comes_from_the_first_and_keywords_win() -> None:
    """The account is written once; a replica with an account of its own says so."""
    first, second = plain(["mysql://app:secret@db1:3310/shop?charset=latin1", Host("mysql://other:word@db2/")])
    assert (first["user"], first["password"], first["port"]) == ("app", "secret", 3310)
    assert second == {
        "host": "db2", "user": "other", "password": "word", "database": "shop", "charset": "latin1", "autocommit": True
    }  # fmt: skip
    assert "password" not in plain(["mysql://app:secret@db1", "mysql://other@db2"])[1]
    assert [one["user"] for one in plain(["mysql://a@db1", "mysql://b@db2"], user="c")] == ["c", "c"]
    assert places("mysql://db1,db2:3307", port=3399) == ["db1:3399", "db2:3307"]


def test_host_in_the_arguments_replaces_a_list() -> None:
    """As with one server, keyword arguments win."""
    found = settings(["mysql://u@db1", "mysql://u@db2"], host="other")
    assert (found.cluster, found.connect.host, found.connect.user) == (None, "other", "u")
    found = settings(["mysql://u@db1", "mysql://u@db2"], unix_socket="/run/a.sock")
    assert (found.cluster, found.connect.unix_socket) == (None, "/run/a.sock")


def test_options_of_the_cluster_are_read_and_have_defaults() -> None:
    """Few, and each may stand in the URL."""
    assert cluster(URL) == ClusterSettings(hosts=tuple(hosts(URL)))
    told = cluster(
        URL + "?topology=group&read_preference=nearest&max_replication_lag=5&causal_reads=off&causal_timeout=0.5"
        "&monitor_interval=1&zone=b"
    )
    assert told == ClusterSettings(
        hosts=told.hosts, topology="group", read_preference="nearest", max_replication_lag=5.0,
        causal_reads=False, causal_timeout=0.5, monitor_interval=1.0, zone="b",
    )  # fmt: skip
    assert cluster(URL, on_failover=print).on_failover is print
    assert settings(URL).pool.name == "db1:3306,db2:3307,[::1]:3308/shop"
    assert settings(URL, name="shop").pool.name == "shop"


def test_options_of_the_pool_hold_for_all_servers() -> None:
    """Which server's URL names them says nothing; two that disagree are a mistake."""
    assert settings(["mysql://db1", "mysql://db2?max_size=4"]).pool.max_size == 4
    text = refusal(["mysql://db1?max_size=3", "mysql://db2?max_size=4"])
    assert "two servers of the list give max_size different values" in text
    assert "Host(address, max_size=...)" in text
    first, second = hosts(["mysql://db1", Host("db2", max_size=4, weight=2, zone="b")])
    assert (first.max_size, first.weight, first.zone) == (None, 1.0, None)
    assert (second.max_size, second.weight, second.zone) == (4, 2.0, "b")


def test_roles_that_are_said_make_the_topology_static() -> None:
    """The one server without a role is the primary, where none is named; each other one is a replica."""
    found = cluster(["mysql://db1", Host("db2", role="replica"), Host("db3", role="replica")])
    assert (found.topology, [host.role for host in found.hosts]) == ("static", ["primary", "replica", "replica"])
    found = cluster(["mysql://db1", Host("db2", role="primary"), "db3"], topology="static")
    assert [host.role for host in found.hosts] == ["replica", "primary", "replica"]
    found = cluster(["mysql://db1", "mysql://db2", Host("db3", role="replica")], topology="sequential")
    assert [host.role for host in found.hosts] == [None, None, "replica"]
    assert [host.role for host in hosts(URL)] == [None, None, None]


@pytest.mark.parametrize(
    ("config", "options", "text"),
    [
        ("mysql://a,a/d", {}, "a:3306 is in the list of servers twice"),
        (["mysql://a", "mysql://a:3306"], {}, "a:3306 is in the list of servers twice"),
        ("mysql://a,/d", {}, "there is no host before or after a comma"),
        ("mysql://a,,b/d", {}, "there is no host before or after a comma"),
        ("mysql://a:1,b:x/d", {}, "server 2 of the list: port must be an int from 0 to 65535"),
        ("mysql://a,b/d?unix_socket=/x", {}, "several hosts and a unix_socket"),
        ([], {}, "the list of servers is empty"),
        (["mysql://a", 5], {}, "server 2 of the list must be a URL, an address or a Host, not 5"),
        (["mysql://a", "mysql://b,c"], {}, "server 2 of the list names several servers"),
        (["mysql://a", "mysql://b?hots=c"], {}, "server 2 of the list: unknown option 'hots': did you mean 'host'"),
        ("mysql://a,b", {"topology": "replicated"}, "topology must be 'auto', 'replication', 'galera'"),
        ("mysql://a,b", {"read_preference": "secondary"}, "read_preference must be 'primary', 'primary_preferred'"),
        ("mysql://a,b", {"max_replication_lag": 0}, "max_replication_lag must be seconds, more than 0"),
        ("mysql://a,b", {"role": "primary"}, "unknown option 'role'"),
        ([Host("a", role="primary"), Host("b", role="primary")], {}, "needs exactly one primary, not 2"),
        ([Host("a", role="replica"), Host("b", role="replica")], {}, "needs exactly one primary, not 0"),
        ("mysql://a,b?topology=sequential", {"max_replication_lag": 2}, "topology='sequential' asks none"),
        ([Host("a", role="replica"), "b"], {"max_replication_lag": 2}, "topology='static' asks none"),
        ([Host("a", role="replica"), "b"], {"topology": "galera"}, "role= is for topology='static'"),
        ("mysql://a,b", {"topology": "equal", "discover": True}, "topology='equal' they do not; leave one of them out"),
        ([Host("a", role="replica"), "b"], {"discover": True}, "topology='static' they do not; leave one of them out"),
        ("mysql://a,b", {"discover": "perhaps"}, "discover must be a bool"),
    ],
)
def test_mistake_is_refused_with_what_to_write(config: object, options: dict[str, Any], text: str) -> None:
    """Before anything connects, and without a value that may be secret."""
    assert text in refusal(config, **options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"weight": 0}, "Host: weight must be a number above 0"),
        ({"role": "master"}, "Host: role must be 'primary' or 'replica', or None"),
        ({"max_size": 0}, "Host: max_size must be an int of at least 1"),
        ({"zone": ""}, "Host: zone must be a str that is not empty"),
        ({"address": ""}, "the address of a Host must be a URL, 'host', 'host:port'"),
        ({"address": "a:b:c"}, "the address of a Host: port must be an int from 0 to 65535"),
        ({"address": "[a"}, "the address of a Host cannot be read"),
    ],
)
def test_host_refuses_what_makes_no_sense(options: dict[str, Any], text: str) -> None:
    """Where it is written, not where it is used."""
    with pytest.raises(ConfigError) as caught:
        Host(**{"address": "a", **options})
    assert text in str(caught.value)


def test_host_shows_no_password_and_is_compared_by_value() -> None:
    """It stands in settings modules, which people print."""
    one = Host("mysql://app:c4n4ry@db2:3307/shop", weight=2)
    assert repr(one) == "Host(address='db2:3307', role=None, weight=2.0, zone=None, max_size=None)"
    assert one == Host("mysql://app:c4n4ry@db2:3307/shop", weight=2.0) != Host("mysql://app:word@db2:3307/shop")
    assert "c4n4ry" not in repr(settings([one, "db1"], topology="galera"))


def test_callable_config_is_asked_again_for_each_server() -> None:
    """Credentials rotate for all of them; the servers stay the same."""
    answers: Iterator[str] = iter(["mysql://a:1@db1,db2/d", "mysql://a:2@db1,db2/d", "mysql://a:3@db3,db1/d"])
    first, second = hosts(lambda: next(answers))
    assert second.connect.resolve()["password"] == "2"
    with pytest.raises(ConfigError, match="does not name db2:3306 any more"):
        second.connect.resolve()
    assert first.address == "db1:3306"
