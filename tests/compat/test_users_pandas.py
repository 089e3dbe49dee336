"""pandas over each door: frames go in and come out as they were, and without a warning."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tests.compat.users import MOST, Account

#: A column of each kind that people have, with a hole in each that can have one.
COLUMNS: dict[str, list[Any]] = {
    "whole": [1, -(2**63), 2**63 - 1],
    "real": [0.1, -1.5e300, None],
    "words": ["Ada", None, "Zoë's 100% \\ \U0001f600"],
    "moment": [dt.datetime(2024, 2, 29, 23, 59, 59), None, dt.datetime(1970, 1, 2)],  # noqa: DTZ001  # no zone there
    "day": [dt.date(1999, 12, 31), dt.date(2024, 2, 29), None],
    "yes": [True, False, True],
}


def typed_frame() -> Any:
    """Return the columns as a frame, with the types that reading gives."""
    frame = pd.DataFrame(COLUMNS)
    frame["day"] = frame["day"].astype(object)
    return frame.assign(moment=frame["moment"].astype("datetime64[s]"), yes=frame["yes"].astype("int64"))


def plain(frame: Any) -> dict[str, list[Any]]:
    """Return values as Python has them, with None for every kind of hole."""
    return {name: [None if pd.isna(value) else value for value in frame[name].tolist()] for name in frame.columns}


def test_a_frame_comes_back_as_it_went_in(engine: Any) -> None:
    """One value changed on the way is a wrong figure in a user's report."""
    assert typed_frame().to_sql("frame", engine, index=False) == 3

    found = pd.read_sql("SELECT * FROM frame", engine)

    assert plain(found) == plain(typed_frame())
    assert found["whole"].dtype == "int64"
    assert found["real"].dtype == "float64"
    assert found["moment"].dtype.kind == "M"
    assert found["yes"].tolist() == [1, 0, 1]


def test_a_frame_is_appended_replaced_and_read_by_name(engine: Any) -> None:
    """These ask for the table's structure first, on a connection of their own."""
    frame = typed_frame()
    frame.to_sql("frame", engine, index=False)
    frame.to_sql("frame", engine, index=False, if_exists="append", method="multi")
    assert plain(pd.read_sql_table("frame", engine))["whole"] == COLUMNS["whole"] * 2
    frame.head(1).to_sql("frame", engine, index=False, if_exists="replace", chunksize=1)
    assert plain(pd.read_sql_table("frame", engine, columns=["words"])) == {"words": ["Ada"]}
    with pytest.raises(ValueError, match="already exists"):
        frame.to_sql("frame", engine, index=False)


def test_arguments_reach_a_query(engine: Any) -> None:
    """Both ways of writing them are in the manual of pandas."""
    typed_frame().to_sql("frame", engine, index=False)
    one = pd.read_sql(text("SELECT whole FROM frame WHERE words = :words"), engine, params={"words": "Ada"})
    other = pd.read_sql("SELECT whole FROM frame WHERE words = %s", engine, params=("Ada",))
    assert one["whole"].tolist() == other["whole"].tolist() == [1]


def test_a_frame_that_fails_in_a_block_leaves_nothing(engine: Any) -> None:
    """Half a frame is worse than none: running it again makes duplicates. Without the block pandas itself commits."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE frame (number INT PRIMARY KEY)"))
    twice = pd.DataFrame({"number": [1, 2, 3, 1]})
    theirs = (pd.errors.DatabaseError, IntegrityError)  # pandas 3, and before
    with pytest.raises(theirs, match="Duplicate entry"), engine.begin() as connection:
        twice.to_sql("frame", connection, index=False, if_exists="append", chunksize=1)
    assert pd.read_sql("SELECT * FROM frame", engine).empty


def test_chunks_not_read_to_the_end_harm_no_other_query(engine: Any, account: Account) -> None:
    """The connection goes back with rows that are still there to be read."""
    pd.DataFrame({"number": range(1000)}).to_sql("frame", engine, index=False)
    with engine.connect().execution_options(stream_results=True) as connection:
        chunks = pd.read_sql("SELECT number FROM frame ORDER BY number", connection, chunksize=10)
        assert next(chunks)["number"].tolist() == list(range(10))
        chunks.close()
    assert pd.read_sql("SELECT COUNT(*) AS n FROM frame", engine)["n"].tolist() == [1000]
    assert len(account.sessions()) <= MOST


def test_threads_read_and_write_frames_within_the_promised_sessions(engine: Any, account: Account) -> None:
    """One call of pandas asks for several connections; the server refuses one more than are promised."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE frame (number BIGINT PRIMARY KEY, double_ BIGINT)"))

    def work(number: int) -> int:
        row = pd.DataFrame({"number": [number], "double_": [2 * number]})
        row.to_sql("frame", engine, index=False, if_exists="append")
        found = pd.read_sql("SELECT double_ FROM frame WHERE number = %s", engine, params=(number,))
        return int(found["double_"].iloc[0])

    with ThreadPoolExecutor(MOST // 2) as threads:
        assert list(threads.map(work, range(20))) == [2 * number for number in range(20)]
    assert len(account.sessions()) <= MOST
