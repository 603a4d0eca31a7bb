"""What publishers state in their metadata, read for a report.

Anybody can publish metadata, so a value may have any type and any length. A value that cannot be
read as a text is left out; a statement about mining is never left out, because that would hide
reserved rights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from alithis.base.text import clipped
from alithis.manifest import vocabulary
from alithis.manifest.metadata import Metadata

MAX_TEXT = 2_000
"""Characters of one text that are kept."""

_MAX_TEXTS = 20
_PLUS_WORDS = {name: words for words, name in vocabulary.DATA_MINING.items()}
_PROHIBITED = "DMI-PROHIBITED"  # the prefix of all PLUS terms that reserve rights
_UNCLEAR = "not understood: "


@dataclass(frozen=True, slots=True)
class Signal:
    """A publisher's statement about whether data may be mined.

    Attributes:
        term: the property that states it: ``plus:DataMining``, ``tdm:reservation``, ``tdm:policy``.
        says: the statement in words.
    """

    term: str
    says: str


@dataclass(frozen=True, slots=True)
class Words:
    """What a publisher states about an artifact; empty where nothing is stated.

    Attributes:
        description: what it is.
        license: its licence.
        creators: its authors.
        url: its home page.
        version: its version.
        citation: how to cite it.
        task: what a model does.
        intended_use: what a model is for.
        languages: the languages of a dataset.
        mining: statements about whether it may be mined.
        statements: responsible-AI statements, by their terms in Croissant RAI.
    """

    description: str = ""
    license: str = ""
    creators: tuple[str, ...] = ()
    url: str = ""
    version: str = ""
    citation: str = ""
    task: str = ""
    intended_use: str = ""
    languages: tuple[str, ...] = ()
    mining: tuple[Signal, ...] = ()
    statements: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def is_reserved(self) -> bool:
        """Whether any statement reserves rights against mining."""
        return any(
            each.says.startswith("prohibited") or each.says in ("see-policy", "rights are reserved")
            for each in self.mining
        )

    @property
    def is_unclear(self) -> bool:
        """Whether any statement about mining uses a term that its vocabulary does not have."""
        return any(each.says.startswith(_UNCLEAR) for each in self.mining)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Words:
        """Read them from untrusted metadata."""

        def text(key: str) -> str:
            return ", ".join(_texts(document.get(key)))

        return cls(
            description=text("description"),
            license=text("license"),
            creators=_texts(document.get("creator")),
            url=text("url"),
            version=text("version"),
            citation=text("citeAs"),
            task=text("fair4ml:mlTask"),
            intended_use=text("fair4ml:intendedUse"),
            languages=_texts(document.get("inLanguage")),
            mining=tuple(_signals(document)),
            statements={
                name: found
                for name in vocabulary.RAI
                if (found := _texts(document.get(f"rai:{name}")))
            },
        )


def facts(stated: Metadata) -> dict[str, Any]:
    """Return what metadata states about how a model was made, without values of a wrong type."""
    ours = stated.document["alithis"]
    objects = ("parameters", "metrics", "environment", "code", "seeds")
    found: dict[str, Any] = {
        key: ours[key] for key in objects if isinstance(ours.get(key), dict) and ours[key]
    }
    if isinstance(ours.get("hardware"), str):
        found["hardware"] = ours["hardware"]
    if type(ours.get("seconds")) in (int, float):
        found["seconds"] = ours["seconds"]
    if isinstance(ours.get("complete"), bool):
        found["complete"] = ours["complete"]
    return found


def _signals(document: Mapping[str, Any]) -> Iterator[Signal]:
    """Read the statements about mining. A term that is not in the vocabulary is kept as text."""
    for value in _all_texts(document.get("plus:DataMining")):
        name = re.split("[/#:]", value)[-1]
        other = f"prohibited: {name}" if name.startswith(_PROHIBITED) else f"{_UNCLEAR}{value}"
        yield Signal("plus:DataMining", _PLUS_WORDS.get(name, other))
    for value in _all_texts(document.get("tdm:reservation")):
        words = {"1": "rights are reserved", "0": "rights are not reserved"}
        yield Signal("tdm:reservation", words.get(value, f"{_UNCLEAR}{value}"))
    for value in _texts(document.get("tdm:policy")):
        yield Signal("tdm:policy", value)


def _texts(value: Any) -> tuple[str, ...]:
    """Return the texts in a JSON-LD value: a text, a number, a named object, or a list of them."""
    values = value if isinstance(value, list) else [value]
    return tuple(text for each in values[:_MAX_TEXTS] if (text := _text(each)))


def _all_texts(value: Any) -> Iterator[str]:
    """Yield a text for every value, without a limit; a value that has no text is shown as JSON."""
    for each in value if isinstance(value, list) else [value]:
        if each is not None:
            yield _text(each) or clipped(json.dumps(each), MAX_TEXT)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        keys = ("name", "@value", "@id", "url", "contentUrl")
        value = next((value[key] for key in keys if key in value), None)
    if isinstance(value, bool | float) and value in (0, 1):
        value = int(value)
    if not isinstance(value, str | int | float):
        return ""
    # A lone surrogate, which JSON can spell, cannot be encoded as UTF-8.
    return clipped(str(value).encode(errors="replace").decode(), MAX_TEXT)
