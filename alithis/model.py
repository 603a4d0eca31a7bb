"""A model's manifest: its weights as data points, and what it was made with and from.

Weights are data points like any other: a safetensors file is hashed tensor by tensor and as a
whole, any other file as a whole. `Run` records a training run: parameters, metrics, and for each
dataset the *transcript*, the digests of the data points that were really fed.
"""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from alithis import digest
from alithis.builder import build
from alithis.cid import Cid
from alithis.digest import BYTES
from alithis.errors import FormatError, SourceError
from alithis.inputs import TRANSCRIBED, Input, Transcript
from alithis.manifest import Items, Manifest
from alithis.metadata import Description
from alithis.readers import of_array
from alithis.strict_json import parse

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FAIR4ML = {
    "trained_on": "fair4ml:trainedOn",
    "validated_on": "fair4ml:validatedOn",
    "tested_on": "fair4ml:testedOn",
    "fine_tuned_from": "fair4ml:fineTunedFrom",
}
_MAX_HEADER = 100_000_000  # bytes; the safetensors library's own bound
_MAX_AXES = 64
_BATCH = 1 << 16
_MAX_DEPTH = 32


def build_model(
    weights: Sequence[Path],
    out: Path,
    *,
    description: Description,
    parameters: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    inputs: Sequence[Input] = (),
    environment: Mapping[str, str] | None = None,
    complete: bool = True,
    replace: bool = False,
) -> Manifest:
    """Write a model's manifest.

    Args:
        weights: the model's files, at least one, of different names.
        out: the directory to write.
        description: the publisher's words.
        parameters: hyperparameters: what JSON can hold, and scalars of array libraries.
        metrics: what was measured of it, likewise.
        inputs: what it was made from.
        environment: versions it was made with.
        complete: whether the training run came to its end.
        replace: whether an existing manifest may be replaced.

    Raises:
        SourceError: a file cannot be read, or ``out`` not be written.
        FormatError: a safetensors file is damaged, or a value is no JSON.
    """
    _check_names(weights)
    facts = {
        "parameters": _plain("parameters", parameters or {}),
        "metrics": _plain("metrics", metrics or {}),
        "inputs": [each.as_object() for each in inputs],
        "environment": dict(environment or {}),
        "complete": complete,
    }
    return build(
        _weights(weights),
        out,
        description=description,
        form=BYTES,
        kind="model",
        replace=replace,
        facts=facts,
        terms=_terms(inputs),
    )


class Run:
    """A training run, recorded. Use it as a context manager around the training code.

    An exception that leaves it marks the record as incomplete.
    """

    def __init__(self, name: str, *, description: str = "", license: str | None = None) -> None:
        """Begin a record.

        Args:
            name: the model's name.
            description: what it is, in a sentence or two.
            license: an SPDX identifier or a URL.
        """
        self.description = Description(name, description, license)
        self._parameters: dict[str, Any] = {}
        self._metrics: dict[str, Any] = {}
        self._used: dict[tuple[str, bytes], tuple[Manifest, list[Fed]]] = {}
        self._weights: list[Path] = []
        self._complete = False

    def __enter__(self) -> Self:
        """Return the run."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Note whether the run came to its end."""
        self._complete = kind is None

    def use(
        self, data: NDArray[Any], manifest: Path | str | Manifest, relation: str = "trained_on"
    ) -> Fed:
        """Wrap an array whose rows are fed, so that the ones taken out are recorded.

        Args:
            data: data points along axis 0, in the manifest's canonical form.
            manifest: the dataset's manifest.
            relation: ``trained_on``, ``validated_on`` or ``tested_on``.

        Raises:
            SourceError: the data is no array of data points.
            FormatError: the manifest is no dataset's with plain digests as leaves, or the
                relation another.
        """
        if not isinstance(manifest, Manifest):
            manifest = Manifest.open(Path(manifest))
        stated = manifest.metadata
        if relation not in TRANSCRIBED:
            raise FormatError(f"relation {relation!r}: one of {', '.join(TRANSCRIBED)}")
        if (stated.kind, stated.scheme) != ("dataset", "sha256"):
            raise FormatError(
                f"{stated.name}: a {stated.kind} with {stated.scheme} leaves; what is fed can be "
                "compared with the sha256 leaves of a dataset only"
            )
        fed = Fed(data)
        self._used.setdefault((relation, stated.digest), (manifest, []))[1].append(fed)
        return fed

    def log_params(self, **parameters: Any) -> None:
        """Record hyperparameters; `write` refuses what is no JSON, so that training goes on."""
        self._parameters |= parameters

    def log_metrics(self, **metrics: Any) -> None:
        """Record what was measured; as with `log_params`."""
        self._metrics |= metrics

    def save_model(self, *weights: Path | str) -> None:
        """Record the files that hold the trained model."""
        self._weights += map(Path, weights)

    def inputs(self) -> list[Input]:
        """Return what the model was made from, with the transcripts so far."""
        return [
            Input(
                relation,
                manifest.metadata.name,
                digest,
                Transcript.of(b"".join(fed.digests() for fed in parts), manifest),
            )
            for (relation, digest), (manifest, parts) in self._used.items()
        ]

    def write(self, out: Path | str, *, replace: bool = False) -> Manifest:
        """Write the model's manifest.

        Args:
            out: the directory to write.
            replace: whether an existing manifest may be replaced.

        Raises:
            SourceError: no weights were saved, or something cannot be read or written.
            FormatError: a parameter or metric is no JSON.
        """
        if not self._weights:
            raise SourceError(f"{self.description.name}: no weights; call save_model first")
        return build_model(
            self._weights,
            Path(out),
            description=self.description,
            parameters=self._parameters,
            metrics=self._metrics,
            inputs=self.inputs(),
            environment={"python": platform.python_version(), "system": platform.system()},
            complete=self._complete,
            replace=replace,
        )


