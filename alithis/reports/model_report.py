"""A report as a document that people read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from alithis.chain.index import Edge, Lineage, Node
from alithis.chain.records import Record
from alithis.lineage.drawing import Drawing
from alithis.manifest.terms import Relation
from alithis.manifest.transcript import TRANSCRIBED, Transcript
from alithis.reports.document import (
    Block,
    Document,
    Facts,
    Items,
    Paragraph,
    Picture,
    Section,
    Table,
    Text,
)
from alithis.reports.gather import Artifact, Overlap, Report, Signal, Tie

_TONES = {"countersigned": "good", "transcript": "fair", "stated": "weak"}
_GRADES = {
    "countersigned": "countersigned by the target's owner",
    "transcript": "transcript of a run, recorded by the publisher",
    "stated": "stated by the publisher alone",
}
_MAX_FILES = 50
_MAX_DRAWN = 60  # tokens that a picture holds


def compose(found: Report) -> Document:
    """Write a report down as a document."""
    sections = [
        Section("The model", list(_model(found))),
        Section("What speaks against it", list(_against(found))),
        Section("Data it was trained on", list(_sources(found))),
        Section("Test data that was trained on", list(_overlaps(found))),
        Section("Models it came from", list(_parents(found))),
        Section("Where it came from, link by link", list(_links(found))),
        Section("How it was made, as its publisher states it", list(_made(found))),
        Section("What is not known", [Items(found.unknown, "open")]),
    ]
    return Document(f"What {found.model.name} rests on", list(_lead(found)), sections)


def _lead(found: Report) -> Iterator[Block]:
    if found.chain is None:
        yield Paragraph(
            "By the manifests alone: no chain was asked, so that all of it is what publishers "
            "state, and what was counted in the manifests at hand."
        )
    else:
        yield Paragraph(
            f"By the registry {found.chain.registry} on chain {found.chain.id}, after block "
            f"{found.chain.block:,}, and by the manifests at hand."
        )
    yield Paragraph(
        "The chain vouches for who published what, and for the links. That a model was trained on "
        "a dataset is its publisher's statement; a transcript is the same publisher's record of "
        "what was fed; countersigned means that the dataset's owner confirmed the link."
    )


def _model(found: Report) -> Iterator[Block]:
    model, words, record = found.model, found.model.words, found.model.record
    facts: list[tuple[str, str | Text]] = [
        ("Name", model.stated_name or Text("not known", "open")),
        ("Token", str(record.id) if record else ""),
        ("Published by", record.publisher if record else ""),
        ("Published on", _date(record) if record else ""),
        ("Description", words.description),
        ("Version", words.version),
        ("Task", words.task),
        ("Intended use", words.intended_use),
        ("Licence", _stated(words.license, model)),
        ("Authors", ", ".join(words.creators)),
        ("Home page", words.url),
        ("Cite as", words.citation),
        ("Committed", f"{model.size:,} distinct files, tensors and pieces" if model.size else ""),
        ("Root", model.root.hex() if model.root else ""),
        ("SHA-256 of its metadata", model.metadata.hex()),
    ]
    yield Facts(facts)


def _made(found: Report) -> Iterator[Block]:
    facts = found.facts
    if not facts and not found.files:
        yield Paragraph("Nothing is stated.", "open")
    if facts.get("complete") is False:
        yield Paragraph("The training run did not come to its end.", "bad")
    names = {
        "parameters": "Hyperparameters",
        "metrics": "Metrics",
        "environment": "Made with",
        "code": "Code that trained it",
        "seeds": "Seeds of random numbers",
    }
    for key, caption in names.items():
        if key in facts:
            rows = [(name, _plain(value)) for name, value in facts[key].items()]
            yield Table(caption, ("name", "value"), rows)
    seconds = facts.get("seconds")
    yield Facts(
        [
            ("Hardware", facts.get("hardware", "")),
            ("Duration", f"{seconds:,} s" if seconds is not None else ""),
        ]
    )
    if found.files:
        files = [(each.name, f"{each.size:,}", each.digest.hex()) for each in found.files]
        yield Table("Its files", ("file", "bytes", "SHA-256"), files[:_MAX_FILES])
        if len(files) > _MAX_FILES:
            yield Paragraph(f"and {len(files) - _MAX_FILES:,} more files")


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _against(found: Report) -> Iterator[Block]:
    marked = [
        f"{artifact.name} is marked: {mark}"
        for artifact in found.artifacts
        for mark in artifact.marks
    ]
    shared = [
        f"{each.first.name}, which {_who(found, each)} was {each.relation.replace('_', ' ')}, "
        f"shares {each.shared:,} data points with {each.second.name}, which was trained on"
        for each in found.overlaps
        if each.shared
    ]
    reserved = [
        f"{data.name}, {how}, reserves rights in its metadata: {_said(data.words.mining)}"
        for data, how in _used(found)
        if data.words.is_reserved
    ]
    if against := [*marked, *dict.fromkeys(reserved), *shared, *found.disagreements]:
        yield Items(against, "bad")
    else:
        yield _nothing(found)


def _who(found: Report, overlap: Overlap) -> str:
    return "it" if overlap.by is found.model else overlap.by.name


def _used(found: Report) -> Iterator[tuple[Artifact, str]]:
    """Yield what was trained on, and what that was derived from."""
    for data in _distinct([tie.target for tie in found.sources]):
        yield data, "which was trained on"
    for tie in found.origins:
        yield tie.target, f"from which {tie.source.name} was derived"


def _nothing(found: Report) -> Paragraph:
    """Say that nothing was found, and where it was not looked for."""
    missing = [each for each in found.artifacts if each.stated is None]
    uncounted = [each for each in found.overlaps if each.shared is None]
    unclear = _distinct([data for data, _ in _used(found) if data.words.is_unclear])
    limits = {
        f"{len(missing)} artifacts have no metadata at hand": missing,
        f"{len(uncounted)} comparisons of test with training data could not be made": uncounted,
        "no test data is named that could be compared with training data": not found.overlaps,
        "there is more than was looked at": found.truncated,
        f"what may be mined of {len(unclear)} datasets is not understood": unclear,
        "the chain, on which marks stand, was not asked": found.chain is None,
    }
    if told := [text for text, holds in limits.items() if holds]:
        return Paragraph(f"Nothing that was found; but {', and '.join(told)}.", "open")
    return Paragraph(
        "Nothing: no mark on a token, no rights reserved in the datasets' metadata, no shared "
        "test data, and no contradiction between chain and metadata.",
        "good",
    )


def _sources(found: Report) -> Iterator[Block]:
    if not found.sources:
        yield Paragraph("Neither its metadata nor its token names any.", "open")
        return
    if any(tie.depth for tie in found.sources):
        yield Paragraph(
            "Its own, and those of the models that it came from: what these learned, it may hold."
        )
    yield Table(
        "Datasets it was trained on",
        ("dataset", "used by", "data points", "bytes", "licence", "may be mined", "evidence"),
        [_source_row(tie) for tie in found.sources],
    )
    if found.origins:
        yield Table(
            "Data that these were derived from",
            ("dataset", "of", "data points", "bytes", "licence", "may be mined", "evidence"),
            [_source_row(tie) for tie in found.origins],
        )
    recorded = [tie for tie in found.ties if tie.transcript and tie.relation in TRANSCRIBED]
    if recorded:
        yield Table(
            "What was really fed, as the publisher's runs recorded it",
            ("dataset", "fed to", "relation", "coverage", "not fed", "foreign", "passes"),
            [_coverage_row(tie, tie.transcript) for tie in recorded if tie.transcript],
        )
    for artifact in _distinct([data for data, _ in _used(found)]):
        yield from _statements(artifact)


def _source_row(tie: Tie) -> Sequence[str | Text]:
    data, words = tie.target, tie.target.words
    held = data.contents
    return (
        data.name,
        tie.source.name,
        f"{data.size:,}" if data.size is not None else Text("not known", "open"),
        f"{held.bytes:,}" if held and held.bytes is not None else Text("not known", "open"),
        _stated(words.license, data),
        _stated(_said(words.mining), data),
        _grade(tie),
    )


def _said(mining: Sequence[Signal]) -> str:
    return "; ".join(f"{each.says} ({each.term})" for each in mining)


def _stated(text: str, artifact: Artifact) -> str | Text:
    if text:
        return text
    return Text("not stated" if artifact.stated else "not known", "open")


def _grade(tie: Tie) -> Text:
    said = _GRADES[tie.grade]
    if tie.linked is False:
        said += ", without a link on the chain"
    return Text(said, _TONES[tie.grade])


def _coverage_row(tie: Tie, fed: Transcript) -> Sequence[str | Text]:
    whole = fed.seen + fed.unseen
    passes = f"{fed.given / fed.size:.1f}" if fed.given is not None and fed.size else "not counted"
    return (
        tie.target.name,
        tie.source.name,
        tie.relation,
        f"{fed.seen:,} of {whole:,} ({_share(fed.seen, whole)})",
        f"{fed.unseen:,}",
        Text(f"{fed.foreign:,}", "bad" if fed.foreign else ""),
        passes,
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "0 %"


def _statements(artifact: Artifact) -> Iterator[Block]:
    words = artifact.words
    rows = [(name, " ".join(texts)) for name, texts in words.statements.items()]
    about = [("description", words.description), ("home page", words.url)]
    rows = [(name, text) for name, text in (*about, *rows) if text]
    if rows:
        yield Table(f"What the publisher of {artifact.name} says", ("term", "statement"), rows)


def _overlaps(found: Report) -> Iterator[Block]:
    if not found.overlaps:
        yield Paragraph(
            "Nothing to compare: no pair of data that was tested or validated on and data that "
            "was trained on is named.",
            "open",
        )
        return
    yield Table(
        "Data points in both, counted in the manifests",
        ("tested or validated on", "relation", "of", "trained on", "shared"),
        [
            (each.first.name, each.relation, each.by.name, each.second.name, _shared(each))
            for each in found.overlaps
        ],
    )
    yield Paragraph(
        "Counted are data points that are equal in the manifests' canonical form. A copy that was "
        "cropped, translated or otherwise changed is not equal, and is not found in this way."
    )


def _shared(overlap: Overlap) -> Text:
    if overlap.shared is None:
        return Text(f"not known: {overlap.reason}", "open")
    if not overlap.shared:
        return Text("none", "good")
    return Text(
        f"{overlap.shared:,}, {_share(overlap.shared, overlap.first.size or 0)} of what was held "
        "out",
        "bad",
    )


def _parents(found: Report) -> Iterator[Block]:
    if not found.parents:
        yield Paragraph("None is named.")
        return
    yield Table(
        "Models it came from, and the files and tensors that they share",
        ("model", "relation", "shared", "licence", "evidence"),
        [
            (
                each.first.name,
                each.relation,
                _tensors(each),
                _stated(each.first.words.license, each.first),
                _grade(tie),
            )
            for each in found.parents
            for tie in found.ties
            if tie.target is each.first and tie.relation == each.relation and not tie.depth
        ],
    )


def _tensors(overlap: Overlap) -> Text:
    if overlap.shared is None:
        return Text(f"not known: {overlap.reason}", "open")
    return Text(
        f"{overlap.shared:,} of {overlap.second.size:,} in this model",
        "good" if overlap.shared else "",
    )


def _links(found: Report) -> Iterator[Block]:
    if not found.ties:
        yield Paragraph("No link is named.", "open")
        return
    picture = _picture(found)
    if picture is not None:
        yield picture
    yield Table(
        "Every link that was followed, nearest first",
        ("from", "relation", "to", "evidence", "publisher of the target"),
        [
            (
                tie.source.name,
                tie.relation,
                tie.target.name,
                _grade(tie),
                tie.target.record.publisher if tie.target.record else Text("not known", "open"),
            )
            for tie in found.ties
        ],
    )


def _picture(found: Report) -> Picture | None:
    """Draw the tokens; what has none has no place in the picture of a chain."""
    records = {each.record.id: each.record for each in found.artifacts if each.record}
    ties = {
        (tie.source.record.id, tie.target.record.id, tie.relation): tie
        for tie in found.ties
        if tie.source.record and tie.target.record and tie.target.record.id < tie.source.record.id
    }
    if not 1 < len(records) <= _MAX_DRAWN or found.model.record is None:
        return None
    nodes = {id: _node(records[id]) for id in sorted(records)}
    edges = [
        Edge(source, target, Relation(relation), tie.grade == "countersigned")
        for (source, target, relation), tie in ties.items()
    ]
    grades = {
        (edge.token, edge.target, edge.relation.value): tie.grade
        for edge, tie in zip(edges, ties.values(), strict=True)
    }
    drawing = Drawing(
        Lineage((found.model.record.id,), nodes, edges),
        {each.record.id: each.stated_name or "unnamed" for each in found.artifacts if each.record},
        lambda edge: grades[edge.token, edge.target, edge.relation.value],
    )
    return Picture(drawing.svg(), "The links as a picture; the table below says the same")


def _node(record: Record) -> Node:
    return Node(
        record.id,
        record.kind,
        record.size,
        record.metadata_digest,
        record.publisher,
        record.publisher,  # who owns it now, the picture does not show
        record.superseded_by,
        record.withdrawn,
        record.disordered,
        record.open_claims,
    )


def _distinct(artifacts: Sequence[Artifact]) -> list[Artifact]:
    return list({id(each): each for each in artifacts}.values())


def _date(record: Record) -> str:
    try:
        return datetime.fromtimestamp(record.time, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):  # a time that no calendar has
        return f"{record.time} s after 1970"
