"""Checks a target against the tokens of a registry, and finds the models that link to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from alithis.chain.records import Link, Record
from alithis.chain.registry import Registry
from alithis.errors import NoTokenError
from alithis.manifest.proof import Inclusion, Subject
from alithis.manifest.reader import Manifest
from alithis.manifest.terms import Kind
from alithis.verify.grade import Endpoint, evidence
from alithis.verify.library import Shelf
from alithis.verify.steps import verify
from alithis.verify.target import Target
from alithis.verify.verdict import Commitment, LinkedModel, Result


def verify_tokens(
    target: Target,
    registry: Registry,
    shelf: Shelf,
    tokens: Sequence[int] | None = None,
    *,
    named: Iterable[Manifest] = (),
) -> list[Result]:
    """Verify a target against tokens of a registry.

    Args:
        target: the target.
        registry: the registry.
        shelf: finds the tokens' manifests.
        tokens: the tokens. With None, those that the target's proof file names by id or by
            metadata; if it names none, all tokens.
        named: manifests that the user named; each must be the manifest of one of the tokens.

    Raises:
        RegistryError: the node gives no usable answer, or there is no such token, or none with a
            named manifest.
    """
    if tokens is None and target.subject.token is not None:
        tokens = [target.subject.token]
    records = list(registry.tokens() if tokens is None else registry.records(tokens))
    if tokens is None and target.subject.metadata is not None:
        records = _committing(records, target.subject.metadata)
    _require_compared(named, records)
    models = _models(registry, shelf, records)
    return [
        replace(
            verify_token(target, registry, shelf, record),
            models=tuple(models.get(record.id, ())),
        )
        for record in records
    ]


def _committing(records: Iterable[Record], digest: bytes) -> list[Record]:
    """Return the tokens with the metadata that a proof file names."""
    found = [record for record in records if record.metadata_digest == digest]
    if not found:
        raise NoTokenError(
            f"no token of this registry commits to metadata {digest.hex()}, which the proof file "
            "is about: give the right registry with --registry"
        )
    return found


def _require_compared(named: Iterable[Manifest], records: Iterable[Record]) -> None:
    """Check that no named manifest is left out: results about tokens would say nothing of it."""
    compared = {record.metadata_digest for record in records}
    for manifest in named:
        if manifest.metadata.digest not in compared:
            raise NoTokenError(
                f"{manifest.metadata.name}: none of the {len(compared)} tokens that would be "
                f"compared commits to this manifest (metadata {manifest.metadata.digest.hex()}), "
                "so nothing was compared: give --manifest without --rpc, --registry, ALITHIS_RPC "
                "and ALITHIS_REGISTRY, or leave out --manifest"
            )


def verify_token(target: Target, registry: Registry, shelf: Shelf, record: Record) -> Result:
    """Verify a target against one token, without looking for the models that link to it.

    Args:
        target: the target.
        registry: the registry.
        shelf: finds the token's manifest.
        record: the token's record.
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
    # A proof of inclusion without a data point needs no manifest, so no gateway is asked.
    alone = target.kind == "proof" and isinstance(target.proof, Inclusion)
    open_manifest = shelf.open_local if alone else shelf.open
    result = verify(target, commitment, lambda: open_manifest(record.metadata_digest))
    return replace(result, kind=record.kind.value, marks=marks(record))


def subject_of(registry: Registry, record: Record) -> Subject:
    """Return the subject of a proof file for a token."""
    return Subject(
        metadata=record.metadata_digest,
        chain=registry.chain_id,
        registry=registry.address,
        token=record.id,
    )


def marks(record: Record) -> tuple[str, ...]:
    """Return the known problems of a token in words, as the chain records them."""
    words = {
        "withdrawn by its owner": record.withdrawn,
        "disordered: its leaves were proved to be out of order, so absence cannot be proved": (
            record.disordered
        ),
        f"superseded by token {record.superseded_by}": record.superseded_by,
        f"unanswered claims against it: {record.open_claims}": record.open_claims,
    }
    return tuple(each for each, holds in words.items() if holds)


def _models(
    registry: Registry, shelf: Shelf, records: Iterable[Record]
) -> dict[int, list[LinkedModel]]:
    """Find the models that link to datasets, with one pass over the registry for all datasets."""
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
    source, target = Endpoint.of_record(record), Endpoint.of_record(dataset)
    found = evidence(link.relation, source, target, statement, countersigned=link.countersigned)
    return LinkedModel(
        token=record.id,
        name=statement.name,
        relation=link.relation.value,
        grade=found.grade,
        publisher=record.publisher,
        transcript=found.transcript,
    )
