"""The result of a verification, as text and as JSON."""

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
    """The values that a proof is checked against.

    Attributes:
        root: tree hash, 32 bytes.
        size: number of leaves.
        origin: where root and size come from, in words.
        kind: ``dataset`` or ``model``; None if it is not committed.
        scheme: ``sha256`` or ``keyed``; None likewise.
        metadata: SHA-256 of metadata.json; None likewise.
        token: the token's id; None if there is no token.
        subject: the subject in proof files for this commitment; a proof file with another subject
            is refused.
        disordered: whether the leaves were proved to be out of order.
        bare: whether root and size are only stated by the caller, with no metadata beside them.
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
    bare: bool = False


@dataclass(frozen=True, slots=True)
class LinkedModel:
    """A model whose publisher links it to the dataset.

    Attributes:
        token: the model's token id.
        name: its name in its metadata; None if that is not available.
        relation: ``trained_on``, ``tested_on``, ….
        grade: the grade of the evidence for the link.
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
    """The result for one commitment.

    Attributes:
        name: the artifact's name in its metadata; None if that is not available.
        kind: ``dataset`` or ``model``; None if it is not known.
        token: its token id; None if there is no token.
        verdict: ``included``, ``absent`` or ``unverifiable``.
        index: the leaf's position, or the position that it would have.
        size: the committed number of leaves.
        root: the committed tree hash, hexadecimal.
        steps: the checks, in order.
        marks: known problems on the chain: withdrawn, superseded, disordered, open claims.
        models: the models that link to it.
        proof: the proof, if it passed.
        notes: problems of the hosts that were asked for the manifest.
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
    """Return the exit status: 0 included in one, 1 absent from all, 2 could not check."""
    verdicts = {result.verdict for result in results}
    if INCLUDED in verdicts:
        return 0
    return 1 if verdicts == {ABSENT} else 2


def as_json(target: Target, results: Iterable[Result]) -> dict[str, Any]:
    """Return the object that ``alithis verify --json`` prints."""
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
    """Return the text that ``alithis verify`` prints: the verdict, then one line per step."""
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
        # The step says with which size the index holds.
        place = next(step.detail for step in result.steps if step.step == "position")
        return f"included, {place.removeprefix('found ')}"
    if result.verdict == ABSENT:
        return f"absent from the committed {result.size} leaves"
    return "unverifiable: could not check"
