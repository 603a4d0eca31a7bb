"""Attestations, countersignatures, claims, disorder, withdrawal, lineage: IAlithis's rules."""

from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alithis.manifest import merkle
from alithis.manifest.disorder import Disorder
from helpers.artifacts import build_as_given
from helpers.artifacts import commitment as committed
from helpers.chains import per_example
from helpers.registry_model import MADE_FROM, ClaimStatus, Kind, Relation
from helpers.samples import commitment, digest, mint
from helpers.solidity import refused, refused_unexplained

LEAVES = sorted(digest(f"leaf {number}") for number in range(5))
PATHS = [merkle.inclusion_path(b"".join(LEAVES), index) for index in range(5)]
TREE = (merkle.root(b"".join(LEAVES)), 5, 0, digest("metadata"))
DATASET, MODEL = 1, 2

URIS = ["", "ipfs://claim", "x" * 1024, "é" * 512]
TOO_LONG = {"x" * 1025: 1025, "é" * 513: 1026}


def proof(index):
    return LEAVES[index], index, PATHS[index]


# Each as it would be for DATASET: what a proof that does not hold looks like.
WRONG_PROOFS = {
    "another-leaf": (digest("another"), 2, PATHS[2]),
    "another-index": (LEAVES[2], 3, PATHS[2]),
    "past-the-end": (LEAVES[4], 5, PATHS[4]),
    "shortened": (LEAVES[2], 2, PATHS[2][:-1]),
    "extended": (LEAVES[2], 2, [*PATHS[2], bytes(32)]),
    "overlong": (LEAVES[2], 2, [bytes(32)] * 300),
    "largest-index": (LEAVES[2], 2**256 - 1, PATHS[2]),
}


@pytest.fixture(scope="module")
def seller(accounts):
    """Publishes and owns the dataset."""
    return accounts[1]


@pytest.fixture(scope="module")
def buyer(accounts):
    return accounts[2]


@pytest.fixture(scope="module")
def stranger(accounts):
    return accounts[3]


@pytest.fixture(autouse=True)
def tokens(registry, seller, owner):
    """Token 1, the seller's dataset of five leaves; token 2, the owner's model trained on it."""
    mint(registry, Kind.DATASET, TREE, sender=seller)
    mint(registry, Kind.MODEL, commitment("model"), [(1, Relation.TRAINED_ON)], sender=owner)


def only_event(receipt):
    """The name and arguments of a transaction's one event."""
    (event,) = receipt.events
    return event.event_name, dict(event.event_arguments)


def supersede(registry, sender):
    mint(registry, Kind.DATASET, commitment("new"), [(1, Relation.SUPERSEDES)], sender=sender)


class TestAttest:
    @pytest.mark.parametrize("index", range(5))
    def test_leaf_that_is_in_the_tree(self, registry, stranger, index):
        receipt = registry.attest(DATASET, *proof(index), sender=stranger)
        assert only_event(receipt) == (
            "Attested",
            {"id": 1, "leaf": LEAVES[index], "attester": stranger, "index": index},
        )
        assert registry.record(DATASET).attestations == 1

    def test_every_attestation_counts_for_its_token_alone(self, registry, seller, stranger):
        mint(registry, Kind.DATASET, TREE, sender=seller)
        for index, sender in ((0, stranger), (0, stranger), (4, seller)):
            registry.attest(DATASET, *proof(index), sender=sender)
        assert [registry.record(number).attestations for number in (1, 2, 3)] == [3, 0, 0]

    def test_nothing_else_of_the_record_changes(self, registry, stranger):
        before = registry.record(DATASET)
        registry.attest(DATASET, *proof(0), sender=stranger)
        after = registry.record(DATASET)
        assert vars(after) | {"attestations": 0} == vars(before)

    @pytest.mark.parametrize(("leaf", "index", "path"), WRONG_PROOFS.values(), ids=WRONG_PROOFS)
    def test_proof_that_does_not_hold(self, registry, stranger, leaf, index, path):
        with refused(registry.NotIncluded, id=DATASET, leaf=leaf, index=index):
            registry.attest(DATASET, leaf, index, path, sender=stranger)

    def test_proof_of_another_token(self, registry, stranger):
        with refused(registry.NotIncluded, id=MODEL, leaf=LEAVES[0], index=0):
            registry.attest(MODEL, *proof(0), sender=stranger)

    @pytest.mark.parametrize("number", [0, 3, 2**256 - 1])
    def test_token_that_does_not_exist(self, registry, stranger, number):
        with refused(registry.ERC721NonexistentToken, tokenId=number):
            registry.attest(number, *proof(0), sender=stranger)

    def test_inclusion_outlives_every_status(self, registry, seller, stranger):
        disordered = disordered_token(registry, seller)
        report(registry, disordered, stranger)
        registry.withdraw(disordered, "", sender=seller)
        registry.attest(disordered, DISORDER[0], 0, DISORDER_PATHS[0], sender=stranger)
        assert registry.record(disordered).attestations == 1


