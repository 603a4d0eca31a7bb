"""The registry contract in Python: the rules of IAlithis.sol, and nothing of Solidity.

`fake_chain` serves it to the tests that read a registry and need no chain. ``tests/chain`` compares
it with the contract: random histories must leave both in the same state, with the same answers,
errors and events, byte for byte (``helpers/machine.py``).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from helpers import reference

NOBODY = "0x" + "00" * 20
MAX_SIZE = 2**48 - 1
MAX_LINKS = 256
MAX_URI = 1024
MAX_LINEAGE = 1024


class Kind(IntEnum):
    """IAlithis.Kind."""

    DATASET = 0
    MODEL = 1


class Scheme(IntEnum):
    """IAlithis.Scheme."""

    SHA256 = 0
    KEYED = 1


class Relation(IntEnum):
    """IAlithis.Relation."""

    DERIVED_FROM = 0
    TRAINED_ON = 1
    VALIDATED_ON = 2
    TESTED_ON = 3
    FINE_TUNED_FROM = 4
    DISTILLED_FROM = 5
    SUPERSEDES = 6


class ClaimStatus(IntEnum):
    """IAlithis.ClaimStatus."""

    OPEN = 0
    REJECTED = 1
    ACCEPTED = 2
    REMOVED = 3


MADE_FROM = {Relation.DERIVED_FROM, Relation.TRAINED_ON}
MADE_FROM |= {Relation.FINE_TUNED_FROM, Relation.DISTILLED_FROM}
"""Relations that isDerivedFrom follows."""

Commitment = tuple[bytes, int, int, bytes]
"""IAlithis.Commitment: root, size, scheme, metadata digest."""


def relates(kind: Kind, relation: Relation, target: Kind) -> bool:
    """Returns whether the relation is allowed between the kinds."""
    if relation is Relation.SUPERSEDES:
        return kind is target
    if kind is Kind.DATASET:
        return target is Kind.DATASET and relation is Relation.DERIVED_FROM
    of_models = relation in (Relation.FINE_TUNED_FROM, Relation.DISTILLED_FROM)
    return relation is not Relation.DERIVED_FROM and of_models == (target is Kind.MODEL)


class RefusedError(Exception):
    """The contract reverts with one of its errors.

    Attributes:
        error: the error's name.
        values: its arguments by name.
    """

    def __init__(self, error: str, **values: Any) -> None:
        super().__init__(error, values)
        self.error, self.values = error, values


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a token to an older one."""

    target: int
    relation: Relation
    countersigned: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim against a token."""

    leaf: bytes
    claimant: str
    time: int
    status: ClaimStatus = ClaimStatus.OPEN


@dataclass(frozen=True, slots=True)
class Token:
    """The state of a token."""

    kind: Kind
    root: bytes
    size: int
    scheme: Scheme
    metadata: bytes
    publisher: str
    time: int
    owner: str
    links: tuple[Link, ...] = ()
    superseded_by: int = 0
    withdrawn: bool = False
    disordered: bool = False
    attestations: int = 0
    claims: tuple[Claim, ...] = ()

    @property
    def fixed(self) -> tuple[Any, ...]:
        """The values that never change."""
        commitment = (self.kind, self.root, self.size, self.scheme, self.metadata)
        edges = [(link.target, link.relation) for link in self.links]
        return (*commitment, self.publisher, self.time, edges)


@dataclass
class State:
    """Everything the contract stores: tokens by their ids from 1, and the nonces that are not 0."""

    tokens: dict[int, Token] = field(default_factory=dict)
    nonces: dict[str, int] = field(default_factory=dict)

    def copy(self) -> State:
        """Returns a copy; tokens are immutable."""
        return State(dict(self.tokens), dict(self.nonces))

    def change(self, id: int, **values: Any) -> None:
        """Changes a token."""
        self.tokens[id] = dataclasses.replace(self.tokens[id], **values)

    def derived(self, id: int, ancestor: int) -> bool:
        """Returns whether a token is derived from another, by the definition."""
        targets = [link.target for link in self.tokens[id].links if link.relation in MADE_FROM]
        return any(target == ancestor or self.derived(target, ancestor) for target in targets)


@dataclass(frozen=True, slots=True)
class Log:
    """An event, with its arguments by name."""

    name: str
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A call's result, the state after it, and its events."""

    value: Any
    state: State
    logs: tuple[Log, ...]


