"""Manifests at a distance: few small reads, and no server that can make anything seem absent."""

from __future__ import annotations

import gzip
import json
import shutil
import threading
import traceback

import pytest

from alithis.errors import AlithisError, FormatError, IntegrityError, NotStoredError, StorageError
from alithis.forms.hashing import of_bytes
from alithis.manifest import metadata, proof
from alithis.manifest.reader import Manifest
from alithis.storage.http_manifest import RemoteFile, RemoteFolder
from alithis.verify.reference import Reference, open_manifest
from alithis.verify.steps import verify_manifest
from alithis.verify.target import Target
from alithis.verify.verdict import ABSENT, INCLUDED, UNVERIFIABLE
from helpers.artifacts import build, build_random
from helpers.commands import refused, run, run_json
from helpers.range_server import serving

LOWEST, HIGHEST = bytes(32), b"\xff" * 32
MAX_REQUESTS, MAX_BYTES = 8, 64 * 1024


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Manifests of a thousand, 70,000 and a million data points: of no, two and two tiles."""
    out = tmp_path_factory.mktemp("remote")
    for count in (1_000, 70_000, 1_000_000):
        build_random(out / str(count), count)
    return out


@pytest.fixture
def server(folder):
    with serving(folder) as server:
        yield server


def ask(server, digest, name="70000", **options):
    remote = RemoteFolder(f"{server.url}/{name}", **options)
    return verify_manifest(Target("", digest=digest), remote.open())


def sample(manifest, count):
    """Some leaves, those at the edges among them."""
    leaves = list(manifest.leaves())
    return [leaves[0], leaves[255], leaves[256], leaves[-1], *leaves[:: len(leaves) // count]]


class TestCost:
    """DESIGN.md: at most 8 requests and 64 KiB, at any size."""

    @pytest.mark.parametrize("count", [1_000, 70_000, 1_000_000])
    def test_a_proof_takes_a_few_small_reads(self, server, folder, count):
        local = Manifest.open(folder / str(count))
        included = sample(local, 40)
        absent = [LOWEST, HIGHEST, *(of_bytes(leaf) for leaf in included)]
        for leaf, kind in [(leaf, proof.Inclusion) for leaf in included] + [
            (leaf, proof.Exclusion) for leaf in absent
        ]:
            server.forget()
            remote = RemoteFolder(f"{server.url}/{count}")
            found = remote.open().prove(leaf)

            assert (found, type(found)) == (local.prove(leaf), kind)
            assert (remote.requests, remote.received) == (len(server.asked), server.sent)
            assert remote.requests <= MAX_REQUESTS
            assert remote.received <= MAX_BYTES

    def test_all_leaves_are_read_in_pieces(self, server, folder):
        remote = RemoteFolder(f"{server.url}/70000")
        assert b"".join(remote.open().blocks()) == (folder / "70000" / "leaves").read_bytes()
        assert remote.requests == 1 + 3

    def test_one_connection_serves_all(self, server, folder):
        ports = set()

        def note(handler, _):
            ports.add(handler.client_address[1])
            return False

        server.fault = note
        ask(server, HIGHEST)
        assert len(ports) == 1
        assert len(server.asked) > 3


class TestPlaces:
    @pytest.mark.parametrize("end", ["", "/", "/metadata.json", "//", "#part"])
    def test_folder_or_metadata(self, server, end):
        assert open_manifest(f"{server.url}/1000{end}").metadata.size == 1_000

    def test_the_query_is_sent_with_every_file(self, server):
        remote = RemoteFolder(f"{server.url}/1000/?key=s3cr3t")
        remote.open().prove(HIGHEST)
        assert {path.partition("?")[2] for path, _ in server.asked} == {"key=s3cr3t"}
        assert server.asked[1][0].startswith("/1000/leaves?")

    def test_root_of_a_host(self, folder):
        with serving(folder / "1000") as server:
            assert open_manifest(server.url).metadata.size == 1_000

    @pytest.mark.parametrize(
        ("place", "url"),
        [
            ("http://x", True),
            ("HTTPS://x", True),
            ("http:x", False),
            ("httpx", False),
            ("./http://x", False),
            ("ftp://x", False),
        ],
    )
    def test_urls_are_recognised(self, place, url):
        assert (Reference.parse(place).kind == "url") is url

    @pytest.mark.parametrize("url", ["http://", "https:///x", "http://h:port/"])
    def test_an_invalid_url_is_refused(self, url):
        with pytest.raises(StorageError, match="the server's URL is not http://HOST"):
            RemoteFolder(url)

    def test_secrets_are_not_shown(self, server):
        server.fault = lambda handler, _: handler.reply(500, b"") or True
        url = f"http://s3cr3t-user:s3cr3t-word@{server.address}/s3cr3t-path?key=s3cr3t-key"
        remote = RemoteFolder(url)
        assert "s3cr3t" not in repr(remote)
        with pytest.raises(StorageError) as caught:
            remote.open()
        assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))


def bad(status=None, **headers):
    """A fault of everything but metadata.json: another status, other headers."""

    def fault(handler, path):
        if path.endswith("metadata.json"):
            return False
        if status is None:
            handler.serve(path, **headers)
        else:
            handler.reply(status, b"", **headers)
        return True

    return fault


def body(change, **headers):
    """A fault of everything but metadata.json: another body than the one that is announced."""

    def fault(handler, path):
        if path.endswith("metadata.json"):
            return False
        first, last = map(int, handler.headers["Range"][6:].split("-"))
        data = (handler.files.folder / path).read_bytes()
        part = {"Content_Range": f"bytes {first}-{last}/{len(data)}"}
        handler.reply(206, change(data[first : last + 1]), **part | headers)
        return True

    return fault


def whole(handler, path):
    """Python's own http.server, and other simple ones, know no ranges."""
    del handler.headers["Range"]
    handler.serve(path)
    return True


