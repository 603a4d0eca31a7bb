"""The verifier on a real chain: what it proves, what it refuses, and how it says so."""

import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alithis.chain.records import Link
from alithis.chain.registry import Registry
from alithis.errors import FormatError, NoTokenError, RegistryError, SourceError
from alithis.forms import hashing
from alithis.forms.form import Form
from alithis.forms.hashing import of_bytes
from alithis.forms.keyed import PublisherKey
from alithis.forms.pool import Pool
from alithis.ipfs.cid import Cid
from alithis.manifest import proof
from alithis.manifest.proof import Exclusion, Inclusion, Subject
from alithis.manifest.reader import Manifest
from alithis.manifest.terms import Relation
from alithis.manifest.transcript import Transcript
from alithis.storage.store import Store
from alithis.verify import tokens as tokens_module
from alithis.verify import verdict as verdicts
from alithis.verify.library import Shelf
from alithis.verify.steps import verify, verify_manifest, verify_proof
from alithis.verify.target import Target
from alithis.verify.tokens import verify_tokens
from alithis.verify.verdict import ABSENT, INCLUDED, UNVERIFIABLE, Commitment, LinkedModel
from helpers.artifacts import build, build_as_given, commitment, rewrite
from helpers.session import examples
from helpers.transports import Counting

PHOTOS = [b"photo %d" % number for number in range(300)]  # more than a tile of them
LEAVES = sorted(map(of_bytes, PHOTOS))
STEPS = ["record", "metadata", "commitment", "leaf", "position", "path"]
LOWEST, HIGHEST = bytes(32), b"\xff" * 32
BETWEEN = of_bytes(b"no photo")
KEYED = (b'"scheme": "sha256"', b'"scheme": "keyed", "keyCheck": "%s"' % (b"00" * 32))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Manifest of three hundred data points."""
    return tmp_path_factory.mktemp("manifests") / "photos"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def reader(photos, store, registry, transport, owner, accounts):
    """A registry: 1 photos, 2 texts, 3 a model of both, 4 a model that supersedes it."""
    tokens = [
        (registry.mintDataset, build(photos, PHOTOS), owner, []),
        (registry.mintDataset, build(photos.with_name("texts"), [b"a", b"b"]), owner, []),
        (
            registry.mintModel,
            build(photos.with_name("classifier"), [b"weights"], kind="model"),
            accounts[1],
            [(1, Relation.TRAINED_ON), (2, Relation.TESTED_ON)],
        ),
        (
            registry.mintModel,
            build(photos.with_name("tuned"), [b"tuned"], kind="model"),
            accounts[1],
            [(3, Relation.SUPERSEDES), (1, Relation.VALIDATED_ON)],
        ),
    ]
    for mint, manifest, sender, links in tokens:
        numbered = [(target, relation.number) for target, relation in links]
        mint(commitment(manifest.metadata), numbered, sender=sender)
        store.put_manifest(photos.with_name(manifest.metadata.name))
    return Registry(transport, registry.address)


@pytest.fixture(scope="module")
def shelf(reader, store):
    return Shelf(store)


@pytest.fixture
def copy(reader, photos, tmp_path):
    """A copy of the photos' manifest, to be damaged."""
    return shutil.copytree(photos, tmp_path / "copy")


def ask(reader, shelf, target, *tokens):
    return verify_tokens(target, reader, shelf, tokens or None)


def ask_one(reader, shelf, target, token=1):
    (result,) = ask(reader, shelf, target, token)
    return result


def hashed(leaf):
    return Target(leaf.hex(), digest=leaf)


def written(folder, content):
    (folder / "file").write_bytes(content)
    return Target.parse(str(folder / "file"))


def failed(result, step):
    """The detail of the step that failed, which must be this one, and the last."""
    assert result.verdict == UNVERIFIABLE
    assert (result.index, result.proof) == (None, None)
    assert [(each.step, each.ok) for each in result.steps] == [
        (name, name != step) for name in STEPS[: STEPS.index(step) + 1]
    ]
    return result.steps[-1].detail


