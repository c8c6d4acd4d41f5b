"""Ten checks of both web programs against a real demo, in a real browser, a picture of each.

One demo stands for the whole file: a control plane, the agent of this very machine, the owner's
console, and twelve simulated machines. The pictures are in `build/screens`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, StorageState, expect
from tests.browser.console_chromium import NARROW, WIDE, chromium, free_port
from tests.browser.demo_fleet import (
    NOBODY,
    Unprivileged,
    altered_entry,
    copy_control_plane,
    missing_table,
    open_port,
    start_agent,
    swell,
)
from tests.browser.demo_steps import (
    ATTACKS,
    CONSOLE,
    LAST_STEP,
    LISTS,
    LOOKS,
    NOTICE_MS,
    OFF,
    OWNER,
    SILENCE_MS,
    UNSEEN_SECONDS,
    change_something,
    copied,
    judge,
    judge_all,
    judge_sight,
    let_in,
    list_ms,
    onwards,
    open_owner,
    run_copied,
)
from tests.browser.demo_walk import (
    BIN,
    Keyboard,
    Program,
    Visit,
    find_overlaps,
    keep_session,
    missing_for_the_demo,
    sign_in,
    start_program,
    stop,
    take_down,
    visit,
    wait_for,
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(missing_for_the_demo() is not None, reason=str(missing_for_the_demo())),
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The demo, in an empty home."""
    with start_program("demo", tmp_path_factory.mktemp("demo")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium with a profile of its own."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def session(demo: Program, browser: Browser) -> StorageState:
    """What a browser keeps of one sign-in by a link."""
    return keep_session(browser, demo)


@pytest.fixture(scope="module")
def later(demo: Program) -> Iterator[ExitStack]:
    """What is to be ended before the demo ends."""
    with ExitStack() as stack:
        yield stack


def test_01_one_command_one_click_no_password(demo: Program, browser: Browser) -> None:
    with visit(browser) as visitor:
        visitor.open(demo.ready["login_url"])
        assert visitor.page.locator("input").count() == 0
        visitor.shoot("01-a-sign-in")
        visitor.page.get_by_role("button", name="Sign in").click()
        expect(visitor.page.get_by_role("heading", level=1)).to_contain_text("13 devices")
        assert "code" not in visitor.page.url
        visitor.settle()
        visitor.open(f"{demo.url}/devices/{demo.this}")
        expect(visitor.page.locator("main")).to_contain_text("Connected")
        expect(visitor.page.locator("main")).not_to_contain_text("simulated")
        real = demo.api(f"/devices/{demo.this}")
        assert real["software"]["packages"] > 0
        assert real["confirmed"] is True
        visitor.shoot("01-b-this-machine")


def test_02_the_first_action_is_in_view(
    demo: Program, browser: Browser, session: StorageState
) -> None:
    with visit(browser, session) as visitor:
        visitor.open(demo.url)
        verb = visitor.page.get_by_label("What needs you", exact=True).get_by_role("link").first
        expect(verb).to_be_in_viewport(ratio=1)
        assert visitor.page.evaluate("scrollY") == 0
        visitor.shoot("02-today-1440x900")


def test_05_a_port_appears_and_goes_with_the_page_open(
    demo: Program, browser: Browser, session: StorageState
) -> None:
    port = free_port()
    with visit(browser, session) as visitor, visit(browser, session) as other:
        visitor.open(f"{demo.url}/devices/{demo.this}/sockets")
        other.open(f"{demo.url}/devices/{demo.this}/history")
        row = visitor.page.get_by_role("row").filter(has_text=f"{port}/tcp")
        entries = other.page.locator("main")
        assert row.count() == 0
        with open_port(port):
            expect(entries.get_by_text(f"port {port} opened")).to_be_visible(timeout=NOTICE_MS)
            expect(row).to_be_visible(timeout=list_ms(demo))
            expect(row).to_contain_text("Every network")
            row.scroll_into_view_if_needed()
            visitor.shoot("05-a-port-open")
        expect(entries.get_by_text(f"port {port} closed")).to_be_visible(timeout=NOTICE_MS)
        other.shoot("05-b-noticed")
        expect(row).to_have_count(0, timeout=list_ms(demo))
        visitor.shoot("05-c-port-closed")


def test_05_a_port_appears_and_goes_with_no_page_open(
    demo: Program, browser: Browser, session: StorageState
) -> None:
    port = free_port()

    def told(word: str) -> bool:
        shown = demo.api(f"/devices/{demo.this}/history?kind=posture.changed&per_page=50")["items"]
        return any(f"port {port} {word}" in item["words"] for item in shown)

    with open_port(port):
        wait_for(lambda: told("opened"), UNSEEN_SECONDS, "the opening, with no page open")
    wait_for(lambda: told("closed"), UNSEEN_SECONDS, "the closing, with no page open")
    with visit(browser, session) as visitor:
        visitor.open(f"{demo.url}/devices/{demo.this}/history")
        main = visitor.page.locator("main")
        expect(main.get_by_text(f"port {port} opened")).to_be_visible()
        expect(main.get_by_text(f"port {port} closed")).to_be_visible()
        visitor.shoot("05-d-noticed-with-no-page-open")


def test_03_no_page_of_the_console_scrolls_sideways(
    demo: Program, browser: Browser, session: StorageState
) -> None:
    devices = demo.ready["devices"]
    kinds = ("this", "waiting", "plc-gateway-8", "vending-kiosk-3", "badge-printer-1")
    pages = (
        *CONSOLE,
        *(f"/setup/{step}" for step in range(1, LAST_STEP + 1)),
        *(f"/devices/{devices[kind]}" for kind in kinds),
        *(f"/devices/{demo.this}/{name}" for name in (*LISTS, "history")),
    )
    with visit(browser, session) as visitor:
        found = judge_all(visitor, demo.url, pages)
        visitor.look(NARROW, "light")
        visitor.open(demo.url)
        visitor.shoot("03-a-today-360-light")
        visitor.look(NARROW, "dark")
        visitor.shoot("03-b-today-360-dark")
    with visit(browser) as visitor:
        found += judge(visitor, demo.url)
    assert found == []


def test_03_no_page_of_the_owners_console_scrolls_sideways(demo: Program, browser: Browser) -> None:
    with visit(browser) as visitor:
        found = judge(visitor, demo.owner)
        open_owner(demo, visitor)
        found += judge_all(visitor, demo.owner, OWNER)
        visitor.open(demo.owner)
        visitor.look(NARROW, "light")
        visitor.shoot("03-c-owner-360-light")
        visitor.look(NARROW, "dark")
        visitor.shoot("03-d-owner-360-dark")
    assert found == []


def test_04_the_tour_by_keyboard(demo: Program, browser: Browser) -> None:
    with visit(browser) as visitor, visit(browser) as owner:
        page = visitor.page
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        keys = Keyboard(page)
        visitor.open(demo.login_link())
        told = keys.here()
        assert told is not None
        assert told["name"] == "Sign in"
        page.keyboard.press("Enter")
        page.locator(".shell").wait_for()
        visitor.settle()
        keys.press("Set-up")
        expect(page.get_by_text(f"Step 1 of {LAST_STEP}")).to_be_visible()
        visitor.settle()
        onwards(visitor, keys, 1, "Next: Your machine")
        expect(page.locator("main")).to_contain_text("Connected")
        onwards(visitor, keys, 2, "Next: Change something")
        change_something(visitor, keys)
        onwards(visitor, keys, 3, "Next: Let one in")
        panel = run_copied(demo, copied(visitor, keys, "shows the machine’s own words"))
        let_in(demo, owner, panel)
        expect(page.get_by_text("The owner let it in.")).to_be_visible(timeout=NOTICE_MS)
        onwards(visitor, keys, 4, "Next: Let a technician in")
        expect(page.locator("main")).to_contain_text("Waiting for somebody who asks")
        onwards(visitor, keys, 5, "Next: Bring new software")
        expect(page.locator("main")).to_contain_text("Waiting for new software")
        onwards(visitor, keys, 6, "Next: Steal the server")
        keys.press("Steal the server", "BUTTON")
        expect(page.get_by_text(f"All {ATTACKS} were refused")).to_be_visible(timeout=20_000)
        onwards(visitor, keys, 7, "Next: Catch a lie")
        run_copied(demo, copied(visitor, keys, "exports the record"))
        check = copied(visitor, keys, "checks the record")
        run_copied(demo, check)
        run_copied(demo, copied(visitor, keys, "alters the copy"))
        assert re.search(r"[Ee]ntry \d+", run_copied(demo, check, code=1))
        onwards(visitor, keys, 8, "Next: Keep it")
        onwards(visitor, keys, 9, "Go to Today")
        expect(page.get_by_role("heading", level=1)).to_contain_text("devices")
        assert demo.api("/tour")["done"] == list(range(1, LAST_STEP + 1))
        assert keys.unseen == []
        assert keys.stops > 40


def test_06_a_stopped_agent_is_stale_and_nothing_is_green(
    demo: Program, browser: Browser, session: StorageState, later: ExitStack
) -> None:
    children = json.loads((demo.data / "run" / "children.json").read_bytes())
    agent = next(child["pid"] for child in children if child["name"] == "agent")
    with visit(browser, session) as visitor:
        visitor.open(f"{demo.url}/devices/{demo.this}")
        main = visitor.page.locator("main")
        assert main.locator(".tone-good").count() > 0
        os.kill(agent, signal.SIGTERM)
        expect(main).to_contain_text("Stale: silent", timeout=SILENCE_MS)
        expect(main).to_contain_text("its agent has stopped")
        expect(main).to_contain_text("fleetward-agent run --data")
        expect(main.locator(".tone-good")).to_have_count(0)
        assert main.locator("[data-stale]").count() >= 3
        visitor.shoot("06-a-stale", whole=True)
        visitor.open(demo.url)
        expect(main).to_contain_text("silent")
        visitor.open(f"{demo.url}/devices/{demo.this}")
        later.callback(stop, start_agent(demo.data / "devices" / "this-machine"))
        expect(main).not_to_contain_text("Stale", timeout=SILENCE_MS)
        expect(main).to_contain_text("Connected")
        visitor.settle()
        visitor.shoot("06-b-back")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach; those of pytest are for one user alone."""
    with tempfile.TemporaryDirectory(prefix="fleetward-walk-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


def test_07_what_was_not_seen_is_said_so(
    demo: Program, browser: Browser, session: StorageState, open_folder: Path
) -> None:
    without_root = Unprivileged(open_folder)
    if without_root.reason:
        pytest.skip(without_root.reason)
    own = open_folder / "own"
    own.mkdir()
    os.chown(own, NOBODY, NOBODY)
    secret = ("--passphrase-file", demo.ready["passphrase_file"])
    invited = demo.run_json(
        "owner", "invite", "--site", "Here", "--uses", "1", "--ttl", "900", "--preapproved",
        "--data", demo.data, *secret,
    )  # fmt: skip
    data = own / "agent"
    joined = without_root.agent("join", invited["join"], "--name", "no-root", "--data", data)
    assert joined.returncode == 0, joined.stderr
    with without_root.run(data), visit(browser, session) as visitor:
        found: list[dict[str, Any]] = []

        def has_reported() -> bool:
            found[:] = demo.api("/devices?q=no-root")["items"]
            return bool(found) and found[0]["open_ports"] is not None

        wait_for(has_reported, 40, "the agent without root to report")
        status = json.loads(without_root.agent("status", "--data", data, "--json").stdout)
        assert status["wall"] == "none"
        assert status["sight"]["root"] is False
        judge_sight(demo, visitor, found[0]["id"])


def test_08_the_drill_is_refused_and_changes_nothing(
    demo: Program, browser: Browser, session: StorageState
) -> None:
    def stand() -> dict[str, Any]:
        agent = subprocess.run(
            [BIN / "fleetward-agent", "status", "--json", "--data",
             demo.data / "devices" / "this-machine"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        status = json.loads(agent.stdout)
        shown = demo.api(f"/devices/{demo.this}")
        kept = ("state", "confirmed", "name", "site", "owner", "words", "identity", "trust")
        device = {name: shown[name] for name in kept}
        device["trust"].pop("as_of")
        return {**{n: status[n] for n in ("owner", "versions", "state", "wall")}, "shown": device}

    before = stand()
    with visit(browser, session) as visitor:
        visitor.open(f"{demo.url}/setup/7")
        visitor.page.get_by_role("button", name=re.compile("^Steal")).first.click()
        attacks = visitor.page.locator(".attacks li")
        expect(attacks.filter(has_text="Refused")).to_have_count(ATTACKS, timeout=20_000)
        expect(visitor.page.get_by_text(f"All {ATTACKS} were refused")).to_be_visible()
        for answer in visitor.page.locator(".attack-answer").all_inner_texts():
            assert len(answer.split()) >= 5
            assert "_" not in answer
            assert answer.endswith(".")
        visitor.shoot("08-drill", whole=True)
    assert stand() == before


def test_09_the_check_goes_green_then_red_and_the_command_agrees(
    demo: Program, browser: Browser
) -> None:
    def by_command(visitor: Visit, code: int) -> Any:
        line = visitor.page.locator(".copy-line code").last.inner_text()
        words = shlex.split(line)
        assert words[0] == "fleetward"
        return json.loads(run_copied(demo, [str(BIN / words[0]), *words[1:], "--json"], code))

    with visit(browser) as visitor:
        open_owner(demo, visitor)
        visitor.open(f"{demo.owner}/record")
        title = visitor.page.get_by_role("heading", level=1)
        check = visitor.page.get_by_role("button", name=re.compile("^Check"))
        check.click()
        expect(title).to_contain_text("The record is whole", timeout=30_000)
        visitor.settle()
        visitor.shoot("09-a-whole")
        assert by_command(visitor, 0)["whole"] is True
        with altered_entry(demo.data / "server" / "state.db") as entry:
            check.click()
            expect(title).to_contain_text("contradicts", timeout=30_000)
            named = visitor.page.locator(".findings.tone-bad")
            expect(named).to_contain_text(f"Entry {entry}")
            visitor.settle()
            visitor.shoot("09-b-contradicted")
            told = by_command(visitor, 1)
            assert told["contradicted"][0]["entry"] == entry
        check.click()
        expect(title).to_contain_text("The record is whole", timeout=30_000)


def test_10_an_empty_control_plane(tmp_path: Path, browser: Browser) -> None:
    with start_program("up", tmp_path) as empty, visit(browser) as visitor:
        sign_in(visitor, empty.ready["login_url"])
        expect(visitor.page.get_by_role("heading", level=1)).to_have_text("No devices yet.")
        expect(visitor.page.locator("main")).to_contain_text("fleetward-agent join")
        visitor.shoot("10-a-empty")
        pages = ("/", "/fleet", "/timeline", "/proof", "/setup/2")
        found = judge_all(visitor, empty.url, pages)
    assert found == []


def test_10_five_thousand_devices(demo: Program, tmp_path: Path, browser: Browser) -> None:
    copy_control_plane(demo, tmp_path)
    database = tmp_path / "data" / "server" / "state.db"
    swell(database)
    with (
        start_program("up", tmp_path) as big,
        visit(browser, expected=("status of 500", "status of 404", *OFF)) as visitor,
    ):
        sign_in(visitor, big.ready["login_url"])
        page = visitor.page
        expect(page.get_by_role("heading", level=1)).to_contain_text(re.compile("5,?000 devices"))
        visitor.open(f"{big.url}/fleet")
        page.get_by_role("combobox", name="State").click()
        page.get_by_role("option", name="Quarantined").click()
        expect(page).to_have_url(re.compile("state=quarantined"))
        page.get_by_role("button", name="Next").click()
        shown = page.get_by_text(re.compile(r"51 to 100 of \d+ devices"))
        expect(shown).to_be_visible()
        words, address = shown.inner_text(), page.url
        page.reload()
        expect(page.get_by_text(words)).to_be_visible()
        assert page.url == address
        assert page.get_by_role("combobox", name="State").input_value() == "Quarantined"
        visitor.shoot("10-b-filtered-reloaded")
        longest = big.api("/devices?q=pump-of-the-third&per_page=1")["items"][0]
        assert len(longest["name"]) == 80
        pages = ("/", "/fleet", "/timeline", "/proof", f"/devices/{longest['id']}")
        found = judge_all(visitor, big.url, pages)
        visitor.open(f"{big.url}/fleet")
        visitor.look(NARROW, "light")
        visitor.shoot("10-c-5000-devices-360")
        visitor.look(WIDE, "light")
        found += judge(visitor, f"{big.url}/devices/{'a' * 32}")
        with missing_table(database, "posture_device"):
            found += judge(visitor, f"{big.url}/fleet")
            expect(page.get_by_text("The server could not answer")).to_be_visible()
            visitor.shoot("10-d-error")
        visitor.open(f"{big.url}/fleet")
        take_down(big.data)
        big.process.wait(20)
        notice = page.get_by_role("alert").filter(has_text="The server does not answer")
        expect(notice).to_be_visible(timeout=15_000)
        expect(notice).to_contain_text("fleetward up")
        for size, scheme in LOOKS[:2]:
            visitor.look(size, scheme)
            found += find_overlaps(page)
            found += visitor.judge_access()
            assert visitor.width_too_much() <= 0
        visitor.look(WIDE, "light")
        visitor.shoot("10-e-server-down")
    assert found == []


def test_a_passkey_is_made_and_opens(
    demo: Program, browser: Browser, session: StorageState
) -> None:
    with visit(browser, session) as visitor:
        page = visitor.page
        devices = page.context.new_cdp_session(page)
        devices.send("WebAuthn.enable")
        devices.send(
            "WebAuthn.addVirtualAuthenticator",
            {
                "options": {
                    "protocol": "ctap2",
                    "transport": "internal",
                    "hasResidentKey": True,
                    "hasUserVerification": True,
                    "isUserVerified": True,
                    "automaticPresenceSimulation": True,
                }
            },
        )
        visitor.open(demo.url)
        page.get_by_role("button", name="Make a passkey").click()
        expect(page.get_by_role("button", name="Make a passkey")).to_be_hidden()
        visitor.open(f"{demo.url}/setup/1")
        expect(page.locator("main")).to_contain_text("Kept by your device")
        visitor.open(demo.url)
        page.get_by_role("button", name=re.compile("^Sign out")).click()
        page.get_by_role("button", name="Sign in with a passkey").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("devices")
        visitor.shoot("11-by-passkey")


def test_the_owners_console_confirms_invites_and_retires(demo: Program, browser: Browser) -> None:
    printer, label = (demo.ready["devices"][n] for n in ("badge-printer-1", "label-printer-5"))
    with visit(browser) as visitor:
        open_owner(demo, visitor)
        page = visitor.page
        other = page.get_by_role("button", name=re.compile("badge-printer-1"))
        if other.count():
            other.click()
        expect(page.locator(".confirm-facts")).to_contain_text("badge-printer-1")
        words = re.findall(r"[a-z]+", page.get_by_label("Six words").inner_text())
        typed = page.get_by_label("Or type them")
        typed.fill(" ".join([*words[:2], "wrong", *words[3:]]))
        expect(page.get_by_role("button", name="Confirm and sign")).to_be_disabled()
        visitor.shoot("12-a-a-word-differs")
        typed.fill(" ".join(words))
        page.get_by_role("button", name="Confirm and sign").click()
        expect(page.get_by_text("Signed, and handed to the server.")).to_be_visible()
        wait_for(lambda: bool(demo.api(f"/devices/{printer}")["confirmed"]), 10, "its confirmation")
        visitor.open(f"{demo.owner}/invite")
        page.get_by_label("On which site").fill("Harbour")
        page.get_by_role("button", name="Sign an invitation").click()
        expect(
            page.get_by_text(re.compile("fleetward-agent join fleetward-join-1"))
        ).to_be_visible()
        visitor.shoot("12-b-invitation")
        visitor.open(f"{demo.owner}/machines")
        page.get_by_role("button", name="Retire label-printer-5").click()
        page.get_by_label("Why").fill("sold")
        visitor.shoot("12-c-retire")
        page.get_by_role("button", name="Retire and sign").click()
        expect(page.get_by_role("button", name="Retire label-printer-5")).to_be_hidden()
        wait_for(lambda: demo.api(f"/devices/{label}")["state"] == "retired", 10, "its retirement")
        visitor.open(f"{demo.owner}/policy")
        expect(page.locator("main")).to_contain_text(demo.ready["owner_root"])
        visitor.shoot("12-d-policy")


def test_a_token_is_made_and_revoked(demo: Program, browser: Browser) -> None:
    def ask(secret: str) -> int:
        header = {"Authorization": f"Bearer {secret}"}
        return httpx.get(f"{demo.ready['api']}/today", headers=header).status_code

    with visit(browser, keep_session(browser, demo)) as visitor:
        page = visitor.page
        visitor.open(f"{demo.url}/access")
        page.get_by_role("button", name="New token…").click()
        page.get_by_role("textbox", name="Name").fill("nightly report")
        page.get_by_role("button", name="Make the token").click()
        secret = page.locator(".once code").inner_text()
        assert ask(secret) == 200
        page.get_by_role("button", name="I have kept it").click()
        visitor.shoot("13-token")
        page.get_by_role("button", name="Revoke the token nightly report").click()
        page.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
        expect(page.get_by_role("button", name="Revoke the token nightly report")).to_be_hidden()
        assert ask(secret) == 401


def test_quarantine_and_readmission(demo: Program, browser: Browser) -> None:
    device = demo.ready["devices"]["mri-console-1"]
    with visit(browser, keep_session(browser, demo)) as visitor:
        page = visitor.page
        visitor.open(f"{demo.url}/devices/{device}")
        page.get_by_role("button", name="Quarantine…").click()
        page.get_by_label("Why").fill("it scans its neighbours")
        page.get_by_role("button", name="Quarantine it now").click()
        states = page.locator("main .who-states")
        expect(states).to_contain_text("Quarantined")
        expect(states).to_contain_text("Connected", timeout=SILENCE_MS)
        visitor.shoot("14-quarantined")
        page.get_by_role("button", name="Readmit…").click()
        page.get_by_label("Why").fill("it was the backup")
        page.get_by_role("button", name="Let it back", exact=True).click()
        expect(states).to_contain_text("Active")
        told = json.dumps(demo.api(f"/devices/{device}/history"))
        assert "it scans its neighbours" in told
