"""Time Alithis beside others in one run: ``python -m benchmarks``.

Each peer takes turns with us, so that a machine whose speed drifts slows both; the figures are
medians, and a ratio is the median of the turns' ratios: their seconds over ours. Files are read
from the page cache. With --large, a manifest of very many data points is built and audited.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks import large, report, rows


def main() -> None:
    """Run, print, and keep the figures if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each (default 5)")
    parser.add_argument("--large", type=int, metavar="COUNT", help="data points, made up")
    parser.add_argument("--folder", type=Path, help="where to work (default: the temporary one)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks.*")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="alithis-benchmark-", dir=options.folder))
    try:
        if options.large:
            part, found = "large", large.run(options.large, folder)
            text = report.large(found)
        else:
            part, found = "figures", [asdict(row) for row in rows.run(folder, options.runs)]
            text = report.table(found)
    finally:
        shutil.rmtree(folder)
    if options.save:
        report.save(part, found)
    print(json.dumps(found, indent=1) if options.json else text)


if __name__ == "__main__":
    main()
