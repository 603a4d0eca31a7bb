"""The whole contract against a model of it: any history of calls, by Hypothesis.

The model knows IAlithis's rules and nothing of Solidity. Each step is predicted: what it changes,
or the exact error. The state is kept three times, by the model, by the contract's views, and by
whoever has seen the events alone; the three must be the same.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ape
import reference
from ape.api import AccountAPI
from ape.contracts import ContractInstance
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from relaying import sign
from solidity import MADE_FROM, digest, refused
from solidity import Kind as Number

from alithis.chain import abi
from alithis.chain.index import Index
from alithis.chain.queries import DERIVES
from alithis.chain.records import Event, Link
from alithis.chain.registry import Registry
from alithis.manifest.terms import ClaimStatus, Kind, Relation, Scheme
from alithis_ape.transport import ProviderTransport

LEAVES = sorted(digest(f"leaf {number}") for number in range(6))
TREES = tuple(
    tuple(LEAVES[place] for place in places)
    for places in ((0,), (0, 2, 4), (1, 2, 3, 4, 5), (2, 1), (0, 3, 3, 5), (5, 4, 0))
)
"""Leaves of artifacts: three that ascend, and three that do not."""

ACTORS = 4

Refusal = tuple[str, Mapping[str, Any]] | None
"""An error's name and values; None where a call succeeds."""


@dataclass
class Claim:
    """What a claim is at a time."""

    leaf: bytes
    claimant: str
    time: int
    status: ClaimStatus = ClaimStatus.OPEN


@dataclass
class Token:
    """What a token is at a time."""

    kind: Kind
    root: bytes
    size: int
    scheme: Scheme
    metadata: bytes
    publisher: str
    time: int
    owner: str
    links: list[Link] = field(default_factory=list)
    superseded_by: int = 0
    withdrawn: bool = False
    disordered: bool = False
    attestations: int = 0
    claims: list[Claim] = field(default_factory=list)

    @property
    def fixed(self) -> tuple[Any, ...]:
        """What never changes."""
        commitment = (self.kind, self.root, self.size, self.scheme, self.metadata)
        edges = [(link.target, link.relation) for link in self.links]
        return (*commitment, self.publisher, self.time, edges)


@dataclass
class State:
    """All that there is: tokens by their ids from 1, and the nonces that are not 0."""

    tokens: dict[int, Token] = field(default_factory=dict)
    nonces: dict[str, int] = field(default_factory=dict)

    def derived(self, id: int, ancestor: int) -> bool:
        """Whether a token was made from another, by the definition."""
        targets = [
            link.target for link in self.tokens[id].links if link.relation.number in MADE_FROM
        ]
        return any(target == ancestor or self.derived(target, ancestor) for target in targets)


# -- The state by the contract's views ---------------------------------------------------------


def state_by_views(registry: ContractInstance, accounts: Iterable[str]) -> State:
    """Reads everything, with one call for the records and one for what they lead to."""
    count = registry.totalSupply()
    names = ("record", "links", "ownerOf")
    asked = [(name, (id,)) for id in range(1, count + 1) for name in names]
    asked += [("nonces", (account,)) for account in accounts]
    answers = dict(zip(asked, _views(registry, asked), strict=True))
    claims = [
        ("claimOf", (id, number))
        for id in range(1, count + 1)
        for number in range(1, answers["record", (id,)]["claims"] + 1)
    ]
    answers |= dict(zip(claims, _views(registry, claims), strict=True))
    tokens = {id: _token_by_views(id, answers) for id in range(1, count + 1)}
    nonces = {account: answers["nonces", (account,)] for account in accounts}
    return State(tokens, {account: nonce for account, nonce in nonces.items() if nonce})


def _views(registry: ContractInstance, asked: Sequence[tuple[str, tuple[Any, ...]]]) -> list[Any]:
    functions = abi.interface().functions
    calls = [functions[name].encode(*args) for name, args in asked]
    answers = registry.multicall.call(calls) if calls else []
    return [
        functions[name].decode(bytes(answer))
        for (name, _), answer in zip(asked, answers, strict=True)
    ]


