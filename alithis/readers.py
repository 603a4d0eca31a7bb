"""Where data points come from: a folder, IDX files, NumPy arrays.

A reader knows its canonical form and gives batches of digested data points (`manifest.Items`).
It never drops a data point: what cannot be read stops it, with the name of what is wrong.
"""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from alithis import digest
from alithis.digest import BYTES, Form, Pool
from alithis.errors import SourceError
from alithis.manifest import Items

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_GZIP = b"\x1f\x8b"
_UBYTE = 0x08  # IDX type of unsigned bytes
_MAX_DIMENSIONS = 4
_MAX_DEPTH = 256
_BATCH = 1 << 16


@dataclass(frozen=True, slots=True)
class Source:
    """Data points that can be digested.

    Attributes:
        form: their canonical form.
        count: how many there are.
        digested: gives them digested, in batches, with the workers of a pool.
    """

    form: Form
    count: int
    digested: Callable[[Pool], Iterator[Items]]


def open_source(
    path: Path,
    *,
    form: Form = BYTES,
    labels: Path | None = None,
    label_from_folder: bool = False,
) -> Source:
    """Open what a path holds: a folder, or an IDX file (plain or gzipped).

    Args:
        path: the folder or file.
        form: the canonical form of a folder's files; an IDX file has its own.
        labels: for IDX images, the IDX file with their labels.
        label_from_folder: for a folder, whether each file's parent folder is its label.

    Raises:
        SourceError: the path cannot be read, is empty, or is none of these.
    """
    if path.is_dir():
        if labels:
            raise SourceError(f"{labels}: labels go with an IDX file; {path} is a folder")
        return folder(path, form=form, label_from_folder=label_from_folder)
    if label_from_folder:
        raise SourceError(f"{path}: is no folder, so no folder names a label")
    if form != BYTES:
        raise SourceError(f"{path}: an IDX file's form is pixels already")
    return idx(path, labels)


def folder(path: Path, *, form: Form = BYTES, label_from_folder: bool = False) -> Source:
    """Take every file below a folder as a data point.

    Symbolic links are followed.

    Args:
        path: the folder.
        form: the files' canonical form.
        label_from_folder: whether a file's parent folder is its label.

    Raises:
        SourceError: the folder is empty or cannot be listed, links run in a circle, a name is
            not UTF-8, something is neither file nor folder, or a file has no label.
    """
    form.require()
    names = sorted(_files(os.fspath(path), "", ()))
    if not names:
        raise SourceError(f"{path}: no files in it")
    labels = [_label(path, name) for name in names] if label_from_folder else None

    def digested(pool: Pool) -> Iterator[Items]:
        start = 0
        for digests, sizes in digest.of_files(os.fspath(path), names, form, pool):
            stop = start + len(sizes)
            columns = {"label": labels[start:stop]} if labels else {}
            yield Items(digests, names[start:stop], sizes, columns)
            start = stop

    return Source(form, len(names), digested)


