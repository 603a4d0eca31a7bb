"""What is computed and checked before a token is minted: from plain values, without a chain."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest
from eth_abi import encode
from eth_utils import keccak
from hypothesis import given
from hypothesis import strategies as st

from alithis.chain import mint
from alithis.chain.abi import interface
from alithis.chain.contract import artifact
from alithis.chain.mint import Commitment, Message, MintRequest
from alithis.chain.records import Link, Record
from alithis.errors import (
    FormatError,
    MintError,
    RefusedError,
    RegistryError,
    RpcError,
    TransportError,
)
from alithis.manifest.terms import Kind, Relation, Scheme
from alithis.manifest.transcript import Input

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
BOB = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
REGISTRY = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
COMMITMENT = Commitment(b"\1" * 32, 5, Scheme.KEYED, b"\2" * 32)
REQUEST = MintRequest(
    kind=Kind.MODEL,
    publisher=ALICE,
    commitment=COMMITMENT,
    links=(Link(7, Relation.TRAINED_ON),),
    nonce=3,
    deadline=1_900_000_000,
    chain=314,
    registry=REGISTRY,
)


def record(id, **changes):
    fields = {
        "kind": Kind.DATASET,
        "scheme": Scheme.KEYED,
        "size": 5,
        "root": b"\1" * 32,
        "metadata_digest": b"\2" * 32,
        "publisher": ALICE,
        "time": 0,
        "superseded_by": None,
        "withdrawn": False,
        "disordered": False,
        "attestations": 0,
        "claims": 0,
        "open_claims": 0,
    }
    return Record(id=id, **(fields | changes))


@dataclass
class Holding:
    """A registry that holds some records."""

    records: list[Record]
    address: str = REGISTRY
    chain_id: int = 314
    next_nonce: int = 3

    def tokens(self):
        return iter(self.records)

    def nonce(self, publisher):
        assert publisher == ALICE
        return self.next_nonce


def refusal(name, *values):
    """What a call reverts with that the contract refuses, in hexadecimal."""
    (error,) = (entry for entry in artifact()["abi"] if entry.get("name") == name)
    types = [param["type"] for param in error["inputs"]]
    selector = keccak(text=f"{name}({','.join(types)})")[:4]
    return "0x" + (selector + encode(types, values)).hex()


class Node:
    """A transport with one answer, or one error."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def request(self, method, params):
        self.asked.append((method, params))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class TestCalls:
    @pytest.mark.parametrize("kind", Kind)
    def test_a_mint_is_encoded_by_the_contract_s_abi(self, kind):
        method, arguments = mint.mint_call(kind, COMMITMENT, [Link(7, Relation.SUPERSEDES)])
        assert method == f"mint{kind.title()}"
        assert arguments == ((b"\1" * 32, 5, 1, b"\2" * 32), [(7, 6)])
        assert interface().functions[method].encode(*arguments)

    @pytest.mark.parametrize("kind", Kind)
    def test_a_relayed_mint_is_encoded_by_the_contract_s_abi(self, kind):
        request = replace(REQUEST, kind=kind)
        method, arguments = request.relay_call(b"signature")
        assert method == f"mint{kind.title()}For"
        assert arguments[0] == ALICE
        assert arguments[1:3] == request.own_call().arguments
        assert arguments[3:] == (1_900_000_000, b"signature")
        assert interface().functions[method].encode(*arguments)


