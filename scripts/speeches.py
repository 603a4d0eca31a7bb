"""`ape run speeches`: a chain of lineage on texts, from a passage to a fine-tuned classifier."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alithis_ape.command import CommandError, ConnectedCommand
from scripts import _chain, _sample
from scripts._chain import Member

if TYPE_CHECKING:
    from ape.api import NetworkAPI

FRAMEWORKS = _sample.ROOT / ".frameworks" / "bin" / "python"
"""Where scikit-learn is: it wants NumPy 2, which Ape does not go together with."""

_FOLDER = _sample.BUILD / "speeches"
_SPEECHES = _sample.ROOT / "node_modules" / "@stdlib" / "datasets-sotu" / "data"
_EXAMPLE = _sample.ROOT / "examples" / "text_classifier.py"
_FROZEN = ("party-recent.safetensors#tfidfvectorizer._tfidf.idf_", "vocabulary.txt")


@click.command(cls=ConnectedCommand)
def cli(network: NetworkAPI) -> None:
    """Run a chain of lineage on texts, from a passage to a fine-tuned classifier.

    The State of the Union addresses, cut into passages, are split by whole speeches into a
    dataset to train on and one to test on; the passages since 1900 are a dataset derived from
    the first. A classifier of scikit-learn's learns to tell the presidents' parties, and is then
    fine-tuned on the recent passages (examples/text_classifier.py). All of it is minted and
    countersigned; the fine-tune is shown to share vocabulary and frequencies with its parent; a
    report and exports are written; and one old passage, which the fine-tune was not fed, is
    followed to it. It runs on the embedded chain, which ends with it. What it writes stays in
    build/speeches. 'make examples' installs what it needs.

    \b
    Example:
      ape run speeches
    """
    with _chain.local(network):
        _run()


def _run() -> None:
    _chain.title("Hash the passages; train on all, then fine-tune on those since 1900")
    train(FRAMEWORKS, _SPEECHES, _FOLDER)
    members = [
        Member(_made("speeches-train")),
        Member(_made("speeches-test")),
        Member(_made("speeches-recent"), links=[("derived_from", 0)]),
        Member(_made("party"), publisher=1),
        Member(_made("party-recent"), publisher=2),
    ]
    example = _FOLDER / "passage.txt"
    _chain.run(members, _FOLDER, frozen=_FROZEN, example=example, what="passage")


def _made(name: str) -> Path:
    return _FOLDER / f"{name}.alithis"


def train(python: Path, speeches: Path, folder: Path) -> None:
    """Runs the example that makes the manifests.

    Args:
        python: The interpreter beside which scikit-learn is installed.
        speeches: The texts.
        folder: Where the manifests go.

    Raises:
        CommandError: The interpreter or the texts are not there, or the example fails: it has
            said why.
    """
    if not python.is_file():
        raise CommandError(f"scikit-learn is not at {python}: 'make examples' installs it")
    if not speeches.is_dir():
        raise CommandError(f"the speeches are not at {speeches}: 'make setup' fetches them")
    done = subprocess.run([python, _EXAMPLE, speeches, folder], check=False)  # noqa: S603
    if done.returncode:
        raise CommandError(f"{_EXAMPLE.name} ended with status {done.returncode}")
