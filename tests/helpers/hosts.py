"""A stand-in, on loopback, for the hosts that files are put on: it follows their documentation.

Kubo's RPC, Lighthouse's and Pinata's upload and look-up. Uploads may go wrong as they are told.
"""

from __future__ import annotations

import json
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from alithis.ipfs.car import Archive
from alithis.ipfs.cid import PROFILES, UNIXFS_V1_2025, Dag

KEY = "a-key-that-nobody-may-see"
JSON = {"Content-Type": "application/json"}
OTHERS = next(profile for profile in PROFILES if profile.name == "kubo-cid-v1")
"""The chunk size of a host, if the request does not name one."""

Fault = Callable[["Handler"], None]


class Host:
    """The stand-in's files, the requests that it received, and the faults to simulate."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.uploads: list[str] = []
        self.faults: list[Fault | None] = []
        """The faults of the next uploads, in turn; None for no fault."""
        self.always: Fault | None = None
        self.deals: Callable[[str], tuple[int, bytes]] = lambda _: (200, b"[]")
        """The answers about the deals of a CID."""
        self.released = threading.Event()
        """Set at the end, to release handlers that hang."""
        self.lock = threading.Lock()

    def fault(self) -> Fault | None:
        with self.lock:
            return self.faults.pop(0) if self.faults else self.always


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    host: Host

    def do_GET(self) -> None:
        self.host.asked.append(self.path)
        split = urlsplit(self.path)
        cid = parse_qs(split.query).get("cid", [""])[0]
        known = cid in self.host.files
        if split.path == "/api/lighthouse/file_info":
            self.json(
                {"cid": cid, "fileName": "x"} if known else {"error": "no"}, 200 + 204 * (not known)
            )
        elif split.path == "/api/lighthouse/deal_status":
            self.reply(*self.host.deals(cid), **JSON)
        elif split.path == "/v3/files/public":
            if self.authorised():
                self.json({"data": {"files": [{"cid": cid}] * known, "next_page_token": ""}})
        else:
            self.json({"error": "not found"}, 404)

    def do_POST(self) -> None:
        self.host.asked.append(self.path)
        split = urlsplit(self.path)
        options = {name: values[0] for name, values in parse_qs(split.query).items()}
        if split.path in ("/api/v0/pin/ls", "/api/v0/cat"):
            self.look_up(split.path, options)
            return
        fault = self.host.fault()
        if fault is not None:
            fault(self)
            return
        self.upload(split.path, options, self.form())

    def look_up(self, path: str, options: dict[str, str]) -> None:
        cid = options["arg"]
        if cid not in self.host.files:
            self.json({"Message": f"path '{cid}' is not pinned", "Code": 0, "Type": "error"}, 500)
        elif path == "/api/v0/pin/ls":
            self.json({"Keys": {cid: {"Type": "recursive", "Name": ""}}})
        else:
            start = int(options["offset"])
            self.reply(200, self.host.files[cid][start : start + int(options["length"])])

    def form(self) -> dict[str, bytes]:
        """Reads the posted form; None if it is incomplete."""
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError("the client hung up")
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = message_from_bytes(head + body, policy=policy.HTTP).iter_parts()
        return {
            part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
            for part in parts
        }

    def upload(self, path: str, options: dict[str, str], form: dict[str, bytes]) -> None:
        data = form["file"]
        if path == "/api/v0/add":
            ours = options.get("chunker") == "size-1048576" and options["max-file-links"] == "1024"
            self.taken(data, Dag(UNIXFS_V1_2025 if ours else OTHERS))
        elif path == "/api/v0/dag/import":
            cid = self.archived(data)
            self.json({"Root": {"Cid": {"/": cid}, "PinErrorMsg": ""}})
        elif path == "/v3/files" and self.authorised():
            assert form["network"] == b"public"
            if form.get("car") == b"true":
                self.json({"data": {"id": "1", "cid": self.archived(data)}})
            else:
                self.json({"data": {"id": "1", "cid": self.kept(data, Dag(OTHERS))}})

    def taken(self, data: bytes, dag: Dag) -> None:
        if urlsplit(self.path).query == "cid-version=1" and not self.authorised():
            return
        self.json({"Name": "x", "Hash": self.kept(data, dag), "Size": str(len(data))})

    def kept(self, data: bytes, dag: Dag) -> str:
        dag.update(data)
        cid = str(dag.finish())
        self.host.files[cid] = data
        self.host.uploads.append(cid)
        return cid

    def archived(self, data: bytes) -> str:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            with Archive(file.name) as archive:
                (root,) = archive.roots
                self.host.files[str(root)] = b"".join(archive.content(root))
        self.host.uploads.append(str(root))
        return str(root)

    def authorised(self) -> bool:
        if self.headers["Authorization"] == f"Bearer {KEY}":
            return True
        self.json({"error": "Unauthorized"}, 401)
        return False

    def json(self, value: Any, status: int = 200) -> None:
        self.reply(status, json.dumps(value).encode() + b"\n", **JSON)

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        pass


def status(code: int, **headers: str) -> Fault:
    """Reads the whole request, and answers with a status."""

    def answer(handler: Handler) -> None:
        handler.form()
        # The worst case: the host repeats everything that it was sent, including the key.
        handler.reply(code, f"error: {handler.headers['Authorization']}".encode(), **headers)

    return answer


def says(value: Any) -> Fault:
    """Reads the file, and sends a wrong answer."""

    def answer(handler: Handler) -> None:
        handler.form()
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        handler.reply(200, body)

    return answer


def cut(handler: Handler) -> None:
    """Reads a few bytes, and resets the connection."""
    handler.rfile.read(10)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def cut_answer(handler: Handler) -> None:
    """Reads the file, and closes the connection in the middle of its answer."""
    handler.form()
    handler.reply(200, b'{"Hash": "baf', Content_Length="100")
    handler.close_connection = True


def hang(handler: Handler) -> None:
    """Reads the file, and does not answer."""
    handler.form()
    handler.host.released.wait(60)
    handler.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass  # the client closed the connection, as some tests intend


@contextmanager
def hosting() -> Iterator[Host]:
    """Runs the server, for the ``with`` block."""

    class Own(Handler):
        pass

    with _Server(("127.0.0.1", 0), Own) as server:
        Own.host = Host(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Own.host
        finally:
            Own.host.released.set()
            server.shutdown()
            thread.join()
