"""A real broker on loopback with a throw-away PKI, for tests that need one.

async with broker_world(tmp_path) as world:
    device = world.make_device()
    async with await world.connect(device) as bus:
        ...
"""

import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from fleetward.runtime.broker import Account, Broker, BrokerSettings
from fleetward.runtime.bus import (
    Bus,
    BusEndpoint,
    BusProblem,
    DeviceProfile,
    InternalProfile,
    connect_bus,
)
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.files import atomic_write, make_private_directory
from fleetward.runtime.x509 import (
    Authority,
    SpiffeId,
    issue_device_certificate,
    issue_intermediate,
    issue_internal_certificate,
    issue_server_certificate,
    make_authority,
    new_key,
    spki_der,
    write_certificates,
    write_key,
)
from fleetward.server.callout import (
    Admission,
    Callout,
    ConnectionJudge,
    Decision,
    PeerCertificate,
    Verdict,
)
from fleetward.trust.keys import key_id_of

DAY_MS = 86_400_000
OWNER_ID = "ab" * 32
NOT_LET_IN = ("certificate_refused", "bus_hung_up")
"""In TLS 1.3 the refusal comes after the handshake, and a reset can overtake it."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Fleet:
    """The certificate tree of one owner: fleet CA and issuing CA."""

    root: Authority
    issuing: Authority
    owner_id: str


@dataclass(frozen=True)
class Device:
    """A device with its certificate on the disk."""

    device_id: str
    endpoint: BusEndpoint
    certificate: x509.Certificate


def make_fleet(owner_id: str = OWNER_ID, *, constrained_to: str | None = None) -> Fleet:
    start = now_ms() - DAY_MS
    root = make_authority("fleet CA", not_before_ms=start, days=3650, path_length=1)
    key = new_key()
    issuing = issue_intermediate(
        root,
        key.public_key(),
        "issuing CA",
        owner_id=constrained_to or owner_id,
        not_before_ms=start,
        days=365,
    )
    return Fleet(root, Authority(issuing, key), owner_id)


class OpenJudge:
    """Decides by a table that the test writes; whoever is not in it is a device."""

    def __init__(self) -> None:
        self.decisions: dict[str, Decision] = {}
        self.seen: list[PeerCertificate] = []
        self.behaviour = "answers"

    def judge(self, peer: PeerCertificate) -> Admission:
        if self.behaviour == "fails":
            raise RuntimeError("a judge that fails")
        if self.behaviour == "sleeps":
            time.sleep(1.2)
        self.seen.append(peer)
        return Admission(self.decisions.get(peer.device_id, Decision.DEVICES), "test_table")


@dataclass
class World:
    """A running broker, its PKI, and what was reported."""

    directory: Path
    server_ca: Authority
    fleet: Fleet
    broker: Broker
    port: int
    verdicts: list[Verdict] = field(default_factory=list)
    problems: list[BusProblem] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    _names: int = 0
    _open: list[Bus] = field(default_factory=list)
    _callouts: list[Callout] = field(default_factory=list)

    @property
    def server_ca_pem(self) -> str:
        return write_certificates([self.server_ca.certificate]).decode()

    def make_device(
        self,
        *,
        fleet: Fleet | None = None,
        owner_id: str | None = None,
        device_id: str | None = None,
        lives_ms: int = DAY_MS,
        started_ms_ago: int = DAY_MS // 2,
    ) -> Device:
        """A certificate for a fresh key, signed as asked: rightly, unless a test says otherwise."""
        fleet = fleet or self.fleet
        key = new_key()
        device_id = device_id or key_id_of(spki_der(new_key().public_key()))
        start = now_ms() - started_ms_ago
        certificate = issue_device_certificate(
            fleet.issuing,
            key.public_key(),
            spiffe_id=SpiffeId(owner_id or fleet.owner_id, device_id),
            serial=x509.random_serial_number(),
            not_before_ms=start,
            not_after_ms=start + lives_ms,
        )
        endpoint = self.store([certificate, fleet.issuing.certificate], write_key(key))
        return Device(device_id, endpoint, certificate)

    def store(self, chain: list[x509.Certificate], key_pem: bytes) -> BusEndpoint:
        """Write a certificate and key, and say how to connect with them."""
        self._names += 1
        certificate_file = self.directory / f"peer-{self._names}.crt"
        key_file = self.directory / f"peer-{self._names}.key"
        atomic_write(certificate_file, write_certificates(chain))
        atomic_write(key_file, key_pem)
        return BusEndpoint("127.0.0.1", self.port, self.server_ca_pem, certificate_file, key_file)

    async def connect(self, device: Device) -> Bus:
        """Connect as this device. The world closes what the test does not."""
        return await self._connect(device.endpoint, DeviceProfile(device.device_id))

    async def connect_internal(self, account: Account) -> Bus:
        """Connect as a part of the server."""
        return await self._connect(self.broker.endpoint(), self.broker.profile(account))

    async def _connect(
        self, endpoint: BusEndpoint, profile: DeviceProfile | InternalProfile
    ) -> Bus:
        bus = await connect_bus(endpoint, profile, on_problem=self.problems.append)
        self._open.append(bus)
        return bus

    async def close(self) -> None:
        for callout in self._callouts:
            await callout.stop()
        for bus in self._open:
            await bus.close()
        await self.broker.stop()

    async def start_callout(
        self, judge: ConnectionJudge, on_verdict: Callable[[Verdict], None] | None = None
    ) -> Callout:
        callout = Callout(
            await self.connect_internal(Account.AUTH),
            self.broker.issuer,
            judge,
            SystemClock(),
            device_roots=self.broker.device_roots,
            on_verdict=on_verdict or self.verdicts.append,
        )
        await callout.start()
        self._callouts.append(callout)
        return callout


@contextlib.asynccontextmanager
async def broker_world(directory: Path) -> AsyncIterator[World]:
    """Start a broker without a callout (nobody comes in); stop it at the end."""
    start = now_ms() - DAY_MS
    make_private_directory(directory)
    server_ca = make_authority("server CA", not_before_ms=start, days=3650, path_length=0)
    port = free_port()
    tls_key, internal_key = new_key(), new_key()
    tls = issue_server_certificate(
        server_ca, tls_key.public_key(), names=("localhost", "127.0.0.1"), not_before_ms=start
    )
    internal = issue_internal_certificate(
        server_ca, internal_key.public_key(), "server", not_before_ms=start
    )
    for name, certificate, key in (("tls", tls, tls_key), ("internal", internal, internal_key)):
        atomic_write(directory / f"{name}.crt", write_certificates([certificate]))
        atomic_write(directory / f"{name}.key", write_key(key))
    settings = BrokerSettings(
        directory=directory / "broker",
        log_path=directory / "logs" / "broker.log",
        host="127.0.0.1",
        port=port,
        server_ca_pem=write_certificates([server_ca.certificate]),
        certificate_file=directory / "tls.crt",
        key_file=directory / "tls.key",
        internal_certificate_file=directory / "internal.crt",
        internal_key_file=directory / "internal.key",
    )
    changes: list[str] = []
    broker = Broker(settings, on_change=changes.append)
    world = World(directory, server_ca, make_fleet(), broker, port, changes=changes)
    await broker.start(write_certificates([world.fleet.root.certificate]))
    try:
        yield world
    finally:
        await world.close()
