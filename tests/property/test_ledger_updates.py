"""Any history of approvals and of machines' words, against what a person would say of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.keyholder.ledger_world import World
from tests.update_record import UpdateRecord, floor, ids

from fleetward.trust import canonical
from fleetward.trust.ledger_documents import DocumentsInAudit, HandedOver
from fleetward.trust.ledger_findings import Findings
from fleetward.trust.ledger_leaves import UPDATE_TYPES
from fleetward.trust.ledger_updates import DEEDS, UpdatesInAudit
from fleetward.trust.release_approval import Approval
from fleetward.trust.selector import Selector
from fleetward.trust.update_report import OUTCOMES

STEPS = st.lists(
    st.tuples(
        st.sampled_from(("approve", "hide", "withdraw", "say", "say")),
        st.integers(0, 3),  # which release
        st.sampled_from(OUTCOMES),
        st.booleans(),  # which machine
    ),
    max_size=12,
)


@dataclass
class Oracle:
    """What a person would blame."""

    recorded: set[str] = field(default_factory=set)
    highest: dict[bool, int] = field(default_factory=dict)
    blamed: set[str] = field(default_factory=set)

    def hear(self, machine: bool, approval: Approval, outcome: str) -> None:
        if outcome in DEEDS and approval.hash not in self.recorded:
            self.blamed.add("update_not_approved")
        if outcome == "committed":
            if approval.counter < self.highest.get(machine, 0):
                self.blamed.add("update_below_floor")
            self.highest[machine] = max(self.highest.get(machine, 0), approval.counter)


@settings(max_examples=20, deadline=None)
@given(STEPS)
def test_a_history_is_blamed_for_what_a_person_would_blame(
    steps: list[tuple[str, int, str, bool]],
) -> None:
    record, oracle = UpdateRecord.make(), Oracle()
    known = [record.hidden(f"1.{n}", 10 + n) for n in range(4)]
    for act, number, outcome, second in steps:
        approval, machine = known[number], record.door if second else record.pump
        if act == "approve":
            record.world.log.leaves.append(approval.raw)
            oracle.recorded.add(approval.hash)
        elif act == "hide":
            known[number] = record.hidden(f"1.{number}", 10 + number, selector=Selector())
        elif act == "withdraw":
            record.withdraw(approval)
        else:
            record.say(machine, approval, outcome, installed=floor(approval.counter, 0))
            oracle.hear(second, approval, outcome)
    report = record.audit()
    assert ids(report.contradicted) == oracle.blamed


def documents(world: World) -> DocumentsInAudit:
    """Return the owner's documents, as an audit holds them."""
    entries = tuple(entry.to_bytes() for entry in world.entries)
    handed = HandedOver(
        world.root.raw, tuple(p.raw for p in world.policies), world.roster.raw, entries,
        world.head.raw,
    )  # fmt: skip
    return DocumentsInAudit(world.owner, handed, Findings())


RECORD = UpdateRecord.make()
APPROVAL = RECORD.hidden()
WHOLE = (
    RECORD.report(RECORD.pump, APPROVAL, "committed", installed=floor(11, 11)),
    APPROVAL.raw,
)


@given(
    st.sampled_from(sorted(UPDATE_TYPES)), st.binary(max_size=80), st.integers(0, 3000),
    st.sampled_from(WHOLE),
)  # fmt: skip
def test_hostile_papers_are_findings_and_raise_nothing(
    kind: str, junk: bytes, at: int, whole: bytes
) -> None:
    findings = Findings()
    audit = UpdatesInAudit(RECORD.world.owner, documents(RECORD.world), findings)
    place = at % len(whole)
    envelope = canonical.encode({"payload": {"type": kind}, "signatures": []})
    for leaf in (whole, whole[:place] + junk + whole[place:], whole[:place], envelope, junk):
        audit.take(leaf, kind, 1, 7)
    audit.take_journal(RECORD.pump.id, [], 1, 7)
    audit.finish()
    report = findings.report()
    assert {f.id for f in report.contradicted} <= {"update_not_by_machine", "update_not_approved"}
