"""A server that takes releases, over real HTTP on loopback: honest until a test says otherwise.

It keeps what it was sent, as bytes, in the order in which it came, so that a test can read every
request that a maker made.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

BLOBS = "/api/v1/updates/blobs/"


@dataclass
class UpdateServer:
    """What it holds, and how it misbehaves."""

    address: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    complete: set[str] = field(default_factory=set)
    metadata: dict[str, bytes] = field(default_factory=dict)
    releases: list[dict[str, str]] = field(default_factory=list)
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    """Method with path, and body, of every request."""
    cut_after: int = -1
    """Pieces that are taken before the connection is cut instead of answered; -1: never."""
    keeps_cut_piece: bool = True
    """Whether the piece whose answer was lost was stored."""
    takes_nothing: bool = False
    size_lie: int | None = None
    repository_lie: str = ""
    refuses: bool = False

    def take(self, sha256: str, offset: int, total: int, data: bytes) -> dict[str, Any]:
        held = self.blobs.get(sha256, b"")
        if offset == len(held) and not self.takes_nothing:
            held += data
            self.blobs[sha256] = held
        if len(held) == total and hashlib.sha256(held).hexdigest() == sha256:
            self.complete.add(sha256)
        return self.say(sha256)

    def say(self, sha256: str) -> dict[str, Any]:
        size = len(self.blobs.get(sha256, b"")) if self.size_lie is None else self.size_lie
        return {"size": size, "complete": sha256 in self.complete}


@contextmanager
def serving() -> Iterator[UpdateServer]:
    """Serve on a free port of loopback."""
    world = UpdateServer()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            del format, args

        def do_GET(self) -> None:
            world.asked.append((f"GET {self.path}", b""))
            self._answer(world.say(urlsplit(self.path).path.removeprefix(BLOBS)))

        def do_PUT(self) -> None:
            body = self._body()
            parts = urlsplit(self.path)
            query = {name: int(rows[0]) for name, rows in parse_qs(parts.query).items()}
            sha256 = parts.path.removeprefix(BLOBS)
            if world.refuses:
                self._answer({"status": 403, "detail": "No.", "reason": "not_allowed"}, 403)
                return
            is_cut = world.cut_after == 0
            world.cut_after -= 1
            if not is_cut or world.keeps_cut_piece:
                answer = world.take(sha256, query["offset"], query["length"], body)
            if is_cut:
                self.close_connection = True
                self.connection.close()
                return
            self._answer(answer)

        def do_POST(self) -> None:
            said = json.loads(self._body())
            if self.path.endswith("/metadata"):
                for file in said["files"]:
                    world.metadata[file["name"]] = _decode(file["data"])
                first = hashlib.sha256(world.metadata["1.root.json"]).hexdigest()
                self._answer({"repository": world.repository_lie or first})
            else:
                world.releases.append(said)
                self._answer({})

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            world.asked.append((f"{self.command} {self.path}", body))
            return body

        def _answer(self, said: dict[str, Any], status: int = 200) -> None:
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    world.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield world
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
