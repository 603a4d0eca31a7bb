"""Archives: tar (compressed or not) and zip, and shards of WebDataset.

Nothing is extracted to the disk. Members of a zip or an uncompressed tar are hashed by the workers,
each at its offset. A compressed tar can only be read from start to end, and is hashed while it is
decompressed, so that memory does not grow with it.
"""

from __future__ import annotations

import hashlib
import re
import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from alithis.errors import SourceError
from alithis.forms import record, text
from alithis.forms.form import BYTES, Form
from alithis.forms.hashing import of_bytes
from alithis.forms.pool import Pool
from alithis.manifest.reader import DataPoints
from alithis.readers import zip_files
from alithis.readers.compression import decompressed, is_compressed
from alithis.readers.data_file import MAX_READ, DataFile, identity_of, read_errors, useful_pool
from alithis.readers.source import Skips, Source, first_folder, parent_folder, split_evenly

MAX_MEMBER = 1 << 36
"""Largest member, in decompressed bytes: 64 GiB."""

MAX_DECODED = 1 << 30
"""Largest member that is decoded in memory (an image, a text): 1 GiB."""

_MAX_DIRECTORY = 1 << 27  # bytes of a zip's central directory, which is read into memory
_MAX_NAME = 1 << 12  # bytes
_MAX_PARTS = 1 << 10  # files in a sample
_MAX_LABEL = 1 << 12  # bytes
_RUN = 64  # members that a worker hashes at a time
_BATCH, _BATCH_BYTES = 1 << 12, 1 << 26
_BLOCK, _TAR_BLOCK = 1 << 20, 512
_KINDS = {
    tarfile.DIRTYPE: "a directory",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a FIFO",
}
_SAMPLE = re.compile(r"((?:.*/)?[^.]+)\.([^/]*)", re.DOTALL)  # WebDataset's key and extension


@dataclass(frozen=True, slots=True)
class ArchiveOptions:
    """How the members of archives become data points.

    Attributes:
        form: their canonical form; for samples ``sample``, or the form of the chosen member.
        per_sample: whether consecutive members with the same key are one data point.
        column: the extension of the member of a sample that is the data point; None for all.
        label: the extension of the member of a sample that is its label, a short text.
        label_from_folder: whether a member's folder is its label.
        split_from_folder: whether the first folder of a member's path is its split.
    """

    form: Form = BYTES
    per_sample: bool = False
    column: str | None = None
    label: str | None = None
    label_from_folder: bool = False
    split_from_folder: bool = False


@dataclass(frozen=True, slots=True)
class _Member:
    """A file in an archive.

    Attributes:
        name: its path.
        size: its size when decompressed.
        spot: its offset; in a zip, its `ZipInfo` and the offset where the next member begins.
    """

    name: str
    size: int
    spot: Any


@dataclass(frozen=True, slots=True)
class _Task:
    """What to compute of a member.

    Attributes:
        member: the member.
        key: the data point that it is part of.
        extension: which part of it.
        hashed: whether its digest is needed.
        read: whether its content is needed: it is a label.
    """

    member: _Member
    key: str
    extension: str = ""
    hashed: bool = True
    read: bool = False


_Result = tuple[bytes, bytes]  # a member's digest and content, as far as they are needed
_Parts = dict[str, tuple[_Task, _Result]]
_Point = tuple[bytes, str, int, dict[str, str]]  # digest, path, size and columns


def archives(
    files: Sequence[DataFile], options: ArchiveOptions, *, one_of_several: bool | None = None
) -> Source:
    """Read the members of tar and zip files as data points, or samples that consist of them.

    Paths are those in the archive; of several archives, each path starts with the archive's name.

    Args:
        files: the archives; a tar may be compressed by gzip, bzip2, xz or Zstandard.
        options: what a data point is.
        one_of_several: whether paths start with the archive's name; by default they do if there
            are several files.

    Raises:
        SourceError: while reading: a file is not an archive, is damaged or truncated, or exceeds a
            limit.
    """
    options.form.require()
    skipped = Skips()
    has_several = len(files) > 1 if one_of_several is None else one_of_several

    def digested(pool: Pool, /, first: int = 0) -> Iterator[DataPoints]:
        skipped.clear()
        several = useful_pool(pool, files, options.form)
        for data_file in files:
            prefix = f"{data_file.name}/" if has_several else ""
            reader = _Reader(data_file, options, prefix, skipped, first)
            yield from reader.items(several)
            first = max(0, first - reader.found)

    def cut(count: int) -> list[Source]:
        return [
            archives(part, options, one_of_several=has_several)
            for part in split_evenly(files, count)
        ]

    identity = identity_of("archives", files, options)
    return Source(options.form, None, digested, identity, skipped, cut=cut)


