"""One recording on a page: fetched piece by piece, opened, made harmless, handed out from a place.

While a page looks at a live session, a beat goes to the machine every few seconds; when no page
asks any more, none does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from fleetward.keyholder.access.judging import Case
from fleetward.keyholder.access.recordings import (
    Event,
    RecordingReader,
    compare_receipt,
    recording_key,
    subject_of,
)
from fleetward.keyholder.access.replaying import make_safe
from fleetward.keyholder.access.server_rows import AccessApi, unwrap
from fleetward.keyholder.access.terminal_safe import VIEW, Filter
from fleetward.keyholder.access.watching import BEAT_EVERY_SECONDS, Beats
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.console.access_model import Screening
from fleetward.keyholder.desk import Desk
from fleetward.runtime.clock import Clock
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.grants.report import verify_receipt

MAX_SHOWN_CHARACTERS: Final = 16 * 1024 * 1024
"""What a page keeps of one session; a longer one is replayed by `fleetward owner session`."""
MAX_EVENTS_AT_ONCE: Final = 2000
MAX_PIECES_AT_ONCE: Final = 16


class Screen:
    """What is known of one recording so far. Safe to call from any thread."""

    def __init__(self, case: Case, reader: RecordingReader, reach: Callable[[], ApiClient],
                 beats: Callable[[AccessApi], Beats] | None, clock: Clock) -> None:  # fmt: skip
        self._case = case
        self._reader = reader
        self._reach = reach
        self._make_beats = beats
        self._clock = clock
        self._lock = threading.Lock()
        self._offset = 0
        self._events: list[Event] = []
        self._characters = 0
        self._filter = Filter(VIEW)
        self._done = False
        self._beat_at = 0
        self._beat_trouble = ""
        self._broken = ""

    def read(self, begin: int, *, live: bool) -> Screening:
        """Return the events from `begin` on, after asking the server for what is new.

        With `live` somebody looks: the machine is told so. Raises `Unreachable`.
        """
        with self._lock:
            api = AccessApi(self._reach())
            if live and not self._done:
                self._beat(api)
            if not self._done and not self._broken:
                self._fetch(api)
            shown = self._events[begin : begin + MAX_EVENTS_AT_ONCE]
            state, words = self._compare(api)
            return Screening(
                events=[(event.at, event.code, event.text) for event in shown],
                next=begin + len(shown),
                done=self._done and begin + len(shown) >= len(self._events),
                state=state,
                words=words,
                beats=self._beat_trouble,
            )

    def _fetch(self, api: AccessApi) -> None:
        for _ in range(MAX_PIECES_AT_ONCE):
            if self._characters > MAX_SHOWN_CHARACTERS:
                self._done = True
                return
            piece = api.recording(self._case.session, self._offset)
            self._offset += len(piece.data)
            try:
                self._keep(self._reader.feed(piece.data))
            except FleetwardError as e:
                self._broken, self._done = e.message, True
                return
            if self._offset >= piece.size:
                self._done = piece.done
                return

    def _keep(self, events: list[Event]) -> None:
        for event in make_safe(events, self._filter):
            self._events.append(event)
            self._characters += len(event.text) + 16

    def _compare(self, api: AccessApi) -> tuple[str, str]:
        if self._broken:
            return "false", self._broken
        if self._characters > MAX_SHOWN_CHARACTERS:
            return "long", (
                "It is too long for a page. The whole of it: fleetward owner session replay "
                f"{self._case.session[:16]}"
            )
        if self._case.receipt is None and self._done:
            self._case = _with_receipt(self._case, api)
        return compare_receipt(self._reader, self._case.receipt)

    def _beat(self, api: AccessApi) -> None:
        now_ms = self._clock.monotonic_ms()
        if self._beat_at and now_ms - self._beat_at < BEAT_EVERY_SECONDS * 1000:
            return
        if self._make_beats is None:
            self._beat_trouble = "You cannot watch for the machine: you asked yourself."
            return
        beats = self._make_beats(api)
        beats.beat()
        self._beat_at = now_ms
        self._beat_trouble = beats.trouble


def open_screen(desk: Desk, case: Case, reach: Callable[[], ApiClient], clock: Clock) -> Screen:
    """Return a screen for a session. Raises `Refused` when the recording key is not here."""
    reader = RecordingReader(subject_of(case), recording_key(desk.signer("recording")))
    signer = desk.signer("approver")

    def make(api: AccessApi) -> Beats:
        return Beats(api, case, signer, clock)

    try:
        make(AccessApi(reach()))
    except Refused as e:
        if e.reason != "wrong_signer":
            raise
        return Screen(case, reader, reach, None, clock)
    return Screen(case, reader, reach, make, clock)


def _with_receipt(case: Case, api: AccessApi) -> Case:
    """Return the case with the machine's receipt, once there is one."""
    raw = unwrap(api.papers(case.request.hash).receipt)
    if not raw:
        return case
    receipt = verify_receipt(raw, case.entry.key, case.request.owner)
    return replace(case, receipt=receipt) if receipt.session == case.session else case
