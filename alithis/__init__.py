"""Alithis: proofs of where a machine-learning model's data came from.

The names in `__all__` are the library's public API; docs/architecture.md explains the modules
behind them. A *reference* names a manifest: a folder, ``https://…``, ``s3://…``, ``ipfs://CID``,
or the number of a token, which requires ``rpc`` and ``registry``.

Slow imports are inside the functions that need them, so ``import alithis`` is fast.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from alithis.errors import AlithisError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alithis.manifest.metadata import Description
    from alithis.manifest.proof import Proof
    from alithis.manifest.reader import Manifest, Step
    from alithis.reports.report import Report
    from alithis.training.run import Run
    from alithis.verify.reference import Resolver
    from alithis.verify.verdict import Result

__all__ = [
    "AlithisError",
    "Manifest",
    "Report",
    "Result",
    "Run",
    "audit",
    "hash_dataset",
    "hash_model",
    "open_manifest",
    "overlap",
    "prove",
    "report",
    "verify",
]

# The package `alithis.verify` has the name of the function below. Its first import would set the
# attribute `alithis.verify` to the package, so it has to come before the function is defined.
import_module("alithis.verify")

_CLASSES = {
    "Manifest": "alithis.manifest.reader",
    "Report": "alithis.reports.report",
    "Result": "alithis.verify.verdict",
    "Run": "alithis.training.run",
}


def __getattr__(name: str) -> Any:
    """Import a class when it is first asked for."""
    if name not in _CLASSES:
        raise AttributeError(f"module 'alithis' has no attribute {name!r}")
    return getattr(import_module(_CLASSES[name]), name)


def hash_dataset(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    description: Description | None = None,
    key_file: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    replace: bool = False,
    **options: Any,
) -> Manifest:
    """Hash a dataset data point by data point, and write its manifest.

    Args:
        source: a folder, an archive, a table, a file of lines or arrays, or the URL of one; see
            "On your own data" in README.md.
        out: the folder to write the manifest to. It appears only once it is complete.
        description: name, licence and other statements of the publisher; by default only the
            source's name.
        key_file: the publisher's key, for keyed leaves (docs/privacy.md). A new key is made if
            the file does not exist.
        workers: number of processes; by default one for each processor.
        replace: whether to replace an existing manifest at ``out``.
        options: such as ``form``, ``column`` or ``label_from_folder``; see
            `alithis.readers.Options`.

    Returns:
        The manifest. Its ``metadata`` has ``root`` (32 bytes), ``size`` (distinct leaves) and
        ``items`` (data points).

    Raises:
        SourceError: the source cannot be read, or ``out`` cannot be written.

    Example:
        >>> manifest = alithis.hash_dataset("photos/", "photos.alithis")
        >>> manifest.metadata.size, len(manifest.metadata.root)
        (3, 32)
    """
    from pathlib import Path

    from alithis.forms.keyed import obtain_key
    from alithis.forms.pool import Pool
    from alithis.manifest.builder import build
    from alithis.manifest.folder import check_target
    from alithis.manifest.metadata import Description
    from alithis.readers import open_source
    from alithis.readers.stream import stream

    target = Path(out)
    check_target(target, replace=replace)
    opened = open_source(os.fspath(source), **options)
    key = obtain_key(Path(key_file))[0] if key_file is not None else None
    with Pool(workers) as pool:
        return build(
            stream(opened, pool, key),
            target,
            description=description
            or Description.composed({}, {}, {"name": target.stem, **opened.about}),
            form=opened.form,
            replace=replace,
            key_check=key.check if key else None,
        )


def hash_model(
    weights: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    inputs: Sequence[tuple[str, str | Manifest]] = (),
    description: Description | None = None,
    parameters: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    workers: int | None = None,
    replace: bool = False,
) -> Manifest:
    """Hash a model's files, and write its manifest. Nothing is unpickled.

    Safetensors files are also hashed tensor by tensor, other large files in pieces of 64 MiB.

    Args:
        weights: the model's files, or a folder of them.
        out: the folder to write the manifest to. It appears only once it is complete.
        inputs: what the model was made from: pairs of a relation (``trained_on``,
            ``validated_on``, ``tested_on``, ``fine_tuned_from``, ``distilled_from``) and a
            reference or manifest.
        description: name, licence and other statements of the publisher; by default only the
            name of ``out``.
        parameters: hyperparameters.
        metrics: measured values.
        workers: number of processes; by default one for each processor.
        replace: whether to replace an existing manifest at ``out``.

    Raises:
        SourceError: a file cannot be read, or ``out`` cannot be written.
        FormatError: a safetensors file is damaged, or a relation or value is not valid.

    Example:
        >>> train = alithis.hash_dataset("photos/", "train.alithis")
        >>> model = alithis.hash_model(
        ...     "model.bin", "model.alithis", inputs=[("trained_on", train)], metrics={"loss": 0.5}
        ... )
        >>> model.metadata.kind
        'model'
    """
    from pathlib import Path

    from alithis.manifest.metadata import Description
    from alithis.manifest.transcript import Input
    from alithis.training.model import ModelFacts, build_model
    from alithis.training.weights import Weights

    files = [weights] if isinstance(weights, str | os.PathLike) else weights
    target = Path(out)
    return build_model(
        Weights.of([Path(file) for file in files]),
        target,
        description=description or Description(target.stem),
        facts=ModelFacts(
            parameters=parameters or {},
            metrics=metrics or {},
            inputs=[Input.of(relation, _opened(given).metadata) for relation, given in inputs],
        ),
        replace=replace,
        workers=workers,
    )


def open_manifest(
    reference: str | os.PathLike[str], *, rpc: str | None = None, registry: str | None = None
) -> Manifest:
    """Open the manifest that a reference names. Only its metadata is read now.

    Args:
        reference: a folder, a URL, ``ipfs://CID`` or a token's number.
        rpc: for a token, the URL of a node's JSON-RPC.
        registry: for a token, the registry's address.

    Raises:
        FormatError: there is no manifest, or it is malformed.
        StorageError: a server, a bucket or the gateways give no usable answer.
        RegistryError: a token needs a registry, or the registry has no such token.

    Example:
        >>> alithis.hash_dataset("photos/", "photos.alithis").metadata.name
        'photos'
        >>> alithis.open_manifest("photos.alithis").metadata.items
        3
    """
    return _opened(reference, _resolver(rpc, registry))


def audit(
    folder: str | os.PathLike[str],
    *,
    source: str | os.PathLike[str] | None = None,
    key_file: str | os.PathLike[str] | None = None,
    **options: Any,
) -> list[Step]:
    """Recompute everything that a manifest in a folder states.

    Args:
        folder: the manifest's folder.
        source: the data, as in `hash_dataset`; it is hashed again and compared.
        key_file: the publisher's key, if the manifest has keyed leaves.
        options: the options that the source was hashed with.

    Returns:
        The checks in order, each with ``step``, ``ok`` and ``detail``. The manifest is valid if
        every ``ok`` is True.

    Raises:
        SourceError: the source cannot be read.

    Example:
        >>> manifest = alithis.hash_dataset("photos/", "photos.alithis")
        >>> all(step.ok for step in alithis.audit("photos.alithis", source="photos/"))
        True
    """
    from pathlib import Path

    from alithis.forms.keyed import read_key
    from alithis.forms.pool import Pool
    from alithis.manifest.audit import audit
    from alithis.readers import open_source
    from alithis.readers.stream import stream

    if source is None:
        return audit(Path(folder))
    key = read_key(Path(key_file)) if key_file is not None else None
    stated = open_manifest(folder).metadata.form
    opened = open_source(os.fspath(source), **{"form": stated, **options})
    with Pool() as pool:
        return audit(
            Path(folder),
            source=stream(opened, pool, key),
            form=opened.form,
            key_check=key.check if key else None,
        )


def prove(
    target: str | os.PathLike[str],
    manifest: str | os.PathLike[str] | Manifest,
    out: str | os.PathLike[str] | None = None,
    *,
    key_file: str | os.PathLike[str] | None = None,
    replace: bool = False,
) -> Proof:
    """Prove that a data point is in a manifest, or that it is absent.

    Args:
        target: a file, or 64 hexadecimal digits: the SHA-256 of its canonical form.
        manifest: a reference or an open manifest.
        out: a proof file to write; `verify` can check it without the manifest.
        key_file: the publisher's key, if the manifest has keyed leaves.
        replace: whether an existing file at ``out`` may be replaced even if it is not a proof file.
            A file that is read here, or of a manifest, is never replaced.

    Returns:
        An ``Inclusion`` or an ``Exclusion``: ``leaf`` (32 bytes), ``index`` and path (hashes of
        32 bytes).

    Raises:
        SourceError: the target cannot be read or cannot be converted to the canonical form, or
            ``out`` may not be replaced.
        IntegrityError: the manifest is damaged.

    Example:
        >>> manifest = alithis.hash_dataset("photos/", "photos.alithis")
        >>> proof = alithis.prove("photos/cat.jpg", manifest, "cat.proof.json")
        >>> proof.check(manifest.metadata.root, manifest.metadata.size)  # or raises
    """
    from dataclasses import replace as with_changes
    from pathlib import Path

    from alithis.base.files import write_atomic, write_errors
    from alithis.manifest import proof
    from alithis.manifest.output import Output, check_output

    if out is not None:
        reads = [
            each for each in (target, manifest, key_file) if isinstance(each, str | os.PathLike)
        ]
        check_output(out, Output.PROOF, reads, replace=replace)
    opened, asked = _opened(manifest), _target(target, key_file)
    found = opened.prove(asked.leaf(opened.metadata))
    if isinstance(found, proof.Inclusion):
        found = with_changes(found, opening=asked.opening(opened.metadata))
    if out is not None:
        about = proof.Subject(opened.metadata.name, opened.metadata.digest)
        with write_errors(Path(out)):
            write_atomic(Path(out), proof.dump(found, about))
    return found


def verify(
    target: str | os.PathLike[str],
    manifest: str | os.PathLike[str] | Manifest,
    *,
    rpc: str | None = None,
    registry: str | None = None,
    key_file: str | os.PathLike[str] | None = None,
) -> Result:
    """Verify whether a data point is in a manifest, or absent from it.

    Args:
        target: a file, 64 hexadecimal digits (the SHA-256 of its canonical form) or a proof file.
        manifest: a reference or an open manifest. For a token, root and size come from the chain.
            For any other manifest, they are those that it states, and the step ``record`` of the
            result says so.
        rpc: for a token, the URL of a node's JSON-RPC.
        registry: for a token, the registry's address.
        key_file: the publisher's key, if the leaves are keyed.

    Returns:
        The result: ``verdict`` (``included``, ``absent`` or ``unverifiable``), ``index``,
        ``size``, ``root`` and ``steps``. A check that fails is a step of the result, not an
        exception.

    Raises:
        SourceError: the target cannot be read.
        RegistryError: a token needs a registry, or the registry has no such token.

    Example:
        >>> manifest = alithis.hash_dataset("photos/", "photos.alithis")
        >>> alithis.verify("photos/cat.jpg", manifest).verdict
        'included'
        >>> alithis.verify("drawing.jpg", manifest).verdict
        'absent'
    """
    from alithis.verify.library import Shelf
    from alithis.verify.reference import Reference
    from alithis.verify.steps import verify_manifest
    from alithis.verify.tokens import verify_tokens

    asked = _target(target, key_file)
    if not isinstance(manifest, str | os.PathLike):
        return verify_manifest(asked, manifest)
    resolver, named = _resolver(rpc, registry), Reference.parse(os.fspath(manifest))
    if named.kind != "token":
        return verify_manifest(asked, resolver.open(named).manifest)
    resolver.record(named)  # raises an error that says what to give, if there is no registry
    chain = resolver.registry
    assert chain is not None
    shelf = Shelf(resolver.store, gateways=resolver.gateways)
    (result,) = verify_tokens(asked, chain, shelf, [int(named.address)])
    return result


def overlap(
    left: str | os.PathLike[str] | Manifest, right: str | os.PathLike[str] | Manifest
) -> int:
    """Count the distinct data points that two manifests share.

    Args:
        left: a reference or an open manifest.
        right: a reference or an open manifest.

    Raises:
        FormatError: they cannot be compared, because their canonical forms, schemes or keys differ.
        IntegrityError: a manifest is damaged.

    Example:
        >>> train = alithis.hash_dataset("photos/", "train.alithis")
        >>> test = alithis.hash_dataset("others/", "test.alithis")
        >>> alithis.overlap(train, test)
        1
    """
    from alithis.manifest.overlap import shared

    return sum(len(leaves) // 32 for leaves in shared(_opened(left), _opened(right)))


def report(
    model: str | os.PathLike[str] | Manifest,
    manifests: Sequence[str | os.PathLike[str] | Manifest] = (),
    *,
    rpc: str | None = None,
    registry: str | None = None,
) -> Report:
    """Gather what a model was made from, the evidence for it, and what is not known.

    Args:
        model: a reference to the model, or its open manifest.
        manifests: manifests of its inputs that are neither in the local store nor on gateways.
        rpc: the URL of a node's JSON-RPC, to read links and publishers from the chain.
        registry: the registry's address.

    Raises:
        FormatError: the manifest is not a model's.
        RegistryError: the registry has no such token, or the node gives no usable answer.

    Example:
        >>> train = alithis.hash_dataset("photos/", "train.alithis")
        >>> model = alithis.hash_model("model.bin", "model.alithis", inputs=[("trained_on", train)])
        >>> [tie.relation for tie in alithis.report(model, [train]).ties]
        ['trained_on']
    """
    from alithis.reports.gather import report
    from alithis.verify.library import Shelf
    from alithis.verify.reference import Reference

    resolver = _resolver(rpc, registry)
    near = [_opened(each, resolver) for each in manifests]
    subject: int | Manifest
    if isinstance(model, str | os.PathLike) and (
        (named := Reference.parse(os.fspath(model))).kind == "token"
    ):
        resolver.record(named)
        subject = int(named.address)
    else:
        subject = _opened(model, resolver)
        near.append(subject)
    return report(subject, Shelf(resolver.store, near, resolver.gateways), resolver.registry)


def _opened(
    manifest: str | os.PathLike[str] | Manifest, resolver: Resolver | None = None
) -> Manifest:
    from alithis.errors import FormatError
    from alithis.verify.reference import Reference

    if not isinstance(manifest, str | os.PathLike) and hasattr(manifest, "metadata"):
        return manifest
    if not isinstance(manifest, str | os.PathLike):
        raise FormatError(
            f"a {type(manifest).__name__} is not a manifest: give a Manifest, or a reference as "
            "text: a folder, a URL, ipfs://CID or a token's number"
        )
    return (resolver or _resolver()).open(Reference.parse(os.fspath(manifest))).manifest


def _resolver(rpc: str | None = None, registry: str | None = None) -> Resolver:
    from alithis.verify.reference import Resolver

    if rpc is None or registry is None:
        return Resolver()
    url, address = rpc, registry

    def connect() -> Any:
        from alithis.chain.registry import Registry
        from alithis.chain.rpc import HttpTransport

        return Registry(HttpTransport(url), address)

    return Resolver(connect=connect)


def _target(target: str | os.PathLike[str], key_file: str | os.PathLike[str] | None) -> Any:
    from pathlib import Path

    from alithis.forms.keyed import read_key
    from alithis.verify.target import Target

    key = read_key(Path(key_file)) if key_file is not None else None
    return Target.parse(os.fspath(target), key=key)
