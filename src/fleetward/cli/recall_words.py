"""Recalls in a person's words, for the command line."""

from __future__ import annotations

from typing import Any, Final

from fleetward.keyholder.audit_words import MAX_LINES
from fleetward.keyholder.recall_check import RecallCheck, say_done, say_scope

STANDINGS: Final = {
    "affected": "affected",
    "unknown": "not known",
    "updated": "done: runs another version",
    "retired": "done: retired",
}


def tell_forecast(forecast: dict[str, Any]) -> str:
    """Return whom a recall would find."""
    versions = ", ".join(forecast["versions"])
    return "\n".join(
        [
            forecast["headline"],
            f"It is for {forecast['machines']}"
            + (f", and is about the published versions {versions}." if versions else "."),
        ]
    )


def tell_recall(row: dict[str, Any], steps: list[dict[str, Any]]) -> str:
    """Return whether a recall is over, and what is to be done."""
    tally = row["tally"]
    lines = [
        f"{row['title']} ({row['state']}{', overdue' if row['overdue'] else ''})",
        row["headline"],
        f"Of {row['about']}, for {row['machines']}. {row['remedy_words']}"
        + (f" Until {row['until'][:10]}." if row["until"] else ""),
        row["why"],
        f"Known as: {', '.join(row['advisories'])}" if row["advisories"] else "",
        f"Found {tally['found']}: {tally['affected']} affected, {tally['unknown']} not known, "
        f"{tally['updated']} updated, {tally['retired']} retired; of those that are open "
        f"{tally['silent']} not connected.",
        row["words"],
        f"{row['acknowledged_by']} answers for it: {row['acknowledged_words']}".rstrip(": ")
        if row["acknowledged_at"]
        else "Nobody has said yet that he knows of it.",
        f"Recall {row['id']}",
    ]
    lines = [line for line in lines if line]
    for step in steps:
        lines += ["", f"The {step['who']}: {step['words']}"]
        lines += [f"  {step['command']}"] if step["command"] else []
    return "\n".join(lines)


def tell_machine(item: dict[str, Any]) -> str:
    """Return one machine on one line."""
    heard = "connected" if item["connected"] else f"last heard {item['last_heard_at'] or 'never'}"
    parts = [
        item["device_id"],
        item["name"],
        item["site"],
        STANDINGS[item["standing"]],
        item["version"] or "no version named",
        heard,
        item["proof"],
        f"{item['note_by']} says: {item['note']}" if item["note"] else "",
    ]
    return "  ".join(part for part in parts if part)


def tell_check(check: RecallCheck) -> str:
    """Return what came of a check, and the verdict last."""
    lines = [
        f"The recall “{check.proof.title}”, of {check.proof.as_of}.",
        f"It is about {say_scope(check.scope)}.",
        say_done(check),
    ]
    for title, findings in (
        ("Contradicted", check.report.contradicted),
        ("Not done", check.open),
        ("Cannot be known yet", check.report.unknown),
    ):
        lines += ["", f"{title}: {len(findings) or 'nothing'}"]
        lines += [f"  {finding.words}" for finding in findings[:MAX_LINES]]
        if len(findings) > MAX_LINES:
            lines.append(f"  … and {len(findings) - MAX_LINES} more; --json has all of them.")
    if not check.report.whole:
        verdict = "This proof is contradicted. Keep it, and ask who held the server."
    elif check.is_over:
        verdict = "It is over: every machine of the roster that it is about is proven to be done."
    else:
        verdict = "It is not over. Nothing in the proof is contradicted."
    return "\n".join([*lines, "", verdict])
