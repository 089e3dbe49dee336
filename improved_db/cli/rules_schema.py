"""The doctor's rules about the tables of one database.

Knows what information_schema says of tables. Does not know how findings are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from improved_db.cli.findings import Found, Level, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from improved_db.cli.findings import Patient

_OLD: Final = ("latin1", "utf8", "utf8mb3", "ascii", "ucs2")
_COLLATIONS: Final = """
    select t.table_name, t.table_collation from information_schema.tables t
    where t.table_schema = database() and t.table_type = 'BASE TABLE' order by 1
"""
_ENGINES: Final = """
    select t.table_name, t.engine from information_schema.tables t
    where t.table_schema = database() and t.table_type = 'BASE TABLE'
    and t.engine not in (select engine from information_schema.engines where transactions = 'YES') order by 1
"""
_KEYLESS: Final = """
    select t.table_name from information_schema.tables t
    where t.table_schema = database() and t.table_type = 'BASE TABLE' and not exists (
        select 1 from information_schema.table_constraints c where c.table_schema = t.table_schema
        and c.table_name = t.table_name and c.constraint_type = 'PRIMARY KEY'
    ) order by 1
"""
_OURS: Final = "improved_db_outcomes"


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def schema_charset(patient: Patient) -> Iterator[Found]:
    """What new tables get."""
    asked = "select default_character_set_name from information_schema.schemata where schema_name = database()"
    for (name,) in patient.rows(asked):
        if name in _OLD:
            why = "new tables cannot hold every character: emoji and many names are errors"
            do = f"ALTER DATABASE {_quoted(patient.database or '')} CHARACTER SET utf8mb4"
            yield Found(f"database {patient.database}", name, why, do)


def table_charset(patient: Patient) -> Iterator[Found]:
    """What the tables there are have."""
    for table, collation in patient.rows(_COLLATIONS):
        if collation and collation.partition("_")[0] in _OLD and table != _OURS:
            why = "it cannot hold every character: emoji and many names are errors"
            yield Found(
                f"table {table}", collation, why, f"ALTER TABLE {_quoted(table)} CONVERT TO CHARACTER SET utf8mb4"
            )


def engines(patient: Patient) -> Iterator[Found]:
    """Tables that a ROLLBACK does not change back."""
    for table, engine in patient.rows(_ENGINES):
        why = "it has no transactions: a ROLLBACK undoes nothing, a retry may write twice, a crash may lose rows"
        yield Found(f"table {table}", engine, why, f"ALTER TABLE {_quoted(table)} ENGINE = InnoDB")


def primary_keys(patient: Patient) -> Iterator[Found]:
    """Tables whose rows cannot be told apart."""
    for (table,) in patient.rows(_KEYLESS):
        why = "equal rows cannot be told apart, and a replica reads the whole table for each change"
        yield Found(
            f"table {table}",
            "no primary key",
            why,
            f"ALTER TABLE {_quoted(table)} ADD id BIGINT AUTO_INCREMENT PRIMARY KEY",
        )


def full_counters(patient: Patient) -> Iterator[Found]:
    """Keys that will be used up."""
    asked = (
        "select t.table_name, c.column_name, c.column_type, t.auto_increment"
        " from information_schema.tables t join information_schema.columns c"
        " on c.table_schema = t.table_schema and c.table_name = t.table_name"
        " where t.table_schema = database() and c.extra like '%auto_increment%' order by 1"
    )
    limits = {"tinyint": 127, "smallint": 32767, "mediumint": 8388607, "int": 2147483647, "bigint": 2**63 - 1}
    for table, column, kind, following in patient.rows(asked):
        limit = limits.get(kind.partition("(")[0].split()[0], 0) * (2 if "unsigned" in kind else 1)
        if limit and following and following > 0.7 * limit:
            why = f"{100 * following // limit} % of its numbers are used; after the last, every INSERT is an error"
            do = f"ALTER TABLE {_quoted(table)} MODIFY {_quoted(column)} BIGINT UNSIGNED NOT NULL AUTO_INCREMENT"
            yield Found(f"column {table}.{column}", kind, why, do)


RULES: Final = (
    Rule("full-counters", Level.BAD, full_counters),
    Rule("schema-charset", Level.WARN, schema_charset),
    Rule("table-charset", Level.WARN, table_charset),
    Rule("engines", Level.WARN, engines),
    Rule("primary-keys", Level.WARN, primary_keys),
)
