"""The tour's step with the technician: the real command on a terminal, the owner in Chromium.

Everything is what `fleetward demo` started: the machine is this one, its page is a real page.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from tests.browser.console_chromium import chromium
from tests.browser.demo_openssh import find_sshd, ssh_server
from tests.browser.demo_steps import NOTICE_MS, copied, open_owner, run_copied
from tests.browser.demo_technician import Technician, technician
from tests.browser.demo_walk import (
    BIN,
    Keyboard,
    Program,
    Visit,
    keep_session,
    missing_for_the_demo,
    start_program,
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


def newest(demo: Program) -> dict[str, Any]:
    """Return the newest request to this machine."""
    shown = demo.api(f"/access/requests?device_id={demo.this}&per_page=1")["items"]
    return dict(demo.api(f"/access/requests/{shown[0]['id']}"))


def let_in(demo: Program, owner: Visit) -> str:
    """Say yes in the owner's console; return the six words that were signed."""
    open_owner(demo, owner)
    owner.open(f"{demo.owner}/requests")
    page = owner.page
    expect(page.get_by_role("heading", level=1)).to_contain_text("Tom of Makers Ltd asks to enter")
    page.get_by_role("button", name="See what you would sign").click()
    words = page.locator(".six-words li")
    expect(words).to_have_count(6)
    owner.shoot("04-tour-5-owner")
    said = " ".join(text.lstrip("123456 \n") for text in words.all_inner_texts())
    page.get_by_role("button", name="Sign and let in").click()
    return said


def use_page(browser: Browser, tom: Technician) -> None:
    """Open the machine's own page, through the session, in a browser."""
    address = tom.until(r"is at (127\.0\.0\.1:\d+)").group(1)
    with visit(browser) as other:
        other.page.goto(f"http://{address}/")
        expect(other.page.get_by_role("heading", level=1)).to_have_text("The machine's own page")
        expect(other.page.get_by_role("table")).to_contain_text("127.0.0.1 alone")


def stop_inside(demo: Program, owner: Visit) -> None:
    """Stop the session in the owner's console."""
    owner.open(f"{demo.owner}/sessions/{newest(demo)['id']}")
    page = owner.page
    page.get_by_role("button", name="Stop…").click()
    page.get_by_label("Why").fill("enough")
    page.get_by_role("button", name="Stop and sign").click()


def test_a_technician_is_let_in_stopped_replayed_and_found(demo: Program, browser: Browser) -> None:
    if not demo.ready["terminal_user"]:
        pytest.skip("no ordinary user of this machine has a shell")
    with visit(browser, keep_session(browser, demo)) as visitor, visit(browser) as owner:
        page = visitor.page
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        visitor.open(f"{demo.url}/setup/5")
        main = page.locator("main")
        expect(main).to_contain_text("Waiting for somebody who asks")
        keys = Keyboard(page)
        with technician(copied(visitor, keys, "asks as the technician"), demo.home) as tom:
            tom.until(r"Request [0-9a-f]{16}")
            expect(main).to_contain_text("Only its owner can say yes", timeout=NOTICE_MS)
            visitor.shoot("04-tour-5-asked")
            words = let_in(demo, owner)
            assert words in tom.until(r"Six words: ([a-z ]+)").group(1)
            expect(main).to_contain_text("Tom of Makers Ltd is inside", timeout=NOTICE_MS)
            for word in words.split():
                expect(main.locator(".six-words")).to_contain_text(word)
            use_page(browser, tom)
            tom.type("echo $((6 * 7))-here; id -un\n")
            tom.until("42-here")
            tom.until(demo.ready["terminal_user"])
            visitor.shoot("04-tour-5-inside", whole=True)
            assert "SESSION" not in copied(visitor, keys, "stops the session")
            stop_inside(demo, owner)
            tom.until("The session is over: stopped")
        expect(main).to_contain_text("It is over: it was stopped.", timeout=NOTICE_MS)
        visitor.shoot("04-tour-5-over", whole=True)
        wait_for(lambda: bool(newest(demo)["recording_done"]), 20, "the whole recording")
        replay = copied(visitor, keys, "replays the session")
        assert "42-here" in run_copied(demo, [*replay, "--speed", "0"])
        keys.press("Next: Bring new software")
        expect(page.get_by_text("Step 6 of 9")).to_be_visible()
        assert demo.api("/tour")["done"] == [5]
        assert keys.unseen == []
    facts = demo.api("/tour")["facts"]
    subprocess.run(facts["export_command"], shell=True, check=True, capture_output=True)
    told = subprocess.run(
        facts["verify_command"], shell=True, check=True, capture_output=True, text=True
    ).stdout
    assert "Tom of Makers Ltd was inside" in told
    assert "It ended: stopped." in told


def test_a_real_openssh_client_goes_through_the_session(demo: Program, tmp_path: Path) -> None:
    if find_sshd() is None:
        pytest.skip("sshd is not installed")
    secret = demo.ready["technician_passphrase_file"]
    with ssh_server(tmp_path) as (port, client):
        asked = demo.run_json(
            "request", demo.this, "--scope", f"tcp:{port}/raw", "--reason", "its files",
            "--as", demo.ready["technician"], "--passphrase-file", secret,
        )  # fmt: skip
        wait_for(lambda: newest(demo)["state"] == "offered", 20, "the machine's offer")
        demo.run(
            "owner", "approve", asked["id"], "--yes", "--data", demo.data,
            "--owner", demo.data / "owner", "--passphrase-file", demo.data / "owner-passphrase",
        )  # fmt: skip
        proxy = [
            str(BIN / "fleetward"), "connect", demo.this, "--port", str(port), "--stdio",
            "--request", asked["id"], "--as", demo.ready["technician"],
            "--passphrase-file", secret,
        ]  # fmt: skip
        words = [*client, "-o", f"ProxyCommand={shlex.join(proxy)}", "pump", "cat; echo $((6*7))"]
        done = subprocess.run(
            words, input="through it\n" * 20_000, capture_output=True, text=True, timeout=60,
            env={**os.environ, "HOME": str(demo.home)},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "through it\n" * 20_000 + "42\n"
    wait_for(lambda: newest(demo)["state"] == "ended", 20, "the session's end")


def test_the_thief_of_a_waiting_request_gets_nothing(demo: Program) -> None:
    demo.run(
        "connect", demo.this, "--port", str(demo.ready["page_port"]), "--http", "--no-wait",
        "--reason", "look at its page", "--as", demo.ready["technician"],
        "--passphrase-file", demo.ready["technician_passphrase_file"],
    )  # fmt: skip
    wait_for(lambda: newest(demo)["state"] == "offered", 20, "the machine's offer")
    before = newest(demo)
    told = demo.run_json("drill", "stolen-server", "--device", demo.this, "--data", demo.data)
    steps = {step["id"]: step for step in told["steps"]}
    # No maker is named here yet, so there is no release to steal.
    assert steps.pop("releases")["outcome"] == "skipped"
    assert {step["outcome"] for step in steps.values()} == {"refused"}
    assert steps["session-alone"]["reason"] == "unknown_requester"
    assert steps["grant-another-key"]["reason"] == "too_few_signatures"
    assert newest(demo) == before, json.dumps(told)
