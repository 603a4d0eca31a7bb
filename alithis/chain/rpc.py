"""JSON-RPC: what a node answers, none of it believed before it is checked."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn, Protocol

from alithis.base.http import READS, Client, describe_status
from alithis.base.text import one_line
from alithis.base.untrusted_json import parse
from alithis.errors import (
    AlithisError,
    FormatError,
    RegistryError,
    RpcError,
    TransportError,
)

MAX_ANSWER = 16 << 20
"""Bytes of an answer that are read at most."""
_MAX_RETURN = 3 << 20  # bytes that one eth_call returns: 100 tokens' links are 2.4 MiB at most
WORD = 32
_READING = ("eth_get", "eth_call", "eth_chainId", "eth_blockNumber", "eth_estimateGas")
# With status 500 nodes answer a call that fails, too: it would fail again.
_RETRIES = replace(READS, statuses=READS.statuses - {500})


class Transport(Protocol):
    """Carries requests to a node of the chain."""

    def request(self, method: str, params: list[Any]) -> Any:
        """Return the result of a JSON-RPC request, in JSON's types.

        Raises:
            TransportError: there is none. When the node answered with an error, the exception
                has `RpcError`'s attributes.
        """


class HttpTransport:
    """JSON-RPC over HTTP. Whatever stands in the URL beside the host is kept a secret."""

    def __init__(self, url: str, *, timeout: float = 30.0) -> None:
        """Name the endpoint; nothing is sent yet.

        Args:
            url: ``http://`` or ``https://``.
            timeout: seconds for an answer.

        Raises:
            TransportError: the URL is no such URL.
        """
        self._client = Client("RPC endpoint", TransportError, timeout, _RETRIES)
        self.host = self._client.host(url)
        self._url = url
        self._secrets = [part for part in re.split("[/?&=:@#]", url) if len(part) >= 8]
        self._numbers = itertools.count(1)

    def __repr__(self) -> str:
        """Name the host alone."""
        return f"HttpTransport({self.host!r})"

    def request(self, method: str, params: list[Any]) -> Any:
        """Return the result of a JSON-RPC request.

        Raises:
            RpcError: the node answered with an error, or with more than `MAX_ANSWER` bytes.
            TransportError: it did not answer, or with something else.
        """
        number = next(self._numbers)
        call = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        status, body = self._post(call)
        answer = self._parse(status, body)
        if answer.get("error") is not None:
            raise self._rpc_error(answer["error"])
        if status != 200:
            raise self._no_use(describe_status(status))
        if answer.get("id") != number or "result" not in answer:
            raise self._no_use("answers something else than it was asked")
        return answer["result"]

    def _post(self, call: Mapping[str, Any]) -> tuple[int, bytes]:
        answer = self._client.ask(
            self._url,
            json=call,
            limit=MAX_ANSWER,
            idempotent=call["method"].startswith(_READING),
        )
        if answer.cut:
            raise RpcError(
                f"RPC endpoint {self.host} answers more than {MAX_ANSWER >> 20} MiB",
                code=LIMIT_EXCEEDED,
            )
        return answer.status, answer.body

    def _parse(self, status: int, body: bytes) -> dict[str, Any]:
        try:
            return parse(body, "answer")
        except FormatError as error:
            said = (
                "answers something that is not JSON-RPC"
                if status == 200
                else describe_status(status)
            )
            raise self._no_use(said) from error

    def _rpc_error(self, error: Any) -> RpcError:
        fields = error if isinstance(error, dict) else {"message": error}
        code = fields.get("code")
        message = fields.get("message")
        message = message if isinstance(message, str) else one_line(message)
        return RpcError(
            f"RPC endpoint {self.host} answers: {self._redacted(message)}",
            code=code if isinstance(code, int) else INTERNAL_ERROR,
            data=hex_in(fields.get("data")) or _hex_in_lotus(message),
        )

    def _redacted(self, message: str) -> str:
        for secret in self._secrets:
            message = message.replace(secret, "…")
        return one_line(message)

    def _no_use(self, what: str) -> AlithisError:
        return self._client.failure(self._url, what)


LIMIT_EXCEEDED = -32005  # EIP-1474: limit exceeded
INTERNAL_ERROR = -32603


def checksummed(address: str) -> str:
    """Return an address as EIP-55 writes it.

    Raises:
        RegistryError: it is none, or its capitals are wrong.
    """
    from eth_utils.address import to_checksum_address

    digits = address.removeprefix("0x")
    if re.fullmatch("0x[0-9a-fA-F]{40}", address):
        checksummed = to_checksum_address(address)
        if address == checksummed or digits in (digits.lower(), digits.upper()):
            return checksummed
    raise RegistryError(
        f"{one_line(address)!r} is not an address: 0x and 40 hexadecimal digits, "
        "with EIP-55's capitals or all of one case"
    )


def field_of(log: Any, name: str, *default: Any) -> Any:
    """Return a field of a log or block.

    Raises:
        RegistryError: there is none, and no default.
    """
    if not isinstance(log, Mapping) or not (name in log or default):
        raise RegistryError(f"the node answers a log or block without {name}")
    return log.get(name, *default)


def quantity(value: Any, what: str) -> int:
    """Read a JSON-RPC quantity.

    Raises:
        RegistryError: it is none.
    """
    if not isinstance(value, str) or not re.fullmatch("0x[0-9a-fA-F]{1,64}", value):
        refuse(what, value)
    return int(value, 16)


def bytes_of(value: Any, what: str) -> bytes:
    """Read JSON-RPC data.

    Raises:
        RegistryError: it is none, or longer than a call may return.
    """
    if isinstance(value, str) and len(value) > 2 * _MAX_RETURN:
        raise RegistryError(f"{what}: the node answers {len(value) // 2} bytes, which is too much")
    if not isinstance(value, str) or len(value) % 2 or not re.fullmatch("0x[0-9a-fA-F]*", value):
        refuse(what, value)
    return bytes.fromhex(value[2:])


def hash_of(value: Any) -> bytes:
    """Read a hash of 32 bytes.

    Raises:
        RegistryError: it is none.
    """
    data = bytes_of(value, "eth_getLogs")
    if len(data) != WORD:
        raise RegistryError(f"eth_getLogs: {preview(data)} is no hash")
    return data


def refuse(what: str, value: Any) -> NoReturn:
    """Refuse an answer of the node.

    Raises:
        RegistryError: always.
    """
    raise RegistryError(f"{what}: the node answers {one_line(value)}")


def to_hex(data: bytes) -> str:
    """Write bytes as JSON-RPC does: lower-case hexadecimal behind ``0x``."""
    return f"0x{data.hex()}"


def hex_in(data: Any) -> str | None:
    """Find revert data: nodes put it into ``data``, or a ``data`` within that."""
    if isinstance(data, Mapping):
        data = data.get("data")
    if isinstance(data, str) and re.fullmatch("0x[0-9a-fA-F]*", data):
        return data.lower()
    return None


def _hex_in_lotus(message: str) -> str | None:
    """Find revert data where older Filecoin nodes put it: in the message, in brackets."""
    found = re.search(r"\[(0x[0-9a-fA-F]{8,})\]", message)
    return found[1].lower() if found else None


def preview(data: bytes) -> str:
    """Say what a node answered where that does not decode."""
    return f"{len(data)} bytes that do not decode" if data else "nothing"
