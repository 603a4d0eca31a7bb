"""`alithis store check`: what is still to be had, from whom, and how sure that is."""

from __future__ import annotations

import json
import random

import pytest
from test_gateways import corrupted, laid_out, on_all, on_ranges, reply, whole

from alithis.base import http
from alithis.errors import FormatError, StorageError
from alithis.ipfs import cid, unixfs
from alithis.ipfs.cid import CHUNK_SIZE
from alithis.manifest import metadata
from alithis.manifest.reader import Manifest
from alithis.storage.availability import MISSING, THERE, UNKNOWN, WRONG, GatewayFiles, check
from alithis.storage.gateway import Gateway
from alithis.storage.hosts import lighthouse as lighthouse_module
from alithis.storage.hosts.lighthouse import Deal, Lighthouse
from alithis.storage.hosts.pinata import Pinata
from alithis.storage.store import Store
from helpers.artifacts import build_random, commitment
from helpers.commands import refused, run, run_json
from helpers.hosts import KEY, hosting
from helpers.range_server import serving
from helpers.trustless import trustless

COUNT = 70_000
GONE = "http://127.0.0.1:9"
NAMES = ["items.parquet", "leaves", "metadata.json", "tiles/1", "tiles/2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("watch") / "random"
    build_random(out, COUNT)
    return out


@pytest.fixture(scope="module")
def name(folder):
    return cid.of_file(folder / metadata.FILE)


@pytest.fixture(scope="module")
def content(folder):
    return laid_out(folder, folder.parent / "content")


@pytest.fixture
def server(content):
    with serving(content) as running:
        yield running


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALITHIS_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(http, "FIRST_WAIT", 0.01)
    for variable in ("LIGHTHOUSE_API_KEY", "PINATA_JWT", "ALITHIS_RPC", "ALITHIS_REGISTRY"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def host(monkeypatch):
    """A stand-in for Lighthouse, Pinata and Kubo."""
    with hosting() as running:
        for kind in (lighthouse_module.Lighthouse, Pinata):
            monkeypatch.setattr(kind, "UPLOADS", running.url)
            monkeypatch.setattr(kind, "API", running.url)
        monkeypatch.setenv("LIGHTHOUSE_API_KEY", KEY)
        monkeypatch.setenv("PINATA_JWT", KEY)
        yield running


def told(*arguments, status=0):
    return run_json("store", "check", *arguments, status=status)


def files_of(health):
    return {file["name"]: file for file in health["files"]}


def ways(health):
    return {file["name"]: file["hosts"][0]["checked"] for file in health["files"]}


class TestAllThere:
    def test_against_the_folder(self, server, folder):
        health = told(folder, "--gateway", server.url, "--samples", 2)
        files = files_of(health)
        assert sorted(files) == NAMES
        assert ways(health) == {
            "metadata.json": "CID",
            **dict.fromkeys(set(files) - {"metadata.json"}, "local copy"),
        }
        (seen,) = files["leaves"]["hosts"]
        assert (seen["host"], seen["state"]) == (f"gateway {server.address}", THERE)
        assert (seen["ranges"], seen["bytes"]) == (2, 2 * 8192)
        assert seen["seconds"] > 0
        assert health["problems"] == []

    def test_against_the_store(self, server, folder, name):
        run("store", "put", folder)
        assert set(ways(told(name, "--gateway", server.url)).values()) == {"CID", "local copy"}

    def test_by_proof_and_by_cid(self, server, name):
        """A plain server, and nothing at hand: no blocks, so of items the length alone."""
        health = told(f"ipfs://{name}", "--gateway", server.url)
        assert ways(health) == {
            "metadata.json": "CID",
            "leaves": "proof",
            "tiles/1": "CID",
            "tiles/2": "CID",
            "items.parquet": "length",
        }

    def test_by_blocks(self, ipfs_peer, folder, name):
        ipfs_peer.add_manifest(folder)
        health = told(name, "--gateway", ipfs_peer.url)
        assert ways(health)["items.parquet"] == "blocks"
        assert ways(health)["leaves"] == "proof"

    def test_a_token(self, ipfs_peer, folder, upstream, owner):
        ipfs_peer.add_manifest(folder)
        data = Manifest.open(folder).metadata
        registry = upstream.deploy()
        registry.mintDataset(commitment(data), [], sender=owner)
        chain = ["--rpc", upstream.uri, "--registry", registry.address]
        health = told("1", *chain, "--gateway", ipfs_peer.url)
        assert health["name"] == "random"
        said = refused("store", "check", "2", *chain, "--gateway", ipfs_peer.url)
        assert "no token 2" in said
        said = refused("store", "check", "1", *chain, "--chain", "1", "--gateway", ipfs_peer.url)
        assert "serves chain" in said

    def test_in_words(self, server, folder):
        said = run("store", "check", folder, "--gateway", server.url).stdout
        assert said.startswith("random: bafkrei")
        assert f"    there    gateway {server.address}: 3 ranges in " in said
        assert "bytes/s; by local copy\n" in said


class TestMissing:
    def test_one_file(self, server, folder):
        leaves = cid.of_file(folder / "leaves")
        server.fault = lambda handler, path: (
            str(leaves) in path and (handler.reply(404, b""), True)[1]
        )
        health = told(folder, "--gateway", server.url, status=1)
        assert files_of(health)["leaves"]["state"] == MISSING
        assert files_of(health)["tiles/1"]["state"] == THERE
        assert health["problems"] == ["leaves: missing"]
        said = run("store", "check", folder, "--gateway", server.url, status=1)
        assert said.stderr == "alithis: leaves: missing\n"

    def test_everything_is_there(self, server, folder, name):
        server.fault = on_all(reply(504))
        assert told(folder, "--gateway", server.url, status=1)["problems"][0] == (
            "metadata.json: missing"
        )
        result = run("store", "check", name, "--gateway", server.url, status=1)
        assert result.stderr.startswith("Error: metadata.json is missing: gateway")

    def test_one_gateway_suffices(self, server, content, folder):
        with serving(content) as empty:
            empty.fault = on_all(reply(404))
            health = told(folder, "--gateway", empty.url, "--gateway", server.url)
        states = [seen["state"] for seen in files_of(health)["leaves"]["hosts"]]
        assert states == [MISSING, THERE]

    def test_other_content_in_place_of_a_file(self, server, folder):
        def lie(handler, path):
            if handler.headers["Range"] is None:
                return False
            data = (server.folder / path).read_bytes()
            begin, end = map(int, handler.headers["Range"][6:].split("-"))
            part = {"Content_Range": f"bytes {begin}-{end}/{len(data)}"}
            handler.reply(206, corrupted(data[begin : end + 1]), **part)
            return True

        server.fault = lie
        for reference in (folder, cid.of_file(folder / metadata.FILE)):
            health = told(reference, "--gateway", server.url, status=1)
            for file in health["files"]:
                (seen,) = file["hosts"]
                if seen["checked"] != "length":
                    assert seen["state"] == WRONG, file

    def test_a_damaged_copy_is_not_held_against_a_host(self, server, folder, tmp_path):
        run("store", "put", folder)
        store = Store(tmp_path / "store")
        path = store.path(cid.of_file(folder / "leaves"))
        path.chmod(0o600)
        path.write_bytes(bytes(path.stat().st_size))
        health = told(cid.of_file(folder / metadata.FILE), "--gateway", server.url)
        assert ways(health)["leaves"] == "proof"

    def test_withheld_files_are_not_asked_for(self, server, folder, tmp_path):
        items = cid.of_file(folder / "items.parquet")
        server.fault = lambda handler, path: (
            str(items) in path and (handler.reply(404, b""), True)[1]
        )
        name = cid.of_file(folder / metadata.FILE)
        assert told(name, "--gateway", server.url, status=1)["problems"] == [
            "items.parquet: missing"
        ]
        health = told(name, "--gateway", server.url, "--withheld")
        assert health["withheld"] == ["items.parquet"]
        run("store", "get", name, "-o", "copy", "--gateway", server.url)
        assert told("copy", "--gateway", server.url)["withheld"] == ["items.parquet"]


class TestUnknown:
    @pytest.mark.parametrize(
        "fault",
        [on_all(reply(500)), on_all(reply(429)), on_all(reply(403)), on_ranges(whole)],
        ids=["500", "429", "403", "ignores ranges"],
    )
    def test_gateways_that_fail(self, server, folder, fault):
        server.fault = fault
        health = told(folder, "--gateway", server.url, status=2)
        assert files_of(health)["leaves"]["state"] == UNKNOWN
        assert files_of(health)["leaves"]["hosts"][0]["error"].startswith(
            f"gateway {server.address}"
        )

    def test_no_host_can_be_reached(self, folder, name):
        assert told(folder, "--gateway", GONE, status=2)["problems"][0] == "metadata.json: unknown"
        assert "cannot be reached" in refused("store", "check", name, "--gateway", GONE)

    def test_no_host_is_named(self, folder):
        assert "there is no host to ask" in refused("store", "check", folder, "--gateway", "none")

    @pytest.mark.parametrize("reference", ["gone", "../etc", "Qm", "9" * 20])
    def test_an_invalid_reference_is_refused(self, server, reference):
        refused("store", "check", reference, "--gateway", server.url)

    def test_a_token_takes_a_chain(self, server):
        assert "1 is a token: give --rpc and --registry" in refused(
            "store", "check", "1", "--gateway", server.url
        )


class TestHosts:
    def test_required_hosts_must_have_every_file(self, host, folder, server):
        names = [f"kubo={host.url}", "lighthouse", "pinata"]
        to = [word for each in names for word in ("--to", each)]
        at = [word for each in names for word in ("--at", each)]
        run("store", "put", folder, *to)
        health = told(folder, *at, "--gateway", "none")
        for file in health["files"]:
            found = {seen["host"].split()[0]: seen["checked"] for seen in file["hosts"]}
            compared = "CID" if file["name"] == "metadata.json" else "local copy"
            assert found == {"kubo": compared, "lighthouse": "its word", "pinata": "its word"}

        host.files.pop(str(cid.of_file(folder / "leaves")))
        health = told(folder, *at, "--gateway", server.url, status=1)
        assert files_of(health)["leaves"]["state"] == THERE  # at the gateway
        assert health["problems"] == [
            f"leaves: missing at {each}"
            for each in (f"kubo {host.url.removeprefix('http://')}", "lighthouse", "pinata")
        ]

    def test_a_real_peer(self, ipfs_peer, folder):
        run("store", "put", folder, "--to", f"kubo={ipfs_peer.url}")
        health = told(folder, "--at", f"kubo={ipfs_peer.url}", "--gateway", ipfs_peer.url)
        for file in health["files"]:
            assert [seen["state"] for seen in file["hosts"]] == [THERE, THERE]
            assert all(seen["ranges"] for seen in file["hosts"])

    def test_a_host_that_cannot_be_asked(self, host, folder, server, monkeypatch):
        monkeypatch.setenv("LIGHTHOUSE_API_KEY", "wrong")
        monkeypatch.setenv("PINATA_JWT", "wrong")
        health = told(folder, "--at", "pinata", "--gateway", server.url, status=2)
        assert "leaves: unknown at pinata" in health["problems"]
        assert "wrong" not in json.dumps(health)

    def test_a_bucket(self, folder, monkeypatch):
        import boto3
        from moto.server import ThreadedMotoServer
        from s3fs import S3FileSystem

        S3FileSystem.clear_instance_cache()  # it remembers another server's address
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
        server.start()
        try:
            url = "http://{}:{}".format(*server.get_host_and_port())
            monkeypatch.setenv("AWS_ENDPOINT_URL", url)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
            monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            client = boto3.client("s3", endpoint_url=url)
            client.create_bucket(Bucket="watched")
            run("store", "put", folder, "--to", "s3://watched/a")
            at = ["--at", "s3://watched/a", "--gateway", "none"]
            assert set(ways(told(folder, *at)).values()) == {"CID", "local copy"}
            place = f"a/ipfs/{cid.of_file(folder / 'leaves')}"
            client.put_object(Bucket="watched", Key=place, Body=bytes(32 * COUNT))
            health = told(folder, *at, status=1)
            assert files_of(health)["leaves"]["hosts"][0]["state"] == WRONG
        finally:
            S3FileSystem.clear_instance_cache()
            server.stop()


DEAL = {
    "chainDealID": 74606268,
    "dealId": 74606268,
    "miner": "f01771403",
    "dealStatus": "Sealing: Proving",
    "endEpoch": 4232864,
}


class TestDeals:
    """Lighthouse's deal_status, as its documentation shows it."""

    @pytest.fixture
    def lighthouse(self, host):
        return Lighthouse(KEY)

    @pytest.mark.parametrize("wrap", [lambda deals: deals, lambda deals: {"data": deals}])
    def test_deals_are_reported(self, host, lighthouse, wrap):
        host.deals = lambda _: (200, json.dumps(wrap([DEAL, {"storageProvider": "f2"}])).encode())
        assert lighthouse.deals(cid.of_bytes(b"x")) == (
            Deal(74606268, "f01771403", "Sealing: Proving", 4232864),
            Deal(None, "f2", "not stated", None),
        )

    @pytest.mark.parametrize("answer", [(200, b"[]"), (200, b'{"data": []}'), (404, b"")])
    def test_a_file_without_deals(self, host, lighthouse, answer):
        host.deals = lambda _: answer
        assert lighthouse.deals(cid.of_bytes(b"x")) == ()

    @pytest.mark.parametrize(
        "body",
        [b"<html>", b"[1]", b'["x"]', b"{", b'{"data": 7}', b"[" * 9999, b"[]" + b" " * 99_999],
        ids=["a page", "numbers", "texts", "cut", "no list", "deep", "long"],
    )
    def test_answers_that_are_none(self, host, lighthouse, body):
        host.deals = lambda _: (200, body)
        with pytest.raises(StorageError, match="does not answer with its documented JSON"):
            lighthouse.deals(cid.of_bytes(b"x"))

    def test_in_the_report(self, host, folder):
        run("store", "put", folder, "--to", "lighthouse")
        host.deals = lambda _: (200, json.dumps([DEAL]).encode())
        health = told(folder, "--at", "lighthouse", "--gateway", "none")
        deal = {"id": 74606268, "provider": "f01771403"}
        (found,) = files_of(health)["leaves"]["hosts"][0]["deals"]
        assert deal.items() <= found.items()
        said = run("store", "check", folder, "--at", "lighthouse", "--gateway", "none").stdout
        assert "deal 74606268 with f01771403: Sealing: Proving, to epoch 4232864" in said

    def test_an_error_about_deals_leaves_the_file_there(self, host, folder):
        run("store", "put", folder, "--to", "lighthouse")
        host.deals = lambda _: (403, b"")
        health = told(folder, "--at", "lighthouse", "--gateway", "none")
        (seen,) = files_of(health)["leaves"]["hosts"]
        assert (seen["state"], seen["error"]) == (
            THERE,
            "deals: lighthouse 127.0.0.1:{} refuses the key (HTTP 403): "
            "check what LIGHTHOUSE_API_KEY is allowed to do".format(host.url.rpartition(":")[2]),
        )


class TestRanges:
    """`unixfs.read`: a range out of the blocks around it."""

    def test_any_range(self, folder):
        data = random.Random(1).randbytes(3 * CHUNK_SIZE + 77)
        (folder.parent / "blocks").mkdir(exist_ok=True)
        (folder.parent / "blocks" / "file").write_bytes(data)
        with trustless(folder.parent / "blocks") as gateway:
            root, get = cid.of_bytes(data), Gateway(gateway.url).block
            for offset, length in (
                *((0, 1), (0, len(data)), (CHUNK_SIZE - 1, 2), (CHUNK_SIZE, CHUNK_SIZE)),
                *((3 * CHUNK_SIZE + 76, 1), (12_345, 8192)),
            ):
                found = unixfs.read(root, get, offset, length)
                assert found == data[offset : offset + length]
            gateway.files.forget()
            unixfs.read(root, get, 12_345, 8192)
            assert len(gateway.files.asked) == 2
            with pytest.raises(FormatError, match="not have 2 bytes at"):
                unixfs.read(root, get, len(data) - 1, 2)

    def test_a_tower(self):
        node, blocks = cid.DagNode(cid.of_bytes(b"x"), 1, 1), {cid.of_bytes(b"x"): b"x"}
        for _ in range(20):
            node, block = cid.join([node])
            blocks[node.cid] = block
        with pytest.raises(FormatError, match="the range needs too many blocks"):
            unixfs.read(node.cid, blocks.__getitem__, 0, 1)

    def test_many_small_blocks(self):
        leaf = cid.of_bytes(b"x")
        node, block = cid.join([cid.DagNode(leaf, 1, 1)] * 1000)
        blocks = {leaf: b"x", node.cid: block}
        assert unixfs.read(node.cid, blocks.__getitem__, 900, 10) == b"x" * 10
        with pytest.raises(FormatError, match="the range needs too many blocks"):
            unixfs.read(node.cid, blocks.__getitem__, 0, 1000)

    def test_sizes_that_lie(self):
        leaf = cid.of_bytes(b"xy")
        node, block = cid.join([cid.DagNode(leaf, 1, 1)] * 3)
        blocks = {leaf: b"xy", node.cid: block}
        with pytest.raises(FormatError, match="not the part of a file that its parent states"):
            unixfs.read(node.cid, blocks.__getitem__, 1, 1)


def test_a_host_that_gives_blocks_of_another_file(folder, content):
    """Of items the blocks are checked by their CIDs, so a host cannot vouch for its own lie."""
    data = (folder / metadata.FILE).read_bytes()
    items = Manifest.open(folder).metadata.file("items.parquet")
    with trustless(folder) as gateway:
        honest = gateway.answer

        def lie(handler, path):
            if "format=" in handler.path or items.cid not in path:
                return honest(handler, path)
            begin, end = map(int, handler.headers["Range"][6:].split("-"))
            part = {"Content_Range": f"bytes {begin}-{end}/{items.size}"}
            handler.reply(206, bytes(end + 1 - begin), **part)
            return True

        gateway.files.fault = lie
        health = check(data, [GatewayFiles(Gateway(gateway.url))], rng=random.Random(3))
    states = {file.name: file.hosts[0].state for file in health.files}
    assert states["items.parquet"] == WRONG
