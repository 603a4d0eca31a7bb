"""Shared by the commands: errors, output, and common options."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from alithis.base.text import printable
from alithis.errors import AlithisError

if TYPE_CHECKING:
    from alithis.chain.registry import Registry
    from alithis.forms.keyed import PublisherKey
    from alithis.manifest.reader import Manifest
    from alithis.readers import Skips
    from alithis.verify.reference import Artifact, Resolver

EXISTING = click.Path(exists=True, path_type=Path)
ANY = click.Path(path_type=Path)
STANDARD_OUTPUT = Path("-")
REFERENCE = "TOKEN|DIR|URL|CID"
"""How help texts name a reference to a manifest; ``Reference.parse`` reads one."""
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
    help="The local store  [default: ALITHIS_STORE, or a folder in your data directory].",
)
gateway_option = click.option(
    "--gateway",
    "gateways",
    multiple=True,
    envvar="ALITHIS_GATEWAYS",
    metavar="URL",
    help="An IPFS gateway to ask for manifests that are not in the store; may be repeated; 'none' "
    "asks no gateway  [default: ALITHIS_GATEWAYS, or a local node, ipfs.io and dweb.link].",
)


force_option = click.option(
    "--force",
    is_flag=True,
    help="Replace an existing file of any kind; without it, only one that this command could have "
    "written. A file that the command reads, or of a manifest, is never replaced.",
)


def chain_options(*, required: bool = False) -> Callable[[_Command], _Command]:
    """Add the options that name a registry: --rpc, --registry and --chain."""
    options = (
        click.option(
            "--rpc",
            envvar="ALITHIS_RPC",
            metavar="URL",
            required=required,
            help="The URL of a node of the chain (JSON-RPC)  [default: ALITHIS_RPC].",
        ),
        click.option(
            "--registry",
            envvar="ALITHIS_REGISTRY",
            metavar="ADDRESS",
            required=required,
            help="The registry's address on the chain  [default: ALITHIS_REGISTRY].",
        ),
        click.option(
            "--chain",
            type=CHAIN,
            metavar="ID",
            help="Fail unless the node is on the chain with this id.",
        ),
    )

    def added(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return added


def reference_options(*, required: bool = False) -> Callable[[_Command], _Command]:
    """Add the options for looking up references; the command receives ``references``.

    They are --rpc, --registry and --chain for tokens, and --store and --gateway for IPFS.

    Args:
        required: whether the command always needs a registry.
    """

    def added(command: _Command) -> _Command:
        @functools.wraps(command)
        def resolving(
            *args: Any,
            rpc: str | None,
            registry: str | None,
            chain: int | None,
            store_folder: Path | None,
            gateways: tuple[str, ...],
            **others: Any,
        ) -> Any:
            if not (rpc and registry) and any(map(was_typed, ("rpc", "registry", "chain"))):
                raise click.UsageError("--rpc and --registry go together; --chain needs both")
            found = resolver(rpc, registry, chain, store_folder, gateways)
            return command(*args, references=found, **others)

        with_chain: Any = chain_options(required=required)(store_option(gateway_option(resolving)))
        return cast(_Command, with_chain)

    return added


def resolver(
    rpc: str | None,
    registry: str | None,
    chain: int | None,
    store_folder: Path | None,
    gateways: tuple[str, ...],
) -> Resolver:
    """Return the resolver that the options describe. It contacts nothing yet."""
    from alithis.storage.fallback import FallbackGateways
    from alithis.storage.store import Store
    from alithis.verify.reference import Resolver

    def connect() -> Registry:
        from alithis.chain.registry import Registry
        from alithis.chain.rpc import HttpTransport

        return Registry(HttpTransport(str(rpc)), str(registry), chain)

    return Resolver(
        Store(store_folder),
        FallbackGateways.from_urls(gateways) if gateways else None,
        connect if rpc and registry else None,
    )


def open_reference(references: Resolver, text: str) -> Artifact:
    """Open the manifest that a reference names, and print its notes."""
    from alithis.verify.reference import Reference

    found = references.open(Reference.parse(text))
    say_notes(found.manifest.notes)
    return found


def say_notes(notes: Iterable[str]) -> None:
    """Print notes on standard error."""
    for line in notes:
        say(f"note: {line}", err=True)


class Commands(click.Group):
    """A group whose errors are one line and exit status 2; click's status 1 would mean "absent"."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; raise `Failure` for expected errors."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            path = (error.ctx or ctx).command_path
            message = error.format_message().rstrip(".")
            raise Failure(f"{message}. See {path} --help") from error
        except AlithisError as error:
            raise Failure(str(error)) from error
        except KeyboardInterrupt as error:
            raise Failure("interrupted", 128 + signal.SIGINT) from error
        except BrokenPipeError:
            drop_output()
            ctx.exit(2)


