"""The page about several servers: each with its role, and what all of their pools do together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from improved_db import ImprovedDb

if TYPE_CHECKING:
    from tests.cluster.conftest import Trio

WHO = "select name from who"


def test_the_page_shows_each_server_and_the_loans_of_all(trio: Trio) -> None:
    """A loan on a replica is out, too; one server alone has no such part."""
    with ImprovedDb(trio.hosts(), name="shop", max_size=4) as db, trio.direct("a") as single:
        monitor = db.monitor(public=True)

        def data(name: str) -> Any:
            return json.loads(monitor.respond("GET", f"/data/{name}", "", {"host": "localhost"}).body)

        assert (db.fetch_value(WHO), db.reader.fetch_value(WHO) in {"b", "c"}) == ("a", True)
        with db.stream(WHO), db.reader.stream(WHO):
            borrowed, overview = data("borrowed"), data("overview")
        hosts = data("hosts")
        alone = single.monitor(public=True).respond("GET", "/data/hosts", "", {"host": "localhost"})
        assert [(host["host"], host["role"]) for host in hosts] == [(host.host, host.role) for host in db.hosts()]
        assert sum(host["served"] for host in hosts) == db.stats().acquired
    assert len(borrowed) == overview["pool"]["used"] == 2
    assert overview["tabs"][-1] == "hosts"
    assert alone.status == 404
