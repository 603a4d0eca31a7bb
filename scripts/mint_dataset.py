"""`ape run mint_dataset`: a manifest → a dataset token."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts import _common, _mint

if TYPE_CHECKING:
    from ape.api import NetworkAPI


@click.command(cls=_common.ScriptCommand)
@click.argument("manifest_folder", metavar="[MANIFEST]", required=False, type=_mint.MANIFEST)
@_mint.link_option
@_common.account_option
@_common.registry_option
@_mint.store_option
@_mint.at_option
@_mint.unpublished_option
@_common.yes_option
@_common.json_option
def cli(
    network: NetworkAPI,
    manifest_folder: Path | None,
    links: tuple[str, ...],
    alias: str | None,
    address: str | None,
    store_folder: Path | None,
    hosts: tuple[str, ...],
    unpublished: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Mint a dataset token for MANIFEST; on a local chain, by default for MNIST's training set.

    The manifest is audited and copied into the local store first. On a live network a host that
    others can read must have it (alithis store put MANIFEST --to HOST). A local chain without a
    registry gets one.

    \b
    Examples:
      ape run mint_dataset
      ape run mint_dataset photos.alithis --at lighthouse --network filecoin:calibration
      ape run mint_dataset photos-v2.alithis --link supersedes=1 --network filecoin:local:node
    """
    if manifest_folder is None:
        if not network.is_dev:
            raise _common.ScriptError(f"which MANIFEST? {network.choice} gets no sample")
        from scripts import _sample

        manifest_folder = _sample.manifest("train")
    _mint.run(
        network,
        manifest_folder,
        "dataset",
        _mint.parse_links(links),
        alias=alias,
        address=address,
        store_folder=store_folder,
        hosts=hosts,
        unpublished=unpublished,
        yes=yes,
        as_json=as_json,
    )
