"""What arrives about a machine's posture: journal entries, and the inventories that they name.

Everything here was signed by the machine, and none of it is believed to be well formed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from sqlalchemy.engine import Connection

from fleetward.server.posture import store
from fleetward.server.posture.store import ChangeRecord, DeviceKey, Known
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.journal import Entry
from fleetward.wire.posture import (
    Change,
    Inventory,
    InventoryNotice,
    decode_inventory,
    digest_inventory,
    summarize,
)

INVENTORY: Final = "posture.inventory"
CHANGED: Final = "posture.changed"
KINDS: Final = frozenset({INVENTORY, CHANGED})


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a machine's entries. `wanted` are inventories to ask it for."""

    changes: tuple[ChangeRecord, ...]
    wanted: tuple[str, ...]
    malformed: int


def ingest_events(
    conn: Connection, device: DeviceKey, entries: Sequence[Entry], received_ms: int
) -> Ingested:
    """Store what a machine's new entries say about its posture.

    Entries of other kinds are passed over; those that are not well formed are counted, and stay
    in the record of events all the same.
    """
    records: list[ChangeRecord] = []
    newest: Known | None = None
    malformed = 0
    for entry in entries:
        if entry.kind not in KINDS:
            continue
        try:
            if entry.kind == CHANGED:
                change = msgspec.convert(entry.body, Change)
                records.append(
                    ChangeRecord(device, entry.sequence, entry.at_ms, received_ms, change)
                )
            else:
                notice = msgspec.convert(entry.body, InventoryNotice)
                newest = Known(
                    device,
                    notice.digest,
                    entry.sequence,
                    min(entry.at_ms, received_ms),
                    received_ms,
                    notice.summary,
                )
        except msgspec.ValidationError:
            malformed += 1
    store.insert_changes(conn, records)
    if newest is not None:
        store.upsert_device(conn, newest)
    wanted = store.select_missing(conn, device.owner_id, [newest.digest] if newest else [])
    return Ingested(tuple(records), tuple(wanted), malformed)


def verify_inventory(digest: str, body: bytes) -> Inventory:
    """Return the inventory that these bytes are.

    Raises Untrusted when they are not the ones named, Malformed when they are no inventory.
    """
    came = digest_inventory(body)
    if came != digest:
        raise Untrusted(
            f"Expected the inventory {digest[:16]}…, came {came[:16]}…; it is asked for again.",
            reason="inventory_other_digest",
        )
    return decode_inventory(body)


def ingest_inventory(
    conn: Connection, device: DeviceKey, digest: str, body: bytes, received_ms: int
) -> Inventory:
    """Verify and store an inventory that was asked for; what it says replaces the summaries.

    Raises Untrusted or Malformed, and has stored nothing then; Malformed too when no machine of
    this owner named it.
    """
    inventory = verify_inventory(digest, body)
    known = store.select_device(conn, device.device_id)
    if known is None or known.digest != digest:
        raise Malformed(
            "Expected the inventory that this machine's journal named last, came another one.",
            reason="inventory_not_named",
        )
    store.insert_inventory(conn, device, digest, body, received_ms)
    store.update_summaries(conn, device.owner_id, digest, summarize(inventory))
    return inventory
