"""Attacks on the owner's console: who has not the secret of this start gets nothing signed."""

# ruff: noqa: F811  (pytest takes fixtures by the names of arguments)
from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient
from tests.unit.keyholder.ledger_world import World, write_export
from tests.unit.keyholder.owner_fixtures import (  # noqa: F401
    PASSPHRASE,
    FixedClock,
    clock,
    desk,
    made_once,
    one_server,
    owner,
    passphrase_file,
    server,
)
from tests.unit.keyholder.small_server import TOKEN, SmallServer
from tests.unit.keyholder.test_desk import waiting

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.ceremony import NewOwner
from fleetward.keyholder.console.app import create_app
from fleetward.keyholder.console.keeper import Keeper
from fleetward.keyholder.desk import Desk
from fleetward.runtime.keys import make_key
from fleetward.trust.keys import ES256
from fleetward.trust.words import device_words

Page: TypeAlias = TestClient[Litestar]
SECRET = "the-secret-of-this-start"
HOST = "owner.localhost:7480"
READS = ("state", "pending", "roster", "policy", "stream")
SIGNS = ("confirm", "retire", "invitations", "verify")
OTHER_HOSTS = (
    "localhost:7480",
    "127.0.0.1:7480",
    "evil.example",
    "console.localhost:7480",
    "owner.localhost.evil.example",
    "",
)
OTHER_ORIGINS = (
    "http://evil.example",
    "null",
    "http://console.localhost:7480",
    "https://owner.localhost:7480",
    "http://owner.localhost:1",
)


@pytest.fixture
def keeper(desk: Desk, server: SmallServer, clock: FixedClock) -> Keeper:
    server.answers["/owner/pending"] = {"items": []}
    return Keeper(desk, lambda: ApiClient(server.api, TOKEN), clock)


def open_page(keeper: Keeper, folder: Path) -> TestClient[Litestar]:
    (folder / "index.html").write_text("<!doctype html><title>Owner</title>")
    app = create_app(keeper, SECRET, FixedClock(), folder)
    client = TestClient(app, base_url=f"http://{HOST}", raise_server_exceptions=False)
    client.headers["authorization"] = f"Bearer {SECRET}"
    return client


