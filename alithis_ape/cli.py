"""`ape alithis …`: the commands that Ape finds by this distribution's entry point."""

from __future__ import annotations

import click

from alithis_ape import deploy, minting, registry


@click.group()
def cli() -> None:
    """Deploy registries of datasets and models, mint tokens, send evidence.

    \b
    Examples:
      ape alithis deploy --network filecoin:calibration --account alice
      ape alithis mint-dataset photos.alithis --network filecoin:calibration --account alice
      ape alithis registry attest 1 cat.jpg --network filecoin:calibration --account alice
    """


cli.add_command(deploy.deploy_command)
cli.add_command(minting.mint_dataset)
cli.add_command(minting.mint_model)
cli.add_command(registry.cli, "registry")
