"""Reading the registry: from the embedded chain, from anvil over HTTP, and from nodes that lie."""

import gzip
import json
import threading
import traceback
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import ape
import pytest
from eth_abi import encode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alithis import merkle, registry as registries
from alithis.cid import Cid
from alithis.digest import of_bytes
from alithis.errors import (
    ChainError,
    NoRegistryError,
    NoTokenError,
    ProofError,
    RegistryError,
    TransportError,
)
from alithis.registry import (
    Event,
    HttpTransport,
    Kind,
    Link,
    Record,
    Registry,
    Relation,
    RpcError,
    Scheme,
)

CALIBRATION = 314159
LEAVES = sorted(of_bytes(bytes([number])) for number in range(5))
ROOT = merkle.root(b"".join(LEAVES))
NOBODY = "0x" + "11" * 20
DATASET, MODEL = 0, 1
ZERO = "0x" + "00" * 20


def commitment(number, scheme=Scheme.SHA256):
    return (ROOT, len(LEAVES), scheme.number, of_bytes(b"metadata %d" % number))


def link(target, relation):
    return (target, relation.number)


@pytest.fixture(scope="module")
def minted(registry, owner, accounts):
    """Tokens on the embedded chain with every kind, scheme and relation; returns their count."""
    dataset, model = registry.mintDataset, registry.mintModel
    dataset(commitment(1), [], sender=owner)
    dataset(commitment(2, Scheme.KEYED), [link(1, Relation.DERIVED_FROM)], sender=owner)
    model(
        commitment(3),
        [
            link(2, Relation.TRAINED_ON),
            link(1, Relation.VALIDATED_ON),
            link(1, Relation.TESTED_ON),
        ],
        sender=accounts[1],
    )
    model(
        commitment(4),
        [
            link(3, Relation.FINE_TUNED_FROM),
            link(3, Relation.DISTILLED_FROM),
            link(3, Relation.SUPERSEDES),
        ],
        sender=accounts[1],
    )
    registry.transferFrom(accounts[1], accounts[2], 3, sender=accounts[1])
    return 4


@pytest.fixture
def reader(transport, registry, minted):
    return Registry(transport, registry.address)


class TestReading:
    def test_record(self, reader, registry, owner, accounts):
        assert reader.record(1) == Record(
            id=1,
            kind=Kind.DATASET,
            scheme=Scheme.SHA256,
            size=5,
            root=ROOT,
            metadata_digest=of_bytes(b"metadata 1"),
            publisher=owner.address,
            time=registry.record(1).time,
            superseded_by=None,
            withdrawn=False,
            disordered=False,
        )
        assert reader.record(2).scheme is Scheme.KEYED
        assert reader.record(3).kind is Kind.MODEL
        assert reader.record(3).superseded_by == 4
        assert reader.record(3).publisher == accounts[1].address, "although another owns it now"

    def test_links(self, reader):
        assert reader.links(1) == ()
        assert reader.links(2) == (Link(1, Relation.DERIVED_FROM),)
        assert reader.links(3) == (
            Link(2, Relation.TRAINED_ON),
            Link(1, Relation.VALIDATED_ON),
            Link(1, Relation.TESTED_ON),
        )
        assert reader.links(4) == (
            Link(3, Relation.FINE_TUNED_FROM),
            Link(3, Relation.DISTILLED_FROM),
            Link(3, Relation.SUPERSEDES),
        )

    def test_linked_from(self, reader):
        assert reader.linked_from(1) == (
            (2, Link(1, Relation.DERIVED_FROM)),
            (3, Link(1, Relation.VALIDATED_ON)),
            (3, Link(1, Relation.TESTED_ON)),
        )
        assert reader.linked_from(4) == ()

    def test_tokens(self, reader, minted):
        assert reader.count() == minted
        assert list(reader.tokens()) == [reader.record(id) for id in range(1, minted + 1)]
        assert [record.id for record in reader.records([3, 1, 3])] == [3, 1, 3]
        assert list(reader.records([])) == []

    def test_uri_is_the_cid_of_the_metadata(self, reader):
        uri = reader.token_uri(2)
        assert uri == f"ipfs://{reader.record(2).metadata_cid.base16}"
        assert Cid.parse(uri) == reader.record(2).metadata_cid

    def test_owner(self, reader, accounts):
        assert reader.owner_of(3) == accounts[2].address

    def test_verify_inclusion(self, reader):
        path = merkle.inclusion_path(b"".join(LEAVES), 3)
        assert reader.verify_inclusion(1, LEAVES[3], 3, path)
        assert not reader.verify_inclusion(1, LEAVES[3], 2, path)
        assert not reader.verify_inclusion(1, LEAVES[2], 3, path)
        assert not reader.verify_inclusion(1, LEAVES[3], 3, path[:-1])

    @pytest.mark.parametrize(
        ("leaf", "index", "path"),
        [
            (b"short", 0, []),
            (bytes(33), 0, []),
            (bytes(32), -1, []),
            (bytes(32), 1 << 256, []),
            (bytes(32), 0, [b"short"]),
        ],
    )
    def test_proof_that_cannot_be_asked_about(self, reader, leaf, index, path):
        with pytest.raises(ProofError):
            reader.verify_inclusion(1, leaf, index, path)

    @pytest.mark.parametrize("id", [0, 5, -1, (1 << 256) - 1, 1 << 256])
    @pytest.mark.parametrize(
        "read",
        [
            Registry.record,
            Registry.links,
            Registry.linked_from,
            Registry.token_uri,
            Registry.owner_of,
            lambda reader, id: reader.verify_inclusion(id, bytes(32), 0, []),
            lambda reader, id: list(reader.records([1, id, 2])),
        ],
        ids=["record", "links", "linked_from", "token_uri", "owner_of", "verify", "records"],
    )
    def test_no_such_token(self, reader, read, id):
        with pytest.raises(NoTokenError, match=f"holds no token {id}"):
            read(reader, id)

    def test_many_tokens_take_few_requests(self, registry, transport, owner):
        first = registry.totalSupply() + 1
        calls = [
            registry.mintDataset.encode_input(commitment(number), []) for number in range(205)
        ]
        for start in range(0, 205, 41):
            registry.multicall(calls[start : start + 41], sender=owner)
        counting = Counting(transport)
        reader = Registry(counting, registry.address)
        counting.methods.clear()
        records = list(reader.records(range(first, first + 205)))
        assert counting.methods == ["eth_call"] * 3
        assert [record.metadata_digest for record in records] == [
            of_bytes(b"metadata %d" % number) for number in range(205)
        ]


