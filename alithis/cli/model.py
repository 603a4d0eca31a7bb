"""``alithis model``: hash a model, and state what it was made with and from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alithis.cli.options import (
    ANY,
    EXISTING,
    REFERENCE,
    json_option,
    open_reference,
    read_bounded,
    reference_options,
    refuse_standard_output,
    say_built,
)

if TYPE_CHECKING:
    from alithis.manifest.transcript import Input
    from alithis.training.model import ModelFacts
    from alithis.verify.reference import Resolver

_MAX_JSON = 256 * 1024  # bytes; more does not fit into the metadata


@click.command()
@click.argument("weights", metavar="WEIGHTS...", nargs=-1, required=True, type=EXISTING)
@click.option(
    "-o", "--out", type=ANY, help="The manifest to write  [default: the first WEIGHTS + .alithis]."
)
@click.option("--name", help="The model's name  [default: the first WEIGHTS' name].")
@click.option("--description", default="", help="A description in a sentence or two.")
@click.option("--license", help="SPDX licence expression or URL.")
@click.option("--creator", "creators", multiple=True, help="An author; may be repeated.")
@click.option("--url", help="Its home page.")
@click.option("--model-version", "version", help="The model's version.")
@click.option("--task", default="", help="What it does, such as image-classification.")
@click.option("--intended-use", default="", help="What it is for.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar=f"RELATION={REFERENCE}",
    help="A dataset or model that it was made from, such as trained_on=train.alithis or "
    "fine_tuned_from=7; may be repeated.",
)
@click.option(
    "--run", type=EXISTING, metavar="FILE", help="The record of an alithis.Run (.run.json)."
)
@click.option(
    "--params", type=EXISTING, metavar="FILE", help="Hyperparameters: a file with a JSON object."
)
@click.option(
    "--param",
    "some_params",
    multiple=True,
    metavar="KEY=VALUE",
    help="A single hyperparameter; may be repeated.",
)
@click.option(
    "--metrics", type=EXISTING, metavar="FILE", help="Metrics: a file with a JSON object."
)
@click.option(
    "--metric",
    "some_metrics",
    multiple=True,
    metavar="KEY=VALUE",
    help="A single metric; may be repeated.",
)
@click.option(
    "--made-with",
    "environment",
    multiple=True,
    metavar="NAME=VERSION",
    help="A framework and its version; may be repeated.",
)
@click.option("--code", metavar="URL@COMMIT", help="The code that trained it.")
@click.option("--hardware", help="What it was trained on.")
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Number of processes  [default: one for each processor].",
)
@click.option("--force", is_flag=True, help="Replace an existing manifest.")
@reference_options()
@json_option
def model(
    weights: tuple[Path, ...],
    out: Path | None,
    name: str | None,
    workers: int | None,
    force: bool,
    references: Resolver,
    as_json: bool,
    **stated: Any,
) -> None:
    """Fingerprint a model's files, and write them and its origin as a manifest.

    WEIGHTS are files, or a folder with all files of a model (such as a Hugging Face repository).
    Safetensors files are also hashed tensor by tensor, so that `alithis overlap` can name the
    tensors that two models share. Other files over 64 MiB are hashed in pieces. No file is
    unpickled, so a model cannot run code.

    \b
    Examples:
      alithis model digits.safetensors -o digits.alithis --input trained_on=train.alithis
      alithis model tuned/ --name tuned --license Apache-2.0 --params params.json
      alithis model tuned.safetensors --input fine_tuned_from=base.alithis --metric accuracy=0.92
      alithis model digits.pt --run digits.alithis.run.json --task image-classification
      alithis overlap base.alithis tuned.alithis --list    which tensors they share
    """
    from alithis.cli import terminal
    from alithis.manifest.folder import check_target
    from alithis.manifest.metadata import Description
    from alithis.training.model import build_model
    from alithis.training.weights import Weights

    first = weights[0].resolve().name or "model"
    target = out or Path(first + ".alithis")
    refuse_standard_output(out, "a folder")
    check_target(target, replace=force)
    words = ("description", "license", "creators", "url", "version")
    description = Description(name or first, **{word: stated.pop(word) for word in words})
    facts = _facts(references, **stated)
    found = Weights.of(weights)
    with terminal.shown() as progress:
        built = build_model(
            found,
            target,
            description=description,
            facts=facts,
            replace=force,
            workers=workers,
            progress=progress,
        )
    data, skipped = built.metadata, found.skipped
    lines = [f"{target}: {data.items:,} files, tensors and pieces, {data.size:,} of them distinct"]
    if skipped.count:
        names = ", ".join(name for name, _ in skipped.names[:3])
        lines.append(f"  skipped   {skipped.count:,} hidden ({names}{', …' * (skipped.count > 3)})")
    lines += [f"  {given.relation} {given.name}" for given in facts.inputs]
    say_built(built, target, skipped, lines, as_json=as_json)


def _facts(
    references: Resolver,
    *,
    inputs: Sequence[str],
    run: Path | None,
    params: Path | None,
    some_params: Sequence[str],
    metrics: Path | None,
    some_metrics: Sequence[str],
    environment: Sequence[str],
    code: str | None,
    hardware: str | None,
    task: str,
    intended_use: str,
) -> ModelFacts:
    """Return what is stated about a model. Options override the record of a run."""
    from alithis.training.model import ModelFacts

    recorded = _object(run)
    if run is not None and "complete" not in recorded:
        raise click.UsageError(f"--run {run}: is not the record of a Run (.run.json)")
    return ModelFacts.of_record(
        recorded,
        str(run),
        parameters={**_object(params), **_pairs("--param", some_params)},
        metrics={**_object(metrics), **_pairs("--metric", some_metrics)},
        inputs=[_input(references, text) for text in inputs],
        environment=_pairs("--made-with", environment, text=True),
        code=_code(code) if code else {},
        hardware=hardware,
        task=task,
        intended_use=intended_use,
    )


def _object(path: Path | None) -> dict[str, Any]:
    """Read a file with a JSON object."""
    from alithis.base.untrusted_json import parse

    return {} if path is None else parse(read_bounded(path, _MAX_JSON), str(path))


def _pairs(option: str, texts: Sequence[str], *, text: bool = False) -> dict[str, Any]:
    """Read KEY=VALUE. A value that is not JSON is a text."""
    found = dict[str, Any]()
    for each in texts:
        key, equals, value = each.partition("=")
        if not (key and equals):
            raise click.UsageError(f"{option} {each}: write KEY=VALUE")
        found[key] = value if text else _value(value)
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _code(text: str) -> dict[str, Any]:
    from alithis.training.git_info import public_url

    repository, at, commit = text.rpartition("@")
    if not (repository and at and commit):
        raise click.UsageError(f"--code {text}: write URL@COMMIT")
    if (shown := public_url(repository)) is None:
        raise click.UsageError(
            "--code: the URL may hold a password, which would be published. Remove it"
        )
    return {"repository": shown, "commit": commit}


def _input(references: Resolver, text: str) -> Input:
    """Open the manifest that RELATION=REFERENCE names, for its name and metadata digest."""
    from alithis.errors import FormatError
    from alithis.manifest.transcript import RELATIONS, Input

    relation, equals, place = text.partition("=")
    if not (equals and place) or relation not in RELATIONS:
        raise click.UsageError(
            f"--input: write RELATION=MANIFEST, the relation one of {', '.join(RELATIONS)}"
        )
    data = open_reference(references, place).manifest.metadata
    try:
        return Input.of(relation, data)
    except FormatError as error:
        raise click.UsageError(f"--input: {error}") from error
