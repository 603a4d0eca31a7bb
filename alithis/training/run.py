"""Record a training run: the data points that were read, the settings, the code and the result.

`Run` is a context manager around the training code. `Run.use` wraps the training data, so that each
data point that the training loop reads is logged. The *transcript* of a dataset compares the logged
digests with the dataset's manifest.
"""

from __future__ import annotations

import json
import platform
import sys
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
from alithis.training.fed_log import FedLog, FedLogSnapshot, RunFolder
from alithis.training.git_info import checkout
from alithis.training.model import ModelFacts, build_model, json_or_text, json_value
from alithis.training.wrappers import ItemHasher, Recorder, Selector

_FRAMEWORKS = (
    *("datasets", "jax", "keras", "lightning", "numpy", "sklearn", "tensorflow", "torch"),
    *("transformers", "xgboost"),
)
_MAX_VALUE = 1 << 16  # bytes of a logged value
_INTERVAL = 1.0  # seconds between two interim records when metrics are logged often


class Run:
    """A training run, recorded. Use it as a context manager around the training code.

    An exception that leaves the block marks the record as incomplete.
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
        """Create a record.

        Args:
            name: the model's name.
            description: what the model is, in a sentence or two.
            license: an SPDX identifier or a URL.
            out: the manifest to write when the run ends, also after an error; an existing model's
                manifest is replaced. If no weights were saved until then, the record is written to
                ``out`` + ``.run.json`` instead, for `alithis model --run`.
            task: what the model does, such as ``image-classification``.
            intended_use: what the model is for, in a sentence or two.
            hardware: what the run uses; by default the processor's architecture.
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
        self._folder: RunFolder | None = None
        self._weights: list[Path] = []
        self._refused: dict[tuple[str, str], FormatError] = {}
        self._running = False
        self._complete = False
        self._code = checkout()  # before the run may change it

    def __enter__(self) -> Self:
        """Start the run, and write a first interim record if there is an ``out``.

        Raises:
            SourceError: ``out`` exists and is not a model's manifest.
        """
        self._check_out()
        self._begun = time.monotonic()
        self._write_interim()
        self._running = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the run, and write the manifest or the record if there is an ``out``.

        Data points that are read later are not recorded. If an exception ended the run, an error
        in writing the record is added to its notes instead of hiding it.
        """
        self._running = False
        self._seconds = round(time.monotonic() - self._begun, 1)
        try:
            failed = self._flush()
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
                self._warn_if_nothing_matches()
        except AlithisError as wrong:
            if error is None:
                raise
            error.add_note(f"alithis: the run could not be recorded: {wrong}")
        finally:
            if self._folder is not None:
                self._folder.remove()

    def use(
        self,
        data: Any,
        manifest: Path | str | Manifest,
        relation: str = "trained_on",
        *,
        source: Any = None,
        point: Selector | None = None,
        batched: bool = False,
    ) -> Any:
        """Wrap data, so that each data point that is read from it is recorded.

        Args:
            data: an array or tensor whose rows are data points; a list; a PyTorch dataset or
                DataLoader; a Hugging Face dataset; any iterable.
            manifest: the dataset's manifest, or its path.
            relation: ``trained_on``, ``validated_on`` or ``tested_on``.
            source: the data points that ``data`` was made from, if it was normalised, tokenised or
                changed otherwise: an array, list or dataset with one data point for each item, in
                the same order.
            point: which part of an item is the data point: a key, a position, or a function of the
                item. By default it is the first element of a tuple, or the whole item. With a
                source, it is part of the source's items.
            batched: whether each item is a batch of data points.

        Returns:
            An object to use in place of ``data``.

        Raises:
            SourceError: ``data`` cannot be wrapped, or does not have the manifest's form.
            FormatError: the manifest is not that of a dataset with plain leaves, or the relation is
                unknown.
        """
        if not isinstance(manifest, Manifest):
            if not isinstance(manifest, str | Path):
                raise FormatError(
                    f"a {type(manifest).__name__} is not a manifest: call use(data, manifest) with "
                    "the data first, and then a Manifest or its path"
                )
            manifest = Manifest.open(Path(manifest))
        stated = manifest.metadata
        if relation not in TRANSCRIBED:
            raise FormatError(
                f"relation {relation!r} is unknown; it must be one of {', '.join(TRANSCRIBED)}"
            )
        if (stated.kind, stated.scheme) != ("dataset", "sha256"):
            raise FormatError(
                f"{stated.name}: a {stated.kind} with {stated.scheme} leaves; a run can only be "
                "compared with a dataset that has sha256 leaves"
            )
        manifest.reader(LEAVES)  # open it now: the manifest may be replaced during the run
        recorder = Recorder(FedLog(self._new_folder()), ItemHasher(stated.form, point))
        try:
            wrapped = wrappers.wrap(data, recorder, source=source, batched=batched)
        except SourceError as error:
            raise SourceError(f"{stated.name}: {error}") from error
        used = self._used.setdefault((relation, stated.digest), _Used(manifest))
        used.recorders.append(recorder)
        self._write_interim_safely()
        return wrapped

    def log_params(self, **parameters: Any) -> None:
        """Record hyperparameters with their current values.

        A value that is not JSON, or is longer than 64 KiB, is recorded as a shortened text, and
        training continues. `write` refuses such a value, so that you can log it in another way.
        """
        self._log("parameters", self._parameters, parameters)
        self._write_interim_safely()

    def log_metrics(self, **metrics: Any) -> None:
        """Record measurements; see `log_params`."""
        self._log("metrics", self._metrics, metrics)
        self._write_interim_safely(often=True)

    def log_seeds(self, **seeds: Any) -> None:
        """Record the seeds of random number generators; see `log_params`."""
        self._log("seeds", self._seeds, seeds)
        self._write_interim_safely()

    def _log(self, what: str, kept: dict[str, Any], values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            self._refused.pop((what, name), None)
            try:
                kept |= _checked_size(what, json_value(what, {name: value}))
            except FormatError as error:
                kept |= json_or_text({name: value})
                self._refused[what, name] = error

    def save_model(self, *weights: Path | str) -> None:
        """Record the files of the trained model, or folders of them.

        They are read when the manifest is written. Passing a path again changes nothing.
        """
        self._weights = list(dict.fromkeys([*self._weights, *map(Path, weights)]))

    def add_input(self, given: Input) -> None:
        """Record an input that is not read by the training loop, such as a fine-tune's parent.

        Args:
            given: an input, such as ``Input("fine_tuned_from", name, metadata_digest)``.
        """
        self._added.append(given)
        self._write_interim_safely()

    def inputs(self) -> list[Input]:
        """Return the model's inputs, with the transcripts so far.

        Raises:
            AlithisError: a manifest is damaged, or a log cannot be read.
        """
        fed = self._fed
        if fed is None:
            if failed := self._flush():
                raise failed
            fed = [used.input(relation) for (relation, _), used in self._used.items()]
        return [*fed, *self._added]

    def _flush(self) -> AlithisError | None:
        """Hash the data points that were read but not hashed yet; return the first error."""
        failed = None
        for used in self._used.values():
            for recorder in used.recorders:
                try:
                    recorder.flush()
                except AlithisError as error:
                    failed = failed or error
        return failed

    def facts(self) -> ModelFacts:
        """Return the record of the run so far."""
        return self._facts(self.inputs())

    def _facts(self, inputs: list[Input]) -> ModelFacts:
        return ModelFacts(
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
            SourceError: no weights were saved, or a file cannot be read or written.
            FormatError: a parameter, metric or seed is not a JSON value, or is too long.
        """
        if not self._weights:
            raise SourceError(
                f"{self.description.name}: no weights were saved; call save_model first"
            )
        for refused in self._refused.values():
            raise refused
        if self._running:
            words = (
                "the run has not ended and is recorded as incomplete: call write after the block"
            )
            warnings.warn(words, stacklevel=2)
        return self._build(Path(out), self.facts(), replace=replace)

    def _build(self, out: Path, facts: ModelFacts, *, replace: bool) -> Manifest:
        return build_model(
            self._weights, out, description=self.description, facts=facts, replace=replace
        )

    def _warn_if_nothing_matches(self) -> None:
        """Warn if none of the data points is in a manifest: their form is probably another one."""
        for each in self._fed or ():
            if each.transcript and each.transcript.size and not each.transcript.seen:
                warnings.warn(
                    f"{each.name}: none of the {each.transcript.size:,} data points that were "
                    "read is in its manifest. Check that it is the manifest of this data, and that "
                    "the data has the form that was hashed; if it was transformed, pass the "
                    "original data with source=",
                    stacklevel=3,
                )

    @property
    def _record(self) -> Path | None:
        """The path of the record while there is no manifest."""
        return None if self._out is None else self._out.with_name(self._out.name + ".run.json")

    def _end(self) -> None:
        """Write the manifest; without weights, or if that fails, write the record."""
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

    def _check_out(self) -> None:
        """Refuse to replace a dataset's manifest, perhaps of the one that is trained on."""
        if self._out is None:
            return
        check_target(self._out, replace=True)
        try:
            kind = Manifest.open(self._out).metadata.kind
        except AlithisError:
            return  # there is no manifest, or a damaged one
        if kind == "dataset":
            raise SourceError(
                f"{self._out}: contains the manifest of a dataset, which the model's would "
                "replace; choose another out for the run"
            )

    def _write_interim_safely(self, *, often: bool = False) -> None:
        """Write an interim record, without transcripts, which remains if the run is killed.

        This must not stop or slow the training: an error becomes a warning, and values that are
        logged often are written at most once a second.
        """
        if self._seconds is not None or (often and time.monotonic() < self._due):
            return
        try:
            self._write_interim()
        except SourceError as error:
            warnings.warn(f"{error}; the run continues, and is recorded when it ends", stacklevel=3)

    def _write_interim(self) -> None:
        now = time.monotonic()
        self._due = now + _INTERVAL
        if self._record is not None:
            inputs = [used.stated(relation) for (relation, _), used in self._used.items()]
            facts = self._facts([*inputs, *self._added])
            _write_facts(self._record, replace(facts, seconds=round(now - self._begun, 1)))

    def _new_folder(self) -> Path:
        """Create a folder for the log of one wrapped object; it is removed with the run."""
        try:
            if self._folder is None:
                self._folder = RunFolder()
                weakref.finalize(self, self._folder.remove)  # for a run that is never entered
            return self._folder.new()
        except OSError as error:
            raise SourceError(
                f"no temporary folder can be created: {error.strerror}; "
                "set TMPDIR to another folder"
            ) from error


