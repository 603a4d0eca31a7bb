"""The registry's contract for Ape, and where to find a deployed one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from alithis.chain.contract import artifact
from alithis.chain.registry import Registry
from alithis.chain.values import checksum_address
from alithis_ape.command import CommandError
from alithis_ape.transport import transport

if TYPE_CHECKING:
    from ape.api import AccountAPI, NetworkAPI
    from ape.contracts import ContractContainer, ContractInstance


def container() -> ContractContainer:
    """Return the contract for Ape, from the exported JSON, so that no compiler is needed."""
    from ape.contracts import ContractContainer
    from ethpm_types import ContractType

    exported = artifact()
    fields = {
        "contractName": exported["contractName"],
        "abi": exported["abi"],
        "deploymentBytecode": {"bytecode": exported["bytecode"]},
        "runtimeBytecode": {"bytecode": exported["deployedBytecode"]},
    }
    return ContractContainer(ContractType.model_validate(fields))


def read_registry(contract: ContractInstance) -> Registry:
    """Return the library's reader for a registry, through Ape's provider.

    Raises:
        RegistryError: There is no registry at the address.
    """
    return Registry(transport(), contract.address)


def explorer_link(address: str, network: NetworkAPI) -> str | None:
    """Return an address's page on a block explorer, or None on a local chain or a fork."""
    site = {"mainnet": "filfox.info", "calibration": "calibration.filfox.info"}.get(network.name)
    return f"https://{site}/en/address/{address}" if site else None


def find_registry(
    address: str | None, network: NetworkAPI, account: AccountAPI | None = None
) -> ContractInstance:
    """Return the registry at ``address``, or the one last deployed, or a new one.

    Args:
        address: The value of --registry or ALITHIS_REGISTRY.
        network: The connected network.
        account: Deploys a registry if none is known; only on local chains.

    Raises:
        CommandError: There is no contract at the address, or no registry is known.
    """
    if address is not None:
        return container().at(_contract_address(address, network))
    for known in _remembered(network):
        if network.provider.get_code(known):
            return container().at(known)
    if network.is_dev and account is not None:
        return account.deploy(container())
    raise CommandError(
        f"no registry is known on {network.choice}. Give --registry (or ALITHIS_REGISTRY), "
        f"or deploy one with 'ape alithis deploy --network {network.choice}'"
    )


def _contract_address(text: str, network: NetworkAPI) -> str:
    address = checksum_address(text)
    if not network.provider.get_code(address):
        raise CommandError(f"there is no contract at {text} on {network.choice}")
    return address


def _remembered(network: NetworkAPI) -> Iterator[str]:
    """Yield the addresses of registries that Ape has deployed on the network, newest first.

    Ape reads its list for a live network only while it is connected to that network, so for a fork
    the file is read here.
    """
    from ape import chain
    from ape.managers._deploymentscache import Deployments

    name = container().contract_type.name or ""
    ecosystem = network.ecosystem
    live = Deployments.model_validate_file(ecosystem.data_folder / "deployments_map.json")
    networks = live.ecosystems.get(ecosystem.name, {})
    kept = networks.get(network.name.removesuffix("-fork"), {}).get(name, [])
    for deployment in reversed([*kept, *chain.contracts.deployments[name]]):
        # Ape also lists contracts that it only looked up. Those have no transaction.
        if deployment.transaction_hash:
            yield deployment.address
