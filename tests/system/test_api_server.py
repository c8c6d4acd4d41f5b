"""The floor and the people slice behind a real server on loopback."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn

from fleetward.runtime.clock import SystemClock
from fleetward.runtime.database import Database
from fleetward.runtime.http.hosts import HostPolicy
from fleetward.server.deeds import Deed
from fleetward.server.people.wiring import PeopleSettings, PeopleSlice, open_people
from fleetward.server.schema.migrate import migrate
from fleetward.server.web import stream
from fleetward.server.web.app import Services, create_app
from fleetward.server.web.guard import WatchedRecorder
from fleetward.server.web.stream import EventHub

START_SECONDS = 15


class CountingRecorder:
    """Counts deeds."""

    def __init__(self) -> None:
        self.count = 0

    def record(self, deed: Deed) -> int:
        self.count += 1
        return self.count - 1


@dataclass(frozen=True)
class RunningApi:
    """A server that answers, and the parts that a test reaches into."""

    url: str
    people: PeopleSlice
    hub: EventHub
    recorder: CountingRecorder

    def sign_in(self) -> str:
        """Open an admin's session and return its secret."""
        link = self.people.people.make_login_link(self.people.people.bootstrap("Ada"), self.url)
        code = link.partition("#code=")[2]
        opened = httpx.post(f"{self.url}/api/v1/session/redeem", json={"code": code})
        return str(opened.raise_for_status().json()["token"])


@contextmanager
def run_api(directory: Path) -> Iterator[RunningApi]:
    """Serve the application on a free port of 127.0.0.1."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    database = Database.open(f"sqlite:///{directory / 'state.db'}")
    migrate(database, backup=lambda: None)
    recorder, hub = CountingRecorder(), EventHub()
    people = open_people(
        database,
        WatchedRecorder(recorder),
        SystemClock(),
        lambda: "owner",
        PeopleSettings("console.localhost", url, loopback_only=True),
    )
    app = create_app(
        Services(
            handlers=people.handlers,
            authenticator=people.sessions,
            hosts=HostPolicy(frozenset({"127.0.0.1"})),
            hub=hub,
            static=directory / "static",
        )
    )
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    deadline = time.monotonic() + START_SECONDS
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        yield RunningApi(url, people, hub, recorder)
    finally:
        hub.close()
        server.should_exit = True
        thread.join(START_SECONDS)
        database.close()
        listener.close()
    assert not thread.is_alive(), "the server did not stop"


def test_events_reach_a_reader_and_end_with_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.1)
    with run_api(tmp_path) as api:
        headers = {"authorization": f"Bearer {api.sign_in()}"}
        address = f"{api.url}/api/v1/stream"
        with httpx.stream("GET", address, headers=headers, timeout=10) as reader:
            assert reader.status_code == 200
            assert reader.headers["content-type"].startswith("text/event-stream")
            lines = reader.iter_lines()
            assert next(lines) == ": still here"
            api.hub.publish("device.changed", {"id": "d1"})
            assert next(line for line in lines if line.startswith("event:")) == (
                "event: device.changed"
            )
            assert json.loads(next(lines).removeprefix("data: ")) == {"id": "d1"}
            httpx.delete(f"{api.url}/api/v1/session", headers=headers).raise_for_status()
            assert set(lines) <= {"", ": still here"}
        assert httpx.get(address, headers=headers).status_code == 401


def test_a_server_with_open_streams_stops(tmp_path: Path) -> None:
    with run_api(tmp_path) as api:
        headers = {"authorization": f"Bearer {api.sign_in()}"}
        client = httpx.Client(timeout=10)
        request = client.build_request("GET", f"{api.url}/api/v1/stream", headers=headers)
        reader = client.send(request, stream=True)
        assert reader.status_code == 200
        began = time.monotonic()
    assert time.monotonic() - began < 5
    reader.close()
    client.close()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /api/v1/session HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /api/v1/session HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        b"GET /api/v1/session HTTP/1.1\r\n\r\n",
        b"GET http://evil.example/api/v1/session HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /api/v1/persons/%00%ff%2e%2e HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    ],
)
def test_raw_noise_gets_a_4xx_and_the_server_lives(tmp_path: Path, request_bytes: bytes) -> None:
    with run_api(tmp_path) as api:
        port = int(api.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
            peer.sendall(request_bytes + b"\r\n\r\n")
            assert peer.recv(4096).startswith(b"HTTP/1.1 4")
        assert httpx.get(f"{api.url}/api/openapi.json").status_code == 200
