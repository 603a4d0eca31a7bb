"""``alithis report``: what a model rests on, and what is not known of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alithis.cli.options import (
    ANY,
    REFERENCE,
    open_reference,
    reference_options,
    say,
    write_output,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alithis.manifest.reader import Manifest
    from alithis.reports.gather import Report
    from alithis.verify.reference import Resolver

_ENDINGS = {
    **dict.fromkeys((".md", ".markdown", ".txt"), "markdown"),
    **dict.fromkeys((".html", ".htm"), "html"),
    ".json": "json",
}


@click.command()
@click.argument("subject", metavar=REFERENCE)
@click.option(
    "--format",
    "form",
    type=click.Choice(["markdown", "html", "json"]),
    help="How to write it  [default: by the ending of --out: .md, .html, .json; or markdown].",
)
@click.option("-o", "--out", type=ANY, help="The file to write  [default: print it].")
@click.option(
    "--template",
    type=click.Choice(["eu-training-summary"]),
    help="In the sections of the European Commission's summary of training content.",
)
@click.option(
    "--manifest",
    "places",
    multiple=True,
    metavar=REFERENCE,
    help="The manifest of something the model was made from; repeatable.",
)
@reference_options()
def report(
    subject: str,
    form: str | None,
    out: Path | None,
    template: str | None,
    places: tuple[str, ...],
    references: Resolver,
) -> None:
    """Report what a model rests on, and what is not known of it.

    The report gives the data it was trained on, with sizes, licences and whether it may be
    mined; how much of each dataset was fed; which test data was trained on, counted wherever
    both manifests are at hand; the models it came from; what the chain says against any of
    these; how far each link is evidenced; and what none of this tells.

    Without --rpc and --registry it rests on MANIFEST alone. Other manifests are looked for at
    --manifest, in the local store, and through the gateways.

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
    asked = subject_of(references, subject)
    shelf = Shelf(references.store, _opened(references, places), references.gateways)
    found = gather(asked, shelf, references.registry)
    text = _written(found, form, template)
    if write_output(out, [text.encode()]):
        sources = len(found.sources)
        say(f"{out}: {sources} source{'s'[: sources != 1]}, not known: {len(found.unknown)}")


def subject_of(references: Resolver, text: str) -> int | Manifest:
    """Return what a report is about: a token's number, or a manifest."""
    from alithis.verify.reference import Reference

    reference = Reference.parse(text)
    if reference.kind == "token":
        return references.record(reference).id
    return references.open(reference).manifest


def _opened(references: Resolver, places: tuple[str, ...]) -> Iterator[Manifest]:
    """Open manifests; one that cannot be opened is reported, and does not stop the report."""
    from alithis.errors import AlithisError

    for place in places:
        try:
            yield open_reference(references, place).manifest
        except AlithisError as error:
            say(f"alithis: {error}", err=True)


def _form_of(out: Path | None) -> str:
    """Tell by a file's ending how to write it; without one, it is Markdown."""
    _, dot, ending = out.name.lower().rpartition(".") if out else ("", "", "")
    if not dot:
        return "markdown"
    if dot + ending not in _ENDINGS:
        known = ", ".join(_ENDINGS)
        raise click.UsageError(f"{out}: does not end in one of {known}; --format says what it is")
    return _ENDINGS[dot + ending]


def _written(found: Report, form: str, template: str | None) -> str:
    from alithis.reports import document, eu_summary, model_report
    from alithis.reports.gather import as_object

    if form == "json":
        value = document.as_object(eu_summary.compose(found)) if template else as_object(found)
        return json.dumps(value, indent=1) + "\n"
    composed = eu_summary.compose(found) if template else model_report.compose(found)
    return document.html(composed) if form == "html" else document.markdown(composed)
