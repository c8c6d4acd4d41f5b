"""The technician's page in a real Chromium, over a real agent: its terminal, files and web page.

The program is the real one, and so are the agent, its sandbox, the broker and the sealed channel;
only the server is left out. The machine's web page, and another site, do what an attacker would.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser.console_chromium import NARROW, WIDE, Walk, chromium, missing, walk
from tests.browser.demo_walk import SCREENS
from tests.technician_stage import MemorySession, Stage, real_session, served, site

from fleetward.trust.access import LogsScope, TcpScope

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

PAGE = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Pump</title>
<link rel="icon" href="data:,"><h1>The pump's own page</h1>
<form method="post" action="/set"><label>Rate <input name="rate" value="7"></label>
<button>Set it</button></form><p id="told"></p></html>"""


class Machine(http.server.BaseHTTPRequestHandler):
    """The machine's web page; `/evil` does what it should not."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, str, dict[str, str], bytes]]] = []

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.seen.append((self.command, self.path, dict(self.headers.items()), b""))
        if self.headers.get("Upgrade") == "websocket":
            self._echo_one()
        elif self.path.startswith("/to?"):
            self._send(302, b"", Location=self.path[4:])
        elif self.path == "/worker.js":
            self._send(
                200, b"", **{"Content-Type": "text/javascript", "Service-Worker-Allowed": "/"}
            )
        else:
            self._send(200, PAGE, **{"Set-Cookie": "sid=7; Domain=localhost; Path=/"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.seen.append((self.command, self.path, dict(self.headers.items()), body))
        self._send(200, PAGE.replace(b'id="told">', b'id="told">Set to ' + body))

    def _send(self, status: int, body: bytes, **fields: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "text/html", **fields}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _echo_one(self) -> None:
        """Accept a WebSocket (RFC 6455), send one text, and close."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_response(101)
        for name, value in (("Upgrade", "websocket"), ("Connection", "Upgrade"),
                            ("Sec-WebSocket-Accept", accept)):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"\x81\x05hello\x88\x00")
        self.close_connection = True


class Elsewhere(Machine):
    """Another site."""

    def do_GET(self) -> None:
        self._send(200, b"<!doctype html><title>Elsewhere</title><h1>Elsewhere</h1>")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A real machine that was asked for a session; the owner has not answered yet."""
    with site(Machine) as port, served(real_session(tmp_path_factory.mktemp("w"), port)) as running:
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


def go(walker: Walk, name: str) -> None:
    """Go to one of the pages by its link, wherever it stands at this width."""
    links = walker.page.get_by_role("navigation").get_by_role("link", name=name)
    links.locator("visible=true").first.click()
    walker.settle()


def shoot(walker: Walk, name: str) -> None:
    """Keep a picture."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    walker.page.screenshot(path=SCREENS / f"{name}.png")


def open_terminal(walker: Walk) -> Any:
    """Open a terminal; return its rows as they are drawn in the frame."""
    go(walker, "Terminal")
    walker.page.get_by_role("button", name="Open a terminal").click()
    rows = walker.page.frame_locator(".tech-frame").locator(".xterm-rows")
    expect(rows).to_contain_text("$", timeout=15_000)
    return rows


def test_from_asking_to_being_inside(stage: Stage, browser: Browser, tmp_path: Path) -> None:
    world: Any = stage.session
    (world.world.files / "pump.log").write_bytes(b"pressure low\n" * 5000)
    with walk(browser, WIDE) as walker:
        page = walker.page
        walker.open(stage.ready.opened)
        assert "secret" not in page.url
        expect(page.get_by_role("heading", level=1)).to_have_text("You ask to enter pump")
        expect(page.get_by_text("Asked: ada or ben.")).to_be_visible()
        expect(page.get_by_text("Waits for the owner", exact=True)).to_be_visible()
        judge(walker)
        shoot(walker, "05-technician-1-waits")
        stage.allow()
        expect(page.get_by_role("heading", level=1)).to_have_text("You are inside pump")
        words = page.locator(".six-words li")
        expect(words).to_have_count(6)
        shown = " ".join(text.lstrip("123456 \n") for text in words.all_inner_texts())
        grant = stage.house.visit.known.case
        assert grant is not None
        assert grant.grant is not None
        assert shown == grant.grant.words
        expect(page.get_by_role("timer")).to_contain_text("left")
        judge(walker)
        shoot(walker, "05-technician-2-inside")
        rows = open_terminal(walker)
        page.keyboard.type("echo $((6 * 7))-here; id -un\n")
        expect(rows).to_contain_text("42-here")
        expect(rows).to_contain_text(world.world.user)
        judge(walker)
        shoot(walker, "05-technician-3-terminal")
        use_files(walker, stage, tmp_path)
        go(walker, "Terminal")
        page.frame_locator(".tech-frame").locator("textarea").focus()
        page.keyboard.type("echo still-$((1 + 1))\n")
        expect(rows).to_contain_text("still-2")
        page.keyboard.type("exit\n")
        expect(page.get_by_role("button", name="Put away")).to_be_visible()


