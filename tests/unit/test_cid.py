"""CIDs against npm's ipfs-unixfs-importer, and against the spellings that must be refused."""

import hashlib
import json
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alithis.errors import ChangedError, FormatError, SourceError
from alithis.ipfs import cid as cids
from alithis.ipfs.cid import DAG_PB, RAW, Cid, Dag, Hasher, Profile
from helpers.paths import VECTOR_FILES

VECTORS = json.loads((VECTOR_FILES / "cid.json").read_text())
EMPTY = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
DIGEST = hashlib.sha256(b"").digest()


def content(size: int) -> bytes:
    return hashlib.shake_256(b"alithis").digest(size)


def shape(chunk_size: int, max_links: int) -> Profile:
    return Profile("small", 1, True, chunk_size, max_links)


def hash_all(data: bytes, profile: Profile) -> str:
    dag = Dag(profile)
    dag.update(data)
    return str(dag.finish())


@pytest.mark.parametrize(("size", "expected"), VECTORS["profile"])
def test_profile_agrees_with_the_importer(size, expected, tmp_path):
    data = content(size)
    path = tmp_path / "file"
    path.write_bytes(data)
    assert str(cids.of_bytes(data)) == expected
    assert str(cids.of_file(path)) == expected
    assert cids.describe(path) == (Cid.parse(expected), hashlib.sha256(data).digest(), size)


@pytest.mark.parametrize(
    ("chunk_size", "max_links", "size", "expected"),
    [
        (shape["chunkSize"], shape["maxChildrenPerNode"], size, expected)
        for shape in VECTORS["shapes"]
        for size, expected in shape["cids"]
    ],
)
def test_tree_shape_agrees_with_the_importer(chunk_size, max_links, size, expected):
    assert hash_all(content(size), shape(chunk_size, max_links)) == expected


@given(pieces=st.lists(st.binary(max_size=20), max_size=12))
def test_cid_does_not_depend_on_the_pieces(pieces):
    whole = b"".join(pieces)
    dag = Dag(shape(7, 2))
    for piece in pieces:
        dag.update(memoryview(piece))
    assert str(dag.finish()) == hash_all(whole, shape(7, 2))
    assert cids.of_chunks(pieces) == cids.of_bytes(whole)


def test_a_dag_keeps_one_node_per_level():
    dag = Dag(shape(1, 4))
    for _ in range(4**5):
        dag.update(b"x")
        assert all(len(row) <= 4 for row in dag._tree._rows)
    assert len(dag._tree._rows) == 5


def test_a_large_file_is_hashed_in_two_threads_to_the_same_digests(tmp_path):
    data = content(1 << 20) * 13 + b"rest"
    (tmp_path / "large").write_bytes(data)
    dag = Dag()
    dag.update(data)
    assert cids.describe(tmp_path / "large") == (
        dag.finish(),
        hashlib.sha256(data).digest(),
        len(data),
    )
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("alithis")]


def test_a_buffer_may_be_reused_after_an_update():
    hasher, buffer = Hasher(), bytearray(1 << 20)
    for number in range(12):
        buffer[:] = bytes([number]) * len(buffer)
        hasher.update(buffer)
    whole = b"".join(bytes([number]) * len(buffer) for number in range(12))
    assert hasher.finish().cid == cids.of_bytes(whole)


@given(
    digest=st.binary(min_size=32, max_size=32), kind=st.sampled_from([(0, 112), (1, 112), (1, 85)])
)
def test_every_encoding_is_read_back(digest, kind):
    cid = Cid(*kind, digest)
    assert Cid.parse(str(cid)) == cid
    assert Cid.parse(cid.uri) == cid
    assert Cid.parse(cid.base16) == Cid(1, cid.codec, digest)


def test_known_encodings():
    # The empty file, as Kubo and every gateway spell it.
    assert str(Cid.raw(DIGEST)) == EMPTY
    assert Cid.raw(DIGEST).uri == f"ipfs://{EMPTY}"
    # The contract's tokenURI.
    assert Cid.raw(DIGEST).base16 == "f01551220" + DIGEST.hex()
    # The empty UnixFS directory, in versions 0 and 1.
    v0 = Cid.parse("QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn")
    v1 = Cid.parse("bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354")
    assert (v0.version, v0.codec, v1.version, v1.codec) == (0, DAG_PB, 1, DAG_PB)
    assert v0.digest == v1.digest
    assert v0 != v1
    assert v0.base16 == v1.base16


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("ipfs://", id="scheme only"),
        pytest.param(EMPTY + "/leaves", id="path after it"),
        pytest.param(EMPTY + "\n", id="trailing newline"),
        pytest.param(" " + EMPTY, id="leading blank"),
        pytest.param("ipfs://ipfs://" + EMPTY, id="scheme twice"),
        pytest.param("https://" + EMPTY, id="other scheme"),
        pytest.param(EMPTY.upper(), id="base32 in capitals"),
        pytest.param("F01551220" + DIGEST.hex().upper(), id="base16 in capitals"),
        pytest.param(EMPTY[:-1], id="cut"),
        pytest.param(EMPTY + "a", id="overlong"),
        pytest.param(EMPTY[:-1] + "v", id="padding bits not zero"),
        pytest.param("b" * 1_000_000, id="giant"),
        pytest.param("f01551320" + DIGEST.hex(), id="sha2-512"),
        pytest.param("f01551221" + DIGEST.hex(), id="digest length 33"),
        pytest.param("f02551220" + DIGEST.hex(), id="version 2"),
        pytest.param("f01711220" + DIGEST.hex(), id="dag-cbor"),
        pytest.param("Qm" + "z" * 44, id="base58, more than 34 bytes or no SHA-256"),
        pytest.param("Qm" + "1" * 44, id="base58, no SHA-256"),
        pytest.param("Qm0" + "1" * 43, id="base58, character outside it"),
        pytest.param("QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3N", id="base58, cut"),
        pytest.param("b" + "é" * 58, id="not ASCII"),
    ],
)
def test_invalid_cids_are_refused(text):
    with pytest.raises(FormatError) as caught:
        Cid.parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "fields",
    [(0, RAW, DIGEST), (2, RAW, DIGEST), (1, 0x71, DIGEST), (1, RAW, b""), (1, RAW, b"x" * 33)],
)
def test_invalid_fields_are_refused(fields):
    with pytest.raises(FormatError):
        Cid(*fields)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="gone: cannot be read: No such file"):
        cids.describe(tmp_path / "gone")


def test_impossible_file_name():
    with pytest.raises(SourceError, match="cannot be read"):
        cids.of_file("a\0b")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(SourceError, match="not a regular file"):
        cids.of_file(tmp_path)


def test_a_fifo_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(SourceError, match="not a regular file"):
        cids.of_file(tmp_path / "fifo")


def test_read_error_is_a_source_error():
    # Linux gives EIO for address 0 of the process's own memory.
    with pytest.raises(SourceError):
        cids.of_file("/proc/self/mem")


def test_file_that_grows_while_it_is_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    reading = cids.blocks(path)
    assert next(reading) == b"one"
    with path.open("ab") as file:
        file.write(b"two")
    with pytest.raises(ChangedError, match="changed while it was read"):
        list(reading)


def test_file_rewritten_while_it_is_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    reading = cids.blocks(path)
    next(reading)
    os.utime(path, ns=(1, 1))
    with pytest.raises(ChangedError):
        list(reading)
