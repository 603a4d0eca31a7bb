"""A file, a digest or a proof file → a report of what is provable about it.

The steps of a verification, each a line of the report:

1. ``record``: what is committed, from the chain;
2. ``metadata``: fetched, with the SHA-256 of the record;
3. ``commitment``: the metadata states the record's root and size;
4. ``leaf``: computed under the manifest's canonical form;
5. ``position``: the leaf found, or the neighbours it would stand between;
6. ``path``: recomputed up to the record's root.

The verdict is ``included`` or ``absent`` if every step held, else ``unverifiable`` with the step
that failed. *Absent* means absent from this commitment, no more; a link means that its
publisher states it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from alithis.errors import (
    AlithisError,
    IntegrityError,
    NotStoredError,
    ProofError,
    SourceError,
)
from alithis.forms.form import BYTES, Form
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
        open_manifest: opens the commitment's manifest; a proof file does without.

    Returns:
        The result. What goes wrong is in its steps.
    """
    inquiry = _Inquiry(target, commitment, open_manifest)
    steps = [Step("record", True, commitment.origin)]
    for step, check in _CHECKS:
        try:
            steps.append(Step(step, True, check(inquiry)))
        except AlithisError as error:
            steps.append(Step(step, False, str(error).replace("\n", " ")))
            break
    return _result(inquiry, steps)


@dataclass(slots=True)
class _Inquiry:
    """A verification on its way: what is asked, and what was found so far."""

    target: Target
    commitment: Commitment
    open_manifest: Callable[[], Manifest]
    manifest: Manifest | None = None
    proof: Proof | None = None

    def opened(self) -> Manifest:
        """Return the manifest, opened once."""
        if self.manifest is None:
            self.manifest = self.open_manifest()
        return self.manifest

    @property
    def stated(self) -> Metadata | None:
        """The metadata, where the manifest could be opened."""
        return self.manifest.metadata if self.manifest else None

    @property
    def scheme(self) -> str | None:
        """The scheme of the leaves, where it is known."""
        return self.commitment.scheme or (self.stated.scheme if self.stated else None)


def _metadata(inquiry: _Inquiry) -> str:
    if inquiry.target.proof is not None:
        _check_subject(inquiry.target.subject, inquiry.commitment.subject)
        try:
            inquiry.opened()
        except AlithisError as error:
            return f"not needed, as the proof file brings the path ({error})"
    found, pinned = inquiry.opened().metadata.digest, inquiry.commitment.metadata
    if pinned is not None and found != pinned:
        raise IntegrityError("SHA-256 of metadata.json", expected=pinned, found=found)
    origin = inquiry.opened().origin
    said = ", as committed" if pinned else ""
    return f"SHA-256 {found.hex()}{said}" + (f", from {origin}" if origin else "")


def _check_subject(stated: Subject, subject: Subject) -> None:
    for what in ("chain", "registry", "token", "metadata"):
        said, here = getattr(stated, what), getattr(subject, what)
        if said is None or here is None:
            continue
        if (said.lower() != here.lower()) if what == "registry" else (said != here):
            raise IntegrityError(f"the proof file's {what}", expected=here, found=said)


def _commitment(inquiry: _Inquiry) -> str:
    committed = inquiry.commitment
    stated = inquiry.stated
    for what in ("root", "size", "kind", "scheme") if stated else ():
        expected, found = getattr(committed, what), getattr(stated, what)
        if expected is not None and expected != found:
            raise IntegrityError(f"{what} in metadata.json", expected=expected, found=found)
    return f"root {committed.root.hex()}, size {committed.size}"


def _leaf(inquiry: _Inquiry) -> str:
    target, brought = inquiry.target, inquiry.target.proof
    if brought is None:
        stated = inquiry.opened().metadata
        return f"{target.leaf(stated).hex()}, {_origin(target, stated.form, stated.scheme)}"
    if isinstance(brought, Inclusion) and brought.opening and inquiry.scheme == "sha256":
        raise ProofError("the leaves are plain digests; an item key opens nothing")
    if target.kind == "proof":
        return _bare_leaf(brought, inquiry.scheme)
    form = inquiry.stated.form if inquiry.stated else BYTES
    expected = _expected_leaf(inquiry, brought, target.digest(form))
    if expected != brought.leaf:
        raise IntegrityError(
            "leaf that the proof file is about" + ("" if inquiry.stated else _BY_BYTES),
            expected=expected,
            found=brought.leaf,
        )
    return f"{expected.hex()}, {_origin(target, form, inquiry.scheme)}, and in the proof file"


_BY_BYTES = " (compared by the file's bytes; --manifest brings the canonical form)"


def _origin(target: Target, form: Form, scheme: str | None) -> str:
    origin = "as given" if target.is_digest else f"canonical form {form.name}"
    return origin + (", keyed" if scheme == "keyed" else "")


