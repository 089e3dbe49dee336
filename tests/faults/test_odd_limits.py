"""A server whose answers to our own first questions make no sense: the caller gets a driver's error, with a verdict."""

from __future__ import annotations

import pymysql
import pytest

from improved_db import ImprovedDb
from tests.faults import fake_server

ANSWERS = {
    "OK": fake_server.ok(),
    "one column": fake_server.rows(["Value"], [["1"]]),
    "no number": fake_server.rows(["Variable_name", "Value"], [["wait_timeout", "long"]]),
    "NULL": fake_server.rows(["Variable_name", "Value"], [["max_allowed_packet", None]]),
    "an error": fake_server.err(1227, "Access denied"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_limits_that_make_no_sense_are_a_drivers_error(answer: str) -> None:
    """A proxy that answers OK where rows are expected ended the program with a TypeError."""
    with fake_server.FakeServer() as server:
        server.on("^show variables", ANSWERS[answer])
        with ImprovedDb(server.connect_options, retry=None) as db:
            with pytest.raises(pymysql.err.OperationalError):
                db.execute_query("select 1")
            server.wait_until(lambda: server.sessions == 0)  # no connection is left half set up
