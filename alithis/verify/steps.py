"""Checks a target against one commitment, in steps that lead to a verdict.

Each step is a line of the report, and depends on the steps before it:

1. ``record``: the commitment is taken from the chain, or from the user;
2. ``metadata``: metadata.json is read, and its SHA-256 is the committed one;
3. ``commitment``: the metadata states the committed root, size, kind and scheme;
4. ``leaf``: the target's leaf is computed, in the canonical form that the metadata states;
5. ``position``: the leaf is found, or the two neighbours that it would be between;
6. ``path``: hashing from there upwards gives the committed root.

The verdict is ``included`` or ``absent`` if every step passed. Otherwise it is ``unverifiable``,
and the last step says why. ``absent`` means that the leaf is absent from this commitment, and
nothing more: the artifact may contain the data in another form, or the publisher may have left it
out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from alithis.errors import (
    AlithisError,
    FormatError,
    IntegrityError,
    NotStoredError,
    ProofError,
    SourceError,
    StorageError,
)
from alithis.forms.form import BYTES
from alithis.manifest.metadata import Metadata
from alithis.manifest.proof import Exclusion, Inclusion, Proof, Subject
from alithis.manifest.reader import Manifest, Step
from alithis.verify.target import Target
from alithis.verify.verdict import ABSENT, INCLUDED, UNVERIFIABLE, Commitment, Result


def verify(target: Target, commitment: Commitment, open_manifest: Callable[[], Manifest]) -> Result:
    """Verify a target against one commitment.

    Args:
        target: the target.
        commitment: the commitment.
        open_manifest: opens the commitment's manifest; with a proof file, it may fail.

    Returns:
        The result. Errors are not raised, but are in its steps.
    """
    verification = _Verification(target, commitment, open_manifest)
    checks = {
        "metadata": verification.metadata,
        "commitment": verification.commitment,
        "leaf": verification.leaf,
        "position": verification.position,
        "path": verification.path,
    }
    steps = [Step("record", True, commitment.origin)]
    for name, check in checks.items():
        try:
            steps.append(Step(name, True, check()))
        except AlithisError as error:
            steps.append(_failed(name, error))
            break
    return verification.result(steps)


def verify_manifest(
    target: Target, manifest: Path | Manifest, *, root: bytes | None = None, size: int | None = None
) -> Result:
    """Verify a target against a manifest, without a chain.

    Args:
        target: the target.
        manifest: the manifest, or its folder.
        root: the root that it must have. With None, the root that the manifest states is used, and
            the result says so.
        size: the size that it must have; give it together with the root.

    Raises:
        FormatError: the folder does not contain a well-formed manifest.
    """
    opened = manifest if isinstance(manifest, Manifest) else Manifest.open(manifest)
    stated = opened.metadata
    origin = "root and size as given"
    if root is None or size is None:
        root, size = stated.root, stated.size
        origin = "root and size as the manifest states them, not checked against a chain"
    commitment = Commitment(
        root, size, origin, scheme=stated.scheme, subject=Subject(metadata=stated.digest)
    )
    return verify(target, commitment, lambda: opened)


def verify_proof(target: Target, *, root: bytes, size: int) -> Result:
    """Verify a proof file against a root and a size, without a manifest.

    Args:
        target: a proof file.
        root: the committed tree hash, 32 bytes.
        size: the number of leaves as the caller states it: a root alone does not fix it.
    """

    def nowhere() -> Manifest:
        raise NotStoredError("no manifest was given")

    return verify(target, Commitment(root, size, "root and size as given", bare=True), nowhere)


def unopened(place: str, error: AlithisError) -> Result:
    """Return the result for a manifest that cannot be opened.

    Args:
        place: the reference to it.
        error: why it cannot be opened.
    """
    step = _failed("manifest", error)
    return Result(place, None, None, UNVERIFIABLE, None, None, None, (step,))


def _failed(name: str, error: AlithisError) -> Step:
    return Step(name, False, str(error).replace("\n", " "))


# Without the metadata, the canonical form is unknown, so only the file's bytes can be compared.
_BY_BYTES = " (compared by the file's bytes; for another canonical form give --manifest)"


class _Verification:
    """One verification. Each step is a method that returns its result, or raises an error."""

    def __init__(
        self, target: Target, commitment: Commitment, open_manifest: Callable[[], Manifest]
    ) -> None:
        self._target, self._commitment = target, commitment
        self._open_manifest = open_manifest
        self._manifest: Manifest | None = None
        self._proof: Proof | None = None

    def _opened(self) -> Manifest:
        """Return the manifest, opened once."""
        if self._manifest is None:
            self._manifest = self._open_manifest()
        return self._manifest

    @property
    def _stated(self) -> Metadata | None:
        """The metadata; None if the manifest could not be opened."""
        return self._manifest.metadata if self._manifest else None

    @property
    def _scheme(self) -> str | None:
        """The scheme of the leaves; None if it is not known."""
        return self._commitment.scheme or (self._stated.scheme if self._stated else None)

    def metadata(self) -> str:
        """Open the manifest, and check that its metadata is the committed one."""
        if self._target.proof is not None:
            _check_subject(self._target.subject, self._commitment.subject)
            try:
                self._opened()
            except AlithisError as error:
                return f"not read, as the proof file contains the path ({error})"
        opened = self._opened()
        found, committed = opened.metadata.digest, self._commitment.metadata
        if committed is not None and found != committed:
            raise IntegrityError("SHA-256 of metadata.json", expected=committed, found=found)
        return (
            f"SHA-256 {found.hex()}"
            + (", as committed" if committed else "")
            + (f", from {opened.origin}" if opened.origin else "")
        )

    def commitment(self) -> str:
        """Check that the metadata states what is committed."""
        committed, stated = self._commitment, self._stated
        for what in ("root", "size", "kind", "scheme") if stated else ():
            expected, found = getattr(committed, what), getattr(stated, what)
            if expected is not None and expected != found:
                raise IntegrityError(f"{what} in metadata.json", expected=expected, found=found)
        return f"root {committed.root.hex()}, size {committed.size}"

    def leaf(self) -> str:
        """Compute the target's leaf, and compare it with the proof file's if there is one."""
        target, proof = self._target, self._target.proof
        if proof is None:
            return f"{target.leaf(self._opened().metadata).hex()}, {self._leaf_origin()}"
        if isinstance(proof, Inclusion) and proof.opening and self._scheme == "sha256":
            raise ProofError(
                "the proof file contains an item key, but these leaves are digests without keys"
            )
        if target.kind == "proof":
            return self._leaf_alone(proof)
        expected = self._expected_leaf(proof)
        if expected != proof.leaf:
            raise IntegrityError(
                "the proof file's leaf" + ("" if self._stated else _BY_BYTES),
                expected=expected,
                found=proof.leaf,
            )
        return f"{expected.hex()}, {self._leaf_origin()}, and in the proof file"

    def _leaf_origin(self) -> str:
        form = self._stated.form if self._stated else BYTES
        origin = "as given" if self._target.is_digest else f"canonical form {form.name}"
        return origin + (", keyed" if self._scheme == "keyed" else "")

    def _leaf_alone(self, proof: Proof) -> str:
        """Describe the leaf of a proof file that was given without a data point."""
        leaf = f"{proof.leaf.hex()}, from the proof file"
        if isinstance(proof, Inclusion) and proof.opening:
            proof.opening.check(proof.leaf)
            return f"{leaf}, whose opening shows its digest: {proof.opening.digest.hex()}"
        if isinstance(proof, Exclusion):
            stated = self._metadata_for_absence()
            if self._scheme != "keyed":
                return f"{leaf}; the leaves are digests in the canonical form {stated.form.name}"
            # A data point has a different leaf with each key. So the absence of a leaf, which may
            # have been made with any key, does not show that a data point is absent.
            raise SourceError(
                "the absence of a keyed leaf shows nothing about a data point: give the file too, "
                "and the publisher's key with --key-file"
            )
        if self._scheme != "keyed":
            return leaf
        return f"{leaf}; only its publisher knows which data point it belongs to"

    def _metadata_for_absence(self) -> Metadata:
        """Return the metadata, without which an absent leaf says nothing about a data point.

        A leaf of another scheme, or a digest in another form than the tree's, is absent even if the
        data point is included.
        """
        if self._stated is None:
            raise SourceError(
                "a proof of absence shows nothing without the scheme and the canonical form of the "
                "leaves, which metadata.json states: give --manifest"
            )
        return self._stated

    def _expected_leaf(self, proof: Proof) -> bytes:
        """Return the leaf that a proof file about the target must contain."""
        stated = self._stated
        if isinstance(proof, Exclusion):
            stated = self._metadata_for_absence()
        digest = self._target.digest(stated.form if stated else BYTES)
        if isinstance(proof, Inclusion) and proof.opening:
            if proof.opening.digest != digest:
                raise IntegrityError(
                    "digest in the proof file's opening" + ("" if stated else _BY_BYTES),
                    expected=digest,
                    found=proof.opening.digest,
                )
            proof.opening.check(proof.leaf)
            return proof.leaf
        if self._scheme != "keyed":
            return digest
        if stated is None:
            raise SourceError(
                "the proof file does not show which data point its keyed leaf belongs to: ask the "
                "publisher for a proof file with an opening"
            )
        return self._target.leaf(stated)

    def position(self) -> str:
        """Find the leaf or its neighbours, in the manifest or in the proof file."""
        proof = self._target.proof
        if proof is None:
            opened = self._opened()
            proof = opened.prove(self._target.leaf(opened.metadata))
        self._proof = proof
        if isinstance(proof, Inclusion):
            place = f"found at index {proof.index} of {self._commitment.size}"
            return f"{place}, with the size as given" if self._commitment.bare else place
        if self._commitment.disordered:
            # Two neighbours prove absence only if the leaves are in order.
            raise ProofError(
                "not found, but the leaves were proved to be out of order, so absence cannot be "
                "proved"
            )
        return f"{_between(proof)}; {self._order()}"

    def _order(self) -> str:
        """Say whether the order of the leaves, on which absence rests, was checked."""
        opened = self._manifest
        if opened and self._target.proof is not None:
            # The proof file is enough without the leaves, but leaves that are here can refute it.
            with suppress(FormatError, StorageError):
                opened.check_order()
        if opened and opened.ordered:
            return "all leaves were read and ascend"
        return "the order of all leaves was not checked: alithis audit does"

    def path(self) -> str:
        """Check the proof against the committed root."""
        assert self._proof is not None  # set by `position`
        self._proof.check(self._commitment.root, self._commitment.size)
        return f"leads to the committed root {self._commitment.root.hex()}"

    def result(self, steps: Sequence[Step]) -> Result:
        """Return the result with the verdict that follows from the steps."""
        proof = self._proof if all(step.ok for step in steps) else None
        verdict = UNVERIFIABLE
        if proof is not None:
            verdict = INCLUDED if isinstance(proof, Inclusion) else ABSENT
        return Result(
            name=self._stated.name if self._stated else None,
            kind=self._stated.kind if self._stated else None,
            token=self._commitment.token,
            verdict=verdict,
            index=proof.index if proof else None,
            size=self._commitment.size,
            root=self._commitment.root.hex(),
            steps=tuple(steps),
            proof=proof,
            notes=tuple(self._manifest.notes) if self._manifest else (),
        )


def _check_subject(stated: Subject, commitment: Subject) -> None:
    """Check that a proof file does not name another commitment."""
    for what in ("chain", "registry", "token", "metadata"):
        found, expected = getattr(stated, what), getattr(commitment, what)
        if found is None or expected is None:
            continue
        # An address may be written with or without EIP-55's checksum.
        if (found.lower() != expected.lower()) if what == "registry" else (found != expected):
            raise IntegrityError(f"the proof file's {what}", expected=expected, found=found)


def _between(proof: Exclusion) -> str:
    left, right = proof.left, proof.right
    after = f"after {left.leaf.hex()[:12]}… at {left.index}" if left else "before all others"
    before = f"before {right.leaf.hex()[:12]}… at {right.index}" if right else "after all others"
    return f"not found: its place would be {after}, {before}"
