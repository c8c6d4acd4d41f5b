"""Showing what machines said, and taking what arrives; keeps the last inventories unpacked."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from fleetward.runtime.database import Database
from fleetward.runtime.http.times import to_rfc3339, to_rfc3339_or_none
from fleetward.server.posture import ingest, store
from fleetward.server.posture.attention import Attention, Since, judge_attention
from fleetward.server.posture.decide import Context, Property, count_updates, judge_properties
from fleetward.server.posture.ingest import Ingested
from fleetward.server.posture.model import (
    AttentionView,
    ChangeRow,
    DevicePosture,
    FactRow,
    LayersView,
    PackageRow,
    ProgramRow,
    ServiceRow,
    SightView,
    SocketRow,
    UserRow,
)
from fleetward.server.posture.store import ChangeRecord, DeviceKey, Known
from fleetward.server.shown import EvidenceView, PropertyView, Reachability, Software
from fleetward.trust.journal import Entry
from fleetward.wire.posture import (
    Inventory,
    Section,
    SectionName,
    Service,
    Summary,
    can_log_in,
    count_ports,
    decode_inventory,
    is_visible,
)

KEPT_INVENTORIES: Final = 32
"""Unpacked ones, a few MB each at most; a fleet of one image needs one."""
MAX_CHANGES: Final = 500
NOT_REPORTED: Final = SightView(level="none", words="This machine has sent no inventory yet.")

T = TypeVar("T")
R = TypeVar("R")


class Posture:
    """The posture of all machines. Thread-safe. Reading leaves no deed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], Inventory] = OrderedDict()

    # --- What arrives -----------------------------------------------------------------------

    def take_events(
        self, device: DeviceKey, entries: Sequence[Entry], received_ms: int
    ) -> Ingested:
        """Store a machine's entries about its posture; return the inventories to ask it for."""
        if not any(entry.kind in ingest.KINDS for entry in entries):
            return Ingested((), (), 0)
        with self._database.write() as conn:
            return ingest.ingest_events(conn, device, entries, received_ms)

    def take_groups(
        self, groups: Sequence[tuple[DeviceKey, Sequence[Entry]]], received_ms: int
    ) -> list[Ingested]:
        """Like `take_events` for many machines, in one transaction; all of it is stored or none."""
        nothing = Ingested((), (), 0)
        speaking = [any(e.kind in ingest.KINDS for e in entries) for _, entries in groups]
        if not any(speaking):
            return [nothing] * len(groups)
        with self._database.write() as conn:
            return [
                ingest.ingest_events(conn, device, entries, received_ms) if speaks else nothing
                for (device, entries), speaks in zip(groups, speaking, strict=True)
            ]

    def take_inventory(
        self, device: DeviceKey, digest: str, body: bytes, received_ms: int
    ) -> Inventory:
        """Verify and store an inventory. Raises Untrusted or Malformed, and stores nothing then."""
        with self._database.write() as conn:
            inventory = ingest.ingest_inventory(conn, device, digest, body, received_ms)
        self._keep((device.owner_id, digest), inventory)
        return inventory

    # --- What is shown ----------------------------------------------------------------------

    def known(self, device_ids: Sequence[str]) -> dict[str, Known]:
        """Return the summaries of machines, for a page of the fleet."""
        with self._database.read() as conn:
            return {row.key.device_id: row for row in store.select_devices(conn, device_ids)}

    def fleet(self, owner_id: str) -> list[Known]:
        """Return the summaries of all machines of an owner."""
        with self._database.read() as conn:
            return list(store.select_fleet(conn, owner_id))

    def inventory(self, known: Known | None) -> Inventory | None:
        """Return the last inventory of a machine that is here, or None when none is yet.

        Between a machine's word that it has another one and that document's arrival it is the one
        before, as old as it is.
        """
        if known is None or known.held is None:
            return None
        place = (known.key.owner_id, known.held.digest)
        with self._lock:
            kept = self._kept.get(place)
            if kept is not None:
                self._kept.move_to_end(place)
                return kept
        with self._database.read() as conn:
            body = store.select_inventory(conn, *place)
        if body is None:
            return None
        inventory = decode_inventory(body)
        self._keep(place, inventory)
        return inventory

    def look(self, device_id: str) -> tuple[Known | None, Inventory | None]:
        """Return what a machine said last, and its inventory where that is here."""
        known = self.known([device_id]).get(device_id)
        return known, self.inventory(known)

    def attention(self, known: Known) -> list[Attention]:
        """Return what needs a person about a machine."""
        inventory = self.inventory(known)
        if inventory is None:
            return []
        since = Since(
            known.received_ms,
            known.exposed_since_ms or known.received_ms,
            known.updates_since_ms or known.received_ms,
        )
        return judge_attention(inventory, since)

    def properties(self, device_id: str, context: Context) -> list[Property]:
        """Judge the seven properties of a machine."""
        _, inventory = self.look(device_id)
        return judge_properties(inventory, context)

    def show(self, device_id: str, context: Context) -> DevicePosture:
        """Return all that a device's page shows of its posture.

        The time of the inventory in `context` is replaced by the one that is stored.
        """
        known, inventory = self.look(device_id)
        if known is not None:
            context = _with_time(context, held_at(known) or known.as_of_ms)
        cards = [] if known is None or inventory is None else self.attention(known)
        return DevicePosture(
            root=None if known is None else known.summary.root,
            sight=_describe_sight(known),
            reachability=describe_reachability(known, inventory),
            software=describe_software(known, inventory),
            properties=[_view_property(row) for row in judge_properties(inventory, context)],
            attention=[_view_attention(row) for row in cards],
        )

    def changes(
        self, owner_id: str, device_id: str | None = None, since_ms: int = 0, limit: int = 100
    ) -> list[ChangeRow]:
        """Return changes in words, the newest arrival first."""
        with self._database.read() as conn:
            records = store.select_changes(
                conn, owner_id, device_id, since_ms, min(limit, MAX_CHANGES)
            )
        return [_view_change(record) for record in records]

    def clean(self, owner_id: str, before_ms: int) -> int:
        """Delete inventories from before a time that no machine has any more."""
        with self._database.write() as conn:
            return store.delete_unused(conn, owner_id, before_ms)

    def _keep(self, place: tuple[str, str], inventory: Inventory) -> None:
        with self._lock:
            self._kept[place] = inventory
            self._kept.move_to_end(place)
            while len(self._kept) > KEPT_INVENTORIES:
                self._kept.popitem(last=False)


