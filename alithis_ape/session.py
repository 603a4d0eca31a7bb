"""The account and registry of an `ape alithis registry` command: sends and shows transactions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from alithis.chain.mint import Call, rehearse
from alithis.errors import AlithisError
from alithis_ape import command
from alithis_ape.accounts import signer
from alithis_ape.contract import find_registry, read_registry
from alithis_ape.sending import approve, message, submit, unsent
from alithis_ape.transport import transport

if TYPE_CHECKING:
    from ape.api import AccountAPI, NetworkAPI, ReceiptAPI
    from ape.contracts import ContractInstance

    from alithis.chain.registry import Registry


@dataclass(frozen=True, slots=True)
class Session:
    """The account that acts, the registry, and how the result is shown."""

    account: AccountAPI
    contract: ContractInstance
    reader: Registry
    yes: bool
    as_json: bool

    @classmethod
    def open(
        cls, network: NetworkAPI, alias: str | None, address: str | None, yes: bool, as_json: bool
    ) -> Session:
        """Unlock the account and find the registry.

        Raises:
            CommandError: There is no such account or registry.
        """
        account = signer(alias, network)
        contract = find_registry(address, network)
        return cls(account, contract, read_registry(contract), yes, as_json)

    def send(self, action: str, says: Sequence[str], call: Call) -> ReceiptAPI:
        """Rehearse a contract call, show what it will do, ask, send it, and wait.

        Args:
            action: What the call does, such as "attest".
            says: What will change, as lines.
            call: The call.

        Raises:
            RefusedError: The contract refuses it.
            MintError: The account cannot pay.
            CommandError: There is no terminal to ask on, or the transaction failed.
        """
        transaction = unsent(self.contract, call, self.account)
        rehearse(transport(), message(transaction, self.account.address))
        where = f"registry {self.contract.address}, chain {self.reader.chain_id}"
        for line in (f"{action}, as {self.account.address}, {where}", *says):
            command.say(line, err=True)
        approve(transaction, self.account, action, yes=self.yes)
        return submit(transaction, self.account)

    def read(self, ask: Callable[[], int]) -> int | None:
        """Read a number to show with a transaction, which has already been executed.

        Returns:
            None if the node does not answer.
        """
        from ape.exceptions import ApeException
        from web3.exceptions import Web3Exception

        try:
            return ask()
        except (AlithisError, ApeException, Web3Exception):
            return None

    def show(self, action: str, receipt: ReceiptAPI, **outcome: Any) -> None:
        """Print a transaction's result."""
        about = {
            "action": action,
            "registry": self.contract.address,
            **outcome,
            "transaction": receipt.txn_hash,
            "block": receipt.block_number,
            "gas": receipt.gas_used,
        }
        if self.as_json:
            click.echo(json.dumps(about, indent=1))
            return
        for name, value in about.items():
            words = _worded(value)
            click.echo(f"{name.replace('_', ' '):<13}{words}")


def _worded(value: Any) -> str:
    """Return a value of the JSON output as text."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return "unknown: the node no longer answers" if value is None else str(value)


def session_command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """Return a decorator for a command that sends a transaction; the command receives a session."""

    def wrap(function: Callable[..., None]) -> click.Command:
        def callback(
            network: NetworkAPI,
            alias: str | None,
            address: str | None,
            yes: bool,
            as_json: bool,
            **options: Any,
        ) -> None:
            function(Session.open(network, alias, address, yes, as_json), **options)

        callback.__doc__ = function.__doc__
        callback.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        for option in (
            command.json_option,
            command.yes_option,
            command.registry_option,
            command.account_option,
        ):
            option(callback)
        return click.command(name, cls=command.ConnectedCommand)(callback)

    return wrap
