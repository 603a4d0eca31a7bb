"""A model's manifest: its weights as data points, and what it was made with and from."""

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
_MAX_DEPTH = 29  # with three around it this is what metadata.json may have
_LONG, _MANY = 1000, 100
_ADDRESS = re.compile(" at 0x[0-9A-Fa-f]+")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a model was made with and from; what is left out is not known.

    Attributes:
        parameters: hyperparameters: what JSON can hold, and scalars of array libraries.
        metrics: what was measured of it, likewise.
        inputs: what it was made from.
        environment: versions it was made with: ``{"python": "3.11.7"}``.
        complete: whether the training run came to its end.
        code: where its code is: ``repository``, ``commit``, ``dirty``.
        seeds: of random number generators, by name.
        seconds: how long the run took.
        hardware: what it ran on.
        task: what it does, such as ``image-classification``.
        intended_use: what it is for, in a sentence or two.
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
            inputs: added, unless the record has one of this relation and metadata: its transcript
                is worth more than a bare statement.
            environment: see parameters.
            code: in place of the record's, if there is any.
            hardware: in place of the record's, unless None.
            task: see `Facts`.
            intended_use: see `Facts`.

        Raises:
            FormatError: the record states one of them wrongly.
        """

        def recorded(name: str) -> Mapping[str, Any]:
            value = record.get(name, {})
            if not isinstance(value, dict):
                raise FormatError(f"{where}: {name} is no JSON object")
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
        """Return them the way metadata.json holds them.

        Raises:
            FormatError: one is no JSON value.
        """
        always = {
            "parameters": plain("parameters", self.parameters),
            "metrics": plain("metrics", self.metrics),
            "inputs": [each.as_object() for each in self.inputs],
            "environment": plain("environment", self.environment),
            "complete": self.complete,
        }
        known = {
            "code": self.code,
            "seeds": self.seeds,
            "seconds": self.seconds,
            "hardware": self.hardware,
        }
        return always | {
            name: plain(name, value) for name, value in known.items() if value not in (None, {}, "")
        }

    def terms(self) -> dict[str, Any]:
        """Return the ones that FAIR4ML has terms for, as terms of a JSON-LD document."""
        words = {"fair4ml:mlTask": self.task, "fair4ml:intendedUse": self.intended_use}
        terms: dict[str, Any] = {name: plain(name, text) for name, text in words.items() if text}
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
    facts: Facts | None = None,
    replace: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Write a model's manifest.

    Args:
        weights: the model's files, at least one, of different names; or a folder of them.
        out: the directory to write.
        description: the publisher's words.
        facts: what it was made with and from.
        replace: whether an existing manifest may be replaced.
        workers: processes that hash large files; by default one for each processor.
        progress: is told how far the work is.

    Raises:
        SourceError: a file cannot be read, or ``out`` not be written.
        FormatError: a safetensors file is damaged, or a value is no JSON.
    """
    weights = weights if isinstance(weights, Weights) else Weights.of(weights)
    facts = facts or Facts()
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


def plain(name: str, value: Any, depth: int = 0) -> Any:
    """Turn a value into what JSON can hold.

    Raises:
        FormatError: it cannot be; the message says which one.
    """
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()  # a scalar of NumPy, PyTorch, JAX, …
    if isinstance(value, str):
        check_text(name, value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise FormatError(f"{name}: {value} is no JSON number: leave it out, or log it as text")
    elif isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
        raise FormatError(f"{name}: a number of more than {MAX_DIGITS} digits: log it as text")
    elif depth > _MAX_DEPTH:
        raise FormatError(f"{name[:80]}…: nested more than {_MAX_DEPTH} deep")
    elif isinstance(value, Mapping):
        _check_keys(name, value)
        return {key: plain(f"{name}.{key}", each, depth + 1) for key, each in value.items()}
    elif isinstance(value, list | tuple):
        return [plain(f"{name}[{at}]", each, depth + 1) for at, each in enumerate(value)]
    elif value is not None and not isinstance(value, int | float):
        raise FormatError(f"{name}: a {type(value).__name__} is no JSON value: log it as text")
    return value


def _check_keys(name: str, value: Mapping[Any, Any]) -> None:
    for key in value:
        if not isinstance(key, str):
            raise FormatError(f"{name}: the key {key!r} is no text")
        check_text(f"{name}: the key {key!r}", key)


def spelt(value: Any, depth: int = 0) -> Any:
    """Turn any value into what JSON can hold: what it cannot, by itself, is put as text.

    For what nobody could leave out or log anew: settings that a framework tells, metrics of a
    training that diverged. Text is the name of a class or function, or else what the value shows
    itself as, without addresses in memory, at most 1,000 characters of it. Of what holds others,
    the first 100 are put, and how many more there are.
    """
    if isinstance(value, type | FunctionType):
        return value.__name__
    if hasattr(value, "tolist") and math.prod(getattr(value, "shape", ())) <= _LONG:
        value = value.tolist()  # an array of NumPy, PyTorch, JAX, …
    if isinstance(value, set | frozenset):
        value = sorted(value, key=ascii)  # they have another order in each process
    if isinstance(value, str):
        return _utf8(value)[:_LONG]
    if isinstance(value, Mapping) and depth < _MAX_DEPTH:
        some = {_utf8(str(key)): spelt(at, depth + 1) for key, at in islice(value.items(), _MANY)}
        return some | dict.fromkeys(_more(value))
    if isinstance(value, list | tuple) and depth < _MAX_DEPTH:
        return [*(spelt(each, depth + 1) for each in value[:_MANY]), *_more(value)]
    try:
        return plain("", value)
    except FormatError:
        return _ADDRESS.sub("", ascii(value))[:_LONG]


def _more(value: Sized) -> list[str]:
    return [f"… {len(value) - _MANY:,} more"] if len(value) > _MANY else []


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
