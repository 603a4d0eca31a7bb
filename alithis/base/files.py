"""Files: opened safely, written atomically, locked.

All differences between Linux, macOS and Windows are handled here. The tests run on Linux. The code
for the other systems follows Python's documentation and has not been run there.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from alithis.errors import ChangedError, SourceError

Buffer = bytes | bytearray | memoryview

_WINDOWS = os.name == "nt"
_SEEKING = threading.Lock()
# Without O_NONBLOCK, opening a FIFO waits for its writer forever. Without O_BINARY, Windows
# translates line ends. Not every flag exists on every system.
_READ_FLAGS = os.O_RDONLY
for _name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _READ_FLAGS |= getattr(os, _name, 0)
# Errors of flock(2) on file systems without locks (some NFS and FUSE mounts).
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


# -- Reading -------------------------------------------------------------------------------------


def open_regular(path: str | os.PathLike[str]) -> tuple[int, os.stat_result]:
    """Open a regular file for reading.

    Returns:
        A file descriptor, which the caller closes, and the file's status.

    Raises:
        SourceError: the file cannot be opened, or is a folder, FIFO, device or socket.
    """
    try:
        handle = os.open(path, _READ_FLAGS)
    except (OSError, ValueError) as error:
        raise unreadable(os.fspath(path), error) from error
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise SourceError(f"{os.fspath(path)}: not a regular file")
    return handle, status


@contextmanager
def regular_file(path: str | os.PathLike[str]) -> Iterator[tuple[int, os.stat_result]]:
    """Open a regular file as `open_regular` does, and close it at the end."""
    handle, status = open_regular(path)
    try:
        yield handle, status
    finally:
        os.close(handle)


def read_at(handle: int, offset: int, length: int, name: str | os.PathLike[str]) -> bytes:
    """Read from an offset, without moving the file's position; safe in several threads.

    Args:
        handle: the open file.
        offset: first byte.
        length: number of bytes.
        name: what to call the file in errors.

    Returns:
        The bytes; fewer at the end of the file.

    Raises:
        SourceError: the file cannot be read.
    """
    try:
        if hasattr(os, "pread"):
            return os.pread(handle, length, offset)
        with _SEEKING:  # Windows has no pread
            os.lseek(handle, offset, os.SEEK_SET)
            return os.read(handle, length)
    except OSError as error:
        raise unreadable(os.fspath(name), error) from error


def check_unchanged(name: str, before: os.stat_result, after: os.stat_result, count: int) -> None:
    """Check that nobody modified a file while it was read.

    Args:
        name: what to call the file in the error.
        before: its status before the first read.
        after: its status after the last.
        count: number of bytes read.

    Raises:
        ChangedError: its size or modification time differs, or another number of bytes was read.
    """
    moved = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
    if moved or count != before.st_size:
        raise changed(name)


def changed(name: str) -> ChangedError:
    """Return the error for a file that was modified while it was read."""
    return ChangedError(
        f"{name}: changed while it was read; try again when it is not being modified"
    )


def unreadable(name: str, error: OSError | ValueError) -> SourceError:
    """Return the error for a file that cannot be read."""
    return SourceError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}")


# -- Writing -------------------------------------------------------------------------------------


def unwritable(path: Path, error: OSError | ValueError) -> SourceError:
    """Return the error for a path that cannot be written."""
    return SourceError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}")


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn an error of the file system into an error that names a path.

    Raises:
        SourceError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file atomically; see `atomic_file`.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_file(path) as file:
        file.write(data)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces the file at ``path`` at the end, or not at all.

    Readers see the old or the new content, never a part. A symbolic link or a device such as
    ``/dev/stdout`` is written directly: renaming over it would replace the link or the device.

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
            flush(file)
        partial.replace(path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_new(path: Path, data: Buffer) -> None:
    """Write a new file, and flush it to the disk.

    Raises:
        OSError: it cannot be written, or already exists.
    """
    with path.open("xb") as file:
        file.write(data)
        flush(file)


def flush(file: BinaryIO) -> None:
    """Flush a file's content to the disk.

    Raises:
        OSError: the disk fails, or is full.
    """
    file.flush()
    os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to the disk, so that renames in it survive a power failure.

    Raises:
        OSError: the disk fails.
    """
    if _WINDOWS:  # Windows cannot open a folder; it writes the entries itself
        return
    handle = os.open(path, _READ_FLAGS)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# -- Locking -------------------------------------------------------------------------------------


@contextmanager
def lock_file(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold an exclusive lock; the thread that holds it may take it again.

    The kernel releases the lock when the process ends, even if it is killed, so a lock file that a
    killed process left has no effect. Otherwise the file is removed at the end.

    Args:
        path: the lock file; its folder exists.
        wait: whether to wait until another holder releases it.

    Yields:
        True if the lock is held; False on a file system without locks.

    Raises:
        BlockingIOError: another process or thread holds it, and ``wait`` is false.
        OSError: the file cannot be created.
    """
    # Imported here, since it takes as long to load as this whole package.
    from filelock import FileLock, Timeout

    # With the soft fallback, the existing file is the lock: it would survive a killed process.
    lock = FileLock(path, is_singleton=True, fallback_to_soft=False)
    nested = lock.is_locked
    try:
        lock.acquire(blocking=wait)
        held = True
    except Timeout as error:
        raise BlockingIOError(errno.EWOULDBLOCK, "locked by another run", str(path)) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        held = False
    try:
        yield held
    finally:
        if not nested:
            # Before the release, since afterwards the file may belong to the next holder. A process
            # that has opened it in the meantime notices the removal (`filelock` compares).
            # Windows cannot remove an open file; there, filelock removes it.
            with suppress(PermissionError):
                path.unlink(missing_ok=True)
        if held:
            lock.release()
