"""The values that the registry stores and emits: records, links, claims and events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alithis.ipfs.cid import Cid
from alithis.manifest.terms import ClaimStatus, Kind, Relation, Scheme


@dataclass(frozen=True, slots=True)
class Record:
    """The registry's record of a token.

    Attributes:
        id: the token's id, from 1.
        kind: dataset or model.
        scheme: how its leaves are made.
        size: number of leaves.
        root: tree hash over the leaves, 32 bytes.
        metadata_digest: SHA-256 of metadata.json, 32 bytes.
        publisher: address that minted it; the present owner may be another address.
        time: when it was minted: the block's time in seconds since 1970.
        superseded_by: the token that replaces it, or None.
        withdrawn: whether it was withdrawn.
        disordered: whether its leaves were proved not to be in ascending order.
        attestations: how many times somebody proved to the contract that it contains a leaf.
        claims: number of claims; their numbers are 1 to this.
        open_claims: number of unanswered claims.
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
        """CID of metadata.json, which is a single raw block."""
        return Cid.raw(self.metadata_digest)


@dataclass(frozen=True, slots=True)
class Link:
    """A link with a relation to an older token.

    Attributes:
        target: the older token.
        relation: how the artifact was made from it.
        countersigned: whether an owner of the target confirmed the link, and none has retracted
            the confirmation.
    """

    target: int
    relation: Relation
    countersigned: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim against the use of a data point of a token.

    Attributes:
        token: the token.
        number: the claim's number among the token's claims, from 1.
        leaf: the data point's leaf, 32 bytes, proved to be in the token's tree.
        claimant: address of who filed it.
        time: when it was filed: the block's time in seconds since 1970.
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
        args: its arguments by their names in the ABI; enums as terms, addresses with checksums.
        block: number of its block.
        block_hash: hash of its block, 32 bytes.
        transaction: hash of its transaction, 32 bytes.
        index: its position among the block's logs.
    """

    name: str
    args: Mapping[str, Any]
    block: int
    block_hash: bytes
    transaction: bytes
    index: int