class _Reader:
    """Reads one archive, once."""

    def __init__(
        self, data_file: DataFile, options: ArchiveOptions, prefix: str, skipped: Skips, first: int
    ) -> None:
        self._data_file, self._options, self._prefix = data_file, options, prefix
        self._skipped, self._first = skipped, first
        self.found = 0

    def items(self, pool: Pool | None) -> Iterator[DataPoints]:
        """Yield the data points from number ``first`` on."""
        file: Any
        with self._data_file.open() as file, _readable(self._data_file):
            head = file.peek(_TAR_BLOCK)[:_TAR_BLOCK]
            compressed = is_compressed(head)
            if not compressed and not _is_tar(head) and zip_files.is_zip(file, head):
                members, apart = self._zip_members(file), True
            else:
                file.seek(0)
                file = _Forward(decompressed(file) if compressed else file, compressed=compressed)
                members, apart = self._tar_members(file), not compressed
            if apart and pool is not None and self._data_file.is_local:
                results = self._in_workers(pool, self._tasks(members))
            else:
                results = self._here(file, self._tasks(members))
            yield from self._batches(self._points(results))

    def _tasks(self, members: Iterable[_Member]) -> Iterator[_Task]:
        if self._options.per_sample:
            yield from self._sample_tasks(members)
            return
        for member in members:
            yield _Task(member, member.name, hashed=self._count_next())

    def _count_next(self) -> bool:
        """Count a data point, and return whether it is number ``first`` or later."""
        self.found += 1
        return self.found > self._first

    def _sample_tasks(self, members: Iterable[_Member]) -> Iterator[_Task]:
        column, label = self._options.column, self._options.label
        before, wanted = None, False
        for member in members:
            match = _SAMPLE.fullmatch(member.name)
            if match is None:
                self._skip(member.name, "its name has no extension")
                continue
            key, extension = match[1], match[2].lower()
            if column is not None:
                wanted = extension == column and self._count_next()
            elif key != before:
                wanted = self._count_next()
            yield _Task(member, key, extension, hashed=wanted, read=extension == label)
            before = key

    def _skip(self, name: str, reason: str) -> None:
        self._skipped.add(self._prefix + name, reason)

    # -- Members -----------------------------------------------------------------------------

    def _tar_members(self, file: _Forward) -> Iterator[_Member]:
        source: Any = file
        archive = tarfile.TarFile(fileobj=source, encoding="utf-8", errors="surrogateescape")
        while (info := archive.next()) is not None:
            vars(archive)["members"].clear()  # otherwise memory grows with the archive
            name = self._checked(info.name, info.size)
            if info.issparse():
                raise SourceError(
                    f"{self._data_file.where}: {name}: sparse files are not supported; pack it "
                    "with tar without --sparse"
                )
            if info.isreg():
                yield _Member(name, info.size, info.offset_data)
            else:
                self._skip(name, _KINDS.get(info.type, "an entry of an unknown type"))
        file.check_end()

    def _zip_members(self, file: BinaryIO) -> Iterator[_Member]:
        source: Any = _Bounded(file, _MAX_DIRECTORY)
        with zipfile.ZipFile(source) as archive:
            ends = zip_files.ends(source, archive)
            for info in archive.infolist():
                name = self._checked(info.filename, info.file_size)
                if info.is_dir():
                    self._skip(name, "a directory")
                elif stat.S_ISLNK(info.external_attr >> 16):
                    self._skip(name, "a symbolic link")
                elif info.flag_bits & 1:
                    raise SourceError(
                        f"{self._data_file.where}: {name}: is encrypted; pack it without a password"
                    )
                else:
                    yield _Member(name, info.file_size, (info, ends[info.header_offset]))

    def _checked(self, name: str, size: int) -> str:
        """Return a member's name as a relative POSIX path.

        Raises:
            SourceError: the name is not such a path, or the member is too large.
        """
        where = self._data_file.where
        try:
            long = len(name.encode()) > _MAX_NAME
        except UnicodeEncodeError as error:
            raise SourceError(
                f"{where}: {name!r}: the name of a member is not UTF-8; rename it"
            ) from error
        path = PurePosixPath(name)
        if long or "\0" in name or path.is_absolute() or ".." in path.parts:
            raise SourceError(
                f"{where}: {name[:80]!r}: the name of a member is not a relative path of at "
                "most 4096 bytes"
            )
        if size > MAX_MEMBER:
            raise SourceError(
                f"{where}: {name}: {size} bytes; a member may have at most {MAX_MEMBER}"
            )
        return path.as_posix()

    # -- Hashing -----------------------------------------------------------------------------

    def _here(self, file: BinaryIO, tasks: Iterable[_Task]) -> Iterator[tuple[_Task, _Result]]:
        for task in tasks:
            yield task, _result(file, task, self._options.form, self._data_file.where)

    def _in_workers(self, pool: Pool, tasks: Iterator[_Task]) -> Iterator[tuple[_Task, _Result]]:
        runs = iter(lambda: list(islice(tasks, _RUN)), [])
        work = ((self._data_file, run, self._options.form) for run in runs)
        for done in pool.map(_of_run, work):
            yield from done

    # -- Data points -------------------------------------------------------------------------

    def _points(self, results: Iterable[tuple[_Task, _Result]]) -> Iterator[_Point]:
        if self._options.per_sample:
            for parts in self._grouped(results):
                yield from self._sample(parts)
            return
        for task, (found, _) in results:
            if task.hashed:
                name = task.member.name
                yield found, self._prefix + name, task.member.size, self._folders(name)

    def _grouped(self, results: Iterable[tuple[_Task, _Result]]) -> Iterator[_Parts]:
        """Group consecutive members that have the same key."""
        parts: _Parts = {}
        key = None
        for task, result in results:
            if parts and task.key != key:
                yield parts
                parts = {}
            key = task.key
            if task.extension in parts or len(parts) == _MAX_PARTS:
                raise SourceError(
                    f"{self._data_file.where}: {task.member.name}: its sample has this extension "
                    f"twice, or more than {_MAX_PARTS} files"
                )
            parts[task.extension] = (task, result)
        if parts:
            yield parts

    def _sample(self, parts: _Parts) -> Iterator[_Point]:
        key = next(iter(parts.values()))[0].key
        column = self._options.column
        if column is None:
            chosen = list(parts.values())
            found = of_bytes(record.record({k: each[0].hex() for k, (_, each) in parts.items()}))
        elif column in parts:
            chosen = [parts[column]]
            found = chosen[0][1][0]
        else:
            self._skip(key, f"the sample has no file {column}")
            return
        if chosen[0][0].hashed:
            size = sum(task.member.size for task, _ in chosen)
            yield found, self._prefix + key, size, self._folders(key) | self._label(key, parts)

    def _label(self, key: str, parts: _Parts) -> dict[str, str]:
        label = self._options.label
        if label is None:
            return {}
        if label not in parts:
            raise SourceError(
                f"{self._data_file.where}: {key}: the sample has no file {label}, which was chosen "
                "as the label"
            )
        try:
            return {"label": text.decoded(parts[label][1][1]).strip()}
        except SourceError as error:
            raise SourceError(f"{self._data_file.where}: {key}.{label}: {error}") from error

    def _folders(self, name: str) -> dict[str, str]:
        columns = {}
        if self._options.label_from_folder:
            columns["label"] = parent_folder(name)
        if self._options.split_from_folder:
            columns["split"] = first_folder(self._prefix + name)
        return columns

    def _batches(self, points: Iterable[_Point]) -> Iterator[DataPoints]:
        rows: list[_Point] = []
        size = 0
        for point in points:
            rows.append(point)
            size += point[2]
            if len(rows) == _BATCH or size > _BATCH_BYTES:
                yield _items(rows)
                rows, size = [], 0
        if rows:
            yield _items(rows)


