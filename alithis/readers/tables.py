"""Tables: Parquet and Arrow files, whole rows or one column of them.

A row group of a Parquet file is a worker's piece of work. Arrow files are read here, batch by
batch; where the form takes more than hashing, the batches go to the workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from alithis.errors import SourceError
from alithis.forms.form import Form
from alithis.forms.pool import Pool
from alithis.manifest.reader import DataPoints
from alithis.readers import columns
from alithis.readers.columns import Choice
from alithis.readers.places import Place, readable, worth
from alithis.readers.source import Skips, Source, fingerprint, in_pieces, joined, shares

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_IPC_FILE = b"ARROW1"
_END = b"\xff\xff\xff\xff\0\0\0\0"  # of an IPC stream
_BATCH_BYTES, _BATCH_ROWS = 1 << 25, 1 << 12
_MAX_ROWS = 1 << 20  # in a piece of work: what is known of each row stands in memory
_MAX_BATCH = 1 << 32


@dataclass(frozen=True, slots=True)
class _Rows:
    """Some rows of a row group of a Parquet file.

    Attributes:
        place: the file.
        group: the row group's index.
        before: rows in the groups before it.
        start: the first of the rows, counted from the group's first.
        stop: the end of them.
        whole: whether all of them are data points, as the file's statistics say.
        batch: rows to decode at a time.
    """

    place: Place
    group: int
    before: int
    start: int
    stop: int
    whole: bool
    batch: int


def parquet(places: Sequence[Place], choice: Choice) -> Source:
    """Take the rows of Parquet files, or the values of a column, as data points.

    Args:
        places: the files, in order.
        choice: what of a row is a data point. A row whose column is null is skipped.

    Raises:
        SourceError: a file cannot be read, or has no such columns.
    """
    pieces, forms = list[_Rows](), list[Form]()
    for place in places:
        with _parquet_file(place) as file:
            forms.append(columns.form_of(choice, file.schema_arrow, place.where))
            pieces += _pieces(place, file.metadata, choice)
    return _of_rows(pieces, places, choice, columns.only(forms))


def _of_rows(
    pieces: Sequence[_Rows], places: Sequence[Place], choice: Choice, form: Form
) -> Source:
    skipped = Skips()

    def digested(pool: Pool, /, first: int = 0) -> Iterator[DataPoints]:
        skipped.clear()
        local = worth(pool, places, form) if all(place.is_local for place in places) else None
        work, count = partial(_digest, choice, form), partial(_count, choice)
        yield from in_pieces(pieces, work, count, pool=local, first=first, skipped=skipped)

    def cut(count: int) -> list[Source]:
        return [_of_rows(part, places, choice, form) for part in shares(pieces, count)]

    whole = all(piece.whole for piece in pieces)
    rows = sum(piece.stop - piece.start for piece in pieces) if whole else None
    facts = fingerprint("parquet", [(each.where, each.stamp) for each in places], choice)
    return Source(form, rows, digested, facts, skipped, cut=cut)


@contextmanager
def _parquet_file(place: Place) -> Iterator[pq.ParquetFile]:
    import pyarrow.parquet as pq

    with place.open() as file, _readable(place):
        yield pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)


@contextmanager
def _readable(place: Place) -> Iterator[None]:
    """Name the file in the errors that reading it brings."""
    import pyarrow as pa

    with readable(place.where):
        try:
            yield
        except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
            lines = str(error).splitlines() or [type(error).__name__]
            raise SourceError(lines[0]) from error


def _pieces(place: Place, data: pq.FileMetaData, choice: Choice) -> Iterator[_Rows]:
    before = 0
    for index in range(data.num_row_groups):
        group = data.row_group(index)
        rows = group.num_rows
        batch = _BATCH_BYTES // max(1, group.total_byte_size // max(1, rows))
        batch = min(max(1, batch), _BATCH_ROWS)
        whole = choice.column is None or _has_no_null(group, choice.column)
        for start in range(0, rows, _MAX_ROWS):
            stop = min(start + _MAX_ROWS, rows)
            yield _Rows(place, index, before, start, stop, whole, batch)
        before += rows


def _has_no_null(group: pq.RowGroupMetaData, name: str) -> bool:
    """Tell whether a group's statistics say that a column has no null."""
    for index in range(group.num_columns):
        chunk = group.column(index)
        if chunk.path_in_schema in (name, f"{name}.bytes"):
            found = chunk.statistics
            return bool(found is not None and found.has_null_count and not found.null_count)
    return False


