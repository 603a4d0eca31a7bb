"""From a reference (a folder, a URL, a CID) to the manifest that it names."""

from __future__ import annotations

from alithis.manifest.reader import Manifest
from alithis.storage import http_manifest
from alithis.storage.fallback import Gateways
from alithis.storage.sources import note
from alithis.storage.store import Store


def is_reference(place: str) -> bool:
    """Tell whether a place is meant as content on IPFS."""
    return place.startswith("ipfs://")


def open_manifest(place: str, gateways: Gateways, store: Store) -> Manifest:
    """Open a manifest in a folder, at a URL, or by its CID.

    Args:
        place: the folder; the ``http://`` or ``https://`` URL of it or its metadata.json; or
            ``ipfs://CID[/path]`` of its metadata.json or a directory with it.
        gateways: where to look for a CID.
        store: where to look for it first.

    Raises:
        FormatError: there is none, or not a well-formed one.
        StorageError: the server or the gateways give no usable answer.
    """
    if not is_reference(place):
        return http_manifest.open_manifest(place)
    notes = list[str]()
    manifest = gateways.open(gateways.resolve(place, notes), store)
    note(manifest.notes, *notes)
    return manifest