class TestCountersign:
    def test_by_the_owner_of_the_target(self, registry, seller):
        receipt = registry.countersign(MODEL, 0, sender=seller)
        arguments = {"id": MODEL, "target": DATASET, "owner": seller, "position": 0}
        assert only_event(receipt) == ("Countersigned", arguments)
        (link,) = registry.links(MODEL)
        assert (link.target, link.relation) == (DATASET, Relation.TRAINED_ON)
        assert link.countersigned

    @pytest.mark.parametrize("position", range(9))
    def test_one_link_among_many(self, registry, seller, owner, position):
        for _ in range(2):
            mint(registry, Kind.DATASET, commitment(), sender=seller)
        relations = (Relation.TRAINED_ON, Relation.VALIDATED_ON, Relation.TESTED_ON)
        given = [(target, relation) for relation in relations for target in (3, 1, 4)]
        mint(registry, Kind.MODEL, commitment(), given, sender=owner)
        registry.countersign(5, position, sender=seller)
        found = [(link.target, link.relation, link.countersigned) for link in registry.links(5)]
        assert found == [(*link, place == position) for place, link in enumerate(given)]

    def test_any_relation_may_be(self, registry, seller):
        given = [(DATASET, Relation.DERIVED_FROM), (DATASET, Relation.SUPERSEDES)]
        mint(registry, Kind.DATASET, commitment(), given, sender=seller)
        for position in (0, 1):
            registry.countersign(3, position, sender=seller)
        assert all(link.countersigned for link in registry.links(3))

    def test_stranger_cannot_nor_the_publisher_of_the_link(self, registry, seller, owner, stranger):
        for sender in (owner, stranger):
            with refused(registry.NotOwner, id=DATASET, owner=seller, sender=sender):
                registry.countersign(MODEL, 0, sender=sender)

    def test_operator_cannot(self, registry, seller, stranger):
        registry.setApprovalForAll(stranger, True, sender=seller)
        registry.approve(stranger, DATASET, sender=seller)
        with refused(registry.NotOwner, id=DATASET, owner=seller, sender=stranger):
            registry.countersign(MODEL, 0, sender=stranger)

    def test_who_bought_the_target_can_who_sold_it_cannot(self, registry, seller, buyer):
        registry.transferFrom(seller, buyer, DATASET, sender=seller)
        with refused(registry.NotOwner, id=DATASET, owner=buyer, sender=seller):
            registry.countersign(MODEL, 0, sender=seller)
        registry.countersign(MODEL, 0, sender=buyer)
        assert registry.links(MODEL)[0].countersigned

    def test_stays_when_either_token_is_sold(self, registry, seller, buyer, owner):
        registry.countersign(MODEL, 0, sender=seller)
        registry.transferFrom(seller, buyer, DATASET, sender=seller)
        registry.transferFrom(owner, buyer, MODEL, sender=owner)
        assert registry.links(MODEL)[0].countersigned

    def test_once(self, registry, seller):
        registry.countersign(MODEL, 0, sender=seller)
        with refused(registry.AlreadyCountersigned, id=MODEL, position=0):
            registry.countersign(MODEL, 0, sender=seller)

    def test_owner_takes_it_back_and_gives_it_again(self, registry, seller):
        registry.countersign(MODEL, 0, sender=seller)
        receipt = registry.retractCountersignature(MODEL, 0, sender=seller)
        arguments = {"id": MODEL, "target": DATASET, "owner": seller, "position": 0}
        assert only_event(receipt) == ("CountersignatureRetracted", arguments)
        (link,) = registry.links(MODEL)
        assert (link.target, link.relation) == (DATASET, Relation.TRAINED_ON)
        assert not link.countersigned
        registry.countersign(MODEL, 0, sender=seller)
        assert registry.links(MODEL)[0].countersigned

    def test_later_owner_takes_it_back_the_earlier_cannot(self, registry, seller, buyer):
        registry.countersign(MODEL, 0, sender=seller)
        registry.transferFrom(seller, buyer, DATASET, sender=seller)
        with refused(registry.NotOwner, id=DATASET, owner=buyer, sender=seller):
            registry.retractCountersignature(MODEL, 0, sender=seller)
        registry.retractCountersignature(MODEL, 0, sender=buyer)
        assert not registry.links(MODEL)[0].countersigned

    def test_nothing_to_take_back(self, registry, seller):
        with refused(registry.NotCountersigned, id=MODEL, position=0):
            registry.retractCountersignature(MODEL, 0, sender=seller)

    @pytest.mark.parametrize("method", ["countersign", "retractCountersignature"])
    @pytest.mark.parametrize(("number", "position"), [(2, 1), (2, 2**256 - 1), (1, 0)])
    def test_link_that_does_not_exist(self, registry, seller, method, number, position):
        with refused(registry.NonexistentLink, id=number, position=position):
            getattr(registry, method)(number, position, sender=seller)

    @pytest.mark.parametrize("method", ["countersign", "retractCountersignature"])
    @pytest.mark.parametrize("number", [0, 3])
    def test_token_that_does_not_exist(self, registry, seller, method, number):
        with refused(registry.ERC721NonexistentToken, tokenId=number):
            getattr(registry, method)(number, 0, sender=seller)


