"""Arrow columns → the canonical forms of rows and values (docs/format.md, "record")."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from alithis.base.text import first_line
from alithis.errors import SourceError
from alithis.forms import record
from alithis.forms.form import Form
from alithis.forms.hashing import of_bytes
from alithis.manifest.reader import DataPoints
from alithis.readers.source import Skips, first_folder

if TYPE_CHECKING:
    import pyarrow as pa

MAX_COLUMNS = 1 << 12
MAX_DEPTH = 32

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DECODED = 1 << 28  # bytes that dictionaries are decoded to at a time
_DAY = 86_400
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a row is a data point, and what is kept with it.

    Attributes:
        form: the data points' canonical form; None is ``text`` for a column of strings and
            ``bytes`` for one of bytes, and ``record`` for rows.
        column: the column that contains the data points; None if a data point is a row.
        columns: the columns of a row that are its record; None for all.
        keep: columns to keep: their names in items.parquet, and in the table.
        split_from_folder: whether the first folder of a file's path is the split of its rows.
    """

    form: Form | None = None
    column: str | None = None
    columns: tuple[str, ...] | None = None
    keep: tuple[tuple[str, str], ...] = ()
    split_from_folder: bool = False

    def split_of(self, name: str) -> list[tuple[str, str]]:
        """Return the column ``split`` of a file's rows, if it comes from the folder."""
        return [("split", first_folder(name))] if self.split_from_folder else []

    def needed(self, names: Sequence[str]) -> list[str] | None:
        """Return which of a table's columns to read; None for all."""
        if self.column is None and self.columns is None:
            return None
        wanted = [self.column] if self.column is not None else list(self.columns or ())
        wanted += [name for _, name in self.keep]
        return sorted({_stored(name, names) for name in wanted})


def _stored(name: str, names: Sequence[str]) -> str:
    """Return the table's column for a name, which may be ``COLUMN.FIELD``."""
    return name if name in names else name.partition(".")[0]


def form_of(choice: Choice, schema: pa.Schema, where: str) -> Form:
    """Return the canonical form of a table's data points.

    Raises:
        SourceError: a column is missing, or its type has no such form.
    """
    import pyarrow as pa

    _check_schema(schema, where)
    for _, name in choice.keep:
        _type(schema, name, where)
    if choice.column is None:
        for name in choice.columns or ():
            if name not in schema.names:
                raise _missing(name, schema, where)
        return Form("record", columns=choice.columns)
    kind = _payload(_type(schema, choice.column, where))
    if _is_text(kind):
        return choice.form or Form("text")
    if pa.types.is_null(kind) or _is_bytes(kind):
        return choice.form or Form()
    raise SourceError(
        f"{where}: column {choice.column} has the type {kind}, neither bytes nor text: "
        f"read it as a record (--columns {choice.column})"
    )


def only(forms: Sequence[Form]) -> Form:
    """Return the form of all files.

    Raises:
        SourceError: a column contains bytes in one file and text in another.
    """
    form, *others = dict.fromkeys(forms)
    if others:
        raise SourceError(
            f"some files contain {form.name} and others {others[0].name}; choose one with --form"
        )
    form.require()
    return form


def _check_schema(schema: pa.Schema, where: str) -> None:
    if len(schema.names) > MAX_COLUMNS:
        raise SourceError(
            f"{where}: {len(schema.names)} columns; at most {MAX_COLUMNS} are allowed"
        )
    if len(set(schema.names)) != len(schema.names):
        raise SourceError(f"{where}: two columns have the same name")


def _missing(name: str, schema: pa.Schema, where: str) -> SourceError:
    names = ", ".join(schema.names[:20]) + (", …" if len(schema.names) > 20 else "")
    return SourceError(f"{where}: no column {name}; the columns are {names}")


def _type(schema: pa.Schema, name: str, where: str) -> pa.DataType:
    import pyarrow as pa

    stored = _stored(name, schema.names)
    if stored not in schema.names:
        raise _missing(name, schema, where)
    kind = schema.field(stored).type
    if stored == name:
        return kind
    part = name.removeprefix(f"{stored}.")
    if not pa.types.is_struct(kind) or kind.get_field_index(part) < 0:
        raise _missing(name, schema, where)
    return kind.field(part).type


