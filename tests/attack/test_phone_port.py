"""Attacks on the port for phones: other names, other origins, other protocols, too many at once."""

# ruff: noqa: F811  (pytest takes fixtures by the names of arguments)
from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.keyholder.owner_fixtures import (  # noqa: F401
    PASSPHRASE,
    made_once,
    one_server,
)
from tests.unit.keyholder.phone_doors import (  # noqa: F401
    Doors,
    both,
    doors,
    reason,
    scene,
)
from tests.unit.keyholder.phone_world import NAME, enrol, now_ms, wish_phones

from fleetward.keyholder.console.certificate import check_certificate
from fleetward.keyholder.console.main import (
    Beside,
    ConsoleWish,
    PhoneWish,
    configure,
    serve_console,
)
from fleetward.keyholder.console.port import MAX_OF_ONE_ADDRESS, bind_phone_port
from fleetward.keyholder.console.rights import API
from fleetward.keyholder.console.shunned import Shunned
from fleetward.trust.errors import Refused


@pytest.mark.parametrize(
    "host",
    ["evil.example:8443", "owner.localhost:8443", "127.0.0.1:8443", f"x.{NAME}:8443", f"{NAME}."],
)
def test_a_name_that_was_rebound_is_refused(doors: Doors, host: str) -> None:
    enrol(doors.phone, doors.code())
    answer = doors.phone.get(f"{API}/access", headers={"host": host})
    assert reason(answer) == "403 host_not_allowed"


@pytest.mark.parametrize(
    "origin", ["null", "https://evil.example", f"http://{NAME}:8443", f"https://{NAME}:1"]
)
def test_a_page_of_another_origin_asks_nothing(doors: Doors, origin: str) -> None:
    enrol(doors.phone, doors.code())
    answer = doors.phone.post(f"{API}/access/prepare", json={}, headers={"origin": origin})
    assert reason(answer) == "403 origin_not_allowed"


def test_a_phones_pages_have_strict_headers(doors: Doors) -> None:
    for path in ("/", "/sessions", f"{API}/access"):
        answer = doors.phone.get(path)
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert "require-trusted-types-for 'script'" in answer.headers["content-security-policy"]
        assert "set-cookie" not in answer.headers
    assert "strict-transport-security" not in doors.local.get("/").headers


def test_the_port_speaks_tls_13_alone_and_no_plain_http(doors: Doors, tmp_path: Path) -> None:
    wish = wish_phones(tmp_path / "tls")
    with serving_phones(doors, wish):
        with socket.create_connection(("127.0.0.1", wish.port), timeout=10) as plain:
            plain.sendall(f"GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
            plain.settimeout(10)
            heard = b""
            try:
                while data := plain.recv(4096):
                    heard += data
            except ConnectionResetError:
                pass
            assert b"HTTP" not in heard
        assert ask(wish.files.phone_ca, wish.port).startswith(b"HTTP/1.1 200")
        assert b"host_not_allowed" in ask(wish.files.phone_ca, wish.port, "evil.example")
        with pytest.raises(ssl.SSLError):
            ask(wish.files.phone_ca, wish.port, most=ssl.TLSVersion.TLSv1_2)


def test_who_opens_connections_and_says_nothing_takes_few_descriptors(
    doors: Doors, tmp_path: Path
) -> None:
    wish = wish_phones(tmp_path / "tls")
    with serving_phones(doors, wish):
        idle = [knock(wish.port, "127.0.0.2") for _ in range(MAX_OF_ONE_ADDRESS + 8)]
        try:
            assert [is_closed(each) for each in idle] == ([False] * MAX_OF_ONE_ADDRESS + [True] * 8)
            # Others are served meanwhile, and so is he when he has closed some.
            assert ask(wish.files.phone_ca, wish.port).startswith(b"HTTP/1.1 200")
            for each in idle[:4]:
                each.close()
            time.sleep(0.3)
            again = knock(wish.port, "127.0.0.2")
            assert not is_closed(again)
            again.close()
        finally:
            for each in idle:
                each.close()


def knock(port: int, source: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 5, (source, 0))


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.2)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


