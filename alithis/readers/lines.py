"""Lines: JSON Lines, CSV and TSV, and plain text; compressed or not.

This process cuts a file into blocks of whole lines, and the workers parse and hash them. CSV is
parsed in this process, because a quoted value may contain line ends: only a parser that started at
the top knows where a row ends.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, BinaryIO

from alithis.errors import SourceError
from alithis.forms import record, text
from alithis.forms.form import TEXT, Form
from alithis.forms.hashing import of_bytes
from alithis.forms.pool import Pool
from alithis.manifest.reader import DataPoints
from alithis.readers.columns import MAX_COLUMNS, Choice
from alithis.readers.compression import decompressed
from alithis.readers.data_file import DataFile, identity_of, read_errors, useful_pool
from alithis.readers.source import Skips, Source, digest_pieces, split_evenly

MAX_LINE = 1 << 26
"""Longest line, and longest row of CSV, in bytes: 64 MiB."""

_BLOCK = 1 << 20
_ROWS = 1 << 11
_INT64 = 1 << 63
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class _Piece:
    """Consecutive lines of a file, or rows of a CSV file, from number ``start`` on."""

    data_file: DataFile
    start: int
    rows: Any
    header: tuple[str, ...] = ()


_Work = Callable[[Choice, Form, bool, _Piece], tuple[DataPoints, Skips]]


def jsonl(files: Sequence[DataFile], choice: Choice) -> Source:
    """Read the lines of JSON Lines files as records, or one member of each as text.

    Args:
        files: the files, in order, compressed or not.
        choice: what of a line is a data point. Blank lines are skipped, and lines in which the
            column is null or missing.

    Raises:
        SourceError: while reading: a line is not a JSON object, not UTF-8, or too long.
    """
    return _source("jsonl", files, choice, _line_pieces, _digest_json)


def text_lines(files: Sequence[DataFile], choice: Choice) -> Source:
    """Read the lines of text files as data points, without their line ends (LF or CR LF).

    Args:
        files: the files, in order, compressed or not.
        choice: the form, ``text`` or ``bytes``. Empty lines are skipped.

    Raises:
        SourceError: while reading: a line is not UTF-8, or too long.
    """
    if choice.column or choice.columns or choice.keep:
        raise SourceError(f"{files[0].where}: lines of text have no columns")
    chosen = Choice(choice.form or TEXT)
    return _source("lines", files, chosen, _line_pieces, _digest_lines)


def delimited(files: Sequence[DataFile], choice: Choice, delimiter: str = ",") -> Source:
    """Read the rows of CSV files (RFC 4180) with a header as records, or one column as text.

    Args:
        files: the files, in order, compressed or not.
        choice: what of a row is a data point; every value is a string, also an empty one.
        delimiter: what separates the values: a comma or a tab.

    Raises:
        SourceError: while reading: a row has more or fewer values than the header, a quote is not
            closed, a line is not UTF-8 or too long, or a column is missing.
    """
    cut = partial(_csv_pieces, delimiter)
    return _source(f"csv {delimiter}", files, choice, cut, _digest_rows)


def _source(
    kind: str,
    files: Sequence[DataFile],
    choice: Choice,
    cut: Callable[[DataFile, BinaryIO], Iterator[_Piece]],
    digest: _Work,
) -> Source:
    form = choice.form or (TEXT if choice.column else Form("record", columns=choice.columns))
    form.require()
    skipped = Skips()

    def pieces() -> Iterator[_Piece]:
        for data_file in files:
            with data_file.open() as file, read_errors(data_file.where):
                yield from cut(data_file, decompressed(file))

    def digested(pool: Pool, /, first: int = 0) -> Iterator[DataPoints]:
        skipped.clear()
        work = partial(digest, choice, form, True)
        count = partial(_count, digest, choice, form)
        several = useful_pool(pool, files, form)
        yield from digest_pieces(pieces(), work, count, pool=several, first=first, skipped=skipped)

    def cut_files(count: int) -> list[Source]:
        return [_source(kind, part, choice, cut, digest) for part in split_evenly(files, count)]

    return Source(form, None, digested, identity_of(kind, files, choice), skipped, cut=cut_files)


def _count(digest: _Work, choice: Choice, form: Form, piece: _Piece) -> tuple[int, Skips]:
    items, skipped = digest(choice, form, False, piece)
    return len(items.paths), skipped


# -- Lines ---------------------------------------------------------------------------------------


def _line_pieces(data_file: DataFile, file: BinaryIO) -> Iterator[_Piece]:
    """Cut a file into blocks of whole lines."""
    start, rest = 0, file.read(len(_BOM))
    if rest == _BOM:
        rest = b""
    while block := file.read(_BLOCK):
        head, newline, rest = (rest + block).rpartition(b"\n")
        if newline:
            lines = head.split(b"\n")
            yield _Piece(data_file, start, lines)
            start += len(lines)
        if len(rest) > MAX_LINE:
            raise SourceError(f"{data_file.where}: line {start + 1} has more than {MAX_LINE} bytes")
    if rest:
        yield _Piece(data_file, start, rest.removesuffix(b"\n").split(b"\n"))


class _Points:
    """Collects the data points of a piece."""

    def __init__(self, piece: _Piece, choice: Choice) -> None:
        self._piece, self._keep = piece, choice.keep
        self._digests, self._sizes, self._paths = list[bytes](), list[int](), list[str]()
        self._split = choice.split_of(piece.data_file.name)
        self._columns: dict[str, Any] = {called: [] for called, _ in choice.keep}
        self.skipped = Skips()
        self._at = 0

    def rows(self) -> Iterator[tuple[int, Any]]:
        """Yield the rows, each with its index."""
        for at, row in enumerate(self._piece.rows):
            self._at = at
            yield at, row

    @contextmanager
    def naming(self, what: str, first: int) -> Iterator[None]:
        """Turn errors into ones that name the row; the file's first row has number ``first``."""
        try:
            yield
        except SourceError as error:
            number = self._piece.start + self._at + first
            raise SourceError(f"{self._piece.data_file.where}: {what} {number}: {error}") from error

    def add(self, at: int, digest: bytes, size: int, row: Mapping[str, Any]) -> None:
        self._digests.append(digest)
        self._sizes.append(size)
        self._paths.append(self._name(at))
        for called, name in self._keep:
            self._columns[called].append(_kept(row.get(name)))

    def skip(self, at: int, reason: str) -> None:
        self.skipped.add(self._name(at), reason)

    def result(self) -> tuple[DataPoints, Skips]:
        columns = self._columns | {name: [split] * len(self._paths) for name, split in self._split}
        items = DataPoints(b"".join(self._digests), self._paths, self._sizes, columns)
        return items, self.skipped

    def _name(self, at: int) -> str:
        return f"{self._piece.data_file.name}#{self._piece.start + at}"


