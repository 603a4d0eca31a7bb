"""The evidence for a link, and its grade. Only `evidence` decides it; all other code calls it.

The grades, from the weakest to the strongest:

1. ``stated``: only the newer artifact's publisher states the link;
2. ``transcript``: the publisher's metadata also contains the transcript of a training run, and
   nothing shows that this transcript cannot be one of this dataset;
3. ``countersigned``: the owner of the older token confirmed the link on the chain.

A transcript is also only a statement of the publisher: it proves nothing. It counts more than a
bare statement because it can be contradicted: by its own counts, by what the tokens commit to, or
by a second transcript of the same dataset. A contradicted transcript is ignored.

The page has the same function (web/src/core/grade.js). tests/vectors/grades.json contains the grade
of many links, and the tests compare all implementations with it.
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
    """One end of a link: what its token commits to, or without a chain, what its metadata states.

    Attributes:
        metadata: SHA-256 of its metadata.json, 32 bytes.
        kind: ``dataset`` or ``model``; None if neither token nor metadata is known.
        scheme: ``sha256`` or ``keyed``; None likewise.
        size: number of leaves; None likewise.
        root: root of its tree, 32 bytes; None likewise.
    """

    metadata: bytes
    kind: str | None = None
    scheme: str | None = None
    size: int | None = None
    root: bytes | None = None

    @classmethod
    def of_record(cls, record: Record) -> Self:
        """Return the endpoint for a token's record."""
        return cls(
            record.metadata_digest,
            record.kind.value,
            record.scheme.value,
            record.size,
            record.root,
        )

    @classmethod
    def of_node(cls, node: LineageNode) -> Self:
        """Return the endpoint for a token in a lineage."""
        return cls(node.metadata, node.kind.value, node.scheme.value, node.size, node.root)

    @classmethod
    def of_metadata(cls, stated: Metadata) -> Self:
        """Return the endpoint for metadata, if no chain is asked."""
        return cls(stated.digest, stated.kind, stated.scheme, stated.size, stated.root)

    def difference(self, other: Endpoint) -> str:
        """Return the name of the first attribute that differs; empty if none does."""
        names = (each.name for each in fields(self))
        return next((name for name in names if getattr(self, name) != getattr(other, name)), "")


@dataclass(frozen=True, slots=True)
class Statement:
    """What an artifact's metadata states about itself and its inputs.

    Attributes:
        name: its name; None if the metadata is not available.
        inputs: what a model was made from; empty if the statement is malformed.
        endpoint: the kind, scheme, size and root that the metadata states; None if the metadata is
            not available.
        problem: why the inputs are malformed; empty if they are not.
    """

    name: str | None = None
    inputs: tuple[Input, ...] = ()
    endpoint: Endpoint | None = None
    problem: str = ""

    @classmethod
    def of(cls, stated: Metadata) -> Self:
        """Return what metadata states; only a model has inputs."""
        endpoint = Endpoint.of_metadata(stated)
        if stated.kind != Kind.MODEL:
            return cls(stated.name, (), endpoint)
        try:
            return cls(stated.name, tuple(stated_inputs(stated)), endpoint)
        except FormatError as error:
            return cls(stated.name, (), endpoint, str(error))


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence for a link.

    Attributes:
        grade: the strength of the evidence.
        transcript: what a training run used of the dataset, as the model's publisher recorded it;
            a countersigned link may have one too.
        problem: why the transcript in the metadata is ignored, as the rest of a sentence that
            begins with "the transcript"; empty if there is no transcript, or it is accepted.
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
    """Decide the grade of a link.

    Args:
        relation: the link's relation.
        source: the newer artifact, which has the link.
        target: the older artifact.
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
    """Return why a transcript is ignored; empty if it is accepted."""
    if relation not in TRANSCRIBED:
        return f"goes with {relation}, a relation that has none"
    if target.kind not in (Kind.DATASET, None):
        return f"is of a {target.kind}, and only a dataset can have one"
    # Metadata with the right SHA-256 may still state another tree than the token commits to: a
    # publisher can mint any combination. One of the two is wrong, and we cannot know which, so
    # `verify` reports such an artifact as unverifiable, and its transcript is ignored here.
    if statement.endpoint and (what := source.difference(statement.endpoint)):
        return f"stands in metadata whose {what} is not the token's"
    return transcript.contradiction(target.size, target.root)
