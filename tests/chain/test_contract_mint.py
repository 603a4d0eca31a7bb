"""Minting: what a token records and says, and what is refused. The rules are IAlithis's."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alithis.chain.contract import artifact
from helpers.chains import per_example
from helpers.registry_model import MAX_SIZE, Kind, Relation, Scheme
from helpers.samples import commitment, digest, mint
from helpers.session import examples
from helpers.solidity import ZERO_ADDRESS, helper, refused, refused_unexplained

ALLOWED = {
    (Kind.DATASET, Relation.DERIVED_FROM, Kind.DATASET),
    (Kind.MODEL, Relation.TRAINED_ON, Kind.DATASET),
    (Kind.MODEL, Relation.VALIDATED_ON, Kind.DATASET),
    (Kind.MODEL, Relation.TESTED_ON, Kind.DATASET),
    (Kind.MODEL, Relation.FINE_TUNED_FROM, Kind.MODEL),
    (Kind.MODEL, Relation.DISTILLED_FROM, Kind.MODEL),
    (Kind.DATASET, Relation.SUPERSEDES, Kind.DATASET),
    (Kind.MODEL, Relation.SUPERSEDES, Kind.MODEL),
}
COMBINATIONS = list(product(Kind, Relation, Kind))

HASHES = st.binary(min_size=32, max_size=32).filter(any)
COMMITMENTS = st.tuples(HASHES, st.integers(1, MAX_SIZE), st.sampled_from(Scheme), HASHES)


def events(receipt):
    """A transaction's events: their names and arguments, in order."""
    return [(event.event_name, dict(event.event_arguments)) for event in receipt.events]


def minted(number, publisher, kind, commitment, time):
    root, size, scheme, metadata = commitment
    return (
        "Minted",
        {
            "id": number,
            "root": root,
            "publisher": publisher,
            "kind": kind,
            "scheme": scheme,
            "size": size,
            "metadataDigest": metadata,
            "time": time,
        },
    )


def linked(number, target, relation, position):
    arguments = {"id": number, "target": target, "relation": relation, "position": position}
    return "Linked", arguments


def superseded(number, by):
    return "Superseded", {"id": number, "by": by}


def transferred(number, sender, receiver):
    return "Transfer", {"from": sender, "to": receiver, "tokenId": number}


def mint_datasets(registry, count, *, sender):
    call = registry.mintDataset.encode_input(commitment(), [])
    registry.multicall([call] * count, sender=sender)


def links(registry, number):
    return [(link.target, link.relation) for link in registry.links(number)]


@pytest.fixture(scope="module")
def stranger(accounts):
    return accounts[1]


@pytest.fixture
def dataset(registry, owner):
    """Token 1, a dataset."""
    mint(registry, Kind.DATASET, commitment("dataset"), sender=owner)
    return 1


@pytest.fixture
def model(registry, owner, dataset):
    """Token 2, a model."""
    mint(registry, Kind.MODEL, commitment("model"), sender=owner)
    return 2


