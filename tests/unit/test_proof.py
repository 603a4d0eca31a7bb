"""Proof files: they are read back unchanged, and nothing in them is trusted."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alithis.errors import FormatError, ProofError, RootMismatchError, VersionError
from alithis.manifest import proof
from alithis.manifest.proof import Exclusion, Inclusion, Subject
from helpers import reference
from helpers.strategies import digests, leaf_sets

paths = st.lists(digests, max_size=48).map(tuple)
positions = st.integers(0, 2**64 - 1)
inclusions = st.builds(Inclusion, digests, positions, paths)


@st.composite
def exclusions(draw):
    index = draw(st.integers(1, 2**64 - 1))
    left, right = (
        draw(st.none() | st.builds(Inclusion, digests, st.just(at), paths))
        for at in (index - 1, index)
    )
    return Exclusion(draw(digests), index, left, right)


subjects = st.builds(
    Subject,
    name=st.none()
    | st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=200),
    metadata=st.none() | digests,
    chain=st.none() | positions,
    registry=st.none() | st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex()),
    token=st.none() | positions,
)


def written(found=None, **changes):
    """Return a proof file with changed keys; None removes a key."""
    found = found or Inclusion(bytes(32), 1, (bytes(32),))
    document = json.loads(proof.dump(found, Subject("sample", chain=314, token=1))) | changes
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


ABSENT = Exclusion(bytes(32), 1, Inclusion(bytes(32), 0, ()), Inclusion(bytes(32), 1, ()))


class TestRoundTrip:
    @given(found=inclusions | exclusions(), subject=subjects)
    def test_proof_is_read_back_unchanged(self, found, subject):
        assert proof.load(proof.dump(found, subject)) == (found, subject)

    @given(found=inclusions | exclusions(), subject=subjects)
    def test_proof_file_is_recognised(self, found, subject):
        assert proof.is_proof(proof.dump(found, subject))

    def test_longest_proof_fits_the_limit(self):
        side = Inclusion(b"\xff" * 32, 2**64 - 1, (b"\xff" * 32,) * 64)
        subject = Subject(
            "\N{GRINNING FACE}" * 200, bytes(32), 2**64 - 1, "0x" + "f" * 40, 2**64 - 1
        )
        data = proof.dump(Exclusion(bytes(32), 2**64 - 1, side, side), subject)
        assert len(data) <= proof.MAX_BYTES

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\x89PNG\r\n",
            b"{",
            b"[]",
            b'{"alithis": 1}',
            b'{"alithis": "proof"',
            b'"alithis"',
            b'{"alithis": "proof", "x": "' + b"x" * proof.MAX_BYTES + b'"}',
        ],
    )
    def test_other_files_are_not_recognised(self, data):
        assert not proof.is_proof(data)

    def test_malformed_proof_file_is_recognised(self):
        assert proof.is_proof(b' {"alithis": "proof"}')


class TestTrust:
    """Root and size come from the chain or the caller, never from the proof file."""

    @given(leaves=leaf_sets(max_size=20), data=st.data())
    def test_root_and_size_in_a_proof_file_are_ignored(self, leaves, data):
        index = data.draw(st.integers(0, len(leaves) - 1))
        found = Inclusion(leaves[index], index, tuple(reference.path(index, leaves)))
        lying = written(found, root="00" * 32, size=1)
        loaded, _ = proof.load(lying)
        loaded.check(reference.mth(leaves), len(leaves))
        with pytest.raises(ProofError):
            loaded.check(bytes(32), len(leaves))

    def test_positions_of_neighbours_follow_from_the_index(self):
        leaves = [bytes([number]) * 32 for number in (1, 2, 3)]
        left, right = (
            Inclusion(leaves[at], 77, tuple(reference.path(at, leaves))) for at in (0, 1)
        )
        absent = Exclusion(b"\x01" * 31 + b"\x02", 1, left, right)
        absent.check(reference.mth(leaves), 3)
        loaded, _ = proof.load(proof.dump(absent, Subject()))
        assert (loaded.left.index, loaded.right.index) == (0, 1)
        with pytest.raises(ProofError):
            replace(loaded, right=None).check(reference.mth(leaves), 3)

    def test_absence_is_proved_at_the_edges(self):
        leaves = [b"\x05" * 32]
        only = Inclusion(leaves[0], 0, ())
        Exclusion(bytes(32), 0, None, only).check(reference.mth(leaves), 1)
        Exclusion(b"\xff" * 32, 1, only, None).check(reference.mth(leaves), 1)
        with pytest.raises(RootMismatchError):
            Exclusion(bytes(32), 0, None, only).check(bytes(32), 1)

    def test_refuses_a_left_neighbour_of_the_first_position(self):
        loaded, _ = proof.load(written(ABSENT, index=0))
        with pytest.raises(ProofError, match="unexpected"):
            loaded.check(bytes(32), 3)


def test_refuses_an_unknown_version():
    with pytest.raises(VersionError, match="format version 2; this release reads 1"):
        proof.load(written(version=2))


SIDE = {"leaf": "00" * 32, "path": []}
BAD_HASHES = [
    None,
    "",
    "00" * 31,
    "00" * 33,
    "AA" * 32,
    "0x" + "00" * 31,
    "zz" * 32,
    0,
    [],
    "0" * 64 + "\n",
]
BAD_NUMBERS = [-1, 2**64, 1.0, "1", True, [], 1e300]
BAD_PATHS = [None, {}, "00" * 32, [1], ["00"], [None], ["00" * 32] * 65, [["00" * 32]]]


@pytest.mark.parametrize(
    ("key", "document"),
    [
        *[("leaf", written(leaf=value)) for value in BAD_HASHES],
        *[("index", written(index=value)) for value in (None, *BAD_NUMBERS)],
        *[("version", written(version=value)) for value in (None, *BAD_NUMBERS)],
        *[("path", written(inclusion={"path": value})) for value in BAD_PATHS],
        *[
            ("path", written(ABSENT, absence={"left": SIDE | {"path": value}}))
            for value in BAD_PATHS
        ],
        *[
            ("leaf", written(ABSENT, absence={"right": SIDE | {"leaf": value}}))
            for value in BAD_HASHES
        ],
        *[
            ("left must be an object", written(ABSENT, absence={"left": value}))
            for value in (1, "x", [], True)
        ],
        ("not a proof file", written(alithis="manifest")),
        ("not a proof file", written(alithis=None)),
        ("inclusion or absence", written(inclusion=None)),
        ("inclusion must be an object", written(inclusion=[])),
        ("not both", written(absence={"left": SIDE, "right": SIDE})),
        ("not both", written(ABSENT, inclusion={"path": []})),
        ("absence must be an object", written(ABSENT, absence=[])),
        ("about", written(about=[])),
        ("name", written(about={"name": 1})),
        ("name", written(about={"name": "two\nlines"})),
        ("name", written(about={"name": "\x1b[31mred"})),
        ("metadata", written(about={"metadata": "00"})),
        ("chain", written(about={"chain": -1})),
        ("token", written(about={"token": "1"})),
        ("registry", written(about={"registry": "0x00"})),
        ("registry", written(about={"registry": 7})),
        ("not JSON", b"\xff"),
        ("not JSON", b"{"),
        ("not a JSON object", b"[]"),
        ("repeated", b'{"alithis": "proof", "alithis": "proof"}'),
        ("NaN", b'{"alithis": NaN}'),
        ("deep", b'{"a":' + b"[" * 10000),
        ("not JSON", b'{"index": ' + b"9" * 10000 + b"}"),
        ("at most", b" " * (proof.MAX_BYTES + 1)),
    ],
)
def test_malformed_proof_is_refused_and_its_key_named(key, document):
    with pytest.raises(FormatError, match=key) as caught:
        proof.load(document)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("proof: ")


def test_long_name_is_truncated():
    _, subject = proof.load(written(about={"name": "x" * 1000}))
    assert subject.name == "x" * 200


@given(data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_random_bytes_are_refused(data):
    with pytest.raises(FormatError):
        proof.load(data)
