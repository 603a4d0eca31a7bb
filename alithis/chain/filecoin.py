"""Filecoin: chain ids, the native form of addresses, amounts of FIL."""

from __future__ import annotations

import base64
import hashlib
from decimal import Decimal

MAINNET = 314
CALIBRATION = 314159


def filecoin_address(address: str, chain_id: int) -> str | None:
    """Return an Ethereum address in Filecoin's form: f410…, or t410… on a test network.

    FIP-0048: protocol 4, the Ethereum Address Manager's namespace 10, then the 20 bytes; after
    them a checksum over all of these. Address and checksum are in lower-case base32.

    Args:
        address: 0x and 40 hexadecimal digits.
        chain_id: the chain's id.

    Returns:
        The address; None if the chain is not Filecoin.
    """
    prefix = {MAINNET: "f410f", CALIBRATION: "t410f"}.get(chain_id)
    if prefix is None:
        return None
    subaddress = bytes.fromhex(address.removeprefix("0x"))
    protocol_and_namespace = bytes([4, 10])  # 10 is its own LEB128 encoding
    checksum = hashlib.blake2b(protocol_and_namespace + subaddress, digest_size=4).digest()
    encoded = base64.b32encode(subaddress + checksum).decode("ascii")
    return prefix + encoded.rstrip("=").lower()


def format_fil(amount: int, chain_id: int) -> str:
    """Return an amount of attoFIL in FIL, or in the test network's tFIL.

    It has six decimal places, or as many as it needs if it is smaller than 0.000001.
    """
    unit = "FIL" if chain_id == MAINNET else "tFIL"
    value = Decimal(amount).scaleb(-18)
    return f"{value:,.6f} {unit}" if not 0 < amount < 10**12 else f"{value:f} {unit}"
