"""The outermost ASGI application: rate limits, errors, security headers and the log.

Sources: RFC 9457 (problem details); RFC 6585 (429); the ASGI specification, 3.0.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any

from alithis.server.limits import RateLimiter, client_key
from alithis.server.log import error_fields, log

SECURITY = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
"""Headers of every response."""
CONTENT = 50
"""So many reads of content or of the page count as one request to the API."""
_UNLIMITED = "/health/"

_Scope = MutableMapping[str, Any]
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


class EdgeMiddleware:
    """Applies limits, error handling, headers and the log to an application."""

    def __init__(
        self, app: _App, *, rate: float | None, log_requests: bool, log_paths: bool = False
    ) -> None:
        """Wrap an application.

        Args:
            app: the application.
            rate: requests to the API per minute and client; None for no limit.
            log_requests: whether to log requests, or only errors of the server.
            log_paths: whether to log paths and queries, which show what was asked about.
        """
        self._app = app
        self._limiter = RateLimiter(rate) if rate else None
        self._log_requests, self._log_paths = log_requests, log_paths

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        response = _Response(send)
        try:
            if seconds := self._must_wait(scope):
                await _refuse(response.send, seconds)
            else:
                await self._app(scope, receive, response.send)
        except Exception as error:  # a bug: details go to the log, not to clients
            log("fault", route=_route(scope), **error_fields(error))
            if response.status:
                raise  # the response has begun: all that is left is to close the connection
            detail = "The server failed. Try again; the operator finds the cause in the log."
            await send_problem(response.send, problem(500, detail))
        finally:
            if self._log_requests:
                log("request", **self._request_fields(scope), **response.log_fields())

    def _must_wait(self, scope: _Scope) -> float:
        path: str = scope["path"]
        if self._limiter is None or path.startswith(_UNLIMITED):
            return 0.0
        client = client_key((scope.get("client") or ("",))[0])
        return self._limiter.wait(client, 1.0 if path.startswith("/api/") else 1 / CONTENT)

    def _request_fields(self, scope: _Scope) -> dict[str, Any]:
        fields = {"method": scope["method"][:16], "route": _route(scope)}
        if self._log_paths:
            query = scope["query_string"].decode("latin1")
            fields["path"] = scope["path"] + (f"?{query}" if query else "")
        return fields


class _Response:
    """A response while it is sent: counts its bytes, and adds the security headers."""

    def __init__(self, send: _Send) -> None:
        self._send, self._begun = send, time.monotonic()
        self.status = self.bytes = 0

    async def send(self, message: _Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            names = {name.lower() for name, _ in message["headers"]}
            message["headers"] = [
                *message["headers"],
                *(pair for pair in _encoded(SECURITY) if pair[0] not in names),
            ]
        else:
            self.bytes += len(message.get("body", b""))
        await self._send(message)

    def log_fields(self) -> dict[str, Any]:
        took = round((time.monotonic() - self._begun) * 1000, 1)
        return {"status": self.status, "ms": took, "bytes": self.bytes}


async def _refuse(send: _Send, seconds: float) -> None:
    headers = {
        "Retry-After": str(math.ceil(seconds)),
        # Pages of other origins must be able to read how long they have to wait.
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "Retry-After",
    }
    await send_problem(
        send,
        problem(429, "Too many requests from this address. Wait as long as Retry-After states."),
        headers,
    )


def problem(status: int, detail: str) -> dict[str, Any]:
    """Return an error as a problem details object (RFC 9457)."""
    return {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}


async def send_problem(
    send: _Send, content: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> None:
    """Send a problem as the whole response."""
    body = json.dumps(content).encode()
    given = {
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        **(headers or {}),
    }
    status = content["status"]
    await send({"type": "http.response.start", "status": status, "headers": _encoded(given)})
    await send({"type": "http.response.body", "body": body})


async def not_found(scope: _Scope, receive: _Receive, send: _Send) -> None:
    """Respond to a path below /api that does not exist, in the same format as the others."""
    if scope["method"] in ("GET", "HEAD"):
        detail = "There is no such path. /api/openapi.json lists them."
        await send_problem(send, problem(404, detail))
    else:
        detail = "The API only answers GET requests."
        await send_problem(send, problem(405, detail), {"Allow": "GET, HEAD"})


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def _route(scope: _Scope) -> str:
    """Return the route's template, which does not contain what was asked about."""
    route = scope.get("route")
    return "none" if route is None else getattr(route, "path", "") or "/"
