"""Who acts on which registry: how the commands of `ape run registry` send and show."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from alithis.errors import AlithisError
from scripts import _common, _mint

if TYPE_CHECKING:
    from ape.api import AccountAPI, NetworkAPI, ReceiptAPI
    from ape.contracts import ContractInstance

    from alithis.chain.registry import Registry


@dataclass(frozen=True, slots=True)
class Session:
    """Who acts on which registry, and how that is shown."""

    account: AccountAPI
    contract: ContractInstance
    reader: Registry
    yes: bool
    as_json: bool

    @classmethod
    def open(
        cls, network: NetworkAPI, alias: str | None, address: str | None, yes: bool, as_json: bool
    ) -> Session:
        """Unlocks the account and finds the registry.

        Raises:
            ScriptError: There is no such account or registry.
        """
        account = _common.signer(alias, network)
        contract = _common.find_registry(address, network)
        return cls(account, contract, _mint.read_registry(contract), yes, as_json)

    def send(self, action: str, says: Sequence[str], method: str, *arguments: Any) -> ReceiptAPI:
        """Rehearses a call of the contract, says what it will do, asks, sends it, and waits.

        Args:
            action: What it does, as in "attest".
            says: What will change, in lines.
            method: The contract's method.
            *arguments: Its arguments.

        Raises:
            ApeException: The contract refuses it; its error says why.
            ScriptError: The account cannot pay, or nobody can be asked.
        """
        call = getattr(self.contract, method)
        transaction = _common.unsent(call, *arguments, sender=self.account)
        _common.rehearse(transaction, self.account.address)
        where = f"registry {self.contract.address}, chain {self.reader.chain_id}"
        for line in (f"{action}, as {self.account.address}, {where}", *says):
            _common.say(line, err=True)
        _common.approve(transaction, self.account, action, yes=self.yes)
        return _common.submit(transaction, self.account)

    def read(self, ask: Callable[[], int]) -> int | None:
        """Reads what is worth knowing beside a transaction that is done, and so must be shown.

        Returns:
            None where the node does not say.
        """
        from ape.exceptions import ApeException
        from web3.exceptions import Web3Exception

        try:
            return ask()
        except (AlithisError, ApeException, Web3Exception):
            return None

    def show(self, action: str, receipt: ReceiptAPI, **outcome: Any) -> None:
        """Prints what a transaction came to."""
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
    """What --json prints, in a line for people."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return "unknown: the node does not answer any more" if value is None else str(value)
