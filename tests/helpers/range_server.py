"""A local file server that supports ranges, counts the bytes it sends, and simulates faults."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

Fault = Callable[["Handler", str], bool]
"""Answers a request for a path in its own way; False leaves it to the server."""


class FileServer:
    """A server's files, the requests that it received, and the number of bytes that it sent."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder, address
        self.url = f"http://{address}"
        self.asked: list[tuple[str, str | None]] = []
        self.sent = 0
        self.headers: dict[str, str] = {}
        self.fault: Fault = lambda *_: False

    def forget(self) -> None:
        """Resets the counters."""
        self.asked.clear()
        self.sent = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 20  # headers and body in one packet: else each answer waits for a delayed ACK
    files: FileServer

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        self.files.asked.append((self.path, self.headers["Range"]))
        if not self.files.fault(self, path):
            self.serve(path)

    def serve(self, path: str, **changes: Any) -> None:
        """Answers honestly, but for headers that are changed."""
        file = self.files.folder / path
        if not file.is_file():
            self.reply(404, b"<html>Not found</html>", Content_Type="text/html")
            return
        size = file.stat().st_size
        version = {"ETag": f'"{file.stat().st_mtime_ns}"'}
        stated = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
        if stated is None:
            self.reply(200, file.read_bytes(), **version | changes)
            return
        first, last = int(stated[1]), min(int(stated[2]), size - 1)
        if first >= size:
            self.reply(416, b"", Content_Range=f"bytes */{size}")
            return
        with file.open("rb") as opened:
            opened.seek(first)
            data = opened.read(last + 1 - first)
        part = {"Content_Range": f"bytes {first}-{last}/{size}"}
        self.reply(206, data, **version | part | changes)

    def reply(self, status: int, body: bytes, **headers: Any) -> None:
        """Sends an answer; a header of None is left out."""
        self.send_response(status)
        given = {"Content_Length": len(body)} | self.files.headers | headers
        for name, value in given.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)
        self.files.sent += len(body)
        self.wfile.flush()
        self.close_connection = "Content_Length" in headers

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass  # the client closed the connection, as some tests intend


@contextmanager
def serving(folder: Path) -> Iterator[FileServer]:
    """Serves a folder's files, for the ``with`` block."""

    class Own(Handler):
        pass

    with _Server(("127.0.0.1", 0), Own) as server:
        Own.files = FileServer(folder, f"127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Own.files
        finally:
            server.shutdown()
            thread.join()
