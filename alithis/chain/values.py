"""Checks values in JSON-RPC answers, and converts them to Python values.

Source: the Ethereum JSON-RPC specification ("Hex encoding": quantities, unformatted data).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from alithis.base.text import one_line
from alithis.errors import RegistryError

WORD = 32
"""Bytes in a word of the EVM."""
_MAX_DATA = 3 << 20  # maximum bytes of an eth_call's result; the links of 100 tokens need 2.4 MiB


def parse_quantity(value: Any, origin: str) -> int:
    """Parse a quantity.

    Args:
        value: an untrusted value: a hexadecimal text.
        origin: the RPC method or function of the contract that returned it, for errors.

    Raises:
        RegistryError: it is not a quantity.
    """
    if not isinstance(value, str) or not re.fullmatch("0x[0-9a-fA-F]{1,64}", value):
        raise unusable(origin, value)
    return int(value, 16)


def parse_data(value: Any, origin: str) -> bytes:
    """Parse unformatted data.

    Args:
        value: an untrusted value: a hexadecimal text.
        origin: see `parse_quantity`.

    Raises:
        RegistryError: it is not data, or is too long.
    """
    if isinstance(value, str) and len(value) > 2 * _MAX_DATA:
        raise RegistryError(
            f"{origin}: the node returned {len(value) // 2:,} bytes; at most {_MAX_DATA:,} are read"
        )
    if not isinstance(value, str) or len(value) % 2 or not re.fullmatch("0x[0-9a-fA-F]*", value):
        raise unusable(origin, value)
    return bytes.fromhex(value[2:])


def parse_hash(value: Any, origin: str) -> bytes:
    """Parse a hash, 32 bytes.

    Raises:
        RegistryError: it is not a hash.
    """
    data = parse_data(value, origin)
    if len(data) != WORD:
        raise RegistryError(f"{origin}: the node returned a hash of {len(data)} bytes, not 32")
    return data


def field(value: Any, name: str, origin: str, *default: Any) -> Any:
    """Return a field of a log or block.

    Raises:
        RegistryError: it has no such field, and there is no default.
    """
    if not isinstance(value, Mapping) or not (name in value or default):
        raise RegistryError(f"{origin}: the node's answer has no {name}")
    return value.get(name, *default)


def revert_data(error: Any) -> str | None:
    """Find the revert data in an RPC error's data; some nodes nest it in a field ``data``."""
    if isinstance(error, Mapping):
        error = error.get("data")
    if isinstance(error, str) and re.fullmatch("0x[0-9a-fA-F]*", error):
        return error.lower()
    return None


def checksum_address(address: str) -> str:
    """Return an address with the checksum of EIP-55.

    Raises:
        RegistryError: it is not an address, or has a wrong checksum, which shows a typing error.
    """
    from eth_utils.address import to_checksum_address

    digits = address.removeprefix("0x")
    if re.fullmatch("0x[0-9a-fA-F]{40}", address):
        checksummed = to_checksum_address(address)
        if address == checksummed or digits in (digits.lower(), digits.upper()):
            return checksummed
    raise RegistryError(
        f"{one_line(address)!r} is not an address: give 0x and 40 hexadecimal digits, "
        "in one case or with the checksum of EIP-55"
    )


def to_hex(data: bytes) -> str:
    """Write bytes as JSON-RPC does: lower-case hexadecimal after ``0x``."""
    return f"0x{data.hex()}"


def unusable(origin: str, value: Any) -> RegistryError:
    """Return the error for a node's answer of an unexpected type or form."""
    return RegistryError(f"{origin}: the node's answer is unusable: {one_line(value)}")


def undecodable(origin: str, data: bytes) -> RegistryError:
    """Return the error for data that cannot be decoded with the contract's ABI."""
    found = f"{len(data)} bytes that cannot be decoded" if data else "no data"
    return RegistryError(f"{origin}: the node returned {found}")
