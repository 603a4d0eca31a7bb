"""Reading through gateways that nobody vouches for: Helia as an honest one, stand-ins for the rest.

The faults stand in a table in docs/storage.md.
"""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from alithis.errors import FormatError, IntegrityError, NotStoredError, ProofError, StorageError
from alithis.forms.hashing import of_bytes
from alithis.ipfs import cid
from alithis.ipfs.cid import Cid
from alithis.manifest import merkle, metadata
from alithis.manifest.proof import Exclusion, Inclusion
from alithis.manifest.reader import Manifest
from alithis.storage import fallback, http_manifest, served_manifest
from alithis.storage import gateway as gateway_module
from alithis.storage.cache import Cache
from alithis.storage.fallback import FallbackGateways
from alithis.storage.gateway import Gateway
from alithis.storage.store import Store
from alithis.verify import library
from alithis.verify.library import Shelf
from alithis.verify.reference import open_manifest
from alithis.verify.steps import verify
from alithis.verify.target import Target
from alithis.verify.verdict import ABSENT, INCLUDED, UNVERIFIABLE, Commitment, as_text
from helpers.artifacts import build, build_as_given, build_random, commitment
from helpers.commands import refused, run, run_json
from helpers.range_server import serving
from helpers.trustless import trustless

COUNT = 70_000
MAX_REQUESTS, MAX_BYTES = 8, 64 * 1024


