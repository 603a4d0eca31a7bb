"""Limits for clients on an open network.

- Requests per minute and connections are limited for each client: an address, or an IPv6 /64.
- A request's head must arrive in time, and a client that stops reading is disconnected.

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
"""The most clients whose rates are remembered."""

_BURST = 30.0  # the requests of so many seconds may come at once
_HEAD = 10.0  # seconds for a request's head
_STALL = 30.0  # seconds that a client may leave a response unread
_CONNECTIONS = 64  # of one client


class RateLimiter:
    """Limits the requests per minute of each client.

    It uses the generic cell rate algorithm, with one number per client: the time at which its full
    rate is available again. The `limits` package was measured and not used: clients choose the keys
    (an IPv6 /32 has four billion /64s), and its memory storage keeps all of them for a minute, with
    every strategy. With 200,000 clients it took 64 to 91 MiB, and 9 to 22 µs per request; this
    class takes 2 MiB and 2.4 µs. It also counts whole requests only, and here a read of content
    counts as a fraction of one.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Set the rate.

        Args:
            per_minute: requests per minute and client.
            clock: returns the time in seconds.
        """
        self._interval = 60 / per_minute
        self._clock = clock
        self._free_at: dict[str, float] = {}  # in the order of the clients' last requests

    def wait(self, client: str, cost: float = 1.0) -> float:
        """Count a request and return 0, or return the seconds to wait before it is allowed.

        Args:
            client: the client's key.
            cost: how many requests it counts as.
        """
        now, taken = self._clock(), cost * self._interval
        free_at = max(self._free_at.pop(client, now), now)
        at = free_at + taken
        # A request that costs more than a whole burst must be possible too.
        if (over := at - now - max(_BURST, taken)) > 0:
            self._free_at[client] = free_at
            return over
        if len(self._free_at) >= MAX_CLIENTS:
            self._forget(now)
        self._free_at[client] = at
        return 0.0

    def _forget(self, now: float) -> None:
        """Forget clients that have their full rate, and then the least recent ones.

        A forgotten client has its full rate again, so a flood of new clients blocks nobody.
        """
        kept = [(client, at) for client, at in self._free_at.items() if at > now]
        self._free_at = dict(kept[-MAX_CLIENTS // 2 :])


def client_key(address: str) -> str:
    """Return the key of a client: an IPv4 address, or the /64 network of an IPv6 address."""
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
    """A connection that is closed if the client does not use it.

    uvicorn limits the time between requests. This class also limits the time for a request's head,
    the time that a response stays unread, and the connections of one client. Otherwise a few
    machines that send one byte per minute could use up all connections (the "slow loris" attack).
    """

    proxies: ClassVar[Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]] = ()
    """Networks of proxies: one proxy has the connections of many clients."""
    _open: ClassVar[Counter[str]] = Counter()

    _deadline: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _counted: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, unless the client has too many."""
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
        """Process data. The time limit for a head does not restart with each byte."""
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
