"""A target against one commitment → a verdict, and the steps that led to it.

Each step is a line of the report, and needs the ones before it:

1. ``record``: what is committed, from the chain or as given;
2. ``metadata``: fetched, and its SHA-256 is the committed one;
3. ``commitment``: the metadata states the committed root, size, kind and scheme;
4. ``leaf``: computed from the target, in the canonical form that the metadata states;
5. ``position``: the leaf was found, or the two neighbours it would stand between;
6. ``path``: hashing up from there gives the committed root.

The verdict is ``included`` or ``absent`` if every step passed, else ``unverifiable``, and the last
step says why. ``absent`` means absent from this commitment, and nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from alithis.errors import (
    AlithisError,
    IntegrityError,
    NotStoredError,
    ProofError,
    SourceError,
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
        target: what is asked about.
        commitment: what is committed.
        open_manifest: opens the commitment's manifest; a proof file can do without.

    Returns:
        The result. What goes wrong is in its steps.
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
        target: what is asked about.
        manifest: the manifest's folder, or a manifest opened elsewhere.
        root: the root it must have; None takes the one that the manifest states, and says so.
        size: the size it must have; goes with the root.

    Raises:
        FormatError: the directory holds no well-formed manifest.
    """
    opened = manifest if isinstance(manifest, Manifest) else Manifest.open(manifest)
    stated = opened.metadata
    origin = "root and size as given"
    if root is None or size is None:
        root, size = stated.root, stated.size
        origin = "root and size as the manifest states them: not checked against a chain"
    commitment = Commitment(
        root, size, origin, scheme=stated.scheme, subject=Subject(metadata=stated.digest)
    )
    return verify(target, commitment, lambda: opened)


def verify_proof(target: Target, *, root: bytes, size: int) -> Result:
    """Verify a proof file against a root and a size, without a manifest.

    Args:
        target: a proof file.
        root: the committed tree hash, 32 bytes.
        size: the committed number of leaves.
    """

    def nowhere() -> Manifest:
        raise NotStoredError("no manifest was given")

    return verify(target, Commitment(root, size, "root and size as given"), nowhere)


def unopened(place: str, error: AlithisError) -> Result:
    """Return the result for a manifest that cannot be opened.

    Args:
        place: where it should be.
        error: why it cannot be opened.
    """
    step = _failed("manifest", error)
    return Result(place, None, None, UNVERIFIABLE, None, None, None, (step,))


def _failed(name: str, error: AlithisError) -> Step:
    return Step(name, False, str(error).replace("\n", " "))


# A proof file can be checked without the metadata; then only the stored bytes can be compared.
_BY_BYTES = " (compared by the file's bytes; --manifest tells the canonical form)"


class _Verification:
    """One verification. Each step is a method: it returns what it found, or raises."""

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
        """The metadata, if the manifest could be opened."""
        return self._manifest.metadata if self._manifest else None

    @property
    def _scheme(self) -> str | None:
        """The scheme of the leaves, if it is known."""
        return self._commitment.scheme or (self._stated.scheme if self._stated else None)

    def metadata(self) -> str:
        """Open the manifest, and check that its metadata is the committed one."""
        if self._target.proof is not None:
            _check_subject(self._target.subject, self._commitment.subject)
            try:
                self._opened()
            except AlithisError as error:
                return f"not needed: the proof file has the path ({error})"
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
                "the proof file has an item key, but these leaves are plain digests without keys"
            )
        if target.kind == "proof":
            return self._leaf_alone(proof)
        expected = self._expected_leaf(proof)
        if expected != proof.leaf:
            raise IntegrityError(
                "leaf that the proof file is about" + ("" if self._stated else _BY_BYTES),
                expected=expected,
                found=proof.leaf,
            )
        return f"{expected.hex()}, {self._leaf_origin()}, and in the proof file"

    def _leaf_origin(self) -> str:
        form = self._stated.form if self._stated else BYTES
        origin = "as given" if self._target.is_digest else f"canonical form {form.name}"
        return origin + (", keyed" if self._scheme == "keyed" else "")

    def _leaf_alone(self, proof: Proof) -> str:
        """Say what the leaf of a proof file stands for, when no data point was given with it."""
        leaf = f"{proof.leaf.hex()}, from the proof file"
        if isinstance(proof, Inclusion) and proof.opening:
            proof.opening.check(proof.leaf)
            return f"{leaf}, which says whose it is: digest {proof.opening.digest.hex()}"
        if self._scheme != "keyed":
            return leaf
        if isinstance(proof, Exclusion):
            # A data point has another leaf under each key: that one leaf is absent rules out none.
            raise SourceError(
                "the absence of a keyed leaf shows nothing about a data point: name the file too, "
                "and give the publisher's key with --key-file"
            )
        return f"{leaf}; only its publisher knows which data point it stands for"

    def _expected_leaf(self, proof: Proof) -> bytes:
        """Return the leaf that the target must have for a proof file to be about it."""
        stated = self._stated
        if isinstance(proof, Exclusion) and stated is None:
            # In another form the same file has another digest, which is absent from any tree.
            raise SourceError(
                "a proof of absence is about a canonical form, which metadata.json states: "
                "give --manifest"
            )
        digest = self._target.digest(stated.form if stated else BYTES)
        if isinstance(proof, Inclusion) and proof.opening:
            if proof.opening.digest != digest:
                raise IntegrityError(
                    "digest that the proof file opens" + ("" if stated else _BY_BYTES),
                    expected=digest,
                    found=proof.opening.digest,
                )
            proof.opening.check(proof.leaf)
            return proof.leaf
        if self._scheme != "keyed":
            return digest
        if stated is None:
            raise SourceError(
                "the proof file does not say which data point its keyed leaf stands for: ask the "
                "publisher for one that does"
            )
        return self._target.leaf(stated)

    def position(self) -> str:
        """Find the leaf or its neighbours; a proof file names them."""
        proof = self._target.proof
        if proof is None:
            opened = self._opened()
            proof = opened.prove(self._target.leaf(opened.metadata))
        self._proof = proof
        if isinstance(proof, Inclusion):
            return f"found at index {proof.index} of {self._commitment.size}"
        if self._commitment.disordered:
            # Absence between two neighbours follows from the order of the leaves alone.
            raise ProofError(
                "not found, but the leaves were proved to be out of order, so it may be anywhere"
            )
        return _between(proof)

    def path(self) -> str:
        """Check the proof against the committed root."""
        assert self._proof is not None  # `position` passed
        self._proof.check(self._commitment.root, self._commitment.size)
        return f"leads to the committed root {self._commitment.root.hex()}"

    def result(self, steps: Sequence[Step]) -> Result:
        """Return the verdict that the steps lead to."""
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
    """Check that a proof file does not name another commitment than this one."""
    for what in ("chain", "registry", "token", "metadata"):
        found, expected = getattr(stated, what), getattr(commitment, what)
        if found is None or expected is None:
            continue
        # Addresses are spelled with or without a checksum in their capitals.
        if (found.lower() != expected.lower()) if what == "registry" else (found != expected):
            raise IntegrityError(f"the proof file's {what}", expected=expected, found=found)


def _between(proof: Exclusion) -> str:
    left, right = proof.left, proof.right
    after = f"after {left.leaf.hex()[:12]}… at {left.index}" if left else "before all others"
    before = f"before {right.leaf.hex()[:12]}… at {right.index}" if right else "after all others"
    return f"not found: it would stand {after}, {before}"
