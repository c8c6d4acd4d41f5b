"""What people do about closings: hand in an order or its confirmation. Each is written down first.

Nothing is judged. Whether a machine obeys, the machine says.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from fleetward.runtime.clock import Clock
from fleetward.runtime.database import Database
from fleetward.server.closing import store
from fleetward.server.closing.decide import Order, orders_of
from fleetward.server.closing.reading import CLOSING, KEPT, Asked, read_asked, read_kept
from fleetward.server.closing.store import Row
from fleetward.server.deeds import Deed, DeedRecorder, JsonValue
from fleetward.server.web.caller import Caller
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.keys import PublicKey
from fleetward.trust.policy import Policy

_PREFIX: Final = re.compile(r"[0-9a-f]{8,64}")


class OwnerDocuments(Protocol):
    """What this capability needs of the owner's documents."""

    @property
    def owner_id(self) -> str: ...

    @property
    def policy(self) -> Policy: ...


class Machines(Protocol):
    """What this capability needs to know of machines."""

    def key_of(self, device: str) -> PublicKey: ...

    def state_of(self, device: str) -> str: ...

    def active_ids(self) -> list[str]: ...


class SignedLedger(Protocol):
    """Takes signed documents as leaves of the owner's record."""

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


class Closings:
    """Closings, as the API takes them. Thread-safe; `lock` is held over each change."""

    def __init__(self, near: Neighbours) -> None:
        self.near: Final = near
        self.lock: Final = threading.RLock()
        self._on_order: list[Callable[[str, bytes], None]] = []
        self._on_change: list[Callable[[str, str], None]] = []

    def carry(self, carrier: Callable[[str, bytes], None]) -> None:
        """Let `carrier` bring envelopes to machines: (device, envelope)."""
        self._on_order.append(carrier)

    def listen(self, listener: Callable[[str, str], None]) -> None:
        """Call `listener` with a closing and a machine whenever one of them changed."""
        self._on_change.append(listener)

    def submit(self, raw: bytes, caller: Caller) -> Row:
        """Store a closing and hand it to its machines; the same one twice is stored once.

        Raises `Malformed`, `Untrusted` for another owner, or `Refused` for machines that are not
        known here.
        """
        near = self.near
        asked = read_asked(raw, near.owner.owner_id)
        devices = self._find_devices(asked)
        with self.lock:
            with near.database.read() as conn:
                known = store.select_order(conn, asked.hash)
            people = self._people(asked)
            what = (
                "open again what was closed"
                if asked.words.startswith("nothing")
                else (f"close {asked.words}")
            )
            words = f"{people or 'Somebody'} ordered {len(devices)} machines to {what}."
            self._record("closing.submitted", caller, {"words": words, "closing": asked.hash})
            # Signatures are not part of its hash: who checks the record finds every copy there.
            only = devices[0] if len(devices) == 1 else ""
            near.ledger.append_signed(CLOSING, raw, (caller.actor, only), near.clock.wall_ms())
            if known is None:
                self._store(asked, raw, devices, people)
        for device in devices:
            self.order(device, raw)
        self.tell(asked.hash, "")
        return self.find(asked.hash)

    def keep(self, place: str, raw: bytes, caller: Caller) -> Row:
        """Store the confirmation of a closing and hand it to its machines. Raises as `submit`."""
        near = self.near
        named = read_kept(raw, near.owner.owner_id)
        row = self.find(place)
        if named != row.closing_id:
            raise Refused("The confirmation is for another closing.", reason="another_closing")
        with self.lock:
            words = f"It was confirmed that {row.words} stays closed."
            self._record("closing.kept", caller, {"words": words, "closing": named})
            now = near.clock.wall_ms()
            near.ledger.append_signed(KEPT, raw, (caller.actor, ""), now)
            with near.database.write() as conn:
                store.update_kept(conn, named, raw, now)
        with near.database.read() as conn:
            listed, _ = store.select_parts(conn, named, 0, 1_000_000)
        for part in listed:
            if part.state not in ("restored", "refused", "kept"):
                self.order(part.device_id, raw)
        self.tell(named, "")
        return self.find(named)

    def find(self, place: str) -> Row:
        """Return a closing by its id, or the beginning of it. Raises `Malformed`, `Refused`."""
        if not _PREFIX.fullmatch(place):
            raise Malformed(
                "Expected 8 to 64 digits of a closing's id, which `fleetward owner close list` "
                "shows.",
                reason="bad_closing_id",
            )
        with self.near.database.read() as conn:
            found = store.select_by_prefix(conn, place)
        if len(found) > 1:
            raise Refused("Several closings begin so. Give more digits.", reason="ambiguous")
        if not found:
            raise Refused(
                "No closing of this id is known here. `fleetward owner close list` shows them.",
                reason="not_found",
            )
        return found[0]

    def orders_for(self, device: str) -> list[bytes]:
        """Return what a machine that greets is handed again, because it has not answered.

        A machine that came after a closing for all was signed is handed it for the first time.
        """
        near = self.near
        with self.lock, near.database.write() as conn:
            rows = store.select_of_device(conn, device)
            newest = store.select_newest_for_all(conn)
            if newest is not None and all(row.serial < newest.serial for row in rows):
                ids, now = [device], near.clock.wall_ms()
                store.insert_parts(conn, newest.closing_id, ids, near.owner.owner_id, now)
                rows = store.select_of_device(conn, device)
        stored = {row.closing_id: row for row in rows}
        wanted = orders_of(
            [
                Order(r.closing_id, r.serial, r.state, bool(r.kept_envelope), bool(r.opens_all))
                for r in rows
            ]
        )
        return [
            bytes(stored[closing].envelope if kind == "closing" else stored[closing].kept_envelope)
            for closing, kind in wanted
        ]

    def order(self, device: str, envelope: bytes) -> None:
        """Let an envelope be brought to a machine."""
        for carrier in self._on_order:
            carrier(device, envelope)

    def tell(self, closing: str, device: str) -> None:
        """Say that something changed."""
        for listener in self._on_change:
            listener(closing, device)

    def _find_devices(self, asked: Asked) -> list[str]:
        machines = self.near.machines
        if not asked.devices:
            return machines.active_ids()
        for device in asked.devices:
            if machines.state_of(device) == "retired":
                raise Refused(f"{device} was retired by its owner.", reason="retired")
        return list(asked.devices)

    def _store(self, asked: Asked, raw: bytes, devices: list[str], people: str) -> None:
        near, now = self.near, self.near.clock.wall_ms()
        with near.database.write() as conn:
            store.insert_order(
                conn,
                {
                    "closing_id": asked.hash,
                    "owner_id": near.owner.owner_id,
                    "serial": asked.serial,
                    "for_all": not asked.devices,
                    "opens_all": not asked.ports and not asked.local_access,
                    "words": asked.words,
                    "people": msgspec.json.encode(people.split(", ") if people else []).decode(),
                    "reason": asked.reason,
                    "restore_seconds": asked.restore_seconds,
                    "envelope": raw,
                    "kept_envelope": b"",
                    "issued_at": asked.issued_at_ms,
                    "at": now,
                },
            )
            store.insert_parts(conn, asked.hash, devices, near.owner.owner_id, now)

    def _people(self, asked: Asked) -> str:
        """Return who signed by the policy that is stored here; to show, no more."""
        keys = self.near.owner.policy.keys
        named = [keys[key].person if key in keys else f"key {key[:8]}" for key in asked.signers]
        return ", ".join(dict.fromkeys(named))

    def _record(self, kind: str, caller: Caller, body: dict[str, JsonValue]) -> None:
        near = self.near
        near.deeds.record(
            Deed(
                kind=kind,
                actor=caller.actor,
                subject="fleet",
                owner_id=near.owner.owner_id,
                body=body,
                at_ms=near.clock.wall_ms(),
            )
        )
