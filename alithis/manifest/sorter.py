"""Sorts hashed data points by their leaves, in bounded memory: from the readers to `builder`.

About four million data points are sorted in memory. If there are more, they are written in *chunks*
(Arrow IPC files) to a work folder, and DuckDB sorts them within a memory limit (an external merge
sort).

A slow source is written in chunks too, every ten seconds, so that an interrupted run loses little
work. The next run with the same *key* (source, form, version) resumes after the last chunk. A chunk
gets its final name when it is complete. The name holds the chunk's number, its number of rows and
the SHA-256 of its bytes, so that a damaged or truncated chunk is detected.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from alithis.base.files import flush, sync_folder, write_errors, write_new
from alithis.base.progress import Progress
from alithis.base.text import first_line
from alithis.errors import SourceError
from alithis.forms.hashing import SIZE
from alithis.manifest.metadata import ITEMS
from alithis.manifest.reader import DataPoints

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

ROWS = 1 << 17
"""Rows of a table, and of a row group of items.parquet."""

_IN_MEMORY = 1 << 22  # data points sorted in memory at most; more are written in chunks
_MAX_HELD = 1 << 28  # bytes of data points in memory at most: names may be long
_CHUNK = 1 << 20  # rows in a chunk, once chunks are written
_PIECE = 1 << 14  # rows that become a table at a time: as Python lists they take 5 times the memory
_MAX_TEXT = (1 << 31) - 1  # bytes of text in a piece: Arrow's offsets have 32 bits
_PATIENCE = 10.0  # seconds of work that an interrupted run may lose
_SORT_MEMORY, _SORT_THREADS = "400MB", 4
_KEY, _PART, _SORTING = "key.json", "chunk.part", "sorting"
_OURS = ("leaf", "path", "size")
_CHUNK_NAME = re.compile(r"(\d{6})-(\d{1,15})-([0-9a-f]{64})\.arrow")


class Collected(Protocol):
    """All data points of a source, which can be read in the order of their leaves."""

    @property
    def rows(self) -> int:
        """The number of data points."""

    @property
    def columns(self) -> dict[str, pa.DataType]:
        """The types of the columns other than leaf, path and size."""

    def tables(self, progress: Progress) -> Iterator[pa.Table]:
        """Yield them in tables of `ROWS` rows; the last one may have fewer."""


@dataclass(frozen=True, slots=True)
class Presorted:
    """Data points that another process or machine has hashed and sorted.

    Attributes:
        rows: the number of data points.
        schema: the schema of the tables.
        source: yields the tables, each with any number of rows; can be read once.
    """

    rows: int
    schema: pa.Schema
    source: Iterable[pa.Table]

    @property
    def columns(self) -> dict[str, pa.DataType]:
        """The types of the columns other than leaf, path and size."""
        return _other_columns(self.schema)

    def tables(self, progress: Progress) -> Iterator[pa.Table]:
        """Yield them in tables of `ROWS` rows; the last one may have fewer.

        Raises:
            SourceError: they are not in the order of leaf, path, size and the other columns, or
                their number is not ``rows``.
        """
        progress.phase("sorting")
        count, last = 0, None
        for table in _regrouped(table.cast(self.schema) for table in self.source):
            # The last row of one table must not come after the first row of the next one either.
            check_order(table if last is None else _concatenated([last, table], self.schema))
            count, last = count + len(table), table.slice(len(table) - 1)
            yield table
        if count != self.rows:
            raise SourceError(
                f"received {count} sorted data points instead of {self.rows}: hash the source again"
            )


def check_order(table: pa.Table) -> None:
    """Check that the rows of a table are in order.

    Raises:
        SourceError: they are not.
    """
    import numpy as np

    order = _order(table.combine_chunks())
    if not np.array_equal(order, np.arange(len(order))):
        raise SourceError(
            "the presorted data points are not in the order of their leaves: sort them again"
        )


def sorted_table(table: pa.Table) -> pa.Table:
    """Sort rows by leaf, path, size and the other columns; nulls come last."""
    table = table.combine_chunks()
    return table.take(indices(_order(table)))


def table_of(items: DataPoints) -> pa.Table:
    """Return data points as a table: leaf, path, size, and the other columns.

    Raises:
        SourceError: another column has one of these names, or Arrow cannot store a value.
    """
    return _table([items], _checked(list(items.columns)))


def settled(schema: pa.Schema) -> pa.Schema:
    """Return the schema with the type text for each column without any value."""
    import pyarrow as pa

    return pa.schema(
        field.with_type(pa.string()) if pa.types.is_null(field.type) else field for field in schema
    )


class Sorter:
    """Collects data points in any order, and yields them sorted."""

    def __init__(self, folder: Path, out: Path, *, key: bytes | None = None) -> None:
        """Start without data points.

        Args:
            folder: the work folder for chunks; the caller makes sure that no other run uses it.
            out: the manifest to be written, which errors name.
            key: identifies the source and how it is read; with None, no work is kept for the next
                run.
        """
        self.rows = 0
        self._folder, self._out, self._key = folder, out, key
        self._chunks: list[_Chunk] = []
        self._held: list[pa.Table] = []
        self._pieces: list[DataPoints] = []
        self._waiting = 0  # rows of the pieces
        self._bytes = 0  # of chunks and held tables
        self._names: list[str] | None = None
        self._schema: pa.Schema | None = None
        self._written = time.monotonic()

    @property
    def names(self) -> list[str]:
        """The names of all columns."""
        return list(self._final_schema().names)

    @property
    def columns(self) -> dict[str, pa.DataType]:
        """The types of the columns other than leaf, path and size."""
        return _other_columns(self._final_schema())

    @property
    def kept(self) -> int:
        """The number of data points that the next run would not have to hash again."""
        return sum(chunk.rows for chunk in self._chunks) if self._key else 0

    def resume(self, progress: Progress, *, restart: bool = False) -> int:
        """Resume the work of an interrupted run with the same key, or remove it.

        Args:
            progress: receives a message about what is resumed, or why it is not.
            restart: whether to remove the work in any case.

        Returns:
            The number of data points that are already hashed.
        """
        with write_errors(self._out):
            if not any(self._folder.iterdir()):
                return 0
            ours = self._key is not None and not restart and self._left_key() == self._key
            if ours:
                self._take_up()
            else:
                self.clear()
        if self._chunks:
            progress.say(f"resuming after {self.rows:,} data points of an interrupted run")
        elif not restart:
            why = "is damaged" if ours else "has a different source, form, option or version"
            progress.say(f"the work of an interrupted run {why}: starting again")
        return self.rows

    def fill(self, batches: Iterable[DataPoints], progress: Progress) -> None:
        """Collect all data points; call it once.

        Raises:
            SourceError: a batch is malformed, the source is empty, or a chunk cannot be written.
        """
        for batch in batches:
            self._add(batch)
            progress.advance(len(batch.paths))
        self._settle()
        if not self.rows:
            raise SourceError("no data points: the source is empty")
        if not self._fits():
            self._write()

    def tables(self, progress: Progress) -> Iterator[pa.Table]:
        """Yield the rows in order, in tables of `ROWS` rows; the last one may have fewer.

        Rows are sorted by leaf, path, size and the other columns. The columns keep the order of
        the source.

        Raises:
            SourceError: sorting failed; most likely the disk is full.
        """
        progress.phase("sorting", self.rows, unit="data points")
        if self._fits():
            yield from self._sorted_in_memory(progress)
        else:
            yield from self._sorted_on_disk(progress)

    def batches(self, names: Sequence[str], progress: Progress) -> Iterator[pa.RecordBatch]:
        """Yield the rows in the order of the source.

        Args:
            names: the columns to yield.
            progress: receives the number of rows that were read.
        """
        schema = self._final_schema()
        tables = chain((chunk.table() for chunk in self._chunks), self._held)
        for table in tables:
            for batch in table.cast(schema).select(names).to_batches(ROWS):
                yield batch
                progress.advance(len(batch))

    def clear(self) -> None:
        """Remove all chunks.

        Raises:
            OSError: a file cannot be removed.
        """
        self._chunks.clear()
        self._remove(set())

    def _remove(self, wanted: set[str]) -> None:
        """Remove the files that runs write here, except ``wanted``; other files stay."""
        shutil.rmtree(self._folder / _SORTING, ignore_errors=True)
        for path in self._folder.iterdir():
            ours = path.name in (_KEY, _PART) or _CHUNK_NAME.fullmatch(path.name)
            if ours and path.name not in wanted:
                path.unlink()

    def _add(self, batch: DataPoints) -> None:
        names, count = list(batch.columns), len(batch.paths)
        if self._names is None:
            self._names = _checked(names)
        lengths = {len(batch.sizes), len(batch.digests) / SIZE, *map(len, batch.columns.values())}
        if lengths != {count} or names != self._names:
            raise SourceError(
                f"a batch of {count} data points has another number of digests, sizes or labels, "
                "or other columns than the batches before"
            )
        self._pieces.append(batch)
        self._waiting += count
        self.rows += count
        if self._waiting >= _PIECE:
            self._settle()
        if self._is_due():
            self._settle()
            self._write()

    def _settle(self) -> None:
        """Turn the collected pieces into an Arrow table."""
        if self._waiting:
            table = _table(self._pieces, self._names or [])
            self._schema = _unified(self._schema, table.schema)
            self._held.append(table)
            self._bytes += table.nbytes
        self._pieces, self._waiting = [], 0

    def _fits(self) -> bool:
        return self.rows <= _IN_MEMORY and self._bytes <= _MAX_HELD

    def _is_due(self) -> bool:
        """Tell whether a chunk must be written now."""
        if self._key and time.monotonic() - self._written > _PATIENCE:
            return True
        held = sum(map(len, self._held))
        return not self._fits() and (held >= _CHUNK or self._bytes > _MAX_HELD)

    def _write(self) -> None:
        """Write the tables in memory as chunks."""
        self._written = time.monotonic()
        if not self._held:
            return
        table = _concatenated(self._held, self._schema)
        self._held.clear()
        with write_errors(self._out):
            if self._key and not self._chunks:
                write_new(self._folder / _KEY, self._key)
            for start in range(0, len(table), _CHUNK):
                rows = table.slice(start, _CHUNK)
                self._chunks.append(_write_chunk(self._folder, len(self._chunks), rows))

    def _left_key(self) -> bytes | None:
        with suppress(OSError):
            return (self._folder / _KEY).read_bytes()
        return None

    def _take_up(self) -> None:
        """Use the chunks before the first missing or damaged one, and remove the rest."""
        for path in sorted(self._folder.glob("*.arrow")):
            chunk = _Chunk.at(path)
            if chunk is None or chunk.number != len(self._chunks) or not chunk.is_whole():
                break
            self._chunks.append(chunk)
            self._bytes += path.stat().st_size
            self._schema = _unified(self._schema, chunk.schema())
        if self._schema is not None:
            self._names = [name for name in self._schema.names if name not in _OURS]
            self._remove({chunk.path.name for chunk in self._chunks} | {_KEY})
        else:
            self._remove(set())
        self.rows = sum(chunk.rows for chunk in self._chunks)

    def _final_schema(self) -> pa.Schema:
        assert self._schema is not None
        return settled(self._schema)

    def _sorted_in_memory(self, progress: Progress) -> Iterator[pa.Table]:
        held = [*(chunk.table() for chunk in self._chunks), *self._held]
        table = _concatenated(held, self._final_schema())
        self._held.clear()
        table = sorted_table(table)
        progress.advance(self.rows)
        for start in range(0, len(table), ROWS):
            yield table.slice(start, ROWS).combine_chunks()

    def _sorted_on_disk(self, progress: Progress) -> Iterator[pa.Table]:
        """Sort with DuckDB, which uses the disk beyond its memory limit."""
        names = self.names
        keys = ", ".join(f"c{at} NULLS LAST" for at in range(len(names)))
        with connected(self._folder / _SORTING, self._out) as database:
            register(database, "rows", self.batches(names, progress))
            found = database.sql(f"SELECT * FROM rows ORDER BY {keys}")  # noqa: S608
            yield from _regrouped(self._restored(batch) for batch in found.to_arrow_reader(ROWS))

    def _restored(self, batch: pa.RecordBatch) -> pa.Table:
        """Restore the names and types of columns, which DuckDB has changed."""
        import pyarrow as pa

        table = pa.Table.from_batches([batch]).rename_columns(self.names)
        return table.cast(self._final_schema())


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A file of rows in the order of the source; its name states what it must contain."""

    path: Path
    number: int
    rows: int
    sha256: str

    @classmethod
    def at(cls, path: Path) -> _Chunk | None:
        """Parse a chunk's file name; None if the file is not a chunk."""
        found = _CHUNK_NAME.fullmatch(path.name)
        return cls(path, int(found[1]), int(found[2]), found[3]) if found else None

    def is_whole(self) -> bool:
        """Tell whether its SHA-256 and its number of rows are those in its name."""
        with self.path.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        return same and len(self.table()) == self.rows

    def schema(self) -> pa.Schema:
        """Return the schema of its rows."""
        import pyarrow as pa

        with pa.memory_map(str(self.path)) as file, pa.ipc.open_stream(file) as reader:
            return reader.schema

    def table(self) -> pa.Table:
        """Map its rows into memory; the pages are read when they are used."""
        import pyarrow as pa

        with pa.memory_map(str(self.path)) as file, pa.ipc.open_stream(file) as reader:
            return reader.read_all()


