"""Arrays: in memory, and in IDX files (the format of MNIST)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from alithis.errors import SourceError
from alithis.forms import hashing
from alithis.forms.form import BYTES, Form
from alithis.forms.pool import Pool
from alithis.manifest.reader import DataPoints
from alithis.readers.compression import decompressed
from alithis.readers.data_file import (
    DataFile,
    LocalDataFile,
    changed_since,
    identity_of,
    read_errors,
)
from alithis.readers.source import Source, row_points

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_UBYTES = b"\0\0\x08"  # an IDX file of unsigned bytes
_MAX_AXES = 4
# Limits for an IDX header: items, and bytes of an item.
_MAX_ITEMS, _MAX_ITEM = 1 << 28, 1 << 28
_BATCH, _BLOCK = 1 << 16, 1 << 23  # rows and bytes to hash at a time


def arrays(
    data: NDArray[Any], *, labels: Sequence[Any] | None = None, name: str = "array"
) -> Source:
    """Read the rows of an array as data points.

    Unsigned bytes of shape (n, height, width) or (n, height, width, 3 or 4) have the form
    ``pixels``; other rows are hashed as their little-endian bytes in C order.

    Args:
        data: the array, of at least one row; axis 0 counts data points.
        labels: one label per row: integers or strings.
        name: what the rows' paths begin with: ``name#0``, ``name#1``, ….

    Raises:
        SourceError: the array has no rows or contains Python objects, or the labels do not fit.
    """
    check_portable(data.dtype, name)
    if data.ndim < 1 or data.nbytes == 0:
        raise SourceError(f"{name}: an array of shape {data.shape} has no rows")
    values = check_labels(labels, len(data), name)

    def digested(_: Pool, first: int = 0) -> Iterator[DataPoints]:
        for start in range(first, len(data), _BATCH):
            digests = of_array(data[start : start + _BATCH])
            yield row_points(name, start, digests, data.nbytes // len(data), values)

    form = pixels_form(data.shape) if data.dtype.name == "uint8" else BYTES
    return Source(form, len(data), digested)


def of_array(data: NDArray[Any]) -> bytes:
    """Return the digests of an array's rows (axis 0), 32 bytes each, joined.

    Args:
        data: at least one row; each is hashed as its little-endian bytes in C order, without
            the padding that a structured type may have.

    Raises:
        SourceError: the rows contain objects, or numbers whose bytes depend on the machine.
    """
    import numpy as np

    check_portable(data.dtype, "array")
    dtype = data.dtype
    if dtype.names:
        from numpy.lib.recfunctions import repack_fields

        dtype = repack_fields(dtype, recurse=True)
    rows = np.ascontiguousarray(data, dtype.newbyteorder("<"))
    return hashing.of_rows(rows.reshape(-1).view(np.uint8).data, rows.nbytes // len(rows))


def check_portable(dtype: np.dtype[Any], name: str) -> None:
    """Check that values of a type have the same bytes on every machine.

    Raises:
        SourceError: they depend on the machine, or are Python objects.
    """
    for field in dtype.names or ():
        check_portable(dtype[field].base, name)
    if dtype.kind not in "biufcmMSUV" or dtype.char in "gG":  # long double
        raise SourceError(
            f"{name}: values of type {dtype} do not have the same bytes on every machine"
        )


def check_labels(
    labels: Sequence[Any] | NDArray[Any] | None, count: int, name: str
) -> list[Any] | None:
    """Return labels as a list, one for each row.

    Raises:
        SourceError: there is another number of them, or they are neither integers nor strings.
    """
    import numpy as np

    if labels is None:
        return None
    values = np.asarray(labels)
    if values.shape != (count,):
        raise SourceError(f"{name}: labels of shape {values.shape} do not fit {count} rows")
    if values.dtype.kind not in "iuU":
        raise SourceError(f"{name}: labels must be integers or strings, not {values.dtype}")
    return list(values.tolist())


def pixels_form(shape: Sequence[int]) -> Form:
    """Return the form of unsigned bytes of a shape (items, height, width, channels)."""
    mode = {(): "L", (3,): "RGB", (4,): "RGBA"}.get(tuple(shape[3:]))
    if len(shape) < 3 or mode is None:
        return BYTES
    return Form("pixels", mode, width=int(shape[2]), height=int(shape[1]))


def idx(path: Path, labels: Path | None = None) -> Source:
    """Read the items of an IDX file (the format of MNIST) as data points.

    The file is read piece by piece while it is hashed: only then is it known to be complete.

    Args:
        path: the IDX file of unsigned bytes, plain or gzipped; its first axis counts items.
        labels: the IDX file with one label per item.

    Raises:
        SourceError: a file cannot be read, is not an IDX file or is truncated, or the labels
            do not fit.
    """
    return idx_file(LocalDataFile.at(path), None if labels is None else LocalDataFile.at(labels))


def idx_file(data_file: DataFile, labels: DataFile | None = None) -> Source:
    """Read the items of an IDX file, local or remote: see `idx`."""
    name = data_file.name.removesuffix(".gz")
    with _opened_idx(data_file) as (shape, _):
        count, size = shape[0], math.prod(shape[1:])
    values: Any = None if labels is None else _array(labels)
    values = check_labels(values, count, "" if labels is None else labels.where)

    def digested(_: Pool, /, first: int = 0) -> Iterator[DataPoints]:
        start = 0
        with _opened_idx(data_file) as (again, blocks):
            if again != shape:
                raise changed_since(data_file.where)
            for block in blocks:
                stop, skip = start + len(block) // size, max(0, first - start)
                if start + skip < stop:
                    rest = memoryview(block)[skip * size :]
                    yield row_points(name, start + skip, hashing.of_rows(rest, size), size, values)
                start = stop

    identity = identity_of("idx", [each for each in (data_file, labels) if each])
    return Source(pixels_form(shape), count, digested, identity)


def idx_array(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file into an array of the shape its header states.

    Args:
        path: an IDX file of unsigned bytes, plain or gzipped.

    Raises:
        SourceError: for the reasons that `idx` names.
    """
    return _array(LocalDataFile.at(path))


