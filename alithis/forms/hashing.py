"""Data points → digests: the SHA-256 of their canonical form (FIPS 180-4).

Files are hashed in worker processes, since for small files Python threads are slower than a single
thread. The result does not depend on the number of workers.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO

from alithis.base.files import Buffer, check_unchanged, regular_file, unreadable
from alithis.errors import SourceError
from alithis.forms.form import BYTES, Form
from alithis.forms.pool import Pool

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIZE = 32
"""Bytes in a digest."""
_BLOCK = 1 << 20
_SHORT = 2048  # bytes of a row up to which `of_matrix` is faster than a hashlib call for each row
_MAX_ENCODED = 1 << 30  # bytes of a file that is decoded in memory


def of_bytes(data: Buffer) -> bytes:
    """Return the SHA-256 of a buffer, 32 bytes."""
    return hashlib.sha256(data).digest()


def of_ascii(texts: Iterable[str]) -> bytes:
    """Return the digests of ASCII texts, joined: ASCII is its own canonical form ``text``."""
    sha256 = hashlib.sha256
    return b"".join([sha256(text.encode()).digest() for text in texts])


def of_rows(data: Buffer, row: int) -> bytes:
    """Return the digests of a buffer's rows, 32 bytes each, joined in order.

    Args:
        data: rows of equal length.
        row: bytes in a row, at least 1; the length of the buffer is a multiple of it.
    """
    view = memoryview(data).cast("B")
    if row <= _SHORT and len(view) > row:
        import numpy as np

        return of_matrix(np.frombuffer(view, np.uint8).reshape(-1, row)).tobytes()
    sha256 = hashlib.sha256
    return b"".join(
        [sha256(view[start : start + row]).digest() for start in range(0, len(view), row)]
    )


def of_matrix(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the digests of a matrix's rows, as rows of 32 bytes.

    hashlib takes one message a call, and the call takes about as long as hashing a short message.
    StringZilla hashes many messages at once, on several lanes of the processor: a Merkle tree is
    about 8 times as fast.

    Args:
        rows: a contiguous matrix; each row is a message.
    """
    import numpy as np
    import pyarrow as pa
    from stringzilla import Sha256s, Strs

    width = rows.shape[1]
    found = np.empty((len(rows), SIZE), np.uint8)
    step = max(1, _BLOCK // width)  # the messages of a call stay in the cache; offsets have 32 bits
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        offsets = np.arange(0, (len(some) + 1) * width, width, np.int32)
        tape = pa.Array.from_buffers(  # how StringZilla accepts messages without copying them
            pa.binary(), len(some), [None, pa.py_buffer(offsets), pa.py_buffer(some)]
        )
        Sha256s(len(some)).update(Strs(tape, view=True)).digest(found[start : start + step])
    return found


def of_file(path: str | os.PathLike[str], form: Form = BYTES) -> tuple[bytes, int]:
    """Hash one file.

    Args:
        path: a regular file. It is streamed; forms other than ``bytes`` need it in memory.
        form: the canonical form to hash.

    Returns:
        The digest, and the file's size in bytes.

    Raises:
        SourceError: the file cannot be read, or is not a regular file.
        ChangedError: the file changed while it was read.
    """
    name = os.fspath(path)
    with regular_file(name) as (handle, before):
        try:
            return _of_open_file(handle, before, name, form)
        except OSError as error:
            raise unreadable(name, error) from error


def of_part(file: BinaryIO, offset: int, length: int) -> bytes:
    """Return the SHA-256 of a part of an open file, 32 bytes. The part is streamed.

    Args:
        file: a seekable file, open for reading.
        offset: the first byte of the part.
        length: bytes in the part; the caller has checked that the file contains them.
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
        raise SourceError(
            f"{name}: {before.st_size} bytes; the form {form.name} takes files of at most "
            f"{_MAX_ENCODED}"
        )
    data = b"".join(_blocks(handle, before.st_size))
    check_unchanged(name, before, os.fstat(handle), len(data))
    try:
        return of_bytes(form.canonical(data)), len(data)
    except SourceError as error:
        raise SourceError(f"{name}: {error}") from error


def _stream(handle: int, size: int) -> tuple[bytes, int]:
    if size <= _BLOCK:  # the common case: one read, no loop
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
    """Read a file to its end, or until it has more bytes than expected."""
    while size >= 0 and (block := os.read(handle, _BLOCK)):
        yield block
        size -= len(block)


def of_files(
    root: str, names: Sequence[str], form: Form, pool: Pool
) -> Iterator[tuple[bytes, list[int]]]:
    """Hash many files, in the workers of a pool.

    Args:
        root: the folder that the names are relative to.
        names: relative paths.
        form: the canonical form to hash.
        pool: the workers.

    Yields:
        For each run of consecutive names, in order: the joined digests, and the sizes in bytes.

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
