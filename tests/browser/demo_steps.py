"""What the ten checks do again and again: judging pages, walking the tour, letting one in."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterable
from typing import Any, Final

from playwright.sync_api import expect
from tests.browser.console_chromium import NARROW, WIDE, free_port
from tests.browser.demo_walk import (
    Keyboard,
    Program,
    Visit,
    find_overlaps,
    stop,
)

NOTICE_MS: Final = 10_000
"""How soon an open page must show a change of this machine."""
UNSEEN_SECONDS: Final = 60.0
"""The same while nobody looks."""
BUSY_CHANGES: Final = 8
BUSY_MS: Final = 65_000
SILENCE_MS: Final = 30_000
LAST_STEP: Final = 9
ATTACKS: Final = 8
"""Of the drill; each is refused."""
LISTS: Final = ("packages", "sockets", "processes", "services", "users", "hardening", "facts")
CONSOLE: Final = ("/", "/fleet", "/updates", "/timeline", "/proof", "/access", "/nowhere")
OWNER: Final = ("/", "/machines", "/invite", "/policy", "/record")
LOOKS: Final = ((WIDE, "light"), (NARROW, "dark"), (NARROW, "light"), (WIDE, "dark"))
INSIDE_WORDS: Final = re.compile(r"\b(laws?|lea(f|ves)|gates?|guards?)\b", re.IGNORECASE)
"""Words of the building, which no screen speaks."""
OFF: Final = ("ERR_EMPTY_RESPONSE", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION")


def open_owner(demo: Program, visitor: Visit) -> None:
    """Open the owner's console."""
    visitor.open(demo.ready["owner_console"])
    expect(visitor.page.locator(".shell")).to_be_visible()


def judge(visitor: Visit, address: str, looks: Any = LOOKS) -> list[str]:
    """Open a page; return what is wrong with it, at every look."""
    visitor.open(address)
    found = [
        f"it says {word.group()!r}"
        for word in INSIDE_WORDS.finditer(visitor.page.inner_text("main").replace("Gate 4", ""))
    ]
    for size, scheme in looks:
        visitor.look(size, scheme)
        at = f"{size['width']} {scheme}: "
        found += [f"{at}axe: {line}" for line in visitor.judge_access()]
        found += [f"{at}upon each other: {pair}" for pair in find_overlaps(visitor.page)]
        if visitor.width_too_much() > 0:
            found.append(f"{at}it scrolls sideways by {visitor.width_too_much()} px")
    found += visitor.complaints
    visitor.complaints.clear()
    return [f"{address}: {line}" for line in found]


def judge_all(visitor: Visit, origin: str, paths: Iterable[str]) -> list[str]:
    """Judge pages, each at two looks with both widths and both colours; in turn at all four."""
    return [
        line
        for number, path in enumerate(paths)
        for line in judge(visitor, origin + path, LOOKS[2:] if number % 2 else LOOKS[:2])
    ]


def copied(visitor: Visit, keys: Keyboard, label: str) -> list[str]:
    """Copy a command from the page by the keyboard; return its words."""
    keys.press(f"Copy: the command that {label}")
    expect(visitor.page.locator(":focus").get_by_text("Copied")).to_be_visible()
    return shlex.split(str(visitor.page.evaluate("navigator.clipboard.readText()")))


def onwards(visitor: Visit, keys: Keyboard, step: int, name: str) -> None:
    """Take a picture of a step of the tour, and go on by the keyboard."""
    visitor.shoot(f"04-tour-{step}")
    keys.press(name)
    if step < LAST_STEP:
        expect(visitor.page.get_by_text(f"Step {step + 1} of {LAST_STEP}")).to_be_visible()
        visitor.settle()


