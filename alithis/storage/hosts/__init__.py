"""Hosts that manifests are uploaded to: IPFS nodes, pinning services, buckets.

A host reports whether it has a file. It accepts a file and returns the CID that the file has there;
`publish` compares that CID with ours. Each host cuts files into chunks of its own size, and the CID
depends on that size. So a file is sent unchanged only if the chunk size makes no difference;
otherwise it is sent as a CAR, which contains our blocks.

Keys come from the environment, or from a file that it names. A key is sent only to its own host, no
redirect is followed, and errors never contain keys, URLs other than the host, or answers.

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
    """Open hosts by name; a repeated name is opened once.

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
        "use lighthouse, pinata, kubo, kubo=URL or s3://BUCKET/PREFIX"
    )
