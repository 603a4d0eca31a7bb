"""The local store: what a CID names is there whole, or not at all."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alithis.errors import (
    ChangedError,
    FormatError,
    IntegrityError,
    NotStoredError,
    SourceError,
    StorageError,
    VersionError,
)
from alithis.forms.form import BYTES
from alithis.ipfs import cid as cids
from alithis.ipfs.cid import Cid
from alithis.manifest import metadata
from alithis.manifest.metadata import Description, FileEntry
from alithis.storage.store import Store, StoredManifest
from helpers.artifacts import tree_with_tiles

LIMIT = 1 << 20
HELLO = Cid.raw(hashlib.sha256(b"hello").digest())


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "data" / "store")


def in_store(store):
    """Every regular file below the store's folder, relative to it."""
    files = (path for path in store.root.rglob("*") if path.is_file())
    return sorted(path.relative_to(store.root).as_posix() for path in files)


def place_of(store, cid):
    return store.root / "files" / str(cid)[-3:-1] / str(cid)


def make_manifest(folder, *, name="sample", count=600, kind="dataset", entries=None):
    """Write a manifest of the digests of 0, 1, 2, …; `entries` changes what metadata.json names."""
    rows = sorted(hashlib.sha256(str(number).encode()).digest() for number in range(count))
    leaves = b"".join(rows)
    tree, tiles = tree_with_tiles(leaves)
    contents = {"items.parquet": b"PAR1 of " + name.encode(), "leaves": leaves}
    contents |= {f"tiles/{level}": tile for level, tile in enumerate(tiles, 1)}
    (folder / "tiles").mkdir(parents=True)
    files = []
    for file, content in contents.items():
        (folder / file).write_bytes(content)
        found = cids.describe(folder / file)
        files.append(FileEntry(file, str(found.cid), found.sha256, found.size))
    data = metadata.compose(
        kind=kind,
        description=Description(name),
        form=BYTES,
        root=tree.root,
        size=tree.size,
        items=count,
        frontier=tree.frontier,
        files=entries(files) if entries else files,
        columns={},
    )
    (folder / "metadata.json").write_bytes(data)
    return folder


def contents_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


