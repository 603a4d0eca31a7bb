"""Lists, and datasets that give items by number: map-style, as PyTorch calls them."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from alithis.training.digester import Digester
from alithis.training.wrappers.log import Log, Taken
from alithis.training.wrappers.proxy import Fed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class FedSequence(Fed):
    """A list or map-style dataset that notes the items it gives.

    With a source, what is noted of item *i* is data point *i* of the source; without, it is what
    the item itself holds, each time.
    """

    def __init__(self, data: Any, log: Log, taken: Taken | None, *, batched: bool = False) -> None:
        """Wrap a sequence.

        Args:
            data: the sequence.
            log: where items are noted.
            taken: where they are noted by number; None without a source.
            batched: whether each item is a batch of data points.
        """
        super().__init__(data)
        many = getattr(data, "__getitems__", None)
        vars(self).update(_log=log, _taken=taken, _batched=batched, _many=many)

    def __getitem__(self, key: Any) -> Any:
        """Return what the sequence returns, and note it."""
        given = self._fed[key]
        if type(key) is int and key >= 0:  # as samplers ask, item by item: it has to be quick
            self._note(key, given)
        elif hasattr(type(key), "__index__") and not getattr(key, "ndim", 0):
            self._note(_positive(operator.index(key), self._count), given)
        else:
            self._note_many(key, given)
        return given

    def __iter__(self) -> Iterator[Any]:
        """Yield the items in turn, each noted as it is asked for."""
        if self._taken is None and not self._batched:
            note = self._log.item
            for item in self._fed:
                note(item)
                yield item
            return
        for number, item in enumerate(self._fed):
            self._note(number, item)
            yield item

    def __add__(self, other: Any) -> Any:
        """Join with another sequence: of a list, its items are given; of a dataset, they are not.

        Raises:
            TypeError: the sequence cannot be joined.
        """
        if isinstance(self._fed, list | tuple):
            return self[:] + type(self._fed)(other)
        concatenated = _torch_concatenation(self._fed)
        if concatenated is None:
            return NotImplemented
        return concatenated([self, other])

    def __radd__(self, other: Any) -> Any:
        """Join with a list or tuple before it."""
        if not isinstance(self._fed, list | tuple):
            return NotImplemented
        return other + self[:]

    def __eq__(self, other: object) -> bool:
        """Compare as the sequence does."""
        return bool(self._fed == (other._fed if type(other) is FedSequence else other))

    __hash__ = None  # type: ignore[assignment]

    def __contains__(self, item: object) -> bool:
        """Look an item up; it is not given."""
        return item in self._fed

    @property
    def __getitems__(self) -> Callable[[list[int]], Any]:
        """What gives a batch at once, if the dataset does or items have numbers: PyTorch asks."""
        if self._taken is None and self._many is None:
            raise AttributeError("__getitems__")
        return self._items

    def _items(self, keys: Iterable[int]) -> Any:
        keys, data, many = list(keys), self._fed, self._many
        given = many(keys) if many else [data[key] for key in keys]
        if self._taken is not None:
            self._taken.later(keys)
        else:
            self._note_many(keys, given)
        return given

    @property
    def _count(self) -> int:
        try:
            return len(self._fed)
        except TypeError:
            return 0  # then no number is negative

    def _note(self, number: int, item: Any) -> None:
        if self._taken is not None:
            self._taken.one(number)
        elif self._batched:
            self._log.batch(item)
        else:
            self._log.item(item)

    def _note_many(self, key: Any, given: Any) -> None:
        import numpy as np

        if self._taken is not None:
            if isinstance(key, slice):
                self._taken.note(np.arange(*key.indices(self._count)))
            else:
                self._taken.note(np.arange(self._count)[np.atleast_1d(np.asarray(key))])
        elif isinstance(given, list) or isinstance(self._fed, tuple):
            for each in given:
                self._note(0, each)
        else:
            self._log.batch(given)


def of_sequence(data: Any, log: Log, taken: Taken | None, *, batched: bool) -> FedSequence:
    """Wrap a list or map-style dataset.

    Args:
        data: it.
        log: where items are noted.
        taken: where data points are noted by their numbers; None to note the items themselves.
        batched: whether each item is a batch of data points.
    """
    if isinstance(data, list):
        data = list(data)  # what is appended to the caller's list later is not given by ours
    return FedSequence(data, log, taken, batched=batched)


def tensor_rows(data: Any, log: Log) -> Any:
    """Return the tensor whose rows are the data points, of a dataset of PyTorch's tensors."""
    torch, point = sys.modules.get("torch.utils.data"), log.digester.point or 0
    if torch is None or type(data) is not torch.TensorDataset or type(point) is not int:
        return None
    rows = data.tensors[point]
    log.digester.rows(rows[:1].detach().cpu().numpy())  # what is wrong shows now
    return rows


class Items:
    """Digests of a sequence's items, by their numbers."""

    def __init__(self, source: Sequence[Any], digester: Digester) -> None:
        """Digest items of a sequence."""
        self._source, self._digester = source, digester

    def __call__(self, numbers: NDArray[np.intp]) -> bytes:
        """Return the digests."""
        return b"".join(self._digester.item(self._source[number]) for number in numbers.tolist())

    def changed(self, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return none: items that are changed later are not looked for."""
        return numbers[:0]


def _positive(number: int, count: int) -> int:
    return number + count if number < 0 else number


def _torch_concatenation(data: Any) -> Any:
    """Return what joins datasets of PyTorch, where the data is one."""
    torch = sys.modules.get("torch.utils.data")
    if torch is None or not isinstance(data, torch.Dataset):
        return None
    return torch.ConcatDataset