def _items(rows: Sequence[_Point]) -> DataPoints:
    columns = {name: [row[3][name] for row in rows] for name in rows[0][3]}
    digests = b"".join(row[0] for row in rows)
    return DataPoints(digests, [row[1] for row in rows], [row[2] for row in rows], columns)


def _of_run(run: tuple[DataFile, Sequence[_Task], Form]) -> list[tuple[_Task, _Result]]:
    data_file, tasks, form = run
    with data_file.open() as file, _readable(data_file):
        return [(task, _result(file, task, form, data_file.where)) for task in tasks]


def _result(file: BinaryIO, task: _Task, form: Form, where: str) -> _Result:
    if not task.hashed and not task.read:
        return b"", b""
    member = task.member
    try:
        data = _opened(file, member)
        if task.read:
            content = _whole(data, member.size, _MAX_LABEL)
            return of_bytes(content), content
        if form.name in ("bytes", "sample"):
            return _stream(data, member.size), b""
        return of_bytes(form.canonical(_whole(data, member.size, MAX_DECODED))), b""
    except SourceError as error:
        raise SourceError(f"{where}: {member.name}: {error}") from error


def _opened(file: BinaryIO, member: _Member) -> Any:
    if isinstance(member.spot, tuple):
        info, end = member.spot
        return zip_files.opened(file, info, end)
    file.seek(member.spot)
    return file