def _files(root: str, below: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """List the files below a folder; ``above`` identifies the folders on the way to it."""
    here = f"{root}/{below}" if below else root
    try:
        status = Path(here).stat()
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            raise SourceError(f"{here}: a symbolic link leads back to a folder above it")
        if len(above) > _MAX_DEPTH:
            raise SourceError(f"{here}: more than {_MAX_DEPTH} folders deep")
        with os.scandir(here) as entries:
            for entry in entries:
                name = f"{below}/{entry.name}" if below else entry.name
                _check_name(root, name)
                if entry.is_dir():
                    yield from _files(root, name, (*above, identity))
                elif entry.is_file() or not _is_special(entry):
                    yield name
                else:
                    raise SourceError(f"{root}/{name}: not a regular file")
    except OSError as error:
        raise SourceError(f"{error.filename or here}: cannot be read: {error.strerror}") from error


def _is_special(entry: os.DirEntry[str]) -> bool:
    return not stat.S_ISREG(entry.stat().st_mode)  # raises for a link that leads nowhere


def _check_name(root: str, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise SourceError(
            f"{root}/{os.fsencode(name)!r}: the name is not UTF-8; rename it"
        ) from error


def _label(path: Path, name: str) -> str:
    label = PurePosixPath(name).parent.name
    if not label:
        raise SourceError(f"{path / name}: lies in no folder that could be its label")
    return label


def arrays(
    data: NDArray[Any], *, labels: Sequence[Any] | None = None, name: str = "array"
) -> Source:
    """Take the rows of an array as data points.

    Unsigned bytes of shape (n, height, width) or (n, height, width, 3 or 4) are pixels;
    anything else is hashed as its little-endian bytes in C order.

    Args:
        data: the array, at least one row; its first axis counts data points.
        labels: one label per row: integers or strings.
        name: what the rows' paths begin with: ``name#0``, ``name#1``, ….

    Raises:
        SourceError: the array has no rows or holds objects, or the labels do not fit it.
    """
    import numpy as np

    if data.dtype.hasobject:
        raise SourceError(f"{name}: an array of Python objects has no bytes to hash")
    if data.ndim < 1 or data.size == 0:
        raise SourceError(f"{name}: no rows in an array of shape {data.shape}")
    if labels is not None and len(labels) != len(data):
        raise SourceError(f"{name}: {len(labels)} labels for {len(data)} rows")
    values = None if labels is None else np.asarray(labels).tolist()

    def digested(_: Pool) -> Iterator[Items]:
        for start in range(0, len(data), _BATCH):
            stop = min(start + _BATCH, len(data))
            digests = of_array(data[start:stop])
            size = data.nbytes // len(data)
            columns = {} if values is None else {"label": values[start:stop]}
            names = [f"{name}#{index}" for index in range(start, stop)]
            yield Items(digests, names, [size] * (stop - start), columns)

    return Source(_array_form(data), len(data), digested)


def of_array(data: NDArray[Any]) -> bytes:
    """Return the digests of an array's rows (axis 0), 32 bytes each, joined.

    Args:
        data: at least one axis; a row is hashed as its little-endian bytes in C order.
    """
    import numpy as np

    rows = np.ascontiguousarray(data, data.dtype.newbyteorder("<"))
    return digest.of_rows(rows.data.cast("B"), rows.nbytes // len(rows))


def _array_form(data: NDArray[Any]) -> Form:
    if data.dtype.name != "uint8" or data.ndim not in (3, 4):
        return BYTES
    mode = "L" if data.ndim == 3 else {3: "RGB", 4: "RGBA"}.get(data.shape[3])
    if mode is None:
        return BYTES
    return Form("pixels", mode, width=int(data.shape[2]), height=int(data.shape[1]))


def idx(path: Path, labels: Path | None = None) -> Source:
    """Take the items of an IDX file, MNIST's format, as data points.

    Args:
        path: the IDX file of unsigned bytes, plain or gzipped; its first axis counts items.
        labels: the IDX file with one label per item.

    Raises:
        SourceError: a file cannot be read, is no IDX file or is cut short, or the labels do
            not fit.
    """
    name = path.name.removesuffix(".gz")
    values = None if labels is None else idx_array(labels)
    if values is not None and values.ndim != 1:
        raise SourceError(f"{labels}: labels have one axis, not {values.ndim}")
    _check_name(str(path.parent), name)
    return arrays(idx_array(path), labels=values, name=name)  # type: ignore[arg-type]


def idx_array(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file into an array of the shape its header states.

    Args:
        path: an IDX file of unsigned bytes, plain or gzipped.

    Raises:
        SourceError: as `idx` does.
    """
    import numpy as np

    data = _content(path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _UBYTE:
        raise SourceError(f"{path}: no IDX file of unsigned bytes")
    dimensions = data[3]
    if not 1 <= dimensions <= _MAX_DIMENSIONS or len(data) < 4 + 4 * dimensions:
        raise SourceError(f"{path}: an IDX header of {dimensions} axes")
    shape = [int.from_bytes(data[at : at + 4], "big") for at in range(4, 4 + 4 * dimensions, 4)]
    start, count = 4 + 4 * dimensions, 1
    for axis in shape:
        count *= axis
    if len(data) - start != count:
        raise SourceError(
            f"{path}: the header says {count} bytes follow, there are {len(data) - start}: "
            "cut short or damaged; fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise SourceError(f"{path}: {'not a regular file' if path.exists() else 'not found'}")
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == _GZIP else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(f"{path}: damaged gzip data: {error}") from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