def _token_by_views(id: int, answers: Mapping[tuple[str, tuple[Any, ...]], Any]) -> Token:
    record = answers["record", (id,)]
    claims = [
        Claim(claim["leaf"], claim["claimant"], claim["time"], claim["status"])
        for claim in (answers["claimOf", (id, n)] for n in range(1, record["claims"] + 1))
    ]
    assert record["openClaims"] == sum(claim.status is ClaimStatus.OPEN for claim in claims)
    return Token(
        kind=record["kind"],
        root=record["root"],
        size=record["size"],
        scheme=record["scheme"],
        metadata=record["metadataDigest"],
        publisher=record["publisher"],
        time=record["time"],
        owner=answers["ownerOf", (id,)],
        links=[Link(**link) for link in answers["links", (id,)]],
        superseded_by=record["supersededBy"],
        withdrawn=record["withdrawn"],
        disordered=record["disordered"],
        attestations=record["attestations"],
        claims=claims,
    )


# -- The state by the events alone -------------------------------------------------------------


def state_by_events(events: Iterable[Event]) -> State:
    """Rebuilds everything as an indexer does, without a call."""
    state = State()
    for event in events:
        REPLAY[event.name](state, **{_snake(name): each for name, each in event.args.items()})
    return state


def _snake(name: str) -> str:
    """An argument's name as Python has it: ``tokenId`` is ``token_id``, ``from`` is ``from_``."""
    return re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", name).replace("from", "from_")


def _minted(state: State, id: int, metadata_digest: bytes, **rest: Any) -> None:
    assert id == len(state.tokens) + 1
    state.tokens[id] = Token(metadata=metadata_digest, owner="", **rest)


def _linked(state: State, id: int, target: int, relation: Relation, position: int) -> None:
    assert position == len(state.tokens[id].links)
    state.tokens[id].links.append(Link(target, relation))


def _superseded(state: State, id: int, by: int) -> None:
    state.tokens[id].superseded_by = by


def _transferred(state: State, from_: str, to: str, token_id: int) -> None:
    assert state.tokens[token_id].owner in (from_, "")
    state.tokens[token_id].owner = to


def _nonce_used(state: State, publisher: str, nonce: int, **_: Any) -> None:
    assert state.nonces.get(publisher, 0) == nonce
    state.nonces[publisher] = nonce + 1


def _attested(state: State, id: int, **_: Any) -> None:
    state.tokens[id].attestations += 1


def _countersigned(state: State, id: int, target: int, owner: str, position: int) -> None:
    _mark_link(state, id, target, owner, position, True)


def _retracted(state: State, id: int, target: int, owner: str, position: int) -> None:
    _mark_link(state, id, target, owner, position, False)


def _mark_link(
    state: State, id: int, target: int, owner: str, position: int, countersigned: bool
) -> None:
    link = state.tokens[id].links[position]
    assert (link.target, state.tokens[target].owner) == (target, owner)
    assert link.countersigned != countersigned
    state.tokens[id].links[position] = dataclasses.replace(link, countersigned=countersigned)


def _claimed(
    state: State, id: int, leaf: bytes, claimant: str, number: int, time: int, **_: Any
) -> None:
    state.tokens[id].claims.append(Claim(leaf, claimant, time))
    assert number == len(state.tokens[id].claims)


def _answered(
    state: State, id: int, number: int, owner: str, answer: ClaimStatus, **_: Any
) -> None:
    assert state.tokens[id].owner == owner
    state.tokens[id].claims[number - 1].status = answer


def _disordered(state: State, id: int, **_: Any) -> None:
    state.tokens[id].disordered = True


def _withdrawn(state: State, id: int, owner: str, **_: Any) -> None:
    assert state.tokens[id].owner == owner
    state.tokens[id].withdrawn = True


