"""A model's manifest: its weights as data points, and what it was made with and from.

Weights are data points like any other: a safetensors file is hashed tensor by tensor and as a
whole, any other file as a whole. `Run` records a training run: parameters, metrics, and for each
dataset the *transcript*, the digests of the data points that were really fed.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from alithis import digest, merkle
from alithis.cid import Cid
from alithis.digest import BYTES, SIZE
from alithis.errors import FormatError, SourceError
from alithis.manifest import Items, Manifest, build
from alithis.metadata import Description, Metadata, parse
from alithis.readers import of_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

RELATIONS = (
    "trained_on",
    "validated_on",
    "tested_on",
    "fine_tuned_from",
    "distilled_from",
    "supersedes",
)
_FAIR4ML = {
    "trained_on": "fair4ml:trainedOn",
    "validated_on": "fair4ml:validatedOn",
    "tested_on": "fair4ml:testedOn",
    "fine_tuned_from": "fair4ml:fineTunedFrom",
}
_MAX_HEADER = 100_000_000  # bytes; the safetensors library's own bound


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was fed of one dataset.

    Attributes:
        root: tree hash over the distinct digests that were fed, 32 bytes; None if none was.
        size: how many these are.
        seen: leaves of the manifest that were fed.
        unseen: leaves of the manifest that were not.
        foreign: digests that were fed and are no leaf of the manifest.
    """

    root: bytes | None
    size: int
    seen: int
    unseen: int
    foreign: int

    @classmethod
    def of(cls, fed: bytes, manifest: Manifest) -> Self:
        """Compare what was fed with a manifest.

        Args:
            fed: digests of data points, 32 bytes each, joined; repeats do not count.
            manifest: the dataset's.
        """
        digests = {fed[start : start + SIZE] for start in range(0, len(fed), SIZE)}
        seen = len(digests.intersection(manifest.leaves()))
        return cls(
            root=merkle.root(b"".join(sorted(digests))) if digests else None,
            size=len(digests),
            seen=seen,
            unseen=manifest.metadata.size - seen,
            foreign=len(digests) - seen,
        )


@dataclass(frozen=True, slots=True)
class Input:
    """An artifact the model was made from.

    Attributes:
        relation: ``trained_on``, ``tested_on``, …: one of `RELATIONS`.
        name: its name.
        metadata: SHA-256 of its metadata.json, 32 bytes: what its token commits to.
        transcript: what was fed of it, where that was recorded.
    """

    relation: str
    name: str
    metadata: bytes
    transcript: Transcript | None = None

    def __post_init__(self) -> None:
        """Refuse an unknown relation."""
        if self.relation not in RELATIONS:
            raise FormatError(f"relation {self.relation!r}: one of {', '.join(RELATIONS)}")


def stated_inputs(data: Metadata) -> list[Input]:
    """Return what a model's metadata states as its inputs, without the transcripts.

    Raises:
        FormatError: it states them wrongly.
    """
    stated = data.document["alithis"].get("inputs", [])
    try:
        return [
            Input(each["relation"], str(each["name"]), bytes.fromhex(each["metadata"]))
            for each in stated
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{data.name}: its metadata states its inputs wrongly") from error


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
        weights: the model's files.
        out: the directory to write.
        description: the publisher's words.
        parameters: hyperparameters.
        metrics: what was measured of it.
        inputs: what it was made from.
        environment: versions it was made with.
        complete: whether the training run came to its end.
        replace: whether an existing manifest may be replaced.

    Raises:
        SourceError: a file cannot be read, or ``out`` not be written.
        FormatError: a safetensors file is damaged, or a value is no JSON.
    """
    facts = {
        "parameters": dict(parameters or {}),
        "metrics": dict(metrics or {}),
        "inputs": [_as_object(each) for each in inputs],
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
        self._fed: list[tuple[Fed, Manifest, str]] = []
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
        """
        if not isinstance(manifest, Manifest):
            manifest = Manifest.open(Path(manifest))
        Input(relation, manifest.metadata.name, manifest.metadata.digest)  # refuses early
        fed = Fed(data)
        self._fed.append((fed, manifest, relation))
        return fed

    def log_params(self, **parameters: Any) -> None:
        """Record hyperparameters."""
        self._parameters |= parameters

    def log_metrics(self, **metrics: Any) -> None:
        """Record what was measured."""
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
                manifest.metadata.digest,
                Transcript.of(fed.digests(), manifest),
            )
            for fed, manifest, relation in self._fed
        ]

    def write(self, out: Path, *, replace: bool = False) -> Manifest:
        """Write the model's manifest.

        Args:
            out: the directory to write.
            replace: whether an existing manifest may be replaced.

        Raises:
            SourceError: no weights were saved, or something cannot be read or written.
        """
        if not self._weights:
            raise SourceError(f"{self.description.name}: no weights; call save_model first")
        return build_model(
            self._weights,
            out,
            description=self.description,
            parameters=self._parameters,
            metrics=self._metrics,
            inputs=self.inputs(),
            environment={"python": platform.python_version(), "system": platform.system()},
            complete=self._complete,
            replace=replace,
        )


