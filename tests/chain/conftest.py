"""Registries for the tests: on Ape's embedded chain, on a stand-in for Calibration, on its fork."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest import mock

# The stand-in has Calibration's chain id: what Ape remembers of its contracts must not reach the
# user's own folder. A subprocess finds this one in its environment; `ape test` has read the
# variable by now, and is told below.
APE_DATA = Path(tempfile.mkdtemp(prefix="alithis-tests-"))
atexit.register(shutil.rmtree, APE_DATA, ignore_errors=True)
os.environ["APE_DATA_FOLDER"] = str(APE_DATA)

import ape  # noqa: E402
import pytest  # noqa: E402
from ape.api import AccountAPI, ProviderAPI  # noqa: E402
from ape.contracts import ContractInstance  # noqa: E402
from ape_accounts.accounts import import_account_from_private_key  # noqa: E402
from eth_account import Account  # noqa: E402

from alithis_ape.contract import container  # noqa: E402
from alithis_ape.transport import ProviderTransport  # noqa: E402
from helpers.anvil import Node, run_anvil  # noqa: E402
from helpers.chains import per_example  # noqa: E402
from helpers.registry_model import Relation  # noqa: E402
from helpers.samples import COMMITMENT  # noqa: E402
from helpers.scripts import PASSPHRASE, POOR, RICH  # noqa: E402
from helpers.session import ipfs_peer, pytest_sessionfinish  # noqa: E402, F401

ape.config.DATA_FOLDER = APE_DATA


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Sets Ape's options here, where the other suites, which do without Ape, do not meet them."""
    config.option.network = config.option.network or "filecoin:local:test"
    config.option.disable_isolation = True


@pytest.fixture(autouse=True)
def isolated() -> Iterator[None]:
    """Each test leaves the chain as it found it.

    In place of Ape's own isolation (turned off above), which looks fixtures up by name
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


@pytest.fixture(scope="module")
def live() -> Iterator[Node]:
    """A stand-in for Calibration as it is lived with: it mines by the clock, though a fast one."""
    with run_anvil("--block-time", "0.2") as node:
        yield node


@pytest.fixture(scope="module")
def addresses(live) -> dict[str, str]:
    """Two accounts that Ape keeps, one of them with money on the stand-in."""
    # Unlocked in no time: each script would take a second longer to derive the key.
    weak = partial(Account.encrypt, iterations=2)
    with mock.patch.object(Account, "encrypt", weak):
        for alias, key in ((RICH, "0x" + "a1" * 32), (POOR, "0x" + "b2" * 32)):
            if alias not in ape.accounts.aliases:
                import_account_from_private_key(alias, PASSPHRASE, key)
    known = {alias: ape.accounts.load(alias).address for alias in (RICH, POOR)}
    live.rpc("anvil_setBalance", known[RICH], hex(10**18))
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
        for mint, links in (
            (registry.mintDataset, []),
            (registry.mintModel, [(1, Relation.TRAINED_ON)]),
        ):
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
