"""What a verification finds: its result, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from alithis.manifest.proof import Proof, Subject
from alithis.manifest.reader import Step
from alithis.manifest.terms import Grade
from alithis.manifest.transcript import Transcript
from alithis.verify.target import Target

INCLUDED, ABSENT, UNVERIFIABLE = "included", "absent", "unverifiable"


@dataclass(frozen=True, slots=True)
class Commitment:
    """What a proof is checked against.

    Attributes:
        root: tree hash, 32 bytes.
        size: number of leaves.
        origin: where root and size come from, in words.
        kind: ``dataset`` or ``model``, if the commitment says.
        scheme: ``sha256`` or ``keyed``, likewise.
        metadata: SHA-256 of metadata.json, likewise.
        token: the token's id, where there is one.
        subject: how a proof file names this commitment; one that names another is refused.
        disordered: whether the leaves were proved to be out of order.
    """

    root: bytes
    size: int
    origin: str
    kind: str | None = None
    scheme: str | None = None
    metadata: bytes | None = None
    token: int | None = None
    subject: Subject = field(default_factory=Subject)
    disordered: bool = False


@dataclass(frozen=True, slots=True)
class LinkedModel:
    """A model whose publisher links it to the dataset.

    Attributes:
        token: the model's token id.
        name: its name by its metadata; None where that is not available.
        relation: ``trained_on``, ``tested_on``, ….
        grade: how far the link is evidenced.
        publisher: the address that minted the model.
        transcript: what a training run used of the dataset, as the publisher recorded it.
    """

    token: int
    name: str | None
    relation: str
    grade: Grade
    publisher: str
    transcript: Transcript | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for one commitment.

    Attributes:
        name: the artifact's name by its metadata; None where that is not available.
        kind: ``dataset`` or ``model``; None where it is not known.
        token: its token id; None where there is none.
        verdict: ``included``, ``absent`` or ``unverifiable``.
        index: the leaf's position, or where it would stand.
        size: the committed number of leaves.
        root: the committed tree hash, hexadecimal.
        steps: the checks, in order.
        marks: known problems, as the chain has them: withdrawn, superseded, disordered, claims.
        models: the models that link to it.
        proof: the proof that passed.
        notes: hosts that were asked for the manifest, and why one could not be used.
    """

    name: str | None
    kind: str | None
    token: int | None
    verdict: str
    index: int | None
    size: int | None
    root: str | None
    steps: tuple[Step, ...]
    marks: tuple[str, ...] = ()
    models: tuple[LinkedModel, ...] = ()
    proof: Proof | None = None
    notes: tuple[str, ...] = ()


def status(results: Sequence[Result]) -> int:
    """Return the exit status: 0 included somewhere, 1 absent everywhere, 2 could not check."""
    verdicts = {result.verdict for result in results}
    if INCLUDED in verdicts:
        return 0
    return 1 if verdicts == {ABSENT} else 2


def as_json(target: Target, results: Iterable[Result]) -> dict[str, Any]:
    """Return results the way ``alithis verify --json`` prints them."""
    about = {"name": target.name, "kind": target.kind}
    return {"target": about, "results": [_as_object(result) for result in results]}


def _as_object(result: Result) -> dict[str, Any]:
    values = asdict(replace(result, proof=None))
    del values["proof"]
    for model, values_of_model in zip(result.models, values["models"], strict=True):
        recorded = model.transcript
        values_of_model["transcript"] = recorded.as_object() if recorded else None
    return values


def as_text(result: Result) -> str:
    """Return a result the way ``alithis verify`` prints it: the verdict, then one line per step."""
    token = f" (token {result.token})" if result.token is not None else ""
    head = f"{result.name or 'unnamed'}{token}: {_verdict(result)}"
    lines = [
        f"  {'ok  ' if step.ok else 'FAIL'} {step.step:10} {step.detail}" for step in result.steps
    ]
    lines += [f"  note {line}" for line in (*result.marks, *result.notes)]
    lines += [f"  model {_linked(model)}" for model in result.models]
    return "\n".join([head, *lines])


def _linked(model: LinkedModel) -> str:
    evidence = f"stated by its publisher {model.publisher}"
    if model.grade == Grade.COUNTERSIGNED:
        evidence = f"countersigned by the dataset's owner, published by {model.publisher}"
    if recorded := model.transcript:
        evidence += (
            f", who recorded a training run that used {recorded.seen} of its "
            f"{recorded.seen + recorded.unseen} distinct data points and {recorded.foreign} others"
        )
    return f"{model.name or 'unnamed'} (token {model.token}): {model.relation}, {evidence}"


def _verdict(result: Result) -> str:
    if result.verdict == INCLUDED:
        return f"included, at index {result.index} of {result.size}"
    if result.verdict == ABSENT:
        return f"absent from the committed {result.size} leaves"
    return "unverifiable: could not check"
