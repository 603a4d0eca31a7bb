"""What bounds the open network's use of the server.

- Each client address (of IPv6, each /64) has so many requests a minute, and so many connections.
- A request's head must come in time; a client that stops reading is disconnected.

Sources: the generic cell rate algorithm (ITU-T I.371); RFC 4291, section 2.5.4 (a subscriber's
/64).
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CLIENTS = 20_000
"""Clients whose rates are remembered."""

_BURST = 30.0  # seconds' worth of requests that may come at once
_HEAD = 10.0  # seconds for a request's head
_STALL = 30.0  # seconds that a client may leave what was sent unread
_CONNECTIONS = 64  # of one client


class RateLimiter:
    """How many requests a minute each client may send.

    The generic cell rate algorithm: one number a client, the time at which all that it has used is
    free again. Not the `limits` package: strangers choose the keys (an IPv6 /32 has four billion
    /64s), and its memory storage keeps all of them for a minute, whatever the
    strategy. Measured with 200,000 clients: 64 to 91 MiB there, 2 MiB here; a request took 9 to
    22 µs there, 2.4 µs here. It also counts in whole requests, and reads of content here cost a
    fraction of one.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Choose a rate.

        Args:
            per_minute: requests a minute.
            clock: seconds.
        """
        self._interval = 60 / per_minute
        self._clock = clock
        self._free_at: dict[str, float] = {}  # the client that came last stands last

    def wait(self, client: str, cost: float = 1.0) -> float:
        """Count a request, and return 0; or the seconds after which it may come.

        Args:
            client: who asks.
            cost: how many requests it counts as.
        """
        now, taken = self._clock(), cost * self._interval
        free_at = max(self._free_at.pop(client, now), now)
        at = free_at + taken
        # A request that costs more than the burst must be possible too.
        if (over := at - now - max(_BURST, taken)) > 0:
            self._free_at[client] = free_at
            return over
        if len(self._free_at) >= MAX_CLIENTS:
            self._forget(now)
        self._free_at[client] = at
        return 0.0

    def _forget(self, now: float) -> None:
        """Forget clients that have their full rate; if too few, those that came longest ago.

        So a flood of new clients makes others only lose their debts: nobody is refused for it.
        """
        kept = [(client, at) for client, at in self._free_at.items() if at > now]
        self._free_at = dict(kept[-MAX_CLIENTS // 2 :])


def client_key(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.IPv6Network((found, 64), strict=False))
    return str(found)


class Connection(H11Protocol):
    """A connection that a client cannot keep open without using it.

    uvicorn bounds the time between requests. Here the time for a request's head and for an unread
    response are bounded too, and the connections of one client: without that, a few machines that
    send one byte a minute would take all of them (the "slow loris" attack).
    """

    proxies: ClassVar[Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]] = ()
    """Networks of proxies, whose connections carry many clients."""
    _open: ClassVar[Counter[str]] = Counter()

    _deadline: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _counted: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, unless the client has too many."""
        super().connection_made(transport)
        self._await_head()
        host = self.client[0] if self.client else ""
        client = client_key(host)
        if self._is_proxy(host):
            return
        if self._open[client] >= _CONNECTIONS:
            transport.abort()
            return
        self._open[client] += 1
        self._counted = client

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        for timer in (self._deadline, self._stall):
            if timer is not None:
                timer.cancel()
        if self._counted is not None:
            self._open[self._counted] -= 1
            if not self._open[self._counted]:
                del self._open[self._counted]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; each further byte of a head does not restart the time for it."""
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
        """Stop the timer: the client reads."""
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
