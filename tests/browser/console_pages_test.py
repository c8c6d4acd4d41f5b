"""Every page of the two web programs, wide and narrow, light and dark, in a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Browser, ViewportSize
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
    pytest.mark.timeout(300),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

LISTS: Final = ("packages", "sockets", "processes", "services", "users", "hardening", "facts")
CONSOLE: Final = (
    "/",
    "/fleet",
    "/sessions",
    "/sessions?state=waiting",
    "/updates",
    "/updates?goal=7",
    "/timeline",
    "/proof",
    "/access",
    "/nowhere",
    *(f"/setup/{step}" for step in range(1, 9)),
)
LONG_PAGES: Final = ["/", "/fleet", "/sessions", "/updates", "/proof", "/setup/4"]
"""Where 5,000 devices and names of 80 characters show."""
OWNER: Final = (
    "/",
    "/requests",
    "/sessions",
    f"/sessions/{'d' * 64}",
    f"/sessions/{'e' * 64}",
    "/machines",
    "/invite",
    "/closing",
    "/policy",
    "/record",
)
LOOKS: Final = [
    pytest.param(size, scheme, id=f"{size['width']}-{scheme}")
    for size, scheme in ((WIDE, "light"), (NARROW, "dark"))
]
"""Both widths and both colours; `test_ten_checks` crosses them on real data."""
INSIDE_WORDS: Final = re.compile(r"\b(laws?|lea(f|ves)|gates?|guards?)\b", re.IGNORECASE)
"""Words of the building, which no screen speaks."""


@pytest.fixture(scope="module")
def server() -> Iterator[MadeUpServer]:
    """A made-up server for this file."""
    with made_up_server() as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium for this file."""
    with chromium() as running:
        yield running


def judge(walker: Walk, address: str) -> list[str]:
    """Open a page and return everything that is wrong with it."""
    walker.open(address)
    found = [f"axe: {line}" for line in walker.accessibility()]
    if walker.width_too_much() > 0:
        found.append(f"it can be scrolled sideways by {walker.width_too_much()} px")
    found.extend(
        f"it says {word.group()!r}"
        for word in INSIDE_WORDS.finditer(walker.page.inner_text("body"))
    )
    found.extend(walker.complaints)
    walker.complaints.clear()
    return [f"{address}: {line}" for line in found]


def device_pages(walker: Walk) -> list[str]:
    """Return the addresses of one device of each kind, and of all lists of one."""
    rows = walker.page.evaluate(
        "fetch('/api/v1/devices?per_page=13').then((answer) => answer.json())"
    )["items"]
    kinds = {
        (row["state"], row["connection"], row["open_ports"] is None): row["id"] for row in rows
    }
    first = next(iter(kinds.values()))
    return [
        *(f"/devices/{each}" for each in kinds.values()),
        *(f"/devices/{first}/{name}" for name in LISTS),
        f"/devices/{first}/history",
    ]


def session_pages(walker: Walk) -> list[str]:
    """Return the addresses of one session in each state."""
    rows = walker.page.evaluate("fetch('/api/v1/access/requests').then((answer) => answer.json())")[
        "items"
    ]
    return [f"/sessions/{each}" for each in {row["state"]: row["id"] for row in rows}.values()]


def update_pages(walker: Walk) -> list[str]:
    """Return the addresses of every release, and of every rollout, whole and narrowed."""
    releases, rollouts = (
        walker.page.evaluate(f"fetch('/api/v1/updates/{what}').then((answer) => answer.json())")[
            "items"
        ]
        for what in ("releases", "rollouts")
    )
    return [
        *(f"/updates/releases/{row['product']}/{row['version']}" for row in releases),
        *(f"/updates/rollouts/{row['id']}" for row in rollouts),
        *(f"/updates/rollouts/{row['id']}?show=failed&q=nobody" for row in rollouts[:1]),
    ]


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
@pytest.mark.parametrize("scenario", ["normal", "big"])
def test_console_pages(
    server: MadeUpServer, browser: Browser, size: ViewportSize, scheme: str, scenario: str
) -> None:
    server.play(scenario)
    with walk(browser, size, scheme) as walker:
        sign_in(walker, server)
        addresses = [*CONSOLE, *device_pages(walker), *session_pages(walker)]
        addresses = addresses if scenario == "normal" else LONG_PAGES
        addresses = [*addresses, *update_pages(walker)]
        found = [line for each in addresses for line in judge(walker, server.console + each)]
    assert found == []
    assert server.reports() == []


@pytest.mark.parametrize(("size", "scheme"), LOOKS)
def test_owner_pages(
    server: MadeUpServer, browser: Browser, size: ViewportSize, scheme: str
) -> None:
    server.play("normal")
    with walk(browser, size, scheme) as walker:
        found = judge(walker, server.owner + "/")
        walker.open(f"{server.owner}/#secret=made-up")
        found += [line for each in OWNER for line in judge(walker, server.owner + each)]
    assert found == []
    assert server.reports() == []


@pytest.mark.parametrize("scenario", ["empty", "calm", "noroot"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_states(server: MadeUpServer, browser: Browser, size: ViewportSize, scenario: str) -> None:
    server.play(scenario)
    with walk(browser, size) as walker:
        sign_in(walker, server)
        pages = ("/", "/fleet", "/sessions", "/updates")
        found = [line for each in pages for line in judge(walker, server.console + each)]
    assert found == []
    assert server.reports() == []
