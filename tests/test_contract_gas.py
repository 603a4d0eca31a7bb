"""What each action costs: held against gas.json, so that a change shows in the diff.

After a change that is meant, rewrite the file:

    ALITHIS_WRITE_GAS=1 ape test tests/test_contract_gas.py
"""

import json
import os
from pathlib import Path

import pytest
import reference
from solidity import Kind, Relation, commitment, digest, helper, mint

from alithis.contract import artifact

SNAPSHOT = Path(__file__).with_name("gas.json")
WRITE = bool(os.environ.get("ALITHIS_WRITE_GAS"))

DEPTH = 20
LIMITS = {
    "mint a dataset": 150_000,
    "mint a model with 3 links": 220_000,
    "verifyInclusion at depth 20, called from a contract": 14_000,
    "verifyInclusion at depth 20, called from a contract, of the last leaf": 14_000,
}
SIZE_LIMIT = 24_576
"""Bytes of a contract's code: EIP-170."""


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


@pytest.fixture(scope="module")
def measured(registry, owner):
    probe = owner.deploy(helper("GasProbe"))
    return {
        **dict(measure_minting(registry, owner)),
        **dict(measure_verification(registry, owner, probe)),
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


def test_code_leaves_room(measured):
    assert measured["bytes of code"] == len(bytes.fromhex(artifact()["deployedBytecode"][2:]))
    assert measured["bytes of code"] <= SIZE_LIMIT // 2
