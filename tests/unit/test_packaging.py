"""What setup.py promises: every extra is used, tools cannot break the checks by a new major, links work elsewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from runpy import run_path
from typing import Any, Final

import pytest

setuptools = pytest.importorskip("setuptools")

ROOT: Final = Path(__file__).parents[2]

#: Extras that are for work on this project, and not for what the package can do.
OURS: Final = {"demo", "bench", "doors", "docs", "test", "dev"}


@pytest.fixture(scope="module")
def given() -> dict[str, Any]:
    """What setup.py gives to setuptools."""
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", found.update)
        patch.setattr("sys.argv", ["setup.py", "sdist"])
        run_path(str(ROOT / "setup.py"))
    return found


def library(requirement: str) -> str:
    """Return the name that a requirement begins with."""
    name = re.split(r"[<>=!~\[; ]", requirement)[0].lower().replace("-", "_")
    return name.removesuffix("_api")  # opentelemetry-api, whose name is that of several distributions


def test_every_extra_installs_what_the_package_imports(given: dict[str, Any]) -> None:
    """One that is hollow promises what is not there."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "improved_db").rglob("*.py"))
    ways = r"\b(?:import|from) (\w+)|(?:library|import_module)\(\"(\w+)"
    imported = {name.lower() for names in re.findall(ways, text) for name in names}
    promised = {
        library(requirement)
        for extra, requirements in given["extras_require"].items()
        if extra not in OURS
        for requirement in requirements
    }
    # opentelemetry-api is a part of the package opentelemetry
    assert {name for name in promised if not {name, name.partition("_")[0]} & imported} == set()


def test_a_new_major_of_a_tool_cannot_break_the_checks(given: dict[str, Any]) -> None:
    """Not on the day it appears, in everybody's clone at once."""
    extras = given["extras_require"]
    tools = {*extras["dev"]} - {*extras["test"]}
    runners = [requirement for requirement in extras["test"] if re.match("pytest|hypothesis", requirement)]
    unbounded = [name for name in [*tools, *runners, *extras["docs"]] if not re.search(r"<|==", name)]
    assert tools != set()
    assert unbounded == []


def test_pre_commit_runs_the_same_versions(given: dict[str, Any]) -> None:
    """Else a commit passes that the checks refuse."""
    hooks = re.findall(r'additional_dependencies: \["(.+)"\]', (ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    assert {*hooks} <= {*given["extras_require"]["dev"]}
    assert len(hooks) == 2


def test_the_readme_on_the_index_has_no_link_into_a_folder_that_is_not_there(given: dict[str, Any]) -> None:
    """Its relative links lead to the repository."""
    links = re.findall(r"\]\(([^)]+)\)", given["long_description"])
    assert links != []
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert given["project_urls"].keys() == {"Documentation", "Source", "Changelog", "Issues", "Security"}


def test_the_source_distribution_names_every_file_that_git_has() -> None:
    """The tests read pages, scripts and examples; they pass from the sdist only if those are in it."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no clone")
    manifest = (ROOT / "MANIFEST.in").read_text("utf-8")
    grafted = tuple(f"{folder}/" for folder in re.findall(r"^graft (.+)$", manifest, re.MULTILINE))
    named = {name for line in re.findall(r"^include (.+)$", manifest, re.MULTILINE) for name in line.split()}
    by_itself = re.compile(
        r"improved_db/.*\.(py|pyi|typed)|(setup|pytest_improved_db)\.py|pyproject\.toml|MANIFEST\.in"
    )
    files = [name for name in listed.stdout.splitlines() if (ROOT / name).exists() and name not in named]
    assert [name for name in files if not name.startswith(grafted) and not by_itself.fullmatch(name)] == []
