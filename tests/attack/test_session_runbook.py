"""Runbooks in bad hands: the technician's, who wants a shell; the server's; another maker's.

The machine is a whole guard; behind its door there is the test, so that a run would be seen.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.access_world import RULES, TERMINAL
from tests.runbook_world import WORD, Hole, Maker, forbid_runbooks, let_runbooks, scope_of
from tests.trust_world import alter, payload_of, resign
from tests.unit.device.session_guard import HeldDoors, SessionGuard

from fleetward.device.gate_runbooks import MOST_RUNBOOKS
from fleetward.device.refusals import ENTRIES_AN_HOUR
from fleetward.trust.access import RootScope
from fleetward.trust.access_runbook import RunbookScope
from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError, Malformed
from fleetward.trust.runbook import Runbook, TextArgument, fill_in, read_runbook

STEPS = (("/opt/pump/bundle", "--name", Hole("what")), ("/bin/sh", "-c", "exit 0"))
BAD_VALUES = (
    "a;reboot", "$(reboot)", "`reboot`", "a|b", "a&b", "a>b", "--all", "-rf", "--", "../../etc",
    "a/../../etc/shadow", "..", "a b", "a'b", 'a"b', "a\\b", "*", "~root", "{what}", "A",
    "\u0430", "", "a" * 65,
)  # fmt: skip
UNSEEN_VALUES = ("a\nreboot", "a\x00b", "a\x1bb", "a\u202eb", "a\u2028b")
OPEN: JsonObject = {"argument": "what"}
BAD_STEPS: tuple[tuple[list[Json], str], ...] = (
    (["/bin/echo", "--name={what}", OPEN], "placeholder_in_text"),
    (["/bin/sh", "-c", OPEN], "open_interpreter"),
    (["/usr/bin/env", OPEN], "open_interpreter"),
    (["/usr/bin/python3.12", "-c", OPEN], "open_interpreter"),
    ([OPEN], "bad_step"),
    (["echo", OPEN], "bad_step"),
    (["/opt/../bin/sh", OPEN], "bad_step"),
)


@pytest.fixture
def maker() -> Maker:
    return Maker()


@pytest.fixture
def guard(tmp_path: Path, maker: Maker) -> Iterator[SessionGuard]:
    made = SessionGuard.make(tmp_path, RULES)
    let_runbooks(made.access, maker)
    made.access.trust.publish()
    made.publish()
    yield made
    made.close()


@pytest.fixture
def book(maker: Maker) -> Runbook:
    return maker.sign(STEPS, WORD)


def doors_of(guard: SessionGuard) -> HeldDoors:
    assert guard.doors is not None
    return guard.doors


def kept(guard: SessionGuard) -> list[str]:
    return sorted(path.name for path in (guard.folder / "runbooks").iterdir())


def test_a_run_gets_the_steps_that_the_approver_saw(guard: SessionGuard, book: Runbook) -> None:
    guard.push(book.raw)
    opened = guard.enter(scope_of(book, what="pump-7"), TERMINAL)
    (plan,) = opened.plans.values()
    assert plan.steps == (("/opt/pump/bundle", "--name", "pump-7"), ("/bin/sh", "-c", "exit 0"))
    assert (plan.run_as, plan.seconds, list(opened.plans)) == ("app", 60, [0])


def test_a_value_that_would_be_more_than_a_value(guard: SessionGuard, book: Runbook) -> None:
    guard.push(book.raw)
    for value in BAD_VALUES:
        request = guard.access.request(scope_of(book, what=value))
        assert guard.refusal(request.raw) == "bad_argument", value
        assert guard.denials() == [(request.hash, "bad_argument")]
    good = guard.access.request(scope_of(book, what="a"))
    for unseen in UNSEEN_VALUES:
        scope: JsonObject = {**scope_of(book).to_json(), "arguments": {"what": unseen}}
        raw = resign(good.raw, {"scopes": [scope]}, [guard.access.technician])
        assert guard.refusal(raw) == "bad_field", unseen
    assert not doors_of(guard).opened
    assert not guard.entries("session.offered")


def test_a_document_that_its_own_maker_may_not_sign(
    guard: SessionGuard, maker: Maker, book: Runbook
) -> None:
    for steps, reason in BAD_STEPS:
        raw = resign(book.raw, {"steps": [steps]}, [maker.key])
        assert guard.refusal(raw) == reason, steps
    assert kept(guard) == []


def test_a_schema_that_would_look_for_ever(
    guard: SessionGuard, maker: Maker, book: Runbook
) -> None:
    """There is no pattern language: what could backtrack is refused, the rest takes no time."""
    evil: JsonObject = {
        "kind": "text", "name": "what", "pattern": "(a+)+$", "low": 1, "high": 256,
    }  # fmt: skip
    assert guard.refusal(resign(book.raw, {"arguments": [evil]}, [maker.key])) == "unknown_field"
    longest = TextArgument("what", ("lower",), 1, 256)
    began = time.perf_counter()
    for _ in range(1000):
        assert not longest.fits("a" * 255 + "!")
    assert time.perf_counter() - began < 1


def test_a_document_of_another_signer_or_altered_on_the_way(
    guard: SessionGuard, maker: Maker, book: Runbook
) -> None:
    thief = Maker()
    by_thief = thief.sign(STEPS, WORD)
    assert guard.refusal(by_thief.raw) == "unknown_signer"
    # His signature under the maker's name, and the maker's under other steps.
    assert guard.refusal(resign(book.raw, {}, [thief.key])) == "wrong_signer"
    assert guard.refusal(alter(book.raw, {"steps": [["/bin/id"]], "arguments": []})) == (
        "bad_signature"
    )
    assert guard.refusal(alter(book.raw, {"run_as": "root"})) == "bad_signature"
    # An approver's signature, or the technician's, makes no runbook.
    for signer in (guard.access.trust.signers[0], guard.access.technician):
        theirs = resign(book.raw, {"signer": signer.public.key_id}, [signer])
        assert guard.refusal(theirs) == "unknown_signer"
    assert guard.refusal(resign(book.raw, {}, [maker.key, thief.key])) == "wrong_signer"
    assert kept(guard) == []


def test_ten_megabytes(guard: SessionGuard, maker: Maker, book: Runbook) -> None:
    big = seal({**payload_of(book.raw), "steps": [["/bin/echo", "x" * 10_000_000]]}, [maker.key])
    with pytest.raises(Malformed):
        guard.push(big)
    # As much as a message takes, and more than a runbook is.
    steps: Json = [["/bin/echo", *["x" * 1000] * 60] for _ in range(2)]
    assert guard.refusal(resign(book.raw, {"steps": steps}, [maker.key])) == "too_large"
    assert kept(guard) == []


def test_a_runbook_that_the_machine_does_not_have(
    guard: SessionGuard, maker: Maker, book: Runbook
) -> None:
    request = guard.access.request(scope_of(book, what="a"))
    assert guard.refusal(request.raw) == "runbook_unknown"
    assert guard.denials() == [(request.hash, "runbook_unknown")]
    # Another version, which it has, does not stand for it.
    guard.push(maker.sign(STEPS, WORD, version=2).raw)
    assert guard.refusal(guard.access.request(scope_of(book, what="b")).raw) == "runbook_unknown"


def test_a_scope_that_says_another_user_than_the_document(
    guard: SessionGuard, maker: Maker
) -> None:
    """Root's rule takes two people; who says `app` in the scope would need one."""
    book = maker.sign(STEPS, WORD, run_as="root")
    guard.push(book.raw)
    scope = replace(scope_of(book, what="a"), run_as="app")
    assert guard.refusal(guard.access.request(scope).raw) == "another_user"


