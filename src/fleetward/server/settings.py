"""The control plane's configuration: one frozen struct, read once, from one TOML file."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetward.trust.errors import Malformed

LOOPBACK: Final = "127.0.0.1"
CONSOLE_NAME: Final = "console.localhost"
HIGHEST_PORT: Final = 65535
_LABEL: Final = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOST: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")
"""A DNS name (RFC 1123, section 2.1), or an IPv4 address, under which there is the API alone."""
SERVER_KEYS: Final = frozenset(
    {"host", "port", "enrol_port", "bus_port", "database_url", "public_names"}
)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What `fleetward.toml` may say. Ports of 0 are chosen at the first start and then kept.

    `host` is the DNS name of the console, or empty for loopback alone; an IPv4 address instead of a
    name serves the API and no pages. `public_names` are the names
    and addresses under which machines reach enrolment and bus. `console_certificate` and
    `console_key` are PEM files of a certificate that people's browsers trust; without them the
    console beyond loopback shows one of the server's own CA.
    """

    host: str = ""
    port: int = 0
    enrol_port: int = 0
    bus_port: int = 0
    database_url: str = ""
    public_names: tuple[str, ...] = (LOOPBACK,)
    console_certificate: str = ""
    console_key: str = ""

    def __post_init__(self) -> None:
        """Refuse what nobody could connect to. Raises `Malformed`."""
        if self.host and not HOST.fullmatch(self.host):
            raise Malformed(
                f"Expected a host as fleet.example, got {self.host[:80]!r}. Name a DNS name of "
                "this computer.",
                reason="bad_host",
            )
        for name in ("port", "enrol_port", "bus_port"):
            if not 0 <= (port := getattr(self, name)) <= HIGHEST_PORT:
                raise Malformed(
                    f"Expected a {name} from 1 to {HIGHEST_PORT}, or 0 to have one chosen; got "
                    f"{port}.",
                    reason="bad_port",
                )

    @property
    def loopback_only(self) -> bool:
        """Whether nothing listens beyond this host."""
        return not self.host

    @property
    def api_only(self) -> bool:
        """Whether this server has a bare address and no name: a passkey is bound to a name, so
        nobody could sign in as a person here, and no page is served."""
        return _is_address(self.host)

    @property
    def listen_host(self) -> str:
        """The address that listeners bind to."""
        return LOOPBACK if self.loopback_only else "0.0.0.0"  # noqa: S104 - TLS only, beyond loopback

    @property
    def console_host(self) -> str:
        """The host name of the console, which is the relying party of passkeys."""
        return self.host or CONSOLE_NAME


@dataclass(frozen=True, slots=True)
class Places:
    """Where a control plane keeps its things, all below one folder."""

    data: Path

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.data / "fleetward.toml"

    @property
    def server(self) -> Path:
        """Keys, database, broker and logs of the server."""
        return self.data / "server"

    @property
    def authorities(self) -> Path:
        """The server CA and the issuing key."""
        return self.server / "ca"

    @property
    def tls(self) -> Path:
        """Certificates that the listeners show."""
        return self.server / "tls"

    @property
    def log_key(self) -> Path:
        """The key that signs checkpoints."""
        return self.server / "log.key"

    @property
    def director(self) -> Path:
        """The director's key and its root."""
        return self.server / "director"

    @property
    def copies(self) -> Path:
        """Copies of the database from before upgrades."""
        return self.server / "before-upgrade"

    @property
    def blobs(self) -> Path:
        """What makers published, by hash. It can be published again, and is in no backup."""
        return self.server / "updates" / "blobs"

    @property
    def database(self) -> Path:
        """The embedded database."""
        return self.server / "state.db"

    @property
    def database_url(self) -> str:
        """Where the state is when the configuration names no database. It is never written down:
        a folder that was moved, or restored elsewhere, must not reach back to the old one."""
        return f"sqlite:///{self.database}"

    @property
    def notices(self) -> Path:
        """Who is told when somebody asks; written by whoever runs the server."""
        return self.data / "notices.toml"

    @property
    def lock(self) -> Path:
        """Held by the server that runs on this folder."""
        return self.run / "server.lock"

    @property
    def broker(self) -> Path:
        """The broker's configuration and trust bundle."""
        return self.server / "broker"

    @property
    def logs(self) -> Path:
        """Log files, each of bounded size."""
        return self.server / "logs"

    @property
    def run(self) -> Path:
        """What belongs to the running server: pid, ready file, the host's token and link."""
        return self.data / "run"

    @property
    def owner(self) -> Path:
        """The owner's folder in a demo. It belongs on another computer."""
        return self.data / "owner"

    @property
    def owner_was_here(self) -> Path:
        """A mark that an owner's folder was on this host; it is never taken away."""
        return self.server / "owner-was-here"

    @property
    def tour(self) -> Path:
        """What a demo left for the tour to name."""
        return self.run / "tour.json"


def check_host(host: str) -> str:
    """Return a host as it is compared and certified: a name in small letters, or an IPv4 address.

    Raises `Malformed` for an IPv6 address, and for one that no client can dial.
    """
    host = host.lower().rstrip(".")
    if not _is_address(host):
        return host
    address = ipaddress.ip_address(host.strip("[]"))
    if address.version == 6 or address.is_unspecified or address.is_multicast:
        raise Malformed(
            f"Expected --host to be a DNS name, or one IPv4 address of this computer; got {host}. "
            "Give the name or the address that people and programs dial.",
            reason="bad_host",
        )
    return str(address)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
