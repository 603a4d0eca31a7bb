"""PyTorch tensors whose rows are data points.

PyTorch's code in C reads a tensor's memory directly, so a proxy object would not do. A wrapped
tensor has a class derived from PyTorch's: PyTorch then calls ``__torch_function__`` for every
function that gets such a tensor (PyTorch's notes, "Extending PyTorch").
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from alithis.training.wrappers.operators import DESCRIBING_TENSOR, WRITING, refuse_write
from alithis.training.wrappers.recorder import RowRecorder
from alithis.training.wrappers.rows import record_index


def wrap_tensor(data: Any, rows: RowRecorder) -> Any:
    """Wrap a tensor: a function that computes with it reads all rows.

    Args:
        data: the tensor; axis 0 counts data points.
        rows: records rows by their numbers.
    """
    import torch

    wrapped: Any = torch.Tensor._make_subclass(_tensor_class(), data.detach())
    wrapped._plain, wrapped._rows = data, rows
    return wrapped


def is_wrapped(data: Any) -> bool:
    """Return whether an object is a wrapped tensor."""
    return hasattr(type(data), "__alithis__")


@cache
def _tensor_class() -> Any:
    """Return the class; it is made when PyTorch is loaded, as then there is a tensor to wrap."""
    import torch

    # Without PyTorch installed, a type checker does not know its classes.
    class TensorWrapper(torch.Tensor):  # type: ignore[misc, unused-ignore]
        __alithis__ = True
        _plain: Any
        _rows: RowRecorder

        def __getitem__(self, key: Any) -> Any:
            """Return what the tensor returns, and record the rows."""
            given = self._plain[key]
            if type(key) is int:  # DataLoaders ask for one row at a time, so this has to be fast
                self._rows.record_one(key)
            else:
                _record(self._rows, self._plain, key)
            return given

        def __iter__(self) -> Iterator[Any]:
            """Yield the rows in turn."""
            return (self[index] for index in range(len(self)))

        def __reduce_ex__(self, _: Any) -> Any:
            """Pickle the tensor and its recorder."""
            return wrap_tensor, (self._plain, self._rows)

        @classmethod
        def __torch_function__(
            cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            """Call a PyTorch function with the plain tensors."""
            found: list[TensorWrapper] = []
            args, kwargs = _plain(args, found), _plain(kwargs or {}, found)
            # PyTorch does not show the wrapped tensor in some calls (an argument of an argument).
            # Functions inside that read it come here again.
            if not found:
                with torch._C.DisableTorchFunctionSubclass():
                    return func(*args, **kwargs)
            name = func.__self__.__name__ if func.__name__ == "__get__" else func.__name__
            first = args[0] if args else None
            if _writes(name) and name not in DESCRIBING_TENSOR and first is found[0]._plain:
                refuse_write()
            given = func(*args, **kwargs)
            for wrapped in found:
                if given is wrapped._plain:  # `contiguous` returns a contiguous tensor itself
                    return wrapped
            is_type_name = name == "type" and len(args) + len(kwargs) == 1
            if name not in DESCRIBING_TENSOR and not is_type_name:
                for wrapped in found:
                    wrapped._rows.record_all()
            return given

        __torch_dispatch__ = (
            __torch_function__  # for callers in C that skip the other one, such as torch.vmap
        )

    for name in WRITING:
        setattr(TensorWrapper, name, refuse_write)
    return TensorWrapper


def _writes(name: str) -> bool:
    """Return whether a function writes to its first argument, by PyTorch's naming convention."""
    return name.endswith("_") and not name.endswith("__")


def _record(rows: RowRecorder, data: Any, key: Any) -> None:
    """Record the rows that an index selects; PyTorch and NumPy differ in a few kinds of index."""
    if isinstance(key, list) and any(map(_is_part, key)):
        rows.record(_selected(data, key))
        return
    try:
        key = tuple(map(_index, key)) if isinstance(key, tuple) else _index(key)
    except RuntimeError:  # within torch.vmap, a tensor has no memory
        rows.record_all()
    else:
        record_index(rows, data, key)


def _is_part(key: Any) -> bool:
    """Return whether a list with this element may index several axes: PyTorch's releases differ."""
    return isinstance(key, list | tuple | slice | None | type(...)) or getattr(key, "ndim", 0) > 0


def _selected(data: Any, key: Any) -> Any:
    """Return the rows that an index selects: PyTorch indexes a tensor of row numbers with it."""
    import torch

    numbers = torch.arange(len(data)).reshape(-1, *[1] * (data.ndim - 1))
    return numbers.expand(data.shape)[key].unique().numpy()


def _index(key: Any) -> Any:
    import numpy as np

    if hasattr(key, "detach"):
        key = np.asarray(key.detach().cpu())
    if isinstance(key, np.ndarray):
        if key.dtype == np.uint8 and key.ndim:
            return key.astype(bool)  # a mask
        return key if key.ndim or key.dtype == bool else int(key)
    return key


def _plain(value: Any, found: list[Any]) -> Any:
    """Replace wrapped tensors by plain ones, and add the wrapped ones to ``found``."""
    if is_wrapped(value):
        found.append(value)
        return value._plain
    if isinstance(value, list | tuple):
        return (list if isinstance(value, list) else tuple)(_plain(each, found) for each in value)
    if type(value) is dict:
        return {key: _plain(each, found) for key, each in value.items()}
    return value