def _payload(kind: pa.DataType) -> pa.DataType:
    """Return the type of a column's data points; Hugging Face stores a file as bytes and path."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        return _payload(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _payload(kind.value_type)
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return kind.field("bytes").type
    return kind


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    types = pa.types
    kinds = (types.is_string, types.is_large_string, types.is_string_view)
    return any(is_text(kind) for is_text in kinds)


def _is_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    types = pa.types
    kinds = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    return any(is_bytes(kind) for is_bytes in (*kinds, types.is_binary_view))


def digested(
    table: pa.RecordBatch, choice: Choice, form: Form, name: str, start: int
) -> tuple[DataPoints, Skips]:
    """Hash the rows of a table.

    Args:
        table: the rows.
        choice: what of a row is a data point.
        form: the data points' canonical form.
        name: what their paths start with: ``name#0``, ….
        start: the first row's number.

    Raises:
        SourceError: a value has no canonical form; the message names the row.
    """
    import pyarrow as pa

    skipped = Skips()
    try:
        if choice.column is None:
            rows = records(table, choice.columns)
            digests = [of_bytes(row) for row in rows]
            sizes, numbers = list(map(len, rows)), list(range(len(rows)))
        else:
            digests, sizes, numbers = _values(_column(table, choice.column), form)
            for at in sorted(set(range(table.num_rows)).difference(numbers)):
                skipped.add(f"{name}#{start + at}", f"{choice.column} is null")
    except _RowError as error:
        raise SourceError(f"{name}#{start + error.row}: {error}") from error
    except SourceError as error:
        raise SourceError(f"{name}: {error}") from error
    except (pa.ArrowException, MemoryError) as error:
        raise SourceError(f"{name}: {first_line(error)}") from error
    columns: dict[str, Any] = {
        as_: _kept(_column(table, each), numbers) for as_, each in choice.keep
    }
    columns |= {each: [split] * len(numbers) for each, split in choice.split_of(name)}
    paths = [f"{name}#{start + at}" for at in numbers]
    return DataPoints(b"".join(digests), paths, sizes, columns), skipped


def pieces(table: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Cut a table into parts whose decoded dictionaries fit in memory, each with its first row.

    A small file can contain a dictionary with one large value, and a million references to it.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    widest = 1
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            kind = column.type.value_type
            if len(column.dictionary) and (_is_text(kind) or _is_bytes(kind)):
                widest = max(widest, pc.max(pc.binary_length(column.dictionary)).as_py() or 1)
    step = max(1, _DECODED // widest)
    for start in range(0, table.num_rows, step):
        yield start, table.slice(start, step)


def counted(table: pa.RecordBatch, choice: Choice, name: str, start: int) -> tuple[int, Skips]:
    """Count the data points in a table, and list what `digested` would skip."""
    skipped = Skips()
    if choice.column is not None:
        nulls = _inside(_column(table, choice.column)).is_null().to_pylist()
        for at in filter(nulls.__getitem__, range(len(nulls))):
            skipped.add(f"{name}#{start + at}", f"{choice.column} is null")
    return table.num_rows - skipped.count, skipped


class _RowError(SourceError):
    """An error in a row of a batch."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


def _column(table: pa.RecordBatch, name: str) -> pa.Array:
    import pyarrow.compute as pc

    stored = _stored(name, table.schema.names)
    array = _plain(table.column(stored))
    return array if stored == name else pc.struct_field(array, name.removeprefix(f"{stored}."))


