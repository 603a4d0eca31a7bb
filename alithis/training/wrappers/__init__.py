"""What a training loop is fed from, wrapped so that it notes what it gives.

A wrapped object goes on being what it was: it has the same length and items, passes for its
type, can be sent to the worker processes of a DataLoader, cut up by samplers and sharded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from alithis.errors import SourceError
from alithis.training.digester import Digester
from alithis.training.wrappers import arrays, huggingface, loaders, sequences, streams, tensors
from alithis.training.wrappers.arrays import FedArray
from alithis.training.wrappers.log import Log, Rows, Taken
from alithis.training.wrappers.proxy import Fed

__all__ = ["Fed", "FedArray", "Log", "numbered", "wrap"]


def wrap(data: Any, log: Log, *, source: Any = None, batched: bool = False) -> Any:
    """Wrap what is fed.

    Args:
        data: an array or tensor whose rows are data points; a list, a map-style or an iterable
            dataset, a generator of them; a dataset of Hugging Face's; a DataLoader of PyTorch's.
        log: where data points are noted.
        source: data points in the manifest's form that the items of ``data`` were made of, by
            the same numbers; None where the items hold them.
        batched: whether each item is a batch of data points.

    Raises:
        SourceError: it cannot be wrapped, or what it holds is not of the manifest's form.
    """
    _check(data)
    if _is(data, "torch.utils.data", "DataLoader"):
        return loaders.of_loader(
            data, log, lambda inner, into: wrap(inner, into, source=source, batched=batched)
        )
    if huggingface.is_dataset(data):
        given = data if source is None else source
        return huggingface.of_dataset(data, taken_of(given, log, len(data)))
    if _is_array(data):
        if source is not None and not getattr(data, "ndim", 1):
            raise SourceError("data points come as the rows of an array: this has none")
        if source is not None:
            return arrays.fed(data, taken_of(source, log, len(data)))
        return arrays.of_array(data, log)
    batched = batched or _is(data, "keras.utils", "PyDataset")
    if hasattr(data, "__getitem__") and not _is(data, "torch.utils.data", "IterableDataset"):
        return _sequence(data, log, source, batched)
    if source is not None:
        raise SourceError(f"a {type(data).__name__} gives no numbered items: leave source= out")
    return streams.FedStream(data, log, batched=batched)


def _sequence(data: Any, log: Log, source: Any, batched: bool) -> sequences.FedSequence:
    taken = None
    if source is not None:
        if batched:
            raise SourceError("a source gives data points by their numbers: leave batched= out")
        taken = taken_of(source, log, len(data))
    elif not batched and (rows := sequences.tensor_rows(data, log)) is not None:
        taken = taken_of(rows, log, len(data))
    return sequences.of_sequence(data, log, taken, batched=batched)


def taken_of(source: Any, log: Log, count: int) -> Taken:
    """Note data points of a source by their numbers.

    Raises:
        SourceError: it has not as many data points as are to be given.
    """
    rows = numbered(source, log.digester)
    if len(source) != count:
        raise SourceError(
            f"the source has {len(source)} data points, for {count} items: one for each, in order"
        )
    return Taken(log, count, rows)


def numbered(source: Any, digester: Digester) -> Rows:
    """Return what digests the data points of a source by their numbers.

    Raises:
        SourceError: it is no such source.
    """
    _check(source)
    if huggingface.is_dataset(source):
        return huggingface.DatasetRows(source, digester)
    if _is_array(source):
        return arrays.Rows(arrays.array_source(source), Digester(digester.form))
    if not hasattr(source, "__getitem__"):
        raise SourceError(f"source= takes what gives items by number, no {type(source).__name__}")
    return sequences.Items(source, digester)


def _check(data: Any) -> None:
    if issubclass(type(data), Fed) or tensors.is_fed(data):
        raise SourceError("this is wrapped already: use what was wrapped")
    if _is(data, "datasets", "DatasetDict"):
        raise SourceError(f"several splits: use one of them, {', '.join(data)}")
    known = _is_array(data) or hasattr(data, "__getitem__") or isinstance(data, Iterable)
    if not known or isinstance(data, str | bytes | bytearray | memoryview | Mapping):
        raise SourceError(
            f"data points come as the rows of an array, a list, a dataset or an iterable, "
            f"not as {_article(type(data).__name__)}"
        )


def _is_array(data: Any) -> bool:
    return hasattr(data, "__array__") and not isinstance(data, list | tuple)


def _is(data: Any, module: str, name: str) -> bool:
    """Tell whether something is of a class in a library: only if that is loaded, it can be."""
    loaded = sys.modules.get(module)
    found = getattr(loaded, name, None)
    return isinstance(found, type) and isinstance(data, found)


def _article(word: str) -> str:
    return f"{'an' if word[:1] in 'aeiou' else 'a'} {word}"
