"""CAR files: read by npm's @ipld/car and ipfs-car, theirs read by us, and attacks."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alithis.errors import FormatError, IntegrityError, SourceError, StorageError
from alithis.ipfs import car, unixfs
from alithis.ipfs import cid as cids
from alithis.ipfs.car import Archive, LocalFile
from alithis.ipfs.cid import (
    CHUNK_SIZE,
    DAG_PB,
    UNIXFS_V1_2025,
    Cid,
    Dag,
    DagNode,
    Profile,
    join,
    varint,
)
from alithis.storage.store import Store, local_files
from helpers.artifacts import build
from helpers.commands import refused, run, run_json
from helpers.paths import HELPERS, ROOT
from helpers.peers import find_node

TOOLS = HELPERS / "ipfs.mjs"
IPFS_CAR = ROOT / "node_modules" / "ipfs-car" / "bin.js"


def node(*arguments, cwd=ROOT):
    """Runs a JavaScript tool, and returns what it prints."""
    result = subprocess.run(
        [find_node(), *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def local_file(path, content):
    path.write_bytes(content)
    return LocalFile(path.name, cids.of_file(path), path, len(content))


def raw(content):
    return Cid.raw(hashlib.sha256(content).digest()), content


def archive(path, roots, blocks):
    """Writes a CAR of any blocks at all."""
    sections = (varint(len(bytes(cid)) + len(block)) + bytes(cid) + block for cid, block in blocks)
    path.write_bytes(car.header(roots) + b"".join(sections))
    return path


def above(*children, version=1):
    """A node of a file over blocks (their CID, tree size and file size)."""
    made, block = join([DagNode(*child) for child in children], version)
    return made, block


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def manifest(tmp_path):
    build(tmp_path / "photos.alithis", [str(number).encode() for number in range(600)])
    return tmp_path / "photos.alithis"


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


class TestOthers:
    """The JavaScript implementations, run for real."""

    SIZES = (0, 1, 1 << 18, (1 << 18) + 1, CHUNK_SIZE, CHUNK_SIZE + 1, 60_000_000)

    @pytest.mark.parametrize("profile", cids.PROFILES, ids=lambda profile: profile.name)
    def test_cids_by_each_profile_are_those_of_the_importer(self, profile, tmp_path):
        paths = []
        for size in self.SIZES:
            paths.append(tmp_path / str(size))
            paths[-1].write_bytes(hashlib.shake_256(b"%d" % size).digest(1 << 16) * (size >> 16))
            with paths[-1].open("ab") as file:
                file.write(bytes(size & 0xFFFF))
        options = {
            "cidVersion": profile.version,
            "rawLeaves": profile.raw_leaves,
            "chunkSize": profile.chunk_size,
            "maxChildrenPerNode": profile.max_links,
        }
        if profile.name.startswith("unixfs-v"):
            options = {"profile": profile.name}

        found = node(TOOLS, "import", json.dumps(options), *paths).split()

        for path, expected in zip(paths, found, strict=True):
            dag = Dag(profile)
            for block in cids.blocks(path):
                dag.update(block)
            assert str(dag.finish()) == expected
            assert cids.recognise(path, Cid.parse(expected)) is not None

    def test_a_manifest_is_read_by_ipld_car(self, manifest, tmp_path):
        files = local_files(manifest)
        car.write(files, tmp_path / "m.car")

        found = json.loads(node(TOOLS, "car", tmp_path / "m.car"))

        assert found["roots"] == [str(local.cid) for local in files]
        assert set(found["roots"]) <= set(found["cids"])

    def test_a_file_of_many_blocks_is_unpacked_by_ipfs_car(self, tmp_path):
        local = local_file(tmp_path / "large", os.urandom(3 * CHUNK_SIZE + 5))
        car.write([local], tmp_path / "x.car")

        assert node(IPFS_CAR, "roots", tmp_path / "x.car").split() == [str(local.cid)]
        assert len(node(IPFS_CAR, "blocks", tmp_path / "x.car").split()) == 5
        node(IPFS_CAR, "unpack", tmp_path / "x.car", "-o", tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == local.path.read_bytes()

    def test_a_manifest_packed_by_ipfs_car_is_imported(self, manifest, store, tmp_path):
        node(IPFS_CAR, "pack", manifest, "-o", tmp_path / "m.car")

        found = store.import_car(tmp_path / "m.car")

        assert found.manifests == (cids.of_file(manifest / "metadata.json"),)
        store.get_manifest(found.manifests[0], tmp_path / "copy")
        assert contents(tmp_path / "copy") == contents(manifest)

    def test_a_file_packed_by_ipfs_car_has_the_same_cid(self, store, tmp_path):
        local = local_file(tmp_path / "large", os.urandom(2 * CHUNK_SIZE + 5))
        node(IPFS_CAR, "pack", local.path, "--no-wrap", "-o", tmp_path / "x.car")

        assert store.import_car(tmp_path / "x.car").files == {local.cid: local.cid}


class TestWriting:
    @given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6))
    def test_the_length_is_known_before_writing(self, tmp_path_factory, sizes):
        folder = tmp_path_factory.mktemp("files")
        files = [local_file(folder / str(at), bytes([at]) * size) for at, size in enumerate(sizes)]
        whole = car.Car(files)
        assert len(b"".join(whole)) == whole.length
        assert b"".join(whole) == b"".join(whole)  # it can be read again

    def test_blocks_are_written_depth_first(self, monkeypatch, tmp_path):
        for module in (cids, unixfs):
            monkeypatch.setattr(module, "CHUNK_SIZE", 4)
            monkeypatch.setattr(module, "MAX_LINKS", 2)
        data = bytes(range(30))
        dag = Dag(Profile("small", 1, True, 4, 2))
        dag.update(data)
        leaves = b"".join(hashlib.sha256(data[at : at + 4]).digest() for at in range(0, 30, 4))

        outline = unixfs.Outline(leaves, len(data))
        blocks = list(outline.blocks(lambda offset, length: data[offset : offset + length]))

        assert outline.root == dag.finish() == blocks[0][0]
        assert sorted(map(len, dict(blocks).values())) == sorted(outline.lengths())
        seen = {outline.root}
        for cid, block in blocks:
            assert cid in seen
            if cid.codec == DAG_PB:
                seen |= {link.cid for link in unixfs.decode(cid, block).links}
        known = dict(blocks)
        assert b"".join(unixfs.content(outline.root, known.__getitem__, 30)) == data

    @pytest.mark.parametrize("count", [1, 23, 24, 255, 256, 300])
    def test_headers_of_many_roots_read_back(self, count, tmp_path):
        blocks = [raw(b"%d" % number) for number in range(count)]
        roots = [cid for cid, _ in blocks]
        with Archive(archive(tmp_path / "x.car", roots, blocks)) as found:
            assert list(found.roots) == roots

    def test_a_file_that_does_not_match_its_cid_is_not_written(self, tmp_path):
        local = local_file(tmp_path / "a", b"hello")
        (tmp_path / "a").write_bytes(b"jello")
        with pytest.raises(IntegrityError, match=f"expected {local.cid}"):
            car.write([local], tmp_path / "x.car")
        assert not (tmp_path / "x.car").exists()

    def test_a_file_that_changes_while_it_is_written_is_an_error(self, tmp_path):
        local = local_file(tmp_path / "a", b"hello")
        whole = car.Car([local])
        (tmp_path / "a").write_bytes(b"jello")
        with pytest.raises(IntegrityError, match="block bafk"):
            list(whole)


class TestImport:
    def test_an_exported_manifest_is_imported_unchanged(self, manifest, store, tmp_path):
        files = local_files(manifest)
        car.write(files, tmp_path / "m.car")

        found = store.import_car(tmp_path / "m.car")

        assert (found.manifests, found.files) == ((files[0].cid,), {})
        store.get_manifest(files[0].cid, tmp_path / "copy")
        assert contents(tmp_path / "copy") == contents(manifest)
        assert sorted(store.cids(), key=str) == sorted((local.cid for local in files), key=str)

    def test_withheld_items_stay_withheld(self, manifest, store, tmp_path):
        (manifest / "items.parquet").unlink()
        car.write(local_files(manifest), tmp_path / "m.car")
        store.import_car(tmp_path / "m.car")
        (listed,) = store.manifests().manifests
        assert listed.withheld == ("items.parquet",)

    def test_a_manifest_without_its_leaves_is_not_listed(self, manifest, store, tmp_path):
        files = [local for local in local_files(manifest) if local.name != "leaves"]
        car.write(files, tmp_path / "m.car")
        with pytest.raises(FormatError, match=r"block bafk.* is missing"):
            store.import_car(tmp_path / "m.car")
        assert store.manifests().manifests == ()

    def test_a_manifest_that_lies_about_a_file_is_not_listed(self, manifest, store, tmp_path):
        document = json.loads((manifest / "metadata.json").read_bytes())
        document["distribution"][0]["sha256"] = "00" * 32
        (manifest / "metadata.json").write_text(json.dumps(document))
        car.write(local_files(manifest), tmp_path / "m.car")
        with pytest.raises(IntegrityError, match="SHA-256 of"):
            store.import_car(tmp_path / "m.car")
        assert store.manifests().manifests == ()

    @pytest.mark.parametrize("profile", cids.PROFILES[1:], ids=lambda profile: profile.name)
    def test_a_file_cut_in_another_way_is_stored_under_our_cid(self, profile, store, tmp_path):
        data = os.urandom(3 << 18)
        made = []
        for at in range(0, len(data), 1 << 18):
            leaf = cids._leaf_block(data[at : at + (1 << 18)])
            made.append((cids.block_cid(leaf, profile.version), leaf))
        root, block = above(
            *((cid, len(leaf), 1 << 18) for cid, leaf in made), version=profile.version
        )
        path = archive(tmp_path / "x.car", [root.cid], [*made, (root.cid, block)])

        assert store.import_car(path).files == {root.cid: cids.of_bytes(data)}

    def test_blocks_that_no_root_leads_to_are_not_stored(self, store, tmp_path):
        asked, other = raw(b"asked"), raw(b"not asked")
        store.import_car(archive(tmp_path / "x.car", [asked[0]], [other, asked]))
        assert list(store.cids()) == [asked[0]]

    def test_packed_sizes_are_read(self, tmp_path, store):
        """As protobuf's later versions write them, though the specification does not."""
        leaves = [raw(b"hello"), raw(b"there" * 40)]
        _, block = above(*((cid, len(leaf), len(leaf)) for cid, leaf in leaves))
        packed = varint(5) + varint(200)
        plain = b"\x20" + varint(5) + b"\x20" + varint(200)
        data = b"\x08\x02\x18" + varint(205)
        assert block.endswith(data + plain)
        other = data + b"\x22" + varint(len(packed)) + packed
        links = block[: -len(data + plain) - 2]
        block = links + b"\x0a" + varint(len(other)) + other
        cid = cids.block_cid(block)

        found = store.import_car(archive(tmp_path / "x.car", [cid], [*leaves, (cid, block)]))

        assert found.files == {cid: cids.of_bytes(b"hello" + b"there" * 40)}

    def test_a_store_that_cannot_be_written(self, tmp_path, manifest):
        car.write(local_files(manifest), tmp_path / "m.car")
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(StorageError, match="cannot store"):
            Store(tmp_path / "file").import_car(tmp_path / "m.car")


