"""Recalls by generated fleets: who is done has signed, whoever is left out is not affected, and the
record's newest word does not depend on clocks or on the order of reports."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleetward.runtime.keys import make_key
from fleetward.server.updates.decide_recall import DONE, UNDONE, Member, Said, decide_members
from fleetward.trust.keys import ES256
from fleetward.trust.ledger_running import RunningInAudit
from fleetward.trust.recall import AFFECTED, EVER, Range, RecallScope, make_scope, read_scope
from fleetward.trust.roster import ACTIVE, RETIRED, RosterEntry
from fleetward.trust.selector import Selector
from fleetward.trust.update_report import Installed, UpdateReport

KEY = make_key(ES256).public
DEVICES = [letter * 32 for letter in "abcdef"]
ranges = st.lists(
    st.builds(
        lambda first, length: Range(first, EVER if length < 0 else first + length),
        st.integers(1, 6),
        st.integers(-1, 4),
    ),
    max_size=3,
)
scopes = st.builds(
    lambda parts, models: make_scope("kiosk", parts, Selector(models=models)),
    ranges,
    st.sampled_from([(), ("m1",), ("m1", "m2")]),
)
entries = st.lists(
    st.builds(
        lambda device, model, state: RosterEntry(
            device, KEY, "machine", "Plant", (), model, "Acme", state
        ),
        st.sampled_from(DEVICES),
        st.sampled_from(["m1", "m2", "m3"]),
        st.sampled_from([ACTIVE, ACTIVE, RETIRED]),
    ),
    unique_by=lambda entry: entry.device,
    max_size=6,
)
words = st.dictionaries(
    st.sampled_from(DEVICES),
    st.builds(
        lambda counter: Said(Installed("kiosk", f"1.{counter}", counter, "", 0), "r", 1),
        st.integers(1, 8),
    ),
)
fleets = st.tuples(entries, words)


@given(scopes, st.lists(fleets, min_size=1, max_size=4))
def test_done_is_signed_and_nobody_affected_is_left_out(
    scope: RecallScope, history: list[tuple[list[RosterEntry], dict[str, Said]]]
) -> None:
    before: dict[str, Member] = {}
    for now, (roster, said) in enumerate(history, 1):
        found = {each.device: each for each in decide_members(scope, roster, said, before, now)}
        for entry in roster:
            word, member = said.get(entry.device), found.get(entry.device)
            recalled = word is not None and scope.is_recalled(word.installed.counter)
            meant = scope.machines.selects(entry) or recalled
            if entry.state == ACTIVE and meant and (word is None or recalled):
                assert member is not None and member.standing in UNDONE
                assert (member.standing == AFFECTED) == recalled
            if member is not None and member.standing in DONE:
                # By the roster, or by its own word that it runs something else.
                assert entry.state == RETIRED or (word is not None and not recalled)
                assert entry.device in before and member.done_at_ms
            if member is not None and member.standing in UNDONE:
                assert member.done_at_ms == 0
        again = {each.device: each for each in decide_members(scope, roster, said, found, now)}
        assert again == found
        before = found


@given(scopes)
def test_a_scope_is_read_as_it_was_written(scope: RecallScope) -> None:
    assert read_scope(scope.to_json()) == scope


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 50)), min_size=1, max_size=8),
    st.permutations(range(8)),
)
def test_the_order_of_reports_and_clocks_make_no_machine_look_mended(
    said: list[tuple[int, int]], order: list[int]
) -> None:
    """A machine's committed counters only rise; its clock, and the server's order, may be any."""
    rising = sorted(counter for counter, _ in said)
    reports = [
        UpdateReport(
            "d" * 32, "", "kiosk", "", counter, "", "", 1, "committed", "", "", (),
            (Installed("kiosk", "", counter, "", counter),), (), at_ms, hash=str(number),
        )
        for number, (counter, (_, at_ms)) in enumerate(zip(rising, said, strict=True))
    ]  # fmt: skip
    honest, shuffled = RunningInAudit(), RunningInAudit()
    for number, report in enumerate(reports):
        honest.take(report, 1, number, own_entry=True)
    for number, at in enumerate(each for each in order if each < len(reports)):
        shuffled.take(reports[at], 1, number, own_entry=True)
    top = rising[-1]
    assert [word.installed.counter for word in honest.find("d" * 32, "kiosk")] == [top]
    # Whatever the order is, what it runs is among the words, and so the worse of them is no better.
    assert top in {word.installed.counter for word in shuffled.find("d" * 32, "kiosk")}
