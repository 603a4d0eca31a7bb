"""What stands between the open network and the server: bounds, and a log that tells on nobody.

- Each client address (of IPv6, each /64) has so many requests a minute, and so many connections.
- A request's head must come in time and stay small; whoever stops reading is hung up on.
- One line of JSON a request: method, route as a template, status, time, bytes. No address, no
  path, no query: who asks about which work is private.

Sources: the generic cell rate algorithm (ITU-T I.371); RFC 9457 (problem details); RFC 6585
(429); the ASGI specification, 3.0; RFC 4291, section 2.5.4 (a subscriber's /64).
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import PurePath
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

LOG = logging.getLogger("alithis.serve")
SECURITY = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
"""Headers of every answer."""
MAX_CLIENTS = 20_000
"""Clients whose rates are remembered."""
CONTENT = 50
"""Reads of content and of the page that count as much as one request to the API."""

_BURST = 0.5  # of a minute's requests, that may come at once
_HEAD = 10.0  # seconds for a request's head
_STALL = 30.0  # seconds that a client may leave what was sent unread
_PER_CLIENT = 64  # connections
_FREE = ("/health/",)

_Scope = MutableMapping[str, Any]
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


class Rates:
    """How often each client may come."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Choose a rate.

        Args:
            per_minute: requests a minute.
            clock: seconds.
        """
        self._interval = 60 / per_minute
        self._burst = _BURST * 60
        self._clock = clock
        self._free_at: dict[str, float] = {}  # when a client will have used up nothing

    def wait(self, client: str, cost: float = 1.0) -> float:
        """Count a request, and return 0; or the seconds after which it may come.

        Args:
            client: who asks.
            cost: how many requests it counts as.
        """
        now, taken = self._clock(), cost * self._interval
        free_at = max(self._free_at.pop(client, now), now)
        at = free_at + taken
        if (over := at - now - max(self._burst, taken)) > 0:  # one may always come, in the end
            self._free_at[client] = free_at
            return over
        if len(self._free_at) >= MAX_CLIENTS:
            self._forget(now)
        self._free_at[client] = at  # the last one to have come stands last
        return 0.0

    def _forget(self, now: float) -> None:
        """Forget those who could come at full rate; failing that, who came longest ago."""
        kept = [(client, at) for client, at in self._free_at.items() if at > now]
        self._free_at = dict(kept[-MAX_CLIENTS // 2 :])


def client_of(address: str) -> str:
    """Return what stands for a client: its address, or the /64 of it."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.IPv6Network((found, 64), strict=False))
    return str(found)


class Guard:
    """The outermost ASGI application: rates, faults, the log."""

    def __init__(
        self, app: _App, *, rate: float | None, log_requests: bool, log_paths: bool = False
    ) -> None:
        """Stand before an application.

        Args:
            app: the application.
            rate: requests to the API a minute, for each client; None for any number.
            log_requests: whether to log requests, or faults alone.
            log_paths: whether the log has paths and queries, and so what was asked about.
        """
        self._app = app
        self._rates = Rates(rate) if rate else None
        self._log_requests, self._log_paths = log_requests, log_paths

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send)
        try:
            if over := self._over(scope):
                await _refuse(answer.send, over)
            else:
                await self._app(scope, receive, answer.send)
        except Exception as error:  # a defect of ours: told in the log, and not to strangers
            log("fault", route=_route(scope), **_fault(error))
            if answer.status:
                raise  # the connection is all that can be ended
            await respond(answer.send, problem(500, "The server's own fault: its log has it."))
        finally:
            if self._log_requests:
                log("request", **self._shown(scope), **answer.shown())

    def _over(self, scope: _Scope) -> float:
        path: str = scope["path"]
        if self._rates is None or path.startswith(_FREE):
            return 0.0
        client = client_of((scope.get("client") or ("",))[0])
        return self._rates.wait(client, 1.0 if path.startswith("/api/") else 1 / CONTENT)

    def _shown(self, scope: _Scope) -> dict[str, Any]:
        shown = {"method": scope["method"][:16], "route": _route(scope)}
        if self._log_paths:
            query = scope["query_string"].decode("latin1")
            shown["path"] = scope["path"] + (f"?{query}" if query else "")
        return shown


