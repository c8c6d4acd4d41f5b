"""One test for each lie about a record: the verifier contradicts it and names where it is.

Some lies are told with a copy of the record; the worse ones by the server itself, which holds the
log key and every table, and signs its lie anew.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.unit.keyholder.ledger_world import (
    MINUTE,
    NOW_MS,
    Log,
    World,
    rewrite_bundles,
    write_export,
)

from fleetward.keyholder.verify import ALONE_BELOW, verify_export
from fleetward.runtime.keys import make_key
from fleetward.trust.canonical import JsonObject
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.errors import Refused
from fleetward.trust.keys import ED25519, ES256
from fleetward.trust.ledger import Auditor
from fleetward.trust.ledger_documents import OwnFolder
from fleetward.trust.ledger_findings import AuditReport, Finding
from fleetward.trust.note import cosign

NOW = Auditor(NOW_MS)


@pytest.fixture
def world() -> World:
    return World().live()


def check(world: World, folder: Path, auditor: Auditor = NOW) -> AuditReport:
    return verify_export(folder, world.owner, auditor).report


def first(report: AuditReport) -> Finding:
    assert report.contradicted, "the lie was not noticed"
    return report.contradicted[0]


def found(report: AuditReport) -> set[str]:
    return {finding.id for finding in report.contradicted}


def place_of(world: World, part: bytes) -> int:
    return next(i for i, leaf in enumerate(world.log.leaves) if part in leaf)


def test_the_honest_record_is_whole(world: World, tmp_path: Path) -> None:
    report = check(world, write_export(world, tmp_path / "e"))
    assert report.contradicted == ()
    tails = [f for f in report.unknown if f.id == "tail_unknown"]
    assert all("its own clock" in f.words for f in tails)


# Lies told with a copy of the record.


def test_an_altered_deed_is_named(world: World, tmp_path: Path) -> None:
    folder = write_export(world, tmp_path / "e")
    place = place_of(world, b"turn.1")

    def alter(leaves: list[bytes]) -> list[bytes]:
        leaves[place] = leaves[place].replace(b"turn.1", b"turn.9")
        return leaves

    rewrite_bundles(folder, world.log, alter)
    report = check(world, folder)
    assert (first(report).id, first(report).entry) == ("entry_altered", place)
    assert found(report) == {"entry_altered"}


def test_an_altered_batch_is_named_with_its_machine(world: World, tmp_path: Path) -> None:
    folder = write_export(world, tmp_path / "e")
    place = place_of(world, b"fleetward.batch.v1") + 4

    def alter(leaves: list[bytes]) -> list[bytes]:
        leaves[place] = leaves[place].replace(b'"boot":"boot-1"', b'"boot":"boot-2"')
        return leaves

    rewrite_bundles(folder, world.log, alter)
    report = check(world, folder)
    assert first(report).entry == place
    assert {"entry_altered", "bad_signature"} <= found(report)
    assert {f.device for f in report.contradicted if f.id == "bad_signature"} == {
        world.machines[0].id
    }


def test_a_missing_entry_is_named(world: World, tmp_path: Path) -> None:
    folder = write_export(world, tmp_path / "e")
    place = place_of(world, b"turn.2")
    rewrite_bundles(folder, world.log, lambda leaves: leaves[:place] + leaves[place + 1 :])
    assert (first(check(world, folder)).id, first(check(world, folder)).entry) == (
        "entry_missing", place,
    )  # fmt: skip


def test_an_added_entry_is_named(world: World, tmp_path: Path) -> None:
    folder = write_export(world, tmp_path / "e")
    place = place_of(world, b"turn.2")
    forged = world.deed("people.admin_added")
    rewrite_bundles(folder, world.log, lambda all_: [*all_[:place], forged, *all_[place:]])
    assert (first(check(world, folder)).id, first(check(world, folder)).entry) == (
        "entry_added", place,
    )  # fmt: skip


def test_reordered_entries_are_named(world: World, tmp_path: Path) -> None:
    folder = write_export(world, tmp_path / "e")
    place = place_of(world, b"turn.1")

    def swap(leaves: list[bytes]) -> list[bytes]:
        leaves[place], leaves[place + 2] = leaves[place + 2], leaves[place]
        return leaves

    rewrite_bundles(folder, world.log, swap)
    report = check(world, folder)
    assert (first(report).id, first(report).entry) == ("entry_reordered", place)


def test_a_truncated_copy_is_named(world: World, tmp_path: Path) -> None:
    folder = write_export(world, tmp_path / "e")
    rewrite_bundles(folder, world.log, lambda leaves: leaves[:-2])
    report = check(world, folder)
    assert (first(report).id, first(report).entry) == ("truncated", len(world.log.leaves) - 2)


def test_altered_journal_entries_are_named(world: World, tmp_path: Path) -> None:
    folder = write_export(world, tmp_path / "e")
    device = world.machines[1].id
    path = folder / f"batches/{device}/4.jsonl"
    path.write_bytes(path.read_bytes().replace(b"change 2", b"change 8"))
    report = check(world, folder)
    assert (first(report).id, first(report).device) == ("content_altered", device)


# Lies of the server, which holds the log key and signs them anew.


def retold(world: World, leaves: list[bytes], folder: Path) -> Path:
    """Export a record that the server rewrote: its tiles and its checkpoint fit it."""
    world.logs[-1] = Log(world.owner, world.log.number, world.log_key, leaves)
    return write_export(world, folder)


def test_a_rewritten_deed_is_contradicted_by_what_a_machine_journalled(
    world: World, tmp_path: Path
) -> None:
    leaves = [leaf.replace(b"turn.1", b"turn.9") for leaf in world.log.leaves]
    report = check(world, retold(world, leaves, tmp_path / "e"))
    assert "record_whole" in {f.id for f in report.proven}, "the server signed its lie"
    assert first(report).id == "seen_otherwise"
    assert first(report).entry is not None
    assert first(report).entry <= place_of(world, b"turn.9")  # type: ignore[operator]
    assert first(report).device in {m.id for m in world.machines}


def test_a_fork_is_contradicted_by_an_older_checkpoint(world: World, tmp_path: Path) -> None:
    world.log.leaves.append(world.deed("nobody.saw"))
    older = world.log.checkpoint()
    leaves = [*world.log.leaves[:-1], world.deed("something.else"), world.deed("more")]
    report = check(world, retold(world, leaves, tmp_path / "e"), Auditor(NOW_MS, older=(older,)))
    assert first(report).id == "seen_otherwise"
    assert "older checkpoint" in first(report).words


def test_a_cut_record_is_contradicted_by_an_older_checkpoint(world: World, tmp_path: Path) -> None:
    older = world.log.checkpoint()
    folder = retold(world, world.log.leaves[:-2], tmp_path / "e")
    report = check(world, folder, Auditor(NOW_MS, older=(older,)))
    assert (first(report).id, first(report).entry) == ("truncated", len(world.log.leaves))


def test_a_fork_is_contradicted_by_a_witness(tmp_path: Path) -> None:
    world = World(witness=True).live()
    world.log.leaves.append(world.deed("nobody.saw"))
    note = cosign(world.log.checkpoint(), "notary", world.witness, NOW_MS // 1000)
    leaves = [*world.log.leaves[:-1], world.deed("something.else")]
    folder = retold(world, leaves, tmp_path / "e")
    report = check(world, folder, Auditor(NOW_MS, older=(note,)))
    assert "seen_otherwise" in found(report)
    assert any("notary" in f.words for f in report.contradicted)


def test_a_witness_that_came_with_the_record_is_heard(tmp_path: Path) -> None:
    world = World(witness=True).live()
    world.log.leaves.append(world.deed("nobody.saw"))
    note = cosign(world.log.checkpoint(), "notary", world.witness, NOW_MS // 1000)
    honest = write_export(world, tmp_path / "honest")
    lying = retold(world, [*world.log.leaves[:-1], world.deed("other")], tmp_path / "lying")
    for folder in (honest, lying):
        (folder / "log/1/witnesses").mkdir()
        (folder / "log/1/witnesses/notary").write_bytes(note)
    assert "witnessed" in {f.id for f in check(world, honest).proven}
    assert "seen_otherwise" in found(check(world, lying))


def test_a_forged_witness_is_named(tmp_path: Path) -> None:
    world = World(witness=True).live()
    note = cosign(world.log.checkpoint(), "notary", make_key(ED25519), NOW_MS // 1000)
    folder = write_export(world, tmp_path / "e")
    (folder / "log/1/checkpoint").write_bytes(note)
    assert found(check(world, folder)) == {"bad_witness"}


def test_removed_batches_are_contradicted_by_the_machine_itself(
    world: World, tmp_path: Path
) -> None:
    mine = [leaf for leaf in world.log.leaves if world.machines[0].id.encode() in leaf]
    leaves = [leaf for leaf in world.log.leaves if leaf not in mine[1:2]]
    report = check(world, retold(world, leaves, tmp_path / "e"))
    missing = [f for f in report.contradicted if f.id == "entries_missing"]
    assert [f.device for f in missing] == [world.machines[0].id]
    assert "from 4 to 6" in missing[0].words


def test_reordered_batches_are_contradicted_by_the_machine_itself(
    world: World, tmp_path: Path
) -> None:
    leaves = list(world.log.leaves)
    mine = [i for i, leaf in enumerate(leaves) if world.machines[0].id.encode() in leaf][-2:]
    leaves[mine[0]], leaves[mine[1]] = leaves[mine[1]], leaves[mine[0]]
    report = check(world, retold(world, leaves, tmp_path / "e"))
    assert {"entries_missing", "out_of_order"} & found(report)
    assert {f.entry for f in report.contradicted if f.id == "entries_missing"} == {mine[0]}


def test_entries_taken_out_before_a_machine_spoke_are_noticed(tmp_path: Path) -> None:
    world = World(("Pump 7",))
    for turn in range(3):
        world.log.leaves += [world.deed(f"a.{turn}"), world.deed(f"b.{turn}")]
        world.machines[0].seen = world.log.seen()
        world.log.leaves.append(world.say(world.machines[0]))
    leaves = [leaf for leaf in world.log.leaves if b'"kind":"a.' not in leaf]
    report = check(world, retold(world, leaves, tmp_path / "e"))
    assert first(report).id in {"entries_removed", "seen_otherwise"}


def test_a_copied_machine_shows_as_two_histories(world: World, tmp_path: Path) -> None:
    machine = world.machines[0]
    head, sequence = machine.head, machine.sequence
    world.log.leaves.append(world.say(machine, 2))
    machine.head, machine.sequence = b"\x07" * 32, sequence + 2
    world.log.leaves.append(world.say(machine, 2))
    assert head != machine.head
    report = check(world, write_export(world, tmp_path / "e", contents=False))
    assert (first(report).id, first(report).device) == ("journal_forked", machine.id)


def test_a_record_signed_anew_with_another_key_is_not_the_owners(
    world: World, tmp_path: Path
) -> None:
    world.logs[-1] = Log(world.owner, 1, make_key(ED25519), world.log.leaves)
    report = check(world, write_export(world, tmp_path / "e"))
    assert first(report).id == "checkpoint_not_signed"


def test_a_batch_that_the_server_made_up_is_named(world: World, tmp_path: Path) -> None:
    machine = world.machines[0]
    true_key, machine.key = machine.key, make_key(ES256)
    forged = world.say(machine).replace(machine.id.encode(), true_key.public.key_id.encode())
    machine.key = true_key
    world.log.leaves.append(forged)
    report = check(world, write_export(world, tmp_path / "e", contents=False))
    assert (first(report).id, first(report).entry) == ("bad_signature", len(world.log.leaves) - 1)


# Lies about the owner's documents.


def test_a_hidden_machine_is_noticed_by_the_count(world: World, tmp_path: Path) -> None:
    folder = write_export(world, tmp_path / "e")
    path = folder / "rosters/00001.entries"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    report = check(world, folder)
    assert first(report).id == "hidden_machine"


def test_a_roster_without_a_machine_is_noticed_by_the_newer_one_in_the_record(
    tmp_path: Path,
) -> None:
    world = World(("Pump 7",))
    before = (world.roster, world.head, world.lease, world.entries)
    hidden = World(("Hidden",)).machines[0]
    world.sign_roster([*world.machines, hidden])
    world.roster, world.head, world.lease, world.entries = before
    report = check(world, write_export(world, tmp_path / "e"))
    assert "newer_withheld" in found(report)
    assert "hidden" in first(report).words


def test_an_older_roster_is_noticed_by_the_owners_own_folder(tmp_path: Path) -> None:
    world = World(("Pump 7",))
    own = OwnFolder((1, world.policy.hash), (2, "ab" * 32), (2, "cd" * 32))
    folder = write_export(world, tmp_path / "e")
    report = check(world, folder, Auditor(NOW_MS, own=own))
    assert found(report) == {"old_documents"}


def test_a_forked_policy_in_the_record_is_named(world: World, tmp_path: Path) -> None:
    draft = world._draft(world.policy.roots, 1)
    other = seal(draft.to_payload(NOW_MS + 1), [world.keys["root"]])
    world.log.leaves.append(other)
    report = check(world, write_export(world, tmp_path / "e"))
    assert (first(report).id, first(report).entry) == (
        "forked_policy", len(world.log.leaves) - 1,
    )  # fmt: skip


def test_a_roster_that_the_owner_did_not_sign_is_named(world: World, tmp_path: Path) -> None:
    other = World(("Rogue",))
    world.log.leaves.append(other.roster.raw)
    report = check(world, write_export(world, tmp_path / "e"))
    assert (first(report).id, first(report).entry) == ("not_by_owner", len(world.log.leaves) - 1)


def test_a_person_who_was_removed_can_no_longer_sign(world: World, tmp_path: Path) -> None:
    thief, world.keys["approver"] = world.keys["approver"], make_key(ED25519)
    world.change_policy()
    world.sign_roster(world.machines)
    honest = (world.roster, world.head, world.lease, world.entries)
    payload = {**_payload(world.roster.raw), "version": 9}
    world.log.leaves.append(seal(payload, [thief]))
    world.roster, world.head, world.lease, world.entries = honest
    report = check(world, write_export(world, tmp_path / "e"))
    assert (first(report).id, first(report).entry) == ("not_by_owner", len(world.log.leaves) - 1)


def test_another_owners_record_is_refused_whole(world: World, tmp_path: Path) -> None:
    folder = write_export(World().live(), tmp_path / "e")
    report = check(world, folder)
    assert found(report) == {"bad_owner_documents"}
    assert report.proven == ()


# Generations.


def test_a_generation_without_the_owners_word_is_named(world: World, tmp_path: Path) -> None:
    world.logs.append(Log(world.owner, 2, world.log_key, [world.deed("fresh.start")]))
    report = check(world, write_export(world, tmp_path / "e"))
    assert "no_opening" in found(report)


def test_a_generation_that_the_server_opened_itself_is_named(world: World, tmp_path: Path) -> None:
    world.keys["root"] = make_key(ED25519)
    world.open_generation(len(world.log.leaves))
    report = check(world, write_export(world, tmp_path / "e"))
    assert "bad_opening" in found(report)


def test_a_join_without_the_owners_invitation_is_named(world: World, tmp_path: Path) -> None:
    machine, invitation = world.machines[0], world.invite()
    never_shown = world.join(machine, invitation.hash)
    # The invitation behind the join, or one that somebody else signed before it, makes it no good.
    world.log.leaves.append(invitation.raw)
    payload = read_envelope(invitation.raw).payload
    forged = seal({**payload, "uses": 1000}, [world.log_key])
    by_server = world.join(machine, read_envelope(forged).hash, forged)
    report = check(world, write_export(world, tmp_path / "e"))
    lies = [(f.id, f.entry) for f in report.contradicted]
    assert lies == [
        ("join_not_invited", never_shown),
        ("not_by_owner", by_server - 1),
        ("join_not_invited", by_server),
    ]
    assert "joins_invited" not in {f.id for f in report.proven}


def test_an_invitation_taken_out_of_the_record_is_missed(world: World, tmp_path: Path) -> None:
    invitation = world.invite(uses=2)
    place = world.join(world.machines[0], invitation.hash, invitation.raw)
    world.log.leaves.remove(invitation.raw)
    report = check(world, write_export(world, tmp_path / "e"))
    assert (first(report).id, first(report).entry) == ("join_not_invited", place - 1)


def test_a_join_that_names_nothing_is_unreadable(world: World, tmp_path: Path) -> None:
    place = world.join(world.machines[0], "no digest")
    report = check(world, write_export(world, tmp_path / "e"))
    assert (first(report).id, first(report).entry) == ("unreadable", place)


def test_a_generation_that_a_retired_key_opened_is_named(world: World, tmp_path: Path) -> None:
    """With the log key and a key of the policy before, somebody cuts the record and dates back."""
    before, kept = world.policy, len(world.log.leaves) - 2
    retired = world.rotate_policy_key()
    replaced = world.log.leaves[-1]
    world.open_generation(kept, before, retired)
    world.log.leaves.append(replaced)
    world.sign_roster(world.machines)
    report = check(world, write_export(world, tmp_path / "e"))
    lie = next(f for f in report.contradicted if f.id == "bad_opening")
    assert (lie.generation, lie.entry) == (2, 0)
    assert "retired" in lie.words


def test_a_hidden_generation_is_named(world: World, tmp_path: Path) -> None:
    world.open_generation(len(world.log.leaves))
    folder = write_export(world, tmp_path / "e")
    shutil.rmtree(folder / "log/1")
    report = check(world, folder)
    assert "generation_missing" in found(report)


# What is no lie, but no proof either.


def test_a_withheld_tail_is_an_age_and_never_proof(world: World, tmp_path: Path) -> None:
    withheld = world.say(world.machines[0])
    assert withheld
    later = Auditor(NOW_MS + 180 * MINUTE)
    report = check(world, write_export(world, tmp_path / "e"), later)
    assert report.contradicted == ()
    tails = {f.device: f.age_seconds for f in report.unknown if f.id == "tail_unknown"}
    assert tails == {machine.id: 180 * 60 for machine in world.machines}


# Hostile folders.


def test_a_long_record_is_spread_over_processes_and_the_entry_still_named(
    world: World, tmp_path: Path
) -> None:
    world.log.leaves += [world.deed(f"long.{i}") for i in range(ALONE_BELOW)]
    world.log.leaves.append(world.say(world.machines[0]))
    place, told = 4000, []
    folder = write_export(world, tmp_path / "e")

    def alter(leaves: list[bytes]) -> list[bytes]:
        leaves[place] = leaves[place].replace(b"happened", b"slumbers")
        return leaves

    rewrite_bundles(folder, world.log, alter)
    result = verify_export(folder, world.owner, NOW, lambda done, total: told.append((done, total)))
    assert (first(result.report).id, first(result.report).entry) == ("entry_altered", place)
    assert told[-1] == (len(world.log.leaves), len(world.log.leaves))


def test_links_in_an_export_are_refused(world: World, tmp_path: Path) -> None:
    folder = write_export(world, tmp_path / "e")
    shutil.move(folder / "log", tmp_path / "elsewhere")
    (folder / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="link"):
        check(world, folder)


@pytest.mark.parametrize("damage", [b"", b"\xff" * 100, b"\x00" * 20_000_000])
def test_a_damaged_bundle_is_contradicted_not_a_crash(
    world: World, tmp_path: Path, damage: bytes
) -> None:
    folder = write_export(world, tmp_path / "e")
    bundle = next((folder / "log/1/tile/entries").rglob("*.p/*"))
    bundle.write_bytes(damage)
    assert check(world, folder).contradicted


def _payload(raw: bytes) -> JsonObject:

    return read_envelope(raw).payload
