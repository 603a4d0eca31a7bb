"""`ape run mint_dataset`: `ape alithis mint-dataset`, with a sample where no manifest is given."""

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
    """Mint a dataset token for MANIFEST; on a local chain, by default for MNIST's training set.

    MANIFEST is a folder, a URL, a CID, or a token of the registry. It is audited and copied into
    the local store first. On a live network a host that others can read must have it (alithis
    store put MANIFEST --to HOST). A local chain without a registry gets one.

    \b
    Examples:
      ape run mint_dataset
      ape run mint_dataset photos.alithis --at lighthouse --network filecoin:calibration
      ape run mint_dataset photos-v2.alithis --link supersedes=1 --network filecoin:local:node
    """
    if manifest is None:
        if not network.is_dev:
            raise CommandError(
                f"give a MANIFEST: the sample is for local chains only, not for {network.choice}"
            )
        from scripts import _sample

        manifest = str(_sample.manifest("train"))
    minting.run(network, manifest, "dataset", **options)
