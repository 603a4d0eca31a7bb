"""Keyed leaves: an item key shows one leaf; without the publisher's key none can be computed."""

from __future__ import annotations

import hmac
import json
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alithis.errors import FormatError, IntegrityError, ProofError, SourceError
from alithis.forms import keyed
from alithis.forms.form import BYTES
from alithis.forms.hashing import SIZE, of_bytes
from alithis.forms.keyed import PublisherKey, obtain_key, read_key
from alithis.manifest import builder, merkle, metadata, proof, sorter
from alithis.manifest.audit import audit
from alithis.manifest.metadata import Description
from alithis.manifest.privacy import advice
from alithis.manifest.proof import Inclusion, Opening
from alithis.manifest.reader import DataPoints, Manifest
from alithis.verify.steps import verify_manifest, verify_proof
from alithis.verify.target import Target
from alithis.verify.verdict import ABSENT, INCLUDED, UNVERIFIABLE
from helpers import reference
from helpers.artifacts import build
from helpers.commands import refused, run, run_json
from helpers.paths import VECTOR_FILES
from helpers.strategies import digests

VECTOR_FILE = json.loads((VECTOR_FILES / "keyed.json").read_text())
VECTORS = VECTOR_FILE["keys"]
KEY, OTHER = PublisherKey(b"k" * SIZE), PublisherKey(b"o" * SIZE)
ROWS = [b"patient %d" % number for number in range(300)]  # more than a tile of them

keys = st.builds(PublisherKey, digests)


class TestScheme:
    @pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["key"][:8])
    def test_vectors(self, vector):
        key = PublisherKey(bytes.fromhex(vector["key"]))
        assert key.check.hex() == vector["key_check"]
        for item in vector["items"]:
            digest, item_key, leaf = (
                bytes.fromhex(item[name]) for name in ("digest", "item_key", "leaf")
            )
            assert key.item_key(digest) == item_key
            assert (key.leaf(digest), keyed.leaf(item_key, digest)) == (leaf, leaf)

    @pytest.mark.parametrize("vector", VECTOR_FILE["proofs"], ids=lambda vector: vector["about"])
    def test_proofs(self, vector):
        """The leaves are those of the garden's digests with the last key."""
        leaves = sorted(bytes.fromhex(item["leaf"]) for item in VECTORS[-1]["items"])
        root = bytes.fromhex(vector["root"])
        assert reference.mth(leaves) == root
        loaded, _ = proof.load(json.dumps(vector["proof"]).encode())
        if vector["holds"]:
            loaded.check(root, len(leaves))
        else:
            with pytest.raises(ProofError, match="the item key and digest give leaf"):
                loaded.check(root, len(leaves))

    @given(key=keys, values=st.lists(digests, max_size=20))
    def test_many_leaves_at_once_are_those_of_single_calls(self, key, values):
        assert key.leaves(b"".join(values)) == b"".join(map(key.leaf, values))

    @given(key=keys, digest=digests)
    def test_leaf_is_the_hmac_of_the_specification(self, key, digest):
        item_key = hmac.new(key.secret, b"alithis item key" + digest, "sha256").digest()
        assert key.leaf(digest) == hmac.new(item_key, digest, "sha256").digest()

    @given(key=keys, other=keys)
    def test_only_its_own_key_check_is_accepted(self, key, other):
        key.require(key.check)
        if other != key:
            with pytest.raises(IntegrityError, match="not the one the leaves were made with"):
                key.require(other.check)
        with pytest.raises(IntegrityError):
            key.require(None)

    @pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
    def test_a_key_has_32_bytes(self, length):
        """HMAC would pad it: two keys would make the same leaves."""
        with pytest.raises(SourceError, match=f"32 bytes, not {length}"):
            PublisherKey(bytes(length))

    def test_repr_does_not_show_the_key(self):
        assert KEY.secret.hex() not in repr(KEY)
        assert repr(KEY.secret) not in repr(KEY)
        with pytest.raises(IntegrityError) as caught:
            KEY.require(OTHER.check)
        assert KEY.secret.hex() not in str(caught.value)


