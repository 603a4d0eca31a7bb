"""Mints that somebody else sends: what the publisher's signature must be over. ERC-712, -1271."""

import ape
import pytest
from eth_abi import encode
from eth_utils import keccak

from helpers.registry_model import Kind, Relation, Scheme
from helpers.relaying import FOREVER, domain, message, sign
from helpers.samples import commitment, mint
from helpers.solidity import ZERO_ADDRESS, helper, refused, refused_unexplained

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1: (r, s) and (r, ORDER - s) sign the same."""

LINKS = [(1, Relation.TRAINED_ON), (2, Relation.FINE_TUNED_FROM)]


@pytest.fixture(scope="module")
def publisher(accounts):
    return accounts[1]


@pytest.fixture(scope="module")
def relayer(accounts):
    return accounts[2]


@pytest.fixture(autouse=True)
def tokens(registry, publisher):
    """Token 1, a dataset; token 2, a model; both the publisher's."""
    mint(registry, Kind.DATASET, commitment("dataset"), sender=publisher)
    mint(registry, Kind.MODEL, commitment("model"), sender=publisher)


def relay(registry, kind, signed, *, sender):
    function = registry.mintModelFor if kind == Kind.MODEL else registry.mintDatasetFor
    return function(*signed, sender=sender)


def altered(signed, place, value):
    """The signed arguments with one of them exchanged."""
    return (*signed[:place], value, *signed[place + 1 :])


class TestMintFor:
    @pytest.mark.parametrize("scheme", Scheme)
    @pytest.mark.parametrize(
        ("kind", "links"),
        [
            (Kind.DATASET, []),
            (Kind.DATASET, [(1, Relation.DERIVED_FROM)]),
            (Kind.MODEL, []),
            (Kind.MODEL, LINKS),
        ],
    )
    def test_token_is_the_publisher_s(self, registry, publisher, relayer, kind, links, scheme):
        given = commitment("signed", size=2**48 - 1, scheme=scheme)
        receipt = relay(
            registry, kind, sign(registry, publisher, kind, given, links), sender=relayer
        )
        record = registry.record(3)
        assert (record.root, record.size, record.scheme, record.metadataDigest) == given
        assert (record.kind, record.publisher) == (kind, publisher)
        assert registry.ownerOf(3) == publisher
        assert [(link.target, link.relation) for link in registry.links(3)] == links
        names = [event.event_name for event in receipt.events]
        assert names == ["Minted", *["Linked"] * len(links), "Relayed", "Transfer"]
        (relayed,) = receipt.events.filter(registry.Relayed)
        arguments = {"id": 3, "publisher": publisher, "relayer": relayer, "nonce": 0}
        assert dict(relayed.event_arguments) == arguments
        assert registry.nonces(publisher) == 1

    def test_publisher_supersedes_its_own_token(self, registry, publisher, relayer):
        given = [(1, Relation.SUPERSEDES)]
        signed = sign(registry, publisher, Kind.DATASET, commitment(), given)
        relay(registry, Kind.DATASET, signed, sender=relayer)
        assert registry.record(1).supersededBy == 3

    def test_relayer_s_tokens_are_not_the_publisher_s(self, registry, publisher, relayer):
        signed = sign(registry, relayer, Kind.DATASET, commitment(), [(1, Relation.SUPERSEDES)])
        with refused(
            registry.NotOwnerOfSuperseded, id=1, owner=publisher.address, publisher=relayer.address
        ):
            relay(registry, Kind.DATASET, signed, sender=publisher)

    def test_nonces_follow_each_other(self, registry, publisher, relayer):
        signed = [
            sign(registry, publisher, Kind.DATASET, commitment(str(nonce)), nonce=nonce)
            for nonce in range(3)
        ]
        with refused(registry.InvalidSignature, publisher=publisher, nonce=0):
            relay(registry, Kind.DATASET, signed[1], sender=relayer)
        for arguments in signed:
            relay(registry, Kind.DATASET, arguments, sender=relayer)
        assert registry.nonces(publisher) == 3
        assert [registry.record(3 + nonce).root for nonce in range(3)] == [
            commitment(str(nonce))[0] for nonce in range(3)
        ]

    def test_batch(self, registry, publisher, relayer):
        signed = [
            sign(registry, publisher, Kind.DATASET, commitment(), nonce=nonce) for nonce in (0, 1)
        ]
        calls = [registry.mintDatasetFor.encode_input(*arguments) for arguments in signed]
        registry.multicall(calls, sender=relayer)
        assert [registry.ownerOf(number) for number in (3, 4)] == [publisher] * 2

    def test_own_mints_use_no_nonce(self, registry, publisher):
        assert registry.nonces(publisher) == 0

    def test_rules_of_a_mint_hold_and_the_nonce_is_not_lost(self, registry, publisher, relayer):
        signed = sign(registry, publisher, Kind.DATASET, commitment(size=0))
        with refused(registry.InvalidSize, size=0):
            relay(registry, Kind.DATASET, signed, sender=relayer)
        assert registry.nonces(publisher) == 0