class TestClaim:
    @pytest.mark.parametrize("uri", URIS)
    def test_about_a_leaf_that_is_in_the_tree(self, registry, stranger, uri):
        receipt = registry.claim(DATASET, *proof(2), uri, sender=stranger)
        time = receipt.timestamp
        arguments = {"id": 1, "leaf": LEAVES[2], "claimant": stranger, "number": 1, "time": time}
        assert only_event(receipt) == ("Claimed", arguments | {"uri": uri})
        claim = registry.claimOf(DATASET, 1)
        assert (claim.leaf, claim.claimant, claim.time) == (LEAVES[2], stranger, time)
        assert claim.status == ClaimStatus.OPEN
        record = registry.record(DATASET)
        assert (record.claims, record.openClaims) == (1, 1)

    def test_number_from_1_for_each_token(self, registry, seller, stranger, buyer):
        mint(registry, Kind.DATASET, TREE, sender=seller)
        filed = [(1, 0, stranger), (3, 0, buyer), (1, 0, stranger), (1, 1, buyer)]
        for number, index, sender in filed:
            registry.claim(number, *proof(index), "", sender=sender)
        claims = [registry.claimOf(1, number) for number in (1, 2, 3)]
        assert [claim.claimant for claim in claims] == [stranger, stranger, buyer]
        assert [claim.leaf for claim in claims] == [LEAVES[0], LEAVES[0], LEAVES[1]]
        assert registry.claimOf(3, 1).claimant == buyer
        assert [registry.record(number).claims for number in (1, 2, 3)] == [3, 0, 1]

    @pytest.mark.parametrize(("leaf", "index", "path"), WRONG_PROOFS.values(), ids=WRONG_PROOFS)
    def test_proof_that_does_not_hold(self, registry, stranger, leaf, index, path):
        with refused(registry.NotIncluded, id=DATASET, leaf=leaf, index=index):
            registry.claim(DATASET, leaf, index, path, "", sender=stranger)

    @pytest.mark.parametrize(("uri", "length"), TOO_LONG.items(), ids=TOO_LONG.values())
    def test_uri_that_is_too_long(self, registry, stranger, uri, length):
        with refused(registry.UriTooLong, length=length, limit=1024):
            registry.claim(DATASET, *proof(0), uri, sender=stranger)

    def test_token_that_does_not_exist(self, registry, stranger):
        with refused(registry.ERC721NonexistentToken, tokenId=3):
            registry.claim(3, *proof(0), "", sender=stranger)

    @pytest.mark.parametrize("number", [0, 2, 2**256 - 1])
    def test_claim_that_does_not_exist(self, registry, seller, stranger, number):
        registry.claim(DATASET, *proof(0), "", sender=stranger)
        with refused(registry.NonexistentClaim, id=DATASET, number=number):
            registry.claimOf(DATASET, number)
        with refused(registry.NonexistentClaim, id=DATASET, number=number):
            registry.answerClaim(DATASET, number, ClaimStatus.ACCEPTED, "", sender=seller)

    def test_of_a_token_that_does_not_exist(self, registry, seller):
        with refused(registry.ERC721NonexistentToken, tokenId=3):
            registry.claimOf(3, 1)
        with refused(registry.ERC721NonexistentToken, tokenId=3):
            registry.answerClaim(3, 1, ClaimStatus.ACCEPTED, "", sender=seller)


