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
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from alithis import digest, proof
from alithis.cid import Cid
from alithis.digest import BYTES, Form
from alithis.errors import (
    AlithisError,
    FormatError,
    IntegrityError,
    NoTokenError,
    NotStoredError,
    ProofError,
    SourceError,
)
from alithis.gateways import Gateways
from alithis.inputs import Input, Transcript, stated_inputs
from alithis.keyed import PublisherKey
from alithis.manifest import Manifest, Step
from alithis.metadata import Metadata
from alithis.proof import Exclusion, Inclusion, Opening, Proof, Subject
from alithis.registry import Grade, Kind, Link, Record, Registry
from alithis.storage import Store

_PATIENCE = 30.0  # seconds that are waited in vain for what artifacts state
INCLUDED, ABSENT, UNVERIFIABLE = "included", "absent", "unverifiable"

_MEANT_AS_PROOF = re.compile(rb'"alithis"\s*:\s*"proof"')


class Target:
    """What is asked about.

    Attributes:
        name: how the report calls it.
        proof: the proof, where one is brought: the target is a proof file, or one goes with it.
        subject: what that proof says it speaks of.
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
        """Ask about a file or a digest, perhaps with a proof about it; or about a proof alone."""
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
        """Read what a person typed: a file's path, or 64 hexadecimal digits.

        Args:
            text: what was typed.
            proof_file: a proof that is to be about it.
            key: the publisher's key, for keyed leaves.

        Raises:
            SourceError: it is neither.
            FormatError: it is meant as a proof file, but not a well-formed one.
        """
        target = cls._parse(text)
        target.key = key
        if proof_file is None:
            return target
        if target.proof is not None:
            raise SourceError(f"{text}: is a proof file itself; name the data point it is about")
        brought = cls._of_file(proof_file)
        if brought.proof is None:
            raise FormatError(f"{proof_file}: is no proof file")
        target.proof, target.subject = brought.proof, brought.subject
        return target

    @classmethod
    def _parse(cls, text: str) -> Self:
        if not text:
            raise SourceError("an empty name: give a file, or 64 hexadecimal digits (a SHA-256)")
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
        if _MEANT_AS_PROOF.search(head):  # as a data point it would be absent
            raise FormatError(
                f"{path}: looks like a damaged proof file; if it is a data point, give its SHA-256"
            )
        return cls(str(path), path=path)

    @property
    def kind(self) -> str:
        """What is asked about: ``file``, ``digest`` or, with neither, ``proof``."""
        if self.is_digest:
            return "digest"
        return "proof" if self._path is None else "file"

    @property
    def is_digest(self) -> bool:
        """Whether a bare digest is asked about."""
        return self._digest is not None

    def digest(self, form: Form) -> bytes:
        """Return the digest of the file in a canonical form, or the one that was given.

        Raises:
            SourceError: the file has no such form.
        """
        if self._digest is not None:
            return self._digest
        if form not in self._digests:
            self._digests[form], _ = digest.of_file(str(self._path), form)
        return self._digests[form]

    def leaf(self, stated: Metadata) -> bytes:
        """Return the leaf that the target has in an artifact, if it has one there.

        Args:
            stated: the artifact's metadata, which says how its leaves are made.

        Raises:
            SourceError: the file has no such form, or the leaves take the publisher's key.
            IntegrityError: they take another key than the target's.
        """
        if self.kind == "proof" and self.proof is not None:
            return self.proof.leaf
        if stated.scheme == "sha256":
            return self.digest(stated.form)
        return self._required_key(stated).leaf(self.digest(stated.form))

    def opening(self, stated: Metadata) -> Opening | None:
        """Return what opens the target's leaf in an artifact; None where leaves are plain digests.

        Raises:
            AlithisError: as `leaf` does.
        """
        if stated.scheme == "sha256":
            return None
        value = self.digest(stated.form)
        return Opening(value, self._required_key(stated).item_key(value))

    def _required_key(self, stated: Metadata) -> PublisherKey:
        if self.key is None:
            raise SourceError(
                f"the leaves are {stated.scheme}, and only their publisher can compute them: "
                "ask for a proof file, or give the publisher's key with --key-file"
            )
        self.key.require(stated.key_check)
        return self.key


@dataclass(frozen=True, slots=True)
class Commitment:
    """What a proof is checked against.

    Attributes:
        root: tree hash, 32 bytes.
        size: number of leaves.
        origin: where root and size come from, in words.
        kind: ``dataset`` or ``model``, where it is committed to.
        scheme: ``sha256`` or ``keyed``, likewise.
        metadata: SHA-256 of metadata.json, likewise.
        token: the token's id, where there is one.
        subject: what a proof file that is checked here may say it speaks of.
        disordered: whether the leaves were shown not to ascend.
    """

    root: bytes
    size: int
    origin: str
    kind: str | None = None
    scheme: str | None = None
    metadata: bytes | None = None
    token: int | None = None
    subject: Subject = field(default_factory=Subject)
    disordered: bool = False


@dataclass(frozen=True, slots=True)
class LinkedModel:
    """A model whose publisher links it to the dataset.

    Attributes:
        token: the model's token id.
        name: its name by its metadata; None where that is not at hand.
        relation: ``trained_on``, ``tested_on``, ….
        grade: how far the link is evidenced: ``stated`` by the model's publisher, whose metadata
            may hold the ``transcript`` of a training run, or ``countersigned`` by the dataset's
            owner.
        publisher: the address that minted the model.
        transcript: what the publisher recorded to have been fed of the dataset.
    """

    token: int
    name: str | None
    relation: str
    grade: str
    publisher: str
    transcript: Transcript | None = None


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
        notes: hosts that were asked for the manifest, and what they were of no use for.
    """

    name: str | None
    kind: str | None
    token: int | None
    verdict: str
    index: int | None
    size: int | None
    root: str | None
    steps: tuple[Step, ...]
    marks: tuple[str, ...] = ()
    models: tuple[LinkedModel, ...] = ()
    proof: Proof | None = None
    notes: tuple[str, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Statement:
    """What a model's metadata states.

    Attributes:
        name: its name; None where the metadata is not at hand.
        inputs: what it was made from; none where that is stated wrongly.
        root: the root of its own tree, 32 bytes; None where the metadata is not at hand.
    """

    name: str | None = None
    inputs: tuple[Input, ...] = ()
    root: bytes | None = None

    @classmethod
    def of(cls, stated: Metadata) -> Self:
        """Take it out of metadata."""
        try:
            return cls(stated.name, tuple(stated_inputs(stated)), stated.root)
        except FormatError:
            return cls(stated.name, root=stated.root)

    def transcript(
        self, relation: str, metadata: bytes, size: int, root: bytes | None = None
    ) -> Transcript | None:
        """Return what it states to have been fed of a dataset, unless that cannot be.

        Args:
            relation: of the model to the dataset.
            metadata: SHA-256 of the dataset's metadata.json, 32 bytes.
            size: the dataset's number of leaves.
            root: the root of its tree, 32 bytes; None where that is not known.
        """
        for given in self.inputs:
            recorded = given.transcript
            if (given.relation, given.metadata) != (relation, metadata) or recorded is None:
                continue
            if not recorded.contradiction(size, root):
                return recorded
        return None


class Shelf:
    """Where manifests are found by the SHA-256 of their metadata.json.

    At hand, in a store, or through gateways, in this order.
    """

    def __init__(
        self,
        store: Store,
        manifests: Iterable[Path | Manifest] = (),
        gateways: Gateways | None = None,
    ) -> None:
        """Open the manifests that are folders.

        Args:
            store: the local store.
            manifests: those at hand.
            gateways: what to ask for what is in neither; by default nobody is asked.

        Raises:
            FormatError: a folder holds no well-formed manifest.
        """
        self._store = store
        self._gateways = gateways or Gateways(())
        self._asked, self._patience = self._gateways, _PATIENCE
        opened = [
            manifest if isinstance(manifest, Manifest) else Manifest.open(manifest)
            for manifest in manifests
        ]
        self._at_hand = {manifest.metadata.digest: manifest for manifest in opened}
        self._statements: dict[bytes, Statement] = {}

    def open(self, digest: bytes) -> Manifest:
        """Open the manifest whose metadata.json has a SHA-256.

        A stored one is opened anew each time, and not kept: a registry has more manifests than a
        process may have open files.

        Raises:
            NotStoredError: it is in none of the places.
            FormatError: it is not a well-formed one.
            StorageError: no gateway gives it.
        """
        return self._open(digest, self._gateways)

    def near(self, digest: bytes) -> Manifest:
        """Open a manifest as `open` does, if no gateway need be asked for its metadata.

        Raises:
            AlithisError: as `open` does.
        """
        return self._open(digest, Gateways((), self._gateways.cache))

    def _open(self, digest: bytes, gateways: Gateways) -> Manifest:
        if digest in self._at_hand:
            return self._at_hand[digest]
        try:
            return gateways.open(Cid.raw(digest), self._store)
        except NotStoredError as error:
            raise NotStoredError(
                f"{error}; --manifest or alithis store put brings it there"
            ) from error

    def statement(self, digest: bytes) -> Statement:
        """Return what an artifact's metadata states, if it is at hand."""
        if digest not in self._statements:
            begun = time.monotonic()
            try:
                self._statements[digest] = Statement.of(self._open(digest, self._asked).metadata)
            except AlithisError:
                self._statements[digest] = Statement()
                self._wait_less(time.monotonic() - begun)
        return self._statements[digest]

    def _wait_less(self, waited: float) -> None:
        """Note that nobody gave a statement; once that took too long, gateways are asked no more.

        A statement only adds names and transcripts: what is proved does without.
        """
        self._patience -= waited
        if self._patience < 0:
            self._asked = Gateways((), self._gateways.cache)


def verify_tokens(
    target: Target, registry: Registry, shelf: Shelf, tokens: Sequence[int] | None = None
) -> list[Result]:
    """Verify a target against tokens of a registry.

    Args:
        target: what is asked about.
        registry: the registry on its chain.
        shelf: where the tokens' manifests are.
        tokens: the tokens; None for those a proof file speaks of, by their id or their metadata,
            else all of them.

    Raises:
        RegistryError: the chain gives no usable answer, or there is no such token.
    """
    if tokens is None and target.subject.token is not None:
        tokens = [target.subject.token]
    records = list(registry.tokens() if tokens is None else registry.records(tokens))
    if tokens is None and target.subject.metadata is not None:
        records = _committing(records, target.subject.metadata)
    models = _models(registry, shelf, records)
    return [
        replace(
            verify_token(target, registry, shelf, record),
            models=tuple(models.get(record.id, ())),
        )
        for record in records
    ]


def _committing(records: Iterable[Record], digest: bytes) -> list[Record]:
    """Pick the tokens that a proof file speaks of."""
    found = [record for record in records if record.metadata_digest == digest]
    if not found:
        raise NoTokenError(f"no token commits to the proof file's metadata {digest.hex()}")
    return found


def verify_token(target: Target, registry: Registry, shelf: Shelf, record: Record) -> Result:
    """Verify a target against one token, without looking for the models linked to it.

    Args:
        target: what is asked about.
        registry: the registry on its chain.
        shelf: where the token's manifest is.
        record: the token's.
    """
    where = f"token {record.id} of registry {registry.address} on chain {registry.chain_id}"
    commitment = Commitment(
        root=record.root,
        size=record.size,
        origin=f"{where}, published by {record.publisher}",
        kind=record.kind.value,
        scheme=record.scheme.value,
        metadata=record.metadata_digest,
        token=record.id,
        subject=subject_of(registry, record),
        disordered=record.disordered,
    )
    # A proof file by itself needs no manifest: nobody is asked, nor waited for.
    opening = shelf.near if target.kind == "proof" else shelf.open
    result = verify(target, commitment, lambda: opening(record.metadata_digest))
    return replace(result, kind=record.kind.value, marks=marks(record))


def subject_of(registry: Registry, record: Record) -> Subject:
    """Return how a proof file names a token."""
    return Subject(
        metadata=record.metadata_digest,
        chain=registry.chain_id,
        registry=registry.address,
        token=record.id,
    )


def marks(record: Record) -> tuple[str, ...]:
    """Return what the chain says against a token, in words."""
    words = {
        "withdrawn by its owner": record.withdrawn,
        "disordered: its leaves were shown not to ascend, so absence cannot be proved": (
            record.disordered
        ),
        f"superseded by token {record.superseded_by}": record.superseded_by,
        f"claims against it that nobody has answered: {record.open_claims}": record.open_claims,
    }
    return tuple(each for each, holds in words.items() if holds)


def _models(
    registry: Registry, shelf: Shelf, records: Iterable[Record]
) -> dict[int, list[LinkedModel]]:
    """Find the models linked to datasets, by one pass over the registry for all of them."""
    datasets = {record.id: record for record in records if record.kind is Kind.DATASET}
    links = [
        (source, link)
        for source, links in (registry.all_links(min(datasets) + 1) if datasets else ())
        for link in links
        if link.target in datasets
    ]
    sources = registry.records(sorted({source for source, _ in links}))
    publishers = {record.id: record for record in sources if record.kind is Kind.MODEL}
    models: dict[int, list[LinkedModel]] = {}
    for source, link in links:
        if source in publishers:
            model = _linked_model(shelf, publishers[source], link, datasets[link.target])
            models.setdefault(link.target, []).append(model)
    return models


def _linked_model(shelf: Shelf, record: Record, link: Link, dataset: Record) -> LinkedModel:
    statement = shelf.statement(record.metadata_digest)
    relation, committed = link.relation.value, dataset.metadata_digest
    transcript = statement.transcript(relation, committed, dataset.size, dataset.root)
    grade = "transcript" if transcript and not link.countersigned else link.grade.value
    return LinkedModel(
        token=record.id,
        name=statement.name,
        relation=relation,
        grade=grade,
        publisher=record.publisher,
        transcript=transcript,
    )


def as_json(target: Target, results: Iterable[Result]) -> dict[str, Any]:
    """Return results the way ``alithis verify --json`` prints them."""
    asked = {"name": target.name, "kind": target.kind}
    return {"target": asked, "results": [_as_object(result) for result in results]}


def _as_object(result: Result) -> dict[str, Any]:
    values = asdict(replace(result, proof=None))
    del values["proof"]
    for model, values_of_model in zip(result.models, values["models"], strict=True):
        recorded = model.transcript
        values_of_model["transcript"] = recorded.as_object() if recorded else None
    return values


def as_text(result: Result) -> str:
    """Return a result the way ``alithis verify`` prints it: the verdict, then a line a step."""
    token = f" (token {result.token})" if result.token is not None else ""
    head = f"{result.name or 'unnamed'}{token}: {_verdict(result)}"
    lines = [
        f"  {'ok  ' if step.ok else 'FAIL'} {step.step:10} {step.detail}" for step in result.steps
    ]
    lines += [f"  note {line}" for line in (*result.marks, *result.notes)]
    lines += [f"  model {_linked(model)}" for model in result.models]
    return "\n".join([head, *lines])


def _linked(model: LinkedModel) -> str:
    evidence = f"stated by its publisher {model.publisher}"
    if model.grade == Grade.COUNTERSIGNED:
        evidence = f"countersigned by the dataset's owner, published by {model.publisher}"
    if recorded := model.transcript:
        evidence += (
            f", who recorded a run fed with {recorded.seen} of its "
            f"{recorded.seen + recorded.unseen} leaves and {recorded.foreign} others"
        )
    return f"{model.name or 'unnamed'} (token {model.token}): {model.relation}, {evidence}"


def _verdict(result: Result) -> str:
    if result.verdict == INCLUDED:
        return f"included, at index {result.index} of {result.size}"
    if result.verdict == ABSENT:
        return f"absent from the committed {result.size} leaves"
    return "unverifiable: could not check"