def call(
    state: State,
    name: str,
    args: Sequence[Any],
    *,
    sender: str = NOBODY,
    time: int = 0,
    signed: bool = False,
) -> Outcome:
    """Carries out a call, and leaves the given state as it was.

    Args:
        state: the contract's state.
        name: the function's name in the ABI.
        args: its arguments.
        sender: who calls.
        time: the block's, in seconds.
        signed: whether the signature of a relayed mint is the publisher's.

    Raises:
        RefusedError: the contract reverts.
    """
    run = _Call(state.copy(), sender, time, signed)
    value = getattr(run, snake(name))(*args)
    return Outcome(value, run.state, tuple(run.logs))


def snake(name: str) -> str:
    """Converts a name of the ABI to Python's convention: ``tokenId`` becomes ``token_id``."""
    name = name.replace("URI", "Uri")
    return re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", name)


class _Call:
    """A call in progress, with a method for each function of the contract."""

    def __init__(self, state: State, sender: str, time: int, signed: bool) -> None:
        self.state, self.sender, self.time, self.signed = state, sender, time, signed
        self.logs: list[Log] = []

    def emit(self, name: str, **args: Any) -> None:
        self.logs.append(Log(name, args))

    # Minting

    def mint_dataset(self, commitment: Commitment, links: Sequence[Any]) -> int:
        return self.mint(Kind.DATASET, commitment, links)

    def mint_model(self, commitment: Commitment, links: Sequence[Any]) -> int:
        return self.mint(Kind.MODEL, commitment, links)

    def mint_dataset_for(self, *args: Any) -> int:
        return self.mint_for(Kind.DATASET, *args)

    def mint_model_for(self, *args: Any) -> int:
        return self.mint_for(Kind.MODEL, *args)

    def mint(self, kind: Kind, commitment: Commitment, links: Sequence[Any]) -> int:
        id = self.publish(kind, self.sender, commitment, links)
        self.hand_over(id, NOBODY, self.sender)
        return id

    def mint_for(
        self,
        kind: Kind,
        publisher: str,
        commitment: Commitment,
        links: Sequence[Any],
        deadline: int,
        _signature: bytes,
    ) -> int:
        if self.time > deadline:
            raise RefusedError("ExpiredSignature", deadline=deadline)
        nonce = self.use_nonce(publisher)
        if not self.signed:
            raise RefusedError("InvalidSignature", publisher=publisher, nonce=nonce)
        id = self.publish(kind, publisher, commitment, links)
        self.emit("Relayed", id=id, publisher=publisher, relayer=self.sender, nonce=nonce)
        self.hand_over(id, NOBODY, publisher)
        return id

    def publish(
        self, kind: Kind, publisher: str, commitment: Commitment, links: Sequence[Any]
    ) -> int:
        root, size, scheme, metadata = commitment
        if not any(root):
            raise RefusedError("InvalidRoot", root=root)
        if not 0 < size <= MAX_SIZE:
            raise RefusedError("InvalidSize", size=size)
        if not any(metadata):
            raise RefusedError("InvalidMetadataDigest", metadataDigest=metadata)
        id = len(self.state.tokens) + 1
        minted = Token(
            kind, root, size, Scheme(scheme), metadata, publisher, self.time, owner=NOBODY
        )
        self.emit(
            "Minted",
            id=id,
            root=root,
            publisher=publisher,
            kind=kind,
            scheme=scheme,
            size=size,
            metadataDigest=metadata,
            time=self.time,
        )
        given = self.link(id, kind, publisher, [(target, Relation(r)) for target, r in links])
        self.state.tokens[id] = dataclasses.replace(minted, links=given)
        return id

    def link(
        self, id: int, kind: Kind, publisher: str, links: Sequence[tuple[int, Relation]]
    ) -> tuple[Link, ...]:
        if len(links) > MAX_LINKS:
            raise RefusedError("TooManyLinks", count=len(links), limit=MAX_LINKS)
        for position, (target, relation) in enumerate(links):
            where = {"position": position, "target": target}
            if target not in self.state.tokens:
                raise RefusedError("UnknownTarget", **where)
            target_kind = self.state.tokens[target].kind
            if not relates(kind, relation, target_kind):
                kinds = {"kind": kind, "relation": relation, "targetKind": target_kind}
                raise RefusedError("WrongRelation", position=position, **kinds)
            if (target, relation) in links[:position]:
                raise RefusedError("DuplicateLink", **where, relation=relation)
            if relation is Relation.SUPERSEDES:
                self.supersede(target, id, publisher)
            self.emit("Linked", id=id, target=target, relation=relation, position=position)
        return tuple(Link(*link) for link in links)

    def supersede(self, id: int, by: int, publisher: str) -> None:
        token = self.state.tokens[id]
        if token.owner != publisher:
            raise RefusedError(
                "NotOwnerOfSuperseded", id=id, owner=token.owner, publisher=publisher
            )
        if token.superseded_by:
            raise RefusedError("AlreadySuperseded", id=id, by=token.superseded_by)
        self.state.change(id, superseded_by=by)
        self.emit("Superseded", id=id, by=by)

    def revoke_nonce(self) -> int:
        nonce = self.use_nonce(self.sender)
        self.emit("NonceRevoked", publisher=self.sender, nonce=nonce)
        return nonce

    def use_nonce(self, publisher: str) -> int:
        nonce = self.nonces(publisher)
        self.state.nonces[publisher] = nonce + 1
        return nonce

    # Evidence

    def attest(self, id: int, leaf: bytes, index: int, path: Sequence[bytes]) -> None:
        token = self.token(id)
        self.require_included(id, leaf, index, path)
        self.state.change(id, attestations=token.attestations + 1)
        self.emit("Attested", id=id, leaf=leaf, attester=self.sender, index=index)

    def countersign(self, id: int, position: int) -> None:
        self.mark_link(id, position, True)

    def retract_countersignature(self, id: int, position: int) -> None:
        self.mark_link(id, position, False)

    def mark_link(self, id: int, position: int, countersigned: bool) -> None:
        links = list(self.token(id).links)
        where = {"id": id, "position": position}
        if position >= len(links):
            raise RefusedError("NonexistentLink", **where)
        link = links[position]
        self.require_owner(link.target)
        if link.countersigned == countersigned:
            raise RefusedError(
                "AlreadyCountersigned" if countersigned else "NotCountersigned", **where
            )
        links[position] = dataclasses.replace(link, countersigned=countersigned)
        self.state.change(id, links=tuple(links))
        name = "Countersigned" if countersigned else "CountersignatureRetracted"
        self.emit(name, id=id, target=link.target, owner=self.sender, position=position)

    def claim(self, id: int, leaf: bytes, index: int, path: Sequence[bytes], uri: str) -> int:
        claims = self.token(id).claims
        self.require_included(id, leaf, index, path)
        self.require_short(uri)
        self.state.change(id, claims=(*claims, Claim(leaf, self.sender, self.time)))
        number = len(claims) + 1
        filed = {"number": number, "time": self.time, "uri": uri}
        self.emit("Claimed", id=id, leaf=leaf, claimant=self.sender, **filed)
        return number

    def answer_claim(self, id: int, number: int, answer: int, uri: str) -> None:
        claims = list(self.token(id).claims)
        self.require_owner(id)
        claim = self.claim_numbered(id, number)
        if answer <= claim.status:
            values = {"status": claim.status, "answer": answer}
            raise RefusedError("InvalidAnswer", id=id, number=number, **values)
        if answer == ClaimStatus.REMOVED and not self.state.tokens[id].superseded_by:
            raise RefusedError("NotSuperseded", id=id)
        self.require_short(uri)
        claims[number - 1] = dataclasses.replace(claim, status=ClaimStatus(answer))
        self.state.change(id, claims=tuple(claims))
        said = {"answer": answer, "uri": uri}
        self.emit("ClaimAnswered", id=id, number=number, owner=self.sender, **said)

    def report_disorder(
        self,
        id: int,
        lower: int,
        lower_leaf: bytes,
        lower_path: Sequence[bytes],
        upper: int,
        upper_leaf: bytes,
        upper_path: Sequence[bytes],
    ) -> None:
        if self.token(id).disordered:
            raise RefusedError("AlreadyDisordered", id=id)
        places = {"lower": lower, "lowerLeaf": lower_leaf, "upper": upper, "upperLeaf": upper_leaf}
        if lower >= upper or lower_leaf < upper_leaf:
            raise RefusedError("NoDisorder", **places)
        self.require_included(id, lower_leaf, lower, lower_path)
        self.require_included(id, upper_leaf, upper, upper_path)
        self.state.change(id, disordered=True)
        self.emit("Disordered", id=id, reporter=self.sender, **places)

    def withdraw(self, id: int, uri: str) -> None:
        token = self.token(id)
        self.require_owner(id)
        if token.withdrawn:
            raise RefusedError("AlreadyWithdrawn", id=id)
        self.require_short(uri)
        self.state.change(id, withdrawn=True)
        self.emit("Withdrawn", id=id, owner=self.sender, uri=uri)

    def transfer_from(self, giver: str, taker: str, id: int) -> None:
        """By the owner alone: approvals are OpenZeppelin's to test."""
        owner = self.token(id).owner
        if owner != self.sender:
            raise RefusedError("ERC721InsufficientApproval", operator=self.sender, tokenId=id)
        if owner != giver:
            raise RefusedError("ERC721IncorrectOwner", sender=giver, tokenId=id, owner=owner)
        self.hand_over(id, giver, taker)

    def hand_over(self, id: int, giver: str, taker: str) -> None:
        self.state.change(id, owner=taker)
        self.emit("Transfer", **{"from": giver, "to": taker, "tokenId": id})

    # What is refused

    def token(self, id: int) -> Token:
        if id not in self.state.tokens:
            raise RefusedError("ERC721NonexistentToken", tokenId=id)
        return self.state.tokens[id]

    def claim_numbered(self, id: int, number: int) -> Claim:
        claims = self.token(id).claims
        if not 1 <= number <= len(claims):
            raise RefusedError("NonexistentClaim", id=id, number=number)
        return claims[number - 1]

    def require_owner(self, id: int) -> None:
        owner = self.state.tokens[id].owner
        if owner != self.sender:
            raise RefusedError("NotOwner", id=id, owner=owner, sender=self.sender)

    def require_included(self, id: int, leaf: bytes, index: int, path: Sequence[bytes]) -> None:
        if not self.verify_inclusion(id, leaf, index, path):
            raise RefusedError("NotIncluded", id=id, leaf=leaf, index=index)

    def require_short(self, uri: str) -> None:
        length = len(uri.encode())
        if length > MAX_URI:
            raise RefusedError("UriTooLong", length=length, limit=MAX_URI)

    # Reading

    def total_supply(self) -> int:
        return len(self.state.tokens)

    def record(self, id: int) -> tuple[Any, ...]:
        token = self.token(id)
        return (
            token.kind,
            token.scheme,
            token.size,
            token.root,
            token.metadata,
            token.publisher,
            token.time,
            token.superseded_by,
            token.withdrawn,
            token.disordered,
            token.attestations,
            len(token.claims),
            sum(claim.status is ClaimStatus.OPEN for claim in token.claims),
        )

    def links(self, id: int) -> list[tuple[Any, ...]]:
        return [dataclasses.astuple(link) for link in self.token(id).links]

    def claim_of(self, id: int, number: int) -> tuple[Any, ...]:
        return dataclasses.astuple(self.claim_numbered(id, number))

    def is_derived_from(self, id: int, ancestor: int) -> bool:
        self.token(id)
        self.token(ancestor)
        limit = min(id - ancestor, MAX_LINEAGE)
        queue = [id] if id > ancestor else []
        for each in queue:
            for link in self.state.tokens[each].links:
                if link.target < ancestor or link.relation not in MADE_FROM:
                    continue
                if link.target == ancestor:
                    return True
                if link.target in queue:
                    continue
                if len(queue) == limit:
                    raise RefusedError("LineageTooLarge", id=id, ancestor=ancestor, limit=limit)
                queue.append(link.target)
        return False

    def verify_inclusion(self, id: int, leaf: bytes, index: int, path: Sequence[bytes]) -> bool:
        token = self.token(id)
        return reference.root_from_path(leaf, index, token.size, path) == token.root

    def verify_exclusion(
        self,
        id: int,
        leaf: bytes,
        index: int,
        left: bytes,
        left_path: Sequence[bytes],
        right: bytes,
        right_path: Sequence[bytes],
    ) -> bool:
        token = self.token(id)
        if token.disordered or index > token.size:
            return False
        return self.stands_beside(
            id, index - 1, left, left_path, at_edge=index == 0, ordered=left < leaf
        ) and self.stands_beside(
            id, index, right, right_path, at_edge=index == token.size, ordered=leaf < right
        )

    def stands_beside(
        self,
        id: int,
        index: int,
        leaf: bytes,
        path: Sequence[bytes],
        *,
        at_edge: bool,
        ordered: bool,
    ) -> bool:
        if at_edge:
            return not any(leaf) and not path
        return ordered and self.verify_inclusion(id, leaf, index, path)

    def nonces(self, publisher: str) -> int:
        return self.state.nonces.get(publisher, 0)

    def owner_of(self, id: int) -> str:
        return self.token(id).owner

    def balance_of(self, owner: str) -> int:
        return sum(token.owner == owner for token in self.state.tokens.values())

    def token_uri(self, id: int) -> str:
        return f"ipfs://f01551220{self.token(id).metadata.hex()}"

    def name(self) -> str:
        return "Alithis"

    def symbol(self) -> str:
        return "ALITHIS"


VIEWS = (
    *("totalSupply", "record", "links", "claimOf", "isDerivedFrom", "verifyInclusion"),
    *("verifyExclusion", "nonces", "ownerOf", "balanceOf", "tokenURI", "name", "symbol"),
)
"""Functions that read, by their names in the ABI."""
