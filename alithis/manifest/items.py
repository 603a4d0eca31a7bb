"""Summarises a manifest's items for reports: bytes, kinds of files, and the files of a model.

The items files are untrusted and can decompress to any size. Each is compared with its SHA-256
before it is parsed, and is read in pieces.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alithis.base.text import clipped, first_line
from alithis.errors import FormatError, IntegrityError, NotStoredError, SourceError, StorageError
from alithis.forms.form import BYTES
from alithis.forms.hashing import SIZE
from alithis.manifest.metadata import FileEntry
from alithis.manifest.proof import Inclusion
from alithis.manifest.reader import Manifest, RangeReader

if TYPE_CHECKING:
    import pyarrow as pa

MAX_BYTES = 1 << 28
"""Bytes of items at most: about five million data points."""
MAX_ROWS = 1 << 25
"""Rows of items at most: a few bytes of Parquet can encode any number."""
MAX_FILES = 100_000
"""Files of a model at most."""
MAX_PATH = 4_096
"""Characters of a file's path at most."""

_BATCH = 1 << 16
_BLOCK = 1 << 20
_PIECE = 1 << 26  # bytes of a piece of a large file (docs/format.md)
_TENSORS = ".safetensors"
_SUFFIX = r"\.(?P<ending>[A-Za-z0-9]{1,10})$"


