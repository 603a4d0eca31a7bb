"""The library's tests: no Ape, no chain, no network. A registry is on a chain in Python."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import pytest

from alithis.base import http
from helpers.abi import Account, Contract
from helpers.anvil import CALIBRATION
from helpers.fake_chain import ACCOUNTS, FakeChain, serve_chain
from helpers.registry_model import Relation
from helpers.samples import COMMITMENT
from helpers.session import ipfs_peer, pytest_sessionfinish  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def _at_once() -> Iterator[None]:
    """Nothing that is tried again is waited for; how long it is, its own tests say."""
    with mock.patch.object(http, "FIRST_WAIT", 0.01):
        yield


@pytest.fixture(scope="session")
def accounts() -> tuple[Account, ...]:
    """Who may send, on every chain."""
    return ACCOUNTS


@pytest.fixture(scope="session")
def owner(accounts) -> Account:
    """Who deploys and mints."""
    return accounts[0]


@pytest.fixture(scope="module")
def fake_chain() -> FakeChain:
    """A chain in Python."""
    return FakeChain()


@pytest.fixture(autouse=True)
def isolated(fake_chain) -> Iterator[None]:
    """Each test leaves the chain as it found it."""
    snapshot = fake_chain.snapshot()
    yield
    fake_chain.restore(snapshot)


@pytest.fixture(scope="module")
def chain(fake_chain) -> FakeChain:
    """The chain, by the name that a test gives it: some have parameters of that name."""
    return fake_chain


@pytest.fixture(scope="module")
def registry(chain) -> Contract:
    """A registry on the chain."""
    return chain.deploy()


@pytest.fixture(scope="module")
def transport(chain) -> FakeChain:
    """JSON-RPC of the chain that ``registry`` is on."""
    return chain


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeChain]:
    """A chain that is reached over HTTP, in Calibration's place."""
    with serve_chain(FakeChain(CALIBRATION)) as chain:
        yield chain


@pytest.fixture(scope="module")
def upstream_registry(upstream, owner) -> str:
    """Address of a registry there, with a dataset (1) and a model trained on it (2)."""
    registry = upstream.deploy()
    registry.mintDataset(COMMITMENT, [], sender=owner)
    registry.mintModel(COMMITMENT, [(1, Relation.TRAINED_ON)], sender=owner)
    return registry.address
