"""Reading the registry: what it holds, and nodes that lie. Real nodes are tests/chain's."""

import copy
import gzip
import json
import threading
import traceback
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
from eth_abi import encode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alithis.chain import abi
from alithis.chain import registry as registries
from alithis.chain.records import Claim, Event, Link, Record
from alithis.chain.registry import Registry, RpcError
from alithis.chain.rpc import HttpTransport
from alithis.errors import (
    ChainError,
    NoRegistryError,
    NoTokenError,
    ProofError,
    RegistryError,
    TransportError,
)
from alithis.forms.hashing import of_bytes
from alithis.ipfs.cid import Cid
from alithis.manifest import merkle
from alithis.manifest.terms import ClaimStatus, Kind, Relation, Scheme
from helpers.fake_chain import reverting
from helpers.session import examples
from helpers.transports import Counting

LEAVES = sorted(of_bytes(bytes([number])) for number in range(5))
ROOT = merkle.root(b"".join(LEAVES))
BETWEEN = [
    bytes(32),
    *((int.from_bytes(leaf) + 1).to_bytes(32) for leaf in LEAVES),
]
"""Leaves that are absent: before the first, and right behind each."""
NOBODY = "0x" + "11" * 20
ZERO = "0x" + "00" * 20


def commitment(number, scheme=Scheme.SHA256):
    return (ROOT, len(LEAVES), scheme.number, of_bytes(b"metadata %d" % number))


def link(target, relation):
    return (target, relation.number)


@pytest.fixture(scope="module")
def minted(registry, owner, accounts):
    """Tokens with every kind, scheme and relation; returns their count."""
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
            attestations=0,
            claims=0,
            open_claims=0,
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

    def test_all_links(self, reader, minted):
        ids = range(1, minted + 1)
        assert list(reader.all_links()) == [(id, reader.links(id)) for id in ids]
        assert [id for id, _ in reader.all_links(3)] == [3, 4]
        assert list(reader.all_links(minted + 1)) == []

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
    def test_an_inclusion_proof_that_does_not_fit_the_contract(self, reader, leaf, index, path):
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
            Registry.claims,
            lambda reader, id: reader.is_derived_from(id, 1),
            lambda reader, id: reader.is_derived_from(1, id),
            lambda reader, id: reader.verify_exclusion(id, bytes(32), 0, None, [], None, []),
        ],
        ids=[
            *("record", "links", "linked_from", "token_uri", "owner_of", "verify", "records"),
            *("claims", "derived", "ancestor", "exclusion"),
        ],
    )
    def test_no_such_token(self, reader, read, id):
        with pytest.raises(NoTokenError, match=f"has no token {id}"):
            read(reader, id)

    def test_many_tokens_take_few_requests(self, registry, transport, owner, monkeypatch):
        monkeypatch.setattr(registries, "_BATCH", 10)
        first = registry.totalSupply() + 1
        calls = [registry.mintDataset.encode_input(commitment(number), []) for number in range(25)]
        registry.multicall(calls, sender=owner)
        counting = Counting(transport)
        reader = Registry(counting, registry.address)
        counting.methods.clear()
        records = list(reader.records(range(first, first + 25)))
        assert counting.methods == ["eth_call"] * 3
        assert [record.metadata_digest for record in records] == [
            of_bytes(b"metadata %d" % number) for number in range(25)
        ]


