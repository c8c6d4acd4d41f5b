"""The owner's page of windows, in a real Chromium, over the owner's own program."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.browser.console_chromium import NARROW, WIDE, chromium, missing, walk
from tests.browser.test_owner_access import begin, judge
from tests.unit.keyholder.access_stage import served
from tests.unit.keyholder.standing_scene import Ahead

from fleetward.trust.envelope import read_envelope

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(180),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]


def test_windows_are_allowed_shown_and_taken_back(tmp_path: Path) -> None:
    with served(tmp_path) as (scene, address), chromium() as browser:
        ahead = Ahead(scene)
        with walk(browser, WIDE) as walker:
            page = walker.page
            begin(walker, address, "windows")
            page.get_by_role("button", name="Allow ahead…").click()
            page.get_by_role("combobox", name="On which machines").click()
            page.get_by_role("option", name="pump-7, Ward 3").click()
            page.keyboard.press("Escape")
            page.get_by_label("a terminal as app").check()
            page.get_by_label("Time zone").fill("Europe/Berlin")
            page.get_by_label("Because").fill("the weekly update")
            judge(walker)
            page.get_by_role("button", name="See what you would sign").click()
            spans = page.locator(".window-spans li")
            expect(spans).to_have_count(12)
            expect(spans.first).to_contain_text("02:00-04:00 CET (")
            expect(page.locator(".six-words li")).to_have_count(6)
            judge(walker)
            assert not ahead.documents
            page.get_by_role("button", name="Sign and allow").click()
            expect(page.get_by_text("Each machine signs when it has it")).to_be_visible()
            one = page.get_by_role("region", name="Tom at pump-7")
            expect(one).to_contain_text("keeps it. 12 ahead.")
            (name,) = ahead.documents
            assert read_envelope(ahead.documents[name]).payload["time_zone"] == "Europe/Berlin"
            scene.off = True
            page.get_by_role("button", name="Take back: Tom at pump-7").click()
            page.get_by_label("Why").fill("Tom has left")
            page.get_by_role("button", name="Take back and sign").click()
            expect(one).to_contain_text("Taken back, but not yet at pump-7")
            judge(walker)
        with walk(browser, NARROW, "dark") as walker:
            begin(walker, address, "windows")
            expect(walker.page.get_by_role("region", name="Tom at pump-7")).to_be_visible()
            judge(walker)
