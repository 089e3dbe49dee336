"""How far a piece of work on a connection has come.

Knows what may be noted. Does not know what follows from it: the verdict of a failure does.
"""

from __future__ import annotations


class Stage:
    """How far a piece of work is: the code that does the work notes it here, and a failure is judged by it.

    Attributes:
        in_transaction: We have opened a transaction.
        at_commit: We have begun to send its COMMIT.
        read_only: We have begun it with READ ONLY.
        committed_part: A statement has already committed a part of it.
        kept_part: Tables without transactions have kept a part of it.
        statement: The statement that we sent last, without the values of its arguments.
        waited: How many seconds we waited for the connection, until the observer is told of a first statement on it.
        token_written: A row in the transaction will say whether it was committed, if the answer to COMMIT is lost.
    """

    waited: float = 0.0
    token_written: bool = False

    in_transaction = False
    at_commit = False
    read_only = False
    committed_part = False
    kept_part = False
    statement = ""