@dataclass(frozen=True, slots=True)
class _Used:
    """A dataset that the run uses, and the recorders of its data points."""

    manifest: Manifest
    recorders: list[Recorder] = field(default_factory=list)

    def input(self, relation: str) -> Input:
        logged = FedLogSnapshot([recorder.fed_log for recorder in self.recorders])
        transcript = Transcript.of_sorted(logged.blocks, self.manifest, logged.given)
        # A row that was changed after it was read is hashed again, since the training may have seen
        # both values. Each value counts as read, or the counts would contradict each other.
        transcript = replace(transcript, given=max(logged.given, transcript.size))
        return replace(self.stated(relation), transcript=transcript)

    def stated(self, relation: str) -> Input:
        return Input(relation, self.manifest.metadata.name, self.manifest.metadata.digest)


def _write_facts(path: Path, facts: ModelFacts) -> None:
    record = json.dumps(facts.as_object(), indent=1, ensure_ascii=False)
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, record.encode() + b"\n")


def _checked_size(what: str, logged: dict[str, Any]) -> dict[str, Any]:
    size = len(json.dumps(logged))
    if size > _MAX_VALUE:
        raise FormatError(
            f"{what}.{next(iter(logged))}: {size:,} bytes; a value may have at most "
            f"{_MAX_VALUE:,}. Write it to a file, and pass that to save_model"
        )
    return logged


def _environment() -> dict[str, str]:
    """Return versions of Python, the system, and the frameworks that are imported."""
    found = {"python": platform.python_version(), "system": platform.system()}
    for name in _FRAMEWORKS:
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            found[name] = version
    return found
