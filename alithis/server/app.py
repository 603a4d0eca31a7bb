"""`alithis serve`: the verification page, the local store as a gateway, and the read API.

The page trusts neither gateway nor API: it checks the gateway's content against the chain, and uses
the API's responses as hints only. The log has no paths, since it is private who asks about which
work. A request's Host header is not used: addresses in responses are relative.

Sources: IPFS's HTTP gateway specification (paths, `Range`); RFC 9110, section 14.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alithis.errors import AlithisError, MissingExtraError, StorageError
from alithis.ipfs.cid import Cid

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from alithis.chain.index import Index
    from alithis.chain.registry import Registry
    from alithis.storage.store import Store

_BACKLOG = 256
_AT_ONCE = 512  # connections
_KEEP_ALIVE, _SHUTDOWN = 5, 5  # seconds
_MAX_HEAD = 16 * 1024  # bytes of a request's head
_CONTENT = {
    "Cache-Control": "public, max-age=31536000, immutable",
    # Content is untrusted: it must not open as a page of this origin.
    "Content-Disposition": "attachment",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
_HTML = {"Cache-Control": "no-cache", "Content-Security-Policy": "frame-ancestors 'none'"}
_NAMED_BY_CONTENT = {"Cache-Control": "public, max-age=31536000, immutable"}


@dataclass(frozen=True, slots=True)
class Shown:
    """The page's configuration.

    Attributes:
        name: the network's name, for people.
        chain: the chain's id.
        rpc: URL of a node that the reader's browser can reach.
        registry: the registry's address.
        gateways: URLs of further gateways, after this server.
    """

    name: str
    chain: int
    rpc: str
    registry: str
    gateways: tuple[str, ...] = ()

    def as_object(self) -> dict[str, Any]:
        """Return the page's config.json. "." stands for this server, which has gateway and API."""
        return {
            "name": self.name,
            "chain": self.chain,
            "rpc": self.rpc,
            "registry": self.registry,
            "gateways": [".", *self.gateways],
            "api": ".",
        }


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits and logging on an open network.

    Attributes:
        rate: requests to the API per minute and client; None for no limit.
        proxies: addresses and networks of proxies whose X-Forwarded-For is trusted.
        log_requests: whether to log each request, or only errors of the server.
        log_paths: whether to log paths and queries, which show what was asked about.
    """

    rate: float | None = 120
    proxies: Sequence[str] = ()
    log_requests: bool = True
    log_paths: bool = False


def page_folder() -> Path:
    """Return the folder of the built page.

    Raises:
        StorageError: it has not been built.
    """
    folder = Path(str(files("alithis"))) / "web"
    if not (folder / "index.html").is_file():
        raise StorageError(
            f"{folder}: the page has not been built. In a checkout, run `make page`."
        )
    return folder


def application(
    registry: Registry, open_index: Callable[[], Index], store: Store, shown: Shown, page: Path
) -> Starlette:
    """Return the web application, for any ASGI server; `bounded` adds the limits.

    Args:
        registry: the registry.
        open_index: opens a new connection to its index.
        store: the store with the manifests.
        shown: the page's configuration.
        page: the page's folder.

    Raises:
        MissingExtraError: Starlette or uvicorn is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from starlette.middleware.cors import CORSMiddleware
        from starlette.middleware.gzip import GZipMiddleware
        from starlette.responses import JSONResponse
        from starlette.routing import Mount, Route

        from alithis.server.api import Api
        from alithis.server.follower import Follower
        from alithis.server.log import log
        from alithis.server.middleware import not_found
    except ImportError as error:
        raise MissingExtraError("starlette", "serve") from error

    follower = Follower(open_index, store, lambda words: log("chain", error=words))
    api = Api(registry, store, follower, open_index)

    def config(_: Request) -> Response:
        return JSONResponse(shown.as_object(), headers={"Cache-Control": "no-cache"})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        follower.start()
        yield
        follower.stop()
        api.close()

    made = Starlette(
        routes=[
            Route("/config.json", config, methods=["GET"]),
            Route("/ipfs/{cid}", _gateway(store), methods=["GET"]),
            *api.routes(),
            Mount("/api", not_found),
            Mount("/", _pages(page)),
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["GET"],
                allow_headers=["Range"],
                expose_headers=["Content-Range", "Content-Length", "ETag", "Retry-After"],
            ),
            Middleware(GZipMiddleware, exclude_content_types=("application/octet-stream",)),
        ],
        lifespan=lifespan,
    )
    made.router.redirect_slashes = False  # a redirect would contain the Host header
    return made


