"""The IPFS peer that other tests rely on: it is one, and it serves what Kubo does."""

import hashlib
import os
import subprocess

import pytest
import requests

from alithis.ipfs import cid
from helpers.peers import PEER, find_node, run_peer

DATA = os.urandom(3_000_000)


@pytest.fixture(scope="module")
def stored(ipfs_peer):
    return ipfs_peer.add(DATA)


def get(peer, path, **headers):
    return requests.get(f"{peer.url}/ipfs/{path}", headers=headers, timeout=60)


def test_has_the_cids_that_we_compute(ipfs_peer, stored):
    assert stored == cid.of_bytes(DATA)
    assert ipfs_peer.add(b"") == cid.of_bytes(b"")


def test_serves_what_was_added(ipfs_peer, stored):
    answer = get(ipfs_peer, stored)
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["ETag"] == f'"{stored}"'


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=1048570-1048580", 1048570, 1048580),
        ("bytes=-5", 2_999_995, 2_999_999),
        ("bytes=2999990-", 2_999_990, 2_999_999),
        ("bytes=2999990-9999999", 2_999_990, 2_999_999),
    ],
)
def test_serves_ranges(ipfs_peer, stored, asked, first, last):
    answer = get(ipfs_peer, stored, Range=asked)
    assert (answer.status_code, answer.content) == (206, DATA[first : last + 1])
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/3000000"


def test_has_no_range_beyond_the_end(ipfs_peer, stored):
    assert get(ipfs_peer, stored, Range="bytes=3000000-").status_code == 416


@pytest.mark.parametrize(
    ("query", "headers"), [("?format=raw", {}), ("", {"Accept": "application/vnd.ipld.raw"})]
)
def test_serves_blocks(ipfs_peer, query, headers):
    small = ipfs_peer.add(b"one block")
    answer = get(ipfs_peer, small.base16 + query, **headers)
    assert answer.headers["Content-Type"] == "application/vnd.ipld.raw"
    assert hashlib.sha256(answer.content).digest() == small.digest


def test_imports_the_cars_that_it_exported(ipfs_peer, stored):
    archive = get(ipfs_peer, f"{stored}?format=car")
    assert archive.headers["Content-Type"].startswith("application/vnd.ipld.car")
    with run_peer() as other:
        answer = other.command("dag/import", archive.content)
        assert answer["Root"]["Cid"] == {"/": str(stored)}
        assert get(other, stored).content == DATA
        assert str(stored) in other.command("pin/ls", arg=str(stored))["Keys"]


def test_fetches_from_other_peers(ipfs_peer, stored):
    with run_peer(ipfs_peer) as other:
        assert get(other, stored).content == DATA


def test_reports_content_that_no_peer_has(ipfs_peer):
    unknown = cid.of_bytes(b"nowhere")
    assert get(ipfs_peer, unknown).status_code == 504
    answer = get(ipfs_peer, unknown, **{"Cache-Control": "only-if-cached"})
    assert answer.status_code == 412


def test_only_hash_stores_nothing(ipfs_peer):
    answer = ipfs_peer.command("add", b"hashed", **{"only-hash": "true", "cid-version": "1"})
    assert answer["Hash"] == str(cid.of_bytes(b"hashed"))
    unstored = get(ipfs_peer, answer["Hash"], **{"Cache-Control": "only-if-cached"})
    assert unstored.status_code == 412


def test_ends_with_its_standard_input():
    process = subprocess.Popen([find_node(), PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline()
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    process.stdout.close()
