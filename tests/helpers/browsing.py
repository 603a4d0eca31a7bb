"""The page in a real browser: Debian's chromium, with the built page at its own origin."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from helpers.paths import BUILT, ROOT
from helpers.range_server import FileServer, serving

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def write_png(path: Path, samples: np.ndarray) -> Path:
    """Write a grey picture."""
    Image.fromarray(samples).save(path)
    return path


@contextmanager
def page_served(folder: Path, config: Mapping[str, Any] | None) -> Iterator[FileServer]:
    """Serve the built page with a configuration during the block."""
    if not (BUILT / "index.html").is_file():
        pytest.fail("the page is not built: run 'make page'", pytrace=False)
    shutil.copytree(BUILT, folder, dirs_exist_ok=True)
    if config is None:
        (folder / "config.json").unlink(missing_ok=True)
    else:
        (folder / "config.json").write_text(json.dumps(config))
    with serving(folder) as server:
        server.fault = _typed
        yield server


def _typed(handler: Any, path: str) -> bool:
    """Send content types: browsers need them for scripts and styles."""
    types = {".js": "text/javascript", ".css": "text/css", ".json": "application/json"}
    handler.serve(path or "index.html", Content_Type=types.get(Path(path).suffix, "text/html"))
    return True


@contextmanager
def browser() -> Iterator[Browser]:
    """Run chromium during the block."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail(
            "chromium is not installed: run 'apt-get install chromium' and the tests again",
            pytrace=False,
        )
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            yield running
        finally:
            running.close()


def axe(page: Page) -> list[str]:
    """Return the serious problems that axe-core finds on the page."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")
    return [
        f"{each['id']}: {node['html'][:200]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
