"""Files elsewhere, by URL: whatever fsspec opens (https, s3, hf, gs, memory, …)."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any
from urllib.parse import unquote, urlsplit

from alithis.base.remote_files import open_file_system, shown_url
from alithis.base.text import first_line
from alithis.errors import AlithisError, ChangedError, SourceError
from alithis.forms.form import BYTES, Form
from alithis.forms.hashing import of_bytes
from alithis.forms.pool import Pool
from alithis.manifest.reader import DataPoints
from alithis.readers.source import Skips, Source, fingerprint, first_folder, parent_folder, shares

_BLOCK = 1 << 22
_MAX_DECODED = 1 << 30
_BATCH = 256
_MAX_FILES = 10_000_000
_AT_ONCE = 16  # files that are fetched at a time: most of the time is spent waiting
_CHANGES = (
    "ETag",
    "etag",
    "blob_id",
    "LastModified",
    "last_modified",
    "mtime",
    "updated",
    "created",
)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file elsewhere."""

    system: Any = field(repr=False)
    path: str
    where: str
    name: str
    stamp: tuple[Any, ...]
    is_local: bool = False

    @contextmanager
    def open(self) -> Iterator[io.BufferedReader]:
        """Open it: see `Place.open`. It is fetched in pieces, as it is read."""
        with _reachable(self.where):
            self._check("since it was opened")
            with self.system.open(self.path, "rb", block_size=_BLOCK) as raw:
                yield io.BufferedReader(raw, 1 << 20)
            self._check("while it was read")

    def _check(self, when: str) -> None:
        self.system.invalidate_cache(self.path)
        if _stamp(self.system.info(self.path)) != self.stamp:
            raise ChangedError(f"{self.where}: changed {when}; hash it again when it is at rest")


def is_url(source: str) -> bool:
    """Tell whether a source is elsewhere."""
    return "://" in source and not source.startswith("file://")


def found(url: str) -> tuple[list[RemoteFile], bool, Skips]:
    """List what a URL names.

    Args:
        url: a file, or a folder: by HTTP one that ends in a slash and has a page of links.

    Returns:
        The files, in order of their names; whether it is a folder; what in it is no file.

    Raises:
        MissingExtraError: the library for URLs of this kind is not installed.
        SourceError: nothing is there, or it cannot be reached.
    """
    where = shown_url(url)
    with _reachable(where):
        system, path = open_file_system(url)
        if _is_folder(system, path, url):
            files, skipped = _listed(system, path, where)
            return files, True, skipped
        stamp = _stamp(system.info(path))
        return [RemoteFile(system, path, where, where.rpartition("/")[2], stamp)], False, Skips()


def _is_folder(system: Any, path: str, url: str) -> bool:
    if url.startswith(("http://", "https://")):
        return urlsplit(url).path.endswith("/")
    return bool(system.info(path)["type"] == "directory")


def _listed(system: Any, path: str, where: str) -> tuple[list[RemoteFile], Skips]:
    files, skipped = list[RemoteFile](), Skips()
    for full, info in sorted(system.find(path, detail=True).items()):
        name = _name(full, path, where)
        if not name or name.endswith("/"):
            skipped.add(name, "a directory")
        elif "?" in name and full.startswith("http"):
            skipped.add(name, "a link with a query")
        else:
            known = info if info.get("size") is not None else system.info(full)
            place = f"{where.rstrip('/')}/{name}"
            files.append(RemoteFile(system, full, place, name, _stamp(known)))
        if len(files) > _MAX_FILES:
            raise SourceError(f"{where}: more than {_MAX_FILES} files")
    if not files:
        raise SourceError(f"{where}: no files in it")
    return files, skipped


def _name(full: str, root: str, where: str) -> str:
    """Return a file's path in the folder.

    Raises:
        SourceError: it leads out of the folder.
    """
    name = full.removeprefix(root).lstrip("/")
    if full.startswith("http"):
        name = unquote(name)
    if ".." in name.split("/") or "\0" in name:
        raise SourceError(f"{where}: {name!r}: a name that leads out of the folder")
    return name


