"""What is true of a request and of what became of it, by the owner's own documents.

The server hands out papers; each is checked here against the others, the policy that it names and
the roster's key of the very machine, in the order in which they were made:

1. The request, by a requester of the policy.
2. The offer, by the machine on the roster, to that request.
3. The runbooks that the request names, by signers of the policy, with arguments that fit.
4. The grant, by enough approvers, of that request and that offer; or in its place the requester's
   entry by what approvers allowed ahead, under the policy that the offer names.
5. Denial and receipt, by the machine, of that request or that session.

Nothing that fails is shown as if it were true: `read_case` raises, and says which paper is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fleetward.keyholder.access.runbooks import judge_papers
from fleetward.keyholder.access.server_rows import AccessPapers, unwrap
from fleetward.trust.envelope import Envelope, read_envelope
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.grants.entry import MAX_ENTRY_BYTES, permissive, verify_entry
from fleetward.trust.grants.grant import MAX_GRANT_BYTES, Grant, Situation, verify_grant
from fleetward.trust.grants.offer import Offer, verify_offer
from fleetward.trust.grants.report import Denial, Receipt, verify_denial, verify_receipt
from fleetward.trust.grants.request import MAX_REQUEST_BYTES, Request, verify_request
from fleetward.trust.grants.standing import verify_standing
from fleetward.trust.policy import Policy
from fleetward.trust.roster import ACTIVE, RosterEntry
from fleetward.trust.runbook import Runbook

NOTHING: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class Case:
    """One request, verified, and all that became of it, verified."""

    entry: RosterEntry
    policy: Policy
    request: Request
    offer: Offer | None = None
    grant: Grant | None = None
    denial: Denial | None = None
    receipt: Receipt | None = None
    runbooks: Mapping[str, Runbook] = field(default_factory=dict)

    @property
    def session(self) -> str:
        """The session's id, empty before there is a grant."""
        return "" if self.grant is None else self.grant.hash


class Judge:
    """Holds the owner's verified policies and roster, and reads papers by them."""

    def __init__(self, policies: Sequence[Policy], entries: Sequence[RosterEntry]) -> None:
        self.policies: Final = tuple(policies)
        self.entries: Final = {entry.device: entry for entry in entries}

    @property
    def policy(self) -> Policy:
        """The newest policy."""
        return self.policies[-1]

    def read_request(
        self, data: bytes, policy: Policy | None = None
    ) -> tuple[Request, RosterEntry]:
        """Return a request and the machine that it is for. Raises as `verify_request`.

        The machine is the one that the signed request names, by its entry on the owner's roster:
        never the one that the server says.
        """
        device = _peek(read_envelope(data, max_bytes=MAX_REQUEST_BYTES), "device").key_id("device")
        entry = self.entries.get(device)
        if entry is None:
            raise Untrusted(
                f"The request is for {device}, which is not on the owner's roster.",
                reason="not_on_roster",
            )
        return verify_request(data, policy or self.policy, device), entry

    def read_case(self, papers: AccessPapers) -> Case:
        """Return what is true of these papers.

        Raises `Malformed`, `Untrusted` or `Refused` for the first that is not.
        """
        grant_bytes, entry_bytes = unwrap(papers.grant), unwrap(papers.entry)
        offer_bytes = unwrap(papers.offer)
        policy = self._policy_of(grant_bytes or (offer_bytes if entry_bytes else b""))
        # 1.
        request, entry = self.read_request(unwrap(papers.request), policy)
        if request.hash != papers.id:
            raise Untrusted("The server shows one request as another.", reason="another_request")
        # 2.
        offer = verify_offer(offer_bytes, entry.key, request) if offer_bytes else None
        # 3.
        runbooks = judge_papers(papers.runbooks, policy, request.scopes)
        # 4.
        grant = self._read_grant(grant_bytes, policy, request, offer) if grant_bytes else None
        if entry_bytes and not grant_bytes:
            ahead = unwrap(papers.standing_document)
            grant = self._read_entry((entry_bytes, ahead), policy, request, offer)
        # 5.
        denial, receipt = _read_reports(papers, entry, policy.owner, (request, grant))
        return Case(entry, policy, request, offer, grant, denial, receipt, runbooks)

    def _policy_of(self, grant: bytes) -> Policy:
        """Return the policy that a grant (or an offer) names, or the newest."""
        if not grant:
            return self.policy
        named = _peek(_envelope_of(grant), "policy").map("policy")
        found = Fields(named, "the grant's policy", {"hash", "version"}).digest("hash")
        for policy in self.policies:
            if policy.hash == found:
                return policy
        raise Untrusted(
            "The grant names a policy that the owner never signed.", reason="another_policy"
        )

    @staticmethod
    def _read_grant(data: bytes, policy: Policy, request: Request, offer: Offer | None) -> Grant:
        if offer is None:
            raise Malformed(
                "There is a grant without the offer that it answers.", reason="no_offer"
            )
        # When it could be used is the machine's to judge; here it is judged at its beginning.
        begin = _peek(_envelope_of(data), "not_before").integer("not_before")
        here = Situation(policy, offer.boot, begin, 1, sandboxed=offer.sandbox != "none")
        return verify_grant(data, here, request, offer)

    @staticmethod
    def _read_entry(
        papers: tuple[bytes, bytes], policy: Policy, request: Request, offer: Offer | None
    ) -> Grant:
        if offer is None:
            raise Malformed(
                "There is an entry without the offer that it answers.", reason="no_offer"
            )
        entry, ahead = papers
        standing = verify_standing(ahead, policy)
        here = Situation(policy, offer.boot, 0, 1, sandboxed=offer.sandbox != "none")
        place = _peek(read_envelope(entry, max_bytes=MAX_ENTRY_BYTES), "window").integer("window")
        return verify_entry(entry, permissive(here, standing, place), standing, request, offer)


