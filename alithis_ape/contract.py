"""The registry's contract: as it is deployed, and where one is."""

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
    """The contract as Ape deploys it, from the exported JSON: no compiler is needed."""
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
    """The library's view of a registry, through Ape's provider.

    Raises:
        RegistryError: There is no registry at the address.
    """
    return Registry(transport(), contract.address)


def explorer_link(address: str, network: NetworkAPI) -> str | None:
    """Where people look an address up, or None on a local chain or a fork."""
    site = {"mainnet": "filfox.info", "calibration": "calibration.filfox.info"}.get(network.name)
    return f"https://{site}/en/address/{address}" if site else None


def find_registry(
    address: str | None, network: NetworkAPI, account: AccountAPI | None = None
) -> ContractInstance:
    """The registry at ``address``, or else the one last deployed, or else a new one.

    Args:
        address: What --registry or ALITHIS_REGISTRY says.
        network: The connected network.
        account: Who deploys one where none is known, which is done on local chains only.

    Raises:
        CommandError: There is no contract at the address, or none is known on a live network.
    """
    if address is not None:
        return container().at(_contract_address(address, network))
    for known in _remembered(network):
        if network.provider.get_code(known):
            return container().at(known)
    if network.is_dev and account is not None:
        return account.deploy(container())
    raise CommandError(
        f"no registry is known on {network.choice}: give --registry (or ALITHIS_REGISTRY), "
        f"or deploy one with 'ape alithis deploy --network {network.choice}'"
    )


def _contract_address(text: str, network: NetworkAPI) -> str:
    address = checksum_address(text)
    if not network.provider.get_code(address):
        raise CommandError(f"there is no contract at {text} on {network.choice}")
    return address


def _remembered(network: NetworkAPI) -> Iterator[str]:
    """Addresses of the registries that Ape saw deployed on the network, newest first.

    Ape reads what it kept of live networks only while connected to one, so that for a fork its
    file is read here.
    """
    from ape import chain
    from ape.managers._deploymentscache import Deployments

    name = container().contract_type.name or ""
    ecosystem = network.ecosystem
    live = Deployments.model_validate_file(ecosystem.data_folder / "deployments_map.json")
    networks = live.ecosystems.get(ecosystem.name, {})
    kept = networks.get(network.name.removesuffix("-fork"), {}).get(name, [])
    for deployment in reversed([*kept, *chain.contracts.deployments[name]]):
        # Ape also notes contracts that it was merely told of: those have no transaction.
        if deployment.transaction_hash:
            yield deployment.address
