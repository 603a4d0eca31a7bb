"""scikit-learn: an estimator's settings and fitted values, without pickling anything.

Pass the training data through `Run.use`: ``fit`` and ``predict`` accept the wrapped array.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alithis.errors import SourceError
from alithis.integrations.common import require, save_tensors
from alithis.training.model import json_or_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from alithis.training.run import Run

_MAX_DEPTH = 20
_MAX_LENGTH = 100  # entries of a setting to record: a vocabulary does not fit in the metadata
_NOT_THE_MODEL = frozenset(
    (
        *("vocabulary_", "stop_words_"),  # words go into a file, as docs/training.md says
        *("cv_results_", "refit_time_", "scorer_", "_scorer", "_curve_scorer", "_checked_cv_orig"),
        *("_optimizer", "_best_coefs", "_best_intercepts", "_expanded_class_weight"),
        *("_loss", "_base_loss", "_loss_function_"),  # determined by the settings
        *("named_estimators_", "_columns", "_remainder"),  # the same objects as in other attributes
        *("output_indices_", "_transformer_to_input_indices"),
        *("_metadata_request", "_sklearn_output_config"),
    )
)


def record(run: Run, estimator: Any, weights: Path | str) -> None:
    """Record a fitted estimator: its parameters, and what it learned as a safetensors file.

    Arrays become the file's tensors. Texts (such as the names of classes) and integers become JSON
    in the file's metadata, under ``estimator``. The words of a vocabulary are not written.

    Args:
        run: the run.
        estimator: an estimator or a pipeline that learned arrays, numbers and texts: linear models,
            naive Bayes, neural networks, support vectors, scalers, encoders.
        weights: the file to write; one that exists is replaced.

    Raises:
        MissingExtraError: scikit-learn or safetensors is not installed.
        SourceError: the estimator is not fitted, or learned something else, such as the trees of a
            forest: save it in another way, and pass the file to `Run.save_model`. Or the file
            cannot be written.
    """
    base = require("sklearn.base", "scikit-learn", "sklearn")
    kind = type(estimator).__name__
    if not isinstance(estimator, base.BaseEstimator):
        raise SourceError(f"a {kind} is not an estimator of scikit-learn")
    arrays, plain = _learned(estimator)
    stated = json.dumps({"class": kind, **plain}, default=_as_json)
    save_tensors(arrays, weights, extra="sklearn", metadata={"estimator": stated})
    run.log_params(**{"model": kind, **_parameters(estimator)})
    run.save_model(weights)


def _parameters(estimator: Any) -> dict[str, Any]:
    """Return the settings; one named ``model``, which is the class's name, is ``params.model``."""
    return {
        "params.model" if name == "model" else name: _setting(value)
        for name, value in sorted(estimator.get_params().items())
    }


def _setting(value: Any, depth: int = 0) -> Any:
    """Return a setting as JSON; an estimator or a long list is the name of its type."""
    if hasattr(value, "get_params"):
        return type(value).__name__
    if isinstance(value, list | tuple | set | Mapping) and len(value) > _MAX_LENGTH:
        return type(value).__name__
    if isinstance(value, list | tuple) and depth < _MAX_DEPTH:
        return [_setting(each, depth + 1) for each in value]
    return json_or_text(value)


def _learned(estimator: Any) -> tuple[dict[str, NDArray[np.generic]], dict[str, Any]]:
    """Return what an estimator learned: arrays, and texts, numbers or lists of them.

    Raises:
        SourceError: it learned something else, or no arrays.
    """
    kind = type(estimator).__name__
    arrays, plain = dict[str, Any](), dict[str, Any]()
    for name, value in _leaves("", estimator):
        if name in arrays or name in plain:
            raise SourceError(f"{kind}: two values have the name {name}; rename a step")
        if (array := _as_array(value)) is not None:
            arrays[name] = array
        elif _is_plain(value):
            plain[name] = value
        else:
            raise SourceError(
                f"{kind}: {name} cannot be written as arrays; save the estimator in another way, "
                "and pass the file to save_model"
            )
    if not arrays:
        raise SourceError(
            f"{kind}: no fitted arrays; fit it first, or save it in another way and pass the "
            "file to save_model"
        )
    return arrays, plain


