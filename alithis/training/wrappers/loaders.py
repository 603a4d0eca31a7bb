"""PyTorch's DataLoader: what its batches hold is noted when they arrive, not when they are made.

Workers make batches ahead that a loop which stops early never sees. So each batch of theirs carries
the digests of its data points with it, or their numbers, and they are noted where it is taken.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from alithis.training.wrappers.log import Log


class _Pending:
    """Takes what is noted while a batch is made, in a worker or here, until the batch is there."""

    _digests: list[bytes]
    _numbers: list[int]
    _given: int

    def __init__(self) -> None:
        self.drop()

    def number(self, numbers: Sequence[int]) -> None:
        self._numbers += numbers

    def note(self, digests: bytes, given: int) -> None:
        self._digests.append(digests)
        self._given += given

    def taken(self) -> tuple[bytes, int, list[int]]:
        found = b"".join(self._digests), self._given, self._numbers
        self.drop()
        return found

    def drop(self) -> None:
        self._digests, self._given, self._numbers = [], 0, []


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
        try:
            batch = self._collate(items)
        finally:
            noted = self._pending.taken()
        return _Carried(batch, *noted)


def of_loader(loader: Any, log: Log, wrap: Callable[[Any, Log], Any]) -> Any:
    """Wrap a DataLoader: the result is one, of a class derived from its own.

    Args:
        loader: PyTorch's DataLoader, or one of a class derived from it.
        log: where data points are noted.
        wrap: wraps the loader's dataset, given the log to note in.
    """
    pending = _Pending()
    inner, outer = copy.copy(loader), copy.copy(loader)
    carrying = Log(log.ledger, log.digester, pending)
    vars(inner).update(dataset=wrap(loader.dataset, carrying), _iterator=None)
    if loader.num_workers:
        vars(inner).update(collate_fn=_Carry(loader.collate_fn, pending))
    vars(outer).update(dataset=wrap(loader.dataset, log), _iterator=None)
    vars(outer).update(_fed_inner=inner, _fed_pending=pending, _fed_log=log)
    outer.__class__ = _derived(type(loader))
    return outer


def _derived(kind: Any) -> Any:
    """Return a class of loaders that hand out what arrives, and note it."""

    def arriving(self: Any) -> Iterator[Any]:
        if "_fed_inner" not in vars(self):  # made anew, by a framework, on our dataset
            return iter(kind.__iter__(self))
        return _Arriving(iter(self._fed_inner), self._fed_pending, self._fed_log)

    def set_on_both(self: Any, name: str, value: Any) -> None:
        kind.__setattr__(self, name, value)
        inner = vars(self).get("_fed_inner")
        if inner is not None and not name.startswith("_"):
            carried = name == "collate_fn" and inner.num_workers
            setattr(inner, name, _Carry(value, self._fed_pending) if carried else value)

    methods = {"__iter__": arriving, "__setattr__": set_on_both, "__module__": kind.__module__}
    return type(kind.__name__, (kind,), methods)


class _Arriving:
    """The batches that arrive, each noted then; what one that failed left behind is not."""

    def __init__(self, batches: Any, pending: _Pending, log: Log) -> None:
        self._batches, self._pending, self._log = batches, pending, log

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return len(self._batches)

    def __next__(self) -> Any:
        try:
            batch = next(self._batches)
        except BaseException:
            self._pending.drop()
            raise
        if isinstance(batch, _Carried):
            digests, given, numbers = batch.digests, batch.given, batch.numbers
            batch = batch.batch
        else:
            digests, given, numbers = self._pending.taken()
        if self._log.taken is not None and numbers:
            self._log.taken.later(numbers)
        else:
            self._log.note(digests, given)
        return batch
