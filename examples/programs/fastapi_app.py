"""A web program with FastAPI.

    DATABASE_URL=mysql://app:secret@host/shop uvicorn programs.fastapi_app:app

Routes written with ``def`` run in threads, so they may block.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from improved_db import ImprovedDb, Transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

db = ImprovedDb(max_size=8)


class Pet(BaseModel):
    """A row of the table, and what the program answers."""

    id: int
    name: str


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Close the pool when the program ends."""
    with db:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/pets/{number}")
def read(number: int) -> Pet:
    """Return one pet."""
    pet = db.fetch_one("select id, name from pets where id = %s", number, row_type=Pet)
    if pet is None:
        raise HTTPException(404)
    return pet


@app.post("/pets/{name}")
@db.transactional
def add(tx: Transaction, name: str) -> Pet:
    """Add a pet, in a transaction that is retried as a whole."""
    number = tx.execute_query("insert into pets (name) values (%s)", name).lastrowid
    return tx.fetch_one("select id, name from pets where id = %s", number, row_type=Pet, required=True)
