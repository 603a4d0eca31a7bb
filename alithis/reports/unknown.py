"""What a report cannot answer, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from alithis.base.text import clipped
from alithis.errors import AlithisError
from alithis.manifest.transcript import TRANSCRIBED
from alithis.reports.report import (
    MAX_ARTIFACTS,
    MAX_OVERLAPS,
    PARENTS,
    TRAINED,
    Artifact,
    Tie,
)
from alithis.reports.words import MAX_TEXT


def unknown(
    model: Artifact,
    ties: Sequence[Tie],
    unread: Mapping[bytes, AlithisError],
    *,
    truncated: bool,
    asked_a_chain: bool,
) -> Iterator[str]:
    """Yield what is not known, each as a question and the reason.

    Args:
        model: the model of the report.
        ties: what it was made from.
        unread: why items could not be read, by the digest of the metadata.
        truncated: whether a limit left out artifacts or comparisons.
        asked_a_chain: whether tokens were looked up.
    """
    if model.stated is None:
        yield f"What the publisher of {model.name} states about it: {model.problem}"
    elif reason := unread.get(model.metadata):
        yield f"Which files {model.name} has: {clipped(str(reason), MAX_TEXT)}"
    if model.stated and model.stated.document["alithis"].get("complete") is False:
        yield "The rest of its training: the record says that the run did not finish"
    own = [tie for tie in ties if tie.depth == 0]
    if not any(tie.relation == TRAINED for tie in own):
        yield "What data it was trained on: no available record names any"
    if not any(tie.relation == "tested_on" for tie in own):
        yield "What data it was tested on: no available record names any"
    for tie in ties:
        yield from _unknown_of(tie, ties, unread)
    if truncated:
        yield f"What is beyond {MAX_ARTIFACTS} artifacts or {MAX_OVERLAPS} comparisons"
    if not asked_a_chain:
        yield (
            "Who published what, whether links are countersigned, and whether anything was "
            "withdrawn or has claims against it: no chain was asked"
        )
    yield "Whether other data was used too: no record can prove that none was"


def _unknown_of(
    tie: Tie, ties: Sequence[Tie], unread: Mapping[bytes, AlithisError]
) -> Iterator[str]:
    target, name = tie.target, tie.target.name
    if target.stated is None:
        yield f"What the publisher of {name} states about it: {target.problem}"
    elif tie.relation in (*TRANSCRIBED, "derived_from"):
        words = target.words
        if not words.license:
            yield f"The licence of {name}: its metadata names none"
        if not words.mining:
            yield f"Whether {name} may be mined: its metadata does not say"
        if target.contents is None:
            reason = unread.get(target.metadata, "its items are not available")
            yield f"How many bytes {name} has: {clipped(str(reason), MAX_TEXT)}"
    if tie.relation == TRAINED and tie.transcript is None:
        yield f"Which data points of {name} were fed to {tie.source.name}: no valid transcript says"
    if tie.relation in PARENTS and not any(
        each.source is target and each.relation == TRAINED for each in ties
    ):
        yield (
            f"What data {name}, a parent of {tie.source.name}, was trained on: no available record "
            "names any"
        )
