"""A report as a CycloneDX bill of materials for machine learning (ML-BOM, ECMA-424, version 1.6).

The bill describes the model, with a model card. Its datasets, its parent models and its files are
components. Facts that CycloneDX has no field for, such as the grade of a link, are properties
whose names begin with ``alithis:``.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

from alithis.base import text as texts
from alithis.errors import FormatError, MissingExtraError
from alithis.ipfs.cid import Cid
from alithis.manifest import vocabulary
from alithis.manifest.transcript import TRANSCRIBED
from alithis.reports.report import PARENTS, Artifact, Report, Tie

SPECIFICATION = "1.6"

_NAMESPACE = uuid.UUID("b5a6d3a0-6f0e-5c1c-9a55-2f7b3d0c8e14")
_IRI = re.compile(r"[!#-;=?-\[\]_a-z~]+")  # the characters that RFC 3986 allows
_TYPES = {"dataset": "data", "model": "machine-learning-model"}
_NEWER = "supersedes"


def bill(found: Report) -> dict[str, Any]:
    """Return a model's bill of materials in JSON's types. Equal reports give equal bills."""
    others = [artifact for artifact in found.artifacts if artifact is not found.model]
    document: dict[str, Any] = {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPECIFICATION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "version": 1,
        "metadata": {"tools": {"components": [_tool()]}, "component": _model(found)},
        "components": [*(_other(found, each) for each in others), *_files(found)],
        "dependencies": _dependencies(found),
    }
    digest = json.dumps(document, sort_keys=True)
    return {**document, "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest)}"}


def check(document: Mapping[str, Any]) -> None:
    """Check a bill against CycloneDX's schema, with cyclonedx-python-lib.

    Raises:
        MissingExtraError: the library is not installed.
        FormatError: the bill is not valid.
    """
    try:
        error = _validator().validate_str(json.dumps(document))
    except ImportError as missing:
        raise MissingExtraError("cyclonedx-python-lib", "cyclonedx") from missing
    if error is not None:
        raise FormatError(f"the bill of materials is not valid CycloneDX: {str(error)[:200]}")


@cache
def _validator() -> Any:
    from cyclonedx.exception import MissingOptionalDependencyException
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_6)
    try:
        validator.validate_str("{}")
    except MissingOptionalDependencyException as missing:  # installed by its extra json-validation
        raise ImportError(str(missing)) from missing
    return validator


def _tool() -> dict[str, Any]:
    return {"type": "application", "name": "alithis", "version": version("alithis")}


def _kind(found: Report, artifact: Artifact) -> str:
    """Return an artifact's kind, or else the kind that its relations require."""
    if artifact.kind is not None:
        return artifact.kind
    ties = [tie for tie in found.ties if tie.target is artifact]
    of_model = any(
        tie.relation in PARENTS or (tie.relation == _NEWER and tie.source.kind == "model")
        for tie in ties
    )
    return "model" if of_model else "dataset"


def _component(found: Report, artifact: Artifact) -> dict[str, Any]:
    """Return the fields that datasets and models share."""
    words = artifact.words
    values = {
        "type": _TYPES[_kind(found, artifact)],
        "bom-ref": _ref(artifact),
        "name": artifact.stated_name or artifact.metadata.hex(),
        "version": words.version,
        "description": words.description,
        "authors": [{"name": name} for name in words.creators],
        "licenses": _licenses(words.license),
        "externalReferences": list(_references(artifact)),
    }
    return {key: value for key, value in values.items() if value}


def _ref(artifact: Artifact) -> str:
    token = f"#{artifact.record.id}" if artifact.record else ""
    return f"alithis:{artifact.metadata.hex()}{token}"


def _licenses(text: str) -> list[dict[str, Any]]:
    if not text:
        return []
    try:
        vocabulary.license_terms(text)
    except FormatError:
        return [{"license": {"name": text}}]
    if not texts.is_url(text):
        return [{"expression": text}]
    return [{"license": {"name": text, **({"url": text} if _is_iri(text) else {})}}]


def _references(artifact: Artifact) -> Iterator[dict[str, Any]]:
    yield {
        "type": "distribution",
        "url": "ipfs://" + Cid.raw(artifact.metadata).base16,
        "comment": "the manifest's metadata.json",
        "hashes": [{"alg": "SHA-256", "content": artifact.metadata.hex()}],
    }
    if _is_iri(artifact.words.url):
        yield {"type": "website", "url": artifact.words.url}


def _is_iri(text: str) -> bool:
    """Tell whether a text is an ASCII web address: the schema's format iri-reference needs one."""
    return texts.is_url(text) and _IRI.fullmatch(text) is not None


def _model(found: Report) -> dict[str, Any]:
    model = found.model
    values = _component(found, model)
    code = found.facts.get("code", {})
    repository = code.get("repository")
    if isinstance(repository, str) and _is_iri(repository):
        values["externalReferences"].append({"type": "vcs", "url": repository})
    if len(found.files) == 1:
        values["hashes"] = [{"alg": "SHA-256", "content": found.files[0].digest.hex()}]
    parents = [tie for tie in found.ties if tie.relation in PARENTS and not tie.depth]
    ancestors = [_ancestor(found, tie) for tie in parents]
    if ancestors:
        values["pedigree"] = {"ancestors": ancestors}
    values["modelCard"] = _card(found)
    values["properties"] = [*_properties(model), *_facts(found)]
    return values


