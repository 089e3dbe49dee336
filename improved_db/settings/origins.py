"""Where each setting comes from: a keyword argument, the URL, the environment, a line of an option file, or a default.

Only people ask this; `load` itself forgets it, because programs do not need it.

Knows the sources and which of them wins. Does not know what the settings are used for.
"""

from __future__ import annotations

import os
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, NamedTuple

from improved_db.settings import load as loading
from improved_db.settings.options import HIDDEN, OWN, accepted
from improved_db.settings.secret import Secret, seal
from improved_db.settings.settings import PoolSettings, Settings
from improved_db.settings.sources import VARIABLES, line_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from improved_db.settings.load import Config
    from improved_db.settings.secret import Options, Sealed


class Origin(NamedTuple):
    """One setting.

    Attributes:
        name: Its name.
        value: Its value as text; ``***`` for a secret one.
        source: Where it was given; "default" if it was not.
    """

    name: str
    value: str
    source: str


def explain(
    config: Config | Callable[[], Config] | Sealed | None,
    options: Mapping[str, object],
    *,
    driver_options: frozenset[str],
    environ: Mapping[str, str] = os.environ,
    option_files: Sequence[str | Path] = loading.OPTION_FILES,
) -> list[Origin]:
    """Return every setting that has a value, by name; the arguments are those of `load`.

    Raises:
        ConfigError: As for `load`.
    """
    given = seal(options)
    settings = loading.load(config, given, driver_options=driver_options, environ=environ, option_files=option_files)
    known = driver_options | OWN
    keywords = accepted(given, known)
    source, label, variables = loading.chosen(Secret.of(config), Secret(environ), keywords)
    layers: list[tuple[str, Options]] = [
        ("keyword", keywords),
        (label, loading.from_source(source, label, known)),
        *((variable, {name: variables[name]}) for variable, name in VARIABLES.items() if name in variables),
    ]
    files = [layer["read_default_file"].value for _, layer in layers if "read_default_file" in layer]
    groups = [layer["read_default_group"].value for _, layer in layers if "read_default_group" in layer]
    paths = files[:1] or ([] if source.value is not None and not groups else list(option_files))
    lines = {name: where for path in paths for name, where in line_of(path, groups[0] if groups else None).items()}
    found: dict[str, object] = {**settings.connect, **_own(settings)}

    def source_of(name: str) -> str:
        for where, layer in layers:
            if name in layer:
                return where
        if name in lines:
            return lines[name]
        if name in settings.connect and name != "autocommit":
            return "follows from other TLS options" if name.startswith("ssl") else str(paths[0]) if paths else "default"
        return "default"

    return [Origin(name, _shown(name, found[name]), source_of(name)) for name in sorted(found)]


def _own(settings: Settings) -> dict[str, object]:
    outside = {field.name: getattr(settings, field.name) for field in fields(Settings) if field.default is not MISSING}
    outside["retry"] = outside.pop("retry_source")
    return {**{field.name: getattr(settings.pool, field.name) for field in fields(PoolSettings)}, **outside}


def _shown(name: str, value: object) -> str:
    if name in HIDDEN or isinstance(value, Secret):
        return "***"
    if value is None or isinstance(value, (str, bytes, int, float, os.PathLike)):
        return value if isinstance(value, str) else repr(value)
    text = repr(value)
    return text if text.startswith("<default") else f"<{type(value).__name__}>"
