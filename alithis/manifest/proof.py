"""Proof files: what was asked of a manifest, and the paths that answer it.

A proof holds a leaf, its position and the paths, never a root or a size: these come from the
chain, or from whoever checks (docs/format.md, "Proof files"). What it says of chain, registry
and token is a hint of where to look, no more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from alithis.base.untrusted_json import parse
from alithis.errors import FormatError, ProofError, VersionError
from alithis.forms import keyed
from alithis.forms.hashing import SIZE
from alithis.manifest import merkle
from alithis.manifest.terms import MAX_NAME, MAX_PATH, MAX_PROOF_BYTES

VERSION = 1
MAX_BYTES = MAX_PROOF_BYTES


@dataclass(frozen=True, slots=True)
class Subject:
    """Which commitment a proof speaks of; None where it does not say.

    Attributes:
        name: the artifact's name.
        metadata: SHA-256 of its metadata.json, 32 bytes.
        chain: chain id.
        registry: the registry's address, 0x….
        token: token id.
    """

    name: str | None = None
    metadata: bytes | None = None
    chain: int | None = None
    registry: str | None = None
    token: int | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """What shows which data point a keyed leaf stands for.

    That it opens the leaf binds the two: another digest for the same leaf would be a collision of
    SHA-256. Of absence it can show nothing: some key makes any leaf out of any digest.

    Attributes:
        digest: the data point's digest, 32 bytes.
        key: its item key, 32 bytes.
    """

    digest: bytes
    key: bytes

    def check(self, leaf: bytes) -> None:
        """Check that this opens a leaf.

        Raises:
            ProofError: it does not.
        """
        found = keyed.leaf(self.key, self.digest)
        if found != leaf:
            raise ProofError(f"the item key opens leaf {found.hex()}, not {leaf.hex()}")


@dataclass(frozen=True, slots=True)
class Inclusion:
    """A leaf stands at an index.

    Attributes:
        leaf: 32 bytes.
        index: its position, from 0.
        path: sibling hashes, leaf to root.
        opening: where the leaf is keyed, what it stands for, if that is shown.
    """

    leaf: bytes
    index: int
    path: tuple[bytes, ...]
    opening: Opening | None = None

    def check(self, root: bytes, size: int) -> None:
        """Check the proof against a commitment.

        Raises:
            ProofError: it does not hold.
        """
        if self.opening is not None:
            self.opening.check(self.leaf)
        merkle.verify_inclusion(root, size, self.leaf, self.index, self.path)


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A leaf is absent: its neighbours stand side by side.

    Attributes:
        leaf: 32 bytes.
        index: where it would stand.
        left: the leaf before, with its path; None at the left edge.
        right: the leaf after, with its path; None at the right edge.
    """

    leaf: bytes
    index: int
    left: Inclusion | None
    right: Inclusion | None

    def check(self, root: bytes, size: int) -> None:
        """Check the proof against a commitment.

        Raises:
            ProofError: it does not hold.
        """
        left, right = self.left, self.right
        merkle.verify_exclusion(
            root,
            size,
            self.leaf,
            self.index,
            left.leaf if left else None,
            left.path if left else (),
            right.leaf if right else None,
            right.path if right else (),
        )


Proof = Inclusion | Exclusion


def dump(proof: Proof, subject: Subject) -> bytes:
    """Write a proof file.

    Returns:
        JSON; `load` reads it back.
    """
    document: dict[str, Any] = {"alithis": "proof", "version": VERSION}
    document |= {"leaf": proof.leaf.hex(), "index": proof.index}
    if isinstance(proof, Inclusion):
        document["inclusion"] = {"path": _texts(proof.path)}
        if proof.opening is not None:
            opening = {"digest": proof.opening.digest.hex(), "key": proof.opening.key.hex()}
            document["opening"] = opening
    else:
        document["absence"] = {"left": _side(proof.left), "right": _side(proof.right)}
    about = {
        "name": subject.name,
        "metadata": subject.metadata.hex() if subject.metadata else None,
        "chain": subject.chain,
        "registry": subject.registry,
        "token": subject.token,
    }
    document["about"] = {key: value for key, value in about.items() if value is not None}
    return json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"