class TestKeyFile:
    def test_a_new_key_file_is_readable_by_its_owner_only(self, tmp_path):
        before = os.umask(0)
        try:
            key, made = obtain_key(tmp_path / "key")
        finally:
            os.umask(before)

        assert made
        assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
        assert (tmp_path / "key").read_text() == key.secret.hex() + "\n"
        assert [path.name for path in tmp_path.iterdir()] == ["key"]

    def test_a_key_file_is_read_again(self, tmp_path):
        key, _ = obtain_key(tmp_path / "key")

        assert obtain_key(tmp_path / "key") == (key, False)
        assert read_key(tmp_path / "key") == key

    def test_each_new_key_differs(self, tmp_path):
        assert obtain_key(tmp_path / "a")[0] != obtain_key(tmp_path / "b")[0]

    def test_processes_that_create_a_key_at_once_get_the_same(self, tmp_path):
        barrier, found = threading.Barrier(8), []

        def obtain():
            barrier.wait()
            found.append(obtain_key(tmp_path / "key"))

        threads = [threading.Thread(target=obtain) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len({key for key, _ in found}) == 1
        assert [made for _, made in found].count(True) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["key"]

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o777])
    def test_a_key_file_that_others_may_read_is_refused(self, tmp_path, mode):
        obtain_key(tmp_path / "key")
        (tmp_path / "key").chmod(mode)

        for read in (read_key, obtain_key):
            with pytest.raises(SourceError, match=rf"may read this key \(mode {mode:o}\)"):
                read(tmp_path / "key")

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"0" * 63,
            b"0" * 65,
            b"0" * 64 + b"\n\n",
            b"0" * 64 + b"\r\n",
            b"A" * 64,
            b"g" * 64,
            b"\0" * 32,
            b"secret word",
        ],
    )
    def test_a_damaged_key_file_is_refused(self, tmp_path, content):
        (tmp_path / "key").write_bytes(content)
        (tmp_path / "key").chmod(0o600)

        with pytest.raises(SourceError, match="must contain 64 hexadecimal digits") as caught:
            read_key(tmp_path / "key")
        if content:
            assert content.decode() not in str(caught.value).replace(str(tmp_path), "")

    def test_a_key_path_that_is_not_a_file_is_refused(self, tmp_path):
        with pytest.raises(SourceError, match="No such file"):
            read_key(tmp_path / "key")
        with pytest.raises(SourceError, match="not a regular file"):
            obtain_key(tmp_path)
        with pytest.raises(SourceError, match="cannot be written: No such file"):
            obtain_key(tmp_path / "no" / "key")
        (tmp_path / "link").symlink_to(tmp_path / "nowhere")
        with pytest.raises(SourceError, match="No such file"):
            obtain_key(tmp_path / "link")


class TestOpening:
    @given(key=keys, digest=digests, other=digests)
    def test_an_opening_opens_only_its_own_leaf(self, key, digest, other):
        opening = Opening(digest, key.item_key(digest))
        opening.check(key.leaf(digest))
        if other != key.leaf(digest):
            with pytest.raises(ProofError, match="the item key and digest give leaf"):
                opening.check(other)

    @given(key=keys, digest=digests, bit=st.integers(0, 511))
    def test_any_changed_bit_of_an_opening_is_refused(self, key, digest, bit):
        both = bytearray(digest + key.item_key(digest))
        both[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProofError):
            Opening(bytes(both[:SIZE]), bytes(both[SIZE:])).check(key.leaf(digest))

    def test_opening_is_checked_with_the_proof(self):
        leaf = KEY.leaf(bytes(SIZE))
        root = merkle.root(leaf)
        Inclusion(leaf, 0, (), Opening(bytes(SIZE), KEY.item_key(bytes(SIZE)))).check(root, 1)
        with pytest.raises(ProofError, match="the item key and digest give leaf"):
            Inclusion(leaf, 0, (), Opening(bytes(SIZE), bytes(SIZE))).check(root, 1)

    @pytest.mark.parametrize(
        ("opening", "said"),
        [
            ([], "opening must be an object"),
            ({}, "digest must be 64"),
            ({"digest": "00" * SIZE}, "key must be 64"),
            ({"digest": "00" * SIZE, "key": "AA" * SIZE}, "key must be 64"),
            ({"digest": "00" * 31, "key": "00" * SIZE}, "digest must be 64"),
        ],
    )
    def test_refuses_a_malformed_opening(self, opening, said):
        document = json.loads(proof.dump(Inclusion(bytes(SIZE), 0, ()), proof.Subject()))
        with pytest.raises(FormatError, match=said):
            proof.load(json.dumps(document | {"opening": opening}).encode())

    def test_an_opening_is_refused_with_a_proof_of_absence(self, dataset):
        """Some key makes any leaf out of any digest, so it would show nothing."""
        found = Manifest.open(dataset).prove(KEY.leaf(of_bytes(b"nobody")))
        document = json.loads(proof.dump(found, proof.Subject()))
        document["opening"] = {"digest": "00" * SIZE, "key": "00" * SIZE}
        with pytest.raises(FormatError, match="opening is allowed with inclusion only"):
            proof.load(json.dumps(document).encode())


