"""The model report: what a model was made from, known problems, and what is not known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

from alithis.chain.queries import Lineage, LineageEdge, LineageNode
from alithis.chain.records import Record
from alithis.lineage.drawing import Drawing
from alithis.lineage.svg import svg
from alithis.manifest.terms import Relation
from alithis.manifest.transcript import TRANSCRIBED, Transcript
from alithis.reports.render import NOT_KNOWN, Format, Toned, number, one_line, render
from alithis.reports.report import (
    MAX_ARTIFACTS,
    MAX_OVERLAPS,
    Artifact,
    Overlap,
    Report,
    Tie,
)
from alithis.reports.words import Words

_GRADES = {
    "countersigned": Toned("countersigned by the target's owner", "good"),
    "transcript": Toned("transcript of a run, recorded by the publisher", "fair"),
    "stated": Toned("stated by the publisher alone", "weak"),
}
_FACTS = {
    "parameters": "Hyperparameters",
    "metrics": "Metrics",
    "environment": "Software",
    "code": "Training code",
    "seeds": "Random seeds",
}
_MAX_DRAWN = 60  # tokens in the picture

Row = dict[str, str]
"""The cells of a table's row, by column."""


def write(found: Report, form: Format) -> str:
    """Write the report as HTML or Markdown."""
    return render("model_report.j2", form, **view(found))


def view(found: Report) -> dict[str, Any]:
    """Return what the report shows: texts, and the rows of tables."""
    facts = found.facts
    recorded = [tie for tie in found.ties if tie.relation in TRANSCRIBED]
    return {
        "name": found.model.name,
        "chain": found.chain,
        "model": _model(found.model),
        "problems": list(problems(found)),
        "unchecked": list(unchecked(found)),
        "sources": [_dataset(tie, "used by") for tie in found.sources],
        "inherited": any(tie.depth for tie in found.sources),
        "origins": [_dataset(tie, "source of") for tie in found.origins],
        "fed": [_fed(tie, tie.transcript) for tie in recorded if tie.transcript],
        "statements": [(data.name, _statements(data.words)) for data, _ in _used(found)],
        "overlaps": [_overlap(each) for each in found.overlaps],
        "parents": list(_parents(found)),
        "links": [_link(tie) for tie in found.ties],
        "picture": _picture(found),
        "unfinished": facts.get("complete") is False,
        "facts": {title: _values(facts[key]) for key, title in _FACTS.items() if key in facts},
        "hardware": facts.get("hardware", ""),
        "duration": f"{facts['seconds']:,} s" if "seconds" in facts else "",
        "files": [
            {"file": each.name, "bytes": f"{each.size:,}", "SHA-256": each.digest.hex()}
            for each in found.files
        ],
        "unknown": found.unknown,
    }


def problems(found: Report) -> Iterator[str]:
    """Yield the known problems of the model and of what it was made from."""
    for artifact in found.artifacts:
        for mark in artifact.marks:
            yield f"{artifact.name} is marked: {mark}"
    for data, use in _used(found):
        if data.words.is_reserved:
            yield f"{data.name}, {use}, reserves rights in its metadata: {mining(data.words)}"
    for each in found.overlaps:
        if each.shared:
            held_out = "test" if each.relation == "tested_on" else "validation"
            yield (
                f"{each.first.name} ({held_out} data of {each.by.name}) shares {each.shared:,} "
                f"data points with {each.second.name} (training data)"
            )
    yield from found.disagreements


def unchecked(found: Report) -> Iterator[str]:
    """Yield what could not be checked for problems."""
    if missing := [each for each in found.artifacts if each.stated is None]:
        yield f"the metadata of {len(missing)} artifacts, which is not available"
    if uncounted := [each for each in found.overlaps if each.shared is None]:
        yield f"{len(uncounted)} comparisons of test data with training data, which failed"
    if not found.overlaps:
        yield "whether test data was also trained on, because the records don't name both"
    if found.truncated:
        yield f"what is beyond {MAX_ARTIFACTS} artifacts or {MAX_OVERLAPS} comparisons"
    if unclear := [data for data, _ in _used(found) if data.words.is_unclear]:
        yield f"whether {len(unclear)} datasets may be mined, because they use unknown terms"
    if found.chain is None:
        yield "marks on tokens, because no chain was asked"


def mining(words: Words) -> str:
    """Return what a publisher states about mining, each statement with its vocabulary."""
    return "; ".join(f"{each.says} ({each.term})" for each in words.mining)


def _used(found: Report) -> list[tuple[Artifact, str]]:
    """Return what was trained on and what that was derived from, each once, with its use."""
    used = {id(tie.target): (tie.target, "which is training data") for tie in found.sources}
    for tie in found.origins:
        used.setdefault(id(tie.target), (tie.target, f"from which {tie.source.name} was derived"))
    return list(used.values())


