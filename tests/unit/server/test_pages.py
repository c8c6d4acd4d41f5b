"""Today, the fleet and one machine: words, ranking, filters, scope and paging on both databases."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from tests.server_world import ServerWorld
from tests.unit.server.overview_world import overview, today

from fleetward.runtime.http.times import to_rfc3339
from fleetward.server.audit.check import Checked
from fleetward.server.overview.act import BROKEN, DAY_MS
from fleetward.server.overview.decide import (
    MAX_CARDS,
    NEEDS_YOU,
    CardFacts,
    Group,
    make_cards,
    make_sentence,
    tally,
    where_of,
)
from fleetward.server.overview.store import (
    SORTS,
    Filter,
    Timespan,
    count_refusals,
    count_timeline,
    select_timeline,
)
from fleetward.server.posture import store as posture_store
from fleetward.trust.errors import Malformed, Refused
from fleetward.wire.subjects import Up

NEEDS = ("", "waiting", "quarantined", "silent", "exposed", "updates", "unconfirmed")
rows = st.lists(
    st.tuples(st.sampled_from(["", "A", "B", "C"]), st.sampled_from(NEEDS), st.integers(1, 50)),
    max_size=12,
)


@given(rows)
def test_every_machine_counts_once(counted: list[tuple[str, str, int]]) -> None:
    found = tally(counted)
    parts = found.fine + found.need_you + found.silent + found.waiting
    assert found.total == parts == sum(number for _, _, number in counted)
    assert found.total == sum(site.total for site in found.sites.values())
    sentence = make_sentence(found)
    assert sentence.endswith(".")
    if found.total:
        assert sentence.startswith(f"{found.total:,} device")
        numbers = [
            int(part.split()[0].replace(",", ""))
            for part in sentence.partition(": ")[2].split(", ")
        ]
        assert sum(numbers) == found.total
    else:
        assert sentence == "No devices yet."


def test_the_sentence() -> None:
    counted = tally([("A", "", 9), ("A", "exposed", 2), ("B", "updates", 1), ("B", "silent", 1)])
    assert make_sentence(counted) == "13 devices: 9 fine, 3 need you, 1 silent."
    many = tally([("A", "", 4000), ("A", "silent", 1000)])
    assert make_sentence(many) == "5,000 devices: 4,000 fine, 1,000 silent."
    one = tally([("A", "quarantined", 1)])
    assert make_sentence(one) == "1 device: 1 needs you."
    assert set(NEEDS_YOU) < set(NEEDS)


def test_at_most_seven_cards_in_rank() -> None:
    groups = {n: Group(n, 2, ("A",), 5) for n in NEEDS if n}
    broken = CardFacts("record", "broken", "t", "w", "y", 1, "l", "/proof")
    extra = [CardFacts(f"s{n}", "setup", "t", "w", "y", 1, "l", "/") for n in range(5)]
    cards = make_cards(groups, broken, extra)
    kinds = ["waiting", "broken", "containment", "exposure", "updates", "silence", "setup"]
    assert [card.kind for card in cards] == kinds
    assert len(cards) == MAX_CARDS
    assert all(card.title and card.where and card.why and card.label for card in cards)
    assert make_cards({}, None, ()) == []
    assert where_of([]) == where_of([""]) == "No site"
    assert where_of(["A", "B"]) == "A and B"
    assert where_of(["A", "B", "C", "D"]) == "A and 3 more sites"


def fleet(world: ServerWorld) -> dict[str, str]:
    """A fleet with one machine of every need; return the ids by name."""
    made, sites = {}, {}
    for name, site in (
        ("Alpha", "Nord"), ("beta", "Nord"), ("Gamma_1", "Süd"), ("GammaX1", "Süd"),
        ("100%", "West"), ("Ärzte", "West"), ("new", "Nord"),
    ):  # fmt: skip
        machine = world.join(name, site=site, preapproved=name != "new")
        made[name], sites[name] = machine.device, site
        if name == "beta":
            continue
        world.send(machine, Up.HELLO, machine.hello(world.nonce(machine)))
    known = [m for m in world.machines if m.name not in ("new", "Ärzte")]
    world.trust.publish([m.entry(site=sites[m.name]) for m in known])
    world.publish()
    summaries = {"Gamma_1": {"exposed_ports": 2, "open_ports": 3}, "GammaX1": {"updates": 7}}
    with world.database.write() as conn:
        for name, facts in summaries.items():
            values = {
                c.name: 0 if c.type.python_type is int else ""
                for c in posture_store.devices.c
                if not c.nullable and c.server_default is None
            }
            values |= {
                "owner_id": world.trust.owner,
                "device_id": made[name],
                "open_ports": facts.get("open_ports", 0),
                "exposed_ports": facts.get("exposed_ports", 0),
                "updates_pending": facts.get("updates", 0),
                "security_updates": facts.get("updates", 0),
                "root": True,
            }
            conn.execute(posture_store.devices.insert().values(**values))
    world.house.devices.quarantine(made["Alpha"], "person:ada", "looks odd")
    return made


def names(world: ServerWorld, wanted: Filter, sort: str = "name") -> list[str]:
    found, total = overview(world).devices(wanted, sort, 0, 100)
    assert total == len(found)
    by_id = {m.device: m.name for m in world.machines}
    return [by_id[row.id] for row in found]


def test_the_fleet_page(world: ServerWorld) -> None:
    made = fleet(world)
    everything = names(world, Filter())
    assert sorted(everything) == sorted(made)
    assert names(world, Filter(site="Süd")) == ["Gamma_1", "GammaX1"]
    assert names(world, Filter(state="pending")) == ["new"]
    assert names(world, Filter(connection="connected", site="Nord")) == ["Alpha", "new"]
    assert names(world, Filter(connection="never")) == ["beta"]
    for need, name in (
        ("waiting", "new"), ("quarantined", "Alpha"), ("silent", "beta"), ("exposed", "Gamma_1"),
        ("updates", "GammaX1"), ("unconfirmed", "Ärzte"),
    ):  # fmt: skip
        assert names(world, Filter(need=need)) == [name]
    # What a pattern means to the database is only a letter here.
    assert names(world, Filter(text="gamma_")) == ["Gamma_1"]
    assert names(world, Filter(text="100%")) == ["100%"]
    assert names(world, Filter(text="%")) == ["100%"]
    assert names(world, Filter(text="\\")) == []
    assert names(world, Filter(text="Ärzte")) == ["Ärzte"]
    assert names(world, Filter(text="'; DROP TABLE identity_device; --")) == []
    assert names(world, Filter(text=made["beta"][:9])) == ["beta"]
    # Scope narrows everything, and joins sites with machines.
    scope = Filter(sites=frozenset({"Süd"}), devices=frozenset({made["beta"]}))
    assert set(names(world, scope)) == {"Gamma_1", "GammaX1", "beta"}
    assert names(world, Filter(sites=frozenset(), devices=frozenset())) == []
    with pytest.raises(Refused):
        overview(world).find(made["Alpha"], scope)
    assert overview(world).find(made["beta"], scope).name == "beta"
    assert overview(world).today(scope).counts.total == 3
    assert {c.device_name for c in overview(world).today(scope).changes} <= {
        "Gamma_1", "GammaX1", "beta",
    }  # fmt: skip


def test_sorting_and_paging(world: ServerWorld) -> None:
    fleet(world)
    pages = overview(world)
    for sort in SORTS:
        up = [row.id for row in pages.devices(Filter(), sort, 0, 100)[0]]
        assert len(set(up)) == 7
        paged: list[str] = []
        for offset in range(0, 7, 2):
            found, total = pages.devices(Filter(), f"-{sort}", offset, 2)
            assert total == 7
            paged += [row.id for row in found]
        assert paged == [row.id for row in pages.devices(Filter(), f"-{sort}", 0, 100)[0]]
    assert names(world, Filter(), "updates")[-1] == "GammaX1"
    assert names(world, Filter(), "-open_ports")[0] == "Gamma_1"
    with pytest.raises(Malformed) as caught:
        pages.devices(Filter(), "name; DROP", 0, 10)
    assert caught.value.reason == "bad_sort"


def test_today_and_the_machines_page(world: ServerWorld) -> None:
    assert today(world).first_run
    made = fleet(world)
    page = today(world)
    assert page.sentence == "7 devices: 2 fine, 3 need you, 1 silent, 1 waiting to be let in."
    kinds = [card.kind for card in page.cards]
    assert kinds == ["waiting", "containment", "exposure", "updates", "silence"]
    assert [w.title for w in page.waiting] == ["The owner has not confirmed Ärzte yet."]
    sites = {row.site: row for row in overview(world).sites(Filter()).items}
    assert (sites["Nord"].total, sites["Nord"].silent, sites["Nord"].need_you) == (3, 1, 2)
    broken = overview(world, Checked("broken", world.clock.now, 1, "Entry 3 is missing."))
    assert [card.kind for card in broken.today(Filter()).cards][:2] == ["waiting", "broken"]
    shown = overview(world).device(made["Alpha"], Filter())
    assert (shown.state, shown.trust.level) == ("quarantined", "L2")
    assert "containment" in [card.kind for card in shown.do_now]
    assert overview(world).device(made["new"], Filter()).trust.level == "L1"
    with pytest.raises(Refused):
        overview(world).device("a" * 32, Filter())


def test_a_card_is_as_old_as_what_it_tells(world: ServerWorld) -> None:
    made = fleet(world)
    joined = world.clock.now
    world.clock.now += 3_600_000
    world.house.devices.readmit(made["Alpha"], "person:ada", "")
    world.house.devices.quarantine(made["Alpha"], "person:ada", "looks odder")
    with world.database.write() as conn:
        conn.execute(
            posture_store.devices.update()
            .where(posture_store.devices.c.device_id == made["Gamma_1"])
            .values(exposed_since=joined + 60_000)
        )
    since = {card.kind: card.since for card in today(world).cards}
    assert since["containment"] == to_rfc3339(joined + 3_600_000)
    assert since["exposure"] == to_rfc3339(joined + 60_000)
    # Never heard of: it is silent since it is here, not since 1970.
    assert since["silence"] <= to_rfc3339(joined)
    assert since["silence"] > to_rfc3339(joined - 3_600_000)
    for kind, words in (
        ("device.quarantined", "Quarantined: looks odder."),
        ("device.readmitted", "Let back."),
    ):
        about = Timespan(made["Alpha"], kind)
        assert overview(world).timeline(about, (1, 1), Filter()).items[0].words == words


def test_the_first_page_reads_no_whole_table(world: ServerWorld) -> None:
    plans: list[str] = []
    with world.database.read() as conn:
        if conn.dialect.name != "sqlite":
            pytest.skip("the words of the plan are those of SQLite")

        def explain(*args: Any) -> None:
            if args[2].startswith("SELECT"):
                plan = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {args[2]}", args[3])
                plans.extend(str(row[3]) for row in plan)

        sa.event.listen(conn, "before_cursor_execute", explain)
        day = Timespan(since_ms=world.clock.now - DAY_MS)
        select_timeline(conn, day, Filter(), (0, 20))
        count_timeline(conn, day, Filter())
        count_refusals(conn, tuple(BROKEN), day.since_ms, Filter())
    found = [line for line in plans if "audit_leaf" in line or "events_event" in line]
    assert len(found) == 5
    assert [line for line in found if not line.startswith("SEARCH")] == []


def test_timeline_and_record(world: ServerWorld) -> None:
    made = fleet(world)
    beta = next(m for m in world.machines if m.name == "beta")
    for number in range(5):
        beta.write("gate.refused", {"words": f"An order {number}."})
        world.clock.now += 1000
        world.send(beta, Up.BATCH, beta.cut())
    pages = overview(world)
    shown = pages.timeline(Timespan(made["beta"]), (1, 3), Filter())
    assert [item.words for item in shown.items] == ["An order 4.", "An order 3.", "An order 2."]
    assert shown.total >= 6  # and the deed of its joining
    later = pages.timeline(Timespan(made["beta"]), (2, 3), Filter())
    assert [item.words for item in later.items][:2] == ["An order 1.", "An order 0."]
    assert pages.timeline(Timespan(kind="gate."), (1, 50), Filter()).total == 5
    assert pages.timeline(Timespan(kind="gate_"), (1, 50), Filter()).total == 0
    assert (
        pages.timeline(Timespan(since_ms=world.clock.now), (1, 50), Filter()).items[0].device_name
        == "beta"
    )
    record = pages.record()
    heads = {row.id: row for row in record.devices}
    assert heads[made["beta"]].age_seconds == 0
    assert heads[made["Alpha"]].head_at is None
    proof = pages.device(made["beta"], Filter()).proof
    assert (proof.last_sequence, proof.journal_head) == (5, beta.heads[5].hex())
    assert proof.last_leaf == world.house.ledger.size - 1
