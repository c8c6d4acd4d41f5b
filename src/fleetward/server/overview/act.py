"""Putting the pages together: rows in, words out. It reads, it never writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import msgspec
from sqlalchemy.engine import Connection

from fleetward.runtime.clock import Clock
from fleetward.runtime.database import Database
from fleetward.runtime.http.times import to_rfc3339, to_rfc3339_or_none
from fleetward.server.overview import store
from fleetward.server.overview.decide import (
    Asking,
    CardFacts,
    Changed,
    Group,
    Tally,
    make_break_in,
    make_cards,
    make_sentence,
    severity_of,
    tally,
    where_of,
)
from fleetward.server.overview.model import (
    Card,
    Certificate,
    ChangeItem,
    Counts,
    Device,
    DeviceRow,
    Identity,
    Proof,
    Record,
    RecordDevice,
    RecordState,
    Sight,
    SiteRow,
    Sites,
    Timeline,
    TimelineItem,
    Today,
    Trust,
    Verb,
    WaitingItem,
    WitnessRow,
)
from fleetward.server.overview.store import Filter, Timespan
from fleetward.trust.canonical import decode_object
from fleetward.trust.envelope import read_envelope
from fleetward.trust.errors import FleetwardError, Malformed, Refused
from fleetward.trust.words import device_words

DAY_MS: Final = 86_400_000
CHANGED_MS: Final = 3 * DAY_MS
"""So long the first page speaks of what was found after a session."""
MAX_CHANGES: Final = 20
MAX_UNCONFIRMED: Final = 5
"""More machines than these that wait for the owner are one line."""
UNKNOWN: Final = ("", "unknown")
"""Whom a deed is about, where no machine could be named."""
MAX_RECORD_DEVICES: Final = 200
BREAK_GLASS_DEEDS: Final = ("breakglass.requested", "breakglass.granted")
BROKEN: Final[Mapping[str, frozenset[str]]] = {
    "intake.refused": frozenset({"forked_journal", "wrong_signer", "bad_chain"}),
    "device.renewal_refused": frozenset({"lineage"}),
    "device.join_refused": frozenset({"lineage"}),
}
"""Refusals that say that two machines may share an identity. Only what a machine's certificate or
signature vouches for counts: anybody may knock at the enrolment listener in another's name."""


