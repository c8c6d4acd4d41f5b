"""The pages of updates over a real demo: a real maker, a real owner, machines that install.

One demo stands for the whole file. Every report is a machine's own: the release that fails is one
whose health check cannot hold, and the agent of this machine takes it back by itself. The tests
stand in the order in which a fleet comes to its updates. The pictures are in `build/screens`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Locator, StorageState, expect
from tests.browser.console_chromium import NARROW, WIDE, chromium
from tests.browser.demo_steps import LOOKS, judge, judge_all
from tests.browser.demo_walk import (
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

INSTALL_MS: Final = 120_000
LOT_MS: Final = 30_000
"""How soon an open page must show that a machine installed a release, or took it back."""
SUPPORT_ENDS: Final = "2099-12-31"


@dataclass
class Maker:
    """A maker with a folder of its own, beside the demo."""

    demo: Program
    folder: Path

    def run(self, *words: str | Path) -> str:
        """Run `fleetward maker …` or `fleetward release …`."""
        return self.demo.run(*words, "--maker", self.folder / "maker")

    def sign(self, *words: str | Path) -> str:
        """Run what needs a key."""
        return self.run(*words, "--passphrase-file", self.folder / "passphrase")

    def start(self) -> None:
        """Become a maker with one product."""
        (self.folder / "passphrase").write_text("a phrase of the maker", "ascii")
        (self.folder / "passphrase").chmod(0o600)
        self.sign("maker", "init", "--name", "Acme", "--person", "Anna", "--people", "1",
                  "--threshold", "1")  # fmt: skip
        self.sign("maker", "product", "add", "kiosk", "--support-ends", SUPPORT_ENDS)

    def release(self, version: str, check: str, *words: str, page: str = "hello") -> None:
        """Build, sign and publish a release of one folder."""
        built = self.folder / version
        built.mkdir()
        (built / "page.txt").write_text(page, "ascii")
        self.run("release", "build", "kiosk", version, "--part", f"app={built}", "--health", check,
                 "--within", "5", "--steady", "1", *words)  # fmt: skip
        self.sign("release", "sign", f"kiosk/{version}")
        self.run("release", "publish", f"kiosk/{version}", "--data", self.demo.data)

    def owner(self, *words: str | Path) -> str:
        """Run `fleetward owner …` as the demo's owner."""
        passphrase = self.demo.ready["passphrase_file"]
        return self.demo.run(
            "owner", *words, "--data", self.demo.data, "--passphrase-file", passphrase
        )

    def approve(self, version: str) -> None:
        """Approve a release for every machine, as the owner."""
        self.owner("approve", f"kiosk/{version}", "--all", "--yes", "--reason", "it is time")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """The demo, in an empty home."""
    with start_program("demo", tmp_path_factory.mktemp("demo")) as running:
        yield running


