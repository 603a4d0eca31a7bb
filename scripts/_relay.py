"""A mint that its publisher signs and somebody else sends (docs/format.md, "Signed mints")."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from scripts._common import ScriptError

if TYPE_CHECKING:
    from eth_account.messages import SignableMessage

    from alithis.chain.registry import Registry

VERSION = 1
MAX_BYTES = 256 * 1024
MAX_SIGNATURE = 8192
"""Bytes of a signature: an ERC-1271 wallet's may hold those of many signers."""

_PRIMARY = {"dataset": "MintDataset", "model": "MintModel"}
_DOMAIN = {
    "name": "string",
    "version": "string",
    "chainId": "uint256",
    "verifyingContract": "address",
}
_COMMITMENT = {"root": "bytes32", "size": "uint64", "scheme": "uint8", "metadataDigest": "bytes32"}
_LINK = {"target": "uint256", "relation": "uint8"}
_MINT = {
    "publisher": "address",
    "commitment": "Commitment",
    "links": "Link[]",
    "nonce": "uint256",
    "deadline": "uint256",
}


@dataclass(frozen=True, slots=True)
class Mint:
    """What a publisher signs.

    Attributes:
        kind: ``dataset`` or ``model``.
        publisher: In whose name, an address.
        commitment: Root, size, scheme's number, metadata digest.
        links: Tokens, each with its relation's number.
        nonce: The publisher's.
        deadline: Until when it may be sent, in seconds since 1970.
        chain: The chain's id.
        registry: The registry's address.
    """

    kind: str
    publisher: str
    commitment: tuple[bytes, int, int, bytes]
    links: tuple[tuple[int, int], ...]
    nonce: int
    deadline: int
    chain: int
    registry: str

    def typed_data(self) -> dict[str, Any]:
        """EIP-712 typed data, as a wallet's eth_signTypedData_v4 takes it."""
        primary = _PRIMARY[self.kind]
        root, size, scheme, digest = self.commitment
        types = {"EIP712Domain": _DOMAIN, primary: _MINT, "Commitment": _COMMITMENT, "Link": _LINK}
        return {
            "types": {name: _fields(fields) for name, fields in types.items()},
            "primaryType": primary,
            "domain": {
                "name": "Alithis",
                "version": "1",
                "chainId": self.chain,
                "verifyingContract": self.registry,
            },
            "message": {
                "publisher": self.publisher,
                "commitment": {
                    "root": f"0x{root.hex()}",
                    "size": size,
                    "scheme": scheme,
                    "metadataDigest": f"0x{digest.hex()}",
                },
                "links": [dict(zip(_LINK, link, strict=True)) for link in self.links],
                "nonce": self.nonce,
                "deadline": self.deadline,
            },
        }

    def signable(self) -> SignableMessage:
        """What eth-account, and so an Ape account, signs."""
        from eth_account.messages import encode_typed_data

        return encode_typed_data(full_message=self.typed_data())

    @classmethod
    def of(cls, typed_data: Mapping[str, Any], where: Path) -> Self:
        """Reads typed data that nobody vouches for.

        Args:
            typed_data: As JSON has it.
            where: The file it is from.

        Raises:
            ScriptError: It is not, to the letter, what `typed_data` makes of a mint.
        """
        try:
            mint = cls._of(typed_data)
            same = mint.typed_data() == typed_data
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ScriptError(
                f"{where}: the typed data is not a mint of an Alithis registry"
            ) from error
        if not same:
            raise ScriptError(f"{where}: the typed data has other types or fields than a mint has")
        return mint

    @classmethod
    def _of(cls, typed_data: Mapping[str, Any]) -> Self:
        from eth_utils import to_checksum_address

        (kind,) = (kind for kind, name in _PRIMARY.items() if name == typed_data["primaryType"])
        domain, message = typed_data["domain"], typed_data["message"]
        committed = message["commitment"]
        return cls(
            kind=kind,
            publisher=to_checksum_address(message["publisher"]),
            commitment=(
                _bytes32(committed["root"]),
                _number(committed["size"], 64),
                _number(committed["scheme"], 8),
                _bytes32(committed["metadataDigest"]),
            ),
            links=tuple(
                (_number(link["target"]), _number(link["relation"], 8)) for link in message["links"]
            ),
            nonce=_number(message["nonce"]),
            deadline=_number(message["deadline"]),
            chain=_number(domain["chainId"]),
            registry=to_checksum_address(domain["verifyingContract"]),
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a signature is to hold."""

    registry: str
    chain: int
    nonce: int
    reader: Registry | None = None


def _fields(fields: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name, kind in fields.items()]


def _number(value: Any, bits: int = 256) -> int:
    if type(value) is not int or not 0 <= value < 1 << bits:
        raise ValueError(value)
    return value


def _bytes32(text: str) -> bytes:
    data = bytes.fromhex(text.removeprefix("0x"))
    if len(data) != 32:
        raise ValueError(text)
    return data


def dump(mint: Mint, signature: bytes | None) -> bytes:
    """Writes a mint, signed or still to be signed by a wallet."""
    document = {
        "alithis": "mint",
        "version": VERSION,
        "typedData": mint.typed_data(),
        "signature": f"0x{signature.hex()}" if signature else None,
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def load(path: Path) -> tuple[Mint, bytes | None]:
    """Reads a mint that nobody vouches for.

    Raises:
        ScriptError: It cannot be read, or is none.
        FormatError: It is not JSON.
    """
    from alithis.base.untrusted_json import parse

    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ScriptError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise ScriptError(f"{path}: more than {MAX_BYTES} bytes")
    document = parse(data, str(path))
    version = document.get("version")
    if document.get("alithis") != "mint" or type(version) is not int or version != VERSION:
        raise ScriptError(f"{path}: is no signed mint of format version {VERSION}")
    typed, signature = document.get("typedData"), document.get("signature")
    if not isinstance(typed, dict):
        raise ScriptError(f"{path}: typedData is no object")
    return Mint.of(typed, path), None if signature is None else parse_signature(signature)


def parse_signature(text: Any) -> bytes:
    """Reads a signature: 0x and hexadecimal digits.

    Raises:
        ScriptError: It is none.
    """
    try:
        data = bytes.fromhex(text.removeprefix("0x"))
    except (AttributeError, ValueError):
        data = b""
    if not 0 < len(data) <= MAX_SIGNATURE:
        raise ScriptError(f"a signature is 0x and 1 to {MAX_SIGNATURE} bytes in hexadecimal")
    return data


def signed_by(mint: Mint, signature: bytes) -> str | None:
    """Address of the key that made a signature, if it is a key's."""
    from eth_account import Account
    from eth_keys.exceptions import BadSignature, ValidationError

    try:
        return str(Account.recover_message(mint.signable(), signature=signature))
    except (BadSignature, ValidationError, ValueError):
        return None
