"""Rows and envelopes in, the API's words out. It reads, it never writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import msgspec

from fleetward.runtime.http.times import to_rfc3339, to_rfc3339_or_none
from fleetward.server.closing import store
from fleetward.server.closing.act import Neighbours
from fleetward.server.closing.decide import Evidence, Listener, decide_tiers
from fleetward.server.closing.model import (
    ClosingDetail,
    ClosingPart,
    ClosingRow,
    ConnectedPeer,
    MachineClosing,
    OpenPort,
    TierRow,
)
from fleetward.server.closing.reading import Said, read_said, say_closed
from fleetward.server.closing.store import Filter, Row
from fleetward.server.web.caller import Caller
from fleetward.trust.access import AccessRules
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.policy import Policy
from fleetward.wire.posture import Crowd, Inventory, is_visible

NO_ONE: Final = "nobody may ask for a session, so nobody gets in."


class LookedAt(Protocol):
    """When a machine was looked at."""

    @property
    def as_of_ms(self) -> int: ...


@dataclass(frozen=True)
class Sight:
    """Where the pages get what stands in no table of this slice."""

    look: Callable[[str], tuple[LookedAt | None, Inventory | None]]
    policy_at: Callable[[int], Policy | None]


class Shown:
    """What the API says about closings."""

    def __init__(self, near: Neighbours, sight: Sight) -> None:
        self._near = near
        self._sight = sight

    def page(self, offset: int, limit: int) -> tuple[list[ClosingRow], int]:
        """Return a page of closings and how many there are."""
        with self._near.database.read() as conn:
            rows, total = store.select_orders(conn, offset, limit)
            counts = store.count_states(conn, [row.closing_id for row in rows])
        return [_row(row, counts[row.closing_id]) for row in rows], total

    def row(self, row: Row) -> ClosingRow:
        """Return one closing as it is listed."""
        with self._near.database.read() as conn:
            counts = store.count_states(conn, [row.closing_id])
        return _row(row, counts[row.closing_id])

    def detail(self, row: Row, span: tuple[int, int], page: int) -> ClosingDetail:
        """Return a closing with a page (offset, limit) of its machines."""
        with self._near.database.read() as conn:
            parts, total = store.select_parts(conn, row.closing_id, *span)
        return ClosingDetail(
            closing=self.row(row),
            envelope=to_base64url(row.envelope),
            kept=to_base64url(row.kept_envelope),
            machines=[_part(part) for part in parts],
            total=total,
            page=page,
            per_page=span[1],
        )

    def machines(
        self, ids: tuple[str, ...], span: tuple[int, int], caller: Caller
    ) -> tuple[list[MachineClosing], int]:
        """Return a page of machines in the caller's scope and how many there are."""
        scope = caller.scope
        wanted = Filter(
            ids,
            None if scope.whole_fleet else (scope.sites or frozenset()),
            None if scope.whole_fleet else (scope.devices or frozenset()),
        )
        with self._near.database.read() as conn:
            rows, total = store.select_machines(conn, wanted, *span)
        return [self._machine(row) for row in rows], total

    def machine(self, device: str, caller: Caller) -> MachineClosing:
        """Return one machine. Raises `Refused` when there is none in the caller's scope."""
        found, _ = self.machines((device,), (0, 1), caller)
        if not found:
            raise Refused(
                "No machine of this id is known here. GET /api/v1/devices lists them.",
                reason="not_found",
            )
        return found[0]

    def _machine(self, row: Any) -> MachineClosing:
        known, inventory = self._sight.look(row.device_id)
        said = self._said(row)
        looked_ms = known.as_of_ms if known is not None and inventory is not None else 0
        tcp = frozenset(p for protocol, p in (said.closed if said else ()) if protocol == "tcp")
        ways = frozenset(said.local_access if said else ())
        listeners = _listeners(inventory)
        sight = inventory.sockets.sight if inventory and inventory.sockets else None
        evidence = Evidence(
            now_ms=self._near.clock.wall_ms(),
            seen_ms=row.last_seen_at,
            connected=bool(row.connected),
            certificate_ends_ms=row.not_after,
            policy_version=row.policy_version,
            rules_words=_say_rules(self._sight.policy_at(row.policy_version)),
            looked_ms=looked_ms,
            sight=sight.level if sight else "none",
            sight_words=sight.reason if sight else "",
            listeners=listeners,
            filtered_tcp=tcp,
            filtered_ways=ways,
            outcome=said.outcome if said else "",
            seconds_left=said.seconds_left if said else 0,
        )
        crowd = msgspec.json.decode(row.crowd, type=Crowd) if row.crowd else Crowd()
        closed = set(said.closed) if said else set()
        return MachineClosing(
            device_id=row.device_id,
            name=row.name,
            site=row.site,
            connected=bool(row.connected),
            simulated=bool(row.simulated),
            tiers=[
                TierRow(
                    number=t.number,
                    title=t.title,
                    state=cast("Any", t.state),
                    words=t.words,
                    as_of=to_rfc3339_or_none(t.as_of_ms or None),
                )
                for t in decide_tiers(evidence)
            ],
            ports=[
                OpenPort(
                    protocol=x.protocol,
                    port=x.port,
                    exposure=cast("Any", x.exposure),
                    process=x.process,
                    closed=(x.protocol, x.port) in closed,
                )
                for x in sorted(listeners or (), key=lambda x: (x.port, x.protocol))
            ],
            looked_at=to_rfc3339_or_none(looked_ms or None),
            peers=[
                ConnectedPeer(port=p.port, address=p.address, process=p.process)
                for p in crowd.peers
            ],
            peers_more=crowd.more,
            peers_at=to_rfc3339_or_none(row.crowd_at or None),
            closed=say_closed(said.closed, said.local_access) if said else "",
            seconds_left=said.seconds_left if said else 0,
            report=to_base64url(row.report or b""),
            reported_at=to_rfc3339_or_none(row.reported_at or None),
            last_cut=list(said.cut) if said else [],
        )

    def _said(self, row: Any) -> Said | None:
        try:
            return read_said(row.report, self._near.owner.owner_id) if row.report else None
        except FleetwardError:
            return None


