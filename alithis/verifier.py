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

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from alithis import digest, metadata, proof
from alithis.cid import Cid
from alithis.digest import Form
from alithis.errors import AlithisError, IntegrityError, NotStoredError, SourceError
from alithis.manifest import Manifest, Step
from alithis.proof import Inclusion, Proof, Subject
from alithis.registry import Kind, Record, Registry
from alithis.storage import Store

INCLUDED, ABSENT, UNVERIFIABLE = "included", "absent", "unverifiable"


class Target:
    """What is asked about.

    Attributes:
        name: how the report calls it.
        proof: the proof, where the target is a proof file.
        subject: what that proof says it speaks of.
    """

    def __init__(
        self,
        name: str,
        *,
        path: Path | None = None,
        digest: bytes | None = None,
        proof: tuple[Proof, Subject] | None = None,
    ) -> None:
        """Ask about a file, a digest or a proof: give one of them."""
        self.name = name
        self.proof: Proof | None = proof[0] if proof else None
        self.subject = proof[1] if proof else Subject()
        self._path = path
        self._digest = digest
        self._leaves: dict[Form, bytes] = {}

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a person typed: a file's path, or 64 hexadecimal digits.

        Raises:
            SourceError: it is neither.
            FormatError: it is a proof file, but not a well-formed one.
        """
        path = Path(text)
        if path.is_file():
            return cls._of_file(path)
        if re.fullmatch(r"(0x)?[0-9a-fA-F]{64}", text):
            return cls(text, digest=bytes.fromhex(text.removeprefix("0x")))
        if path.exists():
            raise SourceError(f"{text}: not a regular file")
        raise SourceError(f"{text}: no such file, and not 64 hexadecimal digits (a SHA-256)")

    @classmethod
    def _of_file(cls, path: Path) -> Self:
        try:
            with path.open("rb") as file:
                head = file.read(proof.MAX_BYTES + 1)
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
        if proof.is_proof(head):
            return cls(str(path), proof=proof.load(head))
        return cls(str(path), path=path)

    def leaf(self, form: Form) -> bytes:
        """Return the target's leaf under a canonical form.

        Raises:
            SourceError: the file has no such form.
        """
        if self.proof is not None:
            return self.proof.leaf
        if self._digest is not None:
            return self._digest
        if form not in self._leaves:
            self._leaves[form], _ = digest.of_file(str(self._path), form)
        return self._leaves[form]


@dataclass(frozen=True, slots=True)
class Commitment:
    """What a proof is checked against.

    Attributes:
        root: tree hash, 32 bytes.
        size: number of leaves.
        origin: where root and size come from, in words.
        metadata: SHA-256 of metadata.json, where it is committed to.
        token: the token's id, where there is one.
        subject: what a proof file that is checked here may say it speaks of.
    """

    root: bytes
    size: int
    origin: str
    metadata: bytes | None = None
    token: int | None = None
    subject: Subject = field(default_factory=Subject)


@dataclass(frozen=True, slots=True)
class LinkedModel:
    """A model whose publisher links it to the dataset.

    Attributes:
        token: the model's token id.
        name: its name by its metadata; None where that is not at hand.
        relation: ``trained_on``, ``tested_on``, ….
        grade: how far the link is evidenced: ``stated``.
        publisher: the address that minted the model.
    """

    token: int
    name: str | None
    relation: str
    grade: str
    publisher: str


@dataclass(frozen=True, slots=True)
class Result:
    """The answer for one commitment.

    Attributes:
        name: the artifact's name by its metadata; None where that is not at hand.
        kind: ``dataset`` or ``model``; None where it is not known.
        token: its token id; None where there is none.
        verdict: ``included``, ``absent`` or ``unverifiable``.
        index: the leaf's position, or where it would stand.
        size: the committed number of leaves.
        root: the committed tree hash, hexadecimal.
        steps: the checks, in order.
        marks: what else the chain says: withdrawn, superseded, disordered.
        models: the models linked to it.
        proof: the proof that holds.
    """

    name: str | None
    kind: str | None
    token: int | None
    verdict: str
    index: int | None
    size: int
    root: str
    steps: tuple[Step, ...]
    marks: tuple[str, ...] = ()
    models: tuple[LinkedModel, ...] = ()
    proof: Proof | None = None


def status(results: Sequence[Result]) -> int:
    """Return the exit status: 0 included somewhere, 1 absent everywhere, 2 could not check."""
    verdicts = {result.verdict for result in results}
    if INCLUDED in verdicts:
        return 0
    return 1 if verdicts == {ABSENT} else 2


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
            steps.append(Step(step, False, str(error)))
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


def _metadata(inquiry: _Inquiry) -> str:
    if inquiry.target.proof is not None:
        _check_subject(inquiry.target.subject, inquiry.commitment.subject)
        try:
            inquiry.opened()
        except AlithisError:
            return "not at hand, and not needed: the proof file brings the path"
    found, pinned = inquiry.opened().metadata.digest, inquiry.commitment.metadata
    if pinned is not None and found != pinned:
        raise IntegrityError("SHA-256 of metadata.json", expected=pinned, found=found)
    return f"SHA-256 {found.hex()}" + (", as committed" if pinned else "")


def _check_subject(stated: Subject, subject: Subject) -> None:
    for what in ("chain", "registry", "token", "metadata"):
        said, here = getattr(stated, what), getattr(subject, what)
        if said is None or here is None:
            continue
        if (said.lower() != here.lower()) if what == "registry" else (said != here):
            raise IntegrityError(f"the {what} a proof may speak of here", expected=here, found=said)


def _commitment(inquiry: _Inquiry) -> str:
    committed = inquiry.commitment
    if inquiry.manifest is not None:
        stated = inquiry.manifest.metadata
        if stated.root != committed.root:
            raise IntegrityError(
                "root in metadata.json", expected=committed.root, found=stated.root
            )
        if stated.size != committed.size:
            raise IntegrityError(
                "size in metadata.json", expected=committed.size, found=stated.size
            )
    return f"root {committed.root.hex()}, size {committed.size}"


def _leaf(inquiry: _Inquiry) -> str:
    if inquiry.target.proof is not None:
        return f"{inquiry.target.proof.leaf.hex()}, from the proof file"
    stated = inquiry.opened().metadata
    if stated.scheme != "sha256":
        raise SourceError(f"the leaves are {stated.scheme}: this release computes sha256 only")
    return f"{inquiry.target.leaf(stated.form).hex()}, canonical form {stated.form.name}"


def _position(inquiry: _Inquiry) -> str:
    if inquiry.target.proof is not None:
        found = inquiry.target.proof
    else:
        manifest = inquiry.opened()
        found = manifest.prove(inquiry.target.leaf(manifest.metadata.form))
    inquiry.proof = found
    if isinstance(found, Inclusion):
        return f"found at index {found.index} of {inquiry.commitment.size}"
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
    stated = inquiry.manifest.metadata if inquiry.manifest else None
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
    )


def verify_manifest(
    target: Target, directory: Path, *, root: bytes | None = None, size: int | None = None
) -> Result:
    """Verify a target against a manifest at hand, without a chain.

    Args:
        target: what is asked about.
        directory: the manifest.
        root: the root it must have; None takes the manifest's own word, and says so.
        size: the size it must have; goes with the root.

    Raises:
        FormatError: the directory holds no well-formed manifest.
    """
    manifest = Manifest.open(directory)
    origin = "root and size as given"
    if root is None or size is None:
        root, size = manifest.metadata.root, manifest.metadata.size
        origin = "root and size by the manifest's own word: not checked against a chain"
    return verify(target, Commitment(root, size, origin), lambda: manifest)


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


class Shelf:
    """Where manifests are found by the SHA-256 of their metadata.json: folders, then a store."""

    def __init__(self, store: Store, directories: Iterable[Path] = ()) -> None:
        """Open the folders' manifests.

        Raises:
            FormatError: a folder holds no well-formed manifest.
        """
        self._store = store
        opened = [Manifest.open(directory) for directory in directories]
        self._manifests = {manifest.metadata.digest: manifest for manifest in opened}

    def open(self, digest: bytes) -> Manifest:
        """Open the manifest whose metadata.json has a SHA-256.

        Raises:
            NotStoredError: it is in none of the places.
            FormatError: it is not a well-formed one.
        """
        if digest not in self._manifests:
            data = self._store.read_bytes(Cid.raw(digest), metadata.MAX_BYTES)
            self._manifests[digest] = Manifest(
                data, lambda entry: self._store.open(Cid.parse(entry.cid))
            )
        return self._manifests[digest]

    def name(self, digest: bytes) -> str | None:
        """Return an artifact's name, if its metadata is at hand."""
        try:
            return self.open(digest).metadata.name
        except AlithisError:
            return None