def _leaves(name: str, value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the values without parts in a nested value, with their full names."""
    import numpy as np

    if isinstance(value, np.ndarray) and (value.dtype.kind in "OUT" or not value.size):
        value = value.tolist()
    parts = _parts(value) if depth < _MAX_DEPTH else None
    if parts is None:
        yield name, value
        return
    for part, each in parts:
        yield from _leaves(f"{name}.{part}" if name else part, each, depth + 1)


def _parts(value: Any) -> Iterable[tuple[str, Any]] | None:
    from sklearn.base import BaseEstimator

    if isinstance(value, BaseEstimator):
        return _attributes(value)
    if hasattr(value, "tocsr"):  # a SciPy sparse matrix
        rows = value.tocsr()
        return [(part, getattr(rows, part)) for part in ("data", "indices", "indptr", "shape")]
    if isinstance(value, Mapping) or (isinstance(value, list | tuple) and not _is_plain(value)):
        return _members(value)
    return None


def _members(value: Any) -> list[tuple[str, Any]]:
    """Return the members of a mapping or list; steps ``(name, estimator, …)`` by their names."""
    if isinstance(value, Mapping):
        return [(str(key), each) for key, each in value.items()]
    if not all(isinstance(each, tuple) and each and isinstance(each[0], str) for each in value):
        return [(str(at), each) for at, each in enumerate(value)]
    return [
        (name if at == 0 else f"{name}.{at}", part)
        for name, *parts in value
        for at, part in enumerate(parts)
    ]


def _attributes(estimator: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes that fitting set, and the estimators and arrays among the settings."""
    import numpy as np

    settings = estimator.get_params(deep=False)
    for name, value in sorted(vars(estimator).items()):
        if name == "steps":
            yield from _estimators(value)
        elif name not in settings:
            if not _is_bookkeeping(name, value):
                yield name, value
        elif isinstance(value, np.ndarray) and _as_array(value) is not None:
            yield name, value
        else:
            yield from _estimators([(name, value)])


def _estimators(members: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield the estimators among the settings, which may be fitted: a step, or a frozen one."""
    from sklearn.base import BaseEstimator

    for name, value in members:
        if isinstance(value, BaseEstimator):
            yield name, value
        elif isinstance(value, Mapping | list | tuple):
            yield from _estimators((f"{name}.{part}", each) for part, each in _members(value))


def _is_bookkeeping(name: str, value: Any) -> bool:
    """Return whether an attribute only serves fitting, or is determined by the others."""
    import numpy as np

    if isinstance(value, np.random.RandomState | np.random.Generator | np.dtype | type):
        return True
    is_public = name.endswith("_") and not name.startswith("_")
    is_single = value is None or isinstance(value, str | int)
    return name in _NOT_THE_MODEL or (is_single and not is_public)


def _as_array(value: Any) -> NDArray[np.generic] | None:
    """Return numbers as an array that safetensors can store, or None."""
    import numpy as np

    if isinstance(value, np.ma.MaskedArray):
        return None
    if not isinstance(value, float | np.generic | np.ndarray | list | tuple):
        return None
    if isinstance(value, list | tuple) and not _is_plain(value):
        return None
    array = np.asarray(value, order="C")
    is_storable = array.dtype.kind in "biuf" and array.dtype.itemsize <= 8
    return array if array.size and is_storable else None


def _is_plain(value: Any) -> bool:
    """Return whether a value is a text, a number or None, or a list of these."""
    import numpy as np

    if isinstance(value, list | tuple):
        return all(not isinstance(each, list | tuple) and _is_plain(each) for each in value)
    if isinstance(value, np.number | np.bool_):
        return value.dtype.kind in "biuf" and value.dtype.itemsize <= 8
    return value is None or isinstance(value, str | int | float | slice)


def _as_json(value: Any) -> Any:
    return str(value) if isinstance(value, slice) else value.item()