class Failure(click.ClickException):
    """An error in one line."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        """Make the message safe for a terminal."""
        super().__init__(printable(message.replace("\n", " ")))
        self.exit_code = exit_code


def drop_output() -> None:
    """Discard output whose reader is gone; Python would try to flush it at exit and fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str, *, err: bool = False) -> None:
    """Print text that may contain untrusted text."""
    click.echo(printable(text), err=err)


def was_typed(parameter: str) -> bool:
    """Tell whether a parameter is on the command line, not a default or an environment variable."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source is click.core.ParameterSource.COMMANDLINE


def index_folder() -> Path:
    """Return the default folder of indexes."""
    import platformdirs

    return platformdirs.user_cache_path("alithis") / "index"


def say_built(
    built: Manifest, target: Path, skipped: Skips, lines: Iterable[str], *, as_json: bool
) -> None:
    """Print a new manifest: a command's own lines, then what a token commits to; or JSON."""
    from alithis.ipfs.cid import Cid

    data = built.metadata
    facts = {
        "manifest": str(target),
        "name": data.name,
        "items": data.items,
        "size": data.size,
        "root": data.root.hex(),
        "metadata": data.digest.hex(),
        "uri": "ipfs://" + Cid.raw(data.digest).base16,
        "skipped": {"count": skipped.count, "names": [list(each) for each in skipped.names]},
    }
    if as_json:
        say(json.dumps(facts, indent=1))
        return
    for line in lines:
        say(line)
    say(f"  root      {facts['root']}")
    say(f"  metadata  {facts['metadata']}")
    say(f"  token URI {facts['uri']}")


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a file whose contents go into metadata.json.

    Raises:
        click.UsageError: the file is larger than ``limit`` bytes.
    """
    from alithis.manifest.reader import FileReader

    data = FileReader(path).read(0, limit + 1)
    if len(data) > limit:
        raise click.UsageError(f"{path}: is larger than {limit} bytes, the limit for metadata")
    return data


def refuse_standard_output(out: Path | None, what: str) -> None:
    """Refuse ``-o -`` for output that cannot be printed."""
    if out == STANDARD_OUTPUT:
        raise click.UsageError(
            f"-o -: {what} cannot be printed. Give a name (./- if it is called -)"
        )


def check_output(
    out: Path | None, kind: str, reads: Iterable[str | Path | None], *, force: bool
) -> None:
    """Refuse an ``-o`` that would destroy something; see `alithis.manifest.output`.

    Args:
        out: the file to write; None and ``-`` are printed.
        kind: the name of a kind in `alithis.manifest.output.Output`.
        reads: what the command reads.
        force: whether an existing file of another kind may be replaced.
    """
    from alithis.manifest.output import Output, check_output

    if out is not None and out != STANDARD_OUTPUT:
        used = [each for each in reads if each is not None]
        check_output(out, Output[kind], used, replace=force)


def write_output(out: Path | None, parts: Iterable[bytes]) -> bool:
    """Print the parts, or write them to a file atomically.

    Returns:
        Whether a file was written; False if ``out`` is None or ``-``.
    """
    from alithis.base.files import atomic_file, write_errors

    if out is None or out == STANDARD_OUTPUT:
        for part in parts:
            click.echo(part, nl=False)
        return False
    with write_errors(out), atomic_file(out) as file:
        for part in parts:
            file.write(part)
    return True


def read_key(path: Path | None) -> PublisherKey | None:
    """Read the publisher's key, if a file is named."""
    from alithis.forms import keyed

    return None if path is None else keyed.read_key(path)