class TestDeadline:
    def test_last_second_counts(self, registry, publisher, relayer):
        deadline = ape.chain.pending_timestamp + 100
        signed = sign(registry, publisher, Kind.DATASET, commitment(), deadline=deadline)
        ape.chain.pending_timestamp = deadline
        assert relay(registry, Kind.DATASET, signed, sender=relayer).timestamp == deadline

    def test_expired(self, registry, publisher, relayer):
        deadline = ape.chain.pending_timestamp + 100
        signed = sign(registry, publisher, Kind.DATASET, commitment(), deadline=deadline)
        ape.chain.pending_timestamp = deadline + 1
        with refused(registry.ExpiredSignature, deadline=deadline):
            relay(registry, Kind.DATASET, signed, sender=relayer)

    def test_cannot_be_put_off(self, registry, publisher, relayer):
        deadline = ape.chain.pending_timestamp + 100
        signed = sign(registry, publisher, Kind.DATASET, commitment(), deadline=deadline)
        with refused(registry.InvalidSignature, publisher=publisher, nonce=0):
            relay(registry, Kind.DATASET, altered(signed, 3, deadline + 1), sender=relayer)


class TestSignature:
    @pytest.fixture
    def signed(self, registry, publisher):
        return sign(registry, publisher, Kind.MODEL, commitment(), LINKS)

    @pytest.fixture
    def invalid(self, registry, publisher, relayer):
        """Holds that a signed mint is refused."""

        def check(signed, kind=Kind.MODEL):
            with refused(registry.InvalidSignature, publisher=publisher, nonce=0):
                relay(registry, kind, signed, sender=relayer)
            assert registry.nonces(publisher) == 0, "it is not used up"

        return check

    @pytest.mark.parametrize(
        "changes",
        [
            {"chainId": 1},
            {"chainId": 314},
            {"verifyingContract": "0x" + "11" * 20},
            {"name": "Alithi"},
            {"version": "2"},
        ],
        ids=str,
    )
    def test_for_another_domain(self, registry, publisher, invalid, changes):
        invalid(sign(registry, publisher, Kind.MODEL, commitment(), LINKS, **changes))

    def test_for_another_registry(self, registry, publisher, relayer):
        other = relayer.deploy(container_of(registry))
        signed = sign(other, publisher, Kind.DATASET, commitment())
        with refused(registry.InvalidSignature, publisher=publisher, nonce=0):
            relay(registry, Kind.DATASET, signed, sender=relayer)
        relay(other, Kind.DATASET, signed, sender=relayer)
        assert other.ownerOf(1) == publisher

    def test_by_another_key(self, registry, publisher, relayer, invalid):
        own = publisher.address
        invalid(sign(registry, relayer, Kind.MODEL, commitment(), LINKS, publisher=own))

    def test_for_another_publisher(self, registry, publisher, relayer, signed):
        with refused(registry.InvalidSignature, publisher=relayer, nonce=0):
            relay(registry, Kind.MODEL, altered(signed, 0, relayer.address), sender=relayer)

    def test_for_nobody(self, registry, relayer, signed):
        """An invalid signature recovers to the zero address, which is no publisher."""
        forged = altered(altered(signed, 0, ZERO_ADDRESS), 4, bytes(65))
        with refused(registry.InvalidSignature, publisher=ZERO_ADDRESS, nonce=0):
            relay(registry, Kind.MODEL, forged, sender=relayer)

    def test_for_the_other_kind(self, signed, invalid):
        invalid(altered(signed, 2, []), Kind.DATASET)

    @pytest.mark.parametrize("nonce", [1, 2**256 - 1])
    def test_over_another_nonce(self, registry, publisher, invalid, nonce):
        invalid(sign(registry, publisher, Kind.MODEL, commitment(), LINKS, nonce=nonce))

    @pytest.mark.parametrize("place", range(4))
    def test_over_another_commitment(self, signed, invalid, place):
        other = commitment("other", size=6, scheme=Scheme.KEYED)
        invalid(altered(signed, 1, altered(commitment(), place, other[place])))

    @pytest.mark.parametrize(
        "links",
        [
            [],
            LINKS[:1],
            LINKS[::-1],
            [*LINKS, (1, Relation.TESTED_ON)],
            [(1, Relation.TESTED_ON), LINKS[1]],
            [(2, Relation.TRAINED_ON), LINKS[1]],
        ],
    )
    def test_over_other_links(self, signed, invalid, links):
        invalid(altered(signed, 2, links))

    def test_replayed(self, registry, publisher, relayer, signed):
        relay(registry, Kind.MODEL, signed, sender=relayer)
        with refused(registry.InvalidSignature, publisher=publisher, nonce=1):
            relay(registry, Kind.MODEL, signed, sender=relayer)

    def test_replayed_in_one_batch(self, registry, publisher, relayer, signed):
        call = registry.mintModelFor.encode_input(*signed)
        with refused(registry.InvalidSignature, publisher=publisher, nonce=1):
            registry.multicall([call, call], sender=relayer)
        assert registry.totalSupply() == 2

    def test_malleable(self, signed, invalid):
        """The same point of the curve with the higher s, which any reader could make of it."""
        r, s, v = signed[4][:32], int.from_bytes(signed[4][32:64]), signed[4][64]
        invalid(altered(signed, 4, r + (ORDER - s).to_bytes(32) + bytes([55 - v])))

    def test_compact(self, signed, invalid):
        """EIP-2098's form of the same, another way to write it twice."""
        r, s, v = signed[4][:32], int.from_bytes(signed[4][32:64]), signed[4][64]
        invalid(altered(signed, 4, r + (s | (v - 27) << 255).to_bytes(32)))

    @pytest.mark.parametrize("place", range(0, 65, 8))
    def test_altered(self, signed, invalid, place):
        signature = bytearray(signed[4])
        signature[place] ^= 1
        invalid(altered(signed, 4, bytes(signature)))

    @pytest.mark.parametrize("signature", [b"", bytes(64), bytes(65), b"\xff" * 65, bytes(66)])
    def test_that_is_none(self, signed, invalid, signature):
        invalid(altered(signed, 4, signature))

    def test_relation_that_is_none(self, registry, publisher, relayer):
        signed = sign(registry, publisher, Kind.MODEL, commitment(), [(1, 7)])
        with refused_unexplained():
            relay(registry, Kind.MODEL, signed, sender=relayer)


