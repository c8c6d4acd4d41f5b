"""Passkeys behind the owner's console: made on its page, named in the next policy.

The console holds no root key. Who adds or removes a passkey types the passphrase of the folder; it
opens the root key for that one signature, and both are forgotten.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from fleetward.keyholder.access.passkeys import (
    CHALLENGE_BYTES,
    NewPasskey,
    passkeys_at,
    read_new_passkey,
)
from fleetward.keyholder.console.callers import Caller
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.keyholder.policy_changes import (
    Change,
    add_passkey,
    change_policy,
    remove_passkey,
)
from fleetward.runtime.clock import Clock
from fleetward.trust.canonical import to_base64url
from fleetward.trust.envelope import RoleKey
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.passkey import Assertion, Passkey
from fleetward.trust.policy import Policy

RP_ID: Final = "owner.localhost"
NAMES_FILE: Final = "passkeys.json"
"""In the owner's folder: by which name its authenticator finds each passkey. No secret."""
MADE_WITHIN_MS: Final = 10 * 60_000
MAX_BEGUN: Final = 8


@dataclass(frozen=True, slots=True)
class Begun:
    """A passkey that a page was told to make."""

    challenge: bytes
    person: str
    at_ms: int
    others: tuple[str, ...]


class PasskeyKeeper:
    """The passkeys of one console. Safe to call from any thread."""

    def __init__(
        self, desk: Desk, hand_over: Callable[[OwnerDocuments], str], clock: Clock
    ) -> None:
        self._desk = desk
        self._hand_over = hand_over
        self._clock = clock
        self._acting = threading.Lock()
        self._begun: OrderedDict[str, Begun] = OrderedDict()
        self._place: Passkey | None = None

    def serve_at(self, origin: str) -> None:
        """Say at which whole origin the pages are served."""
        self._place = Passkey(RP_ID, (origin,))

    @property
    def place(self) -> Passkey:
        """Where passkeys of this console are used. Raises `Refused` before it is served."""
        if self._place is None:
            raise Refused("The pages are not served yet.", reason="not_served")
        return self._place

    def approvers(
        self, policy: Policy, caller: Caller, requester: str = "", *, break_glass: bool = False
    ) -> dict[str, RoleKey]:
        """Return the passkeys that may say yes at the caller's place to what `requester` asks.

        Without a requester: those that may say no and stop.
        """
        if caller.place is None:
            return {}
        return passkeys_at(policy, caller.place, requester, break_glass=break_glass)

    def caller(self) -> Caller:
        """Return who acts on this computer's own pages."""
        return Caller(self._place)

    def names(self, key_ids: list[str]) -> tuple[str, ...]:
        """Return the names of these passkeys for a browser to choose from.

        Empty when one is not known here: the browser then offers all that it has for this host.
        """
        known = self._read_names()
        return tuple(known[i] for i in key_ids) if all(i in known for i in key_ids) else ()

    def begin(self, person: str, passphrase: str) -> Begun:
        """Return what a page needs to make a passkey for a person. Raises `Refused`.

        The passphrase is tried before, so that no passkey is made that cannot be named.
        """
        self._desk.beside(passphrase.encode()).signer("root")
        begun = Begun(
            secrets.token_bytes(CHALLENGE_BYTES),
            person,
            self._clock.wall_ms(),
            tuple(self._read_names().values()),
        )
        with self._acting:
            self._begun[to_base64url(begun.challenge)] = begun
            while len(self._begun) > MAX_BEGUN:
                self._begun.popitem(last=False)
        return begun

    def add(self, challenge: str, made: Assertion, passphrase: str) -> tuple[OwnerDocuments, str]:
        """Name a passkey that was just made in the next policy, and hand that over.

        Returns the documents, and why they were not handed over. Raises as `change_policy` does.
        """
        with self._acting:
            begun = self._begun.pop(challenge, None)
            if begun is None or self._clock.wall_ms() - begun.at_ms > MADE_WITHIN_MS:
                raise Refused("This was begun too long ago. Begin again.", reason="not_begun")
            new = read_new_passkey(made, begun.challenge, self.place)
            return self._name(begun.person, new, self.place, passphrase)

    def name(
        self, person: str, new: NewPasskey, place: Passkey, passphrase: str
    ) -> tuple[OwnerDocuments, str]:
        """Name a passkey that a phone has made and offered. Returns and raises as `add` does."""
        with self._acting:
            return self._name(person, new, place, passphrase)

    def _name(
        self, person: str, new: NewPasskey, place: Passkey, passphrase: str
    ) -> tuple[OwnerDocuments, str]:
        documents = self._change(add_passkey(person, new.key, place), passphrase)
        names = {**self._read_names(), new.key.key_id: to_base64url(new.credential_id)}
        self._desk.folder.replace(NAMES_FILE, msgspec.json.encode(names))
        return documents, self._hand_over(documents)

    def remove(self, key_id: str, passphrase: str) -> tuple[OwnerDocuments, str]:
        """Take a passkey out of the policy. Returns and raises as `add` does."""
        with self._acting:
            documents = self._change(remove_passkey(key_id), passphrase)
            names = {i: name for i, name in self._read_names().items() if i != key_id}
            self._desk.folder.replace(NAMES_FILE, msgspec.json.encode(names))
            return documents, self._hand_over(documents)

    def _change(self, change: Change, passphrase: str) -> OwnerDocuments:
        return change_policy(self._desk.beside(passphrase.encode()), change, self._clock.wall_ms())

    def _read_names(self) -> dict[str, str]:
        if not self._desk.folder.has(NAMES_FILE):
            return {}
        try:
            return msgspec.json.decode(self._desk.folder.read(NAMES_FILE), type=dict[str, str])
        except (msgspec.MsgspecError, FleetwardError):
            return {}  # it only makes choosing easier