def test_a_runbook_as_root_takes_what_root_takes(guard: SessionGuard, maker: Maker) -> None:
    book = maker.sign(STEPS, WORD, run_as="root")
    guard.push(book.raw)
    request, offer = guard.ask(scope_of(book, what="a"))
    ada, ben = guard.access.trust.signers
    terms = replace(guard.access.terms(request), watched=True)
    assert guard.refusal(guard.access.grant(request, offer, terms, [ada])) == "too_few_signatures"
    assert guard.refusal(guard.access.grant(request, offer, None, [ada, ben])) == "not_watched"
    guard.push(guard.access.grant(request, offer, terms, [ada, ben]))
    assert doors_of(guard).opened == 1
    # Nor may root's rule be missing, or shorter.
    with pytest.raises(FleetwardError) as refused:
        guard.access.request(scope_of(book, what="a"), seconds=901)
    assert refused.value.reason == "too_long"
    rules = {k: r for k, r in (RULES.rules or {}).items() if k != "root"}
    guard.access.set_rules(replace(RULES, rules=rules))
    let_runbooks(guard.access, maker)
    with pytest.raises(FleetwardError) as refused:
        guard.access.request(scope_of(book, what="a"))
    assert refused.value.reason == "scope_not_in_policy"
    assert guard.access.trust.policy.access.rule_of(RootScope()) is None


