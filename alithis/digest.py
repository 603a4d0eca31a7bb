"""Bytes, files and arrays → digests: the first step of everything else.

The *canonical form* of a data point is what is hashed (docs/format.md, "Canonical forms"):

``bytes``
    the file or record as stored;
``pixels``
    the decoded raster's 8-bit samples in C order (row by row, samples interleaved). The
    colour mode and, where they are the same for all, the width and height stand in the metadata;
``text``
    the text in NFC, as UTF-8;
``record``
    the row as canonical JSON (RFC 8785);
``sample``
    the digests of the files that make up a sample, by extension, as canonical JSON.

The digest is SHA-256 of the canonical form (FIPS 180-4). Files are hashed in worker processes,
since Python threads are slower than one thread for small files; the result never depends on
how many workers there are.
"""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import re
import signal
import stat
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from alithis import canonical
from alithis.errors import ChangedError, FormatError, MissingExtraError, SourceError

if TYPE_CHECKING:
    from PIL import Image, ImageFile

SIZE = 32
"""Bytes in a digest."""

FORMS = ("bytes", "pixels", "text", "record", "sample")
"""The canonical forms' names."""

Buffer = bytes | bytearray | memoryview

_BLOCK = 1 << 20
_SHORT = 2048  # bytes
_MODES = ("L", "RGB", "RGBA")
_EXACT = ("1", "L", "LA", "P", "RGB", "RGBA")  # Pillow's modes that become one of them exactly
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # others may run programs (EPS)
_ROUNDED = re.compile(r";16[BLN]|'ppm")  # how Pillow names decoders that cut samples to 8 bits
_MAX_ENCODED = 1 << 30
_A = TypeVar("_A")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Form:
    """A canonical form: how a data point becomes the bytes that are hashed.

    Attributes:
        name: ``bytes``, ``pixels``, ``text``, ``record`` or ``sample``.
        mode: for pixels, the colour mode: ``L``, ``RGB`` or ``RGBA``.
        width: for pixels, the width in pixels where it is the same for all data points.
        height: likewise the height.
        columns: for records, the columns that are taken, in ascending order; None for all.
    """

    name: str = "bytes"
    mode: str | None = None
    width: int | None = None
    height: int | None = None
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what no canonical form is."""
        if self.name not in FORMS:
            known = f"{', '.join(FORMS[:-1])} and {FORMS[-1]}"
            raise FormatError(f"canonical form {self.name!r}: this release knows {known}")
        if self.name != "pixels" and (self.mode, self.width, self.height) != (None, None, None):
            raise FormatError(f"canonical form {self.name}: has no mode, width or height")
        if self.name == "pixels" and self.mode not in _MODES:
            raise FormatError(
                f"canonical form pixels: mode {self.mode!r} is none of {', '.join(_MODES)}"
            )
        if self.columns is not None:
            self._check_columns(self.columns)

    def _check_columns(self, columns: tuple[str, ...]) -> None:
        if self.name != "record":
            raise FormatError(f"canonical form {self.name}: has no columns")
        if not columns or list(columns) != sorted(set(columns)):
            raise FormatError("canonical form record: columns are named once each, in order")

    def canonical(self, data: bytes) -> bytes:
        """Return the canonical form of one stored data point.

        Args:
            data: the file or record as stored: for ``pixels`` an encoded image (PNG, …), for
                ``text`` UTF-8, for ``record`` and ``sample`` a JSON object.

        Raises:
            SourceError: the data has no such form. It is no image, has another width or height
                or cannot be brought to the mode without loss; it is no text; it is no JSON
                object, or one without the columns.
        """
        if self.name == "bytes":
            return data
        if self.name == "pixels":
            return self._pixels(data)
        if self.name == "text":
            return canonical.text_of(data)
        if self.name == "record":
            return canonical.record_of(data, self.columns)
        return canonical.sample_of(data)

    def require(self) -> None:
        """Check that the libraries this form needs are there.

        Raises:
            MissingExtraError: Pillow is needed and not installed.
        """
        if self.name == "pixels":
            _pillow()

    def _pixels(self, data: bytes) -> bytes:
        pillow = _pillow()
        try:
            with (
                warnings.catch_warnings(action="ignore"),
                pillow.open(io.BytesIO(data), formats=_FORMATS) as image,
            ):
                self.check_size(*image.size)
                _check_exact(image)
                _scale_transparency(image)
                image.load()
                return _to_mode(image, str(self.mode)).tobytes()
        except SourceError:
            raise
        except pillow.DecompressionBombError as error:
            raise SourceError(f"image too large to decode: {error}") from error
        except Exception as error:  # on damaged data the decoders raise nearly anything
            raise SourceError("not an image that can be decoded") from error

    def raster(self, image: Image.Image) -> bytes:
        """Return the canonical form ``pixels`` of an image that is decoded already.

        Args:
            image: Pillow's.

        Raises:
            SourceError: it has another width or height, or cannot be brought to the mode without
                loss.
        """
        self.check_size(*image.size)
        if image.mode not in _EXACT:
            raise SourceError(f"the image's mode {image.mode} has no exact 8-bit form")
        return _to_mode(image, str(self.mode)).tobytes()

    def check_size(self, width: int, height: int) -> None:
        """Check the size of an image against what is the same for all.

        Raises:
            SourceError: it has another width or height, in pixels.
        """
        wanted = (self.width or width, self.height or height)
        if wanted != (width, height):
            raise SourceError(
                f"the image is {width} x {height} pixels, "
                f"where all data points are {wanted[0]} x {wanted[1]}"
            )


BYTES, TEXT, RECORD, SAMPLE = Form(), Form("text"), Form("record"), Form("sample")


def of_bytes(data: Buffer) -> bytes:
    """Return the SHA-256 of a buffer, 32 bytes."""
    return hashlib.sha256(data).digest()


def of_ascii(texts: Iterable[str]) -> bytes:
    """Return the digests of texts in ASCII, 32 bytes each, joined: they are in canonical form."""
    sha256 = hashlib.sha256
    return b"".join([sha256(text.encode()).digest() for text in texts])


def of_rows(data: Buffer, row: int) -> bytes:
    """Return the digests of a buffer's rows, 32 bytes each, joined in order.

    Args:
        data: rows of equal length, one after the other.
        row: bytes in a row, at least 1; the buffer's length is a multiple of it.
    """
    view = memoryview(data).cast("B")
    if row <= _SHORT and len(view) > row:
        return _of_short_rows(view, row)
    sha256 = hashlib.sha256
    return b"".join(
        [sha256(view[start : start + row]).digest() for start in range(0, len(view), row)]
    )


def _of_short_rows(view: memoryview, row: int) -> bytes:
    """Hash rows for which a call to hashlib takes about as long as their hash."""
    import numpy as np
    import pyarrow as pa
    from stringzilla import Sha256s, Strs

    rows = np.frombuffer(view, np.uint8).reshape(-1, row)
    found = np.empty((len(rows), SIZE), np.uint8)
    step = max(1, _BLOCK // row)
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        offsets = np.arange(0, (len(some) + 1) * row, row, np.int32)
        tape = pa.Array.from_buffers(
            pa.binary(), len(some), [None, pa.py_buffer(offsets), pa.py_buffer(some)]
        )
        Sha256s(len(some)).update(Strs(tape, view=True)).digest(found[start : start + step])
    return found.tobytes()


def of_file(path: str | os.PathLike[str], form: Form = BYTES) -> tuple[bytes, int]:
    """Hash one file.

    Args:
        path: a regular file; it is streamed, unless the form has to decode it.
        form: the canonical form that is hashed.

    Returns:
        The digest, and the file's size in bytes.

    Raises:
        SourceError: the file cannot be read, or is not a regular one.
        ChangedError: the file changed while it was read.
    """
    name = os.fspath(path)
    handle, before = open_regular(name)
    try:
        return _of_open_file(handle, before, name, form)
    except OSError as error:
        raise _unreadable(name, error) from error
    finally:
        os.close(handle)


def open_regular(path: str | os.PathLike[str]) -> tuple[int, os.stat_result]:
    """Open a regular file for reading.

    Returns:
        A file descriptor, which the caller closes, and the file's status.

    Raises:
        SourceError: the file cannot be opened, or is not a regular one.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for its writer for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _unreadable(os.fspath(path), error) from error
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise SourceError(f"{os.fspath(path)}: not a regular file")
    return handle, status


