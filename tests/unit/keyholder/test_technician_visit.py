"""A visit from asking to its end, as its page sees it; and a reader that is slow."""

from __future__ import annotations

import socket
import time

from tests.technician_stage import MemorySession, served

from fleetward.trust.errors import Unreachable
from fleetward.wire.access import WINDOW_BYTES, Frame

BIG = 32 * WINDOW_BYTES


def test_it_waits_through_a_server_that_is_away_and_opens() -> None:
    with served() as stage, stage.client() as page:
        told = page.get("/api/v1/visit").json()
        assert (told["phase"], told["machine_ready"]) == ("waiting", True)
        assert told["approvers"] == ["ada", "ben"]
        assert (told["six_words"], told["given"]) == ("", [])
        stage.wait.denied = Unreachable("The server is away.", reason="server_unreachable")
        stage.until(lambda: page.get("/api/v1/visit").json()["unreachable"], "it says so")
        stage.wait.denied = None
        stage.allow()
        told = page.get("/api/v1/visit").json()
        assert (told["phase"], told["unreachable"]) == ("open", "")
        assert told["people"] == ["ada"]
        assert len(told["six_words"].split()) == 6
        assert 0 < told["left_seconds"] <= 600
        assert [each["kind"] for each in told["given"]] == [
            "terminal", "tcp", "tcp", "logs", "files"
        ]  # fmt: skip


def test_leaving_by_the_page_tells_the_machine() -> None:
    session = MemorySession()
    with served(session) as stage, stage.client() as page:
        stage.allow()
        page.post("/api/v1/leave", json={})
        stage.until(lambda: stage.house.visit.known.phase == "over", "it is over")
        told = page.get("/api/v1/visit").json()
        assert (told["over_words"], told["failed"]) == ("You left.", False)
        assert session.machine.seen[-1].kind is Frame.LEAVE


def test_leaving_waits_for_nobody() -> None:
    session = MemorySession()
    session.machine.silent_for = 10**6
    with served(session) as stage, stage.client() as page:
        stage.wait.allowed.set()
        stage.until(lambda: stage.house.visit.known.phase == "opening", "it opens")
        page.post("/api/v1/leave", json={})
        stage.until(lambda: stage.house.visit.known.phase == "over", "it is over", 5)


def test_a_slow_reader_holds_up_his_own_file_and_nothing_else() -> None:
    session = MemorySession()
    session.machine.files["big"] = bytes(BIG)
    with served(session) as stage, stage.client() as page:
        stage.allow()
        ticket = page.post("/api/v1/files/ticket", json={"place": 4, "path": "big"}).json()
        with socket.create_connection(("127.0.0.1", stage.port), 5) as line:
            host = f"technician.localhost:{stage.port}"
            line.sendall(f"GET {ticket['address']} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            line.recv(1000)
            time.sleep(0.5)
            left = sum(len(part) for part in session.machine._waiting[1])
            assert left > BIG // 2
            shown = page.get("/api/v1/transfers").json()["items"][0]
            assert (shown["state"], shown["size"]) == ("moving", BIG)
            assert shown["moved"] < BIG // 2
            answer = page.post("/api/v1/files/ticket", json={"place": 4, "path": "big"})
            assert answer.json()["reason"] == "transfer_busy"
        stage.until(
            lambda: page.get("/api/v1/transfers").json()["items"][0]["state"] == "failed",
            "it is known that nobody takes it",
        )