def _batches(rows: _Rows, choice: Choice) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield batches of a piece, each with the number of its first row in the file."""
    with _parquet_file(rows.place) as file:
        wanted = choice.needed(file.schema_arrow.names)
        at = 0
        for batch in file.iter_batches(rows.batch, [rows.group], wanted, use_threads=False):
            start, stop = max(rows.start - at, 0), min(rows.stop - at, batch.num_rows)
            if start < stop:
                for skip, part in columns.pieces(batch.slice(start, stop - start)):
                    yield rows.before + at + start + skip, part
            at += batch.num_rows
            if at >= rows.stop:
                return
        raise SourceError(f"row group {rows.group} has {at} rows, fewer than the file says")


def _digest(choice: Choice, form: Form, rows: _Rows) -> tuple[DataPoints, Skips]:
    skipped, parts = Skips(), []
    name = rows.place.name
    for start, batch in _batches(rows, choice):
        items, passed = columns.digested(batch, choice, form, name, start)
        skipped.extend(passed)
        parts.append(items)
    return joined(parts), skipped


def _count(choice: Choice, rows: _Rows) -> tuple[int, Skips]:
    if rows.whole:
        return rows.stop - rows.start, Skips()
    count, skipped = 0, Skips()
    for start, batch in _batches(rows, choice):
        found, passed = columns.counted(batch, choice, rows.place.name, start)
        count += found
        skipped.extend(passed)
    return count, skipped


# -- Arrow ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows in memory: their table's name, the number of the first, and the rows."""

    name: str
    start: int
    rows: pa.RecordBatch


def arrow(places: Sequence[Place], choice: Choice) -> Source:
    """Take the rows of Arrow IPC files and streams (Feather, too) as data points.

    Args:
        places: the files, in order.
        choice: what of a row is a data point. A row whose column is null is skipped.

    Raises:
        SourceError: a file cannot be read, or has no such columns.
    """
    forms = []
    for place in places:
        with _arrow_file(place) as file:
            forms.append(columns.form_of(choice, file.schema, place.where))
    facts = fingerprint("arrow", [(each.where, each.stamp) for each in places], choice)
    source = of_batches(lambda: _arrow_batches(places), choice, columns.only(forms), facts)

    def cut(count: int) -> list[Source]:
        return [arrow(part, choice) for part in shares(places, count)]

    return replace(source, cut=cut)


def of_batches(
    batches: Callable[[], Iterator[Batch]],
    choice: Choice,
    form: Form,
    identity: str,
    count: int | None = None,
) -> Source:
    """Take rows that come in batches as data points."""
    skipped = Skips()

    def digested(pool: Pool, /, first: int = 0) -> Iterator[DataPoints]:
        skipped.clear()
        work = partial(_digest_batch, choice, form)
        several = pool if form.name != "bytes" else None  # to hash takes less than to hand over
        yield from in_pieces(
            batches(),
            work,
            partial(_count_batch, choice),
            pool=several,
            first=first,
            skipped=skipped,
        )

    return Source(form, count, digested, identity, skipped)


def _digest_batch(choice: Choice, form: Form, batch: Batch) -> tuple[DataPoints, Skips]:
    skipped, parts = Skips(), []
    for skip, rows in columns.pieces(batch.rows):
        items, passed = columns.digested(rows, choice, form, batch.name, batch.start + skip)
        skipped.extend(passed)
        parts.append(items)
    return joined(parts), skipped


def _count_batch(choice: Choice, batch: Batch) -> tuple[int, Skips]:
    return columns.counted(batch.rows, choice, batch.name, batch.start)


@contextmanager
def _arrow_file(place: Place) -> Iterator[Any]:
    import pyarrow as pa

    with place.open() as file, _readable(place):
        head = file.read(len(_IPC_FILE))
        file.seek(max(0, place.stamp[0] - len(_END)))
        if head != _IPC_FILE and file.read(len(_END)) != _END:  # the reader takes any end
            raise SourceError("no end of the Arrow stream: cut short?")
        file.seek(0)
        yield pa.ipc.open_file(file) if head == _IPC_FILE else pa.ipc.open_stream(file)


def _arrow_batches(places: Sequence[Place]) -> Iterator[Batch]:
    for place in places:
        with _arrow_file(place) as file:
            start = 0
            for rows in _record_batches(file):
                if rows.nbytes > _MAX_BATCH:
                    raise SourceError(f"a batch of {rows.nbytes} bytes; at most {_MAX_BATCH}")
                rows.validate(full=True)  # or offsets could lead out of its memory
                if rows.num_rows:
                    yield Batch(place.name, start, rows)
                start += rows.num_rows


def _record_batches(file: Any) -> Iterator[pa.RecordBatch]:
    if hasattr(file, "num_record_batches"):
        for index in range(file.num_record_batches):
            yield file.get_batch(index)
    else:
        yield from file
