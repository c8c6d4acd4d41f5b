"""Keys that change hands, as an audit of the record tells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.keyholder.ledger_world import NOW_MS, World, write_export

from fleetward.keyholder.policy_changes import people_of
from fleetward.keyholder.signing import Person, draft_after
from fleetward.keyholder.transfer import own_people
from fleetward.keyholder.verify import verify_export
from fleetward.runtime.keys import FileSigner, make_key
from fleetward.trust.envelope import seal
from fleetward.trust.keys import ED25519
from fleetward.trust.ledger import Auditor
from fleetward.trust.ledger_findings import AuditReport
from fleetward.trust.policy import verify_next_policy, verify_recovered_policy

DAY = 86_400
Check = Callable[[], AuditReport]


@pytest.fixture
def world() -> World:
    return World().live()


@pytest.fixture
def check(world: World, tmp_path: Path) -> Check:
    def audit() -> AuditReport:
        folder = write_export(world, tmp_path / f"e{len(world.log.leaves)}")
        return verify_export(folder, world.owner, Auditor(NOW_MS)).report

    return audit


def name_recovery(world: World) -> FileSigner:
    keeper = make_key(ED25519)
    draft = draft_after(world.policy, people_of(world.policy))
    people = (*draft.people, Person(keeper.public, "Rita"))
    named = replace(draft, people=people, recovery=((keeper.public.key_id,), 1, 7 * DAY))
    raw = seal(named.to_payload(NOW_MS), [world.keys["root"]])
    world.policies.append(verify_next_policy(raw, world.policy))
    world.log.leaves.append(raw)
    world.sign_roster(world.machines)
    return keeper


def announce(world: World, keeper: FileSigner) -> tuple[bytes, dict[str, FileSigner]]:
    """Let a recovery be announced: it is a leaf, and the present keys go on signing."""
    keys = {name: make_key(ED25519) for name in ("root", "approver", "refresh")}
    mine, roles = own_people({n: k.public for n, k in keys.items()}, "Nora")
    draft = draft_after(world.policy, people_of(world.policy))
    stays = tuple(p for p in draft.people if p.person == "Rita")
    draft = replace(draft, people=(*mine, *stays), roles=roles)
    raw = seal(draft.to_payload(NOW_MS), [keeper, keys["root"]])
    verify_recovered_policy(raw, world.policy)
    world.log.leaves.append(raw)
    world.sign_roster(world.machines)
    return raw, keys


def proven(report: AuditReport) -> set[str]:
    return {finding.id for finding in report.proven}


def test_a_recovery_that_waits_was_refused_or_holds(world: World, check: Check) -> None:
    raw, keys = announce(world, name_recovery(world))
    report = check()
    assert report.contradicted == ()
    assert "recovery_announced" in {f.id for f in report.unknown}
    # It holds: the present people's documents of the meantime stand, and then the new one's.
    world.policies.append(verify_recovered_policy(raw, world.policy))
    world.keys = keys
    world.sign_roster(world.machines)
    world.live(1)
    report = check()
    assert report.contradicted == ()
    assert "recovered" in proven(report)


def test_a_recovery_that_was_refused(world: World, check: Check) -> None:
    announce(world, name_recovery(world))
    draft = draft_after(world.policy, people_of(world.policy))
    veto = seal(draft.to_payload(NOW_MS), [world.keys["root"]])
    world.policies.append(verify_next_policy(veto, world.policy))
    world.log.leaves.append(veto)
    world.sign_roster(world.machines)
    report = check()
    assert report.contradicted == ()
    assert "recovery_refused" in proven(report)


def test_the_people_before_after_a_recovery_that_holds(world: World, check: Check) -> None:
    raw, keys = announce(world, name_recovery(world))
    before, old = world.policy, world.keys
    world.policies.append(verify_recovered_policy(raw, world.policy))
    world.keys = keys
    world.sign_roster(world.machines)
    held = (world.roster, world.entries, world.head, world.lease)
    # A roster of the old keys behind the first document of the new ones is none of the owner's.
    recovered = world.policies.pop()
    world.keys = old
    assert world.policy is before
    world.sign_roster(world.machines[:1])
    world.policies.append(recovered)
    world.roster, world.entries, world.head, world.lease = held
    report = check()
    assert "not_by_owner" in {f.id for f in report.contradicted}


def test_a_handover(world: World, check: Check) -> None:
    keys = {name: make_key(ED25519) for name in ("root", "approver", "refresh")}
    people, roles = own_people({n: k.public for n, k in keys.items()}, "Cleo")
    before = draft_after(world.policy, ())
    sold = replace(
        before, epoch=2, people=people, roles=roles, name="Care Ltd",
        roots=replace(before.roots, fleet_ca="ef" * 32),
    )  # fmt: skip
    raw = seal(sold.to_payload(NOW_MS), [world.keys["root"], keys["root"]])
    world.policies.append(verify_next_policy(raw, world.policy))
    world.log.leaves.append(raw)
    world.keys = keys
    world.sign_roster(world.machines)
    report = check()
    assert report.contradicted == ()
    assert "handed_over" in proven(report)
    assert any("Care Ltd" in f.words for f in report.proven if f.id == "owner")