def container_of(registry):
    return ape.contracts.ContractContainer(contract_type=registry.contract_type)


class TestRevokeNonce:
    def test_what_was_signed_with_it_is_void(self, registry, publisher, relayer):
        signed = sign(registry, publisher, Kind.DATASET, commitment())
        receipt = registry.revokeNonce(sender=publisher)
        (event,) = receipt.events
        assert (event.event_name, dict(event.event_arguments)) == (
            "NonceRevoked",
            {"publisher": publisher, "nonce": 0},
        )
        with refused(registry.InvalidSignature, publisher=publisher, nonce=1):
            relay(registry, Kind.DATASET, signed, sender=relayer)

    def test_only_one_s_own(self, registry, publisher, relayer):
        registry.revokeNonce(sender=relayer)
        assert (registry.nonces(relayer), registry.nonces(publisher)) == (1, 0)


class TestDomain:
    def test_as_erc_5267_has_it(self, registry):
        answer = registry.eip712Domain()
        own = domain(registry)
        assert tuple(answer) == (
            b"\x0f",
            own["name"],
            own["version"],
            own["chainId"],
            own["verifyingContract"],
            bytes(32),
            [],
        )

    def test_hashed_by_hand(self, registry, publisher):
        """The types as their NatSpec has them, without eth-account's help."""
        root, size, scheme, metadata = commitment()
        link_type = "Link(uint256 target,uint8 relation)"
        commitment_type = "Commitment(bytes32 root,uint64 size,uint8 scheme,bytes32 metadataDigest)"
        mint_type = (
            "MintModel(address publisher,Commitment commitment,Link[] links,uint256 nonce,"
            f"uint256 deadline){commitment_type}{link_type}"
        )
        link = keccak(keccak(text=link_type) + encode(["uint256", "uint8"], LINKS[0]))
        struct = keccak(
            keccak(text=commitment_type)
            + encode(["bytes32", "uint64", "uint8", "bytes32"], [root, size, scheme, metadata])
        )
        body = keccak(
            keccak(text=mint_type)
            + encode(
                ["address", "bytes32", "bytes32", "uint256", "uint256"],
                [publisher.address, struct, keccak(link), 0, FOREVER],
            )
        )
        signable = message(
            Kind.MODEL, publisher.address, commitment(), LINKS[:1], 0, FOREVER, domain(registry)
        )
        assert signable.body == body


