"""Where manifests are put so that others can read them: IPFS nodes, pinning services, buckets.

A backend says whether it has a file, and takes one and tells the CID that it knows it by; whether
that is the right one is `publish`'s to say. Hosts cut files into chunks as they like, so a file
goes as it is only where that cannot matter, and else as a CAR, whose blocks are ours.

Keys come from the environment, or from a file that it names. They are sent to their own host
alone, no redirect is followed, and nothing of them, of a URL beside its host or of what a host
answers stands in an error.

Sources: Kubo's RPC reference, the API references of Lighthouse and Pinata, fsspec.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from alithis.errors import StorageError
from alithis.storage.hosts.bucket import Bucket
from alithis.storage.hosts.host import Backend, read_secret
from alithis.storage.hosts.kubo import KUBO, KUBO_URL, Kubo
from alithis.storage.hosts.lighthouse import Lighthouse
from alithis.storage.hosts.pinata import Pinata


def open_backends(names: Iterable[str]) -> list[Backend]:
    """Open backends by name; one named twice is opened once.

    Args:
        names: ``lighthouse``, ``pinata``, ``kubo``, ``kubo=URL`` or ``s3://BUCKET/PREFIX``.

    Raises:
        StorageError: a name is none of these, a URL is none, or a key is missing.
        MissingExtraError: the library for a bucket is not installed.
    """
    return [_open(name) for name in dict.fromkeys(names)]


def _open(name: str) -> Backend:
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
        f"{name.partition('=')[0]!r}: no host that is known: "
        "lighthouse, pinata, kubo, kubo=URL or s3://BUCKET/PREFIX"
    )
