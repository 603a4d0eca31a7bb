"""Chooses and unlocks the Ape account that signs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from alithis_ape.command import CommandError

if TYPE_CHECKING:
    from ape.api import AccountAPI, NetworkAPI

_TEST = "TEST::"


def signer(alias: str | None, network: NetworkAPI, chain: int | None = None) -> AccountAPI:
    """Return the account that signs, unlocked.

    Args:
        alias: An Ape account's alias, ``TEST::<index>``, or None for the first test account on a
            local chain, and for a choice on the terminal on a live network.
        network: The connected network.
        chain: Id of the chain that the signature is for; None for the connected one.

    Raises:
        CommandError: No account is named and there is no terminal to ask on; there is no such
            account; it cannot be unlocked; or it is a test account on a live network.
    """
    from ape import accounts

    is_here = chain in (None, network.provider.chain_id)
    is_live = not (network.is_dev and is_here)  # another chain may be a live one
    where = network.choice if is_here else f"chain {chain}"
    if alias is None and not is_live:
        return accounts.test_accounts[0]
    account = _load_account(alias) if alias is not None else _pick_account(where)
    public = {known.address for known in accounts.test_accounts}
    if is_live and account.address in public:
        raise CommandError(
            f"{alias or account.address} is a test account with a public key: anyone can empty it "
            f"on {where}. Name another with --account"
        )
    if hasattr(account, "set_autosign"):
        _unlock(account)
    return account


def _pick_account(where: str) -> AccountAPI:
    from ape import accounts
    from ape.api import TestAccountAPI
    from ape.cli import select_account

    if not list(accounts.aliases):
        raise CommandError("Ape has no account. Make one with 'ape accounts generate ALIAS'")
    if not sys.stdin.isatty():
        raise CommandError(
            f"no account is named to sign on {where}. Give --account or set ALITHIS_ACCOUNT"
        )
    return select_account("Who signs", key=lambda account: not isinstance(account, TestAccountAPI))


def _load_account(alias: str) -> AccountAPI:
    from ape import accounts

    if alias.upper().startswith(_TEST):
        return _test_account(alias)
    known = list(accounts.aliases)
    if alias not in known:
        hint = f"Ape has {', '.join(known)}" if known else "'ape accounts generate' makes one"
        raise CommandError(f"there is no account '{alias}'. {hint}")
    return accounts.load(alias)


def _test_account(alias: str) -> AccountAPI:
    from ape import accounts

    index = alias[len(_TEST) :]
    last = len(accounts.test_accounts) - 1
    if not index.isdecimal() or int(index) > last:
        raise CommandError(
            f"there is no account {alias}. Test accounts are TEST::0 to TEST::{last}"
        )
    return accounts.test_accounts[int(index)]


def _unlock(account: Any) -> None:
    """Ask for the passphrase, or read it from APE_ACCOUNTS_<alias>_PASSPHRASE."""
    from ape.logging import LogLevel, logger
    from ape_accounts.accounts import InvalidPasswordError

    variable = f"APE_ACCOUNTS_{account.alias}_PASSPHRASE"
    if variable not in os.environ and not sys.stdin.isatty():
        raise CommandError(f"account '{account.alias}' is locked. Set {variable}")
    try:
        with logger.at_level(
            LogLevel.ERROR
        ):  # no warning about autosign: our commands ask before they send
            account.set_autosign(True)
    except InvalidPasswordError:
        raise CommandError(f"wrong passphrase for account '{account.alias}'. Try again") from None
