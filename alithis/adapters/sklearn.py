"""scikit-learn: an estimator's settings and what it learned, without pickling anything.

What is fed is wrapped by `Run.use`: an array passes for one in ``fit`` and ``predict``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alithis.errors import MissingExtraError, SourceError
from alithis.model import spelt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from alithis.run import Run

_MAX_DEPTH = 8
_MAX_LENGTH = 100  # of a setting that is a list: a vocabulary is none of the metadata's


def record(run: Run, estimator: Any, weights: Path | str) -> None:
    """Record a fitted estimator: its parameters, and its arrays as a safetensors file.

    Args:
        run: the run.
        estimator: an estimator, or a pipeline of several, whose fitted attributes are arrays, as
            of linear models, naive Bayes, neural networks, scalers.
        weights: the file to write; one that exists is replaced.

    Raises:
        MissingExtraError: scikit-learn or safetensors is not installed.
        SourceError: the estimator is not fitted, or has no arrays (a forest has none): save it
            in a way of your own, and tell `Run.save_model`.
    """
    try:
        import sklearn
        from safetensors.numpy import save_file
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "sklearn") from error
    if not isinstance(estimator, sklearn.base.BaseEstimator):
        raise SourceError(f"a {type(estimator).__name__} is no estimator of scikit-learn's")
    arrays = dict(_arrays(estimator))
    if not arrays:
        raise SourceError(
            f"{type(estimator).__name__}: no fitted arrays; save it in a way of your own, and "
            "tell save_model"
        )
    save_file(arrays, Path(weights), metadata={"estimator": type(estimator).__name__})
    run.log_params(estimator=type(estimator).__name__, **_parameters(estimator))
    run.save_model(weights)


def _parameters(estimator: Any) -> dict[str, Any]:
    return {name: _shown(value) for name, value in sorted(estimator.get_params().items())}


def _shown(value: Any, depth: int = 0) -> Any:
    """Return a setting; an estimator (a kernel, a step) by its name, what is long by its type's."""
    if hasattr(value, "get_params"):
        return type(value).__name__
    if isinstance(value, list | tuple | set | Mapping) and len(value) > _MAX_LENGTH:
        return type(value).__name__
    if isinstance(value, list | tuple) and depth < _MAX_DEPTH:
        return [_shown(each, depth + 1) for each in value]
    return spelt(value)


def _arrays(estimator: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield what an estimator learned: attributes that end in an underscore (its convention)."""
    for name, value in sorted(vars(estimator).items()):
        if name == "steps":
            parts: Mapping[str, Any] = dict(value)
        elif _is_learned(name, value):
            parts = {name: value}
        else:
            continue
        for part, found in parts.items():
            yield from _of_value(f"{prefix}{part}", found, depth)


def _is_learned(name: str, value: Any) -> bool:
    if name.startswith("_"):  # TfidfVectorizer keeps its weights in an estimator of its own
        return hasattr(value, "get_params")
    return name.endswith("_")


def _of_value(name: str, value: Any, depth: int) -> Iterator[tuple[str, NDArray[np.generic]]]:
    import numpy as np

    if isinstance(value, np.ndarray | np.number | float) and not isinstance(value, bool):
        array = np.ascontiguousarray(value)
        if array.dtype.kind in "fiu" and array.size:
            yield name, array
    elif isinstance(value, list) and depth < _MAX_DEPTH:
        for number, each in enumerate(value):
            yield from _of_value(f"{name}.{number}", each, depth + 1)
    elif hasattr(value, "get_params") and depth < _MAX_DEPTH:
        yield from _arrays(value, f"{name}.", depth + 1)
