"""What the small programs read has the classes of their rows, though they write no annotation for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from programs import fastapi_app, flask_app, queue_worker
from typing_extensions import assert_type

from improved_db import ImprovedDb, Rows, Transaction

if TYPE_CHECKING:
    import pandas as pd


def rows(db: ImprovedDb, tx: Transaction, number: int) -> None:
    """The expressions of the programs."""
    pet = db.fetch_one("select id, name from pets where id = %s", number, row_type=flask_app.Pet, required=True)
    assert_type(pet, flask_app.Pet)
    assert_type(pet._asdict(), dict[str, Any])
    assert_type(pet.name, str)
    assert_type(db.fetch_one("select id, name from pets", row_type=fastapi_app.Pet), fastapi_app.Pet | None)
    assert_type(tx.fetch_one("select id, task from jobs", row_type=queue_worker.Job), queue_worker.Job | None)
    assert_type(tx.fetch_all("select id, task from jobs", row_type=queue_worker.Job), Rows[queue_worker.Job])
    assert_type([job.task for job in db.fetch_all("select 1", row_type=queue_worker.Job)], list[str])
    sales: pd.DataFrame = db.fetch_pandas("select day, amount from sales")
    sales.head()


def functions(db: ImprovedDb) -> None:
    """Callers of a function that is a transaction leave out `tx`."""
    assert_type(queue_worker.Worker(db).step(), bool)
    queue_worker.Worker(db).step(5)  # type: ignore[call-arg]
