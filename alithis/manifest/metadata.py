"""metadata.json: the description of an artifact, and the commitment to its data points.

One JSON-LD document serves three kinds of tools. Machine-learning tools read Croissant 1.1 (a
dataset) or schema.org with FAIR4ML terms (a model). Wallets and explorers read ERC-721 token
metadata. Alithis reads the key ``alithis``, which holds the commitment. The token stores the
SHA-256 of the document. The document is one raw IPFS block (at most 256 KiB), so its CID contains
the same digest.

The same input always gives the same document: it contains no time and no name of a machine.
Documents that are read are untrusted: every value is checked before it is used.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from alithis.base.text import is_url, quoted
from alithis.base.untrusted_json import JsonObject, parse
from alithis.errors import FormatError, VersionError
from alithis.forms.form import FORMS, Form
from alithis.forms.hashing import SIZE, of_bytes
from alithis.manifest import vocabulary
from alithis.manifest.terms import MAX_FILES, MAX_METADATA_BYTES, MAX_NAME, MAX_SIZE, Kind, Scheme

FILE = "metadata.json"
VERSION = 1
MAX_BYTES = MAX_METADATA_BYTES

ITEMS, LEAVES = "items.parquet", "leaves"
PART = 1 << 24
"""Rows in an items file. With more rows, items-00000.parquet, … have that many rows each."""
MAX_PARTS = 256
"""Items files at most. If more would be needed, the rows in each file are doubled."""

_ITEMS = re.compile(r"items(-\d{5})?\.parquet")
_NAMES = re.compile(rf"leaves|{_ITEMS.pattern}|tiles/[1-6]")

_CROISSANT = "http://mlcommons.org/croissant/1.1"
_PARQUET = "application/x-parquet"
_PARTS = "items-parts"
_TYPES = {
    "leaf": "sc:Text",
    "path": "sc:Text",
    "size": "sc:Integer",
}  # Croissant has no binary type

# The terms in Croissant 1.1's own namespace (its specification, appendix 1).
_CROISSANT_TERMS = (
    "arrayShape citeAs column containedIn equivalentProperty extract field fileObject "
    "fileProperty fileSet format includes isArray isLiveDataset jsonPath key md5 parentField "
    "path recordSet references regex repeated replace samplingRate separator source subField "
    "transform"
)


@dataclass(frozen=True, slots=True)
class Description:
    """The publisher's description of an artifact.

    Attributes:
        name: its name.
        description: what it is, in a sentence or two.
        license: an SPDX license expression or a URL.
        creators: names of its authors.
        url: its home page.
        version: its version.
        citation: how to cite it.
        image: URI of a picture; by default, a pattern drawn from the root.
        rai: responsible-AI statements, by their Croissant RAI terms: see `vocabulary.RAI`.
        data_mining: permission for data mining: a key of `vocabulary.DATA_MINING`.
        data_mining_policy: URL of the policy that states the conditions of data mining.
        base: a Croissant document whose terms are kept unless another attribute overrides them:
            see `vocabulary.parse_base`.
    """

    name: str
    description: str = ""
    license: str | None = None
    creators: Sequence[str] = ()
    url: str | None = None
    version: str | None = None
    citation: str | None = None
    image: str | None = None
    rai: Mapping[str, Sequence[str]] = field(default_factory=dict)
    data_mining: str | None = None
    data_mining_policy: str | None = None
    base: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def composed(
        cls, given: Mapping[str, Any], base: Mapping[str, Any], source: Mapping[str, str]
    ) -> Self:
        """Combine what the publisher, a base document and the source state about an artifact.

        Args:
            given: attributes that the publisher sets; they come first.
            base: a Croissant document, used for what is not given.
            source: ``name`` and perhaps ``url`` of the source, used last.
        """
        words = {term: source[term] for term in ("name", "url") if source.get(term)}
        kept = vocabulary.kept_terms(base)
        if "url" in base or not is_url(words.get("url", "")):
            words.pop("url", None)  # the base's URL is kept with its other terms
        if "name" in base:
            words["name"] = kept.get("name", source["name"])
        return cls(**words | dict(given), base=base)

    def __post_init__(self) -> None:
        """Check that the description fits into a document, before any data point is hashed."""
        _checked_name(self.name, f", not {quoted(self.name)}. Use --name (in Python: description=)")
        _text(asdict(self))
        if self.license is not None:
            vocabulary.license_terms(self.license)
        if self.url and not is_url(self.url):
            raise FormatError(f"url {quoted(self.url)}: must be an http or https URL")
        _check_length(_text(_described("dataset", self, bytes(SIZE), {})))

    def statements(self) -> dict[str, Any]:
        """Return the statements in standard vocabularies, as terms of a document.

        Raises:
            FormatError: a statement uses a term that its vocabulary does not have.
        """
        mining = vocabulary.mining_terms(self.data_mining, self.data_mining_policy)
        return vocabulary.rai_terms(self.rai) | mining


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the manifest.

    Attributes:
        name: its path in the manifest, POSIX.
        cid: its CID.
        sha256: SHA-256 of its bytes, 32 bytes.
        size: its size in bytes.
    """

    name: str
    cid: str
    sha256: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Metadata:
    """The checked contents of a document.

    Attributes:
        kind: ``dataset`` or ``model``.
        name: the artifact's name, as its publisher states it.
        form: the canonical form of its data points.
        scheme: ``sha256`` or ``keyed``.
        root: the committed tree hash, 32 bytes.
        size: number of distinct leaves.
        items: number of data points, repeats counted.
        frontier: hashes of the maximal complete subtrees, left to right.
        files: the manifest's other files.
        document: the whole document.
        digest: SHA-256 of its bytes, 32 bytes.
        key_check: for the scheme ``keyed``, identifies the publisher's key without revealing it,
            32 bytes.
    """

    kind: str
    name: str
    form: Form
    scheme: str
    root: bytes
    size: int
    items: int
    frontier: tuple[bytes, ...]
    files: tuple[FileEntry, ...]
    document: Mapping[str, Any] = field(repr=False)
    digest: bytes
    key_check: bytes | None = None

    @property
    def items_files(self) -> tuple[FileEntry, ...]:
        """The items files, in the order of their rows."""
        return tuple(entry for entry in self.files if is_items(entry.name))

    def file(self, name: str) -> FileEntry:
        """Return the entry of a file.

        Raises:
            FormatError: the document lists no such file.
        """
        for entry in self.files:
            if entry.name == name:
                return entry
        raise FormatError(f"{FILE}: no file {name!r} in its distribution")


