"""Datasets to train on with the frameworks; without Ape, and with NumPy 2 (`make frameworks`)."""

import os

for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ[name] = "1"
os.environ["KERAS_BACKEND"] = "torch"

import numpy as np
import pytest

from alithis import readers
from alithis.forms.form import TEXT
from alithis.forms.hashing import of_bytes
from alithis.forms.pool import Pool
from alithis.manifest.builder import build
from alithis.manifest.metadata import Description
from alithis.manifest.reader import DataPoints, Manifest

COUNT = 96


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Pictures of 4 x 4 pixels, bright or dark."""
    random = np.random.default_rng(0)
    return random.integers(0, 128, (COUNT, 4, 4), "u1") + 120 * labels_of(COUNT)[:, None, None]


@pytest.fixture(scope="session")
def labels() -> np.ndarray:
    """Whether a picture is bright."""
    return labels_of(COUNT).astype("i8")


def labels_of(count: int) -> np.ndarray:
    return (np.arange(count) % 3 == 0).astype("u1")


@pytest.fixture(scope="session")
def pixels(images, tmp_path_factory) -> Manifest:
    """The manifest of the pictures."""
    source = readers.arrays(images)
    return manifest_of(source, tmp_path_factory.mktemp("data") / "pixels")


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Sentences about two things."""
    return [f"the {'ship' if at % 2 else 'field'} of number {at} is wide" for at in range(COUNT)]


@pytest.fixture(scope="session")
def sentences(texts, tmp_path_factory) -> Manifest:
    """The manifest of the sentences."""
    digests = b"".join(of_bytes(text.encode()) for text in texts)
    items = DataPoints(digests, [f"{at:03}" for at in range(len(texts))], list(map(len, texts)))
    out = tmp_path_factory.mktemp("data") / "sentences"
    return build([items], out, description=Description("sentences"), form=TEXT)


def manifest_of(source, out) -> Manifest:
    with Pool(1) as pool:
        return build(
            source.digested(pool), out, description=Description(out.name), form=source.form
        )


def transcript(run, at=0):
    """The numbers of a transcript: seen, unseen, foreign, given."""
    found = run.inputs()[at].transcript
    return found.seen, found.unseen, found.foreign, found.given
