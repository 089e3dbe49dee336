"""Transfers in both directions at once: deadlocks are retried as a whole, and no money is lost or made.

    python examples/transactions.py

runs on a private server, gone at the end, or on the one that IMPROVED_DB_URL names.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from improved_db import ImprovedDb, Transaction


class TooPoor(Exception):
    """The account does not have that much."""


def transfer(tx: Transaction, payer: int, payee: int, amount: int) -> int:
    """Move *amount*; return what the payer has left."""
    tx.execute_query("update example_account set money = money - %s where id = %s", (amount, payer))
    tx.execute_query("update example_account set money = money + %s where id = %s", (amount, payee))
    left = tx.execute_query("select money from example_account where id = %s", payer)[0][0]
    if left < 0:
        raise TooPoor(f"account {payer} has {left + amount}, not {amount}")
    return int(left)


def main() -> None:
    """Let threads transfer, then show a transaction block."""
    own = os.environ.get("IMPROVED_DB_URL")
    with ImprovedDb(own) if own else ImprovedDb.ephemeral() as db:
        db.execute_query("create table example_account (id int primary key, money int)")
        try:
            db.exec_many("insert into example_account values (%s, %s)", [(1, 1000), (2, 1000)])
            with ThreadPoolExecutor(8) as threads:
                there_and_back = [(1, 2, number % 7) if number % 2 else (2, 1, number % 5) for number in range(400)]
                list(threads.map(lambda which: db.run_transaction(transfer, *which), there_and_back))
            print("after 400 transfers:", db.execute_query("select * from example_account order by id"))
            print("together:", db.execute_query("select sum(money) from example_account")[0][0])
            try:
                db.run_transaction(transfer, 1, 2, 5000)
            except TooPoor as error:
                print("refused:", error)
            with db.transaction() as tx:  # commit at the end, rollback on an exception, never retried
                tx.execute_query("update example_account set money = 0 where id = 1")
                tx.on_commit(lambda: print("committed"))
            print("in the end:", db.execute_query("select * from example_account order by id"))
        finally:
            db.execute_query("drop table example_account")
        print("retried, by verdict:", dict(db.stats().retries))


if __name__ == "__main__":
    main()
