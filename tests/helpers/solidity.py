"""Helpers for the contract's tests: auxiliary contracts, and assertions about reverts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import ape
import pytest
from ape.contracts import ContractContainer
from ape.exceptions import ContractLogicError, CustomError
from eth_abi import encode
from eth_utils import keccak

ZERO_ADDRESS = "0x" + "00" * 20


@cache
def helper(name: str) -> ContractContainer:
    """A contract of ``contracts/test``.

    Not ``project.<name>``: in a checkout inside the system's temporary directory Ape leaves its
    copies of OpenZeppelin beside the sources, and looks at 500 files at most.
    """
    return ape.project.load_contracts(f"contracts/test/{name}.sol")[name]


@contextmanager
def refused(error: type[CustomError], **values: Any) -> Iterator[None]:
    """Asserts that the block's only call reverts with exactly this error and these values.

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
    """Asserts that the block's only call reverts without data, as for arguments of a wrong type."""
    with pytest.raises(ContractLogicError) as caught:
        yield
    assert type(caught.value) is ContractLogicError
    assert caught.value.revert_message == ContractLogicError.DEFAULT_MESSAGE
