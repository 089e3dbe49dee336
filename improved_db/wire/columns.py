"""The names and types of a result's columns, and how to read its rows.

The column definitions of a statement are the same each time, byte for byte. So the process keeps the shapes made from
them, for all its connections.

Knows column definitions and how PyMySQL chooses converters. Does not know sockets or results.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import pymysql.connections
from pymysql import converters
from pymysql.constants import FIELD_TYPE
from pymysql.protocol import FieldDescriptorPacket

from improved_db.wire.decoders import Decoder, make_decoder, make_packets_decoder
from improved_db.wire.packets import HEADER, malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from improved_db.wire.decoders import Column
    from improved_db.wire.packets import Session

BINARY: Final = 63  # the charset of values that are not text
VECTOR: Final = 242  # MySQL's since 9.0, four bytes for each number; not in PyMySQL's constants

#: How many shapes are kept, and how many bytes of definitions one may have. Column names may come from literals in
#: statements, so the number of shapes has no limit of its own.
KEPT: Final = 512
KEPT_SIZE: Final = 8192

_kept: dict[tuple[bytes, str, bool], Shape] = {}


class Shape:
    """The columns of a result.

    Attributes:
        fields: PyMySQL's `FieldDescriptorPacket` of each column.
        description: The seven items of DB-API 2.0 for each column.
        columns: Encoding and converter of each column, as PyMySQL chooses them.
    """

    __slots__ = ("_codes", "_dicts", "_found", "_tuples", "columns", "description", "fields")

    def __init__(self, fields: list[Any], session: Session) -> None:
        """Choose the converters for *fields* under the settings of *session*."""
        decoders = session.decoders
        self.fields: list[Any] = fields
        self.description: tuple[Any, ...] = tuple(field.description() for field in fields)
        self._codes = tuple(field.type_code for field in fields)
        self._found = tuple(map(decoders.get, self._codes))
        self.columns: list[Column] = [
            (_encoding(field, session), None if converter is converters.through else converter)
            for field, converter in zip(fields, self._found, strict=True)
        ]
        self._tuples: Decoder | None = None
        self._dicts: Decoder | None = None

    def fits(self, decoders: Mapping[int, Callable[[Any], Any]]) -> bool:
        """Say whether *decoders* still has the same converters; users may change it at any time."""
        return tuple(map(decoders.get, self._codes)) == self._found

    def decoder(self, row_kind: type) -> Decoder:
        """Return the decoder of rows as `tuple`, `dict` or `bytes`."""
        if row_kind is bytes:
            return make_packets_decoder()
        if row_kind is tuple:
            if self._tuples is None:
                self._tuples = make_decoder(self.columns)
            return self._tuples
        if self._dicts is None:
            self._dicts = make_decoder(self.columns, keys(self.fields))
        return self._dicts


def shape_of(definitions: bytes, session: Session) -> Shape:
    """Return the shape of a result.

    Args:
        definitions: The packets of all its column definitions, with their headers.
        session: Whose encoding, ``use_unicode`` and ``decoders`` apply.

    Raises:
        pymysql.err.InternalError: A definition is invalid.
    """
    key = (definitions, session.encoding, session.use_unicode)
    shape = _kept.get(key)
    if shape is None or not shape.fits(session.decoders):
        shape = Shape(_fields(definitions, session.encoding), session)
        if len(definitions) <= KEPT_SIZE:
            if len(_kept) >= KEPT:
                _kept.clear()  # rare and cheap; dropping the oldest would need a lock
            _kept[key] = shape
    return shape


def _fields(definitions: bytes, encoding: str) -> list[FieldDescriptorPacket]:
    fields = []
    start = 0
    while start < len(definitions):
        end = start + HEADER + int.from_bytes(definitions[start : start + 3], "little")
        try:
            fields.append(FieldDescriptorPacket(definitions[start + HEADER : end], encoding))
        except (AssertionError, AttributeError, IndexError, struct.error) as error:
            raise malformed("a column definition") from error
        start = end
    return fields


def _encoding(field: Any, session: Session) -> str | None:
    """Return the encoding of a column's values, None for bytes, by the rules of PyMySQL's ``_get_descriptions``."""
    if not session.use_unicode or field.type_code == VECTOR:  # PyMySQL tries ASCII, which fails
        return None
    if field.type_code == FIELD_TYPE.JSON:  # its charset is binary in a table and the connection's in a cast
        return str(session.encoding)
    if field.type_code in pymysql.connections.TEXT_TYPES:
        return None if field.charsetnr == BINARY else str(session.encoding)
    return "ascii"


def row_kind(dict_rows: bool | type) -> type:
    """Return what rows are: tuples, with True dicts, with `bytes` the payloads of their packets, for frames."""
    return dict_rows if isinstance(dict_rows, type) else dict if dict_rows else tuple


def keys(fields: Sequence[Any]) -> list[str]:
    """Return the keys of dict rows, by the rule of PyMySQL's `DictCursor`: a repeated name is preceded by its table."""
    names: list[str] = []
    for field in fields:
        names.append(f"{field.table_name}.{field.name}" if field.name in names else field.name)
    return names
