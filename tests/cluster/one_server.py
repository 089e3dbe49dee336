"""A plugin for pytest, ``-p tests.cluster.one_server``: each `ImprovedDb` with one address is a cluster of one server.

Knows where settings are loaded. Does not know any test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from improved_db import db
from improved_db.settings.load import load
from improved_db.settings.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from improved_db.settings.settings import Settings


def load_as_cluster(config: Any, options: Mapping[str, object], **more: Any) -> Settings:
    """Load the settings with a topology, if they have none."""
    return load(config, {"topology": Secret("replication"), **options}, **more)


vars(db)["load"] = load_as_cluster
