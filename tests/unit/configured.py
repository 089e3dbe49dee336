"""Settings loaded from what a test says alone: nothing of this machine's environment or home directory is read."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pymysql.connections
import pytest

from improved_db.errors import ConfigError
from improved_db.settings.load import load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from improved_db.settings.settings import Settings

#: The options of PyMySQL's `connect`.
DRIVER = frozenset(inspect.signature(pymysql.connections.Connection).parameters)


def settings(
    config: Any = None,
    options: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    option_files: Sequence[Path] = (),
    **more: object,
) -> Settings:
    """Load what `ImprovedDb` would."""
    return load(
        config, {**(options or {}), **more}, driver_options=DRIVER, environ=environ or {}, option_files=option_files
    )


def resolved(config: Any = None, **options: Any) -> dict[str, object]:
    """Return what the driver would be given."""
    return settings(config, **options).connect.resolve()


def refusal(config: Any = None, **options: Any) -> str:
    """Return the text of the error that loading raises."""
    with pytest.raises(ConfigError) as caught:
        settings(config, **options)
    return str(caught.value)