def verify_tokens(
    target: Target, registry: Registry, shelf: Shelf, tokens: Sequence[int] | None = None
) -> list[Result]:
    """Verify a target against tokens of a registry.

    Args:
        target: what is asked about.
        registry: the registry on its chain.
        shelf: where the tokens' manifests are.
        tokens: the tokens; None for the one a proof file speaks of, else all of them.

    Raises:
        RegistryError: the chain gives no usable answer, or there is no such token.
    """
    if tokens is None and target.proof is not None and target.subject.token is not None:
        tokens = [target.subject.token]
    ids = range(1, registry.count() + 1) if tokens is None else tokens
    records = registry.records(ids)
    return [
        _verify_token(target, registry, shelf, token, record)
        for token, record in zip(ids, records, strict=True)
    ]


def _verify_token(
    target: Target, registry: Registry, shelf: Shelf, token: int, record: Record
) -> Result:
    where = f"token {token} of registry {registry.address} on chain {registry.chain_id}"
    commitment = Commitment(
        root=record.root,
        size=record.size,
        origin=f"{where}, published by {record.publisher}",
        metadata=record.metadata_digest,
        token=token,
        subject=subject_of(registry, token, record),
    )
    result = verify(target, commitment, lambda: shelf.open(record.metadata_digest))
    return replace(
        result,
        kind=record.kind.value,
        marks=_marks(record),
        models=_models(registry, shelf, token) if record.kind is Kind.DATASET else (),
    )