REPLAY: dict[str, Callable[..., None]] = {
    "Minted": _minted,
    "Linked": _linked,
    "Superseded": _superseded,
    "Transfer": _transferred,
    "Relayed": _nonce_used,
    "NonceRevoked": _nonce_used,
    "Attested": _attested,
    "Countersigned": _countersigned,
    "CountersignatureRetracted": _retracted,
    "Claimed": _claimed,
    "ClaimAnswered": _answered,
    "Disordered": _disordered,
    "Withdrawn": _withdrawn,
    "Approval": lambda *_, **__: None,
    "ApprovalForAll": lambda *_, **__: None,
}


# -- The state by the model --------------------------------------------------------------------


def relates(kind: Kind, relation: Relation, target: Kind) -> bool:
    """Which relations there are between which kinds."""
    if relation is Relation.SUPERSEDES:
        return kind is target
    if kind is Kind.DATASET:
        return target is Kind.DATASET and relation is Relation.DERIVED_FROM
    of_models = relation in (Relation.FINE_TUNED_FROM, Relation.DISTILLED_FROM)
    return relation is not Relation.DERIVED_FROM and of_models == (target is Kind.MODEL)


actors = st.integers(0, ACTORS - 1)
trees = st.integers(0, len(TREES) - 1)
texts = st.sampled_from(["ipfs://text"] * 6 + ["", "é" * 512, "x" * 1025])
mostly = st.sampled_from([True] * 5 + [False])
drawn = st.data()


