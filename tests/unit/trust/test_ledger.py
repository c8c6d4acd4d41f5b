"""The audit of honest records: what is proven, and what is left open."""

from __future__ import annotations

from tests.unit.keyholder.ledger_world import MINUTE, NOW_MS, World

from fleetward.trust.ledger import Auditor, LedgerAudit
from fleetward.trust.ledger_documents import HandedOver
from fleetward.trust.ledger_findings import AuditReport
from fleetward.trust.merkle import hash_leaf
from fleetward.trust.note import cosign
from fleetward.trust.tiles import encode_tile


def audit(world: World, auditor: Auditor | None = None, *, tiles: bool = True) -> AuditReport:
    """Audit a world as it is, without files."""
    handed = HandedOver(
        world.root.raw,
        tuple(p.raw for p in world.policies),
        world.roster.raw,
        tuple(e.to_bytes() for e in world.entries),
        world.head.raw,
        world.lease.raw,
    )
    judge = LedgerAudit(
        world.owner, handed, auditor or Auditor(NOW_MS), generations=len(world.logs)
    )
    for log in world.logs:
        judge.open_generation(log.number, log.checkpoint())
        if tiles:
            judge.claim(encode_tile([hash_leaf(each) for each in log.leaves]))
        for leaf in log.leaves:
            judge.add(judge.reader.read(leaf), leaf)
        judge.close_generation()
    return judge.finish()


def ids(findings: object) -> list[str]:
    return [f.id for f in findings]  # type: ignore[attr-defined]


def test_an_honest_record_is_proven() -> None:
    report = audit(World().live())
    assert report.contradicted == ()
    assert report.whole
    proven = ids(report.proven)
    assert {"owner", "roster", "record_whole", "seen_by_others"} <= set(proven)
    assert proven.count("journal_whole") == 2


def test_the_newest_word_of_each_machine_is_an_age_and_never_proven() -> None:
    report = audit(World().live(), Auditor(NOW_MS + 30 * MINUTE))
    tails = [f for f in report.unknown if f.id == "tail_unknown"]
    assert [f.age_seconds for f in tails] == [1800, 1800]
    assert "30 min" in tails[0].words
    assert "server's clock" in tails[0].words


def test_a_machine_that_never_spoke_is_unknown() -> None:
    world = World(("Pump 7", "Silent 1"))
    world.log.leaves.append(world.say(world.machines[0]))
    report = audit(world)
    assert [f.device for f in report.unknown if f.id == "never_reported"] == [world.machines[1].id]


def test_what_nobody_has_seen_is_unknown() -> None:
    world = World().live()
    size = len(world.log.leaves)
    world.log.leaves.append(world.deed("late"))
    (unseen,) = [f for f in audit(world).unknown if f.id == "unseen_entries"]
    assert unseen.entry is not None
    assert unseen.entry < size
    older = world.log.checkpoint(size)
    report = audit(world, Auditor(NOW_MS, older=(older,)))
    (unseen,) = [f for f in report.unknown if f.id == "unseen_entries"]
    assert (unseen.entry, "last 1 entry" in unseen.words) == (size, True)
    assert "extends_older" in ids(report.proven)


def test_a_machine_off_the_roster_is_unknown_not_contradicted() -> None:
    world = World().live()
    stranger = World(("Stray",)).machines[0]
    world.log.leaves.append(world.say(stranger))
    report = audit(world)
    assert report.whole
    assert [f.device for f in report.unknown if f.id == "not_on_roster"] == [stranger.id]


def test_a_new_policy_in_the_record_is_followed() -> None:
    world = World().live(1)
    world.change_policy(never_ports=(22,))
    world.sign_roster(world.machines)
    assert audit(world.live(1)).contradicted == ()


def test_a_witness_that_signed_is_proof_and_one_that_did_not_is_open() -> None:
    world = World(witness=True).live()
    assert "no_witness" in ids(audit(world).unknown)
    note = cosign(world.log.checkpoint(), "notary", world.witness, NOW_MS // 1000 - 60)
    report = audit(world, Auditor(NOW_MS, older=(note,)))
    (seen,) = [f for f in report.proven if f.id == "witnessed"]
    assert seen.age_seconds == 60
    assert "unseen_entries" not in ids(report.unknown)


def test_a_restored_record_goes_on_in_a_new_generation() -> None:
    world = World().live(3)
    kept = len(world.log.leaves) - 6
    lost = world.log.leaves[kept:]
    world.open_generation(kept)
    # The machines say again what the restore had lost, byte for byte, and go on.
    world.log.leaves += [each for each in lost if b"fleetward.batch.v1" in each]
    for machine in world.machines:
        machine.seen = world.log.seen()
    report = audit(world.live(2))
    assert report.contradicted == ()
    assert "lost_at_restore" in ids(report.unknown)
    assert ids(report.proven).count("journal_whole") == 2


def test_what_a_restore_lost_for_good_is_open_because_the_owner_signed() -> None:
    world = World().live(3)
    kept = len(world.log.leaves) - 4
    world.open_generation(kept)
    for machine in world.machines:
        machine.seen = world.log.seen()
    report = audit(world.live(1))
    assert report.contradicted == ()
    lost = [f for f in report.unknown if f.id == "lost_at_restore" and "entries 7 to 9" in f.words]
    assert len(lost) == 2


def test_an_older_checkpoint_behind_a_restore_is_open_because_the_owner_signed() -> None:
    world = World().live(3)
    older = world.log.checkpoint()
    world.open_generation(len(world.log.leaves) - 2)
    report = audit(world, Auditor(NOW_MS, older=(older,)))
    assert report.contradicted == ()
    assert "lost_at_restore" in ids(report.unknown)


def test_an_opening_counts_after_the_key_that_signed_it_was_retired() -> None:
    world = World().live(3)
    opened = world.open_generation(len(world.log.leaves) - 2)
    world.rotate_policy_key([opened])
    world.sign_roster(world.machines)
    for machine in world.machines:
        machine.seen = world.log.seen()
    assert audit(world.live(1)).contradicted == ()


def test_joins_behind_their_invitations_are_proven() -> None:
    world = World()
    invitation = world.invite(uses=2)
    for machine in (*world.machines, world.machines[0]):  # one of them again, as is its right
        world.join(machine, invitation.hash, invitation.raw)
    world.change_policy(never_ports=(22,))
    world.sign_roster(world.machines)
    report = audit(world.live(1))
    assert report.contradicted == ()
    assert "2 joins" in next(f.words for f in report.proven if f.id == "joins_invited")
    assert "invitation_overused" not in ids(report.unknown)


def test_more_joins_than_the_invitation_allows_are_open_since_some_may_have_failed() -> None:
    world = World()
    invitation = world.invite(uses=1)
    for machine in world.machines:
        world.join(machine, invitation.hash, invitation.raw)
    report = audit(world.live(1))
    assert report.contradicted == ()
    assert "2 machines joined" in next(
        f.words for f in report.unknown if f.id == "invitation_overused"
    )
