"""The pages of docs/ are true: programs print what is shown, tables are the package's own, no public name is absent."""

from __future__ import annotations

import dataclasses
import re

import pytest

import improved_db
from improved_db import ImprovedDbError, RetryPolicy, aio, errors, testing
from improved_db.compat import pymysqlpool, queuepool
from improved_db.settings.settings import ClusterSettings, PoolSettings, Settings
from tests.server import pages

PAGES = sorted(str(path.relative_to(pages.ROOT)) for path in (pages.ROOT / "docs").rglob("*.md"))
#: Pages with programs; the calls of migrating.md have a test of their own.
PROGRAMS = [page for page in PAGES if pages.blocks(page) and page != "docs/migrating.md"]

#: Pages whose programs set up their process for good, as Django's settings do.
APART = {"docs/howto/django.md"}


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("page", PROGRAMS)
def test_programs_print_what_is_shown(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers copy them; later programs of a page go on where earlier ones ended."""
    monkeypatch.delenv("IMPROVED_DB_URL", raising=False)
    assert (pages.run_apart(page) if page in APART else pages.run(page)) == []


def test_every_program_can_be_pasted_and_no_line_is_too_long() -> None:
    """Readers try a page at Python's prompt."""
    assert [line for page in PAGES for line in pages.badly_laid_out(page)] == []


def test_links_lead_somewhere() -> None:
    """To a heading of a page or a file of this project."""
    assert [link for page in PAGES for link in pages.dead_links(page)] == []


def test_settings_table_has_every_setting_with_its_default() -> None:
    """A default that was changed is looked up here."""
    ours = {field.name: field.default for field in dataclasses.fields(PoolSettings)}
    outside_pool = ["reset", "configure", "deadline", "multiplex", "pipelining", "aware_datetimes"]
    outside_pool += ["statements", "slow_query_threshold"]
    ours |= {name: Settings.__dataclass_fields__[name].default for name in outside_pool}
    ours |= {name: default for name, default in ClusterSettings._field_defaults.items() if name != "hosts"}
    shown = {name: columns[0] for name, columns in pages.table("docs/reference/settings.md", "Settings").items()}
    assert shown.pop("retry") == repr(RetryPolicy())[:11] + "()"
    assert shown == {name: repr(default) for name, default in ours.items()}


def test_errors_table_has_every_error_and_what_else_it_is() -> None:
    """Readers who write an except clause look here."""
    public = {name: getattr(improved_db, name) for name in improved_db.__all__}
    found = {name: error for name, error in public.items() if isinstance(error, type) and issubclass(error, Exception)}
    assert found.pop("ImprovedDbError") is ImprovedDbError
    shown = pages.table("docs/reference/errors.md", "improved_db.errors")
    assert shown.keys() == found.keys()
    wrong = [
        f"{name} is no {columns[0]}"
        for name, columns in shown.items()
        if columns[0].strip("`") not in {base.__name__ for base in found[name].__mro__}
    ]
    assert wrong == []


def test_reference_has_every_public_name() -> None:
    """A name that has no place there looks private. Sphinx itself fails where a name does not exist."""
    modules = {
        "improved_db": set(improved_db.__all__) - set(vars(errors)),
        "testing": set(testing.__all__),
        "aio": set(aio.__all__),
        "errors": {name for name, value in vars(errors).items() if getattr(value, "__module__", "") == errors.__name__},
        "compat": {
            name
            for module in (pymysqlpool, queuepool)
            for name, value in vars(module).items()
            if getattr(value, "__module__", "") == module.__name__ and not name.startswith("_")
        },
    }
    for page, names in modules.items():
        text = pages.text_of(f"docs/reference/{page}.md")
        assert {name for name in names if not re.search(rf"\b{name}\b", text)} == set()


def test_every_expectation_names_tests_that_exist() -> None:
    """A promise without a test is a wish."""
    text = pages.text_of("docs/explanation/expectations.md").partition("## Six programs")[0]
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    named = {
        row: re.findall(r"`(tests/[\w/.]+)`", row.rpartition(" | ")[2]) for row in rows if "Expectation" not in row
    }
    assert len(named) == 38
    assert [row for row, tests in named.items() if not tests] == []
    assert [test for tests in named.values() for test in tests if not (pages.ROOT / test).is_file()] == []
