"""A record with approvals of releases in it, and what machines said: honest, or told to lie.

record = UpdateRecord.make()
approval = record.approve()                      # signed, and a leaf
record.say(record.pump, approval, "committed")   # the machine's report is a leaf
record.withdraw(approval)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.release_manifests import manifest_bytes
from tests.unit.keyholder.ledger_world import MINUTE, NOW_MS, Machine, World
from tests.unit.trust.test_ledger import audit

from fleetward.trust.canonical import JsonObject, to_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.keys import Signer
from fleetward.trust.ledger_findings import AuditReport, Finding
from fleetward.trust.release_approval import (
    Approval,
    Terms,
    make_approval_payload,
    make_standing_payload,
    make_withdrawal_payload,
    verify_approval,
)
from fleetward.trust.release_manifest import read_manifest
from fleetward.trust.selector import Selector
from fleetward.trust.update_report import Installed, UpdateReport, make_report_payload


@dataclass
class UpdateRecord:
    """An owner's record and its two machines. `clock` is the machines'."""

    world: World
    clock: int = NOW_MS

    @classmethod
    def make(cls) -> UpdateRecord:
        """Return a record in which machines have spoken already."""
        return cls(World().live(1))

    @property
    def pump(self) -> Machine:
        return self.world.machines[0]

    @property
    def door(self) -> Machine:
        return self.world.machines[1]

    @property
    def approver(self) -> Signer:
        return self.world.keys["approver"]

    def sign(
        self, version: str = "1.1", counter: int = 11, *, selector: Selector | None = None,
        standing: bool = False, signers: Sequence[Signer] | None = None,
    ) -> bytes:  # fmt: skip
        """Return the envelope of an approval, which nobody has recorded yet."""
        self.clock += MINUTE
        terms = Terms(selector or Selector(), NOW_MS, NOW_MS + 10**10, (), "tested")
        manifest = read_manifest(manifest_bytes("kiosk", version, counter))
        payload = (
            make_standing_payload(self.world.policy, "kiosk", terms, 3600, self.clock)
            if standing
            else make_approval_payload(self.world.policy, manifest, terms, self.clock)
        )
        return seal(payload, [self.approver] if signers is None else signers)

    def approve(self, *named: Any, **said: Any) -> Approval:
        """Sign an approval, and record it."""
        raw = self.sign(*named, **said)
        self.world.log.leaves.append(raw)
        return verify_approval(raw, self.world.policy)

    def hidden(self, *named: Any, **said: Any) -> Approval:
        """Sign an approval that the server hands out and leaves out of the record."""
        return verify_approval(self.sign(*named, **said), self.world.policy)

    def withdraw(self, approval: Approval, signer: Signer | None = None) -> None:
        """Record the withdrawal of an approval."""
        payload = make_withdrawal_payload(self.world.policy, approval.hash, "fails", NOW_MS)
        self.world.log.leaves.append(seal(payload, [signer or self.approver]))

    def report(self, machine: Machine, approval: Approval, outcome: str, /, **said: Any) -> bytes:
        """Return what a machine signs of a release; a minute passes."""
        self.clock += MINUTE
        named = {
            "product": approval.product, "version": approval.version or "1.1",
            "counter": approval.counter or 11, "release": approval.release or "ab" * 32,
        }  # fmt: skip
        values: dict[str, Any] = {
            "device": machine.id, "owner": self.world.owner, **named, "approval": approval.hash,
            "attempt": 1, "outcome": outcome, "rule": "", "words": "So it is.", "slots": (),
            "installed": (), "findings": (), "at_ms": self.clock,
        }  # fmt: skip
        return seal(make_report_payload(UpdateReport(**(values | said))), [machine.key])

    def say(self, machine: Machine, approval: Approval, outcome: str, /, **said: Any) -> None:
        """Record what a machine signed of a release."""
        self.world.log.leaves.append(self.report(machine, approval, outcome, **said))

    def journal(self, machine: Machine, *words: tuple[str, Approval], **said: Any) -> None:
        """Let a machine's journal say so, and record the batch alone."""
        entries: list[tuple[str, JsonObject]] = [
            (f"update.{outcome}",
             {"report": to_base64url(self.report(machine, approval, outcome, **said))})
            for outcome, approval in words
        ]  # fmt: skip
        self.clock += MINUTE
        self.world.log.leaves.append(self.world.say(machine, said=entries, at_ms=self.clock))

    def audit(self) -> AuditReport:
        """Check the record as the owner's tools do."""
        return audit(self.world)


def floor(counter: int, highest: int) -> tuple[Installed, ...]:
    """Return what a report says is installed of the product."""
    return (Installed("kiosk", "1.1", counter, "ab" * 32, highest),)


def ids(findings: Sequence[Finding]) -> set[str]:
    """Return the ids of findings about releases."""
    about = ("approv", "update", "strange")
    return {f.id for f in findings if f.id.startswith(about)}


def words(findings: Sequence[Finding], name: str) -> list[str]:
    """Return the words of the findings of one id."""
    return [f.words for f in findings if f.id == name]