def require_named(case: Case, named: str) -> Case:
    """Return a case that a person named by a hash or its beginning. Raises `Untrusted`.

    Which request or session has that name is the server's word until here: it may hand out the
    true papers of another one.
    """
    text = named.strip().lower()
    if case.request.hash.startswith(text) or (case.session and case.session.startswith(text)):
        return case
    raise Untrusted(
        f"The server shows request {case.request.hash[:16]} as {text[:16]!r}, which it is not. "
        "Nothing was done.",
        reason="another_request",
    )


def require_active(entry: RosterEntry) -> None:
    """Raise `Refused` when a machine is retired."""
    if entry.state != ACTIVE:
        raise Refused(f"{entry.name} is retired; nothing opens on it.", reason="not_on_roster")


def explain(error: FleetwardError) -> str:
    """Return why papers are not believed, for a list where the others still stand."""
    return f"Not believed: {error.message}"


def _envelope_of(grant: bytes) -> Envelope:
    return read_envelope(grant, max_bytes=MAX_GRANT_BYTES)


def _peek(envelope: Envelope, name: str) -> Fields:
    """Return one field of an envelope that is verified later, as a reader. Raises `Malformed`."""
    kept = {n: value for n, value in envelope.payload.items() if n == name}
    return Fields(kept, "the document", {name})


def _read_reports(
    papers: AccessPapers, entry: RosterEntry, owner: str, of: tuple[Request, Grant | None]
) -> tuple[Denial | None, Receipt | None]:
    request, grant = of
    denial, receipt = None, None
    if data := unwrap(papers.denial):
        denial = verify_denial(data, entry.key, owner)
        if denial.subject not in (request.hash, grant.hash if grant else request.hash, NOTHING):
            raise Untrusted("The denial is of something else.", reason="another_request")
    if data := unwrap(papers.receipt):
        receipt = verify_receipt(data, entry.key, owner)
        if grant is None or receipt.session != grant.hash:
            raise Untrusted("The receipt is of another session.", reason="another_session")
    return denial, receipt