class Machine(RuleBasedStateMachine):
    """Steps that anyone may try, each with what the model says will come of it."""

    def __init__(self, registry: ContractInstance, accounts: Sequence[AccountAPI]) -> None:
        super().__init__()
        self.registry = registry
        self.accounts = accounts[:ACTORS]
        self.provider = ape.networks.provider
        self.snapshot = self.provider.snapshot()
        self.state = State()
        self.fixed: dict[int, tuple[Any, ...]] = {}

    def teardown(self) -> None:
        """Compares what the events tell, then takes the history back."""
        try:
            self.events_tell_the_state()
            self.lineage_is_by_the_definition()
        finally:
            self.provider.restore(self.snapshot)
            ape.chain.history.revert_to_block(ape.chain.blocks.height)

    # What is drawn

    def token(self, data: Any) -> int:
        """Some token's id, or seldom the next, which there is not yet."""
        ids = sorted(self.state.tokens)
        return data.draw(st.sampled_from(ids * 5 + [len(ids) + 1]), label="token")

    def links(self, data: Any) -> list[tuple[int, Relation]]:
        link = st.tuples(st.integers(0, len(self.state.tokens) + 1), st.sampled_from(Relation))
        return data.draw(st.lists(link, max_size=5), label="links")

    def apt_links(self, data: Any, kind: Kind) -> list[tuple[int, Relation]]:
        """Links that are mostly right: of random ones few are."""
        apt = [
            (id, relation)
            for id, token in self.state.tokens.items()
            for relation in Relation
            if relates(kind, relation, token.kind)
        ]
        if not apt or data.draw(st.integers(0, 4), label="any links") == 0:
            return self.links(data)
        return data.draw(st.lists(st.sampled_from(apt), max_size=5), label="links")

    def proof(self, tree: int, place: int) -> tuple[bytes, int, list[bytes]]:
        leaves = TREES[tree]
        index = place % len(leaves)
        return leaves[index], index, reference.path(index, leaves)

    def address(self, actor: int) -> str:
        return str(self.accounts[actor].address)

    # What is predicted

    def unknown(self, id: int) -> Refusal:
        if id in self.state.tokens:
            return None
        return "ERC721NonexistentToken", {"tokenId": id}

    def not_owner(self, id: int, sender: str) -> Refusal:
        owner = self.state.tokens[id].owner
        return (
            None if owner == sender else ("NotOwner", {"id": id, "owner": owner, "sender": sender})
        )

    def not_included(self, id: int, tree: int, leaf: bytes, index: int) -> Refusal:
        if self.state.tokens[id].root == reference.mth(TREES[tree]):
            return None
        return "NotIncluded", {"id": id, "leaf": leaf, "index": index}

    def too_long(self, text: str) -> Refusal:
        length = len(text.encode())
        return ("UriTooLong", {"length": length, "limit": 1024}) if length > 1024 else None

    def unfit_links(
        self, kind: Kind, links: Sequence[tuple[int, Relation]], publisher: str
    ) -> Refusal:
        tokens = self.state.tokens
        for position, (target, relation) in enumerate(links):
            if target not in tokens:
                return "UnknownTarget", {"position": position, "target": target}
            target_kind = tokens[target].kind
            if not relates(kind, relation, target_kind):
                kinds = {"kind": kind.number, "targetKind": target_kind.number}
                values = {"position": position, "relation": relation.number}
                return "WrongRelation", values | kinds
            if (target, relation) in links[:position]:
                values = {"position": position, "target": target, "relation": relation.number}
                return "DuplicateLink", values
            if relation is Relation.SUPERSEDES and tokens[target].owner != publisher:
                owner = tokens[target].owner
                values = {"id": target, "owner": owner, "publisher": publisher}
                return "NotOwnerOfSuperseded", values
            if relation is Relation.SUPERSEDES and tokens[target].superseded_by:
                return "AlreadySuperseded", {"id": target, "by": tokens[target].superseded_by}
        return None

    def unfit_link(self, id: int, position: int, sender: str, countersigned: bool) -> Refusal:
        if refusal := self.unknown(id):
            return refusal
        where = {"id": id, "position": position}
        links = self.state.tokens[id].links
        if position >= len(links):
            return "NonexistentLink", where
        if refusal := self.not_owner(links[position].target, sender):
            return refusal
        if links[position].countersigned != countersigned:
            return "AlreadyCountersigned" if not countersigned else "NotCountersigned", where
        return None

    # What is done

    def send(self, method: str, *args: Any, by: int, refusal: Refusal) -> Any:
        """Sends a call; its receipt, or None where it is refused as predicted."""
        function = getattr(self.registry, method)
        if refusal is None:
            return function(*args, sender=self.accounts[by])
        name, values = refusal
        with refused(getattr(self.registry, name), **values):
            function(*args, sender=self.accounts[by])
        return None

    def minted(
        self,
        receipt: Any,
        kind: Kind,
        given: tuple[bytes, int, int, bytes],
        links: Sequence[tuple[int, Relation]],
        publisher: str,
    ) -> None:
        root, size, scheme, metadata = given
        id = len(self.state.tokens) + 1
        self.state.tokens[id] = Token(
            kind=kind,
            root=root,
            size=size,
            scheme=list(Scheme)[scheme],
            metadata=metadata,
            publisher=publisher,
            time=receipt.timestamp,
            owner=publisher,
            links=[Link(*link) for link in links],
        )
        for target, relation in links:
            if relation is Relation.SUPERSEDES:
                self.state.tokens[target].superseded_by = id

    def commitment(self, tree: int, scheme: int) -> tuple[bytes, int, int, bytes]:
        leaves = TREES[tree]
        return reference.mth(leaves), len(leaves), scheme, digest(f"metadata {tree}")

    # The steps

    @initialize()
    def two_tokens(self) -> None:
        """A dataset in disorder, and a model trained on it by another."""
        trained = [(1, Relation.TRAINED_ON)]
        for kind, tree, links, by in ((Kind.DATASET, 4, [], 0), (Kind.MODEL, 1, trained, 1)):
            self.mint_as(kind, tree, 0, links, by)

    @rule(data=drawn, kind=st.sampled_from(Kind), tree=trees, scheme=st.integers(0, 1), by=actors)
    def mint(self, data: Any, kind: Kind, tree: int, scheme: int, by: int) -> None:
        self.mint_as(kind, tree, scheme, self.apt_links(data, kind), by)

    def mint_as(
        self, kind: Kind, tree: int, scheme: int, links: list[tuple[int, Relation]], by: int
    ) -> None:
        publisher = self.address(by)
        given = self.commitment(tree, scheme)
        refusal = self.unfit_links(kind, links, publisher)
        method = "mintModel" if kind is Kind.MODEL else "mintDataset"
        written = [(target, relation.number) for target, relation in links]
        if receipt := self.send(method, given, written, by=by, refusal=refusal):
            self.minted(receipt, kind, given, links, publisher)

    @rule(
        data=drawn,
        kind=st.sampled_from(Kind),
        tree=trees,
        publisher=actors,
        by=actors,
        fault=st.sampled_from([None] * 5 + ["chain", "contract", "signer", "nonce", "late"]),
    )
    def relay(
        self, data: Any, kind: Kind, tree: int, publisher: int, by: int, fault: str | None
    ) -> None:
        name = self.address(publisher)
        nonce = self.state.nonces.get(name, 0)
        links = self.apt_links(data, kind)
        given = self.commitment(tree, 0)
        past = ape.chain.blocks.head.timestamp - 1
        changes = {
            "chain": {"chainId": 1},
            "contract": {"verifyingContract": name},
            "nonce": {"nonce": nonce + 1},
            "late": {"deadline": past},
        }
        signed = sign(
            self.registry,
            self.accounts[(publisher + 1) % ACTORS if fault == "signer" else publisher],
            Number[kind.name],
            given,
            [(target, relation.number) for target, relation in links],
            **{"publisher": name, "nonce": nonce} | changes.get(fault or "", {}),
        )
        refusal: Refusal = "InvalidSignature", {"publisher": name, "nonce": nonce}
        if fault == "late":
            refusal = "ExpiredSignature", {"deadline": past}
        elif fault is None:
            refusal = self.unfit_links(kind, links, name)
        method = "mintModelFor" if kind is Kind.MODEL else "mintDatasetFor"
        if receipt := self.send(method, *signed, by=by, refusal=refusal):
            self.minted(receipt, kind, given, links, name)
            self.state.nonces[name] = nonce + 1
            refusal = "InvalidSignature", {"publisher": name, "nonce": nonce + 1}
            self.send(method, *signed, by=by, refusal=refusal)  # replayed

    @rule(data=drawn, actor=actors, seconds=st.integers(1, 10**8))
    def meanwhile(self, data: Any, actor: int, seconds: int) -> None:
        """What is no evidence: a sale, a nonce revoked, time."""
        happens = st.sampled_from(["sale"] * 3 + ["nonce", "time"])
        match data.draw(happens, label="what"):
            case "sale":
                self.transfer(data, actor)
            case "nonce":
                self.send("revokeNonce", by=actor, refusal=None)
                name = self.address(actor)
                self.state.nonces[name] = self.state.nonces.get(name, 0) + 1
            case "time":
                ape.chain.mine(deltatime=seconds)

    def transfer(self, data: Any, to: int) -> None:
        """By whoever owns it: ERC-721's own rules are OpenZeppelin's to test."""
        id = data.draw(st.sampled_from(sorted(self.state.tokens)), label="token")
        token = self.state.tokens[id]
        by = self.owner_of(id)
        self.send("transferFrom", token.owner, self.address(to), id, by=by, refusal=None)
        token.owner = self.address(to)

    @rule(data=drawn, tree=trees, place=st.integers(0, 4), own=mostly, by=actors)
    def attest(self, data: Any, tree: int, place: int, own: bool, by: int) -> None:
        id = self.token(data)
        leaf, index, path = self.proof(self.tree_of(id, tree, own), place)
        refusal = self.unknown(id) or self.not_included(
            id, self.tree_of(id, tree, own), leaf, index
        )
        if self.send("attest", id, leaf, index, path, by=by, refusal=refusal):
            self.state.tokens[id].attestations += 1

    def tree_of(self, id: int, tree: int, own: bool) -> int:
        """A token's own tree, where that is wanted and there is one."""
        if not own or id not in self.state.tokens:
            return tree
        return [reference.mth(leaves) for leaves in TREES].index(self.state.tokens[id].root)

    @rule(data=drawn, tree=trees, place=st.integers(0, 4), own=mostly, text=texts, by=actors)
    def claim(self, data: Any, tree: int, place: int, own: bool, text: str, by: int) -> None:
        id = self.token(data)
        tree = self.tree_of(id, tree, own)
        leaf, index, path = self.proof(tree, place)
        refusal = (
            self.unknown(id) or self.not_included(id, tree, leaf, index) or self.too_long(text)
        )
        if receipt := self.send("claim", id, leaf, index, path, text, by=by, refusal=refusal):
            claim = Claim(leaf, self.address(by), receipt.timestamp)
            self.state.tokens[id].claims.append(claim)

    @rule(data=drawn, answer=st.sampled_from(ClaimStatus), text=texts, owner=mostly)
    def answer(self, data: Any, answer: ClaimStatus, text: str, owner: bool) -> None:
        claimed = [id for id, token in self.state.tokens.items() if token.claims]
        if claimed and data.draw(mostly, label="claimed"):
            id = data.draw(st.sampled_from(claimed), label="token")
            number = data.draw(st.integers(1, self.claims_of(id)), label="number")
        else:
            id = self.token(data)
            number = data.draw(st.integers(0, self.claims_of(id) + 1), label="number")
        by = self.owner_of(id) if owner else data.draw(actors, label="by")
        refusal = self.unanswerable(id, number, answer, self.address(by)) or self.too_long(text)
        if self.send("answerClaim", id, number, answer.number, text, by=by, refusal=refusal):
            self.state.tokens[id].claims[number - 1].status = answer

    def claims_of(self, id: int) -> int:
        return len(self.state.tokens[id].claims) if id in self.state.tokens else 0

    def owner_of(self, id: int) -> int:
        owner = self.state.tokens[id].owner if id in self.state.tokens else None
        return next((actor for actor in range(ACTORS) if self.address(actor) == owner), 0)

    def unanswerable(self, id: int, number: int, answer: ClaimStatus, sender: str) -> Refusal:
        if refusal := self.unknown(id) or self.not_owner(id, sender):
            return refusal
        token = self.state.tokens[id]
        if not 1 <= number <= len(token.claims):
            return "NonexistentClaim", {"id": id, "number": number}
        status = token.claims[number - 1].status
        if answer.number <= status.number:
            values = {"status": status.number, "answer": answer.number}
            return "InvalidAnswer", {"id": id, "number": number} | values
        if answer is ClaimStatus.REMOVED and not token.superseded_by:
            return "NotSuperseded", {"id": id}
        return None

    @rule(data=drawn, position=st.integers(0, 5), owner=mostly, fit=mostly)
    def countersign_or_retract(self, data: Any, position: int, owner: bool, fit: bool) -> None:
        """Whichever of the two the link is fit for, or the other."""
        id = self.linked_token(data)
        links = self.state.tokens[id].links if id in self.state.tokens else []
        by = data.draw(actors, label="by")
        if links and owner:
            position %= len(links)
            by = self.owner_of(links[position].target)
        countersigned = position < len(links) and links[position].countersigned == fit
        refusal = self.unfit_link(id, position, self.address(by), countersigned)
        method = "retractCountersignature" if countersigned else "countersign"
        if self.send(method, id, position, by=by, refusal=refusal):
            link = links[position]
            links[position] = dataclasses.replace(link, countersigned=not countersigned)

    def linked_token(self, data: Any) -> int:
        """Some token with links, mostly: there is one from the start."""
        linked = [id for id, token in self.state.tokens.items() if token.links]
        if data.draw(mostly, label="linked"):
            return data.draw(st.sampled_from(linked), label="token")
        return self.token(data)

    @rule(data=drawn, tree=trees, places=st.tuples(*[st.integers(0, 4)] * 2), own=mostly)
    def report_disorder(self, data: Any, tree: int, places: tuple[int, int], own: bool) -> None:
        id = self.token(data)
        tree = self.tree_of(id, tree, own)
        if data.draw(st.booleans(), label="in order of places"):
            places = (min(places), max(places))
        pair = [self.proof(tree, place) for place in places]
        (low, i, _), (high, j, _) = pair
        refusal = self.unknown(id)
        if refusal is None and self.state.tokens[id].disordered:
            refusal = "AlreadyDisordered", {"id": id}
        elif refusal is None and (i >= j or low < high):
            values = {"lower": i, "lowerLeaf": low, "upper": j, "upperLeaf": high}
            refusal = "NoDisorder", values
        elif refusal is None:
            refusal = self.not_included(id, tree, low, i)
        args = [value for leaf, index, path in pair for value in (index, leaf, path)]
        by = data.draw(actors, label="by")
        if self.send("reportDisorder", id, *args, by=by, refusal=refusal):
            self.state.tokens[id].disordered = True

    @rule(data=drawn, text=texts, owner=mostly)
    def withdraw(self, data: Any, text: str, owner: bool) -> None:
        id = self.token(data)
        by = self.owner_of(id) if owner else data.draw(actors, label="by")
        refusal = self.unknown(id) or self.not_owner(id, self.address(by))
        if refusal is None and self.state.tokens[id].withdrawn:
            refusal = "AlreadyWithdrawn", {"id": id}
        refusal = refusal or self.too_long(text)
        if self.send("withdraw", id, text, by=by, refusal=refusal):
            self.state.tokens[id].withdrawn = True

    # What always holds

    @invariant()
    def views_tell_the_state(self) -> None:
        addresses = [self.address(actor) for actor in range(ACTORS)]
        found = state_by_views(self.registry, addresses)
        assert found == self.state
        for id, token in found.tokens.items():
            assert self.fixed.setdefault(id, token.fixed) == token.fixed
            assert all(link.target < id for link in token.links)

    def events_tell_the_state(self) -> None:
        reader = Registry(ProviderTransport(self.provider), self.registry.address)
        events = reader.events(from_block=self.first_block())
        assert state_by_events(events) == self.state
        with Index(Path(":memory:"), reader) as index:
            index.sync()
            assert_index_tells(index, self.state)

    def first_block(self) -> int:
        return int(self.registry.deploymentBlock())

    def lineage_is_by_the_definition(self) -> None:
        ids = sorted(self.state.tokens)
        asked = [("isDerivedFrom", (id, ancestor)) for id in ids for ancestor in ids]
        answers = _views(self.registry, asked)
        assert answers == [self.state.derived(*pair) for _, pair in asked]


