"""What somebody does with the two web programs, step by step, in a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect
from tests.browser.console_chromium import (
    NARROW,
    WIDE,
    MadeUpServer,
    Walk,
    chromium,
    made_up_server,
    missing,
    sign_in,
    walk,
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium for this file."""
    with chromium() as running:
        yield running


@pytest.fixture
def server() -> Iterator[MadeUpServer]:
    """A made-up server for one walk."""
    with made_up_server() as running:
        yield running
        assert running.reports() == []


def open_device(walker: Walk, server: MadeUpServer, name: str) -> None:
    """Find a device on the fleet page, and open it."""
    walker.open(f"{server.console}/fleet?q={name}")
    walker.page.get_by_role("link", name=name).click()
    walker.page.get_by_role("heading", level=1, name=name).wait_for()
    walker.settle()


def test_sign_in_leaves_no_code_in_the_address(server: MadeUpServer, browser: Browser) -> None:
    with walk(browser) as walker:
        sign_in(walker, server)
        assert "code" not in walker.page.url
        walker.page.reload()
        expect(walker.page.get_by_role("heading", level=1)).to_contain_text("13 devices")
        walker.page.get_by_role("button", name=re.compile("Sign out")).click()
        walker.page.get_by_role("button", name="Sign in with a passkey").wait_for()
        assert walker.page.evaluate("localStorage.getItem('fleetward.secret')") is None
    assert walker.complaints == []


def test_a_used_link_says_what_to_do(server: MadeUpServer, browser: Browser) -> None:
    with walk(browser, expected=("status of 401",)) as walker:
        walker.open(f"{server.console}/#code=used")
        walker.page.get_by_role("button", name="Sign in").click()
        expect(walker.page.get_by_role("alert")).to_contain_text("fleetward login-link")
    assert walker.complaints == []


def test_the_first_action_is_visible_without_scrolling(
    server: MadeUpServer, browser: Browser
) -> None:
    with walk(browser) as walker:
        sign_in(walker, server)
        verb = walker.page.get_by_label("What needs you", exact=True).get_by_role("link").first
        expect(verb).to_be_in_viewport(ratio=1)


def test_filters_and_page_survive_a_reload(server: MadeUpServer, browser: Browser) -> None:
    server.play("big")
    with walk(browser) as walker:
        sign_in(walker, server)
        walker.open(f"{server.console}/fleet")
        walker.page.get_by_role("combobox", name="State").click()
        walker.page.get_by_role("option", name="Quarantined").click()
        expect(walker.page).to_have_url(re.compile("state=quarantined"))
        walker.page.get_by_role("button", name="Next").click()
        expect(walker.page.get_by_text("51 to 100 of 625 devices")).to_be_visible()
        address = walker.page.url
        walker.page.reload()
        expect(walker.page.get_by_text("51 to 100 of 625 devices")).to_be_visible()
        assert walker.page.url == address
        assert walker.page.get_by_role("combobox", name="State").input_value() == "Quarantined"
    assert walker.complaints == []


@pytest.mark.parametrize("program", ["console", "owner"])
def test_focus_is_always_visible(server: MadeUpServer, browser: Browser, program: str) -> None:
    with walk(browser) as walker:
        sign_in(walker, server)
        pages = (
            ["/", "/fleet", "/setup/4", "/access"] if program == "console" else ["/", "/machines"]
        )
        if program == "owner":
            walker.open(f"{server.owner}/#secret=made-up")
        for page in pages:
            walker.open((server.console if program == "console" else server.owner) + page)
            unseen = focus_everything(walker)
            assert unseen == [], page
    assert walker.complaints == []


def focus_everything(walker: Walk) -> list[str]:
    """Go through a page by the Tab key; return what shows no outline while it has the focus."""
    unseen: list[str] = []
    for _ in range(200):
        walker.page.keyboard.press("Tab")
        told = walker.page.evaluate(
            """() => {
              const at = document.activeElement;
              if (!at || at === document.body) return null;
              const style = getComputedStyle(at);
              const visible = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
              const box = at.getBoundingClientRect();
              return { visible: visible && box.width > 0, what: at.outerHTML.slice(0, 120) };
            }"""
        )
        if told is None:
            return unseen
        if not told["visible"]:
            unseen.append(told["what"])
    return unseen


