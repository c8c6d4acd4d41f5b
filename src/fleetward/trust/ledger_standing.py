"""What was allowed ahead, in an audit: who came by it, once in each window, and not afterwards.

1. An entry is judged as the machine did: by the document that stands before it in the record, under
   the policy that the machine's offer names.
2. No machine lets two people in by one window of a series.
3. A machine that has signed that a document was taken back lets nobody in by it afterwards.

A machine that does either contradicts itself, and is named.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from fleetward.trust.envelope import read_envelope
from fleetward.trust.errors import FleetwardError, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.grants.entry import MAX_ENTRY_BYTES, permissive, verify_entry
from fleetward.trust.grants.grant import Grant, Situation
from fleetward.trust.grants.offer import Offer
from fleetward.trust.grants.report import Receipt
from fleetward.trust.grants.request import Request
from fleetward.trust.grants.standing import MAX_WINDOWS, verify_standing
from fleetward.trust.grants.standing_state import REVOKED, verify_state
from fleetward.trust.keys import PublicKey
from fleetward.trust.ledger_documents import DocumentsInAudit
from fleetward.trust.ledger_findings import Finding, Findings
from fleetward.trust.policy import Policy
from fleetward.trust.sayings import say_count

MAX_DOCUMENTS: Final = 100_000
"""Documents of one record that are remembered for the entries by them."""


@dataclass(slots=True)
class StandingInAudit:
    """Remembers what was allowed ahead. Findings go where `findings` says."""

    owner: str
    documents: DocumentsInAudit
    findings: Findings
    _papers: dict[str, bytes] = field(default_factory=dict)
    _force: set[str] = field(default_factory=set)
    _used: dict[tuple[str, bytes, int], str] = field(default_factory=dict)
    _revoked: dict[tuple[str, str], int] = field(default_factory=dict)
    _came: int = 0

    def take_document(self, leaf: bytes) -> None:
        """Remember a document that stands in the record; anybody may have handed it in."""
        digest = read_envelope(leaf).hash
        if len(self._papers) < MAX_DOCUMENTS:
            self._papers[digest] = leaf  # signed by some before, perhaps, and now by enough
        try:
            verify_standing(leaf, self.documents.policy_in_force)
        except FleetwardError:
            return
        self._force.add(digest)

    def take_state(self, leaf: bytes, key: PublicKey) -> None:
        """Remember what a machine signed about a document. Raises as `verify_state`."""
        said = verify_state(leaf, key, self.owner)
        if said.state == REVOKED:
            self._revoked.setdefault((said.device, said.standing), said.at_ms)

    def judge_entry(self, leaf: bytes, policy: Policy, request: Request, offer: Offer) -> Grant:
        """Return what somebody came in by. Raises as `verify_entry`."""
        payload = read_envelope(leaf, max_bytes=MAX_ENTRY_BYTES).payload
        raw = self._papers.get(str(payload.get("standing")))
        if raw is None:
            raise Untrusted("What was allowed ahead does not stand before it.", reason="no_grant")
        standing = verify_standing(raw, policy)
        kept = {"window": payload.get("window", -1)}
        place = Fields(kept, "the entry", {"window"}).integer("window", high=MAX_WINDOWS - 1)
        here = Situation(policy, offer.boot, 0, 1, sandboxed=offer.sandbox != "none")
        return verify_entry(leaf, permissive(here, standing, place), standing, request, offer)

    def take_session(self, grant: Grant, receipt: Receipt) -> None:
        """Look whether a session that took place was one that this machine could allow."""
        ahead = grant.ahead
        if ahead is None:
            return
        self._came += 1
        place = (receipt.device, ahead.series, ahead.window)
        if place in self._used:
            words = (
                f"{self._name(receipt.device)} let somebody in twice by window "
                f"{ahead.window + 1} of one permission given ahead."
            )
            self._contradict("window_used_twice", words, receipt.device)
        self._used[place] = receipt.session
        revoked = self._revoked.get((receipt.device, ahead.standing))
        if revoked is not None and receipt.opened_at_ms > revoked:
            words = (
                f"{self._name(receipt.device)} let somebody in by what was taken back, after it "
                "had signed that it was."
            )
            self._contradict("entered_after_revoked", words, receipt.device)

    def finish(self) -> None:
        """Say what was allowed ahead, and how often it was used."""
        if self._force:
            said = say_count(len(self._force), "permission")
            came = say_count(self._came, "session")
            self.findings.prove(
                Finding(
                    "allowed_ahead",
                    f"{said} given ahead stand in the record, signed by as many people as the "
                    f"policy demanded; {came} took place by them.",
                )
            )
        if self._revoked:
            said = say_count(len(self._revoked), "time")
            words = f"Machines signed {said} that what was allowed ahead was taken back."
            self.findings.prove(Finding("taken_back", words))
        idle = len(self._papers) - len(self._force)
        if idle:
            said = say_count(idle, "permission")
            words = f"{said} given ahead in the record are signed so that no machine would obey."
            self.findings.leave_open(Finding("ahead_without_force", words))

    def _name(self, device: str) -> str:
        entry = self.documents.machines.get(device)
        return f"{entry.name} ({device[:8]}…)" if entry else device

    def _contradict(self, finding: str, words: str, device: str) -> None:
        self.findings.contradict(Finding(finding, words, device=device))
