"""Everything at once: writers, a server that is killed again and again, a network that cuts, and what is true then."""

from __future__ import annotations

import random
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from improved_db.testing import TemporaryServer
from tests.fakes import Caller, eventually
from tests.faults.faults import CUT_BEFORE, CUT_WITHIN, SWALLOW_ANSWER_FIN, SWALLOW_ANSWER_RST, cut_answer
from tests.faults.harness import Rig
from tests.faults.ledger import Claim, Ledger

if TYPE_CHECKING:
    from tests.faults.proxy import Fault, Session

WRITERS = 8
#: Seconds a call may take, and seconds that ending what it left behind may take besides.
DEADLINE, GRACE = 8.0, 8.0


def cut_by_chance(dice: random.Random) -> Fault:
    """Cut a connection at one of its packet's boundaries, or within."""

    def fault(session: Session, packet: bytes) -> None:
        cuts = (CUT_BEFORE, CUT_WITHIN, SWALLOW_ANSWER_RST, SWALLOW_ANSWER_FIN, cut_answer(3))
        dice.choice(cuts)(session, packet)

    return fault


def torment(server: TemporaryServer, dice: random.Random, seconds: float) -> None:
    """Kill the server every 2 to 4 seconds, or stop it politely, and start it again after a while."""
    never = threading.Event()
    end = monotonic() + seconds
    while monotonic() < end:
        never.wait(dice.uniform(2.0, 4.0))
        dice.choice((server.kill, server.kill, server.stop))()
        never.wait(dice.uniform(0.0, 1.0))
        server.start()


@pytest.mark.parametrize("seconds", [5.0, pytest.param(60.0, marks=pytest.mark.soak)])
def test_nothing_acknowledged_is_lost_and_nothing_is_done_twice(seconds: float) -> None:
    """What was acknowledged is there once, what was refused is not there, what is unknown is there once at most."""
    seed = random.SystemRandom().randrange(1_000_000)
    dice = random.Random(seed)
    with TemporaryServer(tcp=True) as server, Rig(server.connect_options) as rig:
        Ledger.make_tables(rig)
        db = rig.db(max_size=WRITERS, deadline=DEADLINE)
        ledger = Ledger(db)
        rig.proxy.on_any(lambda: dice.random() < 0.01, cut_by_chance(dice))
        writers = [start(ledger, number) for number in range(WRITERS)]
        torment(server, dice, seconds)
        rig.proxy.clear()
        length = ledger.length
        eventually(lambda: ledger.length > length + 100)
        ledger.stop()
        for writer in writers:
            writer.result()
        stats = db.stats()
        db.close()
        rig.proxy.close()
        eventually(lambda: rig.value("select count(*) from information_schema.processlist where user = 'root'") == 1)
        assert ledger.lies(rig) == [], f"seed {seed}"
    assert stats.used == 0
    assert ledger.longest < DEADLINE + GRACE, f"seed {seed}"
    claims = ledger.claims()
    assert claims[Claim.ACKNOWLEDGED] > 10 * claims[Claim.UNKNOWN] > 0, f"seed {seed}: {claims}"


def start(ledger: Ledger, number: int) -> Caller[None]:
    """Start a writer: of rows by themselves, or of transactions."""
    write = ledger.write_transactions if number % 2 else ledger.write_rows
    return Caller(lambda: write(number), name=f"writer {number}")


@pytest.mark.parametrize(
    ("claim", "times", "lie"),
    [
        (Claim.ACKNOWLEDGED, 0, True),
        (Claim.ACKNOWLEDGED, 1, False),
        (Claim.ACKNOWLEDGED, 2, True),
        (Claim.REFUSED, 0, False),
        (Claim.REFUSED, 1, True),
        (Claim.UNKNOWN, 0, False),
        (Claim.UNKNOWN, 1, False),
        (Claim.UNKNOWN, 2, True),
    ],
)
def test_the_ledger_sees_a_lie(claim: Claim, times: int, lie: bool, database: dict[str, Any]) -> None:
    """A judge who never finds anything proves nothing."""
    with Rig(database) as rig:
        Ledger.make_tables(rig)
        ledger = Ledger(rig.db())
        rig.ask(f"insert into ledger select 5, 1 from seq_1_to_9 limit {times}")
        ledger.note(5, claim)
        assert bool(ledger.lies(rig)) is lie
