"""Saying no and stopping behind the owner's console: by the folder's key, or by a passkey.

By the key it is one call. A passkey signs what was prepared here and is kept here: the page names
it by its hash. No threshold, no passphrase, and no papers that have to be believed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fleetward.keyholder.access.judging import Judge
from fleetward.keyholder.access.passkeys import Yes, add_yes
from fleetward.keyholder.access.server_rows import WAITING, AccessApi
from fleetward.keyholder.access.stopping import (
    Ended,
    PreparedStop,
    prepare_stop,
    verify_own_stop,
)
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.console.access_model import Answered
from fleetward.keyholder.console.callers import Caller
from fleetward.keyholder.console.passkey_keeper import PasskeyKeeper
from fleetward.keyholder.console.phone_log import PhoneLog
from fleetward.keyholder.console.stream import Changes
from fleetward.keyholder.desk import Desk
from fleetward.runtime.clock import Clock
from fleetward.trust.envelope import RoleKey, read_envelope, seal
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.grants.ending import MAX_ENDING_BYTES

MAX_PREPARED: Final = 32
PREPARED_FOR_MS: Final = 10 * 60_000


@dataclass(frozen=True, slots=True)
class ReadyStop:
    """A stop that is ready to be signed, and what it is of."""

    at_ms: int
    prepared: PreparedStop
    request: str
    session: str
    machine: str
    denying: bool


class EndingKeeper:
    """The no and the stop of one console. Safe to call from any thread."""

    def __init__(
        self,
        desk: Desk,
        reach: Callable[[], ApiClient],
        changes: Changes,
        clock: Clock,
        passkeys: PasskeyKeeper,
        log: PhoneLog,
    ) -> None:
        self._desk = desk
        self._reach = reach
        self._changes = changes
        self._clock = clock
        self._passkeys = passkeys
        self._log = log
        self._acting = threading.Lock()
        self._prepared: OrderedDict[str, ReadyStop] = OrderedDict()

    def end(self, id_: str, reason: str, *, denying: bool) -> Answered:
        """Say no to a request, or end its session, by the approver's key of this folder."""
        ready = self._ready(id_, reason, denying=denying)
        raw = seal(ready.prepared.payload, [self._desk.signer("approver")])
        return self._hand(ready, raw)

    def prepare(
        self, id_: str, reason: str, caller: Caller, *, denying: bool
    ) -> tuple[ReadyStop, dict[str, RoleKey]]:
        """Return the stop that a passkey of the caller's place may sign, and those passkeys.

        Raises `Refused` when there is none.
        """
        keys = self._passkeys.approvers(self._desk.documents().policy, caller)
        if not keys:
            raise Refused(
                "The policy names no passkey that works at this address. Your key in the folder "
                "says no and stops too: fleetward owner stop",
                reason="no_passkey_here",
            )
        ready = self._ready(id_, reason, denying=denying)
        with self._acting:
            self._prepared[ready.prepared.hash] = ready
            while len(self._prepared) > MAX_PREPARED:
                self._prepared.popitem(last=False)
        return ready, keys

    def sign(self, stop: str, yes: Yes, caller: Caller) -> Answered:
        """Hand over a stop that was prepared, with a passkey's signature. Raises as `add_yes`."""
        with self._acting:
            ready = self._prepared.get(stop)
        if ready is None or self._clock.wall_ms() - ready.at_ms > PREPARED_FOR_MS:
            raise Refused("This was asked too long ago. Do it again.", reason="not_prepared")
        prepared = ready.prepared
        # The envelope is made of what was prepared, whatever the page says meanwhile.
        envelope = read_envelope(seal(prepared.payload, []), max_bytes=MAX_ENDING_BYTES)
        raw = add_yes(envelope, yes, self._passkeys.approvers(prepared.policy, caller))
        person = verify_own_stop(raw, prepared).person
        what = "said no" if ready.denying else "stopped"
        self._log.note(
            caller, what, person=person, request=ready.request, machine=ready.machine,
            stop=prepared.hash,
        )  # fmt: skip
        answered = self._hand(ready, raw)
        with self._acting:
            self._prepared.pop(stop, None)
        return answered

    def _ready(self, id_: str, reason: str, *, denying: bool) -> ReadyStop:
        papers = AccessApi(self._reach()).papers(id_)
        if denying and papers.state not in WAITING:
            raise Refused(f"This is {papers.state} already.", reason="answered_already")
        documents, now_ms = self._desk.documents(), self._clock.wall_ms()
        ended: Ended
        try:
            case = Judge(documents.policies, documents.entries).read_case(papers)
            ended = case.request if denying or case.grant is None else case.grant
            session, machine = case.session, case.entry.name
        except FleetwardError:
            # It is signed whatever the papers say, and of what the page named: a stop of a
            # request ends the session on it, too.
            ended, session, machine = id_, "", "The machine"
        prepared = prepare_stop(documents.policy, ended, reason, now_ms)
        return ReadyStop(now_ms, prepared, papers.id, session, machine, denying)

    def _hand(self, ready: ReadyStop, raw: bytes) -> Answered:
        verify_own_stop(raw, ready.prepared)
        AccessApi(self._reach()).hand(ready.request, "stop", raw)
        self._changes.tell("access")
        what = "You said no" if ready.denying else "Stopped"
        words = f"{what}. {ready.machine} obeys as soon as it hears it."
        return Answered(id=ready.request, session=ready.session, words=words)
