"""The part of the door that judges closings and their confirmations.

1. A closing is verified under the policy in force, as `trust.closing` says; this machine is
   confirmed, and the owner's documents are within their lease.
2. What the maker's file lists as needed is not closed: such a closing is refused whole.
3. Its serial is above every one before (`trust.closing_standing`), and no more than a day ahead of
   what this machine knows of the time: serials are times, and one of the far future would be the
   last that anybody gives.
4. What is accepted is in the journal, then on the disk, and only then carried out.
5. What is refused is recorded with the first rule that was broken, signed, and answered with a
   signed denial.
6. The one that holds already, handed over again, is neither taken nor refused: how it stands is
   said once more, now and then, for a server that has lost it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal

from fleetward.device.access.closings import Closings
from fleetward.device.access.keep_open import read_keep_open
from fleetward.device.audit.diary import Diary
from fleetward.device.gate_sessions import Here
from fleetward.device.refusals import Refusals
from fleetward.trust.canonical import JsonObject
from fleetward.trust.closing import (
    CLOSING_TYPE,
    KEPT_TYPE,
    Closing,
    verify_closing,
    verify_kept,
)
from fleetward.trust.closing_standing import begin, keep
from fleetward.trust.envelope import Envelope, read_envelope
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Untrusted

CLOSING_TYPES: Final = (CLOSING_TYPE, KEPT_TYPE)
SIMULATED: Final = "This machine is simulated: there is nothing behind it that could be closed."
AHEAD_MS: Final = 86_400_000
"""The clocks of the owner's people and of this machine are not further apart than a day."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_NOUNS: Final = {CLOSING_TYPE: "closing", KEPT_TYPE: "confirmation of a closing"}


class ClosingGate:
    """Judges closings. Part of guard's single thread.

    `deny` has a signed denial said: of what, by which rule, in which words.
    """

    def __init__(
        self,
        here: Here,
        closings: Closings,
        diary: Diary,
        refusals: Refusals,
        deny: Callable[[str, str, str], None],
    ) -> None:
        self._here = here
        self._closings = closings
        self._diary = diary
        self._refusals = refusals
        self._deny = deny
        closings.call_on_refused(self._say_impossible)

    def admit(self, data: bytes, kind: str) -> Literal["none"]:
        """Take an order of one of `CLOSING_TYPES`. Raises what it was refused with, recorded."""
        envelope = read_envelope(data)
        try:
            if kind == CLOSING_TYPE:
                self._take_closing(data, envelope)
            else:
                self._take_kept(data)
        except (Malformed, Untrusted, Refused) as e:
            self._refuse(envelope, kind, e)
            raise
        return "none"

    def _take_closing(self, data: bytes, envelope: Envelope) -> None:
        # 6. The server says again what it said before.
        wanted = self._closings.standing.wanted
        if wanted is not None and wanted.closing == envelope.hash:
            self._closings.say_again()
            return
        # 1. Signed by those who may, for this machine; now.
        closing = verify_closing(data, self._here.view().policy, self._here.device)
        self._check_now()
        # 3. Above every one before, and of the present.
        after = begin(self._closings.standing, closing)
        self._check_ahead(closing)
        if self._closings.closers is None:
            raise Refused(SIMULATED, reason="simulated")
        # 2. Nothing that this machine needs.
        read_keep_open().check(closing.ports, closing.local_access)
        # 4. Written down, then kept, then done.
        people = ", ".join(closing.people)
        opening = closing.opens_all
        what = "open again all that was closed" if opening else f"close {closing.words()}"
        body: JsonObject = {
            "closing": closing.hash,
            "local_access": list(closing.local_access),
            "people": list(closing.people),
            "ports": [port.to_json() for port in closing.ports],
            "reason": closing.reason,
            "restore_seconds": closing.restore_seconds,
            "serial": closing.serial,
            "words": f"{people} had this machine {what}. {closing.reason}".strip(),
        }
        self._diary.order("closing.accepted", body)
        self._closings.take(after, closing.hash)

    def _take_kept(self, data: bytes) -> None:
        kept = verify_kept(data, self._here.view().policy)
        self._check_now()
        after = keep(self._closings.standing, kept)
        if after == self._closings.standing:
            return
        body: JsonObject = {
            "closing": kept.closing,
            "people": list(kept.people),
            "words": f"{', '.join(kept.people)} confirmed what is closed: it stays so.",
        }
        self._diary.order("closing.confirmed", body)
        self._closings.take_kept(after)

    def _check_ahead(self, closing: Closing) -> None:
        known_ms = max(self._closings.now_ms, self._here.view().signed_at_ms)
        if closing.serial > known_ms + AHEAD_MS:
            raise Refused(
                f"The closing's serial {closing.serial} is more than a day ahead of this machine's "
                "time and of everything that the owner has signed. Set the clocks, have the "
                "documents renewed with `fleetward owner refresh`, and close again.",
                reason="serial_ahead",
            )

    def _check_now(self) -> None:
        if not self._here.view().confirmed:
            raise Refused(
                "The owner has not confirmed this machine, or has retired it. The owner does so "
                "with `fleetward owner confirm`.",
                reason="not_confirmed",
            )
        if self._here.lease_seconds_left() <= 0:
            raise Refused(
                "The owner's documents have not been renewed for too long: who may order what is "
                "not known. The owner renews them with `fleetward owner refresh`.",
                reason="lease_expired",
            )

    def _refuse(self, envelope: Envelope, kind: str, error: FleetwardError) -> None:
        # A flood of equal refusals is counted, and not signed one by one.
        if not self._refusals.refuse(_NOUNS[kind], error.reason, error.message):
            return
        serial = envelope.payload.get("serial")
        number = serial if isinstance(serial, int) and not isinstance(serial, bool) else 0
        named = envelope.payload.get("closing")
        told = isinstance(named, str) and _DIGEST.fullmatch(named) is not None
        subject = str(named) if kind == KEPT_TYPE and told else envelope.hash
        if kind == CLOSING_TYPE:
            self._closings.say_refused(subject, max(0, number), error.reason, error.message)
        self._deny(subject, error.reason, error.message)

    def _say_impossible(self, closing: str, rule: str, words: str) -> None:
        self._refusals.refuse(_NOUNS[CLOSING_TYPE], rule, words)
        self._deny(closing, rule, words)