class TestVerdicts:
    def test_a_file_in_the_dataset_is_included(self, reader, shelf, registry, owner, tmp_path):
        result = ask_one(reader, shelf, written(tmp_path, PHOTOS[7]))

        leaf = of_bytes(PHOTOS[7])
        assert (result.verdict, result.index) == (INCLUDED, LEAVES.index(leaf))
        assert (result.name, result.kind, result.token) == ("photos", "dataset", 1)
        assert (result.size, result.root) == (300, reader.record(1).root.hex())
        assert [(step.step, step.ok) for step in result.steps] == [(name, True) for name in STEPS]
        details = {step.step: step.detail for step in result.steps}
        assert details["record"] == (
            f"token 1 of registry {registry.address} on chain {reader.chain_id}, "
            f"published by {owner.address}"
        )
        assert details["metadata"].endswith(", as committed")
        assert details["leaf"] == f"{leaf.hex()}, canonical form bytes"
        assert details["position"] == f"found at index {result.index} of 300"
        assert details["path"] == f"leads to the committed root {result.root}"

    @pytest.mark.parametrize("spell", [bytes.hex, lambda leaf: f"0x{leaf.hex().upper()}"])
    def test_a_digest_in_the_dataset_is_included(self, reader, shelf, spell):
        result = ask_one(reader, shelf, Target.parse(spell(LEAVES[42])))

        assert (result.verdict, result.index) == (INCLUDED, 42)
        assert result.steps[3].detail == f"{LEAVES[42].hex()}, as given"

    def test_the_contract_agrees_with_every_inclusion(self, reader, shelf):
        for index in (0, 1, 128, 255, 256, 298, 299):
            found = ask_one(reader, shelf, hashed(LEAVES[index])).proof
            assert reader.verify_inclusion(1, found.leaf, found.index, found.path)

    @pytest.mark.parametrize(
        ("leaf", "index", "said"),
        [
            (LOWEST, 0, f"before all others, before {LEAVES[0].hex()[:12]}… at 0"),
            (HIGHEST, 300, f"after {LEAVES[-1].hex()[:12]}… at 299, after all others"),
        ],
        ids=["left edge", "right edge"],
    )
    def test_a_leaf_outside_all_leaves_is_absent(self, reader, shelf, leaf, index, said):
        result = ask_one(reader, shelf, hashed(leaf))

        assert (result.verdict, result.index) == (ABSENT, index)
        assert result.steps[4].detail == (
            f"not found: its place would be {said}; "
            "the order of all leaves was not checked: alithis audit does"
        )

    def test_a_leaf_between_two_leaves_is_absent(self, reader, shelf, tmp_path):
        result = ask_one(reader, shelf, written(tmp_path, b"no photo"))

        assert result.verdict == ABSENT
        left, right = result.proof.left, result.proof.right
        assert (left.leaf, right.leaf) == (LEAVES[result.index - 1], LEAVES[result.index])
        assert left.leaf < BETWEEN < right.leaf
        assert reader.verify_inclusion(1, left.leaf, result.index - 1, left.path)
        assert reader.verify_inclusion(1, right.leaf, result.index, right.path)

    def test_a_leaf_in_any_gap_is_absent(self, reader, shelf):
        for left, right in pairwise(LEAVES[254:258]):
            middle = (int.from_bytes(left) + int.from_bytes(right)) // 2
            assert ask_one(reader, shelf, hashed(middle.to_bytes(32))).verdict == ABSENT

    @given(leaf=st.one_of(st.sampled_from(LEAVES), st.binary(min_size=32, max_size=32)))
    @settings(deadline=None, max_examples=examples(40))
    def test_any_leaf_is_included_or_absent(self, reader, shelf, leaf):
        expected = INCLUDED if leaf in LEAVES else ABSENT
        assert ask_one(reader, shelf, hashed(leaf)).verdict == expected

    def test_a_folder_can_replace_the_store(self, reader, photos, tmp_path):
        at_hand = Shelf(Store(tmp_path), [photos])
        between = ask_one(reader, at_hand, hashed(BETWEEN)).steps[4].detail
        assert between.endswith("; all leaves were read and ascend")

        assert ask_one(reader, at_hand, hashed(LEAVES[3])).verdict == INCLUDED
        assert ask_one(reader, at_hand, hashed(BETWEEN)).verdict == ABSENT

    def test_all_tokens(self, reader, shelf):
        results = ask(reader, shelf, hashed(of_bytes(b"weights")))

        assert [(result.token, result.verdict) for result in results] == [
            *((1, ABSENT), (2, ABSENT), (3, INCLUDED), (4, ABSENT))
        ]
        assert [result.name for result in results] == ["photos", "texts", "classifier", "tuned"]

    def test_chosen_tokens_in_their_order(self, reader, shelf):
        results = ask(reader, shelf, hashed(of_bytes(b"b")), 2, 1)

        assert [(result.token, result.verdict) for result in results] == [
            *((2, INCLUDED), (1, ABSENT))
        ]

    @pytest.mark.parametrize(
        ("each", "status"),
        [
            ([INCLUDED], 0),
            ([ABSENT, INCLUDED, UNVERIFIABLE], 0),
            ([ABSENT, ABSENT], 1),
            ([ABSENT, UNVERIFIABLE], 2),
            ([UNVERIFIABLE], 2),
            ([], 2),
        ],
    )
    def test_exit_status(self, reader, shelf, each, status):
        result = ask_one(reader, shelf, hashed(LOWEST))
        results = [replace(result, verdict=verdict) for verdict in each]
        assert verdicts.status(results) == status


class TestMarks:
    def test_superseded(self, reader, shelf):
        assert ask_one(reader, shelf, hashed(LOWEST), 3).marks == ("superseded by token 4",)
        assert ask_one(reader, shelf, hashed(LOWEST), 4).marks == ()

    def test_withdrawn(self, reader, shelf):
        lying = Record(reader, withdrawn=1)
        result = ask_one(lying, shelf, hashed(LEAVES[0]))

        assert (result.verdict, result.marks) == (INCLUDED, ("withdrawn by its owner",))

    def test_open_claims(self, reader, shelf):
        result = ask_one(Record(reader, claims=3, open_claims=2), shelf, hashed(LEAVES[0]))

        assert result.verdict == INCLUDED
        assert result.marks == ("unanswered claims against it: 2",)
        assert ask_one(Record(reader, claims=3), shelf, hashed(LEAVES[0])).marks == ()

    def test_disorder_rules_out_absence_and_not_inclusion(self, reader, shelf):
        lying = Record(reader, disordered=1)

        included = ask_one(lying, shelf, hashed(LEAVES[0]))
        assert included.verdict == INCLUDED
        assert included.marks == (
            "disordered: its leaves were proved to be out of order, so absence cannot be proved",
        )
        detail = failed(ask_one(lying, shelf, hashed(BETWEEN)), "position")
        assert detail == (
            "not found, but the leaves were proved to be out of order, so absence cannot be proved"
        )

    def test_disorder_rules_out_a_proof_file_of_absence(self, reader, shelf, photos, tmp_path):
        target = proof_file(tmp_path, Manifest.open(photos).prove(BETWEEN))

        failed(ask_one(Record(reader, disordered=1), shelf, target), "position")


class Record(Registry):
    """A registry whose node gives other values in the records of single tokens."""

    FIELDS = (
        *("kind", "scheme", "size", "root", "metadata_digest"),
        *("publisher", "time", "superseded_by", "withdrawn", "disordered"),
        *("attestations", "claims", "open_claims"),
    )

    def __init__(self, honest, **lies):
        super().__init__(honest._transport, honest.address)
        self.lies = {self.FIELDS.index(name): value for name, value in lies.items()}

    def _returned(self, name, *args):
        data = super()._returned(name, *args)
        if name != "multicall" or len(data) != (4 + len(self.FIELDS)) * 32:
            return data
        words = [data[at : at + 32] for at in range(0, len(data), 32)]
        for field, value in self.lies.items():
            words[4 + field] = value if isinstance(value, bytes) else value.to_bytes(32)
        return b"".join(words)


