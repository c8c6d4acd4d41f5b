"""The transport key: fresh at every renewal, in uplink's own folder, good for TLS and nothing else.

Enrolling, seen from uplink: make a key, have guard vouch for it, post what guard says, hand the
reply to guard. The key replaces the old one only after guard has taken the certificate.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from pathlib import Path
from typing import Final

import msgspec

from fleetward.device.identity.enrol import fetch_pinned_ca, post_enrolment
from fleetward.device.launcher.interpreter import own_release
from fleetward.device.port import GetKit, GuardPort, Kit, TakeCertificate, TakeServerCa, Vouch
from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.runtime.keys import from_pkcs8, make_key, to_pkcs8
from fleetward.trust.errors import FleetwardError, Unreachable, Untrusted
from fleetward.trust.keys import ES256
from fleetward.wire.identity import JOIN_PATH, RENEW_PATH

MAX_KEY_BYTES: Final = 4096


class Transport:
    """Uplink's key files. `folder` is 0700 and uplink's own."""

    def __init__(self, folder: Path) -> None:
        self.key_file = folder / "transport.key"
        self.certificate_file = folder / "transport.pem"
        self._next_file = folder / "transport.next"

    def matches(self, kit: Kit) -> bool:
        """Return whether the key that guard's certificate is over is here."""
        if not kit.certificate_pem:
            return False
        for path in (self.key_file, self._next_file):
            if _key_id_in(path) == kit.certificate_key:
                if path == self._next_file:
                    self._next_file.replace(self.key_file)
                return True
        return False

    def write_certificate(self, kit: Kit) -> None:
        """Put the certificate beside its key, where the TLS library wants it."""
        atomic_write(self.certificate_file, kit.certificate_pem.encode("ascii"))

    async def enrol(self, port: GuardPort, kit: Kit) -> None:
        """Join, or renew: get a certificate over a fresh key. Raises the families of errors.

        A CA that the owner's policy replaced is fetched again first.
        """
        kit = await self._ensure_ca(port, kit)
        signer = make_key(ES256)
        vouched = await port.ask(Vouch(), signer.public.spki)
        atomic_write(self._next_file, to_pkcs8(signer))
        path = RENEW_PATH if kit.joined else JOIN_PATH
        reply = await asyncio.to_thread(
            post_enrolment, kit.enrol, kit.server_ca_pem, path, vouched.body
        )
        await port.ask(TakeCertificate(), reply)
        self._next_file.replace(self.key_file)

    async def _ensure_ca(self, port: GuardPort, kit: Kit) -> Kit:
        """Return a kit with a CA; the owner may have named another since the last time."""
        if not kit.server_ca_pem:
            return await self._fetch_ca(port, kit)
        if _sha256_of(kit.server_ca_pem) == kit.server_ca_sha256:
            return kit
        try:
            return await self._fetch_ca(port, kit)
        except (Untrusted, Unreachable):
            return kit  # The server has not changed to the new CA yet.

    async def _fetch_ca(self, port: GuardPort, kit: Kit) -> Kit:
        der = await asyncio.to_thread(fetch_pinned_ca, kit.enrol, kit.server_ca_sha256)
        await port.ask(TakeServerCa(), der)
        return await get_kit(port)


async def get_kit(port: GuardPort) -> Kit:
    """Return what guard says is needed to connect."""
    reply = await port.ask(GetKit(own_release()))
    return msgspec.json.decode(reply.body, type=Kit)


def _key_id_in(path: Path) -> str:
    try:
        return from_pkcs8(read_bounded(path, MAX_KEY_BYTES)).public.key_id
    except FleetwardError:
        return ""


def _sha256_of(pem: str) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
