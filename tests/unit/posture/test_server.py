"""Posture on the server: stored once per content, shown with its age, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from litestar import Litestar
from litestar.testing import TestClient
from tests.unit.web.floor import HOST, Names

from fleetward.runtime.database import Database
from fleetward.runtime.http.hosts import HostPolicy
from fleetward.runtime.http.times import to_rfc3339
from fleetward.server.posture import store
from fleetward.server.posture.act import Posture, held_at
from fleetward.server.posture.decide import Context
from fleetward.server.posture.routes import make_posture_handlers
from fleetward.server.posture.store import DeviceKey
from fleetward.server.web.app import Services, create_app
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.journal import Entry
from fleetward.wire.posture import (
    Change,
    Inventory,
    InventoryNotice,
    Machine,
    Package,
    Section,
    Sight,
    Socket,
    Summary,
    Update,
    User,
    digest_inventory,
    encode_inventory,
    summarize,
)

FULL = Sight("full")
OWNER = "o" * 64
NOW = 1_795_000_000_000


def make_inventory(port: int = 22) -> Inventory:
    return Inventory(
        type="fleetward.inventory.v1",
        machine=Machine("debian", "Debian", "12", "6.1", "x86_64", "systemd", root=True),
        packages=Section(
            FULL,
            (
                Package("dpkg", "bash", "5.2", "amd64", "bash"),
                Package("dpkg", "openssl", "1", "amd64", "openssl"),
            ),
        ),
        updates=Section(FULL, (Update("dpkg", "openssl", "1", "2", "Debian", security=True),)),
        sockets=Section(
            FULL,
            (
                Socket("tcp", "0.0.0.0", port, "all", "sshd"),
                Socket("tcp", "127.0.0.1", 631, "loopback", "cupsd"),
            ),
        ),
        users=Section(FULL, (User("eve", 1000, "/bin/sh", "set", administrator=False, keys=0),)),
    )


def notice(sequence: int, body: bytes, summary: Summary | None = None) -> Entry:
    made = InventoryNotice(
        digest_inventory(body), len(body), summary or summarize(make_inventory())
    )
    return entry(sequence, "posture.inventory", msgspec.to_builtins(made))


def entry(sequence: int, kind: str, body: Any) -> Entry:
    return Entry(sequence, NOW + sequence, "boot", kind, body, b"")


def changed(sequence: int, words: str) -> Entry:
    change = Change("tcp/23", "port.opened", words, "", "busybox", "warning")
    return entry(sequence, "posture.changed", msgspec.to_builtins(change))


@pytest.fixture
def posture(database: Database) -> Posture:
    tables = [store.inventories, store.devices, store.changes]
    with database.write() as conn:
        for table in tables:
            conn.execute(sa.schema.CreateTable(table))
            for index in table.indexes:
                conn.execute(sa.schema.CreateIndex(index))
    return Posture(database)


def device(name: str) -> DeviceKey:
    return DeviceKey(name, OWNER, "maker")


def test_a_fleet_of_one_image_is_one_row(posture: Posture, database: Database) -> None:
    body = encode_inventory(make_inventory())
    digest = digest_inventory(body)
    first = posture.take_events(device("d0"), [notice(1, body)], NOW)
    assert first.wanted == (digest,)
    posture.take_inventory(device("d0"), digest, body, NOW)
    for number in range(1, 30):
        taken = posture.take_events(device(f"d{number}"), [notice(1, body)], NOW)
        assert taken.wanted == ()
    with database.read() as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(store.inventories)) == 1
    assert len(posture.fleet(OWNER)) == 30
    assert posture.look("d29")[1] == make_inventory()
    assert Posture(database).look("d29")[1] == make_inventory()


def test_an_inventory_that_is_not_the_one_named_is_refused(
    posture: Posture, database: Database
) -> None:
    body, other = encode_inventory(make_inventory()), encode_inventory(make_inventory(23))
    digest = digest_inventory(body)
    posture.take_events(device("d1"), [notice(1, body)], NOW)
    with pytest.raises(Untrusted):
        posture.take_inventory(device("d1"), digest, other, NOW)
    with pytest.raises(Malformed, match="another one"):
        posture.take_inventory(device("d1"), digest_inventory(other), other, NOW)
    with pytest.raises(Malformed):
        posture.take_inventory(device("d1"), digest_inventory(b"{}"), b"{}", NOW)
    with database.read() as conn:
        assert not store.has_inventory(conn, OWNER, digest)


def test_the_document_outweighs_the_summary_that_came_before_it(posture: Posture) -> None:
    body = encode_inventory(make_inventory())
    lie = Summary(os="x", kernel="y", root=True, open_ports=0)
    posture.take_events(device("d1"), [notice(1, body, lie)], NOW)
    assert posture.known(["d1"])["d1"].summary.open_ports == 0
    posture.take_inventory(device("d1"), digest_inventory(body), body, NOW)
    summary = posture.known(["d1"])["d1"].summary
    assert (summary.open_ports, summary.exposed_ports, summary.security_updates) == (2, 1, 1)


def test_an_older_entry_does_not_come_back(posture: Posture) -> None:
    new, old = encode_inventory(make_inventory(1)), encode_inventory(make_inventory(2))
    posture.take_events(device("d1"), [notice(5, new)], NOW)
    posture.take_events(device("d1"), [notice(4, old)], NOW)
    assert posture.known(["d1"])["d1"].digest == digest_inventory(new)


def test_a_clock_in_the_future_does_not_make_evidence_younger(posture: Posture) -> None:
    body = encode_inventory(make_inventory())
    posture.take_events(device("d1"), [notice(1, body)], 1_000_000)
    assert posture.known(["d1"])["d1"].as_of_ms == 1_000_000


def test_malformed_entries_are_counted_and_the_rest_is_kept(posture: Posture) -> None:
    taken = posture.take_events(
        device("d1"),
        [
            entry(1, "posture.changed", {"words": "x"}),
            entry(2, "posture.inventory", {"digest": "..", "size": 1}),
            entry(3, "posture.changed", "not an object"),
            changed(4, "port 23 opened by \x1b[31mevil"),
            changed(5, "port 23 opened by busybox, reachable from the LAN"),
            entry(6, "agent.started", {}),
        ],
        NOW,
    )
    assert taken.malformed == 4
    shown = posture.changes(OWNER, "d1")
    assert [row.words for row in shown] == ["port 23 opened by busybox, reachable from the LAN"]
    assert shown[0].received_at == "2026-11-18T10:13:20.000Z" or shown[0].received_at.endswith("Z")


def test_changes_are_stored_once_and_listed_by_arrival(posture: Posture) -> None:
    posture.take_events(device("d1"), [changed(1, "one"), changed(2, "two")], NOW)
    posture.take_events(device("d1"), [changed(2, "two"), changed(3, "three")], NOW + 5)
    posture.take_events(device("d2"), [changed(1, "other")], NOW + 9)
    assert [row.words for row in posture.changes(OWNER)] == ["other", "three", "two", "one"]
    assert [row.words for row in posture.changes(OWNER, "d1", NOW + 1)] == ["three"]
    assert posture.changes("another owner") == []


def test_inventories_that_nobody_has_are_cleaned(posture: Posture) -> None:
    for port in (1, 2):
        body = encode_inventory(make_inventory(port))
        posture.take_events(device("d1"), [notice(port, body)], NOW)
        posture.take_inventory(device("d1"), digest_inventory(body), body, NOW)
    assert posture.clean(OWNER, NOW) == 0
    assert posture.clean(OWNER, NOW + 1) == 1
    assert posture.look("d1")[1] == make_inventory(2)


def test_the_lists_before_stay_until_the_next_have_arrived(posture: Posture) -> None:
    context = Context(inventory_at_ms=0, now_ms=NOW)
    first, second = (encode_inventory(make_inventory(port)) for port in (1, 2))
    posture.take_events(device("d1"), [notice(1, first)], NOW + 9)
    assert posture.look("d1")[1] is None
    assert posture.show("d1", context).reachability.as_of is None
    posture.take_inventory(device("d1"), digest_inventory(first), first, NOW + 9)
    asked = posture.take_events(device("d1"), [notice(5, second)], NOW + 9)
    assert asked.wanted == (digest_inventory(second),)
    known, shown = posture.look("d1")
    assert shown == make_inventory(1)
    assert (held_at(known), known and known.as_of_ms) == (NOW + 1, NOW + 5)
    page = posture.show("d1", context)
    assert page.reachability.as_of == to_rfc3339(NOW + 1)
    assert page.properties[0].evidence[0].as_of == to_rfc3339(NOW + 1)
    assert page.software.as_of == to_rfc3339(NOW + 5)
    assert posture.clean(OWNER, NOW + 99) == 0
    posture.take_inventory(device("d1"), digest_inventory(second), second, NOW + 9)
    known, shown = posture.look("d1")
    assert (shown, held_at(known)) == (make_inventory(2), NOW + 5)
    # What is stored already is shown at once, and with its new age.
    assert posture.take_events(device("d1"), [notice(7, first)], NOW + 9).wanted == ()
    known, shown = posture.look("d1")
    assert (shown, held_at(known)) == (make_inventory(1), NOW + 7)


def test_a_need_keeps_its_beginning(posture: Posture) -> None:
    def since(sequence: int, exposed: int, updates: int) -> tuple[int | None, int | None]:
        summary = Summary(
            "Debian", "6.1", root=True, exposed_ports=exposed, security_updates=updates
        )
        body = f"inventory {sequence}".encode()
        posture.take_events(device("d1"), [notice(sequence, body, summary)], NOW + 99)
        known = posture.known(["d1"])["d1"]
        return known.exposed_since_ms, known.updates_since_ms

    assert since(1, 0, 3) == (None, NOW + 1)
    assert since(2, 1, 2) == (NOW + 2, NOW + 1)
    assert since(3, 4, 0) == (NOW + 2, None)
    assert since(4, 0, 1) == (None, NOW + 4)


def test_the_page_of_a_device(posture: Posture) -> None:
    context = Context(inventory_at_ms=0, now_ms=NOW)
    empty = posture.show("d1", context)
    assert empty.reachability.state == "not_visible"
    assert (empty.reachability.sockets_total, empty.software.pending, empty.root) == (None,) * 3
    body = encode_inventory(make_inventory())
    posture.take_events(device("d1"), [notice(1, body)], NOW + 9)
    posture.take_inventory(device("d1"), digest_inventory(body), body, NOW + 9)
    page = posture.show("d1", context)
    reach = page.reachability
    assert (reach.sockets_total, reach.lan, reach.loopback) == (2, 1, 1)
    assert reach.words == "1 port is reachable by others."
    assert page.software.words == "1 update is waiting, for security."
    assert [card.title for card in page.attention] == [
        "1 port is open to every network",
        "1 security update is waiting",
    ]
    assert len(page.properties) == 7
    assert page.properties[1].evidence[0].as_of == reach.as_of


@pytest.mark.parametrize(
    ("sight", "state", "words"),
    [
        (Sight("full"), "shown", "No open ports."),
        (Sight("partial", "no root"), "not_visible", "None visible without root."),
        (Sight("none", "no tables"), "not_visible", "no tables"),
    ],
)
def test_no_open_ports_is_said_only_with_full_sight(
    posture: Posture, sight: Sight, state: str, words: str
) -> None:
    made = msgspec.structs.replace(make_inventory(), sockets=Section(sight))
    body = encode_inventory(made)
    posture.take_events(device("d1"), [notice(1, body, summarize(made))], NOW)
    posture.take_inventory(device("d1"), digest_inventory(body), body, NOW)
    reach = posture.show("d1", Context(inventory_at_ms=0)).reachability
    assert reach.state == state
    assert reach.words.startswith(words)
    count = posture.known(["d1"])["d1"].summary.open_ports
    assert count == (0 if state == "shown" else None)


class Wards:
    """Knows two machines."""

    def site_of(self, device_id: str) -> str | None:
        return {"d1": "Ward 3", "d2": "Ward 4"}.get(device_id)


@pytest.fixture
def client(posture: Posture, tmp_path: Path) -> Iterator[TestClient[Litestar]]:
    body = encode_inventory(make_inventory())
    posture.take_events(device("d1"), [notice(1, body)], NOW)
    posture.take_inventory(device("d1"), digest_inventory(body), body, NOW)
    static = tmp_path / "static"
    static.mkdir()
    app = create_app(
        Services(
            handlers=make_posture_handlers(posture, Wards()),
            authenticator=Names(),
            hosts=HostPolicy(frozenset({"console.localhost"})),
            static=static,
        )
    )
    with TestClient(app, base_url=f"http://{HOST}", raise_server_exceptions=False) as opened:
        opened.headers["authorization"] = "Bearer viewer"
        yield opened


def test_lists_are_paged_filtered_and_dated(client: TestClient[Litestar]) -> None:
    answer = client.get("/api/v1/devices/d1/packages?per_page=1").json()
    assert (answer["total"], answer["page"], answer["per_page"]) == (2, 1, 1)
    assert answer["items"][0]["name"] == "openssl"
    assert (answer["items"][0]["update"], answer["items"][0]["security"]) == ("2", True)
    assert answer["sight"] == {"level": "full", "words": ""}
    assert answer["as_of"].endswith("Z")
    assert client.get("/api/v1/devices/d1/packages?q=BASH").json()["total"] == 1
    assert client.get("/api/v1/devices/d1/packages?page=9").json()["items"] == []
    sockets = client.get("/api/v1/devices/d1/sockets").json()["items"]
    assert [row["exposure"] for row in sockets] == ["all", "loopback"]
    users = client.get("/api/v1/devices/d1/users").json()["items"]
    assert [(row["name"], row["can_log_in"]) for row in users] == [("eve", True)]


@pytest.mark.parametrize("part", ["services", "hardening", "processes", "facts"])
def test_a_part_that_was_not_sent_is_not_visible(client: TestClient[Litestar], part: str) -> None:
    answer = client.get(f"/api/v1/devices/d1/{part}")
    assert answer.status_code == 200
    assert answer.json()["items"] == []
    assert answer.json()["sight"]["level"] == "none"


def test_a_machine_without_inventory_is_shown_as_such(client: TestClient[Litestar]) -> None:
    answer = client.get("/api/v1/devices/d2/sockets").json()
    assert (answer["total"], answer["as_of"], answer["sight"]["level"]) == (0, None, "none")


def test_what_a_caller_may_not_see_does_not_exist(client: TestClient[Litestar]) -> None:
    client.headers["authorization"] = "Bearer part"
    assert client.get("/api/v1/devices/d1/sockets").status_code == 200
    hidden, absent = (client.get(f"/api/v1/devices/{name}/sockets") for name in ("d2", "d9"))
    assert hidden.status_code == absent.status_code == 404
    assert hidden.json()["reason"] == absent.json()["reason"] == "device_not_found"


@pytest.mark.parametrize("query", ["per_page=0", "per_page=9999", "page=x", "who=1", "q=a&q=b"])
def test_bad_queries_are_refused(client: TestClient[Litestar], query: str) -> None:
    answer = client.get(f"/api/v1/devices/d1/sockets?{query}")
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"].startswith("application/problem+json")