def _ancestor(found: Report, tie: Tie) -> dict[str, Any]:
    """Return a parent without a bom-ref, which its entry among the components has."""
    values = _component(found, tie.target)
    del values["bom-ref"]
    return {**values, "properties": [*_properties(tie.target), *_grades([tie])]}


def _card(found: Report) -> dict[str, Any]:
    words = found.model.words
    datasets = {
        _ref(tie.target): {"ref": _ref(tie.target)}
        for tie in found.ties
        if not tie.depth and tie.target.kind != "model" and tie.relation in TRANSCRIBED
    }
    card: dict[str, Any] = {"modelParameters": {"datasets": list(datasets.values())}}
    if words.task:
        card["modelParameters"]["task"] = words.task
    metrics = found.facts.get("metrics", {})
    if metrics:
        measured = [{"type": name, "value": _value(value)} for name, value in metrics.items()]
        card["quantitativeAnalysis"] = {"performanceMetrics": measured}
    if words.intended_use:
        card["considerations"] = {"useCases": [words.intended_use]}
    return card


def _other(found: Report, artifact: Artifact) -> dict[str, Any]:
    ties = [tie for tie in found.ties if tie.target is artifact]
    values = _component(found, artifact)
    if values["type"] == "data":
        values["data"] = [_data(artifact)]
    return {**values, "properties": [*_properties(artifact), *_grades(ties)]}


def _data(artifact: Artifact) -> dict[str, Any]:
    words = artifact.words
    owners = [{"contact": {"name": name}} for name in words.creators]
    values = {
        "type": "dataset",
        "name": artifact.stated_name or artifact.metadata.hex(),
        "contents": {"url": "ipfs://" + Cid.raw(artifact.metadata).base16},
        "description": words.description,
        "sensitiveData": list(words.statements.get("personalSensitiveInformation", ())),
        "governance": owners and {"owners": owners},
    }
    return {key: value for key, value in values.items() if value}


def _files(found: Report) -> Iterator[dict[str, Any]]:
    for file in found.files:
        yield {
            "type": "file",
            "bom-ref": f"{_ref(found.model)}/{file.name}",
            "name": file.name,
            "hashes": [{"alg": "SHA-256", "content": file.digest.hex()}],
            "properties": [_property("bytes", file.size)],
        }


def _dependencies(found: Report) -> list[dict[str, Any]]:
    """Return what each artifact was made from; the model depends on its files too."""
    needed: dict[str, dict[str, None]] = {_ref(each): {} for each in found.artifacts}
    for tie in found.ties:
        if tie.relation != _NEWER:
            needed[_ref(tie.source)][_ref(tie.target)] = None
    model = needed[_ref(found.model)]
    model |= dict.fromkeys(f"{_ref(found.model)}/{file.name}" for file in found.files)
    return [{"ref": ref, "dependsOn": list(refs)} for ref, refs in needed.items() if refs]


def _properties(artifact: Artifact) -> Iterator[dict[str, str]]:
    record = artifact.record
    values = {
        "token": record.id if record else None,
        "publisher": record.publisher if record else None,
        "root": artifact.root.hex() if artifact.root else None,
        "size": artifact.size,
        "metadata": artifact.metadata.hex(),
    }
    yield from (_property(name, value) for name, value in values.items() if value is not None)
    for signal in artifact.words.mining:
        yield _property(f"data-mining:{signal.term}", signal.says)
    for mark in artifact.marks:
        yield _property("mark", mark)


def _grades(ties: list[Tie]) -> Iterator[dict[str, str]]:
    for tie in ties:
        yield _property(f"{tie.relation}:grade", f"{tie.grade}, by {_ref(tie.source)}")
        if fed := tie.transcript:
            counts = f"{fed.seen} seen, {fed.unseen} unseen, {fed.foreign} foreign"
            counts += "" if fed.given is None else f", {fed.given} fed in all"
            yield _property(f"{tie.relation}:transcript", counts)


def _facts(found: Report) -> Iterator[dict[str, str]]:
    if found.chain is not None:
        yield _property("chain", found.chain.id)
        yield _property("registry", found.chain.registry)
        yield _property("block", found.chain.block)
    for group in ("parameters", "environment", "seeds", "code"):
        for name, value in found.facts.get(group, {}).items():
            yield _property(f"{group}:{name}", value)
    for name in ("hardware", "seconds", "complete"):
        if name in found.facts:
            yield _property(name, found.facts[name])
    for text in found.disagreements:
        yield _property("disagreement", text)
    for text in found.unknown:
        yield _property("unknown", text)


def _property(name: str, value: Any) -> dict[str, str]:
    return {"name": f"alithis:{name}", "value": _value(value)}


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
