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
from fleetward.server.deeds import DeedRecorder
from fleetward.server.directory.act import Directory
from fleetward.server.events.act import EventStore
from fleetward.server.evidence import PostureSink, acknowledged_policies
from fleetward.server.identity.act import Devices
from fleetward.server.identity.issuing import CertificateAuthorities
from fleetward.server.intake import Intake, Rooms
from fleetward.server.people.wiring import PeopleSettings, PeopleSlice, open_people
from fleetward.server.posture.act import Posture
from fleetward.server.web.guard import WatchedRecorder
from fleetward.server.web.stream import EventHub
from fleetward.trust.journal import Entry


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
    people: PeopleSlice
    intake: Intake
    hub: EventHub


def open_house(
    database: Database,
    clock: Clock,
    authorities: CertificateAuthorities,
    log_key: FileSigner,
    people: PeopleSettings,
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
    sink = PostureSink(posture, clock, _announce(hub, access.door, devices), access.changes)
    intake = Intake(Rooms(devices, directory, events, ledger, sink, deeds, clock, access.door))
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


def _announce_access(hub: EventHub) -> Callable[[Change], None]:
    def announce(change: Change) -> None:
        hub.publish(
            "access.changed",
            {"request": change.request, "device_id": change.device, "state": change.state},
        )

    return announce


def _announce(
    hub: EventHub, door: AccessDoor, devices: Devices
) -> Callable[[str, Sequence[Entry]], None]:
    def announce(device: str, entries: Sequence[Entry]) -> None:
        door.read_entries(device, entries)
        for version in acknowledged_policies(entries):
            devices.acknowledge(device, version)
        hub.publish(
            "evidence",
            {"device_id": device, "kinds": sorted({entry.kind for entry in entries})},
        )

    return announce
