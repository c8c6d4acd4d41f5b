"""The part of the door for BREAK-GLASS: a grant that opens only when somebody presses here.

The owner's usual approvers are away. The grant was judged by `trust.grants` under the policy's
break-glass rules; what is left is that a person stands before the machine and says so.

1. A verified grant is held in memory for ten minutes of powered-on time, at most two at once, and
   its offer is used up: no second grant on it, and nothing of it after a restart.
2. It is in the journal, under a kind of its own, before it waits.
3. After a press it is judged once more, by the rules, lease and clock of that moment; then it
   opens, and the journal says so before it does.
4. A stop, a no at the panel, a policy under which it could not open, or time drops it, with a
   signed denial. A press for what was dropped counts for nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from fleetward.device.access.sessions import Sessions
from fleetward.device.audit.diary import Diary
from fleetward.device.presses import WAIT_SECONDS, Presses
from fleetward.trust.access_runbook import Plan
from fleetward.trust.canonical import JsonObject
from fleetward.trust.errors import FleetwardError, Refused, Unreachable
from fleetward.trust.grants.grant import Grant
from fleetward.trust.sayings import say_person

MOST_HELD: Final = 2
"""Two people who break in at once are an emergency; three are an attack on whoever presses."""
MAX_REASON: Final = 160
"""Characters of a reason that the panel shows before a press; the record has all of them."""
MARK: Final = "BREAK-GLASS"
"""The word that stands on every page and in every line about it."""
ASKED: Final = "breakglass.asked"
GRANTED: Final = "breakglass.granted"
OPENED: Final = "breakglass.opened"
DROPPED: Final = "breakglass.dropped"
"""Kinds of journal entries of its own, which the server shows above all others."""


class Office(Protocol):
    """What the door for sessions does for this one."""

    def judge_again(self, grant: Grant) -> Mapping[int, Plan]:
        """Return what its runbooks do when the grant is good now. Raises as `verify_grant`."""

    def deny(self, subject: str, rule: str, words: str) -> None:
        """Sign a no about this."""


@dataclass(frozen=True, slots=True)
class HeldGrant:
    """A verified grant that waits, with the private key of its offer."""

    grant: Grant
    private: bytes


class BreakGlassGate:
    """Holds what waits for a press. Part of guard's single thread."""

    def __init__(self, office: Office, sessions: Sessions, presses: Presses, diary: Diary) -> None:
        self._office = office
        self._sessions = sessions
        self._presses = presses
        self._diary = diary
        self._held: dict[str, HeldGrant] = {}

    def check_possible(self) -> None:
        """Return when this machine takes presses at all. Raises `Refused`."""
        if self._sessions.sandbox.sandbox == "none":
            raise Refused(
                f"{MARK} needs somebody to press at the machine, and this one takes no press: it "
                "has no sandbox, so whoever is inside could press himself. Install bubblewrap.",
                reason="no_sandbox_no_press",
            )

    def check_room(self) -> None:
        """Return when one more may wait. Raises `Refused`."""
        if len(self._held) >= MOST_HELD:
            raise Refused(
                f"{MOST_HELD} permissions for {MARK} wait already for a press at this machine.",
                reason="too_many_waiting",
            )

    def hold(self, grant: Grant, private: bytes) -> None:
        """Have a verified grant wait for a press. Raises `Refused`, `Unreachable`.

        The caller has checked that there is room, and forgotten the offer.
        """
        words = say_waiting(grant)
        body: JsonObject = {
            "people": list(grant.people),
            "person": grant.request.person,
            "reason": grant.request.reason,
            "request": grant.request.hash,
            "scopes": [scope.to_json() for scope in grant.scopes],
            "seconds": grant.seconds,
            "session": grant.hash,
            "six_words": grant.words,
            "words": f"{words} (It opens when somebody presses at this machine.)",
        }
        self._presses.waiting(grant.hash, words)
        try:
            # 2.
            self._diary.order(GRANTED, body)
        except Unreachable:
            self._presses.forget(grant.hash)
            raise
        self._held[grant.hash] = HeldGrant(grant, private)

    def find(self, subject: object) -> HeldGrant | None:
        """Return what waits, by the hash of its grant or of its request."""
        for held in self._held.values():
            if subject in (held.grant.hash, held.grant.request.hash):
                return held
        return None

    def drop(self, held: HeldGrant, rule: str, words: str) -> None:
        """Let this wait no more, and sign why."""
        session = held.grant.hash
        self._held.pop(session, None)
        self._presses.forget(session)
        body: JsonObject = {
            "person": held.grant.request.person,
            "reason": rule,
            "session": session,
            "six_words": held.grant.words,
            "words": f"{MARK} by {held.grant.request.person} did not open: {words}"[:500],
        }
        with contextlib.suppress(Unreachable):
            self._diary.order(DROPPED, body)
        self._office.deny(session, rule, words)

    def take_new_policy(self) -> None:
        """Drop what could not open under the documents in force."""
        for held in list(self._held.values()):
            try:
                self._office.judge_again(held.grant)
            except FleetwardError as e:
                self.drop(held, e.reason, f"The owner's documents changed. {e.message}")

    def tick(self) -> None:
        """Open what was pressed for, and drop what has waited too long."""
        for held in list(self._held.values()):
            session = held.grant.hash
            if self._presses.take(session):
                self._open(held)
            elif not self._presses.waits(session):
                minutes = WAIT_SECONDS // 60
                words = f"Nobody pressed at the machine within {minutes} minutes. Ask again."
                self.drop(held, "not_pressed", words)

    def _open(self, held: HeldGrant) -> None:
        grant = held.grant
        try:
            # 3.
            plans = self._office.judge_again(grant)
            self._diary.order(OPENED, _describe_opening(grant))
            # From here on it is used, whatever happens.
            self._held.pop(grant.hash, None)
            self._sessions.open(grant, held.private, plans)
        except FleetwardError as e:
            self.drop(held, e.reason, e.message)


def say_waiting(grant: Grant) -> str:
    """Return what somebody at the machine is shown before he presses."""
    request = grant.request
    who = say_person(request.person, request.org)
    scopes = "; ".join(scope.words() for scope in grant.scopes)
    minutes = max(1, grant.seconds // 60)
    allowed = " and ".join(grant.people)
    return (
        f"{MARK}: {who} enters for {minutes} minutes: {scopes}. Allowed by {allowed}. "
        f"Reason: {request.reason[:MAX_REASON]}"
    )


def _describe_opening(grant: Grant) -> JsonObject:
    words = (
        f"{MARK}: {grant.request.person} enters. Allowed by {' and '.join(grant.people)}, and "
        "somebody pressed at this machine."
    )
    return {
        "people": list(grant.people),
        "person": grant.request.person,
        "session": grant.hash,
        "six_words": grant.words,
        "words": words,
    }