class TestAnswerClaim:
    @pytest.fixture(autouse=True)
    def claimed(self, registry, stranger, buyer):
        """Claims 1 and 2 of the dataset."""
        for index, sender in enumerate((stranger, buyer)):
            registry.claim(DATASET, *proof(index), "", sender=sender)

    @pytest.mark.parametrize("uri", URIS)
    @pytest.mark.parametrize("answer", [ClaimStatus.REJECTED, ClaimStatus.ACCEPTED])
    def test_by_the_owner(self, registry, seller, stranger, answer, uri):
        before = registry.claimOf(DATASET, 1)
        receipt = registry.answerClaim(DATASET, 1, answer, uri, sender=seller)
        arguments = {"id": DATASET, "number": 1, "owner": seller, "answer": answer, "uri": uri}
        assert only_event(receipt) == ("ClaimAnswered", arguments)
        after = registry.claimOf(DATASET, 1)
        assert (after.leaf, after.claimant, after.time) == (LEAVES[0], stranger, before.time)
        assert after.status == answer
        assert registry.claimOf(DATASET, 2).status == ClaimStatus.OPEN
        record = registry.record(DATASET)
        assert (record.claims, record.openClaims) == (2, 1)

    @pytest.mark.parametrize("first", ClaimStatus)
    @pytest.mark.parametrize("second", ClaimStatus)
    def test_answers_only_move_towards_the_claimant(self, registry, seller, first, second):
        supersede(registry, seller)
        if first != ClaimStatus.OPEN:
            registry.answerClaim(DATASET, 1, first, "", sender=seller)
        if second > first:
            registry.answerClaim(DATASET, 1, second, "", sender=seller)
            assert registry.claimOf(DATASET, 1).status == second
            assert registry.record(DATASET).openClaims == 1
            return
        values = {"id": DATASET, "number": 1, "status": first, "answer": second}
        with refused(registry.InvalidAnswer, **values):
            registry.answerClaim(DATASET, 1, second, "", sender=seller)

    def test_nothing_is_removed_before_the_token_is_superseded(self, registry, seller):
        with refused(registry.NotSuperseded, id=DATASET):
            registry.answerClaim(DATASET, 1, ClaimStatus.REMOVED, "", sender=seller)
        supersede(registry, seller)
        registry.answerClaim(DATASET, 1, ClaimStatus.REMOVED, "", sender=seller)
        assert registry.claimOf(DATASET, 1).status == ClaimStatus.REMOVED

    def test_answer_that_is_none(self, registry, seller):
        with refused_unexplained():
            registry.answerClaim(DATASET, 1, 4, "", sender=seller)

    def test_claimant_cannot_nor_an_operator(self, registry, seller, stranger, buyer):
        registry.setApprovalForAll(buyer, True, sender=seller)
        for sender in (stranger, buyer):
            with refused(registry.NotOwner, id=DATASET, owner=seller, sender=sender):
                registry.answerClaim(DATASET, 1, ClaimStatus.ACCEPTED, "", sender=sender)

    def test_who_bought_the_token_answers_who_published_it_cannot(self, registry, seller, buyer):
        registry.transferFrom(seller, buyer, DATASET, sender=seller)
        with refused(registry.NotOwner, id=DATASET, owner=buyer, sender=seller):
            registry.answerClaim(DATASET, 1, ClaimStatus.REJECTED, "", sender=seller)
        registry.answerClaim(DATASET, 1, ClaimStatus.REJECTED, "", sender=buyer)
        assert registry.claimOf(DATASET, 1).status == ClaimStatus.REJECTED

    @pytest.mark.parametrize(("uri", "length"), TOO_LONG.items(), ids=TOO_LONG.values())
    def test_uri_that_is_too_long(self, registry, seller, uri, length):
        with refused(registry.UriTooLong, length=length, limit=1024):
            registry.answerClaim(DATASET, 1, ClaimStatus.ACCEPTED, uri, sender=seller)