class TestModels:
    def test_models_that_link_to_a_dataset_are_listed(self, reader, shelf, accounts):
        first, second = ask(reader, shelf, hashed(LOWEST), 1, 2)

        publisher = accounts[1].address
        assert first.models == (
            LinkedModel(3, "classifier", "trained_on", "stated", publisher),
            LinkedModel(4, "tuned", "validated_on", "stated", publisher),
        )
        assert second.models == (LinkedModel(3, "classifier", "tested_on", "stated", publisher),)

    def test_countersigned_by_the_dataset_s_owner(self, reader, shelf, registry, owner):
        registry.countersign(3, 0, sender=owner)
        first, second = ask(reader, shelf, hashed(LOWEST), 1, 2)

        assert [model.grade for model in first.models] == ["countersigned", "stated"]
        assert [model.grade for model in second.models] == ["stated"]
        publisher = first.models[0].publisher
        said = f"trained_on, countersigned by the dataset's owner, published by {publisher}"
        assert said in verdicts.as_text(first)

    def recorded(self, registry, accounts, store, dataset, folder, **changes):
        """A model, token 5, whose metadata says what was fed of a dataset."""
        fed = {"root": "ab" * 32, "size": 203, "seen": 200, "unseen": 100, "foreign": 3}
        given = {"relation": "trained_on", "name": "photos", "transcript": fed | changes}
        given["metadata"] = dataset.metadata.digest.hex()
        model = build(folder / "recorded", [b"recorded"], kind="model", inputs=[given])
        store.put_manifest(folder / "recorded")
        links = [(1, Relation.TRAINED_ON.number), (1, Relation.TESTED_ON.number)]
        registry.mintModel(commitment(model.metadata), links, sender=accounts[1])

    def test_a_transcript_in_the_metadata_is_shown(
        self, reader, shelf, registry, owner, accounts, store, photos, tmp_path
    ):
        self.recorded(registry, accounts, store, Manifest.open(photos), tmp_path)
        trained, tested = ask_one(reader, shelf, hashed(LOWEST)).models[2:]

        assert (trained.relation, trained.grade) == ("trained_on", "transcript")
        assert trained.transcript == Transcript(b"\xab" * 32, 203, 200, 100, 3)
        assert (tested.relation, tested.grade, tested.transcript) == ("tested_on", "stated", None)
        result = ask_one(reader, shelf, hashed(LOWEST))
        assert (
            f"stated by its publisher {accounts[1].address}, who recorded a training run that used "
            "200 of its 300 distinct data points and 3 others\n"
        ) in verdicts.as_text(result)
        (written,) = verdicts.as_json(hashed(LOWEST), [result])["results"]
        assert written["models"][2]["transcript"]["root"] == "ab" * 32

        registry.countersign(5, 0, sender=owner)
        confirmed = ask_one(reader, shelf, hashed(LOWEST)).models[2]
        assert (confirmed.grade, confirmed.transcript) == ("countersigned", trained.transcript)

    @pytest.mark.parametrize(
        "changes",
        [
            {"unseen": 99},
            {"foreign": 4},
            {"seen": -1, "size": 2},
            {"root": None},
            {"seen": True},
            {"root": "ab"},
            {"size": None},
            {"size": 300, "seen": 300, "unseen": 0, "foreign": 0},
            {"given": 202},
        ],
        ids=str,
    )
    def test_a_contradicted_transcript_is_ignored(
        self, reader, store, registry, accounts, photos, tmp_path, changes
    ):
        self.recorded(registry, accounts, store, Manifest.open(photos), tmp_path, **changes)
        trained = ask_one(reader, Shelf(store), hashed(LOWEST)).models[2]

        assert (trained.name, trained.grade, trained.transcript) == ("recorded", "stated", None)

    def test_a_model_without_available_metadata_has_no_name(self, reader, photos, tmp_path):
        shelf = Shelf(Store(tmp_path), [photos, photos.with_name("tuned")])
        result = ask_one(reader, shelf, hashed(LOWEST))

        assert [model.name for model in result.models] == [None, "tuned"]
        assert "model unnamed (token 3): trained_on, stated by" in verdicts.as_text(result)

    def test_a_derived_dataset_is_not_listed_as_a_model(self, reader, shelf, registry, owner):
        derived = commitment(shelf.open(reader.record(2).metadata_digest).metadata)
        registry.mintDataset(derived, [(2, Relation.DERIVED_FROM.number)], sender=owner)

        assert [model.token for model in ask_one(reader, shelf, hashed(LOWEST), 2).models] == [3]
        assert ask_one(reader, shelf, hashed(LOWEST), 5).models == ()

    def test_links_are_read_from_a_token_onwards(self, reader):
        third = (Link(1, Relation.TRAINED_ON), Link(2, Relation.TESTED_ON))
        fourth = (Link(3, Relation.SUPERSEDES), Link(1, Relation.VALIDATED_ON))

        assert list(reader.all_links()) == [(1, ()), (2, ()), (3, third), (4, fourth)]
        assert list(reader.all_links(4)) == [(4, fourth)]
        assert list(reader.all_links(5)) == []

    def test_requests_do_not_grow_with_the_square_of_the_tokens(
        self, reader, shelf, registry, owner
    ):
        one = commitment(shelf.open(reader.record(2).metadata_digest).metadata)
        dataset = registry.mintDataset.encode_input(one, [])
        model = registry.mintModel.encode_input(one, [(1, 1), (2, 1)])
        for _ in range(6):
            registry.multicall([dataset, model] * 18, sender=owner)
        tokens = registry.totalSupply()
        assert tokens > 200
        counting = Counting(reader._transport)

        results = ask(Registry(counting, registry.address), shelf, hashed(of_bytes(b"a")))

        assert [result.token for result in results] == list(range(1, tokens + 1))
        assert len(results[0].models) == 2 + 6 * 18
        finding, counts, hundreds = 2, 2, -(-tokens // 100)
        assert len(counting.methods) <= finding + counts + 3 * hundreds


class TestEmptyRegistry:
    def test_an_empty_registry_gives_no_result(self, chain, shelf):
        empty = Registry(chain, chain.deploy().address)
        assert ask(empty, shelf, hashed(LOWEST)) == []


class TestMetadataStep:
    def test_a_manifest_that_is_not_in_the_store_is_unverifiable(self, reader, tmp_path):
        detail = failed(ask_one(reader, Shelf(Store(tmp_path)), hashed(LEAVES[0])), "metadata")

        cid = Cid.raw(reader.record(1).metadata_digest)
        assert detail == (
            f"{cid} is not in the store {tmp_path}: give its folder with --manifest, "
            "or add it with `alithis store put`"
        )

    def test_a_folder_of_another_artifact_is_not_used(self, reader, photos, tmp_path):
        shelf = Shelf(Store(tmp_path), [photos.with_name("texts")])

        detail = failed(ask_one(reader, shelf, hashed(LEAVES[0])), "metadata")

        assert "is not in the store" in detail

    def test_a_manifest_altered_in_the_store_is_unverifiable(self, reader, copy, tmp_path):
        store = Store(tmp_path / "store")
        cid = store.put_manifest(copy)
        (place,) = store.root.rglob(f"files/*/{cid}")
        place.chmod(0o644)
        place.write_bytes(place.read_bytes().replace(b'"photos"', b'"frauds"'))

        detail = failed(ask_one(reader, Shelf(store), hashed(LEAVES[0])), "metadata")

        assert f"CID: expected {cid}, found bafkrei" in detail

    def test_metadata_with_another_sha256_is_unverifiable(self, reader, photos):
        opened = Manifest.open(photos)
        data = opened.metadata
        committed = Commitment(data.root, data.size, "a record", metadata=bytes(32))

        detail = failed(verify(hashed(LEAVES[0]), committed, lambda: opened), "metadata")

        assert detail == (
            f"SHA-256 of metadata.json: expected {bytes(32).hex()}, found {data.digest.hex()}"
        )

    def test_an_altered_local_manifest_is_not_the_committed_one(self, reader, copy, tmp_path):
        rewrite(copy, b'"photos"', b'"frauds"')
        shelf = Shelf(Store(tmp_path / "store"), [copy])

        detail = failed(ask_one(reader, shelf, hashed(LEAVES[0])), "metadata")

        assert "is not in the store" in detail


class TestCommitmentStep:
    """The chain commits to metadata that states another commitment."""

    @pytest.mark.parametrize(
        ("what", "other", "expected", "found"),
        [
            ("root", of_bytes(b"other"), of_bytes(b"other").hex(), "{root}"),
            ("size", 299, "299", "300"),
            ("scheme", "keyed", "keyed", "sha256"),
        ],
    )
    def test_metadata_that_contradicts_the_token_is_unverifiable(
        self, reader, shelf, photos, registry, owner, what, other, expected, found
    ):
        data = Manifest.open(photos).metadata
        registry.mintDataset(commitment(data, **{what: other}), [], sender=owner)

        detail = failed(ask_one(reader, shelf, hashed(LEAVES[0]), 5), "commitment")

        found = found.format(root=data.root.hex())
        assert detail == f"{what} in metadata.json: expected {expected}, found {found}"

    def test_minted_as_another_kind(self, reader, shelf, photos, registry, owner):
        registry.mintModel(commitment(Manifest.open(photos).metadata), [], sender=owner)

        detail = failed(ask_one(reader, shelf, hashed(LEAVES[0]), 5), "commitment")

        assert detail == "kind in metadata.json: expected model, found dataset"

    @pytest.mark.parametrize("leaf", [LEAVES[0], BETWEEN], ids=["included", "absent"])
    @pytest.mark.parametrize(
        "lie",
        [
            {"root": of_bytes(b"lie")},
            {"size": 1},
            {"size": 299},
            {"size": 301},
            {"size": 1 << 47},
            {"scheme": 1},
            {"kind": 1},
        ],
        ids=str,
    )
    def test_a_node_that_lies(self, reader, shelf, leaf, lie):
        failed(ask_one(Record(reader, **lie), shelf, hashed(leaf)), "commitment")

    def test_a_node_that_lies_about_the_metadata(self, reader, shelf, photos):
        other = Manifest.open(photos.with_name("texts")).metadata.digest
        lying = Record(reader, metadata_digest=other)

        failed(ask_one(lying, shelf, hashed(of_bytes(b"a"))), "commitment")

    def test_a_meaningless_answer_of_a_node_raises(self, reader, shelf):
        for lie in ({"kind": 7}, {"disordered": 2}, {"publisher": HIGHEST}):
            with pytest.raises(RegistryError):
                ask_one(Record(reader, **lie), shelf, hashed(LEAVES[0]))

    def test_a_node_with_endless_tokens_is_refused(self, reader, shelf):
        class Endless(Registry):
            def count(self):
                return 1 << 200

        endless = Endless(reader._transport, reader.address)
        with pytest.raises(RegistryError, match="can be read one by one"):
            ask(endless, shelf, hashed(LOWEST))


class TestLeafStep:
    def test_a_file_without_the_canonical_form(self, tmp_path):
        folder = image_manifest(tmp_path)
        detail = failed(verify_manifest(written(tmp_path, b"text"), folder), "leaf")

        assert detail == f"{tmp_path / 'file'}: not an image that can be decoded"

    def test_a_file_that_vanished(self, reader, shelf, tmp_path):
        target = written(tmp_path, b"text")
        (tmp_path / "file").unlink()

        detail = failed(ask_one(reader, shelf, target), "leaf")
        assert detail == f"{tmp_path / 'file'}: cannot be read: No such file or directory"

    def test_a_name_of_several_lines_is_shown_in_one_line(self, tmp_path):
        path = tmp_path / "file\n  ok   path       leads to the committed root"
        path.write_bytes(b"text")
        result = verify_manifest(Target.parse(str(path)), image_manifest(tmp_path))

        assert "\n" not in failed(result, "leaf")

    def test_keyed_leaves_cannot_be_computed_without_the_key(self, copy, tmp_path):
        rewrite(copy, *KEYED)

        for target in (hashed(LEAVES[0]), hashed(BETWEEN), written(tmp_path, b"text")):
            detail = failed(verify_manifest(target, copy), "leaf")
            assert detail == (
                "the leaves are keyed, so only their publisher can compute them: "
                "ask the publisher for a proof file, or give the publisher's key with --key-file"
            )

    def test_a_proof_file_of_a_keyed_leaf_says_what_it_shows(self, copy, tmp_path):
        found = Manifest.open(copy).prove(LEAVES[0])
        rewrite(copy, *KEYED)

        result = verify_manifest(proof_file(tmp_path, found), copy)

        assert result.verdict == INCLUDED
        assert result.steps[3].detail == (
            f"{LEAVES[0].hex()}, from the proof file; only its publisher knows which "
            "data point it belongs to"
        )


class TestKeyedToken:
    """The chain says that a token's leaves are keyed; the key is the publisher's to give."""

    KEY = PublisherKey(bytes(range(32)))

    @pytest.fixture
    def token(self, reader, store, registry, owner, tmp_path):
        opened = build(tmp_path / "patients", [b"a", b"b"], key=self.KEY)
        registry.mintDataset(commitment(opened.metadata), [], sender=owner)
        store.put_manifest(tmp_path / "patients")
        return reader.count()

    def test_with_the_key(self, reader, shelf, token):
        for content, verdict in ((b"a", INCLUDED), (b"x", ABSENT)):
            target = Target("", digest=of_bytes(content), key=self.KEY)
            assert ask_one(reader, shelf, target, token).verdict == verdict

    def test_without(self, reader, shelf, token):
        detail = failed(ask_one(reader, shelf, hashed(of_bytes(b"x")), token), "leaf")
        assert "only their publisher can compute them" in detail

    def test_by_a_proof_and_the_chain_alone(self, reader, token, tmp_path):
        opened = Manifest.open(tmp_path / "patients")
        mine = Target("", digest=of_bytes(b"a"), key=self.KEY)
        found = opened.prove(mine.leaf(opened.metadata))
        found = replace(found, opening=mine.opening(opened.metadata))
        file = tmp_path / "proof"
        file.write_bytes(proof.dump(found, Subject()))
        (tmp_path / "a").write_bytes(b"a")
        nothing = Shelf(Store(tmp_path / "empty"))

        target = Target.parse(str(tmp_path / "a"), proof_file=file)
        assert ask_one(reader, nothing, target, token).verdict == INCLUDED
        (tmp_path / "b").write_bytes(b"b")
        other = Target.parse(str(tmp_path / "b"), proof_file=file)
        failed(ask_one(reader, nothing, other, token), "leaf")

    def test_absence_cannot_be_checked_with_the_chain_alone(self, reader, token, tmp_path):
        found = Manifest.open(tmp_path / "patients").prove(self.KEY.leaf(of_bytes(b"x")))
        nothing = Shelf(Store(tmp_path / "empty"))
        detail = failed(ask_one(reader, nothing, proof_file(tmp_path, found), token), "leaf")
        assert detail.startswith("a proof of absence shows nothing without the scheme and the")


def image_manifest(folder):
    """A manifest of one grey image, by its pixels."""
    from alithis import readers
    from alithis.manifest.builder import build as build_manifest
    from alithis.manifest.metadata import Description

    (folder / "images").mkdir()
    Image.new("L", (3, 2), 77).save(folder / "images" / "one.png")
    source = readers.folder(folder / "images", form=Form("pixels", "L"))
    out = folder / "images.alithis"
    with Pool(1) as pool:
        batches = source.digested(pool)
        build_manifest(batches, out, description=Description("images"), form=source.form)
    return out


class TestPixels:
    @pytest.mark.parametrize("convert", ["L", "RGB", "P", "RGBA", "LA"])
    @pytest.mark.parametrize("suffix", ["png", "tiff"])
    def test_the_same_pixels_in_another_file(self, tmp_path, convert, suffix):
        folder = image_manifest(tmp_path)
        image = Image.new("L", (3, 2), 77).convert(convert)
        if convert in ("RGBA", "LA"):
            image = image.convert("RGB")  # an opaque image is one without transparency
        image.save(tmp_path / f"other.{suffix}")

        result = verify_manifest(Target.parse(str(tmp_path / f"other.{suffix}")), folder)

        assert result.verdict == INCLUDED
        assert result.steps[3].detail.endswith(", canonical form pixels")

    def test_one_pixel_changed(self, tmp_path):
        folder = image_manifest(tmp_path)
        image = Image.new("L", (3, 2), 77)
        image.putpixel((1, 1), 78)
        image.save(tmp_path / "other.png")

        assert verify_manifest(Target.parse(str(tmp_path / "other.png")), folder).verdict == ABSENT

    def test_a_file_is_read_once_for_each_form(self, tmp_path, monkeypatch):
        folder = image_manifest(tmp_path)
        target = Target.parse(str(tmp_path / "images" / "one.png"))
        read = []
        of_file = hashing.of_file
        monkeypatch.setattr(hashing, "of_file", lambda *args: read.append(args) or of_file(*args))

        for _ in range(3):
            assert verify_manifest(target, folder).verdict == INCLUDED
        assert len(read) == 1


class TestDamage:
    """Files of a manifest that are not what the metadata says."""

    def test_altered_leaf(self, reader, copy, tmp_path):
        leaves = bytearray((copy / "leaves").read_bytes())
        leaves[32 * 100 + 31] ^= 1
        (copy / "leaves").write_bytes(leaves)
        shelf = Shelf(Store(tmp_path / "store"), [copy])

        for leaf in (LEAVES[100], bytes(leaves[32 * 100 : 32 * 101]), LEAVES[99]):
            detail = failed(ask_one(reader, shelf, hashed(leaf)), "position")
            assert "alithis audit" in detail

    @pytest.mark.parametrize("index", [0, 150, 299])
    def test_leaf_hidden_by_another_in_its_place(self, reader, copy, tmp_path, index):
        leaves = bytearray((copy / "leaves").read_bytes())
        number = int.from_bytes(LEAVES[index]) + (1 if index == 0 else -1)
        leaves[32 * index : 32 * (index + 1)] = number.to_bytes(32)
        (copy / "leaves").write_bytes(leaves)

        result = verify_manifest(hashed(LEAVES[index]), copy)

        failed(result, "position")

    @pytest.mark.parametrize("name", ["leaves", "tiles/1"])
    @pytest.mark.parametrize(
        ("harm", "said"),
        [
            (lambda path: path.unlink(), "No such file"),
            (lambda path: path.write_bytes(path.read_bytes()[:-1]), "expected"),
            (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "expected"),
            (lambda path: path.write_bytes(b""), "expected"),
            (lambda path: path.write_bytes(bytes(path.stat().st_size)), "audit"),
        ],
        ids=["missing", "cut", "grown", "empty", "zeroed"],
    )
    def test_file(self, copy, name, harm, said):
        harm(copy / name)

        assert said in failed(verify_manifest(hashed(LEAVES[299]), copy), "position")

    def test_leaves_that_are_missing_in_the_store(self, reader, store, copy, tmp_path):
        partial = Store(tmp_path / "store")
        partial.put_bytes((copy / "metadata.json").read_bytes())

        detail = failed(ask_one(reader, Shelf(partial), hashed(LEAVES[0])), "position")

        assert "is not in the store" in detail


def proof_file(folder, found, **subject):
    path = folder / "proof.json"
    path.write_bytes(proof.dump(found, Subject(**subject)))
    return Target.parse(str(path))


class TestProofFiles:
    @pytest.fixture(scope="class")
    def opened(self, reader, photos):
        return Manifest.open(photos)

    @pytest.mark.parametrize("leaf", [BETWEEN, LOWEST, HIGHEST])
    def test_a_proof_of_absence_needs_the_metadata(self, reader, shelf, opened, tmp_path, leaf):
        """In another form or scheme than the tree's, every digest is absent."""
        target = proof_file(tmp_path, opened.prove(leaf), token=1)
        (alone,) = ask(reader, Shelf(Store(tmp_path / "none")), target)
        assert "give --manifest" in failed(alone, "leaf")
        offline = verify_proof(target, root=opened.metadata.root, size=opened.metadata.size)
        assert "give --manifest" in failed(offline, "leaf")

        (result,) = ask(reader, shelf, target)
        assert result.verdict == ABSENT
        assert result.steps[3].detail == (
            f"{leaf.hex()}, from the proof file; the leaves are digests in the canonical form bytes"
        )

    def test_a_local_manifest_refutes_a_proof_of_absence(self, tmp_path):
        """Its publisher hid a leaf; the proof alone leads to the root."""
        hiding = build_as_given(tmp_path / "hiding", [*LEAVES[1:], LEAVES[0]])
        denied = Exclusion(LEAVES[0], 0, None, hiding.at(0))
        denied.check(hiding.metadata.root, 300)
        detail = failed(verify_manifest(proof_file(tmp_path, denied), hiding), "position")
        assert "the leaves are out of order at 298 and 299" in detail

    @pytest.mark.parametrize("leaf", [LEAVES[9], LEAVES[299]])
    def test_a_proof_of_inclusion_needs_only_the_chain(self, reader, opened, tmp_path, leaf):
        target = proof_file(tmp_path, opened.prove(leaf), token=1)

        (result,) = ask(reader, Shelf(Store(tmp_path / "none")), target)

        assert result.verdict == INCLUDED
        assert (result.token, result.name, result.kind) == (1, None, "dataset")
        assert result.steps[1].detail.startswith("not read, as the proof file contains the path (")
        assert result.steps[3].detail == f"{leaf.hex()}, from the proof file"

    def test_available_metadata_is_checked_too(self, reader, shelf, opened, tmp_path):
        (result,) = ask(reader, shelf, proof_file(tmp_path, opened.prove(LEAVES[9]), token=1))

        assert (result.verdict, result.name) == (INCLUDED, "photos")
        assert result.steps[1].detail == f"SHA-256 {opened.metadata.digest.hex()}, as committed"

    def test_the_metadata_it_names_finds_the_token(self, reader, shelf, opened, tmp_path):
        target = proof_file(
            tmp_path, opened.prove(LEAVES[9]), metadata=opened.metadata.digest, name="anything"
        )

        assert [(result.token, result.verdict) for result in ask(reader, shelf, target)] == [
            (1, INCLUDED)
        ]

    def test_metadata_that_no_token_commits_to(self, reader, shelf, opened, tmp_path):
        target = proof_file(tmp_path, opened.prove(LEAVES[9]), metadata=BETWEEN)

        with pytest.raises(
            NoTokenError, match=f"commits to metadata {BETWEEN.hex()}, which the proof file"
        ):
            ask(reader, shelf, target)

    def test_a_proof_that_names_nothing_is_tried_on_all(self, reader, shelf, opened, tmp_path):
        results = ask(reader, shelf, proof_file(tmp_path, opened.prove(LEAVES[9])))

        assert [result.verdict for result in results] == [INCLUDED, *[UNVERIFIABLE] * 3]
        assert verdicts.status(results) == 0

    @pytest.mark.parametrize(
        ("what", "other"),
        [
            ("token", 2),
            ("chain", 314),
            ("registry", "0x" + "11" * 20),
            ("metadata", BETWEEN),
        ],
    )
    def test_for_another(self, reader, shelf, opened, tmp_path, what, other):
        found = opened.prove(LEAVES[9])
        own = vars_of(tokens_module.subject_of(reader, reader.record(1)))
        target = proof_file(tmp_path, found, **{**own, what: other})

        detail = failed(ask_one(reader, shelf, target), "metadata")

        expected, shown = (
            value.hex() if isinstance(value, bytes) else value for value in (own[what], other)
        )
        assert detail == f"the proof file's {what}: expected {expected}, found {shown}"

    def test_the_registrys_address_in_any_case(self, reader, shelf, opened, tmp_path):
        address = reader.address.lower()
        target = proof_file(tmp_path, opened.prove(LEAVES[9]), registry=address, token=1)

        assert ask(reader, shelf, target)[0].verdict == INCLUDED

    @pytest.mark.parametrize("token", [0, 5, (1 << 64) - 1])
    def test_for_a_token_that_does_not_exist(self, reader, shelf, opened, tmp_path, token):
        target = proof_file(tmp_path, opened.prove(LEAVES[9]), token=token)

        with pytest.raises(NoTokenError, match=f"has no token {token}"):
            ask(reader, shelf, target)

    def test_against_another_tokens_tree(self, reader, shelf, opened, tmp_path):
        for leaf in (LEAVES[9], BETWEEN):
            result = ask_one(reader, shelf, proof_file(tmp_path, opened.prove(leaf)), 2)
            failed(result, "path")

    def test_against_a_node_that_lies(self, reader, opened, tmp_path):
        nothing = Shelf(Store(tmp_path / "none"))
        for leaf in (LEAVES[9], BETWEEN):
            target = proof_file(tmp_path, opened.prove(leaf))
            step = "path" if leaf in LEAVES else "leaf"
            failed(ask_one(Record(reader, root=HIGHEST), nothing, target), step)
            failed(ask_one(Record(reader, size=1), nothing, target), step)

    @given(change=st.data())
    @settings(deadline=None, max_examples=examples(150))
    def test_any_change_is_noticed(self, opened, tmp_path_factory, change):
        folder = tmp_path_factory.mktemp("mutants")
        leaf = change.draw(st.sampled_from([LEAVES[9], LEAVES[299], BETWEEN, LOWEST, HIGHEST]))
        document = json.loads(proof.dump(opened.prove(leaf), Subject()))
        places = [place for place in paths_in(document) if place[0] != "about"]
        place = change.draw(st.sampled_from(places))
        mutate(document, place, change.draw)
        (folder / "proof.json").write_text(json.dumps(document))

        verdict = verdict_of(folder / "proof.json", opened)

        if place == ("leaf",) and verdict == ABSENT:  # the neighbours of one are those of others
            assert bytes.fromhex(document["leaf"]) not in LEAVES
        else:
            assert verdict == UNVERIFIABLE

    def test_a_swapped_verdict(self, opened, tmp_path):
        included, absent = opened.prove(LEAVES[9]), opened.prove(BETWEEN)
        forged = [
            Exclusion(LEAVES[9], 9, absent.left, absent.right),
            Exclusion(LEAVES[9], 9, opened.prove(LEAVES[8]), included),
            Exclusion(LEAVES[9], 10, included, opened.prove(LEAVES[10])),
            Exclusion(LEAVES[9], 9, opened.prove(LEAVES[8]), opened.prove(LEAVES[10])),
            Inclusion(BETWEEN, absent.index, absent.right.path),
            replace(absent, left=None),
            replace(absent, right=None),
        ]
        for found in forged:
            failed(verify_manifest(proof_file(tmp_path, found), opened), "path")

    def test_given_root_and_size_are_enough(self, opened, tmp_path):
        target = proof_file(tmp_path, opened.prove(LEAVES[9]))
        root, size = opened.metadata.root, opened.metadata.size

        result = verify_proof(target, root=root, size=size)

        assert (result.verdict, result.token, result.name) == (INCLUDED, None, None)
        assert result.steps[0].detail == "root and size as given"
        failed(verify_proof(target, root=root[::-1], size=size), "path")
        failed(verify_proof(target, root=root, size=size - 100), "path")


def vars_of(subject):
    return {name: getattr(subject, name) for name in ("metadata", "chain", "registry", "token")}


def paths_in(value, prefix=()):
    """The places of all values in a JSON document, inner ones too."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*prefix, key)
        if isinstance(inner, dict | list):
            yield from paths_in(inner, (*prefix, key))


def mutate(document, place, draw):
    """Change one value of a JSON document: drop it, or put another in its place."""
    holder = document
    for key in place[:-1]:
        holder = holder[key]
    old = holder[place[-1]]
    other = st.one_of(
        st.none(), st.booleans(), st.integers(-2, 1 << 65), st.text(max_size=3), st.just([])
    )
    if isinstance(old, str) and len(old) == 64:
        digit = st.integers(0, 63)
        other |= digit.map(lambda at: f"{old[:at]}{int(old[at], 16) ^ 1:x}{old[at + 1 :]}")
    if old is not None and draw(st.booleans()):
        del holder[place[-1]]
    else:
        holder[place[-1]] = draw(other.filter(lambda new: new != old or type(new) is not type(old)))


def verdict_of(path, opened):
    try:
        target = Target.parse(str(path))
        if target.proof is None:  # no longer a proof file at all
            return UNVERIFIABLE
        return verify_manifest(target, opened).verdict
    except FormatError:
        return UNVERIFIABLE


class TestOffline:
    def test_without_a_root_the_manifests_own_root_is_used_and_named(self, reader, photos):
        result = verify_manifest(hashed(LEAVES[9]), photos)

        assert (result.verdict, result.token, result.models) == (INCLUDED, None, ())
        assert (result.name, result.kind) == ("photos", "dataset")
        assert result.steps[0].detail == (
            "root and size as the manifest states them, not checked against a chain"
        )
        assert not result.steps[1].detail.endswith("as committed")

    def test_by_given_root_and_size(self, reader, photos):
        record = reader.record(1)
        result = verify_manifest(hashed(BETWEEN), photos, root=record.root, size=record.size)

        assert result.verdict == ABSENT
        assert result.steps[0].detail == "root and size as given"

    @pytest.mark.parametrize(("root", "size"), [(HIGHEST, 300), (None, 299)])
    def test_another_root_or_size(self, reader, photos, root, size):
        root = root or reader.record(1).root

        failed(verify_manifest(hashed(LEAVES[9]), photos, root=root, size=size), "commitment")

    def test_proof_file_of_another_manifest(self, reader, photos, tmp_path):
        found = Manifest.open(photos).prove(LEAVES[9])
        target = proof_file(tmp_path, found, metadata=HIGHEST)

        assert "metadata" in failed(verify_manifest(target, photos), "metadata")

    def test_no_manifest(self, tmp_path):
        with pytest.raises(FormatError, match="No such file or directory; check that"):
            verify_manifest(hashed(LOWEST), tmp_path)


class TestTarget:
    def test_a_file_named_like_a_digest_is_a_file(self, tmp_path, monkeypatch, reader, photos):
        monkeypatch.chdir(tmp_path)
        name = LEAVES[0].hex()
        (tmp_path / name).write_bytes(PHOTOS[5])

        result = verify_manifest(Target.parse(name), photos)

        assert result.index == LEAVES.index(of_bytes(PHOTOS[5]))
        assert result.steps[3].detail.endswith("canonical form bytes")

    def test_a_folder_named_like_a_digest_is_not_a_file(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / LEAVES[0].hex()).mkdir()

        assert Target.parse(LEAVES[0].hex()).is_digest

    @pytest.mark.parametrize("text", ["", "nothing", "ab" * 31, "0x" + "ab" * 33, "ag" * 32])
    def test_neither_file_nor_digest(self, text, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        said = "or 64 hexadecimal digits" if text else "the name is empty"
        with pytest.raises(SourceError, match=said):
            Target.parse(text)

    @pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
    def test_a_target_must_be_a_regular_file(self, tmp_path, make):
        make(tmp_path / "it")
        with pytest.raises(SourceError, match="it: is not a regular file"):
            Target.parse(str(tmp_path / "it"))

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("a" * 300, "File name too long"),
            ("nul\0", "no such file"),
            ("/proc/self/mem", "cannot be read: Input/output error"),
        ],
    )
    def test_a_path_that_the_system_refuses(self, text, said):
        with pytest.raises(SourceError, match=said):
            Target.parse(text)

    @pytest.mark.parametrize(
        "text",
        [
            '{"alithis": "proof"}',
            '{"alithis": "proof", "version": 2}',
            '{"alithis": "proof", "version": 1, "leaf": "00"}',
            '{"alithis": "proof", "version": 1, "leaf": "' + "00" * 32 + '", "index": 0}',
        ],
    )
    def test_a_malformed_proof_file(self, tmp_path, text):
        (tmp_path / "proof.json").write_text(text)
        with pytest.raises(FormatError, match="proof: "):
            Target.parse(str(tmp_path / "proof.json"))

    def test_a_proof_files_leaf_is_its_own(self, reader, photos, tmp_path):
        opened = Manifest.open(photos)

        assert proof_file(tmp_path, opened.prove(BETWEEN)).leaf(opened.metadata) == BETWEEN

    @pytest.mark.parametrize("text", ["{}", '{"alithis": {}}', "[]", '{"other": "proof"}'])
    def test_other_json_is_a_data_point(self, tmp_path, text):
        (tmp_path / "row.json").write_text(text)
        target = Target.parse(str(tmp_path / "row.json"))

        assert target.proof is None
        folder = tmp_path / "rows"
        build(folder, [text.encode()])
        assert verify_manifest(target, folder).verdict == INCLUDED


class TestShelf:
    def test_folders_must_be_manifests(self, store, tmp_path):
        with pytest.raises(FormatError, match="a manifest"):
            Shelf(store, [tmp_path])

    def test_names(self, shelf, reader):
        assert shelf.statement(reader.record(3).metadata_digest).name == "classifier"
        assert shelf.statement(bytes(32)).name is None
        assert shelf.statement(bytes(32)).name is None

    def test_a_registry_larger_than_the_open_files_allowed(self, tmp_path):
        """Each manifest has files open while it is looked into, and none after."""
        store = Store(tmp_path / "store")
        digests = [
            build(tmp_path / f"set {number}", [b"a", b"b"]).metadata.digest for number in range(40)
        ]
        for number in range(40):
            store.put_manifest(tmp_path / f"set {number}")
        script = f"""
import resource
from alithis.storage.store import Store
from alithis.verify.library import Shelf
from alithis.verify.steps import verify
from alithis.verify.target import Target
from alithis.verify.verdict import Commitment
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (32, hard))
shelf, target = Shelf(Store({str(store.root)!r})), Target("", digest=bytes(32))
for digest in {digests!r}:
    data = shelf.open(digest).metadata
    commitment = Commitment(data.root, data.size, "", metadata=digest)
    print(verify(target, commitment, lambda: shelf.open(digest)).verdict)
