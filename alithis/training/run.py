"""What a training run was fed, and what came of it, recorded while it runs.

`Run` is a context manager around the training code. For each dataset it keeps the *transcript*:
the digests of the data points that were really fed, compared with the dataset's manifest. What is
fed from, wrapped by `Run.use`, notes them (`feeds`).
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
import time
import warnings
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from alithis.base.files import write_atomic, write_errors
from alithis.errors import AlithisError, FormatError, SourceError
from alithis.manifest.folder import check_target
from alithis.manifest.metadata import LEAVES, Description
from alithis.manifest.reader import Manifest
from alithis.manifest.transcript import TRANSCRIBED, Input, Transcript
from alithis.training import wrappers
from alithis.training.digester import Digester, Point
from alithis.training.fed_log import Ledger, Noted
from alithis.training.git_info import checkout
from alithis.training.model import Facts, build_model, plain, spelt
from alithis.training.wrappers import Log

_FRAMEWORKS = (
    *("datasets", "jax", "keras", "lightning", "numpy", "sklearn", "tensorflow", "torch"),
    *("transformers", "xgboost"),
)
_LONG = 1 << 16  # bytes of a value that is logged
_SKETCH = 1.0  # seconds between two records of what is known so far, where it is logged often


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
        self._due = self._begun
        self._parameters: dict[str, Any] = {}
        self._metrics: dict[str, Any] = {}
        self._used: dict[tuple[str, bytes], _Used] = {}
        self._added: list[Input] = []
        self._fed: list[Input] | None = None  # once the run has ended
        self._folder: Path | None = None
        self._remove: Any = weakref.finalize(self, int)
        self._weights: list[Path] = []
        self._refused: dict[tuple[str, str], FormatError] = {}
        self._running = False
        self._complete = False
        self._code = checkout()  # as it is when it begins to run

    def __enter__(self) -> Self:
        """Return the run; a first record is written, if it was said where.

        Raises:
            SourceError: what stands there may not be replaced: the manifest of a dataset, or
                something else.
        """
        self._spare()
        self._begun = time.monotonic()
        self._write_sketch()
        self._running = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Note whether the run came to its end, and write what there is, if it was said where.

        What is fed later is not of the run. An error of the record's own goes to the notes of
        the one that ended the run, if one did.
        """
        self._running = False
        self._seconds = round(time.monotonic() - self._begun, 1)
        try:
            failed = self._settle()
            self._fed = []
            for (relation, _), used in self._used.items():
                try:
                    self._fed.append(used.input(relation))
                except AlithisError as lost:
                    failed = failed or lost
                    self._fed.append(used.stated(relation))
            self._complete = kind is None and not failed
            self._end()
            if failed:
                raise failed
            if error is None:
                self._warn()
        except AlithisError as wrong:
            if error is None:
                raise
            error.add_note(f"alithis: the record of the run: {wrong}")
        finally:
            self._remove()

    def use(
        self,
        data: Any,
        manifest: Path | str | Manifest,
        relation: str = "trained_on",
        *,
        source: Any = None,
        point: Point | None = None,
        batched: bool = False,
    ) -> Any:
        """Wrap what is fed, so that each data point that it gives is recorded.

        Args:
            data: an array or tensor, whose rows are data points; a list; a dataset or DataLoader
                of PyTorch's; a dataset of Hugging Face's; any iterable.
            manifest: the dataset's manifest.
            relation: ``trained_on``, ``validated_on`` or ``tested_on``.
            source: where what is fed was made from the data points (normalised, tokenised):
                these, an array, list or dataset with one for each item, in the same order.
            point: which part of an item is the data point: its key, its position, or a function
                of the item; by default the first of a tuple, or else all of it. With a source,
                of an item of that.
            batched: whether each item is a batch of data points.

        Returns:
            What can be used in place of ``data``.

        Raises:
            SourceError: the data is nothing that can be wrapped, or not of the manifest's form.
            FormatError: the manifest is no dataset's with plain digests as leaves, or the
                relation another.
        """
        if not isinstance(manifest, Manifest):
            if not isinstance(manifest, str | Path):
                raise FormatError(
                    f"a {type(manifest).__name__} was given as manifest: use(data, manifest) takes "
                    "what is fed first, and then a Manifest or its path"
                )
            manifest = Manifest.open(Path(manifest))
        stated = manifest.metadata
        if relation not in TRANSCRIBED:
            raise FormatError(f"relation {relation!r}: one of {', '.join(TRANSCRIBED)}")
        if (stated.kind, stated.scheme) != ("dataset", "sha256"):
            raise FormatError(
                f"{stated.name}: a {stated.kind} with {stated.scheme} leaves; what is fed can be "
                "compared with the sha256 leaves of a dataset only"
            )
        manifest.reader(LEAVES)  # stays open: the manifest may be made anew meanwhile
        log = Log(Ledger(self._new_folder()), Digester(stated.form, point))
        try:
            fed = wrappers.wrap(data, log, source=source, batched=batched)
        except SourceError as error:
            raise SourceError(f"{stated.name}: {error}") from error
        used = self._used.setdefault((relation, stated.digest), _Used(manifest))
        used.logs.append(log)
        self._sketch()
        return fed

    def log_params(self, **parameters: Any) -> None:
        """Record hyperparameters, as they are now.

        What JSON cannot hold, or is longer than 64 KiB, is put as text, shortened; `write` refuses
        it, so that it can be logged anew. Training goes on.
        """
        self._log("parameters", self._parameters, parameters)
        self._sketch()

    def log_metrics(self, **metrics: Any) -> None:
        """Record what was measured; as with `log_params`."""
        self._log("metrics", self._metrics, metrics)
        self._sketch(often=True)

    def log_seeds(self, **seeds: Any) -> None:
        """Record what random number generators were seeded with; as with `log_params`."""
        self._log("seeds", self._seeds, seeds)
        self._sketch()

    def _log(self, what: str, kept: dict[str, Any], values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            self._refused.pop((what, name), None)
            try:
                kept |= _short(what, plain(what, {name: value}))
            except FormatError as error:
                kept |= spelt({name: value})
                self._refused[what, name] = error

    def save_model(self, *weights: Path | str) -> None:
        """Record the files that hold the trained model, or folders of them.

        They are read when the manifest is written. A path that is told again is the same file.
        """
        self._weights = list(dict.fromkeys([*self._weights, *map(Path, weights)]))

    def add_input(self, given: Input) -> None:
        """Record what the model was made from beside what it was fed: the parent of a fine-tune.

        Args:
            given: an input, such as ``Input("fine_tuned_from", name, metadata_digest)``.
        """
        self._added.append(given)
        self._sketch()

    def inputs(self) -> list[Input]:
        """Return what the model was made from, with the transcripts so far.

        Raises:
            AlithisError: a manifest is damaged, or what was noted cannot be read.
        """
        fed = self._fed
        if fed is None:
            if failed := self._settle():
                raise failed
            fed = [used.input(relation) for (relation, _), used in self._used.items()]
        return [*fed, *self._added]

    def _settle(self) -> AlithisError | None:
        """Digest what is still to be; return what went wrong first, if anything did."""
        failed = None
        for used in self._used.values():
            for log in used.logs:
                try:
                    log.again()
                except AlithisError as error:
                    failed = failed or error
        return failed

    def facts(self) -> Facts:
        """Return what is known of the run so far."""
        return self._facts(self.inputs())

    def _facts(self, inputs: list[Input]) -> Facts:
        return Facts(
            parameters=self._parameters,
            metrics=self._metrics,
            inputs=inputs,
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
            FormatError: a parameter, metric or seed is no JSON, or too long.
        """
        if not self._weights:
            raise SourceError(f"{self.description.name}: no weights; call save_model first")
        for refused in self._refused.values():
            raise refused
        if self._running:
            words = "the run has not ended, and is recorded as incomplete: call write after it"
            warnings.warn(words, stacklevel=2)
        return self._build(Path(out), self.facts(), replace=replace)

    def _build(self, out: Path, facts: Facts, *, replace: bool) -> Manifest:
        return build_model(
            self._weights, out, description=self.description, facts=facts, replace=replace
        )

    def _warn(self) -> None:
        """Tell of a dataset of which nothing was fed though something was: it is another's form."""
        for each in self._fed or ():
            if each.transcript and each.transcript.size and not each.transcript.seen:
                warnings.warn(
                    f"{each.name}: none of the {each.transcript.size:,} data points that were fed "
                    "is in its manifest; is it the manifest of these data, and do they come as "
                    "they were hashed? source= tells what they were made from",
                    stacklevel=3,
                )

    @property
    def _record(self) -> Path | None:
        """Where what is known of the run stands while there is no manifest."""
        return None if self._out is None else self._out.with_name(self._out.name + ".run.json")

    def _end(self) -> None:
        """Write the manifest; or, without weights, or if it cannot be, what is known."""
        if self._out is None or self._record is None:
            return
        facts = self.facts()
        try:
            if self._weights:
                self._build(self._out, facts, replace=True)
                self._record.unlink(missing_ok=True)
                return
        except AlithisError:
            _write_facts(self._record, facts)
            raise
        _write_facts(self._record, facts)

    def _spare(self) -> None:
        """Refuse to replace the manifest of a dataset, perhaps of the very one that is fed."""
        if self._out is None:
            return
        check_target(self._out, replace=True)
        try:
            kind = Manifest.open(self._out).metadata.kind
        except AlithisError:
            return  # there is none, or a damaged one
        if kind == "dataset":
            raise SourceError(
                f"{self._out}: the manifest of a dataset stands there, which the model's would "
                "replace; give the run another out"
            )

    def _sketch(self, *, often: bool = False) -> None:
        """Write what is known so far, but the transcripts: of a run that is killed it stays.

        What is logged often is written once a second, so that training is not held up.
        """
        if self._seconds is not None or (often and time.monotonic() < self._due):
            return
        try:
            self._write_sketch()
        except SourceError as error:
            warnings.warn(f"{error}; the run goes on, and is written when it ends", stacklevel=3)

    def _write_sketch(self) -> None:
        now = time.monotonic()
        self._due = now + _SKETCH
        if self._record is not None:
            inputs = [used.stated(relation) for (relation, _), used in self._used.items()]
            facts = self._facts([*inputs, *self._added])
            _write_facts(self._record, replace(facts, seconds=round(now - self._begun, 1)))

    def _new_folder(self) -> Path:
        """Make a folder for what one wrapped object gives; all go with the run."""
        try:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="alithis-run-"))
                self._remove = weakref.finalize(self, _remove, self._folder, os.getpid())
            return Path(tempfile.mkdtemp(dir=self._folder))
        except OSError as error:
            raise SourceError(
                f"no folder for what is fed: {error.strerror}; TMPDIR names another place"
            ) from error


