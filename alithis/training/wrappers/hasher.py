"""Hash the items of a training loop as data points, in a manifest's canonical form.

An item without that form is refused. For example, an image that was converted to floating-point
numbers no longer has the digest in the manifest; if it were recorded, the transcript would say that
the training used other data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alithis.errors import SourceError
from alithis.forms import hashing, record, text
from alithis.forms.form import Form
from alithis.readers import of_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

Selector = str | int | Callable[[Any], Any]
"""Which part of an item is the data point: a key or position in it, or a function of it."""

_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
_HELP = (
    "choose the part of an item that is the data point with point=, "
    "or pass the original data with source="
)


@dataclass(frozen=True, slots=True)
class ItemHasher:
    """Hashes items.

    Attributes:
        form: the manifest's canonical form.
        point: which part of an item is the data point; None for the first element of a tuple, and
            otherwise the whole item.
    """

    form: Form
    point: Selector | None = None

    def item(self, item: Any) -> bytes:
        """Return the digest of an item's data point, 32 bytes.

        Args:
            item: bytes (as stored), the path of a file, a text, a Pillow image, an array or
                tensor, or a mapping, depending on the form.

        Raises:
            SourceError: the item does not have the form.
        """
        if type(item) is str and self.point is None and self.form.name == "text":
            return hashing.of_bytes(text.text(item))  # the most frequent case, made fast
        return self._digest(self._selected(item))

    def batch(self, batch: Any) -> bytes:
        """Return the digests of a batch's data points, joined.

        Args:
            batch: an array or tensor whose axis 0 counts data points, or a list of them; or a
                mapping, a tuple or a list of arrays that contains such an array or list: by
                default as its first element.

        Raises:
            SourceError: a data point does not have the form.
        """
        points = self._selected(batch)
        if self.point is None and isinstance(points, list) and points and _is_column(points[0]):
            points = points[0]
        if (array := _array(points)) is not None and array.ndim:
            return self.rows(array)
        if isinstance(points, Mapping) or not isinstance(points, Sequence):
            raise SourceError(f"a batch must be an array or a list, not a {_kind(points)}; {_HELP}")
        return b"".join(map(self._digest, points))

    def rows(self, rows: NDArray[Any]) -> bytes:
        """Return the digests of an array's rows (axis 0), joined.

        Raises:
            SourceError: they do not have the form.
        """
        if not len(rows):
            return b""
        if self.form.name == "bytes":
            return of_array(rows)
        if self.form.name == "pixels":
            return of_array(self._raster(rows, 1))
        return b"".join(map(self._digest, rows.tolist()))

    def _selected(self, item: Any) -> Any:
        if self.point is None:
            return item[0] if isinstance(item, tuple) and item else item
        if callable(self.point):
            return self.point(item)
        try:
            return item[self.point]
        except (KeyError, IndexError, TypeError) as error:
            names = (
                f": its keys are {', '.join(map(str, item))}" if isinstance(item, Mapping) else ""
            )
            raise SourceError(f"no {self.point!r} in a {_kind(item)}{names}"[:300]) from error

    def _digest(self, value: Any) -> bytes:
        if isinstance(value, Path):
            return hashing.of_file(value, self.form)[0]
        if isinstance(value, bytes | bytearray | memoryview):
            if self.form.name == "bytes":
                return hashing.of_bytes(value)
            return hashing.of_bytes(self.form.canonical(bytes(value)))
        return hashing.of_bytes(self._canonical(value))

    def _canonical(self, value: Any) -> bytes:
        name = self.form.name
        if name == "text" and isinstance(value, str):
            return text.text(value)
        if name == "record" and isinstance(value, Mapping):
            return record.record(dict(record.taken(value, self.form.columns)))
        if name == "sample" and isinstance(value, Mapping):
            return _sample(value)
        if name == "pixels" and hasattr(value, "getbands"):  # a Pillow image
            return self.form.raster(value)
        if name in ("bytes", "pixels") and (array := _array(value)) is not None:
            return _little_endian(self._raster(array, 0) if name == "pixels" else array)
        raise SourceError(f"a {_kind(value)} is not a data point of the form {name}; {_HELP}")

    def _raster(self, array: NDArray[Any], first: int) -> NDArray[Any]:
        """Return images with their channels last, as the form ``pixels`` has them.

        Args:
            array: 8-bit samples of shape (…, height, width), (…, height, width, channels) or,
                as in PyTorch, (…, channels, height, width).
            first: number of axes before these.
        """
        form, shape = self.form, list(array.shape[first:])
        channels = _CHANNELS[str(form.mode)]
        if len(shape) == 3 and shape[0] == channels and shape[2] != channels:
            axes = range(first)
            array = array.transpose(*axes, first + 1, first + 2, first)
        elif len(shape) == 2 and channels == 1:
            array = array[..., None]
        height, width, depth = [*array.shape[first:], 0, 0, 0][:3]
        fits = len(array.shape) == first + 3 and depth == channels
        if array.dtype.name != "uint8" or not fits:
            raise SourceError(
                f"an array of {array.dtype} and shape {tuple(shape)} is not an image of mode "
                f"{form.mode}; {_HELP}"
            )
        form.check_size(width, height)
        return array


def _sample(value: Mapping[Any, Any]) -> bytes:
    """Return the canonical form of a sample that WebDataset's readers return undecoded."""
    members = {}
    for name, data in value.items():
        if isinstance(name, str) and name.startswith("__"):
            continue
        if not isinstance(name, str) or not isinstance(data, bytes):
            raise SourceError(f"a sample has bytes for each extension, not {name!r}: {_kind(data)}")
        members[name] = hashlib.sha256(data).hexdigest()
    return record.record(members)


def _array(value: Any) -> NDArray[Any] | None:
    """Return an array, a tensor or a scalar of theirs as an array; None for anything else."""
    import numpy as np

    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # a PyTorch tensor
        return np.asarray(value.detach().cpu())
    return None


def _is_column(value: Any) -> bool:
    array = _array(value)
    return array is not None and array.ndim > 0


def _little_endian(array: NDArray[Any]) -> bytes:
    """Return little-endian bytes in C order, the bytes that `readers.of_array` hashes."""
    dtype = array.dtype
    if dtype.kind not in "biuf" or dtype.char == "g" or not array.size:
        raise SourceError(
            f"values of type {dtype} and shape {array.shape} do not have the same bytes on every "
            f"machine; {_HELP}"
        )
    return array.astype(dtype.newbyteorder("<"), "C", copy=False).tobytes()


def _kind(value: Any) -> str:
    return type(value).__name__
