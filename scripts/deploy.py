"""`ape run deploy`: a registry of one's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from scripts import _common

if TYPE_CHECKING:
    from ape.api import AccountAPI, NetworkAPI, ReceiptAPI


@click.command(cls=_common.ScriptCommand)
@_common.account_option
@_common.yes_option
@_common.json_option
def cli(network: NetworkAPI, alias: str | None, yes: bool, as_json: bool) -> None:
    """Deploy a registry, and print where it is.

    The contract is the one the library ships with and verifies against: nothing is compiled.
    A live network is named in full, and you are shown the cost before anything is sent.

    \b
    Examples:
      ape run deploy
      ape run deploy --network filecoin:calibration --account alice
      ape run deploy --network filecoin:mainnet:https://… --account alice --yes --json
    """
    account = _common.signer(alias, network)
    receipt = deploy(account, yes=yes)
    outcome = describe(receipt, network)
    if as_json:
        click.echo(json.dumps(outcome, indent=1))
        return
    outcome["fee"] = _common.format_fil(receipt.total_fees_paid, receipt.provider.chain_id)
    for name, value in outcome.items():
        if value is not None:
            click.echo(f"{name.replace('_', ' '):<18}{value}")
    if network.is_local and receipt.provider.name == "test":
        click.echo("This chain ends with the command; --network names one that lasts.", err=True)


def deploy(account: AccountAPI, *, yes: bool) -> ReceiptAPI:
    """Deploys the registry, waits for it, and has Ape remember it.

    Raises:
        ScriptError: The account cannot pay, nobody can be asked whether to, or what was deployed
            does not answer as a registry.
    """
    from ape import chain

    from alithis.chain.registry import Registry

    contract = _common.container()
    transaction = contract.constructor.serialize_transaction(sender=account.address)
    _common.approve(transaction, account, "deploy a registry", yes=yes)
    receipt = _common.submit(transaction, account)
    with _common.naming(receipt):
        deployed = chain.contracts.instance_from_receipt(receipt, contract.contract_type)
        chain.contracts.cache_deployment(deployed, detect_proxy=False)
        Registry(_common.transport(), deployed.address)
    return receipt


def describe(receipt: ReceiptAPI, network: NetworkAPI) -> dict[str, Any]:
    """What a deployment came to, the fee in attoFIL; --json prints it as it is."""
    chain_id, address = receipt.provider.chain_id, receipt.contract_address
    return {
        "registry": address,
        "filecoin_address": _common.filecoin_address(address, chain_id),
        "network": network.choice,
        "chain": chain_id,
        "deployer": receipt.sender,
        "transaction": receipt.txn_hash,
        "block": receipt.block_number,
        "gas": receipt.gas_used,
        "fee": str(receipt.total_fees_paid),
        "explorer": _common.explorer_link(address, network),
    }
