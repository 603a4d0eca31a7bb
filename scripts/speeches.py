"""`ape run speeches`: lineage on texts, from a passage to a fine-tuned classifier."""

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
"""A Python with scikit-learn, which needs NumPy 2; Ape needs NumPy 1."""

_FOLDER = _sample.BUILD / "speeches"
_SPEECHES = _sample.ROOT / "node_modules" / "@stdlib" / "datasets-sotu" / "data"
_EXAMPLE = _sample.ROOT / "examples" / "text_classifier.py"
_FROZEN = ("party-recent.safetensors#tfidfvectorizer._tfidf.idf_", "vocabulary.txt")


@click.command(cls=ConnectedCommand)
def cli(network: NetworkAPI) -> None:
    """Follow passages of speeches through a classifier to a fine-tuned classifier.

    The State of the Union addresses are cut into passages and split by speech into a training and
    a test dataset; the passages since 1900 are a third dataset, derived from the training data. A
    scikit-learn classifier learns the presidents' parties, and is then fine-tuned on the recent
    passages (examples/text_classifier.py). Everything is minted and countersigned. The example
    shows that the fine-tune shares vocabulary and frequencies with its parent, writes a report and
    exports, and follows one old passage, which the fine-tune was not trained on, to the fine-tune.

    It runs on a local chain that ends with the command. Its output stays in build/speeches. Run
    'make examples' to install what it needs.

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
    """Run the example that makes the manifests.

    Args:
        python: A Python interpreter with scikit-learn.
        speeches: The folder of the texts.
        folder: Where the manifests are written.

    Raises:
        CommandError: The interpreter or the texts are missing, or the example fails, which prints
            its reason.
    """
    if not python.is_file():
        raise CommandError(f"there is no Python with scikit-learn at {python}. Run 'make examples'")
    if not speeches.is_dir():
        raise CommandError(f"the speeches are not at {speeches}. Run 'make setup'")
    done = subprocess.run([python, _EXAMPLE, speeches, folder], check=False)  # noqa: S603
    if done.returncode:
        raise CommandError(
            f"{_EXAMPLE.name} failed with exit status {done.returncode}. Its output says why"
        )
