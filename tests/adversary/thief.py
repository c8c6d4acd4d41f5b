"""A thief who holds the whole control plane of an estate, while it runs.

In his hands: the program and its memory, the broker through the server's own connections in every
account, the database, the TLS keys of the listeners, the server CA, the issuing CA, the log key
and the administrator's secret. Not in his hands: the owner's folder, and the machines' disks.

    thief = Thief(estate)
    await thief.push(machine, "documents", thief.wrap(forged))
    with thief.answering(Up.PROOF, machine, lambda payload, honest: b"{}"):
        ...
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from tests.adversary.estate import Estate
from tests.adversary.machine import FieldMachine

from fleetward.device.direct import DirectPort
from fleetward.device.identity.transport import Transport, get_kit
from fleetward.runtime import x509
from fleetward.runtime.keys import FileSigner, make_key
from fleetward.server.enrol import create_enrol_app
from fleetward.server.identity.issuing import IssuedCertificate
from fleetward.server.listeners import Listener, bind
from fleetward.trust.canonical import to_base64url
from fleetward.trust.documents import Bundle
from fleetward.trust.errors import FleetwardError
from fleetward.trust.keys import ES256, PublicKey
from fleetward.trust.statements import verify_renewal
from fleetward.wire.orders import Documents
from fleetward.wire.subjects import Up

DAY_MS: Final = 86_400_000
Lie = Callable[[bytes, bytes], bytes]
"""From the question and the honest answer to the answer that is sent."""


class Thief:
    """Everything that the server holds, in the wrong hands."""

    def __init__(self, estate: Estate) -> None:
        self.estate = estate
        self.spare_key = make_key(ES256)

    @property
    def keys(self) -> Sequence[FileSigner]:
        """Every key that the server holds and that could sign a document."""
        program = self.estate.program
        return (
            program.log_key,
            program.authorities.issuing_signer,
            FileSigner(program.authorities.server_ca.key),
        )

    @property
    def log_key(self) -> FileSigner:
        """The key that signs checkpoints."""
        return self.estate.program.log_key

    # --- what the server says by itself

    async def push(self, machine: FieldMachine, word: str, payload: bytes) -> None:
        """Publish raw bytes to a machine, in every account."""
        await self.estate.program.bus_side.push(machine.device, word, payload)

    @staticmethod
    def wrap(bundle: Bundle) -> bytes:
        """Return the message that hands over a bundle."""
        return msgspec.json.encode(Documents(bundle=to_base64url(bundle.to_bytes())))

    def honest_bundle(self, machine: FieldMachine) -> Bundle:
        """Return what the server would hand to a machine."""
        return self.estate.program.house.directory.bundle(machine.device)

    # --- what the server answers

    @contextlib.contextmanager
    def answering(self, word: Up, machine: FieldMachine, lie: Lie) -> Iterator[list[bytes]]:
        """Answer one kind of a machine's questions with lies; the list fills with the questions."""
        intake = self.estate.program.house.intake
        honest: Callable[[str, Up, bytes], Awaitable[bytes | None]] = intake._dispatch
        asked: list[bytes] = []

        async def dispatch(device: str, asked_word: Up, payload: bytes) -> bytes | None:
            if device != machine.device or asked_word is not word:
                return await honest(device, asked_word, payload)
            asked.append(payload)
            try:
                answer = await honest(device, asked_word, payload)
            except FleetwardError:
                answer = b""
            return lie(payload, answer or b"")

        before = vars(intake).get("_dispatch")
        vars(intake)["_dispatch"] = dispatch
        try:
            yield asked
        finally:
            vars(intake).pop("_dispatch")
            if before is not None:
                vars(intake)["_dispatch"] = before

    # --- certificates

    def issue(
        self,
        transport: PublicKey,
        device: str,
        *,
        owner: str = "",
        days: int = 1,
        authority: x509.Authority | None = None,
    ) -> IssuedCertificate:
        """Issue a certificate for any id, under the stolen issuing CA or one of the thief's."""
        now = self.estate.clock.wall_ms()
        house = self.estate.program.house
        chain = x509.read_certificates(house.directory.issuing_chain().encode("ascii"))
        issuing = x509.Authority(chain[0], house.authorities._issuing_key)
        above = list(chain) if authority is None else [authority.certificate]
        public = load_der_public_key(transport.spki)
        assert isinstance(public, ec.EllipticCurvePublicKey)
        certificate = x509.issue_device_certificate(
            authority or issuing,
            public,
            spiffe_id=x509.SpiffeId(owner or self.estate.owner_root, device),
            serial=now,
            not_before_ms=now - 60_000,
            not_after_ms=now + days * DAY_MS,
        )
        pem = x509.write_certificates([certificate, *above]).decode("ascii")
        return IssuedCertificate(pem, f"{now:x}", now + days * DAY_MS)

    @contextlib.contextmanager
    def renewing(
        self, machine: FieldMachine, lie: Callable[[PublicKey], tuple[IssuedCertificate, Bundle]]
    ) -> Iterator[None]:
        """Answer renewals with what `lie` makes of the transport key that was vouched for."""
        devices = self.estate.program.house.devices

        def renew(statement: bytes) -> tuple[IssuedCertificate, Bundle]:
            renewal = verify_renewal(statement, machine.core.signer.public)
            return lie(renewal.transport)

        vars(devices)["renew"] = renew
        try:
            yield
        finally:
            vars(devices).pop("renew")

    @staticmethod
    async def renew(machine: FieldMachine) -> None:
        """Have a machine renew now, by its real way. Raises what the machine raises."""
        port = DirectPort(machine.core)
        await Transport(machine.folder / "uplink").enrol(port, await get_kit(port))

    @contextlib.asynccontextmanager
    async def enrolment_replaced(
        self, answer: Callable[[bytes], bytes], *, own_certificate: bool = False
    ) -> AsyncIterator[list[bytes]]:
        """Serve raw bytes at the enrolment port, with the server's own TLS key or another one.

        The list fills with the first kilobytes of what came.
        """
        program = self.estate.program
        stops = [c for c in program._closers if isinstance(_owner_of(c), Listener)]
        await stops[-1]()
        program._closers.remove(stops[-1])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        pair = (program.tls.server_certificate, program.tls.server_key)
        if own_certificate:
            pair = self._make_own_tls()
        context.load_cert_chain(*pair)
        heard: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                request = await reader.read(65_536)
                heard.append(request)
                if request:
                    writer.write(answer(request))
                    await writer.drain()
                writer.close()
                await writer.wait_closed()

        port = self.estate.settings.enrol_port
        server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=context)
        try:
            yield heard
        finally:
            server.close()
            await server.wait_closed()
            await self._serve_enrolment(port)

    async def _serve_enrolment(self, port: int) -> None:
        program = self.estate.program
        listener = Listener(
            create_enrol_app(program.house.devices, program.introduce),
            bind("127.0.0.1", port),
            (program.tls.server_certificate, program.tls.server_key),
        )
        await listener.start()
        program._closers.append(listener.stop)

    def _make_own_tls(self) -> tuple[Any, Any]:
        folder = self.estate.folder / "thief"
        folder.mkdir(exist_ok=True)
        now = self.estate.clock.wall_ms()
        authority = x509.make_authority(
            "Fleetward server CA", not_before_ms=now - 1000, days=9, path_length=0
        )
        key = x509.new_key()
        certificate = x509.issue_server_certificate(
            authority, key.public_key(), names=["127.0.0.1"], not_before_ms=now - 1000, days=8
        )
        pem = x509.write_certificates([certificate, authority.certificate])
        (folder / "own.pem").write_bytes(pem)
        (folder / "own.key").write_bytes(x509.write_key(key))
        return folder / "own.pem", folder / "own.key"

    # --- the database

    def write(self, statement: str, **values: object) -> int:
        """Change the database by hand; return how many rows."""
        with self.estate.program.database.write() as conn:
            return conn.execute(sa.text(statement), values).rowcount

    def rows(self, statement: str, **values: object) -> list[Any]:
        """Read the database by hand."""
        with self.estate.program.database.read() as conn:
            return list(conn.execute(sa.text(statement), values))


def _owner_of(method: Any) -> object:
    return getattr(method, "__self__", None)