class Counting:
    def __init__(self, transport):
        self.transport = transport
        self.methods = []

    def request(self, method, params):
        self.methods.append(method)
        return self.transport.request(method, params)


class TestFinding:
    def test_chain_is_read_and_compared(self, transport, registry):
        found = Registry(transport, registry.address).chain_id
        assert found == ape.networks.provider.chain_id
        assert Registry(transport, registry.address, found).chain_id == found
        with pytest.raises(ChainError, match=f"serves chain {found}, not 314"):
            Registry(transport, registry.address, 314)

    def test_no_contract(self, transport):
        with pytest.raises(NoRegistryError, match="0x1111.*there is no contract"):
            Registry(transport, NOBODY)

    def test_contract_without_erc165(self, transport, owner):
        # Creation code that returns the one-byte contract INVALID.
        address = create(owner, "60fe60005360016000f3")
        with pytest.raises(NoRegistryError, match="is no Alithis registry"):
            Registry(transport, address)

    def test_contract_that_answers_everything_with_nothing(self, transport, owner):
        # The same with STOP.
        address = create(owner, "600060005360016000f3")
        with pytest.raises(NoRegistryError, match="is no Alithis registry"):
            Registry(transport, address)

    def test_erc165_contract_of_another_kind(self, transport, registry):
        def other_interface(method, params):
            if method == "eth_call" and params[0]["data"].startswith("0x01ffc9a7"):
                call = {**params[0], "data": "0x01ffc9a7" + "deadbeef" + "00" * 28}
                params = [call, *params[1:]]
            return transport.request(method, params)

        with pytest.raises(NoRegistryError, match="is no Alithis registry"):
            Registry(Script(other_interface), registry.address)

    @pytest.mark.parametrize(
        "address",
        ["", "0x", "0x12", "11" * 20, "0x" + "11" * 21, "0x" + "zz" * 20, "0X" + "11" * 20],
    )
    def test_no_address(self, transport, address):
        with pytest.raises(RegistryError, match="is not an address"):
            Registry(transport, address)

    def test_mistyped_checksum(self, transport, registry):
        swapped = registry.address[:2] + registry.address[2:].swapcase()
        with pytest.raises(RegistryError, match="EIP-55"):
            Registry(transport, swapped)

    def test_any_case_of_a_right_address(self, transport, registry):
        for address in (registry.address.lower(), "0x" + registry.address[2:].upper()):
            assert Registry(transport, address).address == registry.address


