"""The contents of a report: a model, what it was made from, and what is not known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from alithis.chain.records import Record
from alithis.errors import AlithisError
from alithis.manifest.items import ItemTotals, ModelFile
from alithis.manifest.metadata import Metadata
from alithis.manifest.terms import Grade
from alithis.manifest.transcript import Transcript
from alithis.reports.words import Words
from alithis.verify.grade import Endpoint
from alithis.verify.tokens import marks

TRAINED = "trained_on"
HELD_OUT = ("tested_on", "validated_on")
PARENTS = ("fine_tuned_from", "distilled_from")

MAX_ARTIFACTS = 500
"""Artifacts that a report follows a model's links to."""
MAX_OVERLAPS = 200
"""Pairs of datasets that a report compares."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """The model, or something that it was made from.

    Attributes:
        metadata: SHA-256 of its metadata.json, 32 bytes.
        stated_name: its name in its own metadata, or else in that of an artifact made from it;
            None if neither is available.
        record: its record on the chain; None if no chain was asked or it has no token.
        stated: its metadata; None if it is not available.
        problem: why its metadata is not available.
        contents: how many bytes and files of which kinds it has; None if its items are not
            available.
    """

    metadata: bytes
    stated_name: str | None = None
    record: Record | None = None
    stated: Metadata | None = field(default=None, repr=False)
    problem: str = ""
    contents: ItemTotals | None = None

    @property
    def name(self) -> str:
        """Its name, followed by its token if it has one."""
        name = self.stated_name or f"unnamed {self.metadata.hex()[:12]}"
        return f"{name} (token {self.record.id})" if self.record else name

    @property
    def kind(self) -> str | None:
        """``dataset`` or ``model``, from the chain or else from its metadata; None if not known."""
        if self.record is not None:
            return self.record.kind.value
        return self.stated.kind if self.stated else None

    @property
    def size(self) -> int | None:
        """Its distinct data points, from the chain or else from its metadata; None if not known."""
        if self.record is not None:
            return self.record.size
        return self.stated.size if self.stated else None

    @property
    def root(self) -> bytes | None:
        """The root of its tree, from the chain or else from its metadata; None if not known."""
        if self.record is not None:
            return self.record.root
        return self.stated.root if self.stated else None

    @property
    def endpoint(self) -> Endpoint:
        """What the grade of its links depends on, from the chain or else from its metadata."""
        if self.record is not None:
            return Endpoint.of_record(self.record)
        return Endpoint.of_metadata(self.stated) if self.stated else Endpoint(self.metadata)

    @property
    def words(self) -> Words:
        """What its publisher states about it."""
        return Words.of(self.stated.document) if self.stated else Words()

    @property
    def marks(self) -> tuple[str, ...]:
        """Known problems on the chain: withdrawn, disordered, superseded, open claims."""
        return marks(self.record) if self.record else ()


@dataclass(frozen=True, slots=True)
class Tie:
    """A statement that an artifact was made from another, or tested on it.

    Attributes:
        source: the newer artifact, whose publisher states it.
        target: the older artifact.
        relation: such as ``trained_on``.
        grade: the evidence: ``stated``, ``transcript`` or ``countersigned``.
        linked: whether the chain has the link; None if no chain was asked.
        transcript: the source's publisher's record of how much of the target was fed; None if
            there is none that counts.
        depth: the ties between the model and this one: 0 for the model's own.
    """

    source: Artifact
    target: Artifact
    relation: str
    grade: Grade
    linked: bool | None
    transcript: Transcript | None
    depth: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many data points two artifacts share.

    Attributes:
        relation: of ``by`` to ``first``, such as ``tested_on`` or ``fine_tuned_from``.
        first: test or validation data, or a parent model.
        second: training data, or the model of the report.
        by: the model that was tested, or whose parent ``first`` is.
        shared: how many data points both have; None if they could not be compared.
        reason: why they could not be compared.
    """

    relation: str
    first: Artifact
    second: Artifact
    by: Artifact
    shared: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """Where tokens were looked up.

    Attributes:
        id: the chain's id.
        registry: the registry's address.
        block: the block after which the registry was read.
    """

    id: int
    registry: str
    block: int


@dataclass(frozen=True, slots=True)
class Report:
    """What is known about what a model was made from, and what is not known.

    Attributes:
        model: the model.
        chain: where tokens were looked up; None if no chain was asked.
        facts: what its metadata states about how it was made: parameters, metrics, ….
        files: its files; empty if its items are not available.
        ties: what it was made from, and what that was made from, nearest first.
        overlaps: its test and validation data compared with its training data, and the same for
            its parents.
        parents: what it shares with the models that it was made from.
        disagreements: contradictions between metadata, chain and manifests.
        unknown: what is not known.
        truncated: whether a limit left out artifacts or comparisons.
        unlisted: why its files are not known; None if they are.
    """

    model: Artifact
    chain: Chain | None
    facts: Mapping[str, Any]
    files: tuple[ModelFile, ...]
    ties: tuple[Tie, ...]
    overlaps: tuple[Overlap, ...]
    parents: tuple[Overlap, ...]
    disagreements: tuple[str, ...]
    unknown: tuple[str, ...]
    truncated: bool = False
    unlisted: AlithisError | None = None

    @property
    def sources(self) -> tuple[Tie, ...]:
        """The ties to training data: the model's own, and its parents'."""
        return tuple(tie for tie in self.ties if tie.relation == TRAINED)

    @property
    def origins(self) -> tuple[Tie, ...]:
        """The ties from the training data to what it was derived from, directly or not."""
        reached = {id(tie.target) for tie in self.sources}
        derived = [tie for tie in self.ties if tie.relation == "derived_from"]
        before = -1
        while len(reached) > before:
            before = len(reached)
            reached |= {id(tie.target) for tie in derived if id(tie.source) in reached}
        return tuple(tie for tie in derived if id(tie.source) in reached)

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """The model and everything that it was made from, each once."""
        found = {id(self.model): self.model}
        for tie in self.ties:
            found.setdefault(id(tie.target), tie.target)
        return tuple(found.values())
