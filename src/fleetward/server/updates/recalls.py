"""Recalls: opened, followed, answered and closed. Each deed of a person is written down first.

A recall finds machines, tells people, and shows what is proven. It is no order: nothing here offers
a release, lets a machine into a rollout, makes it look, or puts it into quarantine. What mends a
machine is a release that its owner approved; what ends it is the owner's roster.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from fleetward.server.deeds import JsonValue
from fleetward.server.updates import recall_store, store
from fleetward.server.updates.announcement import Announcement
from fleetward.server.updates.book import UpdateBook
from fleetward.server.updates.decide_recall import (
    CANCELLED,
    CLOSED,
    OPEN,
    PATCH,
    UNDONE,
    Member,
    Said,
    Tally,
    check_fix,
    check_line,
    check_lines,
    count_members,
    decide_members,
    list_announcements,
    read_versions,
    say_about,
    say_found,
    say_headline,
    write_versions,
)
from fleetward.server.updates.named import find_named
from fleetward.server.updates.store import Row
from fleetward.server.web.caller import Caller
from fleetward.trust.canonical import encode
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.recall import RecallScope, make_scope, read_scope
from fleetward.trust.release_manifest import ANY_HARDWARE, read_manifest
from fleetward.trust.roster import RosterEntry
from fleetward.trust.sayings import say_count
from fleetward.trust.selector import Selector
from fleetward.trust.update_report import Installed

ID_BYTES: Final = 16
DAY_MS: Final = 86_400_000
SETTLE_MS: Final = 5_000
"""How soon after a report machines are looked at again: a fleet that updates reports all the
time."""
ROUND_MS: Final = 60_000
"""How often they are without a report: for who joined, was retired, or is told again."""
CLOSED_MS: Final = 3_600_000
"""How often those of recalls that were closed are: there are more of these every year."""
MAX_OPEN: Final = 16
"""Recalls that are followed at once; each is a look at the whole fleet."""
MAX_NOTED: Final = 500
REMEDY_WORDS: Final = {
    "patch": "Update it to {fix}.",
    "disable": "Disable it: by the owner's order, or in quarantine.",
    "stop": "Stop using it, and take it off the roster.",
}


@dataclass(frozen=True, slots=True)
class RecallWish:
    """A recall as somebody wants it. `versions` empty: all; `until_ms` 0: no day is named.
    `machines` None: those of the models that the recalled releases are for."""

    product: str
    versions: tuple[str, ...]
    machines: Selector | None
    title: str
    why: str
    advisories: tuple[str, ...]
    remedy: str
    fix_version: str
    until_ms: int


@dataclass(frozen=True)
class Found:
    """What a recall would find."""

    scope: RecallScope
    members: tuple[Member, ...]

    @property
    def tally(self) -> Tally:
        """How the machines stand."""
        return count_members(each.standing for each in self.members)


class Recalls:
    """Recalls, as the API, the door and the clock drive them. Thread-safe."""

    def __init__(self, book: UpdateBook) -> None:
        self.book: Final = book
        self._touched = True
        self._looked_ms = 0
        self._looked_closed_ms = 0
        book.listen(self._hear)

    def _hear(self, what: str, _: str) -> None:
        if what in ("report", "release"):
            self._touched = True

    def preview(self, wish: RecallWish) -> Found:
        """Return what a recall would find. Raises `Malformed` or `Refused`."""
        check_lines(check_line(wish.title, "the title"), "a title")
        check_lines(wish.why, "the reason")
        scope = self._make_scope(wish)
        return Found(scope, tuple(self._find(scope, {})))

    def open(self, wish: RecallWish, caller: Caller) -> Row:
        """Open a recall and look for its machines. Raises `Malformed` or `Refused`."""
        book = self.book
        with book.lock:
            found = self.preview(wish)
            self._require_room()
            name, now = secrets.token_hex(ID_BYTES), book.near.clock.wall_ms()
            said = say_found(found.tally, wish.product)
            body: dict[str, JsonValue] = {
                "words": f"A recall was opened: {wish.title}. {said}",
                "recall": name,
                "scope": found.scope.to_json(),
                "by": caller.name[:200],
            }
            book.record("recall.opened", caller.actor, body)
            with book.near.database.write() as conn:
                recall_store.insert_recall(
                    conn, {**self._values(wish, found, caller), "recall_id": name,
                           "created_at": now, "opened_at": now, "changed_at": now}
                )  # fmt: skip
        self.look(self.find(name))
        book.tell("recall", name)
        return self.find(name)

    def find(self, place: str) -> Row:
        """Return a recall by its id, or the beginning of it. Raises `Malformed`, `Refused`."""
        return find_named(self.book.near.database, "recall", recall_store.select_by_prefix, place)

    def all(self, states: Collection[str] = ()) -> list[Row]:
        """Return recalls in these states, or all, newest first."""
        with self.book.near.database.read() as conn:
            rows = recall_store.select_recalls(conn)
        return [row for row in rows if not states or row.state in states]

    def tally(self, row: Row) -> Tally:
        """Return how the machines of a recall stand."""
        with self.book.near.database.read() as conn:
            return Tally(**recall_store.count_standings(conn, row.recall_id))

    def members(self, recall: str) -> dict[str, Member]:
        """Return the machines that a recall found."""
        with self.book.near.database.read() as conn:
            rows = recall_store.select_members(conn, recall)
        return {row.device_id: read_member(row) for row in rows}

    def acknowledge(self, place: str, reason: str, caller: Caller) -> Row:
        """Say that somebody knows of it and answers for it: nobody is reminded any more."""
        row = self._require(place, (OPEN,))
        values = {
            "acknowledged_by": caller.name[:200],
            "acknowledged_words": reason,
            "acknowledged_at": self.book.near.clock.wall_ms(),
        }
        return self._change(row, values, ("acknowledged", reason), caller)

    def close(self, place: str, reason: str, caller: Caller) -> Row:
        """Close it. Machines that are not done need words, and stay in the list as they stand."""
        row = self._require(place, (OPEN,))
        self.look(row)
        undone = self.tally(row).undone
        if undone and not reason.strip():
            raise Refused(
                f"{say_count(undone, 'machine')} of it {'is' if undone == 1 else 'are'} not "
                "proven to be done. Say why it is closed all the same.",
                reason="recall_not_over",
            )
        words = f"{reason} ({undone} not proven)" if undone else reason
        return self._change(row, {"state": CLOSED, "words": reason}, ("closed", words), caller)

    def reopen(self, place: str, reason: str, caller: Caller) -> Row:
        """Open it again: people are told anew, and whoever is not done is waited for."""
        with self.book.lock:
            row = self._require(place, (CLOSED, CANCELLED))
            self._require_room()
            values = {
                "state": OPEN,
                "words": "",
                "opened_at": self.book.near.clock.wall_ms(),
                "acknowledged_by": "",
                "acknowledged_words": "",
                "acknowledged_at": 0,
            }
            return self._change(row, values, ("reopened", reason), caller)

    def cancel(self, place: str, reason: str, caller: Caller) -> Row:
        """End it: it was a mistake. Raises `Refused` without words."""
        row = self._require(place, (OPEN, CLOSED))
        if not reason.strip():
            raise Refused("Say why it is cancelled.", reason="no_reason")
        return self._change(
            row, {"state": CANCELLED, "words": reason}, ("cancelled", reason), caller
        )

    def note(self, place: str, devices: Sequence[str], words: str, caller: Caller) -> Row:
        """Write what somebody says of machines. It proves nothing, and none is done by it."""
        row = self._require(place, (OPEN, CLOSED))
        check_lines(check_line(words, "what is said"), "what is said")
        known = self.members(row.recall_id)
        strange = [device for device in devices if device not in known]
        if strange or not devices or len(devices) > MAX_NOTED:
            raise Refused(
                f"Expected 1 to {MAX_NOTED} machines that this recall found"
                + (f"; {strange[0][:32]} is none of them." if strange else "."),
                reason="not_recalled",
            )
        book, now = self.book, self.book.near.clock.wall_ms()
        with book.lock:
            said = f"Of {say_count(len(devices), 'machine')} of the recall {row.title} was said: "
            body = {"words": said + words, "recall": row.recall_id, "devices": sorted(devices),
                    "by": caller.name[:200]}  # fmt: skip
            book.record("recall.noted", caller.actor, body)
            values = {"note": words, "note_by": caller.name[:200], "note_at": now}
            with book.near.database.write() as conn:
                for device in devices:
                    recall_store.update_note(conn, row.recall_id, device, values)
        book.tell("recall", row.recall_id)
        return self.find(row.recall_id)

    def advance(self) -> int:
        """Look at the machines of recalls where that is due; return how many changed."""
        book, now = self.book, self.book.near.clock.wall_ms()
        if book.near.owner.documents is None:
            return 0
        if now - self._looked_ms < (SETTLE_MS if self._touched else ROUND_MS):
            return 0
        states = {OPEN}
        if now - self._looked_closed_ms >= CLOSED_MS:
            states, self._looked_closed_ms = {OPEN, CLOSED}, now
        self._touched, self._looked_ms = False, now
        changed = {row.recall_id: self.look(row) for row in self.all(states)}
        for recall, number in changed.items():
            if number:
                book.tell("recall", recall)
        return sum(changed.values())

    def look(self, row: Row) -> int:
        """Look at the machines of one recall now; return how many changed. One that was cancelled
        stays as it is."""
        if row.state == CANCELLED or self.book.near.owner.documents is None:
            return 0
        with self.book.lock:
            return self._follow(row, self.book.near.clock.wall_ms())

    def count_late(self, row: Row) -> tuple[int, int]:
        """Return how many machines a recall found after it was closed that are not done, and when
        the first of these."""
        with self.book.near.database.read() as conn:
            return recall_store.count_late(conn, row.recall_id, sorted(UNDONE), row.changed_at)

    def announcements(self) -> list[Announcement]:
        """Return what people are to be told of recalls, now or before."""
        now = self.book.near.clock.wall_ms()
        found: list[Announcement] = []
        for row in self.all((OPEN,)):
            tally = self.tally(row)
            if tally.undone:
                told = write_message(row, tally)
                waits = not row.acknowledged_at
                opened = (str(row.recall_id), int(row.opened_at))
                found += list_announcements(opened, told, int(row.until), now, waits=waits)
        return found

    def said_of(self, product: str) -> dict[str, Said]:
        """Return what machines say by their newest reports that they run of a product."""
        if not product:
            return {}
        with self.book.near.database.read() as conn:
            states = [s for s in store.select_all_states(conn, product) if s.version]
        return {
            row.device_id: Said(
                Installed(product, row.version, int(row.counter), row.release_id, int(row.floor)),
                str(row.report_id),
                int(row.said_at),
            )
            for row in states
        }

    def _find(self, scope: RecallScope, before: Mapping[str, Member]) -> list[Member]:
        book = self.book
        said = self.said_of(scope.product)
        entries: Collection[RosterEntry] = book.entries.values()
        return decide_members(scope, entries, said, before, book.near.clock.wall_ms())

    def _follow(self, row: Row, now: int) -> int:
        book, before = self.book, self.members(row.recall_id)
        found = self._find(scope_of(row), before)
        changed = [each for each in found if before.get(each.device) != each]
        gone = set(before) - {each.device for each in found}
        tally = count_members(each.standing for each in found)
        owner = book.near.owner.owner_id
        with book.near.database.write() as conn:
            rows = {each.device: _write_member(each, owner) for each in changed}
            fresh = [values for device, values in rows.items() if device not in before]
            moved = [values for device, values in rows.items() if device in before]
            recall_store.insert_members(conn, row.recall_id, fresh)
            recall_store.update_members(conn, row.recall_id, moved)
            recall_store.delete_members(conn, row.recall_id, gone)
            recall_store.upsert_day(
                conn,
                row.recall_id,
                now // DAY_MS,
                {
                    "owner_id": owner,
                    "found": tally.found,
                    "affected": tally.affected,
                    "unknown": tally.unknown,
                    "done": tally.done,
                },
            )
        return len(changed) + len(gone)

    def _change(
        self, row: Row, values: dict[str, Any], deed: tuple[str, str], caller: Caller
    ) -> Row:
        book, (what, reason) = self.book, deed
        check_line(reason, "the reason")
        with book.lock:
            words = f"The recall {row.title} was {what}"
            words += f": {reason}." if reason else "."
            body = {"words": words, "recall": row.recall_id, "by": caller.name[:200]}
            book.record(f"recall.{what}", caller.actor, body)
            changed = {**values, "changed_at": book.near.clock.wall_ms()}
            with book.near.database.write() as conn:
                recall_store.update_recall(conn, row.recall_id, changed)
        self.look(self.find(row.recall_id))
        book.tell("recall", row.recall_id)
        return self.find(row.recall_id)

    def _require(self, place: str, states: Collection[str]) -> Row:
        row = self.find(place)
        if row.state not in states:
            raise Refused(f"This recall is {row.state}.", reason="recall_state")
        return row

    def _require_room(self) -> None:
        if len(self.all((OPEN,))) >= MAX_OPEN:
            raise Refused(
                f"{MAX_OPEN} recalls are open. Close one first.", reason="too_many_recalls"
            )

    def _make_scope(self, wish: RecallWish) -> RecallScope:
        counters = self.counters_of(wish.product)
        ranges = read_versions(wish.versions, counters)
        machines = wish.machines
        if machines is None:
            machines = self._models_of(make_scope(wish.product, ranges, Selector()))
        scope = make_scope(wish.product, ranges, machines)
        if wish.remedy == PATCH and (not wish.fix_version or not wish.product):
            raise Malformed(
                "Expected the product and the version that mends it, or another remedy.",
                reason="bad_recall",
            )
        check_fix(scope, wish.fix_version, counters)
        return scope

    def counters_of(self, product: str) -> dict[str, int]:
        """Return the counters of a product's releases, by version."""
        releases = self.book.known.releases
        return {each.version: each.counter for each in releases if each.product == product}

    def _models_of(self, scope: RecallScope) -> Selector:
        """Return the machines for which the recalled releases are, as their maker says."""
        with self.book.near.database.read() as conn:
            rows = store.select_releases(conn)
        models: set[str] = set()
        for row in rows:
            if row.product == scope.product and scope.is_recalled(int(row.counter)):
                models.update(read_manifest(bytes(row.manifest)).hardware)
        return Selector() if not models or ANY_HARDWARE in models else Selector(
            models=tuple(sorted(models))
        )  # fmt: skip

    def _values(self, wish: RecallWish, found: Found, caller: Caller) -> dict[str, Any]:
        return {
            "owner_id": self.book.near.owner.owner_id,
            "scope": encode(found.scope.to_json()).decode("utf-8"),
            "product": wish.product,
            "versions": write_versions(wish.versions),
            "title": wish.title,
            "why": wish.why,
            "advisories": msgspec.json.encode(wish.advisories).decode(),
            "remedy": wish.remedy,
            "fix_version": wish.fix_version,
            "state": OPEN,
            "until": wish.until_ms,
            "created_by": caller.name[:200],
        }


