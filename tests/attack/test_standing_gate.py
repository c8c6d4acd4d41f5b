"""Whoever holds the server, or a machine's clock, wants to be let in by what was allowed ahead.

The machine is a whole guard; behind its door there is the test. What must not be seen: a window
that opens twice, at another time, for another person, or after it was taken back.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.access_world import LOGS, RULES, TERMINAL
from tests.keys_world import hand_over
from tests.standing_world import HOUR_MS, WEEK_MS, weekly
from tests.trust_world import DAY_MS, NOW_MS, alter, payload_of, resign
from tests.unit.device.session_guard import HeldDoors, SessionGuard
from tests.unit.device.standing_guard import (
    Make,
    ahead_of,
    asked,
    doors_of,
    enter,
    guard,
    held,
    make,
    name_requesters,
    new_policy,
    publish,
    refresh,
    refuse,
    states,
)

from fleetward.device.access.standing_kept import MOST_REVOKED, MOST_STANDING
from fleetward.runtime.keys import make_key
from fleetward.trust.access import AccessRules
from fleetward.trust.access_rule import Rule
from fleetward.trust.canonical import Json, from_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.grants.ending import make_stop_payload
from fleetward.trust.grants.grant import GRANT_TYPE
from fleetward.trust.grants.standing_state import verify_state
from fleetward.trust.keys import ED25519


def test_a_window_opens_without_anybody_being_woken(guard: SessionGuard) -> None:
    standing = held(guard)
    assert states(guard, standing.hash) == ["held"]
    session = enter(guard, standing)
    (opened,) = guard.entries("session.opened")
    assert (opened["standing"], opened["window"]) == (standing.hash, 0)
    assert "Allowed ahead by ada" in str(opened["words"])
    assert session.order.seconds_left == 600
    session.end()


def test_a_session_is_over_when_its_window_is(guard: SessionGuard) -> None:
    standing = held(guard, windows=weekly(2, NOW_MS - HOUR_MS))
    guard.clock.pass_ms(HOUR_MS // 2 - 60_000)
    assert enter(guard, standing).order.seconds_left == 60


def test_the_same_window_twice(guard: SessionGuard) -> None:
    standing = held(guard)
    enter(guard, standing).end()
    guard.tick(1000)
    assert refuse(guard, asked(guard, standing)) == "window_used"


def test_the_machine_shows_what_may_still_be_used_and_nothing_else(guard: SessionGuard) -> None:
    standing = held(guard)
    (shown,) = guard.core.report().ahead
    assert (shown.standing, shown.words) == (standing.hash, standing.words)
    assert shown.not_before_ms == standing.windows[0].not_before_ms
    assert shown.windows_left == len(standing.windows)
    enter(guard, standing).end()
    guard.tick(1000)
    (shown,) = guard.core.report().ahead
    assert shown.not_before_ms == standing.windows[1].not_before_ms
    hand_over(guard.access.trust)
    publish(guard)
    assert guard.core.report().ahead == ()


def test_the_same_entry_twice(guard: SessionGuard) -> None:
    standing = held(guard)
    entry = asked(guard, standing)
    guard.push(entry)
    doors_of(guard).take().end()
    guard.tick(1000)
    assert refuse(guard, entry) == "grant_used"


def test_the_same_window_after_a_restart(guard: SessionGuard) -> None:
    standing = held(guard)
    enter(guard, standing)
    guard.start()
    assert refuse(guard, asked(guard, standing)) == "window_used"
    guard.boot = "boot-2"
    guard.start()
    assert refuse(guard, asked(guard, standing)) == "window_used"


def test_a_crash_between_using_and_opening_costs_the_window(
    guard: SessionGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing = held(guard)
    entry = asked(guard, standing)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(guard.core.sessions, "open", crash)
    with pytest.raises(KeyboardInterrupt):
        guard.push(entry)
    monkeypatch.undo()
    guard.start()
    assert doors_of(guard).opened == 0
    assert refuse(guard, asked(guard, standing)) == "window_used"
    guard.clock.pass_ms(WEEK_MS)
    refresh(guard)
    assert enter(guard, standing, 1).order.seconds_left == 600


def test_a_copied_disk_serves_no_entry_of_the_first(guard: SessionGuard, tmp_path: Path) -> None:
    standing = held(guard)
    request, offer = guard.ask()
    copy = tmp_path / "copy" / "guard"
    shutil.copytree(guard.folder, copy)
    entry = ahead_of(guard).entry(standing, request, offer)
    guard.push(entry)
    doors_of(guard).take()
    twin = SessionGuard(copy, guard.access, guard.fleet, guard.clock, HeldDoors())
    try:
        twin.start()
        # The copy has neither the offer's nonce nor its key, in its boot nor in any other.
        assert refuse(twin, entry) == "another_offer"
        twin.push(request.raw)
        assert refuse(twin, entry) == "another_offer"
    finally:
        twin.close()


def test_a_lower_window_than_one_that_was_used(guard: SessionGuard) -> None:
    standing = held(guard)
    guard.clock.pass_ms(WEEK_MS)
    refresh(guard)
    enter(guard, standing, 1).end()
    guard.tick(1000)
    guard.clock.wall -= WEEK_MS
    assert refuse(guard, asked(guard, standing, 0)) == "window_used"


def test_a_new_document_of_the_series_does_not_begin_anew(guard: SessionGuard) -> None:
    first = held(guard)
    enter(guard, first).end()
    guard.tick(1000)
    again = held(guard, series=first.series, reason="the weekly update, again")
    assert refuse(guard, asked(guard, again)) == "window_used"


def test_a_window_that_is_none(guard: SessionGuard) -> None:
    standing = held(guard)
    assert refuse(guard, asked(guard, standing, 4)) == "no_such_window"


def test_an_entry_of_another_requester(make: Make) -> None:
    guard = make()
    standing = held(guard)
    request, offer = guard.ask()
    for signer in (make_key(ED25519), guard.access.trust.signers[0]):
        entry = ahead_of(guard).entry(standing, request, offer, signer=signer)
        assert refuse(guard, entry) == "wrong_signer"


def test_a_requester_whom_the_document_does_not_name(guard: SessionGuard) -> None:
    tim = make_key(ED25519)
    tom = guard.access.technician
    name_requesters(guard, {"tim": tim, "tom": tom})
    standing = held(guard, requesters=(tim.public.key_id,))
    assert refuse(guard, asked(guard, standing)) == "requester_not_allowed"


def test_a_document_for_another_machine(guard: SessionGuard) -> None:
    standing = ahead_of(guard).standing(devices=("b" * 32,))
    assert refuse(guard, standing.raw) == "another_device"
    assert refuse(guard, asked(guard, standing)) == "unknown_standing"


def test_an_entry_for_another_machine_of_the_list(guard: SessionGuard) -> None:
    device = guard.access.machine.device
    standing = held(guard, devices=tuple(sorted((device, "b" * 32))))
    entry = asked(guard, standing)
    elsewhere = resign(entry, {"device": "b" * 32}, [guard.access.technician])
    assert refuse(guard, elsewhere) == "another_device"
    guard.push(entry)


def test_an_entry_with_another_requests_session_key(guard: SessionGuard) -> None:
    standing = held(guard)
    first, offer = guard.ask()
    second, _ = guard.ask()
    entry = ahead_of(guard).entry(standing, second, offer)
    assert refuse(guard, entry) == "another_offer"
    mixed = resign(entry, {"request": first.hash, "offer": "1" * 64}, [guard.access.technician])
    assert refuse(guard, mixed) == "another_offer"


__all__ = ["guard", "make"]

ENTRY_CHANGES: list[tuple[str, Json]] = [
    ("device", "b" * 32),
    ("epoch", 2),
    ("offer", "1" * 64),
    ("owner", "0" * 64),
    ("request", "3" * 64),
    ("standing", "2" * 64),
    ("type", GRANT_TYPE),
    ("window", 1),
    ("more", 1),
]


def test_an_entry_of_which_the_server_changed_a_field(guard: SessionGuard) -> None:
    standing = held(guard)
    entry = asked(guard, standing)
    for name, value in ENTRY_CHANGES:
        refuse(guard, alter(entry, {name: value}))
    guard.push(entry)
    assert doors_of(guard).opened == 1


STANDING_CHANGES: list[tuple[str, Json]] = [
    ("devices", ["b" * 32]),
    ("epoch", 2),
    ("idle_seconds", 3600),
    ("issued_at", NOW_MS),
    ("owner", "0" * 64),
    ("reason", "more"),
    ("recording_key", "es256:AAAA"),
    ("requesters", ["c" * 32]),
    ("scopes", [{"kind": "root"}]),
    ("seconds", 3599),
    ("series", "A" * 22),
    ("time_zone", "UTC"),
    ("type", GRANT_TYPE),
    ("watched", True),
    ("windows", [{"not_after": NOW_MS + DAY_MS, "not_before": NOW_MS}]),
    ("more", 1),
]


def test_a_document_of_which_the_server_changed_a_field(guard: SessionGuard) -> None:
    raw = ahead_of(guard).raw()
    for name, value in STANDING_CHANGES:
        refuse(guard, alter(raw, {name: value}))
        refuse(guard, resign(raw, {name: value}, [make_key(ED25519)]))
    assert not guard.entries("standing.held")


# --- who allowed it


def test_one_person_where_two_are_needed(make: Make) -> None:
    guard = make(AccessRules(rules={**(RULES.rules or {}), "terminal": Rule(
        2, 3600, watched=False, allowed=("app",))}))  # fmt: skip
    ada, ben = guard.access.trust.signers
    ahead = ahead_of(guard)
    assert refuse(guard, ahead.raw([ada])) == "too_few_signatures"
    guard.push(ahead.raw([ada, ben]))


def test_a_requester_among_the_approvers(make: Make) -> None:
    guard = make()
    tom = guard.access.technician
    name_requesters(guard, {"ada": tom})
    ada, ben = guard.access.trust.signers
    ahead = ahead_of(guard)
    assert refuse(guard, ahead.raw([ada])) == "too_few_signatures"
    guard.push(ahead.raw([ben]))


def test_a_requester_who_is_one_no_more_takes_the_document_with_him(guard: SessionGuard) -> None:
    """Else one who could have let himself in would count as somebody else."""
    tim, tom = make_key(ED25519), guard.access.technician
    name_requesters(guard, {"ada": tim, "tom": tom})
    both = tuple(sorted((tim.public.key_id, tom.public.key_id)))
    standing = held(guard, signers=[guard.access.trust.signers[1]], requesters=both)
    by_ada = ahead_of(guard).raw([guard.access.trust.signers[0]], requesters=both)
    assert refuse(guard, by_ada) == "too_few_signatures"
    name_requesters(guard, {"tom": tom})
    assert refuse(guard, by_ada) == "unknown_requester"
    assert "dropped" in states(guard, standing.hash)
    assert refuse(guard, asked(guard, standing)) == "unknown_standing"


def test_scopes_wider_than_what_was_allowed(guard: SessionGuard) -> None:
    standing = held(guard)
    request, offer = guard.ask(TERMINAL, LOGS)
    entry = ahead_of(guard).entry(standing, request, offer)
    assert refuse(guard, entry) == "wider_than_standing"


def test_a_policy_that_forbids_the_scope_since(guard: SessionGuard) -> None:
    standing = held(guard)
    session = enter(guard, standing)
    rules = {k: v for k, v in (RULES.rules or {}).items() if k != "terminal"}
    new_policy(guard, AccessRules(rules=rules))
    assert states(guard, standing.hash)[-1] == "dropped"
    assert str(session.told()).startswith("End")
    assert refuse(guard, standing.raw) == "scope_not_in_policy"
    new_policy(guard, RULES)
    guard.push(standing.raw)
    session.end()
    guard.tick(1000)
    assert refuse(guard, asked(guard, standing)) == "window_used"


def test_a_policy_that_wants_more_people_since(guard: SessionGuard) -> None:
    standing = held(guard)
    rules = {**(RULES.rules or {}), "terminal": Rule(2, 3600, watched=False, allowed=("app",))}
    new_policy(guard, AccessRules(rules=rules))
    assert refuse(guard, asked(guard, standing)) == "unknown_standing"
    assert refuse(guard, standing.raw) == "too_few_signatures"


def test_a_harmless_policy_changes_nothing(guard: SessionGuard) -> None:
    standing = held(guard)
    rules = {**(RULES.rules or {}), "root": Rule(2, 900, watched=True)}
    new_policy(guard, AccessRules(rules=rules))
    enter(guard, standing)


def test_an_epoch_that_has_passed(guard: SessionGuard) -> None:
    standing = held(guard)
    trust = guard.access.trust
    hand_over(trust)
    publish(guard)
    assert "dropped" in states(guard, standing.hash)
    assert refuse(guard, standing.raw) == "old_epoch"


def test_a_standing_document_is_no_grant_and_the_reverse(guard: SessionGuard) -> None:
    standing = held(guard)
    request, offer = guard.ask()
    grant = guard.access.grant(request, offer)
    ada = guard.access.trust.signers[0]
    as_grant = {**payload_of(grant), "type": "fleetward.standing.v1"}
    refuse(guard, seal(as_grant, [ada]))
    as_entry = {**payload_of(grant), "type": "fleetward.entry.v1"}
    refuse(guard, seal(as_entry, [ada, guard.access.technician]))
    refuse(guard, seal({**payload_of(standing.raw), "type": GRANT_TYPE}, [ada]))
    # The signatures of one are none of the other.
    refuse(guard, alter(standing.raw, {"type": GRANT_TYPE}))
    entry = ahead_of(guard).entry(standing, request, offer)
    refuse(guard, alter(entry, {"type": GRANT_TYPE}))
    guard.push(grant)


# --- taking back


def test_taken_back_and_then_replayed_by_the_server(guard: SessionGuard) -> None:
    standing = held(guard)
    entry = asked(guard, standing)
    guard.push(ahead_of(guard).revocation(standing.hash))
    assert states(guard, standing.hash)[-1:] == ["revoked"]
    assert refuse(guard, standing.raw) == "standing_revoked"
    assert refuse(guard, entry) == "standing_revoked"
    guard.boot = "boot-2"
    guard.start()
    assert refuse(guard, standing.raw) == "standing_revoked"
    assert refuse(guard, asked(guard, standing)) == "standing_revoked"


def test_a_copy_without_signatures_makes_the_machine_say_nothing_false(
    guard: SessionGuard,
) -> None:
    standing = held(guard)
    enter(guard, standing).end()
    guard.tick(1000)
    assert states(guard, standing.hash)[-1:] == ["held"]
    assert refuse(guard, resign(standing.raw, {}, [])) == "too_few_signatures"
    assert states(guard, standing.hash) == []
    guard.push(ahead_of(guard).revocation(standing.hash))
    guard.push(ahead_of(guard).revocation(standing.hash))
    (note,) = [n for n in guard.notes() if n.kind == "standing"]
    key, owner = guard.access.machine.key, guard.access.trust.owner
    said = verify_state(from_base64url(note.envelope), key, owner)
    assert (said.state, said.next_window) == ("revoked", 1)


def test_taken_back_before_it_came(guard: SessionGuard) -> None:
    standing = ahead_of(guard).standing()
    guard.push(ahead_of(guard).revocation(standing.hash))
    guard.start()
    assert refuse(guard, standing.raw) == "standing_revoked"


def test_taking_back_ends_the_session_at_once(guard: SessionGuard) -> None:
    standing = held(guard)
    session = enter(guard, standing)
    guard.push(ahead_of(guard).revocation(standing.hash))
    assert str(session.told()).startswith("End")
    session.end()
    guard.tick(1000)
    (ended,) = guard.entries("session.ended")
    assert (ended["by"], ended["who"]) == ("stopped", "ada")


def test_a_plain_stop_of_the_document_takes_it_back_too(guard: SessionGuard) -> None:
    standing = held(guard)
    payload = make_stop_payload(guard.access.trust.policy, standing.hash, "", NOW_MS)
    guard.push(seal(payload, [guard.access.trust.signers[1]]))
    assert refuse(guard, standing.raw) == "standing_revoked"


def test_taken_back_by_nobody_who_may(guard: SessionGuard) -> None:
    standing = held(guard)
    ahead = ahead_of(guard)
    for signer in (guard.access.technician, make_key(ED25519)):
        assert refuse(guard, ahead.revocation(standing.hash, signer)) == "wrong_signer"
    enter(guard, standing)


def test_many_revocations_push_no_other_out(guard: SessionGuard) -> None:
    standing = ahead_of(guard).standing()
    kept = guard.core.standing.kept
    kept.revoke(standing.hash, NOW_MS)
    for number in range(MOST_REVOKED + 3):
        kept.revoke(f"{number:064x}", NOW_MS + number)
    assert refuse(guard, standing.raw) == "standing_too_old"
    guard.start()
    assert refuse(guard, standing.raw) == "standing_too_old"


def test_only_so_many_documents_are_kept(guard: SessionGuard) -> None:
    for _ in range(MOST_STANDING):
        held(guard)
    assert refuse(guard, ahead_of(guard).raw()) == "too_many_standing"


@pytest.mark.parametrize("damage", [b"", b"{", None])
def test_damaged_counts_open_nothing(guard: SessionGuard, damage: bytes | None) -> None:
    standing = held(guard)
    enter(guard, standing).end()
    guard.tick(1000)
    counts = guard.folder / "standing" / "counts.json"
    if damage is None:
        counts.unlink()
    else:
        counts.write_bytes(damage)
    for _ in range(2):
        guard.start()
        assert refuse(guard, standing.raw) == "standing_too_old"
    assert guard.entries("standing.damaged")
    guard.clock.pass_ms(60_000)
    fresh = ahead_of(guard).standing(issued_at_ms=guard.clock.wall)
    guard.push(fresh.raw)
    enter(guard, fresh)


def test_used_windows_are_forgotten_only_when_all_are_over(guard: SessionGuard) -> None:
    standing = held(guard)
    enter(guard, standing).end()
    guard.tick(1000)
    kept = guard.core.standing.kept
    other = ahead_of(guard).standing()
    kept.note_signed(standing.windows[-1].not_after_ms - 1)
    kept.use(other, 0)
    assert kept.last_used(standing.series) == 0
    kept.note_signed(standing.windows[-1].not_after_ms)
    kept.use(other, 1)
    assert kept.last_used(standing.series) == -1
    assert refuse(guard, standing.raw) == "expired"


def test_past_the_lease_nothing_opens(guard: SessionGuard) -> None:
    standing = held(guard, windows=weekly(3, NOW_MS + 2 * DAY_MS))
    guard.clock.pass_ms(2 * DAY_MS)
    guard.tick()
    assert refuse(guard, asked(guard, standing)) == "lease_expired"


def test_a_machine_that_is_simulated_keeps_none(make: Make) -> None:
    guard = make(simulated=True)
    assert guard.refusal(ahead_of(guard).raw()) == "simulated"
