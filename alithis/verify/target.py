"""The target of a verification: a file, a digest or a proof file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

from alithis.base.files import read_at, regular_file
from alithis.errors import FormatError, SourceError
from alithis.forms import hashing
from alithis.forms.form import Form
from alithis.forms.keyed import PublisherKey
from alithis.manifest import proof as proof_module
from alithis.manifest.metadata import Metadata
from alithis.manifest.proof import Opening, Proof, Subject


class Target:
    """The target of a verification.

    Attributes:
        name: its name in reports.
        proof: the proof, if the target is a proof file or was given with one.
        subject: the commitment that the proof names.
        key: the publisher's key, for keyed leaves.
    """

    def __init__(
        self,
        name: str,
        *,
        path: Path | None = None,
        digest: bytes | None = None,
        proof: tuple[Proof, Subject] | None = None,
        key: PublisherKey | None = None,
    ) -> None:
        """Choose a file or a digest, with or without a proof, or only a proof."""
        self.name = name
        self.key = key
        self.proof: Proof | None = proof[0] if proof else None
        self.subject = proof[1] if proof else Subject()
        self._path = path
        self._digest = digest
        self._digests: dict[Form, bytes] = {}

    @classmethod
    def parse(
        cls, text: str, *, proof_file: Path | None = None, key: PublisherKey | None = None
    ) -> Self:
        """Parse a target: a file's path, or 64 hexadecimal digits.

        Args:
            text: the user's input.
            proof_file: a proof file about the target.
            key: the publisher's key, for keyed leaves.

        Raises:
            SourceError: it is neither a file nor a digest.
            FormatError: a proof file is malformed.
        """
        target = cls._parse(text)
        target.key = key
        if proof_file is None:
            return target
        if target.proof is not None:
            raise SourceError(f"{text}: is itself a proof file: give the data point it is about")
        brought = cls._of_file(proof_file)
        if brought.proof is None:
            raise FormatError(f"{proof_file}: is not a proof file")
        target.proof, target.subject = brought.proof, brought.subject
        return target

    @classmethod
    def _parse(cls, text: str) -> Self:
        if not text:
            raise SourceError(
                "the name is empty: give a file, or 64 hexadecimal digits (a SHA-256)"
            )
        path = Path(text)
        try:
            is_file, exists = path.is_file(), path.exists()
        except OSError as error:
            raise SourceError(f"{text}: cannot be read: {error.strerror}") from error
        if is_file:
            return cls._of_file(path)
        if re.fullmatch(r"(0x)?[0-9a-fA-F]{64}", text):
            return cls(text, digest=bytes.fromhex(text.removeprefix("0x")))
        if exists:
            raise SourceError(f"{text}: is not a regular file")
        raise SourceError(
            f"{text}: there is no such file: give a file, or 64 hexadecimal digits (a SHA-256)"
        )

    @classmethod
    def _of_file(cls, path: Path) -> Self:
        with regular_file(path) as (handle, _):
            head = read_at(handle, 0, proof_module.MAX_BYTES + 1, path)
        if proof_module.is_proof(head):
            return cls(str(path), proof=proof_module.load(head))
        if looks := proof_module.looks_like_proof(head):
            raise FormatError(f"{path}: {looks}; if it is a data point, give its SHA-256")
        return cls(str(path), path=path)

    @property
    def kind(self) -> str:
        """The target's kind: ``file``, ``digest``, or ``proof`` if there is only a proof."""
        if self.is_digest:
            return "digest"
        return "proof" if self._path is None else "file"

    @property
    def is_digest(self) -> bool:
        """Whether the target is a digest."""
        return self._digest is not None

    def digest(self, form: Form) -> bytes:
        """Return the file's digest in a canonical form, or the given digest.

        Raises:
            SourceError: the file does not have this form.
        """
        if self._digest is not None:
            return self._digest
        if form not in self._digests:
            self._digests[form], _ = hashing.of_file(str(self._path), form)
        return self._digests[form]

    def leaf(self, stated: Metadata) -> bytes:
        """Return the leaf that the target would have in an artifact.

        Args:
            stated: the artifact's metadata, which says how its leaves are made.

        Raises:
            SourceError: the file does not have this form, or the publisher's key is needed.
            IntegrityError: the target's key is not the key of the artifact's leaves.
        """
        if self.kind == "proof" and self.proof is not None:
            return self.proof.leaf
        if stated.scheme == "sha256":
            return self.digest(stated.form)
        return self._required_key(stated).leaf(self.digest(stated.form))

    def opening(self, stated: Metadata) -> Opening | None:
        """Return what shows which data point a keyed leaf belongs to; None if leaves have no keys.

        Raises:
            AlithisError: see `leaf`.
        """
        if stated.scheme == "sha256":
            return None
        value = self.digest(stated.form)
        return Opening(value, self._required_key(stated).item_key(value))

    def _required_key(self, stated: Metadata) -> PublisherKey:
        if self.key is None:
            raise SourceError(
                f"the leaves are {stated.scheme}, so only their publisher can compute them: ask "
                "the publisher for a proof file, or give the publisher's key with --key-file"
            )
        self.key.require(stated.key_check)
        return self.key