def subject_of(registry: Registry, token: int, record: Record) -> Subject:
    """Return how a proof file names a token."""
    return Subject(
        metadata=record.metadata_digest,
        chain=registry.chain_id,
        registry=registry.address,
        token=token,
    )


def _marks(record: Record) -> tuple[str, ...]:
    marks = {
        "withdrawn by its publisher": record.withdrawn,
        "disordered: its leaves were shown not to ascend, so absence proves nothing": (
            record.disordered
        ),
        f"superseded by token {record.superseded_by}": record.superseded_by,
    }
    return tuple(words for words, holds in marks.items() if holds)


def _models(registry: Registry, shelf: Shelf, token: int) -> tuple[LinkedModel, ...]:
    links = registry.linked_from(token)
    records = registry.records([source for source, _ in links])
    return tuple(
        LinkedModel(
            token=source,
            name=shelf.name(record.metadata_digest),
            relation=link.relation.value,
            grade="stated",
            publisher=record.publisher,
        )
        for (source, link), record in zip(links, records, strict=True)
        if record.kind is Kind.MODEL
    )


def as_json(results: Iterable[Result]) -> dict[str, Any]:
    """Return results the way ``alithis verify --json`` prints them."""
    return {"results": [_as_object(result) for result in results]}


def _as_object(result: Result) -> dict[str, Any]:
    values = asdict(replace(result, proof=None))
    del values["proof"]
    return values


def as_text(result: Result) -> str:
    """Return a result the way ``alithis verify`` prints it: the verdict, then a line a step."""
    token = f" (token {result.token})" if result.token is not None else ""
    head = f"{result.name or 'unnamed'}{token}: {_verdict(result)}"
    lines = [
        f"  {'ok  ' if step.ok else 'FAIL'} {step.step:10} {step.detail}" for step in result.steps
    ]
    lines += [f"  note {mark}" for mark in result.marks]
    lines += [
        f"  model {model.name or 'unnamed'} (token {model.token}): {model.relation}, "
        f"{model.grade} by its publisher {model.publisher}"
        for model in result.models
    ]
    return "\n".join([head, *lines])


def _verdict(result: Result) -> str:
    if result.verdict == INCLUDED:
        return f"included, at index {result.index} of {result.size}"
    if result.verdict == ABSENT:
        return f"absent from the committed {result.size} leaves"
    return "unverifiable: could not check"
