"""Lineage among very many tokens, whose events are made up."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alithis.chain.index import Index
from alithis.chain.records import Event
from alithis.manifest.terms import Relation

TOKENS, LINKS = 100_000, 20
"""Every second token is a model with so many links to older ones: 10^6 links."""
_A_BLOCK = 100  # tokens
_NOBODY = "0x" + "00" * 20


class MadeUp:
    """A registry that is asked for nothing but its events."""

    chain_id, address = 1, "0x" + "11" * 20

    def deployment_block(self) -> int:
        """Begin at the first block."""
        return 1

    def last_block(self) -> int:
        """Return the block of the last token."""
        return TOKENS // _A_BLOCK

    def block_hash(self, number: int) -> bytes:
        """Return some hash, always the same."""
        return number.to_bytes(32)

    def events(self, *, from_block: int, to_block: int) -> Iterator[Event]:
        """Make up what minting leaves behind; a model's links lead to tokens at random."""
        source = random.Random(from_block)
        for block in range(from_block, to_block + 1):
            tokens = range((block - 1) * _A_BLOCK + 1, block * _A_BLOCK + 1)
            found = (each for token in tokens for each in _minted(token, source))
            for place, (name, args) in enumerate(found):
                yield Event(name, args, block, self.block_hash(block), bytes(32), place)


def _minted(token: int, source: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = "dataset" if token % 2 else "model"
    about = {"id": token, "kind": kind, "scheme": "sha256", "size": 1, "root": token.to_bytes(32)}
    about |= {"metadataDigest": token.to_bytes(32), "publisher": _NOBODY, "time": 0}
    yield "Transfer", {"tokenId": token, "to": _NOBODY}
    yield "Minted", about
    for position, target in enumerate(_targets(token, source)):
        relation = Relation.TRAINED_ON if target % 2 else Relation.FINE_TUNED_FROM
        link = {"id": token, "position": position, "target": target, "relation": relation.value}
        yield "Linked", link


def _targets(token: int, source: random.Random) -> list[int]:
    return [] if token % 2 else source.sample(range(1, token), min(LINKS, token - 1))


def make_index(path: Path) -> Index:
    """Read the made-up events into an index."""
    index = Index(path, MadeUp())  # type: ignore[arg-type]
    index.sync()
    return index


def write_edges(path: Path, index: Index) -> None:
    """Write the links as lines of two numbers, newer and older token, for others to load."""
    rows = index._database.execute("SELECT token, target FROM links")
    path.write_text("".join(f"{token} {target}\n" for token, target in rows))
