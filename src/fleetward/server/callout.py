"""The broker asks, we decide: may this connection come in, and into which account?

The broker has verified the certificate chain in TLS. Here the leaf is read, a judge that is passed
in decides, and the connection gets exactly the subjects of its own device, or of the one session
that its certificate names, until the certificate ends. Everything that goes wrong ends in no: an
unreadable certificate, a judge that fails or is slow, a callout that is down (the broker then
refuses by itself).

A refusal is told to `on_verdict`, so that it can become an entry; the broker's log has it too, but
without the reason.
"""

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol, TypeAlias

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from fleetward.runtime.broker import Account
from fleetward.runtime.bus import Bus, Inbound
from fleetward.runtime.bus_tokens import (
    AuthRequest,
    Nkey,
    UserGrant,
    make_auth_response,
    make_user_token,
    read_auth_request,
)
from fleetward.runtime.clock import Clock
from fleetward.runtime.x509 import (
    SessionSpiffeId,
    certificate_sha256,
    not_after_ms,
    read_certificates,
    read_peer_id,
    spki_der,
)
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable
from fleetward.wire.subjects import (
    check_device_id,
    check_session,
    device_allowances,
    session_allowances,
)

AUTH_SUBJECT: Final = "$SYS.REQ.USER.AUTH"
JUDGE_SECONDS: Final = 0.8
"""The broker gives up after 2 s; a device should hear no within one."""
JUDGE_THREADS: Final = 4
WAITING_MAX: Final = 512
"""Questions in work at once; those behind them wait, and the broker refuses them when too late."""
SYSTEM_SECONDS: Final = 2.0


class Decision(StrEnum):
    """Where a connection goes."""

    DEVICES = "devices"
    QUARANTINE = "quarantine"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """What a connection showed. TLS has verified the chain; nobody has looked at the roster yet.

    `chain` are the certificates above the leaf, issuing CA first, in DER.
    """

    der: bytes = field(repr=False)
    chain: tuple[bytes, ...] = field(repr=False)
    owner_id: str
    device_id: str
    serial: int
    spki_sha256: str
    not_after_ms: int
    remote: str


@dataclass(frozen=True, slots=True)
class SessionPeer:
    """What the requester of a session showed. It is of another type than a machine's, so that
    neither can be taken for the other."""

    owner_id: str
    session: str
    serial: int
    not_after_ms: int
    remote: str


Peer: TypeAlias = PeerCertificate | SessionPeer


@dataclass(frozen=True, slots=True)
class Admission:
    """The judge's answer. `reason` is a stable code; it is kept, and not told to the device.

    `device_id` is the machine of a session that comes in; empty for a machine itself.
    """

    decision: Decision
    reason: str
    device_id: str = ""


class ConnectionJudge(Protocol):
    """Decides by what the server knows: owner, lineage, roster state, quarantine."""

    def judge(self, peer: PeerCertificate) -> Admission:
        """Decide. Called in a worker thread, several at a time; must take well under a second."""
        ...


class SessionJudge(Protocol):
    """Decides who may be connected for a session: as `ConnectionJudge`, of other peers."""

    def judge(self, peer: SessionPeer) -> Admission:
        """Decide, and name the machine."""
        ...


class NoSessions:
    """Lets nobody in for a session."""

    def judge(self, peer: SessionPeer) -> Admission:
        """Refuse."""
        del peer
        return Admission(Decision.REFUSED, "no_sessions")


NO_SESSIONS: Final = NoSessions()


@dataclass(frozen=True, slots=True)
class Verdict:
    """One decided question. `peer` is None when the certificate named nobody."""

    peer: Peer | None
    remote: str
    admission: Admission