class TestEvidence:
    """What is set beside a record once it is minted."""

    PATHS = tuple(merkle.inclusion_path(b"".join(LEAVES), index) for index in range(5))

    def test_countersigned_link(self, reader, registry, owner):
        registry.countersign(3, 1, sender=owner)
        countersigned = Link(1, Relation.VALIDATED_ON, countersigned=True)
        stated = [Link(2, Relation.TRAINED_ON), Link(1, Relation.TESTED_ON)]
        assert reader.links(3) == (stated[0], countersigned, stated[1])
        assert [link.countersigned for link in reader.links(3)] == [False, True, False]
        assert (3, countersigned) in reader.linked_from(1)
        registry.retractCountersignature(3, 1, sender=owner)
        assert not reader.links(3)[1].countersigned

    def test_attestations(self, reader, registry, accounts):
        for index in range(3):
            registry.attest(1, LEAVES[index], index, self.PATHS[index], sender=accounts[4])
        assert [reader.record(id).attestations for id in (1, 2)] == [3, 0]

    def test_claims(self, reader, registry, owner, accounts, monkeypatch):
        monkeypatch.setattr(registries, "_BATCH", 2)
        times = [
            registry.claim(
                1, LEAVES[index], index, self.PATHS[index], "why", sender=accounts[index]
            ).timestamp
            for index in range(3)
        ]
        registry.answerClaim(1, 2, ClaimStatus.ACCEPTED.number, "so", sender=owner)
        statuses = [ClaimStatus.OPEN, ClaimStatus.ACCEPTED, ClaimStatus.OPEN]
        assert reader.claims(1) == tuple(
            Claim(1, number + 1, LEAVES[number], accounts[number].address, times[number], status)
            for number, status in enumerate(statuses)
        )
        assert (reader.record(1).claims, reader.record(1).open_claims) == (3, 2)
        assert reader.claims(2) == ()
        assert [reader.claim(1, number) for number in (1, 2, 3)] == list(reader.claims(1))
        for token, number in ((1, 0), (1, 4), (2, 1)):
            with pytest.raises(RegistryError, match=f"no claim {number} against token {token}; it"):
                reader.claim(token, number)

    def test_texts_are_in_the_events(self, reader, registry, owner):
        registry.claim(1, LEAVES[0], 0, self.PATHS[0], "why", sender=owner)
        registry.answerClaim(1, 1, ClaimStatus.REJECTED.number, "no", sender=owner)
        (claimed,) = reader.events("Claimed", claimant=owner.address)
        (answered,) = reader.events("ClaimAnswered", id=1, number=1)
        assert (claimed.args["uri"], answered.args["uri"]) == ("why", "no")
        assert answered.args["answer"] is ClaimStatus.REJECTED

    def test_withdrawn(self, reader, registry, owner):
        registry.withdraw(1, "gone", sender=owner)
        assert [reader.record(id).withdrawn for id in (1, 2)] == [True, False]

    def test_disordered(self, reader, registry, owner):
        swapped = [LEAVES[1], LEAVES[0]]
        root = merkle.root(b"".join(swapped))
        paths = [merkle.inclusion_path(b"".join(swapped), index) for index in (0, 1)]
        registry.mintDataset((root, 2, 0, of_bytes(b"metadata")), [], sender=owner)
        absence = (5, LEAVES[4], 2, swapped[1], paths[1], None, ())
        assert reader.verify_exclusion(*absence)
        registry.reportDisorder(5, 0, swapped[0], paths[0], 1, swapped[1], paths[1], sender=owner)
        assert reader.record(5).disordered
        assert not reader.verify_exclusion(*absence)

    @pytest.mark.parametrize("index", range(6))
    def test_verify_exclusion(self, reader, index):
        sides = [
            (LEAVES[at], self.PATHS[at]) if 0 <= at < 5 else (None, ()) for at in (index - 1, index)
        ]
        assert reader.verify_exclusion(1, BETWEEN[index], index, *sides[0], *sides[1])
        assert not reader.verify_exclusion(1, LEAVES[0], index, *sides[0], *sides[1])

    def test_an_exclusion_proof_that_does_not_fit_the_contract(self, reader):
        for proof in (
            (b"short", 0, None, [], None, []),
            (bytes(32), -1, None, [], None, []),
            (bytes(32), 0, b"short", [], None, []),
            (bytes(32), 0, None, [], None, [b"short"]),
        ):
            with pytest.raises(ProofError):
                reader.verify_exclusion(1, *proof)

    def test_is_derived_from(self, reader):
        assert reader.is_derived_from(4, 1)
        assert not reader.is_derived_from(1, 4)

    def test_nonce(self, reader, registry, owner):
        assert reader.nonce(owner.address) == 0
        registry.revokeNonce(sender=owner)
        assert reader.nonce(owner.address) == 1
        with pytest.raises(RegistryError, match="is not an address"):
            reader.nonce("somebody")

    def test_more_claims_than_can_be_read(self, reader, transport, monkeypatch):
        monkeypatch.setattr(registries, "MAX_SCAN", 0)
        lying = copy.copy(reader)
        lying._transport = Lying(
            transport, selector("record"), lambda real: f"{real[:-128]}{1:064x}{real[-64:]}"
        )
        with pytest.raises(RegistryError, match="token 1 has 1 claims"):
            lying.claims(1)