def of_part(file: BinaryIO, offset: int, length: int) -> bytes:
    """Return the SHA-256 of a part of an open file, 32 bytes; it is streamed.

    Args:
        file: opened for reading, seekable.
        offset: where the part begins.
        length: its bytes; the caller has checked that the file holds them.
    """
    hasher = hashlib.sha256()
    file.seek(offset)
    while length and (block := file.read(min(length, _BLOCK))):
        hasher.update(block)
        length -= len(block)
    return hasher.digest()


def _of_open_file(handle: int, before: os.stat_result, name: str, form: Form) -> tuple[bytes, int]:
    if form.name == "bytes":
        digest, count = _stream(handle, before.st_size)
        check_unchanged(name, before, os.fstat(handle), count)
        return digest, count
    if before.st_size > _MAX_ENCODED:
        raise SourceError(f"{name}: {before.st_size} bytes are too many for the form {form.name}")
    data = b"".join(_blocks(handle, before.st_size))
    check_unchanged(name, before, os.fstat(handle), len(data))
    try:
        return of_bytes(form.canonical(data)), len(data)
    except SourceError as error:
        raise SourceError(f"{name}: {error}") from error


def check_unchanged(name: str, before: os.stat_result, after: os.stat_result, count: int) -> None:
    """Check that a file stood still while it was read.

    Args:
        name: the file, for the error.
        before: its status before the first read.
        after: its status after the last.
        count: bytes that were read.

    Raises:
        ChangedError: it did not.
    """
    moved = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
    if moved or count != before.st_size:
        raise changed(name)


