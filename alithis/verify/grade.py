"""How far a link is evidenced. Every reader of links asks `evidence` and nothing else decides it.

The grades, from little to much:

1. ``stated``: the newer artifact's publisher says so, and nothing else does;
2. ``transcript``: the publisher's metadata also holds the transcript of a training run, and that
   transcript can be one of this dataset;
3. ``countersigned``: the owner of the older token confirmed the link on the chain.

A transcript is the publisher's word too. What makes it worth more than the bare statement is that
it can be contradicted, so one that is contradicted counts for nothing: neither by its own counts,
nor by what the tokens commit to, nor by a second transcript of the same dataset.

The page has the same function (web/src/core/grade.js). tests/vectors/grades.json states the
grade of many links, and all readers of links are held to it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

from alithis.chain.queries import LineageNode
from alithis.chain.records import Record
from alithis.errors import FormatError
from alithis.manifest.metadata import Metadata
from alithis.manifest.terms import Grade, Kind, Relation
from alithis.manifest.transcript import TRANSCRIBED, Input, Transcript, stated_inputs


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a link: what its token commits to, or else what its metadata states.

    Attributes:
        metadata: SHA-256 of its metadata.json, 32 bytes.
        kind: ``dataset`` or ``model``; None where neither token nor metadata is known.
        scheme: ``sha256`` or ``keyed``, likewise.
        size: number of leaves, likewise.
        root: the root of its tree, 32 bytes, likewise.
    """

    metadata: bytes
    kind: str | None = None
    scheme: str | None = None
    size: int | None = None
    root: bytes | None = None

    @classmethod
    def of_record(cls, record: Record) -> Self:
        """Take it from the registry's record of a token."""
        return cls(
            record.metadata_digest,
            record.kind.value,
            record.scheme.value,
            record.size,
            record.root,
        )

    @classmethod
    def of_node(cls, node: LineageNode) -> Self:
        """Take it from a token in a lineage."""
        return cls(node.metadata, node.kind.value, node.scheme.value, node.size, node.root)

    @classmethod
    def of_metadata(cls, stated: Metadata) -> Self:
        """Take it from metadata, where no chain is asked."""
        return cls(stated.digest, stated.kind, stated.scheme, stated.size, stated.root)

    def difference(self, other: Endpoint) -> str:
        """Name the first attribute in which the two differ; empty if none does."""
        names = (each.name for each in fields(self))
        return next((name for name in names if getattr(self, name) != getattr(other, name)), "")


@dataclass(frozen=True, slots=True)
class Statement:
    """What an artifact's metadata states about itself and its inputs.

    Attributes:
        name: its name; None where the metadata is not available.
        inputs: what a model was made from; empty where that is malformed.
        endpoint: what the metadata states of kind, scheme, size and root; None where it is not
            available.
        problem: why the inputs are malformed; empty if they are not.
    """

    name: str | None = None
    inputs: tuple[Input, ...] = ()
    endpoint: Endpoint | None = None
    problem: str = ""

    @classmethod
    def of(cls, stated: Metadata) -> Self:
        """Read metadata; only a model has inputs."""
        endpoint = Endpoint.of_metadata(stated)
        if stated.kind != Kind.MODEL:
            return cls(stated.name, (), endpoint)
        try:
            return cls(stated.name, tuple(stated_inputs(stated)), endpoint)
        except FormatError as error:
            return cls(stated.name, (), endpoint, str(error))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a link rests on.

    Attributes:
        grade: how far it is evidenced.
        transcript: what a training run used of the dataset, as the model's publisher recorded it;
            a countersigned link may have one too.
        problem: why the transcript that the metadata states does not count: a predicate whose
            subject is the transcript; empty where there is none or it counts.
    """

    grade: Grade
    transcript: Transcript | None = None
    problem: str = ""


def evidence(
    relation: Relation | str,
    source: Endpoint,
    target: Endpoint,
    statement: Statement,
    *,
    countersigned: bool,
) -> Evidence:
    """Decide how far a link is evidenced.

    Args:
        relation: of the source to the target.
        source: the newer artifact, which has the link.
        target: the older one.
        statement: what the source's metadata states.
        countersigned: whether the target's owner confirmed the link on the chain.
    """
    stated = {
        each.transcript
        for each in statement.inputs
        if (each.relation, each.metadata) == (relation, target.metadata) and each.transcript
    }
    transcript = next(iter(stated), None)
    problem = ""
    if transcript is not None:
        problem = (
            "is stated more than once, and differently"
            if len(stated) > 1
            else _problem(transcript, relation, source, target, statement)
        )
    if problem:
        transcript = None
    grade = Grade.TRANSCRIPT if transcript else Grade.STATED
    return Evidence(Grade.COUNTERSIGNED if countersigned else grade, transcript, problem)


def _problem(
    transcript: Transcript,
    relation: Relation | str,
    source: Endpoint,
    target: Endpoint,
    statement: Statement,
) -> str:
    """Say why a transcript does not count; empty if it does."""
    if relation not in TRANSCRIBED:
        return f"goes with {relation}, a relation that has none"
    if target.kind not in (Kind.DATASET, None):
        return f"is of a {target.kind}, and only a dataset can have one"
    # Metadata with the right SHA-256 may still state another tree than the token commits to. One
    # of the two is wrong, and nothing tells which: verify calls such an artifact unverifiable.
    if statement.endpoint and (what := source.difference(statement.endpoint)):
        return f"stands in metadata whose {what} is not the token's"
    return transcript.contradiction(target.size, target.root)