def _kept(value: Any) -> str | int | None:
    """Return a value for items.parquet: integers and text unchanged, others as JSON."""
    if value is None or type(value) is str:
        return value
    if type(value) is int and -_INT64 <= value < _INT64:
        return value
    return record.fragment(value)


def _digest_lines(
    choice: Choice, form: Form, hashed: bool, piece: _Piece
) -> tuple[DataPoints, Skips]:
    found = _Points(piece, choice)
    with found.naming("line", 1):
        for at, line in found.rows():
            data = line.removesuffix(b"\r")
            if data:
                found.add(at, of_bytes(form.canonical(data)) if hashed else b"", len(data), {})
            else:
                found.skip(at, "an empty line")
    return found.result()


def _digest_json(
    choice: Choice, form: Form, hashed: bool, piece: _Piece
) -> tuple[DataPoints, Skips]:
    found = _Points(piece, choice)
    with found.naming("line", 1):
        for at, line in found.rows():
            if not line.strip():
                found.skip(at, "a blank line")
                continue
            row = record.parsed(line)
            if choice.column is None:
                data = record.record(record.taken(row, choice.columns)) if hashed else b""
                found.add(at, of_bytes(data), len(data), row)
            elif (value := row.get(choice.column)) is None:
                found.skip(at, f"{choice.column} is null or missing")
            else:
                found.add(at, *_of_text(value, choice.column, form, hashed), row)
    return found.result()


