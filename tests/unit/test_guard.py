"""The server's limits of rates and connections, and its log."""

import json
import logging
import socket
import threading
from contextlib import contextmanager, suppress

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from alithis.server import app as app_module
from alithis.server import limits as limits_module
from alithis.server.limits import RateLimiter, client_key
from alithis.server.log import JsonLines
from helpers.serving import free_port, wait_until


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class TestRateLimiter:
    @given(
        per_minute=st.floats(1, 10_000),
        pauses=st.lists(st.floats(0, 20), min_size=1, max_size=200),
        cost=st.sampled_from([1.0, 0.02, 3.0]),
    )
    def test_a_client_gets_no_more_than_the_rate_and_the_burst(self, per_minute, pauses, cost):
        clock = Clock()
        rates = RateLimiter(per_minute, clock)
        passed = 0.0
        for pause in pauses:
            clock.now += pause
            if rates.wait("a", cost) == 0:
                passed += cost
        allowed = per_minute / 60 * (clock.now - 1000 + 30) + cost
        assert passed <= allowed + 1e-6 * allowed

    @given(per_minute=st.floats(1, 10_000))
    def test_a_client_that_waits_the_stated_time_is_served(self, per_minute):
        clock = Clock()
        rates = RateLimiter(per_minute, clock)
        for _ in range(20_000):
            if wait := rates.wait("a"):
                break
        assert wait > 0
        clock.now += wait + 1e-6
        assert rates.wait("a") == 0

    def test_clients_have_rates_of_their_own(self):
        rates = RateLimiter(10, Clock())
        while not rates.wait("a"):
            pass
        assert rates.wait("b") == 0

    def test_a_refused_request_does_not_count(self):
        clock = Clock()
        rates = RateLimiter(60, clock)
        while not rates.wait("a"):
            pass
        for _ in range(100):
            rates.wait("a")
        clock.now += 1.001
        assert rates.wait("a") == 0

    def test_memory_is_bounded_for_any_number_of_clients(self, monkeypatch):
        monkeypatch.setattr(limits_module, "MAX_CLIENTS", 100)
        clock = Clock()
        rates = RateLimiter(6, clock)
        while not rates.wait("greedy"):
            pass
        for number in range(10_000):
            clock.now += 0.001
            rates.wait(f"10.0.{number // 256}.{number % 256}")
            if number % 20 == 0:
                assert rates.wait("greedy") > 0  # still remembered: it came last
            assert len(rates._free_at) <= 100


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("unknown", "unknown"),
        ("x" * 5000, "x" * 64),
        ("", ""),
    ],
)
def test_a_client_is_an_ipv4_address_or_an_ipv6_64(address, client):
    assert client_key(address) == client


@contextmanager
def guarded(app, **limits):
    listener = app_module.listen("127.0.0.1", free_port())
    running = app_module.bounded(_without_lifespan(app), app_module.Limits(**limits))
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    try:
        wait_until(lambda: running.started)
        yield listener.getsockname()[1]
    finally:
        running.should_exit = True
        thread.join(30)
    assert not thread.is_alive()


def _without_lifespan(app):
    async def whole(scope, receive, send):
        if scope["type"] == "lifespan":
            for said in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{said}.complete"})
        else:
            await app(scope, receive, send)

    return whole


async def breaks(scope, receive, send):
    raise ValueError("about a secret digest")


async def breaks_off(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    raise ValueError("about a secret digest")


async def pours(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(1000):
        await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def formatted(caplog):
    return [json.loads(JsonLines().format(record)) for record in caplog.records]


def test_an_error_of_the_server_is_logged_without_its_message(caplog):
    caplog.set_level(logging.INFO, "alithis.serve")
    with guarded(breaks) as port:
        answer = requests.get(f"http://127.0.0.1:{port}/x", timeout=10)
    assert answer.status_code == 500
    assert answer.json()["title"] == "Internal Server Error"
    assert "secret" not in answer.text
    (fault,) = [each for each in formatted(caplog) if each["event"] == "fault"]
    assert fault["error"] == "ValueError"
    assert fault["at"].split()[-1].startswith("test_guard.py:")
    assert "secret" not in json.dumps(formatted(caplog))


def test_an_error_in_the_middle_of_a_response_ends_the_connection(caplog):
    caplog.set_level(logging.INFO, "alithis.serve")
    with guarded(breaks_off) as port, pytest.raises(requests.RequestException):
        assert requests.get(f"http://127.0.0.1:{port}/x", timeout=10).content == b"never"
    assert "secret" not in json.dumps(formatted(caplog))


def test_a_client_that_does_not_read_is_disconnected(monkeypatch):
    monkeypatch.setattr(limits_module, "_STALL", 0.3)
    with guarded(pours) as port, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", port))
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        counted = limits_module.Connection._open
        wait_until(lambda: counted["127.0.0.1"] == 1)
        wait_until(lambda: "127.0.0.1" not in counted or not counted["127.0.0.1"])
        slow.settimeout(10)
        received = 0
        with suppress(ConnectionError):
            while part := slow.recv(1 << 20):
                received += len(part)
        assert received < 1000 << 16


def test_a_client_that_sends_no_whole_head_is_disconnected(monkeypatch):
    monkeypatch.setattr(limits_module, "_HEAD", 0.3)
    with guarded(pours) as port:
        for sent in (b"", b"GET / HT", b"GET /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as slow:
                slow.sendall(sent)
                with suppress(ConnectionError):
                    assert slow.recv(10) == b""


def test_the_head_of_a_second_request_has_a_time_limit_too(monkeypatch):
    async def short(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    monkeypatch.setattr(limits_module, "_HEAD", 0.5)
    with (
        guarded(short) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as slow,
    ):
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert slow.recv(1000).startswith(b"HTTP/1.1 204")
        slow.sendall(b"GET / HTTP/1.1\r\n")
        with suppress(ConnectionError):
            assert slow.recv(10) == b""


def test_messages_of_libraries_are_json_too():
    record = logging.LogRecord("uvicorn.error", logging.ERROR, "x", 1, "said %s", ("so",), None)
    said = json.loads(JsonLines().format(record))
    assert (said["event"], said["level"], said["text"]) == ("note", "error", "said so")
