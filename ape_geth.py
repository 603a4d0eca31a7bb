"""Makes ape-filecoin 0.1.1 (2023) whole on Ape 0.8.

Ape names an ecosystem after the plugin that registers it, so only ``ape_filecoin`` may define
``filecoin``. That plugin still imports ``ape_geth`` (renamed ``ape_node`` in Ape 0.7), and its
``decode_receipt`` loses the hash of a creation. This module answers to the name that the plugin
imports, and puts a configuration and an ecosystem of today in the place of the plugin's own. It
also brings Foundry's local chain and forks to ``filecoin``, and finds ``anvil`` where
``make setup`` puts it.

``filecoin:mainnet`` and ``filecoin:calibration``, with their public endpoints and the ``node``
provider, come from ``evmchains``, which Ape reads.
"""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar, cast

from ape import plugins
from ape.api.networks import LOCAL_NETWORK_NAME
from ape.plugins.pluggy_patch import plugin_manager
from ape_ethereum.ecosystem import (
    BaseEthereumConfig,
    Ethereum,
    NetworkConfig,
    create_network_config,
)
from ape_foundry.exceptions import FoundryNotInstalledError
from ape_foundry.provider import FoundryForkProvider, FoundryProvider
from ape_node.provider import Node as GethProvider

# isort: split
# The plugin takes ``GethProvider`` from this module, which must have it by now.
import ape_filecoin
import ape_filecoin.ecosystem as filecoin_ecosystem

__all__ = ["Filecoin", "FilecoinConfig", "GethProvider", "find_anvil"]

# An epoch lasts 30 s, and a message is executed one epoch after the one that includes it.
_LIVE = {"block_time": 30, "required_confirmations": 1, "transaction_acceptance_timeout": 600}


class FilecoinConfig(BaseEthereumConfig):
    """The ``filecoin:`` section of ape-config.yaml."""

    NETWORKS: ClassVar[dict[str, tuple[int, int]]] = {
        "mainnet": (314, 314),
        "calibration": (314159, 314159),
    }
    # Ape's own convention: nothing reaches a public chain unless it is named.
    default_network: str = LOCAL_NETWORK_NAME
    mainnet: NetworkConfig = create_network_config(**_LIVE)
    calibration: NetworkConfig = create_network_config(**_LIVE)


class Filecoin(Ethereum):
    """Filecoin's EVM: Ethereum's transactions and receipts, paid in FIL."""

    name: str = "filecoin"
    fee_token_symbol: str = "FIL"  # noqa: S105 (a currency)

    @property
    def config(self) -> FilecoinConfig:
        """The ``filecoin:`` section of ape-config.yaml."""
        return cast(FilecoinConfig, self.config_manager.get_config("filecoin"))


def find_anvil() -> str | None:
    """Where anvil is: beside the running Python, whose venv need not be activated, or on PATH."""
    return shutil.which("anvil", path=sysconfig.get_path("scripts")) or shutil.which("anvil")


class _InstalledAnvil:
    @cached_property
    def anvil_bin(self) -> str:
        if (anvil := find_anvil()) is None:
            raise FoundryNotInstalledError
        return anvil


class AnvilProvider(_InstalledAnvil, FoundryProvider):
    """``filecoin:local:foundry``."""

    NAME: ClassVar[str] = "foundry"


class AnvilForkProvider(_InstalledAnvil, FoundryForkProvider):
    """``filecoin:calibration-fork:foundry`` and ``filecoin:mainnet-fork:foundry``."""

    NAME: ClassVar[str] = "foundry"


class _FoundryNetworks:
    """The plugin that registers Foundry's providers for ``filecoin``."""

    @staticmethod
    @plugins.register(plugins.ProviderPlugin)
    def providers() -> Iterator[tuple[str, str, Any]]:
        yield "filecoin", LOCAL_NETWORK_NAME, AnvilProvider
        for network in FilecoinConfig.NETWORKS:
            yield "filecoin", f"{network}-fork", AnvilForkProvider


def _mend() -> None:
    """Replaces the plugin's classes, whichever of the two modules was imported first."""
    filecoin_ecosystem.NETWORKS.clear()  # hyperspace, its only network, ended in 2023
    for module in (filecoin_ecosystem, ape_filecoin):
        module.Filecoin = Filecoin
        module.FilecoinConfig = FilecoinConfig


_mend()
plugin_manager.register(_FoundryNetworks, name="alithis_filecoin")
