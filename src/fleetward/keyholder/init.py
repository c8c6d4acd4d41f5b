"""What `fleetward owner init` does around the ceremony: find the server, make, hand over, tell."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.ceremony import ISSUING_DAYS, InitWish, NewOwner, make_owner
from fleetward.keyholder.hand import hand_over
from fleetward.keyholder.pinned import fetch_introduction
from fleetward.keyholder.place import (
    SETUP_TOKEN_FILE,
    api_address,
    is_same_host,
    read_ready,
    read_token,
)
from fleetward.keyholder.updates.roots import ask_director
from fleetward.runtime.clock import Clock
from fleetward.trust.errors import Refused
from fleetward.trust.invitation import split_address

KEYS_WERE_HERE_FILE: Final = "server/owner-was-here"
"""A mark for the server's own `doctor`; nothing takes it away."""
SAME_HOST_WORDS: Final = (
    "The owner's keys lie on the server's own computer. Whoever breaks into it holds both, so "
    "the promise that the server cannot command a machine does not hold against this computer. "
    "Moving the folder does not help: the keys were here. The cure is a new owner, made by "
    "`fleetward owner init` on another computer, and joining the machines again."
)


@dataclass(frozen=True, slots=True)
class NamedServer:
    """The server of an `owner init`: where it introduces itself, its API, its pin, a token."""

    enrol: str
    server_ca: str
    api: str
    token: str
    same_host: bool


@dataclass(frozen=True, slots=True)
class RemoteServer:
    """How a server elsewhere was named on the command line."""

    enrol: str
    server_ca: str
    api: str
    token_file: Path


def name_local_server(data: Path) -> NamedServer:
    """Return the server whose data directory this is. Raises `Unreachable` or `Refused`."""
    ready = read_ready(data)
    if not ready.enrol:
        raise Refused(
            f"Expected the enrolment address in {data / 'run/ready.json'}; it is missing. "
            "Start the server anew with this release.",
            reason="no_enrol_address",
        )
    if not (data / SETUP_TOKEN_FILE).is_file():
        raise Refused(
            f"Expected a server without an owner; the one at {data} has one, and no second can be "
            "made for it. Start a new server in another folder: fleetward up --data DIR",
            reason="owner_exists",
        )
    token = read_token(data / SETUP_TOKEN_FILE)
    (data / KEYS_WERE_HERE_FILE).touch(mode=0o600)
    return NamedServer(ready.enrol, ready.ca_sha256, ready.api, token, same_host=True)


def name_remote_server(remote: RemoteServer) -> NamedServer:
    """Return a server that was named by addresses. Raises `Malformed`."""
    host, _ = split_address(remote.enrol)
    api = api_address(remote.api or f"https://{host}")
    token = read_token(remote.token_file)
    return NamedServer(remote.enrol, remote.server_ca, api, token, same_host=is_same_host(host))


def init_owner(
    path: Path, passphrase: bytes, server: NamedServer, names: tuple[str, str], clock: Clock
) -> NewOwner:
    """Make an owner (name, person) at `path` and hand the documents to the server.

    Raises as `ceremony.make_owner` does; and `Unreachable` or `Refused` when the folder is made
    but the server did not take it, with what to do next.
    """
    pinned = fetch_introduction(server.enrol, server.server_ca)
    client = ApiClient(server.api, server.token, pinned.server_ca_pem)
    wish = InitWish(
        name=names[0],
        person=names[1],
        api=server.api,
        beside_server=server.same_host,
        now_ms=clock.wall_ms(),
        issuing_days=ISSUING_DAYS,
        director="" if pinned.introduction.owner else ask_director(client),
    )
    made = make_owner(path, passphrase, pinned, wish)
    hand_over(made.folder, client, made.documents)
    return made
