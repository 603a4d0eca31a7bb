"""Proof files: a leaf is included in a manifest, or absent from it.

`alithis.manifest.reader` makes proofs, `alithis.verify` checks them against a commitment.

A proof contains a leaf, its index and Merkle paths, but never a root or a size: a forger of a
proof would forge them too. They come from the chain or from the verifier (docs/format.md, "Proof
files"). The chain, registry and token in a proof file only say where to look.
"""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass
from typing import Any

from alithis.base.untrusted_json import JsonObject, parse
from alithis.errors import FormatError, ProofError, VersionError
from alithis.forms import keyed
from alithis.manifest import merkle
from alithis.manifest.terms import MAX_NAME, MAX_PATH, MAX_PROOF_BYTES

VERSION = 1
MAX_BYTES = MAX_PROOF_BYTES
_MAX_NUMBER = (1 << 64) - 1
_ADDRESS = "0x[0-9a-fA-F]{40}"
_MARK = re.compile(rb'"alithis"\s*:\s*"proof"')


@dataclass(frozen=True, slots=True)
class Subject:
    """The commitment that a proof is about; None for what the proof file does not state.

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
    """The item key and digest that show which data point a keyed leaf stands for.

    They bind the leaf to the digest: another pair with the same leaf would be a collision of
    SHA-256. They show nothing about absence: anybody can choose a key and a digest that give some
    leaf outside of the tree.

    Attributes:
        digest: the data point's digest, 32 bytes.
        key: its item key, 32 bytes.
    """

    digest: bytes
    key: bytes

    def check(self, leaf: bytes) -> None:
        """Check that the key and the digest give this leaf.

        Raises:
            ProofError: they give another leaf.
        """
        found = keyed.leaf(self.key, self.digest)
        if found != leaf:
            raise ProofError(f"the item key and digest give leaf {found.hex()}, not {leaf.hex()}")


@dataclass(frozen=True, slots=True)
class Inclusion:
    """A proof that a leaf is in the tree, at an index.

    Attributes:
        leaf: 32 bytes.
        index: its position, from 0.
        path: sibling hashes, leaf to root.
        opening: for a keyed leaf, its item key and digest, if the publisher reveals them.
    """

    leaf: bytes
    index: int
    path: tuple[bytes, ...]
    opening: Opening | None = None

    def check(self, root: bytes, size: int) -> None:
        """Check the proof against a commitment.

        Raises:
            ProofError: the proof does not hold.
        """
        if self.opening is not None:
            self.opening.check(self.leaf)
        merkle.verify_inclusion(root, size, self.leaf, self.index, self.path)


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A proof that a leaf is absent: the leaves before and after it are adjacent.

    Attributes:
        leaf: the absent leaf, 32 bytes.
        index: the index it would have.
        left: the leaf before it, with its path; None if it would be the first.
        right: the leaf after it, with its path; None if it would be the last.
    """

    leaf: bytes
    index: int
    left: Inclusion | None
    right: Inclusion | None

    def check(self, root: bytes, size: int) -> None:
        """Check the proof against a commitment.

        Raises:
            ProofError: the proof does not hold.
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
    """Read an untrusted proof file.

    Raises:
        VersionError: this release does not know the format version.
        FormatError: the file is not a well-formed proof; the message names the key.
    """
    if len(data) > MAX_BYTES:
        raise FormatError(f"proof: {len(data)} bytes; at most {MAX_BYTES} are allowed")
    document = JsonObject(parse(data, "proof"), "proof")
    if document.values.get("alithis") != "proof":
        raise FormatError("proof: not a proof file")
    version = document.integer("version", 0, _MAX_NUMBER)
    if version != VERSION:
        raise VersionError(
            f"proof: format version {version}; this release reads {VERSION}: upgrade alithis, "
            "or check the origin of the file"
        )
    leaf, index = document.sha256("leaf"), document.integer("index", 0, _MAX_NUMBER)
    if ("inclusion" in document) == ("absence" in document):
        document.fail("inclusion", "or absence is required, but not both")
    if "inclusion" in document:
        opening = _opening(document.object("opening")) if "opening" in document else None
        path = _path(document.object("inclusion"))
        return Inclusion(leaf, index, path, opening), _subject(document)
    if "opening" in document:
        document.fail("opening", "is allowed with inclusion only: it shows nothing about absence")
    absence = document.object("absence")
    left, right = _neighbour(absence, "left", index - 1), _neighbour(absence, "right", index)
    return Exclusion(leaf, index, left, right), _subject(document)


def is_proof(data: bytes) -> bool:
    """Tell whether bytes are a proof file, even a malformed one."""
    if len(data) > MAX_BYTES or not data.lstrip().startswith(b"{"):
        return False
    try:
        return parse(data, "proof").get("alithis") == "proof"
    except FormatError:
        return False


def looks_like_proof(data: bytes) -> str | None:
    """Return what bytes seem to be instead of a proof file: a damaged one, or one in UTF-16.

    If such a file were treated as a data point, the verdict would be "absent", and its reader would
    take that for the verdict of the proof.

    Args:
        data: the first bytes of a file.

    Returns:
        What it looks like, and what to do; None for anything else.
    """
    if _MARK.search(data):
        if data.startswith(codecs.BOM_UTF8):
            return "looks like a proof file with a byte order mark: save it as UTF-8 without one"
        return "looks like a damaged proof file"
    # Windows PowerShell writes UTF-16. Its ASCII characters have one zero byte, those of UTF-32
    # have three; with or without a byte order mark.
    if not _MARK.search(data.replace(b"\0", b"")):
        return None
    name = "UTF-32" if data.count(0) > len(data) * 5 // 8 else "UTF-16"
    return f"looks like a proof file in {name}: save it as UTF-8"


def _side(neighbour: Inclusion | None) -> dict[str, Any] | None:
    if neighbour is None:
        return None
    return {"leaf": neighbour.leaf.hex(), "path": _texts(neighbour.path)}


def _texts(path: tuple[bytes, ...]) -> list[str]:
    return [node.hex() for node in path]


def _opening(value: JsonObject) -> Opening:
    return Opening(value.sha256("digest"), value.sha256("key"))


def _neighbour(absence: JsonObject, side: str, index: int) -> Inclusion | None:
    if side not in absence:  # the leaf would be the first or the last
        return None
    value = absence.object(side)
    return Inclusion(value.sha256("leaf"), index, _path(value))


def _path(value: JsonObject) -> tuple[bytes, ...]:
    return value.sha256_list("path", MAX_PATH)


def _subject(document: JsonObject) -> Subject:
    if "about" not in document.values:
        return Subject()
    about = document.object("about")
    name = about.text("name") if "name" in about else None
    if name and not name.isprintable():
        about.fail("name", "contains unprintable characters")
    return Subject(
        name=name[:MAX_NAME] if name else None,
        metadata=about.sha256("metadata") if "metadata" in about else None,
        chain=_number(about, "chain"),
        registry=about.text("registry", _ADDRESS, "an address, 0x and 40 hexadecimal digits")
        if "registry" in about
        else None,
        token=_number(about, "token"),
    )


def _number(about: JsonObject, key: str) -> int | None:
    return about.integer(key, 0, _MAX_NUMBER) if key in about else None