def endless_redirect(handler, path):
    if path.endswith("metadata.json"):
        return False
    handler.send_response(302)
    handler.send_header("Location", "leaves")
    handler.end_headers()
    handler.close_connection = True
    while True:
        handler.wfile.write(b" " * (1 << 20))


def hang_up(handler, path):
    if path.endswith("metadata.json"):
        return False
    handler.close_connection = True
    return True


FAULTS = {
    "ignores ranges": (
        whole,
        "does not support ranges, and would send all of leaves: download the manifest",
    ),
    "no such range": (bad(416), "has fewer bytes of leaves than metadata.json states: 2240000"),
    "no such file": (bad(404), "has no leaves"),
    "gone": (bad(410), "has no leaves"),
    "forbidden": (bad(403), "answers HTTP 403"),
    "too many requests": (bad(429), "HTTP 429, too many requests: wait"),
    "broken": (bad(500), "answers HTTP 500"),
    "not modified": (bad(304), "answers HTTP 304"),
    "says no range": (bad(Content_Range=None), "does not state which range of leaves"),
    "says nonsense": (bad(Content_Range="bytes 0-1/*"), "does not state which range of leaves"),
    "another file": (
        bad(Content_Range="bytes 0-8191/8192"),
        "bytes in leaves on server .* expected 2240000, found 8192",
    ),
    "another range": (bad(Content_Range="bytes 0-9/2240000"), "returns another range of leaves"),
    "several ranges": (
        bad(Content_Range=None, Content_Type="multipart/byteranges; boundary=x"),
        "does not state which range",
    ),
    "cuts short": (body(lambda data: data[:-1]), r"returns fewer than the \d+ bytes of leaves"),
    "breaks off": (body(lambda data: data[:-1], Content_Length=8192), "closed the connection"),
    "goes on": (body(lambda data: data + b"x"), r"returns more than the \d+ bytes of leaves"),
    "web page": (body(lambda _: b"<html>"), "returns fewer than"),
    "compresses": (
        body(lambda data: gzip.compress(data), Content_Encoding="gzip"),
        "sends an unexpected Content-Encoding",
    ),
    "hangs up": (hang_up, "cannot be reached, or closed the connection"),
    "lies": (body(lambda data: bytes(len(data))), "root from leaves and tiles/"),
    "turns it around": (body(lambda data: data[::-1]), "root from leaves and tiles/"),
    "redirects nowhere": (bad(302), "not an HTTP URL"),
    "redirects to a file": (bad(302, Location="file:///etc/passwd"), "not an HTTP URL"),
    "redirects to no URL": (bad(302, Location="http://[x/"), "not a URL"),
    "redirects, with a body without end": (endless_redirect, "redirects more than 5 times"),
    "redirects in circles": (bad(307, Location="leaves"), "redirects more than 5 times"),
    "redirects inwards": (
        bad(302, Location="http://169.254.169.254/leaves"),
        "redirects into a private network",
    ),
    "redirects to this machine": (
        bad(302, Location="http://localhost:1/leaves"),
        "redirects into a private network",
    ),
}


