"""What publishers say of an artifact in the vocabularies that others read.

Licences by SPDX, responsible-AI statements by Croissant RAI 1.0, what may be mined by the PLUS
vocabulary (which IPTC's photo metadata use) and W3C's TDM Reservation Protocol, and a Croissant
document that somebody wrote before, whose words are kept.
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
"""What may be mined, and the PLUS vocabulary's name for it."""
_PLUS = "http://ns.useplus.org/ldf/vocab/"
MINING = ("plus:DataMining", "tdm:reservation", "tdm:policy")
"""The terms that say it."""
PREFIXES = {
    "plus": "http://ns.useplus.org/ldf/xmp/1.0/",
    "tdm": "http://www.w3.org/ns/tdmrep#",
}
"""Prefixes that a document has when it uses them."""
_SCHEMA = ("https://schema.org", "https://schema.org/", "http://schema.org", "http://schema.org/")
_DATASETS = {"sc:Dataset", "schema:Dataset", "Dataset", *(f"{at}/Dataset" for at in _SCHEMA[::2])}
# Terms of schema.org that a manifest's metadata holds; another meaning would hide what it says.
_BARE = (
    "distribution contentUrl contentSize encodingFormat sha256 license creator url version image "
    "isBasedOn external_url"
)
_OWN_IDS = re.compile(r"leaves|tiles/.*|items([-./].*)?")
_OWN = ("@context", "@type", "conformsTo", "dct:conformsTo", "distribution", "recordSet", "alithis")


def license_terms(text: str) -> str:
    """Check a licence: an SPDX licence expression (its version 3, annex B), or a URL.

    Whether the identifiers are on SPDX's list is not checked: the list grows.

    Raises:
        FormatError: it is neither.
    """
    if is_url(text) or _is_expression(re.findall(r"[()]|[^\s()]+", text)):
        return text
    raise FormatError(
        f"license {quoted(text)}: neither an SPDX expression (MIT, CC-BY-4.0, MIT OR Apache-2.0) "
        "nor a URL"
    )


def _is_expression(words: Sequence[str]) -> bool:
    """Tell whether words alternate between licences and operators, in balanced brackets."""
    depth, licence_next = 0, True
    for word in words:
        if word == "(" and licence_next:
            depth += 1
        elif word == ")" and not licence_next and depth:
            depth -= 1
        elif word in ("AND", "OR", "WITH") and not licence_next:
            licence_next = True
        elif licence_next and re.fullmatch(r"(DocumentRef-[\w.-]+:)?[A-Za-z0-9][\w.-]*\+?", word):
            licence_next = False
        else:
            return False
    return not licence_next and not depth


