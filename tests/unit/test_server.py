"""`alithis serve`: the page, its configuration, the store by range, the limits and the log."""

import hashlib
import http.client
import shutil
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from alithis.ipfs.cid import Cid
from alithis.server import app, limits
from alithis.storage.store import Store
from helpers.artifacts import build
from helpers.commands import refused
from helpers.paths import ROOT
from helpers.serving import served, wait_until

NOBODY = "0x" + "11" * 20


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("serve")
    build(root / "rows", [b"row %d" % n for n in range(2000)])
    made = Store(root / "store")
    made.put_manifest(root / "rows")
    return made


@pytest.fixture(scope="module")
def node(upstream, upstream_registry):
    return ("--rpc", upstream.uri, "--registry", upstream_registry)


@pytest.fixture(scope="module")
def here(store, node):
    gateway = ("--gateway", "http://[::1]:1")
    with served(*node, *gateway, "--store", store.root, "--name", "Here") as found:
        wait_until(lambda: found.get("/health/ready").ok)
        yield found


@pytest.fixture(scope="module")
def url(here):
    return here.url


def get(url, path, **headers):
    return requests.get(url + path, headers=headers, timeout=10)


def test_the_page(url):
    answer = get(url, "/")
    assert answer.status_code == 200
    assert answer.text == (app.page_folder() / "index.html").read_text()
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "uvicorn" not in str(answer.headers).lower()


def test_files_of_the_page_are_compressed_and_cached(url):
    for file in app.page_folder().glob("*.js"):
        answer = get(url, f"/{file.name}")
        assert answer.content == file.read_bytes()
        assert answer.headers["Content-Encoding"] == "gzip"
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_configuration_of_the_page(url, upstream, upstream_registry):
    assert get(url, "/config.json").json() == {
        "name": "Here",
        "chain": 314159,
        "rpc": upstream.uri,
        "registry": upstream_registry,
        "gateways": [".", "http://[::1]:1"],
        "api": ".",
    }


