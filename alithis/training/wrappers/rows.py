"""Which rows of an array or tensor an index selects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alithis.training.wrappers.recorder import RowRecorder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def record_index(recorder: RowRecorder, data: Any, key: Any, given: Any = None) -> None:
    """Record the rows that an index selects.

    Args:
        recorder: records rows by their numbers.
        data: the array or tensor; axis 0 counts data points.
        key: the index, which ``data`` accepted.
        given: what ``data[key]`` returned, if its rows are the data points themselves.
    """
    import numpy as np

    if isinstance(key, str) or (isinstance(key, list) and key and isinstance(key[0], str)):
        recorder.record_all()  # a field of a structured array
    elif isinstance(key, np.ndarray) and key.ndim == 1 and key.dtype.kind == "i":
        recorder.record(key, given if isinstance(given, np.ndarray) else None)
    elif isinstance(key, int | np.integer) and not isinstance(key, bool):
        recorder.record_one(int(key))
    else:
        recorder.record(_numbers(_row_index(key, data), len(data)))


def _numbers(index: Any, count: int) -> NDArray[np.intp]:
    """Return the numbers of the rows that an index along axis 0 selects."""
    import numpy as np

    if isinstance(index, slice):
        return np.arange(*index.indices(count))
    if isinstance(index, np.ndarray) and index.dtype.kind == "i":
        return index.reshape(-1)
    numbers: NDArray[np.intp] = np.atleast_1d(np.arange(count)[index]).reshape(-1)
    return numbers


def _row_index(key: Any, data: Any) -> Any:
    """Return the part of an index that applies to axis 0."""
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
    # None, an ellipsis, …: NumPy's own rules decide. Index an array of the same shape in which
    # each element is the number of its row.
    shape = tuple(data.shape)
    rows = np.arange(len(data)).reshape(-1, *[1] * (len(shape) - 1))
    return np.unique(np.broadcast_to(rows, shape)[key])
