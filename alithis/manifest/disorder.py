"""Evidence that a token's leaves are out of order, so that its proofs of absence prove nothing.

A proof of absence shows two adjacent leaves, one less and one greater than the absent leaf. It
proves absence only if all leaves ascend, which a root does not show. The attack: a dishonest
publisher puts a leaf out of order and then "proves" it absent. The evidence consists of two leaves
with Merkle paths, where the leaf at the lower index is not less than the other. The contract's
``reportDisorder`` checks it and marks the token permanently.

Evidence is found in a manifest by reading all leaves, or in proofs that a publisher gave. If one
leaf is proved both included and absent, one of its neighbours in the proof of absence is out of
order with it: of any two leaves that proofs show, the one at the lower index must be less.
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
    """Two leaves that are out of order.

    Attributes:
        lower: the leaf at the lower index.
        upper: the leaf at the higher index, which is not greater.
    """

    lower: Inclusion
    upper: Inclusion

    @classmethod
    def in_manifest(cls, manifest: Manifest) -> Self | None:
        """Find the first two adjacent leaves of a manifest that are out of order.

        Returns:
            The evidence, not yet checked against a commitment; None if all ascend.

        Raises:
            IntegrityError: a file does not have the size that the metadata states.
            StorageError: they cannot be read.
        """
        for index, (leaf, following) in enumerate(pairwise(manifest.leaves())):
            if leaf >= following:
                return cls(manifest.at(index), manifest.at(index + 1))
        return None

    @classmethod
    def between(cls, proofs: Iterable[Proof]) -> Self | None:
        """Find two leaves that are out of order among those that proofs show.

        Args:
            proofs: proofs of inclusion, or of absence, which show two neighbours.

        Returns:
            The evidence, not yet checked against a commitment; None if all ascend.
        """
        # Sorted by index, it is enough to compare neighbours: if these ascend, all pairs do.
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
            ProofError: the leaves ascend, or are not in the committed tree.
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
