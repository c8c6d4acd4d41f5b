"""Requests and sessions as the page shows them. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Final

from fleetward.keyholder.access.answering import (
    SANDBOX_WORDS,
    WALL_WORDS,
    Prepared,
    Question,
)
from fleetward.keyholder.access.comparing import WhatChanged, say_notes
from fleetward.keyholder.access.judging import Case, explain
from fleetward.keyholder.access.scope_words import write_scope
from fleetward.keyholder.access.server_rows import AccessRow
from fleetward.keyholder.access.telling import ENDED_WORDS
from fleetward.keyholder.access.terminal_safe import one_line
from fleetward.keyholder.console.access_model import (
    AccessView,
    ChangesView,
    ChangeView,
    FindingView,
    PasskeyChoice,
    PreparedView,
    RunView,
    ScopeView,
)
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.access import Scope
from fleetward.trust.access_runbook import RunbookScope
from fleetward.trust.canonical import JsonObject, to_base64url
from fleetward.trust.envelope import RoleKey, signed_bytes
from fleetward.trust.errors import FleetwardError
from fleetward.trust.passkey import challenge_of
from fleetward.trust.runbook import Runbook, plan_run

MAX_SHOWN: Final = 300
"""Changes on a page; `fleetward owner session show --json` has them all."""


def show_scopes(scopes: Sequence[Scope], runbooks: Mapping[str, Runbook]) -> list[ScopeView]:
    """Return scopes with their words, and what they run."""
    return [
        ScopeView(id=write_scope(scope), words=scope.words(), run=_show_run(scope, runbooks))
        for scope in scopes
    ]


def _show_run(scope: Scope, runbooks: Mapping[str, Runbook]) -> RunView | None:
    runbook = runbooks.get(scope.digest) if isinstance(scope, RunbookScope) else None
    if runbook is None or not isinstance(scope, RunbookScope):
        return None
    return RunView(
        name=runbook.name,
        version=runbook.version,
        description=runbook.description,
        run_as=runbook.run_as,
        seconds=runbook.seconds,
        steps=[shlex.join(step) for step in plan_run(runbook, scope).steps],
    )


def show_doubted(row: AccessRow, error: FleetwardError) -> AccessView:
    """Return a row whose papers are not believed: nothing of what the server says of it."""
    return AccessView(
        id=row.id,
        trouble=explain(error),
        state=one_line(row.state, 20),
        device_id=row.device_id,
        recording_bytes=row.recording_bytes,
    )


def show_case(case: Case, row: AccessRow, question: Question | FleetwardError | None) -> AccessView:
    """Return a verified case. `question` is what can be answered, or why nothing can."""
    request, offer, grant = case.request, case.offer, case.grant
    receipt = case.receipt
    asked = question if isinstance(question, Question) else None
    return AccessView(
        id=request.hash,
        trouble="",
        state=one_line(row.state, 20),
        device_id=request.device,
        machine=case.entry.name,
        site=case.entry.site,
        person=request.person,
        org=request.org,
        reason=request.reason,
        case=request.case,
        scopes=show_scopes(request.scopes, case.runbooks),
        seconds=request.seconds,
        asked_at=to_rfc3339(request.issued_at_ms),
        wall=WALL_WORDS[offer.wall] if offer else "",
        sandbox=SANDBOX_WORDS[offer.sandbox] if offer else "",
        sandboxed=offer is not None and offer.sandbox != "none",
        people_needed=asked.people if asked else 0,
        must_watch=asked.must_watch if asked else False,
        answerable=question.message if isinstance(question, FleetwardError) else "",
        session=case.session,
        six_words=grant.words if grant else "",
        granted=show_scopes(grant.scopes, case.runbooks) if grant else [],
        granted_seconds=grant.seconds if grant else 0,
        people=list(grant.people) if grant else [],
        ahead=grant is not None and grant.ahead is not None,
        watched=grant.watched if grant else False,
        opened_at=to_rfc3339(receipt.opened_at_ms) if receipt else _time(row.opened_at),
        ended_at=to_rfc3339(receipt.ended_at_ms) if receipt else None,
        ended_by=ENDED_WORDS[receipt.ended_by] if receipt else "",
        ended_who=receipt.ended_who if receipt else "",
        denied=case.denial.words if case.denial and row.state == "denied" else "",
        recording_bytes=row.recording_bytes,
        break_glass=request.break_glass,
    )


def show_what_changed(changed: WhatChanged) -> ChangesView:
    """Return what changed during a session, as far as it is proven."""
    comparison = changed.comparison
    if comparison is None:
        return ChangesView(state=changed.state, words=changed.words)
    rows = comparison.changes[:MAX_SHOWN]
    return ChangesView(
        state=changed.state,
        words=changed.words,
        findings=[
            FindingView(
                rule=found.rule,
                severity=found.severity,
                words=found.words,
                evidence=found.evidence,
                attack=list(found.attack),
            )
            for found in comparison.findings
        ],
        changes=[
            ChangeView(
                kind=one.kind, change=one.change, name=one.name, before=one.before, after=one.after
            )
            for one in rows
        ],
        left=comparison.change_count - len(rows),
        notes=say_notes(comparison),
    )


def show_prepared(
    prepared: Prepared,
    keys: Mapping[str, RoleKey],
    names: Sequence[str],
    said: Sequence[str],
    *,
    own_key: bool,
) -> PreparedView:
    """Return a grant that is ready to be signed, and the passkeys that may sign it here."""
    terms = prepared.terms
    return PreparedView(
        grant=prepared.hash,
        six_words=prepared.words,
        scopes=show_scopes(terms.scopes, prepared.question.runbooks),
        seconds=terms.seconds,
        watched=terms.watched,
        passkey=show_choice(prepared.payload, keys, names) if keys else None,
        own_key=own_key,
        said=list(said),
    )


def show_choice(
    payload: JsonObject, keys: Mapping[str, RoleKey], names: Sequence[str]
) -> PasskeyChoice:
    """Return what a browser needs to have a document signed by one of these passkeys.

    They all count at one place. The challenge is the document.
    """
    (rp_id,) = {holder.passkey.rp_id for holder in keys.values() if holder.passkey}
    return PasskeyChoice(
        challenge=to_base64url(challenge_of(signed_bytes(payload))),
        rp_id=rp_id,
        names=list(names),
        people=sorted({holder.person for holder in keys.values()}),
    )


def _time(text: str | None) -> str | None:
    return one_line(text, 30) if text else None
