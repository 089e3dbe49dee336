"""Private, temporary servers for tests, demos and first steps.

Knows the public names of this folder. Does not know how any of them works.
"""

from improved_db.testing.binary import Flavour, ServerBinary, find_server
from improved_db.testing.cluster import TemporaryCluster
from improved_db.testing.server import TemporaryServer

__all__ = ["Flavour", "ServerBinary", "TemporaryCluster", "TemporaryServer", "find_server"]