def _of_text(value: Any, column: str, form: Form, hashed: bool) -> tuple[bytes, int]:
    """Return the digest of a text's form, empty unless ``hashed``, and the bytes of it in UTF-8."""
    if type(value) is not str:
        raise SourceError(f"{column} is not text: read it as a record (--columns {column})")
    try:
        data = value.encode()
    except UnicodeEncodeError as error:
        raise SourceError(f"{column} is not Unicode text (half of a surrogate pair)") from error
    return of_bytes(form.canonical(data)) if hashed else b"", len(data)


# -- CSV -----------------------------------------------------------------------------------------


class _Lines:
    """The lines of a file as text, for the CSV parser; the size of a row is limited.

    An unclosed quote makes one row of the rest of the file.
    """

    def __init__(self, data_file: DataFile, file: BinaryIO) -> None:
        self._data_file, self._pieces = data_file, _line_pieces(data_file, file)
        self.row = 0

    def __iter__(self) -> Iterator[str]:
        for piece in self._pieces:
            for at, line in enumerate(piece.rows):
                self.row += len(line)
                if self.row > MAX_LINE:
                    raise self._error(piece.start + at, f"a row of more than {MAX_LINE} bytes")
                yield self._decoded(piece.start + at, line) + "\n"

    def _decoded(self, number: int, line: bytes) -> str:
        try:
            return text.decoded(line)
        except SourceError as error:
            raise self._error(number, str(error)) from error

    def _error(self, number: int, message: str) -> SourceError:
        return SourceError(f"{self._data_file.where}: line {number + 1}: {message}")


def _csv_pieces(delimiter: str, data_file: DataFile, file: BinaryIO) -> Iterator[_Piece]:
    lines = _Lines(data_file, file)
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    rows = _csv_rows(reader, lines, data_file)
    header = next(rows, None)
    if header is None:
        raise SourceError(
            f"{data_file.where}: the file is empty; a header is expected in the first line"
        )
    if len(header) > MAX_COLUMNS or len(set(header)) != len(header):
        raise SourceError(
            f"{data_file.where}: two columns have the same name, or there are over {MAX_COLUMNS}"
        )
    start = 0
    for batch in iter(lambda: list(islice(rows, _ROWS)), []):
        yield _Piece(data_file, start, batch, tuple(header))
        start += len(batch)


def _csv_rows(reader: Any, lines: _Lines, data_file: DataFile) -> Iterator[list[str]]:
    before = csv.field_size_limit(MAX_LINE)
    try:
        for row in reader:
            lines.row = 0
            yield row
    except csv.Error as error:
        raise SourceError(f"{data_file.where}: line {reader.line_num}: {error}") from error
    finally:
        csv.field_size_limit(before)


def _digest_rows(
    choice: Choice, form: Form, hashed: bool, piece: _Piece
) -> tuple[DataPoints, Skips]:
    _check_header(choice, piece)
    found = _Points(piece, choice)
    order, pattern = record.row_pattern(piece.header if choice.columns is None else choice.columns)
    with found.naming("row", 0):
        for at, cells in found.rows():
            if not cells:
                found.skip(at, "an empty line")
                continue
            row = _by_name(piece.header, cells)
            if choice.column is not None:
                found.add(at, *_of_text(row[choice.column], choice.column, form, hashed), row)
                continue
            data = (pattern % tuple(record.quoted(row[name]) for name in order)).encode()
            found.add(at, of_bytes(data) if hashed else b"", len(data), row)
    return found.result()


def _by_name(header: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    if len(cells) != len(header):
        raise SourceError(f"{len(cells)} values; the header has {len(header)}")
    return dict(zip(header, cells, strict=True))


def _check_header(choice: Choice, piece: _Piece) -> None:
    wanted = [choice.column] if choice.column is not None else choice.columns or ()
    for name in (*wanted, *(each for _, each in choice.keep)):
        if name not in piece.header:
            names = ", ".join(piece.header[:20])
            raise SourceError(f"{piece.data_file.where}: no column {name}; the columns are {names}")