DISORDER = [LEAVES[0], LEAVES[2], LEAVES[1], LEAVES[3], LEAVES[3]]
"""Leaves of a publisher who hides one out of order, and repeats another."""
DISORDER_PATHS = [merkle.inclusion_path(b"".join(DISORDER), index) for index in range(5)]


def disordered_token(registry, sender):
    root = merkle.root(b"".join(DISORDER))
    mint(registry, Kind.DATASET, (root, 5, 0, digest("metadata")), sender=sender)
    return registry.totalSupply()


def position(index):
    return index, DISORDER[index], DISORDER_PATHS[index]


def report(registry, number, sender, lower=1, upper=2):
    return registry.reportDisorder(number, *position(lower), *position(upper), sender=sender)


class TestReportDisorder:
    @pytest.fixture
    def disordered(self, registry, seller):
        return disordered_token(registry, seller)

    @pytest.mark.parametrize("lower", range(5))
    @pytest.mark.parametrize("upper", range(5))
    def test_every_pair_of_leaves(self, registry, stranger, disordered, lower, upper):
        values = {"lower": lower, "lowerLeaf": DISORDER[lower]}
        values |= {"upper": upper, "upperLeaf": DISORDER[upper]}
        if lower < upper and DISORDER[lower] >= DISORDER[upper]:
            receipt = report(registry, disordered, stranger, lower, upper)
            named = {"id": disordered, "reporter": stranger}
            assert only_event(receipt) == ("Disordered", named | values)
            assert registry.record(disordered).disordered
            return
        with refused(registry.NoDisorder, **values):
            report(registry, disordered, stranger, lower, upper)

    def test_pairs_that_do_not_ascend_are_all_there_is_to_find(self):
        pairs = [(i, j) for i in range(5) for j in range(i + 1, 5) if DISORDER[i] >= DISORDER[j]]
        assert pairs == [(1, 2), (3, 4)]

    def test_inclusion_and_exclusion_of_one_leaf_convict(self, registry, stranger, disordered):
        """The leaf stands at 2; the publisher proves that it is not between 0 and 1."""
        leaf = LEAVES[1]
        neighbours = (DISORDER[0], DISORDER_PATHS[0], DISORDER[1], DISORDER_PATHS[1])
        assert registry.verifyInclusion(disordered, leaf, 2, DISORDER_PATHS[2])
        assert registry.verifyExclusion(disordered, leaf, 1, *neighbours)
        registry.reportDisorder(disordered, *position(1), *position(2), sender=stranger)
        assert registry.verifyInclusion(disordered, leaf, 2, DISORDER_PATHS[2])
        assert not registry.verifyExclusion(disordered, leaf, 1, *neighbours)

    def test_once(self, registry, stranger, disordered):
        report(registry, disordered, stranger)
        with refused(registry.AlreadyDisordered, id=disordered):
            report(registry, disordered, stranger, 3, 4)

    @pytest.mark.parametrize("wrong", [0, 1])
    @pytest.mark.parametrize("fault", ["leaf", "path", "place"])
    def test_either_proof_must_hold(self, registry, stranger, disordered, wrong, fault):
        pair = [list(position(1)), list(position(2))]
        if fault == "leaf":
            pair[wrong][1] = [b"\xff" * 32, bytes(32)][wrong]
        elif fault == "path":
            pair[wrong][2] = PATHS[0]
        else:
            pair[wrong][0] = [0, 3][wrong]
        index, leaf, _ = pair[wrong]
        with refused(registry.NotIncluded, id=disordered, leaf=leaf, index=index):
            registry.reportDisorder(disordered, *pair[0], *pair[1], sender=stranger)

    def test_places_past_the_end(self, registry, stranger, disordered):
        """Whatever the publisher hides behind the last leaf is not in the tree."""
        last = (2**256 - 1, bytes(32), PATHS[0])
        with refused(registry.NotIncluded, id=disordered, leaf=bytes(32), index=2**256 - 1):
            registry.reportDisorder(disordered, *position(1), *last, sender=stranger)

    def test_token_whose_leaves_ascend_cannot_be_marked(self, registry, stranger):
        for lower in range(5):
            for upper in range(lower + 1, 5):
                values = {"lower": lower, "lowerLeaf": LEAVES[lower]}
                values |= {"upper": upper, "upperLeaf": LEAVES[upper]}
                pair = (lower, LEAVES[lower], PATHS[lower], upper, LEAVES[upper], PATHS[upper])
                with refused(registry.NoDisorder, **values):
                    registry.reportDisorder.call(DATASET, *pair, sender=stranger)

    def test_nor_by_leaves_of_another(self, registry, stranger, disordered):
        with refused(registry.NotIncluded, id=DATASET, leaf=DISORDER[1], index=1):
            report(registry, DATASET, stranger)

    def test_token_that_does_not_exist(self, registry, stranger):
        with refused(registry.ERC721NonexistentToken, tokenId=9):
            report(registry, 9, stranger)


