"""What the page is shown of a visit. Pure. Words of others are made harmless."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleetward.keyholder.access.judging import Case
from fleetward.keyholder.access.learning import Learned
from fleetward.keyholder.access.telling import ENDED_WORDS
from fleetward.keyholder.access.terminal_safe import one_line
from fleetward.keyholder.technician.model import GivenView, VisitView
from fleetward.keyholder.technician.visit import Known
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.access import FilesScope, LogsScope, Scope, TcpScope, TerminalScope
from fleetward.trust.grants.request import Request
from fleetward.trust.policy import Policy
from fleetward.trust.roster import RosterEntry


@dataclass(frozen=True, slots=True)
class Subject:
    """What the visit is about, known before anybody has answered."""

    request: Request
    entry: RosterEntry
    policy: Policy

    @classmethod
    def of(cls, learned: Learned, request: Request) -> Subject:
        """Return the subject of a request made here."""
        return cls(request, learned.judge.entries[request.device], learned.judge.policy)


def show_visit(
    subject: Subject, known: Known, frame: str, addresses: Mapping[int, str], now_ms: int
) -> VisitView:
    """Return the visit as the page shows it."""
    request, case = subject.request, known.case
    grant = case.grant if case is not None else None
    receipt = case.receipt if case is not None else None
    left = max(known.until_ms - now_ms, 0) // 1000 if known.phase == "open" else 0
    return VisitView(
        phase=known.phase,
        request=request.hash,
        device_id=request.device,
        machine=one_line(subject.entry.name),
        site=one_line(subject.entry.site),
        person=one_line(request.person),
        org=one_line(request.org),
        reason=one_line(request.reason),
        case=one_line(request.case),
        asked_at=to_rfc3339(request.issued_at_ms),
        asked=[one_line(scope.words()) for scope in request.scopes],
        seconds=request.seconds if grant is None else grant.seconds,
        machine_ready=case is not None and case.offer is not None,
        unreachable=one_line(known.unreachable),
        approvers=list_approvers(subject),
        approvers_needed=count_needed(subject),
        people=[one_line(person) for person in grant.people] if grant else [],
        six_words=grant.words if grant else "",
        watched=grant.watched if grant else False,
        given=[
            show_given(place, scope, addresses.get(place, ""))
            for place, scope in enumerate(grant.scopes if grant else ())
        ],
        left_seconds=left,
        frame=frame,
        over_words=one_line(known.words) if known.phase == "over" else "",
        over_by=ENDED_WORDS[receipt.ended_by] if receipt else "",
        over_who=one_line(receipt.ended_who) if receipt else "",
        over_at=to_rfc3339(receipt.ended_at_ms) if receipt else None,
        failed=known.failed,
    )


def list_approvers(subject: Subject) -> list[str]:
    """Return who may say yes: whoever the owner's policy names, but for who asks."""
    role = subject.policy.roles.get("approve")
    people = {holder.person for holder in role.keys.values()} if role is not None else set()
    return sorted(one_line(person) for person in people - {subject.request.person})


def count_needed(subject: Subject) -> int:
    """Return how many people must say yes."""
    rules = subject.policy.access
    found = [rules.rule_of(scope) for scope in subject.request.scopes]
    return max((rule.threshold for rule in found if rule is not None), default=1)


def show_given(place: int, scope: Scope, address: str) -> GivenView:
    """Return a granted scope."""
    name = mode = ""
    most = 0
    if isinstance(scope, TerminalScope):
        name = scope.profile
    elif isinstance(scope, TcpScope):
        name, mode = str(scope.port), scope.mode
    elif isinstance(scope, LogsScope):
        name = scope.unit
    elif isinstance(scope, FilesScope):
        name, mode, most = scope.root, scope.mode, scope.most_bytes
    return GivenView(
        place=place,
        kind=scope.kind,
        words=one_line(scope.words()),
        name=one_line(name),
        mode=mode,
        most_bytes=most,
        address=address,
    )


def tell_over(case: Case | None, known: Known) -> str:
    """Say how a visit ended, for a terminal."""
    if case is not None and case.receipt is not None:
        who = f" ({one_line(case.receipt.ended_who)})" if case.receipt.ended_who else ""
        return f"The session is over: {ENDED_WORDS[case.receipt.ended_by]}{who}."
    return one_line(known.words)
