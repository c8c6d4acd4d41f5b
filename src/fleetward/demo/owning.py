"""What the demo does with the owner's keys: exactly what `fleetward owner` does, for a beginner."""

from __future__ import annotations

import secrets
from typing import Final

from fleetward.demo.places import DemoPlaces
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.hand import hand_over
from fleetward.keyholder.init import init_owner, name_local_server
from fleetward.keyholder.passphrase import read_passphrase_file
from fleetward.keyholder.pending import Confirmation, confirm_machine, fetch_pending
from fleetward.keyholder.policy_changes import Change, change_policy
from fleetward.runtime.clock import Clock
from fleetward.runtime.files import atomic_write
from fleetward.trust.errors import Refused

OWNER_NAME: Final = "Demo owner"
PERSON: Final = "You"
INVITE_SECONDS: Final = 3600
PASSPHRASE_BYTES: Final = 24


class OwnerSide:
    """The owner's desk of a demo, and the way to its server."""

    def __init__(self, places: DemoPlaces, desk: Desk, client: ApiClient) -> None:
        self._places = places
        self._client = client
        self.desk = desk

    @property
    def owner(self) -> str:
        """The hash of the owner root."""
        return self.desk.documents().owner

    def invite(self, site: str, uses: int, *, preapproved: bool) -> str:
        """Return a join string."""
        return self.desk.invite(site, uses, INVITE_SECONDS, preapproved=preapproved).join

    def confirm(self, words: dict[str, str]) -> None:
        """Confirm machines (id and the six words on its own panel), as far as they still wait.

        Raises `Refused` when words are not those of the machine's key.
        """
        pending = fetch_pending(self._client)
        waiting = [machine.id for machine in pending if machine.id in words]
        for device in waiting:
            confirm_machine(self.desk, pending, Confirmation(device, words[device]))
        if waiting:
            hand_over(self.desk.folder, self._client, self.desk.documents())

    def change_policy(self, change: Change, clock: Clock) -> None:
        """Sign the owner's next policy and hand it over. Raises as `policy_changes` does."""
        documents = change_policy(self.desk, change, clock.wall_ms())
        hand_over(self.desk.folder, self._client, documents)


def open_owner(places: DemoPlaces, client: ApiClient, clock: Clock) -> OwnerSide:
    """Make the owner at the first start, and open the desk. Raises as `init_owner` does."""
    if not places.passphrase.exists():
        passphrase = secrets.token_urlsafe(PASSPHRASE_BYTES).encode("ascii")
        atomic_write(places.passphrase, passphrase + b"\n")
    if not (places.owner / "owner.toml").exists():
        passphrase = read_passphrase_file(places.passphrase)
        server = name_local_server(places.data)
        init_owner(places.owner, passphrase, server, (OWNER_NAME, PERSON), clock)
    desk = Desk.open(places.owner, places.passphrase, clock)
    _settle_with_server(places, desk, client)
    return OwnerSide(places, desk, client)


def _settle_with_server(places: DemoPlaces, desk: Desk, client: ApiClient) -> None:
    """Hand over again what a start that was cut short did not."""
    try:
        client.request("GET", "/owner/documents")
    except Refused as e:
        if e.reason != "no_owner":
            raise
        named = name_local_server(places.data)
        hand_over(desk.folder, ApiClient(named.api, named.token), desk.documents())