class TestFaults:
    @pytest.mark.parametrize(("fault", "said"), FAULTS.values(), ids=FAULTS)
    @pytest.mark.parametrize("leaf", ["there", "not there"])
    def test_a_fault_is_reported_and_never_absent(self, server, folder, fault, said, leaf):
        digest = HIGHEST if leaf != "there" else next(Manifest.open(folder / "70000").leaves())
        server.fault = fault
        result = ask(server, digest)

        assert result.verdict == UNVERIFIABLE
        assert [step.ok for step in result.steps] == [True] * 4 + [False]
        with pytest.raises(AlithisError, match=said):
            raise AlithisError(result.steps[-1].detail)
        assert "\n" not in result.steps[-1].detail

    @pytest.mark.parametrize(("fault", "said"), FAULTS.values(), ids=FAULTS)
    def test_a_fault_costs_few_requests_and_bytes(self, server, fault, said):
        server.fault = fault
        remote = RemoteFolder(f"{server.url}/70000")
        with pytest.raises(AlithisError):
            remote.open().prove(HIGHEST)
        assert remote.received <= MAX_BYTES
        assert remote.requests <= MAX_REQUESTS

    def test_redirect_to_an_unencrypted_url(self):
        remote = RemoteFolder("https://example.org/m")
        with pytest.raises(StorageError, match="redirects to an unencrypted URL"):
            remote.redirected("https://example.org/m/leaves", "http://example.org/m/leaves")

    @pytest.mark.parametrize("way", ["silence", "drip"])
    def test_a_server_that_stalls_is_named(self, server, way):
        released = threading.Event()

        def stall(handler, path):
            if path.endswith("metadata.json"):
                return False
            if way == "drip":
                handler.send_response(206)
                handler.end_headers()
            while not released.wait(0.02):
                if way == "drip":
                    handler.wfile.write(b" ")
                    handler.wfile.flush()
            handler.close_connection = True
            return True

        server.fault = stall
        try:
            result = ask(server, HIGHEST, timeout=0.2)
        finally:
            released.set()
        assert result.verdict == UNVERIFIABLE
        assert "0.2 s" in result.steps[-1].detail

    @pytest.mark.parametrize(
        "version",
        [
            lambda turn: {"ETag": f'"{turn}"'},
            lambda turn: {"Last_Modified": f"Mon, 0{turn} Jun 2026 00:00:00 GMT"},
            lambda turn: {"ETag": '"x"' if turn > 1 else None},
        ],
        ids=["ETag", "Last-Modified", "ETag at last"],
    )
    def test_a_file_that_changes_between_reads_is_an_error(self, server, version):
        turns = iter(range(1, 9))

        def changing(handler, path):
            if path.endswith("leaves"):
                handler.serve(path, **version(next(turns)))
            return path.endswith("leaves")

        server.fault = changing
        opened = RemoteFolder(f"{server.url}/70000").open()
        with pytest.raises(StorageError, match="changed leaves while it was read: try again"):
            b"".join(opened.blocks())

    def test_a_file_replaced_between_reads_fails_the_proof(self, server, folder):
        """What a server without ETag or date would do: the path tells."""
        swapped = []

        def replaced(handler, path):
            if path.endswith("tiles/1"):
                swapped.append(path)
                handler.serve(path.replace("70000", "1000000"), ETag=None)
                return True
            return False

        server.fault = replaced
        result = ask(server, HIGHEST)
        assert result.verdict == UNVERIFIABLE
        assert "bytes in tiles/1 on server" in result.steps[-1].detail
        assert swapped

    def test_range_outside_the_file_is_not_asked_for(self, server):
        remote = RemoteFolder(f"{server.url}/1000")
        opened = remote.open()
        file = RemoteFile(remote, opened.metadata.file("leaves"), remote.url("leaves"))
        for offset, length in ((-1, 1), (0, 0), (31_999, 2), (32_000, 1)):
            with pytest.raises(StorageError, match="are outside its 32000"):
                file.read(offset, length)


