"""A report in JSON's types."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from alithis.ipfs.cid import Cid
from alithis.reports.report import Artifact, Chain, Overlap, Report, Tie


def as_object(found: Report) -> dict[str, Any]:
    """Return a report as ``alithis report --format json`` prints it."""
    numbers = {id(each): number for number, each in enumerate(found.artifacts)}
    return {
        "alithis": "report",
        "version": 1,
        "chain": _chain(found.chain),
        "model": numbers[id(found.model)],
        "artifacts": [_artifact(each) for each in found.artifacts],
        "facts": json.loads(json.dumps(found.facts)),
        "files": [
            {"name": each.name, "sha256": each.digest.hex(), "size": each.size}
            for each in found.files
        ],
        "ties": [_tie(tie, numbers) for tie in found.ties],
        "overlaps": _overlaps(found.overlaps, numbers),
        "parents": _overlaps(found.parents, numbers),
        "disagreements": list(found.disagreements),
        "unknown": list(found.unknown),
    }


def _chain(chain: Chain | None) -> dict[str, Any] | None:
    if chain is None:
        return None
    return {"id": chain.id, "registry": chain.registry, "block": chain.block}


def _artifact(artifact: Artifact) -> dict[str, Any]:
    words, record = artifact.words, artifact.record
    return {
        "name": artifact.stated_name,
        "kind": artifact.kind,
        "token": record.id if record else None,
        "publisher": record.publisher if record else None,
        "time": record.time if record else None,
        "metadata": artifact.metadata.hex(),
        "uri": "ipfs://" + Cid.raw(artifact.metadata).base16,
        "at_hand": artifact.stated is not None,
        "problem": artifact.problem or None,
        "size": artifact.size,
        "items": artifact.stated.items if artifact.stated else None,
        "root": artifact.root.hex() if artifact.root else None,
        "form": artifact.stated.form.name if artifact.stated else None,
        "bytes": artifact.contents.bytes if artifact.contents else None,
        "endings": dict(artifact.contents.endings) if artifact.contents else None,
        "license": words.license or None,
        "creators": list(words.creators),
        "url": words.url or None,
        "version": words.version or None,
        "description": words.description or None,
        "citation": words.citation or None,
        "task": words.task or None,
        "intended_use": words.intended_use or None,
        "languages": list(words.languages),
        "data_mining": [{"term": each.term, "says": each.says} for each in words.mining],
        "statements": {name: list(texts) for name, texts in words.statements.items()},
        "marks": list(artifact.marks),
    }


def _tie(tie: Tie, numbers: Mapping[int, int]) -> dict[str, Any]:
    return {
        "source": numbers[id(tie.source)],
        "target": numbers[id(tie.target)],
        "relation": tie.relation,
        "grade": tie.grade,
        "linked": tie.linked,
        "depth": tie.depth,
        "transcript": tie.transcript.as_object() if tie.transcript else None,
    }


def _overlaps(found: Iterable[Overlap], numbers: Mapping[int, int]) -> Sequence[dict[str, Any]]:
    return [
        {
            "relation": each.relation,
            "first": numbers[id(each.first)],
            "second": numbers[id(each.second)],
            "by": numbers[id(each.by)],
            "shared": each.shared,
            "reason": each.reason or None,
        }
        for each in found
    ]
