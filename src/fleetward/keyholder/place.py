"""Where things are: the server of a command, its token, the owner's folder.

On the server's own computer everything is found from its data directory (`--data DIR`); from
elsewhere a command is told (`--server URL`, `--token-file F`, `--owner FOLDER`).
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from fleetward.keyholder.folder import DEFAULT_FOLDER
from fleetward.keyholder.passphrase import read_passphrase_file
from fleetward.runtime.files import read_bounded
from fleetward.trust.errors import Malformed, Refused, Unreachable

READY_FILE: Final = "run/ready.json"
ADMIN_TOKEN_FILE: Final = "run/admin-token"  # noqa: S105
SERVER_CA_FILE: Final = "server/ca/server-ca.pem"
DEMO_MARK_FILE: Final = "fleetward-demo.json"
DEMO_PASSPHRASE_FILE: Final = "owner-passphrase"  # noqa: S105
SETUP_TOKEN_FILE: Final = "server/setup-token"  # noqa: S105
_MAX_READY_BYTES: Final = 64 * 1024


class Unnamed(Refused):
    """The command line does not say what is needed: to the shell that is misuse, not refusal."""


class Ready(msgspec.Struct, frozen=True):
    """What `up` writes once it is ready. Fields that we do not need are left out."""

    api: str
    ca_sha256: str
    enrol: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A server's API, the token to speak to it with, and its own CA where that is at hand."""

    api: str
    token: str
    server_ca_pem: str = ""


def read_ready(data: Path) -> Ready:
    """Return what the running server says in its data directory.

    Raises `Unreachable` when it is not running, `Malformed` for other content.
    """
    try:
        content = read_bounded(data / READY_FILE, _MAX_READY_BYTES)
    except Unreachable as e:
        raise Unreachable(
            f"Expected a running server at {data}; none has said there that it is ready. "
            f"Start it: fleetward up --data {data}",
            reason="server_not_running",
        ) from e
    try:
        return msgspec.json.decode(content, type=Ready)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise Malformed(
            f"Expected {data / READY_FILE} as `up` writes it; {e}.", reason="bad_ready_file"
        ) from e


def read_token(path: Path) -> str:
    """Return a token from a file that only its owner can read. Raises `Refused`."""
    token = read_passphrase_file(path).decode("ascii", errors="replace").strip()
    if not token or not token.isprintable():
        raise Malformed(f"Expected a token in {path}.", reason="bad_token_file")
    return token


def find_server(data: Path | None, server: str, token_file: Path | None) -> Place:
    """Return API and token of a command's server. Raises `Unnamed` when neither is named."""
    if data is not None:
        ready = read_ready(data)
        token = read_token(token_file or data / ADMIN_TOKEN_FILE)
        authority = data / SERVER_CA_FILE
        known = authority.is_file()
        ca = read_bounded(authority, _MAX_READY_BYTES).decode("ascii") if known else ""
        return Place(ready.api, token, ca)
    if server and token_file is not None:
        return Place(api_address(server), read_token(token_file))
    raise Unnamed(
        "Expected --data DIR on the server's own computer, or --server URL with --token-file F "
        "from elsewhere.",
        reason="no_server_named",
    )


def find_owner(owner: Path | None, data: Path | None) -> Path:
    """Return the owner's folder of a command: named, the demo's, or the one in the home."""
    if owner is not None:
        return owner
    if data is not None and (data / "owner" / "owner.toml").is_file():
        return data / "owner"
    return Path.home() / DEFAULT_FOLDER


def find_passphrase(owner: Path | None, data: Path | None) -> Path | None:
    """Return a demo's own passphrase file, where the owner's folder was found from the demo."""
    if owner is not None or data is None or find_owner(None, data) != data / "owner":
        return None
    file = data / DEMO_PASSPHRASE_FILE
    return file if file.is_file() and (data / DEMO_MARK_FILE).is_file() else None


def api_address(server: str) -> str:
    """Return the API's address of a server's. Raises `Malformed`.

    Plain HTTP is taken on loopback alone: a token must never cross a network in the open.
    """
    parts = urlsplit(server)
    host = parts.hostname or ""
    loopback = host == "localhost" or host.endswith(".localhost") or _is_loopback(host)
    if (
        parts.scheme not in ("http", "https")
        or not host
        or (parts.scheme == "http" and not loopback)
    ):
        raise Malformed(
            f"Expected a server as https://HOST[:PORT], got {server[:200]!r}.",
            reason="bad_server_address",
        )
    return f"{parts.scheme}://{parts.netloc}/api/v1"


def is_same_host(host: str) -> bool:
    """Say whether `host` is this computer: then the owner's keys lie beside the server's."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with contextlib.suppress(OSError):
        for family, kind, _, _, address in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM):
            if _is_loopback(str(address[0])) or _can_bind(family, kind, address):
                return True
    return False


def _can_bind(family: int, kind: int, address: tuple[object, ...]) -> bool:
    """Only an address of this computer can be bound."""
    try:
        with socket.socket(family, kind) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
