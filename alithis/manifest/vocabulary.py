"""Publishers' statements about an artifact, in standard vocabularies.

Licenses use SPDX. Responsible-AI statements use Croissant RAI 1.0. Permissions for data mining
use the PLUS vocabulary (part of IPTC's photo metadata) and W3C's TDM Reservation Protocol. An
existing Croissant document can be the base: its terms are kept.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from alithis.base.text import is_url, quoted
from alithis.base.untrusted_json import parse
from alithis.errors import FormatError

RAI_CONFORMS = "http://mlcommons.org/croissant/RAI/1.0"
_RAI_ONCE = (
    "dataCollection dataCollectionMissingData dataCollectionRawData dataImputationProtocol "
    "dataManipulationProtocol annotationsPerItem dataSocialImpact dataReleaseMaintenancePlan"
)
_RAI_MANY = (
    "dataCollectionType dataCollectionTimeframe dataPreprocessingProtocol dataAnnotationProtocol "
    "dataAnnotationPlatform dataAnnotationAnalysis annotatorDemographics machineAnnotationTools "
    "dataBiases dataUseCases dataLimitations personalSensitiveInformation"
)
RAI = tuple(f"{_RAI_ONCE} {_RAI_MANY}".split())
"""The terms of Croissant RAI 1.0."""
DATA_MINING = {
    "allowed": "DMI-ALLOWED",
    "prohibited": "DMI-PROHIBITED",
    "prohibited-training": "DMI-PROHIBITED-AIMLTRAINING",
    "prohibited-generative-training": "DMI-PROHIBITED-GENAIMLTRAINING",
    "prohibited-except-search": "DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING",
    "see-policy": "DMI-PROHIBITED-SEECONSTRAINT",
    "unspecified": "DMI-UNSPECIFIED",
}
"""Each data-mining preference, with its name in the PLUS vocabulary."""
_PLUS = "http://ns.useplus.org/ldf/vocab/"
MINING = ("plus:DataMining", "tdm:reservation", "tdm:policy")
"""The terms that state a data-mining preference."""
PREFIXES = {
    "plus": "http://ns.useplus.org/ldf/xmp/1.0/",
    "tdm": "http://www.w3.org/ns/tdmrep#",
}
"""Prefixes that are added to a document's context if the document uses them."""
_SCHEMA = ("https://schema.org", "https://schema.org/", "http://schema.org", "http://schema.org/")
_DATASETS = {"sc:Dataset", "schema:Dataset", "Dataset", *(f"{at}/Dataset" for at in _SCHEMA[::2])}
# Terms of schema.org that a manifest's metadata uses. A base document that redefines one of them
# would change what the metadata states for tools that read JSON-LD, so it is refused.
_BARE = (
    "distribution contentUrl contentSize encodingFormat sha256 license creator url version image "
    "isBasedOn external_url"
)
_OWN_IDS = re.compile(r"leaves|tiles/.*|items([-./].*)?")
_OWN = ("@context", "@type", "conformsTo", "dct:conformsTo", "distribution", "recordSet", "alithis")


def license_terms(text: str) -> str:
    """Check a license: an SPDX license expression (SPDX 3, annex B) or a URL.

    The identifiers are not compared with SPDX's list, because the list grows.

    Returns:
        The same text.

    Raises:
        FormatError: it is neither of the two.
    """
    if is_url(text) or _is_expression(re.findall(r"[()]|[^\s()]+", text)):
        return text
    raise FormatError(
        f"license {quoted(text)}: must be an SPDX expression (MIT, CC-BY-4.0, MIT OR Apache-2.0) "
        "or a URL"
    )


def _is_expression(words: Sequence[str]) -> bool:
    """Tell whether licenses and operators alternate, and brackets are balanced."""
    depth, license_next = 0, True
    for word in words:
        if word == "(" and license_next:
            depth += 1
        elif word == ")" and not license_next and depth:
            depth -= 1
        elif word in ("AND", "OR", "WITH") and not license_next:
            license_next = True
        elif license_next and re.fullmatch(r"(DocumentRef-[\w.-]+:)?[A-Za-z0-9][\w.-]*\+?", word):
            license_next = False
        else:
            return False
    return not license_next and not depth