class Callout:
    """Answers the broker's questions on a connection in the account AUTH."""

    def __init__(
        self,
        bus: Bus,
        issuer: Nkey,
        judge: ConnectionJudge,
        clock: Clock,
        *,
        device_roots: Callable[[], frozenset[str]],
        on_verdict: Callable[[Verdict], None],
    ) -> None:
        self._bus = bus
        self._sessions: SessionJudge = NO_SESSIONS
        self._issuer = issuer
        self._judge = judge
        self._clock = clock
        self._device_roots = device_roots
        self._on_verdict = on_verdict
        self._threads = ThreadPoolExecutor(JUDGE_THREADS, thread_name_prefix="callout")
        self._room = asyncio.Semaphore(WAITING_MAX)
        self._running: set[asyncio.Task[None]] = set()

    def admit_sessions(self, judge: SessionJudge) -> None:
        """Let this judge decide about requesters of sessions. Before that, none comes in."""
        self._sessions = judge

    async def start(self) -> None:
        """Begin to answer. Raises `Unreachable` when the bus is closed."""
        await self._bus.subscribe(AUTH_SUBJECT, self._take)
        await self._bus.flush()

    async def stop(self) -> None:
        """Stop answering: from now on nobody comes in."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _take(self, message: Inbound) -> None:
        await self._room.acquire()
        task = asyncio.create_task(self._answer(message))
        self._running.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._room.release()

    async def _answer(self, message: Inbound) -> None:
        try:
            request = read_auth_request(message.payload)
        except FleetwardError as e:
            self._on_verdict(Verdict(None, "", Admission(Decision.REFUSED, e.reason)))
            return
        verdict = await self._decide(request)
        try:
            await self._bus.publish(message.reply, self._response(request, verdict))
        except Unreachable as e:
            verdict = Verdict(verdict.peer, verdict.remote, Admission(Decision.REFUSED, e.reason))
        self._on_verdict(verdict)

    async def _decide(self, request: AuthRequest) -> Verdict:
        remote = request.nats.client_info.host
        peer: Peer | None = None
        try:
            peer = read_peer(request, self._device_roots())
            if peer.not_after_ms <= self._clock.wall_ms():
                return _no(peer, remote, "certificate_expired")
            judging = asyncio.get_running_loop().run_in_executor(
                self._threads, self._judge_peer, peer
            )
            return Verdict(peer, remote, await asyncio.wait_for(judging, JUDGE_SECONDS))
        except FleetwardError as e:
            return _no(peer, remote, e.reason)
        except TimeoutError:
            return _no(peer, remote, "judge_too_slow")
        except Exception:  # noqa: BLE001  the boundary of one question: whatever failed means no
            return _no(peer, remote, "judge_failed")

    def _judge_peer(self, peer: Peer) -> Admission:
        if isinstance(peer, SessionPeer):
            return self._sessions.judge(peer)
        return self._judge.judge(peer)

    def _response(self, request: AuthRequest, verdict: Verdict) -> bytes:
        issued_at = self._clock.wall_ms() // 1000
        decision, peer = verdict.admission.decision, verdict.peer
        if peer is None or decision is Decision.REFUSED:
            return make_auth_response(
                self._issuer, request, error="refused", issued_at=issued_at
            ).encode()
        account = Account.DEVICES if decision is Decision.DEVICES else Account.QUARANTINE
        if isinstance(peer, SessionPeer):
            # Only beside the machine itself: what is contained is reached by nobody.
            account = Account.DEVICES
            name = session_user(peer.session)
            allowed = session_allowances(verdict.admission.device_id, peer.session)
        else:
            name, allowed = peer.device_id, device_allowances(peer.device_id)
        grant = UserGrant(
            account=account.value,
            name=name,
            publish=allowed.publish,
            subscribe=allowed.subscribe,
            expires_at=peer.not_after_ms // 1000,
        )
        token = make_user_token(self._issuer, request.nats.user_nkey, grant, issued_at=issued_at)
        return make_auth_response(
            self._issuer, request, user_token=token, issued_at=issued_at
        ).encode()


def session_user(session: str) -> str:
    """The name of a requester's connection at the broker, which is no machine's id."""
    return f"session-{check_session(session)}"


def read_peer(request: AuthRequest, device_roots: frozenset[str]) -> Peer:
    """The certificate of a connection: a device's, or that of the requester of a session.

    1. TLS verified at least one chain, and one ends in a fleet CA (the broker also believes the
       server CA, for the server's own parts: that chain makes nobody a device).
    2. The leaf is one of a P-256 key and names one device, or one session.
    Steps that remain the caller's: the end of the certificate, the judge.
    Raises `Refused` or `Malformed`.
    """
    tls = request.nats.client_tls
    chains = [] if tls is None else tls.verified_chains
    # 1
    for pems in chains:
        chain = read_certificates("\n".join(pems).encode())
        if certificate_sha256(chain[-1]) in device_roots:
            return _read_leaf(chain, request.nats.client_info.host)
    raise Refused(
        "expected a certificate of this fleet's CA; another or none came; join again",
        reason="certificate_of_another_ca",
    )


def _read_leaf(chain: tuple[x509.Certificate, ...], remote: str) -> Peer:
    # 2
    leaf = chain[0]
    named = read_peer_id(leaf)
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Malformed(
            "expected a P-256 key in the certificate; another came; join again",
            reason="certificate_key_unknown",
        )
    if isinstance(named, SessionSpiffeId):
        return SessionPeer(
            named.owner_id, named.session, leaf.serial_number, not_after_ms(leaf), remote
        )
    return PeerCertificate(
        der=leaf.public_bytes(Encoding.DER),
        chain=tuple(item.public_bytes(Encoding.DER) for item in chain[1:]),
        owner_id=named.owner_id,
        device_id=named.device_id,
        serial=leaf.serial_number,
        spki_sha256=hashlib.sha256(spki_der(key)).hexdigest(),
        not_after_ms=not_after_ms(leaf),
        remote=remote,
    )


def _no(peer: Peer | None, remote: str, reason: str) -> Verdict:
    return Verdict(peer, remote, Admission(Decision.REFUSED, reason))


class _Connection(msgspec.Struct, frozen=True):
    cid: int


class _Connections(msgspec.Struct, frozen=True):
    server_id: str
    connections: list[_Connection] = []


class _ConnectionsAnswer(msgspec.Struct, frozen=True):
    data: _Connections


async def kick_device(system_bus: Bus, device_id: str) -> int:
    """Close every connection of a device, on a connection in the account SYS; say how many.

    The device comes back and is judged anew, so change what the judge sees first.
    Raises `Unreachable` when the broker does not answer.
    """
    return await _kick(system_bus, check_device_id(device_id))


async def kick_session(system_bus: Bus, session: str) -> int:
    """Close every connection of a session's requester, as `kick_device` does."""
    return await _kick(system_bus, session_user(session))


async def _kick(system_bus: Bus, user: str) -> int:
    asked = msgspec.json.encode({"auth": True, "user": user})
    answer = await system_bus.request(
        "$SYS.REQ.SERVER.PING.CONNZ", asked, timeout_seconds=SYSTEM_SECONDS
    )
    found = msgspec.json.decode(answer, type=_ConnectionsAnswer).data
    for connection in found.connections:
        await system_bus.request(
            f"$SYS.REQ.SERVER.{found.server_id}.KICK",
            msgspec.json.encode({"cid": connection.cid}),
            timeout_seconds=SYSTEM_SECONDS,
        )
    return len(found.connections)


class _Gone(msgspec.Struct, frozen=True):
    user: str = ""


class _Disconnected(msgspec.Struct, frozen=True):
    client: _Gone


def read_disconnect(payload: bytes) -> str:
    """Return the id of the machine whose connection the broker says has ended, or nothing."""
    try:
        user = msgspec.json.decode(payload, type=_Disconnected).client.user
        return check_device_id(user)
    except (msgspec.MsgspecError, FleetwardError):
        return ""
