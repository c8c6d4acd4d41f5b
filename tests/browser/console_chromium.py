"""A real Chromium, the built pages, and a server of made-up answers for walking through them.

The made-up server is `console/dev/mock-server.mjs`: it sends the real policy headers, so that what
the browser refuses here it would refuse there. It proves nothing about the real server.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, sync_playwright

REPOSITORY: Final = Path(__file__).resolve().parents[2]
AXE: Final = REPOSITORY / "console" / "node_modules" / "axe-core" / "axe.min.js"
BUNDLES: Final = (
    REPOSITORY / "src/fleetward/server/web/static/index.html",
    REPOSITORY / "src/fleetward/keyholder/console/static/index.html",
    REPOSITORY / "src/fleetward/keyholder/technician/static/index.html",
)
FLAGS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
WIDE: Final[ViewportSize] = {"width": 1440, "height": 900}
NARROW: Final[ViewportSize] = {"width": 360, "height": 740}
SETTLED_MS: Final = 150


def find_chromium() -> str | None:
    """Return the path of a Chromium on this machine, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def missing() -> str | None:
    """Say what is missing for these walks, or None."""
    if find_chromium() is None:
        return "Chromium is not installed"
    if shutil.which("node") is None:
        return "Node is not installed"
    if not all(path.is_file() for path in BUNDLES):
        return "the pages are not built: npm run build, in console/"
    return None if AXE.is_file() else "axe-core is not installed: npm ci, in console/"


def free_port() -> int:
    """Return a port of the loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class MadeUpServer:
    """Where the two programs are served with made-up answers."""

    console_port: int
    owner_port: int

    @property
    def console(self) -> str:
        """The console's origin."""
        return f"http://console.localhost:{self.console_port}"

    @property
    def owner(self) -> str:
        """The origin of the owner's console."""
        return f"http://owner.localhost:{self.owner_port}"

    def play(self, scenario: str) -> None:
        """Change what is answered."""
        self._control(f"scenario?name={scenario}")

    def reports(self) -> list[str]:
        """Return what browsers have reported about a broken policy."""
        found: list[str] = self._control("reports")["reports"]
        return found

    def _control(self, what: str) -> dict[str, Any]:
        address = f"http://127.0.0.1:{self.console_port}/dev/{what}"
        with urllib.request.urlopen(address, timeout=5) as answer:
            told: dict[str, Any] = json.load(answer)
            return told


@contextmanager
def made_up_server() -> Iterator[MadeUpServer]:
    """Run the made-up server."""
    server = MadeUpServer(free_port(), free_port())
    script = REPOSITORY / "console" / "dev" / "mock-server.mjs"
    command = ["node", str(script), str(server.console_port), str(server.owner_port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_until_up(server)
            yield server
        finally:
            process.terminate()


def _wait_until_up(server: MadeUpServer) -> None:
    for _ in range(100):
        try:
            server.reports()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the made-up server did not start within 10 s")


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """Run a Chromium of its own, with a profile of its own, and with further flags."""
    with sync_playwright() as playwright:
        launch = playwright.chromium.launch
        browser = launch(executable_path=find_chromium(), args=[*FLAGS, *flags])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Walk:
    """One page of one browser, and everything that it complained about."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()

    def note(self, message: ConsoleMessage) -> None:
        """Keep what the browser's console says, but for what this walk provokes."""
        if message.type in ("error", "warning") and not any(
            part in message.text for part in self.expected
        ):
            self.complaints.append(f"{message.type}: {message.text}")

    def open(self, address: str) -> None:
        """Open an address, and wait until the page has its content."""
        self.page.goto(address)
        self.settle()

    def settle(self) -> None:
        """Wait until nothing is being loaded on the page."""
        self.page.locator("h1").first.wait_for()
        self.page.locator("[aria-label=Loading]").first.wait_for(state="detached")
        self.page.wait_for_timeout(SETTLED_MS)

    def width_too_much(self) -> int:
        """Return by how many pixels the page can be scrolled sideways."""
        found: int = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return found

    def accessibility(self) -> list[str]:
        """Return what axe finds wrong, as lines."""
        source = AXE.read_text(encoding="utf-8")
        session = self.page.context.new_cdp_session(self.page)
        session.send("Runtime.evaluate", {"expression": source})
        told = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        session.detach()
        return [
            f"{broken['id']}: {node['target']} {node.get('failureSummary', '')}"
            for broken in told["violations"]
            for node in broken["nodes"]
        ]


@contextmanager
def walk(
    browser: Browser,
    size: ViewportSize = WIDE,
    scheme: Any = "light",
    expected: tuple[str, ...] = (),
) -> Iterator[Walk]:
    """Open a fresh page of a fresh profile; nothing is shared between walks."""
    context = browser.new_context(
        viewport=size, color_scheme=scheme, reduced_motion="reduce", locale="en-GB"
    )
    try:
        page = context.new_page()
        walker = Walk(page, expected=expected)
        page.on("console", walker.note)
        page.on("pageerror", lambda error: walker.complaints.append(f"thrown: {error}"))
        yield walker
    finally:
        context.close()


def sign_in(walker: Walk, server: MadeUpServer) -> None:
    """Sign in by a made-up link, in one click."""
    walker.open(f"{server.console}/#code=made-up")
    walker.page.get_by_role("button", name="Sign in").click()
    walker.page.locator(".shell").wait_for()
    walker.settle()
