"""`ape alithis …`: the commands that Ape finds through this package's entry point."""

from __future__ import annotations

import click

from alithis_ape import deploy, minting, registry


@click.group()
def cli() -> None:
    """Publish datasets and models on a blockchain registry, and send evidence about them.

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