def is_items(name: str) -> bool:
    """Tell whether a file with this name holds items, which a publisher may withhold."""
    return _ITEMS.fullmatch(name) is not None


def items_names(rows: int) -> tuple[list[str], int]:
    """Return the names of the items files for a number of rows, and the rows in each."""
    part = PART
    while rows > part * MAX_PARTS:
        part *= 2
    if rows <= part:
        return [ITEMS], part
    return [f"items-{number:05}.parquet" for number in range(-(-rows // part))], part


def compose(
    *,
    kind: str,
    description: Description,
    form: Form,
    root: bytes,
    size: int,
    items: int,
    frontier: Sequence[bytes],
    files: Sequence[FileEntry],
    columns: Mapping[str, str],
    key_check: bytes | None = None,
    facts: Mapping[str, Any] | None = None,
    terms: Mapping[str, Any] | None = None,
) -> bytes:
    """Write a document.

    Args:
        kind: ``dataset`` or ``model``.
        description: the publisher's description.
        form: the canonical form.
        root: tree hash, 32 bytes.
        size: number of distinct leaves.
        items: number of data points.
        frontier: the frontier of the tree.
        files: the manifest's other files.
        columns: additional columns of items.parquet, each with its Croissant data type.
        key_check: the key check of the publisher's key; None if the leaves are plain digests.
        facts: additional keys of the ``alithis`` object (a model's parameters, metrics, …).
        terms: additional JSON-LD terms of the document (``fair4ml:trainedOn``, …).

    Returns:
        The document's bytes; `load` reads them back.

    Raises:
        FormatError: the document would be invalid, or too large for one IPFS block.
    """
    document = _described(kind, description, root, terms or {})
    document["distribution"] = [_file_object(entry) for entry in files]
    source = _records_source([entry.name for entry in files if is_items(entry.name)])
    if kind == "dataset" and source:
        if "fileSet" in source:
            document["distribution"].append(_file_set())
        document["recordSet"] = [_record_set({**_TYPES, **columns}, source)]
    document["alithis"] = {
        "version": VERSION,
        "kind": kind,
        **_scheme(key_check),
        "form": _form_object(form),
        "root": root.hex(),
        "size": size,
        "items": items,
        "frontier": [node.hex() for node in frontier],
        **(facts or {}),
    }
    data = _text(document)
    _check_length(data)
    parse(data, FILE)  # facts and a base may be nested deeper than readers accept: fail now
    return data


def load(data: bytes) -> Metadata:
    """Read and check a document.

    Args:
        data: the bytes of metadata.json.

    Raises:
        VersionError: this release does not know the format version.
        FormatError: the document is not well-formed; the message names the key.
    """
    _check_length(data)
    document = JsonObject(parse(data, FILE), FILE)
    ours = document.object("alithis")
    version = ours.integer("version", 1, MAX_SIZE)
    if version != VERSION:
        raise VersionError(
            f"{FILE}: format version {version}; this release reads version {VERSION}: "
            "upgrade alithis, or check the origin of the file"
        )
    size = ours.integer("size", 1, MAX_SIZE)
    items = ours.integer("items", size, MAX_SIZE)  # equal data points share a leaf
    frontier = ours.sha256_list("frontier", MAX_SIZE.bit_length())
    if len(frontier) != size.bit_count():
        ours.fail("frontier", f"has {len(frontier)} hashes; size {size} needs {size.bit_count()}")
    scheme = ours.one_of("scheme", tuple(Scheme))
    return Metadata(
        kind=ours.one_of("kind", tuple(Kind)),
        name=_checked_name(document.text("name")),
        form=_form(ours.object("form")),
        scheme=scheme,
        root=ours.sha256("root"),
        size=size,
        items=items,
        frontier=frontier,
        files=_files(document),
        document=document.values,
        digest=of_bytes(data),
        key_check=ours.sha256("keyCheck") if scheme == "keyed" else None,
    )


def _scheme(key_check: bytes | None) -> dict[str, str]:
    if key_check is None:
        return {"scheme": "sha256"}
    return {"scheme": "keyed", "keyCheck": key_check.hex()}


def _text(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"{FILE}: a value cannot be written as JSON: {error}") from error


def _context(kind: str) -> dict[str, Any]:
    context: dict[str, Any] = {
        "@language": "en",
        "@vocab": "https://schema.org/",
        "sc": "https://schema.org/",
        "cr": "http://mlcommons.org/croissant/",
        "dct": "http://purl.org/dc/terms/",
        "rai": "http://mlcommons.org/croissant/RAI/",
        "alithis": {"@id": "urn:alithis:manifest", "@type": "@json"},
        "conformsTo": "dct:conformsTo",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "description": {"@container": "@language"},
        "examples": {"@id": "cr:examples", "@type": "@json"},
        "name": {"@container": "@language"},
    }
    if kind == "model":
        context["fair4ml"] = "https://w3id.org/fair4ml#"  # its version 0.1.0
    return context | {term: f"cr:{term}" for term in _CROISSANT_TERMS.split()}


def _type(kind: str) -> dict[str, Any]:
    if kind == "model":
        return {"@type": "fair4ml:MLModel"}
    return {"@type": "sc:Dataset", "conformsTo": _CROISSANT}


def _described(
    kind: str, description: Description, root: bytes, terms: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the part of a document that does not depend on the manifest's files."""
    base, statements = description.base, description.statements()
    kept = vocabulary.kept_terms(base)
    if description.data_mining is not None:
        kept = {key: value for key, value in kept.items() if key not in vocabulary.MINING}
    document = {"@context": {}, **_type(kind), **kept, **_words(description, kept, root)}
    document |= {**statements, **terms}
    if kind == "dataset":
        document["conformsTo"] = vocabulary.conforms_to(_CROISSANT, base, document)
    context = vocabulary.merged_context(_context(kind), base)
    document["@context"] = context | vocabulary.prefixes(document)
    return document


def _words(description: Description, kept: Mapping[str, Any], root: bytes) -> dict[str, Any]:
    url = description.url or kept.get("url")
    words = {
        "name": description.name,
        "description": description.description or kept.get("description") or description.name,
        "license": description.license,
        "creator": [{"@type": "sc:Person", "name": name} for name in description.creators],
        "url": description.url,
        "version": description.version,
        "citeAs": description.citation,
        "image": description.image or kept.get("image") or _picture(root),
        "external_url": url if isinstance(url, str) else None,
    }
    return {key: value for key, value in words.items() if value}


def _picture(root: bytes) -> str:
    """Draw a symmetric pattern from the root's bits: ERC-721 wallets expect an image."""
    cells = "".join(
        f"M{x} {y}h1v1h-1z" for y in range(8) for x in range(8) if root[y * 4 + min(x, 7 - x)] & 1
    )
    hue = int.from_bytes(root[:2], "big") % 360
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 10 10" width="320" height="320">'
        f'<path fill="hsl({hue},45%,94%)" d="M-1-1h10v10h-10z"/>'
        f'<path fill="hsl({hue},60%,38%)" d="{cells}"/></svg>'
    )
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _file_object(entry: FileEntry) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": entry.name,
        "name": entry.name,
        "contentUrl": f"ipfs://{entry.cid}",
        "contentSize": f"{entry.size} B",
        "encodingFormat": _PARQUET if is_items(entry.name) else "application/octet-stream",
        "sha256": entry.sha256.hex(),
    }


def _records_source(names: Sequence[str]) -> dict[str, Any]:
    if len(names) > 1:
        return {"fileSet": {"@id": _PARTS}}
    return {"fileObject": {"@id": names[0]}} if names else {}


def _file_set() -> dict[str, Any]:
    """Return a file set that matches all items files beside the document."""
    return {
        "@type": "cr:FileSet",
        "@id": _PARTS,
        "name": _PARTS,
        "encodingFormat": _PARQUET,
        "includes": "items-*.parquet",
    }


def _record_set(columns: Mapping[str, str], source: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "items",
        "name": "items",
        "description": "One record per data point, in the order of their leaves.",
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"items/{column}",
                "name": column,
                "dataType": data_type,
                "source": {**source, "extract": {"column": column}},
            }
            for column, data_type in columns.items()
        ],
    }