class TestFinding:
    def test_chain_is_read_and_compared(self, transport, registry, chain):
        found = Registry(transport, registry.address).chain_id
        assert found == chain.chain_id
        assert Registry(transport, registry.address, found).chain_id == found
        with pytest.raises(ChainError, match=f"serves chain {found}, not 314"):
            Registry(transport, registry.address, 314)

    def test_no_contract(self, transport):
        with pytest.raises(NoRegistryError, match=r"0x1111.*there is no contract"):
            Registry(transport, NOBODY)

    def test_contract_without_erc165(self, chain):
        chain.codes[NOBODY] = reverting
        with pytest.raises(NoRegistryError, match="is not an Alithis registry"):
            Registry(chain, NOBODY)

    def test_contract_that_answers_everything_with_nothing(self, chain):
        chain.codes[NOBODY] = lambda _: b""
        with pytest.raises(NoRegistryError, match="is not an Alithis registry"):
            Registry(chain, NOBODY)

    def test_contract_that_answers_true_to_everything(self, chain):
        """ERC-165: what claims the interface 0xffffffff has not understood the question."""
        chain.codes[NOBODY] = lambda _: (1).to_bytes(32)
        with pytest.raises(NoRegistryError, match="the contract is not an Alithis registry"):
            Registry(chain, NOBODY)

    def test_erc165_contract_of_another_kind(self, transport, registry):
        def other_interface(method, params):
            if method == "eth_call" and params[0]["data"].startswith("0x01ffc9a7"):
                call = {**params[0], "data": "0x01ffc9a7" + "deadbeef" + "00" * 28}
                params = [call, *params[1:]]
            return transport.request(method, params)

        with pytest.raises(NoRegistryError, match="is not an Alithis registry"):
            Registry(Script(other_interface), registry.address)

    @pytest.mark.parametrize(
        "address",
        ["", "0x", "0x12", "11" * 20, "0x" + "11" * 21, "0x" + "zz" * 20, "0X" + "11" * 20],
    )
    def test_an_invalid_address_is_refused(self, transport, address):
        with pytest.raises(RegistryError, match="is not an address"):
            Registry(transport, address)

    def test_mistyped_checksum(self, transport, registry):
        swapped = registry.address[:2] + registry.address[2:].swapcase()
        with pytest.raises(RegistryError, match="EIP-55"):
            Registry(transport, swapped)

    def test_any_case_of_a_right_address(self, transport, registry):
        for address in (registry.address.lower(), "0x" + registry.address[2:].upper()):
            assert Registry(transport, address).address == registry.address


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
        assert all((one.block, one.index) < (two.block, two.index) for one, two in pairwise(events))

    def test_minted(self, reader, registry, owner, chain):
        event = next(reader.events("Minted"))
        block = chain.block(event.block)
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
                "time": registry.record(1).time,
            },
            block=block.number,
            block_hash=block.hash,
            transaction=bytes.fromhex(block.transactions[0].removeprefix("0x")),
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
    def test_an_event_query_for_unknown_names_is_an_error(self, reader, name, indexed):
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

    def test_a_node_that_serves_too_few_blocks_at_a_time(self, reader, transport, monkeypatch):
        monkeypatch.setattr(registries, "_MAX_QUERIES", 50)

        def crumbs(method, params):
            if method != "eth_getLogs":
                return transport.request(method, params)
            if params[0]["fromBlock"] != params[0]["toBlock"]:
                raise RpcError("too large", code=1)
            return []

        crumbling = Registry(Script(crumbs), reader.address)
        with pytest.raises(RegistryError, match="too few blocks"):
            list(crumbling.events(to_block=1 << 40))

    def test_a_broken_connection_is_not_taken_for_a_range_that_is_too_large(
        self, reader, transport
    ):
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
    return "0x" + abi.interface().functions[name].selector.hex()


LIES = {
    "null": lambda _: None,
    "boolean": lambda _: True,
    "number": lambda _: 7,
    "array": lambda _: ["0x"],
    "object": lambda _: {"data": "0x"},
    "empty string": lambda _: "",
    "no bytes": lambda _: "0x",
    "no 0x": lambda real: real[2:],
    "half a byte": lambda real: real[:-1],
    "a byte too few": lambda real: real[:-2],
    "a byte too many": lambda real: real + "00",
    "a word too many": lambda real: real + "00" * 32,
    "no digit": lambda real: real[:-1] + "g",
    "newline": lambda real: real + "\n",
    "ones": lambda _: "0x" + "ff" * 320,
    "4 MiB": lambda _: "0x" + "00" * (4 << 20),
    "giant length": lambda real: real[:66] + "f" * 64 + real[130:],
    "giant offset": lambda real: real[:2] + "f" * 64 + real[66:],
}
READS = [
    ("totalSupply", Registry.count),
    ("deploymentBlock", lambda reader: next(reader.events())),
    ("record", lambda reader: reader.record(3)),
    ("links", lambda reader: reader.links(3)),
    ("tokenURI", lambda reader: reader.token_uri(3)),
    ("ownerOf", lambda reader: reader.owner_of(3)),
    ("verifyInclusion", lambda reader: reader.verify_inclusion(3, bytes(32), 0, [])),
    (
        "verifyExclusion",
        lambda reader: reader.verify_exclusion(3, bytes(32), 0, None, [], bytes(32), []),
    ),
    ("isDerivedFrom", lambda reader: reader.is_derived_from(3, 1)),
    ("nonces", lambda reader: reader.nonce(NOBODY)),
    ("multicall", lambda reader: list(reader.tokens())),
    ("multicall", lambda reader: reader.linked_from(1)),
]
# A number has no offset: any word is one.
BAD_RESULTS = [
    pytest.param(function, read, lie, id=f"{function}-{name}")
    for function, read in READS
    for name, lie in LIES.items()
    if name != "giant offset" or function not in ("totalSupply", "deploymentBlock", "nonces")
]


