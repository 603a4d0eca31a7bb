"""Arrays and tensors whose rows are fed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from alithis.errors import SourceError
from alithis.feeds.log import Log, Taken
from alithis.feeds.proxy import Fed
from alithis.points import Digester

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# What tells of an array and gives nothing of it.
_ABOUT = frozenset(
    (
        "shape",
        "dtype",
        "ndim",
        "size",
        "nbytes",
        "itemsize",
        "strides",
        "flags",
        "device",
        "is_cuda",
        "layout",
        "names",
        "dim",
        "numel",
        "requires_grad",
        "is_sparse",
        "type",
        "is_floating_point",
        "element_size",
    )
)


class FedArray(Fed):
    """An array or tensor that notes which of its rows are taken out.

    An array's rows cannot be written to through it. What takes no rows but everything, by a
    method of the array's or as a buffer, counts as taking all.
    """

    def __init__(self, data: Any, taken: Taken) -> None:
        """Wrap an array; axis 0 counts data points."""
        super().__init__(_locked(data))
        object.__setattr__(self, "_taken", taken)

    def __getitem__(self, key: Any) -> Any:
        """Return what the array returns, and note the rows."""
        import numpy as np

        given = self._data[key]
        if isinstance(key, int | np.integer) and not isinstance(key, bool):
            self._taken.one(int(key) % len(self))
            return given
        rows = self._rows(key)
        if not isinstance(rows, np.ndarray) or rows.dtype.kind != "i" or rows.size == 0:
            rows = np.atleast_1d(np.arange(len(self))[rows])
        elif rows.min() < 0:
            rows = rows % len(self)
        self._taken.note(rows.reshape(-1))
        return given

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows in turn."""
        return (self[index] for index in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the whole array: all rows are taken."""
        import numpy as np

        data = self._whole()
        return np.array(data, dtype) if copy else np.asarray(data, dtype)

    def __dlpack__(self, **options: Any) -> Any:
        """Give a copy of the whole array to another library: all rows are taken."""
        import numpy as np

        return np.array(self._whole()).__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Say where `__dlpack__` gives the array: in the processor's memory."""
        return 1, 0

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the array's; of what computes with it, all rows are taken."""
        found = super().__getattr__(name)
        if name not in _ABOUT:
            self._taken.all()
        return found

    def _whole(self) -> Any:
        self._taken.all()
        return self._data

    def _rows(self, key: Any) -> Any:
        """Return the part of a key that picks along axis 0."""
        import numpy as np

        first = key[0] if isinstance(key, tuple) and key else key
        if hasattr(first, "detach"):  # a tensor
            first = np.asarray(first.detach().cpu())
        if isinstance(first, int | np.integer | slice | list):
            return first
        if isinstance(first, np.ndarray) and first.ndim:
            axes = tuple(range(1, first.ndim))
            return first.any(axis=axes) if first.dtype == bool else first
        # None, an ellipsis, …: let NumPy say which row each element that it gives is of.
        shape = tuple(self._data.shape)
        rows = np.arange(len(self)).reshape(-1, *[1] * (len(shape) - 1))
        return np.unique(np.broadcast_to(rows, shape)[key])


def of_array(data: Any, log: Log) -> FedArray:
    """Wrap an array or tensor.

    Raises:
        SourceError: it has no rows, or rows of another form than the manifest's.
    """
    source = array_source(data)
    digester = Digester(log.digester.form)
    digester.rows(source[:1])  # what is wrong shows now, not in the middle of an epoch
    return FedArray(data, Taken(log, len(source), Rows(source, digester)))


def array_source(data: Any) -> NDArray[Any]:
    """Return the rows of an array or tensor where they lie in memory.

    Raises:
        SourceError: there are none, or they are objects.
    """
    import numpy as np

    found = np.asarray(data.detach().cpu() if hasattr(data, "detach") else data)
    if found.ndim and not found.size:
        raise SourceError(f"no data points are in an array of shape {found.shape}")
    if found.dtype.hasobject or found.ndim < 1:
        raise SourceError(
            f"data points come as the rows of an array, not as {found.dtype} of shape {found.shape}"
        )
    return found


class Rows:
    """An array's rows, by their numbers."""

    def __init__(self, source: NDArray[Any], digester: Digester) -> None:
        """Digest rows of an array."""
        self._source, self._digester = source, digester
        self._weights: NDArray[np.uint64] | None = None

    def __call__(self, numbers: NDArray[np.intp]) -> bytes:
        """Return the digests."""
        return self._digester.rows(self._source[numbers])

    def marks(self, numbers: NDArray[np.intp]) -> NDArray[np.uint64]:
        """Return checksums: sums of the bytes, eight at a time, each by a weight of its own."""
        import numpy as np

        rows = np.ascontiguousarray(self._source[numbers]).reshape(len(numbers), -1)
        octets = rows.view(np.uint8)
        if missing := -octets.shape[1] % 8:
            octets = np.pad(octets, ((0, 0), (0, missing)))
        words = octets.view(np.uint64)
        if self._weights is None:
            odd = np.random.default_rng(0).integers(1 << 63, size=words.shape[1], dtype=np.uint64)
            self._weights = odd | np.uint64(1)
        sums: Any = np.einsum("ij,j->i", words, self._weights)
        found: NDArray[np.uint64] = sums | np.uint64(1 << 63)
        return found

    def one(self, number: int) -> bytes:
        """Return the digest of one row."""
        return self._digester.item(self._source[number])


def _locked(data: Any) -> Any:
    """Return a view of an array that cannot be written to."""
    import numpy as np

    if not isinstance(data, np.ndarray):
        return data
    view = data.view()
    view.flags.writeable = False
    return view
