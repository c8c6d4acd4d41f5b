"""BREAK-GLASS in the owner's console: a banner on every page until somebody knows of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect
from tests.browser.console_chromium import NARROW, WIDE, chromium, missing, walk
from tests.browser.test_owner_access import begin, judge
from tests.unit.keyholder.access_scene import now_ms
from tests.unit.keyholder.access_stage import served
from tests.unit.keyholder.test_break_glass import break_in

from fleetward.keyholder.access.break_glass_rules import StandIns, set_break_glass
from fleetward.keyholder.access.policy_rules import Limits
from fleetward.keyholder.policy_changes import change_policy
from fleetward.runtime.keys import make_key
from fleetward.trust.keys import ED25519

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]


def test_a_banner_stays_until_somebody_knows(tmp_path: Path) -> None:
    with served(tmp_path) as (scene, address), chromium() as browser:
        cleo = make_key(ED25519)
        who = StandIns(("Bo",), (("Cleo", cleo.public),))
        change_policy(scene.desk, set_break_glass(who, ["root"], Limits(900)), now_ms())
        scene.publish()
        row = break_in(scene)
        with walk(browser, NARROW) as walker:
            begin(walker, address, "machines")
            banner = walker.page.get_by_role("alert")
            expect(banner).to_contain_text("BREAK-GLASS. Tom of Makers Ltd asks to enter pump-7")
            judge(walker)
        with walk(browser, WIDE) as walker:
            page = walker.page
            begin(walker, address, f"requests/{row.hash}")
            expect(page.get_by_role("heading", level=1)).to_contain_text("BREAK-GLASS: Tom")
            expect(page.get_by_text("presses at the machine")).to_be_visible()
            judge(walker)
            page.get_by_role("button", name="I know of it").click()
            expect(page.get_by_role("alert")).to_have_count(0)
            page.reload()
            expect(page.get_by_role("heading", level=1)).to_contain_text("BREAK-GLASS: Tom")
            expect(page.get_by_role("alert")).to_have_count(0)