@pytest.fixture(autouse=True)
def nobody_else(monkeypatch):
    """Nothing but loopback is reached, whatever the code does."""
    connect = socket.socket.connect

    def checked(self, address):
        assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1"), address
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", checked)
    for name in ("ALITHIS_RPC", "ALITHIS_REGISTRY", "ALITHIS_STORE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("gateways") / "random"
    build_random(out, COUNT)
    return out


@pytest.fixture(scope="module")
def local(folder):
    return Manifest.open(folder)


@pytest.fixture(scope="module")
def content(folder):
    """A folder as a gateway serves it: each file under ipfs/ and its CID."""
    return laid_out(folder, folder.parent / "content")


def laid_out(folder: Path, content: Path) -> Path:
    (content / "ipfs").mkdir(parents=True, exist_ok=True)
    for path in folder.rglob("*"):
        if path.is_file():
            shutil.copy(path, content / "ipfs" / str(cid.of_file(path)))
    return content


@pytest.fixture
def honest(content):
    with serving(content) as server:
        yield server


@pytest.fixture
def faulty(content):
    with serving(content) as server:
        yield server


@pytest.fixture
def nothing(tmp_path):
    return Store(tmp_path / "nothing")


def leaf_of(local, index):
    return next(local.blocks())[32 * index : 32 * index + 32]


def ask(store, manifest, digest, *servers, timeout=10.0, cache=None):
    """Verifies a digest against what the chain would say of a manifest."""
    each = [Gateway(server.url, timeout=timeout) for server in servers]
    shelf = Shelf(store, (), FallbackGateways(each, cache))
    data = manifest.metadata
    committed = Commitment(data.root, data.size, "the chain", "dataset", "sha256", data.digest)
    return verify(Target("", digest=digest), committed, lambda: shelf.open(data.digest))


class TestPeer:
    """A real IPFS peer as the gateway."""

    @pytest.fixture(scope="class")
    def million(self, tmp_path_factory):
        out = tmp_path_factory.mktemp("million") / "m.alithis"
        build_random(out, 1_000_000)
        return out

    def test_a_million_data_points_put_and_verified_in_64_kib(
        self, ipfs_peer, million, nothing, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("ALITHIS_STORE", str(tmp_path / "store"))
        (placed,) = run_json("store", "put", million, "--to", f"kubo={ipfs_peer.url}")["hosts"]
        assert placed["error"] is None
        local = Manifest.open(million)
        leaves = [*list(local.leaves())[:: 1_000_000 // 12], bytes(32), b"\xff" * 32]
        leaves += [of_bytes(leaf) for leaf in leaves[:12]]
        verdicts = []
        for leaf in leaves:
            gateway = Gateway(ipfs_peer.url)
            found = FallbackGateways([gateway]).open(Cid.raw(local.metadata.digest), nothing)
            proof = found.prove(leaf)
            proof.check(local.metadata.root, local.metadata.size)

            assert proof == local.prove(leaf)
            assert gateway.requests <= MAX_REQUESTS
            assert gateway.received <= MAX_BYTES
            verdicts.append(type(proof))
        assert verdicts.count(Inclusion) == 13
        assert verdicts.count(Exclusion) == 14

    def test_a_peer_is_asked_by_any_kind_of_cid(self, ipfs_peer, folder, local, nothing):
        """Version 0 of metadata.json, and a directory with it."""
        stored = ipfs_peer.add_manifest(folder)
        whole = (folder / metadata.FILE).read_bytes()
        old = ipfs_peer.add(whole, **{"cid-version": "0"})
        assert old.version == 0
        for each in (stored, old):
            found = FallbackGateways([Gateway(ipfs_peer.url)]).open(each, nothing)
            assert found.metadata.digest == local.metadata.digest
            assert found.origin == f"gateway {Gateway(ipfs_peer.url).host}"

    def test_metadata_of_several_blocks_is_read(self, ipfs_peer, folder, local, nothing):
        whole = (folder / metadata.FILE).read_bytes()
        options = {"cid-version": "1", "chunker": "size-1024", "max-file-links": "4"}
        many = ipfs_peer.add(whole, **options)
        found = FallbackGateways([Gateway(ipfs_peer.url)]).open(many, nothing)
        assert found.metadata.digest == local.metadata.digest

    def test_a_file_that_is_not_metadata_is_refused(self, ipfs_peer, folder, nothing):
        ipfs_peer.add_manifest(folder)
        leaves = cid.of_file(folder / "leaves")
        with pytest.raises(FormatError, match=r"2,?240,?000 bytes; at most 262,144 are read"):
            FallbackGateways([Gateway(ipfs_peer.url)]).open(leaves, nothing)

    def test_content_that_no_peer_has_is_an_error(self, ipfs_peer, nothing):
        unknown = Cid.raw(of_bytes(b"nobody has this"))
        with pytest.raises(NotStoredError, match=r"cannot find .* \(HTTP 504\)"):
            FallbackGateways([Gateway(ipfs_peer.url)]).open(unknown, nothing)


class TestChain:
    """The commands, on a chain and a peer."""

    @pytest.fixture(scope="class")
    def dataset(self, tmp_path_factory):
        out = tmp_path_factory.mktemp("chain")
        build(out / "rows.alithis", [b"%d" % number for number in range(900)])
        (out / "7").write_bytes(b"7")
        (out / "x").write_bytes(b"x")
        return out

    @pytest.fixture(scope="class")
    def minted(self, dataset, upstream, owner, ipfs_peer):
        """Options that name a registry with one token, whose manifest is on the peer alone."""
        manifest = Manifest.open(dataset / "rows.alithis")
        ipfs_peer.add_manifest(dataset / "rows.alithis")
        registry = upstream.deploy()
        registry.mintDataset(commitment(manifest.metadata), [], sender=owner)
        return ["--rpc", upstream.uri, "--registry", registry.address]

    @pytest.fixture(autouse=True)
    def here(self, dataset, tmp_path, monkeypatch):
        monkeypatch.chdir(dataset)
        monkeypatch.setenv("ALITHIS_STORE", str(tmp_path / "store"))

    def test_a_verifier_without_any_files_verifies(self, minted, ipfs_peer):
        gateway = ["--gateway", ipfs_peer.url]
        included = run("verify", "7", *minted, *gateway).stdout
        assert "rows (token 1): included, at index" in included
        host = Gateway(ipfs_peer.url).host
        assert f"as committed, from gateway {host}\n" in included
        assert (
            "absent from the committed 900 leaves"
            in run("verify", "x", *minted, *gateway, status=1).stdout
        )

    def test_gateways_come_from_the_environment(self, minted, ipfs_peer, monkeypatch):
        monkeypatch.setenv("ALITHIS_GATEWAYS", f"http://127.0.0.1:9 {ipfs_peer.url}")
        (result,) = run_json("verify", "7", *minted)["results"]
        assert result["verdict"] == INCLUDED
        assert result["notes"] == [
            "gateway 127.0.0.1:9 cannot be reached, or closed the connection"
        ]

    def test_gateway_none_sends_no_request(self, minted):
        (result,) = run_json("verify", "x", *minted, "--gateway", "none", status=2)["results"]
        assert result["verdict"] == UNVERIFIABLE
        assert "is not in the store" in result["steps"][-1]["detail"]

    def test_without_a_network_the_verdict_is_unverifiable(self, minted):
        """As with a cable that is pulled: neither included nor absent."""
        unreachable = ["--gateway", "http://127.0.0.1:9", "--gateway", "http://127.0.0.1:10"]
        (result,) = run_json("verify", "x", *minted, *unreachable, status=2)["results"]
        assert result["verdict"] == UNVERIFIABLE
        for port in (9, 10):
            assert f"gateway 127.0.0.1:{port} cannot be reached" in result["steps"][-1]["detail"]

    def test_a_second_run_reads_from_the_cache(
        self, minted, ipfs_peer, monkeypatch, tmp_path, dataset
    ):
        monkeypatch.setenv("ALITHIS_CACHE", str(tmp_path / "cache"))
        run("verify", "7", *minted, "--gateway", ipfs_peer.url)
        result = run("verify", "7", *minted, "--gateway", "http://127.0.0.1:9").stdout
        assert "included" in result
        assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700

    def test_a_proof_file_needs_no_gateway(self, minted, dataset, honest):
        run("prove", "rows.alithis", "7", "-o", "alone.json")
        gateway = ["--gateway", honest.url]
        assert "included" in run("verify", "alone.json", *minted, *gateway).stdout
        assert honest.asked == []

    def test_offline_the_cache_is_used(self, minted, ipfs_peer, monkeypatch, tmp_path):
        monkeypatch.setenv("ALITHIS_CACHE", str(tmp_path / "cache"))
        run("verify", "7", *minted, "--gateway", ipfs_peer.url)
        assert "included" in run("verify", "7", *minted, "--gateway", "none").stdout

    def test_lineage_of_a_file_is_found_through_gateways(self, minted, ipfs_peer, tmp_path):
        told = run(
            "lineage", "./7", *minted, "--index", tmp_path / "index", "--gateway", ipfs_peer.url
        )
        assert "rows" in told.stdout

    def test_a_proof_is_made_from_a_cid(self, minted, ipfs_peer, dataset):
        digest = Manifest.open(dataset / "rows.alithis").metadata.digest
        for uri in (f"ipfs://{Cid.raw(digest)}", f"ipfs://{Cid.raw(digest).base16}"):
            gateway = ["--gateway", "http://127.0.0.1:9", "--gateway", ipfs_peer.url]
            out = run("prove", uri, "7", "-o", "7.json", *gateway)
            assert "note: gateway 127.0.0.1:9 cannot be reached" in out.stderr
            assert "included" in run("verify", "7", "--proof", "7.json", *minted).stdout
        options = ["--manifest", uri, "--gateway", ipfs_peer.url]
        assert "included" in run("verify", "7", *options).stdout

    def test_invalid_gateways_are_refused(self, minted):
        assert "the gateway's URL is not http" in refused(
            "verify", "7", *minted, "--gateway", "file:///etc"
        )
        assert "'none' cannot be combined" in refused(
            "verify", "7", *minted, "--gateway", "none", "--gateway", "http://x"
        )
        many = [word for n in range(9) for word in ("--gateway", f"http://127.0.0.1:{n + 1}")]
        assert "at most 8" in refused("verify", "7", *minted, *many)


def is_range(handler):
    return handler.headers["Range"] is not None


def on_ranges(answer):
    """A fault of what is read by range; metadata.json is given."""
    return lambda handler, path: is_range(handler) and (answer(handler, path), True)[1]


def on_all(answer):
    return lambda handler, path: (answer(handler, path), True)[1]


def reply(status, body=b"", **headers):
    return lambda handler, _: handler.reply(status, body, **headers)


def changed(change, **headers):
    """Answers the range that was asked for, with other bytes in it."""

    def answer(handler, path):
        data = (handler.files.folder / path).read_bytes()
        if not is_range(handler):
            handler.reply(200, change(data), **headers)
            return
        begin, end = map(int, handler.headers["Range"][6:].split("-"))
        part = {"Content_Range": f"bytes {begin}-{end}/{len(data)}"}
        handler.reply(206, change(data[begin : end + 1]), **part | headers)

    return answer


def whole(handler, path):
    del handler.headers["Range"]
    handler.serve(path)


def hang_up(handler, _):
    handler.close_connection = True


def flood(handler, _):
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    while True:
        handler.wfile.write(b" " * (1 << 16))


def corrupted(data):
    return bytes([data[0] ^ 1]) + data[1:]


class TestFaults:
    """A gateway of no use is named, the next one asked; with none left nothing is absent."""

    def check(self, faulty, honest, nothing, local, fault, said, **options):
        faulty.fault = fault
        present = leaf_of(local, 300)
        for digest, verdict in ((present, INCLUDED), (of_bytes(b"x"), ABSENT)):
            result = ask(nothing, local, digest, faulty, honest, **options)
            assert result.verdict == verdict
            named = [line for line in result.notes if faulty.address in line]
            assert any(said in line for line in named), result.notes
            assert f"note gateway {faulty.address}" in as_text(result)

            alone = ask(nothing, local, digest, faulty, **options)
            assert alone.verdict == UNVERIFIABLE
            assert said in alone.steps[-1].detail
            assert f"gateway {faulty.address}" in alone.steps[-1].detail
            assert "\n" not in alone.steps[-1].detail

    @pytest.fixture
    def holds(self, faulty, honest, nothing, local):
        def check(fault, said, **options):
            self.check(faulty, honest, nothing, local, fault, said, **options)

        return check

    def test_corrupted_bytes_are_read_from_another_gateway(self, holds):
        """They show only once the path does not lead to the root."""
        holds(on_ranges(changed(corrupted)), "root from leaves and tiles/")

    def test_zeros_are_read_from_another_gateway(self, holds):
        holds(on_ranges(changed(lambda data: bytes(len(data)))), "root from leaves and tiles/")

    def test_leaves_of_another_dataset(self, holds, tmp_path):
        """As many, in order, with a tree of their own: a lie that only the root tells."""
        leaves = [of_bytes(b"%d" % number) for number in range(COUNT)]
        build_as_given(tmp_path / "other", sorted(leaves))

        def answer(handler, path):
            size = (handler.files.folder / path).stat().st_size
            name = "leaves" if size > 10_000 else "tiles/1"
            begin, end = map(int, handler.headers["Range"][6:].split("-"))
            data = (tmp_path / "other" / name).read_bytes()[begin : end + 1]
            handler.reply(206, data, Content_Range=f"bytes {begin}-{end}/{size}")

        holds(on_ranges(answer), "root from leaves and tiles/")

    def test_a_wrong_cid(self, holds):
        """Another file than the one that was asked for."""
        holds(on_all(changed(corrupted)), "SHA-256: expected")

    def test_cut_answers(self, holds):
        holds(on_ranges(changed(lambda data: data[:-1])), "returns fewer than")
        holds(
            on_ranges(changed(lambda data: data[:-1], Content_Length=8192)), "closed the connection"
        )
        holds(on_all(changed(lambda data: data[:-1])), "SHA-256: expected")

    def test_cut_connections(self, holds):
        holds(on_ranges(hang_up), "cannot be reached, or closed the connection")
        holds(on_all(hang_up), "cannot be reached, or closed the connection")

    def test_server_errors(self, holds):
        for status in (500, 502, 503):
            holds(on_ranges(reply(status)), f"answers HTTP {status}")
            holds(on_all(reply(status)), f"answers HTTP {status}")

    def test_a_web_page_is_refused(self, holds):
        page = reply(200, b"<!DOCTYPE html><p>Welcome", Content_Type="text/html")
        holds(on_all(page), "returns a web page")
        holds(on_ranges(page), "does not support ranges")
        holds(on_ranges(changed(lambda _: b"<html>")), "returns fewer than")

    def test_ignored_ranges(self, holds):
        holds(on_ranges(whole), "does not support ranges")

    def test_other_ranges(self, holds):
        other = "returns another range"
        holds(on_ranges(lambda h, p: h.serve(p, Content_Range=f"bytes 0-9/{32 * COUNT}")), other)

    def test_oversized_answers(self, holds):
        holds(on_ranges(changed(lambda data: data + b"x")), "returns more than")
        holds(on_all(reply(200, b" " * (metadata.MAX_BYTES + 1))), "returns more than the 262,144")
        holds(on_all(flood), "returns more than the 262,144")

    def test_decompression_bombs(self, holds):
        bomb = gzip.compress(bytes(50 << 20))
        holds(on_all(reply(200, bomb, Content_Encoding="gzip")), "unexpected Content-Encoding")
        holds(on_ranges(reply(206, bomb, Content_Encoding="gzip")), "unexpected Content-Encoding")

    def test_redirect_loops(self, holds):
        holds(on_all(reply(302, Location="/ipfs/again")), "redirects more than 5 times")
        holds(on_ranges(reply(307, Location="/ipfs/again")), "redirects more than 5 times")

    @pytest.mark.parametrize(
        ("location", "said"),
        [
            ("file:///etc/passwd", "not an HTTP URL"),
            ("ftp://127.0.0.1/x", "not an HTTP URL"),
            ("http://[x/", "not a URL"),
            ("", "not an HTTP URL"),
            ("http://169.254.169.254/latest/meta-data", "redirects to another host"),
            ("http://localhost/ipfs/x", "redirects to another host"),
            ("http://10.0.0.1:5001/", "redirects to another host"),
            ("https://evil.example/ipfs/x", "redirects to another host"),
            ("http://127.0.0.1.evil.example/", "redirects to another host"),
            ("http://127.0.0.1@evil.example/", "redirects to another host"),
            ("http://127.0.0.1:5001/api/v0/shutdown", "redirects to another port"),
            ("http://127.0.0.1/", "redirects to another port"),
            ("http://127.0.0.1:99999/", "redirects to another port"),
            ("http://127.0.0.1:x/", "redirects to another port"),
            ("https://127.0.0.1:22/", "redirects to another port"),
        ],
    )
    def test_redirects_elsewhere(self, holds, location, said):
        holds(on_all(reply(302, Location=location)), said)

    def test_slow_gateways(self, holds):
        released = threading.Event()

        def silent(handler, _):
            released.wait(20)
            handler.close_connection = True

        def dripping(handler, _):
            handler.send_response(206)
            handler.end_headers()
            handler.close_connection = True
            while not released.wait(0.02):
                handler.wfile.write(b" ")
                handler.wfile.flush()

        try:
            holds(on_ranges(silent), "sent no answer within 0.3 s", timeout=0.3)
            holds(on_all(silent), "sent no answer within 0.3 s", timeout=0.3)
            holds(on_ranges(dripping), "takes longer than 0.3 s", timeout=0.3)
        finally:
            released.set()

    def test_a_gateway_that_cannot_be_reached(self, honest, nothing, local):
        class Gone:
            url, address = "http://127.0.0.1:9", "127.0.0.1:9"

        result = ask(nothing, local, of_bytes(b"x"), Gone, honest)
        assert result.verdict == ABSENT
        assert result.notes == ("gateway 127.0.0.1:9 cannot be reached, or closed the connection",)

    def test_a_gateway_without_the_content_is_not_reported(self, faulty, honest, nothing, local):
        for status in (404, 410, 504):
            faulty.fault = on_all(reply(status))
            result = ask(nothing, local, of_bytes(b"x"), faulty, honest)
            assert (result.verdict, result.notes) == (ABSENT, ())
            alone = ask(nothing, local, of_bytes(b"x"), faulty)
            assert alone.verdict == UNVERIFIABLE
            assert (
                "give its folder with --manifest, or add it with `alithis store put`"
                in alone.steps[-1].detail
            )

    def test_too_many_requests(self, faulty, honest, nothing, local):
        """The others are asked first; with none left, it is waited for."""
        answers = iter(range(99))

        def busy(handler, _):
            if next(answers) % 2 == 0:
                handler.reply(429, b"", Retry_After="1")
                return True
            return False

        faulty.fault = busy
        result = ask(nothing, local, of_bytes(b"x"), faulty, honest)
        assert result.verdict == ABSENT
        assert result.notes == (f"gateway {faulty.address} rate-limits us (HTTP 429)",)
        assert honest.asked
        alone = ask(nothing, local, of_bytes(b"x"), faulty)
        assert alone.verdict == ABSENT

    def test_too_many_requests_for_an_hour(self, faulty, honest, nothing, local):
        faulty.fault = on_all(reply(429, Retry_After="3600"))
        assert ask(nothing, local, of_bytes(b"x"), faulty, honest).verdict == ABSENT
        faulty.forget()
        alone = ask(nothing, local, of_bytes(b"x"), faulty)
        assert alone.verdict == UNVERIFIABLE
        assert "try again in 3,600 s" in alone.steps[-1].detail
        assert len(faulty.asked) == 1

    def test_several_gateways_lie_differently(self, content, honest, nothing, local):
        with serving(content) as first, serving(content) as second, serving(content) as third:
            first.fault = on_ranges(changed(corrupted))
            second.fault = on_ranges(whole)
            third.fault = on_ranges(changed(lambda data: data[::-1]))
            liars = (first, second, third)
            alone = ask(nothing, local, of_bytes(b"x"), *liars)
            rescued = ask(nothing, local, of_bytes(b"x"), *liars, honest)
        assert alone.verdict == UNVERIFIABLE
        for each in (first, third):
            assert f"gateway {each.address} gave: root from" in alone.steps[-1].detail
        assert rescued.verdict == ABSENT
        for each in liars:
            assert any(each.address in line for line in rescued.notes)

    def test_a_gateway_that_lies_and_then_disappears(self, content, nothing, local):
        """Both are said, and what the other one did."""
        with serving(content) as liar, serving(content) as other:
            liar.fault = on_ranges(changed(corrupted))
            other.fault = on_ranges(reply(403))
            each = FallbackGateways([Gateway(liar.url), Gateway(other.url)])
            opened = each.open(Cid.raw(local.metadata.digest), nothing)
            with pytest.raises(StorageError, match="root from leaves and tiles/") as caught:
                opened.prove(leaf_of(local, 300))
            liar.fault = on_ranges(reply(500))
            with pytest.raises(StorageError, match="answers HTTP 500") as again:
                opened.prove(leaf_of(local, 300))
        assert liar.address in str(caught.value)
        assert "answers HTTP 403" in str(again.value)

    @pytest.mark.parametrize("liar", [0, 1, 2])
    def test_each_gateway_has_a_part_and_one_lies(self, content, nothing, local, liar):
        """One has leaves alone, one the rest, one lies: in any order the proof is found."""
        leaves = str(cid.of_bytes(b"".join(local.leaves())))

        def lacking(lacks):
            return lambda handler, path: lacks(path) and (handler.reply(404, b""), True)[1]

        with serving(content) as first, serving(content) as second, serving(content) as third:
            servers = [first, second]
            first.fault = lacking(lambda path: not path.endswith(leaves) and "bafybe" in path)
            second.fault = lacking(lambda path: path.endswith(leaves))
            third.fault = on_ranges(changed(corrupted))
            servers.insert(liar, third)
            result = ask(nothing, local, of_bytes(b"x"), *servers)
        assert result.verdict == ABSENT

    def test_a_damaged_file_in_the_store(self, folder, honest, nothing, local, tmp_path):
        store = Store(tmp_path / "store")
        store.put_manifest(folder)
        path = store.path(cid.of_file(folder / "leaves"))
        path.chmod(0o600)
        path.write_bytes(bytes(path.stat().st_size))
        result = ask(store, local, leaf_of(local, 300), honest)
        assert result.verdict == INCLUDED
        assert ask(store, local, leaf_of(local, 300)).verdict == UNVERIFIABLE

    def test_metadata_damaged_in_the_store(self, folder, honest, local, tmp_path):
        store = Store(tmp_path / "store")
        path = store.path(store.put_manifest(folder))
        path.chmod(0o600)
        path.write_bytes(b"{}")
        result = ask(store, local, leaf_of(local, 300), honest)
        assert result.verdict == INCLUDED
        assert "in the store is damaged" in result.notes[0]

    def test_leaves_that_only_gateways_have(self, folder, honest, local, tmp_path):
        store = Store(tmp_path / "store")
        store.put_manifest(folder)
        store.path(cid.of_file(folder / "leaves")).unlink()
        result = ask(store, local, leaf_of(local, 300), honest)
        assert (result.verdict, result.notes) == (INCLUDED, ())
        assert honest.asked
        assert {path for path, _ in honest.asked} == {f"/ipfs/{cid.of_file(folder / 'leaves')}"}

    def test_a_gateway_that_times_out_twice_gets_less_time(
        self, faulty, honest, nothing, folder, local, monkeypatch
    ):
        monkeypatch.setattr(gateway_module, "SHORT_TIMEOUT", 0.05)
        released = threading.Event()
        faulty.fault = on_all(lambda handler, _: (released.wait(20), hang_up(handler, _)))
        gateway = Gateway(faulty.url, timeout=0.5)
        both = FallbackGateways([gateway, Gateway(honest.url)])
        said = []
        for _ in range(3):
            said += both.open(Cid.raw(local.metadata.digest), nothing).notes
        released.set()
        assert [line.rpartition("within ")[2] for line in said] == ["0.5 s", "0.5 s", "0.05 s"]


class TestPublisher:
    """A publisher who lies cannot turn gateways against others."""

    def test_a_tree_that_does_not_match_its_leaves_only_fails_its_own_manifest(
        self, nothing, tmp_path, honest, local
    ):
        leaves = sorted(of_bytes(b"%d" % number) for number in range(400))
        build_as_given(tmp_path / "lie", leaves)
        (tmp_path / "lie" / "leaves").write_bytes(bytes(400 * 32))
        content = laid_out(tmp_path / "lie", tmp_path / "content")
        lie = Manifest.open(tmp_path / "lie")
        path = content / "ipfs" / lie.metadata.file("leaves").cid
        path.write_bytes(bytes(400 * 32))
        with serving(content) as server:
            each = FallbackGateways([Gateway(server.url)])
            shelf = Shelf(nothing, (), each)
            with pytest.raises(StorageError, match="root from leaves and tiles/"):
                shelf.open(lie.metadata.digest).prove(of_bytes(b"x"))
            laid_out(tmp_path / "good", content)
            build(tmp_path / "good", [b"1", b"2"])
            laid_out(tmp_path / "good", content)
            good = Manifest.open(tmp_path / "good")
            assert shelf.open(good.metadata.digest).prove(of_bytes(b"1"))

    def test_deep_trees_are_refused(self, nothing, ipfs_peer):
        """A tower of nodes, one on the other, over one block."""
        node = cid.DagNode(ipfs_peer.add(b"x"), 1, 1)
        blocks = {}
        for _ in range(20):
            node, block = cid.join([node])
            blocks[node.cid] = block

        class Tower:
            host, wait_seconds = "tower", 0.0

            def block(self, wanted, limit):
                return blocks[wanted]

        with pytest.raises(FormatError, match="more than 16 nodes deep"):
            FallbackGateways([Tower()]).metadata(node.cid, [])

    def test_metadata_of_a_thousand_blocks_is_refused(self, nothing):
        leaf = cid.of_bytes(b"x")
        node, block = cid.join([cid.DagNode(leaf, 1, 1)] * 1000)
        asked = []

        class Wide:
            host, wait_seconds = "wide", 0.0

            def block(self, wanted, limit):
                asked.append(wanted)
                return block if wanted == node.cid else b"x"

        with pytest.raises(FormatError, match="the file has more than 64"):
            FallbackGateways([Wide()]).metadata(node.cid, [])
        assert len(asked) <= 65

    @pytest.mark.parametrize(
        "url", ["file:///etc/passwd", "http://127.0.0.1:1/x", "https://10.0.0.1/x", "ipfs://../x"]
    )
    def test_urls_in_metadata_are_not_fetched(self, url, tmp_path, honest, nothing):
        build(tmp_path / "m", [b"1"])
        path = tmp_path / "m" / metadata.FILE
        text = path.read_text()
        place = Manifest.open(tmp_path / "m").metadata.file("leaves").cid
        path.write_text(text.replace(f"ipfs://{place}", url))
        laid_out(tmp_path / "m", tmp_path / "content")
        with serving(tmp_path / "content") as server:
            with pytest.raises(FormatError, match="contentUrl must be an ipfs:// URL"):
                FallbackGateways([Gateway(server.url)]).open(cid.of_file(path), nothing)
            assert len(server.asked) == 1


class TestReferences:
    @pytest.fixture(scope="class")
    def directory(self, folder):
        """Blocks of a directory with a manifest in it, as a gateway that knows blocks has them."""
        inner, inner_block = directory({metadata.FILE: cid.of_file(folder / metadata.FILE)})
        outer, outer_block = directory({"photos.alithis": inner, "a b": inner, "..": inner})
        return outer, {inner: inner_block, outer: outer_block}

    @pytest.fixture
    def blocks(self, directory, content, tmp_path):
        shutil.copytree(content, tmp_path / "content")
        for each, block in directory[1].items():
            (tmp_path / "content" / "ipfs" / str(each)).write_bytes(block)
        with serving(tmp_path / "content") as server:
            yield FallbackGateways([Gateway(server.url)])

    @pytest.mark.parametrize(
        "path", ["/photos.alithis", "/photos.alithis/", "/photos.alithis/metadata.json", "/a%20b"]
    )
    def test_paths(self, directory, blocks, local, nothing, path):
        found = open_manifest(f"ipfs://{directory[0]}{path}", store=nothing, gateways=blocks)
        assert found.metadata.digest == local.metadata.digest
        assert found.prove(of_bytes(b"x")) == local.prove(of_bytes(b"x"))

    @pytest.mark.parametrize(
        "path",
        [
            "/..",
            "/../x",
            "/%0A%2Fx",
            "/photos.alithis/../x",
            "/.",
            "//x",
            "/a%2Fb",
            "/%2e%2e",
            "/a%00",
        ],
    )
    def test_path_traversal_is_refused(self, directory, blocks, nothing, path):
        with pytest.raises(FormatError, match="the path after the CID is not valid"):
            open_manifest(f"ipfs://{directory[0]}{path}", store=nothing, gateways=blocks)
        assert blocks.gateways[0].requests == 0

    def test_endless_paths_are_refused(self, directory, blocks, nothing):
        with pytest.raises(FormatError, match="the path after the CID is not valid"):
            open_manifest(f"ipfs://{directory[0]}{'/x' * 17}", store=nothing, gateways=blocks)

    def test_a_path_that_does_not_exist_is_an_error(self, directory, blocks, nothing):
        with pytest.raises(FormatError, match="has no entry 'gone'"):
            open_manifest(f"ipfs://{directory[0]}/gone", store=nothing, gateways=blocks)

    @pytest.mark.parametrize(
        "name", ["", "x", "../../etc/passwd", "Qm..", "bafkrei%2f", "http://127.0.0.1/", "f" * 73]
    )
    def test_invalid_cids_are_refused(self, blocks, nothing, name):
        with pytest.raises(FormatError):
            open_manifest(f"ipfs://{name}", store=nothing, gateways=blocks)
        assert blocks.gateways[0].requests == 0

    def test_a_directory_that_is_altered(self, directory, blocks, nothing):
        server = blocks.gateways[0]
        other = Cid(1, cid.DAG_PB, of_bytes(b"x"))
        blocks = FallbackGateways([server])
        with pytest.raises(NotStoredError, match="has no"):
            open_manifest(f"ipfs://{other}/x", store=nothing, gateways=blocks)


def directory(entries):
    """A directory's CID and block."""
    links = b"".join(
        cid._bytes_field(
            2,
            cid._bytes_field(1, bytes(each))
            + cid._bytes_field(2, name.encode())
            + cid._int_field(3, 1),
        )
        for name, each in sorted(entries.items())
    )
    block = links + cid._bytes_field(1, cid._int_field(1, 1))
    return cid.block_cid(block), block


class TestGateway:
    @pytest.mark.parametrize(
        ("url", "asked"),
        [
            ("http://h", "http://h/ipfs/{}"),
            ("http://h/", "http://h/ipfs/{}"),
            ("https://h:8/ipfs", "https://h:8/ipfs/{}"),
            ("https://h/a/ipfs/", "https://h/a/ipfs/{}"),
            ("https://h/?token=s", "https://h/ipfs/{}?token=s"),
        ],
    )
    def test_urls(self, url, asked):
        name = cid.of_bytes(b"")
        assert Gateway(url).url(name) == asked.format(name)
        assert Gateway(url).url(name, format="raw").endswith("format=raw")

    def test_secrets_are_not_shown(self, honest, nothing):
        honest.fault = on_all(reply(500))
        gateway = Gateway(f"http://s3cr3t:s3cr3t@{honest.address}/s3cr3t?token=s3cr3t")
        with pytest.raises(StorageError) as caught:
            gateway.block(cid.of_bytes(b"x"))
        assert "s3cr3t" not in f"{caught.value} {gateway!r} {gateway}"
        assert "s3cr3t" in honest.asked[0][0]

    def test_redirects_to_a_subdomain_are_followed(self):
        """As https://dweb.link/ipfs/CID does, to https://CID.ipfs.dweb.link/."""
        gateway = Gateway("https://dweb.link")
        url = f"https://{cid.of_bytes(b'')}.ipfs.dweb.link/"
        assert gateway.redirected("https://dweb.link/ipfs/x", url) == url
        with pytest.raises(StorageError, match="redirects to an unencrypted URL"):
            gateway.redirected("https://dweb.link/ipfs/x", url.replace("https", "http"))
        with pytest.raises(StorageError, match="redirects to another host"):
            gateway.redirected("https://dweb.link/ipfs/x", "https://evildweb.link/")

    def test_redirects_within_the_gateway_are_followed(self, honest, nothing, local):
        def elsewhere(handler, path):
            if path.startswith("ipfs/"):
                handler.reply(301, b"", Location=f"/moved/{path.removeprefix('ipfs/')}")
                return True
            handler.serve(path.replace("moved", "ipfs"))
            return True

        honest.fault = elsewhere
        assert ask(nothing, local, of_bytes(b"x"), honest).verdict == ABSENT

    def test_a_gateway_without_formats(self, honest, nothing, local):
        def strict(handler, path):
            if "format=" in handler.path:
                handler.reply(400, b"what?")
                return True
            return False

        honest.fault = strict
        assert ask(nothing, local, of_bytes(b"x"), honest).verdict == ABSENT

    def test_a_trustless_gateway_gives_blocks_only(self, folder, nothing, local):
        """As trustless-gateway.link: ranges are cut out of the blocks around them."""
        with trustless(folder) as server:
            honest = server.answer

            def no_files(handler, path):
                if "format=" not in handler.path:
                    handler.reply(406, b"what format?")
                    return True
                return honest(handler, path)

            server.files.fault = no_files
            for digest, verdict in ((leaf_of(local, 300), INCLUDED), (of_bytes(b"x"), ABSENT)):
                result = ask(nothing, local, digest, server)
                assert (result.verdict, result.notes) == (verdict, ())

            server.spoil = lambda _, each, data: data if each.codec == cid.RAW else corrupted(data)
            assert ask(nothing, local, of_bytes(b"x"), server).verdict == UNVERIFIABLE

    def test_waiting_for_names_of_models_is_bounded(self, faulty, nothing, local, monkeypatch):
        """They add to an answer, and prove nothing."""
        monkeypatch.setattr(library, "_PATIENCE", 0.0)
        faulty.fault = on_all(reply(500))
        shelf = Shelf(nothing, (), FallbackGateways([Gateway(faulty.url)]))
        for number in range(5):
            assert shelf.statement(bytes([number]) * 32).name is None
        assert len(faulty.asked) == 1
        faulty.fault = lambda *_: False
        assert shelf.open(local.metadata.digest)

    def test_a_leaf_of_another_length_is_refused(self, honest, nothing, local):
        each = FallbackGateways([Gateway(honest.url)])
        opened = each.open(Cid.raw(local.metadata.digest), nothing)
        with pytest.raises(ProofError, match="32 bytes, not 3"):
            opened.prove(b"abc")

    def test_positions_and_blocks(self, faulty, honest, nothing, local):
        faulty.fault = on_ranges(changed(corrupted))
        each = FallbackGateways([Gateway(faulty.url), Gateway(honest.url)])
        opened = each.open(Cid.raw(local.metadata.digest), nothing)
        assert opened.at(12_345) == local.at(12_345)
        each = FallbackGateways([Gateway(honest.url)])
        opened = each.open(Cid.raw(local.metadata.digest), nothing)
        assert b"".join(opened.blocks()) == b"".join(local.blocks())

    def test_the_default_gateways(self, monkeypatch):
        def default_hosts():
            return [gateway.host for gateway in FallbackGateways.from_environment().gateways]

        monkeypatch.delenv("ALITHIS_GATEWAYS")
        monkeypatch.setattr(fallback, "LOCAL", "http://127.0.0.1:9")
        assert default_hosts() == ["ipfs.io", "dweb.link"]
        with socket.create_server(("127.0.0.1", 0)) as node:
            local = f"127.0.0.1:{node.getsockname()[1]}"
            monkeypatch.setattr(fallback, "LOCAL", f"http://{local}")
            assert default_hosts() == [local, "ipfs.io", "dweb.link"]

    def test_tests_do_not_ask_public_gateways(self):
        assert os.environ["ALITHIS_GATEWAYS"] == "none"
        assert FallbackGateways.from_environment().gateways == ()
        assert FallbackGateways.from_environment().cache.get("x") is None


class TestCache:
    def test_a_cache_returns_what_was_put(self, tmp_path):
        cache = Cache(tmp_path / "cache")
        assert cache.get("a") is None
        cache.put("a", b"content")
        assert Cache(tmp_path / "cache").get("a") == b"content"
        cache.put("b", b"x" * ((2 << 20) + 1))
        assert cache.get("b") is None

    def test_a_damaged_cache_entry_counts_as_missing(self, tmp_path):
        cache = Cache(tmp_path / "cache")
        cache.put("a", b"content")
        (place,) = (tmp_path / "cache").glob("*/*")
        for data in (b"", b"\0" * 20, place.read_bytes()[:-1], place.read_bytes() + b"x"):
            place.write_bytes(data)
            assert cache.get("a") is None

    def test_the_cache_has_a_maximum_size(self, tmp_path):
        cache = Cache(tmp_path / "cache", limit=1 << 20)
        for number in range(300):
            cache.put(str(number), bytes(8192))
            os.utime(cache._path(str(number)), ns=(number, number))
            taken = sum(path.stat().st_blocks * 512 for path in cache._folder.glob("*/*"))
            assert taken <= (1 << 20) * 1.25
        assert cache.get("299") is not None
        assert cache.get("0") is None

    def test_a_full_disk_does_not_fail_a_read(self, tmp_path, honest, nothing, local):
        """Nor is a folder that cannot be made."""
        (tmp_path / "file").write_bytes(b"")
        cache = Cache(tmp_path / "file" / "cache")
        assert ask(nothing, local, of_bytes(b"x"), honest, cache=cache).verdict == ABSENT

    def test_a_poisoned_cache_is_bypassed(self, tmp_path, faulty, honest, nothing, local):
        """A range that somebody put there: the look-up is made again without it."""
        cache = Cache(tmp_path / "cache")
        present = leaf_of(local, 300)
        assert ask(nothing, local, present, honest, cache=cache).verdict == INCLUDED
        entry = local.metadata.file("leaves")
        assert cache.get(served_manifest._cache_key(entry, 8192)) is not None
        cache.put(served_manifest._cache_key(entry, 8192), bytes(8192))
        result = ask(nothing, local, present, honest, cache=cache)
        assert result.verdict == INCLUDED
        assert result.notes[0].startswith("the cache gave: root from")
        assert (
            cache.get(served_manifest._cache_key(entry, 8192)) == next(local.blocks())[8192:16384]
        )

    def test_ranges_without_a_valid_proof_are_not_cached(self, tmp_path, faulty, nothing, local):
        faulty.fault = on_ranges(changed(corrupted))
        cache = Cache(tmp_path / "cache")
        assert ask(nothing, local, of_bytes(b"x"), faulty, cache=cache).verdict == UNVERIFIABLE
        assert len(list((tmp_path / "cache").glob("*/*"))) == 1  # metadata.json

    def test_many_processes_share_the_cache(self, tmp_path):
        code = (
            "import sys\nfrom pathlib import Path\nfrom alithis.storage.cache import Cache\n"
            "cache = Cache(Path(sys.argv[1]), 1 << 20)\nsys.stdin.readline()\n"
            "for number in range(400):\n"
            "    cache.put(str(number % 150), bytes([number % 150]) * 8192)\n"
            "    kept = cache.get(str(number % 97))\n"
            "    assert kept in (None, bytes([number % 97]) * 8192)\n"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "cache")]
        children = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(3)]
        for child in children:
            child.communicate(b"go\n", timeout=120)
        assert [child.returncode for child in children] == [0, 0, 0]
        assert not list((tmp_path / "cache").glob("*/*.partial"))


def test_every_range_of_a_proof_is_cached(local):
    """All that a proof is made of, and nothing else, as a reader that counts sees it."""
    seen = set()

    def opened(entry):
        path = local._open_file(entry)

        class Seen:
            size = path.size

            def read(self, offset, length):
                seen.add((entry.name, offset))
                return path.read(offset, length)

        return Seen()

    data = (local._open_file.__closure__[0].cell_contents / metadata.FILE).read_bytes()
    for index in (0, 255, 256, 33_333, COUNT - 1):
        seen.clear()
        proof = Manifest(data, opened).at(index)
        assert seen <= served_manifest._ranges_of(proof, COUNT)
        proof.check(local.metadata.root, COUNT)
    assert merkle.TILE * 32 == 8192
    assert http_manifest.TIMEOUT == gateway_module.TIMEOUT
    assert isinstance(IntegrityError("", expected=1, found=2), Exception)
