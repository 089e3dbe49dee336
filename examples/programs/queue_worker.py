"""Take jobs from a table, each once, with as many workers as you like.

DATABASE_URL=mysql://app:secret@host/shop python -m programs.queue_worker
"""

from __future__ import annotations

from dataclasses import dataclass

from improved_db import ImprovedDb, Transaction


@dataclass
class Job:
    """A row of the table ``jobs``."""

    id: int
    task: str


class Worker:
    """Does jobs until there are none."""

    def __init__(self, db: ImprovedDb) -> None:
        self.done: list[str] = []
        self.step = db.transactional(self._step)

    def _step(self, tx: Transaction) -> bool:
        job = tx.fetch_one(
            "select id, task from jobs where done = 0 order by id limit 1 for update skip locked", row_type=Job
        )
        if job is None:
            return False
        tx.execute_query("update jobs set done = 1 where id = %s", job.id)
        tx.on_commit(lambda: self.done.append(job.task))  # once, however often the transaction is retried
        return True

    def run(self) -> list[str]:
        """Do jobs; return what was done."""
        while self.step():
            pass
        return self.done


if __name__ == "__main__":
    with ImprovedDb() as shop:
        print(Worker(shop).run())