def rai_terms(statements: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return responsible-AI statements as terms of a document.

    Args:
        statements: one or more texts for each term; the terms are listed in `RAI`.

    Raises:
        FormatError: a term is unknown, has several texts although Croissant RAI allows one, or
            is a time frame and not a date.
    """
    for name, texts in statements.items():
        if name not in RAI:
            raise FormatError(
                f"unknown Croissant RAI term {quoted(name)}; the terms are {', '.join(RAI)}"
            )
        if len(texts) > 1 and name not in _RAI_MANY.split():
            raise FormatError(f"{name} is given {len(texts)} times; Croissant RAI allows it once")
        if name == "dataCollectionTimeframe":
            _check_dates(texts)
    return {
        f"rai:{name}": texts[0] if len(texts) == 1 else list(texts)
        for name, texts in statements.items()
        if texts
    }


def _check_dates(texts: Sequence[str]) -> None:
    for text in texts:
        try:
            datetime.fromisoformat(text)
        except ValueError as error:
            raise FormatError(
                f"dataCollectionTimeframe {quoted(text)}: must be a date such as 2024-05-31"
            ) from error


def mining_terms(preference: str | None, policy: str | None) -> dict[str, Any]:
    """Return a data-mining preference as terms of a document.

    The same preference is written in two vocabularies: ``plus:DataMining`` for tools that read
    photo metadata, and ``tdm:reservation`` for crawlers (1 if rights are reserved, 0 if not).

    Args:
        preference: a key of `DATA_MINING`.
        policy: URL of a TDM policy, which states the conditions and whom to ask.

    Raises:
        FormatError: the preference is unknown, the policy is not a URL, or a policy is given
            although no rights are reserved.
    """
    if preference is None and policy is None:
        return {}
    if preference is None or preference not in DATA_MINING:
        given = (
            "a policy needs a preference" if preference is None else f"unknown {quoted(preference)}"
        )
        raise FormatError(f"data mining: {given}; choose one of {', '.join(DATA_MINING)}")
    terms: dict[str, Any] = {"plus:DataMining": {"@id": _PLUS + DATA_MINING[preference]}}
    reserved = preference not in ("allowed", "unspecified")
    if preference != "unspecified":
        terms["tdm:reservation"] = int(reserved)
    if policy is not None:
        if not reserved:
            raise FormatError(
                f"data mining policy: {preference} reserves no rights; leave the policy out"
            )
        if not is_url(policy):
            raise FormatError(f"data mining policy {quoted(policy)}: must be a URL")
        terms["tdm:policy"] = {"@id": policy}
    elif preference == "see-policy":
        raise FormatError("data mining see-policy: give the URL of the policy too")
    return terms


def parse_base(data: bytes, name: str) -> dict[str, Any]:
    """Read a Croissant document that is the base of new metadata.

    Args:
        data: the document; the caller has limited its size.
        name: its name in errors.

    Raises:
        FormatError: it is not a JSON-LD object that describes one dataset, or its context cannot
            be understood without a download.
    """
    document = parse(data, name)
    types = document.get("@type")
    if "@graph" in document or not _DATASETS.intersection(
        map(str, types if isinstance(types, list) else [types])
    ):
        raise FormatError(f"{name}: not a Croissant document: its @type must be sc:Dataset")
    if any("@context" in each for each in _objects(document) if each is not document):
        raise FormatError(f"{name}: has a nested @context; move all terms into the outer one")
    if isinstance(document.get("@context", {}), list):
        raise FormatError(f"{name}: its @context is a list; merge it into one object")
    return _without_manifest(document)


def prefixes(terms: Collection[str]) -> dict[str, str]:
    """Return the entries of `PREFIXES` that a document's keys use."""
    used = {term.partition(":")[0] for term in terms}
    return {prefix: meaning for prefix, meaning in PREFIXES.items() if prefix in used}


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    for each in value if isinstance(value, list) else ():
        yield from _objects(each)


def _without_manifest(document: Mapping[str, Any]) -> dict[str, Any]:
    """Remove what describes the earlier manifest, if the document is a manifest's metadata."""
    kept = dict(document)
    if "alithis" not in kept:
        return kept
    for key in ("distribution", "recordSet", "alithis", "external_url"):
        kept.pop(key, None)
    if str(kept.get("image", "")).startswith("data:image/svg+xml;base64,"):
        del kept["image"]
    return kept


def kept_terms(base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the terms of a base document that new metadata keeps, except its context.

    The base's files and records are not the manifest's own, so they move to ``isBasedOn``.

    Args:
        base: the document; see `parse_base`.

    Raises:
        FormatError: the base uses an ``@id`` that the manifest needs.
    """
    kept = {key: value for key, value in base.items() if key not in _OWN}
    described = {key: base[key] for key in ("distribution", "recordSet") if key in base}
    described |= {
        key: base[key] for key in ("name", "description") if isinstance(base.get(key), dict)
    }
    for each in _objects(base):
        if _OWN_IDS.fullmatch(str(each.get("@id"))):
            _refuse(f"@id {quoted(str(each['@id']))} is reserved for the manifest; rename it")
    for key in ("name", "description", "image"):
        text = _plain(kept.pop(key, None))
        if text:
            kept[key] = text
    if described:
        before = kept.get("isBasedOn", [])
        source = {"@type": "sc:Dataset", **({"name": base["name"]} if "name" in base else {})}
        kept["isBasedOn"] = [
            *(before if isinstance(before, list) else [before]),
            {**source, **described},
        ]
    return kept


def _plain(value: Any) -> str | None:
    """Return one text from a value that may be a language map, an image object or a list."""
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, dict):
        value = next((value[key] for key in ("en", "contentUrl", "url", *value) if key in value), 0)
    return value if isinstance(value, str) else None


def conforms_to(own: str, base: Mapping[str, Any], terms: Collection[str]) -> str | list[str]:
    """Return the specifications that a document states it conforms to.

    Args:
        own: the version of Croissant that it is written in.
        base: the base document; its other specifications are kept.
        terms: the document's keys.
    """
    stated = [base.get(key, []) for key in ("conformsTo", "dct:conformsTo")]
    others = [each for value in stated for each in (value if isinstance(value, list) else [value])]
    if any(term.startswith("rai:") for term in terms):
        others.append(RAI_CONFORMS)
    version = re.compile(r"http://mlcommons\.org/croissant/\d.*")
    found = [own, *(each for each in others if isinstance(each, str) and not version.match(each))]
    distinct = list(dict.fromkeys(found))
    return distinct if len(distinct) > 1 else own


def merged_context(own: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Merge our context with the context of the base document.

    The base may add terms and choose the language. If it gives one of our terms another meaning,
    it is refused: one meaning would replace the other, and the statements that are kept, or our
    own, would say something else.

    Raises:
        FormatError: the contexts contradict each other.
    """
    theirs = base.get("@context", {})
    if isinstance(theirs, str):
        theirs = {"@vocab": theirs}
    if not isinstance(theirs, dict):
        _refuse("@context is not an object")
    merged = dict(own)
    for term, meaning in theirs.items():
        if term == "@language" and (meaning is None or isinstance(meaning, str)):
            merged[term] = meaning
        elif term in own:
            if _expanded(meaning, own) != _expanded(own[term], own):
                _refuse(
                    f"@context gives {quoted(term)} a different meaning than Croissant 1.1 does"
                )
        elif term.startswith("@") or _is_keyword(meaning):
            _refuse(f"@context defines {quoted(term)} in an unsupported way; remove it")
        elif term in _BARE.split() and _expanded(meaning, own) != f"https://schema.org/{term}":
            _refuse(f"@context gives {quoted(term)} a different meaning than schema.org does")
        elif PREFIXES.get(term, meaning) != meaning:
            _refuse(f"@context defines {quoted(term)} differently; it must be {PREFIXES[term]}")
        else:
            merged[term] = meaning
    return merged


def _expanded(meaning: Any, context: Mapping[str, Any]) -> Any:
    """Expand a prefix, and write schema.org with https and a final slash."""
    if not isinstance(meaning, str):
        return meaning
    prefix, colon, rest = meaning.partition(":")
    if colon and not rest.startswith("//") and isinstance(context.get(prefix), str):
        meaning = context[prefix] + rest
    if meaning in _SCHEMA:
        return _SCHEMA[1]
    return re.sub("^http://schema.org/", _SCHEMA[1], meaning)


def _is_keyword(meaning: Any) -> bool:
    """Tell whether a term is an alias of a JSON-LD keyword, or its definition is malformed."""
    name = meaning.get("@id", "") if isinstance(meaning, dict) else meaning
    return name is not None and (not isinstance(name, str) or name.startswith("@"))


def _refuse(what: str) -> NoReturn:
    raise FormatError(f"--metadata-from: {what}")