def _plain(array: pa.Array) -> pa.Array:
    """Return the values of a dictionary, of run-end encoding, or of an extension type."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(array, pa.ExtensionArray):
        return _plain(array.storage)
    if pa.types.is_dictionary(array.type):
        return _plain(array.dictionary_decode())
    if pa.types.is_run_end_encoded(array.type):
        return _plain(pc.run_end_decode(array))
    return array


def _values(array: pa.Array, form: Form) -> tuple[list[bytes], list[int], list[int]]:
    """Hash a column of bytes or text: digests, sizes and numbers of the rows that are not null."""
    import pyarrow as pa

    array = _inside(array)
    if pa.types.is_null(array.type):
        return [], [], []
    views = list(_views(array))
    numbers = [at for at, view in enumerate(views) if view is not None]
    found = [view for view in views if view is not None]
    sizes = [len(view) for view in found]
    if form.name == "bytes":
        return [hashlib.sha256(view).digest() for view in found], sizes, numbers
    digests = []
    for at, view in zip(numbers, found, strict=True):
        try:
            digests.append(of_bytes(form.canonical(bytes(view))))
        except SourceError as error:
            raise _RowError(at, str(error)) from error
    return digests, sizes, numbers


def _inside(array: pa.Array) -> pa.Array:
    """Return the bytes in a column of files, as Hugging Face stores them.

    Raises:
        _RowError: there is only the path of a file.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_struct(array.type):
        return array
    inside = _plain(pc.struct_field(array, "bytes"))
    if array.type.get_field_index("path") >= 0:
        elsewhere = pc.and_(inside.is_null(), pc.struct_field(array, "path").is_valid())
        if (at := pc.index(elsewhere, True).as_py()) >= 0:
            raise _RowError(at, "contains the path of a file, not its bytes: embed the files first")
    return inside


def _views(array: pa.Array) -> Iterator[memoryview | None]:
    """Yield the bytes of each value without copying them; None for null."""
    import numpy as np
    import pyarrow as pa

    if not len(array):
        return
    large = (array.cast(pa.binary()) if _is_fixed(array) else array).cast(pa.large_binary())
    _, offsets, data = large.buffers()
    ends = np.frombuffer(offsets, np.int64)[large.offset : large.offset + len(large) + 1].tolist()
    view = memoryview(data) if data is not None else memoryview(b"")
    valid = large.is_valid().to_pylist() if large.null_count else None
    for at in range(len(large)):
        yield None if valid and not valid[at] else view[ends[at] : ends[at + 1]]


def _is_fixed(array: pa.Array) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_fixed_size_binary(array.type))


def _kept(array: pa.Array, numbers: Sequence[int]) -> list[str | int | None]:
    """Return values for items.parquet: integers and text unchanged, others as JSON."""
    import pyarrow as pa

    array = _plain(array)
    kind = array.type
    if len(numbers) != len(array):
        array = array.take(pa.array(numbers, pa.int64()))
    if _is_text(kind) or (pa.types.is_integer(kind) and kind != pa.uint64()):
        return list(array.to_pylist())
    return [None if each is None else record.fragment(each) for each in values(array)]


def records(table: pa.RecordBatch, columns: Sequence[str] | None = None) -> list[bytes]:
    """Return the rows of a table as canonical JSON.

    Args:
        table: the rows; its columns' names are distinct.
        columns: the columns to read; by default all.

    Raises:
        SourceError: a value has no JSON form.
    """
    names, pattern = record.row_pattern(table.schema.names if columns is None else columns)
    if not names:
        raise SourceError("the table has no columns")
    cells = [_fragments(table.column(name), name) for name in names]
    return [(pattern % row).encode() for row in zip(*cells, strict=True)]


def _fragments(array: pa.Array, name: str) -> list[str]:
    try:
        return [record.fragment(value) for value in values(array)]
    except SourceError as error:
        raise SourceError(f"column {name}: {error}") from error


def values(array: pa.Array, depth: int = 0) -> list[Any]:
    """Return the values of a column as JSON values.

    Raises:
        SourceError: the type, or a value, has no JSON form.
    """
    import pyarrow as pa

    if depth > MAX_DEPTH:
        raise SourceError(f"nested more than {MAX_DEPTH} deep")
    array = _plain(array)
    kind, types = array.type, pa.types
    if _is_text(kind):
        return _texts(array)
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind):
        return list(array.to_pylist())
    if (scalar := _scalar(kind)) is not None:
        raw, convert = scalar
        for each in raw:
            array = array.cast(each)
        return [None if each is None else convert(each) for each in array.to_pylist()]
    if types.is_struct(kind):
        return _structs(array, depth)
    if types.is_map(kind):
        return _maps(array, depth)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _lists(array, values(array.flatten(), depth + 1))
    raise SourceError(f"type {kind} has no JSON form")


