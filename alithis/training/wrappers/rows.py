"""Which rows of an array or tensor a key picks, and which of its attributes give none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alithis.training.wrappers.log import Taken

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ABOUT = frozenset(
    (
        "shape",
        "dtype",
        "ndim",
        "size",
        "nbytes",
        "itemsize",
        "strides",
        "flags",
        "device",
        "is_cuda",
        "layout",
        "names",
        "dim",
        "numel",
        "requires_grad",
        "is_sparse",
        "is_floating_point",
        "element_size",
    )
)
"""Attributes that tell of an array and give nothing of it."""


IN_PLACE = (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow"),
    *("lshift", "rshift", "and", "xor", "or"),
)
"""Operators that can write to their left side."""


def refused(*_: Any) -> None:
    """Refuse to write to what is fed, in place of whatever would.

    Raises:
        TypeError: always.
    """
    raise TypeError("what is fed cannot be written to: compute another, as in x = x / 255")


def note_rows(taken: Taken, data: Any, key: Any, given: Any = None) -> None:
    """Note the rows that a key picks.

    Args:
        taken: where they are noted by number.
        data: the array or tensor; axis 0 counts data points.
        key: what it was asked for, with success.
        given: what it gave, if that are the data points themselves.
    """
    import numpy as np

    if isinstance(key, str) or (isinstance(key, list) and key and isinstance(key[0], str)):
        taken.all()  # fields
    elif isinstance(key, np.ndarray) and key.ndim == 1 and key.dtype.kind == "i":
        taken.note(key, given if isinstance(given, np.ndarray) else None)
    elif isinstance(key, int | np.integer) and not isinstance(key, bool):
        taken.one(int(key))
    else:
        taken.note(_numbers(_rows(key, data), len(data)))


def _numbers(rows: Any, count: int) -> NDArray[np.intp]:
    """Return the numbers of rows that are picked along axis 0."""
    import numpy as np

    if isinstance(rows, slice):
        return np.arange(*rows.indices(count))
    if isinstance(rows, np.ndarray) and rows.dtype.kind == "i":
        return rows.reshape(-1)
    numbers: NDArray[np.intp] = np.atleast_1d(np.arange(count)[rows]).reshape(-1)
    return numbers


def _rows(key: Any, data: Any) -> Any:
    """Return the part of a key that picks along axis 0."""
    import numpy as np

    first = key[0] if isinstance(key, tuple) and key else key
    if hasattr(first, "detach"):  # a tensor
        first = np.asarray(first.detach().cpu())
    if isinstance(first, list):
        first = np.asarray(first, None if first else np.intp)
    if isinstance(first, int | np.integer | slice):
        return first
    if isinstance(first, np.ndarray) and first.ndim:
        axes = tuple(range(1, first.ndim))
        return first.any(axis=axes) if first.dtype == bool else first
    # None, an ellipsis, …: let NumPy say which row each element that it gives is of.
    shape = tuple(data.shape)
    rows = np.arange(len(data)).reshape(-1, *[1] * (len(shape) - 1))
    return np.unique(np.broadcast_to(rows, shape)[key])
