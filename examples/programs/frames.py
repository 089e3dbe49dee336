"""From the database to pandas and back, as in a notebook.

DATABASE_URL=mysql://app:secret@host/shop python -m programs.frames
"""

from __future__ import annotations

from improved_db import ImprovedDb


def store_best(db: ImprovedDb) -> int:
    """Store the largest sale of each day; return how many there are."""
    sales = db.fetch_pandas("select day, amount from sales")
    best = sales.sort_values("amount").drop_duplicates("day", keep="last")
    return db.exec_many("replace into best (day, amount) values (%(day)s, %(amount)s)", best).rowcount


if __name__ == "__main__":
    with ImprovedDb() as shop:
        print(store_best(shop))
