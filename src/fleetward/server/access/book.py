"""The stored requests, and whoever is told when one of them changes. Shared by people's side
(`act`), the machines' (`ingest`) and the bus (`connect`)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from fleetward.runtime.clock import Clock
from fleetward.runtime.database import Database
from fleetward.server.access import store
from fleetward.server.access.decide import OVER, Course, follow
from fleetward.server.deeds import DeedRecorder
from fleetward.trust.keys import PublicKey
from fleetward.trust.policy import Policy


class OwnerDocuments(Protocol):
    """What this capability needs of the owner's documents."""

    @property
    def owner_id(self) -> str: ...

    @property
    def policy(self) -> Policy: ...

    def issuing_chain(self) -> str: ...


class Machines(Protocol):
    """What this capability needs to know of machines."""

    def key_of(self, device: str) -> PublicKey: ...

    def state_of(self, device: str) -> str: ...

    def site_of(self, device: str) -> str: ...

    def name_of(self, device: str) -> str: ...


class SignedLedger(Protocol):
    """Takes signed documents of sessions as leaves of the owner's record."""

    def append_signed(self, kind: str, raw: bytes, by: tuple[str, str], at_ms: int) -> None:
        """Make the document a leaf, once. `by` is who brought it and the machine."""


@dataclass(frozen=True)
class Neighbours:
    """What this capability stands beside."""

    database: Database
    owner: OwnerDocuments
    machines: Machines
    ledger: SignedLedger
    deeds: DeedRecorder
    clock: Clock


@dataclass(frozen=True, slots=True)
class Change:
    """A request that stands elsewhere now."""

    request: str
    device: str
    state: str


class Book:
    """Appends to the story of a request. Thread-safe; `lock` is held over each change."""

    def __init__(self, near: Neighbours) -> None:
        self.near: Final = near
        self.lock: Final = threading.RLock()
        self._on_change: list[Callable[[Change], None]] = []
        self._on_order: list[Callable[..., None]] = []
        self._on_end: list[Callable[[str], None]] = []

    def listen(self, listener: Callable[[Change], None]) -> None:
        """Call `listener` whenever something came for a request."""
        self._on_change.append(listener)

    def carry(self, carrier: Callable[..., None]) -> None:
        """Let `carrier` bring envelopes to machines: (device, envelope, ...), in their order."""
        self._on_order.append(carrier)

    def on_end(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with a session whose requester has no business on the bus any more."""
        self._on_end.append(listener)

    def add(self, notes: list[store.Note]) -> Course:
        """Store notes for one request, and where it stands after them; tell whoever listens."""
        request, device = notes[0].request, notes[0].device
        with self.near.database.write() as conn:
            for note in notes:
                store.insert_note(conn, note, self.near.owner.owner_id)
            course = follow(store.select_facts(conn, request))
            store.update_course(conn, request, course)
        self.tell(Change(request, device, course.state))
        if course.state in OVER and course.session:
            self.end(course.session)
        return course

    def tell(self, change: Change) -> None:
        """Say that a request changed."""
        for listener in self._on_change:
            listener(change)

    def order(self, device: str, *envelopes: bytes) -> None:
        """Let envelopes be brought to a machine, in this order."""
        for carrier in self._on_order:
            carrier(device, *envelopes)

    def end(self, session: str) -> None:
        """Say that nobody should be connected for this session."""
        for listener in self._on_end:
            listener(session)

    def find_session(self, session: str) -> Any:
        """Return the request whose grant has this hash (or begins so), or None."""
        with self.near.database.read() as conn:
            return store.select_by_session(conn, session)

    def now(self) -> int:
        """Return the time."""
        return self.near.clock.wall_ms()