class TestInputs:
    STATED = Input("trained_on", "rows", b"\2" * 32)

    def test_an_input_is_linked_to_the_oldest_token_of_its_publisher(self):
        registry = Holding([record(1, metadata_digest=b"\3" * 32), record(2), record(3)])
        assert mint.input_links(registry, [self.STATED]) == [Link(2, Relation.TRAINED_ON)]

    @pytest.mark.parametrize("mark", ["withdrawn", "disordered"])
    def test_a_withdrawn_or_disordered_token_is_not_linked(self, mark):
        registry = Holding([record(1, **{mark: True}), record(2)])
        assert mint.input_links(registry, [self.STATED]) == [Link(2, Relation.TRAINED_ON)]

    def test_an_input_without_a_token_is_refused(self):
        with pytest.raises(MintError, match=r"^trained_on rows: no token of registry 0x5FbD.* has"):
            mint.input_links(Holding([record(1, metadata_digest=bytes(32))]), [self.STATED])

    def test_an_input_that_several_published_is_the_user_s_choice(self):
        registry = Holding([record(1), record(2, publisher=BOB)])
        with pytest.raises(MintError, match=r"several publishers \(token 1 by 0x7.*, 2 by 0x3C"):
            mint.input_links(registry, [self.STATED])
        assert mint.input_links(registry, [self.STATED], [Link(2, Relation.TRAINED_ON)]) == []

    def test_a_choice_with_another_relation_decides_nothing(self):
        chosen = [Link(1, Relation.TESTED_ON)]
        found = mint.input_links(Holding([record(1)]), [self.STATED], chosen)
        assert found == [Link(1, Relation.TRAINED_ON)]

    def test_offline_each_input_needs_its_own_link(self):
        links = [Link(1, Relation.TRAINED_ON)]
        mint.check_inputs([self.STATED], links)
        with pytest.raises(MintError, match="the input rows has no token"):
            mint.check_inputs([self.STATED, self.STATED], links)


class TestTokensOfAManifest:
    def test_the_token_with_its_root_and_metadata_is_found(self):
        registry = Holding([record(1, root=b"\3" * 32), record(2)])
        assert mint.find_token(registry, b"\1" * 32, b"\2" * 32, "rows") == 2

    def test_no_token_or_several_tokens_are_refused(self):
        with pytest.raises(MintError, match="commits to rows; mint it first"):
            mint.find_token(Holding([]), b"\1" * 32, b"\2" * 32, "rows")
        several = Holding([record(1), record(2, publisher=BOB)])
        with pytest.raises(
            MintError, match=r"several tokens commit to rows: 1 by 0x7.*, 2 by 0x3C"
        ):
            mint.find_token(several, b"\1" * 32, b"\2" * 32, "rows")

    def test_an_earlier_mint_of_the_same_leaves_is_found_with_any_metadata(self):
        records = [record(1, publisher=BOB), record(2, size=6), record(3), record(4)]
        other = replace(COMMITMENT, metadata_digest=b"\4" * 32)
        assert mint.minted_before(records, ALICE, Kind.DATASET, other) == records[2]
        assert mint.minted_before(records, ALICE, Kind.MODEL, other) is None


def test_each_known_problem_of_a_target_is_a_warning():
    marked = record(1, withdrawn=True, disordered=True, superseded_by=9, open_claims=2)
    records = {1: marked, 2: record(2)}
    links = [Link(2, Relation.TRAINED_ON), Link(1, Relation.TESTED_ON)]
    assert list(mint.target_warnings(links, records)) == [
        "tested_on 1: the token was withdrawn",
        "tested_on 1: the token was proved not to be in order",
        "tested_on 1: the token is superseded by token 9",
        "tested_on 1: the token has 2 open claims",
    ]


addresses = st.sampled_from([ALICE, BOB, REGISTRY])
numbers = st.integers(0, 2**256 - 1)
hashes = st.binary(min_size=32, max_size=32)
requests = st.builds(
    MintRequest,
    kind=st.sampled_from(Kind),
    publisher=addresses,
    commitment=st.builds(
        Commitment, hashes, st.integers(0, 2**64 - 1), st.sampled_from(Scheme), hashes
    ),
    links=st.lists(st.builds(Link, numbers, st.sampled_from(Relation)), max_size=4).map(tuple),
    nonce=numbers,
    deadline=numbers,
    chain=numbers,
    registry=addresses,
)