class TestWithdraw:
    @pytest.mark.parametrize("uri", URIS)
    def test_by_the_owner(self, registry, seller, uri):
        before = registry.record(DATASET)
        receipt = registry.withdraw(DATASET, uri, sender=seller)
        arguments = {"id": DATASET, "owner": seller, "uri": uri}
        assert only_event(receipt) == ("Withdrawn", arguments)
        assert vars(registry.record(DATASET)) == vars(before) | {"withdrawn": True}
        assert registry.ownerOf(DATASET) == seller, "nothing is burnt"

    def test_stranger_cannot_nor_an_operator(self, registry, seller, stranger, buyer):
        registry.setApprovalForAll(buyer, True, sender=seller)
        for sender in (stranger, buyer):
            with refused(registry.NotOwner, id=DATASET, owner=seller, sender=sender):
                registry.withdraw(DATASET, "", sender=sender)

    def test_who_sold_the_token_cannot(self, registry, seller, buyer):
        registry.transferFrom(seller, buyer, DATASET, sender=seller)
        with refused(registry.NotOwner, id=DATASET, owner=buyer, sender=seller):
            registry.withdraw(DATASET, "", sender=seller)
        registry.withdraw(DATASET, "", sender=buyer)
        assert registry.record(DATASET).withdrawn

    def test_once(self, registry, seller):
        registry.withdraw(DATASET, "", sender=seller)
        with refused(registry.AlreadyWithdrawn, id=DATASET):
            registry.withdraw(DATASET, "", sender=seller)

    @pytest.mark.parametrize(("uri", "length"), TOO_LONG.items(), ids=TOO_LONG.values())
    def test_uri_that_is_too_long(self, registry, seller, uri, length):
        with refused(registry.UriTooLong, length=length, limit=1024):
            registry.withdraw(DATASET, uri, sender=seller)

    def test_token_that_does_not_exist(self, registry, seller):
        with refused(registry.ERC721NonexistentToken, tokenId=3):
            registry.withdraw(3, "", sender=seller)

    def test_evidence_goes_on(self, registry, seller, stranger, owner):
        registry.withdraw(DATASET, "", sender=seller)
        registry.claim(DATASET, *proof(0), "", sender=stranger)
        registry.answerClaim(DATASET, 1, ClaimStatus.ACCEPTED, "", sender=seller)
        registry.countersign(MODEL, 0, sender=seller)
        mint(registry, Kind.MODEL, commitment(), [(1, Relation.TESTED_ON)], sender=owner)
        supersede(registry, seller)
        record = registry.record(DATASET)
        assert (record.supersededBy, record.claims, record.withdrawn) == (4, 1, True)


def ancestors(links, number):
    """What a token is made from, by the definition: tokens' links to transitive closure."""
    direct = {target for target, relation in links[number - 1] if relation in MADE_FROM}
    return reduce(set.union, (ancestors(links, target) for target in direct), direct)


@st.composite
def graphs(draw):
    """Kinds and links of up to eight tokens, the first a dataset, the second a model."""
    kinds, links = [Kind.DATASET, Kind.MODEL], [[], []]
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(Kind))
        possible = [
            (target, relation)
            for target, target_kind in enumerate(kinds, start=1)
            for relation in allowed(kind, target_kind)
        ]
        links.append(draw(st.lists(st.sampled_from(possible), max_size=4, unique=True)))
        kinds.append(kind)
    return kinds, links


def allowed(kind, target_kind):
    if (kind, target_kind) == (Kind.DATASET, Kind.DATASET):
        return [Relation.DERIVED_FROM]
    if (kind, target_kind) == (Kind.MODEL, Kind.DATASET):
        return [Relation.TRAINED_ON, Relation.VALIDATED_ON, Relation.TESTED_ON]
    if (kind, target_kind) == (Kind.MODEL, Kind.MODEL):
        return [Relation.FINE_TUNED_FROM, Relation.DISTILLED_FROM]
    return []


