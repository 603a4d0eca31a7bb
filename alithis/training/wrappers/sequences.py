"""Lists, and datasets with numbered items (PyTorch calls them map-style)."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from alithis.training.wrappers.hasher import ItemHasher
from alithis.training.wrappers.proxy import Wrapper
from alithis.training.wrappers.recorder import Recorder, RowRecorder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SequenceWrapper(Wrapper):
    """A list or map-style dataset that records the items it returns.

    With a source, item *i* is recorded as data point *i* of the source; without, the item itself is
    hashed each time it is returned.
    """

    def __init__(
        self, data: Any, recorder: Recorder, rows: RowRecorder | None, *, batched: bool = False
    ) -> None:
        """Wrap a sequence.

        Args:
            data: the sequence.
            recorder: records items.
            rows: records items by their numbers; None without a source.
            batched: whether each item is a batch of data points.
        """
        super().__init__(list(data) if isinstance(data, list) else data)  # not the caller's list
        many = getattr(data, "__getitems__", None)
        vars(self).update(_recorder=recorder, _rows=rows, _batched=batched, _many=many)

    def __getitem__(self, key: Any) -> Any:
        """Return what the sequence returns, and record it."""
        given = self._wrapped[key]
        if (
            type(key) is int and key >= 0
        ):  # samplers ask for one item at a time, so this has to be fast
            self._record(key, given)
        elif hasattr(type(key), "__index__") and not getattr(key, "ndim", 0):
            self._record(_positive(operator.index(key), self._count), given)
        else:
            self._record_many(key, given)
        return given

    def __iter__(self) -> Iterator[Any]:
        """Yield the items in turn, each recorded when it is asked for."""
        if self._rows is None and not self._batched:
            record = self._recorder.record_item
            for item in self._wrapped:
                record(item)
                yield item
            return
        for number, item in enumerate(self._wrapped):
            self._record(number, item)
            yield item

    def __add__(self, other: Any) -> Any:
        """Join with another sequence. Joining lists reads the items, joining datasets does not.

        Raises:
            TypeError: the sequence cannot be joined.
        """
        if isinstance(self._wrapped, list | tuple):
            return self[:] + type(self._wrapped)(other)
        concatenated = _torch_concatenation(self._wrapped)
        if concatenated is None:
            return NotImplemented
        return concatenated([self, other])

    def __radd__(self, other: Any) -> Any:
        """Join with a list or tuple before it."""
        if not isinstance(self._wrapped, list | tuple):
            return NotImplemented
        return other + self[:]

    def __eq__(self, other: object) -> bool:
        """Compare as the sequence does."""
        return bool(self._wrapped == (other._wrapped if type(other) is SequenceWrapper else other))

    __hash__ = None  # type: ignore[assignment]

    def __contains__(self, item: object) -> bool:
        """Search the sequence; this does not record the item."""
        return item in self._wrapped

    @property
    def __getitems__(self) -> Callable[[list[int]], Any]:
        """The method that returns a batch at once, which PyTorch calls if there is one."""
        if self._rows is None and self._many is None:
            raise AttributeError("__getitems__")
        return self._items

    def _items(self, keys: Iterable[int]) -> Any:
        keys, data, many = list(keys), self._wrapped, self._many
        given = many(keys) if many else [data[key] for key in keys]
        if self._rows is not None:
            self._rows.queue(keys)
        else:
            self._record_many(keys, given)
        return given

    @property
    def _count(self) -> int:
        try:
            return len(self._wrapped)
        except TypeError:
            return 0  # a dataset without a length has no negative numbers

    def _record(self, number: int, item: Any) -> None:
        if self._rows is not None:
            self._rows.record_one(number)
        elif self._batched:
            self._recorder.record_batch(item)
        else:
            self._recorder.record_item(item)

    def _record_many(self, key: Any, given: Any) -> None:
        import numpy as np

        if self._rows is not None:
            if isinstance(key, slice):
                self._rows.record(np.arange(*key.indices(self._count)))
            else:
                self._rows.record(np.arange(self._count)[np.atleast_1d(np.asarray(key))])
        elif isinstance(given, list) or isinstance(self._wrapped, tuple):
            for each in given:
                self._record(0, each)
        else:
            self._recorder.record_batch(given)


def tensor_rows(data: Any, recorder: Recorder) -> Any:
    """Return the tensor of a PyTorch TensorDataset whose rows are the data points, or None."""
    torch, point = sys.modules.get("torch.utils.data"), recorder.hasher.point or 0
    if torch is None or type(data) is not torch.TensorDataset or type(point) is not int:
        return None
    rows = data.tensors[point]
    recorder.hasher.rows(rows[:1].detach().cpu().numpy())  # report a wrong form now
    return rows


class SequenceHasher:
    """Hashes items of a sequence by their numbers."""

    def __init__(self, source: Sequence[Any], hasher: ItemHasher) -> None:
        """Hash items of a sequence."""
        self._source, self._hasher = source, hasher

    def __call__(self, numbers: NDArray[np.intp]) -> bytes:
        """Return the digests."""
        return b"".join(self._hasher.item(self._source[number]) for number in numbers.tolist())

    def changed(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return an empty array: changed items of a sequence are not detected."""
        return numbers[:0]


def _positive(number: int, count: int) -> int:
    return number + count if number < 0 else number


def _torch_concatenation(data: Any) -> Any:
    """Return the class that joins PyTorch datasets, if the data is one."""
    torch = sys.modules.get("torch.utils.data")
    if torch is None or not isinstance(data, torch.Dataset):
        return None
    return torch.ConcatDataset
