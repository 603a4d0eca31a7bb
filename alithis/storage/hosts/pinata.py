"""Pinata, a pinning service."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlencode

from alithis.ipfs.car import LocalFile
from alithis.ipfs.cid import Cid
from alithis.storage.hosts.host import MAX_RAW, CarFile, HttpHost, RawFile, ReportBytes


class Pinata(HttpHost):
    """Pinata: pins files on IPFS."""

    UPLOADS: ClassVar[str] = "https://uploads.pinata.cloud"
    API: ClassVar[str] = "https://api.pinata.cloud"
    SECRET = "PINATA_JWT"  # noqa: S105
    name = "pinata"

    def __init__(self, key: str) -> None:
        """Take the JWT; nothing is sent yet."""
        super().__init__("pinata", key)

    def has(self, local: LocalFile) -> bool:
        """Return whether the account has the file."""
        url = f"{self.API}/v3/files/public?{urlencode({'cid': str(local.cid), 'limit': '1'})}"
        answer = self._ask(url)
        if answer.status != 200:
            raise self._refused(url, answer.status)
        data = self._object(url, answer).get("data")
        files = data.get("files") if isinstance(data, dict) else None
        return any(
            isinstance(file, dict) and file.get("cid") == str(local.cid) for file in files or ()
        )

    def put(self, local: LocalFile, report: ReportBytes) -> Cid:
        """Upload a file of one block as it is, and a larger one as a CAR."""
        url = f"{self.UPLOADS}/v3/files"
        if local.size <= MAX_RAW:
            answer = self._send(url, local, RawFile(local), report, network="public")
        else:
            file = CarFile(local)
            answer = self._send(url, local, file, report, network="public", car="true")
        data = answer.get("data")
        return self._cid(url, data.get("cid") if isinstance(data, dict) else None)