class TestRecord:
    def test_nothing_is_minted_at_first(self, registry):
        assert registry.totalSupply() == 0

    def test_ids_count_from_1(self, registry, owner, stranger):
        for count, sender in enumerate([owner, stranger, owner], start=1):
            receipt = mint(registry, Kind.DATASET, commitment(), sender=sender)
            assert receipt.events.filter(registry.Minted)[0].id == count
            assert registry.totalSupply() == count
            assert registry.ownerOf(count) == sender
        assert registry.balanceOf(owner) == 2

    @settings(max_examples=examples(20), deadline=None)
    @given(kind=st.sampled_from(Kind), commitment=COMMITMENTS)
    def test_any_commitment_is_recorded_as_given(self, registry, stranger, kind, commitment):
        root, size, scheme, metadata = commitment
        with per_example():
            receipt = mint(registry, kind, commitment, sender=stranger)
            record = registry.record(1)
            assert (record.kind, record.scheme, record.size) == (kind, scheme, size)
            assert (record.root, record.metadataDigest) == (root, metadata)
            assert record.publisher == stranger
            assert record.time == receipt.timestamp
            assert (record.supersededBy, record.withdrawn, record.disordered) == (0, False, False)
            assert (record.attestations, record.claims, record.openClaims) == (0, 0, 0)
            assert links(registry, 1) == []
            assert events(receipt) == [
                minted(1, stranger, kind, commitment, receipt.timestamp),
                transferred(1, ZERO_ADDRESS, stranger),
            ]

    def test_events_name_each_link_in_order_and_the_transfer_last(self, registry, owner, model):
        given = [(1, Relation.TESTED_ON), (2, Relation.SUPERSEDES), (1, Relation.TRAINED_ON)]
        receipt = mint(registry, Kind.MODEL, commitment(), given, sender=owner)
        assert events(receipt) == [
            minted(3, owner, Kind.MODEL, commitment(), receipt.timestamp),
            linked(3, 1, Relation.TESTED_ON, 0),
            superseded(2, 3),
            linked(3, 2, Relation.SUPERSEDES, 1),
            linked(3, 1, Relation.TRAINED_ON, 2),
            transferred(3, ZERO_ADDRESS, owner),
        ]

    @pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9])
    def test_links_keep_their_order_wherever_a_slot_ends(self, registry, owner, count):
        mint_datasets(registry, 5, sender=owner)
        relations = (Relation.VALIDATED_ON, Relation.TRAINED_ON)
        given = [(target, relation) for target in (4, 2, 5, 1, 3) for relation in relations][:count]
        mint(registry, Kind.MODEL, commitment(), given, sender=owner)
        assert links(registry, 6) == given

    def test_a_token_does_not_touch_the_records_before_it(self, registry, owner, model):
        before = [(registry.record(number), links(registry, number)) for number in (1, 2)]
        given = [(1, Relation.TRAINED_ON), (2, Relation.FINE_TUNED_FROM)]
        mint(registry, Kind.MODEL, commitment("other", size=MAX_SIZE), given, sender=owner)
        assert [(registry.record(number), links(registry, number)) for number in (1, 2)] == before

    def test_roots_are_not_unique_lest_a_copier_block_the_author(self, registry, owner, stranger):
        for number, sender in enumerate([stranger, owner], start=1):
            mint(registry, Kind.DATASET, commitment(), sender=sender)
            assert registry.record(number).publisher == sender

    def test_the_publisher_stays_when_the_token_goes(self, registry, owner, stranger, dataset):
        before = registry.record(dataset)
        registry.transferFrom(owner, stranger, dataset, sender=owner)
        assert registry.ownerOf(dataset) == stranger
        assert registry.record(dataset) == before
        assert before.publisher == owner

    @pytest.mark.parametrize("number", [0, 2, 2**48 + 1, 2**256 - 1])
    @pytest.mark.parametrize("view", ["record", "links", "tokenURI", "ownerOf"])
    def test_an_unknown_token_is_named(self, registry, dataset, view, number):
        with refused(registry.ERC721NonexistentToken, tokenId=number):
            getattr(registry, view)(number)


class TestCommitment:
    def test_zero_root(self, registry, owner):
        with refused(registry.InvalidRoot, root=bytes(32)):
            registry.mintDataset((bytes(32), 1, 0, digest("metadata")), [], sender=owner)

    def test_zero_metadata_digest(self, registry, owner):
        with refused(registry.InvalidMetadataDigest, metadataDigest=bytes(32)):
            registry.mintModel((digest("root"), 1, 0, bytes(32)), [], sender=owner)

    @pytest.mark.parametrize("size", [0, MAX_SIZE + 1, 2**63, 2**64 - 1])
    def test_size_that_is_zero_or_does_not_fit(self, registry, owner, size):
        with refused(registry.InvalidSize, size=size):
            registry.mintDataset(commitment(size=size), [], sender=owner)

    @pytest.mark.parametrize("size", [1, MAX_SIZE])
    def test_size_at_its_bounds(self, registry, owner, size):
        mint(registry, Kind.DATASET, commitment(size=size), sender=owner)
        assert registry.record(1).size == size

    def test_scheme_that_is_none(self, registry, owner):
        with refused_unexplained():
            registry.mintDataset(commitment(scheme=2), [], sender=owner)

    def test_relation_that_is_none(self, registry, owner, dataset):
        with refused_unexplained():
            registry.mintModel(commitment(), [(dataset, 7)], sender=owner)


