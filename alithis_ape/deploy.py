"""`ape alithis deploy`: deploy a registry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from alithis.chain.filecoin import filecoin_address, format_fil
from alithis.chain.registry import Registry
from alithis_ape import command
from alithis_ape.accounts import signer
from alithis_ape.contract import container, explorer_link
from alithis_ape.sending import approve, naming, submit
from alithis_ape.transport import transport

if TYPE_CHECKING:
    from ape.api import AccountAPI, NetworkAPI, ReceiptAPI


@click.command("deploy", cls=command.ConnectedCommand)
@command.account_option
@command.yes_option
@command.json_option
def deploy_command(network: NetworkAPI, alias: str | None, yes: bool, as_json: bool) -> None:
    """Deploy a new registry, and print its address.

    The contract is part of this package, so nothing is compiled. On a live network you see the
    cost and are asked before anything is sent.

    \b
    Examples:
      ape alithis deploy --network filecoin
      ape alithis deploy --network filecoin:calibration --account alice
      ape alithis deploy --network filecoin:mainnet:https://… --account alice --yes --json
    """
    account = signer(alias, network)
    receipt = deploy(account, yes=yes)
    outcome = describe(receipt, network)
    if as_json:
        click.echo(json.dumps(outcome, indent=1))
        return
    outcome["fee"] = format_fil(receipt.total_fees_paid, receipt.provider.chain_id)
    for name, value in outcome.items():
        if value is not None:
            click.echo(f"{name.replace('_', ' '):<18}{value}")
    if network.is_local and receipt.provider.name == "test":
        click.echo("This chain ends with the command. Name a lasting one with --network.", err=True)


def deploy(account: AccountAPI, *, yes: bool) -> ReceiptAPI:
    """Deploy the registry, wait for it, and add it to Ape's list of deployments.

    Raises:
        MintError: The account cannot pay.
        CommandError: There is no terminal to ask on, or the new contract does not answer as a
            registry does.
    """
    from ape import chain

    registry = container()
    transaction = registry.constructor.serialize_transaction(sender=account.address)
    approve(transaction, account, "deploy a registry", yes=yes)
    receipt = submit(transaction, account)
    with naming(receipt):
        deployed = chain.contracts.instance_from_receipt(receipt, registry.contract_type)
        chain.contracts.cache_deployment(deployed, detect_proxy=False)
        Registry(transport(), deployed.address)
    return receipt


def describe(receipt: ReceiptAPI, network: NetworkAPI) -> dict[str, Any]:
    """Return a deployment's result as --json prints it; the fee is in attoFIL."""
    chain_id, address = receipt.provider.chain_id, receipt.contract_address
    return {
        "registry": address,
        "filecoin_address": filecoin_address(address, chain_id),
        "network": network.choice,
        "chain": chain_id,
        "deployer": receipt.sender,
        "transaction": receipt.txn_hash,
        "block": receipt.block_number,
        "gas": receipt.gas_used,
        "fee": str(receipt.total_fees_paid),
        "explorer": explorer_link(address, network),
    }
