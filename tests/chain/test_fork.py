"""On a local fork of Calibration: what is there already is seen, and nothing reaches it."""

from types import SimpleNamespace

import ape
import pytest
import requests
from ape.exceptions import ContractLogicError
from eth_abi import encode
from eth_utils import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from alithis.chain.registry import Registry
from alithis.errors import RpcError
from alithis.manifest import merkle
from alithis.manifest.terms import Kind, Relation
from alithis_ape.contract import container, find_registry
from alithis_ape.transport import ProviderTransport
from helpers.chains import per_example
from helpers.machine import explore
from helpers.samples import COMMITMENT, LEAVES
from helpers.session import examples

DATASET, MODEL = 1, 2
DERIVED_FROM, TRAINED_ON = Relation.DERIVED_FROM.number, Relation.TRAINED_ON.number
PATHS = [merkle.inclusion_path(b"".join(LEAVES), index) for index in range(len(LEAVES))]

hashes = st.binary(min_size=32, max_size=32).filter(any)
commitments = st.tuples(
    hashes, st.integers(1, (1 << 48) - 1), st.integers(min_value=0, max_value=1), hashes
)


@pytest.fixture(scope="module", autouse=True)
def on_fork(fork_registry):
    """Every test here runs on the fork."""


@pytest.fixture(scope="module")
def upstream_state(upstream, upstream_registry):
    """Reads what a transaction upstream would change: its height and how many tokens it has."""

    def read():
        call = {"to": upstream_registry, "data": "0x18160ddd"}  # totalSupply()
        return [
            requests.post(
                upstream.uri,
                json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params},
                timeout=10,
            ).json()["result"]
            for method, params in (("eth_blockNumber", []), ("eth_call", [call, "latest"]))
        ]

    return read


def test_fork_is_a_chain_of_its_own(fork, upstream):
    assert fork.network_choice == "filecoin:calibration-fork:foundry"
    assert fork.chain_id == 314159
    assert fork.uri != upstream.uri


def test_fork_sees_the_tokens_upstream(fork, fork_registry):
    registry = Registry(ProviderTransport(fork), fork_registry.address, chain_id=314159)
    dataset, model = registry.tokens()
    assert (dataset.kind, dataset.root, dataset.size) == (Kind.DATASET, *COMMITMENT[:2])
    assert model.kind == Kind.MODEL
    ((linked, link),) = registry.linked_from(DATASET)
    assert (linked, link.target, link.relation) == (MODEL, DATASET, Relation.TRAINED_ON)


def test_registry_deployed_upstream_is_found_on_the_fork(fork, upstream_registry):
    assert find_registry(None, fork.network).address == upstream_registry


@settings(max_examples=examples(12), deadline=None)
@given(commitment=commitments)
def test_minting_on_the_fork_leaves_upstream_as_it_was(
    fork_registry, owner, upstream_state, commitment
):
    before = upstream_state()
    with per_example():
        receipt = fork_registry.mintDataset(commitment, [], sender=owner)
        (minted,) = receipt.events.filter(fork_registry.Minted)
        assert (minted.id, minted.root, minted.publisher) == (3, commitment[0], owner.address)
        record = fork_registry.record(3)
        assert (record.root, record.size, record.scheme, record.metadataDigest) == commitment
        assert fork_registry.totalSupply() == 3
    assert fork_registry.totalSupply() == 2
    assert upstream_state() == before


def test_receipt_of_a_mint(fork_registry, owner):
    receipt = fork_registry.mintModel(COMMITMENT, [(DATASET, TRAINED_ON)], sender=owner)
    assert not receipt.failed
    assert receipt.sender == owner
    assert 21_000 < receipt.gas_used < 400_000
    assert [event.event_name for event in receipt.events] == ["Minted", "Linked", "Transfer"]
    (linked,) = receipt.events.filter(fork_registry.Linked)
    assert (linked.id, linked.target, linked.relation, linked.position) == (3, DATASET, 1, 0)
    assert fork_registry.ownerOf(3) == owner


def test_custom_errors_keep_their_names_and_values(fork_registry, owner):
    with ape.reverts(fork_registry.UnknownTarget, position=0, target=9):
        fork_registry.mintModel(COMMITMENT, [(9, TRAINED_ON)], sender=owner)
    with ape.reverts(fork_registry.InvalidSize, size=0):
        fork_registry.mintDataset((COMMITMENT[0], 0, *COMMITMENT[2:]), [], sender=owner)
    with pytest.raises(ContractLogicError) as raised:
        fork_registry.record(9)
    assert isinstance(raised.value, fork_registry.ERC721NonexistentToken)
    assert raised.value.inputs == {"tokenId": 9}


@pytest.mark.parametrize("index", range(len(LEAVES)))
def test_inclusion_is_verified_on_the_fork(fork_registry, index):
    assert fork_registry.verifyInclusion(DATASET, LEAVES[index], index, PATHS[index])


@given(index=st.integers(0, len(LEAVES) - 1), leaf=hashes | st.sampled_from(LEAVES))
@settings(max_examples=examples(12), deadline=None)
def test_no_other_leaf_is_included(fork_registry, index, leaf):
    included = fork_registry.verifyInclusion(DATASET, leaf, index, PATHS[index])
    assert included == (leaf == LEAVES[index])


@pytest.fixture
def node(fork, fork_registry, owner):
    """Sends and calls without Ape, which traces step by step: a thousand tokens take minutes."""

    def send(data):
        transaction = {"from": owner.address, "to": fork_registry.address, "data": data}
        sent = fork.web3.eth.send_transaction(transaction)
        assert fork.web3.eth.wait_for_transaction_receipt(sent)["status"] == 1

    def call(data):
        request = {"to": fork_registry.address, "data": data.to_0x_hex()}
        return ProviderTransport(fork).request("eth_call", [request, "latest"])

    return SimpleNamespace(send=send, call=call)


def test_lineage_as_long_as_one_call_walks(fork_registry, node):
    """Here, and not on the embedded chain, where a thousand tokens take minutes too."""
    asked = fork_registry.isDerivedFrom.encode_input
    with per_example():
        first = fork_registry.totalSupply() + 1
        last = first + 1025
        links = [[], *([(target, DERIVED_FROM)] for target in range(first, last))]
        calls = [fork_registry.mintDataset.encode_input(COMMITMENT, given) for given in links]
        for start in range(0, len(calls), 150):
            node.send(fork_registry.multicall.encode_input(calls[start : start + 150]))
        assert int(node.call(asked(last - 1, first)), 16) == 1, "1,024 tokens on the way"
        assert int(node.call(asked(last, first + 1)), 16) == 1
        with pytest.raises(RpcError) as raised:
            node.call(asked(last, first))
        error = fork_registry.LineageTooLarge.abi.selector
        values = encode(["uint256"] * 3, [last, first, 1024])
        assert raised.value.data == f"0x{(keccak(text=error)[:4] + values).hex()}"


def test_any_history_on_the_fork(accounts):
    explore(accounts[5].deploy(container()), accounts, histories=examples(1))
