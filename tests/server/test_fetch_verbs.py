"""fetch_all, fetch_one, fetch_value, fetch_column: rows as classes of the caller, on the pool and in a transaction."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Optional, TypeVar

import attrs
import msgspec
import pydantic
import pytest

from improved_db import ImprovedDb, RowNotFound, StatementError

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


class PetTuple(NamedTuple):
    """A pet."""

    id: int
    name: str


@dataclasses.dataclass
class PetData:
    """A pet."""

    id: int
    name: str


@dataclasses.dataclass(kw_only=True)
class PetByName:
    """A pet."""

    name: str
    id: int = 0


@attrs.define
class PetAttrs:
    """A pet."""

    id: int
    name: str


class PetStruct(msgspec.Struct):
    """A pet."""

    id: int
    name: str


class PetModel(pydantic.BaseModel):
    """A pet."""

    id: int
    name: str


@dataclasses.dataclass
class PetBox(Generic[T]):
    """A pet, whatever its number is."""

    id: T
    name: str


class PetPlain:
    """A pet whose author forgot @dataclass."""

    id: int
    name: str


CLASSES = [PetTuple, PetData, PetByName, PetAttrs, PetStruct, PetModel]
PETS = "select id, name from pets order by id"


@pytest.fixture(name="db")
def _db(database: dict[str, Any]) -> Iterator[ImprovedDb]:
    with ImprovedDb(database, max_size=2) as db:
        db.execute_query("create table pets (id int primary key, name varchar(20))")
        db.exec_many("insert into pets values (%s, %s)", [(1, "Rex"), (2, "Tom")])
        yield db


@pytest.fixture(params=["pool", "transaction"])
def verbs(request: pytest.FixtureRequest, db: ImprovedDb) -> Iterator[Any]:
    if request.param == "pool":
        yield db
    else:
        with db.transaction() as tx:
            yield tx


@pytest.mark.parametrize("row_type", CLASSES)
def test_the_columns_fill_the_fields_of_a_class_by_name(verbs: Any, row_type: Any) -> None:
    rows = verbs.fetch_all(PETS, row_type=row_type)
    assert list(rows) == [row_type(id=1, name="Rex"), row_type(id=2, name="Tom")]
    assert rows.rowcount == 2
    assert rows.columns == ("id", "name")
    assert verbs.fetch_one("select name, id from pets where id = %s", 2, row_type=row_type) == row_type(
        id=2, name="Tom"
    )


@pytest.mark.parametrize("row_type", [row_type for row_type in CLASSES if row_type is not PetModel])
def test_a_column_without_a_field_is_an_error_that_names_both(verbs: Any, row_type: Any) -> None:
    with pytest.raises(StatementError, match=rf"{row_type.__name__} has no field 'weight'"):
        verbs.fetch_all("select id, name, 3 as weight from pets", row_type=row_type)


@pytest.mark.parametrize("row_type", [PetTuple, PetData, PetByName, PetAttrs, PetStruct])
def test_a_field_without_a_column_is_an_error_unless_it_has_a_default(verbs: Any, row_type: Any) -> None:
    with pytest.raises(StatementError, match=r"returns no column 'name' for Pet"):
        verbs.fetch_all("select id from pets", row_type=row_type)
    assert verbs.fetch_all("select name from pets where id = 1", row_type=PetByName) == (PetByName(name="Rex", id=0),)


def test_the_columns_are_checked_where_no_row_matches(verbs: Any) -> None:
    with pytest.raises(StatementError, match="no field 'weight'"):
        verbs.fetch_all("select id, name, 3 as weight from pets where false", row_type=PetData)


@pytest.mark.parametrize("row_type", [*CLASSES, OrderedDict])
def test_two_columns_of_one_name_do_not_overwrite_each_other_in_silence(verbs: Any, row_type: Any) -> None:
    with pytest.raises(StatementError, match="more than one column 'id'"):
        verbs.fetch_all("select id, name, id from pets", row_type=row_type)


def test_a_callable_gets_the_values_of_a_row(verbs: Any) -> None:
    assert verbs.fetch_all(PETS, row_type=lambda number, name: f"{number}:{name}") == ("1:Rex", "2:Tom")
    assert verbs.fetch_all("select id from pets order by id", row_type=float) == (1.0, 2.0)


def test_builtin_kinds_of_rows(verbs: Any) -> None:
    assert verbs.fetch_all(PETS) == ((1, "Rex"), (2, "Tom"))
    assert verbs.fetch_all(PETS, row_type=dict) == ({"id": 1, "name": "Rex"}, {"id": 2, "name": "Tom"})
    assert verbs.fetch_all(PETS, row_type=list) == ([1, "Rex"], [2, "Tom"])
    assert verbs.fetch_all(PETS, row_type=OrderedDict)[0] == OrderedDict(id=1, name="Rex")


def test_a_class_with_its_parameters_is_that_class(verbs: Any) -> None:
    """Called with the values it would cut a text into letters, or fill the fields in the order of the columns."""
    names = "select name from pets order by id"
    assert verbs.fetch_all(names, row_type=tuple[str]) == (("Rex",), ("Tom",))
    assert verbs.fetch_all(names, row_type=list[str]) == (["Rex"], ["Tom"])
    assert verbs.fetch_one(PETS, row_type=dict[str, Any]) == {"id": 1, "name": "Rex"}
    assert verbs.fetch_one("select name, id from pets", row_type=PetBox[int]) == PetBox(id=1, name="Rex")


def test_a_callable_that_does_not_take_the_columns_is_an_error_that_names_them(verbs: Any) -> None:
    for row_type in (lambda number: number, PetPlain, PetTuple._make):
        with pytest.raises(StatementError, match=r"does not take the 2 columns of the statement \('id', 'name'\)"):
            verbs.fetch_all(PETS, row_type=row_type)


def test_what_makes_no_row_is_refused_before_anything_is_sent(verbs: Any) -> None:
    async def later(*values: object) -> object:
        return values

    for row_type in (later, Optional[PetData], PetData | None):  # noqa: UP045  # the same, but no class
        with pytest.raises(StatementError, match="row_type"):
            verbs.fetch_all("this is no statement", row_type=row_type)


def test_a_row_type_that_is_not_callable_is_refused_before_anything_is_sent(verbs: Any) -> None:
    with pytest.raises(StatementError, match="row_type must be tuple, dict, a class or a callable"):
        verbs.fetch_all("this is no statement", row_type="dict")


def test_fetch_one_returns_none_or_raises_where_there_is_no_row(verbs: Any) -> None:
    nothing = "select id from pets where id = 99"
    assert verbs.fetch_one(nothing) is None
    with pytest.raises(RowNotFound):
        verbs.fetch_one(nothing, required=True)
    with pytest.raises(LookupError):
        verbs.fetch_value(nothing, required=True)
    assert verbs.fetch_one("select id from pets where id = 1", required=True) == (1,)


def test_fetch_value_tells_a_null_from_no_row(verbs: Any) -> None:
    assert verbs.fetch_value("select name from pets where id = %s", 1) == "Rex"
    assert verbs.fetch_value("select null from pets", default="none") is None
    assert verbs.fetch_value("select name from pets where false", default="none") == "none"
    assert verbs.fetch_value("select name from pets where false") is None


def test_fetch_column_returns_the_first_column(verbs: Any) -> None:
    assert verbs.fetch_column("select name, id from pets order by id desc") == ["Tom", "Rex"]
    assert verbs.fetch_column("select name from pets where false") == []


@pytest.mark.parametrize("row_type", CLASSES)
@pytest.mark.parametrize(
    "statement", ["insert into kept values (%s, %s)", "insert into kept (id, name) values (%(id)s, %(name)s)"]
)
def test_exec_many_takes_records_as_rows(db: ImprovedDb, row_type: Any, statement: str) -> None:
    db.execute_query("create table kept (id int, name varchar(20))")
    rows = [row_type(id=number, name=f"pet {number}") for number in range(3)]
    if row_type is PetByName and "%s" in statement:
        statement = "insert into kept (name, id) values (%s, %s)"  # the order of its fields
    assert db.exec_many(statement, rows).rowcount == 3
    assert db.fetch_all("select id, name from kept order by id", row_type=row_type) == tuple(rows)
    with db.transaction() as tx:
        assert tx.exec_many(statement, iter(rows)).rowcount == 3


@pytest.mark.parametrize("row_type", [kind for kind in CLASSES if kind is not PetTuple])
def test_load_rows_takes_records_by_the_names_of_their_fields(db: ImprovedDb, row_type: Any) -> None:
    db.execute_query("create table kept (name varchar(20), extra int default 7, id int)")
    rows = [row_type(id=number, name=f"pet {number}") for number in range(3)]
    db.load_rows("kept", iter(rows))
    assert db.fetch_all("select id, name from kept order by id", row_type=row_type) == tuple(rows)
    assert db.fetch_column("select distinct extra from kept") == [7]


def test_rows_of_several_classes_each_go_by_their_own_fields(db: ImprovedDb) -> None:
    db.execute_query("create table kept (id int, name varchar(20))")
    rows = [PetData(1, "Rex"), PetByName(name="Tom", id=2), {"id": 3, "name": "Kit"}]
    db.exec_many("insert into kept values (%(id)s, %(name)s)", rows)
    assert db.fetch_all("select * from kept order by id") == ((1, "Rex"), (2, "Tom"), (3, "Kit"))


def test_execute_each_makes_rows_of_any_class(db: ImprovedDb) -> None:
    found = list(db.execute_each("select id, name from pets where id = %s", [2, 9, 1], row_type=PetData))
    assert found == [(PetData(2, "Tom"),), (), (PetData(1, "Rex"),)]
    assert found[0].columns == ("id", "name")
    with pytest.raises(StatementError, match="no field 'weight'"):
        list(db.execute_each("select id, name, 3 as weight from pets where id = %s", [1], row_type=PetData))


def test_a_notebook_shows_a_table(db: ImprovedDb) -> None:
    """What a cell ends with is shown as `_repr_html_` says."""
    shown = db.fetch_all("select 1 as a, '<b>' as `x<y`", row_type=dict)._repr_html_()
    assert shown is not None
    assert "<th>x&lt;y</th>" in shown
    assert "<td>&lt;b&gt;</td>" in shown
    assert db.execute_query("set @x = 1")._repr_html_() is None