@pytest.fixture
def dataset(tmp_path):
    """Return a manifest of keyed leaves."""
    build(tmp_path / "patients", ROWS, key=KEY)
    return tmp_path / "patients"


def asked(folder, content, *, key=None, proof_file=None):
    (folder / "row").write_bytes(content)
    return Target.parse(str(folder / "row"), key=key, proof_file=proof_file)


def proved(folder, manifest, content, *, key=KEY):
    """Return a proof file about a row, as the publisher writes it."""
    opened = Manifest.open(manifest)
    target = Target("", digest=of_bytes(content), key=key)
    found = opened.prove(target.leaf(opened.metadata))
    if isinstance(found, Inclusion):
        found = Inclusion(found.leaf, found.index, found.path, target.opening(opened.metadata))
    (folder / "proof").write_bytes(proof.dump(found, proof.Subject()))
    return folder / "proof"


def leaf_step(result):
    return {step.step: step for step in result.steps}["leaf"].detail


class TestManifest:
    def test_metadata_states_the_scheme_and_the_key_check(self, dataset):
        data = Manifest.open(dataset).metadata

        assert (data.scheme, data.key_check) == ("keyed", KEY.check)
        assert sorted(map(KEY.leaf, map(of_bytes, ROWS))) == list(Manifest.open(dataset).leaves())
        assert all(step.ok for step in audit(dataset))

    def test_manifest_contains_neither_key_nor_digest(self, dataset):
        published = b"".join(path.read_bytes() for path in dataset.rglob("*") if path.is_file())
        for secret in (KEY.secret, *map(of_bytes, ROWS)):
            assert secret not in published
            assert secret.hex().encode() not in published

    @pytest.mark.parametrize("value", [None, "00", "AA" * SIZE, 7])
    def test_refuses_metadata_without_a_key_check(self, dataset, value):
        document = json.loads((dataset / "metadata.json").read_text())
        document["alithis"]["keyCheck"] = value
        with pytest.raises(FormatError, match="keyCheck must be 64"):
            metadata.load(json.dumps(document).encode())

    def test_metadata_of_plain_leaves_has_no_key_check(self, tmp_path):
        plain = build(tmp_path / "plain", ROWS).metadata
        assert (plain.scheme, plain.key_check) == ("sha256", None)
        assert "keyCheck" not in plain.document["alithis"]


class TestVerifying:
    def test_publisher_can_verify_with_the_key(self, dataset, tmp_path):
        inside = verify_manifest(asked(tmp_path, ROWS[7], key=KEY), dataset)
        outside = verify_manifest(asked(tmp_path, b"nobody", key=KEY), dataset)

        assert (inside.verdict, outside.verdict) == (INCLUDED, ABSENT)
        assert leaf_step(inside) == (
            f"{KEY.leaf(of_bytes(ROWS[7])).hex()}, canonical form bytes, keyed"
        )

    @pytest.mark.parametrize("content", [ROWS[7], b"nobody"])
    def test_nothing_is_verified_without_the_key(self, dataset, tmp_path, content):
        result = verify_manifest(asked(tmp_path, content), dataset)

        assert result.verdict == UNVERIFIABLE
        assert "only their publisher can compute them" in leaf_step(result)

    @pytest.mark.parametrize("content", [ROWS[7], b"nobody"])
    def test_with_another_key_nothing_is_absent(self, dataset, tmp_path, content):
        result = verify_manifest(asked(tmp_path, content, key=OTHER), dataset)

        assert result.verdict == UNVERIFIABLE
        assert "not the one the leaves were made with" in leaf_step(result)

    def test_an_unneeded_key_is_ignored(self, tmp_path):
        build(tmp_path / "plain", ROWS)
        assert (
            verify_manifest(asked(tmp_path, ROWS[7], key=OTHER), tmp_path / "plain").verdict
            == INCLUDED
        )


