"""PyTorch's DataLoader: what its batches hold is noted when they arrive, not when they are made.

Workers make batches ahead that a loop which stops early never sees. So each batch of theirs carries
the digests of its data points with it, or their numbers, and they are noted where it is taken.
Without workers a batch is made when it is asked for, and noted then.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from alithis.feeds.log import Log

if TYPE_CHECKING:
    from alithis.feeds.log import Taken
    from alithis.ledger import Ledger


class _Pending:
    """A ledger in a worker: it holds what is noted until a batch takes it along."""

    def __init__(self) -> None:
        self._digests: list[bytes] = []
        self._numbers: list[int] = []
        self._given = 0

    def number(self, numbers: Sequence[int]) -> None:
        self._numbers += numbers

    def note(self, digests: bytes, given: int) -> None:
        self._digests.append(digests)
        self._given += given

    def taken(self) -> tuple[bytes, int, list[int]]:
        found = b"".join(self._digests), self._given, self._numbers
        self._digests, self._given, self._numbers = [], 0, []
        return found


class _Carried:
    """A batch with the digests of its data points, or their numbers."""

    def __init__(self, batch: Any, digests: bytes, given: int, numbers: list[int]) -> None:
        self.batch, self.digests, self.given, self.numbers = batch, digests, given, numbers

    def pin_memory(self, device: Any = None) -> _Carried:
        """Pin the batch; PyTorch asks for this."""
        from torch.utils.data._utils.pin_memory import pin_memory

        pinned = pin_memory(self.batch, device)
        return _Carried(pinned, self.digests, self.given, self.numbers)


class _Carry:
    """A collate function that sends the digests along."""

    def __init__(self, collate: Callable[[Any], Any], pending: _Pending) -> None:
        self._collate, self._pending = collate, pending

    def __call__(self, items: Any) -> _Carried:
        return _Carried(self._collate(items), *self._pending.taken())


def of_loader(loader: Any, log: Log, wrap: Callable[[Any, Log], Any]) -> Any:
    """Wrap a DataLoader: the result is one, of its class or one derived from it.

    Args:
        loader: PyTorch's DataLoader, or one of a class derived from it.
        log: where data points are noted.
        wrap: wraps the loader's dataset, given the log to note in.
    """
    outer = copy.copy(loader)
    vars(outer).update(dataset=wrap(loader.dataset, log), _iterator=None)
    if not loader.num_workers:
        return outer
    pending = _Pending()
    carrying = Log(log.ledger, log.digester, pending.note, pending.number)
    inner = copy.copy(loader)
    vars(inner).update(
        dataset=wrap(loader.dataset, carrying),
        collate_fn=_Carry(loader.collate_fn, pending),
        _iterator=None,
    )
    vars(outer).update(_fed_inner=inner, _fed_ledger=log.ledger, _fed_taken=log.taken)
    outer.__class__ = _derived(type(loader))
    return outer


def _derived(kind: type[Any]) -> type[Any]:
    """Return a class of loaders that hand out what arrives, and note it."""

    def __iter__(self: Any) -> Iterator[Any]:  # noqa: N807
        if "_fed_inner" not in vars(self):  # made anew, by a framework, on our dataset
            return iter(kind.__iter__(self))
        return _arriving(self._fed_inner, self._fed_ledger, self._fed_taken)

    return type(kind.__name__, (kind,), {"__iter__": __iter__, "__module__": kind.__module__})


def _arriving(inner: Any, ledger: Ledger, taken: Taken | None) -> Iterator[Any]:
    for carried in inner:
        if taken is not None and carried.numbers:
            taken.later(carried.numbers)
        else:
            ledger.note(carried.digests, carried.given)
        yield carried.batch