def scope_of(row: Row) -> RecallScope:
    """Return what a recall is about, as it is stored."""
    return read_scope(msgspec.json.decode(row.scope))


def read_member(row: Row) -> Member:
    """Return a machine of a recall, as it is stored."""
    return Member(
        device=row.device_id,
        standing=row.standing,
        version=row.version,
        counter=int(row.counter),
        found_version=row.found_version,
        found_at_ms=int(row.found_at),
        done_at_ms=int(row.done_at),
        report=row.report_id,
        said_at_ms=int(row.said_at),
    )


def _write_member(member: Member, owner: str) -> dict[str, Any]:
    return {
        "device_id": member.device,
        "owner_id": owner,
        "standing": member.standing,
        "version": member.version,
        "counter": member.counter,
        "found_version": member.found_version,
        "report_id": member.report,
        "said_at": member.said_at_ms,
        "found_at": member.found_at_ms,
        "done_at": member.done_at_ms,
    }


def say_remedy(row: Row) -> str:
    """Say what is to be done with a machine."""
    return REMEDY_WORDS[row.remedy].format(fix=f"{row.product} {row.fix_version}")


def write_message(row: Row, tally: Tally) -> tuple[str, str]:
    """Return title and text of a notice: plain lines, whatever was written into the recall."""
    advisories = msgspec.json.decode(row.advisories, type=list[str])
    lines = [
        f"A recall of {say_about(row.product, row.versions)} is open.",
        say_headline(row.state, tally, row.product),
        "",
        _line(row.why, 600),
        *([f"Known as: {', '.join(advisories)}"] if advisories else []),
        f"What to do: {say_remedy(row)}",
        "",
        f"Look: fleetward recall show {row.recall_id[:12]}",
        f"Say that you know of it: fleetward recall acknowledge {row.recall_id[:12]}",
        "This message changes nothing on any machine.",
    ]
    return f"Recall: {_line(row.title, 100)}", "\n".join(lines)


def _line(text: str, most: int) -> str:
    """Return foreign text as one short printable line."""
    return "".join(c if c.isprintable() else " " for c in text)[:most]
