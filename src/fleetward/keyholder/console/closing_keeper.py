"""Closings behind the owner's console: what stands open, what is on trial, and the owner's orders.

What is closed, and what can be kept, comes from reports that the machines signed. Tiers and ports
are what the server says the machines reported, with their age.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from fleetward.keyholder.access.answering import check_lease
from fleetward.keyholder.closing.judging import Progress, read_progress, read_report
from fleetward.keyholder.closing.server_rows import ClosingApi, MachineRow
from fleetward.keyholder.closing.signing import sign_closing, sign_kept
from fleetward.keyholder.console.access_keeper import Reach
from fleetward.keyholder.console.closing_model import (
    Closed,
    CloseWish,
    ClosingView,
    MachineView,
    PeerView,
    PortView,
    TierView,
    TrialView,
)
from fleetward.keyholder.console.stream import Changes
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.runtime.clock import Clock
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.closing import ClosedPort, ClosingWish, say_closed
from fleetward.trust.errors import FleetwardError, Malformed, Refused
from fleetward.trust.roster import RosterEntry

MAX_SHOWN: Final = 500
"""Machines on the page; a larger fleet is closed by `fleetward owner close`."""
MAX_LOOKED_AT: Final = 5
"""Closings whose machines are looked at for a trial that runs."""


class ClosingKeeper:
    """The state behind the page. Safe to call from any thread."""

    def __init__(self, desk: Desk, reach: Reach, changes: Changes, clock: Clock) -> None:
        self._desk = desk
        self._reach = reach
        self._changes = changes
        self._clock = clock

    def view(self) -> ClosingView:
        """Return the page. Raises as the server's client does."""
        api, documents = ClosingApi(self._reach()), self._desk.documents()
        active = [entry for entry in documents.entries if entry.state == "active"]
        shown = sorted(active, key=lambda e: (e.site, e.name))[:MAX_SHOWN]
        rows = {row.device_id: row for row in api.machines([e.device for e in shown])}
        return ClosingView(
            machines=[_show_machine(e, rows.get(e.device), documents.owner) for e in shown],
            more=len(active) - len(shown),
            trials=self._trials(api, documents),
        )

    def close(self, wish: CloseWish) -> Closed:
        """Sign a closing and hand it over. Raises `Malformed` or `Refused`."""
        ports = [ClosedPort("tcp", n) for n in wish.tcp] + [ClosedPort("udp", n) for n in wish.udp]
        ways = tuple(sorted(set(wish.local_access)))
        if not ports and not ways:
            raise Malformed("Name something to close.", reason="nothing_named")
        return self._order(wish, tuple(sorted(set(ports))), ways)

    def open(self, wish: CloseWish) -> Closed:
        """Sign that all is open again, and hand it over."""
        return self._order(wish, (), ())

    def keep(self, closing: str) -> Closed:
        """Confirm a closing that machines hold on trial. Raises `Refused` when none does."""
        api, documents = ClosingApi(self._reach()), self._desk.documents()
        progress = read_progress(api.detail(closing), documents.policy, documents.entries)
        holding = progress.counts.get("applied", 0)
        if not holding:
            raise Refused("No machine holds this on trial now.", reason="not_on_trial")
        now_ms, named = self._clock.wall_ms(), progress.closing.hash
        api.keep(named, sign_kept(self._desk, named, now_ms).raw)
        self._changes.tell("closing")
        return Closed(id=named, words=f"Kept on {_count(holding)}.")

    def _order(
        self, wish: CloseWish, ports: tuple[ClosedPort, ...], ways: tuple[str, ...]
    ) -> Closed:
        if wish.everywhere == bool(wish.devices):
            raise Malformed("Name machines, or all of them, and not both.", reason="no_machines")
        now_ms, documents = self._clock.wall_ms(), self._desk.documents()
        check_lease(documents, now_ms)
        known = {entry.device for entry in documents.entries if entry.state == "active"}
        devices = tuple(sorted(set(wish.devices)))
        if not set(devices) <= known:
            raise Refused("A machine is not on your roster any more.", reason="not_on_roster")
        said = ClosingWish(devices, ports, ways, wish.restore_seconds, wish.reason)
        signed = sign_closing(self._desk, said, now_ms)
        ClosingApi(self._reach()).submit(signed.closing.raw)
        self._changes.tell("closing")
        number = _count(len(devices) or len(known))
        what = "All is opened again" if signed.closing.opens_all else "Signed"
        return Closed(id=signed.closing.hash, words=f"{what}, and handed over for {number}.")

    def _trials(self, api: ClosingApi, documents: OwnerDocuments) -> list[TrialView]:
        found: list[TrialView] = []
        for row in api.rows()[:MAX_LOOKED_AT]:
            if row.opens_all or row.kept_at:
                continue
            try:
                detail = api.detail(row.id)
                progress = read_progress(detail, documents.policy, documents.entries)
            except FleetwardError:
                continue
            heard = {part.device_id: part.at for part in detail.machines}
            trial = self._show_trial(progress, heard)
            if trial is not None:
                found.append(trial)
        return found

    def _show_trial(self, progress: Progress, heard: dict[str, str]) -> TrialView | None:
        now_ms, ends, holding, cut = self._clock.wall_ms(), [], [], []
        others: list[str] = []
        for one in progress.machines:
            if one.report is None or one.state != "applied":
                said = one.report.words if one.report else "not heard of yet"
                others.append(f"{one.entry.name}: {said}")
                continue
            # The machine's clock is not ours: the countdown runs from when its word came.
            end = _to_ms(heard.get(one.entry.device, "")) + one.report.seconds_left * 1000
            if end > now_ms:
                holding.append(one.entry.name)
                ends.append(end)
                cut += [f"{text} at {one.entry.name}" for text in one.report.cut]
        if not holding:
            return None
        return TrialView(
            id=progress.closing.hash,
            words=progress.closing.words(),
            reason=progress.closing.reason,
            machines=holding,
            others=others,
            cut=cut,
            ends_at=to_rfc3339(min(ends)),
        )


def _show_machine(entry: RosterEntry, row: MachineRow | None, owner: str) -> MachineView:
    closed, said, trouble = "", "", ""
    if row is not None and row.report:
        try:
            report = read_report(row.report, entry, owner)
            closed, said = say_closed(report.closed, report.local_access), report.words
        except FleetwardError as e:
            trouble = f"What it is said to have closed is not believed: {e.message}"
    row = row or MachineRow(device_id=entry.device)
    return MachineView(
        id=entry.device,
        name=entry.name,
        site=entry.site,
        connected=row.connected,
        simulated=row.simulated,
        tiers=[
            TierView(number=t.number, title=t.title, state=t.state, words=t.words, as_of=t.as_of)
            for t in row.tiers
        ],
        ports=[
            PortView(name=f"{p.protocol}/{p.port}", process=p.process or "", closed=p.closed)
            for p in row.ports
            if p.exposure != "loopback"
        ],
        looked_at=row.looked_at,
        peers=[PeerView(port=p.port, address=p.address) for p in row.peers],
        peers_more=row.peers_more,
        peers_at=row.peers_at,
        closed=closed,
        said=said,
        trouble=trouble,
    )


def _to_ms(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return 0


def _count(number: int) -> str:
    return "1 machine" if number == 1 else f"{number} machines"
