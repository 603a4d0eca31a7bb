"""``alithis serve``: the verification page, and the local store as its gateway."""

from __future__ import annotations

from pathlib import Path

import click

from alithis.cli.frame import CHAIN, say, store_option


@click.command()
@click.option(
    "--rpc", envvar="ALITHIS_RPC", metavar="URL", required=True, help="The chain  [or ALITHIS_RPC]."
)
@click.option(
    "--registry",
    envvar="ALITHIS_REGISTRY",
    metavar="ADDRESS",
    required=True,
    help="The registry on the chain  [or ALITHIS_REGISTRY].",
)
@click.option("--chain", type=CHAIN, metavar="ID", help="Chain id that the endpoint must serve.")
@click.option("--name", metavar="TEXT", help="What the page calls the chain.")
@click.option(
    "--gateway", "gateways", multiple=True, metavar="URL", help="A further gateway; repeatable."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@store_option
def serve(
    rpc: str,
    registry: str,
    chain: int | None,
    name: str | None,
    gateways: tuple[str, ...],
    host: str,
    port: int,
    store_folder: Path | None,
) -> None:
    """Serve the verification page, and the local store as a gateway for it, until Ctrl-C.

    The page asks the chain at --rpc itself, from the reader's browser, and checks there what the
    gateway gives. What is asked for is not logged.

    \b
    Examples:
      alithis serve --rpc http://127.0.0.1:8545 --registry 0x…
      alithis serve --rpc URL --registry 0x… --gateway https://ipfs.io --port 8000
    """
    from alithis import server
    from alithis.registry import HttpTransport, Registry
    from alithis.storage import Store

    page = server.page_folder()
    found = Registry(HttpTransport(rpc), registry, chain)
    shown = server.Shown(
        name or f"Chain {found.chain_id}", found.chain_id, rpc, found.address, gateways
    )
    app = server.application(Store(store_folder), shown, page)
    listener = server.listen(host, port)
    say(f"http://{f'[{host}]' if ':' in host else host}:{port}/  (Ctrl-C ends it)")
    server.serve(app, listener)
