"""Makes ape-filecoin 0.1.1 (2023) whole on Ape 0.8.

Ape names an ecosystem after the plugin that registers it, so only ``ape_filecoin`` may define
``filecoin``. That plugin still imports ``ape_geth`` (renamed ``ape_node`` in Ape 0.7), and its
``decode_receipt`` loses the hash of a creation. This module answers to the name that the plugin
imports, and puts a configuration and an ecosystem of today in the place of the plugin's own. It
also brings Foundry's local chain and forks to ``filecoin``, and finds ``anvil`` where
``make setup`` puts it.

``filecoin:mainnet`` and ``filecoin:calibration`` and their public endpoints come from
``evmchains``, which Ape reads.
"""

from __future__ import annotations

import re
import shutil
import sysconfig
import time
from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from typing import Any, ClassVar, cast

from ape import plugins
from ape.api.networks import LOCAL_NETWORK_NAME
from ape.exceptions import TransactionError
from ape.plugins.pluggy_patch import plugin_manager
from ape_ethereum.ecosystem import (
    BaseEthereumConfig,
    Ethereum,
    NetworkConfig,
    create_network_config,
)
from ape_ethereum.transactions import Receipt
from ape_foundry.exceptions import FoundryNotInstalledError
from ape_foundry.provider import FoundryForkProvider, FoundryProvider
from ape_node.provider import Node as GethProvider
from pydantic_settings import SettingsConfigDict
from web3.exceptions import ContractCustomError

# isort: split
# The plugin takes ``GethProvider`` from this module, which must have it by now.
import ape_filecoin
import ape_filecoin.ecosystem as filecoin_ecosystem

__all__ = ["Filecoin", "FilecoinConfig", "GethProvider", "find_anvil"]

# An epoch lasts 30 s, and a message is executed one epoch after the one that includes it.
_LIVE = {"block_time": 30, "required_confirmations": 1, "transaction_acceptance_timeout": 600}
# Revert data with a selector of its own: neither Error(string) nor Panic(uint256).
_CUSTOM_ERROR = r"0x(?!08c379a0|4e487b71)[0-9a-f]{8,}"


class FilecoinConfig(BaseEthereumConfig):
    """The ``filecoin:`` section of ape-config.yaml."""

    NETWORKS: ClassVar[dict[str, tuple[int, int]]] = {
        "mainnet": (314, 314),
        "calibration": (314159, 314159),
    }
    model_config = SettingsConfigDict(extra="allow", env_prefix="APE_FILECOIN_")
    # Ape's own convention: nothing reaches a public chain unless it is named.
    default_network: str = LOCAL_NETWORK_NAME
    mainnet: NetworkConfig = create_network_config(**_LIVE)
    calibration: NetworkConfig = create_network_config(**_LIVE)


class FilecoinReceipt(Receipt):
    """A receipt whose sender's nonce may take an epoch or two to show.

    A node has the receipt of a message before the state after it is its "latest", and public
    endpoints are several nodes each. Ape would give up after 20 s, the transaction being done.
    """

    def _await_sender_nonce_increment(self) -> None:
        sender, timeout = self.sender, self.provider.network.transaction_acceptance_timeout
        deadline = time.monotonic() + timeout
        while sender and self.provider.get_nonce(sender) <= (self.nonce or 0):
            if time.monotonic() > deadline:
                raise TransactionError(f"{sender}'s nonce did not increase within {timeout} s.")
            time.sleep(1)


class Filecoin(Ethereum):
    """Filecoin's EVM: Ethereum's transactions and receipts, paid in FIL."""

    name: str = "filecoin"
    fee_token_symbol: str = "FIL"  # noqa: S105 (a currency)

    @property
    def config(self) -> FilecoinConfig:
        """The ``filecoin:`` section of ape-config.yaml."""
        return cast(FilecoinConfig, self.config_manager.get_config("filecoin"))

    def decode_receipt(self, data: dict[str, Any]) -> FilecoinReceipt:
        """Ape's receipt, which waits as long as Filecoin may take."""
        receipt = super().decode_receipt(data)
        fields = {name: getattr(receipt, name) for name in Receipt.model_fields}
        return FilecoinReceipt.model_validate(fields)


class _CustomErrors:
    """Keeps what a call reverted with, which Ape drops: it is a custom error's name and values."""

    def _make_request(self, rpc: str, parameters: Iterable[Any] | None = None) -> Any:
        if rpc == "eth_call":
            answer = self.web3.provider.make_request(rpc, parameters)
            if "result" in answer:
                return answer["result"]
            data = answer["error"].get("data")
            if isinstance(data, str) and re.fullmatch(_CUSTOM_ERROR, data):
                raise ContractCustomError(data, data=data)
        return super()._make_request(rpc, parameters)


class FilecoinNode(_CustomErrors, GethProvider):
    """A node that somebody runs: ``filecoin:calibration:node``, ``filecoin:local:http://…``."""

    NAME: ClassVar[str] = "node"

    def connect(self) -> None:
        """Connects, and asks for receipts ten times an epoch; web3's 300 a public node refuses."""
        super().connect()
        eth = self.web3.eth
        interval = max(self.network.block_time / 10, 0.1)
        eth.wait_for_transaction_receipt = partial(
            eth.wait_for_transaction_receipt, poll_latency=interval
        )


def find_anvil() -> str | None:
    """Where anvil is: beside the running Python, whose venv need not be activated, or on PATH."""
    return shutil.which("anvil", path=sysconfig.get_path("scripts")) or shutil.which("anvil")


class _InstalledAnvil:
    @cached_property
    def anvil_bin(self) -> str:
        if (anvil := find_anvil()) is None:
            raise FoundryNotInstalledError
        return anvil


class AnvilProvider(_InstalledAnvil, _CustomErrors, FoundryProvider):
    """``filecoin:local:foundry``."""

    NAME: ClassVar[str] = "foundry"


class AnvilForkProvider(_InstalledAnvil, _CustomErrors, FoundryForkProvider):
    """``filecoin:calibration-fork:foundry`` and ``filecoin:mainnet-fork:foundry``."""

    NAME: ClassVar[str] = "foundry"

    def build_command(self) -> list[str]:
        """Keeps no cache: anvil's is by chain id and block, and tells no two Calibrations apart."""
        return [*super().build_command(), "--no-storage-caching"]


class _Providers:
    """The plugin that adds providers to ``filecoin``."""

    @staticmethod
    @plugins.register(plugins.ProviderPlugin)
    def providers() -> Iterator[tuple[str, str, Any]]:
        yield "filecoin", LOCAL_NETWORK_NAME, AnvilProvider
        for network in (LOCAL_NETWORK_NAME, *FilecoinConfig.NETWORKS):
            yield "filecoin", network, FilecoinNode
        for network in FilecoinConfig.NETWORKS:
            yield "filecoin", f"{network}-fork", AnvilForkProvider


def _mend() -> None:
    """Replaces the plugin's classes, whichever of the two modules was imported first."""
    filecoin_ecosystem.NETWORKS.clear()  # hyperspace, its only network, ended in 2023
    for module in (filecoin_ecosystem, ape_filecoin):
        module.Filecoin = Filecoin
        module.FilecoinConfig = FilecoinConfig


_mend()
plugin_manager.register(_Providers, name="alithis_filecoin")