def held_at(known: Known | None) -> int | None:
    """Return when a machine made the inventory that is held here, or None without one."""
    return None if known is None or known.held is None else known.held.as_of_ms


def _with_time(context: Context, at_ms: int) -> Context:
    return Context(
        inventory_at_ms=at_ms,
        reported_at_ms=context.reported_at_ms,
        hardware_key=context.hardware_key,
        wall=context.wall,
        certificate_until_ms=context.certificate_until_ms,
        lineage=context.lineage,
        now_ms=context.now_ms,
    )


def _describe_sight(known: Known | None) -> str:
    if known is None:
        return NOT_REPORTED.words
    if known.summary.root:
        return "The agent runs as root and sees the whole machine."
    return "The agent runs without root: what belongs to other users is not visible."


def describe_reachability(known: Known | None, inventory: Inventory | None) -> Reachability:
    """Say in words and numbers who can reach this machine."""
    if known is None or inventory is None or inventory.sockets is None:
        return _unseen_ports(known, "Not visible yet.")
    section = inventory.sockets
    if not is_visible(section):
        return _unseen_ports(known, section.sight.reason)
    if not section.items and section.sight.level != "full":
        return _unseen_ports(known, "None visible without root. How to see all: run it as root.")
    outward = count_ports(section.items, ("lan", "all"))
    inward = count_ports(section.items, ("loopback",))
    words = "No open ports." if not section.items else f"{_ports(outward)} reachable by others."
    if section.sight.level != "full":
        words += f" {section.sight.reason}"
    return Reachability(
        as_of=to_rfc3339_or_none(held_at(known)),
        state="shown",
        sockets_total=count_ports(section.items, ("loopback", "lan", "all")),
        lan=outward,
        loopback=inward,
        words=words,
    )


def _ports(number: int) -> str:
    if number == 0:
        return "No port is"
    return "1 port is" if number == 1 else f"{number} ports are"


def _unseen_ports(known: Known | None, words: str) -> Reachability:
    return Reachability(
        as_of=to_rfc3339_or_none(held_at(known)),
        state="not_visible",
        sockets_total=None,
        lan=None,
        loopback=None,
        words=words,
    )


def describe_software(known: Known | None, inventory: Inventory | None) -> Software:
    """Say what runs here and what waits to be installed."""
    summary = known.summary if known is not None else Summary(os="", kernel="", root=False)
    return Software(
        as_of=None if known is None else to_rfc3339(known.as_of_ms),
        os=summary.os,
        kernel=summary.kernel,
        packages=summary.packages,
        pending=summary.updates_pending,
        security=summary.security_updates,
        inventory_digest=None if known is None else known.digest,
        words=_describe_updates(known, inventory),
    )


def _describe_updates(known: Known | None, inventory: Inventory | None) -> str:
    if known is None:
        return NOT_REPORTED.words
    summary = known.summary
    if summary.updates_pending is None:
        section = inventory.updates if inventory is not None else None
        reason = section.sight.reason if section is not None else ""
        return f"Waiting updates are not visible. {reason}".strip()
    if summary.security_updates:
        return _describe_security(summary.security_updates, summary.updates_pending)
    if summary.updates_pending:
        return f"{count_updates(summary.updates_pending)} waiting, none for security."
    return "No update is waiting."


def _describe_security(security: int, pending: int) -> str:
    if pending == 1:
        return "1 update is waiting, for security."
    return f"{security:,} of {pending:,} updates are for security."


# --- From the document to the rows of the API -----------------------------------------------