@pytest.mark.parametrize("header", ["Host", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"])
@pytest.mark.parametrize("path", ["/config.json", "/", "/api/tokens", "/ipfs", "/api/", "//x/.."])
def test_a_hostile_host_header_is_not_used(url, header, path):
    answer = requests.get(
        url + path, headers={header: "evil.example"}, timeout=10, allow_redirects=False
    )
    assert "evil.example" not in answer.text + str(answer.headers)
    assert not answer.is_redirect


def test_content_by_range(url, store):
    for cid in store.cids():
        whole = get(url, f"/ipfs/{cid}", Origin="https://example.org")
        assert whole.status_code == 200
        with store.open(cid) as file:
            assert whole.content == b"".join(file.blocks())
        assert whole.headers["Access-Control-Allow-Origin"] == "*"
        assert whole.headers["ETag"] == f'"{cid}"'
        assert whole.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert "Content-Encoding" not in whole.headers

        part = get(url, f"/ipfs/{cid}", Range="bytes=3-9")
        assert (part.status_code, part.content) == (206, whole.content[3:10])
        assert part.headers["Content-Range"] == f"bytes 3-9/{len(whole.content)}"
        assert get(url, f"/ipfs/{cid}", Range="bytes=-4").content == whole.content[-4:]
        assert get(url, f"/ipfs/{cid}", Range=f"bytes={1 << 40}-").status_code == 416


def test_metadata_by_the_uri_of_a_token(url, store):
    (manifest,) = store.manifests().manifests
    data = get(url, f"/ipfs/{manifest.cid.base16}").content
    assert Cid.raw(hashlib.sha256(data).digest()) == manifest.cid


HIDDEN = [
    "/ipfs/nothing",
    "/ipfs/" + Cid.raw(bytes(32)).base16,
    "/ipfs/..%2f..%2fpyproject.toml",
    "/ipfs/../../pyproject.toml",
    "/ipfs/%2e%2e/%2e%2e/pyproject.toml",
    "/ipfs/%00",
    "/ipfs/" + "f" * 5000,
    "/..%2f..%2fpyproject.toml",
    "/%2e%2e/%2e%2e/pyproject.toml",
    "/..%5c..%5cpyproject.toml",
    "//etc/passwd",
    "/%2fetc%2fpasswd",
    "/index.html%00.js",
    "/" + "a" * 300,  # longer than a file's name may be
    "/nowhere",
    "/ipfs/",
    "/api",
    "/openapi.json",
]


@pytest.mark.parametrize("path", HIDDEN)
def test_unknown_paths_are_404_and_show_no_file(here, path):
    connection = http.client.HTTPConnection("127.0.0.1", here.port, timeout=10)
    connection.request("GET", path)  # unchanged: requests would normalize it
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    assert answer.status == 404
    assert "build-system" not in body
    assert "root:" not in body
    assert str(ROOT) not in body


def test_the_folder_of_the_store_is_not_shown(url, store):
    for path in HIDDEN[:3]:
        assert str(store.root) not in get(url, path).text


@pytest.mark.parametrize("path", ["/api/", "/api/nothing", "/api/tokens/1/2", "/api/tokens/"])
def test_an_unknown_path_of_the_api_is_a_problem_document(url, path):
    answer = get(url, path)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(url, store, method):
    content = f"/ipfs/{next(iter(store.cids()))}"
    for path in ("/", "/config.json", content, "/api/tokens", "/health/live"):
        assert requests.request(method, url + path, timeout=10).status_code == 405


def test_a_preflight_allows_ranges(url):
    asked = {"Origin": "https://example.org", "Access-Control-Request-Method": "GET"}
    asked["Access-Control-Request-Headers"] = "range"
    answer = requests.options(f"{url}/ipfs/x", headers=asked, timeout=10)
    assert answer.status_code == 200
    assert "Range" in answer.headers["Access-Control-Allow-Headers"]


class TestLog:
    def test_a_request_is_a_line_of_json_without_address_and_path(self, here, store):
        digest, cid = "ab" * 32, next(iter(store.cids()))
        before = len(here.events("request"))
        here.get(f"/api/verify/{digest}?token=1")
        here.get(f"/ipfs/{cid}")
        here.get(f"/api/tokens?search={digest}", X_Secret="spoken")
        here.get(f"/nowhere/{digest}")
        wait_until(lambda: len(here.events("request")) >= before + 4)
        lines = {line["route"]: line for line in here.events("request")[before:]}
        # An earlier test's request may be logged late.
        assert set(lines) >= {"/api/verify/{sha256}", "/ipfs/{cid}", "/api/tokens", "/"}
        verified = lines["/api/verify/{sha256}"]
        assert set(verified) == {"time", "event", "method", "route", "status", "ms", "bytes"}
        assert (verified["status"], lines["/"]["status"]) == (200, 404)
        with store.open(cid) as file:
            assert lines["/ipfs/{cid}"]["bytes"] == file.size
        written = here.path.read_text()
        for secret in (digest, str(cid), "127.0.0.1", "spoken"):
            assert secret not in written

    def test_paths_are_logged_on_request(self, node, store):
        with served(*node, "--store", store.root, "--log-paths") as found:
            found.get("/api/tokens?search=cat")
            wait_until(lambda: found.events("request")[1:])
            assert found.events("request")[-1]["path"] == "/api/tokens?search=cat"

    def test_only_errors_are_logged_on_request(self, node, store):
        with served(*node, "--store", store.root, "--log", "faults") as found:
            found.get("/")
            assert found.path.read_text() == ""


class TestClients:
    def test_a_client_above_its_rate_gets_429(self, node, store):
        with served(*node, "--store", store.root, "--rate", "10") as found:
            answers = [found.get("/api/tokens") for _ in range(8)]
            statuses = [answer.status_code for answer in answers]
            assert statuses[:5] == [200] * 5
            assert statuses[-1] == 429
            refused = answers[-1]
            assert 1 <= int(refused.headers["Retry-After"]) <= 7
            assert refused.headers["Content-Type"] == "application/problem+json"
            assert refused.headers["Access-Control-Allow-Origin"] == "*"
            # Health has no limit.
            assert found.get("/health/ready").status_code in (200, 503)
            # X-Forwarded-For is only trusted from a proxy.
            again = found.get("/api/tokens", **{"X-Forwarded-For": "203.0.113.9"})
            assert again.status_code == 429

    def test_behind_a_proxy_clients_are_told_apart(self, node, store):
        options = ("--rate", "10", "--proxy", "127.0.0.0/8")
        with served(*node, "--store", store.root, *options) as found:

            def ask(who):
                return found.get("/api/tokens", **{"X-Forwarded-For": who}).status_code

            assert [ask("203.0.113.1") for _ in range(7)][-1] == 429
            assert ask("203.0.113.2") == 200
            # A client can send this header itself: the proxy adds the real address on the right.
            assert ask("198.51.100.7, 203.0.113.1") == 429

    def test_rate_0_means_no_limit(self, node, store):
        with served(*node, "--store", store.root, "--rate", "0") as found:
            assert {found.get("/api/tokens").status_code for _ in range(150)} == {200}

    def test_silent_connections_are_closed(self, here):
        """The slow loris attack: many connections, each with a byte of a head now and then."""
        slow = [socket.create_connection(("127.0.0.1", here.port)) for _ in range(20)]
        for each in slow:
            each.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        begun = time.monotonic()
        for each in slow:
            each.settimeout(20)
        stop = threading.Event()

        def drip():
            while not stop.wait(0.5):
                for each in slow:
                    try:
                        each.sendall(b"X-A: b\r\n")
                    except OSError:
                        return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert here.get("/").status_code == 200
            for each in slow:
                with suppress(ConnectionError):
                    assert each.recv(100) == b""
        finally:
            stop.set()
            dripping.join()
            for each in slow:
                each.close()
        assert time.monotonic() - begun < 3 * limits._HEAD

    def test_the_connections_of_a_client_are_limited(self, here):
        many = [socket.create_connection(("127.0.0.1", here.port)) for _ in range(100)]
        try:
            for each in many:
                each.settimeout(10)
                with suppress(ConnectionError):
                    each.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            answered = 0
            for each in many:
                with suppress(ConnectionError):
                    answered += each.recv(12) == b"HTTP/1.1 200"
            assert 1 <= answered <= limits._CONNECTIONS
        finally:
            for each in many:
                each.close()
        wait_until(lambda: _lives(here))

    @pytest.mark.parametrize(
        "head",
        [
            b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 400_000 + b"\r\n\r\n",
            b"GET /" + b"a" * 400_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 80_000 + b"Host: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        ],
        ids=["header", "target", "headers", "tls", "smuggling", "no host", "nul"],
    )
    def test_invalid_heads_are_refused(self, here, head):
        with socket.create_connection(("127.0.0.1", here.port), timeout=20) as raw:
            try:
                raw.sendall(head)
                raw.shutdown(socket.SHUT_WR)
                answer = raw.recv(12)
            except OSError:  # the server may have closed the connection by then
                answer = b""
        assert answer in (b"HTTP/1.1 400", b"HTTP/1.1 431", b"")
        assert _lives(here)

    def test_bodies_are_not_read(self, here):
        answer = requests.get(here.url + "/api/tokens", data=b"x" * 5_000_000, timeout=10)
        assert answer.status_code == 200


def _lives(here):
    try:
        return here.get("/health/live").ok
    except requests.RequestException:
        return False


class TestFaults:
    def test_a_removed_store_is_used_again_when_it_is_back(self, node, store, tmp_path):
        shutil.copytree(store.root, tmp_path / "store")
        cid = next(iter(store.cids()))
        with served(*node, "--store", tmp_path / "store") as found:
            assert found.get(f"/ipfs/{cid}").status_code == 200
            shutil.rmtree(tmp_path / "store")
            assert found.get(f"/ipfs/{cid}").status_code == 404
            listed = found.get("/api/tokens").json()["tokens"]
            assert [each["stored"] for each in listed] == [False, False]
            shutil.copytree(store.root, tmp_path / "store")
            assert found.get(f"/ipfs/{cid}").status_code == 200

    @pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM])
    def test_requests_in_progress_are_finished_when_it_stops(self, node, tmp_path, ends):
        large = Store(tmp_path / "store")
        cid = large.put_bytes(bytes(30_000_000))
        with served(*node, "--store", large.root, ends=ends) as found:
            answer = requests.get(f"{found.url}/ipfs/{cid}", stream=True, timeout=10)
            begun = next(answer.iter_content(1000))
            found.end(ends)
            wait_until(lambda: not _lives(found))
            assert len(begun) + sum(map(len, answer.iter_content(1 << 16))) == 30_000_000

    def test_two_servers_share_an_index(self, node, store, tmp_path):
        shared = ("--index", tmp_path / "shared", "--store", store.root)
        with served(*node, *shared) as one, served(*node, *shared) as other:
            for each in (one, other):
                wait_until(lambda each=each: each.get("/health/ready").status_code == 200)
                assert len(each.get("/api/tokens").json()["tokens"]) == 2
                assert each.events("chain") == []


class TestCommand:
    def options(self, upstream, registry, *more):
        return ("serve", "--rpc", upstream.uri, "--registry", registry, *more)

    def test_an_address_without_a_registry_is_refused(self, upstream):
        assert "there is no contract" in refused(*self.options(upstream, NOBODY))

    def test_an_unreachable_node_is_reported(self):
        said = refused("serve", "--rpc", "http://127.0.0.1:1", "--registry", NOBODY)
        assert "cannot be reached" in said

    def test_another_chain_is_refused(self, upstream, upstream_registry):
        options = self.options(upstream, upstream_registry, "--chain", "314")
        assert "serves chain 314159, not 314" in refused(*options)

    def test_a_port_in_use_is_reported(self, upstream, upstream_registry, tmp_path):
        index = ("--index", tmp_path)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            said = refused(*self.options(upstream, upstream_registry, "--port", port, *index))
        assert f"127.0.0.1:{port}: cannot listen: Address already in use" in said

    def test_a_missing_page_is_reported(self, upstream, upstream_registry, monkeypatch, tmp_path):
        monkeypatch.setattr(app, "files", lambda _: tmp_path)
        said = refused(*self.options(upstream, upstream_registry))
        assert "the page has not been built. In a checkout, run `make page`." in said
        assert Path(tmp_path).exists()

    @pytest.mark.parametrize("library", ["starlette.applications", "uvicorn"])
    def test_missing_libraries_are_named_with_their_extra(
        self, upstream, upstream_registry, tmp_path, monkeypatch, library
    ):
        for name in list(sys.modules):
            if name.startswith(("alithis.server.", library)) and name != "alithis.server.app":
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, library, None)
        said = refused(*self.options(upstream, upstream_registry, "--index", tmp_path))
        assert "pip install 'alithis[serve]'" in said

    def test_an_invalid_proxy_is_refused(self, upstream, upstream_registry):
        said = refused(*self.options(upstream, upstream_registry, "--proxy", "nginx"))
        assert "nginx: not an IP address or network" in said

    @pytest.mark.parametrize("option", ["--gateway", "--page-rpc"])
    def test_urls_that_browsers_cannot_use_are_refused(self, upstream, upstream_registry, option):
        said = refused(*self.options(upstream, upstream_registry, option, "javascript:alert(1)"))
        assert "URL is not http://HOST… or https://HOST…" in said

    def test_a_damaged_index_is_reported(self, upstream, upstream_registry, tmp_path):
        name = f"314159-{upstream_registry.lower()}.sqlite"
        (tmp_path / name).write_bytes(b"not an index " * 1000)
        said = refused(*self.options(upstream, upstream_registry, "--index", tmp_path))
        assert f"{name}: is not an index, or is damaged" in said

    def test_a_secret_node_stays_secret(self, upstream, node, store):
        secret = f"{upstream.uri}/?key=s3cr3ts3cr3t"
        options = ("--rpc", secret, *node[2:], "--page-rpc", "https://public.example/rpc")
        with served(*options, "--store", store.root) as found:
            assert found.get("/config.json").json()["rpc"] == "https://public.example/rpc"