class TestFiles:
    @pytest.mark.parametrize("size", [0, 1, (1 << 20) + 1])
    def test_content_is_read_back_unchanged(self, store, tmp_path, size):
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_bytes(os.urandom(size))
        cid = store.put_file(source)
        assert cid == cids.of_file(source)
        found = store.get_file(cid, target)
        assert target.read_bytes() == source.read_bytes()
        assert found == cids.describe(source)

    def test_no_folder_is_created_before_the_first_file(self, store):
        assert not store.has(HELLO)
        assert list(store.cids()) == []
        assert store.manifests().manifests == ()
        assert not store.root.exists()

    def test_storing_twice_gives_one_file(self, store):
        assert store.put_bytes(b"hello") == store.put_bytes(b"hello") == HELLO
        assert in_store(store) == [f"files/{str(HELLO)[-3:-1]}/{HELLO}"]
        assert list(store.cids()) == [HELLO]

    def test_storing_again_repairs_a_damaged_file(self, store):
        place = place_of(store, store.put_bytes(b"hello"))
        place.chmod(0o644)
        place.write_bytes(b"jello")
        store.put_bytes(b"hello")
        assert store.read_bytes(HELLO, LIMIT) == b"hello"

    def test_stored_files_are_read_only(self, store):
        assert place_of(store, store.put_bytes(b"hello")).stat().st_mode & 0o222 == 0

    def test_files_are_spread_over_folders(self, store):
        stored = {store.put_bytes(bytes([number])) for number in range(100)}
        assert set(store.cids()) == stored
        assert len(list((store.root / "files").iterdir())) > 80

    def test_a_file_in_place_of_the_store_is_an_error(self, store):
        store.root.parent.mkdir()
        store.root.write_bytes(b"")
        with pytest.raises(StorageError, match=r"cannot read the store .*: Not a directory"):
            store.manifests()

    def test_foreign_files_are_not_listed(self, store):
        store.put_bytes(b"hello")
        shard = place_of(store, HELLO).parent
        (shard / "notes.txt").write_bytes(b"")
        (shard / HELLO.base16).write_bytes(b"hello")
        (store.root / "files" / "zz").mkdir()
        (store.root / "files" / "zz" / str(HELLO)).write_bytes(b"hello")
        (store.root / "files" / "README").write_bytes(b"")
        assert list(store.cids()) == [HELLO]

    def test_expected_cid_is_checked_before_anything_is_stored(self, store, tmp_path):
        (tmp_path / "file").write_bytes(b"jello")
        with pytest.raises(IntegrityError, match=f"expected {HELLO}, found bafk"):
            store.put_file(tmp_path / "file", expected=HELLO)
        with pytest.raises(IntegrityError):
            store.put_chunks([b"je", b"llo"], expected=HELLO)
        assert in_store(store) == []

    def test_a_file_with_the_expected_cid_is_stored(self, store):
        assert store.put_chunks([b"he", b"llo"], expected=HELLO) == HELLO

    def test_a_source_that_cannot_be_read(self, store, tmp_path):
        with pytest.raises(SourceError, match="gone: cannot be read"):
            store.put_file(tmp_path / "gone")
        assert in_store(store) == []

    def test_source_that_changes_while_it_is_copied_is_not_stored(self, store, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(bytes(2 << 20))
        chunks = cids.blocks(path)

        def changing():
            for chunk in chunks:
                os.utime(path, ns=(1, 1))
                yield chunk

        with pytest.raises(ChangedError):
            store.put_chunks(changing())
        assert in_store(store) == []

    def test_root_from_the_environment(self, tmp_path, monkeypatch):
        monkeypatch.setenv("ALITHIS_STORE", str(tmp_path / "elsewhere"))
        assert Store().root == tmp_path / "elsewhere"
        assert Store(tmp_path / "here").root == tmp_path / "here"

    def test_default_root_is_in_the_users_data(self, tmp_path, monkeypatch):
        monkeypatch.delenv("ALITHIS_STORE", raising=False)
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        monkeypatch.setenv("HOME", str(tmp_path))
        assert Store().root.name == "store"
        assert Store().root.is_relative_to(tmp_path)


class TestReading:
    @given(data=st.data(), content=st.binary(max_size=100))
    def test_ranges(self, tmp_path_factory, data, content):
        store = Store(tmp_path_factory.mktemp("store"))
        start = data.draw(st.integers(0, len(content)))
        length = data.draw(st.integers(0, len(content) - start))
        with store.open(store.put_bytes(content)) as file:
            assert file.size == len(content)
            assert file.read(start, length) == content[start : start + length]

    @pytest.mark.parametrize(
        ("offset", "length"), [(-1, 1), (0, 6), (5, 1), (6, 0), (0, -1), (2**70, 1), (0, 2**70)]
    )
    def test_range_outside_the_file(self, store, offset, length):
        with (
            store.open(store.put_bytes(b"hello")) as file,
            pytest.raises(StorageError, match="outside its 5"),
        ):
            file.read(offset, length)

    def test_a_closed_reader_refuses_to_read(self, store):
        file = store.open(store.put_bytes(b"hello"))
        file.close()
        file.close()
        with pytest.raises(StorageError, match="closed"):
            file.read(0, 1)

    def test_a_file_that_is_truncated_while_it_is_open(self, store):
        with store.open(store.put_bytes(b"hello")) as file:
            place_of(store, HELLO).chmod(0o644)
            os.truncate(place_of(store, HELLO), 2)
            assert file.read(0, 2) == b"he"
            with pytest.raises(StorageError, match="was truncated"):
                file.read(0, 5)

    def test_a_disk_that_fails_while_a_file_is_open(self, store):
        with store.open(store.put_bytes(b"hello")) as file:
            # Reading a folder gives EISDIR, as near to a failing disk as one comes without one.
            handle = os.open(store.root, os.O_RDONLY)
            os.dup2(handle, file._file.fileno())
            os.close(handle)
            with pytest.raises(StorageError, match="cannot be read"):
                file.read(0, 5)

    def test_content_that_is_not_stored_is_an_error(self, store, tmp_path):
        for read in (
            lambda: store.open(HELLO),
            lambda: store.read_bytes(HELLO, LIMIT),
            lambda: store.get_file(HELLO, tmp_path / "target"),
        ):
            with pytest.raises(NotStoredError, match=f"{HELLO} is not in the store"):
                read()
        assert not (tmp_path / "target").exists()

    def test_content_beyond_the_limit_is_not_read(self, store):
        store.put_bytes(b"hello")
        assert store.read_bytes(HELLO, 5) == b"hello"
        with pytest.raises(StorageError, match="5 bytes; at most 4"):
            store.read_bytes(HELLO, 4)

    def test_damaged_content_is_never_returned_whole(self, store, tmp_path):
        place = place_of(store, store.put_bytes(b"hello"))
        place.chmod(0o644)
        place.write_bytes(b"jello")
        with pytest.raises(IntegrityError, match=f"expected {HELLO}"):
            store.read_bytes(HELLO, LIMIT)
        with pytest.raises(IntegrityError, match=f"expected {HELLO}"):
            store.get_file(HELLO, tmp_path / "target")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]

    def test_get_replaces_a_file_only_after_the_check(self, store, tmp_path):
        target = tmp_path / "target"
        target.write_bytes(b"old")
        place = place_of(store, store.put_bytes(b"hello"))
        place.chmod(0o644)
        place.write_bytes(b"jello")
        with pytest.raises(IntegrityError):
            store.get_file(HELLO, target)
        assert target.read_bytes() == b"old"
        store.put_bytes(b"hello")
        store.get_file(HELLO, target)
        assert target.read_bytes() == b"hello"

    def test_a_target_in_a_missing_folder(self, store, tmp_path):
        store.put_bytes(b"hello")
        with pytest.raises(StorageError, match=r"cannot write .*target: No such file"):
            store.get_file(HELLO, tmp_path / "gone" / "target")

    def test_reading_writes_nothing(self, store, tmp_path):
        manifest = store.put_manifest(make_manifest(tmp_path / "m"))
        before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}
        assert store.has(manifest)
        store.read_bytes(manifest, LIMIT)
        store.get_manifest(manifest, tmp_path / "copy")
        assert len(store.manifests().manifests) == 1
        assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*")} == before


