"""Every handler of the API, slice by slice: a list of names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from fleetward.runtime.files import read_bounded
from fleetward.runtime.keys import FileSigner
from fleetward.server.access.routes import AccessRooms, make_access_handlers
from fleetward.server.audit.check import RecordCheck
from fleetward.server.audit.routes import ExportSources, make_record_handlers, make_tile_handler
from fleetward.server.audit.store import select_cosignatures
from fleetward.server.closing.routes import ClosingRooms, make_closing_handlers
from fleetward.server.directory.routes import make_directory_handlers
from fleetward.server.drill.act import Drills
from fleetward.server.drill.routes import make_drill_handlers
from fleetward.server.events.routes import make_event_handlers
from fleetward.server.guide.doctor import SAME_HOST_CURE, SAME_HOST_WORDS, Doctor, Patient, examine
from fleetward.server.guide.routes import TourFacts, make_guide_handlers
from fleetward.server.identity.routes import make_identity_handlers
from fleetward.server.overview.act import Overview, Sources
from fleetward.server.overview.decide import CardFacts
from fleetward.server.overview.routes import make_overview_handlers
from fleetward.server.owner_cards import owner_cards
from fleetward.server.posture.decide import Context
from fleetward.server.posture.routes import make_posture_handlers
from fleetward.server.program import Program
from fleetward.server.update_cards import held_cards, recall_cards, update_cards
from fleetward.server.updates.recall_routes import RecallRooms, make_recall_handlers
from fleetward.server.updates.rollout_routes import RolloutRooms, make_rollout_handlers
from fleetward.server.updates.routes import UpdateRooms, make_update_handlers

MAX_TOUR_BYTES = 64 * 1024


def make_handlers(program: Program) -> list[Any]:
    """Return the handlers below /api/v1, people's apart."""
    house = program.house
    overview = Overview(_make_sources(program))
    return [
        *make_directory_handlers(house.directory, house.clock),
        *make_identity_handlers(house.devices),
        *make_event_handlers(house.database, house.devices),
        *make_access_handlers(
            AccessRooms(
                house.access.access,
                house.access.shown,
                house.access.connections,
                house.access.replays,
                house.access.standings,
                house.access.changes,
                lambda: program.bus_addresses,
            )
        ),
        *make_closing_handlers(ClosingRooms(house.closing.closings, house.closing.shown)),
        *make_update_handlers(UpdateRooms(house.updates.updates, house.updates.shown)),
        *make_rollout_handlers(
            RolloutRooms(
                house.updates.courses, house.updates.rollouts, house.updates.rollouts_shown
            )
        ),
        *make_recall_handlers(RecallRooms(house.updates.recalls, house.updates.recalls_shown)),
        *make_overview_handlers(overview),
        *make_posture_handlers(house.posture, house.devices),
        *make_record_handlers(
            house.ledger,
            house.database,
            house.clock,
            house.deeds,
            lambda: house.directory.policy,
            ExportSources(house.directory.show, house.events.newest_journals),
        ),
        make_tile_handler(house.database, house.ledger),
        *make_drill_handlers(_make_drills(program)),
        *make_guide_handlers(
            house.database,
            lambda: _examine(program, program.record_check),
            lambda: _tour_facts(program),
        ),
    ]


def _make_sources(program: Program) -> Sources:
    house = program.house
    return Sources(
        database=house.database,
        clock=house.clock,
        checked=lambda: program.record_check.last,
        checkpoint=lambda: _checkpoint(program),
        show_posture=lambda row: house.posture.show(row.device_id, _context(program, row)),
        place_of=house.ledger.place_of,
        owner=lambda: _owner(program),
        witnesses=lambda: _witnesses(program),
        set_up=lambda: _set_up_cards(program),
        urgent=lambda: owner_cards(house.directory, house.devices),
        held=lambda: [
            *recall_cards(house.updates.recalls),
            *held_cards(house.updates.book),
        ],
        updates=lambda: update_cards(house.updates.book),
    )


def _context(program: Program, row: Any) -> Context:
    return Context(
        inventory_at_ms=row.posture_as_of or 0,
        reported_at_ms=row.last_seen_at or None,
        hardware_key=False,
        wall={"uid": True, "none": False}.get(row.wall),
        certificate_until_ms=row.not_after or None,
        lineage=row.lineage,
        now_ms=program.clock.wall_ms(),
    )


def _checkpoint(program: Program) -> tuple[int, int, str]:
    ledger = program.house.ledger
    if ledger.generation < 1:
        return 0, 0, ""
    size, note = ledger.checkpoint()
    return ledger.generation, size, note.decode("utf-8")


def _owner(program: Program) -> tuple[str, str]:
    documents = program.house.directory.documents
    return (documents.root.owner, documents.name) if documents else ("", "")


def _witnesses(program: Program) -> list[tuple[str, int | None, int | None]]:
    documents = program.house.directory.documents
    ledger = program.house.ledger
    if documents is None:
        return []
    with program.database.read() as conn:
        rows = select_cosignatures(conn, ledger.owner_id, ledger.generation)
    signed = {row.witness: (row.at, row.size) for row in rows}
    return [(name, *signed.get(name, (None, None))) for name in documents.policy.roots.witnesses]


def _set_up_cards(program: Program) -> list[CardFacts]:
    if not owner_was_here(program):
        return []
    return [
        CardFacts(
            id="same-host",
            kind="setup",
            title="The owner's keys lie on this server's host",
            where="This server",
            why=f"{SAME_HOST_WORDS} {SAME_HOST_CURE}",
            since_ms=int(program.places.owner_was_here.stat().st_mtime * 1000),
            label="See what it means",
            href="/setup",
        )
    ]


def owner_was_here(program: Program) -> bool:
    """Return whether an owner's folder is or was on this host, and mark it for ever."""
    mark = program.places.owner_was_here
    if program.places.owner.exists() and not mark.exists():
        mark.touch(mode=0o600)
    return mark.exists()


def _make_drills(program: Program) -> Drills:
    house = program.house

    def stolen() -> Sequence[FileSigner]:
        return (program.log_key, program.authorities.issuing_signer)

    return Drills(
        database=house.database,
        clock=house.clock,
        deeds=house.deeds,
        documents=house.directory.require,
        stolen=stolen,
        robbery=house.updates.desk,
        pusher=lambda: program.bus_side,
        is_connected=house.devices.is_connected,
        loop=program.loop,
        announce=lambda drill: house.hub.publish("drill.changed", {"drill_id": drill}),
    )


def _examine(program: Program, check: RecordCheck) -> Doctor:
    documents = program.house.directory.documents
    plan, problem = program.notifier.check()
    left = None
    if documents is not None:
        ends = documents.lease.issued_at_ms + documents.lease.seconds * 1000
        left = ends - program.clock.wall_ms()
    return examine(
        Patient(
            data=program.places.data,
            has_owner=documents is not None,
            owner_was_here=owner_was_here(program),
            record=(check.last.state, check.last.words),
            record_waits=program.house.ledger.waiting_for_owner,
            lease_left_ms=left,
            broker_running=program.broker.pid is not None,
            told=(len({r.name for step in plan.steps for r in step.to}), problem),
        )
    )


def _tour_facts(program: Program) -> TourFacts:
    if not program.places.tour.exists():
        return TourFacts()
    left = read_bounded(program.places.tour, MAX_TOUR_BYTES)
    return msgspec.json.decode(left, type=TourFacts)