def load(data: bytes) -> tuple[Proof, Subject]:
    """Read a proof file that nobody vouches for.

    Raises:
        VersionError: the format version is not one this release knows.
        FormatError: the file is not a well-formed proof; the message names the key.
    """
    if len(data) > MAX_BYTES:
        raise FormatError(f"proof: {len(data)} bytes; at most {MAX_BYTES} are allowed")
    document = parse(data, "proof")
    if document.get("alithis") != "proof":
        _fail("is no proof file")
    version = _number(document.get("version"), "version")
    if version != VERSION:
        raise VersionError(f"proof: format version {version}; this release reads {VERSION}")
    leaf, index = _hash(document.get("leaf"), "leaf"), _number(document.get("index"), "index")
    inclusion, absence = document.get("inclusion"), document.get("absence")
    opening = _opening(document.get("opening"))
    if isinstance(inclusion, dict) and absence is None:
        found = Inclusion(leaf, index, _path(inclusion), opening)
        return found, _subject(document.get("about", {}))
    if not isinstance(absence, dict) or inclusion is not None:
        _fail("states neither inclusion nor absence, or both")
    if opening is not None:
        _fail("opening goes with inclusion: it shows nothing of what is absent")
    left = _neighbour(absence.get("left"), index - 1)
    right = _neighbour(absence.get("right"), index)
    return Exclusion(leaf, index, left, right), _subject(document.get("about", {}))


def is_proof(data: bytes) -> bool:
    """Tell whether bytes are meant as a proof file, well-formed or not."""
    if len(data) > MAX_BYTES or not data.lstrip().startswith(b"{"):
        return False
    try:
        return parse(data, "proof").get("alithis") == "proof"
    except FormatError:
        return False


def _opening(value: Any) -> Opening | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        _fail("opening is no object")
    return Opening(_hash(value.get("digest"), "digest"), _hash(value.get("key"), "key"))


def _side(neighbour: Inclusion | None) -> dict[str, Any] | None:
    if neighbour is None:
        return None
    return {"leaf": neighbour.leaf.hex(), "path": _texts(neighbour.path)}


def _texts(path: tuple[bytes, ...]) -> list[str]:
    return [node.hex() for node in path]


def _neighbour(value: Any, index: int) -> Inclusion | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        _fail("a neighbour is no object")
    return Inclusion(_hash(value.get("leaf"), "leaf"), index, _path(value))


def _path(value: Mapping[str, Any]) -> tuple[bytes, ...]:
    nodes = value.get("path")
    if not isinstance(nodes, list) or len(nodes) > MAX_PATH:
        _fail(f"path is no list of at most {MAX_PATH} hashes")
    return tuple(_hash(node, "path") for node in nodes)


def _subject(about: Any) -> Subject:
    if not isinstance(about, dict):
        _fail("about is no object")
    name, metadata, registry = (about.get(key) for key in ("name", "metadata", "registry"))
    if name is not None and not (isinstance(name, str) and name.isprintable()):
        _fail("name is no printable text")
    if registry is not None and not _matches(registry, r"0x[0-9a-fA-F]{40}"):
        _fail("registry is no address 0x…")
    return Subject(
        name=name[:MAX_NAME] if name else None,
        metadata=None if metadata is None else _hash(metadata, "metadata"),
        chain=_optional(about.get("chain"), "chain"),
        registry=registry,
        token=_optional(about.get("token"), "token"),
    )


def _optional(value: Any, key: str) -> int | None:
    return None if value is None else _number(value, key)


def _number(value: Any, key: str) -> int:
    if type(value) is not int or not 0 <= value < 1 << 64:
        _fail(f"{key} is no whole number below 2^64")
    return value


def _hash(value: Any, key: str) -> bytes:
    if not _matches(value, rf"[0-9a-f]{{{2 * SIZE}}}"):
        _fail(f"{key} is not 64 lower-case hexadecimal digits")
    return bytes.fromhex(value)


def _matches(value: Any, pattern: str) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _fail(what: str) -> NoReturn:
    raise FormatError(f"proof: {what}")
