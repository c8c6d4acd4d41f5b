"""Whoever holds the server hands a machine every request and grant that he can think of.

The machine is a whole guard; behind its door there is the test, so that a session that opened
would be seen. What must not be seen is: anything opened, an offer used, a rule that is not named.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.access_world import FILES, PAGE, RULES
from tests.trust_world import DAY_MS, NOW_MS, alter, payload_of, resign
from tests.unit.device.session_guard import HeldDoors, SessionGuard

from fleetward.device.gate_sessions import MOST_STOPPED
from fleetward.runtime.channel import make_session_key
from fleetward.runtime.keys import make_key
from fleetward.trust.access import AccessRules, RootScope
from fleetward.trust.access_rule import Rule
from fleetward.trust.canonical import Json, from_base64url, to_base64url
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.errors import FleetwardError
from fleetward.trust.grants.ending import make_beat_payload, make_stop_payload
from fleetward.trust.grants.grant import Terms
from fleetward.trust.grants.report import verify_denial, verify_receipt
from fleetward.trust.keys import ED25519

REQUEST_CHANGES: list[tuple[str, Json]] = [
    ("session_key", to_base64url(make_session_key()[1])),
    ("case", "another case"),
    ("device", "b" * 32),
    ("epoch", 2),
    ("issued_at", NOW_MS + 1),
    ("nonce", "A" * 22),
    ("owner", "0" * 64),
    ("reason", "to help"),
    ("requester", "c" * 32),
    ("scopes", [{"kind": "root"}]),
    ("seconds", 3599),
    ("type", "fleetward.grant.v1"),
    ("more", 1),
]
GRANT_CHANGES: list[tuple[str, Json]] = [
    ("device", "b" * 32),
    ("epoch", 2),
    ("idle_seconds", 3600),
    ("not_after", NOW_MS + 365 * DAY_MS),
    ("not_before", 0),
    ("offer", "1" * 64),
    ("owner", "0" * 64),
    ("policy", {"hash": "2" * 64, "version": 3}),
    ("recording_key", "es256:AAAA"),
    ("request", "3" * 64),
    ("scopes", [{"kind": "root"}]),
    ("seconds", 601),
    ("type", "fleetward.stop.v1"),
    ("watched", True),
    ("more", 1),
]


Make = Callable[..., SessionGuard]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[SessionGuard] = []

    def make_one(
        rules: AccessRules = RULES, *, simulated: bool = False, confirmed: bool = True
    ) -> SessionGuard:
        guard = SessionGuard.make(tmp_path, rules, simulated=simulated, confirmed=confirmed)
        made.append(guard)
        return guard

    yield make_one
    for guard in made:
        guard.close()


@pytest.fixture
def guard(make: Make) -> SessionGuard:
    return make()


def doors_of(guard: SessionGuard) -> HeldDoors:
    assert guard.doors is not None
    return guard.doors


def refuse(guard: SessionGuard, envelope: bytes) -> str:
    """Hand over what must be refused; see that nothing opened, and return the rule."""
    before = doors_of(guard).opened
    reason = guard.refusal(envelope)
    assert doors_of(guard).opened == before
    assert not guard.core.sessions.live
    return reason


@pytest.mark.parametrize(("name", "value"), REQUEST_CHANGES, ids=[c[0] for c in REQUEST_CHANGES])
def test_a_request_of_which_the_server_changed_a_field(
    guard: SessionGuard, name: str, value: Json
) -> None:
    good = guard.access.request()
    refuse(guard, alter(good.raw, {name: value}))
    assert not guard.core.sessions.notes.waiting or guard.denials()
    assert not guard.entries("session.offered")


@pytest.mark.parametrize(("name", "value"), GRANT_CHANGES, ids=[c[0] for c in GRANT_CHANGES])
def test_a_grant_of_which_the_server_changed_a_field(
    guard: SessionGuard, name: str, value: Json
) -> None:
    request, offer = guard.ask()
    grant = guard.access.grant(request, offer)
    refuse(guard, alter(grant, {name: value}))
    # The true one still opens: a lie does not use an offer up.
    guard.push(grant)
    assert doors_of(guard).opened == 1


@pytest.mark.parametrize(("name", "value"), GRANT_CHANGES, ids=[c[0] for c in GRANT_CHANGES])
def test_a_grant_signed_by_the_servers_own_key(guard: SessionGuard, name: str, value: Json) -> None:
    request, offer = guard.ask()
    grant = guard.access.grant(request, offer)
    thief = make_key(ED25519)
    assert refuse(guard, resign(grant, {}, [thief])) in ("too_few_signatures", "wrong_signer")
    refuse(guard, resign(grant, {name: value}, [thief]))


def test_the_denial_is_signed_and_names_the_rule(guard: SessionGuard) -> None:
    request, offer = guard.ask()
    grant = resign(guard.access.grant(request, offer), {"seconds": 601}, guard.access.trust.signers)
    assert refuse(guard, grant) == "longer_than_request"
    (note,) = [n for n in guard.notes() if n.kind == "denial"]
    trust = guard.access.trust
    denial = verify_denial(from_base64url(note.envelope), guard.access.machine.key, trust.owner)
    assert (denial.subject, denial.rule) == (note.subject, "longer_than_request")
    assert denial.words


def test_a_request_replayed_gives_the_same_offer_and_no_second(guard: SessionGuard) -> None:
    request, offer = guard.ask()
    for _ in range(5):
        guard.push(request.raw)
    assert guard.offer_to(request).hash == offer.hash
    assert len(guard.entries("session.offered")) == 1


def test_a_grant_serves_once_in_one_process(guard: SessionGuard) -> None:
    request, offer = guard.ask()
    grant = guard.access.grant(request, offer)
    guard.push(grant)
    opened = doors_of(guard).take()
    guard.push(grant)
    assert doors_of(guard).opened == 1, "an open session is not opened again"
    opened.end()
    guard.tick()
    assert refuse(guard, grant) == "grant_used"
    # Another grant of the same people on the same offer.
    assert refuse(guard, guard.access.grant(request, offer)) in ("grant_used", "another_offer")
    # And the request that had its session gets no new offer.
    assert refuse(guard, request.raw) == "request_used"
    assert len(guard.entries("session.opened")) == 1


@pytest.mark.parametrize("boot", ["boot-1", "boot-2"])
def test_a_grant_serves_no_agent_that_started_since(guard: SessionGuard, boot: str) -> None:
    request, offer = guard.ask()
    unused = guard.access.grant(request, offer)
    used_request, used_offer = guard.ask()
    used = guard.access.grant(used_request, used_offer)
    guard.push(used)
    doors_of(guard).take()
    guard.boot = boot
    guard.start()  # As after kill -9: nothing was closed.
    assert refuse(guard, unused) == "another_offer"
    assert refuse(guard, used) == "grant_used"
    assert [b["by"] for b in guard.entries("session.ended")] == ["restarted"]


def test_a_copied_disk_serves_no_grant(guard: SessionGuard, tmp_path: Path) -> None:
    request, offer = guard.ask()
    shutil.copytree(guard.folder.parent, tmp_path / "copy")
    copy = SessionGuard(
        tmp_path / "copy" / "guard", guard.access, guard.fleet, guard.clock, HeldDoors()
    )
    copy.start()
    assert refuse(copy, guard.access.grant(request, offer)) == "another_offer"
    copy.close()


def test_a_crash_between_accepting_and_opening_opens_nothing(guard: SessionGuard) -> None:
    request, offer = guard.ask()
    grant = guard.access.grant(request, offer)
    guard.core.sessions.drop_spare()
    doors_of(guard).broken = True
    guard.push(grant)
    assert [b["by"] for b in guard.entries("session.ended")] == ["failed"]
    doors_of(guard).broken = False
    assert refuse(guard, grant) == "grant_used"
    assert len(guard.entries("session.opened")) == 1


def test_what_opens_is_on_the_disk_before_anything_starts(guard: SessionGuard) -> None:
    request, offer = guard.ask()
    seen: list[tuple[int, bool]] = []
    hand_over = guard.core.sessions._hand_over

    def watch(*given: Any) -> Any:
        files = [p for p in (guard.folder / "access").iterdir() if p.suffix == ".json"]
        seen.append((len(guard.entries("session.opened")), len(files) == 1))
        return hand_over(*given)

    vars(guard.core.sessions)["_hand_over"] = watch
    guard.push(guard.access.grant(request, offer))
    assert seen == [(1, True)]


def test_a_grant_under_a_policy_that_was_replaced(guard: SessionGuard) -> None:
    request, offer = guard.ask()
    grant = guard.access.grant(request, offer)
    guard.access.trust.next_policy({"never_ports": [22, 23]})
    guard.access.trust.publish()
    guard.publish()
    assert refuse(guard, grant) == "another_policy"


def test_a_requester_who_is_none_any_more(guard: SessionGuard) -> None:
    request, offer = guard.ask()
    rules = guard.access.trust.policy.access
    assert rules.rules is not None
    access = payload_of(guard.access.trust.policy.raw)["access"]
    assert isinstance(access, dict)
    guard.access.trust.next_policy({"access": {**access, "requesters": []}})
    guard.access.trust.publish()
    guard.publish()
    # The approver's tool signs on: the machine does not take it.
    assert refuse(guard, guard.access.grant(request, offer)) == "another_offer"
    assert guard.core.gate.view.policy.version == guard.access.trust.policy.version


def test_a_newer_policy_ends_the_session_that_it_would_not_open(guard: SessionGuard) -> None:
    opened = guard.enter()
    access = payload_of(guard.access.trust.policy.raw)["access"]
    assert isinstance(access, dict)
    guard.access.trust.next_policy({"never_ports": [22, 23]})
    guard.access.trust.publish()
    guard.publish()
    assert guard.core.sessions.live, "what another rule says does not end it"
    guard.access.trust.next_policy({"access": {**access, "requesters": []}})
    guard.access.trust.publish()
    guard.publish()
    opened.told()
    opened.close()
    guard.tick()
    assert [b["by"] for b in guard.entries("session.ended")] == ["policy"]


def test_two_keys_of_one_person_are_one_and_the_requester_is_none(make: Make) -> None:
    rules = AccessRules(rules={**(RULES.rules or {}), "terminal": Rule(2, 3600, False, ("app",))})
    guard = make(rules)
    request, offer = guard.ask()
    ada, ben = guard.access.trust.signers
    grant = guard.access.grant
    assert refuse(guard, grant(request, offer, signers=[ada])) == "too_few_signatures"
    assert refuse(guard, grant(request, offer, signers=[ada, guard.access.technician])) in (
        "too_few_signatures", "wrong_signer",
    )  # fmt: skip
    guard.push(grant(request, offer, signers=[ada, ben]))
    assert doors_of(guard).opened == 1


def test_documents_of_other_kinds_are_no_grants(guard: SessionGuard) -> None:
    request, offer = guard.ask()
    trust = guard.access.trust
    grant = payload_of(guard.access.grant(request, offer))
    ada = trust.signers[0]
    stop = seal(make_stop_payload(trust.policy, request.hash, "no", NOW_MS), [ada])
    for other in (trust.policy.raw, trust.rosters[-1].raw, offer.raw, request.raw[:-1]):
        refuse(guard, other)
    # A signature that the approver made for a stop, moved to the grant.
    moved = seal(grant, [ada])
    signatures = payload_of_whole(stop)["signatures"]
    refuse(guard, with_signatures(moved, signatures))


def payload_of_whole(envelope: bytes) -> dict[str, Json]:
    from fleetward.trust.canonical import decode_object

    return decode_object(envelope)


def with_signatures(envelope: bytes, signatures: Json) -> bytes:
    from fleetward.trust import canonical

    return canonical.encode({**payload_of_whole(envelope), "signatures": signatures})


def test_a_simulated_machine_says_so(make: Make) -> None:
    guard = make(simulated=True)
    request = guard.access.request()
    assert guard.refusal(request.raw) == "simulated"
    assert guard.denials() == [(request.hash, "simulated")]


def test_a_machine_that_nobody_confirmed_offers_nothing(make: Make) -> None:
    guard = make(confirmed=False)
    assert refuse(guard, guard.access.request().raw) == "not_confirmed"


def test_past_the_lease_nothing_opens(guard: SessionGuard) -> None:
    request, offer = guard.ask()
    guard.clock.since_boot += 2 * DAY_MS
    assert refuse(guard, guard.access.grant(request, offer)) in ("lease_expired", "another_offer")


def test_an_offer_lives_a_day(guard: SessionGuard) -> None:
    request, offer = guard.ask()
    guard.access.trust.lease(7 * 86_400)
    guard.publish()
    guard.clock.pass_ms(DAY_MS)
    assert refuse(guard, guard.access.grant(request, offer)) == "another_offer"


def test_a_machine_whose_clock_is_set_back_gives_no_longer_session(guard: SessionGuard) -> None:
    opened = guard.enter(seconds=60)
    for _ in range(12):
        guard.clock.wall -= DAY_MS
        guard.clock.since_boot += 5_000
        opened.record(b'[0,"o","x"]\n')
        guard.core.tick()
    opened.told()
    opened.close()
    guard.core.tick()
    assert [b["by"] for b in guard.entries("session.ended")] == ["length"]


def test_a_flood_of_requests_is_bounded(guard: SessionGuard) -> None:
    for _ in range(4):
        guard.ask()
    for _ in range(100):
        assert refuse(guard, guard.access.request().raw) == "too_many_requests"
    assert len(guard.core.gate._sessions.offers) == 4  # type: ignore[union-attr]
    assert len(guard.entries("gate.refused")) <= 60
    assert guard.core.sessions.notes.waiting <= 64


def test_a_stop_by_nobody_or_for_another_is_refused(guard: SessionGuard) -> None:
    opened = guard.enter()
    session = opened.order.session
    policy, ada = guard.access.trust.policy, guard.access.trust.signers[0]
    for envelope, rule in (
        (seal(make_stop_payload(policy, session, "", NOW_MS), [make_key(ED25519)]), "wrong_signer"),
        (seal(make_stop_payload(policy, "0" * 64, "", NOW_MS), [ada]), "no_such_session"),
        (
            alter(
                seal(make_stop_payload(policy, "0" * 64, "", NOW_MS), [ada]), {"subject": session}
            ),
            "bad_signature",
        ),
    ):
        assert guard.refusal(envelope) == rule
    assert guard.core.sessions.live
    guard.push(seal(make_stop_payload(policy, session, "enough", NOW_MS), [ada]))
    opened.told()
    opened.close()
    guard.tick()
    assert [(b["by"], b["who"]) for b in guard.entries("session.ended")] == [("stopped", "ada")]


def test_an_owners_no_is_final(guard: SessionGuard) -> None:
    request, offer = guard.ask()
    policy, ada = guard.access.trust.policy, guard.access.trust.signers[0]
    guard.push(seal(make_stop_payload(policy, request.hash, "not today", NOW_MS), [ada]))
    assert guard.denials() == [(request.hash, "request_stopped")]
    assert refuse(guard, guard.access.grant(request, offer)) == "another_offer"
    assert refuse(guard, request.raw) == "request_stopped"


def test_a_stop_that_comes_before_its_grant_is_kept_in_mind(guard: SessionGuard) -> None:
    """A relay hands over the stop first, and the grant that it stops behind it."""
    request, offer = guard.ask()
    grant = guard.access.grant(request, offer)
    policy, ada = guard.access.trust.policy, guard.access.trust.signers[0]
    session = read_envelope(grant).hash
    by_nobody = seal(make_stop_payload(policy, session, "", NOW_MS), [make_key(ED25519)])
    assert guard.refusal(by_nobody) == "wrong_signer"
    stop = seal(make_stop_payload(policy, session, "a mistake", NOW_MS), [ada])
    assert guard.refusal(stop) == "no_such_session"
    # Another stop of the owner, handed over again and again, does not push it out of mind.
    old = seal(make_stop_payload(policy, "0" * 64, "long ago", NOW_MS), [ada])
    for _ in range(MOST_STOPPED):
        guard.refusal(old)
    assert refuse(guard, grant) == "grant_stopped"


def test_a_watched_session_outlives_no_held_back_stop(make: Make) -> None:
    rules = AccessRules(rules={**(RULES.rules or {}), "terminal": Rule(1, 3600, True, ("app",))})
    guard = make(rules)
    request, offer = guard.ask()
    grant = guard.access.grant
    assert refuse(guard, grant(request, offer)) == "not_watched"
    terms = Terms(request.scopes, 600, 300, True, NOW_MS - 1000, NOW_MS + 3_600_000)
    guard.push(grant(request, offer, terms))
    opened = doors_of(guard).take()
    session, ada = opened.order.session, guard.access.trust.signers[0]
    policy = guard.access.trust.policy
    signed_at = (NOW_MS, NOW_MS + 7_000, NOW_MS + 14_000)
    beats = [seal(make_beat_payload(policy, session, at), [ada]) for at in signed_at]
    guard.tick(14_000)
    guard.push(beats[0])
    guard.tick(14_000)
    guard.push(beats[2])
    # A beat that was held back, one that came before, one of nobody, one of who is inside.
    assert guard.refusal(beats[1]) == "old_beat"
    assert guard.refusal(beats[2]) == "old_beat"
    ghost = seal(make_beat_payload(policy, session, NOW_MS + 20_000), [guard.access.technician])
    assert guard.refusal(ghost) == "wrong_signer"
    guard.tick(14_900)
    assert guard.core.sessions.live
    guard.tick(101)
    opened.told()
    opened.close()
    guard.tick()
    assert [b["by"] for b in guard.entries("session.ended")] == ["unwatched"]


def test_beats_that_a_relay_saved_up_keep_no_session_open(make: Make) -> None:
    """The watcher beats every five seconds and goes; the relay hands one over every fourteen."""
    rules = AccessRules(rules={**(RULES.rules or {}), "terminal": Rule(1, 3600, True, ("app",))})
    guard = make(rules)
    request, offer = guard.ask(seconds=3600)
    terms = Terms(request.scopes, 3600, 3600, True, NOW_MS - 1000, NOW_MS + 3_600_000)
    guard.push(guard.access.grant(request, offer, terms))
    opened = doors_of(guard).take()
    session, ada = opened.order.session, guard.access.trust.signers[0]
    policy, watched_ms, passed_ms = guard.access.trust.policy, 300_000, 0
    payloads = [make_beat_payload(policy, session, NOW_MS + at) for at in range(0, 300_000, 5_000)]
    for payload in payloads:
        guard.tick(14_000)
        passed_ms += 14_000
        if not guard.core.sessions.live or next(iter(guard.core.sessions.live.values())).ended:
            break
        guard.push(seal(payload, [ada]))
    assert passed_ms <= watched_ms + 2 * 15_000
    opened.close()


def test_the_refusal_of_a_request_ends_the_session_on_it(guard: SessionGuard) -> None:
    """One approver says yes, another no; the server hands the no over last."""
    opened = guard.enter()
    policy, ben = guard.access.trust.policy, guard.access.trust.signers[1]
    request = next(iter(guard.core.sessions.live.values())).grant.request
    other = seal(make_stop_payload(policy, "0" * 64, "no", NOW_MS), [ben])
    assert guard.refusal(other) == "no_such_session"
    guard.push(seal(make_stop_payload(policy, request.hash, "no", NOW_MS), [ben]))
    opened.told()
    opened.close()
    guard.tick()
    assert [(b["by"], b["who"]) for b in guard.entries("session.ended")] == [("stopped", "ben")]


def test_a_session_without_walls_ends_when_the_owner_wants_walls(tmp_path: Path) -> None:
    """It could not begin under that policy, so it does not go on under it."""
    guard = SessionGuard.make(tmp_path, doors=HeldDoors(sandbox="none"))
    opened = guard.enter()
    guard.access.set_rules(replace(RULES, walls="sandbox"))
    guard.access.trust.publish()
    guard.publish()
    (live,) = guard.core.sessions.live.values()
    assert live.ended is not None and live.ended[0] == "policy"
    opened.close()
    guard.close()


def test_documents_that_are_held_back_keep_nobody_inside(guard: SessionGuard) -> None:
    """Past the lease the machine cannot know whom its owner has put out meanwhile."""
    left = guard.core.lease_seconds_left
    guard.tick((left - 1800) * 1000)
    request, offer = guard.ask(seconds=3600)
    terms = Terms(request.scopes, 3600, 3600, False, NOW_MS - 1000, NOW_MS + 30 * DAY_MS)
    guard.push(guard.access.grant(request, offer, terms))
    opened = doors_of(guard).take()
    guard.tick(1_790_000)
    assert all(live.ended is None for live in guard.core.sessions.live.values())
    guard.tick(11_000)
    opened.told()
    opened.close()
    guard.tick()
    assert [b["by"] for b in guard.entries("session.ended")] == ["policy"]


def test_root_is_a_scope_of_its_own(guard: SessionGuard) -> None:
    # Two people and a watcher, by the rules of this owner.
    request = guard.access.request(RootScope())
    guard.push(request.raw)
    offer = guard.offer_to(request)
    assert refuse(guard, guard.access.grant(request, offer)) == "too_few_signatures"


def test_a_scope_that_was_asked_for_is_not_another(guard: SessionGuard) -> None:
    request, offer = guard.ask(PAGE)
    terms = Terms((FILES,), 600, 300, False, NOW_MS - 1, NOW_MS + 60_000)
    assert refuse(guard, guard.access.grant(request, offer, terms)) == "wider_than_request"


def test_a_process_that_lies_of_itself_changes_neither_length_nor_head(
    guard: SessionGuard,
) -> None:
    opened = guard.enter(seconds=60)
    for count in range(3):
        opened.record(b'[0,"o","%d"]\n' % count)
    guard.core.tick()
    opened.sock.send(b'{"word":"pulse","active":true,"bytes_in":-1,"bytes_out":1,"more":1}')
    guard.core.tick()
    assert not guard.core.sessions.live, "what is no word ends the session"
    (note,) = [n for n in guard.notes() if n.kind == "receipt"]
    trust = guard.access.trust
    receipt = verify_receipt(from_base64url(note.envelope), guard.access.machine.key, trust.owner)
    assert receipt.recording_head == opened.sealer.head.hex()
    assert (receipt.records, receipt.ended_by) == (3, "failed")
    opened.close()


def test_every_history_opens_no_more_than_was_granted(make: Make) -> None:
    """Replays, in every order, of all that ever was signed: two grants, two sessions."""
    guard = make()
    pile: list[bytes] = []
    for _ in range(2):
        request, offer = guard.ask()
        grant = guard.access.grant(request, offer)
        pile += [request.raw, offer.raw, grant]
        guard.push(grant)
        doors_of(guard).take().end()
        guard.tick()
    for turn in range(3):
        for envelope in pile[turn:] + pile[:turn]:
            with_no_error(lambda e=envelope: guard.push(e))  # type: ignore[misc]
            guard.tick(1000)
        guard.start()
    assert doors_of(guard).opened == 2
    assert len(guard.entries("session.opened")) == 2


def with_no_error(act: Callable[[], object]) -> None:
    try:
        act()
    except FleetwardError:
        return
