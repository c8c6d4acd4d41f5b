"""What changed on a machine during a session, checked against the receipt that it signed.

The server keeps the document and may withhold it, alter it, or hand out another. The receipt is the
machine's own word and names the document by its digest; nothing else is believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from fleetward.keyholder.access.judging import Case
from fleetward.keyholder.access.server_rows import AccessApi
from fleetward.trust.errors import Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.grants.report import Receipt
from fleetward.trust.ledger_findings import Finding, Findings
from fleetward.wire.comparison import (
    Comparison,
    Difference,
    say_comparison,
    verify_comparison,
)

MOST_LINES: Final = 40
"""Changes in a terminal; `--json` has them all."""
OTHERS: Final = (
    "What is listed changed between the two looks. It may have been somebody else's work."
)
_VERBS: Final = {"added": "+", "removed": "-", "changed": "~"}

State = Literal["open", "compared", "not_compared", "missing", "false"]


@dataclass(frozen=True, slots=True)
class WhatChanged:
    """What is true of it. `comparison` is there in the state `compared` alone."""

    state: State
    words: str
    comparison: Comparison | None = None


def read_changes(api: AccessApi, case: Case) -> WhatChanged:
    """Fetch what changed during a session, and compare it with the machine's receipt.

    Raises nothing for what the server does: its lies and its silence are states.
    """
    receipt = case.receipt
    if receipt is None:
        return WhatChanged("open", "The machine compares when the session has ended.")
    if not receipt.changes:
        return WhatChanged("not_compared", f"{receipt.compared_words.capitalize()}.")
    try:
        document = api.changes(receipt.session)
    except (Refused, Unreachable) as e:
        said = f"The machine signed that it {receipt.compared_words}. {e.message}"
        return WhatChanged("missing", said)
    except Malformed as e:
        return WhatChanged("false", f"What changed is not shown: {e.message}")
    return judge_changes(receipt, document)


def judge_changes(receipt: Receipt, document: bytes) -> WhatChanged:
    """Return what a document says, when it is the one that the receipt names. Pure."""
    try:
        comparison = verify_comparison(document, receipt.changes, receipt.session)
        if (comparison.device, comparison.finding_count) != (receipt.device, receipt.findings):
            raise Untrusted(
                "The comparison says something else than its receipt.", reason="comparison_differs"
            )
    except (Malformed, Untrusted) as e:
        return WhatChanged("false", f"What changed is not shown: {e.message}")
    said = say_comparison(comparison.finding_count, comparison.change_count)
    return WhatChanged("compared", f"Compared: {said}.", comparison)


def verify_changes(case: Case, changed: WhatChanged, findings: Findings) -> None:
    """Say in an audit of one session what is proven of its changes."""
    if case.receipt is None:
        return
    finding = Finding(f"changes_{changed.state}", changed.words, device=case.entry.device)
    if changed.state == "compared":
        findings.prove(finding)
    elif changed.state == "false":
        findings.contradict(finding)
    else:
        findings.leave_open(finding)


def show_changes(changed: WhatChanged) -> dict[str, Any]:
    """Return it as JSON."""
    shown: dict[str, Any] = {"state": changed.state, "words": changed.words}
    if changed.comparison is not None:
        shown["comparison"] = msgspec.to_builtins(changed.comparison)
    return shown


def tell_changes(changed: WhatChanged) -> list[str]:
    """Return it as lines for a person, findings first."""
    lines = [f"  changed   {changed.words}"]
    comparison = changed.comparison
    if comparison is None:
        return lines
    for found in comparison.findings:
        lines.append(f"    ! {found.words}")
        if found.evidence not in found.words:
            lines.append(f"      {found.evidence}")
    shown = comparison.changes[:MOST_LINES]
    lines += [f"    {line}" for line in _say_differences(shown)]
    more = comparison.change_count - len(shown)
    if more:
        lines.append(f"    and {more:,} more")
    lines += [f"    ({note})" for note in say_notes(comparison)]
    if comparison.changes:
        lines.append(f"    {OTHERS}")
    return lines


def say_notes(comparison: Comparison) -> list[str]:
    """Return what the comparison cannot say, in a person's words."""
    notes = list(comparison.unseen)
    if comparison.restarted:
        notes.insert(0, "The machine or its agent started anew in between.")
    if comparison.late:
        notes.insert(0, "The session had opened before the first look ended.")
    return notes


def _say_differences(changes: tuple[Difference, ...]) -> Iterator[str]:
    for one in changes:
        how = " -> ".join(part for part in (one.before, one.after) if part)
        yield f"{_VERBS[one.change]} {one.kind} {one.name}{f'  ({how})' if how else ''}"
