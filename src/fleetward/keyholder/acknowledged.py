"""Which machines have taken a policy: by what each of them signed, and not by what a server says.

The server hands over, for each machine, the newest signed batch of its journal in which an entry of
a kind stands. The batch is verified here by the key on the owner's own roster. A server can keep
one back; it cannot make one up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.canonical import from_base64url
from fleetward.trust.errors import FleetwardError
from fleetward.trust.journal import Entry, verify_batch
from fleetward.trust.roster import ACTIVE, RosterEntry

ACCEPTED: Final = "gate.accepted"
PAGE: Final = 100
MAX_PAGES: Final = 10_000
CLOCKS_APART_MS: Final = 86_400_000
"""How far the owner's clock and the server's may be apart."""


class SignedRow(msgspec.Struct, frozen=True):
    """One machine's batch, as the server hands it over."""

    device_id: str
    sequence: int
    batch: str


class SignedPage(msgspec.Struct, frozen=True):
    """A page of them."""

    items: list[SignedRow]
    total: int


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A machine of the roster, and the policy that it has signed for; 0 for none yet."""

    machine: RosterEntry
    version: int
    at_ms: int


def fetch_signed(
    client: ApiClient, owner: str, entries: Sequence[RosterEntry], kind: str, since_ms: int
) -> Mapping[str, Entry]:
    """Return each machine's newest entry of a kind, out of a batch that it signed.

    `since_ms` is from when on it matters, by the owner's clock; a day more is asked for. What does
    not verify is left out, as if it had been kept back. Raises as the client does.
    """
    known = {entry.device: entry for entry in entries}
    found: dict[str, Entry] = {}
    since = to_rfc3339(max(0, since_ms - CLOCKS_APART_MS))
    for number in range(1, MAX_PAGES):
        path = f"/events/signed?kind={kind}&since={since}&page={number}&per_page={PAGE}"
        page = client.get(path, SignedPage)
        for row in page.items:
            machine = known.get(row.device_id)
            entry = _read_row(row, machine, owner, kind) if machine else None
            if entry is not None:
                found[row.device_id] = entry
        if number * PAGE >= page.total or not page.items:
            break
    return found


def read_acknowledgements(client: ApiClient, documents: OwnerDocuments) -> list[Acknowledgement]:
    """Return for each active machine the policy that it last signed to have taken."""
    signed = fetch_signed(client, documents.owner, documents.entries, ACCEPTED,
                          documents.policy.issued_at_ms)  # fmt: skip
    hashes = {p.version: p.hash for p in documents.policies}
    return [
        _acknowledged(machine, signed.get(machine.device), hashes)
        for machine in documents.entries
        if machine.state == ACTIVE
    ]


def say_acknowledgements(rows: Sequence[Acknowledgement], version: int) -> str:
    """Say who has taken a policy, and name the machines that have not."""
    late = [row for row in rows if row.version < version]
    if not rows:
        return "No active machine is on the roster."
    if not late:
        return f"Each of {len(rows)} machines has signed that it took policy {version}."
    lines = [f"{len(rows) - len(late)} of {len(rows)} machines have signed that they took policy "
             f"{version}. Not yet:"]  # fmt: skip
    lines += [f"  {row.machine.name}, {row.machine.site}  {row.machine.device}" for row in late]
    return "\n".join(lines)


def _acknowledged(
    machine: RosterEntry, entry: Entry | None, hashes: Mapping[int, str]
) -> Acknowledgement:
    if entry is None:
        return Acknowledgement(machine, 0, 0)
    version, digest = entry.body.get("policy_version"), entry.body.get("policy")
    # Agents of earlier releases sign the version alone.
    if not isinstance(version, int) or digest not in (None, hashes.get(version)):
        version = 0
    return Acknowledgement(machine, version, entry.at_ms)


def _read_row(row: SignedRow, machine: RosterEntry, owner: str, kind: str) -> Entry | None:
    try:
        batch = verify_batch(from_base64url(row.batch), machine.key, owner)
    except FleetwardError:
        return None
    found = [e for e in batch.entries if e.kind == kind]
    return found[-1] if found else None