class TestContractThatSigns:
    """ERC-1271: a publisher that is a contract says itself what it has signed."""

    ACCEPT, REFUSE, REVERT, TRUNCATE, REENTER = range(5)

    @pytest.fixture
    def wallet(self, registry, owner):
        return lambda answer: owner.deploy(helper("ContractWallet"), registry, answer)

    @staticmethod
    def arguments(wallet):
        return wallet.address, commitment(), [], FOREVER, b"whatever it takes for a signature"

    def test_accepting(self, registry, relayer, wallet):
        publisher = wallet(self.ACCEPT)
        relay(registry, Kind.DATASET, self.arguments(publisher), sender=relayer)
        assert registry.record(3).publisher == publisher
        assert registry.ownerOf(3) == publisher
        assert registry.nonces(publisher) == 1

    @pytest.mark.parametrize("answer", [REFUSE, REVERT, TRUNCATE])
    def test_refusing(self, registry, relayer, wallet, answer):
        publisher = wallet(answer)
        with refused(registry.InvalidSignature, publisher=publisher.address, nonce=0):
            relay(registry, Kind.DATASET, self.arguments(publisher), sender=relayer)
        assert registry.totalSupply() == 2

    def test_key_of_its_deployer_is_nothing_to_it(self, registry, owner, relayer, wallet):
        publisher = wallet(self.REFUSE)
        address = publisher.address
        signed = sign(registry, owner, Kind.DATASET, commitment(), publisher=address)
        with refused(registry.InvalidSignature, publisher=address, nonce=0):
            relay(registry, Kind.DATASET, signed, sender=relayer)

    def test_reentering_while_it_is_asked_changes_nothing(self, registry, relayer, wallet):
        publisher = wallet(self.REENTER)
        call = registry.mintDataset.encode_input(commitment("smuggled"), [])
        publisher.prepare(call, sender=relayer)
        relay(registry, Kind.DATASET, self.arguments(publisher), sender=relayer)
        assert registry.totalSupply() == 3
        assert registry.record(3).root == commitment()[0]

    @pytest.mark.parametrize("method", ["revokeNonce", "mintDatasetFor"])
    def test_reentering_to_use_its_nonce_twice(self, registry, relayer, wallet, method):
        publisher = wallet(self.REENTER)
        given = self.arguments(publisher) if method == "mintDatasetFor" else ()
        publisher.prepare(getattr(registry, method).encode_input(*given), sender=relayer)
        relay(registry, Kind.DATASET, self.arguments(publisher), sender=relayer)
        assert registry.nonces(publisher) == 1
        assert registry.totalSupply() == 3

    def test_reentering_when_the_token_comes_in(self, registry, relayer, wallet):
        """By then the mint is complete: what it calls is a mint after it, with the next nonce."""
        publisher = wallet(self.ACCEPT)
        again = registry.mintDatasetFor.encode_input(*self.arguments(publisher))
        publisher.prepare(again, sender=relayer)
        receipt = relay(registry, Kind.DATASET, self.arguments(publisher), sender=relayer)
        (reentered,) = receipt.events.filter(publisher.Reentered)
        assert (reentered.id, reentered.success) == (3, True)
        assert int.from_bytes(reentered.output) == 4
        relayed = receipt.events.filter(registry.Relayed)
        assert [(event.id, event.nonce) for event in relayed] == [(3, 0), (4, 1)]
        assert registry.nonces(publisher) == 2

    def test_reentering_a_batch_between_two_of_its_calls(self, registry, relayer, wallet):
        publisher = wallet(self.ACCEPT)
        inner = registry.mintModel.encode_input(commitment("inner"), [(3, Relation.TRAINED_ON)])
        publisher.prepare(inner, sender=relayer)
        outer = registry.mintDataset.encode_input(commitment("outer"), [])
        batch = registry.multicall.encode_input([outer, outer])
        publisher.execute(batch, sender=relayer)
        kinds = [registry.record(number).kind for number in (3, 4, 5)]
        assert kinds == [Kind.DATASET, Kind.MODEL, Kind.DATASET]
        assert [registry.record(number).publisher for number in (3, 4, 5)] == [publisher] * 3

    def test_reentering_to_withdraw_and_supersede_while_it_comes_in(
        self, registry, relayer, wallet
    ):
        publisher = wallet(self.ACCEPT)
        calls = [
            registry.withdraw.encode_input(3, "at once"),
            registry.mintDataset.encode_input(commitment("new"), [(3, Relation.SUPERSEDES)]),
        ]
        publisher.prepare(registry.multicall.encode_input(calls), sender=relayer)
        relay(registry, Kind.DATASET, self.arguments(publisher), sender=relayer)
        record = registry.record(3)
        assert (record.withdrawn, record.supersededBy) == (True, 4)