def _texts(array: pa.Array) -> list[Any]:
    try:
        return list(array.to_pylist())
    except UnicodeDecodeError as error:
        raise SourceError(f"not UTF-8: {error.reason}") from error


def _structs(array: pa.Array, depth: int) -> list[Any]:
    names = [array.type.field(at).name for at in range(array.type.num_fields)]
    if len(set(names)) != len(names):
        raise SourceError("two fields of a struct have one name")
    if not names:
        return [{} if valid else None for valid in array.is_valid().to_pylist()]
    rows = zip(*(values(each, depth + 1) for each in array.flatten()), strict=True)
    return [
        dict(zip(names, row, strict=True)) if valid else None
        for row, valid in zip(rows, array.is_valid().to_pylist(), strict=True)
    ]


def _maps(array: pa.Array, depth: int) -> list[Any]:
    ends = array.offsets.to_pylist()
    inside = [
        values(part.slice(ends[0], ends[-1] - ends[0]), depth + 1)
        for part in (array.keys, array.items)
    ]
    pairs = [list(pair) for pair in zip(*inside, strict=True)]
    return [
        pairs[ends[at] - ends[0] : ends[at + 1] - ends[0]] if valid else None
        for at, valid in enumerate(array.is_valid().to_pylist())
    ]


def _lists(array: pa.Array, inside: list[Any]) -> list[Any]:
    """Cut the values of all lists into one list each."""
    import pyarrow.compute as pc

    result: list[Any] = []
    at = 0
    lengths = pc.list_value_length(array).to_pylist()
    for length, valid in zip(lengths, array.is_valid().to_pylist(), strict=True):
        result.append(inside[at : at + length] if valid else None)
        at += length if valid else 0
    return result


def _scalar(kind: pa.DataType) -> tuple[list[pa.DataType], Callable[[Any], Any]] | None:
    """Return the types to cast a column to, in order, and the function to apply to its values."""
    import pyarrow as pa

    types = pa.types
    if types.is_floating(kind):
        return [pa.float64()], record.number
    if types.is_decimal(kind):
        return [], lambda value: format(value, "f")
    if _is_bytes(kind):
        return [], lambda value: base64.b64encode(value).decode()
    if types.is_date(kind):
        return [pa.date32(), pa.int32()], _date
    if types.is_time(kind):
        return [pa.int32() if types.is_time32(kind) else pa.int64()], partial(_time, kind.unit)
    if types.is_timestamp(kind):
        return [pa.int64()], partial(_timestamp, kind.unit, "Z" if kind.tz is not None else "")
    if types.is_duration(kind):
        return [pa.int64()], partial(_duration, kind.unit)
    return None


def _date(days: int) -> str:
    try:
        return (_EPOCH + timedelta(days)).isoformat()
    except OverflowError as error:
        raise SourceError("a date outside the years 1 to 9999") from error


def _time(unit: str, value: int) -> str:
    seconds, rest = divmod(value, _PER_SECOND[unit])
    minutes, second = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}{_fraction(rest, unit)}"


def _timestamp(unit: str, zone: str, value: int) -> str:
    days, rest = divmod(value, _DAY * _PER_SECOND[unit])
    return f"{_date(days)}T{_time(unit, rest)}{zone}"


def _duration(unit: str, value: int) -> str:
    seconds, rest = divmod(abs(value), _PER_SECOND[unit])
    return f"{'-' * (value < 0)}{seconds}{_fraction(rest, unit)}s"


def _fraction(rest: int, unit: str) -> str:
    digits = len(str(_PER_SECOND[unit])) - 1
    return f".{rest:0{digits}}".rstrip("0") if rest else ""
