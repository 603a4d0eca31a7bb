"""Tables: Parquet and Arrow files, whole rows or one column of them.

Workers each take rows of a row group of a Parquet file. Arrow files are read in this process, batch
by batch; batches are sent to the workers only if their form takes more work than hashing, because
sending a batch takes longer than to hash it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from alithis.base.text import first_line
from alithis.errors import SourceError
from alithis.forms.form import Form
from alithis.forms.pool import Pool
from alithis.manifest.reader import DataPoints
from alithis.readers import columns
from alithis.readers.columns import Choice
from alithis.readers.data_file import DataFile, identity_of, read_errors, useful_pool
from alithis.readers.source import Skips, Source, concatenated, digest_pieces, split_evenly

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_IPC_FILE = b"ARROW1"
_END = b"\xff\xff\xff\xff\0\0\0\0"  # of an IPC stream
_BATCH_BYTES, _BATCH_ROWS = 1 << 25, 1 << 12
_MAX_ROWS = 1 << 20  # in a piece: path, size and columns of each row are in memory
_MAX_BATCH = 1 << 32


@dataclass(frozen=True, slots=True)
class _RowRange:
    """Consecutive rows of a row group of a Parquet file.

    Attributes:
        data_file: the file.
        group: the row group's index.
        before: number of rows in the groups before it.
        start: the first row, counted from the start of the group.
        stop: the row after the last.
        whole: whether all are data points, according to the file's statistics.
        batch: number of rows to decode at a time.
    """

    data_file: DataFile
    group: int
    before: int
    start: int
    stop: int
    whole: bool
    batch: int


def parquet(files: Sequence[DataFile], choice: Choice) -> Source:
    """Read the rows of Parquet files, or the values of a column.

    Args:
        files: the files, in order.
        choice: what of a row is a data point. A row whose column is null is skipped.

    Raises:
        SourceError: a file cannot be read, or a column is missing.
    """
    pieces, forms = list[_RowRange](), list[Form]()
    for data_file in files:
        with _parquet_file(data_file) as file:
            forms.append(columns.form_of(choice, file.schema_arrow, data_file.where))
            pieces += _pieces(data_file, file.metadata, choice)
    return _of_rows(pieces, files, choice, columns.only(forms))


def _of_rows(
    pieces: Sequence[_RowRange], files: Sequence[DataFile], choice: Choice, form: Form
) -> Source:
    skipped = Skips()

    def digested(pool: Pool, /, first: int = 0) -> Iterator[DataPoints]:
        skipped.clear()
        local = (
            useful_pool(pool, files, form)
            if all(data_file.is_local for data_file in files)
            else None
        )
        work, count = partial(_digest, choice, form), partial(_count, choice)
        yield from digest_pieces(pieces, work, count, pool=local, first=first, skipped=skipped)

    def cut(count: int) -> list[Source]:
        return [_of_rows(part, files, choice, form) for part in split_evenly(pieces, count)]

    whole = all(piece.whole for piece in pieces)
    rows = sum(piece.stop - piece.start for piece in pieces) if whole else None
    identity = identity_of("parquet", files, choice)
    return Source(form, rows, digested, identity, skipped, cut=cut)


@contextmanager
def _parquet_file(data_file: DataFile) -> Iterator[pq.ParquetFile]:
    import pyarrow.parquet as pq

    with data_file.open() as file, _readable(data_file):
        yield pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)


@contextmanager
def _readable(data_file: DataFile) -> Iterator[None]:
    """Turn PyArrow's errors into ones that name the file."""
    import pyarrow as pa

    with read_errors(data_file.where):
        try:
            yield
        except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
            raise SourceError(first_line(error)) from error


def _pieces(data_file: DataFile, data: pq.FileMetaData, choice: Choice) -> Iterator[_RowRange]:
    before = 0
    for index in range(data.num_row_groups):
        group = data.row_group(index)
        rows = group.num_rows
        batch = _BATCH_BYTES // max(1, group.total_byte_size // max(1, rows))
        batch = min(max(1, batch), _BATCH_ROWS)
        whole = choice.column is None or _has_no_null(group, choice.column)
        for start in range(0, rows, _MAX_ROWS):
            stop = min(start + _MAX_ROWS, rows)
            yield _RowRange(data_file, index, before, start, stop, whole, batch)
        before += rows


