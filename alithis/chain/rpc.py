"""JSON-RPC: requests to a node, and its untrusted answers.

Source: the JSON-RPC 2.0 specification; EIP-1474 (error codes).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from alithis.base.http import READS, Client, describe_status
from alithis.base.text import one_line
from alithis.base.untrusted_json import parse
from alithis.chain.values import revert_data
from alithis.errors import AlithisError, FormatError, RpcError, TransportError

LIMIT_EXCEEDED = -32005  # EIP-1474
INTERNAL_ERROR = -32603
MAX_ANSWER = 16 << 20
"""Maximum number of bytes of an answer that are read."""
_READ_METHODS = ("eth_get", "eth_call", "eth_chainId", "eth_blockNumber", "eth_estimateGas")
# Many nodes answer a failed call with HTTP status 500, so a retry would fail too.
_RETRIES = replace(READS, statuses=READS.statuses - {500})


class Transport(Protocol):
    """Sends requests to a node of the chain."""

    def request(self, method: str, params: list[Any]) -> Any:
        """Return the result of a JSON-RPC request, in JSON's types.

        Raises:
            TransportError: there is no result. If the node answered with an error, the exception
                has the attributes of an `RpcError`.
        """


class HttpTransport:
    """JSON-RPC over HTTP.

    URLs of nodes often contain keys, so errors name only the host.
    """

    def __init__(self, url: str, *, timeout: float = 30.0) -> None:
        """Choose the endpoint; nothing is sent yet.

        Args:
            url: ``http://`` or ``https://``.
            timeout: seconds to wait for an answer.

        Raises:
            TransportError: it is not such a URL.
        """
        self._client = Client("RPC endpoint", TransportError, timeout, _RETRIES)
        self.host = self._client.host(url)
        self._url = url
        self._secrets = [part for part in re.split("[/?&=:@#]", url) if len(part) >= 8]
        self._numbers = itertools.count(1)

    def __repr__(self) -> str:
        """Show only the host: the URL may contain a key."""
        return f"HttpTransport({self.host!r})"

    def request(self, method: str, params: list[Any]) -> Any:
        """Return the result of a JSON-RPC request.

        Raises:
            RpcError: the node answered with an error, or with more than `MAX_ANSWER` bytes.
            TransportError: it gave no usable answer.
        """
        number = next(self._numbers)
        call = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        status, body = self._post(call)
        answer = self._parse(status, body)
        if answer.get("error") is not None:
            raise self._rpc_error(answer["error"])
        if status != 200:
            raise self._failure(describe_status(status))
        if answer.get("id") != number or "result" not in answer:
            raise self._failure("returned an answer to another request")
        return answer["result"]

    def _post(self, call: Mapping[str, Any]) -> tuple[int, bytes]:
        answer = self._client.ask(
            self._url,
            json=call,
            limit=MAX_ANSWER,
            idempotent=call["method"].startswith(_READ_METHODS),
        )
        if answer.cut:
            raise RpcError(
                f"RPC endpoint {self.host} answered with more than {MAX_ANSWER >> 20} MiB",
                code=LIMIT_EXCEEDED,
            )
        return answer.status, answer.body

    def _parse(self, status: int, body: bytes) -> dict[str, Any]:
        try:
            return parse(body, "answer")
        except FormatError as error:
            said = (
                "returned an answer that is not JSON-RPC"
                if status == 200
                else describe_status(status)
            )
            raise self._failure(said) from error

    def _rpc_error(self, error: Any) -> RpcError:
        fields = error if isinstance(error, dict) else {"message": error}
        code = fields.get("code")
        message = fields.get("message")
        message = message if isinstance(message, str) else one_line(message)
        return RpcError(
            f"RPC endpoint {self.host} answered: {self._redacted(message)}",
            code=code if isinstance(code, int) else INTERNAL_ERROR,
            data=revert_data(fields.get("data")) or _lotus_revert_data(message),
        )

    def _redacted(self, message: str) -> str:
        for secret in self._secrets:
            message = message.replace(secret, "…")
        return one_line(message)

    def _failure(self, what: str) -> AlithisError:
        return self._client.failure(self._url, what)


def _lotus_revert_data(message: str) -> str | None:
    """Find the revert data in an error message of an older Filecoin node: it is in brackets."""
    found = re.search(r"\[(0x[0-9a-fA-F]{8,})\]", message)
    return found[1].lower() if found else None
