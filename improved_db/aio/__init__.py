"""improved_db for asyncio: the same verbs as coroutines, each in a thread; cancellation ends the statement.

Knows the public names of this folder. Does not know how any of them works.
"""

from improved_db.aio.db import AsyncImprovedDb
from improved_db.aio.streams import AsyncStream, AsyncTransaction

__all__ = ["AsyncImprovedDb", "AsyncStream", "AsyncTransaction"]