def _is_tar(head: bytes) -> bool:
    """Tell whether a file begins with the header of a tar's member, whose checksum is right."""
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _stream(file: BinaryIO, size: int) -> bytes:
    hasher = hashlib.sha256()
    for block in _blocks(file, size):
        hasher.update(block)
    return hasher.digest()


def _whole(file: BinaryIO, size: int, limit: int) -> bytes:
    if size > limit:
        raise SourceError(f"{size} bytes; at most {limit} can be read into memory")
    return b"".join(_blocks(file, size))


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Read exactly ``size`` bytes; at the end of a zip's member, zipfile checks its checksum."""
    left = size
    while block := file.read(min(left, _BLOCK)):
        yield block
        left -= len(block)
    if left:
        raise SourceError(f"cut short: {left} of {size} bytes are missing. Download it again")


class _Bounded:
    """A file that refuses to read a piece larger than a limit: zipfile reads a directory whole."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file, self._limit = file, limit
        self.tell, self.seek, self.seekable = file.tell, file.seek, file.seekable

    def read(self, size: int = -1) -> bytes:
        data = b"" if size > self._limit else self._file.read(self._limit if size < 0 else size)
        if size > self._limit or len(data) == self._limit:
            raise SourceError(f"its directory has {self._limit} bytes or more: split the archive")
        return data


class _Forward:
    """A tar file with bounded reads, which skips ahead in compressed data by reading.

    A seek could start the decompression again.
    """

    def __init__(self, file: BinaryIO, *, compressed: bool) -> None:
        self._file, self._compressed, self._at = file, compressed, 0
        self._last = b""

    def tell(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_READ:
            raise SourceError(f"a header of {size} bytes; at most {MAX_READ} are allowed")
        self._last = self._file.read(size)
        self._at += len(self._last)
        return self._last

    def seek(self, position: int) -> None:
        if not self._compressed:
            self._at = self._file.seek(position)
            return
        while self._at < position and self.read(min(position - self._at, _BLOCK)):
            pass

    def check_end(self) -> None:
        """Check that the archive ended with its end mark, and that nothing follows.

        `tarfile` treats a damaged header, and a file that is cut short, as the end of the archive.

        Raises:
            SourceError: the end mark is missing, or something follows it.
        """
        if len(self._last) < _TAR_BLOCK:
            raise SourceError(
                "the end mark of the archive is missing: cut short. Download it again"
            )
        while not self._last.strip(b"\0"):
            if not self.read(_BLOCK):
                return
        raise SourceError(
            f"damaged before byte {self._at}, or another archive follows: members would be lost"
        )


@contextmanager
def _readable(data_file: DataFile) -> Iterator[None]:
    """Turn errors of the archive libraries into ones that name the file."""
    with read_errors(data_file.where):
        try:
            yield
        except (tarfile.TarError, zipfile.BadZipFile, NotImplementedError, struct.error) as error:
            raise SourceError(f"damaged archive: {error}. Download it again") from error
