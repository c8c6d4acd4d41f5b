"""Whom the director tells of what: nobody of anything that was not approved for him."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleetward.runtime.keys import make_key
from fleetward.server.updates.decide import (
    MAX_DIRECTED,
    MAX_ENVELOPES_BYTES,
    Papers,
    Release,
    choose_papers,
    decide_targets,
    digest_content,
    next_version,
)
from fleetward.server.updates.reading import APPROVAL, STANDING, WITHDRAWAL, Paper
from fleetward.trust.keys import ES256
from fleetward.trust.roster import ACTIVE, RETIRED, RosterEntry
from fleetward.trust.selector import Selector
from fleetward.wire.updates import MAX_APPROVALS

NOW = 1000
KEY = make_key(ES256).public
PRODUCTS = ("kiosk", "pump")
RELEASES = [
    Release(
        f"{n:064x}", PRODUCTS[n % 2], f"1.{n}", n + 1, 100, hardware, least_before,
        replaces_agent=agent, released_at_ms=0,
    )
    for n, (hardware, least_before, agent) in enumerate(
        [
            (("*",), 0, False), (("a",), 0, False), (("b",), 1, False), (("*",), 2, False),
            (("*",), 3, True), (("*",), 4, False), (("a", "b"), 5, False), (("*",), 0, True),
        ]
    )
]  # fmt: skip
SELECTORS = st.sampled_from(
    [Selector(), Selector(groups=("g",)), Selector(models=("a",)), Selector(devices=("d" * 32,))]
)


@st.composite
def papers(draw: st.DrawFn) -> Paper:
    """An approval of one release, or a standing one; some are over, or of another epoch."""
    release = draw(st.sampled_from([None, *RELEASES]))
    number = draw(st.integers(0, 30))
    return Paper(
        APPROVAL if release else STANDING, f"{number:064x}", f"{number:064x}",
        draw(st.integers(1, 2)), draw(st.integers(0, NOW)), "", (),
        b"x" * draw(st.sampled_from([100, 30_000])),
        product=release.product if release else draw(st.sampled_from(PRODUCTS)),
        release=release.id if release else "", agent=draw(st.booleans()) and release is not None,
        selector=draw(SELECTORS), not_after_ms=draw(st.sampled_from([NOW, NOW + 1])),
    )  # fmt: skip


ENTRIES = st.builds(
    RosterEntry, device=st.sampled_from(["d" * 32, "e" * 32]), key=st.just(KEY),
    name=st.just("n"), site=st.just("s"), groups=st.sampled_from([(), ("g",)]),
    model=st.sampled_from(["a", "b", "c"]), maker=st.just(""),
    state=st.sampled_from([ACTIVE, ACTIVE, RETIRED]),
)  # fmt: skip


@given(
    st.lists(papers(), max_size=12), st.sets(st.integers(0, 30)), ENTRIES,
    st.dictionaries(st.sampled_from([r.id for r in RELEASES]), st.booleans()),
    st.dictionaries(st.sampled_from(PRODUCTS), st.integers(0, 9)),
)  # fmt: skip
def test_nobody_is_told_of_what_is_not_approved_for_him(
    signed: list[Paper], withdrawn: set[int], entry: RosterEntry, gates: dict[str, bool],
    running: dict[str, int],
) -> None:  # fmt: skip
    gone = frozenset(f"{number:064x}" for number in withdrawn)
    holding = Papers(tuple(signed), gone).hold(1, NOW)
    named = decide_targets(RELEASES, holding, entry, gates, running)
    assert len(named) <= MAX_DIRECTED
    assert len({each.id for each in named}) == len(named)
    assert not named or entry.state == ACTIVE
    for each in named:
        assert "*" in each.hardware or entry.model in each.hardware
        assert gates.get(each.id, True)
        by = [
            paper
            for paper in signed
            if paper.epoch == 1 and paper.not_after_ms > NOW and paper.approval not in gone
            and paper.selector.selects(entry) and paper.product == each.product
            and paper.release in ("", each.id)
        ]  # fmt: skip
        assert by
        assert not each.replaces_agent or any(p.release == each.id and p.agent for p in by)
    for product in PRODUCTS:
        mine = [each.counter for each in named if each.product == product]
        assert mine == sorted(mine, reverse=True)
    # The order of what is stored says nothing.
    again = decide_targets(RELEASES[::-1], holding[::-1], entry, gates, running)
    assert digest_content(("o",), again) == digest_content(("o",), named)


@given(st.lists(papers(), max_size=90), ENTRIES, st.lists(st.integers(0, 30), max_size=9))
def test_papers_are_few_fresh_and_newest_first(
    signed: list[Paper], entry: RosterEntry, numbers: list[int]
) -> None:
    withdrawals = [
        Paper(
            WITHDRAWAL, f"{number + 100:064x}", f"{number + 100:064x}", 1, NOW, "", (), b"w",
            withdraws=f"{number:064x}",
        )
        for number in numbers
    ]  # fmt: skip
    chosen = choose_papers(signed, withdrawals, entry, 1, NOW)
    assert len(chosen) <= MAX_APPROVALS
    assert sum(map(len, chosen)) <= MAX_ENVELOPES_BYTES
    fitting = [
        p for p in signed
        if p.epoch == 1 and p.not_after_ms > NOW and p.selector.selects(entry)
    ]  # fmt: skip
    named = {paper.approval for paper in fitting}
    allowed = [p.raw for p in fitting] + [p.raw for p in withdrawals if p.withdraws in named]
    assert all(raw in allowed for raw in chosen)
    # Withdrawals here are the newest: none is left out for an approval's sake.
    wanted = sum(paper.withdraws in named for paper in withdrawals)
    assert chosen.count(b"w") == wanted
    assert chosen[:wanted] == [b"w"] * wanted


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=30))
def test_versions_rise_whatever_the_clock_does(clock: list[int]) -> None:
    version = 0
    for now_ms in clock:
        after = next_version(version, now_ms)
        assert after > version and after >= now_ms // 1000
        version = after
