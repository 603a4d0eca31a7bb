"""Pipelines: generators, iterable datasets, whatever gives data points one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alithis.training.wrappers.log import Log
from alithis.training.wrappers.proxy import Fed


class FedStream(Fed):
    """An iterable that notes what it gives."""

    def __init__(self, data: Any, log: Log, *, batched: bool = False) -> None:
        """Wrap an iterable.

        Args:
            data: it.
            log: where items are noted.
            batched: whether each item is a batch of data points.
        """
        super().__init__(data)
        vars(self).update(_log=log, _note=log.batch if batched else log.item)

    def __iter__(self) -> Iterator[Any]:
        """Yield the items, each noted as it is asked for."""
        self._log.begin()
        for item in self._fed:
            self._note(item)
            yield item

    def __next__(self) -> Any:
        """Return the next item of an iterator."""
        item = next(self._fed)
        self._note(item)
        return item
