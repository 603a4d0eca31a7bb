"""The page's verifier, in JavaScript, compared with the vectors, the library and the contract."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alithis.chain.queries import DERIVES
from alithis.errors import AlithisError, ProofError, SourceError
from alithis.forms import hashing
from alithis.forms import text as texts
from alithis.forms.form import Form
from alithis.forms.keyed import PublisherKey
from alithis.ipfs.cid import Cid
from alithis.manifest import merkle, metadata, proof
from alithis.manifest.proof import Exclusion, Inclusion, Subject
from alithis.manifest.reader import Manifest
from alithis.manifest.terms import Relation
from alithis.manifest.transcript import Input, Transcript
from alithis.verify.grade import Endpoint, Statement, evidence
from helpers import artifacts, javascript, pictures, reference
from helpers.abi import Account, Contract
from helpers.anvil import run_anvil
from helpers.forgeries import flip, forgeries, leaves, mint_tree, verify_all
from helpers.paths import VECTOR_FILES
from helpers.session import examples
from helpers.strategies import leaf_sets

VECTORS = VECTOR_FILES
FORMS = json.loads((VECTORS / "forms.json").read_text())
KEYED = json.loads((VECTORS / "keyed.json").read_text())
EXAMPLE = json.loads((VECTORS / "manifest.json").read_text())
TREES = json.loads((VECTORS / "merkle.json").read_text())
EXACT_IN_JAVASCRIPT = 2**53
PICTURES = st.one_of(
    st.builds(
        pictures.Sort,
        width=st.integers(1, 17),
        height=st.integers(1, 17),
        type=st.just(kind),
        depth=st.sampled_from(depths),
        interlaced=st.booleans(),
        transparent=transparent,
    )
    for kind, depths, transparent in (
        (pictures.GREY, [1, 2, 4, 8], st.booleans()),
        (pictures.COLOUR, [8], st.booleans()),
        (pictures.PALETTE, [1, 2, 4, 8], st.booleans()),
        (pictures.GREY_ALPHA, [8], st.just(False)),
        (pictures.COLOUR_ALPHA, [8], st.just(False)),
    )
)
"""All kinds of PNG with samples of at most 8 bits."""
PATHS = st.lists(st.binary(min_size=32, max_size=32), max_size=9)


@pytest.fixture(scope="module")
def page() -> Iterator[javascript.Verifier]:
    with javascript.running() as verifier:
        yield verifier


@pytest.fixture(scope="module")
def registry() -> Iterator[Contract]:
    """A registry on anvil."""
    with run_anvil() as node:
        yield node.deploy()


@pytest.fixture(scope="module")
def owner(registry) -> Account:
    return registry.chain.accounts[0]


def hexes(values):
    return [value.hex() for value in values]


def sample(size):
    return sorted(hashlib.sha256(str(number).encode()).digest() for number in range(size))


def files_of(folder: Path, manifest: Manifest) -> dict[str, str]:
    names = [entry.name for entry in manifest.metadata.files if entry.name[0] in "lt"]
    return {name: (folder / name).read_bytes().hex() for name in names}


class TestVectors:
    @pytest.mark.parametrize("tree", TREES["trees"], ids=lambda tree: str(tree["size"]))
    def test_paths_and_roots(self, page, tree):
        found = sample(tree["size"])
        for path in tree["paths"]:
            index = path["index"]
            asked = {"leaf": found[index].hex(), "index": index, "size": tree["size"]}
            assert page.ask("root", **asked, path=path["path"]) == tree["root"]
            if tree["size"] <= 1000:
                built = page.ask(
                    "path", leaves=hexes(found), index=index, frontier=tree["frontier"]
                )
                assert built == path["path"]

    def test_certificate_transparency(self, page):
        vectors = TREES["certificate_transparency"]
        for path in vectors["paths"]:
            found = page.ask("root", leaf=vectors["leaves"][path["index"]], **path)
            assert found == vectors["roots"][path["size"] - 1]
        with pytest.raises(javascript.RefusedError, match="32 bytes"):
            page.ask("inclusion", root="00" * 32, size=1, leaf="", index=0, path=[])

    @pytest.mark.parametrize("form", FORMS["text"], ids=lambda form: form["name"])
    def test_texts(self, page, form):
        asked = {"data": form["stored"], "form": {"name": "text"}}
        if form.get("refused"):
            assert not page.holds("digest", **asked)
        else:
            assert page.ask("digest", **asked) == form["sha256"]

    @pytest.mark.parametrize(
        "form", EXAMPLE["pixels"], ids=lambda form: f"{form['name']} {form['mode']}"
    )
    def test_pixels(self, page, form):
        asked = {"data": form["png"], "form": {"name": "pixels", "mode": form["mode"]}}
        if form.get("refused"):
            assert not page.holds("digest", **asked)
        else:
            assert page.ask("digest", **asked) == form["sha256"]

    def test_keyed_leaves(self, page):
        for key in KEYED["keys"]:
            for item in key["items"]:
                found = page.ask("leaf", key=item["item_key"], digest=item["digest"])
                assert found == item["leaf"]

    def test_the_example(self, page):
        stated = EXAMPLE["example"]
        commitment = {"root": stated["root"], "size": stated["size"]}
        assert page.holds("inclusion", **commitment, **stated["inclusion"])
        sides = {side: stated["absence"][side] for side in ("left", "right")}
        absent = {key: stated["absence"][key] for key in ("leaf", "index")}
        assert page.holds("exclusion", **commitment, **absent, **sides)

    def test_proofs_from_a_manifest_equal_those_of_the_library(self, page):
        folder = VECTORS / "manifest"
        manifest = Manifest.open(folder)
        data = (folder / metadata.FILE).read_bytes()
        stated = page.ask("metadata", data=data.hex())
        assert stated["root"] == manifest.metadata.root.hex()
        assert stated["digest"] == manifest.metadata.digest.hex()
        assert stated["size"] == 300
        assert [entry["name"] for entry in stated["files"]] == [
            entry.name for entry in manifest.metadata.files
        ]
        asked = [*sample(300), *(hashlib.sha256(b"no %d" % n).digest() for n in range(50))]
        answers = page.ask(
            "prove",
            metadata=data.hex(),
            files=files_of(folder, manifest),
            leaves=b"".join(asked).hex(),
        )
        for leaf, answer in zip(asked, answers, strict=True):
            assert proof.load(answer["proof"].encode())[0] == manifest.prove(leaf)


def test_cids_of_raw_blocks(page):
    for number in range(20):
        digest = hashlib.sha256(bytes([number])).digest()
        assert page.ask("cid", digest=digest.hex()) == str(Cid.raw(digest))


class TestDifferential:
    """Random proofs, valid and altered: JavaScript, Python and Solidity must agree."""

    @settings(max_examples=examples(15))
    @given(size=st.integers(1, 300), seed=st.integers(0, 2**32), data=st.data())
    @example(size=1, seed=0, data=None)
    @example(size=256, seed=0, data=None)
    def test_inclusion(self, page, registry, owner, size, seed, data):
        tree = leaves(size, seed)
        index = data.draw(st.integers(0, size - 1)) if data else size - 1
        root, path = reference.mth(tree), reference.path(index, tree)
        proofs = {"true": (tree[index], index, path)}
        proofs |= dict(forgeries(random.Random(seed), tree, index, path))
        token = mint_tree(registry, owner, root, size)
        on_chain = verify_all(registry, [(token, *each) for each in proofs.values()])
        for (name, (leaf, at, nodes)), solidity in zip(proofs.items(), on_chain, strict=True):
            assert solidity == (name == "true")
            assert python_includes(root, size, leaf, at, nodes) == solidity, name
            asked = {"leaf": leaf.hex(), "index": at, "path": hexes(nodes)}
            if at < EXACT_IN_JAVASCRIPT:
                said = page.holds("inclusion", root=root.hex(), size=size, **asked)
                assert said == solidity, name

    @settings(max_examples=examples(25))
    @given(tree=leaf_sets(max_size=70), data=st.data())
    def test_absence(self, page, registry, owner, tree, data):
        root, size = reference.mth(tree), len(tree)
        leaf = data.draw(st.one_of(st.sampled_from(tree), st.binary(min_size=32, max_size=32)))
        index = sum(each < leaf for each in tree)
        index += data.draw(st.sampled_from([0, 0, 0, 1, -1]))
        left, right = (neighbour(tree, at) for at in (index - 1, index))
        left, right = (data.draw(altered(side)) for side in (left, right))
        if index < 0:
            return  # cannot be written down for the contract
        # The contract takes 32 zero bytes and no path where there is no neighbour. In a tree of the
        # one leaf of zeros these are its neighbour.
        absent = (bytes(32), [])
        before, after = left or absent, right or absent
        token = mint_tree(registry, owner, root, size)
        solidity = registry.verifyExclusion(token, leaf, index, *before, *after)
        assert solidity == python_excludes(
            root,
            size,
            leaf,
            index,
            None if index == 0 and before == absent else before,
            None if index == size and after == absent else after,
        )
        sides = {
            name: side and {"leaf": side[0].hex(), "path": hexes(side[1])}
            for name, side in (("left", left), ("right", right))
        }
        said = page.holds(
            "exclusion", root=root.hex(), size=size, leaf=leaf.hex(), index=index, **sides
        )
        assert said == python_excludes(root, size, leaf, index, left, right)

    @settings(max_examples=examples(200))
    @given(data=st.data(), tree=leaf_sets(max_size=20))
    def test_proof_files(self, page, data, tree):
        """Proof files are written by Python, altered as text, and read by both."""
        leaf = data.draw(st.one_of(st.sampled_from(tree), st.binary(min_size=32, max_size=32)))
        given = proof_of(tree, leaf)
        name = data.draw(st.text(max_size=8).filter(str.isprintable))
        written = bytearray(
            proof.dump(given, Subject(name=name, chain=data.draw(st.integers(0, 9))))
        )
        for _ in range(data.draw(st.integers(0, 2))):
            at = data.draw(st.integers(0, len(written) - 1))
            written[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        root = reference.mth(tree)
        try:
            found, _ = proof.load(bytes(written))
            found.check(root, len(tree))
        except AlithisError:
            found = None
        asked = {"data": bytes(written).hex(), "root": root.hex(), "size": len(tree)}
        assert page.holds("proof", **asked) == (found is not None)
        if found is not None:
            assert proof.load(page.ask("proof", **asked).encode())[0] == found

    @settings(max_examples=examples(300))
    @given(text=st.text(max_size=12))
    def test_texts(self, page, text):
        asked = {"data": text.encode("utf-8", "surrogatepass").hex(), "form": {"name": "text"}}
        try:
            expected = hashlib.sha256(texts.text(text)).hexdigest()
        except SourceError:
            return  # a newer Unicode version in Node may know these characters
        assert page.ask("digest", **asked) == expected

    @pytest.mark.parametrize("marks", ["\u0301" * 1001, "\u0301\u0334" * 501, "\u0345" * 1001])
    def test_texts_with_long_runs_of_marks_are_refused(self, page, marks):
        with pytest.raises(SourceError):
            texts.text("a" + marks)
        asked = {"data": f"a{marks}".encode().hex(), "form": {"name": "text"}}
        assert not page.holds("digest", **asked)

    def test_long_runs_of_marks_with_combining_class_0_are_allowed(self, page):
        text = "a" + "\u0903" * 1001  # DEVANAGARI SIGN VISARGA: spacing, class 0
        asked = {"data": text.encode().hex(), "form": {"name": "text"}}
        expected = hashlib.sha256(texts.text(text)).hexdigest()
        assert page.ask("digest", **asked) == expected

    @settings(max_examples=examples(300))
    @given(sort=PICTURES, seed=st.integers(0, 2**32), mode=st.sampled_from(["L", "RGB", "RGBA"]))
    def test_pictures(self, page, sort, seed, mode):
        """Pillow and the page decode each kind of PNG to the same samples."""
        data = pictures.write(sort, seed)
        asked = {"data": data.hex(), "form": {"name": "pixels", "mode": mode}}
        try:
            expected = hashing.of_bytes(Form("pixels", mode=mode).canonical(data)).hex()
        except SourceError:
            assert not page.holds("digest", **asked)
        else:
            assert page.ask("digest", **asked) == expected

    @settings(max_examples=examples(100))
    @given(data=st.data())
    def test_damaged_pictures(self, page, data):
        """If the page decodes a damaged picture, Pillow decodes it to the same samples."""
        written = bytearray(pictures.write(data.draw(PICTURES), data.draw(st.integers(0, 99))))
        at = data.draw(st.integers(0, len(written) - 1))
        written[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        for mode in ("L", "RGB", "RGBA"):
            asked = {"data": written.hex(), "form": {"name": "pixels", "mode": mode}}
            if page.holds("digest", **asked):
                found = hashing.of_bytes(Form("pixels", mode=mode).canonical(bytes(written)))
                assert page.ask("digest", **asked) == found.hex()

    @given(size=st.tuples(st.integers(1, 9), st.integers(1, 9)), colour=st.booleans())
    def test_netpbm(self, page, size, colour):
        width, height = size
        samples = random.Random(width * height).randbytes(width * height * (3 if colour else 1))
        data = b"P%d\n# by hand\n%d %d\n255\n" % (6 if colour else 5, width, height) + samples
        mode = "RGB" if colour else "L"
        expected = hashing.of_bytes(Form("pixels", mode=mode).canonical(data)).hex()
        assert expected == hashlib.sha256(samples).hexdigest()
        form = {"name": "pixels", "mode": mode}
        assert page.ask("digest", data=data.hex(), form=form) == expected

    @settings(max_examples=examples(150))
    @given(data=st.data())
    def test_altered_metadata(self, page, data):
        """Both accept it, or both refuse it."""
        whole = (VECTORS / "manifest" / metadata.FILE).read_bytes()
        written = bytearray(whole)
        for _ in range(data.draw(st.integers(1, 2))):
            at = data.draw(st.integers(max(0, whole.find(b'"alithis"')), len(written) - 1))
            written[at : at + data.draw(st.integers(0, 2))] = data.draw(
                st.one_of(st.binary(max_size=1), st.sampled_from([b"0", b"1", b'"', b",", b"a"]))
            )
        try:
            stated = metadata.load(bytes(written))
            taken = merkle.fold(stated.frontier) == stated.root
        except AlithisError:
            taken = False
        assert page.holds("metadata", data=bytes(written).hex()) == taken


class TestLineage:
    @settings(max_examples=examples(200))
    @given(data=st.data(), count=st.integers(1, 12))
    def test_what_was_made_from_a_token(self, page, data, count):
        link = st.tuples(st.integers(2, 12), st.integers(1, 11), st.sampled_from(list(Relation)))
        drawn = data.draw(st.lists(link, max_size=25, unique=True))
        links = [each for each in drawn if each[1] < each[0] <= count]
        begin = data.draw(st.integers(1, count))
        found = page.ask("made", count=count, links=links, id=begin)
        made, waiting = set(), [begin]
        while waiting:
            target = waiting.pop()
            newer = {each[0] for each in links if each[1] == target and each[2] in DERIVES}
            waiting += newer - made
            made |= newer
        direct = {(each[0], each[2]) for each in links if each[1] == begin}
        direct = {each for each in direct if each[1] != Relation.SUPERSEDES}
        assert {token for token, way in found if len(way) > 1 or way[0] in DERIVES} == made
        assert {(token, way[0]) for token, way in found if len(way) == 1} == direct
        for _, way in found:
            assert len(way) == 1 or set(way) <= set(DERIVES)


class Plain:
    """A file that is not local: the library reads only the runs that a look-up needs."""

    def __init__(self, data):
        self.data, self.size = data, len(data)

    def read(self, offset, length):
        return self.data[offset : offset + length]


def plain(folder, entry):
    return Plain((folder / entry.name).read_bytes())


class TestLookup:
    def test_large_manifest_takes_few_reads(self, page, tmp_path):
        manifest = artifacts.build_random(tmp_path / "m.alithis", 70_000)
        rng = random.Random(1)
        present = rng.sample(list(manifest.leaves()), 50)
        asked = present + [rng.randbytes(32) for _ in range(50)]
        asked += [bytes(32), b"\xff" * 32]
        answers = page.ask(
            "prove",
            metadata=(tmp_path / "m.alithis" / metadata.FILE).read_bytes().hex(),
            files=files_of(tmp_path / "m.alithis", manifest),
            leaves=b"".join(asked).hex(),
        )
        for leaf, answer in zip(asked, answers, strict=True):
            assert proof.load(answer["proof"].encode())[0] == manifest.prove(leaf)
            assert answer["reads"] <= 8
            assert answer["bytes"] <= 64 * 1024

    def test_skewed_leaves_stop_at_the_limit_of_reads(self, page, tmp_path):
        """A hostile publisher: nearly all leaves begin alike, so guesses by value are wrong."""
        crowd = sorted(bytes(12) + hashlib.sha256(b"%d" % n).digest()[:20] for n in range(300_000))
        manifest = artifacts.build_as_given(tmp_path / "m.alithis", [*crowd, b"\xff" * 32])
        asked = {
            "metadata": (tmp_path / "m.alithis" / metadata.FILE).read_bytes().hex(),
            "files": files_of(tmp_path / "m.alithis", manifest),
            "leaves": crowd[123_456].hex(),
        }
        with pytest.raises(javascript.RefusedError, match="not found within 8 reads"):
            page.ask("prove", **asked)

    @pytest.mark.parametrize("count", [1, 2, 3, 6, 200, 256, 257, 600])
    def test_leaves_out_of_order_are_treated_as_by_the_library(self, page, tmp_path, count):
        """Each has the same proof, or is refused, whether the leaf is there or not."""
        tree = sample(count)
        rng = random.Random(count)
        hidden = rng.randrange(count)
        orders = [tree, tree[::-1], [*tree[:hidden], *tree[hidden + 1 :], tree[hidden]]]
        for number, order in enumerate(orders):
            folder = tmp_path / str(number)
            manifest = artifacts.build_as_given(folder, order)
            files, data = files_of(folder, manifest), (folder / metadata.FILE).read_bytes()
            for leaf in [tree[hidden], *rng.sample(tree, min(count, 5)), rng.randbytes(32)]:
                asked = {"metadata": data.hex(), "files": files, "leaves": leaf.hex()}
                remote = Manifest(data, partial(plain, folder))
                try:
                    ours = remote.prove(leaf)
                except AlithisError as error:
                    with pytest.raises(javascript.RefusedError, match=re.escape(str(error))):
                        page.ask("prove", **asked)
                    continue
                (theirs,) = page.ask("prove", **asked)
                assert proof.load(theirs["proof"].encode())[0] == ours
                assert theirs["ordered"] == remote.ordered

    def test_damaged_leaves_give_no_proof(self, page, tmp_path):
        manifest = artifacts.build_random(tmp_path / "m.alithis", 3000)
        files = files_of(tmp_path / "m.alithis", manifest)
        data = (tmp_path / "m.alithis" / metadata.FILE).read_bytes().hex()
        leaf = list(manifest.leaves())[1234]
        assert page.holds("prove", metadata=data, files=files, leaves=leaf.hex())
        damaged = bytearray.fromhex(files["leaves"])
        damaged[1235 * 32 + 31] ^= 1
        files["leaves"] = damaged.hex()
        assert not page.holds("prove", metadata=data, files=files, leaves=leaf.hex())


few = st.integers(0, 2)


class TestTranscripts:
    """Compares the two rules at random; tests/unit/test_grade.py has the important cases."""

    @pytest.fixture(scope="class")
    def document(self, tmp_path_factory):
        """metadata.json of a model."""
        made = artifacts.build(tmp_path_factory.mktemp("model") / "m", [b"w"], kind="model")
        return json.loads(json.dumps(made.metadata.document))

    @settings(max_examples=examples(200))
    @given(few, few, few, st.sampled_from((b"r", b"s")), st.none() | st.integers(0, 5))
    def test_the_page_grades_as_the_library_does(
        self, page, document, seen, unseen, foreign, root, given
    ):
        """The dataset has two data points and the root rrr…."""
        size = seen + foreign
        recorded = Transcript(root * 32 if size else None, size, seen, unseen, foreign, given)
        stated = Input("trained_on", "rows", bytes(32), recorded)
        document["alithis"]["inputs"] = [stated.as_object()]
        data = json.dumps(document).encode()
        model = metadata.load(data)
        source = Endpoint.of_metadata(model)
        target = Endpoint(bytes(32), "dataset", "sha256", 2, b"r" * 32)
        ours = evidence("trained_on", source, target, Statement.of(model), countersigned=False)
        theirs = page.ask(
            "grade",
            link={"relation": "trained_on", "countersigned": False},
            source=hexed(source),
            target=hexed(target),
            metadata=data.hex(),
        )
        assert theirs["grade"] == ours.grade


def hexed(end: Endpoint) -> dict[str, object]:
    return {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in asdict(end).items()
    }


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-8"])
def test_proof_files_in_other_encodings_are_recognised(page, encoding):
    text = proof.dump(Inclusion(bytes(32), 0, ()), Subject()).decode()
    data = text.encode(encoding)
    ours = proof.looks_like_proof(data)
    assert page.ask("looks", data=data.hex()).startswith(ours)
    assert page.ask("looks", data=b"{}".hex()) is proof.looks_like_proof(b"{}") is None


def test_an_opening_of_another_leaf_is_refused(page):
    key = PublisherKey(bytes(32))
    digest = hashlib.sha256(b"secret").digest()
    leaf = key.leaf(digest)
    opened = Inclusion(leaf, 0, (), proof.Opening(digest, key.item_key(digest)))
    forged = Inclusion(leaf, 0, (), proof.Opening(digest, bytes(32)))
    root = merkle.leaf_hash(leaf).hex()
    for each, holds in ((opened, True), (forged, False)):
        data = proof.dump(each, Subject()).hex()
        assert page.holds("proof", data=data, root=root, size=1) == holds


def python_includes(root, size, leaf, index, path):
    try:
        merkle.verify_inclusion(root, size, leaf, index, path)
    except ProofError:
        return False
    return True


def python_excludes(root, size, leaf, index, left, right):
    left, right = left or (None, ()), right or (None, ())
    try:
        merkle.verify_exclusion(root, size, leaf, index, *left, *right)
    except ProofError:
        return False
    return True


def neighbour(tree, index):
    return (tree[index], reference.path(index, tree)) if 0 <= index < len(tree) else None


def altered(side):
    """One side of a proof of absence: mostly valid, else altered as a forger might."""
    if side is None:
        return st.one_of(st.none(), st.none(), st.tuples(st.just(bytes(32)), PATHS))
    leaf, path = side
    changes = [side, side, side, (flip(leaf, 3), path), (leaf, path[:-1]), (leaf, [*path, leaf])]
    changes += [(leaf, path[::-1]), (leaf, [flip(node, 200) for node in path]), None]
    return st.sampled_from(changes)


def proof_of(tree, leaf):
    index = sum(each < leaf for each in tree)
    if leaf in tree:
        return Inclusion(leaf, index, tuple(reference.path(index, tree)))
    sides = [
        Inclusion(tree[at], at, tuple(reference.path(at, tree))) if 0 <= at < len(tree) else None
        for at in (index - 1, index)
    ]
    return Exclusion(leaf, index, *sides)
