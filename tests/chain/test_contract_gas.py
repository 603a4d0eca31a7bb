"""What each action costs: held against gas.json, so that a change shows in the diff.

After a change that is meant, rewrite the file:

    ALITHIS_WRITE_GAS=1 ape test tests/test_contract_gas.py
"""

import json
import os
from pathlib import Path

import pytest

from alithis.chain.contract import artifact
from helpers import reference
from helpers.registry_model import ClaimStatus, Kind, Relation
from helpers.relaying import sign
from helpers.samples import commitment, digest, mint
from helpers.solidity import helper

SNAPSHOT = Path(__file__).with_name("gas.json")
WRITE = bool(os.environ.get("ALITHIS_WRITE_GAS"))

DEPTH = 20
LIMITS = {
    "mint a dataset": 150_000,
    "mint a model with 3 links": 220_000,
    "attest at depth 20, the token's first": 80_000,
    "attest at depth 20": 80_000,
    "verifyInclusion at depth 20, called from a contract": 14_000,
    "verifyInclusion at depth 20, called from a contract, of the last leaf": 14_000,
}
SIZE_LIMIT = 24_576
"""Bytes of a contract's code: EIP-170."""
ROOM = 4_096
"""Bytes of it that stay free, so that a new compiler does not exceed the limit."""


def measure_minting(registry, owner):
    """Gas of whole transactions: the first of a publisher, then further ones."""

    def minted(kind, name, links=()):
        return mint(registry, kind, commitment(name), links, sender=owner).gas_used

    yield "mint a dataset, the publisher's first token", minted(Kind.DATASET, "first")
    yield "mint a dataset", minted(Kind.DATASET, "second")
    minted(Kind.DATASET, "third")
    yield "mint a model", minted(Kind.MODEL, "model")
    links = [(1, Relation.TRAINED_ON), (2, Relation.VALIDATED_ON), (3, Relation.TESTED_ON)]
    yield "mint a model with 3 links", minted(Kind.MODEL, "linked", links)
    links = [(1, Relation.SUPERSEDES)]
    yield "mint a dataset that supersedes one", minted(Kind.DATASET, "fourth", links)
    call = registry.mintDataset.encode_input(commitment("batched"), [])
    batch = registry.multicall([call] * 100, sender=owner).gas_used
    yield "mint a dataset in a batch of 100", batch // 100
    relations = (Relation.TRAINED_ON, Relation.VALIDATED_ON, Relation.TESTED_ON)
    links = [(7 + target, relation) for target in range(86) for relation in relations][:256]
    yield "mint a model with 256 links", minted(Kind.MODEL, "all", links)


def measure_verification(registry, owner, probe):
    """Gas that a contract pays for the call, its first access to the account apart."""
    size, path = 2**DEPTH, [digest(f"sibling {level}") for level in range(DEPTH)]
    name = f"verifyInclusion at depth {DEPTH}, called from a contract"
    for index, suffix in ((0b1011_0011_1000_1111_0101, ""), (size - 1, ", of the last leaf")):
        root = reference.root_from_path(digest("leaf"), index, size, path)
        mint(registry, Kind.DATASET, (root, size, 0, digest("metadata")), sender=owner)
        proof = (registry.totalSupply(), digest("leaf"), index, path)
        output, gas = probe.measure(registry, registry.verifyInclusion.encode_input(*proof))
        assert int.from_bytes(output) == 1
        yield name + suffix, gas


def measure_absence(registry, owner, probe):
    """The same for a leaf between two, and for the walk from a token to its last ancestor."""
    token, (left, leaf, right), (left_path, right_path) = mint_pair(registry, owner)
    proof = (token, leaf, PLACE + 1, left, left_path, right, right_path)
    output, gas = probe.measure(registry, registry.verifyExclusion.encode_input(*proof))
    assert int.from_bytes(output) == 1
    yield f"verifyExclusion at depth {DEPTH}, called from a contract", gas
    for _ in range(10):
        given = [(registry.totalSupply(), Relation.DERIVED_FROM)]
        mint(registry, Kind.DATASET, commitment(), given, sender=owner)
    ends = (registry.totalSupply(), registry.totalSupply() - 10)
    output, gas = probe.measure(registry, registry.isDerivedFrom.encode_input(*ends))
    assert int.from_bytes(output) == 1
    yield "isDerivedFrom over 10 links, called from a contract", gas


PLACE = 0b1011_0011_1000_1111_0100
"""Place of the first of two neighbours."""