def run_copied(demo: Program, words: list[str], code: int = 0) -> str:
    """Run a command that a page showed."""
    done = subprocess.run(
        words, env={**os.environ, "HOME": str(demo.home)}, capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def change_something(visitor: Visit, keys: Keyboard) -> None:
    """Open a port as the tour says, see it appear, close it, and see that too."""
    words = copied(visitor, keys, "opens a port")
    told = next(word for word in words if word.isdigit())
    port = str(free_port())
    words = [port if word == told else word for word in words]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        opened = visitor.page.locator("main").get_by_text(f"port {port} opened")
        expect(opened).to_be_visible(timeout=NOTICE_MS)
    finally:
        stop(process)
    closed = visitor.page.locator("main").get_by_text(f"port {port} closed")
    expect(closed).to_be_visible(timeout=NOTICE_MS)


def let_in(demo: Program, owner: Visit, panel: str) -> None:
    """Confirm the waiting machine in the owner's console, by the keyboard, with its own words."""
    found = re.search(r"(?:[a-z]+ ){5}[a-z]+$", panel.splitlines()[0])
    assert found is not None, panel
    open_owner(demo, owner)
    keys = Keyboard(owner.page)
    if "infusion-gateway-7" not in owner.page.locator(".confirm-facts").inner_text():
        keys.press("infusion-gateway-7")
    keys.reach("Or type them as they are read to you")
    owner.page.keyboard.type(found.group())
    owner.shoot("04-tour-4-owner")
    keys.press("Confirm and sign")
    expect(owner.page.get_by_text("Signed, and handed to the server.")).to_be_visible()
    assert keys.unseen == []


def list_ms(demo: Program) -> int:
    """Return how soon the list of ports must follow.

    Changes are always told at once. The list is sent anew ten times at once and then once a minute,
    so where other programs open ports all the time, as other tests do, it may come a minute later.
    """
    shown = demo.api(f"/devices/{demo.this}/history?per_page=50")["items"]
    changes = [item for item in shown if item["kind"].startswith("posture.changed")]
    return NOTICE_MS if len(changes) < BUSY_CHANGES else BUSY_MS


def judge_sight(demo: Program, visitor: Visit, device: str) -> None:
    """Compare what the pages say with what the agent could not see."""
    visitor.open(f"{demo.url}/devices/{device}")
    main = visitor.page.locator("main")
    told = demo.api(f"/devices/{device}")
    expect(main).to_contain_text("without root")
    expect(main).not_to_contain_text("No open ports")
    main.get_by_role("button", name="How to see all").first.click()
    expect(visitor.page.get_by_text("sudo fleetward-agent install")).to_be_visible()
    visitor.shoot("07-a-how-to-see-all")
    visitor.page.keyboard.press("Escape")
    for fact in ("packages", "pending", "security"):
        if told["software"][fact] is None:
            expect(main).to_contain_text("Not visible")
    for each in told["properties"]:
        truths = [evidence["holds"] for evidence in each["evidence"]]
        unseen = [e["words"] for e in each["evidence"] if e["holds"] is None]
        assert all("not visible" in words.lower() for words in unseen), unseen
        assert each["state"] != "shown" or None not in truths
        assert each["state"] == "not_visible" or set(truths) != {None}
    visitor.shoot("07-b-without-root", whole=True)
    for name, columns in (("sockets", ("process", "user", "package")), ("facts", ("value",))):
        visitor.open(f"{demo.url}/devices/{device}/{name}")
        rows = demo.api(f"/devices/{device}/{name}?per_page=50")["items"]
        unseen_cells = sum(row[column] is None for row in rows for column in columns)
        assert unseen_cells > 0
        # A port that opens in between changes the count: the page follows it.
        states = main.locator(".state", has_text="Not visible")
        assert abs(states.count() - unseen_cells) <= 6
    for name in LISTS:
        visitor.open(f"{demo.url}/devices/{device}/{name}")
        for state in main.locator(".state", has_text="Not visible").all():
            assert "tone-quiet" in (state.get_attribute("class") or "")
    visitor.open(f"{demo.url}/devices/{device}/facts")
    visitor.shoot("07-c-facts-without-root")
