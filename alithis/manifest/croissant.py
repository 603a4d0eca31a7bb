"""Whether a manifest's metadata is what loaders of Croissant and of ERC-721 metadata expect.

The checks of the structure need nothing but the document; mlcroissant, the reference library,
is asked on request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
_ELSEWHERE = "an @context is named by its address, which loaders would fetch: write it out"


def problems(data: Metadata) -> list[str]:
    """Return what is wrong with a document's structure, each in a few words; none, where sound.

    Sources: Croissant 1.1, "Dataset-level information" and "RecordSets"; ERC-721, the metadata
    extension's JSON schema.
    """
    found = list(_token_problems(data.document))
    if data.kind == "dataset":
        found += _dataset_problems(data.document)
    elif data.document.get("@type") != "fair4ml:MLModel":
        found.append("@type is not fair4ml:MLModel")
    return found


def columns_problem(data: Metadata, names: Sequence[str]) -> str | None:
    """Say whether the document's records name a column that the files of items lack.

    Args:
        data: of the manifest.
        names: the columns that are there.
    """
    for record_set in _objects(data.document.get("recordSet")):
        for field in _objects(record_set.get("field")):
            column = _inner(field, "source", "extract").get("column")
            if column is not None and column not in names:
                return f"it lacks the column {column!r} that the records of the metadata name"
    return None


def judged(data: Metadata) -> list[str]:
    """Return the errors that mlcroissant finds in a dataset's document.

    It is not asked about a document with a context elsewhere: it would fetch that from any
    address, or read it from any file, that the document names.

    Raises:
        MissingExtraError: mlcroissant is not installed.
    """
    try:
        import mlcroissant
    except ImportError as error:
        raise MissingExtraError("mlcroissant", "croissant") from error
    if _names_context(data.document):
        return [f"mlcroissant: not run, as {_ELSEWHERE}"]
    try:
        found = mlcroissant.Dataset(deepcopy(data.document)).metadata.ctx.issues.errors
    except mlcroissant.ValidationError as error:
        return [f"mlcroissant: {one_line(error, 10_000)}"]
    except Exception as error:  # on JSON-LD that it did not expect it raises nearly anything
        return [f"mlcroissant: cannot read it: {type(error).__name__}: {one_line(error)}"]
    return [f"mlcroissant: {error}" for error in sorted(found)]


def through(data: Metadata, gateway: str | None) -> dict[str, Any]:
    """Return a document whose files are named by a gateway, so that loaders can fetch them.

    Args:
        data: of the manifest.
        gateway: URL of an IPFS gateway; None leaves ``ipfs://`` addresses as they are.
    """
    document = dict(data.document)
    if gateway is None:
        return document
    base = f"{gateway.rstrip('/')}/ipfs/"
    document["distribution"] = [_behind(base, each) for each in document["distribution"]]
    return document


def _behind(base: str, file: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a file of a distribution by the address that it has behind a gateway."""
    url = file.get("contentUrl")
    if not isinstance(url, str) or not url.startswith("ipfs://"):
        return file
    return {**file, "contentUrl": base + url.removeprefix("ipfs://")}


def _token_problems(document: Mapping[str, Any]) -> Iterator[str]:
    for key in ("name", "description", "image"):
        if not isinstance(document.get(key), str) or not document[key]:
            yield f"{key} is no text"


def _dataset_problems(document: Mapping[str, Any]) -> Iterator[str]:
    context = document.get("@context")
    for term, values in _CONTEXT.items():
        if not isinstance(context, Mapping) or context.get(term) not in values:
            yield f"@context gives {term} another meaning than {values[0]}, or none"
    if _names_context(document):
        yield _ELSEWHERE
    if document.get("@type") not in ("sc:Dataset", "Dataset"):
        yield "@type is not sc:Dataset"
    stated = document.get("conformsTo")
    if not any(each in _VERSIONS for each in (stated if isinstance(stated, list) else [stated])):
        yield "conformsTo names no known version of Croissant"
    yield from _distribution_problems(document)
    yield from _record_problems(document)


def _names_context(value: Any) -> bool:
    """Tell whether some part of a document, in JSON-LD 1.1, has a context by its address."""
    if isinstance(value, list):
        return any(map(_names_context, value))
    if not isinstance(value, Mapping):
        return False
    contexts = value.get("@context", {})
    listed = contexts if isinstance(contexts, list) else [contexts]
    by_address = any(each is not None and not isinstance(each, Mapping) for each in listed)
    return by_address or "@import" in value or any(map(_names_context, value.values()))


def _distribution_problems(document: Mapping[str, Any]) -> Iterator[str]:
    files = _objects(document.get("distribution"))
    for file in files:
        needed = _FILES.get(str(file.get("@type")))
        if needed is None:
            yield f"distribution: {_id(file)} is neither cr:FileObject nor cr:FileSet"
            continue
        yield from (f"distribution: {_id(file)} lacks {key}" for key in needed if not file.get(key))
    yield from _id_problems("distribution", files)


def _record_problems(document: Mapping[str, Any]) -> Iterator[str]:
    sources = {_id(file) for file in _objects(document.get("distribution"))}
    record_sets = _objects(document.get("recordSet"))
    yield from _id_problems("recordSet", record_sets)
    for record_set in record_sets:
        if record_set.get("@type") != "cr:RecordSet":
            yield f"recordSet: {_id(record_set)} is no cr:RecordSet"
        fields = _objects(record_set.get("field"))
        yield from _id_problems("field", fields)
        for field in fields:
            yield from _field_problems(field, sources)


def _field_problems(field: Mapping[str, Any], sources: set[str]) -> Iterator[str]:
    name = f"field {_id(field)}"
    if field.get("@type") != "cr:Field":
        yield f"{name} is no cr:Field"
    if not isinstance(field.get("dataType"), str):
        yield f"{name} lacks dataType"
    named = [_inner(field, "source", key).get("@id") for key in _SOURCES]
    if not any(source in sources for source in named if source is not None):
        yield f"{name} has a source that the distribution does not name"
    if not _inner(field, "source", "extract"):
        yield f"{name} does not say what to extract"


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