def changed(name: str) -> ChangedError:
    """Return the error that says so of a file."""
    return ChangedError(f"{name}: changed while it was read; hash it again when it is at rest")


def _stream(handle: int, size: int) -> tuple[bytes, int]:
    if size <= _BLOCK:  # the common case, without a loop and a buffer of its own
        data = os.read(handle, size + 1)
        if len(data) >= size:
            return of_bytes(data), len(data)
        os.lseek(handle, 0, os.SEEK_SET)
    hasher, count = hashlib.sha256(), 0
    for block in _blocks(handle, size):
        hasher.update(block)
        count += len(block)
    return hasher.digest(), count


def _blocks(handle: int, size: int) -> Iterator[bytes]:
    """Read a file to its end, or until it has more bytes than it should."""
    while size >= 0 and (block := os.read(handle, _BLOCK)):
        yield block
        size -= len(block)


def of_files(
    root: str, names: Sequence[str], form: Form, pool: Pool
) -> Iterator[tuple[bytes, list[int]]]:
    """Hash many files, in the workers of a pool.

    Args:
        root: the folder the names are relative to.
        names: relative paths.
        form: the canonical form that is hashed.
        pool: the workers.

    Yields:
        For each run of names, in order: their digests joined, and their sizes in bytes.

    Raises:
        SourceError: as `of_file` does.
    """
    form.require()
    step = max(1, min(64, len(names) // (pool.workers * 8)))
    runs = ((root, names[start : start + step], form) for start in range(0, len(names), step))
    yield from pool.map(_of_run, runs)


def _of_run(run: tuple[str, Sequence[str], Form]) -> tuple[bytes, list[int]]:
    root, names, form = run
    digests, sizes = [], []
    for name in names:
        digest, size = of_file(f"{root}/{name}", form)
        digests.append(digest)
        sizes.append(size)
    return b"".join(digests), sizes


class Pool:
    """Worker processes; a context manager. With one worker, work is done where it is asked for."""

    def __init__(self, workers: int | None = None) -> None:
        """Plan the workers; they start with the first piece of work.

        Args:
            workers: how many; by default one for each processor this process may use.

        Raises:
            SourceError: the number is not positive.
        """
        self.workers = _processors() if workers is None else workers
        if self.workers < 1:
            raise SourceError(f"workers: {workers} is not a positive number")
        self._executor: Executor | None = None

    def __enter__(self) -> Pool:
        """Return the pool."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop the workers; at once, if work was broken off."""
        if self._executor is None:
            return
        if kind is not None:
            _terminate_workers(self._executor)
        self._executor.shutdown()

    def map(self, work: Callable[[_A], _R], items: Iterable[_A]) -> Iterator[_R]:
        """Apply a module-level function to each item; results come in the items' order.

        No more than a few items a worker are taken ahead of the results that were consumed.

        Raises:
            SourceError: a worker was killed.
        """
        if self.workers == 1:
            yield from map(work, items)
            return
        if self._executor is None:
            self._executor = _executor(self.workers)
        waiting: deque[Future[_R]] = deque()
        try:
            for item in items:
                waiting.append(self._executor.submit(work, item))
                if len(waiting) >= 4 * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenExecutor as error:
            raise SourceError("a worker process was killed (out of memory?); run again") from error


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _executor(workers: int) -> Executor:
    """Start worker processes.

    A fork takes 10 ms, but one of a process with threads can deadlock: there loky starts fresh
    interpreters, which takes 100 ms and, unlike the standard library's way, does not run the
    caller's main module again (a notebook has none, a script may lack the guard).
    """
    parent = (os.getpid(),)
    if "fork" in multiprocessing.get_all_start_methods() and _threads() == 1:
        fork = multiprocessing.get_context("fork")
        return ProcessPoolExecutor(workers, fork, initializer=_begin_worker, initargs=parent)
    from loky import ProcessPoolExecutor as FreshExecutor
    from loky.backend.context import get_context

    context = get_context("loky")
    fresh: Executor = FreshExecutor(
        workers, context=context, initializer=_begin_worker, initargs=parent
    )
    return fresh


def _threads() -> int:
    try:  # counts the threads of C libraries too
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return threading.active_count() + 1


def _begin_worker(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end when it is gone: a queue alone would wait for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _terminate_workers(executor: Any) -> None:
    # Public as ProcessPoolExecutor.terminate_workers from Python 3.14 on.
    for process in list((executor._processes or {}).values()):
        process.terminate()


def _unreadable(name: str, error: OSError | ValueError) -> SourceError:
    return SourceError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}")


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("Pillow", "images") from error
    return Image


def _check_exact(image: ImageFile.ImageFile) -> None:
    """Refuse an image whose raster, as Pillow decodes it, is not all of it."""
    if image.mode not in _EXACT:
        raise SourceError(f"the image's mode {image.mode} has no exact 8-bit form")
    if _ROUNDED.search(repr(image.tile[:1])):
        raise SourceError("the image's samples have more than 8 bits")
    if image.format != "MPO" and getattr(image, "is_animated", False):  # MPO: a JPEG and previews
        raise SourceError("the image has more than one frame")


def _scale_transparency(image: ImageFile.ImageFile) -> None:
    """Scale a transparent grey of 2 or 4 bits, as Pillow does with the samples but not with it."""
    stated = image.info.get("transparency")
    for kind, factor in (("'L;2'", 85), ("'L;4'", 17)):
        if isinstance(stated, int) and kind in repr(image.tile[:1]):
            image.info["transparency"] = stated * factor


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Bring an image to a mode, if that loses nothing."""
    if image.mode == "LA" or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode in ("P", "1"):
        image = image.convert("RGB" if image.mode == "P" else "L")
    converted = image.convert(mode)
    if image.mode != mode and converted.convert(image.mode).tobytes() != image.tobytes():
        raise SourceError(f"the image is {image.mode}, and cannot become {mode} without loss")
    return converted
