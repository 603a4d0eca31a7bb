"""Time Alithis beside others in one run: ``python -m benchmarks``.

Each peer takes turns with us, so that a machine whose speed drifts slows both; the figures are
medians, and a ratio is the median of the turns' ratios: their seconds over ours. Files are read
from the page cache. With --training, what a Run costs is measured instead; with --large, a manifest
of very many data points is built and audited.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import large, report, rows


def main() -> None:
    """Run, print, and keep the figures if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each (default 5)")
    training = "what a Run costs instead: seconds for each loop (default 300)"
    parser.add_argument("--training", nargs="?", type=float, const=300.0, help=training)
    parser.add_argument("--large", type=int, metavar="COUNT", help="data points, made up")
    parser.add_argument("--folder", type=Path, help="where to work (default: the temporary one)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks.*")
    options = parser.parse_args()
    if options.training is not None and options.training <= 0:
        parser.error("--training takes seconds")
    folder = Path(tempfile.mkdtemp(prefix="alithis-benchmark-", dir=options.folder))
    try:
        found: dict[str, Any] = {}
        if options.large:
            found["large"] = large.run(options.large, folder)
        elif options.training:
            found["training"] = [asdict(row) for row in rows.training(folder, options.training)]
        else:
            found["figures"] = [asdict(row) for row in rows.run(folder, options.runs)]
    finally:
        shutil.rmtree(folder)
    for part, value in found.items():
        if options.save:
            report.save(part, value)
        if not options.json:
            print(report.PARTS[part](value))
    if options.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
