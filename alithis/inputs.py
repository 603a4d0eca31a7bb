"""What a model was made from, as its metadata states it: inputs, and what was fed of each.

The statement is its publisher's (docs/format.md, "Models"): the chain knows only which tokens
the model's token links to.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Self

from alithis import merkle
from alithis.digest import SIZE
from alithis.errors import FormatError
from alithis.manifest import Manifest
from alithis.metadata import Metadata

TRANSCRIBED = ("trained_on", "validated_on", "tested_on")
"""Relations to datasets, of which a transcript can be made."""
RELATIONS = (*TRANSCRIBED, "fine_tuned_from", "distilled_from", "supersedes")

_MAX_INPUTS = 256  # as many as a token has links


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was fed of one dataset.

    Attributes:
        root: tree hash over the distinct digests that were fed, 32 bytes; None if none was.
        size: how many these are.
        seen: leaves of the manifest that were fed.
        unseen: leaves of the manifest that were not.
        foreign: digests that were fed and are no leaf of the manifest.
        given: data points that were fed, each as often as it was: over ``size``, how many passes
            were made; None where it was not counted.
    """

    root: bytes | None
    size: int
    seen: int
    unseen: int
    foreign: int
    given: int | None = None

    def __post_init__(self) -> None:
        """Refuse counts that cannot be."""
        if self.seen + self.foreign != self.size or (self.root is None) != (self.size == 0):
            raise FormatError(
                f"transcript: {self.seen} seen and {self.foreign} foreign are not {self.size}"
            )

    @classmethod
    def of(cls, fed: bytes, manifest: Manifest, given: int | None = None) -> Self:
        """Compare what was fed with a manifest.

        Args:
            fed: digests of data points, 32 bytes each, joined; repeats do not count.
            manifest: the dataset's.
            given: how many data points were fed, repeats counted.
        """
        digests = {fed[start : start + SIZE] for start in range(0, len(fed), SIZE)}
        seen = len(digests.intersection(manifest.leaves()))
        return cls(
            root=merkle.root(b"".join(sorted(digests))) if digests else None,
            size=len(digests),
            seen=seen,
            unseen=manifest.metadata.size - seen,
            foreign=len(digests) - seen,
            given=given,
        )

    def as_object(self) -> dict[str, Any]:
        """Return it the way metadata.json holds it."""
        value = asdict(self) | {"root": self.root.hex() if self.root else None}
        if self.given is None:
            del value["given"]
        return value


@dataclass(frozen=True, slots=True)
class Input:
    """An artifact the model was made from.

    Attributes:
        relation: ``trained_on``, ``tested_on``, …: one of `RELATIONS`.
        name: its name.
        metadata: SHA-256 of its metadata.json, 32 bytes: what its token commits to.
        transcript: what was fed of it, where that was recorded.
    """

    relation: str
    name: str
    metadata: bytes
    transcript: Transcript | None = None

    def __post_init__(self) -> None:
        """Refuse an unknown relation."""
        if self.relation not in RELATIONS:
            raise FormatError(f"relation {self.relation!r}: one of {', '.join(RELATIONS)}")

    def as_object(self) -> dict[str, Any]:
        """Return it the way metadata.json holds it."""
        value: dict[str, Any] = {
            "relation": self.relation,
            "name": self.name,
            "metadata": self.metadata.hex(),
        }
        return value | ({"transcript": self.transcript.as_object()} if self.transcript else {})


def stated_inputs(data: Metadata) -> list[Input]:
    """Return what a model's metadata states as its inputs.

    Raises:
        FormatError: it states them wrongly.
    """
    return inputs_of(data.document["alithis"].get("inputs", []), f"{data.name}: its metadata")


def inputs_of(stated: Any, where: str) -> list[Input]:
    """Read inputs the way metadata.json holds them.

    Args:
        stated: a list of objects, it is to be hoped.
        where: what states them, for errors.

    Raises:
        FormatError: they are stated wrongly.
    """
    try:
        if len(stated) > _MAX_INPUTS:
            raise ValueError(f"{len(stated)} of them")
        return [_input(**each) for each in stated]
    except (TypeError, ValueError, FormatError) as error:
        raise FormatError(f"{where} states its inputs wrongly") from error


def _input(
    relation: str, name: str, metadata: str, transcript: dict[str, Any] | None = None, **_: object
) -> Input:
    if not isinstance(name, str) or not name.isprintable():
        raise ValueError(name)
    recorded = _transcript(**transcript) if transcript is not None else None
    return Input(relation, name, _hash(metadata), recorded)


def _transcript(
    root: str | None,
    size: int,
    seen: int,
    unseen: int,
    foreign: int,
    given: int | None = None,
    **_: object,
) -> Transcript:
    counts = (size, seen, unseen, foreign, *(() if given is None else (given,)))
    if any(type(count) is not int or not 0 <= count < 1 << 48 for count in counts):
        raise ValueError(counts)
    return Transcript(None if root is None else _hash(root), *counts)


def _hash(text: str) -> bytes:
    if not re.fullmatch(rf"[0-9a-f]{{{2 * SIZE}}}", text):
        raise ValueError(text)
    return bytes.fromhex(text)
