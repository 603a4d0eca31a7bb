"""What the registry stores and emits: records, links, claims and events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alithis.ipfs.cid import Cid
from alithis.manifest.terms import ClaimStatus, Kind, Relation, Scheme


@dataclass(frozen=True, slots=True)
class Record:
    """What the chain holds of a token.

    Attributes:
        id: the token, from 1.
        kind: dataset or model.
        scheme: how its leaves are made.
        size: number of leaves.
        root: tree hash over the leaves, 32 bytes.
        metadata_digest: SHA-256 of metadata.json, 32 bytes.
        publisher: address that minted it; the owner may be another now.
        time: when it was minted, in seconds since 1970 by the block's clock.
        superseded_by: the token that replaces it, or None.
        withdrawn: whether it has been withdrawn.
        disordered: whether its leaves have been proved not to ascend.
        attestations: how many times somebody proved to the contract that a leaf is in it.
        claims: how many claims there are; their numbers are 1 to this.
        open_claims: how many of them are unanswered.
    """

    id: int
    kind: Kind
    scheme: Scheme
    size: int
    root: bytes
    metadata_digest: bytes
    publisher: str
    time: int
    superseded_by: int | None
    withdrawn: bool
    disordered: bool
    attestations: int
    claims: int
    open_claims: int

    @property
    def metadata_cid(self) -> Cid:
        """CID of metadata.json, a single raw block."""
        return Cid.raw(self.metadata_digest)


@dataclass(frozen=True, slots=True)
class Link:
    """A typed edge to an older token.

    Attributes:
        target: the older token.
        relation: how the artifact came from it.
        countersigned: whether the target's owner confirmed it, and no owner took that back.
    """

    target: int
    relation: Relation
    countersigned: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """What somebody says against the use of a data point of a token.

    Attributes:
        token: the token.
        number: the claim's, among those of the token, from 1.
        leaf: the data point's leaf, 32 bytes, proved to be in the token's tree.
        claimant: address of who filed it.
        time: when, in seconds since 1970 by the block's clock.
        status: how the token's owner answered.
    """

    token: int
    number: int
    leaf: bytes
    claimant: str
    time: int
    status: ClaimStatus


@dataclass(frozen=True, slots=True)
class Event:
    """An event of the registry.

    Attributes:
        name: its name in the ABI.
        args: its arguments by their names in the ABI; enums as words, addresses checksummed.
        block: number of its block.
        block_hash: hash of its block, 32 bytes.
        transaction: hash of its transaction, 32 bytes.
        index: its place among the block's logs.
    """

    name: str
    args: Mapping[str, Any]
    block: int
    block_hash: bytes
    transaction: bytes
    index: int