class TestHostile:
    @pytest.mark.parametrize(
        ("data", "said"),
        [
            pytest.param(b"", "not a CAR", id="empty"),
            pytest.param(b"\x00", "not a CAR", id="header of nothing"),
            pytest.param(b"<html>", "truncated|not a CAR", id="HTML"),
            pytest.param(varint(1 << 40) + b"x", "not a CAR", id="giant header"),
            pytest.param(b"\xff" * 20, "is damaged before byte 9", id="endless number"),
            pytest.param(b"\x0a\xa1\x67version\x02", "version 2", id="version 2"),
            pytest.param(b"\x0a\xa1\x67version", "cut short|not a CARv1", id="cut header"),
            pytest.param(car.header([]), "not a CARv1 with roots", id="no roots"),
            pytest.param(b"\x01\x81", "not a CARv1", id="other CBOR"),
            pytest.param(b"\x06" + b"\x81" * 6, "not a CARv1", id="nested CBOR"),
        ],
    )
    def test_invalid_headers_are_refused(self, data, said, tmp_path):
        (tmp_path / "x.car").write_bytes(data)
        with pytest.raises(FormatError, match=said) as caught:
            Archive(tmp_path / "x.car")
        assert str(caught.value).startswith(str(tmp_path / "x.car"))

    @given(data=st.binary(max_size=200))
    def test_any_bytes_are_refused_in_one_line(self, tmp_path_factory, data):
        path = tmp_path_factory.mktemp("any") / "x.car"
        path.write_bytes(car.header([raw(b"")[0]]) + data)
        said = ""
        try:
            Archive(path).close()
        except (FormatError, IntegrityError) as error:
            said = str(error)
        assert "\n" not in said

    def test_a_file_truncated_anywhere_is_refused(self, tmp_path):
        path = archive(tmp_path / "x.car", [raw(b"hello")[0]], [raw(b"hello"), raw(b"there")])
        whole = path.read_bytes()
        first = len(car.header([raw(b"hello")[0]])) + 42
        for end in range(1, len(whole)):
            path.write_bytes(whole[:end])
            if end in (first, first - 42):  # what is left is whole, and lacks a block
                with Archive(path) as found:
                    assert found.count < 2
                continue
            with pytest.raises((FormatError, IntegrityError)):
                Archive(path)

    def test_an_altered_block_is_refused(self, tmp_path, store):
        path = archive(tmp_path / "x.car", [raw(b"hello")[0]], [(raw(b"hello")[0], b"jello")])
        with pytest.raises(IntegrityError, match="block bafk"):
            store.import_car(path)

    def test_a_block_altered_between_two_reads_is_refused(self, tmp_path):
        path = archive(tmp_path / "x.car", [raw(b"hello")[0]], [raw(b"hello")])
        with Archive(path) as found:
            path.write_bytes(path.read_bytes()[:-1] + b"0")
            with pytest.raises(IntegrityError):
                list(found.content(raw(b"hello")[0]))

    def test_a_giant_block_is_not_read(self, tmp_path):
        cid = raw(b"")[0]
        path = tmp_path / "x.car"
        path.write_bytes(car.header([cid]) + varint(1 << 40) + bytes(cid))
        with pytest.raises(FormatError, match="more than 2,097,152 bytes"):
            Archive(path)

    def test_too_many_blocks_are_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(car, "MAX_BLOCKS", 2)
        blocks = [raw(b"%d" % number) for number in range(3)]
        with pytest.raises(FormatError, match="more than 2 blocks"):
            Archive(archive(tmp_path / "x.car", [blocks[0][0]], blocks))

    @pytest.mark.parametrize("codec", [0x71, 0x0129])
    def test_blocks_that_do_not_belong_to_files_are_refused(self, tmp_path, codec):
        cid = raw(b"hello")[0]
        section = b"\x01" + varint(codec) + bytes(cid)[2:] + b"hello"
        path = tmp_path / "x.car"
        path.write_bytes(car.header([cid]) + varint(len(section)) + section)
        with pytest.raises(FormatError, match=r"not the CID of a file|with codec 0x71"):
            Archive(path)

    def test_a_bomb_of_repeated_blocks_is_refused(self, tmp_path, store):
        cid, block = raw(bytes(CHUNK_SIZE))
        blocks, size, tree = [(cid, block)], len(block), len(block)
        for _ in range(4):
            above_it, block = above(*[(cid, tree, size)] * 64)
            cid, tree, size = above_it
            blocks.append((cid, block))
        path = archive(tmp_path / "bomb.car", [cid], blocks)

        with pytest.raises(FormatError, match="at most 1,073,741,824 are read"):
            store.import_car(path)
        assert list(store.cids()) == []

    def test_a_deep_tree_is_refused(self, tmp_path, store):
        cid, block = raw(b"x")
        blocks, tree = [(cid, block)], 1
        for _ in range(20):
            (cid, tree, _), block = above((cid, tree, 1))
            blocks.append((cid, block))
        with pytest.raises(FormatError, match="more than 16 nodes deep"):
            store.import_car(archive(tmp_path / "x.car", [cid], blocks))

    def test_a_file_of_too_many_blocks_is_refused(self, tmp_path, store, monkeypatch):
        monkeypatch.setattr(unixfs, "MAX_BLOCKS", 100)
        leaf, block = raw(b"x")
        root, above_it = above(*[(leaf, 1, 1)] * 200)
        with pytest.raises(FormatError, match="the file has more than 100 blocks"):
            store.import_car(
                archive(tmp_path / "x.car", [root.cid], [(leaf, block), (root.cid, above_it)])
            )

    @pytest.mark.parametrize("size", [0, 4, 6])
    def test_sizes_that_do_not_add_up_are_refused(self, tmp_path, store, size):
        leaf, block = raw(b"hello")
        root, above_it = above((leaf, 5, size), (leaf, 5, 5))
        with pytest.raises(FormatError, match=r"parent states|must not be zero"):
            store.import_car(
                archive(tmp_path / "x.car", [root.cid], [(leaf, block), (root.cid, above_it)])
            )

    @pytest.mark.parametrize(
        "block",
        [
            pytest.param(b"", id="no data"),
            pytest.param(b"\x0a\x02\x08\x07", id="unknown UnixFS type"),
            pytest.param(b"\x0a\x02\x08\x05", id="HAMT directory"),
            pytest.param(b"\x0a\x02\x08\x04", id="symbolic link"),
            pytest.param(b"\x0a\x04\x08\x02\x18\x05", id="a size with nothing behind it"),
            pytest.param(b"\x0a\xff\x01", id="cut"),
            pytest.param(b"\x12\x02\x12\x00\x0a\x02\x08\x02", id="link without CID"),
            pytest.param(b"\x0d\x00\x00\x00\x00", id="other wire type"),
            pytest.param(b"\x0a\x02\x08\x02\x0a\x02\x08\x02", id="data twice"),
            pytest.param(b"\xff" * 12, id="endless number"),
        ],
    )
    def test_malformed_nodes_are_refused(self, block, tmp_path, store):
        cid = cids.block_cid(block)
        with pytest.raises(FormatError, match=f"block {cid}: is not a UnixFS file or directory"):
            store.import_car(archive(tmp_path / "x.car", [cid], [(cid, block)]))

    def test_a_directory_in_place_of_a_file_is_refused(self, tmp_path, store):
        directory = b"\x0a\x02\x08\x01"
        cid = cids.block_cid(directory)
        with pytest.raises(FormatError, match="is a directory, not a file"):
            store.import_car(archive(tmp_path / "x.car", [cid], [(cid, directory)]))

    def test_a_missing_block_or_file_is_an_error(self, tmp_path, store):
        with pytest.raises(FormatError, match="is missing"):
            store.import_car(archive(tmp_path / "x.car", [raw(b"a")[0]], [raw(b"b")]))
        with pytest.raises(SourceError, match="cannot be read"):
            store.import_car(tmp_path / "gone.car")
        with pytest.raises(SourceError, match="not a regular file"):
            store.import_car(tmp_path)


