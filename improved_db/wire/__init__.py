"""PyMySQL behind the seam: its connection, its bytes and its literals.

Knows PyMySQL and the MySQL protocol. Does not know pools or retries.
"""
