"""Registries for the tests: on Ape's embedded chain, on a stand-in for Calibration, on its fork."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

# The stand-in has Calibration's chain id: what Ape remembers of its contracts must not reach the
# user's own folder. A subprocess finds this one in its environment; `ape test` has read the
# variable by now, and is told below.
APE_DATA = Path(tempfile.mkdtemp(prefix="alithis-tests-"))
atexit.register(shutil.rmtree, APE_DATA, ignore_errors=True)
os.environ["APE_DATA_FOLDER"] = str(APE_DATA)
# Nothing reaches the network, and nobody's cache: a test names the gateways that it starts.
os.environ["ALITHIS_GATEWAYS"] = "none"
os.environ["ALITHIS_CACHE"] = "none"

import ape  # noqa: E402
import coverage  # noqa: E402
import pytest  # noqa: E402
from ape.api import AccountAPI, ProviderAPI  # noqa: E402
from ape.contracts import ContractInstance  # noqa: E402
from ape_accounts.accounts import import_account_from_private_key  # noqa: E402
from chains import (  # noqa: E402
    COMMITMENT,
    PASSPHRASE,
    POOR,
    RICH,
    TRAINED_ON,
    Node,
    per_example,
    rpc,
    run_anvil,
)
from hypothesis import HealthCheck, settings  # noqa: E402
from peers import Peer, run_peer  # noqa: E402

from alithis_ape.contract import container  # noqa: E402
from alithis_ape.transport import ProviderTransport  # noqa: E402

ape.config.DATA_FOLDER = APE_DATA

# No test depends on how fast the machine is.
settings.register_profile("alithis", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("alithis")


def pytest_sessionfinish() -> None:
    """Keeps what was measured: a worker that ends slowly, for what it has open, is killed."""
    if measured := coverage.Coverage.current():
        measured.save()


@pytest.fixture(autouse=True)
def isolated() -> Iterator[None]:
    """Each test leaves the chain as it found it.

    In place of Ape's own isolation (pyproject.toml turns it off), which looks fixtures up by name
    alone: one that has a namesake of wider scope in another module is set up before the snapshot,
    and what it does to the chain stays.
    """
    with per_example():
        yield


@pytest.fixture(scope="session")
def owner(accounts) -> AccountAPI:
    """Who deploys and mints."""
    return accounts[0]


@pytest.fixture(scope="module")
def registry(owner) -> ContractInstance:
    """A registry on the embedded chain, deployed from the exported artifact."""
    return owner.deploy(container())


@pytest.fixture(scope="module")
def transport(registry) -> ProviderTransport:
    """JSON-RPC of the chain that ``registry`` is on."""
    return ProviderTransport(ape.networks.provider)


@pytest.fixture(scope="session")
def ipfs_peer() -> Iterator[Peer]:
    """An IPFS peer, with a gateway and Kubo's RPC."""
    with run_peer() as peer:
        yield peer


@pytest.fixture(scope="module")
def live() -> Iterator[Node]:
    """A stand-in for Calibration as it is lived with: it mines a block every second."""
    with run_anvil("--block-time", "1") as node:
        yield node


@pytest.fixture(scope="module")
def addresses(live) -> dict[str, str]:
    """Two accounts that Ape keeps, one of them with money on the stand-in."""
    for alias, key in ((RICH, "0x" + "a1" * 32), (POOR, "0x" + "b2" * 32)):
        if alias not in ape.accounts.aliases:
            import_account_from_private_key(alias, PASSPHRASE, key)
    known = {alias: ape.accounts.load(alias).address for alias in (RICH, POOR)}
    rpc(live, "anvil_setBalance", known[RICH], hex(10**18))
    return known


@pytest.fixture(scope="session")
def upstream() -> Iterator[Node]:
    """A stand-in for Calibration, which mines each transaction at once."""
    with run_anvil() as node:
        yield node


@pytest.fixture(scope="session")
def upstream_choice(upstream) -> str:
    """The stand-in, as Ape's --network names it."""
    return upstream.choice


@pytest.fixture(scope="session")
def upstream_registry(upstream_choice, owner, accounts) -> str:
    """Address of a registry on the stand-in, with a dataset (1) and a model trained on it (2)."""
    with ape.networks.parse_network_choice(upstream_choice):
        # Not by ``owner``: the address would be that of a registry on the embedded chain.
        registry = accounts[1].deploy(container(), required_confirmations=0)
        for mint, links in ((registry.mintDataset, []), (registry.mintModel, [(1, TRAINED_ON)])):
            mint(COMMITMENT, links, sender=owner, required_confirmations=0)
        return registry.address


@pytest.fixture(scope="module")
def fork(upstream_choice, upstream_registry) -> Iterator[ProviderAPI]:
    """A local fork of the stand-in: Ape's active provider while the module runs."""
    with ExitStack() as stack:
        stack.enter_context(ape.networks.parse_network_choice(upstream_choice))
        yield stack.enter_context(ape.networks.fork(provider_name="foundry"))


@pytest.fixture(scope="module")
def fork_registry(fork, upstream_registry) -> ContractInstance:
    """The stand-in's registry, seen on the fork."""
    return container().at(upstream_registry)
