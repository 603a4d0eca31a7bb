"""What a model rests on, as far as it can be told: the facts of ``alithis report``.

They come from three places, and each says so much and no more: the chain (tokens, links, marks),
the metadata that the tokens commit to (what publishers state), and the manifests at hand (what
two artifacts share, counted). What none of them tells is listed as not known.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from alithis.chain.records import Link, Record
from alithis.chain.registry import Registry
from alithis.errors import (
    AlithisError,
    FormatError,
    IntegrityError,
    NoTokenError,
    NotStoredError,
    ProofError,
)
from alithis.ipfs.cid import Cid
from alithis.manifest import vocabulary
from alithis.manifest.items import ItemTotals, ModelFile, item_totals, model_files
from alithis.manifest.metadata import Metadata
from alithis.manifest.overlap import shared
from alithis.manifest.reader import Manifest
from alithis.manifest.terms import Grade, Relation
from alithis.manifest.transcript import TRANSCRIBED, Input, Transcript
from alithis.verify.grade import Endpoint, Statement, evidence
from alithis.verify.library import Shelf
from alithis.verify.tokens import marks

MAX_ARTIFACTS = 500
"""Artifacts that a report follows a model's links to."""
MAX_OVERLAPS = 200
"""Pairs of datasets that are compared."""

_MAX_TEXT = 2_000  # characters of a publisher's text
_MAX_TEXTS = 20
_PLUS_WORDS = {name: words for words, name in vocabulary.DATA_MINING.items()}

TRAINED = "trained_on"
HELD_OUT = ("tested_on", "validated_on")
PARENTS = ("fine_tuned_from", "distilled_from")
_PROHIBITED = "DMI-PROHIBITED"  # what PLUS' terms begin with that reserve rights
_UNCLEAR = "not understood: "
_PATIENCE = 60.0  # seconds in all for gateways that do not have what is missing
_FOLLOWED = (*TRANSCRIBED, *PARENTS, "derived_from")


@dataclass(frozen=True, slots=True)
class Signal:
    """A statement of whether data may be mined.

    Attributes:
        term: in which vocabulary: ``plus:DataMining``, ``tdm:reservation``, ``tdm:policy``.
        says: what it says, in words.
    """

    term: str
    says: str


@dataclass(frozen=True, slots=True)
class Words:
    """What a publisher says of an artifact; an empty text, or none, where nothing is said.

    Attributes:
        description: what it is.
        license: its licence.
        creators: its authors.
        url: its home page.
        version: its version.
        citation: how to cite it.
        task: what a model does.
        intended_use: what a model is for.
        languages: which languages a dataset is in.
        mining: what may be mined.
        statements: responsible-AI statements, by their terms in Croissant RAI.
    """

    description: str = ""
    license: str = ""
    creators: tuple[str, ...] = ()
    url: str = ""
    version: str = ""
    citation: str = ""
    task: str = ""
    intended_use: str = ""
    languages: tuple[str, ...] = ()
    mining: tuple[Signal, ...] = ()
    statements: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def is_reserved(self) -> bool:
        """Whether some statement reserves rights against mining."""
        return any(
            each.says.startswith("prohibited") or each.says in ("see-policy", "rights are reserved")
            for each in self.mining
        )

    @property
    def is_unclear(self) -> bool:
        """Whether some statement about mining is no term of its vocabulary."""
        return any(each.says.startswith(_UNCLEAR) for each in self.mining)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Words:
        """Take them out of a document that anybody may have written."""

        def text(key: str) -> str:
            return ", ".join(_texts(document.get(key)))

        return cls(
            description=text("description"),
            license=text("license"),
            creators=_texts(document.get("creator")),
            url=text("url"),
            version=text("version"),
            citation=text("citeAs"),
            task=text("fair4ml:mlTask"),
            intended_use=text("fair4ml:intendedUse"),
            languages=_texts(document.get("inLanguage")),
            mining=tuple(_signals(document)),
            statements={
                name: found
                for name in vocabulary.RAI
                if (found := _texts(document.get(f"rai:{name}")))
            },
        )