def first(status=200, content=b"", **headers):
    return lambda handler, _: handler.reply(status, content, **headers) or True


class TestMetadata:
    @pytest.mark.parametrize(
        ("fault", "error", "said"),
        [
            (
                first(404),
                NotStoredError,
                "has no metadata.json at this URL: give the URL of the manifest's folder",
            ),
            (first(410), NotStoredError, "has no metadata.json at this URL"),
            (first(403), StorageError, "answers HTTP 403"),
            (first(206), StorageError, "answers HTTP 206"),
            (first(503), StorageError, "answers HTTP 503"),
            (first(content=b" <!doctype html>"), StorageError, "returns a web page, not metadata"),
            (first(content=b"{}"), FormatError, "server .*: metadata.json: alithis is missing"),
            (first(content=b"{"), FormatError, "server .*: metadata.json: not JSON"),
            (first(content=b""), FormatError, "metadata.json: not JSON"),
            (
                first(content=b" " * (metadata.MAX_BYTES + 1)),
                StorageError,
                "returns a metadata.json of more than 262,144 bytes",
            ),
            (
                first(content=gzip.compress(b"{}"), Content_Encoding="gzip"),
                StorageError,
                "unexpected Content-Encoding",
            ),
            (first(302, Location="/"), StorageError, "redirects more than 5 times"),
        ],
    )
    def test_unusable_metadata_is_an_error(self, server, fault, error, said):
        server.fault = fault
        with pytest.raises(error, match=said) as caught:
            open_manifest(server.url)
        assert str(caught.value).startswith(f"server {server.address}")

    def test_endless_metadata_is_not_read_beyond_the_limit(self, server):
        def flood(handler, _):
            handler.send_response(200)
            handler.end_headers()
            handler.close_connection = True
            while True:
                handler.wfile.write(b" " * (1 << 16))

        server.fault = flood
        remote = RemoteFolder(server.url)
        with pytest.raises(StorageError, match="more than 262,144 bytes"):
            remote.open()
        assert remote.received <= metadata.MAX_BYTES

    def test_metadata_with_another_root(self, server, folder, tmp_path):
        shutil.copytree(folder / "1000", tmp_path / "m")
        path = tmp_path / "m" / "metadata.json"
        root = Manifest.open(tmp_path / "m").metadata.root.hex()
        path.write_text(path.read_text().replace(f'"root": "{root}"', f'"root": "{"00" * 32}"'))
        with serving(tmp_path) as other, pytest.raises(FormatError, match="does not fold"):
            open_manifest(f"{other.url}/m")

    def test_metadata_that_states_another_size_of_a_file(self, server, folder, tmp_path):
        shutil.copytree(folder / "1000", tmp_path / "m")
        path = tmp_path / "m" / "metadata.json"
        path.write_text(path.read_text().replace('"32000 B"', '"32032 B"'))
        with serving(tmp_path) as other, pytest.raises(IntegrityError, match="bytes in leaves"):
            open_manifest(f"{other.url}/m").prove(HIGHEST)