def create(owner, code):
    """Deploy creation code, and return the contract's address."""
    transaction = ape.networks.ethereum.create_transaction(data=bytes.fromhex(code))
    return owner.call(transaction).contract_address


class TestEvents:
    def test_all_in_order(self, reader):
        events = list(reader.events())
        names = [event.name for event in events]
        assert names == [
            *("Minted", "Transfer"),
            *("Minted", "Linked", "Transfer"),
            *("Minted", "Linked", "Linked", "Linked", "Transfer"),
            *("Minted", "Linked", "Linked", "Superseded", "Linked", "Transfer"),
            "Transfer",
        ]
        assert all(
            (one.block, one.index) < (two.block, two.index) for one, two in pairwise(events)
        )

    def test_minted(self, reader, owner):
        event = next(reader.events("Minted"))
        block = ape.chain.blocks[event.block]
        assert event == Event(
            name="Minted",
            args={
                "id": 1,
                "root": ROOT,
                "publisher": owner.address,
                "kind": Kind.DATASET,
                "scheme": Scheme.SHA256,
                "size": 5,
                "metadataDigest": of_bytes(b"metadata 1"),
            },
            block=block.number,
            block_hash=bytes(block.hash),
            transaction=bytes.fromhex(block.transactions[0].txn_hash.removeprefix("0x")),
            index=0,
        )

    def test_events_hold_what_the_state_does(self, reader, minted):
        for record in reader.tokens():
            (event,) = reader.events("Minted", id=record.id)
            args = event.args
            assert (args["kind"], args["scheme"], args["size"]) == (
                record.kind,
                record.scheme,
                record.size,
            )
            assert (args["root"], args["publisher"]) == (record.root, record.publisher)
            links = [
                Link(each.args["target"], each.args["relation"])
                for each in reader.events("Linked", id=record.id)
            ]
            assert tuple(links) == reader.links(record.id)

    @pytest.mark.parametrize(
        ("name", "indexed", "count"),
        [
            ("Minted", {"root": ROOT}, 4),
            ("Minted", {"root": bytes(32)}, 0),
            ("Linked", {"target": 3}, 3),
            ("Linked", {"target": 3, "relation": Relation.SUPERSEDES}, 1),
            ("Linked", {"relation": Relation.TRAINED_ON}, 1),
            ("Linked", {"relation": 1}, 1),
            ("Superseded", {"id": None, "by": 4}, 1),
            ("Transfer", {"from": ZERO}, 4),
        ],
    )
    def test_indexed_arguments(self, reader, name, indexed, count):
        assert len(list(reader.events(name, **indexed))) == count

    @pytest.mark.parametrize(
        ("name", "indexed"),
        [
            ("Burnt", {}),
            ("Minted", {"size": 5}),
            ("Minted", {"id": "one"}),
            ("Minted", {"root": b"short"}),
            ("Minted", {"root": bytes(33)}),
            (None, {"id": 1}),
        ],
    )
    def test_question_that_makes_no_sense(self, reader, name, indexed):
        with pytest.raises(ValueError, match=r"Burnt|size|one|root|None"):
            reader.events(name, **indexed)

    def test_range_of_blocks(self, reader):
        first, second, *_ = reader.events("Minted")
        assert list(reader.events("Minted", to_block=first.block)) == [first]
        (only,) = reader.events("Minted", from_block=second.block, to_block=second.block)
        assert only == second
        assert list(reader.events(from_block=9, to_block=8)) == []

    @pytest.mark.parametrize("limit", [1, 2, 3])
    def test_range_that_the_node_refuses_is_halved(self, reader, transport, limit):
        expected = list(reader.events())

        def narrow(method, params):
            if method == "eth_getLogs":
                query = params[0]
                if int(query["toBlock"], 16) - int(query["fromBlock"], 16) >= limit:
                    raise RpcError("block range is too large", code=-32602)
            return transport.request(method, params)

        assert list(Registry(Script(narrow), reader.address).events()) == expected

    def test_node_that_refuses_every_range(self, reader, transport):
        refused = []

        def refuse(method, params):
            if method == "eth_getLogs":
                refused.append(params)
                raise RpcError("too far in the past", code=1)
            return transport.request(method, params)

        narrow = Registry(Script(refuse), reader.address)
        with pytest.raises(RpcError, match="too far in the past"):
            list(narrow.events(to_block=1 << 40))
        assert len(refused) <= 42

    def test_node_that_serves_only_crumbs(self, reader, transport, monkeypatch):
        monkeypatch.setattr(registries, "_MAX_QUERIES", 50)

        def crumbs(method, params):
            if method != "eth_getLogs":
                return transport.request(method, params)
            if params[0]["fromBlock"] != params[0]["toBlock"]:
                raise RpcError("too large", code=1)
            return []

        crumbling = Registry(Script(crumbs), reader.address)
        with pytest.raises(RegistryError, match="too small pieces"):
            list(crumbling.events(to_block=1 << 40))

    def test_node_that_breaks_off_is_not_asked_for_less(self, reader, transport):
        asked = []

        def broken(method, params):
            if method == "eth_getLogs":
                asked.append(params)
                raise TransportError("cannot be reached")
            return transport.request(method, params)

        with pytest.raises(TransportError, match="cannot be reached"):
            list(Registry(Script(broken), reader.address).events())
        assert len(asked) == 1


