"""The comparisons: our way and the others', in turn, in one run."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from alithis import readers
from benchmarks import inputs, lineage, peers
from benchmarks.peers import MissingPeerError, seconds

Timed = Callable[[], float]
"""Does the work, and returns the seconds that count."""

_SLOW = 2.0  # seconds; what takes longer is run once


@dataclass(frozen=True, slots=True)
class Other:
    """Somebody else's way to do the work.

    Attributes:
        name: whose.
        seconds: median; None where it was not run.
        ratio: its seconds over ours, the median over the rounds; above 1 we are faster.
        between: where that median is with 95 % confidence.
        rounds: how many there were, if that tells.
    """

    name: str
    seconds: float | None
    ratio: float | None
    between: tuple[float, float] | None = None
    rounds: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A piece of work, ours and the others'.

    Attributes:
        work: what is done.
        seconds: ours, median.
        others: each with its ratio.
    """

    work: str
    seconds: float
    others: tuple[Other, ...]


def compare(work: str, ours: Timed, others: Mapping[str, Timed], runs: int) -> Row:
    """Time all in turn, so that a machine whose speed drifts slows all of them.

    Args:
        work: what is done.
        ours: our way.
        others: whose ways it is compared with.
        runs: rounds that count; a first one warms up. What is slow has one.
    """
    ours()
    mine = [ours() for _ in range(runs)]
    rows = [_other(name, ours, timed, runs) for name, timed in others.items()]
    mine += [one for _, times in rows for one, _ in times]
    return Row(work, round(statistics.median(mine), 4), tuple(other for other, _ in rows))


def _other(
    name: str, ours: Timed, timed: Timed, runs: int
) -> tuple[Other, list[tuple[float, float]]]:
    try:
        first = timed()
    except MissingPeerError:
        return Other(name, None, None), []
    pairs = [(ours(), first)] if first > _SLOW else [(ours(), timed()) for _ in range(runs)]
    median = statistics.median(theirs for _, theirs in pairs)
    ratio = statistics.median(theirs / mine for mine, theirs in pairs)
    return Other(name, round(median, 4), round(ratio, 3)), pairs


def manifest_of(source: Path, out: Path) -> None:
    """Do all that `alithis manifest` does, in this process and its workers."""
    from alithis import readers
    from alithis.forms.pool import Pool
    from alithis.manifest import builder
    from alithis.manifest.metadata import Description

    with Pool() as pool:
        opened = readers.open_source(source)
        builder.build(
            opened.digested(pool),
            out,
            description=Description("benchmark"),
            form=opened.form,
            replace=True,
        )


def command(*arguments: str) -> None:
    """Run the whole command, the interpreter's start included."""
    program = [sys.executable, "-m", "alithis", *arguments]
    subprocess.run(program, check=True, capture_output=True)  # noqa: S603


def timed(work: Callable[[], object]) -> Timed:
    """Return work that is timed from outside."""
    return partial(seconds, work)


def run(folder: Path, runs: int) -> list[Row]:
    """Make the inputs below a folder, and compare."""
    return [
        *_files(folder, runs),
        *_records(folder, runs),
        *_one_file(folder, runs),
        *_trees(folder, runs),
        *_lineage(folder, runs),
        compare(
            "alithis --help",
            timed(partial(command, "--help")),
            {"python -c pass": timed(partial(subprocess.run, [sys.executable, "-c", "pass"]))},
            runs,
        ),
    ]


def _files(folder: Path, runs: int) -> list[Row]:
    files, out = folder / "files", folder / "out.alithis"
    inputs.make_files(files)
    return [
        compare(
            "manifest of 20,000 files, 250 MB",
            timed(partial(manifest_of, files, out)),
            {
                "hashlib, 2 processes": partial(peers.plain_files, files),
                "sha256sum, 2 processes": partial(peers.sha256sum_files, files),
                "model-signing 1.1.1": partial(peers.model_signing, files),
            },
            runs,
        ),
        compare(
            "the same, whole command",
            timed(partial(command, "manifest", str(files), "-o", str(out), "--force")),
            {"DVC 3.67.1, dvc add --no-commit": partial(peers.dvc, files)},
            runs,
        ),
    ]


def _records(folder: Path, runs: int) -> list[Row]:
    records, out = folder / "records.idx", folder / "records.alithis"
    inputs.make_records(records)
    others = {"hashlib, 1 loop": partial(peers.plain_records, records)}
    ours = timed(partial(manifest_of, records, out))
    whole = timed(partial(command, "manifest", str(records), "-o", str(out), "--force"))
    return [
        compare("manifest of 70,000 records of 784 bytes", ours, others, runs),
        compare("the same, whole command", whole, others, runs),
    ]


