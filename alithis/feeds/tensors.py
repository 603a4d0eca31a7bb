"""PyTorch's tensors whose rows are fed.

Code in C looks at a tensor's memory, so nothing may only pass for one. A fed tensor is of a class
derived from PyTorch's, which leaves to it each function that it is given to (PyTorch's notes,
"Extending PyTorch": ``__torch_function__``).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from alithis.feeds.log import Taken
from alithis.feeds.rows import ABOUT, note_rows

_SHOWN = ABOUT | {"__len__", "__hash__", "__repr__", "__str__"}


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
                note_rows(self._taken, self._plain, key)
            return given

        def __setitem__(self, key: Any, value: Any) -> None:
            """Refuse to change what is fed."""
            raise TypeError("rows that are fed cannot be written to")

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
            name = func.__self__.__name__ if func.__name__ == "__get__" else func.__name__
            if name not in _SHOWN:
                for fed in found:
                    fed._taken.all()
            return func(*args, **kwargs)

        __torch_dispatch__ = __torch_function__  # of what C passes by, such as torch.vmap

    return FedTensor


def _plain(value: Any, found: list[Any]) -> Any:
    """Put tensors in the place of fed ones, which are added to those found."""
    if is_fed(value):
        found.append(value)
        return value._plain
    if type(value) in (list, tuple):
        return type(value)([_plain(each, found) for each in value])
    if type(value) is dict:
        return {key: _plain(each, found) for key, each in value.items()}
    return value