class TestIsDerivedFrom:
    @pytest.mark.parametrize(
        ("relation", "derives"),
        [
            (Relation.TRAINED_ON, True),
            (Relation.VALIDATED_ON, False),
            (Relation.TESTED_ON, False),
            (Relation.FINE_TUNED_FROM, True),
            (Relation.DISTILLED_FROM, True),
        ],
    )
    def test_relation_of_a_model(self, registry, owner, relation, derives):
        datasets = (Relation.TRAINED_ON, Relation.VALIDATED_ON, Relation.TESTED_ON)
        target = DATASET if relation in datasets else MODEL
        mint(registry, Kind.MODEL, commitment(), [(target, relation)], sender=owner)
        assert registry.isDerivedFrom(3, target) == derives

    def test_relation_of_a_dataset(self, registry, seller):
        for relation in (Relation.DERIVED_FROM, Relation.SUPERSEDES):
            mint(registry, Kind.DATASET, commitment(), [(1, relation)], sender=seller)
        assert registry.isDerivedFrom(3, DATASET)
        assert not registry.isDerivedFrom(4, DATASET)

    def test_nothing_is_made_from_itself_nor_from_what_is_newer(self, registry):
        assert not registry.isDerivedFrom(DATASET, DATASET)
        assert not registry.isDerivedFrom(DATASET, MODEL)

    @pytest.mark.parametrize(("number", "unknown"), [(0, 0), (1, 3), (3, 3), (2**256 - 1,) * 2])
    def test_token_that_does_not_exist(self, registry, number, unknown):
        with refused(registry.ERC721NonexistentToken, tokenId=unknown):
            registry.isDerivedFrom(number, 3 if number == 1 else 1)

    @settings(max_examples=25, deadline=None)
    @given(graph=graphs())
    def test_any_graph(self, registry, owner, graph):
        kinds, links = graph
        with per_example():
            first = registry.totalSupply()
            calls = []
            for kind, given in zip(kinds, links, strict=True):
                moved = [(first + target, relation) for target, relation in given]
                function = registry.mintModel if kind == Kind.MODEL else registry.mintDataset
                calls.append(function.encode_input(commitment(), moved))
            registry.multicall(calls, sender=owner)
            numbers = range(1, len(kinds) + 1)
            asked = [(id, ancestor) for id in numbers for ancestor in numbers]
            calls = [
                registry.isDerivedFrom.encode_input(first + id, first + ancestor)
                for id, ancestor in asked
            ]
            answers = [int.from_bytes(each) == 1 for each in registry.multicall.call(calls)]
            assert answers == [ancestor in ancestors(links, id) for id, ancestor in asked]

    def test_ladder_of_many_paths_is_walked_once(self, registry, owner):
        """30 rungs of two tokens that each derive from both below: 2^30 paths, 60 tokens."""
        calls, rung = [], (DATASET,)
        for top in range(3, 63, 2):
            given = [(target, Relation.DERIVED_FROM) for target in rung]
            calls += [registry.mintDataset.encode_input(commitment(), given)] * 2
            rung = (top, top + 1)
        registry.multicall(calls, sender=owner)
        assert registry.isDerivedFrom(62, DATASET)
        mint(registry, Kind.DATASET, commitment(), sender=owner)
        mint(registry, Kind.DATASET, commitment(), [(62, Relation.DERIVED_FROM)], sender=owner)
        assert registry.isDerivedFrom(64, DATASET)
        assert not registry.isDerivedFrom(64, 63)


def test_a_disorder_that_the_library_finds_is_taken(tmp_path, registry, owner):
    leaves = sorted(digest(f"leaf {number}") for number in range(700))
    leaves[255], leaves[256] = leaves[256], leaves[255]
    manifest = build_as_given(tmp_path / "set", leaves)
    found = Disorder.in_manifest(manifest)
    mint(registry, Kind.DATASET, committed(manifest.metadata), sender=owner)
    lower, upper = found.lower, found.upper
    pair = (lower.index, lower.leaf, lower.path, upper.index, upper.leaf, upper.path)
    token = registry.totalSupply()
    registry.reportDisorder(token, *pair, sender=owner)
    assert registry.record(token).disordered
