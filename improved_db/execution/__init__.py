"""Work on a borrowed connection: statements, retries, transactions, many rows in and out.

Knows the pool's verbs and the verdicts. Does not know locks, sockets or option names.
"""
