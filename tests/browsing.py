"""The page in a real browser, on a real chain: what its tests share.

A registry on anvil with datasets and models of all sorts; their manifests at a gateway on loopback,
by CID, by range, open to other origins; the built page at an origin of its own; Debian's chromium.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ape
import artifacts
import commands
import numpy as np
import pytest
from chains import Node, run_anvil
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from range_server import FileServer, serving
from solidity import Relation, digest

from alithis.ipfs.cid import Cid
from alithis.manifest import reader as manifests
from alithis.manifest.disorder import Disorder
from alithis.training.run import Run
from alithis_ape.contract import container

ROOT = Path(__file__).resolve().parents[1]
BUILT = ROOT / "alithis" / "web"
CHAIN = 314159
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
CORS = {
    "Access_Control_Allow_Origin": "*",
    "Access_Control_Expose_Headers": "Content-Range, ETag",
}
IMAGES = 2000
"""Of MNIST's test images, those in the dataset."""


@dataclass
class World:
    """A chain with a registry, and where its manifests are."""

    node: Node
    gateway: FileServer
    folder: Path
    registry: str = ""
    tokens: dict[str, int] = field(default_factory=dict)
    manifests: dict[str, manifests.Manifest] = field(default_factory=dict)

    def config(self, **changes: Any) -> dict[str, Any]:
        """A config.json for the page."""
        values = {"name": "Test chain", "chain": CHAIN, "rpc": self.node.uri}
        values |= {"registry": self.registry, "gateways": [self.gateway.url]}
        return values | changes

    def publish(self, folder: Path) -> manifests.Manifest:
        """Puts a manifest's files where the gateway finds them by CID."""
        opened = manifests.Manifest.open(folder)
        place = self.gateway.folder / "ipfs"
        place.mkdir(exist_ok=True)
        for entry in opened.metadata.files:
            shutil.copyfile(folder / entry.name, place / entry.cid)
        cid = Cid.raw(opened.metadata.digest)
        shutil.copyfile(folder / "metadata.json", place / str(cid))
        return opened


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Runs chain and gateway, with everything on them, while the block lasts."""
    (folder / "gateway").mkdir()
    with run_anvil(chain_id=CHAIN) as node, serving(folder / "gateway") as gateway:
        gateway.headers = CORS
        made = World(node, gateway, folder)
        _Publisher(made).publish_all()
        yield made


class _Publisher:
    """Hashes, publishes and mints what the tests look at."""

    def __init__(self, world: World) -> None:
        self.world, self.folder = world, world.folder

    def publish_all(self) -> None:
        self._hash()
        for name, place in self._folders().items():
            self.world.manifests[name] = self.world.publish(place)
        with ape.networks.parse_network_choice(self.world.node.choice):
            self._mint()

    def _folders(self) -> dict[str, Path]:
        return {path.stem: path for path in sorted(self.folder.glob("*.alithis"))}

    def _hash(self) -> None:
        images = read_idx("t10k-images")[:IMAGES]
        labels = read_idx("t10k-labels")[:IMAGES]
        np.savez(self.folder / "digits.npz", x=images, y=labels)
        about = ["--license", "CC-BY-SA-3.0", "--description", "Digits that people wrote by hand"]
        source, out = self.folder / "digits.npz", self.folder / "digits.alithis"
        named = ["--name", "Handwritten digits", "--column", "x", "--label", "y"]
        commands.run("manifest", source, "-o", out, *named, *about)
        self._train(images, out)
        self._write("garden", {f"{name}.txt": f"{name}\n" for name in GARDEN})
        self._write("garden-2", {f"{name}.txt": f"{name}\n" for name in GARDEN[:3]})
        self._write("poems", {"one.txt": "Café\n", "two.txt": "Roses are red\n"}, "--form", "text")
        self._write("retired", {"old.txt": "old\n"})
        self._write(
            "letters", {"a.txt": "Dear Ann\n", "b.txt": "Dear Bob\n"}, "--key-file", self.key
        )
        leaves = sorted(digest(f"leaf {number}") for number in range(600))
        leaves[100], leaves[400] = leaves[400], leaves[100]
        artifacts.build_as_given(self.folder / "shuffled.alithis", leaves)

    @property
    def key(self) -> Path:
        return self.folder / "letters.key"

    def _write(self, name: str, files: Mapping[str, str], *options: object) -> None:
        source = self.folder / name
        source.mkdir()
        for file, text in files.items():
            (source / file).write_text(text)
        out = self.folder / f"{name}.alithis"
        commands.run("manifest", source, "-o", out, "--license", "CC-BY-4.0", *options)

    def _train(self, images: np.ndarray, dataset: Path) -> None:
        weights = self.folder / "weights.bin"
        for name, seed in (("digit-reader", 1), ("digit-reader-tuned", 2)):
            with Run(name, description="Reads handwritten digits", license="MIT") as run:
                if seed == 1:
                    fed = run.use(images, str(dataset))
                    fed[:1500]
                run.log_params(epochs=8, rate=0.5)
                run.log_metrics(accuracy=0.92)
                weights.write_bytes(np.random.default_rng(seed).bytes(4000))
                run.save_model(weights)
            run.write(self.folder / f"{name}.alithis")

    def _mint(self) -> None:
        self.owner, self.other = ape.accounts.test_accounts[0], ape.accounts.test_accounts[1]
        self.contract = self.other.deploy(container(), required_confirmations=0)
        self.world.registry = self.contract.address
        digits = self._token("digits")
        reader = self._token("digit-reader", (digits, Relation.TRAINED_ON), by=self.other)
        tuned = self._token("digit-reader-tuned", (reader, Relation.FINE_TUNED_FROM), by=self.other)
        garden = self._token("garden")
        self._send("countersign", tuned, 0, by=self.other)
        self._file_claim(garden)
        newer = self._token("garden-2", (garden, Relation.SUPERSEDES))
        poems = self._token("poems")
        self._send("withdraw", self._token("retired"), "https://example.org/why")
        derived = [(each, Relation.DERIVED_FROM) for each in (newer, poems)]
        self._token("letters", *derived)
        self._report(self._token("shuffled"))
        wrong = artifacts.commitment(self.world.manifests["poems"].metadata, root=digest("other"))
        self._token("mismatch", commitment=wrong)

    def _token(self, name: str, *links: Any, by: Any = None, commitment: Any = None) -> int:
        given = commitment or artifacts.commitment(self.world.manifests[name].metadata)
        is_model = commitment is None and self.world.manifests[name].metadata.kind == "model"
        mint = "mintModel" if is_model else "mintDataset"
        self._send(mint, given, list(links), by=by)
        self.world.tokens[name] = self.contract.totalSupply()
        return self.world.tokens[name]

    def _send(self, name: str, *arguments: Any, by: Any = None) -> None:
        sender = by or self.owner
        getattr(self.contract, name)(*arguments, sender=sender, required_confirmations=0)

    def _file_claim(self, token: int) -> None:
        proof = self.world.manifests["garden"].prove(file_digest("plum\n"))
        arguments = (proof.leaf, proof.index, list(proof.path))
        self._send("claim", token, *arguments, "https://example.org/mine", by=self.other)

    def _report(self, token: int) -> None:
        found = Disorder.in_manifest(self.world.manifests["shuffled"])
        places = [
            part
            for each in (found.lower, found.upper)
            for part in (each.index, each.leaf, list(each.path))
        ]
        self._send("reportDisorder", token, *places)


GARDEN = ("apple", "pear", "plum", "carrot", "leek")


def file_digest(text: str) -> bytes:
    """SHA-256 of a text's bytes."""
    return digest(text)


def read_idx(name: str) -> np.ndarray:
    """MNIST's images or labels."""
    (path,) = artifacts.MNIST.glob(f"{name}*")
    data = path.read_bytes()
    axes = data[3]
    shape = [int.from_bytes(data[4 + 4 * at : 8 + 4 * at]) for at in range(axes)]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def write_png(path: Path, samples: np.ndarray) -> Path:
    """A grey picture."""
    Image.fromarray(samples).save(path)
    return path


@contextmanager
def page_served(folder: Path, config: Mapping[str, Any] | None) -> Iterator[FileServer]:
    """Serves the built page with a configuration while the block lasts."""
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
    """Browsers ask for the types of scripts and styles."""
    types = {".js": "text/javascript", ".css": "text/css", ".json": "application/json"}
    handler.serve(path or "index.html", Content_Type=types.get(Path(path).suffix, "text/html"))
    return True


@contextmanager
def browser() -> Iterator[Browser]:
    """Runs chromium while the block lasts."""
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
    """What axe-core finds that is serious, on the page as it is."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")
    return [
        f"{each['id']}: {node['html'][:200]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