class TestFaults:
    def test_a_file_as_the_store_is_an_error(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        store = Store(tmp_path / "file")
        with pytest.raises(StorageError, match=r"^cannot store content in .*file: "):
            store.put_bytes(b"hello")
        assert not store.has(HELLO)
        with pytest.raises(StorageError):
            store.open(HELLO)

    def test_a_symlink_loop_as_the_store_is_an_error(self, tmp_path):
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        store = Store(tmp_path / "loop")
        with pytest.raises(StorageError, match="cannot read the store"):
            list(store.cids())
        with pytest.raises(StorageError):
            store.put_bytes(b"hello")

    def test_a_folder_in_place_of_a_file_is_an_error(self, store):
        place_of(store, HELLO).mkdir(parents=True)
        assert not store.has(HELLO)
        with pytest.raises(StorageError):
            store.open(HELLO)
        with pytest.raises(StorageError):
            store.put_bytes(b"hello")

    def test_a_full_disk_leaves_no_partial_file(self, store):
        # The kernel refuses to let a file of this process grow beyond the limit.
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
        try:
            with pytest.raises(StorageError, match=r"cannot store content in .*: File too large"):
                store.put_bytes(bytes(3 << 20))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert in_store(store) == []

    def test_a_put_that_is_killed_leaves_no_partial_file(self, store):
        code = (
            "import sys, time\n"
            "from alithis.storage.store import Store\n"
            "def chunks():\n"
            "    yield bytes(1 << 20)\n"
            "    print('half', flush=True)\n"
            "    time.sleep(60)\n"
            "Store(sys.argv[1]).put_chunks(chunks())\n"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(store.root)], stdout=subprocess.PIPE
        )
        with child, child.stdout:
            assert child.stdout.readline() == b"half\n"
            child.send_signal(signal.SIGKILL)
        (left,) = in_store(store)
        assert left.startswith("incoming/")
        assert list(store.cids()) == []

        store.put_bytes(b"hello")
        assert left in in_store(store), "it may be another process's that is at work"
        os.utime(store.root / left, ns=(1, 1))
        store.put_bytes(b"hello")
        assert left not in in_store(store)

    def test_two_processes_put_the_same_files_at_once(self, store, tmp_path):
        source = tmp_path / "source"
        source.write_bytes(os.urandom((2 << 20) + 7))
        code = (
            "import sys\n"
            "from alithis.storage.store import Store\n"
            "sys.stdin.readline()\n"
            "for _ in range(10):\n"
            "    print(Store(sys.argv[1]).put_file(sys.argv[2]))\n"
        )
        command = [sys.executable, "-c", code, str(store.root), str(source)]
        writers = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        for writer in writers:
            writer.stdin.write("go\n")
            writer.stdin.flush()
        outputs = [writer.communicate(timeout=60)[0] for writer in writers]
        assert [writer.returncode for writer in writers] == [0, 0]
        cid = cids.of_file(source)
        assert outputs == [f"{cid}\n" * 10] * 2
        assert store.read_bytes(cid, 4 << 20) == source.read_bytes()
        assert in_store(store) == [f"files/{str(cid)[-3:-1]}/{cid}"]