def _stamp(info: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what tells whether a file changed: its size, and the best else that is known."""
    known = next((info[key] for key in _CHANGES if info.get(key)), "")
    return info.get("size"), str(known.timestamp() if isinstance(known, datetime) else known)


@contextmanager
def _reachable(where: str) -> Iterator[None]:
    """Name the URL in the errors that reading it brings: the libraries raise nearly anything."""
    try:
        yield
    except AlithisError:
        raise
    except FileNotFoundError as error:
        cause = error.__cause__  # fsspec says "not found" of a host that it does not reach, too
        known = cause is None or isinstance(cause, FileNotFoundError)
        reason = "not found" if known else first_line(cause)
        raise SourceError(f"{where}: cannot be read: {reason}") from error
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise SourceError(f"{where}: cannot be read: {lines[0]}") from error


def folder(
    files: Sequence[RemoteFile],
    *,
    form: Form = BYTES,
    label_from_folder: bool = False,
    split_from_folder: bool = False,
) -> Source:
    """Take every file below a folder elsewhere as a data point.

    Args:
        files: the files.
        form: their canonical form.
        label_from_folder: whether a file's parent folder is its label.
        split_from_folder: whether the first folder on a file's path is its split.

    Raises:
        SourceError: a file cannot be read, or lies in no folder that could be its label or split.
    """
    form.require()
    known: dict[str, list[str]] = {}
    if label_from_folder:
        known["label"] = [parent_folder(file.name) for file in files]
    if split_from_folder:
        known["split"] = [first_folder(file.name) for file in files]

    def digested(_: Pool, /, first: int = 0) -> Iterator[DataPoints]:
        start = first
        for batch in _in_batches(_fetched(files[first:], form)):
            stop = start + len(batch)
            columns = {name: values[start:stop] for name, values in known.items()}
            paths = [file.name for file in files[start:stop]]
            digests = b"".join(digest for digest, _ in batch)
            yield DataPoints(digests, paths, [size for _, size in batch], columns)
            start = stop

    def cut(count: int) -> list[Source]:
        chosen = {"label_from_folder": label_from_folder, "split_from_folder": split_from_folder}
        return [folder(part, form=form, **chosen) for part in shares(files, count)]

    facts = fingerprint("files", [(each.where, each.stamp) for each in files], form, list(known))
    return Source(form, len(files), digested, facts, cut=cut)


def _fetched(files: Sequence[RemoteFile], form: Form) -> Iterator[tuple[bytes, int]]:
    """Yield the files' digests and sizes; several are on their way at a time."""
    waiting: deque[Future[tuple[bytes, int]]] = deque()
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        try:
            for file in files:
                waiting.append(threads.submit(_digest, file, form))
                if len(waiting) >= 2 * _AT_ONCE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for left in waiting:
                left.cancel()


def _in_batches(found: Iterator[tuple[bytes, int]]) -> Iterator[list[tuple[bytes, int]]]:
    return iter(lambda: list(islice(found, _BATCH)), [])


def _digest(file: RemoteFile, form: Form) -> tuple[bytes, int]:
    size = file.stamp[0]
    if size is None or size > _BLOCK or form.name != "bytes":
        return _digest_stream(file, form)
    with _reachable(file.where):
        data = file.system.cat_file(file.path)
    if len(data) != size:
        raise ChangedError(f"{file.where}: {len(data)} bytes came, {size} were announced")
    return of_bytes(data), size


def _digest_stream(file: RemoteFile, form: Form) -> tuple[bytes, int]:
    hasher, count, kept = hashlib.sha256(), 0, bytearray()
    with file.open() as stream:
        while block := stream.read(_BLOCK):
            count += len(block)
            if form.name == "bytes":
                hasher.update(block)
            else:
                kept += block
            if len(kept) > _MAX_DECODED:
                raise SourceError(f"{file.where}: too many bytes for the form {form.name}")
    if file.stamp[0] not in (None, count):
        raise ChangedError(f"{file.where}: {count} bytes came, {file.stamp[0]} were announced")
    if form.name == "bytes":
        return hasher.digest(), count
    try:
        return of_bytes(form.canonical(bytes(kept))), count
    except SourceError as error:
        raise SourceError(f"{file.where}: {error}") from error
