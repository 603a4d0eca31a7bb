"""Arrays and tensors whose rows are data points."""

from __future__ import annotations

import mmap
import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from alithis.errors import SourceError
from alithis.training.wrappers.hasher import ItemHasher
from alithis.training.wrappers.operators import BINARY, DESCRIBING, OTHERS, WRITING, refuse_write
from alithis.training.wrappers.proxy import Wrapper
from alithis.training.wrappers.recorder import Recorder, RowRecorder
from alithis.training.wrappers.rows import record_index
from alithis.training.wrappers.tensors import wrap_tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BLOCK = 1 << 20  # bytes that one checksum covers


class ArrayWrapper(Wrapper):
    """An array that records which of its rows are read.

    Its rows cannot be written to through the wrapper. A method, an operator or a conversion that
    reads the whole array counts as reading all rows.
    """

    __hash__ = None  # type: ignore[assignment]  # like arrays, which compare element by element

    def __init__(self, data: Any, rows: RowRecorder, *, own: bool = False) -> None:
        """Wrap an array.

        Args:
            data: the array; axis 0 counts data points.
            rows: records rows by their numbers.
            own: whether the array's rows are the data points, not those of a ``source=``.
        """
        super().__init__(_read_only(data))
        vars(self).update(_rows=rows, _own=own)

    def __getitem__(self, key: Any) -> Any:
        """Return what the array returns, and record the rows."""
        given = self._wrapped[key]
        if type(key) is int:  # DataLoaders ask for one row at a time, so this has to be fast
            self._rows.record_one(key)
        else:
            record_index(self._rows, self._wrapped, key, given if self._own else None)
        return given

    def __contains__(self, value: object) -> bool:
        """Search the whole array."""
        return value in self._whole()

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows in turn."""
        return (self[index] for index in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the whole array: all rows are read."""
        import numpy as np

        data = self._whole()
        return np.array(data, dtype) if copy else np.asarray(data, dtype)

    def __dlpack__(self, **options: Any) -> Any:
        """Export a copy of the whole array to another library: all rows are read."""
        import numpy as np

        return np.array(self._whole()).__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return the device of the exported copy: the processor's memory."""
        return 1, 0

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the array; a method that computes with it reads all rows."""
        found = super().__getattr__(name)
        if name not in DESCRIBING:
            self._rows.record_all()
        return found

    def _whole(self) -> Any:
        self._rows.record_all()
        return self._wrapped


def _operator(function: Callable[..., Any]) -> Callable[..., Any]:
    def apply(self: ArrayWrapper, *others: Any) -> Any:
        return function(self._whole(), *map(_plain, others))

    return apply


def _reflected(function: Callable[..., Any]) -> Callable[..., Any]:
    def apply(self: ArrayWrapper, other: Any) -> Any:
        return function(_plain(other), self._whole())

    return apply


def _plain(value: Any) -> Any:
    return value._whole() if type(value) is ArrayWrapper else value


# Python looks special methods up in the class, so `__getattr__` does not see them.
for _name in (*BINARY, *OTHERS):
    _function = divmod if _name == "divmod" else getattr(operator, f"__{_name}__")
    setattr(ArrayWrapper, f"__{_name}__", _operator(_function))
    if _name in BINARY:
        setattr(ArrayWrapper, f"__r{_name}__", _reflected(_function))
for _name in WRITING:
    setattr(ArrayWrapper, _name, refuse_write)
for _function in (bool, int, float, complex):
    setattr(ArrayWrapper, f"__{_function.__name__}__", _operator(_function))


def wrap_rows(data: Any, rows: RowRecorder, *, own: bool = False) -> Any:
    """Wrap an array or tensor whose rows are recorded by number; see `ArrayWrapper`."""
    return wrap_tensor(data, rows) if hasattr(data, "detach") else ArrayWrapper(data, rows, own=own)


def wrap_array(data: Any, recorder: Recorder) -> Any:
    """Wrap an array or tensor whose rows are the data points.

    Raises:
        SourceError: it has no rows, or rows of another form than the manifest's.
    """
    source = array_of(data)
    hasher = ItemHasher(recorder.hasher.form)
    hasher.rows(source[:1])  # report a wrong form now, not in the middle of an epoch
    return wrap_rows(
        data, RowRecorder(recorder, len(source), ArrayHasher(source, hasher)), own=True
    )


def array_of(data: Any) -> NDArray[Any]:
    """Return the rows of an array or tensor, without copying them.

    Raises:
        SourceError: there are none, or they are Python objects.
    """
    import numpy as np

    try:
        found = np.asarray(data.detach().cpu() if hasattr(data, "detach") else data)
    except (TypeError, RuntimeError) as error:  # a sparse tensor, a tensor on the device "meta", …
        raise SourceError(
            f"this {type(data).__name__} is not an array in memory: {error}"
        ) from error
    if found.ndim and not found.size:
        raise SourceError(f"an array of shape {found.shape} contains no data points")
    if found.dtype.hasobject or found.ndim < 1:
        raise SourceError(
            "data points must be the rows of an array, not an array of "
            f"{found.dtype} and shape {found.shape}; pass texts and records as a list (tolist())"
        )
    return found


class ArrayHasher:
    """Hashes rows of an array by their numbers."""

    def __init__(self, source: NDArray[Any], hasher: ItemHasher) -> None:
        """Hash rows of an array; its checksums show later whether it was changed."""
        self._source, self._hasher = source, hasher
        self._step = max(1, _BLOCK * len(source) // source.nbytes)  # rows
        self._sums = [] if _is_fixed(source) else self._checksums()

    def __call__(self, numbers: NDArray[np.intp]) -> bytes:
        """Return the digests; at most a MiB is copied at a time, or one row if that is larger."""
        some = (numbers[at : at + self._step] for at in range(0, len(numbers), self._step))
        return b"".join([self._hasher.rows(self._source[each]) for each in some])

    def changed(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the rows in parts of the array that were changed since the last call."""
        import numpy as np

        if not self._sums:
            return numbers[:0]
        before, self._sums = self._sums, self._checksums()
        differ = np.array(before, np.uint64) != np.array(self._sums, np.uint64)
        found: NDArray[np.intp] = numbers[differ[numbers // self._step]]
        return found

    def _checksums(self) -> list[int]:
        """Return a checksum of each MiB of the array, or of each row if rows are larger."""
        import numpy as np
        from stringzilla import hash as checksum

        sums = []
        for start in range(0, len(self._source), self._step):
            rows = np.ascontiguousarray(self._source[start : start + self._step])
            sums.append(checksum(rows.reshape(-1).view(np.uint8).data))
        return sums


def _is_fixed(array: Any) -> bool:
    """Return whether nothing can change an array: it is bytes, or a file mapped for reading."""
    import numpy as np

    while isinstance(array, np.ndarray):
        if array.flags.writeable or array.flags.owndata:
            return False
        array = array.base
    return isinstance(array, bytes) or (isinstance(array, mmap.mmap) and memoryview(array).readonly)


def _read_only(data: Any) -> Any:
    """Return a view of an array that cannot be written to."""
    import numpy as np

    if not isinstance(data, np.ndarray):
        return data
    view = data.view()
    view.flags.writeable = False
    return view
