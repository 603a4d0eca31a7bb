"""Evidence that a token's leaves do not ascend, so that its proofs of absence are worth nothing.

Two leaves, each proved to stand at its place, the earlier one not below the later one: the
registry's ``reportDisorder`` marks the token for ever. They come out of a manifest, or out of
proofs that contradict each other: whoever hides a leaf out of order and denies it has given an
absence proof that no inclusion proof of the same leaf can stand beside.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from alithis.errors import ProofError
from alithis.manifest.proof import Exclusion, Inclusion, Proof
from alithis.manifest.reader import Manifest


@dataclass(frozen=True, slots=True)
class Disorder:
    """Two leaves that do not ascend.

    Attributes:
        lower: the one that stands first.
        upper: the one that stands later, and is not greater.
    """

    lower: Inclusion
    upper: Inclusion

    @classmethod
    def in_manifest(cls, manifest: Manifest) -> Self | None:
        """Look through a manifest's leaves for the first two neighbours that do not ascend.

        Returns:
            The evidence, which still has to be checked against a commitment; None if all ascend.

        Raises:
            IntegrityError: the manifest's files are not as long as its metadata says.
            StorageError: they cannot be read.
        """
        for index, (leaf, following) in enumerate(pairwise(manifest.leaves())):
            if leaf >= following:
                return cls(manifest.at(index), manifest.at(index + 1))
        return None

    @classmethod
    def between(cls, proofs: Iterable[Proof]) -> Self | None:
        """Look for two leaves that do not ascend among all that proofs show.

        Args:
            proofs: of inclusion, or of absence, which shows the two neighbours' places.

        Returns:
            The evidence, which still has to be checked against a commitment; None if all ascend.
        """
        shown = sorted(
            (leaf for proof in proofs for leaf in _shown(proof)), key=lambda leaf: leaf.index
        )
        for lower, upper in pairwise(shown):
            if lower.index < upper.index and lower.leaf >= upper.leaf:
                return cls(lower, upper)
        return None

    def check(self, root: bytes, size: int) -> None:
        """Check the evidence against a commitment.

        Args:
            root: the committed tree hash, 32 bytes.
            size: the committed number of leaves.

        Raises:
            ProofError: it shows no disorder there.
        """
        lower, upper = self.lower, self.upper
        if lower.index >= upper.index or lower.leaf < upper.leaf:
            raise ProofError(f"the leaves at {lower.index} and {upper.index} ascend")
        lower.check(root, size)
        upper.check(root, size)


def _shown(proof: Proof) -> list[Inclusion]:
    if isinstance(proof, Exclusion):
        return [neighbour for neighbour in (proof.left, proof.right) if neighbour]
    return [proof]
