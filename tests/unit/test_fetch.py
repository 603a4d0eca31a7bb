"""Bringing manifests from gateways into the store, whatever happens on the way."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest
from test_gateways import laid_out

from alithis.base.progress import Progress
from alithis.errors import FormatError, IntegrityError, NotStoredError, StorageError
from alithis.ipfs import cid
from alithis.ipfs.cid import CHUNK_SIZE, RAW, Cid
from alithis.manifest import metadata
from alithis.manifest.reader import Manifest
from alithis.storage.cache import Cache
from alithis.storage.download import fetch
from alithis.storage.fallback import FallbackGateways
from alithis.storage.gateway import Gateway
from alithis.storage.store import Store
from helpers.artifacts import build_random, rewrite
from helpers.commands import refused, run, run_json
from helpers.range_server import serving
from helpers.trustless import outline, trustless

COUNT = 200_000  # leaves of 6.4 MB: seven chunks
CODE = "from alithis.cli import main; main()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("fetch") / "random"
    build_random(out, COUNT)
    return out


@pytest.fixture(scope="module")
def name(folder):
    return cid.of_file(folder / metadata.FILE)


@pytest.fixture(scope="module")
def leaves(folder):
    return cid.of_file(folder / "leaves")


@pytest.fixture
def gateway(folder):
    with trustless(folder) as running:
        yield running


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALITHIS_STORE", str(tmp_path / "store"))


def get(store, name, *gateways, progress=None):
    each = [Gateway(gateway.url, timeout=5) for gateway in gateways]
    return fetch(name, store, FallbackGateways(each), progress)


def same(store, name, folder, tmp_path):
    """What is in the store is the folder, whole, and nothing is left over."""
    store.get_manifest(name, tmp_path / "copy")
    for path in folder.rglob("*"):
        if path.is_file():
            assert (tmp_path / "copy" / path.relative_to(folder)).read_bytes() == path.read_bytes()
    assert list((store.root / "incoming").iterdir()) == []


class TestCommand:
    def test_a_manifest_is_fetched_from_a_real_peer(self, ipfs_peer, folder, name, tmp_path):
        ipfs_peer.add_manifest(folder)
        told = run_json("store", "get", name, "-o", "copy", "--gateway", ipfs_peer.url)
        assert sorted(told["fetched"]) == ["items.parquet", "leaves", "tiles/1", "tiles/2"]
        assert told["withheld"] == []
        run("audit", "copy")
        assert "random" in run("store", "ls").stdout
        again = run_json("store", "get", name, "-o", "again", "--gateway", "http://127.0.0.1:9")
        assert again["fetched"] == []

    def test_by_a_digest(self, gateway, name, tmp_path):
        said = run("store", "get", name.digest.hex(), "-o", "copy", "--gateway", gateway.url)
        assert said.stdout == "copy: written, 4 files of it from gateways\n"

    def test_without_gateways_a_fetch_is_refused(self, name):
        said = refused("store", "get", name, "-o", "copy", "--gateway", "none")
        assert f"{name} is not in the store" in said

    def test_an_existing_target_is_reported_before_any_request(self, gateway, name, tmp_path):
        (tmp_path / "copy").mkdir()
        said = refused("store", "get", name, "-o", "copy", "--gateway", gateway.url)
        assert "already exists" in said
        (tmp_path / "file").write_bytes(b"")
        said = refused("store", "get", name, "-o", "file/copy", "--gateway", gateway.url)
        assert "file/copy: cannot be written" in said
        assert gateway.files.asked == []

    def test_items_that_are_withheld(self, gateway, folder, name):
        del gateway.contents[cid.of_file(folder / "items.parquet")]
        gateway.blocks = {
            each: block
            for each, block in gateway.blocks.items()
            if each != cid.of_file(folder / "items.parquet")
        }
        result = run("store", "get", name, "-o", "copy", "--gateway", gateway.url)
        assert result.stdout.endswith("; not available: items.parquet\n")
        assert f"note: gateway {gateway.address} has no " in result.stderr
        run("audit", "copy", "--withheld")

    def test_leaves_that_no_gateway_has(self, gateway, leaves, name, tmp_path):
        del gateway.contents[leaves]
        gateway.blocks.pop(leaves)
        said = refused("store", "get", name, "-o", "copy", "--gateway", gateway.url)
        assert "has no" in said
        assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
        assert json.loads(run("store", "ls", "--json").stdout)["manifests"] == []

    def test_a_full_disk(self, gateway, name, tmp_path):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, limits[1]))
        try:
            said = refused("store", "get", name, "-o", "copy", "--gateway", gateway.url)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "File too large" in said
        assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
        run("store", "get", name, "-o", "copy", "--gateway", gateway.url)

    def test_too_little_disk_space_is_reported_first(self, tmp_path, folder, store):
        """A metadata.json that states sizes which no disk has is refused at once."""
        content = laid_out(folder, tmp_path / "content")
        path = tmp_path / metadata.FILE
        text = (folder / metadata.FILE).read_text()
        size = (folder / "items.parquet").stat().st_size
        path.write_text(text.replace(f'"{size} B"', f'"{1 << 55} B"'))
        laid_out(tmp_path / "nothing", content)
        (content / "ipfs" / str(cid.of_file(path))).write_bytes(path.read_bytes())
        with serving(content) as server:
            with pytest.raises(StorageError, match=r"bytes are needed, .* are free"):
                get(store, cid.of_file(path), server)
            assert len(server.asked) == 1

    def test_a_killed_fetch_is_resumed(self, gateway, name, leaves, tmp_path):
        """kill -9, when some of the leaves have come."""
        arrived, blocked = threading.Event(), threading.Event()
        gateway.cars = False
        taken = []

        def slow(kind, each, data):
            if kind == "raw" and len(data) == CHUNK_SIZE:
                taken.append(each)
                if len(taken) > 3:
                    arrived.set()
                    blocked.wait(30)
            return data

        gateway.spoil = slow
        command = ["store", "get", str(name), "-o", "copy", "--gateway", gateway.url]
        with subprocess.Popen([sys.executable, "-c", CODE, *command]) as child:
            assert arrived.wait(60)
            child.send_signal(signal.SIGKILL)
        blocked.set()
        assert not (tmp_path / "copy").exists()
        before = len(taken)
        gateway.files.forget()
        gateway.spoil = lambda _, __, data: data

        run(*command)

        assert before >= 4
        whole = [each for each, block in gateway.blocks.items() if len(block) == CHUNK_SIZE]
        assert len(gateway.asked("raw")) < len(whole) + 10
        again = {path for path in gateway.asked("raw") if str(taken[0]) in path}
        assert again == set()
        run("audit", "copy")

    def test_interrupted(self, gateway, name, tmp_path):
        arrived, blocked = threading.Event(), threading.Event()

        def slow(kind, each, data):
            if kind == "car":
                arrived.set()
                blocked.wait(30)
            return data

        gateway.spoil = slow
        command = ["store", "get", str(name), "-o", "copy", "--gateway", gateway.url]
        with subprocess.Popen(
            [sys.executable, "-c", CODE, *command], stderr=subprocess.PIPE, text=True
        ) as child:
            assert arrived.wait(60)
            child.send_signal(signal.SIGINT)
            _, said = child.communicate(timeout=60)
        blocked.set()
        assert (child.returncode, said.splitlines()[-1]) == (130, "Error: interrupted")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]

    def test_two_processes_get_the_same_at_once(self, gateway, name, tmp_path):
        get = ["store", "get", str(name)]
        children = [
            subprocess.Popen(
                [sys.executable, "-c", CODE, *get, "-o", out, "--gateway", gateway.url],
                env=os.environ,
            )
            for out in ("one", "two")
        ]
        assert [child.wait(timeout=120) for child in children] == [0, 0]
        for out in ("one", "two"):
            run("audit", out)
        assert list((tmp_path / "store" / "incoming").iterdir()) == []


class TestWays:
    def test_a_file_is_fetched_as_a_car(self, gateway, store, name, folder, tmp_path, leaves):
        get(store, name, gateway)
        same(store, name, folder, tmp_path)
        assert [path for path in gateway.asked("raw") if str(leaves) in path] == []
        assert len([path for path in gateway.asked("car") if str(leaves) in path]) == 1

    def test_a_file_is_fetched_block_by_block(self, gateway, store, name, folder, tmp_path):
        gateway.cars = False
        get(store, name, gateway)
        same(store, name, folder, tmp_path)

    def test_a_file_is_fetched_by_range(self, store, name, folder, tmp_path):
        """From a server that knows neither."""
        content = laid_out(folder, tmp_path / "content")
        with serving(content) as server:
            found = get(store, name, server)
            same(store, name, folder, tmp_path)
        assert found.notes == ()

    def test_a_file_of_equal_chunks(self, store, tmp_path):
        """Its blocks repeat, and a CAR holds them once or as often."""
        folder = tmp_path / "zeros"
        build_random(folder, 1_000)
        data = bytes(3 * CHUNK_SIZE + 5)
        (folder / "leaves").write_bytes(data)
        with trustless(folder) as gateway:
            got = []
            store.receive(cid.of_bytes(data), lambda file: got.append(_take(file, gateway, data)))
        assert store.read_bytes(cid.of_bytes(data), len(data)) == data

    def test_progress_is_reported(self, gateway, store, name, folder):
        class Told(Progress):
            total = done = 0

            def phase(self, _, total=None, done=0, unit=""):
                self.total = total

            def advance(self, count):
                self.done += count

        told = Told()
        get(store, name, gateway, progress=told)
        sizes = [each.size for each in Manifest.open(folder).metadata.files]
        assert told.total == told.done == sum(sizes)

    def test_a_damaged_file_in_the_store_is_fetched_again(
        self, gateway, store, name, folder, leaves, tmp_path
    ):
        store.put_manifest(folder)
        path = store.path(leaves)
        path.chmod(0o600)
        path.write_bytes(b"damaged")
        found = get(store, name, gateway)
        assert found.files == ("leaves",)
        same(store, name, folder, tmp_path)


def _take(file, gateway, data):
    from alithis.manifest.metadata import FileEntry
    from alithis.storage.download import _FileDownload

    entry = FileEntry("leaves", str(cid.of_bytes(data)), b"", len(data))
    _FileDownload(entry, FallbackGateways([Gateway(gateway.url)]), Progress(), [])._fill(file)


class TestFaults:
    @pytest.fixture
    def other(self, folder):
        with trustless(folder) as running:
            yield running

    def rescued(self, store, name, folder, tmp_path, gateway, other):
        found = get(store, name, gateway, other)
        same(store, name, folder, tmp_path)
        return found

    def test_corrupted_blocks_are_fetched_from_the_next_gateway(
        self, gateway, other, store, name, folder, tmp_path
    ):
        gateway.spoil = lambda kind, each, data: (
            data[:-1] + bytes([data[-1] ^ 1]) if each.codec == RAW or kind == "car" else data
        )
        found = self.rescued(store, name, folder, tmp_path, gateway, other)
        assert any(f"gateway {gateway.address}" in line for line in found.notes)

    def test_a_truncated_car(self, gateway, store, name, folder, tmp_path):
        """The rest comes block by block, from the same gateway."""
        gateway.spoil = lambda kind, _, data: data[: len(data) // 2] if kind == "car" else data
        found = get(store, name, gateway)
        same(store, name, folder, tmp_path)
        assert any("closed the connection" in line or "cut" in line for line in found.notes)

    def test_a_car_of_another_file_is_not_used(
        self, gateway, store, name, folder, tmp_path, leaves
    ):
        other = gateway.car(cid.of_file(folder / "items.parquet"), 0)
        gateway.spoil = lambda kind, _, data: other[: len(data)] if kind == "car" else data
        get(store, name, gateway)
        same(store, name, folder, tmp_path)

    def test_the_next_gateway_continues_an_interrupted_file(
        self, gateway, other, store, name, folder, tmp_path, leaves
    ):
        """What the first has given is not asked of the second."""
        whole = len(gateway.car(leaves, 0))
        gateway.spoil = lambda kind, each, data: (
            data[: whole // 2] if kind == "car" else b"" if each.codec == RAW else data
        )
        self.rescued(store, name, folder, tmp_path, gateway, other)
        (asked,) = [path for path in other.asked("car") if str(leaves) in path]
        start = int(asked.partition("entity-bytes=")[2].partition(":")[0])
        assert start >= 2 * CHUNK_SIZE

    def test_the_next_run_continues_an_interrupted_file(
        self, gateway, store, name, folder, tmp_path, leaves
    ):
        whole = len(gateway.car(leaves, 0))
        chunks = {each for each, _ in outline((folder / "leaves").read_bytes())} - {leaves}
        gateway.spoil = lambda kind, each, data: (
            data[: whole // 2] if each == leaves and kind == "car" else data * (each not in chunks)
        )
        with pytest.raises(IntegrityError, match=f"gateway {gateway.address}: .* SHA-256"):
            get(store, name, gateway)
        assert store.manifests().manifests == ()
        gateway.spoil = lambda _, __, data: data
        gateway.files.forget()
        get(store, name, gateway)
        same(store, name, folder, tmp_path)
        (asked,) = [path for path in gateway.asked("car") if str(leaves) in path]
        assert "entity-bytes=" in asked

    def test_resuming_works_without_support_for_car_ranges(
        self, gateway, other, store, name, folder, tmp_path
    ):
        gateway.spoil = lambda kind, each, data: (
            data[: 3 * CHUNK_SIZE] if kind == "car" else b"" if each.codec == RAW else data
        )
        other.ranges = False
        self.rescued(store, name, folder, tmp_path, gateway, other)

    def test_a_wrong_file_by_range_is_noticed_when_complete(
        self, store, name, folder, tmp_path, other
    ):
        """It shows once the file is whole; the next gateway begins again."""
        content = laid_out(folder, tmp_path / "content")
        for path in (content / "ipfs").iterdir():
            if path.stat().st_size > CHUNK_SIZE:
                path.write_bytes(bytes(path.stat().st_size))
        with serving(content) as server:
            with pytest.raises(IntegrityError, match=f"gateway {server.address}: CID of"):
                get(store, name, server)
            found = get(store, name, server, other)
        same(store, name, folder, tmp_path)
        assert any(f"gateway {server.address}: CID of" in line for line in found.notes)

    def test_metadata_that_lies_about_a_file(self, folder, store, tmp_path):
        import shutil

        shutil.copytree(folder, tmp_path / "lie")
        sha256 = Manifest.open(folder).metadata.file("leaves").sha256.hex()
        rewrite(tmp_path / "lie", sha256.encode(), b"0" * 64)
        with (
            trustless(tmp_path / "lie") as gateway,
            pytest.raises(IntegrityError, match="SHA-256 of leaves"),
        ):
            get(store, cid.of_file(tmp_path / "lie" / metadata.FILE), gateway)
        assert store.manifests().manifests == ()

    def test_more_blocks_than_a_file_of_its_size_has(self, gateway, store, leaves, name):
        node = cid.DagNode(cid.of_bytes(b"x"), 1, 1)
        root, block = cid.join([node] * 500)
        gateway.blocks[leaves] = block
        gateway.blocks[root.cid] = block
        gateway.cars = False
        with pytest.raises((FormatError, StorageError, IntegrityError)):
            get(store, name, gateway)

    def test_a_stream_that_arrives_byte_by_byte_is_abandoned(
        self, gateway, store, name, monkeypatch, folder, tmp_path
    ):
        """It is given up, and the rest comes by blocks."""

        def dripping(handler, path):
            if "format=car" not in handler.path:
                return gateway.answer(handler, path)
            handler.send_response(200)
            handler.send_header("Content-Type", "application/vnd.ipld.car")
            handler.end_headers()
            handler.close_connection = True
            for byte in gateway.car(Cid.parse(path.removeprefix("ipfs/")), 0):
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                time.sleep(0.05)
            return True

        gateway.files.fault = dripping
        each = FallbackGateways([Gateway(gateway.url, timeout=0.3)], Cache(None))
        found = fetch(name, store, each)
        same(store, name, folder, tmp_path)
        assert found.files

    def test_metadata_that_no_gateway_has(self, gateway, store):
        with pytest.raises(NotStoredError):
            get(store, Cid.raw(bytes(32)), gateway)
        assert not store.root.exists()
