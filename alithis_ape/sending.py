"""Sends a transaction: rehearse it, price it, ask the payer, send it, wait for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from alithis.chain.filecoin import format_fil
from alithis.chain.mint import Call, Message, check_balance, estimate_gas, highest_fee
from alithis.chain.values import parse_quantity, to_hex
from alithis_ape.command import UNUSABLE, CommandError, foreseen, one_line, said_by_node
from alithis_ape.transport import transport

if TYPE_CHECKING:
    from ape.api import AccountAPI, ProviderAPI, ReceiptAPI, TransactionAPI
    from ape.contracts import ContractInstance
    from ape.contracts.base import ContractEvent


def unsent(contract: ContractInstance, call: Call, sender: AccountAPI | str) -> TransactionAPI:
    """Return a contract call as a transaction without gas and fees, which `approve` sets.

    Ape's ``as_transaction`` would ask the node for them here. The node checks the balance first,
    so a low balance would hide the contract's reason for refusing the call.
    """
    from ape.contracts.base import ContractTransaction

    (abi,) = getattr(contract, call.method).abis
    transaction = ContractTransaction(abi, contract.address)
    return transaction.serialize_transaction(*call.arguments, sender=sender)


def message(transaction: TransactionAPI, sender: str) -> Message:
    """Return a transaction in the form that the library rehearses."""
    to = str(transaction.receiver) if transaction.receiver else None
    return Message(sender, bytes(transaction.data), to)


def approve(transaction: TransactionAPI, account: AccountAPI, action: str, *, yes: bool) -> None:
    """Show what a transaction can cost on a live network, and ask; do nothing on a local chain.

    Sets the transaction's gas and fees, so that it cannot cost more than was shown.

    Args:
        transaction: As a contract's method or constructor makes it.
        account: The account that signs and pays.
        action: What the transaction does, such as "deploy a registry".
        yes: Send without asking.

    Raises:
        MintError: The account cannot pay.
        RefusedError: The transaction would fail.
        CommandError: There is no terminal to ask on.
        click.Abort: The user declines.
    """
    provider = account.provider
    if provider.network.is_dev:
        return
    balance, fee = _price(transaction, account)
    rows = {
        "network": f"{provider.network.choice}, chain {provider.chain_id}, {_host(provider)}",
        "account": f"{account.alias or ''} {account.address}".strip(),
        "balance": format_fil(balance, provider.chain_id),
        "gas": f"{transaction.gas_limit:,}",
        "fee": f"at most {format_fil(fee, provider.chain_id)}",
    }
    click.echo(f"About to {action}:", err=True)
    for name, value in rows.items():
        click.echo(f"  {name:<9}{value}", err=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(
            f"there is no terminal to ask on whether to {action}. --yes sends without asking"
        )
    click.confirm("Send it?", abort=True, err=True)


def _price(transaction: TransactionAPI, account: AccountAPI) -> tuple[int, int]:
    """Set gas and fees; return the account's balance and the highest possible fee, in attoFIL."""
    provider = account.provider
    where = provider.network.choice, provider.chain_id
    held = transport().request("eth_getBalance", [account.address, "latest"])
    balance = parse_quantity(held, "eth_getBalance")
    # Before the estimate: a node may refuse one for an empty account, with an unclear message.
    check_balance(account.address, balance, 0, *where)
    transaction.gas_limit = estimate_gas(transport(), message(transaction, account.address))
    provider.prepare_transaction(transaction)
    fees = transaction.max_fee, transaction.max_priority_fee
    fee = highest_fee(transaction.gas_limit, *fees)
    check_balance(account.address, balance, fee, *where)
    return balance, fee


def _host(provider: ProviderAPI) -> str:
    """Return the node's host name; the rest of its URL may contain an API key."""
    from urllib.parse import urlsplit

    return urlsplit(provider.connection_str or "").hostname or "a local node"


def submit(transaction: TransactionAPI, account: AccountAPI) -> ReceiptAPI:
    """Sign and send a transaction, and wait for it.

    Raises:
        CommandError: It failed, or the node gave no usable answer after it was signed. The error
            names the transaction, because it may have been sent.
        ApeException: It was refused before it was signed.
    """
    from ape.exceptions import TransactionError

    try:
        receipt = account.call(transaction)
    except TransactionError as error:
        if transaction.signature is None:
            raise
        said = f"{one_line(error)} (transaction {_hash(transaction)})"
        raise CommandError(said) from error
    except foreseen() + UNUSABLE as error:
        if transaction.signature is None:
            raise
        raise _uncertain(said_by_node(error), transaction) from error
    if receipt.txn_hash != _hash(transaction):
        raise _uncertain("the node returned another transaction's receipt", transaction)
    return receipt


def _uncertain(said: str, transaction: TransactionAPI) -> CommandError:
    return CommandError(
        f"{said}; transaction {_hash(transaction)} may have been sent. "
        "Look it up before you send another"
    )


def number_in(receipt: ReceiptAPI, event: ContractEvent, argument: str) -> int:
    """Return a number from a transaction's only event of a type, such as the new token's id.

    Raises:
        CommandError: The node's receipt does not contain it.
    """
    with naming(receipt):
        (found,) = receipt.events.filter(event)
        number = found.event_arguments[argument]
        if not isinstance(number, int):
            raise TypeError(f"{event.name}.{argument} is not a number")
    return int(number)


@contextmanager
def naming(receipt: ReceiptAPI) -> Iterator[None]:
    """Name the executed transaction in the error if the node fails at a later request.

    Raises:
        CommandError: The node's answer is an error or cannot be used.
    """
    try:
        yield
    except foreseen() + UNUSABLE as error:
        raise CommandError(
            f"{said_by_node(error)}; transaction {receipt.txn_hash} was executed. "
            "Look it up before you send another"
        ) from error


def _hash(transaction: TransactionAPI) -> str:
    return to_hex(bytes(transaction.txn_hash))