class Fed:
    """An array that remembers which of its rows were taken out."""

    def __init__(self, data: NDArray[Any]) -> None:
        """Wrap an array; axis 0 counts data points."""
        import numpy as np

        self._data = data
        self._taken = np.zeros(len(data), bool)

    def __len__(self) -> int:
        """Return how many data points there are."""
        return len(self._data)

    def __getitem__(self, key: Any) -> Any:
        """Return what the array returns, and remember the rows."""
        rows = self._data[key]
        self._taken[key[0] if isinstance(key, tuple) else key] = True
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
        return of_array(self._data[self._taken]) if self._taken.any() else b""


def _weights(paths: Sequence[Path]) -> Iterator[Items]:
    for path in paths:
        value, size = digest.of_file(path)
        yield Items(value, [path.name], [size], {"dtype": [""], "shape": [""]})
        if path.suffix == ".safetensors":
            yield _tensors(path, size)


def _tensors(path: Path, size: int) -> Items:
    """Digest a safetensors file tensor by tensor."""
    digests, names, sizes, dtypes, shapes = [], [], [], [], []
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        start, header = _header(path, file, size)
        for name, entry in sorted(header.items()):
            dtype, shape, first, last = _tensor(path, name, entry, size - start)
            digests.append(digest.of_part(file, start + first, last - first))
            names.append(f"{path.name}#{name}")
            sizes.append(last - first)
            dtypes.append(dtype)
            shapes.append(shape)
        digest.check_unchanged(str(path), before, os.fstat(file.fileno()), size)
    return Items(b"".join(digests), names, sizes, {"dtype": dtypes, "shape": shapes})


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


def _tensor(path: Path, name: str, entry: Any, available: int) -> tuple[str, str, int, int]:
    try:
        first, last = entry["data_offsets"]
        dtype, shape = str(entry["dtype"]), "x".join(str(int(axis)) for axis in entry["shape"])
        if not 0 <= int(first) <= int(last) <= available:
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path}: tensor {name!r} is described wrongly or cut short") from error
    return dtype, shape, first, last


def _as_object(given: Input) -> dict[str, Any]:
    value: dict[str, Any] = {
        "relation": given.relation,
        "name": given.name,
        "metadata": given.metadata.hex(),
    }
    transcript = given.transcript
    if transcript is not None:
        value["transcript"] = {
            "root": transcript.root.hex() if transcript.root else None,
            "size": transcript.size,
            "seen": transcript.seen,
            "unseen": transcript.unseen,
            "foreign": transcript.foreign,
        }
    return value


def _terms(inputs: Sequence[Input]) -> dict[str, Any]:
    terms: dict[str, list[dict[str, str]]] = {}
    for given in inputs:
        if given.relation in _FAIR4ML:
            uri = "ipfs://" + Cid.raw(given.metadata).base16
            terms.setdefault(_FAIR4ML[given.relation], []).append({"@id": uri, "name": given.name})
    return terms