def sight_of(inventory: Inventory | None, name: SectionName | None) -> SightView:
    """Return how much of a section was seen, or of all facts together when none is named."""
    if inventory is None:
        return NOT_REPORTED
    if name is None:
        return _sight_of_facts(inventory)
    section: Section[Any] | None = getattr(inventory, name)
    if section is None:
        return NOT_REPORTED
    return SightView(level=section.sight.level, words=section.sight.reason)


_GROUPS: Final = ("kernel", "disk", "clock", "firmware")


def _sight_of_facts(inventory: Inventory) -> SightView:
    sections = (inventory.kernel, inventory.disk, inventory.clock, inventory.firmware)
    named = zip(_GROUPS, sections, strict=True)
    sights = [section.sight for section in sections if section is not None]
    levels = {sight.level for sight in sights}
    words = " ".join(
        f"{name.capitalize()}: {section.sight.reason}"
        for name, section in named
        if section is not None and section.sight.reason
    )
    if not sights or levels == {"none"}:
        return SightView(level="none", words=words or NOT_REPORTED.words)
    return SightView(level="full" if levels == {"full"} else "partial", words=words)


def list_packages(inventory: Inventory) -> list[PackageRow]:
    """Return packages, each with its waiting update."""
    waiting = {(u.manager, u.name, u.installed): u for u in _items(inventory.updates)}
    rows = []
    for package in _items(inventory.packages):
        update = waiting.get((package.manager, package.name, package.version))
        rows.append(
            PackageRow(
                **_fields(package),
                update=None if update is None else update.candidate,
                security=update is not None and update.security,
            )
        )
    return sorted(rows, key=lambda row: (not row.security, row.update is None, row.name))


def list_sockets(inventory: Inventory) -> list[SocketRow]:
    """Return sockets, the widest open first."""
    width = {"all": 0, "lan": 1, "loopback": 2}
    rows = [SocketRow(**_fields(row)) for row in _items(inventory.sockets)]
    return sorted(rows, key=lambda row: (width[row.exposure], row.port, row.proto))


def list_users(inventory: Inventory) -> list[UserRow]:
    """Return accounts, those that can log in first."""
    rows = [
        UserRow(**_fields(user), can_log_in=can_log_in(user)) for user in _items(inventory.users)
    ]
    return sorted(rows, key=lambda row: (not row.can_log_in, row.uid))


def list_services(inventory: Inventory) -> list[ServiceRow]:
    """Return services, running ones first."""
    rows = [_view_service(service) for service in _items(inventory.services)]
    return sorted(rows, key=lambda row: (row.state != "running", row.unit))


def _view_service(service: Service) -> ServiceRow:
    layers = _fields(service.layers)
    if layers["namespaces"] is not None:
        layers["namespaces"] = list(layers["namespaces"])
    return ServiceRow(**{**_fields(service), "layers": LayersView(**layers)})


def list_programs(inventory: Inventory) -> list[ProgramRow]:
    """Return running programs, network-facing ones first, as the machine ordered them."""
    return [
        ProgramRow(**{**_fields(row), "users": list(row.users)})
        for row in _items(inventory.programs)
    ]


def list_facts(inventory: Inventory) -> list[FactRow]:
    """Return the facts of all groups."""
    groups = {
        "kernel": inventory.kernel,
        "disk": inventory.disk,
        "clock": inventory.clock,
        "firmware": inventory.firmware,
    }
    return [
        FactRow(group=group, key=fact.key, value=fact.value, words=fact.words)
        for group, section in groups.items()
        for fact in _items(section)
    ]


def matches(row: msgspec.Struct, text: str) -> bool:
    """Say whether a row holds this text in any of its fields, whatever its case."""
    wanted = text.casefold()
    return any(
        wanted in str(value).casefold() for value in _fields(row).values() if value is not None
    )


def filter_rows(
    inventory: Inventory | None, make: Callable[[Inventory], list[R]], text: str
) -> list[R]:
    """Return the rows of an inventory that hold a text; none without an inventory."""
    rows = [] if inventory is None else make(inventory)
    return [row for row in rows if isinstance(row, msgspec.Struct) and matches(row, text)]


def _items(section: Section[T] | None) -> tuple[T, ...]:
    return () if section is None else section.items


def _fields(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def _view_property(row: Property) -> PropertyView:
    return PropertyView(
        id=row.id,
        name=row.name,
        state=row.state,
        evidence=[
            EvidenceView(words=e.words, as_of=to_rfc3339(e.as_of_ms), holds=e.holds)
            for e in row.evidence
        ],
        next=row.next,
    )


def _view_attention(row: Attention) -> AttentionView:
    return AttentionView(
        id=row.key,
        kind=row.kind,
        title=row.title,
        why=row.why,
        since=to_rfc3339(row.since_ms),
        urgent=row.urgent,
        verb=row.verb,
        tab=row.tab,
    )


def _view_change(record: ChangeRecord) -> ChangeRow:
    shown: Mapping[str, Any] = {
        name: getattr(record.change, name)
        for name in ("what", "words", "before", "after", "severity")
    }
    return ChangeRow(
        device_id=record.key.device_id,
        sequence=record.sequence,
        at=to_rfc3339(record.at_ms),
        received_at=to_rfc3339(record.received_ms),
        **shown,
    )
