"""The terms that manifests and the registry share, each stated once."""

from __future__ import annotations

from enum import StrEnum


class Term(StrEnum):
    """A word that the contract writes as a number: its position in the enum."""

    @property
    def number(self) -> int:
        """The contract's number for it."""
        return list(type(self)).index(self)


class Kind(Term):
    """What a token stands for."""

    DATASET = "dataset"
    MODEL = "model"


class Scheme(Term):
    """How leaves are made from digests."""

    SHA256 = "sha256"
    KEYED = "keyed"


class Relation(Term):
    """How an artifact came from an older one."""

    DERIVED_FROM = "derived_from"
    TRAINED_ON = "trained_on"
    VALIDATED_ON = "validated_on"
    TESTED_ON = "tested_on"
    FINE_TUNED_FROM = "fine_tuned_from"
    DISTILLED_FROM = "distilled_from"
    SUPERSEDES = "supersedes"


class ClaimStatus(Term):
    """How a claim has been answered: an answer only ever moves down this list."""

    OPEN = "open"
    REJECTED = "rejected"
    ACCEPTED = "accepted"
    REMOVED = "removed"


class Grade(StrEnum):
    """How far a link is evidenced, from little to much (`alithis.verify.grade`)."""

    STATED = "stated"
    TRANSCRIPT = "transcript"
    COUNTERSIGNED = "countersigned"
