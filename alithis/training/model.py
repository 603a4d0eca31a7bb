"""Build a model's manifest: its weights as data points, and how and from what it was made."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import FunctionType
from typing import Any, Self

from alithis.base.progress import Progress
from alithis.base.untrusted_json import MAX_DIGITS
from alithis.errors import FormatError
from alithis.forms.form import BYTES
from alithis.forms.pool import Pool
from alithis.ipfs.cid import Cid
from alithis.manifest.builder import build
from alithis.manifest.metadata import Description
from alithis.manifest.reader import Manifest
from alithis.manifest.transcript import TRANSCRIBED, Input, inputs_of
from alithis.training.weights import Weights, check_text

_TERMS = {
    "trained_on": "fair4ml:trainedOn",
    "validated_on": "fair4ml:validatedOn",
    "tested_on": "fair4ml:testedOn",
    "fine_tuned_from": "fair4ml:fineTunedFrom",
    "distilled_from": "isBasedOn",  # schema.org's: FAIR4ML has no term for it
}
"""FAIR4ML 0.1.0, https://w3id.org/fair4ml."""
_MAX_DEPTH = 29  # metadata.json allows 32 levels, and three are around it
_LONG, _MANY = 1000, 100  # characters of a text, and entries of a list, to keep
_ADDRESS = re.compile(" at 0x[0-9A-Fa-f]+")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """How and from what a model was made; a field that is left out is unknown.

    Attributes:
        parameters: hyperparameters: JSON values, or scalars of array libraries.
        metrics: measurements, likewise.
        inputs: datasets and models that it was made from.
        environment: versions of software: ``{"python": "3.11.7"}``.
        complete: whether the training run ended normally.
        code: the training code: ``repository``, ``commit``, ``dirty``.
        seeds: seeds of random number generators, by name.
        seconds: duration of the run.
        hardware: what it ran on.
        task: what the model does, such as ``image-classification``.
        intended_use: what the model is for, in a sentence or two.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    inputs: Sequence[Input] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    complete: bool = True
    code: Mapping[str, Any] = field(default_factory=dict)
    seeds: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    hardware: str = ""
    task: str = ""
    intended_use: str = ""

    @classmethod
    def of_record(
        cls,
        record: Mapping[str, Any],
        where: str,
        *,
        parameters: Mapping[str, Any],
        metrics: Mapping[str, Any],
        inputs: Sequence[Input],
        environment: Mapping[str, str],
        code: Mapping[str, Any],
        hardware: str | None,
        task: str,
        intended_use: str,
    ) -> Self:
        """Take facts out of the record of a Run; what is given beside it overrides it.

        Args:
            record: the record, a JSON object that anybody may have written; empty for none.
            where: what holds the record, for errors.
            parameters: added to those of the record, as are metrics and environment.
            metrics: see parameters.
            inputs: added, unless the record has an input with the same relation and metadata: that
                one may have a transcript, which is better evidence than a bare statement.
            environment: see parameters.
            code: replaces the record's, if there is any.
            hardware: replaces the record's, unless None.
            task: see the attributes.
            intended_use: see the attributes.

        Raises:
            FormatError: a field of the record is malformed.
        """

        def recorded(name: str) -> Mapping[str, Any]:
            value = record.get(name, {})
            if not isinstance(value, dict):
                raise FormatError(f"{where}: {name} is not a JSON object")
            return value

        made_from = inputs_of(record.get("inputs", []), where)
        known = {(each.relation, each.metadata) for each in made_from}
        for each in inputs:
            if (each.relation, each.metadata) not in known:
                known.add((each.relation, each.metadata))
                made_from.append(each)
        return cls(
            parameters={**recorded("parameters"), **parameters},
            metrics={**recorded("metrics"), **metrics},
            inputs=made_from,
            environment={**recorded("environment"), **environment},
            complete=record.get("complete", True) is True,
            code=code or recorded("code"),
            seeds=recorded("seeds"),
            seconds=record.get("seconds"),
            hardware=record.get("hardware", "") if hardware is None else hardware,
            task=task,
            intended_use=intended_use,
        )

    def as_object(self) -> dict[str, Any]:
        """Return the object that metadata.json contains.

        Raises:
            FormatError: a value is not JSON.
        """
        always = {
            "parameters": json_value("parameters", self.parameters),
            "metrics": json_value("metrics", self.metrics),
            "inputs": [each.as_object() for each in self.inputs],
            "environment": json_value("environment", self.environment),
            "complete": self.complete,
        }
        known = {
            "code": self.code,
            "seeds": self.seeds,
            "seconds": self.seconds,
            "hardware": self.hardware,
        }
        return always | {
            name: json_value(name, value)
            for name, value in known.items()
            if value not in (None, {}, "")
        }

    def terms(self) -> dict[str, Any]:
        """Return the facts for which FAIR4ML has terms, as members of a JSON-LD document."""
        words = {"fair4ml:mlTask": self.task, "fair4ml:intendedUse": self.intended_use}
        terms: dict[str, Any] = {
            name: json_value(name, text) for name, text in words.items() if text
        }
        for given in self.inputs:
            if given.relation in _TERMS:
                kind = "sc:Dataset" if given.relation in TRANSCRIBED else "fair4ml:MLModel"
                uri = "ipfs://" + Cid.raw(given.metadata).base16
                of_relation = terms.setdefault(_TERMS[given.relation], [])
                of_relation.append({"@type": kind, "@id": uri, "name": given.name})
        return terms


def build_model(
    weights: Sequence[Path] | Weights,
    out: Path,
    *,
    description: Description,
    facts: ModelFacts | None = None,
    replace: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Write a model's manifest.

    Args:
        weights: the model's files, at least one, with different names; or a folder of them.
        out: the directory to write.
        description: the publisher's description.
        facts: how and from what the model was made.
        replace: whether an existing manifest may be replaced.
        workers: number of processes that hash large files; by default one for each processor.
        progress: receives the progress.

    Raises:
        SourceError: a file cannot be read, or ``out`` cannot be written.
        FormatError: a safetensors file is damaged, or a value is not JSON.
    """
    weights = weights if isinstance(weights, Weights) else Weights.of(weights)
    facts = facts or ModelFacts()
    stated, terms = facts.as_object(), facts.terms()
    with Pool(workers) as pool:
        return build(
            weights.digested(pool),
            out,
            description=description,
            form=BYTES,
            kind="model",
            replace=replace,
            facts=stated,
            terms=terms,
            progress=progress,
        )