@pytest.fixture(scope="module")
def maker(demo: Program, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """A maker of one product."""
    made = Maker(demo, tmp_path_factory.mktemp("maker"))
    made.start()
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium with a profile of its own."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def session(demo: Program, browser: Browser) -> StorageState:
    """What a browser keeps of one sign-in by a link."""
    return keep_session(browser, demo)


def name_of_this(demo: Program) -> str:
    name: str = demo.api(f"/devices/{demo.this}")["name"]
    return name


def rollout_of(demo: Program, version: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = demo.api("/updates/rollouts")["items"]
    return next(each for each in found if each["version"] == version)


def judge_twice(visitor: Visit, demo: Program, path: str) -> list[str]:
    """Judge a page at all four looks."""
    return judge(visitor, demo.url + path, LOOKS)


def roll_out(demo: Program, visitor: Visit, version: str, *, pace: str) -> None:
    """Make a rollout on the release's page, with this machine as its canary."""
    page = visitor.page
    visitor.open(f"{demo.url}/updates/releases/kiosk/{version}")
    form = page.get_by_role("form", name="A new rollout")
    form.get_by_role("radio", name=pace).check()
    canaries = form.get_by_role("combobox", name=re.compile("^Canaries"))
    canaries.fill(name_of_this(demo))
    page.get_by_role("option", name=re.compile(f"^{re.escape(name_of_this(demo))}")).click()
    page.keyboard.press("Escape")
    expect(form.locator(".new-forecast")).to_contain_text("At most 1 of")
    expect(form.locator(".new-forecast")).to_contain_text("Canaries: up to 1 machine")
    button = form.get_by_role("button", name=re.compile("^Roll out"))
    expect(button).to_be_enabled()
    button.scroll_into_view_if_needed()
    visitor.shoot(f"20-roll-out-{version}")
    button.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"kiosk {version}")
    expect(page).to_have_url(re.compile("/updates/rollouts/"))


def wait_for_one(demo: Program, version: str, done: Locator) -> None:
    """Wait until a machine has said that it runs a release. The lot may have fallen on one that is
    off or in quarantine; then somebody goes on without it, as a person would."""
    rollout = str(rollout_of(demo, version)["id"])
    for _ in rollout_of(demo, version)["stages"]:
        try:
            expect(done.first).to_be_visible(timeout=LOT_MS)
        except AssertionError:
            words = ("--reason", "who is silent is not waited for", "--data", demo.data)
            demo.run("rollout", "continue", rollout, *words)
        else:
            return
    expect(done.first).to_be_visible(timeout=INSTALL_MS)


def test_nothing_yet_says_what_to_do_next(
    demo: Program, browser: Browser, session: StorageState
) -> None:
    with visit(browser, session) as visitor:
        found = judge_twice(visitor, demo, "/updates")
        main = visitor.page.locator("main")
        expect(main).to_contain_text("names no maker yet")
        expect(main.locator(".copy-line code")).to_have_text(
            "fleetward owner policy set maker PRODUCT root.json"
        )
        expect(main).to_contain_text("it never signs")
        visitor.open(f"{demo.url}/devices/{demo.this}")
        expect(main).to_contain_text("It has reported no release yet.")
    assert found == []


def test_a_release_is_rolled_out_and_the_open_page_follows(
    demo: Program, maker: Maker, browser: Browser, session: StorageState
) -> None:
    maker.release("1.0", "file:app/page.txt", "--notes", "The first one.")
    with visit(browser, session) as visitor:
        main = visitor.page.locator("main")
        visitor.open(f"{demo.url}/updates")
        expect(main).to_contain_text("does not name who makes kiosk")
        root = maker.folder / "maker" / "repository" / "metadata" / "1.root.json"
        maker.owner("policy", "set", "maker", "kiosk", root)
        maker.owner("policy", "set", "director")
        visitor.open(f"{demo.url}/updates")
        expect(main).to_contain_text("kiosk 1.0 waits for the owner.")
        expect(main.locator(".copy-line code").first).to_have_text(
            "fleetward owner approve kiosk/1.0 --all"
        )
        found = judge_twice(visitor, demo, "/updates")
        found += judge_twice(visitor, demo, "/updates/releases/kiosk/1.0")
        # Nothing that the server only stored looks verified.
        assert main.locator(".tone-good").count() == 0
        visitor.look(WIDE, "light")
        roll_out(demo, visitor, "1.0", pace="Normal")
        expect(main).to_contain_text("It waits for the owner to approve")
        maker.approve("1.0")
        expect(visitor.page.get_by_role("heading", level=1)).to_contain_text(
            "1 of", timeout=INSTALL_MS
        )
        row = main.get_by_role("row").filter(has_text=name_of_this(demo))
        expect(row).to_contain_text("Runs it")
        expect(main).to_contain_text("The next wave opens in")
        visitor.shoot("20-first-machine")
        visitor.page.get_by_role("button", name=re.compile("^Go on without waiting")).click()
        dialog = visitor.page.get_by_role("dialog")
        dialog.get_by_label("Why").fill("it works here")
        dialog.get_by_role("button", name="Go on, and open the next wave").click()
        expect(main.get_by_text("The next wave is open.")).to_be_visible()
        expect(main).to_contain_text("it works here")
    assert found == []
    assert len(rollout_of(demo, "1.0")["stages"]) == 4


def test_a_failure_holds_it_and_every_page_says_so(
    demo: Program, maker: Maker, browser: Browser, session: StorageState
) -> None:
    maker.release("1.1", "port:1", "--fixes", "CVE-2026-1001", page="hello again")
    with visit(browser, session) as visitor, visit(browser, session) as today:
        page, main = visitor.page, visitor.page.locator("main")
        today.open(demo.url)
        roll_out(demo, visitor, "1.1", pace="Careful")
        maker.approve("1.1")
        expect(main.locator(".rollout-why")).to_contain_text(
            "Held: 1 machine failed", timeout=INSTALL_MS
        )
        causes = main.get_by_role("list", name="Failures of kiosk 1.1 by cause")
        expect(causes).to_contain_text("port 1 answers")
        expect(causes).to_contain_text("kiosk 1.1 was taken back.")
        visitor.shoot("21-held")
        card = today.page.get_by_role("list", name="What needs you")
        expect(card).to_contain_text("The rollout of kiosk 1.1 is held", timeout=INSTALL_MS)
        today.shoot("21-today")
        rollout = rollout_of(demo, "1.1")
        assert (rollout["state"], rollout["exposure"]) == ("held", 1)
        causes.get_by_role("link").click()
        expect(page).to_have_url(re.compile("show=failed&q="))
        expect(main.get_by_role("row").filter(has_text=name_of_this(demo))).to_contain_text(
            "Went back"
        )
        visitor.open(f"{demo.url}/updates")
        expect(page.get_by_role("heading", level=1)).to_contain_text("1 rollout is held")
        expect(main).to_contain_text("Not safe to go on yet")
        visitor.open(f"{demo.url}/devices/{demo.this}")
        history = main.locator("#software .device-reports")
        expect(history).to_contain_text("Went back by itself")
        expect(history).to_contain_text("port 1 answers failed")
        expect(history).not_to_contain_text("simulated")
        history.scroll_into_view_if_needed()
        visitor.shoot("21-history")
        visitor.open(f"{demo.url}/updates/releases/kiosk/1.1")
        expect(main).to_contain_text("CVE-2026-1001")
        expect(main).to_contain_text("Compared with 1.0")
        expect(main.locator("#machines")).to_contain_text("failed on 1")


def test_simulated_machines_are_called_so(
    demo: Program, browser: Browser, session: StorageState
) -> None:
    def runs() -> list[str]:
        rows = demo.api("/updates/releases/kiosk/1.0/devices")["items"]
        return [row["device_id"] for row in rows if row["runs"] and row["simulated"]]

    # The wave of 10% has no more room than the canary took: the one of 50% lets others in.
    place = rollout_of(demo, "1.0")["id"]
    demo.run("rollout", "continue", place, "--reason", "it runs here", "--data", demo.data)
    wait_for(lambda: bool(runs()), 60, "a simulated machine that runs the release")
    with visit(browser, session) as visitor:
        visitor.open(f"{demo.url}/devices/{runs()[0]}")
        reports = visitor.page.locator("#software .device-reports > li")
        expect(reports.first).to_contain_text("simulated")
        visitor.open(f"{demo.url}/updates/releases/kiosk/1.0")
        expect(visitor.page.locator("#machines")).to_contain_text("simulated")


def test_no_page_of_updates_scrolls_sideways_and_all_can_be_read(
    demo: Program, browser: Browser, session: StorageState
) -> None:
    held = rollout_of(demo, "1.1")["id"]
    pages = (
        "/",
        "/updates",
        "/updates?goal=7",
        "/updates/releases/kiosk/1.0",
        "/updates/releases/kiosk/1.1",
        f"/updates/rollouts/{held}",
        f"/updates/rollouts/{held}?show=failed",
        f"/devices/{demo.this}",
    )
    with visit(browser, session) as visitor:
        found = judge_all(visitor, demo.url, pages)
        found += judge_all(visitor, demo.url, reversed(pages))
        visitor.look(NARROW, "dark")
        visitor.open(f"{demo.url}/updates")
        visitor.shoot("22-updates-360-dark", whole=True)
    assert found == []


def test_an_address_that_nobody_has_is_said_so(
    demo: Program, browser: Browser, session: StorageState
) -> None:
    expected = ("the server responded with a status of 40",)
    with visit(browser, session, expected=expected) as visitor:
        for path in ("/updates/rollouts/00000000", "/updates/releases/kiosk/9.9"):
            visitor.open(demo.url + path)
            expect(visitor.page.locator("main")).to_contain_text("known here" if "rollouts" in path
                                                                 else "published here")  # fmt: skip


def test_a_rollout_is_cancelled_by_the_keyboard_alone(
    demo: Program, browser: Browser, session: StorageState
) -> None:
    rollout = rollout_of(demo, "1.1")
    with visit(browser, session) as visitor:
        page = visitor.page
        visitor.open(f"{demo.url}/updates/rollouts/{rollout['id']}")
        keys = Keyboard(page)
        keys.press("Go on despite failures…", "BUTTON")
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("more machines get this release")
        expect(dialog.get_by_role("button", name="Go on, and open the next wave")).to_be_disabled()
        for size, scheme in LOOKS:
            visitor.look(size, scheme)
            assert visitor.judge_access() == []
            assert visitor.width_too_much() <= 0
        visitor.look(WIDE, "light")
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        expect(page.get_by_role("button", name=re.compile("^Go on despite"))).to_be_focused()
        keys.press("Cancel…", "BUTTON")
        expect(dialog.get_by_label("Why")).to_be_focused()
        page.keyboard.type("it's the port")
        expect(dialog.locator(".copy-line code")).to_have_text(
            f"fleetward rollout cancel {rollout['id'][:12]} --reason 'it'\\''s the port'"
        )
        keys.press("Cancel it for good", "BUTTON")
        expect(page.get_by_text("Cancelled. What is installed stays.")).to_be_visible()
        expect(page.locator("main")).to_contain_text("it's the port")
        assert keys.unseen == []
    assert rollout_of(demo, "1.1")["state"] == "cancelled"
    with visit(browser, session) as visitor:
        visitor.open(demo.url)
        expect(visitor.page.locator("main")).not_to_contain_text("The rollout of kiosk 1.1 is held")


def test_a_recall_in_three_clicks_is_over_when_all_have_signed(
    demo: Program, maker: Maker, browser: Browser, session: StorageState
) -> None:
    why = "<img src=x onerror=alert(1)> Anybody on the network can log in."
    maker.release("1.2", "file:app/page.txt", "--fixes", "CVE-2026-1002", page="mended")
    with visit(browser, session) as visitor:
        page, main = visitor.page, visitor.page.locator("main")
        found = judge_twice(visitor, demo, "/updates/recalls")
        expect(main).to_contain_text("Nothing was ever recalled here.")
        visitor.look(NARROW, "dark")
        visitor.shoot("23-no-recalls")
        visitor.look(WIDE, "light")
        visitor.open(f"{demo.url}/updates/releases/kiosk/1.2")
        visitor.shoot("23-release", whole=True)
        # One.
        page.get_by_role("link", name="Recall the versions before…").click()
        form = page.get_by_role("form", name="A new recall")
        expect(form.get_by_label("In a line")).to_have_value("kiosk before 1.2")
        expect(form).to_contain_text("CVE-2026-1002")
        expect(form.locator(".new-forecast")).to_contain_text("a recalled version")
        form.get_by_label("Why").fill(why)
        expect(form.get_by_role("button", name="Open the recall")).to_be_enabled()
        found += judge_here(visitor, "the form")
        visitor.shoot("23-new-recall", whole=True)
        # Two.
        form.get_by_role("button", name="Open the recall").click()
        expect(page).to_have_url(re.compile("/updates/recalls/[0-9a-f]{32}"))
        expect(page.get_by_role("heading", level=1)).to_contain_text("It is not over")
        expect(main.get_by_text(why)).to_be_visible()
        assert main.locator("img").count() == 0
        place = page.url.removeprefix(demo.url)
        found += judge_twice(visitor, demo, place)
        for size, scheme in LOOKS:
            visitor.look(size, scheme)
            visitor.shoot(f"23-recall-{size['width']}-{scheme}", whole=True)
        visitor.look(WIDE, "light")
        visitor.open(demo.url)
        card = page.get_by_role("list", name="What needs you")
        expect(card).to_contain_text("Recall: kiosk before 1.2")
        visitor.shoot("23-today")
        card.get_by_role("link", name=re.compile("See what to do next")).click()
        # Three: the rollout of what mends it. The owner's yes is a signature, and no click here.
        page.get_by_role("button", name="Roll kiosk 1.2 out in waves").click()
        expect(page).to_have_url(re.compile("/updates/rollouts/"))
        maker.approve("1.2")
        visitor.open(demo.url + place)
        done = main.get_by_role("row").filter(has_text="It signed that it runs kiosk 1.2")
        wait_for_one(demo, "1.2", done)
        expect(page.get_by_role("heading", level=1)).to_contain_text("It is not over")
        visitor.shoot("24-recall-one-done", whole=True)
        # Whoever is left is not done by being closed.
        Keyboard(page).press("Close…", "BUTTON")
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("button", name="Close it, not proven")).to_be_disabled()
        dialog.get_by_label("Why").fill("the others are sold")
        dialog.get_by_role("button", name="Close it, not proven").click()
        expect(main).to_contain_text("Closed, not proven")
        found += judge_twice(visitor, demo, "/updates/recalls")
        visitor.shoot("24-recalls", whole=True)
    assert found == []
    check_without_the_server(demo, maker, place.rpartition("/")[2])