def rai_terms(statements: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return responsible-AI statements as terms of a document.

    Args:
        statements: by a name of `RAI`, one text or more.

    Raises:
        FormatError: a name is none of these, is repeated, or a time frame is not a date.
    """
    for name, texts in statements.items():
        if name not in RAI:
            raise FormatError(f"{quoted(name)} is no term of Croissant RAI: {', '.join(RAI)}")
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
                f"dataCollectionTimeframe {quoted(text)}: no date like 2024-05-31"
            ) from error


def mining_terms(preference: str | None, policy: str | None) -> dict[str, Any]:
    """Return what may be mined, as terms of a document.

    ``plus:DataMining`` says it in the words of photo metadata, ``tdm:reservation`` in the TDM
    Reservation Protocol's: 1 where rights are reserved, 0 where they are not.

    Args:
        preference: a key of `DATA_MINING`.
        policy: URL of a TDM policy: whom to ask, under which conditions.

    Raises:
        FormatError: the preference is none of these, the policy no URL, or goes with no
            reservation.
    """
    if preference is None and policy is None:
        return {}
    if preference is None or preference not in DATA_MINING:
        raise FormatError(f"data mining {preference or ''}: one of {', '.join(DATA_MINING)}")
    terms: dict[str, Any] = {"plus:DataMining": {"@id": _PLUS + DATA_MINING[preference]}}
    reserved = preference not in ("allowed", "unspecified")
    if preference != "unspecified":
        terms["tdm:reservation"] = int(reserved)
    if policy is not None:
        if not reserved or not is_url(policy):
            raise FormatError(
                f"data mining policy {quoted(policy)}: a URL, where rights are reserved"
            )
        terms["tdm:policy"] = {"@id": policy}
    elif preference == "see-policy":
        raise FormatError("data mining see-policy: name the policy's URL too")
    return terms


def parse_base(data: bytes, name: str) -> dict[str, Any]:
    """Read a Croissant document whose words are to be kept.

    Args:
        data: its bytes; the caller has bounded how many.
        name: what it is called in errors.

    Raises:
        FormatError: it is no JSON-LD object that describes one dataset, or its context cannot be
            understood without fetching something.
    """
    document = parse(data, name)
    types = document.get("@type")
    if "@graph" in document or not _DATASETS.intersection(
        map(str, types if isinstance(types, list) else [types])
    ):
        raise FormatError(f"{name}: its @type is not sc:Dataset: no Croissant document")
    if any("@context" in each for each in _objects(document) if each is not document):
        raise FormatError(f"{name}: has a @context within; only one for the whole is understood")
    if isinstance(document.get("@context", {}), list):
        raise FormatError(f"{name}: its @context is a list; write it as one object")
    return _without_manifest(document)


def prefixes(terms: Collection[str]) -> dict[str, str]:
    """Return those of `PREFIXES` that a document's keys use."""
    used = {term.partition(":")[0] for term in terms}
    return {prefix: meaning for prefix, meaning in PREFIXES.items() if prefix in used}


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    for each in value if isinstance(value, list) else ():
        yield from _objects(each)


def _without_manifest(document: Mapping[str, Any]) -> dict[str, Any]:
    """Take out of an earlier manifest's metadata what is of that manifest."""
    kept = dict(document)
    if "alithis" not in kept:
        return kept
    for key in ("distribution", "recordSet", "alithis", "external_url"):
        kept.pop(key, None)
    if str(kept.get("image", "")).startswith("data:image/svg+xml;base64,"):
        del kept["image"]
    return kept


def kept_terms(base: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a document keeps of the one it was made from, but for its context.

    The files and records of that one are not the manifest's: they move to ``isBasedOn``.

    Args:
        base: the document; see `parse_base`.

    Raises:
        FormatError: an ``@id`` would stand for two things.
    """
    kept = {key: value for key, value in base.items() if key not in _OWN}
    described = {key: base[key] for key in ("distribution", "recordSet") if key in base}
    described |= {
        key: base[key] for key in ("name", "description") if isinstance(base.get(key), dict)
    }
    for each in _objects(base):
        if _OWN_IDS.fullmatch(str(each.get("@id"))):
            _refuse(f"@id {quoted(str(each['@id']))} is one of the manifest's own: rename it")
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
    """Return a text out of what Croissant allows for one: languages, an image object, a list."""
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, dict):
        value = next((value[key] for key in ("en", "contentUrl", "url", *value) if key in value), 0)
    return value if isinstance(value, str) else None


def conforms_to(own: str, base: Mapping[str, Any], terms: Collection[str]) -> str | list[str]:
    """Return the specifications that a document declares to conform to.

    Args:
        own: the version of Croissant it is written in.
        base: the document it was made from, whose other specifications stay.
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
    """Merge a document's context with that of the one it was made from.

    Ours stands; theirs may add terms, and choose the language. A term that means another thing
    there is refused: what is kept would change its meaning, or ours would.

    Raises:
        FormatError: the contexts contradict each other.
    """
    theirs = base.get("@context", {})
    if isinstance(theirs, str):
        theirs = {"@vocab": theirs}
    if not isinstance(theirs, dict):
        _refuse("@context is no object")
    merged = dict(own)
    for term, meaning in theirs.items():
        if term == "@language" and (meaning is None or isinstance(meaning, str)):
            merged[term] = meaning
        elif term in own:
            if _expanded(meaning, own) != _expanded(own[term], own):
                _refuse(f"@context gives {quoted(term)} another meaning than Croissant 1.1")
        elif term.startswith("@") or _is_keyword(meaning):
            _refuse(f"@context redefines {quoted(term)} in a way that is not understood")
        elif term in _BARE.split() and _expanded(meaning, own) != f"https://schema.org/{term}":
            _refuse(f"@context gives {quoted(term)} another meaning than schema.org")
        elif PREFIXES.get(term, meaning) != meaning:
            _refuse(f"@context gives {quoted(term)} another meaning than {PREFIXES[term]}")
        else:
            merged[term] = meaning
    return merged


def _expanded(meaning: Any, context: Mapping[str, Any]) -> Any:
    """Write out a prefix, and schema.org in its one way."""
    if not isinstance(meaning, str):
        return meaning
    prefix, colon, rest = meaning.partition(":")
    if colon and not rest.startswith("//") and isinstance(context.get(prefix), str):
        meaning = context[prefix] + rest
    if meaning in _SCHEMA:
        return _SCHEMA[1]
    return re.sub("^http://schema.org/", _SCHEMA[1], meaning)


def _is_keyword(meaning: Any) -> bool:
    name = meaning.get("@id", "") if isinstance(meaning, dict) else meaning
    return name is not None and (not isinstance(name, str) or name.startswith("@"))


def _refuse(what: str) -> NoReturn:
    raise FormatError(f"--metadata-from: {what}")
