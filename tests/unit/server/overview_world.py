"""The pages over a server's rooms, with nothing measured by a listener."""

from __future__ import annotations

from typing import Any

from tests.server_world import ServerWorld

from fleetward.server.audit.check import Checked
from fleetward.server.overview.act import Overview, Sources
from fleetward.server.overview.model import Today
from fleetward.server.overview.store import Filter
from fleetward.server.posture.decide import Context
from fleetward.server.update_cards import held_cards, update_cards


def overview(world: ServerWorld, checked: Checked | None = None) -> Overview:
    """Return the pages of this server."""
    now = world.clock.now

    def show(row: Any) -> Any:
        return world.house.posture.show(
            row.device_id,
            Context(
                inventory_at_ms=row.posture_as_of or 0,
                reported_at_ms=row.last_seen_at or None,
                hardware_key=False,
                wall=None,
                certificate_until_ms=row.not_after or None,
                lineage=row.lineage,
                now_ms=now,
            ),
        )

    def checkpoint() -> tuple[int, int, str]:
        size, note = world.house.ledger.checkpoint()
        return world.house.ledger.generation, size, note.decode()

    return Overview(
        Sources(
            database=world.database,
            clock=world.clock,
            checked=lambda: (
                checked or Checked("intact", now, world.house.ledger.size, "All match.")
            ),
            checkpoint=checkpoint,
            show_posture=show,
            place_of=world.house.ledger.place_of,
            owner=lambda: (world.trust.owner, "Plant"),
            witnesses=list,
            set_up=list,
            held=lambda: held_cards(world.house.updates.book),
            updates=lambda: update_cards(world.house.updates.book),
        )
    )


def today(world: ServerWorld) -> Today:
    """Return the first page for somebody who may see everything."""
    return overview(world).today(Filter())