def _one_file(folder: Path, runs: int) -> list[Row]:
    from alithis.forms.hashing import of_file

    path = folder / "model.bin"
    inputs.make_file(path)
    others = {
        "openssl dgst": partial(peers.openssl_file, path),
        "sha256sum": partial(peers.sha256sum_file, path),
        "hashlib": partial(peers.plain_file, path),
        "model-signing 1.1.1": partial(peers.model_signing, path),
    }
    row = compare("digest of one file of 1 GiB", timed(partial(of_file, path)), others, runs)
    path.unlink()
    return [row]


def _lineage(folder: Path, runs: int) -> list[Row]:
    """Ask what came of a token: of one with few descendants, and of one with very many."""
    path = folder / "links"
    index = lineage.make_index(folder / "index.sqlite")
    lineage.write_edges(path, index)
    rows = []
    for token in (lineage.TOKENS * 9 // 10 + 1, 1):
        found = index.lineage([token], up=False)
        more = "the first " if found.truncated else ""
        rows.append(
            compare(
                f"{more}{len(found.nodes):,} descendants among 100,000 tokens, 1,000,000 links",
                timed(partial(index.lineage, [token], up=False)),
                {"networkx 3.5, all in memory": partial(peers.networkx, path, token)},
                runs,
            )
        )
    index.close()
    return rows


def training(folder: Path, seconds: float) -> list[Row]:
    """Train with a Run and without; all but one in the environment with the frameworks."""
    here, there = sys.executable, str(peers.FRAMEWORKS)
    few, all_images = (_images(folder, count) for count in (6_000, 60_000))
    return [
        *_loop("speeches", "examples/text_classifier.py, scikit-learn", there, folder, seconds),
        *_loop("digits", "examples/digits.py, PyTorch", there, folder, seconds),
        *_loop("convolutions", "2 epochs of convolutions on 6,000 images", there, few, seconds),
        *_loop("softmax", "8 epochs of a softmax on 60,000 images", here, all_images, seconds),
    ]


def _images(folder: Path, count: int) -> Path:
    """Write pictures of MNIST and their manifest into a folder of their own."""
    place = folder / f"images-{count}"
    place.mkdir()
    np.save(place / "images.npy", readers.idx_array(inputs.MNIST)[:count])
    manifest_of(place / "images.npy", place / "images.alithis")
    return place


def _loop(loop: str, work: str, python: str, folder: Path, seconds: float) -> list[Row]:
    work = f"{work}, under a Run"
    pairs = peers.training(python, loop, seconds, folder)
    if not pairs:
        print(f"{work}: not run: no {python}, which `make frameworks` makes", file=sys.stderr)
        return []
    kinds = (work, "the same, seconds of the processor's")
    return [
        _against(kind, [(ours[at], without[at]) for ours, without in pairs])
        for at, kind in enumerate(kinds)
    ]


def _against(work: str, pairs: Sequence[tuple[float, float]]) -> Row:
    ratios = sorted(without / ours for ours, without in pairs)
    ratio = round(statistics.median(ratios), 3)
    ours, without = (round(statistics.median(each), 4) for each in zip(*pairs, strict=True))
    return Row(work, ours, (Other("without", without, ratio, _between(ratios), len(ratios)),))


def _between(ratios: Sequence[float]) -> tuple[float, float] | None:
    """Return the interval that holds the median with 95 % confidence: that of a sign test.

    Args:
        ratios: ascending; of pairs that are independent, of any distribution.

    Returns:
        The interval; None of fewer than six pairs.
    """
    first = math.floor((len(ratios) - 1 - 1.96 * math.sqrt(len(ratios))) / 2)
    return None if first < 0 else (round(ratios[first], 3), round(ratios[-1 - first], 3))


def _trees(folder: Path, runs: int) -> list[Row]:
    from alithis.manifest import merkle

    def against(count: int, others: Mapping[str, Callable[[Path], float]]) -> Row:
        path, leaves = folder / f"leaves-{count}", inputs.leaves(count)
        path.write_bytes(leaves)
        ours = timed(partial(merkle.tree, [leaves], bytearray().extend))
        all_others: dict[str, Timed] = {"hashlib, 1 loop": partial(peers.plain_tree, leaves)}
        all_others |= {name: partial(other, path) for name, other in others.items()}
        return compare(f"tree and tiles over {count:,} leaves", ours, all_others, runs)

    return [
        against(1_000_000, {"pymerkle 7.0.0": peers.pymerkle}),
        against(20_000, {"OpenZeppelin merkle-tree 1.0.8": peers.openzeppelin}),
    ]