def json_value(name: str, value: Any, depth: int = 0) -> Any:
    """Return a value as JSON.

    Raises:
        FormatError: the value, or a part of it, is not JSON; the message names it.
    """
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()  # a scalar of NumPy, PyTorch or JAX
    if isinstance(value, str):
        check_text(name, value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise FormatError(f"{name}: {value} is not a JSON number; leave it out, or log it as text")
    elif isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
        raise FormatError(f"{name}: a number of more than {MAX_DIGITS} digits; log it as text")
    elif depth > _MAX_DEPTH:
        raise FormatError(f"{name[:80]}…: nested more than {_MAX_DEPTH} levels deep")
    elif isinstance(value, Mapping):
        _check_keys(name, value)
        return {key: json_value(f"{name}.{key}", each, depth + 1) for key, each in value.items()}
    elif isinstance(value, list | tuple):
        return [json_value(f"{name}[{at}]", each, depth + 1) for at, each in enumerate(value)]
    elif value is not None and not isinstance(value, int | float):
        raise FormatError(f"{name}: a {type(value).__name__} is not a JSON value; log it as text")
    return value


def _check_keys(name: str, value: Mapping[Any, Any]) -> None:
    for key in value:
        if not isinstance(key, str):
            raise FormatError(f"{name}: the key {key!r} is not text")
        check_text(f"{name}: the key {key!r}", key)


def json_or_text(value: Any, depth: int = 0) -> Any:
    """Return any value as JSON; a part that is not JSON is converted to text.

    This is for values that the user cannot leave out or log in another way: settings that a
    framework reports, the NaN metrics of a training that diverged. The text is the name of a class
    or function, or else the first 1,000 characters of ``repr`` without memory addresses, which
    differ in each run. For a list or mapping, the first 100 entries and the number of the others
    are kept.
    """
    if isinstance(value, type | FunctionType):
        return value.__name__
    if hasattr(value, "tolist") and math.prod(getattr(value, "shape", ())) <= _LONG:
        value = value.tolist()  # an array of NumPy, PyTorch or JAX
    if isinstance(value, set | frozenset):
        value = sorted(value, key=ascii)  # their order differs in each process
    if isinstance(value, str):
        return _utf8(value)[:_LONG]
    if isinstance(value, Mapping) and depth < _MAX_DEPTH:
        some = {
            _utf8(str(key)): json_or_text(at, depth + 1) for key, at in islice(value.items(), _MANY)
        }
        return some | dict.fromkeys(_more(value))
    if isinstance(value, list | tuple) and depth < _MAX_DEPTH:
        return [*(json_or_text(each, depth + 1) for each in value[:_MANY]), *_more(value)]
    try:
        return json_value("", value)
    except FormatError:
        return _ADDRESS.sub("", ascii(value))[:_LONG]


def _more(value: Sized) -> list[str]:
    return [f"… {len(value) - _MANY:,} more"] if len(value) > _MANY else []


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