"""
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 32
        result = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        assert result.stdout.split() == [ABSENT] * 40


class TestShowing:
    def test_text(self, reader, shelf, accounts):
        included, absent = (
            verdicts.as_text(ask_one(reader, shelf, hashed(leaf))) for leaf in (LEAVES[9], LOWEST)
        )

        first, *steps, trained, validated = included.splitlines()
        assert first == "photos (token 1): included, at index 9 of 300"
        assert [line[:16] for line in steps] == [f"  ok   {step:10}"[:16] for step in STEPS]
        assert trained == (
            "  model classifier (token 3): trained_on, stated by its publisher "
            f"{accounts[1].address}"
        )
        assert "validated_on" in validated
        assert absent.startswith("photos (token 1): absent from the committed 300 leaves\n")

    def test_text_of_a_failure_and_of_a_mark(self, reader, shelf):
        text = verdicts.as_text(ask_one(Record(reader, size=1), shelf, hashed(LEAVES[9])))
        assert text.startswith("photos (token 1): unverifiable: could not check\n")
        assert "\n  FAIL commitment size in metadata.json: expected 1, found 300\n" in text

        text = verdicts.as_text(ask_one(reader, shelf, hashed(LEAVES[9]), 3))
        assert text.endswith("\n  note superseded by token 4")

    def test_text_without_name_and_token(self, tmp_path, reader, photos):
        found = Manifest.open(photos).prove(LEAVES[9])
        record = reader.record(1)
        result = verify_proof(proof_file(tmp_path, found), root=record.root, size=record.size)

        assert verdicts.as_text(result).startswith(
            "unnamed: included, at index 9 of 300, with the size as given\n"
        )

    def test_the_text_never_claims_more_than_was_shown(self, reader, shelf):
        for leaf in (LEAVES[9], LOWEST):
            text = verdicts.as_text(ask_one(reader, shelf, hashed(leaf)))
            assert "not used" not in text
            assert "was trained" not in text

    def test_json(self, reader, shelf, accounts):
        results = ask(reader, shelf, hashed(LEAVES[9]), 1, 2)

        document = json.loads(json.dumps(verdicts.as_json(hashed(LEAVES[9]), results)))

        assert document["target"]["kind"] == "digest"

        first, second = document["results"]
        assert first["steps"][0].keys() == {"step", "ok", "detail"}
        assert {key: first[key] for key in first if key not in ("steps", "marks", "notes")} == {
            "name": "photos",
            "kind": "dataset",
            "token": 1,
            "verdict": "included",
            "index": 9,
            "size": 300,
            "root": reader.record(1).root.hex(),
            "models": [
                {
                    "token": 3,
                    "name": "classifier",
                    "relation": "trained_on",
                    "grade": "stated",
                    "publisher": accounts[1].address,
                    "transcript": None,
                },
                {
                    "token": 4,
                    "name": "tuned",
                    "relation": "validated_on",
                    "grade": "stated",
                    "publisher": accounts[1].address,
                    "transcript": None,
                },
            ],
        }
        assert second["verdict"] == "absent"
