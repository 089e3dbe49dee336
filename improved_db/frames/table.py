"""Arrow tables from the packets of rows, column by column: no Python object is made for a value.

The compiled `split` of `_rows.c` copies the bytes of each column together, and Arrow casts the texts. Without it, a
block of row packets is one array of bytes, in which numpy finds all lengths and NULLs of a column at once.

Knows the layout of a row packet, numpy and Arrow. Does not know connections or statements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pymysql.err import InternalError

from improved_db.frames.libraries import library
from improved_db.frames.types import cast, type_of
from improved_db.wire.decoders import make_splitter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: One block has at most so many rows and about so many bytes: the work on it takes several times its size.
BLOCK_ROWS: Final = 100_000
BLOCK_BYTES: Final = 16_000_000

_NULL: Final = 251
#: What the first byte of a long value says, and how many bytes its length takes.
_LONG: Final = ((252, 2), (253, 3), (254, 8))


class Columns:
    """The columns of one result.

    Attributes:
        schema: Their names and types, as a pyarrow.Schema.
    """

    def __init__(self, result: Any, zero_dates: str) -> None:
        """Choose the types.

        Args:
            result: What was read, with ``fields`` and ``converters``.
            zero_dates: "raise" or "null".

        Raises:
            ValueError: *zero_dates* is neither.
            ImportError: pyarrow or numpy is missing.
        """
        if zero_dates not in {"raise", "null"}:
            raise ValueError(f'zero_dates must be "raise" or "null", not {zero_dates!r}')
        self._arrow, self._numpy = library("pyarrow"), library("numpy")
        library("pyarrow.compute")
        self._null_dates = zero_dates == "null"
        self._fields = tuple(result.fields)
        self._compiled = make_splitter(len(self._fields))
        self._encodings = tuple(encoding for encoding, _ in result.converters)
        pairs = zip(self._fields, self._encodings, strict=True)
        self.schema: Any = self._arrow.schema([(field.name, type_of(field, encoding)) for field, encoding in pairs])

    def table(self, packets: Sequence[bytes]) -> Any:
        """Return all rows as a pyarrow.Table."""
        return self._arrow.Table.from_batches(map(self.batch, blocks(packets)), self.schema)

    def batch(self, packets: Sequence[bytes]) -> Any:
        """Return a block of rows as a pyarrow.RecordBatch.

        Args:
            packets: The payload of each row's packet.

        Raises:
            StatementError: A column has a date that is none.
            pymysql.err.InternalError: A row does not fill its packet.
        """
        if packets and type(packets[0]) is not bytes:
            raise InternalError("frames need this package's own reader of results, which this PyMySQL does not allow")
        raws = self._split(packets) if self._compiled is None else self._compiled_split(packets)
        arrays = [
            cast(raw, field, encoding, kind, null_dates=self._null_dates)
            for raw, field, encoding, kind in zip(raws, self._fields, self._encodings, self.schema.types, strict=True)
        ]
        return self._arrow.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _compiled_split(self, packets: Sequence[bytes]) -> Iterator[Any]:
        """Return for each column an Arrow array of the bytes of its values."""
        assert self._compiled is not None
        arrow, rows = self._arrow, len(packets)
        bits = (rows + 63) // 64 * 8
        before = bits + 4 * (rows + 1)
        for column in self._compiled(packets):
            whole = arrow.py_buffer(column)
            buffers = [whole.slice(0, bits), whole.slice(bits, before - bits), whole.slice(before)]
            found = arrow.Array.from_buffers(arrow.binary(), rows, buffers)
            yield found if found.null_count else arrow.Array.from_buffers(arrow.binary(), rows, [None, *buffers[1:]])

    def _split(self, packets: Sequence[bytes]) -> list[Any]:
        """Do as `_compiled_split`."""
        numpy = self._numpy
        sizes = numpy.fromiter(map(len, packets), numpy.int64, len(packets))
        data = numpy.frombuffer(b"".join(packets) + bytes(9), numpy.uint8)
        ends = numpy.cumsum(sizes)
        position = ends - sizes
        arrays = []
        for _ in self._fields:
            starts, lengths, nulls = self._values(data, position, ends)
            position = starts + lengths
            arrays.append(self._binary(data, starts, lengths, nulls))
        if not numpy.array_equal(position, ends):
            raise _malformed()
        return arrays

    def _values(self, data: Any, position: Any, ends: Any) -> tuple[Any, Any, Any]:
        """Return where the values at *position* start, how long they are, and which are NULL (None: none of them)."""
        numpy = self._numpy
        if (position >= ends).any():
            raise _malformed()
        lengths = data[position].astype(numpy.int64)
        starts = position + 1
        nulls = None
        if len(lengths) and lengths.max() >= _NULL:
            first = lengths.copy()
            nulls = first == _NULL
            lengths[nulls] = 0
            if (first > _LONG[-1][0]).any():
                raise _malformed()
            for mark, size in _LONG:
                (where,) = numpy.nonzero(first == mark)
                if len(where):
                    at = starts[where]
                    if (at + size > ends[where]).any():
                        raise _malformed()
                    lengths[where] = sum(data[at + byte].astype(numpy.int64) << 8 * byte for byte in range(size))
                    starts[where] += size
        if (lengths < 0).any() or (lengths > ends - starts).any():
            raise _malformed()
        return starts, lengths, nulls

    def _binary(self, data: Any, starts: Any, lengths: Any, nulls: Any) -> Any:
        """Return an Arrow array of the bytes of the values."""
        numpy, arrow = self._numpy, self._arrow
        offsets = numpy.zeros(len(lengths) + 1, numpy.int64)
        numpy.cumsum(lengths, out=offsets[1:])
        total = int(offsets[-1])
        places = numpy.arange(total, dtype=numpy.int32)  # no packet, and so no block, has as many as 2**31 bytes
        places += numpy.repeat((starts - offsets[:-1]).astype(numpy.int32), lengths)
        mask = None
        if nulls is not None and nulls.any():
            mask = arrow.py_buffer(numpy.packbits(~nulls, bitorder="little").tobytes())
        buffers = [mask, arrow.py_buffer(offsets.astype(numpy.int32)), arrow.py_buffer(data[places])]
        return arrow.Array.from_buffers(arrow.binary(), len(lengths), buffers)


def blocks(packets: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut *packets* into blocks of limited size; each has at least one row."""
    for start in range(0, len(packets), BLOCK_ROWS):
        yield from _halves(packets[start : start + BLOCK_ROWS])


def _halves(packets: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    if len(packets) > 1 and sum(map(len, packets)) > BLOCK_BYTES:
        middle = len(packets) // 2
        yield from _halves(packets[:middle])
        yield from _halves(packets[middle:])
    else:
        yield packets


def _malformed() -> InternalError:
    return InternalError("a row does not fill its packet")
