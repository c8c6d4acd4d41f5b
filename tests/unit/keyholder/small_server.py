"""A small server for the owner's tools: real TLS for the introduction, a real HTTP API.

It verifies what it is handed by `trust`, as the real one does, and can be told to lie.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from fleetward.runtime import x509
from fleetward.runtime.keys import FileSigner, make_key
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.keys import ED25519

NOW_MS = 1_795_000_000_000
TOKEN = "a-token"


@dataclass
class SmallServer:
    """What the server holds, and what was handed to it."""

    folder: Path
    log_key: FileSigner = field(default_factory=lambda: make_key(ED25519))
    uploads: list[dict[str, Any]] = field(default_factory=list)
    posts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    owner: str = ""
    refuse: str = ""
    hook: Callable[[str, str, dict[str, Any]], tuple[int, Any, dict[str, str]] | None] | None = None
    """Asked before all else: method, path below /api/v1, body; None: it has no answer."""
    request: bytes = b""
    """What it sends as the request for its issuing CA, when it lies about that."""

    def __post_init__(self) -> None:
        self.authority = x509.make_authority(
            "test server CA", not_before_ms=NOW_MS - 10**12, days=36500, path_length=0
        )
        self.issuing_key = x509.new_key()
        self.enrol = ""
        self.api = ""

    def reset(self) -> None:
        """Forget what was handed over, and tell the truth again."""
        self.uploads.clear()
        self.posts.clear()
        self.answers.clear()
        self.owner = self.refuse = ""
        self.hook = None

    @property
    def ca_sha256(self) -> str:
        return x509.certificate_sha256(self.authority.certificate)

    def introduction(self) -> dict[str, Any]:
        return {
            "server_ca": self.ca_sha256,
            "log_key": self.log_key.public.to_json(),
            "issuing_request": to_base64url(
                self.request or x509.make_request(self.issuing_key, "issuing")
            ),
            "enrol": [self.enrol],
            "bus": ["127.0.0.1:4222"],
            "owner": self.owner,
        }

    def write_data(self, data: Path) -> Path:
        """Write what `up` leaves in its data directory."""
        (data / "run").mkdir(parents=True)
        (data / "server").mkdir()
        ready = {"url": "", "api": self.api, "bus": "", "pid": 1, "login_url": "",
                 "ca_sha256": self.ca_sha256, "enrol": self.enrol}  # fmt: skip
        (data / "run/ready.json").write_text(json.dumps(ready))
        for name in ("run/admin-token", "server/setup-token"):
            (data / name).write_text(TOKEN + "\n")
            (data / name).chmod(0o600)
        return data


@contextmanager
def serving(folder: Path) -> Iterator[SmallServer]:
    """Run the server on loopback: one port for enrolment, one for the API."""
    state = SmallServer(folder)
    enrol = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    enrol.socket = _tls_context(state).wrap_socket(enrol.socket, server_side=True)
    api = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    state.enrol = f"127.0.0.1:{enrol.server_port}"
    state.api = f"http://127.0.0.1:{api.server_port}/api/v1"
    threads = [threading.Thread(target=s.serve_forever, daemon=True) for s in (enrol, api)]
    for thread in threads:
        thread.start()
    try:
        yield state
    finally:
        for server in (enrol, api):
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()


def _tls_context(state: SmallServer) -> ssl.SSLContext:
    import time

    key = x509.new_key()
    certificate = x509.issue_server_certificate(
        state.authority, key.public_key(), names=("127.0.0.1", "localhost"),
        not_before_ms=time.time_ns() // 1_000_000 - 3_600_000,
    )  # fmt: skip
    chain = x509.write_certificates([certificate, state.authority.certificate])
    path = state.folder / "tls.pem"
    path.write_bytes(x509.write_key(key) + chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(path)
    return context


def _handler(state: SmallServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/enrol/v1/introduction":
                self._answer(200, state.introduction())
            elif self.headers["Authorization"] != f"Bearer {TOKEN}":
                self._refuse(401, "not_signed_in")
            elif not self._hooked("GET", {}):
                answer = state.answers.get(self.path.removeprefix("/api/v1"))
                if answer is None:
                    self._refuse(404, "not_found")
                else:
                    self._answer(200, answer)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                self._refuse(401, "not_signed_in")
            elif state.refuse:
                self._refuse(409, state.refuse)
            elif self._hooked("POST", body):
                pass
            elif self.path == "/api/v1/owner/documents":
                from_base64url(body["root"])
                state.uploads.append(body)
                self._answer(201, {"ok": True})
            else:
                state.posts.append((self.path.removeprefix("/api/v1"), body))
                self._answer(200, {"ok": True})

        def _hooked(self, method: str, body: dict[str, Any]) -> bool:
            path = self.path.removeprefix("/api/v1")
            answer = state.hook(method, path, body) if state.hook else None
            if answer is None:
                return False
            status, value, headers = answer
            if status >= 400:
                self._refuse(status, str(value))
            else:
                self._answer(status, value, headers)
            return True

        def _refuse(self, status: int, reason: str) -> None:
            problem = {"type": "x", "title": "x", "status": status, "detail": "No.",
                       "reason": reason}  # fmt: skip
            self._answer(status, problem)

        def _answer(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in (headers or {}).items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