@dataclass(frozen=True, slots=True)
class _Used:
    """A dataset that is used, and where what is fed of it is noted."""

    manifest: Manifest
    logs: list[Log] = field(default_factory=list)

    def input(self, relation: str) -> Input:
        noted = Noted([log.ledger for log in self.logs])
        transcript = Transcript.of_sorted(noted.blocks, self.manifest, noted.given)
        return replace(self.stated(relation), transcript=transcript)

    def stated(self, relation: str) -> Input:
        return Input(relation, self.manifest.metadata.name, self.manifest.metadata.digest)


def _remove(folder: Path, process: int) -> None:
    """Remove what was noted; a forked worker that ends leaves it alone."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _write_facts(path: Path, facts: Facts) -> None:
    record = json.dumps(facts.as_object(), indent=1, ensure_ascii=False)
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, record.encode() + b"\n")


def _short(what: str, logged: dict[str, Any]) -> dict[str, Any]:
    size = len(json.dumps(logged))
    if size > _LONG:
        raise FormatError(
            f"{what}.{next(iter(logged))}: {size:,} bytes, and {_LONG:,} are recorded of a value: "
            "write it to a file, and tell save_model"
        )
    return logged


def _environment() -> dict[str, str]:
    """Name the interpreter, the system, and the frameworks that the run has imported."""
    found = {"python": platform.python_version(), "system": platform.system()}
    for name in _FRAMEWORKS:
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            found[name] = version
    return found
