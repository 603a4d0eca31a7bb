"""Errors come out of worker processes as they were raised."""

from __future__ import annotations

import pickle

import pytest

from alithis import errors
from alithis.errors import (
    AlithisError,
    IntegrityError,
    MissingExtraError,
    RefusedError,
    RootMismatchError,
    RpcError,
    SourceError,
)
from alithis.forms.pool import Pool

EXAMPLES = [
    IntegrityError("CID", expected=b"\1", found=b"\2"),
    RootMismatchError(expected=bytes(32), calculated=b"\1" * 32),
    MissingExtraError("Pillow", "images"),
    RpcError("execution reverted", code=3, data="0x08c379a0"),
    RefusedError("the contract refuses: FailedCall()", code=3, data="0xd6bda275"),
]
PLAIN = [
    kind("what, where")
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, AlithisError) and kind not in map(type, EXAMPLES)
]


def raising(error: AlithisError) -> None:
    raise error


@pytest.mark.parametrize("error", EXAMPLES + PLAIN, ids=lambda error: type(error).__name__)
def test_pickled_error_is_the_same(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize("error", [*EXAMPLES, SourceError("x: gone")], ids=lambda e: str(e))
def test_error_of_a_worker_is_not_taken_for_its_death(error):
    with Pool(2) as pool, pytest.raises(type(error)) as caught:
        list(pool.map(raising, [error]))
    assert str(caught.value) == str(error)
