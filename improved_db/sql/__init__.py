"""What the text of an SQL statement says.

Knows words of SQL and kinds of servers. Does not know connections or drivers.
"""