def _form_object(form: Form) -> dict[str, Any]:
    columns = None if form.columns is None else list(form.columns)
    values = {"mode": form.mode, "width": form.width, "height": form.height, "columns": columns}
    return {"name": form.name, "version": 1, **{k: v for k, v in values.items() if v is not None}}


def _form(value: JsonObject) -> Form:
    name = value.one_of("name", FORMS)
    version = value.integer("version", 1, MAX_SIZE)
    if version != 1:
        raise VersionError(
            f"{FILE}: canonical form {name} has version {version}; this release reads version 1: "
            "upgrade alithis"
        )
    mode = value.text("mode") if "mode" in value.values else None
    width, height = (
        value.integer(key, 1, MAX_SIZE) if key in value.values else None
        for key in ("width", "height")
    )
    columns = tuple(value.list("columns", MAX_BYTES)) if "columns" in value.values else None
    if columns and not all(isinstance(column, str) for column in columns):
        value.fail("columns", "must be a list of strings")
    return Form(name, mode, width, height, columns)


def _files(document: JsonObject) -> tuple[FileEntry, ...]:
    listed = document.list("distribution", MAX_FILES)
    if not all(isinstance(each, dict) for each in listed):
        document.fail("distribution", "must be a list of objects")
    # A file set is a pattern for Croissant loaders; the files it matches are listed too.
    files = tuple(
        _file(JsonObject(each, FILE)) for each in listed if each.get("@type") != "cr:FileSet"
    )
    names = [entry.name for entry in files]
    if len(set(names)) != len(names):
        document.fail("distribution", "lists a file twice")
    if LEAVES not in names:
        document.fail("distribution", f"must list the file {LEAVES!r}")
    parts = [name for name in names if is_items(name)]
    if parts not in ([], [ITEMS], [f"items-{number:05}.parquet" for number in range(len(parts))]):
        document.fail("distribution", "must list all items files, in order")
    return files


def _file(value: JsonObject) -> FileEntry:
    name = value.text("name", _NAMES.pattern, "the name of a file in a manifest's distribution")
    size = value.text("contentSize", r"[0-9]{1,18} B", "a number of bytes such as 96 B")
    url = value.text("contentUrl", "ipfs://[0-9A-Za-z]{40,128}", "an ipfs:// URL")
    return FileEntry(
        name, url.removeprefix("ipfs://"), value.sha256("sha256"), int(size.removesuffix(" B"))
    )


def _check_length(data: bytes) -> None:
    if len(data) > MAX_BYTES:
        raise FormatError(f"{FILE}: {len(data)} bytes; at most {MAX_BYTES} are allowed")


def _checked_name(name: str, remedy: str = "") -> str:
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise FormatError(
            f"{FILE}: name must be 1 to {MAX_NAME} printable characters, on one line{remedy}"
        )
    return name
