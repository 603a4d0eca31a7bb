"""Load on `alithis serve` over loopback: requests a second, and whether memory stays flat.

`make bench-serve` runs it on what `make app` shows: a real chain, the demo's 70,000 leaves, every
request answered in full by one process. Client and server share the machine's cores.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[1]
PORT = 8497
CLIENTS = 16
"""Connections that ask at once, each one request after the other."""
SECONDS = 6.0
"""How long each kind of request is asked."""
SOAK = 30.0
"""How long all of them are asked together, for the memory."""


@contextmanager
def shown() -> Iterator[int]:
    """Run what `make app` runs, without limits; give the server's process id."""
    command = [sys.executable, ROOT / "tools" / "app.py", "--port", str(PORT), "--rate", "0"]
    app = subprocess.Popen(  # noqa: S603
        [*map(str, command), "--no-open"], stdout=subprocess.DEVNULL
    )
    try:
        yield _server(app)
    finally:
        app.send_signal(signal.SIGINT)
        app.wait(60)


def _server(app: subprocess.Popen[bytes]) -> int:
    for _ in range(1200):
        if app.poll() is not None:
            raise SystemExit("make app does not start")
        try:
            with urlopen(f"http://127.0.0.1:{PORT}/health/ready", timeout=5):
                break
        except OSError:
            time.sleep(0.25)
    children = subprocess.check_output(  # noqa: S603
        ["ps", "-o", "pid=,args=", "--ppid", str(app.pid)],  # noqa: S607
        text=True,
    )
    return next(int(line.split()[0]) for line in children.splitlines() if "alithis serve" in line)


def resident(pid: int) -> int:
    """Return a process's resident memory in KiB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) if found else 0


Ask = Callable[[], bytes]


def asked(path: Callable[[], str], **headers: str) -> Ask:
    """Return what writes a request."""

    def write() -> bytes:
        lines = [f"GET {path()} HTTP/1.1", "Host: x", *(f"{k}: {v}" for k, v in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    return write


async def _client(ask: Ask, end: float, times: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    while time.perf_counter() < end:
        begun = time.perf_counter()
        writer.write(ask())
        head = await reader.readuntil(b"\r\n\r\n")
        if not re.match(rb"HTTP/1\.1 20[06]", head):
            raise SystemExit(f"{ask()!r}: {head[:80]!r}")
        length = re.search(rb"content-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        times.append(time.perf_counter() - begun)
    writer.close()


async def _load(asks: list[Ask], seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    clients = (_client(asks[at % len(asks)], end, times) for at in range(CLIENTS))
    await asyncio.gather(*clients)
    return times


def _leaves() -> str:
    document = json.load(urlopen(f"http://127.0.0.1:{PORT}/api/tokens/1"))["metadata"]
    files = {each.get("name"): each.get("contentUrl", "") for each in document["distribution"]}
    return str(files["leaves"]).removeprefix("ipfs://")


def main() -> None:
    """Print a table, and the memory before, between and after."""
    with shown() as pid:
        leaves = _leaves()

        def span() -> str:
            first = secrets.randbelow(200) * 8192
            return f"bytes={first}-{first + 8191}"

        kinds = {
            "page": asked(lambda: "/"),
            "8 KiB of leaves": asked(lambda: f"/ipfs/{leaves}", Range=span()),
            "/api/tokens": asked(lambda: "/api/tokens"),
            "/api/tokens?search": asked(lambda: f"/api/tokens?search=mnist+{secrets.token_hex(2)}"),
            "/api/tokens/{id}": asked(lambda: "/api/tokens/3"),
            "/api/lineage/{id}": asked(lambda: "/api/lineage/1"),
            "/api/verify/{sha256}": asked(lambda: f"/api/verify/{secrets.token_hex(32)}"),
        }
        print(f"{CLIENTS} connections, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
        print("| request | a second | median | 99 in 100 within |\n| --- | --- | --- | --- |")
        for name, ask in kinds.items():
            times = asyncio.run(_load([ask], SECONDS))
            cuts = quantiles(times, n=100)
            rate = len(times) / SECONDS
            print(f"| {name} | {rate:,.0f} | {cuts[49] * 1000:.0f} ms | {cuts[98] * 1000:.0f} ms |")
        memory = [resident(pid)]
        count = 0
        for _ in range(3):
            count += len(asyncio.run(_load(list(kinds.values()), SOAK / 3)))
            memory.append(resident(pid))
        steps = ", ".join(f"{each / 1024:.0f}" for each in memory)
        print(f"\nMemory over {count:,} more requests of all kinds: {steps} MiB")


if __name__ == "__main__":
    main()