def use_files(walker: Walk, stage: Stage, tmp_path: Path) -> None:
    """Fetch a file and put one, as a person does."""
    world: Any = stage.session
    page = walker.page
    go(walker, "Files")
    with page.expect_download() as fetched:
        page.get_by_role("button", name="Fetch pump.log").click()
    assert fetched.value.suggested_filename == "pump.log"
    assert fetched.value.path().read_bytes() == b"pressure low\n" * 5000
    expect(page.get_by_text("Whole, 65.0 KB")).to_be_visible()
    mine = tmp_path / "firmware.bin"
    mine.write_bytes(bytes(range(256)) * 4096)
    page.locator("input[type=file]").set_input_files(mine)
    expect(page.get_by_text("Whole, 1.0 MB")).to_be_visible()
    put = world.world.files / "firmware.bin"
    assert put.read_bytes() == mine.read_bytes()
    expect(page.get_by_text("98.9 MB of 100 MB")).to_be_visible()
    judge(walker)
    shoot(walker, "05-technician-4-files")


def test_every_page_on_a_phone_in_the_dark(stage: Stage, browser: Browser) -> None:
    with walk(browser, NARROW, "dark") as walker:
        walker.open(stage.ready.opened)
        rows = open_terminal(walker)
        walker.page.keyboard.type("printf '\\033[1;32mgreen\\033[0m\\n'; seq 1 200\n")
        expect(rows).to_contain_text("200")
        go(walker, "Web page")
        judge(walker)
        go(walker, "Terminal")
        judge(walker)
        shoot(walker, "05-technician-5-phone")
        walker.page.get_by_role("button", name="Close").click()


def test_what_the_machine_prints_sets_nothing(stage: Stage, browser: Browser) -> None:
    with walk(browser, WIDE) as walker:
        page = walker.page
        page.context.grant_permissions(
            ["clipboard-read", "clipboard-write"], origin=stage.house.hosts.home
        )
        walker.open(stage.ready.opened)
        page.evaluate("navigator.clipboard.writeText('mine')")
        rows = open_terminal(walker)
        title = page.title()
        page.keyboard.type(
            "printf '\\033]52;c;ZXZpbA==\\007\\033]0;root\\007\\033]8;;http://evil.example\\033\\\\"
            "link\\033]8;;\\033\\\\<img src=x onerror=alert(1)>\\033[38;2;9;200;9mdone\\n'\n"
        )
        expect(rows).to_contain_text("link<img src=x onerror=alert(1)>done")
        page.bring_to_front()
        assert page.evaluate("navigator.clipboard.readText()") == "mine"
        assert page.title() == title
        frame = page.frames[-1]
        assert frame.locator("a").count() == 0
        assert frame.evaluate("self.origin") == "null"
        assert (
            frame.evaluate(
                """async () => {
              const tried = [];
              for (const act of [() => parent.document, () => parent.sessionStorage,
                  () => top.location.href, () => localStorage, () => document.cookie]) {
                try { act(); tried.push('open'); } catch (e) { tried.push(e.name); }
              }
              return tried;
            }"""
            )
            == ["SecurityError"] * 5
        )
        walker.complaints.clear()
        assert frame.evaluate("fetch('/').then(() => 'open', () => 'closed')") == "closed"
        assert "Content Security Policy" in " ".join(walker.complaints)


def open_machine(walker: Walk, stage: Stage) -> Page:
    """Open the machine's page as a person does, from our page."""
    walker.open(stage.ready.opened)
    go(walker, "Web page")
    with walker.page.context.expect_page() as opened:
        walker.page.get_by_role("link", name="Open it in a new tab").click()
    expect(opened.value.get_by_role("heading")).to_have_text("The pump's own page")
    return opened.value


