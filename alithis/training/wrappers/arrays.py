"""Arrays and tensors whose rows are fed."""

from __future__ import annotations

import mmap
import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from alithis.errors import SourceError
from alithis.training.digester import Digester
from alithis.training.wrappers.log import Log, Taken
from alithis.training.wrappers.proxy import Fed
from alithis.training.wrappers.rows import ABOUT, IN_PLACE, note_rows, refused
from alithis.training.wrappers.tensors import of_tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BLOCK = 1 << 20  # bytes under one checksum


class FedArray(Fed):
    """An array that notes which of its rows are taken out.

    An array's rows cannot be written to through it. What takes no rows but everything, by a
    method of the array's, an operator or as a buffer, counts as taking all.
    """

    __hash__ = None  # type: ignore[assignment]  # as an array's: what compares by element has none

    def __init__(self, data: Any, taken: Taken, *, own: bool = False) -> None:
        """Wrap an array.

        Args:
            data: the array; axis 0 counts data points.
            taken: where they are noted by number.
            own: whether the rows themselves are what is digested.
        """
        super().__init__(_locked(data))
        vars(self).update(_taken=taken, _own=own)

    def __getitem__(self, key: Any) -> Any:
        """Return what the array returns, and note the rows."""
        given = self._fed[key]
        if type(key) is int:  # as DataLoaders ask, row by row: it has to be quick
            self._taken.one(key)
        else:
            note_rows(self._taken, self._fed, key, given if self._own else None)
        return given

    def __contains__(self, value: object) -> bool:
        """Look a value up in the whole array."""
        return value in self._whole()

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
        if name not in ABOUT:
            self._taken.all()
        return found

    def _whole(self) -> Any:
        self._taken.all()
        return self._fed


def _operator(function: Callable[..., Any]) -> Callable[..., Any]:
    def apply(self: FedArray, *others: Any) -> Any:
        return function(self._whole(), *map(_plain, others))

    return apply


def _reflected(function: Callable[..., Any]) -> Callable[..., Any]:
    def apply(self: FedArray, other: Any) -> Any:
        return function(_plain(other), self._whole())

    return apply


def _plain(value: Any) -> Any:
    return value._whole() if type(value) is FedArray else value


_BINARY = (*IN_PLACE, "divmod")
_OTHERS = ("lt", "le", "gt", "ge", "eq", "ne", "neg", "pos", "abs", "invert")
for _name in (*_BINARY, *_OTHERS):
    _function = divmod if _name == "divmod" else getattr(operator, f"__{_name}__")
    setattr(FedArray, f"__{_name}__", _operator(_function))
    if _name in _BINARY:
        setattr(FedArray, f"__r{_name}__", _reflected(_function))
for _name in ("setitem", *(f"i{_each}" for _each in IN_PLACE)):
    setattr(FedArray, f"__{_name}__", refused)
for _function in (bool, int, float, complex):
    setattr(FedArray, f"__{_function.__name__}__", _operator(_function))


def fed(data: Any, taken: Taken, *, own: bool = False) -> Any:
    """Wrap an array or tensor whose rows are noted by number; as `FedArray` takes them."""
    return of_tensor(data, taken) if hasattr(data, "detach") else FedArray(data, taken, own=own)


def of_array(data: Any, log: Log) -> Any:
    """Wrap an array or tensor.

    Raises:
        SourceError: it has no rows, or rows of another form than the manifest's.
    """
    source = array_source(data)
    digester = Digester(log.digester.form)
    digester.rows(source[:1])  # what is wrong shows now, not in the middle of an epoch
    return fed(data, Taken(log, len(source), Rows(source, digester)), own=True)


def array_source(data: Any) -> NDArray[Any]:
    """Return the rows of an array or tensor where they lie in memory.

    Raises:
        SourceError: there are none, or they are objects.
    """
    import numpy as np

    try:
        found = np.asarray(data.detach().cpu() if hasattr(data, "detach") else data)
    except (TypeError, RuntimeError) as error:  # a sparse tensor, one without memory, …
        raise SourceError(f"a {type(data).__name__} that is no array in memory: {error}") from error
    if found.ndim and not found.size:
        raise SourceError(f"no data points are in an array of shape {found.shape}")
    if found.dtype.hasobject or found.ndim < 1:
        raise SourceError(
            "data points come as the rows of an array, not as "
            f"{found.dtype} of shape {found.shape}; texts and records come as a list (tolist())"
        )
    return found


class Rows:
    """An array's rows, by their numbers."""

    def __init__(self, source: NDArray[Any], digester: Digester) -> None:
        """Digest rows of an array, and remember what it holds, to tell later if it was changed."""
        self._source, self._digester = source, digester
        self._step = max(1, _BLOCK * len(source) // source.nbytes)  # rows
        self._sums = [] if _is_fixed(source) else self._checksums()

    def __call__(self, numbers: NDArray[np.intp]) -> bytes:
        """Return the digests; no more than a MiB is copied at a time, or a row that is larger."""
        some = (numbers[at : at + self._step] for at in range(0, len(numbers), self._step))
        return b"".join([self._digester.rows(self._source[each]) for each in some])

    def changed(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return those that are in parts of the array which were changed since this was asked."""
        import numpy as np

        if not self._sums:
            return numbers[:0]
        before, self._sums = self._sums, self._checksums()
        differ = np.array(before, np.uint64) != np.array(self._sums, np.uint64)
        found: NDArray[np.intp] = numbers[differ[numbers // self._step]]
        return found

    def _checksums(self) -> list[int]:
        """Return a checksum of each MiB of the array, or of each row that is larger."""
        import numpy as np
        from stringzilla import hash as checksum

        sums = []
        for start in range(0, len(self._source), self._step):
            rows = np.ascontiguousarray(self._source[start : start + self._step])
            sums.append(checksum(rows.reshape(-1).view(np.uint8).data))
        return sums


def _is_fixed(array: Any) -> bool:
    """Tell whether nobody can write to what an array shows: a file mapped for reading, bytes."""
    import numpy as np

    while isinstance(array, np.ndarray):
        if array.flags.writeable or array.flags.owndata:
            return False
        array = array.base
    return isinstance(array, bytes) or (isinstance(array, mmap.mmap) and memoryview(array).readonly)


def _locked(data: Any) -> Any:
    """Return a view of an array that cannot be written to."""
    import numpy as np

    if not isinstance(data, np.ndarray):
        return data
    view = data.view()
    view.flags.writeable = False
    return view
