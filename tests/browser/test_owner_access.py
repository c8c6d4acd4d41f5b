"""The owner's pages of requests and sessions, in a real Chromium, over the owner's own program.

The program is the real one; the machine behind it judges by `trust`; only the server is small.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from tests.browser.console_chromium import NARROW, WIDE, Walk, chromium, missing, walk
from tests.unit.keyholder.access_scene import Scene
from tests.unit.keyholder.access_stage import served
from tests.unit.keyholder.test_access_flow import asked

from fleetward.trust.access import LogsScope, TerminalScope
from fleetward.trust.envelope import read_envelope

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scene, str]]:
    """The owner's console over requests and sessions of every kind."""
    with served(tmp_path_factory.mktemp("stage")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium for this file."""
    with chromium() as running:
        yield running


def judge(walker: Walk) -> None:
    """Nothing to scroll sideways, nothing that axe or the browser complains about."""
    assert walker.width_too_much() == 0
    assert walker.accessibility() == []
    assert walker.complaints == []


def begin(walker: Walk, address: str, path: str) -> str:
    """Open the console, then one of its pages."""
    walker.open(address)
    base = address.partition("#")[0]
    walker.open(base + path)
    return base


def test_a_request_is_narrowed_signed_and_watched(
    stage: tuple[Scene, str], browser: Browser
) -> None:
    scene, address = stage
    asked(scene, TerminalScope("app"), LogsScope("nginx.service"))
    row = scene.row
    with walk(browser, WIDE) as walker:
        page = walker.page
        begin(walker, address, f"requests/{row.id}")
        expect(page.get_by_role("heading", level=1)).to_have_text(
            "Tom of Makers Ltd asks to enter pump-7"
        )
        expect(page.get_by_text("what the server says")).to_have_count(0)
        page.get_by_label("the logs of nginx.service").uncheck()
        page.get_by_label("End it when nobody watches").check()
        page.get_by_role("button", name="See what you would sign").click()
        words = page.locator(".six-words li")
        expect(words).to_have_count(6)
        shown = " ".join(text.lstrip("123456") for text in words.all_inner_texts())
        judge(walker)
        assert "grant" not in row.papers
        page.get_by_role("button", name="Sign and let in").click()
        page.get_by_role("link", name="Watch it now").click()
        payload = read_envelope(row.papers["grant"]).payload
        assert payload["scopes"] == [{"kind": "terminal", "profile": "app"}]
        assert payload["watched"] is True
        assert scene.grants[row.id].words == " ".join(shown.split())
        scene.record(row, b'[0.1,"r","80x24"]', b'[0.2,"o","$ <b>uptime</b>\\r\\n"]')
        terminal = page.get_by_role("region", name="What Tom sees")
        expect(terminal).to_contain_text("$ <b>uptime</b>")
        assert row.beats
        judge(walker)
        page.get_by_role("button", name="Stop…").click()
        page.get_by_label("Why").fill("enough")
        page.get_by_role("button", name="Stop and sign").click()
        expect(page.get_by_text("stopped (Ada)")).to_be_visible()
        assert row.stops


def test_a_replay_plays_and_touches_nothing(stage: tuple[Scene, str], browser: Browser) -> None:
    scene, address = stage
    row = next(iter(scene.rows.values()))
    with walk(browser, WIDE) as walker:
        page = walker.page
        begin(walker, address, f"sessions/{row.id}")
        title = page.title()
        page.get_by_role("button", name="Open the recording").click()
        expect(page.get_by_text("as the machine signed them")).to_be_visible()
        terminal = page.get_by_role("region", name="What Tom saw")
        expect(terminal).to_contain_text("Active: failed")
        page.get_by_role("button", name="Play from the beginning").click()
        expect(terminal).not_to_contain_text("Active: failed")
        expect(terminal).to_contain_text("Active: failed", timeout=15_000)
        assert page.title() == title
        judge(walker)


@pytest.mark.parametrize(
    ("size", "scheme"), [(WIDE, "light"), (NARROW, "dark")], ids=["wide-light", "narrow-dark"]
)
def test_every_page_at_both_looks(
    stage: tuple[Scene, str], browser: Browser, size: dict[str, int], scheme: str, tmp_path: Path
) -> None:
    scene, address = stage
    rows = list(scene.rows.values())
    run = next(row for row in rows if row.runbooks)
    with walk(browser, size, scheme) as walker:  # type: ignore[arg-type]  # a size of Playwright's
        begin(walker, address, "requests")
        judge(walker)
        more = (f"requests/{run.id}", f"sessions/{rows[0].id}", f"sessions/{rows[2].id}")
        for path in ("sessions", *more):
            begin(walker, address, path)
            judge(walker)


def test_the_steps_of_a_runbook_are_shown_before_they_are_signed(
    stage: tuple[Scene, str], browser: Browser
) -> None:
    scene, address = stage
    row = next(row for row in scene.rows.values() if row.runbooks)
    with walk(browser, WIDE) as walker:
        page = walker.page
        begin(walker, address, f"requests/{row.id}")
        page.get_by_label("the serial port /dev/ttyUSB0 at 9600 baud").uncheck()
        page.get_by_role("button", name="See what you would sign").click()
        signed = page.locator(".access-sign .access-steps li")
        expect(signed).to_have_count(3)
        expect(signed.nth(1)).to_have_text("/opt/pump/bin/bundle --since 2026-11-26 --lines 200")
        judge(walker)
        page.get_by_role("button", name="Sign and let in").click()
        expect(
            page.get_by_role("link", name="Watch it now").or_(page.get_by_text("Granted"))
        ).to_be_visible()
        scopes = read_envelope(row.papers["grant"]).payload["scopes"]
        assert isinstance(scopes, list) and isinstance(scopes[0], dict) and len(scopes) == 1
        assert scopes[0]["arguments"] == {"day": "2026-11-26", "lines": "200"}


def test_papers_that_are_false_show_nothing(stage: tuple[Scene, str], browser: Browser) -> None:
    scene, address = stage
    asked(scene)
    row = scene.row
    scene.lie = lambda path, answer: (
        {**answer, "offer": answer["request"]}
        if isinstance(answer, dict) and answer.get("id") == row.id and "offer" in answer
        else answer
    )
    try:
        with walk(browser, WIDE) as walker:
            begin(walker, address, f"requests/{row.id}")
            heading = walker.page.get_by_role("heading", level=1)
            expect(heading).to_have_text("A request that is not believed")
            expect(walker.page.get_by_role("button", name="See what you would sign")).to_have_count(
                0
            )
            judge(walker)
    finally:
        scene.lie = lambda path, answer: answer
