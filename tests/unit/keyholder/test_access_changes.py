"""What changed during a session, in the owner's hands: shown, verified, or not believed."""

from __future__ import annotations

import dataclasses
from typing import Any

from tests.unit.keyholder.access_scene import Scene
from tests.unit.keyholder.access_stage import CHANGES, FINDINGS
from tests.unit.keyholder.test_access_flow import asked, granted

from fleetward.keyholder.access.comparing import (
    WhatChanged,
    judge_changes,
    read_changes,
    show_changes,
    tell_changes,
    verify_changes,
)
from fleetward.keyholder.access.judging import Case
from fleetward.trust.ledger_findings import Findings
from fleetward.wire.comparison import Left


def over(scene: Scene, **parts: Any) -> Case:
    """Return the case of a session that has ended; without parts nothing was compared."""
    asked(scene)
    granted(scene)
    if parts:
        scene.compare(scene.row, **parts)
    scene.finish(scene.row)
    return case_of(scene)


def case_of(scene: Scene) -> Case:
    return scene.judge.read_case(scene.api.papers(scene.row.id))


def judged(case: Case, changed: WhatChanged) -> str:
    """Return in which list of an audit it is."""
    findings = Findings()
    verify_changes(case, changed, findings)
    report = findings.report()
    lists = {"proven": report.proven, "contradicted": report.contradicted,
             "unknown": report.unknown}  # fmt: skip
    (name,) = (name for name, found in lists.items() if found)
    return name


def test_it_is_shown_and_proven(scene: Scene) -> None:
    case = over(scene, findings=FINDINGS, changes=CHANGES, left=(Left(kind="file", number=7),))
    changed = read_changes(scene.api, case)
    assert (changed.state, judged(case, changed)) == ("compared", "proven")
    assert changed.words == "Compared: 2 findings, 10 changes."
    told = "\n".join(tell_changes(changed))
    assert told.index("A new key opens the user app") < told.index("~ file /srv/app/")
    assert "and 7 more" in told
    assert "may have been somebody else's work" in told
    assert show_changes(changed)["comparison"]["findings"][0]["rule"] == "new_key"


def test_nothing_changed_is_said(scene: Scene) -> None:
    case = over(scene, late=True)
    changed = read_changes(scene.api, case)
    assert changed.words == "Compared: nothing changed."
    assert "before the first look ended" in "\n".join(tell_changes(changed))


def test_a_receipt_without_a_comparison_says_why(scene: Scene) -> None:
    case = over(scene)
    changed = read_changes(scene.api, case)
    assert (changed.state, judged(case, changed)) == ("not_compared", "unknown")
    assert changed.words == "Not compared: there was no look before the session."


def test_before_the_end_nothing_is_known(scene: Scene) -> None:
    asked(scene)
    granted(scene)
    assert read_changes(scene.api, case_of(scene)).state == "open"


def test_a_document_that_says_something_else_than_its_receipt(scene: Scene) -> None:
    case = over(scene, findings=FINDINGS)
    assert case.receipt is not None
    lied = dataclasses.replace(case.receipt, findings=0)
    assert judge_changes(lied, scene.row.changes).state == "false"
    moved = dataclasses.replace(case.receipt, session="ef" * 32)
    assert judge_changes(moved, scene.row.changes).state == "false"
