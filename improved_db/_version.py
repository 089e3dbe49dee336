"""The version, in the one place where it is written.

Knows a number. Does not know what changed.
"""

__version__ = "0.1.0"