def assert_index_tells(index: Index, state: State) -> None:
    """Holds that an index has all tokens, links and marks of a state."""
    ids = sorted(state.tokens)
    found = index.lineage(ids)
    assert list(found.nodes) == ids
    for id, token in state.tokens.items():
        node = found.nodes[id]
        assert (node.kind, node.size, node.metadata) == (token.kind, token.size, token.metadata)
        assert (node.publisher, node.owner) == (token.publisher, token.owner)
        assert (node.superseded_by or 0) == (token.superseded_by or 0)
        assert (node.withdrawn, node.disordered) == (token.withdrawn, token.disordered)
        assert node.open_claims == sum(claim.status is ClaimStatus.OPEN for claim in token.claims)
        links = [
            Link(edge.target, edge.relation, edge.countersigned)
            for edge in found.edges
            if edge.token == id
        ]
        assert links == token.links
        derived = set(index.lineage([id], DERIVES, down=False).nodes) - {id}
        assert derived == {older for older in ids if state.derived(id, older)} - {id}


def explore(registry: ContractInstance, accounts: Sequence[AccountAPI], histories: int) -> None:
    """Runs so many histories of 40 steps on a registry without tokens."""
    run_state_machine_as_test(
        lambda: Machine(registry, accounts),
        settings=settings(
            max_examples=histories,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
