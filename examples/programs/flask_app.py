"""A web program with Flask.

    DATABASE_URL=mysql://app:secret@host/shop gunicorn --preload -w 2 --threads 8 programs.flask_app:app

The pool is made before gunicorn forks its workers; each worker opens connections of its own.
"""

from __future__ import annotations

from typing import NamedTuple

from flask import Flask

from improved_db import ImprovedDb, RowNotFound, Transaction

db = ImprovedDb(max_size=8)
app = Flask(__name__)


class Pet(NamedTuple):
    """A row of the table."""

    id: int
    name: str


@app.get("/pets/<int:number>")
def read(number: int) -> dict[str, object]:
    """Return one pet."""
    pet = db.fetch_one("select id, name from pets where id = %s", number, row_type=Pet, required=True)
    return pet._asdict()


@app.post("/pets/<name>")
@db.transactional
def add(tx: Transaction, name: str) -> dict[str, object]:
    """Add a pet, in a transaction that is retried as a whole."""
    return {"id": tx.execute_query("insert into pets (name) values (%s)", name).lastrowid}


@app.get("/health")
def health() -> tuple[str, int]:
    """Say whether the server answers."""
    return ("ok", 200) if db.ping() else ("no database", 503)


@app.errorhandler(RowNotFound)
def missing(_: RowNotFound) -> tuple[str, int]:
    """Answer for what is not there."""
    return "not found", 404
