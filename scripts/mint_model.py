"""`ape run mint_model`: a manifest → a model token, linked to what the model was made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scripts import _common, _mint

if TYPE_CHECKING:
    from ape.api import NetworkAPI


@click.command(cls=_common.ScriptCommand)
@click.argument("manifest_folder", metavar="MANIFEST", type=_mint.MANIFEST)
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
    manifest_folder: Path,
    links: tuple[str, ...],
    alias: str | None,
    address: str | None,
    store_folder: Path | None,
    hosts: tuple[str, ...],
    unpublished: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Mint a model token for MANIFEST.

    What its metadata names as inputs is looked up in the registry by metadata digest and linked;
    --link adds to that. On a live network a host that others can read must have the manifest.

    \b
    Examples:
      ape run mint_model digits.alithis --at lighthouse --network filecoin:calibration
      ape run mint_model digits.alithis --link fine_tuned_from=7 --network filecoin:local:node
    """
    _mint.run(
        network,
        manifest_folder,
        "model",
        _mint.parse_links(links),
        alias=alias,
        address=address,
        store_folder=store_folder,
        hosts=hosts,
        unpublished=unpublished,
        yes=yes,
        as_json=as_json,
    )
