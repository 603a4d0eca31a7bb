"""NumPy's files: the rows of an array in a ``.npy`` or ``.npz`` are data points."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from alithis.base.text import first_line
from alithis.errors import ChangedError, SourceError
from alithis.forms.form import BYTES
from alithis.forms.pool import Pool
from alithis.manifest.reader import DataPoints
from alithis.readers.numeric import check_labels, check_portable, of_array, raster
from alithis.readers.places import Place
from alithis.readers.source import Source, fingerprint, numbered

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAGIC = b"\x93NUMPY"
_MAX_ROW, _MAX_ROWS, _MAX_AXES = 1 << 30, 1 << 48, 32
_MAX_ARRAYS = 1 << 12
_MAX_LABELS = 1 << 31
_BLOCK = 1 << 23


def numpy_file(
    place: Place, array: str | None = None, label: str | None = None, labels: Place | None = None
) -> Source:
    """Take the rows of an array as data points, as `arrays` does.

    Args:
        place: a ``.npy`` or ``.npz`` file.
        array: in a ``.npz``, the name of the array; needed where there are several.
        label: in a ``.npz``, the name of the array of labels.
        labels: a ``.npy`` file of labels.

    Raises:
        SourceError: the file is none, damaged or cut short, its rows have no bytes of their own,
            or the labels do not fit.
    """
    name = _chosen(place, array, label)
    with _opened(place, name) as (shape, dtype, _):
        pass
    values = None
    if label is not None or labels is not None:
        values = check_labels(_whole(labels or place, label), shape[0], label or "labels")
    path = f"{place.name}/{name}" if name else place.name

    def digested(_: Pool, /, first: int = 0) -> Iterator[DataPoints]:
        with _opened(place, name) as (again, kind, file):
            if (again, kind) != (shape, dtype):
                raise ChangedError(f"{place.where}: changed since it was opened")
            start = 0
            for rows in _blocks(file, shape, dtype):
                skip, stop = max(0, first - start), start + len(rows)
                if skip < len(rows):
                    size = rows.nbytes // len(rows)
                    yield numbered(path, start + skip, of_array(rows[skip:]), size, values)
                start = stop

    form = raster(shape) if dtype.name == "uint8" else BYTES
    stamps = [(each.where, each.stamp) for each in (place, labels) if each]
    facts = fingerprint("numpy", stamps, name, label)
    return Source(form, shape[0], digested, facts)


def _chosen(place: Place, array: str | None, label: str | None) -> str:
    """Return the name of the array in a .npz; nothing for a .npy."""
    with place.open() as file:
        if file.peek(6)[:6] == _MAGIC:
            if array or label:
                raise SourceError(f"{place.where}: holds one array, without a name")
            return ""
        with _archive(place, file) as archive:
            infos = archive.infolist()
    names = [info.filename.removesuffix(".npy") for info in infos[:_MAX_ARRAYS]]
    for asked in filter(None, (array, label)):
        if names.count(asked) != 1:
            raise SourceError(f"{place.where}: no array {asked}; there are {', '.join(names)}")
    others = [name for name in names if name != label]
    if array is None and len(others) != 1:
        raise SourceError(
            f"{place.where}: holds {', '.join(names)}: --column names the array to take"
        )
    return array or others[0]


@contextmanager
def _archive(place: Place, file: Any) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise SourceError(f"{place.where}: no .npy or .npz file, or damaged: {error}") from error


@contextmanager
def _opened(place: Place, name: str | None) -> Iterator[tuple[tuple[int, ...], np.dtype[Any], Any]]:
    """Open an array: its shape, the type of its elements, and the file they follow in."""
    with place.open() as file:
        if not name:
            yield *_header(place.where, file), file
            return
        with _archive(place, file) as archive:
            names = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            with archive.open(names[name]) as member:
                where = f"{place.where}: {PurePosixPath(name)}"
                yield *_header(where, member), member


def _header(where: str, file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    from numpy.lib import format as npy_format

    npy: Any = npy_format  # its functions have no types
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, columns_first, dtype = read(file)
    except (ValueError, KeyError) as error:
        reason = first_line(error)
        raise SourceError(f"{where}: no array that can be read: {reason}") from error
    check_portable(dtype, where)
    size = dtype.itemsize * math.prod(shape[1:])
    if (
        not 1 <= len(shape) <= _MAX_AXES
        or not 0 < shape[0] <= _MAX_ROWS
        or not 0 < size <= _MAX_ROW
    ):
        raise SourceError(f"{where}: no rows of 1 to {_MAX_ROW} bytes in an array of shape {shape}")
    if columns_first and len(shape) > 1:
        raise SourceError(f"{where}: stored column by column: save numpy.ascontiguousarray of it")
    return tuple(map(int, shape)), dtype


def _blocks(file: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    import numpy as np

    size = dtype.itemsize * math.prod(shape[1:])
    step = max(1, _BLOCK // size)
    for start in range(0, shape[0], step):
        count = min(step, shape[0] - start)
        data = file.read(count * size)
        if len(data) < count * size:
            raise SourceError(f"cut short at row {start + len(data) // size} of {shape[0]}")
        yield np.frombuffer(data, dtype).reshape(count, *shape[1:])
    if file.read(1):
        raise SourceError(f"more follows after the {shape[0]} rows of its header")


def _whole(place: Place, name: str | None) -> NDArray[Any]:
    import numpy as np

    with _opened(place, name) as (shape, dtype, file):
        if dtype.itemsize * math.prod(shape) > _MAX_LABELS:
            raise SourceError(f"{place.where}: labels of more than {_MAX_LABELS} bytes")
        return np.concatenate(list(_blocks(file, shape, dtype)))
