"""The commands by which keys change hands, and the owner's page about recoveries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from tests.unit.keyholder.owner_fixtures import PASSPHRASE
from tests.unit.keyholder.small_server import TOKEN, SmallServer
from tests.unit.keyholder.test_access_console import SECRET, get, post
from tests.unit.keyholder.test_commands import answer, run

from fleetward.cli.owner import owner_app
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.begun import Begun, begin_folder
from fleetward.keyholder.ceremony import NewOwner
from fleetward.keyholder.console.app import create_app
from fleetward.keyholder.console.keeper import Keeper
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.policy_changes import change_policy, set_recovery
from fleetward.keyholder.recovering import read_papers, sign_recovery
from fleetward.keyholder.signing import Person
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.keys import make_key
from fleetward.trust.canonical import to_base64url
from fleetward.trust.keys import ED25519

pytestmark = pytest.mark.usefixtures("quick_keys")
DAY = 86_400


@pytest.fixture
def at(owner: NewOwner, passphrase_file: Path) -> list[object]:
    """The options that name folder and passphrase; no server."""
    return ["--owner", owner.folder.path, "--passphrase-file", passphrase_file, "--json"]


def test_policy_set(at: list[object], tmp_path: Path) -> None:
    assert answer(run(owner_app, "policy", "set", "lease", 20, *at))["lease_seconds"] == 20 * DAY
    assert answer(run(owner_app, "policy", "set", "ports", 22, 502, *at))["never_ports"] == [
        22,
        502,
    ]
    assert answer(run(owner_app, "policy", "set", "ports", "none", *at))["never_ports"] == []
    assert answer(run(owner_app, "policy", "set", "threshold", 1, *at))["version"] == 5
    run(owner_app, "policy", "set", "walls", "sandbox", *at)
    for bad in (
        ("lease", "x"),
        ("lease", "0"),
        ("lease", "1", "2"),
        ("ports", "0"),
        ("ports", "22", "none"),
        ("walls", "glass"),
        ("witness", "notary"),
        ("root", "1"),
        ("threshold", "9"),
    ):
        refused = run(owner_app, "policy", "set", *bad, *at)
        assert refused.exit_code == 1, bad
        assert refused.stdout == ""
    # The names of before still work, and are listed no more.
    assert answer(run(owner_app, "policy", "set-lease", 21, *at))["lease_seconds"] == 21 * DAY
    assert "set-lease" not in run(owner_app, "policy", "--help").stdout


def test_a_sale_by_commands(at: list[object], tmp_path: Path) -> None:
    offer, file = tmp_path / "offer.json", tmp_path / "sale.json"
    theirs = tmp_path / "buyer-passphrase"
    theirs.write_bytes(b"another horse battery staple")
    theirs.chmod(0o600)
    mine = ["--folder", tmp_path / "buyer", "--passphrase-file", theirs, "--json"]
    for _ in range(2):
        made = answer(
            run(owner_app, "take-over", "prepare", "--name", "Care Ltd", "--person", "Cleo",
                "--out", offer, *mine)
        )  # fmt: skip
    assert made["name"] == "Care Ltd"
    plan = answer(run(owner_app, "policy", "transfer", "--to", offer, "--dry-run", *at))
    assert (plan["from_name"], plan["to_name"], plan["epoch"]) == ("Ward 3", "Care Ltd", 2)
    assert not file.exists()
    told = answer(run(owner_app, "policy", "transfer", "--to", offer, "--out", file, *at))
    assert told["plan"]["owner_root"] == plan["owner_root"]
    wrong = run(owner_app, "take-over", "finish", file, "--root", "0" * 64, *mine)
    assert wrong.exit_code == 1
    done = answer(run(owner_app, "take-over", "finish", file, "--root", plan["owner_root"], *mine))
    assert (done["name"], done["epoch"], done["handed_over"]) == ("Care Ltd", 2, False)
    shown = answer(run(owner_app, "policy", "show", "--owner", tmp_path / "buyer", "--json"))
    assert (shown["name"], shown["recovered"], shown["recovery"]) == ("Care Ltd", False, None)
    assert run(owner_app, "policy", "transfer", *at).exit_code == 1
    cancelled = answer(run(owner_app, "policy", "transfer", "--cancel", *at))
    assert (cancelled["policy"], cancelled["handed_over"]) == (2, False)


def test_rotating_and_recovery_keys_by_commands(at: list[object], tmp_path: Path) -> None:
    told = answer(run(owner_app, "policy", "rotate", *at))
    assert (told["policy"], told["old_keys_gone"]) == (2, False)
    assert answer(run(owner_app, "policy", "rotate", *at))["policy"] == 2
    assert run(owner_app, "policy", "rotate", "--person", "Bo", *at).exit_code == 1
    nobody = answer(run(owner_app, "policy", "recovery", "show", *at[:2], "--json"))
    assert nobody == {"policy": 2, "recovery": None}
    key = tmp_path / "rita.key"
    answer(run(owner_app, "policy", "make-key", "--out", key, *at[2:]))
    public = ("--key", f"{key}.pub")
    assert run(owner_app, "policy", "recovery", "set", *public, *at).exit_code == 2
    named = answer(
        run(owner_app, "policy", "recovery", "set", *public, "--person", "Rita", *at)
    )["recovery"]  # fmt: skip
    assert (named["threshold"], named["delay_seconds"]) == (1, 7 * DAY)
    vetoed = answer(run(owner_app, "recover", "veto", *at))
    assert (vetoed["policy"], vetoed["handed_over"]) == (4, False)
    assert run(owner_app, "policy", "recovery", "remove", *at).exit_code == 1


@pytest.fixture
def page(desk: Desk, server: SmallServer, tmp_path: Path) -> Iterator[TestClient[Litestar]]:
    keeper_key = make_key(ED25519)
    clock = SystemClock()
    named = set_recovery([Person(keeper_key.public, "Rita")], 1, 7 * DAY)
    change_policy(desk, named, clock.wall_ms())
    said = Begun("recovery", "Ward 3", "Nora", "", clock.wall_ms())
    begun = begin_folder(tmp_path / "new", b"another horse battery staple", said)
    raw, _ = sign_recovery(begun, read_papers(desk.folder), [keeper_key], clock.wall_ms())
    row: dict[str, Any] = {
        "hash": "0", "version": 3, "people": ["Somebody nice"], "policy": to_base64url(raw),
        "announced_at": "2026-11-26T00:00:00.000Z", "earliest_at": "2026-12-03T00:00:00.000Z",
    }  # fmt: skip
    server.answers |= {"/owner/pending": {"items": []}, "/owner/recovery": {"items": [row]}}
    server.answers["/access/requests"] = {"items": [], "more": 0}
    (tmp_path / "static").mkdir()
    (tmp_path / "static/index.html").write_text("<!doctype html><title>Owner</title>")
    keeper = Keeper(desk, lambda: ApiClient(server.api, TOKEN), clock)
    app = create_app(keeper, SECRET, clock, tmp_path / "static")
    with TestClient(app, base_url="http://owner.localhost:7480") as client:
        client.headers["authorization"] = f"Bearer {SECRET}"
        yield client


def test_the_owners_page_shows_a_recovery_and_refuses_it(page: TestClient[Litestar]) -> None:
    get(page, "/pending")  # It asks the server.
    (shown,) = get(page, "/state")["recoveries"]
    # Who would decide, the verified policy says, and not the server.
    assert (shown["version"], shown["people"]) == (3, ["Nora"])
    wrong = page.post("/api/v1/recovery/refuse", json={"passphrase": "wrong horse battery"})
    assert wrong.status_code >= 400
    done = post(page, "/recovery/refuse", {"passphrase": PASSPHRASE.decode()})
    assert done["version"] == 3
    state = get(page, "/state")
    assert state["recoveries"] == []
    assert state["policy"]["version"] == 3
    get(page, "/pending")  # The server may show it still: it follows no policy of mine.
    assert get(page, "/state")["recoveries"] == []
