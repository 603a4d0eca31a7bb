"""``alithis verify``: check a data point against manifests, a root or the chain."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alithis.cli.options import (
    EXISTING,
    TOKEN,
    json_option,
    key_option,
    read_key,
    reference_options,
    say,
    was_typed,
)
from alithis.errors import AlithisError

if TYPE_CHECKING:
    from alithis.manifest.reader import Manifest
    from alithis.verify.reference import Reference, Resolver
    from alithis.verify.target import Target
    from alithis.verify.verdict import Result


@click.command()
@click.argument("target", metavar="FILE|HASH|PROOF")
@click.option(
    "--manifest",
    "places",
    multiple=True,
    metavar="DIR|URL|CID",
    help="A manifest to verify against: a folder, an http, https or s3 URL, or ipfs://CID; may be "
    "repeated. With --rpc and --registry, it must be the manifest of a token that is compared.",
)
@click.option("--proof", "proof_file", type=EXISTING, help="A proof file for FILE.")
@key_option
@click.option("--root", metavar="HASH", help="The root that the manifest or proof must match.")
@click.option(
    "--size",
    type=click.IntRange(min=1),
    metavar="N",
    help="The size that belongs to --root.",
)
@click.option(
    "--token",
    "tokens",
    type=TOKEN,
    metavar="ID",
    multiple=True,
    help="A token to verify against; may be repeated  [default: all, or the one in the proof].",
)
@reference_options()
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    target: str,
    places: tuple[str, ...],
    proof_file: Path | None,
    key_file: Path | None,
    root: str | None,
    size: int | None,
    tokens: tuple[int, ...],
    references: Resolver,
    as_json: bool,
) -> None:
    """Check whether a file is in a dataset, or absent from it.

    The output lists each check, and the models whose publishers link to the dataset.

    With --rpc and --registry, root and size come from the chain, and manifests come from
    --manifest, the local store or IPFS gateways. A gateway learns which manifest you read, and
    which 8 KiB of it; --gateway none asks no gateway. Without --rpc, root and size come from
    --root and --size, or from the manifest itself; the output says which. The root does not fix
    the size: with a proof file alone, the index holds for the size that you give. A proof of
    absence also needs the manifest, for its canonical form.

    With --proof, the proof must be about FILE. For keyed leaves, you need a proof from the
    publisher, or the publisher's key.

    Exit status: 0 included, 1 absent, 2 could not check.

    \b
    Examples:
      alithis verify cat.jpg --manifest photos.alithis
      alithis verify cat.jpg --rpc http://127.0.0.1:8545 --registry 0x… --token 1
      alithis verify cat.jpg --manifest https://example.org/photos.alithis
      alithis verify cat.jpg --manifest ipfs://f01551220… --gateway http://127.0.0.1:8080
      alithis verify cat.jpg --proof cat.proof.json --root 4f… --size 60000 --json
      alithis verify scan.png --manifest patients.alithis --key-file patients.key
    """
    from alithis.verify import target as targets
    from alithis.verify import tokens as tokens_module
    from alithis.verify import verdict
    from alithis.verify.library import Shelf

    asked = targets.Target.parse(target, proof_file=proof_file, key=read_key(key_file))
    if (root is None) != (size is None):
        raise click.UsageError("--root and --size go together")
    found = list(_opened(list(map(_reference, places)), references))
    if root is None and (registry := references.registry):
        opened = [each for _, each in found if not isinstance(each, AlithisError)]
        shelf = Shelf(references.store, opened, references.gateways)
        results = tokens_module.verify_tokens(asked, registry, shelf, tokens or None, named=opened)
        results += _unopened(found)
    elif any(map(was_typed, ("rpc", "registry", "chain", "tokens"))):
        raise click.UsageError(
            "--token needs --rpc and --registry; none of them can be used with --root and --size"
        )
    elif places or root:
        results = _verify_offline(asked, found, root, size)
    else:
        raise click.UsageError(
            "there is nothing to verify against. Give --manifest DIR or URL, or --rpc URL and "
            "--registry ADDRESS, or, for a proof file, --root and --size"
        )
    _show_results(asked, results, as_json=as_json)
    ctx.exit(verdict.status(results))


Found = tuple[str, "Manifest | AlithisError"]


def _verify_offline(
    asked: Target, places: list[Found], root: str | None, size: int | None
) -> list[Result]:
    from alithis.verify import steps

    committed = _root(root) if root else None
    if places:
        return [
            steps.unopened(place, found)
            if isinstance(found, AlithisError)
            else steps.verify_manifest(asked, found, root=committed, size=size)
            for place, found in places
        ]
    if asked.proof is None or committed is None or size is None:
        raise click.UsageError(
            "--root and --size alone can check only proof files. Add --manifest DIR"
        )
    return [steps.verify_proof(asked, root=committed, size=size)]


def _reference(text: str) -> Reference:
    from alithis.verify.reference import Reference

    reference = Reference.parse(text)
    if reference.kind == "token":
        raise click.UsageError(
            f"--manifest {reference}: write --token {reference} to verify against a token, "
            f"with --rpc and --registry, or --manifest ./{reference} for a folder"
        )
    return reference


def _opened(places: list[Reference], references: Resolver) -> Iterator[Found]:
    """Open manifests. Of several, one that cannot be opened does not stop the others."""
    for place in places:
        try:
            yield str(place), references.open(place).manifest
        except AlithisError as error:
            if len(places) == 1:
                raise
            yield str(place), error


def _unopened(places: Iterable[Found]) -> list[Result]:
    """Return a result for each named manifest that was not compared, as it cannot be opened."""
    from alithis.verify import steps

    return [
        steps.unopened(place, found) for place, found in places if isinstance(found, AlithisError)
    ]


def _root(text: str) -> bytes:
    try:
        data = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        data = b""
    if len(data) != 32:
        raise click.UsageError("--root: is not 64 hexadecimal digits")
    return data


def _show_results(asked: Target, results: list[Result], *, as_json: bool) -> None:
    from alithis.verify import verdict

    if as_json:
        say(json.dumps(verdict.as_json(asked, results), indent=1))
        return
    name = asked.name.replace("\n", "\\n")
    # Without this, the answer about a proof file could be read as an answer about some file.
    if asked.kind == "proof" and asked.proof:
        name += (
            f": a proof file; the answer is about the data point of leaf {asked.proof.leaf.hex()}"
        )
    say(name)
    for result in results:
        say(verdict.as_text(result))
    if not results:
        say("  nothing was checked: the registry has no tokens")
