"""The command ``improved-db``: a server and this library, asked from a terminal.

Knows terminals, files and exit codes. Does not know locks, sockets or bytes.
"""
