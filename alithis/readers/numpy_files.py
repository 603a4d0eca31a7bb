"""NumPy files: the rows of an array in a ``.npy`` or ``.npz`` file are data points."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from alithis.base.text import first_line
from alithis.errors import SourceError
from alithis.forms.form import BYTES
from alithis.forms.pool import Pool
from alithis.manifest.reader import DataPoints
from alithis.readers import zip_files
from alithis.readers.data_file import DataFile, changed_since, identity_of
from alithis.readers.numeric import check_labels, check_portable, of_array, pixels_form
from alithis.readers.source import Source, row_points

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAGIC = b"\x93NUMPY"
_MAX_ROW, _MAX_ROWS, _MAX_AXES = 1 << 30, 1 << 48, 32
_MAX_ARRAYS = 1 << 12
_MAX_LABELS = 1 << 31
_BLOCK = 1 << 23


def numpy_file(
    data_file: DataFile,
    array: str | None = None,
    label: str | None = None,
    labels: DataFile | None = None,
) -> Source:
    """Read the rows of an array as data points, as `arrays` does.

    Args:
        data_file: a ``.npy`` or ``.npz`` file.
        array: in a ``.npz``, the name of the array; required if there are several.
        label: in a ``.npz``, the name of the array of labels.
        labels: a ``.npy`` file of labels.

    Raises:
        SourceError: the file is not a NumPy file, is damaged or truncated, its rows are Python
            objects, or the labels do not fit.
    """
    name = _chosen(data_file, array, label)
    with _opened(data_file, name) as (shape, dtype, _):
        pass
    values = None
    if label is not None or labels is not None:
        values = check_labels(_whole(labels or data_file, label), shape[0], label or "labels")
    path = f"{data_file.name}/{name}" if name else data_file.name

    def digested(_: Pool, /, first: int = 0) -> Iterator[DataPoints]:
        with _opened(data_file, name) as (again, kind, file):
            if (again, kind) != (shape, dtype):
                raise changed_since(data_file.where)
            start = 0
            for rows in _blocks(file, shape, dtype):
                skip, stop = max(0, first - start), start + len(rows)
                if skip < len(rows):
                    size = rows.nbytes // len(rows)
                    yield row_points(path, start + skip, of_array(rows[skip:]), size, values)
                start = stop

    form = pixels_form(shape) if dtype.name == "uint8" else BYTES
    identity = identity_of("numpy", [each for each in (data_file, labels) if each], name, label)
    return Source(form, shape[0], digested, identity)


def _chosen(data_file: DataFile, array: str | None, label: str | None) -> str:
    """Return the name of the array in a .npz; an empty text for a .npy."""
    with data_file.open() as file:
        if file.peek(6)[:6] == _MAGIC:
            if array or label:
                raise SourceError(
                    f"{data_file.where}: contains one array, without a name: leave --column and "
                    "--label out"
                )
            return ""
        with _archive(data_file, file) as archive:
            infos = archive.infolist()
    names = [info.filename.removesuffix(".npy") for info in infos[:_MAX_ARRAYS]]
    for asked in filter(None, (array, label)):
        if names.count(asked) != 1:
            raise SourceError(
                f"{data_file.where}: no array {asked}; the arrays are {', '.join(names)}"
            )
    others = [name for name in names if name != label]
    if array is None and len(others) != 1:
        raise SourceError(
            f"{data_file.where}: contains {', '.join(names)}; choose one with --column"
        )
    return array or others[0]


@contextmanager
def _archive(data_file: DataFile, file: Any) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(file) as archive:
            zip_files.ends(file, archive)  # of two joined files, the arrays of one would be lost
            yield archive
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise SourceError(
            f"{data_file.where}: not a .npy or .npz file, or damaged: {error}"
        ) from error


@contextmanager
def _opened(
    data_file: DataFile, name: str | None
) -> Iterator[tuple[tuple[int, ...], np.dtype[Any], Any]]:
    """Open an array: yield its shape, the type of its elements, and a file to read them from."""
    with data_file.open() as file:
        if not name:
            yield *_header(data_file.where, file), file
            return
        with _archive(data_file, file) as archive:
            names = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            with archive.open(names[name]) as member:
                where = f"{data_file.where}: {PurePosixPath(name)}"
                yield *_header(where, member), member


def _header(where: str, file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    from numpy.lib import format as npy_format

    npy: Any = npy_format  # its functions are not typed
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, columns_first, dtype = read(file)
    except (ValueError, KeyError) as error:
        raise SourceError(f"{where}: not a readable array: {first_line(error)}") from error
    check_portable(dtype, where)
    size = dtype.itemsize * math.prod(shape[1:])
    if (
        not 1 <= len(shape) <= _MAX_AXES
        or not 0 < shape[0] <= _MAX_ROWS
        or not 0 < size <= _MAX_ROW
    ):
        raise SourceError(
            f"{where}: an array of shape {shape} has no rows of 1 to {_MAX_ROW} bytes"
        )
    if columns_first and len(shape) > 1:
        raise SourceError(
            f"{where}: stored in Fortran order; save numpy.ascontiguousarray(array) instead"
        )
    return tuple(map(int, shape)), dtype


def _blocks(file: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    import numpy as np

    size = dtype.itemsize * math.prod(shape[1:])
    step = max(1, _BLOCK // size)
    for start in range(0, shape[0], step):
        count = min(step, shape[0] - start)
        data = file.read(count * size)
        if len(data) < count * size:
            raise SourceError(
                f"cut short at row {start + len(data) // size} of {shape[0]}. Download it again"
            )
        yield np.frombuffer(data, dtype).reshape(count, *shape[1:])
    if file.read(1):
        raise SourceError(f"has more than the {shape[0]} rows that its header states: damaged")


def _whole(data_file: DataFile, name: str | None) -> NDArray[Any]:
    import numpy as np

    with _opened(data_file, name) as (shape, dtype, file):
        if dtype.itemsize * math.prod(shape) > _MAX_LABELS:
            raise SourceError(f"{data_file.where}: the labels have more than {_MAX_LABELS} bytes")
        return np.concatenate(list(_blocks(file, shape, dtype)))
