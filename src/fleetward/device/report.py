"""Putting together what `status` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetward.device.access.closings import find_missing
from fleetward.device.identity.joined import GuardFiles
from fleetward.device.status import (
    AgentStatus,
    CertificateStatus,
    CheckpointStatus,
    ClosingStatus,
    Connection,
    InstalledStatus,
    InventoryStatus,
    JournalStatus,
    RecordStatus,
    RefusalStatus,
    SessionStatus,
    Sight,
    Status,
    UpdateStatus,
    Versions,
)
from fleetward.device.version import AGENT_VERSION
from fleetward.trust.closing import say_closed
from fleetward.trust.words import device_words

if TYPE_CHECKING:
    from fleetward.device.guard_core import GuardCore

SHOWN_SESSIONS = 30
FULL_SIGHT = "The agent runs as root and can see the whole machine."
NO_ROOT = (
    "Without root these are not visible: owners of other users' sockets and programs, password "
    "states, disk encryption keys and protected settings. Run the agent as root to see them."
)
SIMULATED = "This machine is simulated: what it shows comes from a fixture."


def report_status(core: GuardCore) -> Status:
    """Return the status of a guard as it stands."""
    view, state = core.view, core.state
    entry, kept = view.entry, state.checkpoint
    connection = core.connection
    return Status(
        device=core.joined.device,
        words=device_words(core.joined.owner, core.joined.device),
        owner=core.joined.owner,
        owner_name=view.owner_name,
        name=entry.name if entry else core.joined.name,
        site=entry.site if entry else "",
        state=entry.state if entry else "unconfirmed",
        confirmed=view.confirmed,
        running=True,
        written_ms=core.time.wall_ms(),
        connection=Connection(
            connection.state, connection.since_ms, connection.words, core.server_says
        ),
        wall=core.seat.wall,
        sight=_describe_sight(core),
        versions=Versions(
            policy=view.policy.version,
            roster=view.roster.version if view.roster else 0,
            head=view.head.version if view.head else 0,
        ),
        lease_seconds_left=core.lease_seconds_left,
        journal=JournalStatus(
            sequence=core.journal.tip.sequence,
            head=core.journal.tip.head.hex(),
            acknowledged=state.acknowledged,
            unproven=core.outbox.unproven,
            full=core.diary.full,
        ),
        last_checkpoint=CheckpointStatus(
            kept.generation, kept.size, kept.root, state.checkpoint_at_ms
        )
        if kept
        else None,
        record=RecordStatus(state.record, state.record_words),
        certificate=CertificateStatus(
            state.certificate.not_after_ms, state.certificate.serial, state.lineage
        )
        if state.certificate
        else None,
        inventory=_describe_inventory(core),
        refusals=tuple(
            RefusalStatus(r.at_ms, r.what, r.reason, r.words) for r in state.last_refusals
        ),
        settled=core.settled,
        problem=core.looking.problem,
        sessions=_describe_sessions(core),
        recovery=core.recovery.describe(),
        panel=_describe_panel(core),
        closing=_describe_closing(core),
        ahead=core.ahead.describe(view.policy),
        updates=_describe_updates(core),
    )


def report_before_first_run(files: GuardFiles) -> Status:
    """Return the status of a machine that has joined and never run. Raises as its files do."""
    joined = files.require_joined()
    view = files.read_view(joined)
    return Status(
        device=joined.device,
        words=device_words(joined.owner, joined.device),
        owner=joined.owner,
        owner_name=view.owner_name,
        name=view.entry.name if view.entry else joined.name,
        site=view.entry.site if view.entry else "",
        state=view.entry.state if view.entry else "unconfirmed",
        confirmed=view.confirmed,
        running=False,
        written_ms=joined.joined_at_ms,
        connection=Connection("stopped", joined.joined_at_ms, "The agent has not run yet."),
        wall="none",
        sight=Sight(root=False, words="Nothing was looked at yet."),
        versions=Versions(
            policy=view.policy.version,
            roster=view.roster.version if view.roster else 0,
            head=view.head.version if view.head else 0,
        ),
        lease_seconds_left=view.lease.seconds if view.lease else 0,
        journal=JournalStatus(sequence=1, head="", acknowledged=0, unproven=1, full=False),
        last_checkpoint=None,
        record=RecordStatus("intact", ""),
        certificate=None,
        inventory=None,
        refusals=(),
        settled=False,
    )


def _describe_sessions(core: GuardCore) -> tuple[SessionStatus, ...]:
    kept = core.sessions.kept.sessions.values()
    newest = sorted(kept, key=lambda k: (not k.ended_at_ms, k.opened_at_ms), reverse=True)
    return tuple(
        SessionStatus(
            session=k.session,
            person=k.person,
            org=k.org,
            people=k.people,
            scopes=k.scopes,
            reason=k.reason,
            case=k.case,
            words=k.words,
            watched=k.watched,
            sandbox=k.sandbox,
            opened_at_ms=k.opened_at_ms,
            ends_at_ms=k.opened_at_ms + k.seconds * 1000,
            ended_at_ms=k.ended_at_ms,
            ended_by=k.ended_by,
            ended_who=k.ended_who,
            ended_words=k.ended_words,
            records=k.records,
            stored=k.stored_powered_ms >= 0,
            break_glass=k.break_glass,
        )
        for k in newest[:SHOWN_SESSIONS]
    )


def _describe_panel(core: GuardCore) -> str:
    sandbox = core.sessions.known_sandbox
    if core.panel_words == "no panel" or sandbox is None or sandbox.sandbox != "none":
        return core.panel_words
    return f"{core.panel_words}; it takes no press, for there is no sandbox: install bubblewrap"


def _describe_closing(core: GuardCore) -> ClosingStatus:
    held = core.closings.standing.wanted
    return ClosingStatus(
        closed=say_closed(held.ports, held.local_access) if held else "",
        seconds_left=core.closings.seconds_left,
        problem=core.closings.problem,
        missing=find_missing(root=core.seat.root) if core.closings.closers is not None else "",
    )


def _describe_updates(core: GuardCore) -> UpdateStatus:
    updates = core.updates
    attempt = updates.memory.attempt
    manifest = attempt.read() if attempt is not None else None
    fetched, total = updates.count_fetched()
    return UpdateStatus(
        installed=tuple(
            InstalledStatus(i.product, i.version, i.counter, i.release, i.floor)
            for i in updates.memory.list_installed()
        ),
        release=f"{manifest.product} {manifest.version}" if manifest else "",
        phase=attempt.phase if attempt else "",
        words=updates.waiting_words,
        percent=fetched * 100 // max(1, total),
        last=updates.last,
        looked_at_ms=updates.looked_at_ms,
        problem=updates.talk.problem,
        missing=updates.missing,
        counters=updates.floors.keeping,
        counters_words=updates.floors.words,
        agent=_describe_agent(core),
    )


def _describe_agent(core: GuardCore) -> AgentStatus:
    own = core.seat.own_code
    if own is None:
        return AgentStatus(version=AGENT_VERSION)
    state = own.state
    return AgentStatus(AGENT_VERSION, own.release, state.phase, state.ended, state.words)


def _describe_sight(core: GuardCore) -> Sight:
    if core.seat.wall == "simulated":
        return Sight(root=core.seat.root, words=SIMULATED)
    return Sight(root=core.seat.root, words=FULL_SIGHT if core.seat.root else NO_ROOT)


def _describe_inventory(core: GuardCore) -> InventoryStatus | None:
    if not core.state.inventory:
        return None
    return InventoryStatus(
        digest=core.state.inventory,
        at_ms=core.state.inventory_at_ms,
        problem=core.looking.problem,
        missing_walls=(*core.seat.missing_walls, *core.looking.missing_walls),
    )
