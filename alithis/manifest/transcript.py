"""A model's inputs, as its metadata states them, with or without a transcript.

A transcript counts the data points of a dataset that a training run used. Inputs and transcripts
are statements of the model's publisher (docs/format.md, "Models"). The chain only stores which
tokens the model's token links to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from alithis.errors import FormatError
from alithis.forms.hashing import SIZE
from alithis.manifest import merkle
from alithis.manifest.metadata import Metadata
from alithis.manifest.reader import Manifest, ascending_blocks
from alithis.manifest.terms import MAX_LINKS, MAX_SIZE, Kind, Relation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TRANSCRIBED = (Relation.TRAINED_ON, Relation.VALIDATED_ON, Relation.TESTED_ON)
"""Relations of a model to a dataset. They can have a transcript."""
RELATIONS = (
    *TRANSCRIBED,
    Relation.FINE_TUNED_FROM,
    Relation.DISTILLED_FROM,
    Relation.SUPERSEDES,
)
"""Relations that an input of a model can have."""

_KEY = f"S{SIZE}"


@dataclass(frozen=True, slots=True)
class Transcript:
    """The part of a dataset that a training run used.

    Attributes:
        root: tree hash over the distinct digests that were used, 32 bytes; None if none were.
        size: number of these digests.
        seen: how many of them are leaves of the manifest.
        unseen: number of leaves of the manifest that were not used.
        foreign: how many of the digests are not leaves of the manifest.
        given: number of data points that were used, repeats counted, so ``given / size`` is the
            number of passes; None if it was not counted.
    """

    root: bytes | None
    size: int
    seen: int
    unseen: int
    foreign: int
    given: int | None = None

    def __post_init__(self) -> None:
        """Refuse counts that contradict each other."""
        if self.seen + self.foreign != self.size or (self.root is None) != (self.size == 0):
            raise FormatError(
                f"transcript: {self.seen} seen and {self.foreign} foreign do not add up to "
                f"{self.size}"
            )

    def contradiction(self, size: int | None, root: bytes | None) -> str:
        """Return why this cannot be a transcript of a dataset; empty if it can.

        Args:
            size: the dataset's number of leaves; None if not known.
            root: the root of its tree, 32 bytes; None if not known.

        Returns:
            The end of a sentence that begins with "the transcript".
        """
        counted = self.seen + self.unseen
        if size is not None and counted != size:
            return f"counts {counted} data points in a dataset that has {size}"
        # Exactly the dataset's leaves were used, and a set of digests has only one root.
        if self.unseen == self.foreign == 0 and root not in (None, self.root):
            return "says that exactly this dataset was used, but has another root"
        if self.given is not None and self.given < self.size:
            return f"counts {self.given} data points used, but {self.size} distinct ones"
        return ""

    @classmethod
    def of(cls, fed: bytes, manifest: Manifest, given: int | None = None) -> Self:
        """Compare the data points that were used with a manifest.

        Args:
            fed: their digests, 32 bytes each, joined; repeats do not count.
            manifest: the dataset's.
            given: number of data points that were used, repeats counted.

        Raises:
            IntegrityError: the manifest's leaves do not ascend.
        """
        import numpy as np

        digests = np.unique(np.frombuffer(fed, _KEY))
        return cls.of_sorted(lambda: iter([digests] if len(digests) else []), manifest, given)

    @classmethod
    def of_sorted(
        cls,
        blocks: Callable[[], Iterator[NDArray[np.bytes_]]],
        manifest: Manifest,
        given: int | None = None,
    ) -> Self:
        """Compare the data points that were used with a manifest, in bounded memory.

        Args:
            blocks: returns an iterator over their distinct digests, ascending, in arrays of type
                ``S32``; it is called several times.
            manifest: the dataset's.
            given: number of data points that were used, repeats counted.

        Raises:
            IntegrityError: the manifest's leaves do not ascend.
            StorageError: they cannot be read.
        """
        import numpy as np

        leaves = (np.frombuffer(block, _KEY) for block in ascending_blocks(manifest))
        seen = _shared(blocks(), leaves)
        size = sum(map(len, blocks()))
        return cls(
            root=merkle.tree(block.tobytes() for block in blocks()).root if size else None,
            size=size,
            seen=seen,
            unseen=manifest.metadata.size - seen,
            foreign=size - seen,
            given=given,
        )

    def as_object(self) -> dict[str, Any]:
        """Return it as a JSON object for metadata.json."""
        value = asdict(self) | {"root": self.root.hex() if self.root else None}
        if self.given is None:
            del value["given"]
        return value


def _shared(first: Iterator[NDArray[np.bytes_]], second: Iterator[NDArray[np.bytes_]]) -> int:
    """Count the digests that are in both of two ascending streams."""
    import numpy as np

    def both(one: NDArray[np.bytes_], other: NDArray[np.bytes_]) -> int:
        if np.array_equal(one, other):  # the usual case: the whole dataset was used
            return len(one)
        at = np.searchsorted(other, one)
        return int(np.count_nonzero(other[np.minimum(at, len(other) - 1)] == one))

    count, one, other = 0, next(first, None), next(second, None)
    while one is not None and other is not None:
        end = min(one[-1], other[-1])
        parts = [int(np.searchsorted(each, end, "right")) for each in (one, other)]
        if all(parts):
            count += both(one[: parts[0]], other[: parts[1]])
        one = one[parts[0] :] if parts[0] < len(one) else next(first, None)
        other = other[parts[1] :] if parts[1] < len(other) else next(second, None)
    return count


@dataclass(frozen=True, slots=True)
class Input:
    """An artifact that the model was made from.

    Attributes:
        relation: ``trained_on``, ``tested_on``, …: one of `RELATIONS`.
        name: its name.
        metadata: SHA-256 of its metadata.json, 32 bytes, which its token commits to.
        transcript: the part that the training run used, if it was recorded.
    """

    relation: str
    name: str
    metadata: bytes
    transcript: Transcript | None = None

    @classmethod
    def of(cls, relation: str, stated: Metadata) -> Self:
        """Return an input for an artifact, given its metadata.

        Raises:
            FormatError: the relation is unknown, or does not fit the artifact's kind.
        """
        found = cls(relation, stated.name, stated.digest)
        wanted = Kind.DATASET if relation in TRANSCRIBED else Kind.MODEL
        if stated.kind != wanted:
            raise FormatError(f"{stated.name} is a {stated.kind}, but {relation} needs a {wanted}")
        return found

    def __post_init__(self) -> None:
        """Refuse an unknown relation."""
        if self.relation not in RELATIONS:
            raise FormatError(
                f"unknown relation {self.relation!r}; choose one of {', '.join(RELATIONS)}"
            )

    def as_object(self) -> dict[str, Any]:
        """Return it as a JSON object for metadata.json."""
        value: dict[str, Any] = {
            "relation": self.relation,
            "name": self.name,
            "metadata": self.metadata.hex(),
        }
        return value | ({"transcript": self.transcript.as_object()} if self.transcript else {})


def stated_inputs(data: Metadata) -> list[Input]:
    """Return the inputs that a model's metadata states.

    Raises:
        FormatError: they are malformed.
    """
    return inputs_of(data.document["alithis"].get("inputs", []), f"{data.name}: its metadata")


def inputs_of(stated: Any, where: str) -> list[Input]:
    """Read inputs from their JSON form in metadata.json.

    Args:
        stated: any JSON value; well-formed inputs are a list of objects.
        where: the document that states them, which errors name.

    Raises:
        FormatError: they are malformed.
    """
    try:
        if len(stated) > MAX_LINKS:
            raise ValueError(f"{len(stated)} of them")
        return [_input(**each) for each in stated]
    except (TypeError, ValueError, FormatError) as error:
        raise FormatError(f"{where} states malformed inputs") from error


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
    if any(type(count) is not int or not 0 <= count < MAX_SIZE for count in counts):
        raise ValueError(counts)
    return Transcript(None if root is None else _hash(root), *counts)


def _hash(text: str) -> bytes:
    if not re.fullmatch(rf"[0-9a-f]{{{2 * SIZE}}}", text):
        raise ValueError(text)
    return bytes.fromhex(text)
