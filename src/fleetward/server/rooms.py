"""The server's slices, wired together: a list of names. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fleetward.runtime.clock import Clock
from fleetward.runtime.database import Database
from fleetward.runtime.keys import FileSigner
from fleetward.server.access.act import Access
from fleetward.server.access.book import Book, Change, Neighbours
from fleetward.server.access.changes import Changes
from fleetward.server.access.connect import Connections
from fleetward.server.access.ingest import AccessDoor
from fleetward.server.access.replay import Replays
from fleetward.server.access.show import Shown
from fleetward.server.access.standing import Standings
from fleetward.server.audit.act import Ledger
from fleetward.server.closing.act import Closings
from fleetward.server.closing.act import Neighbours as ClosingNeighbours
from fleetward.server.closing.ingest import ClosingDoor
from fleetward.server.closing.show import Shown as ClosingShown
from fleetward.server.closing.show import Sight
from fleetward.server.deeds import DeedRecorder
from fleetward.server.directory.act import Directory
from fleetward.server.events.act import EventStore
from fleetward.server.evidence import PostureSink, acknowledged_policies
from fleetward.server.identity.act import Devices
from fleetward.server.identity.issuing import CertificateAuthorities
from fleetward.server.intake import Intake, Rooms
from fleetward.server.people.wiring import PeopleSettings, PeopleSlice, open_people
from fleetward.server.posture.act import Posture
from fleetward.server.updates.act import Updates
from fleetward.server.updates.answers import UpdateDesk
from fleetward.server.updates.book import Neighbours as UpdateNeighbours
from fleetward.server.updates.book import UpdateBook, UpdatePlace
from fleetward.server.updates.ingest import UpdateDoor
from fleetward.server.updates.recall_show import RecallsShown, RecordPlaces
from fleetward.server.updates.recalls import Recalls
from fleetward.server.updates.robbed import RobbedDesk
from fleetward.server.updates.rollout_course import RolloutCourses
from fleetward.server.updates.rollout_motion import RolloutMotion
from fleetward.server.updates.rollout_show import RolloutsShown
from fleetward.server.updates.rollouts import Rollouts
from fleetward.server.updates.show import Shown as UpdateShown
from fleetward.server.updates.support import Support
from fleetward.server.web.guard import WatchedRecorder
from fleetward.server.web.stream import EventHub
from fleetward.trust.journal import Entry
from fleetward.trust.policy import Policy


@dataclass(frozen=True)
class AccessSlice:
    """Sessions: what people do, what machines say, who may be connected, what is shown."""

    book: Book
    access: Access
    door: AccessDoor
    connections: Connections
    replays: Replays
    shown: Shown
    standings: Standings
    changes: Changes


@dataclass(frozen=True)
class ClosingSlice:
    """Closings: what people hand in, what machines say, what is shown."""

    closings: Closings
    door: ClosingDoor
    shown: ClosingShown


@dataclass(frozen=True)
class UpdateSlice:
    """Updates: what people publish and approve, what machines ask and report, what is shown."""

    book: UpdateBook
    updates: Updates
    courses: RolloutCourses
    motion: RolloutMotion
    rollouts: Rollouts
    desk: RobbedDesk
    door: UpdateDoor
    shown: UpdateShown
    rollouts_shown: RolloutsShown
    recalls: Recalls
    recalls_shown: RecallsShown
    support: Support


@dataclass(frozen=True)
class Waiting:
    """All that a machine which greets is handed again, whichever capability it is of."""

    access: Standings
    closings: Closings

    def orders_for(self, device: str) -> list[bytes]:
        """Return signed envelopes that the machine has not answered."""
        return [*self.access.orders_for(device), *self.closings.orders_for(device)]


@dataclass(frozen=True)
class House:
    """Every slice of a running server."""

    database: Database
    clock: Clock
    authorities: CertificateAuthorities
    ledger: Ledger
    deeds: DeedRecorder
    directory: Directory
    devices: Devices
    events: EventStore
    posture: Posture
    access: AccessSlice
    closing: ClosingSlice
    updates: UpdateSlice
    waiting: Waiting
    people: PeopleSlice
    intake: Intake
    hub: EventHub


def open_house(
    database: Database,
    clock: Clock,
    authorities: CertificateAuthorities,
    log_key: FileSigner,
    people: PeopleSettings,
    place: UpdatePlace,
) -> House:
    """Wire the slices. The database's schema must be current."""
    hub = EventHub()
    ledger = Ledger(database, log_key, clock)
    deeds = WatchedRecorder(ledger)
    directory = Directory(database, ledger, deeds, authorities.check_chain)
    devices = Devices(database, authorities, directory, deeds, clock)
    events = EventStore(database)
    posture = Posture(database)
    access = _open_access(
        Neighbours(database, directory, devices, ledger, deeds, clock), authorities
    )
    access.book.listen(_announce_access(hub))
    closing = _open_closing(
        ClosingNeighbours(database, directory, devices, ledger, deeds, clock), posture
    )
    closing.closings.listen(_announce_closing(hub))
    updates = _open_updates(
        UpdateNeighbours(database, directory, devices, ledger, deeds, clock), place, ledger
    )
    updates.book.listen(_announce_updates(hub))
    doors = (access.door.read_entries, closing.door.read_entries, updates.door.read_entries)
    sink = PostureSink(posture, clock, _announce(hub, doors, devices), access.changes)
    intake = Intake(
        Rooms(devices, directory, events, ledger, sink, deeds, clock, access.door, updates.desk)
    )
    if directory.documents:  # a crash may have come between storing a roster and following it
        devices.follow_roster(directory.documents.entries)
    directory.listen(lambda documents: devices.follow_roster(documents.entries))
    directory.announcements.listen(lambda: hub.publish("owner.changed", {"recovery": True}))
    directory.listen(
        lambda documents: hub.publish("owner.changed", {"head": documents.head.version})
    )
    devices.listen(lambda device: hub.publish("device.changed", {"device_id": device}))
    return House(
        database=database,
        clock=clock,
        authorities=authorities,
        ledger=ledger,
        deeds=deeds,
        directory=directory,
        devices=devices,
        events=events,
        posture=posture,
        access=access,
        closing=closing,
        updates=updates,
        waiting=Waiting(access.standings, closing.closings),
        people=open_people(database, deeds, clock, lambda: directory.owner_id, people),
        intake=intake,
        hub=hub,
    )


