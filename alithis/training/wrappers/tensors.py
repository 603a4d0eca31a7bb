"""PyTorch's tensors whose rows are fed.

Code in C looks at a tensor's memory, so nothing may only pass for one. A fed tensor is of a class
derived from PyTorch's, which leaves to it each function that it is given to (PyTorch's notes,
"Extending PyTorch": ``__torch_function__``).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from alithis.training.wrappers.log import Taken
from alithis.training.wrappers.rows import ABOUT, IN_PLACE, note_rows, refused

_SHOWN = ABOUT | {
    *("__len__", "__hash__", "__repr__", "__str__", "__format__", "__dir__", "name"),
    *("is_contiguous", "stride", "storage_offset", "get_device", "output_nr", "dense_dim"),
    *("is_leaf", "grad", "grad_fn", "retains_grad", "requires_grad_", "share_memory_"),
    *("is_meta", "is_cpu", "is_mps", "is_mkldnn", "is_quantized", "is_nested", "is_complex"),
    *("is_sparse_csr", "is_shared", "is_pinned", "is_conj", "is_neg", "is_inference"),
}


def of_tensor(data: Any, taken: Taken) -> Any:
    """Wrap a tensor: of what computes with it, all rows are taken.

    Args:
        data: the tensor; axis 0 counts data points.
        taken: where they are noted by number.
    """
    import torch

    fed: Any = torch.Tensor._make_subclass(_kind(), data.detach())
    fed._plain, fed._taken = data, taken
    return fed


def is_fed(data: Any) -> bool:
    """Tell whether something is a tensor that was wrapped."""
    return hasattr(type(data), "__alithis__")


@cache
def _kind() -> Any:
    """Return the class; PyTorch is loaded where there is a tensor to wrap."""
    import torch

    # Where PyTorch is not installed, its classes are of no type that a checker knows.
    class FedTensor(torch.Tensor):  # type: ignore[misc, unused-ignore]
        __alithis__ = True
        _plain: Any
        _taken: Taken

        def __getitem__(self, key: Any) -> Any:
            """Return what the tensor returns, and note the rows."""
            given = self._plain[key]
            if type(key) is int:  # as DataLoaders ask, row by row: it has to be quick
                self._taken.one(key)
            else:
                _note(self._taken, self._plain, key)
            return given

        def __iter__(self) -> Iterator[Any]:
            """Yield the rows in turn."""
            return (self[index] for index in range(len(self)))

        def __reduce_ex__(self, _: Any) -> Any:
            """Pickle the tensor and where it is noted."""
            return of_tensor, (self._plain, self._taken)

        @classmethod
        def __torch_function__(
            cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            """Call a function of PyTorch's on the tensor itself."""
            found: list[FedTensor] = []
            args, kwargs = _plain(args, found), _plain(kwargs or {}, found)
            if not found:  # it is where PyTorch does not say; what reads it comes here again
                with torch._C.DisableTorchFunctionSubclass():
                    return func(*args, **kwargs)
            name = func.__self__.__name__ if func.__name__ == "__get__" else func.__name__
            if _writes(name) and name not in _SHOWN and args and args[0] is found[0]._plain:
                refused()
            given = func(*args, **kwargs)
            for fed in found:
                if given is fed._plain:  # as of `contiguous` where it is that already
                    return fed
            if name not in _SHOWN and not (name == "type" and len(args) + len(kwargs) == 1):
                for fed in found:
                    fed._taken.all()
            return given

        __torch_dispatch__ = __torch_function__  # of what C passes by, such as torch.vmap

    for name in ("setitem", *(f"i{operator}" for operator in IN_PLACE)):
        setattr(FedTensor, f"__{name}__", refused)
    return FedTensor


def _writes(name: str) -> bool:
    """Tell whether a function writes to its first argument, by its name: PyTorch's convention."""
    return name.endswith("_") and not name.endswith("__")


def _note(taken: Taken, data: Any, key: Any) -> None:
    """Note the rows that a key picks: as NumPy reads it, but for what PyTorch reads otherwise."""
    if isinstance(key, list) and any(map(_is_part, key)):
        taken.note(_picked(data, key))
        return
    try:
        key = tuple(map(_index, key)) if isinstance(key, tuple) else _index(key)
    except RuntimeError:  # it is a tensor of no memory, within torch.vmap
        taken.all()
    else:
        note_rows(taken, data, key)


def _is_part(key: Any) -> bool:
    """Tell whether a list that holds this may be a key of several axes: releases differ there."""
    return isinstance(key, list | tuple | slice | None | type(...)) or getattr(key, "ndim", 0) > 0


def _picked(data: Any, key: Any) -> Any:
    """Let PyTorch say which rows a key picks: the number of the row in each element's place."""
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
    """Put tensors in the place of fed ones, which are added to those found."""
    if is_fed(value):
        found.append(value)
        return value._plain
    if isinstance(value, list | tuple):
        return (list if isinstance(value, list) else tuple)(_plain(each, found) for each in value)
    if type(value) is dict:
        return {key: _plain(each, found) for key, each in value.items()}
    return value