def _gateway(store: Store) -> Callable[[Request], Response]:
    from starlette.responses import FileResponse, PlainTextResponse

    def content(request: Request) -> Response:
        try:
            cid = Cid.parse(request.path_params["cid"])
            path = store.path(cid)
        except AlithisError as error:
            # Clients must not learn where the store is on this machine.
            return PlainTextResponse(f"{str(error).replace(str(store.root), 'here')}\n", 404)
        tagged: Mapping[str, str] = {**_CONTENT, "ETag": f'"{cid}"'}
        return FileResponse(path, media_type="application/octet-stream", headers=tagged)

    return content


def _pages(folder: Path) -> Any:
    """Return the page's files, with headers for caches and frames."""
    from starlette.staticfiles import StaticFiles

    class Pages(StaticFiles):
        def file_response(self, full_path: Any, *args: Any, **options: Any) -> Response:
            response = super().file_response(full_path, *args, **options)
            named = Path(full_path).suffix in (".js", ".css")
            for name, value in (_NAMED_BY_CONTENT if named else _HTML).items():
                response.headers[name] = value
            return response

    return Pages(directory=folder, html=True)


def listen(host: str, port: int) -> socket.socket:
    """Listen on a port.

    Raises:
        StorageError: the port is in use, or not permitted.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise StorageError(
            f"{host}:{port}: cannot listen: {error.strerror or error}. "
            "Choose another address with --host or --port."
        ) from error


def serve(app: Any, listener: socket.socket, limits: Limits) -> None:
    """Serve until a signal arrives; requests in progress then get some seconds to finish.

    Raises:
        MissingExtraError: uvicorn is not installed.
    """
    server = bounded(app, limits)
    _log_to_standard_error()
    with suppress(KeyboardInterrupt):  # uvicorn raises it again after it has stopped
        server.run(sockets=[listener])


def bounded(app: Any, limits: Limits) -> uvicorn.Server:
    """Return a server that puts its limits before the application.

    Raises:
        MissingExtraError: uvicorn is not installed.
    """
    try:
        import uvicorn
        from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

        from alithis.server.limits import Connection
        from alithis.server.middleware import EdgeMiddleware
    except ImportError as error:
        raise MissingExtraError("uvicorn", "serve") from error
    Connection.proxies = networks(limits.proxies)
    application: Any = EdgeMiddleware(
        app, rate=limits.rate, log_requests=limits.log_requests, log_paths=limits.log_paths
    )
    if limits.proxies:
        application = ProxyHeadersMiddleware(application, list(limits.proxies))
    return uvicorn.Server(
        uvicorn.Config(
            application,
            http=Connection,
            ws="none",
            lifespan="on",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            log_config=None,
            limit_concurrency=_AT_ONCE,
            h11_max_incomplete_event_size=_MAX_HEAD,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=_SHUTDOWN,
        )
    )


def _log_to_standard_error() -> None:
    from alithis.server.log import LOG, JsonLines

    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for logger, level in ((LOG, logging.INFO), (logging.getLogger("uvicorn"), logging.ERROR)):
        logger.setLevel(level)
        logger.handlers = [handler]
        logger.propagate = False


def networks(proxies: Sequence[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Read addresses and networks, such as ``10.0.0.0/8``.

    Raises:
        StorageError: one is neither. uvicorn would take it for a host name, and trust no proxy.
    """
    found = []
    for proxy in proxies:
        try:
            found.append(ip_network(proxy))
        except ValueError as error:
            raise StorageError(
                f"{proxy}: not an IP address or network. Use one such as 10.0.0.0/8"
            ) from error
    return tuple(found)
