"""Phones at the owner's console: a name, a CA of the owner's, certificates good and bad."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litestar import Litestar
from litestar.testing import TestClient
from tests.unit.keyholder.passkey_hand import Hand
from tests.unit.people.authenticator import Authenticator

from fleetward.keyholder.console.certificate import PhoneFiles
from fleetward.keyholder.console.main import PhoneWish
from fleetward.runtime import x509
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.x509 import Authority

NAME = "console.ward3.example"
ORIGIN = f"https://{NAME}:8443"
DAY_MS = 86_400_000


def now_ms() -> int:
    return SystemClock().wall_ms()


def make_ca(name: str = "Ward 3 home CA", *, path_length: int = 1) -> Authority:
    """A CA as an owner makes one for the names in his own network."""
    return x509.make_authority(
        name, not_before_ms=now_ms() - 2 * DAY_MS, days=400, path_length=path_length
    )


@dataclass(frozen=True)
class Issued:
    """Certificate, key and CA on the disk."""

    files: PhoneFiles
    ca: Authority
    ca_file: Path


def issue(
    folder: Path,
    ca: Authority,
    names: Sequence[str] = (NAME,),
    *,
    begins_ms: int | None = None,
    days: int = 30,
    between: Sequence[Authority] = (),
    named: bool = True,
) -> Issued:
    """Have a CA, or the last of those `between`, issue a certificate and write it down."""
    folder.mkdir(parents=True, exist_ok=True)
    key = x509.new_key()
    made = x509.issue_server_certificate(
        between[-1] if between else ca,
        key.public_key(),
        names=names,
        not_before_ms=now_ms() - DAY_MS if begins_ms is None else begins_ms,
        days=days,
    )
    chain = [made, *(each.certificate for each in reversed(between))]
    (folder / "chain.pem").write_bytes(x509.write_certificates(chain))
    (folder / "key.pem").write_bytes(x509.write_key(key))
    (folder / "ca.pem").write_bytes(x509.write_certificates([ca.certificate]))
    files = PhoneFiles(
        folder / "chain.pem", folder / "key.pem", folder / "ca.pem" if named else None
    )
    return Issued(files, ca, folder / "ca.pem")


def wish_phones(folder: Path) -> PhoneWish:
    """A wish that is granted: a certificate of the owner's own CA, at a port that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    return PhoneWish(NAME, issue(folder, make_ca()).files, port)


def make_hand() -> Hand:
    """A passkey on a phone, for the phones' own address."""
    return Hand(Authenticator(ORIGIN, NAME))


def enrol(phone: TestClient[Litestar], code: str, name: str = "Ada's phone") -> dict[str, Any]:
    """Add a phone by the code; its client has the secret from then on."""
    answer = phone.post("/api/v1/phone/enrol", json={"code": code, "name": name})
    assert answer.status_code == 200, answer.text
    done: dict[str, Any] = answer.json()
    phone.headers["authorization"] = f"Bearer {done['secret']}"
    return done