class TestRedirects:
    def test_redirects_are_followed_once_for_each_file(self, server, folder):
        """As from a gateway to where it keeps things."""

        def elsewhere(handler, path):
            if path.startswith("old/"):
                handler.reply(308, b"", Location=f"/{path.removeprefix('old/')}?signed=1")
            return path.startswith("old/")

        server.fault = elsewhere
        opened = RemoteFolder(f"{server.url}/old/70000").open()
        leaf = next(Manifest.open(folder / "70000").leaves())
        assert opened.prove(leaf) == Manifest.open(folder / "70000").prove(leaf)
        opened.prove(HIGHEST)
        old = [path for path, _ in server.asked if path.startswith("/old/")]
        assert len(old) == len(set(old))
        assert len(server.asked) > 2 * len(old)

    def test_a_redirect_to_another_server_is_followed(self, server, folder):
        with serving(folder) as gateway:
            gateway.fault = lambda handler, path: (
                handler.reply(302, b"", Location=f"{server.url}/{path.removeprefix('gate/')}")
                or True
            )
            assert ask(gateway, HIGHEST, "gate/1000").verdict == ABSENT


class TestCommands:
    @pytest.fixture
    def rows(self, tmp_path, monkeypatch):
        """A manifest of a few rows on a server, with a file that is in it and one that is not."""
        for name in ("ALITHIS_RPC", "ALITHIS_REGISTRY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.chdir(tmp_path)
        build(tmp_path / "rows", [b"%d" % number for number in range(300)])
        (tmp_path / "7").write_bytes(b"7")
        (tmp_path / "x").write_bytes(b"x")
        with serving(tmp_path) as server:
            yield server

    def test_verify(self, rows):
        url = f"{rows.url}/rows"
        included = run("verify", "7", "--manifest", url).stdout
        assert "included, at index" in included
        assert "as the manifest states them" in included
        assert "absent from" in run("verify", "x", "--manifest", url, status=1).stdout

    def test_prove(self, rows):
        run("prove", f"{rows.url}/rows/metadata.json", "7", "-o", "7.json")
        data = open_manifest("rows").metadata
        commitment = ["--root", data.root.hex(), "--size", data.size]
        assert "included" in run("verify", "7", "--proof", "7.json", *commitment).stdout

    def test_overlap(self, rows, tmp_path):
        build(tmp_path / "test", [b"7", b"x"])
        told = run_json("overlap", f"{rows.url}/rows", "test", "--list")
        assert told["shared"] == 1
        assert told["data_points"][0]["a"] == []
        assert told["data_points"][0]["b"] == ["00000"]

    def test_one_of_several_that_cannot_be_opened(self, rows):
        places = ["rows", "nothing", f"{rows.url}/nothing", f"{rows.url}/rows"]
        options = [word for place in places for word in ("--manifest", place)]

        results = run_json("verify", "7", *options)["results"]
        assert [each["verdict"] for each in results] == [
            INCLUDED,
            UNVERIFIABLE,
            UNVERIFIABLE,
            INCLUDED,
        ]
        assert results[1]["name"] == "nothing"
        assert results[1]["root"] is None
        assert "nothing: there is no such folder" in results[1]["steps"][0]["detail"]
        assert "has no metadata.json at this URL" in results[2]["steps"][0]["detail"]
        shown = run("verify", "x", *options, status=2).stdout
        assert "nothing: unverifiable: could not check\n  FAIL manifest" in shown
        assert json.dumps(results)

    def test_the_only_one_that_cannot_be_opened(self, rows):
        said = refused("verify", "7", "--manifest", f"{rows.url}/nothing")
        assert "has no metadata.json at this URL: give the URL of the manifest's folder" in said
