"""The ``alithis`` command. It works on files and reads chains; `ape alithis` sends transactions.

Exit status of every command: 0 if it succeeded, 2 for an error, which is one line on standard
error. ``verify`` exits with 0 for included, 1 for absent and 2 for could not check; ``overlap``
exits with 1 if more is shared than ``--fail-over`` allows. Slow imports are inside the functions
that need them, so that ``alithis --help`` is fast.
"""

from __future__ import annotations

import io
import signal
import sys
import traceback

import click

from alithis.cli import (
    audit,
    export,
    lineage,
    manifest,
    model,
    overlap,
    prove,
    report,
    serve,
    store,
    verify,
)
from alithis.cli.options import Commands, drop_output


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="alithis")
def cli() -> None:
    """Proofs of where a machine-learning model's data came from.

    \b
    Examples:
      alithis manifest photos/ -o photos.alithis          fingerprint a dataset
      alithis verify cat.jpg --manifest photos.alithis    is this file in it?
      alithis verify cat.jpg --rpc http://127.0.0.1:8545 --registry 0x…
    """


for _command in (
    audit.audit,
    export.export,
    lineage.lineage,
    manifest.manifest,
    model.model,
    overlap.overlap,
    prove.prove,
    report.report,
    serve.serve,
    store.store,
    verify.verify,
):
    cli.add_command(_command)


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _terminate)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for encodings that lack one
    try:
        cli()
    except OSError as error:  # only standard output is left: for files we raise our own errors
        drop_output()
        click.echo(f"Error: cannot write the output: {error.strerror or error}", err=True)
        sys.exit(2)
    except Exception:  # a bug: exit status 1, Python's default, would mean "absent"
        traceback.print_exc()
        sys.exit(2)


def _terminate(*_: object) -> None:
    sys.exit(128 + signal.SIGTERM)  # as an exception, so that half-written output is removed