@dataclass(frozen=True, slots=True)
class ItemTotals:
    """A summary of an artifact's data points, as its items state them.

    Attributes:
        bytes: their total size, repeats counted; None if a size is not known.
        endings: the number of paths with each extension, in lower case and without the dot.
    """

    bytes: int | None
    endings: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file of a model.

    Attributes:
        name: its path, relative and POSIX.
        digest: SHA-256 of its bytes, 32 bytes.
        size: its size in bytes.
    """

    name: str
    digest: bytes
    size: int


def item_totals(manifest: Manifest) -> ItemTotals:
    """Summarise a manifest's items.

    Raises:
        StorageError: the items are not available, withheld by their publisher, or too many.
        SourceError: they cannot be read.
        IntegrityError: they differ from what the metadata states.
        FormatError: their contents contradict each other.
    """
    total: int | None = 0
    endings = Counter[str]()
    for batch in _batches(manifest, ["path", "size"]):
        size = _sum(batch["size"], manifest.metadata.name)
        total = None if total is None or batch["size"].null_count else total + size
        endings += _endings(batch["path"])
    return ItemTotals(total, dict(endings.most_common()))


def model_files(manifest: Manifest) -> list[ModelFile]:
    """Return a model's files, sorted by name. Each is proved to be in the model's tree.

    Raises:
        AlithisError: as `item_totals` does. Also a FormatError if the artifact is not a model, and
            a StorageError if its leaves are not digests of files.
    """
    stated = manifest.metadata
    if stated.kind != "model":
        raise FormatError(f"{stated.name}: is a {stated.kind}, not a model")
    if (stated.form, stated.scheme) != (BYTES, "sha256"):
        raise StorageError(f"{stated.name}: its leaves are not SHA-256 digests of files")
    rows, tensors = dict[str, ModelFile](), set[str]()
    for batch in _batches(manifest, ["leaf", "path", "size"], ["dtype"]):
        columns = {name: column.to_pylist() for name, column in batch.items()}
        types = columns.pop("dtype", None) or [""] * len(columns["path"])
        for leaf, path, size, dtype in zip(*columns.values(), types, strict=True):
            _take(rows, leaf, path, size, stated.name)
            if dtype:
                tensors.add(path)
    for path in sorted(tensors):
        if not _is_tensor(path, rows, tensors):
            raise FormatError(
                f"{stated.name}: the tensor {clipped(path)} belongs to no file in its items"
            )
    found = [
        row
        for path, row in sorted(rows.items())
        if path not in tensors and not _is_piece(row, rows)
    ]
    if len(found) > MAX_FILES:
        raise StorageError(f"{stated.name}: more than {MAX_FILES} files")
    for file in found:
        _check(manifest, file)
    return found


def _take(rows: dict[str, ModelFile], leaf: bytes, path: str, size: int, name: str) -> None:
    if leaf is None or path is None or len(path) > MAX_PATH:
        raise FormatError(
            f"{name}: a row of its items has no leaf, no path or a path that is too long"
        )
    if path in rows:
        raise FormatError(f"{name}: two files in its items have the name {clipped(path)}")
    rows[path] = ModelFile(path, leaf, size)


def _is_tensor(path: str, rows: Mapping[str, ModelFile], tensors: Collection[str]) -> bool:
    """Tell whether a row with a dtype is named like a tensor of one of the files."""
    name, mark, _ = path.partition(f"{_TENSORS}#")
    file = name + _TENSORS
    return bool(mark) and file in rows and file not in tensors


def _is_piece(row: ModelFile, rows: Mapping[str, ModelFile]) -> bool:
    """Tell whether a row has the name and the size of a piece of a large file."""
    name, _, number = row.name.rpartition("#")
    file = rows.get(name)
    if file is None or name.endswith(_TENSORS) or not re.fullmatch("0|[1-9][0-9]{0,12}", number):
        return False
    left = (file.size or 0) - int(number) * _PIECE  # an untrusted size may be null
    return (file.size or 0) > _PIECE and left > 0 and row.size == min(_PIECE, left)


def _check(manifest: Manifest, file: ModelFile) -> None:
    stated = manifest.metadata
    if file.size is None or file.size < 0:
        raise FormatError(f"{stated.name}: its items state no size for {file.name}")
    proof = manifest.prove(file.digest)
    if not isinstance(proof, Inclusion):
        raise FormatError(f"{stated.name}: {file.name} is in its items but not in its tree")
    proof.check(stated.root, stated.size)


def _sum(sizes: pa.Array, name: str) -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.any(pc.less(sizes, 0)).as_py():
        raise FormatError(f"{name}: an item has a negative size")
    return int(
        pc.sum(sizes.cast(pa.decimal128(38))).as_py() or 0
    )  # a sum of 64-bit sizes may need more bits


def _endings(paths: pa.Array) -> Counter[str]:
    import pyarrow.compute as pc

    files = pc.replace_substring_regex(paths, r"#[^#/]*$", "")
    found = pc.utf8_lower(pc.struct_field(pc.extract_regex(files, _SUFFIX), "ending"))
    return Counter({each["values"]: each["counts"] for each in _counted(found) if each["values"]})


def _counted(values: pa.Array) -> list[dict[str, Any]]:
    import pyarrow.compute as pc

    counted: list[dict[str, Any]] = pc.value_counts(values).to_pylist()
    return counted


def _batches(
    manifest: Manifest, columns: Sequence[str], more: Sequence[str] = ()
) -> Iterator[dict[str, pa.Array]]:
    """Yield the columns in pieces, with the columns ``more`` as far as a file has them."""
    stated = manifest.metadata
    if not stated.items_files:
        raise NotStoredError(f"{stated.name}: its publisher withholds the items")
    if sum(entry.size for entry in stated.items_files) > MAX_BYTES:
        raise StorageError(
            f"{stated.name}: its items have over {MAX_BYTES:,} bytes, the limit of reports"
        )
    if stated.items > MAX_ROWS:
        raise StorageError(f"{stated.name}: it has over {MAX_ROWS:,} items, the limit of reports")
    for entry in stated.items_files:
        yield from _file_batches(manifest, entry, columns, more)


def _file_batches(
    manifest: Manifest, entry: FileEntry, columns: Sequence[str], more: Sequence[str]
) -> Iterator[dict[str, pa.Array]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"leaf": pa.binary(SIZE), "size": pa.int64(), "path": pa.string(), "dtype": pa.string()}
    name = f"{manifest.metadata.name}: {entry.name}"
    try:
        reader = manifest.reader(entry.name)
    except FormatError as error:  # a local folder without this file
        raise NotStoredError(str(error)) from error
    _check_digest(reader, entry, name)
    try:
        with pq.ParquetFile(io.BufferedReader(_Stream(reader), _BLOCK)) as file:
            names = [*columns, *(name for name in more if name in file.schema_arrow.names)]
            if any(file.schema_arrow.field(name).type != types[name] for name in names):
                raise FormatError(f"{name}: its columns do not have the types in docs/format.md")
            if file.metadata.num_rows > manifest.metadata.items:
                raise FormatError(f"{name}: has more rows than the metadata states")
            for batch in file.iter_batches(_BATCH, columns=names):
                yield {column: batch[column] for column in names}
    except (pa.ArrowException, OSError, KeyError) as error:
        raise SourceError(f"{name}: cannot be read: {first_line(error)}") from error


def _check_digest(reader: RangeReader, entry: FileEntry, name: str) -> None:
    hasher = hashlib.sha256()
    for start in range(0, entry.size, _BLOCK):
        hasher.update(reader.read(start, min(_BLOCK, entry.size - start)))
    if hasher.digest() != entry.sha256:
        raise IntegrityError(f"{name}: SHA-256", expected=entry.sha256, found=hasher.digest())


class _Stream(io.RawIOBase):
    """Presents a range reader as a file object for pyarrow."""

    def __init__(self, reader: RangeReader) -> None:
        self._reader, self._at = reader, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._reader.size}[whence]
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        length = max(0, min(len(buffer), self._reader.size - self._at))
        data = self._reader.read(self._at, length) if length else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