def _row(row: Any, counts: dict[str, int]) -> ClosingRow:
    return ClosingRow(
        id=row.closing_id,
        serial=row.serial,
        words=row.words,
        opens_all=bool(row.opens_all),
        for_all=bool(row.for_all),
        people=msgspec.json.decode(row.people, type=list[str]),
        reason=row.reason,
        restore_seconds=row.restore_seconds,
        issued_at=to_rfc3339(row.issued_at),
        kept_at=to_rfc3339_or_none(row.kept_at or None),
        counts=cast("Any", counts),
    )


def _part(part: Any) -> ClosingPart:
    return ClosingPart(
        device_id=part.device_id,
        name=part.name,
        site=part.site,
        state=part.state,
        rule=part.rule,
        words=part.words,
        seconds_left=part.seconds_left,
        at=to_rfc3339(part.at),
        report=to_base64url(part.report),
    )


def _listeners(inventory: Inventory | None) -> tuple[Listener, ...] | None:
    if inventory is None or inventory.sockets is None or not is_visible(inventory.sockets):
        return None
    widest: dict[tuple[str, int], Listener] = {}
    order = {"loopback": 0, "lan": 1, "all": 2}
    for row in inventory.sockets.items:
        key = (row.proto[:3], row.port)
        if key not in widest or order[row.exposure] > order[widest[key].exposure]:
            widest[key] = Listener(row.proto[:3], row.port, row.exposure, row.process)
    return tuple(widest.values())


def _say_rules(policy: Policy | None) -> str:
    if policy is None:
        return "every session needs a grant that the owner's people signed."
    access: AccessRules = policy.access
    if not access.requesters or not access.rules:
        return NO_ONE
    least = policy.roles["approve"].threshold
    people = min(max(least, rule.threshold) for rule in access.rules.values())
    many = "person has" if people == 1 else "people have"
    return f"every session needs a grant, to which {people} {many} to say yes."
