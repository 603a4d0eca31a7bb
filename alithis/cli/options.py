"""What the commands share: how they fail, what they print, options that several have."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from alithis.base.text import printable
from alithis.errors import AlithisError

if TYPE_CHECKING:
    from alithis.forms.keyed import PublisherKey

EXISTING = click.Path(exists=True, path_type=Path)
MANIFEST = click.Path(exists=True, file_okay=False, path_type=Path)
ANY = click.Path(path_type=Path)
CHAIN = click.IntRange(min=0)
TOKEN = click.IntRange(min=1)

_Command = TypeVar("_Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

key_option = click.option(
    "--key-file",
    type=ANY,
    metavar="FILE",
    help="The publisher's key, for a dataset with keyed leaves.",
)
store_option = click.option(
    "--store",
    "store_folder",
    type=ANY,
    envvar="ALITHIS_STORE",
    metavar="FOLDER",
    help="The local store  [default: ALITHIS_STORE, or a folder of the user's data directory].",
)
gateway_option = click.option(
    "--gateway",
    "gateways",
    multiple=True,
    envvar="ALITHIS_GATEWAYS",
    metavar="URL",
    help="An IPFS gateway, for what is not in the store; repeatable; none asks nobody  "
    "[default: ALITHIS_GATEWAYS, or a local node, ipfs.io and dweb.link].",
)


def chain_options(*, required: bool = False) -> Callable[[_Command], _Command]:
    """Add the options that name a registry: --rpc, --registry and --chain."""
    options = (
        click.option(
            "--rpc",
            envvar="ALITHIS_RPC",
            metavar="URL",
            required=required,
            help="The chain  [or ALITHIS_RPC].",
        ),
        click.option(
            "--registry",
            envvar="ALITHIS_REGISTRY",
            metavar="ADDRESS",
            required=required,
            help="The registry on the chain  [or ALITHIS_REGISTRY].",
        ),
        click.option(
            "--chain", type=CHAIN, metavar="ID", help="Chain id that the endpoint must serve."
        ),
    )

    def added(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return added


class Commands(click.Group):
    """A group whose failures are one line and exit status 2: click's own 1 would say absent."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; raise `Failure` for what it could not do."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            path = (error.ctx or ctx).command_path
            message = error.format_message().rstrip(".")
            raise Failure(f"{message}; {path} --help shows how") from error
        except AlithisError as error:
            raise Failure(str(error)) from error
        except KeyboardInterrupt as error:
            raise Failure("interrupted", 128 + signal.SIGINT) from error
        except BrokenPipeError:
            drop_output()
            ctx.exit(2)


class Failure(click.ClickException):
    """What is wrong, in one line."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        """Make it fit for a terminal."""
        super().__init__(printable(message.replace("\n", " ")))
        self.exit_code = exit_code


def drop_output() -> None:
    """Let go of the output that nobody reads, which Python would try to flush at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str, *, err: bool = False) -> None:
    """Print text that may hold what others wrote."""
    click.echo(printable(text), err=err)


def was_typed(parameter: str) -> bool:
    """Tell whether the command line gives this parameter, and not its default or the shell."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source is click.core.ParameterSource.COMMANDLINE


def index_folder() -> Path:
    """Return the folder of indexes where none is named."""
    import platformdirs

    return platformdirs.user_cache_path("alithis") / "index"


def read_key(path: Path | None) -> PublisherKey | None:
    """Read the publisher's key where a file with it is named."""
    from alithis.forms import keyed

    return None if path is None else keyed.read_key(path)