def _has_no_null(group: pq.RowGroupMetaData, name: str) -> bool:
    """Return whether a group's statistics state that a column has no null."""
    for index in range(group.num_columns):
        chunk = group.column(index)
        if chunk.path_in_schema in (name, f"{name}.bytes"):
            found = chunk.statistics
            return bool(found is not None and found.has_null_count and not found.null_count)
    return False


def _batches(rows: _RowRange, choice: Choice) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield batches of a piece, each with the number of its first row in the file."""
    with _parquet_file(rows.data_file) as file:
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
        raise SourceError(
            f"row group {rows.group} has {at} rows, fewer than the file states: damaged"
        )


def _digest(choice: Choice, form: Form, rows: _RowRange) -> tuple[DataPoints, Skips]:
    skipped, parts = Skips(), []
    name = rows.data_file.name
    for start, batch in _batches(rows, choice):
        items, passed = columns.digested(batch, choice, form, name, start)
        skipped.extend(passed)
        parts.append(items)
    return concatenated(parts), skipped


def _count(choice: Choice, rows: _RowRange) -> tuple[int, Skips]:
    if rows.whole:
        return rows.stop - rows.start, Skips()
    count, skipped = 0, Skips()
    for start, batch in _batches(rows, choice):
        found, passed = columns.counted(batch, choice, rows.data_file.name, start)
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


def arrow(files: Sequence[DataFile], choice: Choice) -> Source:
    """Read the rows of Arrow IPC files and streams, and of Feather files (version 2).

    Args:
        files: the files, in order.
        choice: what of a row is a data point. A row whose column is null is skipped.

    Raises:
        SourceError: a file cannot be read, or a column is missing.
    """
    forms = []
    for data_file in files:
        with _arrow_file(data_file) as file:
            forms.append(columns.form_of(choice, file.schema, data_file.where))
    identity = identity_of("arrow", files, choice)
    source = of_batches(lambda: _arrow_batches(files), choice, columns.only(forms), identity)

    def cut(count: int) -> list[Source]:
        return [arrow(part, choice) for part in split_evenly(files, count)]

    return replace(source, cut=cut)


def of_batches(
    batches: Callable[[], Iterator[Batch]],
    choice: Choice,
    form: Form,
    identity: str,
    count: int | None = None,
) -> Source:
    """Return a source of rows that come in batches; see `Source` for ``identity`` and ``count``."""
    skipped = Skips()

    def digested(pool: Pool, /, first: int = 0) -> Iterator[DataPoints]:
        skipped.clear()
        work = partial(_digest_batch, choice, form)
        several = pool if form.name != "bytes" else None  # hashing is faster than sending
        yield from digest_pieces(
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
    return concatenated(parts), skipped


def _count_batch(choice: Choice, batch: Batch) -> tuple[int, Skips]:
    return columns.counted(batch.rows, choice, batch.name, batch.start)


@contextmanager
def _arrow_file(data_file: DataFile) -> Iterator[Any]:
    import pyarrow as pa

    with data_file.open() as file, _readable(data_file):
        head = file.read(len(_IPC_FILE))
        file.seek(max(0, data_file.stamp[0] - len(_END)))
        # PyArrow accepts a truncated stream, so data points would be lost without an error.
        if head != _IPC_FILE and file.read(len(_END)) != _END:
            raise SourceError(
                "the end mark of the Arrow stream is missing: cut short. Download it again"
            )
        file.seek(0)
        yield pa.ipc.open_file(file) if head == _IPC_FILE else pa.ipc.open_stream(file)


def _arrow_batches(files: Sequence[DataFile]) -> Iterator[Batch]:
    for data_file in files:
        with _arrow_file(data_file) as file:
            start = 0
            for rows in _record_batches(file):
                if rows.nbytes > _MAX_BATCH:
                    raise SourceError(
                        f"a batch of {rows.nbytes} bytes; at most {_MAX_BATCH} are allowed"
                    )
                rows.validate(full=True)  # offsets in a hostile file could point outside its memory
                if rows.num_rows:
                    yield Batch(data_file.name, start, rows)
                start += rows.num_rows


def _record_batches(file: Any) -> Iterator[pa.RecordBatch]:
    if hasattr(file, "num_record_batches"):
        for index in range(file.num_record_batches):
            yield file.get_batch(index)
    else:
        yield from file