class TestFile:
    @given(requests, st.none() | st.binary(min_size=1, max_size=70))
    def test_a_written_file_is_read_back(self, request, signature):
        assert mint.load(mint.dump(request, signature), "mint.json") == (request, signature)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda file: file["typedData"]["message"].update(nonce=True), "is not a mint"),
            (lambda file: file["typedData"]["message"].update(nonce=2**256), "is not a mint"),
            (lambda file: file["typedData"]["message"].update(extra=1), "other types or fields"),
            (lambda file: file["typedData"]["message"].update(links=[[1, 2]]), "is not a mint"),
            (
                lambda file: file["typedData"]["message"].update(
                    links=[{"target": 1, "relation": 7}]
                ),
                "is not a mint",
            ),
            (
                lambda file: file["typedData"]["message"].update(
                    links=[{"target": 1, "relation": 300}]
                ),
                "is not a mint",
            ),
            (
                lambda file: file["typedData"]["message"]["commitment"].update(size=2**64),
                "is not a mint",
            ),
            (
                lambda file: file["typedData"]["message"]["commitment"].update(scheme=2),
                "is not a mint",
            ),
            (
                lambda file: file["typedData"]["message"]["commitment"].update(root="0x11"),
                "is not a mint",
            ),
            (lambda file: file["typedData"]["domain"].update(name="Other"), "other types"),
            (lambda file: file["typedData"]["types"].pop("Link"), "other types or fields"),
            (lambda file: file["typedData"].update(primaryType="Permit"), "is not a mint"),
            (lambda file: file.update(typedData=[]), "typedData is not an object"),
            (lambda file: file.update(version=2), "format version 1"),
            (lambda file: file.update(version=True), "format version 1"),
            (lambda file: file.update(alithis="proof"), "not a signed mint"),
            (lambda file: file.update(signature="0x" + "11" * 8193), "the signature must be"),
            (lambda file: file.update(signature="0x"), "the signature must be"),
            (lambda file: file.update(signature=7), "the signature must be"),
        ],
        ids=range(19),
    )
    def test_a_changed_file_is_refused(self, change, said):
        document = json.loads(mint.dump(REQUEST, b"\1"))
        change(document)
        with pytest.raises(FormatError, match=said) as caught:
            mint.load(json.dumps(document).encode(), "mint.json")
        assert "typed data" not in str(caught.value) or str(caught.value).startswith("mint.json: ")

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"x" * 300_000])
    def test_another_kind_of_file_is_refused_with_its_name(self, content):
        with pytest.raises(FormatError, match=r"^mint\.json"):
            mint.load(content, "mint.json")


class TestBeforeItIsRelayed:
    def test_a_mint_with_the_next_nonce_passes(self):
        REQUEST.check(Holding([]), REQUEST.deadline)

    @pytest.mark.parametrize(
        ("registry", "now", "said"),
        [
            (Holding([], address=BOB), 0, f"signed for registry {REGISTRY} on chain 314, not for"),
            (Holding([], chain_id=1), 0, "on 1$"),
            (Holding([], next_nonce=4), 0, "was already used: the next nonce is 4"),
            (Holding([], next_nonce=2), 0, "cannot be used yet: the next nonce is 2"),
            (Holding([]), REQUEST.deadline + 1, "the signature has expired"),
        ],
        ids=["registry", "chain", "used", "early", "expired"],
    )
    def test_a_refusal_of_the_contract_is_predicted_in_words(self, registry, now, said):
        with pytest.raises(MintError, match=said):
            REQUEST.check(registry, now)