class TestProofs:
    def test_a_proof_opens_one_leaf_for_the_owner_of_the_file(self, dataset, tmp_path):
        file = proved(tmp_path, dataset, ROWS[7])
        result = verify_manifest(asked(tmp_path, ROWS[7], proof_file=file), dataset)

        assert result.verdict == INCLUDED

    def test_proof_file_contains_the_item_key_only(self, dataset, tmp_path):
        written = proved(tmp_path, dataset, ROWS[7]).read_text()

        assert KEY.item_key(of_bytes(ROWS[7])).hex() in written
        assert KEY.secret.hex() not in written
        assert not [row for row in ROWS if row != ROWS[7] and of_bytes(row).hex() in written]

    @pytest.mark.parametrize("content", [ROWS[8], b"nobody"])
    def test_a_proof_is_refused_for_another_file(self, dataset, tmp_path, content):
        file = proved(tmp_path, dataset, ROWS[7])
        for result in (
            verify_manifest(asked(tmp_path, content, proof_file=file), dataset),
            self.alone(dataset, asked(tmp_path, content, proof_file=file)),
        ):
            assert result.verdict == UNVERIFIABLE
            assert leaf_step(result).startswith("digest in the proof file's opening")

    def test_a_proof_needs_only_root_and_size(self, dataset, tmp_path):
        file = proved(tmp_path, dataset, ROWS[7])

        assert self.alone(dataset, asked(tmp_path, ROWS[7], proof_file=file)).verdict == INCLUDED

    def test_forged_item_key_is_refused(self, dataset, tmp_path):
        file = proved(tmp_path, dataset, ROWS[7])
        file.write_text(
            file.read_text().replace(KEY.item_key(of_bytes(ROWS[7])).hex(), "00" * SIZE)
        )
        for target in (
            asked(tmp_path, ROWS[7], proof_file=file),
            Target.parse(str(file)),
        ):
            result = verify_manifest(target, dataset)
            assert result.verdict == UNVERIFIABLE
            assert leaf_step(result).startswith("the item key and digest give leaf")

    def test_a_proof_without_an_opening_needs_the_publishers_key(self, dataset, tmp_path):
        found = Manifest.open(dataset).prove(KEY.leaf(of_bytes(ROWS[7])))
        file = tmp_path / "proof"
        file.write_bytes(proof.dump(found, proof.Subject()))

        without = verify_manifest(asked(tmp_path, ROWS[7], proof_file=file), dataset)
        with_key = verify_manifest(asked(tmp_path, ROWS[7], proof_file=file, key=KEY), dataset)
        other = verify_manifest(asked(tmp_path, ROWS[8], proof_file=file, key=KEY), dataset)
        assert [each.verdict for each in (without, with_key, other)] == [
            UNVERIFIABLE,
            INCLUDED,
            UNVERIFIABLE,
        ]

    def test_a_proof_alone_shows_the_digest_that_it_opens(self, dataset, tmp_path):
        result = verify_manifest(Target.parse(str(proved(tmp_path, dataset, ROWS[7]))), dataset)

        assert result.verdict == INCLUDED
        assert leaf_step(result).endswith(
            f"whose opening shows its digest: {of_bytes(ROWS[7]).hex()}"
        )

    def test_absence_of_a_keyed_leaf_needs_the_file_and_the_key(self, dataset, tmp_path):
        file = proved(tmp_path, dataset, b"nobody")
        with_key = asked(tmp_path, b"nobody", proof_file=file, key=KEY)

        assert verify_manifest(with_key, dataset).verdict == ABSENT
        for target in (
            Target.parse(str(file)),
            Target.parse(str(file), key=KEY),
            asked(tmp_path, b"nobody", proof_file=file),
            asked(tmp_path, b"nobody", proof_file=file, key=OTHER),
            asked(tmp_path, b"somebody", proof_file=file, key=KEY),
        ):
            assert verify_manifest(target, dataset).verdict == UNVERIFIABLE

    def test_absence_of_a_file_needs_the_metadata(self, dataset, tmp_path):
        """Without, neither form nor scheme are known, and any file would seem absent."""
        file = proved(tmp_path, dataset, b"nobody")
        result = self.alone(dataset, asked(tmp_path, b"nobody", proof_file=file, key=KEY))

        assert result.verdict == UNVERIFIABLE
        assert "give --manifest" in leaf_step(result)

    def test_an_opening_of_a_plain_leaf_is_refused(self, tmp_path):
        plain = build(tmp_path / "plain", [KEY.leaf(of_bytes(ROWS[7]))]).metadata
        leaf = next(Manifest.open(tmp_path / "plain").leaves())
        opening = Opening(of_bytes(ROWS[7]), KEY.item_key(of_bytes(ROWS[7])))
        (tmp_path / "proof").write_bytes(
            proof.dump(Inclusion(leaf, 0, (), opening), proof.Subject())
        )
        assert plain.scheme == "sha256"
        for target in (
            Target.parse(str(tmp_path / "proof")),
            asked(tmp_path, ROWS[7], proof_file=tmp_path / "proof"),
        ):
            result = verify_manifest(target, tmp_path / "plain")
            assert (result.verdict, leaf_step(result)) == (
                UNVERIFIABLE,
                "the proof file contains an item key, but these leaves are digests without keys",
            )

    def test_a_proof_of_a_plain_leaf_is_refused_for_another_file(self, tmp_path):
        plain = tmp_path / "plain"
        build(plain, ROWS)
        file = proved(tmp_path, plain, ROWS[7], key=None)

        assert verify_manifest(asked(tmp_path, ROWS[7], proof_file=file), plain).verdict == INCLUDED
        assert self.alone(plain, asked(tmp_path, ROWS[7], proof_file=file)).verdict == INCLUDED
        for result in (
            verify_manifest(asked(tmp_path, ROWS[8], proof_file=file), plain),
            self.alone(plain, asked(tmp_path, ROWS[8], proof_file=file)),
        ):
            assert result.verdict == UNVERIFIABLE
            assert leaf_step(result).startswith("the proof file's leaf")

    @staticmethod
    def alone(manifest, target):
        data = Manifest.open(manifest).metadata
        return verify_proof(target, root=data.root, size=data.size)

    def test_a_second_proof_file_is_refused_as_target(self, dataset, tmp_path):
        file = proved(tmp_path, dataset, ROWS[7])
        with pytest.raises(SourceError, match="is itself a proof file"):
            Target.parse(str(file), proof_file=file)
        with pytest.raises(FormatError, match="row: is not a proof file"):
            asked(tmp_path, ROWS[7], proof_file=tmp_path / "row")