class TestLies:
    """Answers of the right shape to the wrong question, and of no shape at all."""

    def lying(self, reader, transport, method, lie):
        registry = copy.copy(reader)
        registry._transport = Lying(transport, method, lie)
        return registry

    @pytest.mark.parametrize(("function", "read", "lie"), BAD_RESULTS)
    def test_data_that_cannot_be_decoded_is_refused(self, reader, transport, function, read, lie):
        lying = self.lying(reader, transport, selector(function), lie)
        with pytest.raises(RegistryError) as caught:
            read(lying)
        assert type(caught.value) is RegistryError
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400

    def test_record_of_an_unknown_kind(self, reader, transport):
        lying = self.lying(
            reader, transport, selector("record"), lambda real: "0x" + f"{2:064x}" + real[66:]
        )
        with pytest.raises(RegistryError, match="does not know Kind 2: upgrade alithis"):
            lying.record(3)

    def test_link_of_an_unknown_relation(self, reader, transport):
        # The last link's words: target, relation, whether it is countersigned.
        lying = self.lying(
            reader, transport, selector("links"), lambda real: real[:-128] + f"{7:064x}{0:064x}"
        )
        with pytest.raises(RegistryError, match="Relation 7: "):
            lying.links(3)

    def test_uri_of_another_scheme(self, reader, transport):
        uri = "http://127.0.0.1/metadata.json"
        lying = self.lying(
            reader, transport, selector("tokenURI"), lambda _: hexed(encode(["string"], [uri]))
        )
        with pytest.raises(RegistryError, match="is not ipfs://f01551220"):
            lying.token_uri(3)

    def test_text_that_is_not_utf8(self, reader, transport):
        lying = self.lying(
            reader,
            transport,
            selector("tokenURI"),
            lambda _: hexed(encode(["bytes"], [b"ipfs://\xff"])),
        )
        with pytest.raises(RegistryError, match="cannot be decoded"):
            lying.token_uri(3)

    def test_array_whose_elements_share_their_bytes(self, reader, transport):
        # A hundred elements of 2 MiB each, in one answer of 2 MiB.
        shared = encode(["bytes"], [bytes(2 << 20)])[32:]
        heads = (32).to_bytes(32) + (100).to_bytes(32) + (3200).to_bytes(32) * 100
        lying = self.lying(
            reader, transport, selector("multicall"), lambda _: hexed((heads + shared)[: 2 << 20])
        )
        with pytest.raises(RegistryError, match="multicall: "):
            list(lying.records([1] * 100))

    def test_fewer_tokens_than_requested_are_refused(self, reader, transport):
        lying = self.lying(
            reader, transport, selector("multicall"), lambda _: hexed(encode(["bytes[]"], [[b""]]))
        )
        with pytest.raises(RegistryError, match="multicall: "):
            list(lying.tokens())

    def test_more_tokens_than_can_be_read(self, reader, transport):
        lying = self.lying(reader, transport, selector("totalSupply"), lambda _: "0x" + "f" * 64)
        with pytest.raises(RegistryError, match="can be read"):
            lying.tokens()
        with pytest.raises(RegistryError, match="can be read"):
            lying.linked_from(1)

    @pytest.mark.parametrize("id", ["", "0x", "0xzz", "0x" + "1" * 65, 314, None, -1, [], "0x1\n"])
    def test_an_invalid_chain_id(self, transport, registry, id):
        with pytest.raises(RegistryError, match="eth_chainId"):
            Registry(Lying(transport, "eth_chainId", lambda _: id), registry.address)

    @pytest.mark.parametrize("number", [None, 5, "5", "latest", {}])
    def test_an_invalid_block_number(self, reader, transport, number):
        lying = self.lying(reader, transport, "eth_blockNumber", lambda _: number)
        with pytest.raises(RegistryError, match="eth_blockNumber"):
            list(lying.events())

    def test_an_invalid_answer_to_supports_interface(self, transport, registry):
        with pytest.raises(NoRegistryError):
            Registry(
                Lying(transport, selector("supportsInterface"), lambda _: "0x" + f"{2:064x}"),
                registry.address,
            )

    @settings(
        max_examples=examples(300),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        answer=st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.text(max_size=20)
            | st.binary(max_size=700).map(lambda data: f"0x{data.hex()}"),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(["address", "topics", "data", "blockNumber", "removed"]), inner
                )
            ),
            max_leaves=8,
        )
    )
    def test_any_answer_gives_a_value_or_a_registry_error(self, reader, answer):
        def say(asked, _):
            return "0x7" if asked == "eth_blockNumber" else answer

        deaf = copy.copy(reader)
        deaf._transport = Script(say)
        for read in [*(read for _, read in READS), lambda deaf: list(deaf.events(from_block=0))]:
            with suppress(RegistryError):
                read(deaf)

    @pytest.fixture
    def honest(self, reader, transport):
        """All tokens, and what the chain returns for them."""
        returned = []
        listening = self.lying(reader, transport, selector("multicall"), returned.append)
        with suppress(RegistryError):
            list(listening.tokens())
        return list(reader.tokens()), returned[0]

    @settings(
        max_examples=examples(300),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(place=st.integers(0), value=st.integers(0, 255))
    def test_a_changed_byte_is_refused_or_changes_the_value(self, reader, honest, place, value):
        records, returned = honest
        data = bytearray.fromhex(returned[2:])
        data[place % len(data)] ^= value
        changed = copy.copy(reader)
        changed._transport = Script(lambda *_: hexed(data))
        try:
            found = list(changed.records(range(1, len(records) + 1)))
        except RegistryError:
            assert value != 0
        else:
            assert (found == records) == (value == 0)


def hexed(data):
    return f"0x{data.hex()}"


def edit(**fields):
    return lambda logs: [{**logs[0], **fields}, *logs[1:]]


def without(name):
    return lambda logs: [{key: logs[0][key] for key in logs[0] if key != name}, *logs[1:]]


LOG_LIES = {
    "null": lambda _: None,
    "object": lambda _: {},
    "string": lambda _: "0x",
    "log is null": lambda _: [None],
    "log is text": lambda _: ["0x"],
    "no address": without("address"),
    "no topics": without("topics"),
    "no data": without("data"),
    "no block": without("blockNumber"),
    "no block hash": without("blockHash"),
    "no transaction": without("transactionHash"),
    "no index": without("logIndex"),
    "other contract": edit(address=NOBODY),
    "address is null": edit(address=None),
    "topics is null": edit(topics=None),
    "topics is empty": edit(topics=[]),
    "topic is null": edit(topics=[None]),
    "topic is cut": lambda logs: edit(topics=[logs[0]["topics"][0], "0x00"])(logs),
    "unknown event": lambda logs: edit(topics=["0x" + "ab" * 32, *logs[0]["topics"][1:]])(logs),
    "topic too few": lambda logs: edit(topics=logs[0]["topics"][:-1])(logs),
    "topic too many": lambda logs: edit(topics=[*logs[0]["topics"], "0x" + "00" * 32])(logs),
    "address with dirt": lambda logs: edit(topics=[*logs[0]["topics"][:-1], "0x" + "ff" * 32])(
        logs
    ),
    "data is cut": lambda logs: edit(data=logs[0]["data"][:-64])(logs),
    "data too long": lambda logs: edit(data=logs[0]["data"] + "00" * 32)(logs),
    "data is null": edit(data=None),
    "unknown kind": lambda logs: edit(data="0x" + f"{9:064x}" + logs[0]["data"][66:])(logs),
    "pending": edit(blockNumber=None),
    "block as number": edit(blockNumber=1),
    "block outside": edit(blockNumber="0xffffff"),
    "block hash is short": edit(blockHash="0x00"),
    "index as number": edit(logIndex=0),
    "twice": lambda logs: [logs[0], *logs],
    "out of order": lambda logs: logs[::-1],
}


class TestLyingAboutEvents:
    @pytest.mark.parametrize("lie", LOG_LIES.values(), ids=LOG_LIES)
    def test_contradictory_logs_are_refused(self, reader, transport, lie):
        lying = Registry(Lying(transport, "eth_getLogs", lie), reader.address)
        with pytest.raises(RegistryError) as caught:
            list(lying.events())
        assert type(caught.value) is RegistryError
        assert "\n" not in str(caught.value)

    def test_an_event_that_was_not_requested_is_refused(self, reader, transport):
        (other,) = transport.request(
            "eth_getLogs",
            [
                {
                    "address": reader.address,
                    "fromBlock": "0x0",
                    "toBlock": "latest",
                    "topics": abi.interface().topics("Minted", {"id": 2}),
                }
            ],
        )
        lying = Registry(Lying(transport, "eth_getLogs", lambda _: [other]), reader.address)
        assert len(list(lying.events("Minted"))) == 1
        for name, indexed in (
            ("Minted", {"id": 1}),
            ("Linked", {}),
            ("Minted", {"root": bytes(32)}),
        ):
            with pytest.raises(RegistryError, match="was not requested"):
                list(lying.events(name, **indexed))

    def test_removed_logs_are_ignored(self, reader, transport):
        lying = Registry(Lying(transport, "eth_getLogs", edit(removed=True)), reader.address)
        assert list(lying.events()) == list(reader.events())[1:]

    def test_capitals_in_hexadecimal_are_accepted(self, reader, transport):
        def shout(logs):
            return [
                {
                    **log,
                    "address": log["address"].upper().replace("X", "x"),
                    "topics": [topic.upper().replace("X", "x") for topic in log["topics"]],
                }
                for log in logs
            ]

        lying = Registry(Lying(transport, "eth_getLogs", shout), reader.address)
        assert list(lying.events()) == list(reader.events())


class TestForeignTransports:
    """A transport that is not ours may raise what it likes."""

    def test_exception_is_one_line(self, registry):
        def fail(method, params):
            raise KeyError("some\nthing\x1b[31m")

        with pytest.raises(TransportError, match=r"^eth_chainId: 'some") as caught:
            Registry(Script(fail), registry.address)
        assert "\x1b" not in str(caught.value)

    @pytest.mark.parametrize("nested", [False, True])
    def test_revert_data_of_its_exception(self, reader, transport, nested):
        class RevertedError(Exception):
            def __init__(self, data):
                self.data = {"data": data} if nested else data

        def foreign(method, params):
            try:
                return transport.request(method, params)
            except TransportError as error:
                raise RevertedError(error.data) from error

        with pytest.raises(NoTokenError, match="has no token 77"):
            Registry(Script(foreign), reader.address).record(77)

    def test_other_reverts_are_not_taken_for_a_missing_token(self, reader, transport):
        def revert(method, params):
            if params and "data" in params[0] and params[0]["data"].startswith(selector("record")):
                raise RpcError("execution reverted", code=3, data="0x08c379a0")
            return transport.request(method, params)

        with pytest.raises(RpcError, match="execution reverted"):
            Registry(Script(revert), reader.address).record(1)

    @pytest.mark.parametrize(
        "error",
        [RpcError("daily limit exceeded", code=-32005), TransportError("daily limit exceeded")],
    )
    def test_failing_node_is_not_taken_for_one_without_a_registry(self, registry, transport, error):
        def limited(method, params):
            if method == "eth_chainId":
                return transport.request(method, params)
            raise error

        with pytest.raises(TransportError, match="daily limit"):
            Registry(Script(limited), registry.address)


SECRETS = ("s3cr3t-user", "s3cr3t-word", "s3cr3t-path", "s3cr3t-query")


class Endpoint:
    """An HTTP server on loopback that answers as it is told, and remembers what it was asked."""

    def __init__(self, server, reply):
        self.asked = []
        self.reply = reply
        self.address = f"127.0.0.1:{server.server_address[1]}"
        self.url = "http://{}:{}@{}/{}?key={}".format(*SECRETS[:2], self.address, *SECRETS[2:])


@contextmanager
def endpoint(reply):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.asked.append((self.path, json.loads(body)))
            told.reply(self, told.asked[-1][1])

        def do_GET(self):
            told.asked.append((self.path, None))
            self.send_error(405)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            pass  # the client hung up, as some tests mean it to

    with Server(("127.0.0.1", 0), Handler) as server:
        told = Endpoint(server, reply)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()


def send(body, status=200, **headers):
    def reply(handler, _):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = "Content_Length" in headers

    return reply


def answer(status=200, **fields):
    def reply(handler, asked):
        body = {"jsonrpc": "2.0", "id": asked["id"], **fields}
        send(json.dumps(body).encode(), status)(handler, asked)

    return reply


def hang_up(handler, _):
    handler.close_connection = True


def say(raw):
    def reply(handler, _):
        handler.wfile.write(raw)
        handler.close_connection = True

    return reply


def flood(handler, _):
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * (1 << 20))


