"""A real demo, the real programs of this machine, and a real Chromium that walks through them.

Nothing is made up here: the control plane, the agent of this machine, the owner's console and the
simulated machines are those that `fleetward demo` starts. A walk fails on the first report about
the content policy, on anything that the browser's console calls an error or a warning, and on
anything that a page throws.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from playwright.sync_api import Browser, BrowserContext, Page, Request, StorageState, ViewportSize
from tests.browser.console_chromium import AXE, BUNDLES, REPOSITORY, WIDE, Walk, find_chromium

BIN: Final = Path(sys.executable).parent
SCREENS: Final = REPOSITORY / "build" / "screens"
READY_SECONDS: Final = 100.0
COMMAND_SECONDS: Final = 60.0
STOP_SECONDS: Final = 40.0
LOOK_SECONDS: Final = 0.1


def missing_for_the_demo() -> str | None:
    """Say what is missing for these walks, or None."""
    if find_chromium() is None:
        return "Chromium is not installed"
    if not all(path.is_file() for path in BUNDLES):
        return "the pages are not built: npm run build, in console/"
    if not (BIN / "fleetward").is_file():
        return "the programs are not installed beside this Python: make setup"
    return None if AXE.is_file() else "axe-core is not installed: npm ci, in console/"


def wait_for(is_so: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait until something is so; return how many seconds that took."""
    begun = time.monotonic()
    while not is_so():
        if time.monotonic() - begun > seconds:
            raise AssertionError(f"expected within {seconds:g} s: {what}")
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - begun