def check_without_the_server(demo: Program, maker: Maker, recall: str) -> None:
    """Compare the proof with the record, as the owner would on another computer."""
    proof, record = maker.folder / "recall.json", maker.folder / "record"
    demo.run("recall", "export", recall, "--out", proof, "--data", demo.data)
    demo.run("audit", "export", "--out", record, "--data", demo.data)
    # The demo's owner folder lies on this computer: its root is what the owner knows.
    root = json.loads((record / "export.json").read_bytes())["owner_root"]
    where = ("--record", record, "--root", root)
    checked = demo.run_json("recall", "verify", proof, *where, code=1)
    assert (checked["contradicted"], checked["over"]) == ([], False)
    assert checked["updated"] >= 1 and checked["open"]
    lie = json.loads(proof.read_bytes())
    for line in lie["lines"]:
        line["standing"] = "updated"
    lie["tally"] |= {"affected": 0, "unknown": 0, "updated": len(lie["lines"])}
    proof.write_text(json.dumps(lie), "ascii")
    checked = demo.run_json("recall", "verify", proof, *where, code=1)
    # One finding for each machine that is not proven, whatever the server says of it.
    assert {each["id"] for each in checked["contradicted"]} == {"not_proven"}


def judge_here(visitor: Visit, what: str) -> list[str]:
    """Return what is wrong with the page as it stands, at all four looks."""
    found = []
    for size, scheme in LOOKS:
        visitor.look(size, scheme)
        found += [f"{what}: {line}" for line in visitor.judge_access()]
        if visitor.width_too_much() > 0:
            found.append(f"{what} scrolls sideways")
    visitor.look(WIDE, "light")
    return found