class _Answer:
    """What is sent back, on its way."""

    def __init__(self, scope: _Scope, send: _Send) -> None:
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

    def shown(self) -> dict[str, Any]:
        took = round((time.monotonic() - self._begun) * 1000, 1)
        return {"status": self.status, "ms": took, "bytes": self.bytes}


async def _refuse(send: _Send, seconds: float) -> None:
    said = problem(429, "Too many requests from this address.")
    retry = str(max(1, round(seconds + 0.5)))
    # Whatever page it comes from must be able to tell that it is to wait.
    others = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Retry-After"}
    await respond(send, said, {"Retry-After": retry, **others})


def problem(status: int, detail: str) -> dict[str, Any]:
    """Return an error as RFC 9457 writes it."""
    return {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}


async def respond(
    send: _Send, said: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> None:
    """Send a problem."""
    body = json.dumps(said).encode()
    given = {
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        **(headers or {}),
    }
    start = {"type": "http.response.start", "status": said["status"], "headers": _encoded(given)}
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def nowhere(scope: _Scope, receive: _Receive, send: _Send) -> None:
    """Answer below /api where there is nothing: as the rest of it does."""
    if scope["method"] in ("GET", "HEAD"):
        said = problem(404, "There is no such place: /api/openapi.json names them.")
    else:
        said = problem(405, "Everything is read with GET.")
    await respond(send, said, {"Allow": "GET, HEAD"} if said["status"] == 405 else None)


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def _route(scope: _Scope) -> str:
    """Return the route's template, which holds nothing of what was asked."""
    route = scope.get("route")
    return "none" if route is None else getattr(route, "path", "") or "/"


def _fault(error: Exception) -> dict[str, str]:
    """Tell a fault without its message, which may hold what was asked about."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    places = [f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in frames]
    return {"error": type(error).__name__, "at": " ".join(places)}


# -- The log ---------------------------------------------------------------------------------------


def log(event: str, **values: Any) -> None:
    """Write an event into the log."""
    LOG.info(event, extra={"values": values})


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record: an event of ours, or what a library says."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        values = getattr(record, "values", None)
        if values is not None:
            return json.dumps({"time": time, "event": record.getMessage(), **values})
        said = {"level": record.levelname.lower(), "from": record.name}
        if record.exc_info and isinstance(record.exc_info[1], Exception):
            return json.dumps(
                {"time": time, "event": "fault", **said, **_fault(record.exc_info[1])}
            )
        return json.dumps({"time": time, "event": "note", **said, "text": record.getMessage()})


# -- Connections -----------------------------------------------------------------------------------


class Connection(H11Protocol):
    """A connection that cannot be kept open for nothing.

    uvicorn bounds the time between requests; here also that for the head of one, for unread
    answers, and how many connections one client has.
    """

    proxies: ClassVar[Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]] = ()
    """Where proxies are, whose connections are many clients'."""
    _open: ClassVar[Counter[str]] = Counter()

    _deadline: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _counted: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, unless the client has enough of them."""
        super().connection_made(transport)
        self._await_head()
        host = self.client[0] if self.client else ""
        client = client_of(host)
        if self._is_proxy(host):
            return
        if self._open[client] >= _PER_CLIENT:
            transport.abort()
            return
        self._open[client] += 1
        self._counted = client

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of it."""
        for timer in (self._deadline, self._stall):
            if timer is not None:
                timer.cancel()
        if self._counted is not None:
            self._open[self._counted] -= 1
            if not self._open[self._counted]:
                del self._open[self._counted]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; the time for a head does not begin anew with each byte of it."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._cancel_deadline()
        elif self._deadline is None:
            self._await_head()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if self.cycle.response_complete:
            self._await_head()

    def pause_writing(self) -> None:
        """Give the client some time to read."""
        super().pause_writing()
        self._stall = self.loop.call_later(_STALL, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _is_proxy(self, host: str) -> bool:
        if not self.proxies:
            return False
        address = ipaddress.ip_address(host.partition("%")[0])
        return any(address in network for network in self.proxies)

    def _await_head(self) -> None:
        self._cancel_deadline()
        self._deadline = self.loop.call_later(_HEAD, self.transport.abort)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
