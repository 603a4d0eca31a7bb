"""PyTorch's DataLoader: a batch is recorded when the training loop receives it.

Workers make batches ahead, and a loop that stops early never receives the last ones. Therefore each
batch from a worker carries the digests of its data points, or their numbers, and they are recorded
in the main process when the batch arrives.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from alithis.training.wrappers.recorder import Recorder


class _Pending:
    """Collects what is recorded while a batch is made, until the batch arrives."""

    _digests: list[bytes]
    _numbers: list[int]
    _given: int

    def __init__(self) -> None:
        self.drop()

    def add_numbers(self, numbers: Sequence[int]) -> None:
        self._numbers += numbers

    def add(self, digests: bytes, given: int) -> None:
        self._digests.append(digests)
        self._given += given

    def take(self) -> tuple[bytes, int, list[int]]:
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
    """A collate function that sends the digests with the batch."""

    def __init__(self, collate: Callable[[Any], Any], pending: _Pending) -> None:
        self._collate, self._pending = collate, pending

    def __call__(self, items: Any) -> _Carried:
        try:
            batch = self._collate(items)
        finally:
            pending = self._pending.take()
        return _Carried(batch, *pending)


def wrap_loader(loader: Any, recorder: Recorder, wrap: Callable[[Any, Recorder], Any]) -> Any:
    """Wrap a DataLoader: the result is a DataLoader of a class derived from its class.

    Args:
        loader: a PyTorch DataLoader.
        recorder: records data points.
        wrap: wraps the loader's dataset, given the recorder to use.
    """
    pending = _Pending()
    inner, outer = copy.copy(loader), copy.copy(loader)
    carrying = Recorder(recorder.fed_log, recorder.hasher, pending)
    vars(inner).update(dataset=wrap(loader.dataset, carrying), _iterator=None)
    if loader.num_workers:
        vars(inner).update(collate_fn=_Carry(loader.collate_fn, pending))
    vars(outer).update(dataset=wrap(loader.dataset, recorder), _iterator=None)
    vars(outer).update(_recorded=inner, _pending=pending, _recorder=recorder)
    outer.__class__ = _derived(type(loader))
    return outer


def _derived(kind: Any) -> Any:
    """Return a class of loaders that record the batches that arrive."""

    def arriving(self: Any) -> Iterator[Any]:
        if "_recorded" not in vars(self):  # a framework made a new loader of our wrapped dataset
            return iter(kind.__iter__(self))
        return _Arriving(iter(self._recorded), self._pending, self._recorder)

    def set_on_both(self: Any, name: str, value: Any) -> None:
        kind.__setattr__(self, name, value)
        inner = vars(self).get("_recorded")
        if inner is not None and not name.startswith("_"):
            carried = name == "collate_fn" and inner.num_workers
            setattr(inner, name, _Carry(value, self._pending) if carried else value)

    methods = {"__iter__": arriving, "__setattr__": set_on_both, "__module__": kind.__module__}
    return type(kind.__name__, (kind,), methods)


class _Arriving:
    """The batches that arrive, each recorded then; a batch that failed is not."""

    def __init__(self, batches: Any, pending: _Pending, recorder: Recorder) -> None:
        self._batches, self._pending, self._recorder = batches, pending, recorder

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
            digests, given, numbers = self._pending.take()
        if self._recorder.rows is not None and numbers:
            self._recorder.rows.queue(numbers)
        else:
            self._recorder.add(digests, given)
        return batch