@pytest.fixture
def patients(tmp_path, monkeypatch):
    """Return a folder of short records, in an environment without our variables."""
    for name in ("ALITHIS_RPC", "ALITHIS_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "patients").mkdir()
    for number in range(20):
        (tmp_path / "patients" / f"{number}").write_bytes(b"born in %d" % (1950 + number))
    return Path("patients")


class TestCommands:
    def test_commands_of_publisher_data_subject_and_auditor_work(self, patients):
        made = run("manifest", patients, "--key-file", "key")
        assert made.stderr.splitlines()[0] == (
            "key: made a new key. Keep a copy: a lost key cannot be replaced"
        )
        proved = run("prove", "patients.alithis", "patients/7", "--key-file", "key", "-o", "7.json")
        assert proved.stdout.startswith("7.json: proof of inclusion, leaf ")

        verify = ["verify", "patients/7", "--manifest", "patients.alithis"]
        assert "included, at index" in run(*verify, "--proof", "7.json").stdout
        assert "included, at index" in run(*verify, "--key-file", "key").stdout
        assert "FAIL leaf" in run(*verify, status=2).stdout
        Path("8").write_bytes(b"born in 1999")
        absent = ["verify", "8", "--manifest", "patients.alithis", "--key-file", "key"]
        assert "absent from the committed 20 leaves" in run(*absent, status=1).stdout

        run("manifest", patients, "-o", "again", "--key-file", "another")
        wrong = run_json("verify", "8", "--manifest", "again", "--key-file", "key", status=2)
        assert wrong["results"][0]["verdict"] == UNVERIFIABLE

    def test_no_command_shows_the_key(self, patients):
        shown = run("manifest", patients, "--key-file", "key")
        secret = Path("key").read_text().strip()
        again = run_json("manifest", patients, "--key-file", "key", "--force")
        prove = run("prove", "patients.alithis", "patients/7", "--key-file", "key")

        for text in (shown.stdout, shown.stderr, json.dumps(again), prove.stdout, prove.stderr):
            assert secret not in text

    def test_same_key_gives_the_same_manifest(self, patients):
        roots = {
            run_json("manifest", patients, "-o", out, "--key-file", "key", *workers)["root"]
            for out, workers in (("a", []), ("b", ["--workers", 1]))
        }
        assert len(roots) == 1
        assert run_json("manifest", patients, "-o", "c")["root"] not in roots

    @pytest.mark.parametrize("place", ["patients/key", "patients.alithis/key"])
    def test_the_key_is_kept_out_of_what_is_hashed_and_published(self, patients, place):
        assert "Keep the key in another folder" in refused(
            "manifest", patients, "--key-file", place
        )
        assert not Path(place).exists()

    def test_manifest_refuses_a_key_that_others_may_read(self, patients):
        run("manifest", patients, "--key-file", "key")
        Path("key").chmod(0o644)

        for words in (
            ["manifest", patients, "-o", "b", "--key-file", "key"],
            ["prove", "patients.alithis", "patients/7", "--key-file", "key"],
            ["verify", "patients/7", "--manifest", "patients.alithis", "--key-file", "key"],
        ):
            assert "may read this key (mode 644). Run chmod 600 on it" in refused(*words)
        assert not Path("b").exists()

    def test_reading_creates_no_key(self, patients):
        run("manifest", patients, "--key-file", "key")
        verify = ["verify", "patients/7", "--manifest", "patients.alithis", "--key-file", "other"]

        assert "other: cannot be read: No such file" in refused(*verify)
        assert not Path("other").exists()

    def test_proof_of_absence_needs_the_key_to_verify(self, patients):
        run("manifest", patients, "--key-file", "key")
        Path("8").write_bytes(b"born in 1999")
        words = ["8", "--key-file", "key"]
        told = run("prove", "patients.alithis", *words, "-o", "8.json")
        assert told.stdout.startswith("8.json: proof of absence, leaf ")
        assert told.stderr == ("note: only the publisher's key can show whose leaf this is\n")
        verify = ["verify", "8", "--proof", "8.json", "--manifest", "patients.alithis"]
        assert "absent" in run(*verify, "--key-file", "key", status=1).stdout
        assert "only their publisher" in run(*verify, status=2).stdout

    def test_prove_needs_the_key(self, patients):
        run("manifest", patients, "--key-file", "key")

        said = refused("prove", "patients.alithis", "patients/7")
        assert "only their publisher can compute them" in said

    def test_many_leaves_are_computed_by_the_workers(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        rows = (1 << 14) + 3
        header = b"\0\0\x08\x02" + rows.to_bytes(4, "big") + (3).to_bytes(4, "big")
        data = b"".join(number.to_bytes(3, "big") for number in range(rows))
        Path("rows").write_bytes(header + data)
        run("manifest", "rows", "--key-file", "key", "--workers", 2)

        key = read_key(Path("key"))
        wanted = sorted(key.leaf(of_bytes(data[at : at + 3])) for at in range(0, len(data), 3))
        assert (Path("rows.alithis") / "leaves").read_bytes() == b"".join(wanted)


class TestAuditing:
    """With the key and the data, an auditor can compute every leaf again."""

    AUDIT = ("audit", "patients.alithis", "--source", "patients")

    @pytest.fixture(autouse=True)
    def made(self, patients):
        run("manifest", patients, "--key-file", "key")

    def test_an_audit_with_the_source_passes(self):
        assert run(*self.AUDIT, "--key-file", "key").stdout.startswith("patients.alithis: sound")

    def test_audit_of_another_source_fails(self):
        Path("patients/7").write_bytes(b"born in 1999")
        steps = run_json(*self.AUDIT, "--key-file", "key", status=2)["steps"]
        assert [step["step"] for step in steps if not step["ok"]] == ["source"]

    def test_audit_without_the_key_or_with_another_fails(self, patients):
        run("manifest", patients, "-o", "other", "--key-file", "another")
        assert "--source requires --key-file" in refused(*self.AUDIT)
        said = refused(*self.AUDIT, "--key-file", "another")
        assert "not the one the leaves were made with" in said

    def test_audit_without_a_source_needs_no_key(self):
        Path("patients.alithis/items.parquet").unlink()
        run("audit", "patients.alithis", "--withheld")


def test_interrupted_work_is_resumed_with_the_same_key_only(patients):
    from alithis import readers
    from alithis.forms.pool import Pool
    from alithis.readers.stream import stream

    source = readers.open_source(patients)
    with Pool(1) as pool:
        plain, mine, other = (stream(source, pool, key).identity for key in (None, KEY, OTHER))
    assert plain
    assert len({plain, mine, other}) == 3
    assert KEY.secret.hex() not in mine


def out_of_space(*_):
    raise SourceError("No space left")


@pytest.mark.parametrize("command", ["manifest", "verify", "prove", "audit"])
@pytest.mark.parametrize("prefix", ["", "0x", "./"])
def test_key_given_as_a_file_name_is_not_repeated(patients, command, prefix):
    """The key must not get into a log, or become the name of a new key file."""
    run("manifest", patients, "--key-file", "key", "-o", "keyed")
    words = {
        "manifest": [patients, "-o", "other"],
        "verify": ["ab" * SIZE, "--manifest", "keyed"],
        "prove": ["keyed", "ab" * SIZE],
        "audit": ["keyed", "--source", patients],
    }
    before = sorted(Path().iterdir())
    result = run(command, *words[command], "--key-file", prefix + KEY.secret.hex(), status=2)
    assert "64 hexadecimal digits, like a key. Give the name of a file" in result.stderr
    assert KEY.secret.hex() not in result.output
    assert sorted(Path().iterdir()) == before


class TestWarning:
    """A publisher of plain digests that can be guessed gets one warning, on one line."""

    @staticmethod
    def said(folder, contents):
        folder.mkdir()
        for number, content in enumerate(contents):
            (folder / f"{number:04}").write_bytes(content)
        return run("manifest", folder).stderr

    def test_warns_of_short_data_points(self, patients):
        said = run("manifest", patients).stderr
        assert said.startswith("warning: 20 of 20 data points have at most 64 bytes.")
        assert "--key-file" in said
        assert said.count("\n") == 1

    @pytest.mark.parametrize(("short", "warned"), [(1, False), (2, True)])
    def test_one_short_data_point_in_a_hundred_is_enough(self, patients, short, warned):
        contents = [os.urandom(64 if number < short else 65) for number in range(200)]
        assert ("at most 64 bytes" in self.said(Path("mixed"), contents)) is warned

    def test_warns_of_many_repeats(self, patients):
        rows = [b'{"born": %d, "ward": "%s"}' % (n % 30, b"w" * 80) for n in range(40)]
        said = self.said(Path("rows"), rows)
        assert said.startswith("warning: 10 of 40 data points are repeats")

    def test_does_not_warn_of_copies_of_large_files(self, patients):
        assert self.said(Path("photos"), [os.urandom(1025)] * 3 + [os.urandom(1025)]) == ""

    def test_unknown_sizes_are_not_counted_as_small(self, tmp_path):
        """As in a list of digests."""
        items = DataPoints(bytes(2 * SIZE), ["a", "b"], [None, None])
        text = {"description": Description("m", ""), "form": BYTES}
        built = builder.build([items], tmp_path / "m", **text)
        assert advice(built, tmp_path / "m") is None

    def test_digests_of_an_interrupted_run_count(self, patients):
        """Else the warning speaks of fewer data points than the manifest has, or is not given."""
        folder = Path("mixed")
        self.said(folder, [b"short"] * 20)
        expected = run("manifest", folder, "--force").stderr

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sorter, "_PATIENCE", 0.0)  # a chunk after each batch
            patch.setattr(sorter.Sorter, "tables", out_of_space)
            assert "No space left" in run("manifest", folder, "--force", status=2).stderr
        resumed = run("manifest", folder, "--force").stderr

        assert "resuming after 20 data points" in resumed
        assert resumed.endswith(expected)
        assert "20 of 20 data points have at most 64 bytes" in expected

    def test_large_distinct_data_points_give_no_warning(self, patients):
        assert self.said(Path("photos"), [os.urandom(65) for _ in range(50)]) == ""

    def test_note_says_that_items_show_names(self, patients):
        said = run("manifest", patients, "--key-file", "key").stderr.splitlines()
        assert len(said) == 2
        assert said[1].startswith("note: patients.alithis/items.parquet holds names")
