"""``alithis serve``: serve the verification page, the local store as a gateway, and a read API."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path

import click

from alithis.cli.options import ANY, chain_options, index_folder, say, store_option


@click.command()
@chain_options(required=True)
@click.option(
    "--page-rpc",
    metavar="URL",
    help="The node's URL for visitors' browsers; it is public  [default: --rpc].",
)
@click.option("--name", metavar="TEXT", help="The chain's name on the page.")
@click.option(
    "--gateway",
    "gateways",
    multiple=True,
    metavar="URL",
    help="Another IPFS gateway for the page to use; may be repeated.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8080,
    show_default=True,
    help="Port to listen on.",
)
@click.option(
    "--proxy",
    "proxies",
    multiple=True,
    metavar="NETWORK",
    help="A proxy whose X-Forwarded-For header is trusted; may be repeated  [default: none].",
)
@click.option(
    "--rate",
    type=click.IntRange(0),
    default=120,
    show_default=True,
    metavar="N",
    help="API requests per minute and client; 0 means no limit.",
)
@click.option(
    "--log",
    "logged",
    type=click.Choice(["requests", "faults"]),
    default="requests",
    show_default=True,
    help="What to log, as JSON on standard error.",
)
@click.option(
    "--log-paths", is_flag=True, help="Also log what was asked for, which is private information."
)
@click.option("--open/--no-open", "opens", default=False, help="Open the page in a browser.")
@click.option(
    "--index",
    "index_place",
    type=ANY,
    envvar="ALITHIS_INDEX",
    help="Folder of the index  [default: in your cache folder].",
)
@store_option
def serve(
    rpc: str,
    registry: str,
    chain: int | None,
    page_rpc: str | None,
    name: str | None,
    gateways: tuple[str, ...],
    host: str,
    port: int,
    proxies: tuple[str, ...],
    rate: int,
    logged: str,
    log_paths: bool,
    opens: bool,
    index_place: Path | None,
    store_folder: Path | None,
) -> None:
    """Serve the verification page, an IPFS gateway and a read API, until Ctrl-C.

    The page runs in the visitor's browser: it reads the chain there, and checks there what the
    gateway returns. The gateway serves everything in the local store. The API (described by
    /api/openapi.json) answers from an index of the chain, which is kept up to date. What visitors
    ask for is not logged, except with --log-paths.

    \b
    Examples:
      alithis serve --rpc http://127.0.0.1:8545 --registry 0x…
      alithis serve --rpc URL --registry 0x… --gateway https://ipfs.io --port 8000
      alithis serve --rpc SECRET_URL --page-rpc URL --registry 0x… --proxy 127.0.0.1
    """
    from alithis.base.http import Client
    from alithis.chain.index import Index
    from alithis.chain.registry import Registry
    from alithis.chain.rpc import HttpTransport
    from alithis.errors import SourceError
    from alithis.server import app as app_module
    from alithis.storage.store import Store

    page = app_module.page_folder()
    for url in (page_rpc or rpc, *gateways):
        Client("page's node or gateway", SourceError, 1).host(url)
    app_module.networks(proxies)
    found = Registry(HttpTransport(rpc), registry, chain)
    shown = app_module.Shown(
        name or f"Chain {found.chain_id}", found.chain_id, page_rpc or rpc, found.address, gateways
    )
    folder = index_place or index_folder()
    Index.in_folder(folder, found).close()  # reports a problem with the index before serving
    app = app_module.application(
        found, lambda: Index.in_folder(folder, found), Store(store_folder), shown, page
    )
    listener = app_module.listen(host, port)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    say(f"{url}  (Ctrl-C stops it)")
    if opens and _has_browser():
        webbrowser.open(url)
    app_module.serve(
        app, listener, app_module.Limits(rate or None, proxies, logged == "requests", log_paths)
    )


def _has_browser() -> bool:
    """Tell whether there is a screen. Without one, a text browser would take over the terminal."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
