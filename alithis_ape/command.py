"""Shared by the commands: a connected network, options, and errors in one line."""

from __future__ import annotations

import logging
from traceback import walk_tb
from typing import Any

import click
from ape.cli import ConnectedProviderCommand

from alithis.base.text import printable
from alithis.chain.abi import interface
from alithis.errors import AlithisError

UNUSABLE: tuple[type[Exception], ...] = (
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""Errors that Ape and web3 raise on a malformed answer of a node, which they do not validate."""

_MAX_SAID = 1000  # characters of untrusted text
_LOG_LEVELS = ("debug", "info", "success", "warning", "error")
_SAID_BETTER = {
    "Missing URI": "no public node of the network answers. Name one, as in "
    "--network filecoin:calibration:https://…, or set WEB3_PROVIDER_URI",
}

account_option = click.option(
    "--account",
    "alias",
    envvar="ALITHIS_ACCOUNT",
    show_envvar=True,
    help="The Ape account that signs ('ape accounts list' shows them); TEST::0 on a local chain.",
)
registry_option = click.option(
    "--registry",
    "address",
    envvar="ALITHIS_REGISTRY",
    show_envvar=True,
    help="The registry's address.  [default: the one that you last deployed on the network]",
)
yes_option = click.option("--yes", is_flag=True, help="Send without asking.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


class CommandError(click.ClickException):
    """An error in one line, with exit status 2."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        """Make the message safe for a terminal."""
        super().__init__(printable(" ".join(message.splitlines())))


class ConnectedCommand(ConnectedProviderCommand):
    """A command with a connected network, whose expected errors are one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors of Ape, the node and the library become one line."""
        _log_to_stderr()
        try:
            return super().invoke(ctx)
        except foreseen() as error:
            raise CommandError(one_line(error)) from error
        except UNUSABLE as error:
            if not _is_of_node(error):
                raise
            raise CommandError(said_by_node(error)) from error


def foreseen() -> tuple[type[Exception], ...]:
    """Return the exceptions that Ape, web3 and the library raise on purpose."""
    import requests
    from ape.exceptions import ApeException
    from web3.exceptions import Web3Exception

    return AlithisError, ApeException, Web3Exception, requests.RequestException


def _is_of_node(error: Exception) -> bool:
    """Tell whether web3 or Ape raised an error while parsing a node's answer."""
    frames = walk_tb(error.__traceback__)
    names = [str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in frames]
    ours = max(at for at, name in enumerate(names) if name in ("scripts", __package__))
    return not {"web3", "ape_ethereum", "ape_node", "ape_foundry"}.isdisjoint(names[ours:])


def _log_to_stderr() -> None:
    """Send Ape's log to standard error, so that --json output stays parseable."""
    for handler in logging.getLogger("ape").handlers:
        if isinstance(getattr(handler, "echo_kwargs", None), dict):
            vars(handler)["echo_kwargs"] = {level: {"err": True} for level in _LOG_LEVELS}


def one_line(error: Exception) -> str:
    """Return an error's message in one line; for the contract's errors, their name and values."""
    from ape.exceptions import CustomError

    if isinstance(error, CustomError):
        return interface().refusal_of(error.name, error.inputs)
    text = " ".join(str(error)[:_MAX_SAID].split()) or type(error).__name__
    return _SAID_BETTER.get(text.partition(" for ")[0], text)


def said_by_node(error: Exception) -> str:
    """Return the same for an error that a malformed answer of a node may have caused."""
    if not isinstance(error, UNUSABLE):
        return one_line(error)
    return f"the node gave an unusable answer: {type(error).__name__}: {one_line(error)}"


def say(text: str, *, err: bool = False) -> None:
    """Print text that may contain untrusted text."""
    click.echo(printable(text), err=err)