class TestLinks:
    @pytest.mark.parametrize(("kind", "relation", "target_kind"), COMBINATIONS)
    def test_relation_between_kinds(self, registry, owner, model, kind, relation, target_kind):
        target = 1 + target_kind  # the dataset is token 1, the model token 2
        if (kind, relation, target_kind) in ALLOWED:
            mint(registry, kind, commitment(), [(target, relation)], sender=owner)
            assert links(registry, 3) == [(target, relation)]
            return
        values = {"position": 0, "kind": kind, "relation": relation, "targetKind": target_kind}
        with refused(registry.WrongRelation, **values):
            mint(registry, kind, commitment(), [(target, relation)], sender=owner)

    # 2 is the token being minted. Cut to its 48 packed bits, 2^48 + 1 would be token 1.
    @pytest.mark.parametrize("target", [0, 2, 3, 2**48 + 1, 2**256 - 1])
    def test_target_that_does_not_exist_yet(self, registry, owner, dataset, target):
        given = [(dataset, Relation.DERIVED_FROM), (target, Relation.DERIVED_FROM)]
        with refused(registry.UnknownTarget, position=1, target=target):
            registry.mintDataset(commitment(), given, sender=owner)

    @pytest.mark.parametrize(
        "given",
        [
            [(1, Relation.TRAINED_ON)] * 2,
            [(1, Relation.TESTED_ON), (1, Relation.TRAINED_ON), (1, Relation.TESTED_ON)],
            [(1, Relation.TESTED_ON), (3, Relation.TESTED_ON), (3, Relation.TESTED_ON)],
        ],
    )
    def test_same_link_twice(self, registry, owner, model, given):
        mint(registry, Kind.DATASET, commitment(), sender=owner)
        position = len(given) - 1
        target, relation = given[position]
        values = {"position": position, "target": target, "relation": relation}
        with refused(registry.DuplicateLink, **values):
            registry.mintModel(commitment(), given, sender=owner)

    @settings(max_examples=examples(15), deadline=None)
    @given(
        given=st.lists(
            st.tuples(
                st.integers(1, 5),
                st.sampled_from([Relation.TRAINED_ON, Relation.VALIDATED_ON, Relation.TESTED_ON]),
            ),
            max_size=12,
        )
    )
    def test_any_links_are_kept_or_the_first_repeat_is_named(self, registry, owner, given):
        repeats = [position for position, link in enumerate(given) if link in given[:position]]
        with per_example():
            mint_datasets(registry, 5, sender=owner)
            if not repeats:
                mint(registry, Kind.MODEL, commitment(), given, sender=owner)
                assert links(registry, 6) == given
                return
            target, relation = given[repeats[0]]
            values = {"position": repeats[0], "target": target, "relation": relation}
            with refused(registry.DuplicateLink, **values):
                registry.mintModel(commitment(), given, sender=owner)

    def test_as_many_links_as_there_may_be(self, registry, owner):
        mint_datasets(registry, 86, sender=owner)
        relations = (Relation.TRAINED_ON, Relation.VALIDATED_ON, Relation.TESTED_ON)
        given = [(target, relation) for target in range(1, 87) for relation in relations]
        mint(registry, Kind.MODEL, commitment(), given[:256], sender=owner)
        assert links(registry, 87) == given[:256]

    def test_one_link_more_than_there_may_be(self, registry, owner, dataset):
        given = [(dataset, Relation.DERIVED_FROM)] * 257
        with refused(registry.TooManyLinks, count=257, limit=256):
            registry.mintDataset(commitment(), given, sender=owner)