def test_the_program_serves_phones_beside_loopback_and_ends_with_both(
    doors: Doors, tmp_path: Path
) -> None:
    wish = wish_phones(tmp_path / "tls")
    secret = tmp_path / "passphrase"
    secret.write_bytes(PASSPHRASE)
    secret.chmod(0o600)
    ready = tmp_path / "ready.json"
    program = "from fleetward.cli.owner import owner_app; import sys;owner_app(args=sys.argv[1:])"
    command = [
        sys.executable, "-c", program, "console", "--no-browser", "--host", NAME,
        "--port", str(wish.port), "--certificate", str(wish.files.certificate),
        "--key", str(wish.files.key), "--phone-ca", str(wish.files.phone_ca),
        "--owner", str(doors.keeper.desk.folder.path), "--passphrase-file", str(secret),
        "--ready-file", str(ready),
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not ready.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)
        told = json.loads(ready.read_bytes())
        assert told["phones"] == wish.origin
        local = int(told["url"].split(":")[2].rstrip("/"))
        assert {local: "0100007F", wish.port: "00000000"} == {
            port: address_of(port) for port in (local, wish.port)
        }
        assert ask(wish.files.phone_ca, wish.port).startswith(b"HTTP/1.1 200")
        with pytest.raises(ssl.SSLError):  # its own pages are on loopback alone, and not there
            ask(wish.files.phone_ca, local)
        body = json.dumps({"code": told["code"], "name": "a phone"})
        done = ask(wish.files.phone_ca, wish.port, path="/phone/enrol", body=body)
        phone = json.loads(done.partition(b"\r\n\r\n")[2])["secret"]
        # With a stream open it still ends soon.
        streaming = threading.Thread(
            target=ask, args=(wish.files.phone_ca, wish.port),
            kwargs={"path": "/stream", "secret": phone},
        )  # fmt: skip
        streaming.start()
        time.sleep(0.5)
    finally:
        begun = time.monotonic()
        process.terminate()
        errors = process.communicate(timeout=30)[1]
    streaming.join(10)
    assert time.monotonic() - begun < 10
    assert PASSPHRASE not in errors
    assert told["code"].encode() in errors


def address_of(port: int) -> str:
    with open("/proc/net/tcp") as table:  # noqa: PTH123
        (row,) = [
            r for r in map(str.split, table) if r[1].endswith(f":{port:04X}") and r[3] == "0A"
        ]
    return row[1].split(":")[0]


@contextmanager
def serving_phones(doors: Doors, wish: PhoneWish) -> Iterator[None]:
    """Serve the phones' application as the program does, at a port of loopback."""
    tls = check_certificate(wish.name, wish.files, Shunned(frozenset(), frozenset()), now_ms())
    server = Beside(configure(doors.phone.app, tls.context))
    listening = bind_phone_port(wish.port)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
        yield
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def ask(
    ca: Path | None,
    port: int,
    host: str = NAME,
    most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    path: str = "",
    body: str = "",
    secret: str = "",
) -> bytes:
    context = ssl.create_default_context(cafile=str(ca))
    context.maximum_version = most
    address = API + path if path else "/" if host == NAME else f"{API}/access"
    lines = [
        f"{'POST' if body else 'GET'} {address} HTTP/1.1", f"Host: {host}", "Connection: close",
        f"Authorization: Bearer {secret}", "Content-Type: application/json",
        f"Content-Length: {len(body)}", "", body,
    ]  # fmt: skip
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as tls,
    ):
        tls.sendall("\r\n".join(lines).encode())
        return b"".join(iter(lambda: tls.recv(65536), b""))


def test_nothing_is_opened_when_the_certificate_is_refused(doors: Doors, tmp_path: Path) -> None:
    wish = wish_phones(tmp_path / "tls")
    stolen = replace(wish, files=replace(wish.files, phone_ca=None))
    with pytest.raises(Refused, match="No phone would take"):
        serve_console(doors.keeper, doors.clock, ConsoleWish(phones=stolen), print)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", wish.port), timeout=5)