def test_the_machines_page_works(stage: Stage, browser: Browser) -> None:
    with walk(browser, WIDE) as walker:
        tab = open_machine(walker, stage)
        assert tab.url == stage.page(1) + "/"
        tab.get_by_role("button", name="Set it").click()
        expect(tab.locator("#told")).to_have_text("Set to rate=7")
        method, path, fields, body = Machine.seen[-1]
        port = stage.house.visit.require_link().scopes[1].port  # type: ignore[union-attr]
        assert (method, path, body) == ("POST", "/set", b"rate=7")
        assert fields["host"] == f"localhost:{port}"
        assert fields["origin"] == f"http://localhost:{port}"
        assert fields["cookie"] == "sid=7"
        told = tab.evaluate(
            """() => new Promise((resolve) => {
              const socket = new WebSocket(`ws://${location.host}/socket`);
              socket.onmessage = ({ data }) => resolve(data);
              socket.onerror = () => resolve('error');
            })"""
        )
        assert told == "hello"
        tab.goto(f"{stage.page(1)}/to?http://localhost:{port}/in")
        assert tab.url == f"{stage.page(1)}/in"
        for target in ("http://127.0.0.1:22/", "http://owner.localhost/", "http://2130706433/"):
            tab.goto(f"{stage.page(1)}/to?{target}")
            expect(tab.get_by_role("heading")).to_have_text("This redirect was blocked")
            assert tab.url.startswith(stage.page(1))
        walker.complaints.clear()
        shoot(Walk(tab), "05-technician-6-blocked")


EVIL = """async ([home, frame]) => {
  const found = {};
  const attempt = async (name, act) => {
    try { found[name] = String(await act()); } catch (e) { found[name] = 'no'; }
  };
  found.opener = String(window.opener);
  found.name = window.name;
  found.referrer = document.referrer;
  await attempt('api', async () => (await fetch(home + '/api/v1/visit')).status);
  await attempt('opaque', async () => (await fetch(home + '/', { mode: 'no-cors' })).type);
  const post = { method: 'POST', mode: 'no-cors', body: '{}' };
  await attempt('post', async () => (await fetch(home + '/api/v1/leave', post)).type);
  await attempt('worker', async () => (await navigator.serviceWorker.register('/worker.js')).scope);
  await attempt('socket', () => new Promise((resolve, reject) => {
    const socket = new WebSocket(home.replace('http', 'ws') + '/api/v1/stream');
    socket.onopen = () => resolve('open');
    socket.onerror = reject;
  }));
  for (const [name, source] of [['framed', home + '/'], ['terminal', frame + '/']]) {
    await attempt(name, () => new Promise((resolve, reject) => {
      const made = document.createElement('iframe');
      made.onload = () => resolve(made.contentWindow.length);
      document.addEventListener('securitypolicyviolation', reject, { once: true });
      made.src = source;
      document.body.append(made);
      setTimeout(reject, 1500);
    }));
  }
  for (const domain of ['localhost', home.slice(7).split(':')[0], 'technician.localhost'])
    document.cookie = `tossed=1; domain=${domain}`;
  document.cookie = 'kept=1';
  found.cookie = document.cookie;
  localStorage.setItem('kept', '1');
  return found;
}"""


def test_the_machines_page_reaches_neither_ours_nor_the_secret(
    stage: Stage, browser: Browser
) -> None:
    with walk(browser, WIDE) as walker:
        tab = open_machine(walker, stage)
        home, frame = stage.house.hosts.home, stage.house.hosts.frame
        found = tab.evaluate(EVIL, [home, frame])
        assert (found["opener"], found["name"], found["referrer"]) == ("null", "", "")
        refused = ("api", "opaque", "post", "worker", "socket", "framed", "terminal")
        assert {name: found[name] for name in refused} == dict.fromkeys(refused, "no")
        assert found["cookie"] == "sid=7; kept=1"
        hosts = {cookie["domain"] for cookie in tab.context.cookies()}
        assert hosts == {stage.page(1)[7:].partition(":")[0]}
        with tab.context.expect_page() as opened:
            tab.evaluate("home => { window.theirs = window.open(home); }", f"{home}/")
        expect(opened.value.get_by_role("heading", level=1)).to_have_text(
            "Open this page from the command line"
        )
        assert opened.value.evaluate("[opener, sessionStorage.length, localStorage.length]") == [
            None, 0, 0
        ]  # fmt: skip
        assert tab.evaluate("theirs.closed") is True
        assert stage.secret not in json.dumps(Machine.seen, default=str)
        assert stage.house.visit.known.phase == "open"