@pytest.fixture
def page(keeper: Keeper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_page(keeper, tmp_path_factory.mktemp("static")) as client:
        yield client


@pytest.fixture(scope="module")
def refusing(
    made_once: tuple[NewOwner, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """One console for all that is refused anyway."""
    keeper = Keeper(Desk(made_once[0].folder, PASSPHRASE, FixedClock()), None, FixedClock())
    with open_page(keeper, tmp_path_factory.mktemp("static")) as client:
        yield client


def reason(answer: Any) -> str:
    return str(answer.json()["reason"])


@pytest.mark.parametrize("path", [*READS, *SIGNS])
@pytest.mark.parametrize("given", [None, "Bearer ", "Bearer wrong", f"bearer {SECRET}", SECRET])
def test_nothing_is_answered_without_the_secret(
    refusing: Page, path: str, given: str | None
) -> None:
    headers = {"authorization": given or ""}
    posts = path in {"confirm", "retire", "invitations", "verify"}
    answer = refusing.request(
        "POST" if posts else "GET", f"/api/v1/{path}", headers=headers, json={} if posts else None
    )
    assert (answer.status_code, reason(answer)) == (401, "not_signed_in")


@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_another_host_is_refused_even_with_the_secret(refusing: Page, host: str) -> None:
    answer = refusing.get("/api/v1/state", headers={"host": host})
    assert (answer.status_code, reason(answer)) == (403, "host_not_allowed")


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
def test_a_page_of_another_origin_cannot_sign(refusing: Page, origin: str) -> None:
    body = {"site": "x", "uses": 1, "ttl_seconds": 3600, "preapproved": True}
    answer = refusing.post("/api/v1/invitations", json=body, headers={"origin": origin})
    assert (answer.status_code, reason(answer)) == (403, "origin_not_allowed")


def test_no_cookie_is_set_and_the_policy_is_strict(page: Page) -> None:
    for path in ("/", "/machines", "/api/v1/state"):
        answer = page.get(path)
        assert "set-cookie" not in answer.headers
        assert "require-trusted-types-for 'script'" in answer.headers["content-security-policy"]
        assert SECRET not in answer.text


def test_the_state_shows_what_the_folder_holds(page: Page, desk: Desk) -> None:
    state = page.get("/api/v1/state").json()
    documents = desk.documents()
    assert (state["owner_root"], state["name"]) == (documents.owner, "Ward 3")
    assert state["same_host"] is True
    assert "another computer" in state["same_host_words"]
    (person,) = state["policy"]["people"]
    assert {s for key in person["keys"] for s in key["scopes"]} == {
        "policy", "roster", "head", "invite", "lease", "approve",
    }  # fmt: skip


def test_words_are_computed_here_and_not_the_servers(
    page: Page, desk: Desk, server: SmallServer
) -> None:
    key = make_key(ES256)
    server.answers["/owner/pending"] = {"items": [waiting(key, words="what the server likes")]}
    (item,) = page.get("/api/v1/pending").json()["items"]
    assert item["words"] == device_words(desk.documents().owner, key.public.key_id)


def test_wrong_words_are_refused_and_right_ones_sign(
    page: Page, desk: Desk, server: SmallServer
) -> None:
    key = make_key(ES256)
    server.answers["/owner/pending"] = {"items": [waiting(key)]}
    owner, device = desk.documents().owner, key.public.key_id
    wrong = {"device_id": device, "words": device_words(owner, "b" * 32), "name": "", "site": ""}
    answer = page.post("/api/v1/confirm", json=wrong)
    assert (answer.status_code, reason(answer)) == (409, "words_differ")
    answer = page.post("/api/v1/confirm", json={**wrong, "words": device_words(owner, device)})
    assert answer.status_code == 200
    assert answer.json()["handed_over"] is True
    assert [m["id"] for m in page.get("/api/v1/roster").json()["items"]] == [device]
    assert server.uploads[-1]["entries"]
    answer = page.post("/api/v1/retire", json={"device_id": device, "reason": "sold"})
    assert answer.json()["state"] == "retired"


def test_a_signature_stands_while_the_server_is_away_and_is_handed_over_later(
    page: Page, keeper: Keeper, desk: Desk, server: SmallServer
) -> None:
    key = make_key(ES256)
    server.answers["/owner/pending"] = {"items": [waiting(key)]}
    server.refuse = "busy"
    words = device_words(desk.documents().owner, key.public.key_id)
    answer = page.post("/api/v1/confirm", json={"device_id": key.public.key_id, "words": words})
    assert answer.json()["handed_over"] is False
    before = len(server.uploads)
    server.refuse = ""
    keeper.look()
    assert len(server.uploads) == before + 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("invitations", {"site": "x", "uses": 0, "ttl_seconds": 3600}),
        ("invitations", {"site": "x", "uses": 1, "ttl_seconds": 1}),
        ("invitations", {"site": "x", "uses": 1, "ttl_seconds": 3600, "admin": True}),
        ("invitations", {"site": "x", "uses": "1", "ttl_seconds": 3600}),
        ("confirm", {"device_id": "../../etc", "words": "a b c d e f"}),
        ("verify", {"path": "/etc"}),
    ],
)
def test_bad_questions_are_refused(refusing: Page, path: str, body: dict[str, Any]) -> None:
    assert refusing.post(f"/api/v1/{path}", json=body).status_code == 422


def test_the_lease_is_renewed_once_a_day(
    keeper: Keeper, desk: Desk, clock: FixedClock, server: SmallServer
) -> None:
    first = desk.documents().lease
    keeper.renew_when_due()
    assert desk.documents().lease == first
    clock.now += 86_400_000
    keeper.renew_when_due()
    second = desk.documents().lease
    assert first is not None
    assert second is not None
    assert second.serial > first.serial
    assert server.uploads


def test_a_lying_export_is_shown_as_contradicted(
    page: Page, server: SmallServer, tmp_path: Path
) -> None:
    import io
    import tarfile

    folder = write_export(World().live(), tmp_path / "export")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            tar.add(path, path.relative_to(folder).as_posix())
    server.answers["/record/export"] = data.getvalue()
    verdict = page.post("/api/v1/verify", json={}).json()
    assert [f["id"] for f in verdict["contradicted"]] == ["bad_owner_documents"]
    assert "fleetward audit verify" in verdict["command"]


def test_the_real_program_listens_on_loopback_alone(
    owner: NewOwner, passphrase_file: Path, tmp_path: Path
) -> None:
    ready = tmp_path / "ready.json"
    program = "from fleetward.cli.owner import owner_app; import sys;owner_app(args=sys.argv[1:])"
    command = [
        sys.executable, "-c", program, "console", "--no-browser", "--owner",
        str(owner.folder.path), "--passphrase-file", str(passphrase_file),
        "--ready-file", str(ready),
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 30
        while not ready.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)
        told = msgspec.json.decode(ready.read_bytes())
        assert ready.stat().st_mode & 0o077 == 0
        port = int(told["url"].split(":")[2].rstrip("/"))
        assert told["pid"] == process.pid
        with open("/proc/net/tcp") as table:  # noqa: PTH123
            listening = [line.split() for line in table if f":{port:04X} " in line]
        addresses = {row[1].split(":")[0] for row in listening if row[3] == "0A"}
        assert addresses == {"0100007F"}
        secret = told["open"].partition("#secret=")[2]
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(
                f"GET /api/v1/state HTTP/1.1\r\nHost: owner.localhost:{port}\r\n"
                f"Authorization: Bearer {secret}\r\nConnection: close\r\n\r\n".encode()
            )
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200")
        assert owner.documents.owner.encode() in answer
    finally:
        os.kill(process.pid, signal.SIGTERM)
        errors = process.communicate(timeout=30)[1]
    assert PASSPHRASE not in errors
