"""Gathers the facts of ``alithis report``.

Facts come from three places: the chain (tokens, links, marks), the metadata that tokens commit to
(what publishers state), and the available manifests (what two artifacts share, counted). The
report keeps them apart, and lists what none of the three answers as not known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from alithis.base.text import clipped
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
from alithis.manifest.items import ModelFile, item_totals, model_files
from alithis.manifest.metadata import Metadata
from alithis.manifest.overlap import shared
from alithis.manifest.reader import Manifest
from alithis.manifest.terms import Relation
from alithis.manifest.transcript import TRANSCRIBED, Input
from alithis.reports.report import (
    HELD_OUT,
    MAX_ARTIFACTS,
    MAX_OVERLAPS,
    PARENTS,
    TRAINED,
    Artifact,
    Chain,
    Overlap,
    Report,
    Tie,
)
from alithis.reports.unknown import unknown
from alithis.reports.words import MAX_TEXT, facts
from alithis.verify.grade import Statement, evidence
from alithis.verify.library import Shelf

_PATIENCE = 60.0  # seconds in all for gateways that do not have what is missing
_FOLLOWED = (*TRANSCRIBED, *PARENTS, "derived_from")


def report(subject: int | Manifest, shelf: Shelf, registry: Registry | None = None) -> Report:
    """Gather what is known about what a model was made from.

    Args:
        subject: the model's token, or its manifest.
        shelf: where manifests are looked for.
        registry: where tokens are looked up; None to use only what manifests state.

    Raises:
        NoTokenError: there is no such token, or not exactly one token commits to the manifest.
        FormatError: the subject is not a model.
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
            f"{model.name}: is a dataset; a report is about a model. `alithis lineage --down` "
            "shows what was made from a dataset"
        )
    gathering.follow(model)
    stated = model.stated
    return Report(
        model=model,
        chain=chain,
        facts=facts(stated) if stated else {},
        files=gathering.files(model),
        ties=tuple(gathering.ties),
        overlaps=tuple(_held_out(gathering)),
        parents=tuple(_parents(gathering, model)),
        disagreements=tuple(dict.fromkeys(gathering.disagreements)),
        unknown=tuple(
            dict.fromkeys(
                unknown(
                    model,
                    gathering.ties,
                    gathering.unread,
                    truncated=gathering.truncated,
                    asked_a_chain=chain is not None,
                )
            )
        ),
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
        self.unread: dict[bytes, AlithisError] = {}  # why items could not be read
        self.ties: list[Tie] = []
        self.disagreements: list[str] = []
        self.truncated = False

    def subject(self, subject: int | Manifest) -> Artifact:
        """Look up what the report is about."""
        if self._registry is None:
            if not isinstance(subject, Manifest):
                raise NoTokenError(
                    f"token {subject}: no registry is named. Give --rpc and --registry"
                )
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
                f"{stated.name}: no token of registry {registry.address} commits to it. Leave out "
                "--rpc and --registry for a report from the manifest alone"
            )
        if len(found) > 1:
            several = ", ".join(f"{each.id} by {each.publisher}" for each in found)
            raise NoTokenError(f"{stated.name}: several tokens commit to it. Name one: {several}")
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
                f"{source.name}: its metadata states {each.relation} {clipped(each.name)}, for "
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
        """Return the inputs that an artifact's metadata states, each relation to another once."""
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
        """Open a manifest, or return why it is not available."""
        if digest in self._opened:
            return self._opened[digest]
        if digest not in self._missing:  # so that gateways are asked only once
            begun = time.monotonic()
            asking = self._waited < _PATIENCE
            find = self._shelf.open if asking else self._shelf.open_local
            try:
                return find(digest)
            except AlithisError as error:
                why = str(error) if asking else f"{error}; gateways were too slow and not asked"
                self._missing[digest] = clipped(why, MAX_TEXT)
                self._waited += time.monotonic() - begun
        return self._missing[digest]

    def _read(self, read: Callable[[Manifest], Any], manifest: Manifest) -> Any:
        """Read a manifest's items, or return None. Damaged items are a disagreement."""
        try:
            return read(manifest)
        except AlithisError as error:
            if isinstance(error, FormatError | IntegrityError | ProofError):
                self.disagreements.append(clipped(str(error), MAX_TEXT))
            self.unread[manifest.metadata.digest] = error
            return None

    def unlisted(self, model: Artifact) -> AlithisError | None:
        """Return why a model's files are not known; None if they are."""
        if model.stated is None:
            return NotStoredError(model.problem)
        return self.unread.get(model.metadata)

    def files(self, model: Artifact) -> tuple[ModelFile, ...]:
        """List a model's files, if its items are available."""
        manifest = self.manifest(model.metadata)
        if isinstance(manifest, str):
            return ()
        return tuple(self._read(model_files, manifest) or ())

    def overlap(self, relation: str, first: Artifact, second: Artifact, by: Artifact) -> Overlap:
        """Count the data points that two artifacts share."""
        sides = [self.manifest(each.metadata) for each in (first, second)]
        missing = [
            f"{artifact.name}: its manifest is not available"
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
                self.disagreements.append(clipped(str(error), MAX_TEXT))
            return Overlap(relation, first, second, by, None, clipped(str(error), MAX_TEXT))
        return Overlap(relation, first, second, by, count)


def _wrong_kind(relation: str, target: Artifact) -> str | None:
    """Return the target's kind if the relation does not allow it, and None otherwise."""
    wanted = dict[str, str](dict.fromkeys(TRANSCRIBED, "dataset"))
    wanted |= dict.fromkeys(PARENTS, "model")
    return target.kind if target.kind not in (None, wanted.get(relation, target.kind)) else None


def _mismatches(artifact: Artifact) -> Iterator[str]:
    """Yield where an artifact's token contradicts its metadata."""
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
    """Compare test and validation data with training data, the parents' included."""
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