def test_the_tour_by_keyboard(server: MadeUpServer, browser: Browser) -> None:
    with walk(browser) as walker:
        sign_in(walker, server)
        walker.open(f"{server.console}/setup/1")
        for step in range(1, 9):
            expect(walker.page.get_by_text(f"Step {step} of 9")).to_be_visible()
            following = walker.page.get_by_role("button", name=re.compile("^Next: "))
            following.focus()
            walker.page.keyboard.press("Enter")
        expect(walker.page.get_by_text("Step 9 of 9")).to_be_visible()
        walker.open(f"{server.console}/setup")
        expect(walker.page).to_have_url(re.compile("/setup/9$"))
    assert walker.complaints == []


def test_a_stopped_server_is_said_and_noticed_when_it_is_back(
    server: MadeUpServer, browser: Browser
) -> None:
    expected = ("ERR_EMPTY_RESPONSE", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION")
    with walk(browser, expected=expected) as walker:
        sign_in(walker, server)
        server.play("down")
        notice = walker.page.get_by_role("alert").filter(has_text="The server does not answer")
        expect(notice).to_be_visible(timeout=15_000)
        expect(notice).to_contain_text("What you see is from")
        expect(notice).to_contain_text("fleetward up")
        expect(walker.page.get_by_role("heading", level=1)).to_contain_text("13 devices")
        server.play("normal")
        expect(notice).to_be_hidden(timeout=20_000)
        expect(walker.page.get_by_text("Live", exact=True)).to_be_visible()
    assert walker.complaints == []


def test_a_silent_device_is_stale_and_nothing_of_it_is_green(
    server: MadeUpServer, browser: Browser
) -> None:
    with walk(browser) as walker:
        sign_in(walker, server)
        open_device(walker, server, "pump-04")
        main = walker.page.locator("main")
        expect(main).to_contain_text("Stale: silent")
        expect(main).to_contain_text("fleetward-agent status")
        assert main.locator(".tone-good").count() == 0
        assert main.locator("[data-stale]").count() >= 3
    assert walker.complaints == []


def test_what_was_not_seen_is_never_green_or_zero(server: MadeUpServer, browser: Browser) -> None:
    server.play("noroot")
    with walk(browser) as walker:
        sign_in(walker, server)
        open_device(walker, server, "pump-02")
        ports = walker.page.locator("section", has_text="What can reach it").last
        expect(ports).to_contain_text("None visible without root")
        expect(ports).not_to_contain_text("No open ports")
        ports.get_by_role("button", name="How to see all").click()
        expect(walker.page.get_by_text("sudo fleetward-agent install")).to_be_visible()
        unseen = walker.page.locator(".state", has_text="Not visible")
        assert unseen.count() > 0
        for state in unseen.all():
            assert "tone-quiet" in (state.get_attribute("class") or "")
    assert walker.complaints == []


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_quarantine_asks_why_and_the_page_follows(
    server: MadeUpServer, browser: Browser, size: dict[str, int]
) -> None:
    with walk(browser, {"width": size["width"], "height": size["height"]}) as walker:
        sign_in(walker, server)
        open_device(walker, server, "pump-01")
        walker.page.get_by_role("button", name="Quarantine…").click()
        confirm = walker.page.get_by_role("button", name="Quarantine it now")
        expect(confirm).to_be_disabled()
        walker.page.get_by_label("Why").fill("telnet was open")
        confirm.click()
        expect(walker.page.get_by_role("button", name="Readmit…")).to_be_visible()
        expect(walker.page.locator("main .who-states")).to_contain_text("Quarantined")
    assert walker.complaints == []


def test_the_drill_shows_refusals_one_by_one(server: MadeUpServer, browser: Browser) -> None:
    with walk(browser) as walker:
        sign_in(walker, server)
        walker.open(f"{server.console}/setup/7")
        walker.page.get_by_role("button", name="Steal the server").click()
        expect(walker.page.get_by_text("Under way").first).to_be_visible()
        expect(walker.page.get_by_text("All 8 were refused")).to_be_visible(timeout=15_000)
        expect(walker.page.get_by_text("Policy 9 is not signed")).to_be_visible()
    assert walker.complaints == []


def test_a_secret_is_shown_once(server: MadeUpServer, browser: Browser) -> None:
    with walk(browser) as walker:
        sign_in(walker, server)
        walker.open(f"{server.console}/access")
        walker.page.get_by_role("button", name="New token…").click()
        walker.page.get_by_role("textbox", name="Name").fill("nightly report")
        walker.page.get_by_role("button", name="Make the token").click()
        secret = walker.page.get_by_text("fwt_made_up")
        expect(secret).to_be_visible()
        walker.page.get_by_role("button", name="I have kept it").click()
        expect(secret).to_be_hidden()
    assert walker.complaints == []


def test_the_owner_confirms_only_what_agrees(server: MadeUpServer, browser: Browser) -> None:
    with walk(browser) as walker:
        walker.open(f"{server.owner}/#secret=made-up")
        assert "secret" not in walker.page.url
        page = walker.page
        expect(
            page.get_by_text("The owner’s keys lie on the server’s own computer.")
        ).to_be_visible()
        confirm = page.get_by_role("button", name="Confirm and sign")
        expect(confirm).to_be_disabled()
        shown = page.get_by_label("Six words").inner_text()
        words = re.findall(r"[a-z]+", shown)
        assert len(words) == 6
        typed = page.get_by_label("Or type them")
        typed.fill(" ".join([*words[:2], "wrong", *words[3:]]))
        expect(page.get_by_text("Word 3 differs")).to_be_visible()
        expect(confirm).to_be_disabled()
        page.get_by_label("I compared them").check()
        expect(confirm).to_be_disabled()
        typed.fill(" ".join(words).upper())
        confirm.click()
        expect(page.get_by_text("Signed, and handed to the server.")).to_be_visible()
        expect(page.get_by_role("heading", name="No machine waits")).to_be_visible()
    assert walker.complaints == []


def test_the_owner_sees_the_entry_that_lies(server: MadeUpServer, browser: Browser) -> None:
    with walk(browser) as walker:
        walker.open(f"{server.owner}/#secret=made-up")
        walker.open(f"{server.owner}/record")
        check = walker.page.get_by_role("button", name=re.compile("^Check"))
        check.click()
        expect(walker.page.get_by_role("heading", level=1)).to_contain_text("The record is whole")
        server.play("lie")
        check.click()
        expect(walker.page.get_by_role("heading", level=1)).to_contain_text("contradicts")
        expect(walker.page.get_by_text("Entry 2917")).to_be_visible()
        expect(walker.page.get_by_text("pump-04, newest signed word 47 min old")).to_be_visible()
    assert walker.complaints == []


def test_the_owner_invites_and_retires(server: MadeUpServer, browser: Browser) -> None:
    with walk(browser) as walker:
        walker.open(f"{server.owner}/#secret=made-up")
        walker.open(f"{server.owner}/invite")
        walker.page.get_by_label("On which site").fill("Harbour")
        walker.page.get_by_role("button", name="Sign an invitation").click()
        expect(walker.page.get_by_text("fleetward-agent join fw1.")).to_be_visible()
        walker.open(f"{server.owner}/machines")
        walker.page.get_by_role("button", name="Retire pump-01").click()
        walker.page.get_by_label("Why").fill("sold")
        walker.page.get_by_role("button", name="Retire and sign").click()
        expect(walker.page.get_by_role("button", name="Retire pump-01")).to_be_hidden()
    assert walker.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_owner_refuses_a_recovery(server: MadeUpServer, browser: Browser, scheme: str) -> None:
    server.play("big")
    with walk(browser, NARROW if scheme == "dark" else WIDE, scheme) as walker:
        walker.open(f"{server.owner}/#secret=made-up")
        banner = walker.page.get_by_role("alert")
        expect(banner).to_contain_text("Nora Ndiaye would decide over every machine")
        banner.get_by_role("link", name="refuse it now").click()
        walker.page.get_by_role("button", name="Refuse it").click()
        expect(walker.page.get_by_role("button", name="Refuse and sign")).to_be_disabled()
        assert walker.accessibility() == []
        walker.page.get_by_label("Passphrase of the owner").fill("a long passphrase")
        walker.page.get_by_role("button", name="Refuse and sign").click()
        expect(walker.page.get_by_text("Policy 8 is signed")).to_be_visible()
    assert walker.complaints == []


def test_exact_time_on_focus(server: MadeUpServer, browser: Browser) -> None:
    with walk(browser) as walker:
        sign_in(walker, server)
        walker.page.locator("time.asof").first.focus()
        expect(walker.page.get_by_role("tooltip")).to_have_text(
            re.compile(r"\d{2}:\d{2}:\d{2} \S+")
        )
    assert walker.complaints == []
