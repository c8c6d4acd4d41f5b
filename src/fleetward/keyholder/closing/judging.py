"""What is true of a closing at each machine: by the report that the machine itself signed.

The server's word about a state counts for nothing beside it: a report that is missing, or is of
another machine, key or closing, leaves the machine at "not heard of".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from fleetward.keyholder.closing.server_rows import ClosingDetail, MachineRow, PartRow
from fleetward.trust.canonical import from_base64url
from fleetward.trust.closing import (
    Closing,
    ClosingReport,
    verify_closing_of_owner,
    verify_closing_report,
)
from fleetward.trust.errors import FleetwardError, Untrusted
from fleetward.trust.policy import Policy
from fleetward.trust.roster import ACTIVE, RosterEntry

SILENT: Final = "silent"
"""A machine that has not said anything that can be believed."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One machine: its entry on the owner's roster, and its newest report that verifies."""

    entry: RosterEntry
    report: ClosingReport | None
    trouble: str = ""

    @property
    def state(self) -> str:
        """`silent`, or the outcome that the machine signed."""
        return SILENT if self.report is None else self.report.outcome


@dataclass(frozen=True, slots=True)
class Progress:
    """A closing, verified, and how it stands at its machines."""

    closing: Closing
    machines: tuple[Standing, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many machines are in which state."""
        found: dict[str, int] = {}
        for one in self.machines:
            found[one.state] = found.get(one.state, 0) + 1
        return found

    @property
    def answered(self) -> bool:
        """Whether every machine has said something."""
        return all(one.report is not None for one in self.machines)


def read_progress(
    detail: ClosingDetail, policy: Policy, entries: Sequence[RosterEntry]
) -> Progress:
    """Return what is true of a closing. Raises when it is none of this owner.

    Machines are those that the signed closing names, by the owner's roster.
    """
    closing = verify_closing_of_owner(from_base64url(detail.envelope), policy)
    if closing.hash != detail.closing.id:
        raise Untrusted("The server shows one closing as another.", reason="another_closing")
    parts: Mapping[str, PartRow] = {part.device_id: part for part in detail.machines}
    wanted = [
        entry
        for entry in entries
        if entry.state == "active" and (not closing.devices or entry.device in closing.devices)
    ]
    return Progress(closing, tuple(_judge(entry, parts, closing) for entry in wanted))


def name_machines(
    rows: Sequence[MachineRow], devices: Sequence[str], entries: Sequence[RosterEntry]
) -> list[MachineRow]:
    """Return what is said of the machines that an order is for: all active ones, or these.

    Which they are, and their names, is the roster's word; one that the server leaves out stands
    there as not looked at.
    """
    said = {row.device_id: row for row in rows}
    return [
        msgspec.structs.replace(
            said.get(entry.device, MachineRow(device_id=entry.device)),
            name=entry.name,
            site=entry.site,
        )
        for entry in entries
        if entry.state == ACTIVE and (not devices or entry.device in devices)
    ]


def read_report(text: str, entry: RosterEntry, owner: str) -> ClosingReport:
    """Return a machine's report by the key that the roster names. Raises as the verifier does."""
    return verify_closing_report(from_base64url(text), entry.key, owner)


def _judge(entry: RosterEntry, parts: Mapping[str, PartRow], closing: Closing) -> Standing:
    part = parts.get(entry.device)
    if part is None or not part.report:
        return Standing(entry, None)
    try:
        report = read_report(part.report, entry, closing.owner)
    except FleetwardError as e:
        return Standing(entry, None, f"Not believed: {e.message}")
    if report.closing != closing.hash:
        return Standing(entry, None, "Not believed: it is about another closing.")
    return Standing(entry, report)
