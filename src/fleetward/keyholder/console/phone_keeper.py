"""Phones behind the owner's console: added by a code, removed, and the passkeys that they offer.

A phone makes its passkey itself, for the name under which phones reach this program; it cannot
name it. The owner does, at his computer, after comparing six words, with the passphrase of his
folder: that way a phone never touches the policy.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from fleetward.keyholder.access.passkeys import CHALLENGE_BYTES, NewPasskey, read_new_passkey
from fleetward.keyholder.console.callers import Caller
from fleetward.keyholder.console.enrol_code import EnrolCode
from fleetward.keyholder.console.passkey_keeper import MADE_WITHIN_MS, PasskeyKeeper
from fleetward.keyholder.console.phone_log import PhoneLog
from fleetward.keyholder.console.phones import SEEN_EVERY_MS, Offered, Phone, Phones
from fleetward.keyholder.console.stream import Changes
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.runtime.clock import Clock
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.envelope import RoleKey
from fleetward.trust.errors import FleetwardError, Refused, Untrusted
from fleetward.trust.keys import ES256, read_public_key
from fleetward.trust.passkey import Assertion, Passkey
from fleetward.trust.policy import Policy
from fleetward.trust.words import device_words, normalise_words

MAX_BEGUN: Final = 8
MAX_OFFERS: Final = 20
"""Passkeys that one phone may offer while this program runs: each is a line of the log."""


@dataclass(frozen=True, slots=True)
class _Begun:
    challenge: bytes
    phone: str
    person: str
    at_ms: int


class PhoneKeeper:
    """The phones of one console. Safe to call from any thread."""

    def __init__(
        self, desk: Desk, changes: Changes, clock: Clock, passkeys: PasskeyKeeper, log: PhoneLog
    ) -> None:
        self.phones: Final = Phones(desk.folder)
        self.code: Final = EnrolCode(clock)
        self.log: Final = log
        self._desk = desk
        self._changes = changes
        self._clock = clock
        self._passkeys = passkeys
        self._acting = threading.Lock()
        self._begun: OrderedDict[str, _Begun] = OrderedDict()
        self._offers: dict[str, int] = {}
        self._place: Passkey | None = None
        self.until_ms = 0

    def serve_at(self, name: str, origin: str, until_ms: int = 0) -> None:
        """Say under which name and at which whole origin phones reach this program, and until
        when its certificate is good."""
        self._place = Passkey(name, (origin,))
        self.until_ms = until_ms

    def count_passkeys(self) -> int:
        """Return how many passkeys of the policy count at the phones' address."""
        policy = self._desk.documents().policy
        return len(self._passkeys.approvers(policy, Caller(self.place)))

    @property
    def place(self) -> Passkey:
        """Where phones' passkeys are used. Raises `Refused` when no phone is served."""
        if self._place is None:
            raise Refused(
                "Phones are not served. Start the console with --host NAME --certificate FILE "
                "--key FILE.",
                reason="no_phones_served",
            )
        return self._place

    @property
    def origin(self) -> str:
        """The address for phones; empty while none is served."""
        return self._place.origins[0] if self._place else ""

    def let_in(self, secret: str) -> Caller:
        """Return the phone that has this secret, as a caller. Raises `Untrusted`."""
        now_ms = self._clock.wall_ms()
        phone = self.phones.find(secret, now_ms)
        if phone is None:
            raise Untrusted(
                "This phone is not known, or was removed. Add it with a new code.",
                reason="not_signed_in",
            )
        if now_ms - phone.seen_at > SEEN_EVERY_MS:
            self.phones.change(phone.id, seen_at=now_ms)
        return Caller(self.place, phone.id, phone.name)

    def enrol(self, code: str, name: str, address: str) -> tuple[Phone, str]:
        """Add a phone that has the code; return it and its secret. Raises as `take` and `add`."""
        in_use = self.code.is_in_use()
        try:
            self.code.take(code)
        except Untrusted:
            if in_use:  # else nobody could fill the log by knocking
                self.log.write("wrong code", address=address)
            raise
        try:
            phone, secret = self.phones.add(name, self._clock.wall_ms())
        except FleetwardError:
            self.code.give_back(code)
            raise
        self.log.write("added", phone=phone.id, name=phone.name, address=address)
        self._changes.tell("phones")
        return phone, secret

    def remove(self, named: str) -> Phone:
        """Remove a phone. Raises `Refused` when there is none."""
        gone = self.phones.remove(named)
        self.log.write("removed", phone=gone.id, name=gone.name)
        self._changes.tell("phones")
        return gone

    def begin(self, caller: Caller, person: str) -> tuple[bytes, Passkey]:
        """Return the challenge with which a phone makes a passkey, and where it will count."""
        begun = _Begun(
            secrets.token_bytes(CHALLENGE_BYTES), caller.phone, person, self._clock.wall_ms()
        )
        with self._acting:
            self._begun[to_base64url(begun.challenge)] = begun
            while len(self._begun) > MAX_BEGUN:
                self._begun.popitem(last=False)
        return begun.challenge, self.place

    def offer(self, caller: Caller, challenge: str, made: Assertion) -> str:
        """Keep a passkey that a phone has just made until the owner names it.

        Returns its six words. Raises as `read_new_passkey`, and `Refused` when it was begun too
        long ago or by another phone.
        """
        with self._acting:
            begun = self._begun.pop(challenge, None)
        now_ms = self._clock.wall_ms()
        if begun is None or begun.phone != caller.phone or now_ms - begun.at_ms > MADE_WITHIN_MS:
            raise Refused("This was begun too long ago. Begin again.", reason="not_begun")
        new = read_new_passkey(made, begun.challenge, self.place)
        self._count_offer(caller)
        offered = Offered(
            person=begun.person,
            public=to_base64url(new.key.spki),
            credential_id=to_base64url(new.credential_id),
            rp_id=self.place.rp_id,
            origin=self.place.origins[0],
        )
        self.log.note(caller, "offered a passkey", person=begun.person, key=new.key.key_id)
        self.phones.change(caller.phone, offered=offered)
        self._changes.tell("phones")
        return self.words_of(offered)

    def _count_offer(self, caller: Caller) -> None:
        """Raise `Refused` for a phone that offers one passkey after the other."""
        with self._acting:
            count = self._offers[caller.phone] = self._offers.get(caller.phone, 0) + 1
        if count > MAX_OFFERS:
            raise Refused(
                f"This phone offered {MAX_OFFERS} passkeys already. Remove it at the owner's "
                "computer, and add it anew.",
                reason="too_many_offers",
            )

    def words_of(self, offered: Offered) -> str:
        """Return the six words of a passkey that was offered, for comparing two screens."""
        return device_words(self._desk.documents().owner, _read(offered).key.key_id)

    def name(
        self, id_: str, words: str, person: str, passphrase: str
    ) -> tuple[OwnerDocuments, str]:
        """Name the passkey that a phone offers in the next policy, and hand that over.

        `words` are the six that the owner compared: a phone may offer another one meanwhile.
        Returns and raises as `PasskeyKeeper.add`; `Refused` when it offers none, or another.
        """
        phone = next((each for each in self.phones.read() if each.id == id_), None)
        if phone is None or phone.offered is None:
            raise Refused("That phone offers no passkey any more.", reason="no_offer")
        if normalise_words(words) != self.words_of(phone.offered):
            raise Refused(
                "The phone offers another passkey by now. Compare the six words again.",
                reason="words_differ",
            )
        new = _read(phone.offered)
        place = Passkey(phone.offered.rp_id, (phone.offered.origin,))
        done = self._passkeys.name(person, new, place, passphrase)
        self.phones.change(id_, offered=None, passkeys=[*phone.passkeys, new.key.key_id])
        self._changes.tell("phones")
        return done

    def passkeys_of(self, policy: Policy, caller: Caller) -> dict[str, RoleKey]:
        """Return the passkeys that count at a caller's place."""
        return self._passkeys.approvers(policy, caller)

    def is_there(self, caller: Caller) -> bool:
        """Say whether a caller may still look: a phone until it is removed."""
        if not caller.phone:
            return True
        try:
            return self.phones.knows(caller.phone, self._clock.wall_ms())
        except FleetwardError:
            return False


def _read(offered: Offered) -> NewPasskey:
    key = read_public_key(ES256, from_base64url(offered.public))
    return NewPasskey(key, from_base64url(offered.credential_id))
