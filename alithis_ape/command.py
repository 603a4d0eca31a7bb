"""What the commands share: a connected network, options, and one line for each failure."""

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
"""What Ape and web3 raise where they take apart a node's answer: they trust it blindly."""

_MAX_SAID = 1000  # characters of what others say
_LOG_LEVELS = ("debug", "info", "success", "warning", "error")
_SAID_BETTER = {
    "Missing URI": "no public endpoint of the network answers: name one, as in "
    "--network filecoin:calibration:https://…, or set WEB3_PROVIDER_URI",
}

account_option = click.option(
    "--account",
    "alias",
    envvar="ALITHIS_ACCOUNT",
    show_envvar=True,
    help="Alias of the Ape account that signs ('ape accounts list'), or TEST::0 on a local chain.",
)
registry_option = click.option(
    "--registry",
    "address",
    envvar="ALITHIS_REGISTRY",
    show_envvar=True,
    help="Address of the registry.  [default: the one last deployed on the network]",
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask before sending.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")


class CommandError(click.ClickException):
    """One clear line, and exit status 2."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        """Makes what others wrote fit for a terminal."""
        super().__init__(printable(" ".join(message.splitlines())))


class ConnectedCommand(ConnectedProviderCommand):
    """A command with a connected network, whose foreseeable failures are one line each."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; anything that Ape, the node or the library refuses is one line."""
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
    """What Ape, the node and the library raise on purpose."""
    import requests
    from ape.exceptions import ApeException
    from web3.exceptions import Web3Exception

    return AlithisError, ApeException, Web3Exception, requests.RequestException


def _is_of_node(error: Exception) -> bool:
    """Whether it was raised where a node's answer is taken apart, and is no fault of ours."""
    frames = walk_tb(error.__traceback__)
    names = [str(frame.f_globals.get("__name__")).partition(".")[0] for frame, _ in frames]
    ours = max(at for at, name in enumerate(names) if name in ("scripts", __package__))
    return not {"web3", "ape_ethereum", "ape_node", "ape_foundry"}.isdisjoint(names[ours:])


def _log_to_stderr() -> None:
    """What Ape logs is not the command's output."""
    for handler in logging.getLogger("ape").handlers:
        if isinstance(getattr(handler, "echo_kwargs", None), dict):
            vars(handler)["echo_kwargs"] = {level: {"err": True} for level in _LOG_LEVELS}


def one_line(error: Exception) -> str:
    """What an error says, on one line; of the contract's own errors name and values."""
    from ape.exceptions import CustomError

    if isinstance(error, CustomError):
        return interface().refusal_of(error.name, error.inputs)
    text = " ".join(str(error)[:_MAX_SAID].split()) or type(error).__name__
    return _SAID_BETTER.get(text.partition(" for ")[0], text)


def said_by_node(error: Exception) -> str:
    """The same of an error that may have come of a node's unusable answer."""
    if not isinstance(error, UNUSABLE):
        return one_line(error)
    return f"the node gave an unusable answer: {type(error).__name__}: {one_line(error)}"


def say(text: str, *, err: bool = False) -> None:
    """Prints text that may hold what others wrote."""
    click.echo(printable(text), err=err)
