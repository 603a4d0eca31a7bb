"""Hosts that manifests are uploaded to: IPFS nodes, pinning services, buckets.

A host says whether it has a file, and accepts one and returns the CID that it has there; `publish`
checks that CID. Hosts cut files into chunks as they like, and the cut decides the CID. So a file is
sent as it is only if that cannot matter, and otherwise as a CAR, whose blocks are ours.

Keys come from the environment, or from a file that it names. They are sent to their own host only,
no redirect is followed, and errors contain nothing of keys, of URLs except the host, or of answers.

Sources: Kubo's RPC reference, the API references of Lighthouse and Pinata, fsspec.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from alithis.errors import StorageError
from alithis.storage.hosts.bucket import Bucket
from alithis.storage.hosts.host import Host, read_secret
from alithis.storage.hosts.kubo import KUBO, KUBO_URL, Kubo
from alithis.storage.hosts.lighthouse import Lighthouse
from alithis.storage.hosts.pinata import Pinata


def open_hosts(names: Iterable[str]) -> list[Host]:
    """Open hosts by name; one named twice is opened once.

    Args:
        names: ``lighthouse``, ``pinata``, ``kubo``, ``kubo=URL`` or ``s3://BUCKET/PREFIX``.

    Raises:
        StorageError: a name or URL is not one of these, or a key is missing.
        MissingExtraError: the library for a bucket is not installed.
    """
    return [_open(name) for name in dict.fromkeys(names)]


def _open(name: str) -> Host:
    if name == "lighthouse":
        return Lighthouse(read_secret("LIGHTHOUSE_API_KEY"))
    if name == "pinata":
        return Pinata(read_secret("PINATA_JWT"))
    if name == "kubo":
        return Kubo(os.environ.get(KUBO) or KUBO_URL)
    if name.startswith("kubo="):
        return Kubo(name.removeprefix("kubo="))
    if name.startswith("s3://"):
        return Bucket(name)
    raise StorageError(
        f"{name.partition('=')[0]!r} is not a known host: "
        "name lighthouse, pinata, kubo, kubo=URL or s3://BUCKET/PREFIX"
    )