@dataclass(frozen=True, slots=True)
class Artifact:
    """The model, or something that it was made from.

    Attributes:
        metadata: SHA-256 of its metadata.json, 32 bytes.
        stated_name: its name by its metadata, or as another's metadata calls it; None for none.
        record: what the chain holds of it; None where no chain was asked, or it has no token.
        stated: its metadata; None where that is not at hand.
        problem: why that is not at hand.
        contents: what its data points are; None where its items are not at hand.
    """

    metadata: bytes
    stated_name: str | None = None
    record: Record | None = None
    stated: Metadata | None = field(default=None, repr=False)
    problem: str = ""
    contents: ItemTotals | None = None

    @property
    def name(self) -> str:
        """How it is called: by its name, and its token where it has one."""
        name = self.stated_name or f"unnamed {self.metadata.hex()[:12]}"
        return f"{name} (token {self.record.id})" if self.record else name

    @property
    def kind(self) -> str | None:
        """``dataset`` or ``model``, by the chain or else by its metadata; None if not known."""
        if self.record is not None:
            return self.record.kind.value
        return self.stated.kind if self.stated else None

    @property
    def size(self) -> int | None:
        """How many distinct data points it has, by the chain or else by its metadata."""
        if self.record is not None:
            return self.record.size
        return self.stated.size if self.stated else None

    @property
    def root(self) -> bytes | None:
        """The root of its tree, likewise."""
        if self.record is not None:
            return self.record.root
        return self.stated.root if self.stated else None

    @property
    def endpoint(self) -> Endpoint:
        """What the grade of its links depends on, likewise."""
        if self.record is not None:
            return Endpoint.of_record(self.record)
        return Endpoint.of_metadata(self.stated) if self.stated else Endpoint(self.metadata)

    @property
    def words(self) -> Words:
        """What its publisher says of it."""
        return Words.of(self.stated.document) if self.stated else Words()

    @property
    def marks(self) -> tuple[str, ...]:
        """What the chain says against it."""
        return marks(self.record) if self.record else ()


@dataclass(frozen=True, slots=True)
class Tie:
    """That an artifact was made from another, or tested on it.

    Attributes:
        source: the newer one, which says so.
        target: the older one.
        relation: how.
        grade: ``stated``, ``transcript`` or ``countersigned``.
        linked: whether the chain has it as a link; None where no chain was asked.
        transcript: what was fed of the target, as the source's publisher recorded it.
        depth: how many ties lead from the model to this one: 0 for its own.
    """

    source: Artifact
    target: Artifact
    relation: str
    grade: Grade
    linked: bool | None
    transcript: Transcript | None
    depth: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two artifacts share.

    Attributes:
        relation: of a model to the first: ``tested_on``, …, ``fine_tuned_from``, ….
        first: what was held out of the training, or the parent.
        second: what was trained on, or the model.
        by: the model that was tested, this one or a parent; or this one, which has the parent.
        shared: how many data points both have; None where that could not be counted.
        reason: why not.
    """

    relation: str
    first: Artifact
    second: Artifact
    by: Artifact
    shared: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """Where tokens were looked up.

    Attributes:
        id: the chain's.
        registry: the registry's address.
        block: the block after which all of it was so.
    """

    id: int
    registry: str
    block: int


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of what a model rests on, and what is not.

    Attributes:
        model: the model.
        chain: where tokens were looked up; None where no chain was asked.
        facts: what its metadata states of how it was made: parameters, metrics, ….
        files: its files; empty where its items are not at hand.
        ties: what it was made from, and what that was made from, nearest first.
        overlaps: of what it was tested or validated on with what it was trained on, and so of
            its parents.
        parents: what it shares with the models it was made from.
        disagreements: where metadata, chain and manifests contradict each other.
        unknown: what is not known.
        truncated: whether there is more than was looked at.
        unlisted: why its files are not known.
    """

    model: Artifact
    chain: Chain | None
    facts: Mapping[str, Any]
    files: tuple[ModelFile, ...]
    ties: tuple[Tie, ...]
    overlaps: tuple[Overlap, ...]
    parents: tuple[Overlap, ...]
    disagreements: tuple[str, ...]
    unknown: tuple[str, ...]
    truncated: bool = False
    unlisted: AlithisError | None = None

    @property
    def sources(self) -> tuple[Tie, ...]:
        """The ties to the data that it was trained on, its own and those of its parents."""
        return tuple(tie for tie in self.ties if tie.relation == TRAINED)

    @property
    def origins(self) -> tuple[Tie, ...]:
        """The ties from that data to what it was derived from, however indirectly."""
        reached = {id(tie.target) for tie in self.sources}
        derived = [tie for tie in self.ties if tie.relation == "derived_from"]
        before = -1
        while len(reached) > before:
            before = len(reached)
            reached |= {id(tie.target) for tie in derived if id(tie.source) in reached}
        return tuple(tie for tie in derived if id(tie.source) in reached)

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """The model and all that it rests on, each once."""
        found = {id(self.model): self.model}
        for tie in self.ties:
            found.setdefault(id(tie.target), tie.target)
        return tuple(found.values())


