"""Attacks on the making of an owner: a server between, a folder of somebody else, an open file."""

# ruff: noqa: F811  (pytest takes fixtures by the names of arguments)
from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509 as certificates
from tests.unit.keyholder.owner_fixtures import (  # noqa: F401
    PASSPHRASE,
    FixedClock,
    clock,
    data,
    one_server,
    server,
)
from tests.unit.keyholder.small_server import SmallServer

from fleetward.keyholder.init import init_owner, name_local_server
from fleetward.keyholder.passphrase import ask_passphrase
from fleetward.keyholder.pinned import fetch_introduction
from fleetward.keyholder.place import api_address
from fleetward.runtime import x509
from fleetward.trust.errors import Malformed, Refused, Untrusted

IN_THE_OPEN = (
    "http://fleet.example",
    "ftp://127.0.0.1",
    "fleet.example",
    "http://127.0.0.1.evil.example",
    "",
)


@contextmanager
def between(
    folder: Path, chain: list[certificates.Certificate], key: bytes
) -> Iterator[tuple[str, list[str]]]:
    """Run a server that shows `chain`; yield its address and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:
            pass

    path = folder / "between.pem"
    path.write_bytes(key + x509.write_certificates(chain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.handle_error = lambda *_: None  # type: ignore[method-assign]
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listening.server_port}", asked
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def issue(
    authority: x509.Authority, *, names: tuple[str, ...] = ("127.0.0.1",)
) -> tuple[certificates.Certificate, bytes]:
    key = x509.new_key()
    now_ms = time.time_ns() // 1_000_000 - 3_600_000
    issued = x509.issue_server_certificate(
        authority, key.public_key(), names=names, not_before_ms=now_ms
    )
    return issued, x509.write_key(key)


def rogue_authority() -> x509.Authority:
    return x509.make_authority("rogue", not_before_ms=10**12, days=36500, path_length=0)


def test_a_server_that_shows_the_true_ca_above_its_own_certificate_is_refused(
    tmp_path: Path, server: SmallServer
) -> None:
    leaf, key = issue(rogue_authority())
    shown = [leaf, server.authority.certificate]
    with between(tmp_path, shown, key) as (address, asked):
        with pytest.raises(Untrusted) as refused:
            fetch_introduction(address, server.ca_sha256)
        assert asked == []
    assert refused.value.reason == "wrong_server_ca"


def test_a_server_under_another_ca_is_refused_and_asked_nothing(
    tmp_path: Path, server: SmallServer
) -> None:
    rogue = rogue_authority()
    leaf, key = issue(rogue)
    with between(tmp_path, [leaf, rogue.certificate], key) as (address, asked):
        with pytest.raises(Untrusted):
            fetch_introduction(address, server.ca_sha256)
        assert asked == []


def test_a_certificate_of_the_true_ca_for_another_name_is_refused(
    tmp_path: Path, server: SmallServer
) -> None:
    leaf, key = issue(server.authority, names=("elsewhere.example",))
    shown = [leaf, server.authority.certificate]
    with between(tmp_path, shown, key) as (address, asked):
        with pytest.raises(Untrusted):
            fetch_introduction(address, server.ca_sha256)
        assert asked == []


def test_a_true_server_with_nonsense_to_say_is_refused(tmp_path: Path, server: SmallServer) -> None:
    leaf, key = issue(server.authority)
    shown = [leaf, server.authority.certificate]
    with between(tmp_path, shown, key) as (address, _), pytest.raises(Malformed):
        fetch_introduction(address, server.ca_sha256)


def test_a_request_that_its_sender_does_not_hold_the_key_of_is_not_signed(
    tmp_path: Path, data: Path, server: SmallServer, clock: FixedClock
) -> None:
    true_key = server.issuing_key
    forged = bytearray(x509.make_request(true_key, "issuing"))
    forged[-1] ^= 1
    try:
        server.request = bytes(forged)
        with pytest.raises((Untrusted, Malformed)):
            init_owner(tmp_path / "o", PASSPHRASE, name_local_server(data), ("W", "A"), clock)
    finally:
        server.request = b""
    assert not (tmp_path / "o").exists()
    assert server.uploads == []


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_passphrase_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(PASSPHRASE)
    path.chmod(mode)
    with pytest.raises(Refused, match="chmod 600"):
        ask_passphrase(path)


def test_a_passphrase_file_behind_a_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(PASSPHRASE)
    path.chmod(0o600)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(Refused):
        ask_passphrase(tmp_path / "link")


def test_a_short_new_passphrase_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(b"too short")
    path.chmod(0o600)
    with pytest.raises(Malformed, match="at least 12"):
        ask_passphrase(path, twice=True)


@pytest.mark.parametrize("server_address", IN_THE_OPEN)
def test_a_token_never_crosses_a_network_in_the_open(server_address: str) -> None:
    with pytest.raises(Malformed):
        api_address(server_address)
