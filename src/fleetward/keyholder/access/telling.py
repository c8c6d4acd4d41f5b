"""Requests and sessions in words and as JSON. Pure. Words of others are made harmless."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fleetward.keyholder.access.answering import SANDBOX_WORDS, WALL_WORDS, Prepared, Question
from fleetward.keyholder.access.judging import Case
from fleetward.keyholder.access.runbooks import say_scope, show_runbook, tell_run
from fleetward.keyholder.access.scope_words import write_scope
from fleetward.keyholder.access.server_rows import AccessRow
from fleetward.keyholder.access.terminal_safe import one_line
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.grants.request import Request
from fleetward.trust.runbook import Runbook
from fleetward.trust.sayings import say_length

STATE_WORDS: Final = {
    "asked": "waits for the machine",
    "offered": "waits for the owner",
    "granted": "granted, opens",
    "open": "somebody is inside",
    "ended": "ended",
    "denied": "refused by the machine",
    "stopped": "refused by the owner",
}
BREAK_GLASS: Final = "BREAK-GLASS: this is asked for without the usual approvers."
ENDED_WORDS: Final = {
    "closed": "left by who was inside",
    "length": "its time was over",
    "idle": "nothing moved for too long",
    "stopped": "stopped",
    "unwatched": "nobody watched",
    "panel": "stopped at the machine's panel",
    "policy": "ended by a newer policy",
    "failed": "ended by a fault",
    "restarted": "the machine's agent ended",
}


def show_row(row: AccessRow) -> dict[str, Any]:
    """Return a row as JSON: hearsay of the server, each text on one line."""
    shown: dict[str, Any] = {
        name: one_line(value) if isinstance(value, str) else value
        for name, value in ((field, getattr(row, field)) for field in AccessRow.__struct_fields__)
    }
    shown["scopes"] = [one_line(scope) for scope in row.scopes]
    return shown


def tell_row(row: AccessRow) -> str:
    """Return a row as one line."""
    who = one_line(row.person) + (f" ({one_line(row.org)})" if row.org else "")
    state = ("BREAK-GLASS " if row.break_glass else "") + STATE_WORDS.get(
        row.state, one_line(row.state, 20)
    )
    if row.ended_by:
        state += f" ({ENDED_WORDS.get(row.ended_by, one_line(row.ended_by, 40))})"
    at = one_line(row.asked_at or "", 19)
    name = one_line(row.device_name or row.device_id)
    return f"{row.id[:16]}  {at:19}  {state:24}  {name}: {who}, {one_line(row.reason, 80)}"


def show_request(request: Request) -> dict[str, Any]:
    """Return a verified request as JSON."""
    return {
        "id": request.hash,
        "device_id": request.device,
        "person": request.person,
        "org": request.org,
        "scopes": [write_scope(scope) for scope in request.scopes],
        "words": [scope.words() for scope in request.scopes],
        "seconds": request.seconds,
        "reason": request.reason,
        "case": request.case,
        "asked_at": to_rfc3339(request.issued_at_ms),
        "break_glass": request.break_glass,
    }


def show_case(case: Case, state: str) -> dict[str, Any]:
    """Return a verified case as JSON. `state` is what the server says."""
    shown = {
        **show_request(case.request),
        "machine": case.entry.name,
        "site": case.entry.site,
        "state": one_line(state, 20),
        "session": case.session,
        "six_words": case.grant.words if case.grant else "",
        "people": list(case.grant.people) if case.grant else [],
        "granted": [write_scope(s) for s in case.grant.scopes] if case.grant else [],
        "watched": case.grant.watched if case.grant else False,
        "runbooks": [show_runbook(runbook) for runbook in case.runbooks.values()],
    }
    if case.grant is not None and case.grant.ahead is not None:
        ahead = case.grant.ahead
        shown |= {"standing": ahead.standing, "window": ahead.window}
    if case.receipt is not None:
        shown |= {
            "opened_at": to_rfc3339(case.receipt.opened_at_ms),
            "ended_at": to_rfc3339(case.receipt.ended_at_ms),
            "ended_by": case.receipt.ended_by,
            "ended_who": case.receipt.ended_who,
            "bytes_in": case.receipt.bytes_in,
            "bytes_out": case.receipt.bytes_out,
            "compared": case.receipt.compared_words,
        }
    if case.denial is not None:
        shown |= {"denied_rule": case.denial.rule, "denied_words": case.denial.words}
    return shown


def tell_case(case: Case, state: str) -> str:
    """Return a verified case for a person."""
    request = case.request
    lines = [
        *tell_request(request, case.entry.name, case.entry.site, case.runbooks),
        f"  state     {STATE_WORDS.get(state, one_line(state, 20))} (the server says)",
    ]
    if case.grant is not None:
        ahead = "ahead " if case.grant.ahead else ""
        lines += [
            f"  granted   {ahead}by {' and '.join(case.grant.people)}: "
            f"{'; '.join(s.words() for s in case.grant.scopes)}, "
            f"{say_length(case.grant.seconds)}",
            f"  six words {case.grant.words}",
        ]
    if case.receipt is not None:
        who = f", {case.receipt.ended_who}" if case.receipt.ended_who else ""
        lines.append(
            f"  ended     {ENDED_WORDS[case.receipt.ended_by]}{who}, "
            f"{to_rfc3339(case.receipt.ended_at_ms)}"
        )
    if case.denial is not None:
        lines.append(f"  refused   {case.denial.words}")
    return "\n".join(lines)


def tell_request(
    request: Request, machine: str, site: str, runbooks: Mapping[str, Runbook]
) -> list[str]:
    """Return a verified request as lines, with what its runbooks do."""
    asked: list[str] = []
    for scope in request.scopes:
        asked.append(f"  - {scope.words()}")
        asked += [f"      {line}" for line in tell_run(scope, runbooks)]
    return [
        *([BREAK_GLASS] if request.break_glass else []),
        f"{request.person}{f' of {request.org}' if request.org else ''} asks for {machine}"
        f"{f' ({site})' if site else ''}:",
        *asked,
        f"  for       {say_length(request.seconds)}",
        f"  because   {request.reason}",
        *([f"  case      {request.case}"] if request.case else []),
        f"  asked     {to_rfc3339(request.issued_at_ms)}",
    ]


def tell_question(question: Question) -> str:
    """Return what an approver is asked, in words."""
    offer = question.offer
    entry = question.entry
    lines = tell_request(question.request, entry.name, entry.site, question.runbooks)
    lines.append(f"  walls     {SANDBOX_WORDS[offer.sandbox]}; {WALL_WORDS[offer.wall]}")
    if question.request.break_glass:
        lines.append("  it opens  only when somebody presses at the machine within 10 minutes")
    if question.people > 1:
        lines.append(f"  it takes  {question.people} people")
    if question.must_watch:
        lines.append("  it ends when nobody watches for 15 seconds: your policy wants that")
    return "\n".join(lines)


def tell_prepared(prepared: Prepared) -> str:
    """Return what is about to be signed, in words."""
    terms = prepared.terms
    watched = ", watched" if terms.watched else ""
    loud = "BREAK-GLASS. " if prepared.question.request.break_glass else ""
    return (
        f"{loud}You give: "
        f"{'; '.join(say_scope(s, prepared.question.runbooks) for s in terms.scopes)}, for "
        f"{say_length(terms.seconds)}{watched}.\n"
        f"Six words, the same on every screen: {prepared.words}"
    )


def show_prepared(prepared: Prepared) -> dict[str, Any]:
    """Return a grant as JSON."""
    question, terms = prepared.question, prepared.terms
    return {
        **show_request(question.request),
        "machine": question.entry.name,
        "site": question.entry.site,
        "wall": question.offer.wall,
        "sandbox": question.offer.sandbox,
        "people_needed": question.people,
        "session": prepared.hash,
        "six_words": prepared.words,
        "granted": [write_scope(scope) for scope in terms.scopes],
        "granted_seconds": terms.seconds,
        "watched": terms.watched,
        "runbooks": [show_runbook(runbook) for runbook in question.runbooks.values()],
    }
