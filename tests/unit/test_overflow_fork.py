"""A child of a fork that runs no hooks, as uWSGI's: it shares no session with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import traceback

import pytest

from tests.fakes import run_alone
from tests.unit.overflowing import NO_LIMIT, Overflowing

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


def child_of_a_bare_fork() -> None:
    """Fork below the interpreter with idle connections, and borrow in both processes."""
    over = Overflowing()
    over.fill(2)
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        signal.alarm(20)
        try:
            loan = over.pool.acquire_now(NO_LIMIT)
            assert loan is not None
            assert loan.connection.number == 3
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert over.one(NO_LIMIT).connection.number == 2


def test_a_child_of_a_fork_without_hooks_opens_a_session_of_its_own() -> None:
    """Both processes wrote to one socket, and read each other's rows."""
    run_alone(child_of_a_bare_fork, "-W", "ignore:.*multi-threaded:DeprecationWarning")