def test_a_document_put_in_the_place_of_another_between_yes_and_run(
    guard: SessionGuard, maker: Maker, book: Runbook
) -> None:
    guard.push(book.raw)
    request, offer = guard.ask(scope_of(book, what="a"))
    other = maker.sign([["/bin/rm", Hole("what")]], WORD)
    guard.push(other.raw)
    place = guard.folder / "runbooks" / book.digest
    for bytes_there in (other.raw, b"", b"{}", other.raw + b" "):
        place.write_bytes(bytes_there)
        with pytest.raises(FleetwardError):
            guard.push(guard.access.grant(request, offer))
        assert not doors_of(guard).opened
    place.unlink()
    place.symlink_to(guard.folder / "runbooks" / other.digest)
    assert guard.refusal(guard.access.grant(request, offer)) == "runbook_unknown"
    place.unlink()
    # None of it used the offer up.
    guard.push(book.raw)
    guard.push(guard.access.grant(request, offer))
    (plan,) = doors_of(guard).take().plans.values()
    assert plan.steps[0] == ("/opt/pump/bundle", "--name", "a")


@pytest.mark.parametrize("how", ["signer", "digest", "rule"])
def test_a_run_ends_when_the_policy_lets_it_run_no_more(
    guard: SessionGuard, maker: Maker, book: Runbook, how: str
) -> None:
    guard.push(book.raw)
    opened = guard.enter(scope_of(book, what="a"))
    waiting, _ = guard.ask(scope_of(book, what="b"))
    trust = guard.access.trust
    trust.next_policy({"never_ports": [22, 23]})
    trust.publish()
    guard.publish()
    assert guard.core.sessions.live[opened.order.session].ended is None
    if how == "signer":
        let_runbooks(guard.access, Maker())
    elif how == "digest":
        let_runbooks(guard.access, maker, digests=["ab" * 32])
    else:
        forbid_runbooks(guard.access)
    trust.publish()
    guard.publish()
    ended = guard.core.sessions.live[opened.order.session].ended
    assert ended is not None
    assert ended[0] == "policy"
    opened.close()
    guard.tick()
    assert [b["by"] for b in guard.entries("session.ended")] == ["policy"]
    refused = guard.refusal(waiting.raw)
    assert refused in ("unknown_signer", "scope_not_allowed", "scope_not_in_policy")
    assert guard.refusal(book.raw) == refused


def test_a_server_that_pours_documents_over_a_machine(
    guard: SessionGuard, maker: Maker, book: Runbook
) -> None:
    guard.push(book.raw)
    _, offer = guard.ask(scope_of(book, what="a"))
    del offer
    taken = 0
    for number in range(2, 2 * MOST_RUNBOOKS):
        with_ = maker.sign(STEPS, WORD, version=number)
        for _ in range(2):
            try:
                guard.push(with_.raw)
                taken += 1
            except FleetwardError as e:
                assert e.reason == "too_many_runbooks"
        guard.push(book.raw)
    # The journal has an hour's worth of them, and what somebody waits on is still there.
    assert len(guard.entries("runbook.stored")) < ENTRIES_AN_HOUR
    assert len(kept(guard)) <= MOST_RUNBOOKS
    assert book.digest in kept(guard)
    for hour in range(1, 3):
        guard.tick(3_600_001)
        for number in range(50):
            guard.push(maker.sign(STEPS, WORD, version=1000 * hour + number).raw)
    assert len(kept(guard)) == MOST_RUNBOOKS
    assert book.digest in kept(guard), "an offer waits on it"


def test_a_restart_keeps_runbooks_and_judges_them_anew(
    guard: SessionGuard, maker: Maker, book: Runbook, tmp_path: Path
) -> None:
    guard.push(book.raw)
    guard.start()
    guard.ask(scope_of(book, what="a"))
    assert len(guard.entries("runbook.stored")) == 1
    # A folder from elsewhere brings nothing in: what is read is judged.
    strange = Maker().sign(STEPS, WORD)
    (guard.folder / "runbooks" / strange.digest).write_bytes(strange.raw)
    scope = RunbookScope(strange.digest, "app", (("what", "a"),))
    assert guard.refusal(guard.access.request(scope).raw) == "unknown_signer"
    shutil.rmtree(guard.folder / "runbooks")
    assert guard.refusal(guard.access.request(scope_of(book, what="b")).raw) == "runbook_unknown"


def test_a_grant_of_other_arguments_than_were_asked_for(guard: SessionGuard, book: Runbook) -> None:
    guard.push(book.raw)
    request, offer = guard.ask(scope_of(book, what="a"))
    other: Json = [scope_of(book, what="b").to_json()]
    grant = resign(
        guard.access.grant(request, offer), {"scopes": other}, [guard.access.trust.signers[0]]
    )
    assert guard.refusal(grant) == "wider_than_request"


def test_every_field_of_a_document_is_signed(guard: SessionGuard, book: Runbook) -> None:
    payload = payload_of(book.raw)
    values: tuple[Json, ...] = ("x", 7, ["x"], {})
    for name in payload:
        for value in values:
            with pytest.raises(FleetwardError):
                guard.push(alter(book.raw, {name: value}))
    assert kept(guard) == []
    assert fill_in(read_runbook(book.raw), {"what": "a"}).name == "support-bundle"