def _open_access(near: Neighbours, authorities: CertificateAuthorities) -> AccessSlice:
    book = Book(near)
    access = Access(book)
    standings = Standings(book, access)
    changes = Changes(book, access)
    return AccessSlice(
        book,
        access,
        AccessDoor(book, standings),
        Connections(book, access, authorities),
        Replays(book, access),
        Shown(book, changes.show),
        standings,
        changes,
    )


def _open_closing(near: ClosingNeighbours, posture: Posture) -> ClosingSlice:
    closings = Closings(near)
    sight = Sight(posture.look, lambda version: _policy_at(near, version))
    return ClosingSlice(closings, ClosingDoor(closings), ClosingShown(near, sight))


def _policy_at(near: ClosingNeighbours, version: int) -> Policy | None:
    """Return the owner's policy of this version where it is the newest, else None."""
    policy = near.owner.policy if version else None
    return policy if policy is not None and policy.version == version else None


def _open_updates(near: UpdateNeighbours, place: UpdatePlace, record: RecordPlaces) -> UpdateSlice:
    book = UpdateBook(near, place)
    courses = RolloutCourses(book)
    motion = RolloutMotion(courses)
    recalls = Recalls(book)
    return UpdateSlice(
        book,
        Updates(book),
        courses,
        motion,
        Rollouts(courses, motion),
        RobbedDesk(book, UpdateDesk(book, motion)),
        UpdateDoor(book, motion),
        UpdateShown(book),
        RolloutsShown(book, courses),
        recalls,
        RecallsShown(recalls, record),
        Support(book),
    )


def _announce_updates(hub: EventHub) -> Callable[[str, str], None]:
    def announce(what: str, subject: str) -> None:
        device = subject if what == "report" else ""
        hub.publish("update.changed", {"what": what, "subject": subject, "device_id": device})

    return announce


def _announce_closing(hub: EventHub) -> Callable[[str, str], None]:
    def announce(closing: str, device: str) -> None:
        hub.publish("closing.changed", {"closing": closing, "device_id": device})

    return announce


def _announce_access(hub: EventHub) -> Callable[[Change], None]:
    def announce(change: Change) -> None:
        hub.publish(
            "access.changed",
            {"request": change.request, "device_id": change.device, "state": change.state},
        )

    return announce


def _announce(
    hub: EventHub,
    doors: Sequence[Callable[[str, Sequence[Entry]], None]],
    devices: Devices,
) -> Callable[[str, Sequence[Entry]], None]:
    def announce(device: str, entries: Sequence[Entry]) -> None:
        for read_entries in doors:
            read_entries(device, entries)
        for version in acknowledged_policies(entries):
            devices.acknowledge(device, version)
        hub.publish(
            "evidence",
            {"device_id": device, "kinds": sorted({entry.kind for entry in entries})},
        )

    return announce