class TestSupersession:
    def test_owner_supersedes(self, registry, owner, dataset):
        given = [(dataset, Relation.SUPERSEDES)]
        mint(registry, Kind.DATASET, commitment("new"), given, sender=owner)
        assert registry.record(dataset).supersededBy == 2
        assert registry.record(2).supersededBy == 0

    def test_one_token_supersedes_several(self, registry, owner, dataset):
        mint(registry, Kind.DATASET, commitment("second"), sender=owner)
        given = [(2, Relation.SUPERSEDES), (1, Relation.SUPERSEDES)]
        mint(registry, Kind.DATASET, commitment("union"), given, sender=owner)
        assert [registry.record(number).supersededBy for number in (1, 2)] == [3, 3]

    def test_stranger_cannot(self, registry, owner, stranger, dataset):
        values = {"id": dataset, "owner": owner, "publisher": stranger}
        with refused(registry.NotOwnerOfSuperseded, **values):
            registry.mintDataset(commitment(), [(dataset, Relation.SUPERSEDES)], sender=stranger)

    def test_publisher_who_gave_the_token_away_cannot(self, registry, owner, stranger, dataset):
        registry.transferFrom(owner, stranger, dataset, sender=owner)
        values = {"id": dataset, "owner": stranger, "publisher": owner}
        with refused(registry.NotOwnerOfSuperseded, **values):
            registry.mintDataset(commitment(), [(dataset, Relation.SUPERSEDES)], sender=owner)

    def test_owner_who_did_not_publish_it_can(self, registry, owner, stranger, dataset):
        registry.transferFrom(owner, stranger, dataset, sender=owner)
        given = [(dataset, Relation.SUPERSEDES)]
        mint(registry, Kind.DATASET, commitment(), given, sender=stranger)
        assert registry.record(dataset).supersededBy == 2

    def test_operator_cannot(self, registry, owner, stranger, dataset):
        registry.setApprovalForAll(stranger, True, sender=owner)
        values = {"id": dataset, "owner": owner, "publisher": stranger}
        with refused(registry.NotOwnerOfSuperseded, **values):
            registry.mintDataset(commitment(), [(dataset, Relation.SUPERSEDES)], sender=stranger)

    def test_only_once(self, registry, owner, dataset):
        given = [(dataset, Relation.SUPERSEDES)]
        mint(registry, Kind.DATASET, commitment("new"), given, sender=owner)
        with refused(registry.AlreadySuperseded, id=dataset, by=2):
            registry.mintDataset(commitment("newer"), given, sender=owner)

    def test_superseded_token_can_still_be_linked_to(self, registry, owner, dataset):
        given = [(dataset, Relation.SUPERSEDES), (dataset, Relation.DERIVED_FROM)]
        mint(registry, Kind.DATASET, commitment("new"), given, sender=owner)
        mint(registry, Kind.MODEL, commitment(), [(dataset, Relation.TRAINED_ON)], sender=owner)
        assert links(registry, 3) == [(dataset, Relation.TRAINED_ON)]

    def test_refused_mint_supersedes_nothing(self, registry, owner, dataset):
        given = [(dataset, Relation.SUPERSEDES), (0, Relation.DERIVED_FROM)]
        with refused(registry.UnknownTarget, position=1, target=0):
            registry.mintDataset(commitment(), given, sender=owner)
        assert registry.record(dataset).supersededBy == 0
        assert registry.totalSupply() == 1


class TestToken:
    def test_name_and_symbol(self, registry):
        assert (registry.name(), registry.symbol()) == ("Alithis", "ALITHIS")

    @settings(max_examples=examples(12), deadline=None)
    @given(metadata=HASHES)
    def test_uri_is_the_raw_block_s_cid_in_base_16(self, registry, owner, metadata):
        with per_example():
            mint(registry, Kind.DATASET, (digest("root"), 1, 0, metadata), sender=owner)
            # CIDv1, raw, SHA-256, of 32 bytes; "f" is multibase's base 16 in lower case.
            assert registry.tokenURI(1) == f"ipfs://f01551220{metadata.hex()}"

    @pytest.mark.parametrize(
        "interface",
        [
            pytest.param("0x01ffc9a7", id="IERC165"),
            pytest.param("0x80ac58cd", id="IERC721"),
            pytest.param("0x5b5e139f", id="IERC721Metadata"),
            pytest.param("0x84b0196e", id="IERC5267"),
            pytest.param(artifact()["interfaceId"], id="IAlithis"),
        ],
    )
    def test_interface_it_has(self, registry, interface):
        assert registry.supportsInterface(interface)

    @pytest.mark.parametrize(
        "interface",
        [
            pytest.param("0xffffffff", id="none"),
            pytest.param("0x780e9d63", id="IERC721Enumerable"),
            pytest.param("0x2a55205a", id="IERC2981"),
        ],
    )
    def test_interface_it_lacks(self, registry, interface):
        assert not registry.supportsInterface(interface)

    def test_deployment_block(self, registry):
        assert registry.deploymentBlock() == registry.creation_metadata.block

    def test_ether_is_refused(self, registry, owner):
        with refused_unexplained():
            owner.transfer(registry, 1)


