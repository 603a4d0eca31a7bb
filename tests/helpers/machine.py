"""The whole contract against its model: any history of calls, by Hypothesis.

`registry_model` knows IAlithis's rules and nothing of Solidity. Each step is carried out by both:
the contract must do what the model does, or revert with exactly its error. At the end of a history
the contract's views, its events, an index of them and the model must tell the same state, and the
chain in Python that the other suites read (`fake_chain`) must have given the same answers, byte for
byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ape
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

from alithis.chain import abi as interfaces
from alithis.chain.index import Index
from alithis.chain.registry import Registry
from alithis.errors import RpcError
from alithis_ape.transport import ProviderTransport
from helpers import abi, reference, registry_model
from helpers.registry_model import (
    Claim,
    ClaimStatus,
    Kind,
    Link,
    Log,
    RefusedError,
    Relation,
    Scheme,
    State,
    Token,
    relates,
)
from helpers.relaying import sign
from helpers.samples import digest
from helpers.solidity import refused
from helpers.states import assert_index_tells, number, state_by_events

LEAVES = sorted(digest(f"leaf {number}") for number in range(6))
TREES = tuple(
    tuple(LEAVES[place] for place in places)
    for places in ((0,), (0, 2, 4), (1, 2, 3, 4, 5), (2, 1), (0, 3, 3, 5), (5, 4, 0))
)
"""Leaves of artifacts: three that ascend, and three that do not."""

ACTORS = 4

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
    functions = interfaces.interface().functions
    calls = [functions[name].encode(*args) for name, args in asked]
    answers = registry.multicall.call(calls) if calls else []
    return [
        functions[name].decode(bytes(answer))
        for (name, _), answer in zip(asked, answers, strict=True)
    ]


def _token_by_views(id: int, answers: Mapping[tuple[str, tuple[Any, ...]], Any]) -> Token:
    record = answers["record", (id,)]
    claims = tuple(
        Claim(claim["leaf"], claim["claimant"], claim["time"], ClaimStatus(number(claim["status"])))
        for claim in (answers["claimOf", (id, n)] for n in range(1, record["claims"] + 1))
    )
    assert record["openClaims"] == sum(claim.status is ClaimStatus.OPEN for claim in claims)
    links = tuple(
        Link(link["target"], Relation(number(link["relation"])), link["countersigned"])
        for link in answers["links", (id,)]
    )
    return Token(
        kind=Kind(number(record["kind"])),
        root=record["root"],
        size=record["size"],
        scheme=Scheme(number(record["scheme"])),
        metadata=record["metadataDigest"],
        publisher=record["publisher"],
        time=record["time"],
        owner=answers["ownerOf", (id,)],
        links=links,
        superseded_by=record["supersededBy"],
        withdrawn=record["withdrawn"],
        disordered=record["disordered"],
        attestations=record["attestations"],
        claims=claims,
    )


# -- The histories -----------------------------------------------------------------------------

actors = st.integers(0, ACTORS - 1)
trees = st.integers(0, len(TREES) - 1)
texts = st.sampled_from(["ipfs://text"] * 6 + ["", "é" * 512, "x" * 1025])
mostly = st.sampled_from([True] * 5 + [False])
drawn = st.data()


class Machine(RuleBasedStateMachine):
    """Steps that anyone may try, each carried out by the contract and by its model."""

    def __init__(self, registry: ContractInstance, accounts: Sequence[AccountAPI]) -> None:
        super().__init__()
        self.registry = registry
        self.accounts = accounts[:ACTORS]
        self.provider = ape.networks.provider
        self.snapshot = self.provider.snapshot()
        self.state = State()
        self.logs: list[Log] = []
        self.fixed: dict[int, tuple[Any, ...]] = {}

    def teardown(self) -> None:
        """Compares what was emitted and what is answered, then takes the history back."""
        try:
            self.events_tell_the_state()
            self.the_model_emits_the_same_events()
            self.the_model_gives_the_same_answers()
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

    def owner_of(self, id: int) -> int:
        """The actor who owns a token."""
        owner = self.state.tokens[id].owner if id in self.state.tokens else None
        return next((actor for actor in range(ACTORS) if self.address(actor) == owner), 0)

    def commitment(self, tree: int, scheme: int) -> tuple[bytes, int, int, bytes]:
        leaves = TREES[tree]
        return reference.mth(leaves), len(leaves), scheme, digest(f"metadata {tree}")

    # What is done

    def send(self, method: str, *args: Any, by: int, signed: bool = False) -> None:
        """Has the contract and the model carry out a call; both do, or refuse with one error."""
        function, sender = getattr(self.registry, method), self.accounts[by]
        options = {"sender": self.address(by), "signed": signed}
        try:
            registry_model.call(self.state, method, args, time=self.next_time(), **options)
        except RefusedError as refusal:
            with refused(getattr(self.registry, refusal.error), **refusal.values):
                function(*args, sender=sender)
            return
        receipt = function(*args, sender=sender)
        outcome = registry_model.call(self.state, method, args, time=receipt.timestamp, **options)
        self.state = outcome.state
        self.logs += outcome.logs

    def next_time(self) -> int:
        """The time of the next block, or what it is at the least."""
        return ape.chain.blocks.head.timestamp

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
        method = "mintModel" if kind is Kind.MODEL else "mintDataset"
        self.send(method, self.commitment(tree, scheme), links, by=by)

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
        changes = {
            "chain": {"chainId": 1},
            "contract": {"verifyingContract": name},
            "nonce": {"nonce": nonce + 1},
            "late": {"deadline": self.next_time() - 1},
        }
        signer = self.accounts[(publisher + 1) % ACTORS if fault == "signer" else publisher]
        mint = (kind, self.commitment(tree, 0), self.apt_links(data, kind))
        fields = {"publisher": name, "nonce": nonce} | changes.get(fault or "", {})
        signed = sign(self.registry, signer, *mint, **fields)
        method = "mintModelFor" if kind is Kind.MODEL else "mintDatasetFor"
        tokens = len(self.state.tokens)
        self.send(method, *signed, by=by, signed=fault is None)
        if len(self.state.tokens) > tokens:
            self.send(method, *signed, by=by)  # replayed

    @rule(data=drawn, actor=actors, seconds=st.integers(1, 10**8))
    def meanwhile(self, data: Any, actor: int, seconds: int) -> None:
        """What is no evidence: a sale, a nonce revoked, time."""
        happens = st.sampled_from(["sale"] * 3 + ["nonce", "time"])
        match data.draw(happens, label="what"):
            case "sale":
                self.transfer(data, actor)
            case "nonce":
                self.send("revokeNonce", by=actor)
            case "time":
                ape.chain.mine(deltatime=seconds)

    def transfer(self, data: Any, to: int) -> None:
        """By the owner: ERC-721's own rules are OpenZeppelin's to test."""
        id = data.draw(st.sampled_from(sorted(self.state.tokens)), label="token")
        owner = self.owner_of(id)
        self.send("transferFrom", self.address(owner), self.address(to), id, by=owner)

    @rule(data=drawn, tree=trees, place=st.integers(0, 4), own=mostly, by=actors)
    def attest(self, data: Any, tree: int, place: int, own: bool, by: int) -> None:
        id = self.token(data)
        self.send("attest", id, *self.proof(self.tree_of(id, tree, own), place), by=by)

    def tree_of(self, id: int, tree: int, own: bool) -> int:
        """A token's own tree, where that is wanted and there is one."""
        if not own or id not in self.state.tokens:
            return tree
        return [reference.mth(leaves) for leaves in TREES].index(self.state.tokens[id].root)

    @rule(data=drawn, tree=trees, place=st.integers(0, 4), own=mostly, text=texts, by=actors)
    def claim(self, data: Any, tree: int, place: int, own: bool, text: str, by: int) -> None:
        id = self.token(data)
        self.send("claim", id, *self.proof(self.tree_of(id, tree, own), place), text, by=by)

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
        self.send("answerClaim", id, number, answer, text, by=by)

    def claims_of(self, id: int) -> int:
        return len(self.state.tokens[id].claims) if id in self.state.tokens else 0

    @rule(data=drawn, position=st.integers(0, 5), owner=mostly, fit=mostly)
    def countersign_or_retract(self, data: Any, position: int, owner: bool, fit: bool) -> None:
        """Whichever of the two the link is fit for, or the other."""
        id = self.linked_token(data)
        links = self.state.tokens[id].links if id in self.state.tokens else ()
        by = data.draw(actors, label="by")
        if links and owner:
            position %= len(links)
            by = self.owner_of(links[position].target)
        countersigned = position < len(links) and links[position].countersigned == fit
        method = "retractCountersignature" if countersigned else "countersign"
        self.send(method, id, position, by=by)

    def linked_token(self, data: Any) -> int:
        """Some token with links, mostly: there is one from the start."""
        linked = [id for id, token in self.state.tokens.items() if token.links]
        if data.draw(mostly, label="linked"):
            return data.draw(st.sampled_from(linked), label="token")
        return self.token(data)

    @rule(data=drawn, tree=trees, places=st.tuples(*[st.integers(0, 4)] * 2), own=mostly, by=actors)
    def report_disorder(
        self, data: Any, tree: int, places: tuple[int, int], own: bool, by: int
    ) -> None:
        id = self.token(data)
        tree = self.tree_of(id, tree, own)
        if data.draw(st.booleans(), label="in order of places"):
            places = (min(places), max(places))
        pair = [self.proof(tree, place) for place in places]
        args = [value for leaf, index, path in pair for value in (index, leaf, path)]
        self.send("reportDisorder", id, *args, by=by)

    @rule(data=drawn, text=texts, owner=mostly)
    def withdraw(self, data: Any, text: str, owner: bool) -> None:
        id = self.token(data)
        by = self.owner_of(id) if owner else data.draw(actors, label="by")
        self.send("withdraw", id, text, by=by)

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

    def the_model_emits_the_same_events(self) -> None:
        """To the byte: `fake_chain` serves what `abi.log_fields` writes."""
        query = {"address": self.registry.address, "fromBlock": hex(self.first_block())}
        logs = self.ask("eth_getLogs", query | {"toBlock": "latest"})
        found = [{name: log[name] for name in ("topics", "data")} for log in logs]
        assert found == [abi.log_fields(log) for log in self.logs]

    def the_model_gives_the_same_answers(self) -> None:
        for name, args in self.questions():
            data = abi.functions()[name].encode_input(*args)
            try:
                value = registry_model.call(self.state, name, args).value
                expected = abi.to_hex(abi.functions()[name].encode_output(value))
            except RefusedError as refusal:
                expected = RpcError, abi.to_hex(abi.revert_data(refusal))
            assert self.answer_of(data) == expected, (name, args)

    def questions(self) -> Iterable[tuple[str, tuple[Any, ...]]]:
        """Every view, of each token and of one that is not there, with good and bad proofs."""
        yield from (("totalSupply", ()), ("name", ()), ("symbol", ()))
        for actor in range(ACTORS):
            yield "nonces", (self.address(actor),)
            yield "balanceOf", (self.address(actor),)
        for id in range(1, len(self.state.tokens) + 2):
            for name in ("record", "links", "ownerOf", "tokenURI"):
                yield name, (id,)
            yield "claimOf", (id, self.claims_of(id) + 1)
            leaf, index, path = self.proof(self.tree_of(id, 2, True), 1)
            yield "verifyInclusion", (id, leaf, index, path)
            yield "verifyInclusion", (id, leaf, index + 1, path)
            yield from self.absences(id)
            yield "isDerivedFrom", (id, max(id - 1, 1))

    def absences(self, id: int) -> Iterable[tuple[str, tuple[Any, ...]]]:
        """Of leaves below all, above all and between two."""
        leaves = TREES[self.tree_of(id, 2, True)]
        for leaf in (bytes(31) + b"\1", b"\xff" * 32, digest("between")):
            index = sum(each < leaf for each in leaves)
            sides = [
                (leaves[at], reference.path(at, leaves))
                if 0 <= at < len(leaves)
                else (bytes(32), [])
                for at in (index - 1, index)
            ]
            yield "verifyExclusion", (id, leaf, index, *sides[0], *sides[1])

    def ask(self, method: str, *params: Any) -> Any:
        return ProviderTransport(self.provider).request(method, list(params))

    def answer_of(self, data: bytes) -> Any:
        call = {"to": self.registry.address, "data": abi.to_hex(data)}
        try:
            return self.ask("eth_call", call, "latest")
        except RpcError as error:
            return RpcError, error.data

    def lineage_is_by_the_definition(self) -> None:
        ids = sorted(self.state.tokens)
        asked = [("isDerivedFrom", (id, ancestor)) for id in ids for ancestor in ids]
        answers = _views(self.registry, asked)
        assert answers == [self.state.derived(*pair) for _, pair in asked]


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