def drip(released):
    def reply(handler, _):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        while not released.wait(0.02):
            handler.wfile.write(b" ")

    return reply


def silence(released):
    return lambda *_: released.wait(60)


BAD_ANSWERS = {
    "hangs up": (hang_up, "cannot be reached, or closed the connection"),
    "no HTTP": (say(b"SSH-2.0-OpenSSH_9.2\r\n"), "cannot be reached, or closed the connection"),
    "endless header": (say(b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20)), "cannot be reached"),
    "nothing": (send(b""), "not JSON-RPC"),
    "HTML": (send(b"<html>Welcome</html>", Content_Type="text/html"), "not JSON-RPC"),
    "not UTF-8": (send(b"\xff\xfe{}"), "not JSON-RPC"),
    "list": (send(b"[]"), "not JSON-RPC"),
    "null": (send(b"null"), "not JSON-RPC"),
    "number": (send(b"1" * 10_000), "not JSON-RPC"),
    "deep, with brackets in text": (
        send(b'{"[[[":"]]]' + b'\\"' * 99 + b'","result":' + b'[{"":' * 100_000),
        "not JSON-RPC",
    ),
    "unended text": (send(b"{" * 40 + b'\\"' * 1_000_000), "not JSON-RPC"),
    "deep": (send(b"[" * 1_000_000), "not JSON-RPC"),
    "cut": (send(b'{"id":1,', Content_Length="100"), "cannot be reached, or closed the connection"),
    "compressed": (
        send(gzip.compress(bytes(1 << 20)), Content_Encoding="gzip"),
        "unexpected Content-Encoding",
    ),
    "not found": (send(b"<html>Not found</html>", 404), "HTTP 404"),
    "forbidden": (send(b"{}", 403), "HTTP 403"),
    "broken": (send(b"", 500), "HTTP 500"),
    "too many requests": (send(b"", 429), "HTTP 429, too many requests"),
    "other id": (answer(id=99, result="0x1"), "returned an answer to another request"),
    "id as text": (answer(id="1", result="0x1"), "returned an answer to another request"),
    "no result": (answer(), "returned an answer to another request"),
    "result with status 502": (answer(status=502, result="0x1"), "HTTP 502"),
}


