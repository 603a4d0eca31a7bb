"""A report as an in-toto statement: SLSA provenance of the model's files.

Its datasets and parent models are the resolved dependencies, each identified by the SHA-256 of its
metadata.json, which its token commits to. The statement is not signed.

Sources: in-toto attestation framework, statement v1; SLSA 1.0, provenance.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from alithis.errors import FormatError
from alithis.ipfs.cid import Cid
from alithis.reports.report import Artifact, Report, Tie

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:alithis:training:1"
"""The parameters of this build type are described in docs/reports.md."""
UNKNOWN_BUILDER = "urn:alithis:publisher-not-known"

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def statement(found: Report) -> dict[str, Any]:
    """Return the statement in JSON's types.

    Raises:
        FormatError: the model's files are not known.
    """
    if not found.files:
        raise FormatError(f"{found.model.name}: its files are not known: {found.unlisted}")
    return {
        "_type": STATEMENT,
        "subject": [
            {"name": file.name, "digest": {"sha256": file.digest.hex()}} for file in found.files
        ],
        "predicateType": PREDICATE,
        "predicate": {"buildDefinition": _definition(found), "runDetails": _run(found)},
    }


def _definition(found: Report) -> dict[str, Any]:
    facts = found.facts
    external = {"model": found.model.stated_name}
    internal = ("environment", "hardware", "seconds", "complete")
    return {
        "buildType": BUILD_TYPE,
        "externalParameters": external
        | {key: facts[key] for key in ("parameters", "seeds") if key in facts},
        "internalParameters": {key: facts[key] for key in internal if key in facts},
        "resolvedDependencies": [
            *_code(found),
            *(_dependency(tie) for tie in found.ties if tie.relation != "supersedes"),
        ],
    }


def _code(found: Report) -> Iterator[dict[str, Any]]:
    code = found.facts.get("code", {})
    repository, commit = code.get("repository"), code.get("commit")
    if not isinstance(commit, str):
        return
    value: dict[str, Any] = {"name": "code"}
    if _COMMIT.fullmatch(commit):
        value["digest"] = {"gitCommit": commit}
    if isinstance(repository, str) and (uri := _code_uri(repository)):
        value["uri"] = f"{uri}@{quote(commit)}"
    if len(value) == 1:
        return  # SLSA requires a digest or a URI
    if "dirty" in code:
        value["annotations"] = {"dirty": code["dirty"]}
    yield value


def _code_uri(repository: str) -> str | None:
    """Return a repository's URI as SPDX and pip write it, or None for a path on a machine."""
    if "://" not in repository:
        host, colon, path = repository.partition(":")
        if not (host and colon and path) or "/" in host:
            return None
        repository = f"ssh://{host}/{path.lstrip('/')}"
    return "git+" + quote(repository, safe="/:@!$&'()*+,;=~[]%")


def _dependency(tie: Tie) -> dict[str, Any]:
    target = tie.target
    notes: dict[str, Any] = {
        "relation": tie.relation,
        "grade": tie.grade,
        "of": _uri(tie.source),
        "kind": target.kind,
        "size": target.size,
        "root": target.root.hex() if target.root else None,
        "token": target.record.id if target.record else None,
        "transcript": tie.transcript.as_object() if tie.transcript else None,
        "marks": list(target.marks) or None,
    }
    return {
        "name": target.stated_name or target.metadata.hex(),
        "uri": _uri(target),
        "digest": {"sha256": target.metadata.hex()},
        "mediaType": "application/ld+json",
        "annotations": {key: value for key, value in notes.items() if value is not None},
    }


def _uri(artifact: Artifact) -> str:
    return "ipfs://" + Cid.raw(artifact.metadata).base16


def _run(found: Report) -> dict[str, Any]:
    model, chain = found.model, found.chain
    builder = UNKNOWN_BUILDER
    if chain is not None and model.record is not None:
        builder = f"eip155:{chain.id}:{model.record.publisher}"  # CAIP-10
    manifest = {
        "name": "metadata.json",
        "uri": _uri(model),
        "digest": {"sha256": model.metadata.hex()},
    }
    return {"builder": {"id": builder}, "byproducts": [manifest]}
