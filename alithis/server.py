"""`alithis serve`: the verification page, and the local store as a gateway that it can read.

The page trusts neither: it checks what the gateway gives against the chain. What is asked for is
not logged, since who asks about which work is private.

Sources: IPFS's HTTP gateway specification (paths, `Range`); RFC 9110, section 14.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alithis.cid import Cid
from alithis.errors import AlithisError, MissingExtraError, StorageError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from alithis.storage import Store

_AT_ONCE = 100  # connections
_KEEP_ALIVE, _SHUTDOWN = 5, 5  # seconds
_CONTENT = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Content-Disposition": "attachment",  # somebody else's bytes are no page of ours
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows.

    Attributes:
        name: the network's, for people.
        chain: the chain's id.
        rpc: URL of a node, as the reader's browser reaches it.
        registry: the registry's address.
        gateways: URLs of further gateways, after this server.
    """

    name: str
    chain: int
    rpc: str
    registry: str
    gateways: tuple[str, ...] = ()

    def as_object(self, own: str) -> dict[str, Any]:
        """Return it the way the page's config.json holds it; ``own`` is this server's origin."""
        return {
            "name": self.name,
            "chain": self.chain,
            "rpc": self.rpc,
            "registry": self.registry,
            "gateways": [own, *self.gateways],
        }


def page_folder() -> Path:
    """Return the folder of the built page.

    Raises:
        StorageError: it is not built.
    """
    folder = Path(str(files("alithis"))) / "web"
    if not (folder / "index.html").is_file():
        raise StorageError(f"{folder}: the page is not built: `make page` builds it in a checkout")
    return folder


def application(store: Store, shown: Shown, page: Path) -> Starlette:
    """Return the web application, for any ASGI server.

    Raises:
        MissingExtraError: Starlette is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.cors import CORSMiddleware
        from starlette.responses import FileResponse, JSONResponse, PlainTextResponse
        from starlette.routing import Mount, Route
        from starlette.staticfiles import StaticFiles
    except ImportError as error:
        raise MissingExtraError("starlette", "serve") from error

    def config(request: Request) -> Response:
        own = str(request.base_url).rstrip("/")
        return JSONResponse(shown.as_object(own), headers={"Cache-Control": "no-cache"})

    def content(request: Request) -> Response:
        try:
            cid = Cid.parse(request.path_params["cid"])
            path = store.path(cid)
        except AlithisError as error:
            return PlainTextResponse(f"{error}\n", 404)
        tagged: Mapping[str, str] = {**_CONTENT, "ETag": f'"{cid}"'}
        return FileResponse(path, media_type="application/octet-stream", headers=tagged)

    def health(_: Request) -> Response:
        return JSONResponse({"ok": True})

    return Starlette(
        routes=[
            Route("/config.json", config, methods=["GET"]),
            Route("/health", health, methods=["GET"]),
            Route("/ipfs/{cid}", content, methods=["GET"]),
            Mount("/", StaticFiles(directory=page, html=True)),
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["GET"],
                allow_headers=["Range"],
                expose_headers=["Content-Range", "Content-Length", "ETag"],
            )
        ],
    )


def listen(host: str, port: int) -> socket.socket:
    """Take a port.

    Raises:
        StorageError: it is taken, or not ours to take.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_AT_ONCE)
    except OSError as error:
        raise StorageError(f"{host}:{port}: cannot listen: {error.strerror or error}") from error


def serve(app: Starlette, listener: socket.socket) -> None:
    """Serve until a signal ends it; what is under way gets some seconds to finish.

    Raises:
        MissingExtraError: uvicorn is not installed.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise MissingExtraError("uvicorn", "serve") from error
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        limit_concurrency=_AT_ONCE,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_SHUTDOWN,
    )
    with suppress(KeyboardInterrupt):  # which uvicorn raises anew once it has stopped
        uvicorn.Server(config).run(sockets=[listener])