class _Hashing:
    """A file that hashes the bytes that are written to it, so that they need not be read again."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.sha256 = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _write_chunk(folder: Path, number: int, table: pa.Table) -> _Chunk:
    import pyarrow as pa

    partial = folder / _PART
    with partial.open("wb") as file:
        hashing = _Hashing(file)
        with pa.ipc.new_stream(hashing, table.schema) as writer:
            writer.write_table(table, max_chunksize=ROWS)
        flush(file)
    sha256 = hashing.sha256.hexdigest()
    path = partial.rename(folder / f"{number:06}-{len(table)}-{sha256}.arrow")
    sync_folder(folder)
    return _Chunk(path, number, len(table), sha256)


def _checked(names: list[str]) -> list[str]:
    for name in names:
        if name in _OURS:
            raise SourceError(f"{ITEMS}: the column name {name!r} is reserved; rename the column")
    return names


def _other_columns(schema: pa.Schema) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in schema if field.name not in _OURS}


def _table(pieces: Sequence[DataPoints], names: Sequence[str]) -> pa.Table:
    import pyarrow as pa

    digests = b"".join(piece.digests for piece in pieces)
    count = len(digests) // SIZE
    leaf = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(SIZE), count, [None, pa.py_buffer(digests)]
    )
    try:
        paths = _text([path for piece in pieces for path in piece.paths])
        sizes = _values([size for piece in pieces for size in piece.sizes]).cast(pa.int64())
        others = {
            name: _values([value for piece in pieces for value in piece.columns[name]])
            for name in names
        }
    except (AttributeError, TypeError, ValueError, OverflowError, pa.ArrowException) as error:
        raise _unfit(error) from error
    return pa.table({"leaf": leaf, "path": paths, "size": sizes, **others})


# pyarrow.array imports pandas if it is installed, which takes longer than building most manifests.
# So the common columns, text and 64-bit integers, are built from their buffers.


def _values(values: Sequence[Any]) -> pa.Array:
    import pyarrow as pa

    kinds = set(map(type, values))
    present = None
    if type(None) in kinds:
        present = [value is not None for value in values]
        kinds.remove(type(None))
    if kinds == {str}:
        return _text(["" if value is None else value for value in values], present)
    if kinds == {int}:
        return _numbers([0 if value is None else value for value in values], present)
    return pa.array(values) if kinds else pa.nulls(len(values))


def _text(values: Sequence[str], present: Sequence[bool] | None = None) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    encoded = [value.encode() for value in values]
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum([len(value) for value in encoded], out=offsets[1:])
    if offsets[-1] > _MAX_TEXT:
        raise ValueError(f"{offsets[-1]} bytes of text in {len(values)} rows are too many")
    data = (offsets.astype(np.int32), b"".join(encoded))
    buffers = [_bitmap(present), *map(pa.py_buffer, data)]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


def _numbers(values: Sequence[int], present: Sequence[bool] | None = None) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    buffers = [_bitmap(present), pa.py_buffer(np.array(values, np.int64))]
    return pa.Array.from_buffers(pa.int64(), len(values), buffers)


def _bitmap(present: Sequence[bool] | None) -> pa.Buffer | None:
    """Return Arrow's validity bitmap: a set bit for each value, a clear bit for null."""
    import numpy as np
    import pyarrow as pa

    if present is None:
        return None
    return pa.py_buffer(np.packbits(np.array(present, bool), bitorder="little"))