class TestCommands:
    @pytest.fixture(autouse=True)
    def here(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("ALITHIS_STORE", str(tmp_path / "store"))

    def test_a_manifest_is_moved_to_another_store(self, manifest):
        exported = run_json("store", "export", manifest, "-o", "m.car")
        root = exported["roots"]["metadata.json"]
        assert exported["bytes"] == Path("m.car").stat().st_size

        assert run_json("store", "import", "m.car") == {"manifests": [root], "files": {}}
        run("store", "get", root, "-o", "copy.alithis")
        assert contents(Path("copy.alithis")) == contents(manifest)
        assert run("store", "import", "m.car").stdout == f"m.car: manifest stored as {root}\n"
        (listed,) = run_json("store", "ls")["manifests"]
        assert listed["cid"] == root

        shutil.rmtree(manifest)
        run("store", "export", f"ipfs://{root}", "-o", "again.car")
        assert Path("again.car").read_bytes() == Path("m.car").read_bytes()

    def test_a_single_file(self, manifest):
        run("store", "put", manifest)
        leaves = cids.of_file(manifest / "leaves")

        assert f"root {leaves}" in run("store", "export", leaves, "-o", "l.car").stdout

        assert run("store", "import", "l.car").stdout == f"l.car: file stored as {leaves}\n"

    def test_a_file_that_is_not_an_archive_is_refused(self, manifest):
        assert "not a CAR" in refused("store", "import", manifest / "metadata.json")
        assert "gone.car: cannot be read" in refused("store", "import", "gone.car")
        assert "cannot be written" in refused("store", "export", manifest, "-o", "gone/x.car")

    def test_a_file_and_its_cids(self, manifest):
        leaves = manifest / "leaves"
        ours = str(cids.of_file(leaves))
        assert run("store", "cid", leaves).stdout == f"{ours}\n"
        assert run_json("store", "cid", leaves) == {"file": str(leaves), "cid": ours}
        for profile in cids.PROFILES:
            dag = Dag(profile)
            dag.update(leaves.read_bytes())
            cid = dag.finish()
            found = run_json("store", "cid", leaves, "--is", cid)
            assert found["match"]
            # One chunk of raw leaves is the same block, however long chunks may be.
            assert found["profile"] in (profile.name, UNIXFS_V1_2025.name, "unixfs-v0-2015")
        other = cids.of_bytes(b"other")
        assert not run_json("store", "cid", leaves, "--is", other, status=1)["match"]
        assert (
            "does not have this CID" in run("store", "cid", leaves, "--is", other, status=1).stdout
        )
        assert "unixfs-v1-2025" in run("store", "cid", leaves, "--is", ours).stdout
        assert "not the CID of a file" in refused("store", "cid", leaves, "--is", "Qm")

    def test_a_large_file_in_one_raw_block(self, tmp_path):
        (tmp_path / "large").write_bytes(bytes(CHUNK_SIZE + 1))
        one = Cid.raw(hashlib.sha256(bytes(CHUNK_SIZE + 1)).digest())
        assert run_json("store", "cid", "large", "--is", one)["profile"] == "single-block"
