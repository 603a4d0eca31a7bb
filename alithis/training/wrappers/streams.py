"""Generators, iterable datasets and other iterables: data points that come one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alithis.training.wrappers.proxy import Wrapper
from alithis.training.wrappers.recorder import Recorder


class StreamWrapper(Wrapper):
    """An iterable that records the items it yields."""

    def __init__(self, data: Any, recorder: Recorder, *, batched: bool = False) -> None:
        """Wrap an iterable.

        Args:
            data: the iterable.
            recorder: records its items.
            batched: whether each item is a batch of data points.
        """
        super().__init__(data)
        record = recorder.record_batch if batched else recorder.record_item
        vars(self).update(_recorder=recorder, _record=record)

    def __iter__(self) -> Iterator[Any]:
        """Yield the items, each recorded when it is asked for."""
        self._recorder.begin_epoch()
        for item in self._wrapped:
            self._record(item)
            yield item

    def __next__(self) -> Any:
        """Return the next item of an iterator."""
        item = next(self._wrapped)
        self._record(item)
        return item
