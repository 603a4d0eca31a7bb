"""A local gateway that supports blocks and CARs, like trustless gateways, and simulates faults."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from alithis.ipfs import cid, unixfs
from alithis.ipfs.car import header
from alithis.ipfs.cid import CHUNK_SIZE, RAW, Cid, varint
from helpers.range_server import FileServer, Handler, serving

RAW_TYPE, CAR_TYPE = "application/vnd.ipld.raw", "application/vnd.ipld.car; version=1"


class Trustless:
    """The gateway's blocks by CID, and the faults to simulate.

    Attributes:
        files: the server, which counts.
        spoil: changes an answer: takes ``raw`` or ``car``, the CID and the body.
        cars: whether it gives CARs.
        ranges: whether it knows ``entity-bytes``.
    """

    def __init__(self, files: FileServer, contents: dict[Cid, bytes]) -> None:
        self.files, self.url, self.address = files, files.url, files.address
        self.contents = contents
        self.blocks = {each: block for data in contents.values() for each, block in outline(data)}
        self.spoil: Callable[[str, Cid, bytes], bytes] = lambda _, __, data: data
        self.cars = self.ranges = True
        files.fault = self.answer

    def asked(self, kind: str) -> list[str]:
        return [path for path, _ in self.files.asked if f"format={kind}" in path]

    def answer(self, handler: Handler, path: str) -> bool:
        query = {name: values[0] for name, values in parse_qs(urlsplit(handler.path).query).items()}
        wanted = Cid.parse(path.removeprefix("ipfs/"))
        kind = query.get("format", "")
        if kind == "raw" and wanted in self.blocks:
            body = self.spoil(kind, wanted, self.blocks[wanted])
            handler.reply(200, body, Content_Type=RAW_TYPE)
        elif kind == "car" and self.cars and wanted in self.contents:
            start = int(query.get("entity-bytes", "0:*").split(":")[0]) if self.ranges else 0
            body = self.spoil(kind, wanted, self.car(wanted, start))
            whole = len(self.car(wanted, start))
            handler.reply(200, body, Content_Type=CAR_TYPE, Content_Length=whole)
        elif kind == "car" and wanted in self.contents:
            handler.reply(400, b"no CARs")
        else:
            handler.reply(404, b"not here")
        return True

    def car(self, wanted: Cid, start: int) -> bytes:
        body, offset = header([wanted]), 0
        for each, block in outline(self.contents[wanted]):
            skipped = each.codec == RAW and offset + CHUNK_SIZE <= start
            offset += len(block) if each.codec == RAW else 0
            if not skipped:
                body += varint(36 + len(block)) + bytes(each) + block
        return body


def outline(data: bytes) -> Iterator[unixfs.Block]:
    """A file's blocks, as `unixfs` writes them."""
    chunks = [data[at : at + CHUNK_SIZE] for at in range(0, max(len(data), 1), CHUNK_SIZE)]
    leaves = b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)
    return unixfs.Outline(leaves, len(data)).blocks(lambda at, length: data[at : at + length])


@contextmanager
def trustless(folder: Path) -> Iterator[Trustless]:
    """Serves a folder's files as blocks, for the ``with`` block."""
    contents = {
        cid.of_file(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    with serving(folder) as files:
        yield Trustless(files, contents)
