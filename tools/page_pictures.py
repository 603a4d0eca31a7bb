"""Makes the pictures that the documentation shows: of the page, and of a report.

Those of the page are out of the tests' screenshots; the report is that of `ape run digits`.

Usage: python tools/page_pictures.py SCREENSHOTS REPORT.html DOCS
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

SHOWN = {
    "page-check": "check-desktop-light",
    "page-included": "included-desktop-light-report",
    "page-explore": "explore-desktop-light",
    "page-token": "model-desktop-light",
    "report": "report",
}
"""Pictures in the documentation, and the screenshots they are of."""
WIDTH, HEIGHT = 720, 900
"""Pixels; what is below is cut off."""
COLOURS = 160


FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def main(screenshots: Path, report: Path, docs: Path) -> None:
    """Take the report's screenshot, scale all of them down, and reduce their colours."""
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1000, "height": 1250})
        page.goto(report.resolve().as_uri())
        page.screenshot(path=screenshots / "report.png")
        browser.close()
    for name, source in SHOWN.items():
        with Image.open(screenshots / f"{source}.png") as image:
            height = round(image.height * WIDTH / image.width)
            small = image.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
            small = small.crop((0, 0, WIDTH, min(height, HEIGHT)))
            small.quantize(COLOURS).save(docs / f"{name}.png", optimize=True)
            print(docs / f"{name}.png")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
