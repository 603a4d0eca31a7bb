"""What a training run was fed, and what came of it, recorded while it runs.

`Run` is a context manager around the training code. For each dataset it keeps the *transcript*:
the digests of the data points that were really fed, compared with the dataset's manifest.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit, urlunsplit

from alithis.errors import FormatError, SourceError
from alithis.inputs import TRANSCRIBED, Input, Transcript
from alithis.manifest import Manifest
from alithis.metadata import Description
from alithis.model import Facts, build_model
from alithis.place import write_whole
from alithis.readers import of_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH = 1 << 16
_FRAMEWORKS = (
    *("datasets", "jax", "keras", "lightning", "numpy", "sklearn", "tensorflow", "torch"),
    *("transformers", "xgboost"),
)
_GIT_SECONDS = 10.0


class Run:
    """A training run, recorded. Use it as a context manager around the training code.

    An exception that leaves it marks the record as incomplete.
    """

    def __init__(
        self,
        name: str,
        *,
        description: str = "",
        license: str | None = None,
        out: Path | str | None = None,
        task: str = "",
        intended_use: str = "",
        hardware: str | None = None,
    ) -> None:
        """Begin a record.

        Args:
            name: the model's name.
            description: what it is, in a sentence or two.
            license: an SPDX identifier or a URL.
            out: the manifest to write when the run ends, in whatever way; one that exists is
                replaced. Where no weights were saved until then, what is known of the run is
                written to ``out`` + ``.run.json`` instead, which `alithis model --run` takes.
            task: what the model does, such as ``image-classification``.
            intended_use: what it is for, in a sentence or two.
            hardware: what it runs on; by default the processor's architecture.
        """
        self.description = Description(name, description, license)
        self._out = None if out is None else Path(out)
        self._words = {"task": task, "intended_use": intended_use}
        self._hardware = platform.machine() if hardware is None else hardware
        self._seeds: dict[str, Any] = {}
        self._begun = time.monotonic()
        self._seconds: float | None = None
        self._parameters: dict[str, Any] = {}
        self._metrics: dict[str, Any] = {}
        self._used: dict[tuple[str, bytes], tuple[Manifest, list[Fed]]] = {}
        self._weights: list[Path] = []
        self._complete = False
        self._code = _code()  # as it is when it begins to run

    def __enter__(self) -> Self:
        """Return the run."""
        self._begun = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Note whether the run came to its end, and write what there is, if it was said where."""
        self._complete = kind is None
        self._seconds = round(time.monotonic() - self._begun, 1)
        if self._out is None:
            return
        if self._weights:
            self.write(self._out, replace=True)
        else:
            record = json.dumps(self.facts().as_object(), indent=1, ensure_ascii=False)
            write_whole(self._out.with_name(self._out.name + ".run.json"), record.encode() + b"\n")

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

    def log_seeds(self, **seeds: Any) -> None:
        """Record what random number generators were seeded with."""
        self._seeds |= seeds

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
                Transcript.of(
                    b"".join(fed.digests() for fed in parts),
                    manifest,
                    given=sum(fed.given for fed in parts),
                ),
            )
            for (relation, digest), (manifest, parts) in self._used.items()
        ]

    def facts(self) -> Facts:
        """Return what is known of the run so far."""
        return Facts(
            parameters=self._parameters,
            metrics=self._metrics,
            inputs=self.inputs(),
            environment=_environment(),
            complete=self._complete,
            code=self._code,
            seeds=self._seeds,
            seconds=self._seconds,
            hardware=self._hardware,
            **self._words,
        )

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
            facts=self.facts(),
            replace=replace,
        )


class Fed:
    """An array that remembers which of its rows were taken out, and how many in all.

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
        self.given = 0

    def __len__(self) -> int:
        """Return how many data points there are."""
        return len(self._data)

    def __getitem__(self, key: Any) -> Any:
        """Return what the array returns, and remember the rows."""
        import numpy as np

        rows = self._data[key]
        taken = np.arange(len(self))[self._rows(key)]
        self._taken[taken] = True
        self.given += taken.size
        return rows

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows in turn."""
        return (self[index] for index in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the whole array: all rows are taken."""
        import numpy as np

        self._taken[:] = True
        self.given += len(self)
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
        return np.unique(np.broadcast_to(rows, self._data.shape)[key])


def _environment() -> dict[str, str]:
    """Name the interpreter, the system, and the frameworks that the run has imported."""
    found = {"python": platform.python_version(), "system": platform.system()}
    for name in _FRAMEWORKS:
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            found[name] = version
    return found


def _code() -> dict[str, Any]:
    """Say which commit of which repository the running script is of, where git knows.

    ``dirty`` tells that files which git follows differ from the commit.
    """
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    folder = Path(script).resolve().parent if script else Path.cwd()
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {}
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    url = _git(folder, "config", "--get", "remote.origin.url")
    repository = {"repository": _public(url)} if url else {}
    return repository | {"commit": commit, "dirty": changes != ""}


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _public(url: str) -> str:
    """Return a repository's URL without a password in it."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