class CheckedRecord(Protocol):
    """What the server's own check of the record found."""

    @property
    def state(self) -> Literal["intact", "broken", "unknown"]: ...

    @property
    def as_of_ms(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def words(self) -> str: ...


@dataclass(frozen=True)
class Sources:
    """Where the pages get what no table holds.

    `show_posture` returns the posture groups of one machine, given its row; `place_of` the index
    of a batch in the record, given its hash.
    """

    database: Database
    clock: Clock
    checked: Callable[[], CheckedRecord]
    checkpoint: Callable[[], tuple[int, int, str]]
    show_posture: Callable[[Any], Any]
    place_of: Callable[[str], int | None]
    owner: Callable[[], tuple[str, str]]
    witnesses: Callable[[], list[tuple[str, int | None, int | None]]]
    set_up: Callable[[], Sequence[CardFacts]]
    urgent: Callable[[], Sequence[CardFacts]] = tuple
    """What concerns whom the machines obey: before everything else."""
    held: Callable[[], Sequence[CardFacts]] = tuple
    """Rollouts that are held; for who may see the whole fleet, as the next."""
    updates: Callable[[], Sequence[CardFacts]] = tuple
    """Releases that failed, and support that ends."""


class Overview:
    """Answers the pages' questions."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._database = sources.database

    def today(self, wanted: Filter) -> Today:
        """Return the first page."""
        now = self._sources.clock.wall_ms()
        counted, groups, waiting = self._count(wanted)
        whole = counted.total > 0 and not wanted.narrowed
        cards = make_cards(
            groups,
            self._broken_card(now, wanted),
            (
                *(self._sources.updates() if whole else ()),
                *(self._sources.set_up() if counted.total else ()),
            ),
            self._asking(wanted),
            (
                *filter(None, [self._break_in(now, wanted)]),
                *self._sources.urgent(),
                *(self._sources.held() if whole else ()),
            ),
            self._changed(now, wanted),
        )
        return Today(
            sentence=make_sentence(counted),
            as_of=to_rfc3339(now),
            counts=Counts(
                total=counted.total,
                fine=counted.fine,
                need_you=counted.need_you,
                silent=counted.silent,
                waiting=counted.waiting,
            ),
            cards=[_write_card(card) for card in cards],
            waiting=waiting,
            changes=self._changes(now, wanted),
            record=self._record_state(),
            first_run=counted.total == 0,
        )

    def devices(
        self, wanted: Filter, sort: str, offset: int, limit: int
    ) -> tuple[list[DeviceRow], int]:
        """Return a page of machines and how many there are. Raises `Malformed` for a bad sort."""
        if sort.removeprefix("-") not in store.SORTS:
            raise Malformed(
                f"Expected a sort of {', '.join(store.SORTS)}, got {sort[:40]!r}.",
                reason="bad_sort",
            )
        with self._database.read() as conn:
            rows, total = store.select_page(conn, wanted, sort, offset, limit)
        return [DeviceRow(**self._row(row)) for row in rows], total

    def sites(self, wanted: Filter) -> Sites:
        """Return all sites with their machines counted."""
        counted, _, _ = self._count(wanted)
        return Sites(
            items=[
                SiteRow(
                    site=site,
                    total=one.total,
                    fine=one.fine,
                    need_you=one.need_you + one.waiting,
                    silent=one.silent,
                )
                for site, one in counted.sites.items()
            ]
        )

    def find(self, device_id: str, wanted: Filter) -> Any:
        """Return the row of a machine in scope. Raises `Refused` (not_found) otherwise."""
        with self._database.read() as conn:
            row = store.select_one(conn, device_id)
        if row is None or (
            wanted.narrowed
            and row.site not in (wanted.sites or ())
            and row.device_id not in (wanted.devices or ())
        ):
            raise Refused(
                "No machine of this id is known here. GET /api/v1/devices lists them.",
                reason="not_found",
            )
        return row

    def device(self, device_id: str, wanted: Filter) -> Device:
        """Return everything about one machine. Raises `Refused` (not_found)."""
        row = self.find(device_id, wanted)
        posture = self._sources.show_posture(row)
        with self._database.read() as conn:
            head, newest = store.select_proof(conn, device_id)
        return Device(
            **self._row(row),
            words=device_words(row.owner_id, row.device_id),
            reason=row.reason,
            agent=row.agent,
            wall=row.wall or "none",
            system=row.system,
            joined_at=to_rfc3339(row.joined_at),
            sight=Sight(root=posture.root, words=posture.sight),
            trust=_describe_trust(row),
            do_now=_do_now(row, posture),
            reachability=posture.reachability,
            software=posture.software,
            properties=posture.properties,
            certificate=Certificate(
                not_after=to_rfc3339_or_none(row.not_after or None),
                lineage=row.lineage,
                serial=row.serial,
            ),
            identity=Identity(key_id=row.device_id, suite=row.suite, lineage=row.lineage),
            proof=Proof(
                last_sequence=head.last if head else 0,
                last_leaf=self._sources.place_of(newest) if newest else None,
                head_at=to_rfc3339_or_none(head.head_at if head else None),
                journal_head=head.head if head else None,
            ),
        )

    def timeline(self, about: Timespan, page: tuple[int, int], wanted: Filter) -> Timeline:
        """Return a page (number, size) of changes and deeds, newest first."""
        with self._database.read() as conn:
            items = _read_items(conn, about, wanted, ((page[0] - 1) * page[1], page[1]))
            total = store.count_timeline(conn, about, wanted)
        return Timeline(items=items, total=total, page=page[0], per_page=page[1])

    def record(self) -> Record:
        """Return the record as the Proof page shows it."""
        now = self._sources.clock.wall_ms()
        checked = self._sources.checked()
        generation, size, note = self._sources.checkpoint()
        owner, _ = self._sources.owner()
        with self._database.read() as conn:
            heads = store.select_heads(conn, MAX_RECORD_DEVICES)
        return Record(
            state=checked.state,
            size=size,
            generation=generation,
            checkpoint=note or None,
            as_of=to_rfc3339_or_none(checked.as_of_ms or None),
            words=checked.words,
            owner_root=owner,
            witnesses=[
                WitnessRow(name=name, at=to_rfc3339_or_none(at), size=signed)
                for name, at, signed in self._sources.witnesses()
            ],
            devices=[
                RecordDevice(
                    id=row.device_id,
                    name=row.name,
                    head_at=to_rfc3339_or_none(row.head_at),
                    age_seconds=None if row.head_at is None else max(0, now - row.head_at) // 1000,
                )
                for row in heads
            ],
        )

    def _count(self, wanted: Filter) -> tuple[Tally, dict[str, Group], list[WaitingItem]]:
        groups: dict[str, Group] = {}
        with self._database.read() as conn:
            rows = store.count_needs(conn, wanted)
            for need in sorted({row.need for row in rows if row.need}):
                of = [row for row in rows if row.need == need]
                groups[need] = Group(
                    need=need,
                    number=sum(row.number for row in of),
                    sites=tuple(sorted(row.site for row in of)),
                    since_ms=_since(need, of),
                    device_id=of[0].device_id,
                    name=of[0].name,
                )
            unconfirmed = (
                store.select_examples(conn, wanted, "unconfirmed", MAX_UNCONFIRMED)
                if "unconfirmed" in groups
                else []
            )
        waiting = _wait_for_owner(groups.get("unconfirmed"), unconfirmed)
        return tally([(row.site, row.need, row.number) for row in rows]), groups, waiting

    def _asking(self, wanted: Filter) -> Asking | None:
        with self._database.read() as conn:
            rows = store.select_asking(conn, wanted)
        if not rows:
            return None
        first = rows[0]
        return Asking(
            number=len(rows),
            sites=tuple(sorted({row.site for row in rows})),
            since_ms=first.offered_at,
            request=first.request_id,
            who=f"{first.person} of {first.org}" if first.org else first.person,
            device=first.name,
            reason=first.reason,
            scopes=tuple(msgspec.json.decode(first.scopes, type=list[str])),
            break_glass=any(_says_break_glass(row) for row in rows),
        )

    def _changed(self, now: int, wanted: Filter) -> Changed | None:
        with self._database.read() as conn:
            rows = store.select_changed(conn, wanted, now - CHANGED_MS)
        if not rows:
            return None
        newest = rows[0]
        top = msgspec.json.decode(newest.top, type=list[str])
        return Changed(
            number=len(rows),
            sites=tuple(sorted({row.site for row in rows})),
            since_ms=newest.at,
            request=newest.request_id,
            who=f"{newest.person} of {newest.org}" if newest.org else newest.person,
            device=newest.name,
            findings=newest.findings,
            first=top[0] if top else "something",
        )

    def _changes(self, now: int, wanted: Filter) -> list[ChangeItem]:
        with self._database.read() as conn:
            items = _read_items(conn, Timespan(since_ms=now - DAY_MS), wanted, (0, MAX_CHANGES))
        return [
            ChangeItem(
                at=item.at,
                device_id=item.device_id or "",
                device_name=item.device_name or "",
                kind=item.kind,
                words=item.words,
                severity=item.severity,
            )
            for item in items
        ]

    def _break_in(self, now: int, wanted: Filter) -> CardFacts | None:
        with self._database.read() as conn:
            rows = store.count_refusals(conn, BREAK_GLASS_DEEDS, now - DAY_MS, wanted)
            names = store.select_names(conn, [_device_of(row) for row in rows])
        deeds = [(names.get(_device_of(row), _device_of(row)), _body_of(row), row) for row in rows]
        return make_break_in(
            [
                (name, str(body.get("words", "")), row.at, str(body.get("request", "")))
                for name, body, row in deeds
            ]
        )

    def _broken_card(self, now: int, wanted: Filter) -> CardFacts | None:
        checked = self._sources.checked()
        if checked.state == "broken":
            return CardFacts(
                "record", "broken", "The record does not check out", "This server", checked.words,
                checked.as_of_ms, "See the proof", "/proof",
            )  # fmt: skip
        with self._database.read() as conn:
            rows = store.count_refusals(conn, tuple(BROKEN), now - DAY_MS, wanted)
        for row in rows:
            details = _body_of(row)
            if details.get("reason") in BROKEN[row.kind]:
                device = _device_of(row)
                return CardFacts(
                    "identity", "broken", "Two machines may be using one identity", "One device",
                    str(details.get("words", "")), row.at, "Look at it", f"/devices/{device}",
                )  # fmt: skip
        return None

    def _record_state(self) -> RecordState:
        checked = self._sources.checked()
        return RecordState(
            state=checked.state,
            as_of=to_rfc3339_or_none(checked.as_of_ms or None),
            size=checked.size,
            words=checked.words,
        )

    def _row(self, row: Any) -> dict[str, Any]:
        _, owner = self._sources.owner()
        return {
            "id": row.device_id,
            "name": row.name,
            "site": row.site,
            "state": row.state,
            "confirmed": bool(row.confirmed),
            "connection": row.connection,
            "model": row.model,
            "maker": row.maker_id,
            "owner": owner,
            "simulated": bool(row.simulated),
            "last_seen_at": to_rfc3339_or_none(row.last_seen_at or None),
            "open_ports": row.open_ports,
            "updates_pending": row.updates_pending,
            "security_updates": row.security_updates,
            "need": row.need,
        }


def _wait_for_owner(group: Group | None, rows: Sequence[Any]) -> list[WaitingItem]:
    """Return what waits for the owner: each machine, or one line for all where they are many."""
    if group is not None and group.number > len(rows):
        return [
            WaitingItem(
                id=group.need,
                title=f"The owner has not confirmed {group.number:,} devices yet.",
                where=where_of(group.sites),
                since=to_rfc3339(group.since_ms),
            )
        ]
    return [
        WaitingItem(
            id=row.device_id,
            title=f"The owner has not confirmed {row.name} yet.",
            where=where_of([row.site]),
            since=to_rfc3339(row.joined_at),
        )
        for row in rows
    ]


_SINCE: Final = {
    "silent": "seen_at",
    "quarantined": "state_at",
    "exposed": "exposed_since",
    "updates": "updates_since",
}


def _since(need: str, rows: Sequence[Any]) -> int:
    """Return since when the first of these machines needs this, or else since when it is here."""
    name = _SINCE.get(need, "joined_at")
    return int(min(getattr(row, name) or row.joined_at for row in rows))


def _describe_trust(row: Any) -> Trust:
    seen = to_rfc3339_or_none(row.last_seen_at or None)
    if row.state == "retired":
        return Trust(level="L0", words="Its owner retired this machine.", as_of=seen)
    if not row.confirmed:
        words = (
            "It holds the key that it joined with. Its owner has not compared the six words yet, "
            "so nobody has said which machine this is."
        )
        return Trust(level="L1", words=words, as_of=seen)
    words = (
        "It proves by a key in its own storage that it is the machine that its owner confirmed. "
        "Whoever copies that storage could pose as it."
    )
    return Trust(level="L2", words=words, as_of=seen)


def _do_now(row: Any, posture: Any) -> list[Card]:
    cards: list[Card] = []
    since = to_rfc3339(row.last_seen_at or row.joined_at)
    here = f"/devices/{row.device_id}"
    if row.need == "silent":
        cards.append(
            Card(
                id="silent", kind="silence", title="Not heard of", where=row.site,
                why="What is shown here grows old. Check its power and network; it reports what it "
                "kept when it comes back.", since=since, verb=Verb(label="See its timeline",
                href=f"{here}?tab=timeline"),
            )
        )  # fmt: skip
    if not row.confirmed and row.state != "retired":
        cards.append(
            Card(
                id="confirm", kind="waiting", title="Compare the six words", where=row.site,
                why="Only its owner can say that this is the machine it claims to be.",
                since=to_rfc3339(row.joined_at), verb=Verb(label="See the words", href=here),
            )
        )  # fmt: skip
    if row.state == "quarantined":
        cards.append(
            Card(
                id="quarantined", kind="containment", title="In quarantine", where=row.site,
                why=row.reason or "It reports, and reaches nothing else.", since=since,
                verb=Verb(label="Let it back", href=here),
            )
        )  # fmt: skip
    cards.extend(
        Card(
            id=item.id, kind=item.kind, title=item.title, where=row.site, why=item.why,
            since=item.since, verb=Verb(label=item.verb, href=f"{here}?tab={item.tab}"),
        )
        for item in posture.attention
    )  # fmt: skip
    return cards


def _device_of(row: Any) -> str:
    subject = str(row.subject)
    return subject.removeprefix("device:") if subject.startswith("device:") else ""


def _says_break_glass(row: Any) -> bool:
    return read_envelope(bytes(row.envelope)).payload.get("break_glass") is True


def _body_of(row: Any) -> Mapping[str, Any]:
    try:
        value = decode_object(bytes(row.body)).get("body")
    except FleetwardError:
        return {}
    return value if isinstance(value, dict) else {}


def _read_items(
    conn: Connection, about: Timespan, wanted: Filter, span: tuple[int, int]
) -> list[TimelineItem]:
    rows = store.select_timeline(conn, about, wanted, span)
    names = store.select_names(conn, [_device_of(row) for row in rows])
    return [_write_item(row, names) for row in rows]


def _write_item(row: Any, names: Mapping[str, str]) -> TimelineItem:
    device = _device_of(row)
    body = _body_of(row)
    words = body.get("words")
    fallback = row.kind.replace(".", " ").replace("_", " ").capitalize() + "."
    if row.kind.startswith("document."):
        fallback = f"The owner signed a new {row.kind.removeprefix('document.')}."
    return TimelineItem(
        at=to_rfc3339(row.at),
        kind=row.kind,
        words=words if isinstance(words, str) and words else fallback,
        source="record" if row.leaf >= 0 else "machine",
        device_id=None if device in UNKNOWN else device,
        device_name=names.get(device),
        sequence=row.sequence if row.sequence >= 0 else None,
        leaf=row.leaf if row.leaf >= 0 else None,
        severity=severity_of(row.kind, body.get("break_glass")),
    )


def _write_card(card: CardFacts) -> Card:
    return Card(
        id=card.id,
        kind=card.kind,
        title=card.title,
        where=card.where,
        why=card.why,
        since=to_rfc3339(card.since_ms),
        verb=Verb(label=card.label, href=card.href),
    )