def _model(model: Artifact) -> Row:
    words, record = model.words, model.record
    return {
        "Name": model.stated_name or NOT_KNOWN,
        "Token": str(record.id) if record else "",
        "Published by": record.publisher if record else "",
        "Published on": _date(record.time) if record else "",
        "Description": words.description,
        "Version": words.version,
        "Task": words.task,
        "Intended use": words.intended_use,
        "Licence": _stated(words.license, model),
        "Authors": ", ".join(words.creators),
        "Home page": words.url,
        "Cite as": words.citation,
        "Committed": f"{model.size:,} distinct files, tensors and pieces" if model.size else "",
        "Root": model.root.hex() if model.root else "",
        "SHA-256 of its metadata": model.metadata.hex(),
    }


def _dataset(tie: Tie, used_by: str) -> Row:
    data = tie.target
    return {
        "dataset": data.name,
        used_by: tie.source.name,
        "data points": number(data.size),
        "bytes": number(data.contents.bytes if data.contents else None),
        "licence": _stated(data.words.license, data),
        "may be mined": _stated(mining(data.words), data),
        "evidence": _grade(tie),
    }


def _fed(tie: Tie, fed: Transcript) -> Row:
    return {
        "dataset": tie.target.name,
        "fed to": tie.source.name,
        "relation": tie.relation,
        "coverage": _part(fed.seen, fed.seen + fed.unseen),
        "not fed": f"{fed.unseen:,}",
        "foreign": Toned(f"{fed.foreign:,}", "bad") if fed.foreign else "0",
        "passes": "not counted" if fed.given is None else f"{fed.given / max(fed.size, 1):.1f}",
    }


def _statements(words: Words) -> list[Row]:
    stated = {name: " ".join(texts) for name, texts in words.statements.items()}
    stated = {"description": words.description, "home page": words.url} | stated
    return [{"term": name, "statement": text} for name, text in stated.items() if text]


def _overlap(overlap: Overlap) -> Row:
    return {
        "tested or validated on": overlap.first.name,
        "relation": overlap.relation,
        "of": overlap.by.name,
        "trained on": overlap.second.name,
        "shared": _shared(overlap, overlap.first, "bad" if overlap.shared else "good"),
    }


def _parents(found: Report) -> Iterator[Row]:
    for each in found.parents:
        for tie in found.ties:
            if tie.depth == 0 and tie.relation == each.relation and tie.target is each.first:
                yield {
                    "model": each.first.name,
                    "relation": each.relation,
                    "shared": _shared(each, found.model, "good" if each.shared else ""),
                    "licence": _stated(each.first.words.license, each.first),
                    "evidence": _grade(tie),
                }


def _link(tie: Tie) -> Row:
    record = tie.target.record
    return {
        "from": tie.source.name,
        "relation": tie.relation,
        "to": tie.target.name,
        "evidence": _grade(tie),
        "publisher of the target": record.publisher if record else NOT_KNOWN,
    }


def _values(facts: dict[str, Any]) -> list[Row]:
    return [{"name": name, "value": _plain(value)} for name, value in facts.items()]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _stated(text: str, artifact: Artifact) -> str:
    return text or (Toned("not stated", "open") if artifact.stated else NOT_KNOWN)


def _grade(tie: Tie) -> Toned:
    grade = _GRADES[tie.grade]
    if tie.linked is False:
        return Toned(f"{grade}, without a link on the chain", grade.tone)
    return grade


def _shared(overlap: Overlap, whole: Artifact, tone: str) -> Toned:
    if overlap.shared is None:
        return Toned(f"not known: {overlap.reason}", "open")
    return Toned(_part(overlap.shared, whole.size or 0), tone)


def _part(part: int, whole: int) -> str:
    share = part / whole if whole else 0
    return f"{part:,} of {whole:,} ({share:.2%})"


def _date(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):  # Python's calendar ends in the year 9999
        return f"{seconds} s after 1970"


def _picture(found: Report) -> Markup | None:
    """Draw the tokens and their links, without artifacts that have no token."""
    nodes, names = {}, {}
    for each in found.artifacts:
        if each.record:
            nodes[each.record.id] = _node(each.record)
            names[each.record.id] = one_line(each.stated_name or "unnamed")
    ties = {
        (tie.source.record.id, tie.target.record.id, tie.relation): tie
        for tie in found.ties
        if tie.source.record and tie.target.record and tie.target.record.id < tie.source.record.id
    }
    if not 1 < len(nodes) <= _MAX_DRAWN or found.model.record is None:
        return None
    edges = [
        LineageEdge(source, target, Relation(relation), tie.grade == "countersigned")
        for (source, target, relation), tie in ties.items()
    ]
    grades = {edge: tie.grade for edge, tie in zip(edges, ties.values(), strict=True)}
    lineage = Lineage((found.model.record.id,), dict(sorted(nodes.items())), edges)
    return Markup(svg(Drawing(lineage, names, grades)))  # noqa: S704 -- it escapes the names


def _node(record: Record) -> LineageNode:
    return LineageNode(
        id=record.id,
        kind=record.kind,
        scheme=record.scheme,
        size=record.size,
        root=record.root,
        metadata=record.metadata_digest,
        publisher=record.publisher,
        owner=record.publisher,  # the picture does not show who owns it now
        superseded_by=record.superseded_by,
        withdrawn=record.withdrawn,
        disordered=record.disordered,
        open_claims=record.open_claims,
    )