class TestHttpTransport:
    def assert_secretive(self, error):
        shown = "".join(traceback.format_exception(error))
        assert not any(secret in shown for secret in SECRETS)
        assert "\n" not in str(error)

    def test_result(self):
        with endpoint(answer(result="0x2a")) as node:
            transport = HttpTransport(node.url)
            assert transport.request("eth_chainId", []) == "0x2a"
            assert transport.request("eth_blockNumber", [1]) == "0x2a"
        (path, first), (_, second) = node.asked
        assert path == f"/{SECRETS[2]}?key={SECRETS[3]}"
        assert first == {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
        assert (second["id"], second["params"]) == (2, [1])

    def test_many_brackets_are_not_depth(self):
        result = [{"data": ["[[[", '{\\"[' * 99]}] * 100
        with endpoint(answer(result=result)) as node:
            assert HttpTransport(node.url).request("eth_getLogs", []) == result

    def test_null_is_a_result(self):
        with endpoint(answer(result=None)) as node:
            assert HttpTransport(node.url).request("eth_getTransactionReceipt", []) is None

    def test_chunked_result(self):
        def chunked(handler, _):
            handler.send_response(200)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            for piece in (b'{"jsonrpc":"2.0",', b'"id":1,"result":', b"7}", b""):
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

        with endpoint(chunked) as node:
            assert HttpTransport(node.url).request("m", []) == 7

    @pytest.mark.parametrize(("reply", "message"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
    def test_unusable_answers_are_errors(self, reply, message):
        with endpoint(reply) as node, pytest.raises(TransportError, match=message) as caught:
            HttpTransport(node.url).request("eth_chainId", [])
        assert type(caught.value) is TransportError
        assert str(caught.value).startswith(f"RPC endpoint {node.address} ")
        self.assert_secretive(caught.value)

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_redirect_is_not_followed(self, status):
        with endpoint(answer(result="0x1")) as target:
            redirect = send(b"", status, Location=f"http://{target.address}/")
            with (
                endpoint(redirect) as node,
                pytest.raises(TransportError, match=f"HTTP {status}, a redirect") as caught,
            ):
                HttpTransport(node.url).request("eth_chainId", [])
        assert target.asked == []
        self.assert_secretive(caught.value)

    @pytest.mark.parametrize("make", [silence, drip])
    def test_an_answer_that_does_not_end_times_out(self, make):
        released = threading.Event()
        with endpoint(make(released)) as node:
            try:
                with pytest.raises(TransportError, match=r"0\.2 s") as caught:
                    HttpTransport(node.url, timeout=0.2).request("eth_chainId", [])
            finally:
                released.set()
        assert getattr(caught.value, "code", None) is None
        self.assert_secretive(caught.value)

    def test_answer_too_large_is_cut_off(self):
        with endpoint(flood) as node, pytest.raises(RpcError, match="more than 16 MiB") as caught:
            HttpTransport(node.url).request("eth_getLogs", [])
        self.assert_secretive(caught.value)

    def test_an_endpoint_that_cannot_be_reached(self):
        with endpoint(hang_up) as node:
            pass
        with pytest.raises(TransportError, match="cannot be reached") as caught:
            HttpTransport(node.url).request("eth_chainId", [])
        self.assert_secretive(caught.value)

    def test_an_endpoint_without_tls(self):
        with (
            endpoint(hang_up) as node,
            pytest.raises(TransportError, match=r"TLS|reached") as caught,
        ):
            HttpTransport(node.url.replace("http:", "https:")).request("eth_chainId", [])
        self.assert_secretive(caught.value)

    @pytest.mark.parametrize(
        ("error", "code", "data"),
        [
            ({"code": 3, "message": "execution reverted", "data": "0xABCD"}, 3, "0xabcd"),
            ({"code": -32000, "message": "reverted", "data": {"data": "0xab"}}, -32000, "0xab"),
            ({"code": 1, "message": "exit=[33], vm error=[0x7E273289ff]"}, 1, "0x7e273289ff"),
            ({"code": 3, "message": "x", "data": "Reverted"}, 3, None),
            ({"code": 3, "message": "x", "data": ["0xab"]}, 3, None),
            ({"code": "three"}, -32603, None),
            ({"message": [1, 2, 3]}, -32603, None),
            ("nonsense", -32603, None),
            ([], -32603, None),
            (True, -32603, None),
        ],
    )
    @pytest.mark.parametrize("status", [200, 400, 500])
    def test_error_of_the_node(self, error, code, data, status):
        with (
            endpoint(answer(status=status, error=error, id=None)) as node,
            pytest.raises(RpcError, match=f"^RPC endpoint {node.address} answered: ") as caught,
        ):
            HttpTransport(node.url).request("eth_call", [])
        assert (caught.value.code, caught.value.data) == (code, data)
        assert "\n" not in str(caught.value)

    def test_message_of_the_node_is_shown_safely(self):
        message = f"bad key {SECRETS[2]}\n\x1b[2Jand {'more ' * 1000}"
        with (
            endpoint(answer(error={"message": message})) as node,
            pytest.raises(RpcError) as caught,
        ):
            HttpTransport(node.url).request("eth_call", [])
        assert "bad key … [2Jand more" in str(caught.value)
        assert len(str(caught.value)) < 300
        self.assert_secretive(caught.value)

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "node",
            "ftp://s3cr3t-path/",
            "file:///s3cr3t-path",
            "http://",
            "http://h:s3cr3t-path/",
        ],
    )
    def test_an_invalid_url_is_refused(self, url):
        with pytest.raises(TransportError, match="not http://HOST") as caught:
            HttpTransport(url)
        self.assert_secretive(caught.value)

    def test_a_url_that_cannot_be_requested_is_an_error(self):
        with pytest.raises(TransportError, match="cannot be asked") as caught:
            HttpTransport(f"http://.example/{SECRETS[2]}").request("m", [])
        self.assert_secretive(caught.value)

    def test_repr_keeps_secrets(self):
        transport = HttpTransport(f"https://{SECRETS[0]}:{SECRETS[1]}@node.example/{SECRETS[2]}")
        assert repr(transport) == "HttpTransport('node.example')"


def test_enum_numbers_are_those_of_the_contract():
    assert [kind.number for kind in Kind] == [0, 1]
    assert [scheme.number for scheme in Scheme] == [0, 1]
    assert Relation.SUPERSEDES.number == 6
    assert f"{Relation.TRAINED_ON}" == "trained_on"