def indices(places: NDArray[np.intp]) -> pa.Array:
    """Return row numbers as an Arrow array, without `pyarrow.array`, which imports pandas."""
    import numpy as np
    import pyarrow as pa

    return pa.Array.from_buffers(
        pa.int64(), len(places), [None, pa.py_buffer(np.ascontiguousarray(places, np.int64))]
    )


def _unified(known: pa.Schema | None, fresh: pa.Schema) -> pa.Schema:
    """Return a schema for both: the type of a column was inferred from the values of one piece."""
    import pyarrow as pa

    if known is None or known.equals(fresh):
        return fresh
    try:
        return pa.unify_schemas([known, fresh], promote_options="permissive")
    except pa.ArrowException as error:
        raise _unfit(error) from error


def _unfit(error: Exception) -> SourceError:
    return SourceError(f"{ITEMS}: a value cannot be stored: {error}")


def _concatenated(tables: Sequence[pa.Table], schema: pa.Schema | None) -> pa.Table:
    import pyarrow as pa

    try:
        return pa.concat_tables([table.cast(schema) for table in tables])
    except pa.ArrowException as error:
        raise _unfit(error) from error


def _regrouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Cut a stream of rows into tables of `ROWS` rows."""
    import pyarrow as pa

    held: pa.Table | None = None
    for table in tables:
        held = pa.concat_tables([held, table]) if held else table
        while len(held) >= ROWS:
            yield held.slice(0, ROWS).combine_chunks()
            held = held.slice(ROWS)
    if held:
        yield held.combine_chunks()


@contextmanager
def connected(scratch: Path, what: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB database in memory, which spills to a folder beyond its memory limit.

    Args:
        scratch: the folder; it is created when needed, and removed at the end.
        what: the manifest that is sorted, which errors name.

    Raises:
        SourceError: the database fails; most likely the disk is full.
    """
    import duckdb
    import pyarrow as pa

    # DuckDB counts its own memory only, so Arrow's cache would come on top of the limit.
    pa.default_memory_pool().release_unused()
    options: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _SORT_MEMORY,
        "threads": min(_SORT_THREADS, os.cpu_count() or 1),
        "temp_directory": str(scratch),
        "preserve_insertion_order": False,  # every query sorts or groups: it would cost memory
        # DuckDB must not download code.
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    try:
        with duckdb.connect(config=options) as database:
            database.execute("SET enable_progress_bar = false")  # it would print to standard output
            yield database
    except duckdb.Error as error:
        raise SourceError(f"{what}: cannot be sorted: {first_line(error)}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def register(
    database: duckdb.DuckDBPyConnection, name: str, batches: Iterator[pa.RecordBatch]
) -> None:
    """Register rows as a table, which can be read once.

    The columns are named ``c0``, ``c1``, …, since the names of a source may be any text and would
    have to be quoted in SQL.

    Args:
        database: the database.
        name: the name of the table.
        batches: the rows, at least one batch.
    """
    import pyarrow as pa

    first = next(batches)
    schema = pa.schema([field.with_name(f"c{at}") for at, field in enumerate(first.schema)])
    renamed = (batch.rename_columns(schema.names) for batch in chain([first], batches))
    database.register(name, pa.RecordBatchReader.from_batches(schema, renamed))


