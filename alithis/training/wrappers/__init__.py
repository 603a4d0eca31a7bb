"""Wrap the data of a training loop, so that each data point that is read is recorded.

A wrapped object behaves like the original: it has the same length and items, `isinstance` accepts
it as the same type, and it can be sent to the worker processes of a DataLoader, sampled and
sharded.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from alithis.errors import SourceError
from alithis.training.wrappers import arrays, huggingface, loaders, sequences, streams, tensors
from alithis.training.wrappers.hasher import ItemHasher, Selector
from alithis.training.wrappers.proxy import Wrapper
from alithis.training.wrappers.recorder import Recorder, RowHasher, RowRecorder

__all__ = ["ItemHasher", "Recorder", "Selector", "wrap"]


def wrap(data: Any, recorder: Recorder, *, source: Any = None, batched: bool = False) -> Any:
    """Wrap the data of a training loop.

    Args:
        data: an array or tensor whose rows are data points; a list, a map-style or iterable
            dataset, a generator of data points; a Hugging Face dataset; a PyTorch DataLoader.
        recorder: records the data points that are read.
        source: the data points, in the manifest's form, that the items of ``data`` were made from,
            with the same numbers; None if the items contain them.
        batched: whether each item is a batch of data points.

    Raises:
        SourceError: ``data`` cannot be wrapped, or does not have the manifest's form.
    """
    _check(data)
    if _is(data, "torch.utils.data", "DataLoader"):
        return loaders.wrap_loader(
            data, recorder, lambda inner, into: wrap(inner, into, source=source, batched=batched)
        )
    if huggingface.is_dataset(data):
        given = data if source is None else source
        return huggingface.wrap_dataset(data, _row_recorder(given, recorder, len(data)))
    if _is_array(data):
        if source is not None and not getattr(data, "ndim", 1):
            raise SourceError("data points must be the rows of an array, and this one has no rows")
        if source is not None:
            return arrays.wrap_rows(data, _row_recorder(source, recorder, len(data)))
        return arrays.wrap_array(data, recorder)
    batched = batched or _is(data, "keras.utils", "PyDataset")
    if hasattr(data, "__getitem__") and not _is(data, "torch.utils.data", "IterableDataset"):
        rows = _rows_of_sequence(data, recorder, source, batched)
        return sequences.SequenceWrapper(data, recorder, rows, batched=batched)
    if source is not None:
        raise SourceError(
            f"a {type(data).__name__} has no numbered items, so source= cannot be used with it"
        )
    return streams.StreamWrapper(data, recorder, batched=batched)


def _rows_of_sequence(
    data: Any, recorder: Recorder, source: Any, batched: bool
) -> RowRecorder | None:
    """Return the recorder of a sequence's items by number; None to hash the items themselves."""
    if source is not None:
        if batched:
            raise SourceError("source= needs one data point per item, so leave batched= out")
        return _row_recorder(source, recorder, len(data))
    if not batched and (rows := sequences.tensor_rows(data, recorder)) is not None:
        return _row_recorder(rows, recorder, len(data))
    return None


def _row_recorder(source: Any, recorder: Recorder, count: int) -> RowRecorder:
    """Return a recorder of the data points of a source.

    Raises:
        SourceError: the source has another number of data points than there are items.
    """
    hasher = _row_hasher(source, recorder.hasher)
    if len(source) != count:
        raise SourceError(
            f"the source has {len(source)} data points for {count} items; "
            "it needs one for each item, in the same order"
        )
    return RowRecorder(recorder, count, hasher)


def _row_hasher(source: Any, hasher: ItemHasher) -> RowHasher:
    """Return what hashes the data points of a source by their numbers.

    Raises:
        SourceError: the source has no numbered items.
    """
    _check(source)
    if huggingface.is_dataset(source):
        return huggingface.DatasetHasher(source, hasher)
    if _is_array(source):
        return arrays.ArrayHasher(arrays.array_of(source), ItemHasher(hasher.form))
    if not hasattr(source, "__getitem__"):
        raise SourceError(f"source= needs numbered items, which a {type(source).__name__} lacks")
    return sequences.SequenceHasher(source, hasher)


def _check(data: Any) -> None:
    if issubclass(type(data), Wrapper) or tensors.is_wrapped(data):
        raise SourceError("this object is already wrapped: pass the original to use()")
    if _is(data, "datasets", "DatasetDict"):
        raise SourceError(f"this dataset has several splits; pass one of {', '.join(data)}")
    known = _is_array(data) or hasattr(data, "__getitem__") or isinstance(data, Iterable)
    if not known or isinstance(data, str | bytes | bytearray | memoryview | Mapping):
        raise SourceError(
            "data points must be the rows of an array, a list, a dataset or an iterable, "
            f"not {_article(type(data).__name__)}"
        )


def _is_array(data: Any) -> bool:
    return hasattr(data, "__array__") and not isinstance(data, list | tuple)


def _is(data: Any, module: str, name: str) -> bool:
    """Return whether an object has a class of a library, without importing the library."""
    loaded = sys.modules.get(module)
    found = getattr(loaded, name, None)
    return isinstance(found, type) and isinstance(data, found)


def _article(word: str) -> str:
    return f"{'an' if word[:1] in 'aeiou' else 'a'} {word}"