class Fed:
    """An array that remembers which of its rows were taken out.

    What it gives cannot be written to: the transcript digests what the array holds at the end,
    which must be what was fed.
    """

    def __init__(self, data: NDArray[Any]) -> None:
        """Wrap an array; axis 0 counts data points.

        Raises:
            SourceError: it has no rows, or holds objects.
        """
        import numpy as np

        self._data = np.asarray(data).view()
        if self._data.dtype.hasobject or self._data.ndim < 1 or not self._data.size:
            raise SourceError(
                f"data points come as the rows of an array, not as {self._data.dtype} "
                f"of shape {self._data.shape}"
            )
        self._data.flags.writeable = False
        self._taken = np.zeros(len(self._data), bool)

    def __len__(self) -> int:
        """Return how many data points there are."""
        return len(self._data)

    def __getitem__(self, key: Any) -> Any:
        """Return what the array returns, and remember the rows."""
        rows = self._data[key]
        self._taken[self._rows(key)] = True
        return rows

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows in turn."""
        return (self[index] for index in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the whole array: all rows are taken."""
        import numpy as np

        self._taken[:] = True
        return np.array(self._data, dtype) if copy else np.asarray(self._data, dtype)

    def digests(self) -> bytes:
        """Return the digests of the rows that were taken, 32 bytes each, joined."""
        import numpy as np

        rows = np.flatnonzero(self._taken)
        starts = range(0, len(rows), _BATCH)
        return b"".join(of_array(self._data[rows[start : start + _BATCH]]) for start in starts)

    def _rows(self, key: Any) -> Any:
        """Return the part of a key that picks along axis 0."""
        import numpy as np

        first = key[0] if isinstance(key, tuple) and key else key
        if isinstance(first, int | np.integer | slice | list):
            return first
        if isinstance(first, np.ndarray) and first.ndim:
            axes = tuple(range(1, first.ndim))
            return first.any(axis=axes) if first.dtype == bool else first
        # None, an ellipsis, …: let NumPy say which row each element that it gives is of.
        rows = np.arange(len(self)).reshape(-1, *[1] * (self._data.ndim - 1))
        return np.broadcast_to(rows, self._data.shape)[key]


def _check_names(weights: Sequence[Path]) -> None:
    """Check that the items' paths will tell the files apart."""
    names = [path.name for path in weights]
    if not names:
        raise SourceError("a model without weights: name the files that hold them")
    for path in weights:
        if names.count(path.name) > 1:
            raise SourceError(f"{path}: two files of this name; rename one")
        _check_text(f"the file name {path.name!r}", path.name)


def _check_text(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"{what} is not UTF-8") from error