class Script:
    """A transport that is a function."""

    def __init__(self, request):
        self.request = request


class Lying:
    """Passes requests on to a real chain, and changes the results of one method or function."""

    def __init__(self, transport, method, lie):
        self.transport = transport
        self.method = method
        self.lie = lie

    def request(self, method, params):
        result = self.transport.request(method, params)
        is_it = method == self.method or (
            method == "eth_call" and params[0]["data"].startswith(self.method)
        )
        return self.lie(result) if is_it else result


def selector(name):
    return "0x" + registries._interface().functions[name].selector.hex()


NO_DATA = [
    pytest.param(lambda _: None, id="null"),
    pytest.param(lambda _: True, id="boolean"),
    pytest.param(lambda _: 7, id="number"),
    pytest.param(lambda _: ["0x"], id="array"),
    pytest.param(lambda _: {"data": "0x"}, id="object"),
    pytest.param(lambda _: "", id="empty string"),
    pytest.param(lambda _: "0x", id="no bytes"),
    pytest.param(lambda real: real[2:], id="no 0x"),
    pytest.param(lambda real: real[:-1], id="half a byte"),
    pytest.param(lambda real: real[:-2], id="a byte too few"),
    pytest.param(lambda real: real + "00", id="a byte too many"),
    pytest.param(lambda real: real + "00" * 32, id="a word too many"),
    pytest.param(lambda real: real[:-1] + "g", id="no digit"),
    pytest.param(lambda real: real + "\n", id="newline"),
    pytest.param(lambda _: "0x" + "ff" * 320, id="ones"),
    pytest.param(lambda _: "0x" + "00" * (3 << 20), id="3 MiB"),
    pytest.param(lambda real: real[:2] + "f" * 64 + real[66:], id="giant offset"),
    pytest.param(lambda real: real[:66] + "f" * 64 + real[130:], id="giant length"),
]


class TestLies:
    """Answers of the right shape to the wrong question, and of no shape at all."""

    def lying(self, reader, transport, method, lie):
        registry = Registry(transport, reader.address)
        registry._transport = Lying(transport, method, lie)
        return registry

    @pytest.mark.parametrize("lie", NO_DATA)
    @pytest.mark.parametrize(
        ("function", "read"),
        [
            ("totalSupply", Registry.count),
            ("record", lambda reader: reader.record(3)),
            ("links", lambda reader: reader.links(3)),
            ("tokenURI", lambda reader: reader.token_uri(3)),
            ("ownerOf", lambda reader: reader.owner_of(3)),
            ("verifyInclusion", lambda reader: reader.verify_inclusion(3, bytes(32), 0, [])),
            ("multicall", lambda reader: list(reader.tokens())),
            ("multicall", lambda reader: reader.linked_from(1)),
            ("deploymentBlock", lambda reader: next(reader.events())),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_data_that_does_not_decode(self, reader, transport, function, read, lie, request):
        if function in ("totalSupply", "deploymentBlock") and "giant" in request.node.callspec.id:
            pytest.skip("a static result has neither offset nor length")
        lying = self.lying(reader, transport, selector(function), lie)
        with pytest.raises(RegistryError) as caught:
            read(lying)
        assert type(caught.value) is RegistryError
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
