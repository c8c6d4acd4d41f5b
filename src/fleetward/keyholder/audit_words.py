"""The report of a verification for people and for programs."""

from __future__ import annotations

from typing import Any, Final

from fleetward.keyholder.verify import Verification
from fleetward.trust.ledger_findings import Finding

MAX_LINES: Final = 40
"""Lines of one list that a person is shown; `--json` has all of them."""


def show_finding(finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON; what it is not about is left out."""
    shown: dict[str, Any] = {"id": finding.id, "words": finding.words}
    for name in ("generation", "entry", "age_seconds"):
        value = getattr(finding, name)
        if value is not None:
            shown[name] = value
    if finding.device:
        shown["device"] = finding.device
    return shown


def show_report(verification: Verification) -> dict[str, Any]:
    """Return the whole report as JSON."""
    report = verification.report
    return {
        "owner_root": verification.owner_root,
        "generation": verification.generation,
        "entries": verification.entries,
        "exported_at": verification.exported_at,
        "whole": report.whole,
        "proven": [show_finding(f) for f in report.proven],
        "contradicted": [show_finding(f) for f in report.contradicted],
        "unknown": [show_finding(f) for f in report.unknown],
    }


def tell_report(verification: Verification) -> str:
    """Return the report in a person's words, the three lists one below the other."""
    report = verification.report
    lines = [f"The record of {verification.owner_root[:12]}…, {verification.entries} entries."]
    for title, findings in (
        ("Proven", report.proven),
        ("Contradicted", report.contradicted),
        ("Cannot be known yet", report.unknown),
    ):
        lines += ["", f"{title}: {len(findings) or 'nothing'}"]
        lines += [f"  {finding.words}" for finding in findings[:MAX_LINES]]
        if len(findings) > MAX_LINES:
            lines.append(f"  … and {len(findings) - MAX_LINES} more; --json has all of them.")
    verdict = (
        "Nothing in this record is contradicted."
        if report.whole
        else "This record is contradicted. Keep this copy, and ask who held the server."
    )
    return "\n".join([*lines, "", verdict])