def mint_pair(registry, owner, *, swapped=False):
    """A token, three leaves of which the outer ones are neighbours in it, and their paths."""
    leaves = sorted(digest(f"leaf {number}") for number in range(3))
    left, _, right = reversed(leaves) if swapped else leaves
    upper = [digest(f"sibling {level}") for level in range(1, DEPTH)]
    paths = ([reference.leaf_hash(right), *upper], [reference.leaf_hash(left), *upper])
    root = reference.root_from_path(left, PLACE, 2**DEPTH, paths[0])
    assert root == reference.root_from_path(right, PLACE + 1, 2**DEPTH, paths[1])
    mint(registry, Kind.DATASET, (root, 2**DEPTH, 0, digest("metadata")), sender=owner)
    return registry.totalSupply(), (left, leaves[1], right), paths


def measure_evidence(registry, owner):
    """Gas of whole transactions, with texts of 59 bytes: an IPFS URI's."""
    uri = "ipfs://" + "b" * 52
    token, (leaf, _, _), (path, _) = mint_pair(registry, owner)
    attested = [registry.attest(token, leaf, PLACE, path, sender=owner) for _ in range(2)]
    yield f"attest at depth {DEPTH}, the token's first", attested[0].gas_used
    yield f"attest at depth {DEPTH}", attested[1].gas_used
    mint(registry, Kind.MODEL, commitment(), [(token, Relation.TRAINED_ON)], sender=owner)
    yield "countersign", registry.countersign(token + 1, 0, sender=owner).gas_used
    retracted = registry.retractCountersignature(token + 1, 0, sender=owner)
    yield "retract a countersignature", retracted.gas_used
    claimed = registry.claim(token, leaf, PLACE, path, uri, sender=owner)
    yield f"claim at depth {DEPTH}", claimed.gas_used
    answered = registry.answerClaim(token, 1, ClaimStatus.ACCEPTED, uri, sender=owner)
    yield "answer a claim", answered.gas_used
    yield "withdraw", registry.withdraw(token, uri, sender=owner).gas_used
    token, (left, _, right), paths = mint_pair(registry, owner, swapped=True)
    pair = (PLACE, left, paths[0], PLACE + 1, right, paths[1])
    reported = registry.reportDisorder(token, *pair, sender=owner)
    yield f"report disorder at depth {DEPTH}", reported.gas_used


def measure_relaying(registry, owner, publisher):
    """Gas that a relayer pays for the publisher's second signed mint."""
    mint(registry, Kind.DATASET, commitment(), sender=publisher)
    registry.revokeNonce(sender=publisher)
    signed = sign(registry, publisher, Kind.DATASET, commitment())
    relayed = registry.mintDatasetFor(*signed, sender=owner)
    yield "mint a dataset for a publisher who signed", relayed.gas_used


def measure_uri_storage(owner):
    """Gas of a publisher's second mint where the metadata's URI lies in storage, for comparison."""
    token = owner.deploy(helper("UriStorageToken"))
    uri = "data:application/json;base64,".ljust(280, "e")
    costs = [token.mint(uri, sender=owner).gas_used for _ in range(2)]
    yield "for comparison: mint a token with a data URI of 280 bytes in storage", costs[1]


@pytest.fixture(scope="module")
def measured(registry, owner, accounts):
    probe = owner.deploy(helper("GasProbe"))
    return {
        **dict(measure_minting(registry, owner)),
        **dict(measure_verification(registry, owner, probe)),
        **dict(measure_absence(registry, owner, probe)),
        **dict(measure_evidence(registry, owner)),
        **dict(measure_relaying(registry, owner, accounts[1])),
        **dict(measure_uri_storage(owner)),
        "deploy": registry.creation_metadata.receipt.gas_used,
        "bytes of code": len(registry.provider.get_code(registry.address)),
    }


def test_as_in_the_snapshot(measured):
    if WRITE:
        SNAPSHOT.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    assert measured == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("action", "limit"), LIMITS.items())
def test_within_its_limit(measured, action, limit):
    assert measured[action] <= limit


def test_minting_costs_less_than_half_of_a_stored_uri(measured):
    stored = measured["for comparison: mint a token with a data URI of 280 bytes in storage"]
    assert 2 * measured["mint a dataset"] < stored


def test_code_leaves_room(measured):
    assert measured["bytes of code"] == len(bytes.fromhex(artifact()["deployedBytecode"][2:]))
    assert measured["bytes of code"] <= SIZE_LIMIT - ROOM