class TestRehearsal:
    MESSAGE = Message(ALICE, b"\x12\x34", REGISTRY)

    def test_a_message_has_no_gas_price(self):
        node = Node("0x")
        mint.rehearse(node, self.MESSAGE)
        call = {"from": ALICE, "data": "0x1234", "to": REGISTRY}
        assert node.asked == [("eth_call", [call, "latest"])]

    def test_a_contract_creation_has_no_receiver(self):
        node = Node("0x5208")
        assert mint.estimate_gas(node, Message(ALICE, b"\x60", None)) == 21_000
        assert node.asked == [("eth_estimateGas", [{"from": ALICE, "data": "0x60"}])]

    @pytest.mark.parametrize("ask", [mint.rehearse, mint.estimate_gas])
    def test_a_refusal_of_the_contract_is_described_in_words(self, ask):
        data = refusal("WrongRelation", 0, 0, 1, 1)
        node = Node(RpcError("execution reverted", code=3, data=data))
        with pytest.raises(RefusedError) as caught:
            ask(node, self.MESSAGE)
        assert str(caught.value) == (
            "the contract refuses: "
            "WrongRelation(position=0, kind=dataset, relation=trained_on, targetKind=model)"
        )
        assert (caught.value.code, caught.value.data) == (3, data)

    @pytest.mark.parametrize(
        "data",
        [None, "0x", "0x1", "0x08c379a0", "0xffffffff" + "00" * 32],
        ids=["none", "empty", "half a byte", "a string's selector", "unknown"],
    )
    def test_other_errors_are_not_changed(self, data):
        failure = RpcError("execution reverted", code=3, data=data)
        with pytest.raises(RpcError) as caught:
            mint.rehearse(Node(failure), self.MESSAGE)
        assert caught.value is failure

    def test_a_refusal_that_is_cut_short_or_padded_is_not_decoded(self):
        data = refusal("WrongRelation", 0, 0, 1, 1)
        for broken in (data[:-2], data + "00" * 32, data[:-1] + "9"):
            with pytest.raises(RpcError, match=r"^execution reverted$"):
                mint.rehearse(
                    Node(RpcError("execution reverted", code=3, data=broken)), self.MESSAGE
                )

    def test_an_error_that_another_library_decoded_is_said_in_the_same_words(self):
        values = {"position": 0, "kind": 0, "relation": 99, "targetKind": 1}
        assert interface().refusal_of("WrongRelation", values) == (
            "the contract refuses: WrongRelation(position=0, kind=dataset, relation=99, "
            "targetKind=model)"
        )
        foreign = interface().refusal_of("Other", {"data": b"\x12", "kind": 1})
        assert foreign == "the contract refuses: Other(data=12, kind=1)"

    @pytest.mark.parametrize("answer", [None, 21_000, "21000", "0x", "0x" + "f" * 65, []])
    def test_gas_that_is_not_a_number_is_refused(self, answer):
        with pytest.raises(RegistryError, match="eth_estimateGas"):
            mint.estimate_gas(Node(answer), self.MESSAGE)


class TestCost:
    def test_the_highest_fee_is_the_gas_limit_times_the_maximum_price(self):
        assert mint.highest_fee(21_000, 100, 7) == 2_100_000

    @pytest.mark.parametrize("fees", [(-1, 0), (0, -1)])
    def test_negative_fees_are_refused(self, fees):
        with pytest.raises(TransportError, match="negative fees"):
            mint.highest_fee(21_000, *fees)

    def test_a_balance_of_at_least_the_fee_passes(self):
        mint.check_balance(ALICE, 10, 10, "filecoin:calibration", 314159)

    def test_a_balance_of_zero_is_refused_before_the_fee_is_known(self):
        with pytest.raises(MintError, match=f"{ALICE} has no FIL on filecoin:calibration"):
            mint.check_balance(ALICE, 0, 0, "filecoin:calibration", 314159)

    def test_a_low_balance_is_refused_with_both_amounts(self):
        said = (
            r"has 0\.000001 tFIL on filecoin:calibration, "
            r"but the transaction may cost 2\.000000 tFIL"
        )
        with pytest.raises(MintError, match=said):
            mint.check_balance(ALICE, 10**12, 2 * 10**18, "filecoin:calibration", 314159)
