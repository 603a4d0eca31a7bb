"""The terms and limits that manifests, the registry and the page share, each stated once.

tools/generate_terms.py writes them for the page, into web/src/generated/terms.js.
"""

from __future__ import annotations

from enum import StrEnum

MAX_SIZE = 1 << 48
"""Leaves of a commitment at most; this limits the work that an untrusted size can cause."""
MAX_METADATA_BYTES = 256 * 1024
"""The limit of a raw IPFS block: the CID of a larger document would not contain its SHA-256."""
MAX_PROOF_BYTES = 64 * 1024
"""Bytes of a proof file."""
MAX_PATH = 64
"""Hashes in a path of a proof file; a tree of `MAX_SIZE` leaves needs 48."""
MAX_FILES = 300
"""Entries of ``distribution`` in metadata.json: 256 files of items, and room for the others."""
MAX_NAME = 200
"""Characters in an artifact's name."""
MAX_LINKS = 256
"""Links of a token at most (by the contract); also the inputs in metadata.json."""
MAX_TEXT_BYTES = 1024
"""Bytes of a text or URI in an event at most (by the contract)."""


class Term(StrEnum):
    """A word that the contract encodes as a number: its position in the enum."""

    @property
    def number(self) -> int:
        """The contract's number for it."""
        return list(type(self)).index(self)


class Kind(Term):
    """The kind of artifact that a token represents."""

    DATASET = "dataset"
    MODEL = "model"


class Scheme(Term):
    """How leaves are made from digests."""

    SHA256 = "sha256"
    KEYED = "keyed"


class Relation(Term):
    """How an artifact was made from an older one."""

    DERIVED_FROM = "derived_from"
    TRAINED_ON = "trained_on"
    VALIDATED_ON = "validated_on"
    TESTED_ON = "tested_on"
    FINE_TUNED_FROM = "fine_tuned_from"
    DISTILLED_FROM = "distilled_from"
    SUPERSEDES = "supersedes"


class ClaimStatus(Term):
    """The answer to a claim. It can only move down this list."""

    OPEN = "open"
    REJECTED = "rejected"
    ACCEPTED = "accepted"
    REMOVED = "removed"


class Grade(StrEnum):
    """How strong the evidence for a link is, weakest first (`alithis.verify.grade`)."""

    STATED = "stated"
    TRANSCRIPT = "transcript"
    COUNTERSIGNED = "countersigned"
