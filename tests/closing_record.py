"""A record with closings in it, and what machines said of them: honest, or told to lie.

record = ClosingRecord.make()
closing = record.order(22)                     # signed, and a leaf
record.say(record.pump, closing, "applied")    # the machine's report is a leaf
record.keep(closing)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.closing_wishes import wish
from tests.unit.keyholder.ledger_world import MINUTE, NOW_MS, Machine, World
from tests.unit.trust.test_ledger import audit

from fleetward.trust.canonical import JsonObject, to_base64url
from fleetward.trust.closing import (
    Closing,
    ClosingReport,
    ClosingWish,
    make_closing_payload,
    make_kept_payload,
    make_report_payload,
    verify_closing_of_owner,
)
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.keys import Signer
from fleetward.trust.ledger_findings import AuditReport, Finding


@dataclass
class ClosingRecord:
    """An owner's record and its two machines. `clock` is the machines'."""

    world: World
    serial: int = 0
    clock: int = NOW_MS

    @classmethod
    def make(cls) -> ClosingRecord:
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
        self, wanted: ClosingWish, serial: int = 0, signers: Sequence[Signer] | None = None
    ) -> bytes:
        """Return the envelope of a closing, which nobody has recorded yet."""
        self.serial = serial or self.serial + 1
        payload = make_closing_payload(self.world.policy, wanted, self.serial, NOW_MS)
        return seal(payload, [self.approver] if signers is None else signers)

    def order(self, *ports: int, serial: int = 0, **said: Any) -> Closing:
        """Sign a closing of TCP ports for every machine, or for `devices`, and record it."""
        raw = self.sign(wish(*ports, **said), serial)
        self.world.log.leaves.append(raw)
        return verify_closing_of_owner(raw, self.world.policy)

    def hidden(self, *ports: int, serial: int = 0, **said: Any) -> Closing:
        """Sign a closing that the server hands out and leaves out of the record."""
        return verify_closing_of_owner(self.sign(wish(*ports, **said), serial), self.world.policy)

    def forged(self, *ports: int, signer: Signer, **said: Any) -> Closing:
        """Return a closing as a machine would believe it, that somebody else signed, recorded."""
        true = self.sign(wish(*ports, **said))
        self.world.log.leaves.append(seal(read_envelope(true).payload, [signer]))
        return verify_closing_of_owner(true, self.world.policy)

    def confirmation(self, closing: Closing, signer: Signer | None = None) -> bytes:
        """Return the confirmation of a closing, which nobody has recorded yet."""
        payload = make_kept_payload(self.world.policy, closing.hash, NOW_MS)
        return seal(payload, [signer or self.approver])

    def keep(self, closing: Closing, signer: Signer | None = None) -> None:
        """Record the confirmation of a closing."""
        self.world.log.leaves.append(self.confirmation(closing, signer))

    def report(self, machine: Machine, closing: Closing, outcome: str, **said: Any) -> bytes:
        """Return what a machine signs of a closing; a minute passes."""
        self.clock += MINUTE
        trial = outcome == "applied" and not closing.opens_all
        values: dict[str, Any] = {
            "device": machine.id, "owner": self.world.owner, "closing": closing.hash,
            "serial": closing.serial, "outcome": outcome, "rule": "", "closed": closing.ports,
            "local_access": closing.local_access, "still_runs": (), "listening": (), "cut": (),
            "seconds_left": closing.restore_seconds if trial else 0, "words": "So it is.",
            "at_ms": self.clock,
        }  # fmt: skip
        return seal(make_report_payload(ClosingReport(**(values | said))), [machine.key])

    def say(self, machine: Machine, closing: Closing, outcome: str, **said: Any) -> None:
        """Record what a machine signed of a closing."""
        self.world.log.leaves.append(self.report(machine, closing, outcome, **said))

    def journal(self, machine: Machine, *words: tuple[str, Closing]) -> None:
        """Let a machine's journal say so, and record the batch alone."""
        entries: list[tuple[str, JsonObject]] = []
        for outcome, closing in words:
            body: JsonObject = {"closing": closing.hash, "words": "So it is."}
            if outcome not in ("accepted", "confirmed"):
                body["report"] = to_base64url(self.report(machine, closing, outcome))
            entries.append((f"closing.{outcome}", body))
        self.clock += MINUTE
        self.world.log.leaves.append(self.world.say(machine, said=entries, at_ms=self.clock))

    def audit(self) -> AuditReport:
        """Check the record as the owner's tools do."""
        return audit(self.world)


def ids(findings: Sequence[Finding]) -> set[str]:
    """Return the ids of findings about closings."""
    about = ("clos", "kept", "not_by_machine", "strange")
    return {f.id for f in findings if f.id.startswith(about)}


def words(findings: Sequence[Finding], name: str) -> list[str]:
    """Return the words of the findings of one id."""
    return [f.words for f in findings if f.id == name]