def report(subject: int | Manifest, shelf: Shelf, registry: Registry | None = None) -> Report:
    """Gather what is known of what a model rests on.

    Args:
        subject: the model's token, or its manifest.
        shelf: where manifests are found.
        registry: where tokens are; None to do with what manifests state.

    Raises:
        NoTokenError: there is no such token, or none, or several, commit to the manifest.
        FormatError: it is no model.
        RegistryError: the chain gives no usable answer.
    """
    chain = None
    if registry is not None:
        chain = Chain(registry.chain_id, registry.address, registry.last_block())
        registry = registry.pinned(chain.block)
    gathering = _Gathering(shelf, registry)
    model = gathering.subject(subject)
    if model.kind != "model":
        raise FormatError(
            f"{model.name}: is a dataset; a report is about a model (alithis lineage --down names "
            "those made from a dataset)"
        )
    gathering.follow(model)
    stated = model.stated
    return Report(
        model=model,
        chain=chain,
        facts=_facts(stated) if stated else {},
        files=gathering.files(model),
        ties=tuple(gathering.ties),
        overlaps=tuple(_held_out(gathering)),
        parents=tuple(_parents(gathering, model)),
        disagreements=tuple(dict.fromkeys(gathering.disagreements)),
        unknown=tuple(dict.fromkeys(_unknown(gathering, model))),
        truncated=gathering.truncated,
        unlisted=gathering.unlisted(model),
    )


