"""A registry with datasets and models of all sorts, and a gateway that has their manifests.

The manifests are served on loopback, by CID and by range, to pages of any origin. The registry is
on whatever chain is given: one in Python (`fake_chain`), or anvil (`anvil`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alithis.ipfs.cid import Cid
from alithis.manifest import reader as manifests
from alithis.manifest.disorder import Disorder
from alithis.training.run import Run
from helpers import artifacts, commands
from helpers.abi import Contract
from helpers.anvil import CALIBRATION, Node
from helpers.fake_chain import FakeChain
from helpers.paths import MNIST
from helpers.range_server import FileServer, serving
from helpers.registry_model import Relation
from helpers.samples import digest

CORS = {
    "Access_Control_Allow_Origin": "*",
    "Access_Control_Expose_Headers": "Content-Range, ETag",
}
IMAGES = 2000
"""Of MNIST's test images, those in the dataset."""


@dataclass
class World:
    """A chain with a registry, and the folder with its manifests."""

    node: FakeChain | Node
    gateway: FileServer
    folder: Path
    contract: Contract
    tokens: dict[str, int] = field(default_factory=dict)
    manifests: dict[str, manifests.Manifest] = field(default_factory=dict)

    @property
    def registry(self) -> str:
        """The registry's address."""
        return self.contract.address

    def config(self, **changes: Any) -> dict[str, Any]:
        """A config.json for the page."""
        values = {"name": "Test chain", "chain": CALIBRATION, "rpc": self.node.uri}
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
def world_on(node: FakeChain | Node, folder: Path) -> Iterator[World]:
    """Puts everything on a chain and on a gateway, which runs for the ``with`` block."""
    (folder / "gateway").mkdir()
    with serving(folder / "gateway") as gateway:
        gateway.headers = CORS
        made = World(node, gateway, folder, node.deploy())
        _Publisher(made).publish_all()
        yield made


class _Publisher:
    """Hashes, publishes and mints the artifacts of the tests."""

    def __init__(self, world: World) -> None:
        self.world, self.folder = world, world.folder

    def publish_all(self) -> None:
        self._hash()
        for name, place in self._folders().items():
            self.world.manifests[name] = self.world.publish(place)
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
        self.owner, self.other = self.world.node.accounts[:2]
        self.contract = self.world.contract
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
        getattr(self.contract, name)(*arguments, sender=sender)

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
    (path,) = MNIST.glob(f"{name}*")
    data = path.read_bytes()
    axes = data[3]
    shape = [int.from_bytes(data[4 + 4 * at : 8 + 4 * at]) for at in range(axes)]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)
