"""Watching a session live: the growing recording, opened here, and a signed beat that says so.

A session that must be watched ends on the machine when no beat has come for 15 seconds. A beat is
signed by the approver's key, here, and only while somebody looks: it stops with the looking.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

from fleetward.keyholder.access.answering import sign_beat
from fleetward.keyholder.access.judging import Case
from fleetward.keyholder.access.recordings import Event, RecordingReader
from fleetward.keyholder.access.server_rows import AccessApi
from fleetward.runtime.clock import Clock
from fleetward.trust.errors import FleetwardError, Refused, Unreachable
from fleetward.trust.keys import Signer

BEAT_EVERY_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.25
PATIENCE_SECONDS: Final = 60.0
"""How long a server may be away before watching ends."""


class Beats:
    """Sends beats from a thread of its own while it is entered."""

    def __init__(self, api: AccessApi, case: Case, signer: Signer, clock: Clock) -> None:
        if case.grant is None:
            raise Refused("There is no session to watch yet.", reason="no_session")
        holder = case.policy.roles["approve"].keys.get(signer.public.key_id)
        if holder is None or holder.person == case.request.person:
            raise Refused(
                "Only an approver who is not inside can watch for the machine.",
                reason="wrong_signer",
            )
        self._api = api
        self._request = case.request.hash
        self._session = case.grant.hash
        self._policy = case.policy
        self._signer = signer
        self._clock = clock
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beats", daemon=True)
        self.trouble = ""

    def __enter__(self) -> Beats:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(timeout=1)

    def beat(self) -> None:
        """Send one beat. It does not raise: `trouble` says why the last one did not arrive."""
        raw = sign_beat(self._policy, self._session, self._signer, self._clock.wall_ms())
        try:
            self._api.hand(self._request, "beat", raw)
            self.trouble = ""
        except FleetwardError as e:
            self.trouble = e.message

    def _run(self) -> None:
        while True:
            self.beat()
            if self._over.wait(BEAT_EVERY_SECONDS):
                return


def follow(
    api: AccessApi,
    session: str,
    reader: RecordingReader,
    show: Callable[[list[Event]], None],
    is_over: Callable[[], bool],
    still: Callable[[float], None] = time.sleep,
) -> None:
    """Show a recording as it grows, until the server says that it is complete.

    `is_over` is asked when nothing new came for a while. Raises `Unreachable` when the server was
    away for too long, and what `RecordingReader` raises.
    """
    offset, last = 0, time.monotonic()
    while True:
        try:
            piece = api.recording(session, offset)
        except (Unreachable, Refused) as e:
            if not _passes(e, offset) or time.monotonic() - last > PATIENCE_SECONDS:
                raise
            if is_over():
                return
            still(LOOK_SECONDS)
            continue
        if piece.data:
            offset += len(piece.data)
            last = time.monotonic()
            show(reader.feed(piece.data))
        if offset >= piece.size:
            if piece.done:
                return
            if time.monotonic() - last > 2 and is_over():
                return
            still(LOOK_SECONDS)


def _passes(error: FleetwardError, offset: int) -> bool:
    """Say whether to try again: the server is away, or has not got the first record yet."""
    return isinstance(error, Unreachable) or (offset == 0 and error.reason == "not_found")
