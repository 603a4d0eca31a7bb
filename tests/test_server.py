"""`alithis serve`: the page, its configuration, and the local store by range."""

import hashlib
import socket
from pathlib import Path

import pytest
import requests
from artifacts import build
from commands import refused
from serving import serving

from alithis import server
from alithis.cid import Cid
from alithis.storage import Store

NOBODY = "0x" + "11" * 20


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("serve")
    build(root / "rows", [b"row %d" % n for n in range(2000)])
    made = Store(root / "store")
    made.put_manifest(root / "rows")
    return made


@pytest.fixture(scope="module")
def url(store, upstream, upstream_registry):
    chain = ("--rpc", upstream.uri, "--registry", upstream_registry, "--gateway", "http://[::1]:1")
    with serving(*chain, "--store", store.root, "--name", "Here") as found:
        yield found


def get(url, path, **headers):
    return requests.get(url + path, headers=headers, timeout=10)


def test_the_page(url):
    answer = get(url, "/")
    assert answer.status_code == 200
    assert answer.text == (server.page_folder() / "index.html").read_text()


def test_its_configuration(url, upstream, upstream_registry):
    assert get(url, "/config.json").json() == {
        "name": "Here",
        "chain": 314159,
        "rpc": upstream.uri,
        "registry": upstream_registry,
        "gateways": [url, "http://[::1]:1"],
    }


def test_content_by_range(url, store):
    for cid in store.cids():
        whole = get(url, f"/ipfs/{cid}", Origin="https://example.org")
        assert whole.status_code == 200
        with store.open(cid) as file:
            assert whole.content == b"".join(file.blocks())
        assert whole.headers["Access-Control-Allow-Origin"] == "*"
        assert whole.headers["ETag"] == f'"{cid}"'
        assert whole.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"

        part = get(url, f"/ipfs/{cid}", Range="bytes=3-9")
        assert (part.status_code, part.content) == (206, whole.content[3:10])
        assert part.headers["Content-Range"] == f"bytes 3-9/{len(whole.content)}"
        assert get(url, f"/ipfs/{cid}", Range="bytes=-4").content == whole.content[-4:]
        assert get(url, f"/ipfs/{cid}", Range=f"bytes={1 << 40}-").status_code == 416


def test_metadata_by_the_uri_of_a_token(url, store):
    (manifest,) = store.manifests().manifests
    data = get(url, f"/ipfs/{manifest.cid.base16}").content
    assert Cid.raw(hashlib.sha256(data).digest()) == manifest.cid


@pytest.mark.parametrize(
    "path",
    [
        "/ipfs/nothing",
        "/ipfs/" + Cid.raw(bytes(32)).base16,
        "/ipfs/..%2f..%2fpyproject.toml",
        "/ipfs/%00",
        "/ipfs/" + "f" * 5000,
        "/..%2f..%2fpyproject.toml",
        "/nowhere",
        "/ipfs/",
    ],
)
def test_what_is_not_there(url, path):
    answer = get(url, path)
    assert answer.status_code == 404
    assert "build-system" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(url, store, method):
    for path in ("/", "/config.json", f"/ipfs/{next(iter(store.cids()))}"):
        assert requests.request(method, url + path, timeout=10).status_code == 405


def test_a_preflight_allows_ranges(url):
    asked = {"Origin": "https://example.org", "Access-Control-Request-Method": "GET"}
    asked["Access-Control-Request-Headers"] = "range"
    answer = requests.options(f"{url}/ipfs/x", headers=asked, timeout=10)
    assert answer.status_code == 200
    assert "Range" in answer.headers["Access-Control-Allow-Headers"]


class TestCommand:
    def options(self, upstream, registry, *more):
        return ("serve", "--rpc", upstream.uri, "--registry", registry, *more)

    def test_no_registry(self, upstream):
        assert "there is no contract" in refused(*self.options(upstream, NOBODY))

    def test_no_node(self):
        said = refused("serve", "--rpc", "http://127.0.0.1:1", "--registry", NOBODY)
        assert "cannot be reached" in said

    def test_another_chain(self, upstream, upstream_registry):
        options = self.options(upstream, upstream_registry, "--chain", "314")
        assert "serves chain 314159, not 314" in refused(*options)

    def test_a_port_that_is_taken(self, upstream, upstream_registry):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            said = refused(*self.options(upstream, upstream_registry, "--port", port))
        assert f"127.0.0.1:{port}: cannot listen: Address already in use" in said

    def test_a_page_that_is_not_built(self, upstream, upstream_registry, monkeypatch, tmp_path):
        monkeypatch.setattr(server, "files", lambda _: tmp_path)
        said = refused(*self.options(upstream, upstream_registry))
        assert "the page is not built: `make page`" in said
        assert Path(tmp_path).exists()
