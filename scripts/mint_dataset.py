"""`ape run mint_dataset`: `ape alithis mint-dataset`, with MNIST as the default manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from alithis_ape import minting
from alithis_ape.command import CommandError, ConnectedCommand

if TYPE_CHECKING:
    from ape.api import NetworkAPI


@click.command(cls=ConnectedCommand)
@click.argument("manifest", metavar="[MANIFEST]", required=False)
@minting.mint_options
def cli(network: NetworkAPI, manifest: str | None, **options: Any) -> None:
    """Publish a dataset: mint a token that commits to MANIFEST.

    MANIFEST is a folder, a URL, a CID, or a token of the registry; on a local chain, MNIST's
    training set is the default. It is first audited and copied into the local store. On a live
    network, a public host must already have it (alithis store put MANIFEST --to HOST). On a local
    chain without a registry, one is deployed.

    \b
    Examples:
      ape run mint_dataset
      ape run mint_dataset photos.alithis --at lighthouse --network filecoin:calibration
      ape run mint_dataset photos-v2.alithis --link supersedes=1 --network filecoin:local:node
    """
    if manifest is None:
        if not network.is_dev:
            raise CommandError(
                f"give a MANIFEST. The sample is only for local chains, not for {network.choice}"
            )
        from scripts import _sample

        manifest = str(_sample.manifest("train"))
    minting.run(network, manifest, "dataset", **options)
