"""The owner's page Closing, in a real Chromium, over the owner's own program."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect
from tests.browser.console_chromium import NARROW, WIDE, Walk, chromium, missing, walk
from tests.unit.keyholder.closing_scene import ClosingScene, served

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ClosingScene, str]]:
    """The owner's console over two machines that close."""
    with served(tmp_path_factory.mktemp("closing")) as running:
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


@pytest.mark.parametrize(
    ("size", "scheme"), [(WIDE, "light"), (NARROW, "dark")], ids=["wide", "narrow"]
)
def test_an_owner_closes_keeps_and_opens_again(
    stage: tuple[ClosingScene, str],
    browser: Browser,
    size: dict[str, int],
    scheme: str,
) -> None:
    scene, address = stage
    scene.closings.clear()
    scene.reports.clear()
    with walk(browser, size, scheme) as walker:  # type: ignore[arg-type]  # a size of Playwright's
        page = walker.page
        walker.open(address)
        walker.open(address.partition("#")[0] + "closing")
        expect(page.get_by_role("heading", level=1)).to_have_text(
            "Local access is open on 2 machines"
        )
        judge(walker)
        page.get_by_label("All 2 shown").check()
        page.get_by_role("button", name="Close…").click()
        expect(page.get_by_role("heading", name="Close what is open on 2 machines")).to_be_visible()
        expect(page.get_by_text("on port 22 of pump-7")).to_be_visible()
        page.get_by_label("TCP ports").fill("8080; flush")
        expect(page.get_by_role("button", name="Close and sign")).to_be_disabled()
        page.get_by_label("TCP ports").fill("8080")
        page.get_by_label("Why").fill("nobody needs it")
        walker.page.wait_for_timeout(300)
        judge(walker)
        page.get_by_role("button", name="Close and sign").click()
        expect(page.get_by_text("2 machines have closed SSH, Telnet, tcp/8080")).to_be_visible()
        expect(page.get_by_role("timer")).to_contain_text("9:")
        judge(walker)
        page.get_by_role("button", name="Keep it closed").click()
        expect(page.get_by_text("Kept on 2 machines.")).to_be_visible()
        expect(page.get_by_role("timer")).to_have_count(0)
        (closing,) = scene.closings.values()
        assert (closing.hash in scene.kept, closing.reason) == (True, "nobody needs it")
        page.get_by_role("button", name="Open again…").click()
        page.get_by_role("button", name="Open and sign").click()
        said = "All is opened again, and handed over for 2 machines."
        expect(page.get_by_text(said)).to_be_visible()
        assert list(scene.closings.values())[-1].opens_all
        judge(walker)