class _Gathering:
    """Follows a model's ties, breadth first."""

    def __init__(self, shelf: Shelf, registry: Registry | None) -> None:
        self._shelf, self._registry = shelf, registry
        self._by_token: dict[int, Artifact] = {}
        self._by_metadata: dict[bytes, Artifact] = {}
        self._opened: dict[bytes, Manifest] = {}
        self._missing: dict[bytes, str] = {}
        self._waited = 0.0
        self.uncounted: dict[bytes, AlithisError] = {}  # why items could not be looked at
        self.ties: list[Tie] = []
        self.disagreements: list[str] = []
        self.truncated = False

    @property
    def asked_a_chain(self) -> bool:
        """Whether tokens were looked up."""
        return self._registry is not None

    def subject(self, subject: int | Manifest) -> Artifact:
        """Look up what the report is about."""
        if self._registry is None:
            if not isinstance(subject, Manifest):
                raise NoTokenError(f"token {subject}: of which registry? Give --rpc and --registry")
            self._opened[subject.metadata.digest] = subject
            return self._of_metadata(subject.metadata.digest)
        if isinstance(subject, int):
            return self._of_token(subject)
        self._opened[subject.metadata.digest] = subject
        return self._of_token(self._token(self._registry, subject.metadata))

    def _token(self, registry: Registry, stated: Metadata) -> int:
        found = [each for each in registry.tokens() if each.metadata_digest == stated.digest]
        if not found:
            raise NoTokenError(
                f"{stated.name}: no token of registry {registry.address} commits to it; without "
                "--rpc and --registry the report rests on the manifest alone"
            )
        if len(found) > 1:
            several = ", ".join(f"{each.id} by {each.publisher}" for each in found)
            raise NoTokenError(f"{stated.name}: several tokens commit to it, name one: {several}")
        return found[0].id

    def follow(self, model: Artifact) -> None:
        """Gather the ties of the model, and of what it was made from."""
        queue, done = [(model, 0)], {id(model)}
        for source, depth in queue:
            for tie in self._ties(source, depth):
                self.ties.append(tie)
                if id(tie.target) in done or tie.relation not in _FOLLOWED:
                    continue
                if len(done) >= MAX_ARTIFACTS:
                    self.truncated = True
                    return
                done.add(id(tie.target))
                queue.append((tie.target, depth + 1))

    def _ties(self, source: Artifact, depth: int) -> Iterator[Tie]:
        given = self._inputs(source)
        named = {(each.relation, each.metadata): each for each in given}
        if source.record is None or self._registry is None:
            for each in given:
                target = self._of_metadata(each.metadata, each.name)
                yield self._tie(source, target, each.relation, depth)
            return
        for link in self._registry.links(source.record.id):
            target = self._of_token(link.target)
            relation = link.relation.value
            stated = named.pop((relation, target.metadata), None)
            if stated is None and given and link.relation is not Relation.SUPERSEDES:
                self.disagreements.append(
                    f"{source.name}: its token has the link {relation} {target.name}, which its "
                    "metadata does not name"
                )
            yield self._tie(source, target, relation, depth, link)
        for each in named.values():
            self.disagreements.append(
                f"{source.name}: its metadata states {each.relation} {_short(each.name)}, for "
                "which its token has no link"
            )
            target = self._of_metadata(each.metadata, each.name)
            yield self._tie(source, target, each.relation, depth)

    def _tie(
        self,
        source: Artifact,
        target: Artifact,
        relation: str,
        depth: int,
        link: Link | None = None,
    ) -> Tie:
        statement = Statement.of(source.stated) if source.stated else Statement()
        countersigned = link is not None and link.countersigned
        found = evidence(
            relation, source.endpoint, target.endpoint, statement, countersigned=countersigned
        )
        if found.problem:
            self.disagreements.append(
                f"{source.name}: its transcript of {target.name} {found.problem}"
            )
        if wrong := _wrong_kind(relation, target):
            self.disagreements.append(
                f"{source.name}: states that it is {relation} {target.name}, a {wrong}"
            )
        linked = None if self._registry is None else link is not None
        return Tie(source, target, relation, found.grade, linked, found.transcript, depth)

    def _inputs(self, source: Artifact) -> list[Input]:
        """Return what its metadata states, each relation to an artifact once."""
        if source.stated is None:
            return []
        statement = Statement.of(source.stated)
        if statement.problem:
            self.disagreements.append(statement.problem)
        found = dict[tuple[str, bytes], Input]()
        for each in statement.inputs:
            found.setdefault((each.relation, each.metadata), each)
        return list(found.values())

    def _of_token(self, token: int) -> Artifact:
        if token not in self._by_token:
            assert self._registry is not None
            record = self._registry.record(token)
            self._by_token[token] = self._artifact(record.metadata_digest, record=record)
        return self._by_token[token]

    def _of_metadata(self, digest: bytes, name: str | None = None) -> Artifact:
        if digest not in self._by_metadata:
            self._by_metadata[digest] = self._artifact(digest, name)
        return self._by_metadata[digest]

    def _artifact(
        self, digest: bytes, name: str | None = None, record: Record | None = None
    ) -> Artifact:
        manifest = self.manifest(digest)
        if isinstance(manifest, str):
            return Artifact(digest, name, record, problem=manifest)
        stated = manifest.metadata
        found = self._read(item_totals, manifest) if stated.kind == "dataset" else None
        artifact = Artifact(digest, stated.name, record, stated, contents=found)
        self.disagreements += _mismatches(artifact)
        return artifact

    def manifest(self, digest: bytes) -> Manifest | str:
        """Open a manifest, or say why it is not at hand."""
        if digest in self._opened:
            return self._opened[digest]
        if digest not in self._missing:  # gateways are asked for it once
            begun = time.monotonic()
            asking = self._waited < _PATIENCE
            find = self._shelf.open if asking else self._shelf.open_local
            try:
                return find(digest)
            except AlithisError as error:
                why = str(error) if asking else f"{error}; gateways were not asked further"
                self._missing[digest] = _clipped(why)
                self._waited += time.monotonic() - begun
        return self._missing[digest]

    def _read(self, read: Callable[[Manifest], Any], manifest: Manifest) -> Any:
        """Read a manifest's items, or return None; damaged ones are a contradiction."""
        try:
            return read(manifest)
        except AlithisError as error:
            if isinstance(error, FormatError | IntegrityError | ProofError):
                self.disagreements.append(_clipped(str(error)))
            self.uncounted[manifest.metadata.digest] = error
            return None

    def unlisted(self, model: Artifact) -> AlithisError | None:
        """Return why a model's files are not known, if they are not."""
        if model.stated is None:
            return NotStoredError(model.problem)
        return self.uncounted.get(model.metadata)

    def files(self, model: Artifact) -> tuple[ModelFile, ...]:
        """List a model's files, if its items are available."""
        manifest = self.manifest(model.metadata)
        if isinstance(manifest, str):
            return ()
        return tuple(self._read(model_files, manifest) or ())

    def overlap(self, relation: str, first: Artifact, second: Artifact, by: Artifact) -> Overlap:
        """Count what two artifacts share."""
        sides = [self.manifest(each.metadata) for each in (first, second)]
        missing = [
            f"{artifact.name}: its manifest is not at hand"
            for artifact, side in zip((first, second), sides, strict=True)
            if isinstance(side, str)
        ]
        left, right = sides
        if isinstance(left, str) or isinstance(right, str):
            return Overlap(relation, first, second, by, None, "; ".join(missing))
        try:
            count = sum(len(leaves) // 32 for leaves in shared(left, right))
        except AlithisError as error:
            if isinstance(error, IntegrityError):
                self.disagreements.append(_clipped(str(error)))
            return Overlap(relation, first, second, by, None, _clipped(str(error)))
        return Overlap(relation, first, second, by, count)


def _wrong_kind(relation: str, target: Artifact) -> str | None:
    """Return what an artifact is, where a model has no such relation to it."""
    wanted = dict[str, str](dict.fromkeys(TRANSCRIBED, "dataset"))
    wanted |= dict.fromkeys(PARENTS, "model")
    return target.kind if target.kind not in (None, wanted.get(relation, target.kind)) else None


def _mismatches(artifact: Artifact) -> Iterator[str]:
    record, stated = artifact.record, artifact.stated
    if record is None or stated is None:
        return
    for what in ("root", "size", "kind", "scheme"):
        on_chain, said = getattr(record, what), getattr(stated, what)
        if on_chain != said:
            yield (
                f"{artifact.name}: its metadata states the {what} {_shown(said)}, "
                f"its token {_shown(on_chain)}"
            )


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _held_out(gathering: _Gathering) -> Iterator[Overlap]:
    """Compare what was held out of a training with what went into it, of parents too."""
    held_out = {
        (tie.relation, id(tie.target), id(tie.source)): tie
        for tie in gathering.ties
        if tie.relation in HELD_OUT
    }
    trained = {id(tie.target): tie.target for tie in gathering.ties if tie.relation == TRAINED}
    pairs = list(product(held_out.values(), trained.values()))
    gathering.truncated |= len(pairs) > MAX_OVERLAPS
    for held, dataset in pairs[:MAX_OVERLAPS]:
        yield gathering.overlap(held.relation, held.target, dataset, held.source)


def _parents(gathering: _Gathering, model: Artifact) -> Iterator[Overlap]:
    for tie in gathering.ties:
        if tie.depth == 0 and tie.relation in PARENTS:
            yield gathering.overlap(tie.relation, tie.target, model, model)


def _unknown(gathering: _Gathering, model: Artifact) -> Iterator[str]:
    """Say what cannot be told; see the module's docstring."""
    if model.stated is None:
        yield f"What the publisher of {model.name} states of it: {model.problem}"
    elif reason := gathering.uncounted.get(model.metadata):
        yield f"Which files {model.name} has: {_clipped(str(reason))}"
    if model.stated and model.stated.document["alithis"].get("complete") is False:
        yield "How its training would have gone on: the record says that it did not come to its end"
    own = [tie for tie in gathering.ties if tie.depth == 0]
    if not any(tie.relation == TRAINED for tie in own):
        yield "What data it was trained on: neither its metadata nor its token names any"
    if not any(tie.relation == "tested_on" for tie in own):
        yield "What data it was tested on: neither its metadata nor its token names any"
    for tie in gathering.ties:
        yield from _unknown_of_tie(gathering, tie)
    if gathering.truncated:
        yield f"What lies beyond {MAX_ARTIFACTS} artifacts, or {MAX_OVERLAPS} comparisons"
    if not gathering.asked_a_chain:
        yield (
            "Who published what, whether links are countersigned, and whether anything was "
            "withdrawn or claimed against: no chain was asked"
        )
    yield "Whether other data was used besides: no record can show that there was none"


def _unknown_of_tie(gathering: _Gathering, tie: Tie) -> Iterator[str]:
    target, name = tie.target, tie.target.name
    if target.stated is None:
        yield f"What the publisher of {name} states of it: {target.problem}"
    elif tie.relation in (*TRANSCRIBED, "derived_from"):
        words = target.words
        if not words.license:
            yield f"Under which licence {name} is: its metadata names none"
        if not words.mining:
            yield f"Whether {name} may be mined: its metadata says nothing of it"
        if target.contents is None:
            reason = gathering.uncounted.get(target.metadata, "its items are not at hand")
            yield f"How many bytes {name} has: {_clipped(str(reason))}"
    if tie.relation == TRAINED and tie.transcript is None:
        yield f"Which data points of {name} were fed to {tie.source.name}: no transcript says"
    if tie.relation in PARENTS and not any(
        each.source is target and each.relation == TRAINED for each in gathering.ties
    ):
        yield f"What data {name}, which {tie.source.name} came from, was trained on"


def _facts(stated: Metadata) -> dict[str, Any]:
    """Take out of metadata how the model was made, if it is of the right type."""
    ours = stated.document["alithis"]
    objects = ("parameters", "metrics", "environment", "code", "seeds")
    found: dict[str, Any] = {
        key: ours[key] for key in objects if isinstance(ours.get(key), dict) and ours[key]
    }
    if isinstance(ours.get("hardware"), str):
        found["hardware"] = ours["hardware"]
    if type(ours.get("seconds")) in (int, float):
        found["seconds"] = ours["seconds"]
    if isinstance(ours.get("complete"), bool):
        found["complete"] = ours["complete"]
    return found


def _signals(document: Mapping[str, Any]) -> Iterator[Signal]:
    """Read what may be mined; what is no term of the vocabulary is given as it stands."""
    for value in _all_texts(document.get("plus:DataMining")):
        name = re.split("[/#:]", value)[-1]
        other = f"prohibited: {name}" if name.startswith(_PROHIBITED) else f"{_UNCLEAR}{value}"
        yield Signal("plus:DataMining", _PLUS_WORDS.get(name, other))
    for value in _all_texts(document.get("tdm:reservation")):
        words = {"1": "rights are reserved", "0": "rights are not reserved"}
        yield Signal("tdm:reservation", words.get(value, f"{_UNCLEAR}{value}"))
    for value in _texts(document.get("tdm:policy")):
        yield Signal("tdm:policy", value)


def _texts(value: Any) -> tuple[str, ...]:
    """Return the texts in a value of JSON-LD: a text, a number, an object with a name, a list."""
    values = value if isinstance(value, list) else [value]
    return tuple(text for each in values[:_MAX_TEXTS] if (text := _text(each)))


def _all_texts(value: Any) -> Iterator[str]:
    """Yield a text for each value, however many: what has none is given as JSON."""
    for each in value if isinstance(value, list) else [value]:
        if each is not None:
            yield _text(each) or _clipped(json.dumps(each))


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        keys = ("name", "@value", "@id", "url", "contentUrl")
        value = next((value[key] for key in keys if key in value), None)
    if isinstance(value, bool | float) and value in (0, 1):
        value = int(value)
    if not isinstance(value, str | int | float):
        return ""
    return _clipped(str(value).encode(errors="replace").decode())  # half of a surrogate pair


def _clipped(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"


# -- JSON ----------------------------------------------------------------------------------------


def as_object(found: Report) -> dict[str, Any]:
    """Return a report the way ``alithis report --format json`` prints it."""
    numbers = {id(each): number for number, each in enumerate(found.artifacts)}
    return {
        "alithis": "report",
        "version": 1,
        "chain": _chain(found.chain),
        "model": numbers[id(found.model)],
        "artifacts": [_artifact(each) for each in found.artifacts],
        "facts": json.loads(json.dumps(found.facts)),
        "files": [
            {"name": each.name, "sha256": each.digest.hex(), "size": each.size}
            for each in found.files
        ],
        "ties": [_tie(tie, numbers) for tie in found.ties],
        "overlaps": _overlaps(found.overlaps, numbers),
        "parents": _overlaps(found.parents, numbers),
        "disagreements": list(found.disagreements),
        "unknown": list(found.unknown),
    }


def _chain(chain: Chain | None) -> dict[str, Any] | None:
    if chain is None:
        return None
    return {"id": chain.id, "registry": chain.registry, "block": chain.block}


def _artifact(artifact: Artifact) -> dict[str, Any]:
    words, record = artifact.words, artifact.record
    return {
        "name": artifact.stated_name,
        "kind": artifact.kind,
        "token": record.id if record else None,
        "publisher": record.publisher if record else None,
        "time": record.time if record else None,
        "metadata": artifact.metadata.hex(),
        "uri": "ipfs://" + Cid.raw(artifact.metadata).base16,
        "at_hand": artifact.stated is not None,
        "problem": artifact.problem or None,
        "size": artifact.size,
        "items": artifact.stated.items if artifact.stated else None,
        "root": artifact.root.hex() if artifact.root else None,
        "form": artifact.stated.form.name if artifact.stated else None,
        "bytes": artifact.contents.bytes if artifact.contents else None,
        "endings": dict(artifact.contents.endings) if artifact.contents else None,
        "license": words.license or None,
        "creators": list(words.creators),
        "url": words.url or None,
        "version": words.version or None,
        "description": words.description or None,
        "citation": words.citation or None,
        "task": words.task or None,
        "intended_use": words.intended_use or None,
        "languages": list(words.languages),
        "data_mining": [{"term": each.term, "says": each.says} for each in words.mining],
        "statements": {name: list(texts) for name, texts in words.statements.items()},
        "marks": list(artifact.marks),
    }


def _tie(tie: Tie, numbers: Mapping[int, int]) -> dict[str, Any]:
    return {
        "source": numbers[id(tie.source)],
        "target": numbers[id(tie.target)],
        "relation": tie.relation,
        "grade": tie.grade,
        "linked": tie.linked,
        "depth": tie.depth,
        "transcript": tie.transcript.as_object() if tie.transcript else None,
    }


def _overlaps(found: Iterable[Overlap], numbers: Mapping[int, int]) -> Sequence[dict[str, Any]]:
    return [
        {
            "relation": each.relation,
            "first": numbers[id(each.first)],
            "second": numbers[id(each.second)],
            "by": numbers[id(each.by)],
            "shared": each.shared,
            "reason": each.reason or None,
        }
        for each in found
    ]
