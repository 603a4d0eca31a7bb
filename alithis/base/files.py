"""Files: opened with care, written whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from alithis.errors import ChangedError, SourceError

if TYPE_CHECKING:
    pass

Buffer = bytes | bytearray | memoryview


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
        raise unreadable(os.fspath(path), error) from error
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise SourceError(f"{os.fspath(path)}: not a regular file")
    return handle, status


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


def unreadable(name: str, error: OSError | ValueError) -> SourceError:
    """Return the error that says why a file cannot be read."""
    return SourceError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}")


def unwritable(path: Path, error: OSError | ValueError) -> SourceError:
    """Return the error that says why something cannot be written."""
    return SourceError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}")


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Say of an error of the file system what could not be written.

    Raises:
        SourceError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all; see `atomic_file`.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_file(path) as file:
        file.write(data)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write into that stands at a path at the end, over one that may be there.

    If the work breaks off, nothing has changed. What is no file of its own, a link or a device,
    is written through.

    Raises:
        OSError: it cannot be written.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        with path.open("wb") as file:
            yield file
        return
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_new(path: Path, data: Buffer) -> None:
    """Write a new file, and flush it to the disk.

    Raises:
        OSError: it cannot be written, or is there already.
    """
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Flush a file or folder to the disk.

    Raises:
        OSError: it cannot be.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
