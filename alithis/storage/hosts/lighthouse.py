"""Lighthouse, a service that stores files on Filecoin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

from alithis.base.untrusted_json import parse
from alithis.errors import FormatError
from alithis.ipfs.car import LocalFile
from alithis.ipfs.cid import Cid
from alithis.storage.hosts.host import MAX_RAW, CarFile, HttpHost, RawFile, ReportBytes


@dataclass(frozen=True, slots=True)
class Deal:
    """A storage deal on Filecoin, as a host states it.

    Attributes:
        id: the deal's id on the chain; None before it is on the chain, or if it is not stated.
        provider: the storage provider.
        status: the deal's state, in the host's words.
        end: the epoch at which it ends; None if that is not stated.
    """

    id: int | None
    provider: str
    status: str
    end: int | None


class Lighthouse(HttpHost):
    """Lighthouse: pins on IPFS, and stores on Filecoin."""

    UPLOADS: ClassVar[str] = "https://upload.lighthouse.storage"
    API: ClassVar[str] = "https://api.lighthouse.storage"
    SECRET = "LIGHTHOUSE_API_KEY"  # noqa: S105
    name = "lighthouse"

    def __init__(self, key: str) -> None:
        """Take the API key; nothing is sent yet."""
        super().__init__("lighthouse", key)

    def has(self, local: LocalFile) -> bool:
        """Return whether Lighthouse has the file, even if another account uploaded it."""
        url = f"{self.API}/api/lighthouse/file_info?{urlencode({'cid': str(local.cid)})}"
        answer = self._ask(url)
        if answer.status in (401, 403):
            raise self._refused(url, answer.status)
        if answer.status != 200 or answer.body.strip() in (b"", b"null"):
            return False
        return self._object(url, answer).get("cid") == str(local.cid)

    def put(self, local: LocalFile, report: ReportBytes) -> Cid:
        """Upload a file of one block as it is, and a larger one as a CAR."""
        if local.size <= MAX_RAW:
            url = f"{self.UPLOADS}/api/v0/add?cid-version=1"
            return self._stored(url, self._send(url, local, RawFile(local), report))
        url = f"{self.UPLOADS}/api/v0/dag/import"
        return self._stored(url, self._send(url, local, CarFile(local), report))

    def deals(self, cid: Cid) -> tuple[Deal, ...]:
        """Return the storage deals of a file; a new file has none yet.

        Raises:
            StorageError: there is no usable answer.
        """
        url = f"{self.API}/api/lighthouse/deal_status?{urlencode({'cid': str(cid)})}"
        answer = self._ask(url)
        if answer.status == 404:
            return ()
        if answer.status != 200:
            raise self._refused(url, answer.status)
        # The answer is a list, or an object with the list; our parser accepts only objects.
        body = answer.body if answer.body.lstrip()[:1] == b"{" else b'{"data":%b}' % answer.body
        try:
            return tuple(map(_deal, parse(body * (not answer.cut), "answer").get("data") or ()))
        except (FormatError, TypeError, AttributeError):
            what = "does not answer with its documented JSON"
            raise self._client.failure(url, what) from None

    def _stored(self, url: str, answer: Mapping[str, Any]) -> Cid:
        """Parse the CID, which is in ``Hash`` or, after an import, in ``Root`` as with Kubo."""
        inner = answer.get("data")
        found = inner if isinstance(inner, dict) else answer
        root = found.get("Root")
        if isinstance(root, dict) and isinstance(root.get("Cid"), dict):
            return self._cid(url, root["Cid"].get("/"))
        return self._cid(url, found.get("Hash"))


def _deal(stated: Mapping[str, Any]) -> Deal:
    """Parse a deal; a value of another type counts as not stated."""

    def number(*keys: str) -> int | None:
        return next((value for key in keys if isinstance(value := stated.get(key), int)), None)

    def text(*keys: str) -> str:
        values = (stated.get(key) for key in keys)
        return next((value[:100] for value in values if isinstance(value, str)), "not stated")

    return Deal(
        number("chainDealID", "dealId"),
        text("miner", "storageProvider"),
        text("dealStatus"),
        number("endEpoch"),
    )
