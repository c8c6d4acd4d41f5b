"""Permissions given ahead behind the owner's console: prepared, shown, signed, taken back.

As with grants, the page names what it signs by a hash that was prepared and shown here.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from fleetward.keyholder.access.answering import check_lease
from fleetward.keyholder.access.passkeys import Yes, add_yes
from fleetward.keyholder.access.scope_words import parse_scope
from fleetward.keyholder.access.standing import (
    PreparedStanding,
    Wanted,
    check_may_allow,
    prepare_standing,
    sign_standing,
)
from fleetward.keyholder.access.standing_desk import (
    find_case,
    finish_standing,
    read_all,
    take_back,
)
from fleetward.keyholder.access.standing_rows import StandingApi
from fleetward.keyholder.access.window_times import (
    find_zone,
    join_windows,
    read_date,
    single_window,
    weekly_windows,
)
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.console.passkey_keeper import PasskeyKeeper
from fleetward.keyholder.console.stream import Changes
from fleetward.keyholder.console.window_model import (
    Choice,
    PrepareWindow,
    WindowList,
    WindowSaid,
)
from fleetward.keyholder.console.window_views import (
    scope_choices,
    show_doubted_window,
    show_window,
)
from fleetward.keyholder.desk import Desk, find_entry
from fleetward.runtime.clock import Clock
from fleetward.trust.envelope import RoleKey, read_envelope, seal
from fleetward.trust.errors import Refused, Unreachable
from fleetward.trust.grants.standing import MAX_STANDING_BYTES, Window
from fleetward.trust.roster import ACTIVE, RosterEntry

MAX_PREPARED: Final = 32
PREPARED_FOR_MS: Final = 10 * 60_000
"""What was shown this long ago is prepared anew."""
_NO_LENGTH: Final = 7200
"""A single window says its end itself; this stands where it does not."""
Reach: TypeAlias = Callable[[], ApiClient]


@dataclass(frozen=True, slots=True)
class Shown:
    """A permission that a page was shown, and the signatures that it got here so far."""

    at_ms: int
    prepared: PreparedStanding
    signed: bytes = b""


class WindowKeeper:
    """The state behind the page Windows. Safe to call from any thread."""

    def __init__(
        self, desk: Desk, reach: Reach, changes: Changes, clock: Clock, passkeys: PasskeyKeeper
    ) -> None:
        self.passkeys: Final = passkeys
        self._desk = desk
        self._reach = reach
        self._changes = changes
        self._clock = clock
        self._acting = threading.Lock()
        self._prepared: OrderedDict[str, Shown] = OrderedDict()
        self._seen: list[tuple[str, str]] = []

    def look(self, client: ApiClient) -> None:
        """Tell the pages when machines have signed something new. Raises `Unreachable`."""
        try:
            rows = StandingApi(client).rows()
        except Refused:
            rows = []
        seen = [(row.id, "".join(m.signed for m in row.machines) + row.stop) for row in rows]
        if seen != self._seen:
            self._seen = seen
            self._changes.tell("access")

    def views(self) -> WindowList:
        """Return what was allowed ahead, judged here, and what one more can be made of."""
        documents, now_ms = self._desk.documents(), self._clock.wall_ms()
        try:
            cases, doubted = read_all(self._desk.folder, StandingApi(self._reach()))
        except Unreachable:
            cases, doubted = read_all(self._desk.folder, None)
        policy = documents.policy
        people = [policy.keys[key].person for key in policy.access.requesters]
        active = [entry for entry in documents.entries if entry.state == ACTIVE]
        return WindowList(
            items=[
                *(show_window(case, now_ms) for case in cases),
                *(show_doubted_window(each) for each in doubted),
            ],
            machines=[
                Choice(id=e.device, words=f"{e.name}{f', {e.site}' if e.site else ''}")
                for e in sorted(active, key=lambda entry: entry.name)
            ],
            people=sorted(set(people)),
            scopes=scope_choices(policy.access),
        )

    def prepare(self, wish: PrepareWindow) -> PreparedStanding:
        """Return the permission that somebody wants to give, and keep it until it is signed."""
        now_ms = self._clock.wall_ms()
        documents = self._desk.documents()
        check_lease(documents, now_ms)
        wanted = Wanted(
            machines=tuple(self._machine(device) for device in wish.machines),
            people=tuple(wish.people),
            scopes=tuple(dict.fromkeys(parse_scope(text) for text in wish.scopes)),
            windows=_read_windows(wish, now_ms),
            reason=wish.reason,
            time_zone=wish.time_zone,
            seconds=wish.seconds,
            watched=wish.watched,
        )
        prepared = prepare_standing(documents.policy, wanted, now_ms)
        if not self.passkeys_for(prepared):
            check_may_allow(prepared, self._desk.signer("approver").public.key_id)
        with self._acting:
            self._prepared[prepared.hash] = Shown(now_ms, prepared)
            while len(self._prepared) > MAX_PREPARED:
                self._prepared.popitem(last=False)
        return prepared

    def allow(self, standing: str, yes: Yes | None = None) -> WindowSaid:
        """Sign a permission that was shown, and hand it over. Raises `Refused` for any other."""
        with self._acting:
            shown = self._prepared.get(standing)
            if shown is None or self._clock.wall_ms() - shown.at_ms > PREPARED_FOR_MS:
                raise Refused(
                    "This was shown too long ago. Look at it again.", reason="not_prepared"
                )
            raw = self._sign(shown, yes)
            self._prepared[standing] = Shown(shown.at_ms, shown.prepared, raw)
            finish_standing(self._desk, shown.prepared, raw)
            StandingApi(self._reach()).add(raw)
            self._prepared.pop(standing, None)
        self._changes.tell("access")
        return WindowSaid(id=standing, words="Allowed. Each machine signs when it has it.")

    def revoke(self, standing: str, reason: str) -> WindowSaid:
        """Take a permission back. It is done when every machine has signed so."""
        api = StandingApi(self._reach())
        case = find_case(read_all(self._desk.folder, api)[0], standing)
        raw = take_back(self._desk, standing, reason, self._clock.wall_ms())
        try:
            api.revoke(standing, raw)
        except Refused as e:
            if e.reason != "not_found":
                raise
            api.add(case.standing.raw)
            api.revoke(standing, raw)
        self._changes.tell("access")
        words = "Taken back. It is done when each machine has signed so."
        return WindowSaid(id=standing, words=words)

    def passkeys_for(self, prepared: PreparedStanding) -> dict[str, RoleKey]:
        """Return the passkeys that may allow this here."""
        found = self.passkeys.approvers(prepared.policy, self.passkeys.caller())
        return {i: holder for i, holder in found.items() if holder.person not in prepared.people}

    def own_key_may(self, prepared: PreparedStanding) -> bool:
        """Say whether the approver's key of this folder may allow this."""
        try:
            check_may_allow(prepared, self._desk.signer("approver").public.key_id)
        except Refused:
            return False
        return True

    def _sign(self, shown: Shown, yes: Yes | None) -> bytes:
        prepared = shown.prepared
        if yes is None:
            return sign_standing(prepared, [self._desk.signer("approver")], shown.signed)
        # The envelope is made of what was shown, whatever the page says meanwhile.
        raw = shown.signed or seal(prepared.payload, [])
        envelope = read_envelope(raw, max_bytes=MAX_STANDING_BYTES)
        return add_yes(envelope, yes, self.passkeys_for(prepared))

    def _machine(self, device: str) -> RosterEntry:
        entry = find_entry(self._desk.documents(), device)
        if entry is None:
            raise Refused(f"{device} is not on your roster.", reason="not_on_roster")
        return entry


def _read_windows(wish: PrepareWindow, now_ms: int) -> tuple[Window, ...]:
    zone = find_zone(wish.time_zone)
    windows = [single_window(text, _NO_LENGTH, zone) for text in wish.at]
    if wish.every:
        skip = {read_date(text) for text in wish.skip}
        windows += weekly_windows(wish.every, wish.weeks, zone, now_ms, skip)
    return join_windows(windows)
