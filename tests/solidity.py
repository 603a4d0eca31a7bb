"""IAlithis's terms as Python sees them, and what the contract's tests share."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from functools import cache
from hashlib import sha256
from typing import Any

import ape
import pytest
from ape.api import AccountAPI, ReceiptAPI
from ape.contracts import ContractContainer, ContractInstance
from ape.exceptions import ContractLogicError, CustomError
from eth_abi import encode
from eth_utils import keccak

ZERO_ADDRESS = "0x" + "00" * 20
MAX_SIZE = 2**48 - 1


class Kind(IntEnum):
    """IAlithis.Kind."""

    DATASET = 0
    MODEL = 1


class Scheme(IntEnum):
    """IAlithis.Scheme."""

    SHA256 = 0
    KEYED = 1


class Relation(IntEnum):
    """IAlithis.Relation."""

    DERIVED_FROM = 0
    TRAINED_ON = 1
    VALIDATED_ON = 2
    TESTED_ON = 3
    FINE_TUNED_FROM = 4
    DISTILLED_FROM = 5
    SUPERSEDES = 6


class ClaimStatus(IntEnum):
    """IAlithis.ClaimStatus."""

    OPEN = 0
    REJECTED = 1
    ACCEPTED = 2
    REMOVED = 3


MADE_FROM = {Relation.DERIVED_FROM, Relation.TRAINED_ON}
MADE_FROM |= {Relation.FINE_TUNED_FROM, Relation.DISTILLED_FROM}
"""Relations that isDerivedFrom follows."""


def digest(name: str) -> bytes:
    """Some 32 bytes, the same for the same name."""
    return sha256(name.encode()).digest()


def commitment(
    name: str = "some", size: int = 5, scheme: int = Scheme.SHA256
) -> tuple[bytes, int, int, bytes]:
    """An IAlithis.Commitment: root, size, scheme, metadata digest."""
    return digest(f"{name} root"), size, scheme, digest(f"{name} metadata")


def mint(
    registry: ContractInstance,
    kind: Kind,
    commitment: tuple[bytes, int, int, bytes],
    links: Sequence[tuple[int, int]] = (),
    *,
    sender: AccountAPI,
) -> ReceiptAPI:
    """Mints a dataset or a model; a link is a target's id and a Relation."""
    function = registry.mintModel if kind == Kind.MODEL else registry.mintDataset
    return function(commitment, list(links), sender=sender)


@cache
def helper(name: str) -> ContractContainer:
    """A contract of ``contracts/test``.

    Not ``project.<name>``: in a checkout inside the system's temporary directory Ape leaves its
    copies of OpenZeppelin beside the sources, and looks at 500 files at most.
    """
    return ape.project.load_contracts(f"contracts/test/{name}.sol")[name]


@contextmanager
def refused(error: type[CustomError], **values: Any) -> Iterator[None]:
    """Holds that the block's one call reverts with exactly this error and these values.

    ``ape.reverts`` also takes a panic, an empty revert, and on the embedded chain any revert of a
    view, for the error that is named.
    """
    with pytest.raises(ContractLogicError) as caught:
        yield
    if isinstance(caught.value, CustomError):
        assert (caught.value.abi.selector, caught.value.inputs) == (error.abi.selector, values)
    else:
        data = _revert_data(caught.value.revert_message)
        assert data[:4] == keccak(text=error.abi.selector)[:4]
        types = [value.canonical_type for value in error.abi.inputs]
        assert data[4:] == encode(types, [values[value.name] for value in error.abi.inputs])


def _revert_data(message: str) -> bytes:
    """What a call reverted with, where Ape does not decode it.

    That is hexadecimal for another contract's error, and a repr for a view's on the embedded chain.
    """
    if message.startswith("0x"):
        return bytes.fromhex(message[2:])
    data: bytes = ast.literal_eval(message)
    return data


@contextmanager
def refused_unexplained() -> Iterator[None]:
    """Holds that the block's one call reverts with no data, as for arguments of no valid type."""
    with pytest.raises(ContractLogicError) as caught:
        yield
    assert type(caught.value) is ContractLogicError
    assert caught.value.revert_message == ContractLogicError.DEFAULT_MESSAGE
