"""The registry's state as readers rebuild it: from its events only, and in an index."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from alithis.chain.index import Index
from alithis.chain.queries import DERIVES
from alithis.chain.records import Event
from helpers.registry_model import NOBODY, Claim, ClaimStatus, Link, Relation, State, Token, snake


def state_by_events(events: Iterable[Event]) -> State:
    """Rebuilds everything as an indexer does, without a call."""
    state = State()
    for event in events:
        REPLAY[event.name](
            state, **{_name(name): number(each) for name, each in event.args.items()}
        )
    return state


def number(term: Any) -> Any:
    """Returns the contract's number for one of the library's terms; others stay as they are."""
    return getattr(term, "number", term)


def _name(name: str) -> str:
    """Converts an argument's name that is a Python keyword: ``from`` becomes ``from_``."""
    return snake(name).replace("from", "from_")


def _minted(state: State, id: int, metadata_digest: bytes, **rest: Any) -> None:
    assert id == len(state.tokens) + 1
    state.tokens[id] = Token(metadata=metadata_digest, owner=NOBODY, **rest)


def _linked(state: State, id: int, target: int, relation: int, position: int) -> None:
    links = state.tokens[id].links
    assert position == len(links)
    state.change(id, links=(*links, Link(target, Relation(relation))))


def _superseded(state: State, id: int, by: int) -> None:
    state.change(id, superseded_by=by)


def _transferred(state: State, from_: str, to: str, token_id: int) -> None:
    assert state.tokens[token_id].owner == from_
    state.change(token_id, owner=to)


def _nonce_used(state: State, publisher: str, nonce: int, **_: Any) -> None:
    assert state.nonces.get(publisher, 0) == nonce
    state.nonces[publisher] = nonce + 1


def _attested(state: State, id: int, **_: Any) -> None:
    state.change(id, attestations=state.tokens[id].attestations + 1)


def _countersigned(state: State, id: int, target: int, owner: str, position: int) -> None:
    _mark_link(state, id, target, owner, position, True)


def _retracted(state: State, id: int, target: int, owner: str, position: int) -> None:
    _mark_link(state, id, target, owner, position, False)


def _mark_link(
    state: State, id: int, target: int, owner: str, position: int, countersigned: bool
) -> None:
    links = list(state.tokens[id].links)
    link = links[position]
    assert (link.target, state.tokens[target].owner) == (target, owner)
    assert link.countersigned != countersigned
    links[position] = dataclasses.replace(link, countersigned=countersigned)
    state.change(id, links=tuple(links))


def _claimed(
    state: State, id: int, leaf: bytes, claimant: str, number: int, time: int, **_: Any
) -> None:
    claims = (*state.tokens[id].claims, Claim(leaf, claimant, time))
    assert number == len(claims)
    state.change(id, claims=claims)


def _answered(state: State, id: int, number: int, owner: str, answer: int, **_: Any) -> None:
    assert state.tokens[id].owner == owner
    claims = list(state.tokens[id].claims)
    claims[number - 1] = dataclasses.replace(claims[number - 1], status=ClaimStatus(answer))
    state.change(id, claims=tuple(claims))


def _disordered(state: State, id: int, **_: Any) -> None:
    state.change(id, disordered=True)


def _withdrawn(state: State, id: int, owner: str, **_: Any) -> None:
    assert state.tokens[id].owner == owner
    state.change(id, withdrawn=True)


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


def assert_index_tells(index: Index, state: State) -> None:
    """Asserts that an index has all tokens, links and marks of a state."""
    ids = sorted(state.tokens)
    found = index.lineage(ids)
    assert list(found.nodes) == ids
    for id, token in state.tokens.items():
        node = found.nodes[id]
        kind = node.kind.number
        assert (kind, node.size, node.metadata) == (token.kind, token.size, token.metadata)
        assert (node.publisher, node.owner) == (token.publisher, token.owner)
        assert (node.superseded_by or 0) == token.superseded_by
        assert (node.withdrawn, node.disordered) == (token.withdrawn, token.disordered)
        assert node.open_claims == sum(claim.status is ClaimStatus.OPEN for claim in token.claims)
        links = tuple(
            Link(edge.target, Relation(edge.relation.number), edge.countersigned)
            for edge in found.edges
            if edge.token == id
        )
        assert links == token.links
        derived = set(index.lineage([id], DERIVES, down=False).nodes) - {id}
        assert derived == {older for older in ids if state.derived(id, older)} - {id}