class TestContractAsPublisher:
    """A receiver is asked last, of a token that is complete."""

    ACCEPT, REFUSE, REVERT, IGNORE, REENTER = range(5)

    @pytest.fixture
    def publisher(self, registry, owner):
        return lambda answer: owner.deploy(helper("ContractPublisher"), registry, answer)

    def test_that_accepts(self, registry, owner, dataset, publisher):
        contract = publisher(self.ACCEPT)
        given = [(dataset, Relation.DERIVED_FROM)]
        receipt = contract.mintDataset(commitment(), given, sender=owner)
        assert registry.ownerOf(2) == contract.address
        assert registry.record(2).publisher == contract.address
        (received,) = receipt.events.filter(contract.Received)
        assert received == contract.Received(id=2, publisher=contract, links=1, supply=2)

    @pytest.mark.parametrize("answer", [REFUSE, IGNORE])
    def test_that_refuses(self, registry, owner, publisher, answer):
        contract = publisher(answer)
        with refused(registry.ERC721InvalidReceiver, receiver=contract.address):
            contract.mintDataset(commitment(), [], sender=owner)
        assert registry.totalSupply() == 0

    def test_that_reverts_with_its_own_error(self, registry, owner, publisher):
        contract = publisher(self.REVERT)
        with refused(contract.Unwanted, id=1):
            contract.mintDataset(commitment(), [], sender=owner)
        assert registry.totalSupply() == 0

    def test_that_reenters_finds_the_first_token_complete(self, registry, owner, publisher):
        contract = publisher(self.REENTER)
        receipt = contract.mintDataset(commitment(), [], sender=owner)
        assert receipt.events.filter(contract.Received) == [
            contract.Received(id=1, publisher=contract, links=0, supply=1),
            contract.Received(id=2, publisher=contract, links=1, supply=2),
        ]
        assert [registry.record(number).kind for number in (1, 2)] == [Kind.DATASET, Kind.MODEL]
        assert links(registry, 2) == [(1, Relation.TRAINED_ON)]
        assert [registry.ownerOf(number) for number in (1, 2)] == [contract.address] * 2


class TestMulticall:
    def test_batch_has_one_publisher_and_may_link_within_itself(self, registry, stranger):
        calls = [
            registry.mintDataset.encode_input(commitment("train"), []),
            registry.mintModel.encode_input(commitment("model"), [(1, Relation.TRAINED_ON)]),
        ]
        registry.multicall(calls, sender=stranger)
        assert registry.totalSupply() == 2
        assert [registry.record(number).publisher for number in (1, 2)] == [stranger] * 2
        assert links(registry, 2) == [(1, Relation.TRAINED_ON)]

    def test_all_or_nothing(self, registry, owner):
        calls = [
            registry.mintDataset.encode_input(commitment(), []),
            registry.mintDataset.encode_input(commitment(size=0), []),
        ]
        with refused(registry.InvalidSize, size=0):
            registry.multicall(calls, sender=owner)
        assert registry.totalSupply() == 0

    def test_reads(self, registry, model):
        calls = [registry.record.encode_input(number) for number in (1, 2)]
        answers = registry.multicall.call(calls)
        method = registry.record.abis[0]
        decode = registry.provider.network.ecosystem.decode_returndata
        records = [decode(method, bytes(answer))[0] for answer in answers]
        assert records == [registry.record(number) for number in (1, 2)]