def _bare_leaf(brought: Proof, scheme: str | None) -> str:
    """Say what the leaf of a proof file stands for, where no data point goes with it."""
    said = f"{brought.leaf.hex()}, from the proof file"
    if isinstance(brought, Inclusion) and brought.opening:
        brought.opening.check(brought.leaf)
        return f"{said}, which opens it: digest {brought.opening.digest.hex()}"
    if scheme != "keyed":
        return said
    if isinstance(brought, Exclusion):
        raise SourceError(
            "that a keyed leaf is absent says nothing of a data point: name the file too, "
            "and give the publisher's key with --key-file"
        )
    return said + "; only its publisher can tell what it is the leaf of"


def _expected_leaf(inquiry: _Inquiry, brought: Proof, value: bytes) -> bytes:
    """Return the leaf that a digest must have, for a proof file to be about it."""
    stated = inquiry.stated
    if isinstance(brought, Exclusion) and stated is None:
        raise SourceError(
            "absence takes the canonical form, which metadata.json states: give --manifest"
        )
    if isinstance(brought, Inclusion) and brought.opening:
        if brought.opening.digest != value:
            raise IntegrityError(
                "digest that the proof file opens" + ("" if stated else _BY_BYTES),
                expected=value,
                found=brought.opening.digest,
            )
        brought.opening.check(brought.leaf)
        return brought.leaf
    if inquiry.scheme != "keyed":
        return value
    if stated is None:
        raise SourceError("the proof file does not open its keyed leaf: ask for one that does")
    return inquiry.target.leaf(stated)


def _position(inquiry: _Inquiry) -> str:
    if inquiry.target.proof is not None:
        found = inquiry.target.proof
    else:
        manifest = inquiry.opened()
        found = manifest.prove(inquiry.target.leaf(manifest.metadata))
    inquiry.proof = found
    if isinstance(found, Inclusion):
        return f"found at index {found.index} of {inquiry.commitment.size}"
    if inquiry.commitment.disordered:
        raise ProofError("not found, but the leaves were shown not to ascend: it may be anywhere")
    return _between(found)


def _between(found: Exclusion) -> str:
    left, right = found.left, found.right
    before = f"after {left.leaf.hex()[:12]}… at {left.index}" if left else "before all others"
    after = f"before {right.leaf.hex()[:12]}… at {right.index}" if right else "after all others"
    return f"not there: it would stand {before}, {after}"


def _path(inquiry: _Inquiry) -> str:
    committed = inquiry.commitment
    if inquiry.proof is None:  # the steps before this one make sure of it
        raise SourceError("no proof to check")
    inquiry.proof.check(committed.root, committed.size)
    return f"leads to the committed root {committed.root.hex()}"


_CHECKS = (
    ("metadata", _metadata),
    ("commitment", _commitment),
    ("leaf", _leaf),
    ("position", _position),
    ("path", _path),
)


def _result(inquiry: _Inquiry, steps: Sequence[Step]) -> Result:
    found = inquiry.proof if all(step.ok for step in steps) else None
    verdict = UNVERIFIABLE
    if found is not None:
        verdict = INCLUDED if isinstance(found, Inclusion) else ABSENT
    stated = inquiry.stated
    return Result(
        name=stated.name if stated else None,
        kind=stated.kind if stated else None,
        token=inquiry.commitment.token,
        verdict=verdict,
        index=found.index if found else None,
        size=inquiry.commitment.size,
        root=inquiry.commitment.root.hex(),
        steps=tuple(steps),
        proof=found,
        notes=tuple(inquiry.manifest.notes) if inquiry.manifest else (),
    )


def verify_manifest(
    target: Target, manifest: Path | Manifest, *, root: bytes | None = None, size: int | None = None
) -> Result:
    """Verify a target against a manifest, without a chain.

    Args:
        target: what is asked about.
        manifest: the manifest's folder, or a manifest opened elsewhere.
        root: the root it must have; None takes the manifest's own word, and says so.
        size: the size it must have; goes with the root.

    Raises:
        FormatError: the directory holds no well-formed manifest.
    """
    opened = manifest if isinstance(manifest, Manifest) else Manifest.open(manifest)
    stated = opened.metadata
    origin = "root and size as given"
    if root is None or size is None:
        root, size = stated.root, stated.size
        origin = "root and size by the manifest's own word: not checked against a chain"
    commitment = Commitment(
        root, size, origin, scheme=stated.scheme, subject=Subject(metadata=stated.digest)
    )
    return verify(target, commitment, lambda: opened)


def unopened(place: str, error: AlithisError) -> Result:
    """Return the result for a manifest that cannot be opened.

    Args:
        place: where it should be.
        error: what is wrong.
    """
    step = Step("manifest", False, str(error).replace("\n", " "))
    return Result(place, None, None, UNVERIFIABLE, None, None, None, (step,))


def verify_proof(target: Target, *, root: bytes, size: int) -> Result:
    """Verify a proof file against a root and a size, with nothing else at hand.

    Args:
        target: a proof file.
        root: the committed tree hash, 32 bytes.
        size: the committed number of leaves.
    """

    def nowhere() -> Manifest:
        raise NotStoredError("no manifest was given")

    return verify(target, Commitment(root, size, "root and size as given"), nowhere)