def stop(process: subprocess.Popen[bytes], seconds: float = STOP_SECONDS) -> None:
    """End a process that this test started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass
class Program:
    """One of our programs in an empty home of its own, and what it said when it was ready."""

    data: Path
    home: Path
    process: subprocess.Popen[bytes]
    ready: dict[str, Any]

    @property
    def url(self) -> str:
        """The console's origin, without a slash at its end."""
        return str(self.ready["url"]).rstrip("/")

    @property
    def this(self) -> str:
        """The id of this very machine."""
        return str(self.ready["devices"]["this"])

    @property
    def owner(self) -> str:
        """The origin of the owner's console."""
        return str(self.ready["owner_console"]).partition("/#")[0]

    def run(self, *words: str | Path, code: int = 0) -> str:
        """Run `fleetward …` as its user would; return what it printed."""
        done = subprocess.run(
            [BIN / "fleetward", *map(str, words)],
            env={**os.environ, "HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run_json(self, *words: str | Path, code: int = 0) -> Any:
        """Run `fleetward … --json` and return the document."""
        return json.loads(self.run(*words, "--json", code=code))

    def login_link(self) -> str:
        """Make another sign-in link."""
        found = [w for w in self.run("login-link", "--data", self.data).split() if "#code=" in w]
        return found[0]

    def api(self, path: str) -> Any:
        """Ask the server what a page would ask it, with the administrator's token of its folder."""
        token = (self.data / "run" / "admin-token").read_text("ascii").strip()
        told = httpx.get(
            self.ready["api"] + path, headers={"Authorization": f"Bearer {token}"}, timeout=20
        )
        assert told.status_code == 200, told.text
        return told.json()


@contextlib.contextmanager
def start_program(command: str, folder: Path) -> Iterator[Program]:
    """Run `fleetward demo` or `fleetward up` on a folder below an empty home; end it afterwards."""
    home = folder / "home"
    home.mkdir(parents=True)
    ready, said = folder / "ready.json", folder / "said.log"
    words = [command, "--data", str(folder / "data"), "--ready-file", str(ready)]
    if command == "demo":
        words.append("--no-browser")
    with said.open("wb") as log:
        process = subprocess.Popen(
            [BIN / "fleetward", *words],
            env={**os.environ, "HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:

        def is_ready() -> bool:
            assert process.poll() is None, said.read_text("utf-8", "replace")
            return ready.is_file()

        wait_for(is_ready, READY_SECONDS, f"fleetward {command} to be ready")
        yield Program(folder / "data", home, process, json.loads(ready.read_bytes()))
    finally:
        if command == "up" and process.poll() is None:
            take_down(folder / "data")
        stop(process)


def take_down(data: Path) -> None:
    """Stop a control plane as its user would."""
    done = subprocess.run(
        [BIN / "fleetward", "down", "--data", data], capture_output=True, timeout=COMMAND_SECONDS
    )
    assert done.returncode == 0, done.stderr


@dataclass
class Visit(Walk):
    """A walk through a real program."""

    reports: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Begin to note what the browser complains about."""
        self.page.on("console", self.note)
        self.page.on("pageerror", lambda error: self.complaints.append(f"thrown: {error}"))
        self.page.on("request", self._note_report)

    def _note_report(self, request: Request) -> None:
        if request.url.endswith("/csp-report"):
            self.reports.append(str(request.post_data))

    def assert_clean(self) -> None:
        """Fail when the browser complained about anything so far."""
        assert not self.reports, self.reports
        assert not self.complaints, self.complaints

    def shoot(self, name: str, *, whole: bool = False) -> None:
        """Keep a picture of what is on the screen."""
        SCREENS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENS / f"{name}.png", full_page=whole)

    def judge_access(self) -> list[str]:
        """Return what axe finds wrong with the page as it looks now."""
        if not self.page.evaluate("'axe' in window"):
            session = self.page.context.new_cdp_session(self.page)
            source = AXE.read_text(encoding="utf-8")
            session.send("Runtime.evaluate", {"expression": source})
            session.detach()
        told = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{broken['id']}: {node['target']} {node.get('failureSummary', '')}"
            for broken in told["violations"]
            for node in broken["nodes"]
        ]

    def look(self, size: ViewportSize, scheme: Any) -> None:
        """Change the size of the window and the colours that its user prefers."""
        self.page.set_viewport_size(size)
        self.page.emulate_media(color_scheme=scheme)
        self.page.wait_for_timeout(60)


@contextlib.contextmanager
def visit(
    browser: Browser,
    state: StorageState | None = None,
    size: ViewportSize = WIDE,
    expected: tuple[str, ...] = (),
) -> Iterator[Visit]:
    """Open a page in a profile of its own; at the end, fail on any complaint of the browser."""
    context: BrowserContext = browser.new_context(
        viewport=size,
        color_scheme="light",
        reduced_motion="reduce",
        locale="en-GB",
        storage_state=state,
    )
    try:
        visitor = Visit(context.new_page(), expected=expected)
        visitor.watch()
        yield visitor
        visitor.assert_clean()
    finally:
        context.close()


def sign_in(visitor: Visit, link: str) -> None:
    """Sign in by a link, in one click."""
    visitor.open(link)
    visitor.page.get_by_role("button", name="Sign in").click()
    visitor.page.locator(".shell").wait_for()
    visitor.settle()


def keep_session(browser: Browser, program: Program) -> StorageState:
    """Sign in once; return what a browser keeps of it."""
    with visit(browser) as visitor:
        sign_in(visitor, program.login_link())
        return visitor.page.context.storage_state()


_STOP: Final = """() => {
  const at = document.activeElement;
  if (!at || at === document.body) return null;
  const style = getComputedStyle(at);
  const box = at.getBoundingClientRect();
  const x = Math.min(Math.max(box.left + box.width / 2, 1), innerWidth - 1);
  const y = Math.min(Math.max(box.top + Math.min(box.height, innerHeight) / 2, 1), innerHeight - 1);
  const over = document.elementFromPoint(x, y);
  return {
    name: at.getAttribute('aria-label') || at.innerText || at.labels?.[0]?.innerText || '',
    tag: at.tagName,
    html: at.outerHTML.slice(0, 160),
    outlined: at.matches(':focus-visible') && style.outlineStyle !== 'none'
      && parseFloat(style.outlineWidth) >= 2,
    on_screen: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight
      && box.right > 0 && box.left < innerWidth,
    covered: over !== null && !at.contains(over) && !over.contains(at)
      && !Array.from(at.labels ?? []).some((label) => label.contains(over)),
  };
}"""


class Keyboard:
    """Somebody without a mouse. Every stop of the Tab key must show where the focus is."""

    MOST_STOPS: Final = 150

    def __init__(self, page: Page) -> None:
        self._page = page
        self.unseen: list[str] = []
        self.stops = 0

    def here(self) -> dict[str, Any] | None:
        """Return where the focus is, and note it when that cannot be seen."""
        told: dict[str, Any] | None = self._page.evaluate(_STOP)
        if told is not None:
            self.stops += 1
            if not told["outlined"] or not told["on_screen"] or told["covered"]:
                self.unseen.append(json.dumps(told))
        return told

    def reach(self, name: str, tag: str = "") -> None:
        """Press Tab until something of this name (and tag) has the focus."""
        for _ in range(self.MOST_STOPS):
            self._page.keyboard.press("Tab")
            told = self.here()
            if told is None or tag not in ("", told["tag"]):
                continue
            if name in " ".join(str(told["name"]).split()):
                return
        raise AssertionError(f"{name!r} was not reached in {self.MOST_STOPS} stops of the Tab key")

    def press(self, name: str, tag: str = "") -> None:
        """Reach something, and press Enter on it."""
        self.reach(name, tag)
        self._page.keyboard.press("Enter")


_OVERLAPS: Final = """() => {
  const pieces = [];
  const clip = (node, box) => {
    let {left, right, top, bottom} = box;
    for (let at = node; at && at !== document.documentElement; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.visibility === 'hidden' || style.opacity === '0') return null;
      if (style.position === 'fixed' || style.position === 'sticky') return null;
      if (style.clipPath !== 'none') return null;
      if (style.overflowX !== 'visible' || style.overflowY !== 'visible') {
        const edge = at.getBoundingClientRect();
        left = Math.max(left, edge.left); right = Math.min(right, edge.right);
        top = Math.max(top, edge.top); bottom = Math.min(bottom, edge.bottom);
      }
    }
    return right - left > 3 && bottom - top > 3 ? {left, right, top, bottom} : null;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode;
    if (!text.data.trim()) continue;
    const range = document.createRange();
    range.selectNodeContents(text);
    for (const box of range.getClientRects()) {
      const seen = clip(text.parentElement, box);
      if (seen) pieces.push({...seen, text, words: text.data.trim().slice(0, 60)});
    }
  }
  const found = [];
  for (let a = 0; a < pieces.length; a += 1) {
    for (let b = a + 1; b < pieces.length; b += 1) {
      const one = pieces[a], two = pieces[b];
      if (one.text === two.text) continue;
      const wide = Math.min(one.right, two.right) - Math.max(one.left, two.left);
      const high = Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top);
      if (wide > 3 && high > 5) found.push(`${one.words} | ${two.words}`);
    }
  }
  return found.slice(0, 10);
}"""


def find_overlaps(page: Page) -> list[str]:
    """Return pairs of words on a page that lie upon each other."""
    found: list[str] = page.evaluate(_OVERLAPS)
    return found