def test_another_site_reaches_neither_page_nor_api(stage: Stage, browser: Browser) -> None:
    with site(Elsewhere) as port, walk(browser, WIDE) as walker:
        page = walker.page
        page.goto(f"http://elsewhere.localhost:{port}/")
        Machine.seen.clear()
        found = page.evaluate(
            """async ([home, machine]) => {
              const found = [];
              const attempt = async (act) => {
                try { found.push(await act()); } catch { found.push('no'); }
              };
              const post = { method: 'POST', mode: 'no-cors', body: 'rate=99' };
              await attempt(async () => (await fetch(home + '/api/v1/visit')).status);
              await attempt(async () => (await fetch(machine + '/')).status);
              await attempt(async () => (await fetch(machine + '/set', post)).type);
              await attempt(async () => (await fetch(home + '/api/v1/leave', post)).type);
              for (const source of [machine, home]) {
                const made = document.createElement('iframe');
                made.src = source + '/';
                document.body.append(made);
              }
              const form = document.createElement('form');
              form.method = 'post';
              form.action = machine + '/set';
              form.target = 'other';
              document.body.append(form);
              form.submit();
              await new Promise((resolve) => setTimeout(resolve, 500));
              return found;
            }""",
            [stage.house.hosts.home, stage.page(1)],
        )
        assert found == ["no"] * 4
        assert [seen for seen in Machine.seen if seen[0] == "POST"] == []
        assert Machine.seen == []
        assert all("pump" not in frame.content() for frame in page.frames[1:])
        assert stage.house.visit.known.phase == "open"


def test_the_owner_ends_it_and_the_page_says_so(stage: Stage, browser: Browser) -> None:
    with walk(browser, NARROW) as walker:
        page = walker.page
        tab = open_machine(walker, stage)
        page.get_by_role("button", name="Leave").click()
        expect(page.get_by_role("dialog")).to_contain_text("Everything that was started")
        judge(walker)
        page.get_by_role("button", name="Stay").click()
        stage.stop()
        expect(page.get_by_text("ended by ada because: enough").first).to_be_visible()
        go(walker, "Session")
        expect(page.get_by_role("heading", level=1)).to_have_text("Your session at pump is over")
        expect(page.get_by_role("button", name="Leave")).to_have_count(0)
        judge(walker)
        shoot(walker, "05-technician-7-over")
        tab.reload()
        expect(tab.get_by_role("heading")).to_have_text("The session is over")
        assert tab.context.cookies() == []


def test_logs_are_searched_and_paused(browser: Browser) -> None:
    session = MemorySession(LogsScope("nginx.service"), TcpScope(8082, "raw"))
    session.machine.lines = tuple(f"line {number} <b>pump</b>\x1b[31m" for number in range(300))
    with served(session) as memory, walk(browser, NARROW) as walker:
        memory.allow()
        page = walker.page
        walker.open(memory.ready.opened)
        go(walker, "Web page")
        expect(page.locator(".tech-page code")).to_have_text(memory.page(1))
        go(walker, "Logs")
        lines = page.get_by_role("region", name="Lines of nginx.service")
        expect(lines).to_contain_text("line 299 <b>pump</b>")
        page.get_by_label("Search in nginx.service").fill("LINE 29")
        expect(page.get_by_text("11 of 300 lines")).to_be_visible()
        page.get_by_role("button", name="Pause").click()
        memory.do(session.machine.output(1, b"line 29 and more\n"))
        page.wait_for_timeout(400)
        expect(page.get_by_text("11 of 300 lines; paused")).to_be_visible()
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_text("12 of 301 lines")).to_be_visible()
        judge(walker)
        shoot(walker, "05-technician-8-logs")
        page.get_by_role("button", name="Leave").click()
        page.get_by_role("button", name="Leave now").click()
        expect(page.get_by_text("You left.").first).to_be_visible()
