"""How a transaction is sent: rehearsed, priced, approved by the payer, sent and waited for."""

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
    """A call of a contract as a transaction, its gas and fees left to `approve`.

    Ape's own ``as_transaction`` asks the node for them at once, which then compares the balance
    before the contract could refuse the call.
    """
    from ape.contracts.base import ContractTransaction

    (abi,) = getattr(contract, call.method).abis
    transaction = ContractTransaction(abi, contract.address)
    return transaction.serialize_transaction(*call.arguments, sender=sender)


def message(transaction: TransactionAPI, sender: str) -> Message:
    """A transaction as the library rehearses it."""
    to = str(transaction.receiver) if transaction.receiver else None
    return Message(sender, bytes(transaction.data), to)


def approve(transaction: TransactionAPI, account: AccountAPI, action: str, *, yes: bool) -> None:
    """On a live network, says what a transaction may cost, and asks; on a local chain, nothing.

    Sets the transaction's gas and fees, so that it costs no more than was said.

    Args:
        transaction: As a contract's method or constructor makes it.
        account: Who signs and pays.
        action: What it does, as in "deploy a registry".
        yes: Whether not to ask.

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
            f"there is no terminal to ask on whether to {action}: --yes sends without asking"
        )
    click.confirm("Go on?", abort=True, err=True)


def _price(transaction: TransactionAPI, account: AccountAPI) -> tuple[int, int]:
    """Sets gas and fees; returns what the account holds and the highest fee, in attoFIL."""
    provider = account.provider
    where = provider.network.choice, provider.chain_id
    held = transport().request("eth_getBalance", [account.address, "latest"])
    balance = parse_quantity(held, "eth_getBalance")
    # First, since a node may refuse to estimate for an account without money, and say it worse.
    check_balance(account.address, balance, 0, *where)
    transaction.gas_limit = estimate_gas(transport(), message(transaction, account.address))
    provider.prepare_transaction(transaction)
    fees = transaction.max_fee, transaction.max_priority_fee
    fee = highest_fee(transaction.gas_limit, *fees)
    check_balance(account.address, balance, fee, *where)
    return balance, fee


def _host(provider: ProviderAPI) -> str:
    """The endpoint without what may be secret in its URL."""
    from urllib.parse import urlsplit

    return urlsplit(provider.connection_str or "").hostname or "a local node"


def submit(transaction: TransactionAPI, account: AccountAPI) -> ReceiptAPI:
    """Signs and sends a transaction, and waits for it.

    Raises:
        CommandError: It failed, or the node gave no usable answer once it was signed: the error
            names the transaction, which may have been sent.
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
        raise _uncertain("the node answers with another transaction's receipt", transaction)
    return receipt


def _uncertain(said: str, transaction: TransactionAPI) -> CommandError:
    return CommandError(
        f"{said}; transaction {_hash(transaction)} may have been sent: "
        "look it up before you send another"
    )


def number_in(receipt: ReceiptAPI, event: ContractEvent, argument: str) -> int:
    """A number in the one such event of a transaction, such as the new token's.

    Raises:
        CommandError: The node's receipt does not have it.
    """
    with naming(receipt):
        (found,) = receipt.events.filter(event)
        number = found.event_arguments[argument]
        if not isinstance(number, int):
            raise TypeError(f"{event.name}.{argument} is no number")
    return int(number)


@contextmanager
def naming(receipt: ReceiptAPI) -> Iterator[None]:
    """Names a transaction that was carried out, if the node fails at what is asked next.

    Raises:
        CommandError: The node answers with an error, or with something unusable.
    """
    try:
        yield
    except foreseen() + UNUSABLE as error:
        raise CommandError(
            f"{said_by_node(error)}; transaction {receipt.txn_hash} was carried out: "
            "look it up before you send another"
        ) from error


def _hash(transaction: TransactionAPI) -> str:
    return to_hex(bytes(transaction.txn_hash))