def leaf_rows(column: pa.Array) -> NDArray[np.uint8]:
    """View a column of leaves as rows of 32 bytes, without a copy.

    Args:
        column: a column of type ``fixed_size_binary[32]`` without nulls.
    """
    import numpy as np

    start = column.offset * SIZE
    values = column.buffers()[1][start : start + len(column) * SIZE]
    return np.frombuffer(values, np.uint8).reshape(-1, SIZE)


def firsts(rows: NDArray[np.uint8], before: bytes) -> NDArray[np.bool_]:
    """Tell for each row whether it differs from the row before it.

    Args:
        rows: rows of 32 bytes.
        before: the row before the first one; empty if there is none.
    """
    import numpy as np

    words = rows.view(np.uint64)  # four comparisons a row instead of 32
    fresh = np.ones(len(rows), bool)
    fresh[:1] = rows[:1].tobytes() != before
    np.any(words[1:] != words[:-1], axis=1, out=fresh[1:])
    return fresh


def _order(table: pa.Table) -> NDArray[np.intp]:
    """Return the row numbers that sort a table by leaf, path, size and the other columns.

    Sorting by the leaves' first eight bytes as integers is cheap, and digests rarely share them:
    among 2^22 random leaves, some pair does with a chance of 1 in 2 million. Only the rows that
    do share them are sorted by all columns: repeats, and leaves that a publisher made to collide.
    """
    import numpy as np

    rows = leaf_rows(table["leaf"].chunk(0))
    keys = _words(rows)[:, 0].astype(np.uint64)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    same = keys[1:] == keys[:-1]
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    if len(tied):
        order[tied] = order[tied][_full_order(table.take(indices(order[tied])).combine_chunks())]
    return order


def _full_order(table: pa.Table) -> NDArray[np.intp]:
    """Return the row numbers that sort a table by all columns, whatever they contain."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # Four big-endian integers have the order of the 32 bytes, and sort four times as fast
    # (measured on 500,000 rows with pyarrow 25).
    words = _words(leaf_rows(table["leaf"].chunk(0)))
    keys = {
        f"leaf{at}": pa.Array.from_buffers(
            pa.uint64(), len(words), [None, pa.py_buffer(words[:, at].astype("=u8"))]
        )
        for at in range(4)
    }
    others = {f"c{at}": table[name] for at, name in enumerate(table.column_names[1:])}
    columns = pa.table(keys | others)
    found: NDArray[np.intp] = pc.sort_indices(
        columns, sort_keys=[(name, "ascending") for name in columns.column_names]
    ).to_numpy()
    return found


def _words(rows: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """View rows of 32 bytes as four integers each, whose order is the order of the bytes."""
    words: NDArray[np.uint64] = rows.view(">u8")
    return words