def _plain(name: str, value: Any, depth: int = 0) -> Any:
    """Turn a value into what JSON can hold, or say which one cannot be turned."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()  # a scalar of NumPy, PyTorch, JAX, …
    if isinstance(value, str):
        _check_text(name, value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise FormatError(f"{name}: {value} is no JSON number: leave it out, or log it as text")
    elif depth > _MAX_DEPTH:
        raise FormatError(f"{name[:80]}…: nested more than {_MAX_DEPTH} deep")
    elif isinstance(value, Mapping):
        _check_keys(name, value)
        return {key: _plain(f"{name}.{key}", each, depth + 1) for key, each in value.items()}
    elif isinstance(value, list | tuple):
        return [_plain(f"{name}[{at}]", each, depth + 1) for at, each in enumerate(value)]
    elif value is not None and not isinstance(value, int | float):
        raise FormatError(f"{name}: a {type(value).__name__} is no JSON value: log it as text")
    return value


def _check_keys(name: str, value: Mapping[Any, Any]) -> None:
    for key in value:
        if not isinstance(key, str):
            raise FormatError(f"{name}: the key {key!r} is no text")
        _check_text(f"{name}: the key {key!r}", key)


def _weights(paths: Sequence[Path]) -> Iterator[Items]:
    for path in paths:
        value, size = digest.of_file(path)
        yield Items(value, [path.name], [size], {"dtype": [""], "shape": [""]})
        if path.suffix == ".safetensors":
            yield _tensors(path, size)


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    dtype: str
    shape: tuple[int, ...]
    first: int  # bytes from the header's end on
    last: int


def _tensors(path: Path, size: int) -> Items:
    """Digest a safetensors file tensor by tensor."""
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            start, header = _header(path, file, size)
            tensors = [_tensor(path, name, entry) for name, entry in header.items()]
            _check_layout(path, tensors, size - start)
            digests = [
                digest.of_part(file, start + tensor.first, tensor.last - tensor.first)
                for tensor in tensors
            ]
            digest.check_unchanged(str(path), before, os.fstat(file.fileno()), size)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    return Items(
        b"".join(digests),
        [f"{path.name}#{tensor.name}" for tensor in tensors],
        [tensor.last - tensor.first for tensor in tensors],
        {
            "dtype": [tensor.dtype for tensor in tensors],
            "shape": ["x".join(map(str, tensor.shape)) for tensor in tensors],
        },
    )


def _header(path: Path, file: BinaryIO, size: int) -> tuple[int, dict[str, Any]]:
    """Read a safetensors header: where the tensors begin, and what they are.

    Its format: 8 bytes of little-endian length, that many bytes of JSON, the tensors.
    """
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, _MAX_HEADER):
        raise FormatError(f"{path}: no safetensors file: its header is cut short")
    header = parse(file.read(length), str(path))
    header.pop("__metadata__", None)
    return 8 + length, header


def _tensor(path: Path, name: str, entry: Any) -> _Tensor:
    _check_text(f"{path}: the tensor name {name[:80]!r}", name)
    try:
        dtype, shape = entry["dtype"], tuple(entry["shape"])
        first, last = entry["data_offsets"]
        numbers = (*shape, first, last)
        whole = all(type(number) is int and 0 <= number < 1 << 63 for number in numbers)
        if not whole or len(shape) > _MAX_AXES:
            raise ValueError(numbers)
        if 8 * (last - first) != _bits(dtype) * math.prod(shape):
            raise ValueError(dtype)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path}: tensor {name[:80]!r} is described wrongly") from error
    return _Tensor(name, dtype, shape, first, last)


def _bits(dtype: str) -> int:
    """Return the bits of an element, which its type's name tells: F32, BF16, F8_E4M3, …."""
    match = re.fullmatch(r"[A-Z]{1,2}([1-9]\d{0,2})(_[A-Z0-9]{1,12})?", dtype)
    if match is None and dtype != "BOOL":
        raise ValueError(dtype)
    return int(match[1]) if match else 8


def _check_layout(path: Path, tensors: Sequence[_Tensor], available: int) -> None:
    """Check that the tensors fill the file, side by side, as the format demands."""
    end = 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.first, tensor.last)):
        if tensor.first != end:
            raise FormatError(
                f"{path}: tensor {tensor.name[:80]!r} begins at byte {tensor.first}, "
                f"not where the one before it ends, at {end}"
            )
        end = tensor.last
    if end != available:
        raise FormatError(f"{path}: its tensors take {end} bytes, but it has {available}")


def _terms(inputs: Sequence[Input]) -> dict[str, Any]:
    terms: dict[str, list[dict[str, str]]] = {}
    for given in inputs:
        if given.relation in _FAIR4ML:
            uri = "ipfs://" + Cid.raw(given.metadata).base16
            terms.setdefault(_FAIR4ML[given.relation], []).append({"@id": uri, "name": given.name})
    return terms
