"""Checks that tools for Croissant and for ERC-721 metadata can read a manifest's metadata.

The checks here look at the structure of the document only. mlcroissant, Croissant's reference
library, checks more; it is optional and runs on request.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from alithis.base.text import one_line
from alithis.errors import MissingExtraError
from alithis.manifest.metadata import Metadata

_CONTEXT = {
    "@vocab": ("https://schema.org/", "http://schema.org/"),
    "cr": ("http://mlcommons.org/croissant/",),
    "sc": ("https://schema.org/", "http://schema.org/"),
    "conformsTo": ("dct:conformsTo",),
}
_VERSIONS = ("http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/1.1")
_FILES = {
    "cr:FileObject": ("name", "contentUrl", "encodingFormat", "sha256"),
    "cr:FileSet": ("name", "encodingFormat", "includes"),
}
_SOURCES = ("fileObject", "fileSet")
_LOGGERS = ("absl", "rdflib.term")
_REMOTE_CONTEXT = "an @context is a URL, which loaders would fetch: write the context here instead"


def problems(data: Metadata) -> list[str]:
    """Return the problems in a document's structure, one short text each.

    Sources: Croissant 1.1, "Dataset-level information" and "RecordSets"; ERC-721, the metadata
    extension's JSON schema.
    """
    found = list(_token_problems(data.document))
    if data.kind == "dataset":
        found += _dataset_problems(data.document)
    elif data.document.get("@type") != "fair4ml:MLModel":
        found.append("@type must be fair4ml:MLModel")
    return found


def columns_problem(data: Metadata, names: Sequence[str]) -> str | None:
    """Return an error if the document's records use a column that the items files do not have.

    Args:
        data: the manifest's metadata.
        names: the columns of the items files.
    """
    for record_set in _objects(data.document.get("recordSet")):
        for field in _objects(record_set.get("field")):
            column = _inner(field, "source", "extract").get("column")
            if column is not None and column not in names:
                return f"the column {column!r}, which the metadata's records use, is missing"
    return None


def judged(data: Metadata) -> list[str]:
    """Return the errors that mlcroissant finds in a dataset's document.

    It does not run on a document whose context is a URL or path: mlcroissant would fetch any
    address and read any local file that an untrusted document names.

    Raises:
        MissingExtraError: mlcroissant is not installed.
    """
    try:
        import mlcroissant
    except ImportError as error:
        raise MissingExtraError("mlcroissant", "croissant") from error
    if _has_remote_context(data.document):
        return [f"mlcroissant: not run, because {_REMOTE_CONTEXT}"]
    try:
        with _quiet():
            found = mlcroissant.Dataset(deepcopy(data.document)).metadata.ctx.issues.errors
    except mlcroissant.ValidationError as error:
        return [f"mlcroissant: {one_line(error, 10_000)}"]
    except Exception as error:  # on unexpected JSON-LD it raises KeyError, TypeError and others
        return [f"mlcroissant: cannot read the document: {type(error).__name__}: {one_line(error)}"]
    return [f"mlcroissant: {error}" for error in sorted(found)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what mlcroissant and its libraries log off standard error; errors are raised anyway."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


def through(data: Metadata, gateway: str | None) -> dict[str, Any]:
    """Return a document whose file URLs go through a gateway, so that loaders can fetch them.

    Args:
        data: the manifest's metadata.
        gateway: URL of an IPFS gateway; None leaves ``ipfs://`` URLs unchanged.
    """
    document = dict(data.document)
    if gateway is None:
        return document
    base = f"{gateway.rstrip('/')}/ipfs/"
    document["distribution"] = [_behind(base, each) for each in document["distribution"]]
    return document


def _behind(base: str, file: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a distribution's file entry with its ``ipfs://`` URL replaced by the gateway's."""
    url = file.get("contentUrl")
    if not isinstance(url, str) or not url.startswith("ipfs://"):
        return file
    return {**file, "contentUrl": base + url.removeprefix("ipfs://")}


def _token_problems(document: Mapping[str, Any]) -> Iterator[str]:
    for key in ("name", "description", "image"):
        if not isinstance(document.get(key), str) or not document[key]:
            yield f"{key} is missing, empty or not text"


def _dataset_problems(document: Mapping[str, Any]) -> Iterator[str]:
    context = document.get("@context")
    for term, values in _CONTEXT.items():
        if not isinstance(context, Mapping) or context.get(term) not in values:
            yield f"@context must define {term} as {values[0]}"
    if _has_remote_context(document):
        yield _REMOTE_CONTEXT
    if document.get("@type") not in ("sc:Dataset", "Dataset"):
        yield "@type must be sc:Dataset"
    stated = document.get("conformsTo")
    if not any(each in _VERSIONS for each in (stated if isinstance(stated, list) else [stated])):
        yield "conformsTo must name Croissant 1.0 or 1.1"
    yield from _distribution_problems(document)
    yield from _record_problems(document)


def _has_remote_context(value: Any) -> bool:
    """Tell whether any part of a JSON-LD 1.1 document loads a context from a URL or path."""
    if isinstance(value, list):
        return any(map(_has_remote_context, value))
    if not isinstance(value, Mapping):
        return False
    contexts = value.get("@context", {})
    listed = contexts if isinstance(contexts, list) else [contexts]
    by_address = any(each is not None and not isinstance(each, Mapping) for each in listed)
    return by_address or "@import" in value or any(map(_has_remote_context, value.values()))


def _distribution_problems(document: Mapping[str, Any]) -> Iterator[str]:
    files = _objects(document.get("distribution"))
    for file in files:
        needed = _FILES.get(str(file.get("@type")))
        if needed is None:
            yield f"distribution: @type of {_id(file)} must be cr:FileObject or cr:FileSet"
            continue
        yield from (
            f"distribution: {_id(file)} has no {key}" for key in needed if not file.get(key)
        )
    yield from _id_problems("distribution", files)


def _record_problems(document: Mapping[str, Any]) -> Iterator[str]:
    sources = {_id(file) for file in _objects(document.get("distribution"))}
    record_sets = _objects(document.get("recordSet"))
    yield from _id_problems("recordSet", record_sets)
    for record_set in record_sets:
        if record_set.get("@type") != "cr:RecordSet":
            yield f"recordSet: @type of {_id(record_set)} must be cr:RecordSet"
        fields = _objects(record_set.get("field"))
        yield from _id_problems("field", fields)
        for field in fields:
            yield from _field_problems(field, sources)


def _field_problems(field: Mapping[str, Any], sources: set[str]) -> Iterator[str]:
    name = f"field {_id(field)}"
    if field.get("@type") != "cr:Field":
        yield f"{name}: @type must be cr:Field"
    if not isinstance(field.get("dataType"), str):
        yield f"{name} has no dataType"
    named = [_id(_inner(field, "source", key)) for key in _SOURCES]
    if not any(source in sources for source in named if source):
        yield f"{name}: its source is not in the distribution"
    if not _inner(field, "source", "extract"):
        yield f"{name}: its source has no extract"


def _id_problems(what: str, values: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    ids = [_id(value) for value in values]
    if "" in ids:
        yield f"{what}: an @id is missing"
    if len(set(ids)) != len(ids):
        yield f"{what}: an @id is repeated"


def _id(value: Mapping[str, Any]) -> str:
    found = value.get("@id")
    return found if isinstance(found, str) else ""


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _inner(value: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    for key in keys:
        found = value.get(key)
        value = found if isinstance(found, Mapping) else {}
    return value