def _array(data_file: DataFile) -> NDArray[np.uint8]:
    import numpy as np

    data = bytearray()
    with _opened_idx(data_file) as (shape, blocks):
        for block in blocks:
            data += block
    return np.frombuffer(data, np.uint8).reshape(shape)


@contextmanager
def _opened_idx(data_file: DataFile) -> Iterator[tuple[list[int], Iterator[bytes]]]:
    """Open an IDX file: yield its shape, and its items in blocks of whole items."""
    with data_file.open() as raw, read_errors(data_file.where):
        file = decompressed(raw)
        shape = _idx_shape(data_file.where, file)
        yield shape, _idx_blocks(data_file.where, file, shape)


def _idx_shape(where: str, file: BinaryIO) -> list[int]:
    head = file.read(4)
    if len(head) < 4 or head[:3] != _UBYTES:
        raise SourceError(f"{where}: not an IDX file of unsigned bytes")
    axes = file.read(4 * head[3])
    if not 1 <= head[3] <= _MAX_AXES or len(axes) < 4 * head[3]:
        raise SourceError(f"{where}: an IDX header of {head[3]} axes, or one that is cut short")
    shape = [int.from_bytes(axes[at : at + 4], "big") for at in range(0, len(axes), 4)]
    count, size = shape[0], math.prod(shape[1:])
    if not (0 < count <= _MAX_ITEMS and 0 < size <= _MAX_ITEM):
        raise SourceError(
            f"{where}: the header states {count} items of {size} bytes; "
            f"allowed are 1 to {_MAX_ITEMS} items of 1 to {_MAX_ITEM} bytes"
        )
    return shape


def _idx_blocks(where: str, file: BinaryIO, shape: list[int]) -> Iterator[bytes]:
    """Read no more than the header states, however much a gzip bomb would decompress to."""
    size, stated = math.prod(shape[1:]), math.prod(shape)
    step = max(1, min(_BATCH, _BLOCK // size)) * size
    for start in range(0, stated, step):
        block = file.read(min(step, stated - start))
        if start + len(block) < min(start + step, stated):
            raise SourceError(
                f"{where}: the header states {stated} bytes, there are {start + len(block)}: "
                "cut short or damaged. Download it again"
            )
        yield block
    if file.read(1):
        raise SourceError(
            f"{where}: has more than the {stated} bytes that its header states: damaged. "
            "Download it again"
        )
