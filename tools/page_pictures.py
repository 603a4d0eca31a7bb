"""Makes the pictures of the page that the documentation shows, out of the tests' screenshots.

Usage: python tools/page_pictures.py SCREENSHOTS DOCS
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

SHOWN = {
    "page-check": "check-desktop-light",
    "page-included": "included-desktop-light-report",
    "page-explore": "explore-desktop-light",
    "page-token": "model-desktop-light",
}
"""Pictures in the documentation, and the screenshots they are of."""
WIDTH, HEIGHT = 720, 900
"""Pixels; what is below is cut off."""
COLOURS = 160


def main(screenshots: Path, docs: Path) -> None:
    """Scale the screenshots down, and reduce their colours."""
    for name, source in SHOWN.items():
        with Image.open(screenshots / f"{source}.png") as image:
            height = round(image.height * WIDTH / image.width)
            small = image.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
            small = small.crop((0, 0, WIDTH, min(height, HEIGHT)))
            small.quantize(COLOURS).save(docs / f"{name}.png", optimize=True)
            print(docs / f"{name}.png")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