class TestManifests:
    @pytest.fixture
    def manifest(self, tmp_path):
        return make_manifest(tmp_path / "sample.alithis")

    @pytest.fixture
    def target(self, tmp_path):
        return tmp_path / "copy.alithis"

    def assert_nothing_written(self, target):
        assert not target.exists()
        assert [path.name for path in target.parent.iterdir() if path.name.startswith(".")] == []

    def test_put_then_get_gives_the_same_directory(self, store, manifest, target):
        cid = store.put_manifest(manifest)
        digest = hashlib.sha256((manifest / "metadata.json").read_bytes()).digest()
        assert cid == Cid.raw(digest)
        assert store.get_manifest(cid, target) == ()
        assert contents_of(target) == contents_of(manifest)
        store.get_manifest(digest, target.with_name("by digest"))
        assert contents_of(target.with_name("by digest")) == contents_of(manifest)

    def test_listing(self, store, tmp_path):
        dataset = make_manifest(tmp_path / "a", name="dataset of 600")
        model = make_manifest(tmp_path / "b", name="model of 3", count=3, kind="model")
        listed = {store.put_manifest(folder): folder for folder in (dataset, model, dataset)}
        listing = store.manifests()
        assert listing.problems == ()
        assert {(each.cid, each.name, each.kind, each.size) for each in listing.manifests} == {
            (cid, name, kind, size)
            for cid, (name, kind, size) in zip(
                listed,
                [("dataset of 600", "dataset", 600), ("model of 3", "model", 3)],
                strict=True,
            )
        }
        for each in listing.manifests:
            assert each.bytes == sum(map(len, contents_of(listed[each.cid]).values()))
            assert each.withheld == ()

    def test_withheld_items(self, store, manifest, target):
        (manifest / "items.parquet").unlink()
        cid = store.put_manifest(manifest)
        assert store.get_manifest(cid, target) == ("items.parquet",)
        assert contents_of(target) == contents_of(manifest)
        size = sum(map(len, contents_of(manifest).values()))
        assert store.manifests().manifests == (
            StoredManifest(cid, "sample", "dataset", 600, size, ("items.parquet",)),
        )

    def test_missing_leaves_are_not_withheld(self, store, manifest):
        (manifest / "leaves").unlink()
        with pytest.raises(SourceError, match="leaves: cannot be read"):
            store.put_manifest(manifest)
        assert store.manifests().manifests == ()

    def test_a_folder_without_metadata_is_refused(self, store, tmp_path):
        with pytest.raises(SourceError, match=r"metadata\.json: cannot be read"):
            store.put_manifest(tmp_path)

    def test_giant_metadata_is_not_read(self, store, manifest):
        with (manifest / "metadata.json").open("ab") as file:
            file.truncate(1 << 40)
        with pytest.raises(SourceError, match="more than 262144 bytes"):
            store.put_manifest(manifest)

    @pytest.mark.parametrize("name", ["items.parquet", "leaves", "tiles/1"])
    def test_an_altered_file_is_not_stored(self, store, manifest, name):
        data = (manifest / name).read_bytes()
        (manifest / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(IntegrityError, match=f"{name}: CID: expected bafk"):
            store.put_manifest(manifest)
        assert store.manifests().manifests == ()

    @pytest.mark.parametrize("name", ["leaves", "tiles/1"])
    def test_a_file_that_is_missing_from_the_store(self, store, manifest, target, name):
        cid = store.put_manifest(manifest)
        place_of(store, cids.of_file(manifest / name)).unlink()
        with pytest.raises(NotStoredError, match=f"{name} "):
            store.get_manifest(cid, target)
        self.assert_nothing_written(target)
        (problem,) = store.manifests().problems
        assert problem.startswith(f"{cid}: {name} ")

    @pytest.mark.parametrize("name", ["items.parquet", "leaves", "metadata.json"])
    def test_a_file_that_the_disk_damaged(self, store, manifest, target, name):
        cid = store.put_manifest(manifest)
        place = place_of(store, cids.of_file(manifest / name))
        place.chmod(0o644)
        place.write_bytes(b"{}")
        with pytest.raises(IntegrityError):
            store.get_manifest(cid, target)
        self.assert_nothing_written(target)

    @pytest.mark.parametrize("field", ["sha256", "size"])
    def test_metadata_that_contradicts_itself(self, store, tmp_path, target, field):
        wrong = {"sha256": bytes(32), "size": 1}[field]

        def lie(files):
            last = files[-1]
            fields = {"sha256": last.sha256, "size": last.size, field: wrong}
            return [*files[:-1], FileEntry(last.name, last.cid, **fields)]

        folder = make_manifest(tmp_path / "m", entries=lie)
        with pytest.raises(IntegrityError, match=r"metadata\.json: .* of tiles/1"):
            store.put_manifest(folder)
        # A store that somebody else filled.
        for path in folder.rglob("*"):
            if path.is_file():
                store.put_file(path)
        with pytest.raises(IntegrityError):
            store.get_manifest(cids.of_file(folder / "metadata.json"), target)
        self.assert_nothing_written(target)

    def test_metadata_is_stored_last(self, store, tmp_path):
        folder = make_manifest(tmp_path / "m")
        (folder / "tiles" / "1").unlink()
        with pytest.raises(SourceError):
            store.put_manifest(folder)
        assert not store.has(cids.of_file(folder / "metadata.json"))

    @pytest.mark.parametrize(
        "name",
        [
            "../leaves",
            "/etc/passwd",
            "tiles/../../x",
            "tiles\\1",
            "C:leaves",
            "",
            ".",
            "leaves\n",
            "tiles/1/..",
            "metadata.json",
        ],
    )
    def test_hostile_names_in_metadata_are_refused(self, store, manifest, target, name):
        document = json.loads((manifest / "metadata.json").read_bytes())
        document["distribution"][-1]["name"] = name
        (manifest / "metadata.json").write_bytes(json.dumps(document).encode())
        with pytest.raises(FormatError):
            store.put_manifest(manifest)
        cid = store.put_file(manifest / "metadata.json")
        with pytest.raises(FormatError):
            store.get_manifest(cid, target)
        self.assert_nothing_written(target)

    def test_a_name_that_occurs_twice_is_refused(self, store, manifest, target):
        document = json.loads((manifest / "metadata.json").read_bytes())
        document["distribution"].append(document["distribution"][-1])
        cid = store.put_bytes(json.dumps(document).encode())
        with pytest.raises(FormatError, match="twice"):
            store.get_manifest(cid, target)
        self.assert_nothing_written(target)

    @pytest.mark.parametrize("url", ["ipfs://" + "z" * 59, "file:///etc/passwd", "ipfs://../x"])
    def test_hostile_content_url(self, store, manifest, target, url):
        store.put_manifest(manifest)
        document = json.loads((manifest / "metadata.json").read_bytes())
        document["distribution"][-1]["contentUrl"] = url
        cid = store.put_bytes(json.dumps(document).encode())
        with pytest.raises(FormatError):
            store.get_manifest(cid, target)
        self.assert_nothing_written(target)

    def test_unknown_format_version(self, store, manifest):
        document = json.loads((manifest / "metadata.json").read_bytes())
        document["alithis"]["version"] = 99
        (manifest / "metadata.json").write_bytes(json.dumps(document).encode())
        with pytest.raises(VersionError):
            store.put_manifest(manifest)

    def test_content_that_is_not_metadata(self, store, target):
        with pytest.raises(FormatError):
            store.get_manifest(store.put_bytes(b"hello"), target)
        self.assert_nothing_written(target)

    def test_a_manifest_that_is_not_in_the_store(self, store, target):
        with pytest.raises(NotStoredError):
            store.get_manifest(bytes(32), target)
        self.assert_nothing_written(target)

    def test_content_too_large_for_metadata(self, store, target):
        cid = store.put_bytes(bytes(metadata.MAX_BYTES + 1))
        with pytest.raises(StorageError, match="at most 262144"):
            store.get_manifest(cid, target)

    @pytest.mark.parametrize("kind", ["file", "directory", "dangling link"])
    def test_an_existing_target_is_not_changed(self, store, manifest, target, kind):
        cid = store.put_manifest(manifest)
        if kind == "file":
            target.write_bytes(b"mine")
        elif kind == "directory":
            target.mkdir()
        else:
            target.symlink_to("nowhere")
        with pytest.raises(StorageError, match="already exists"):
            store.get_manifest(cid, target)
        assert target.is_symlink() or target.exists()
        assert kind != "file" or target.read_bytes() == b"mine"

    def test_target_below_a_file(self, store, manifest, tmp_path):
        cid = store.put_manifest(manifest)
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(StorageError, match="cannot write"):
            store.get_manifest(cid, tmp_path / "file" / "copy")

    def test_files_that_a_killed_get_left_are_removed_by_the_next(self, store, manifest, tmp_path):
        cid = store.put_manifest(manifest)
        leftover = tmp_path / ".copy.0123456789abcdef.partial"
        (leftover / "new").mkdir(parents=True)

        store.get_manifest(cid, tmp_path / "copy")

        assert not leftover.exists()

    def test_a_frontier_that_does_not_yield_the_root_is_not_stored(self, store, manifest):
        path = manifest / "metadata.json"
        document = json.loads(path.read_bytes())
        document["alithis"]["root"] = "00" * 32
        path.write_text(json.dumps(document))

        with pytest.raises(FormatError, match="the frontier does not fold to the root"):
            store.put_manifest(manifest)
        assert store.manifests().manifests == ()

    def test_damaged_manifests_do_not_hide_the_others_in_a_listing(self, store, manifest, tmp_path):
        good = store.put_manifest(manifest)
        bad = store.put_manifest(make_manifest(tmp_path / "bad", name="bad"))
        place = place_of(store, bad)
        place.chmod(0o644)
        place.write_bytes(b"{}")
        (store.root / "manifests" / str(HELLO)).touch()
        (store.root / "manifests" / "README").touch()
        listing = store.manifests()
        assert [each.cid for each in listing.manifests] == [good]
        assert len(listing.problems) == 2
        assert any(problem.startswith(f"{bad}: ") for problem in listing.problems)
        assert any(problem.startswith(f"{HELLO}: ") for problem in listing.problems)

    def test_marker_that_cannot_be_written(self, store, manifest):
        (store.root / "incoming").mkdir(parents=True)
        (store.root / "manifests").write_bytes(b"")
        with pytest.raises(StorageError, match="cannot list bafk"):
            store.put_manifest(manifest)


def test_a_tilde_is_expanded_to_the_users_home():
    assert Store(Path("~/somewhere")).root == Path.home() / "somewhere"
