"""Closings in a person's words, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fleetward.keyholder.access.terminal_safe import one_line
from fleetward.keyholder.closing.judging import SILENT, Progress, Standing
from fleetward.keyholder.closing.server_rows import ClosingRow, MachineRow
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.closing import ClosedPort, Closing

STATE_WORDS: Final = {
    "applied": "closed, on trial",
    "kept": "closed for good",
    "restored": "went back: nobody kept it in time",
    "refused": "refused",
    "undone": "something there took the filter away",
    SILENT: "not heard of",
}
USUAL: Final = {"ssh": ClosedPort("tcp", 22), "telnet": ClosedPort("tcp", 23)}


def say_countdown(seconds: int) -> str:
    """Return a countdown: 9:58, or 1:02:03."""
    hours, rest = divmod(max(0, seconds), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def tell_preview(
    machines: Sequence[MachineRow], ports: Sequence[ClosedPort], ways: Sequence[str]
) -> str:
    """Return who would be cut off, machine by machine, with the age of what is known."""
    wanted = {(p.protocol, p.port) for p in (*ports, *(USUAL[way] for way in ways))}
    lines: list[str] = []
    for machine in machines:
        lines.append(f"{machine.name or machine.device_id} ({machine.site})")
        if machine.looked_at is None:
            lines.append("  It has not been looked at yet: what waits there is not known.")
            continue
        waiting = [p for p in machine.ports if (p.protocol, p.port) in wanted]
        for row in waiting:
            reach = "for this machine only" if row.exposure == "loopback" else "for others"
            program = one_line(row.process or "a program that is not visible", 100)
            lines.append(f"  {one_line(row.protocol, 10)}/{row.port}  {program} waits {reach}")
        if not waiting:
            lines.append("  Nothing waits on these ports.")
        lines.append(f"  as of {one_line(machine.looked_at, 40)}")
        tcp = {port for protocol, port in wanted if protocol == "tcp"}
        peers = [p for p in machine.peers if p.port in tcp]
        for peer in peers:
            address = one_line(peer.address, 100)
            lines.append(f"  {address} is connected to tcp/{peer.port}: it would be cut off")
        if machine.peers_at is None:
            lines.append("  Who is connected it has not said yet.")
        else:
            if not peers:
                lines.append("  Nobody is connected to these ports.")
            if machine.peers_more:
                lines.append(f"  {machine.peers_more} more connections are not named.")
            lines.append(f"  as of {one_line(machine.peers_at, 40)}")
    lines.append("This is what the machines last signed, as the server hands it on.")
    return "\n".join(lines)


def tell_progress(progress: Progress) -> str:
    """Return how a closing stands, in one line of counts."""
    parts = [f"{number} {STATE_WORDS[state]}" for state, number in sorted(progress.counts.items())]
    return f"{len(progress.machines)} machines: {'; '.join(parts) or 'none'}."


def tell_machine(one: Standing) -> str:
    """Return how it stands at one machine, in a line."""
    name = f"{one.entry.name} ({one.entry.site})"
    if one.report is None:
        return f"{name}: not heard of. {one.trouble}".strip()
    said = f"{name}: {STATE_WORDS[one.state]}. {one.report.words}"
    if one.report.cut:
        said += f" Cut off: {', '.join(one.report.cut)}."
    return said


def tell_rows(rows: Sequence[ClosingRow]) -> str:
    """Return closings, a line each."""
    if not rows:
        return (
            "Nothing was ever closed. `fleetward owner close now ID --ssh --preview` shows who "
            "would be cut off."
        )
    lines = []
    for row in rows:
        where = "all machines" if row.for_all else f"{sum(row.counts.values())} machines"
        kept = "kept" if row.kept_at else "open again" if row.opens_all else "not kept"
        counts = ", ".join(f"{n} {one_line(state, 20)}" for state, n in sorted(row.counts.items()))
        said = f"{one_line(row.issued_at, 40)}  {one_line(row.words)}"
        lines.append(f"{row.id[:16]}  {said}  at {where}  {kept}  {counts}")
    return "\n".join(lines)


def show_progress(progress: Progress) -> dict[str, Any]:
    """Return how a closing stands, as JSON."""
    return {
        **show_closing(progress.closing),
        "counts": progress.counts,
        "machines": [
            {
                "device_id": one.entry.device,
                "name": one.entry.name,
                "site": one.entry.site,
                "state": one.state,
                "trouble": one.trouble,
                "rule": one.report.rule if one.report else "",
                "words": one.report.words if one.report else "",
                "cut": list(one.report.cut) if one.report else [],
                "listening": list(one.report.listening) if one.report else [],
                "seconds_left": one.report.seconds_left if one.report else 0,
                "said_at": to_rfc3339(one.report.at_ms) if one.report else None,
            }
            for one in progress.machines
        ],
    }


def show_closing(closing: Closing) -> dict[str, Any]:
    """Return a closing as JSON."""
    return {
        "id": closing.hash,
        "serial": closing.serial,
        "devices": list(closing.devices) or "all",
        "ports": [port.to_json() for port in closing.ports],
        "local_access": list(closing.local_access),
        "restore_seconds": closing.restore_seconds,
        "reason": closing.reason,
        "people": list(closing.people),
        "issued_at": to_rfc3339(closing.issued_at_ms),
        "words": closing.words(),
    }
