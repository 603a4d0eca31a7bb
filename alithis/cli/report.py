"""``alithis report``: what a model was made from, known problems, and what is not known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from alithis.cli.options import (
    ANY,
    REFERENCE,
    check_output,
    force_option,
    open_reference,
    reference_options,
    say,
    write_output,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alithis.manifest.reader import Manifest
    from alithis.reports.report import Report
    from alithis.verify.reference import Resolver

Form = Literal["markdown", "html", "json"]

_ENDINGS: dict[str, Form] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "markdown",
    ".html": "html",
    ".htm": "html",
    ".json": "json",
}


@click.command()
@click.argument("subject", metavar=REFERENCE)
@click.option(
    "--format",
    "form",
    type=click.Choice(["markdown", "html", "json"]),
    help="Output format  [default: by the ending of --out (.md, .html, .json), or markdown].",
)
@click.option("-o", "--out", type=ANY, help="The file to write; - prints it  [default: -].")
@force_option
@click.option(
    "--template",
    type=click.Choice(["eu-training-summary"]),
    help="Draft the European Commission's public summary of training content instead.",
)
@click.option(
    "--manifest",
    "places",
    multiple=True,
    metavar=REFERENCE,
    help="The manifest of a dataset or model that this model was made from; may be repeated.",
)
@reference_options()
def report(
    subject: str,
    form: Form | None,
    out: Path | None,
    force: bool,
    template: str | None,
    places: tuple[str, ...],
    references: Resolver,
) -> None:
    """Report what a model was made from, known problems, and what is not known.

    The report shows the training data with sizes, licences and data-mining statements; how much
    of each dataset was used in training, as its publisher recorded it; test data that was also
    trained on, counted where both manifests are available; parent models; known problems; the
    evidence for each link; and what is not known.

    With --rpc and --registry, links and publishers come from the chain. Without them, the report
    uses only what publishers state in manifests. Manifests of datasets and parent models are
    looked for in --manifest, the local store, and IPFS gateways.

    \b
    Examples:
      alithis report digits.alithis --manifest train.alithis --manifest test.alithis
      alithis report 7 --rpc URL --registry 0x… -o report.html
      alithis report digits.alithis --template eu-training-summary -o summary.md
      alithis report 7 --rpc URL --registry 0x… --gateway https://ipfs.io --format json
    """
    from alithis.reports.gather import report as gather
    from alithis.verify.library import Shelf

    form = form or _form_of(out)
    check_output(out, "REPORT", (subject, *places), force=force)
    asked = subject_of(references, subject)
    shelf = Shelf(references.store, _opened(references, places), references.gateways)
    found = gather(asked, shelf, references.registry)
    text = _written(found, form, template)
    if write_output(out, [text.encode()]):
        sources = len(found.sources)
        say(f"{out}: {sources} source{'s'[: sources != 1]}, not known: {len(found.unknown)}")


def subject_of(references: Resolver, text: str) -> int | Manifest:
    """Return the subject of a report: a token's number or a manifest."""
    from alithis.verify.reference import Reference

    reference = Reference.parse(text)
    if reference.kind == "token":
        return references.record(reference).id
    return references.open(reference).manifest


def _opened(references: Resolver, places: tuple[str, ...]) -> Iterator[Manifest]:
    """Open manifests. Print an error for one that cannot be opened, and use the others."""
    from alithis.errors import AlithisError
    from alithis.verify.reference import Reference

    for place in places:
        reference = Reference.parse(place)
        if reference.kind == "token":
            references.record(reference)  # raises for a token that the registry does not have
        try:
            yield open_reference(references, place).manifest
        except AlithisError as error:
            say(f"alithis: {error}", err=True)


def _form_of(out: Path | None) -> Form:
    """Choose the format by a file's ending; Markdown if it has none."""
    _, dot, ending = out.name.lower().rpartition(".") if out else ("", "", "")
    if not dot:
        return "markdown"
    if dot + ending not in _ENDINGS:
        known = ", ".join(_ENDINGS)
        raise click.UsageError(
            f"{out}: does not end in one of {known}. Name the format with --format"
        )
    return _ENDINGS[dot + ending]


def _written(found: Report, form: Form, template: str | None) -> str:
    from alithis.reports import eu_summary, model_report
    from alithis.reports.as_json import as_object

    if form == "json":
        value = eu_summary.as_object(found) if template else as_object(found)
        return json.dumps(value, indent=1) + "\n"
    return eu_summary.write(found, form) if template else model_report.write(found, form)
