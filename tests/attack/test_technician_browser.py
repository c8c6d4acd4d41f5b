"""Attacks on the technician's page: by other sites, by other programs of his computer, by the
machine that he is inside of, and by its web page. No browser here; see also
`tests/browser/test_technician_page.py`.

Each test is named by what an attacker would like and does not get.
"""

from __future__ import annotations

import contextlib
import http.server
import re
import socket
from collections.abc import Iterator
from typing import Any, ClassVar

import httpx
import pytest
from tests.technician_stage import MemorySession, Stage, served, site

from fleetward.keyholder.technician.terminals import MAX_TERMINALS
from fleetward.trust.access import FilesScope, LogsScope, TcpScope, TerminalScope

HOSTILE = (
    b"a\x1b]52;c;ZXZpbA==\x07b\x1b]0;root@technician\x07c\x1b]8;;http://evil.example\x1b\\click"
    b"\x1b]8;;\x1b\\d\x1bP$q\x1b\\e\xc2\x9d52;c;eA==\xc2\x9cf<img src=x onerror=alert(1)>"
)
NAMES = {
    "<img src=x onerror=alert(1)>.txt": b"1",
    "log\u202etxt.exe": b"2",
    "../../etc/passwd": b"3",
    "..": b"4",
    "a\r\nSet-Cookie: x=1": b"5",
    "page.html": b"<script>alert(1)</script>",
}
API = (
    ("GET", "/api/v1/visit"), ("GET", "/api/v1/stream"), ("POST", "/api/v1/leave"),
    ("POST", "/api/v1/terminals"), ("GET", "/api/v1/logs?place=3"),
    ("GET", "/api/v1/files?place=4"),
    ("POST", "/api/v1/files/ticket"), ("POST", "/api/v1/files?place=4&path=x&size=1"),
    ("GET", "/api/v1/transfers"), ("POST", f"/api/v1/terminals/{'0' * 32}/input"),
)  # fmt: skip


class Site(http.server.BaseHTTPRequestHandler):
    """The machine's own page, as hostile as the path says."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, str, dict[str, str], bytes]]] = []

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(size)
        fields = {name.lower(): value for name, value in self.headers.items()}
        self.seen.append((self.command, self.path, fields, body))
        if self.path.startswith("/to?"):
            self._send(302, b"", Location=self.path[4:])
        elif self.path == "/forever":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"data: 1\n\n")
            self.rfile.read(1)
        elif self.path == "/cookie":
            self._send(200, b"ok", **{"Set-Cookie": "sid=1; Domain=localhost; Path=/"})
        elif self.path == "/open":
            self._send(
                200,
                b"ok",
                **{
                    "Access-Control-Allow-Origin": "*",
                    "Service-Worker-Allowed": "/",
                    "Cross-Origin-Opener-Policy": "unsafe-none",
                    "Referrer-Policy": "unsafe-url",
                    "Clear-Site-Data": '"cookies"',
                },
            )
        else:
            self._send(200, f"{self.command} {self.path} {len(body)}".encode())

    do_GET = do_POST = _answer  # noqa: N815  names that the library looks for

    def _send(self, status: int, body: bytes, **fields: str) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """An open session, and a machine that is hostile."""
    with site(Site) as port:
        session = MemorySession(ports={8080: port})
        session.machine.files = dict(NAMES)
        session.machine.banner = HOSTILE
        session.machine.lines = ("\x1b]52;c;eA==\x07one \x1b[31mred\x1b[0m\x08\x1b[2J", "two")
        with served(session) as running:
            running.allow()
            yield running


@pytest.fixture(scope="module")
def other() -> Iterator[Stage]:
    """The session of somebody else."""
    with served(MemorySession(TcpScope(8080, "http"))) as running:
        running.allow()
        yield running


def reason(answer: httpx.Response) -> str:
    return str(answer.json()["reason"])


def ask(stage: Stage, place: int, path: str, method: str = "GET", **fields: str) -> httpx.Response:
    """Ask the machine's page for something, as its own page would."""
    host = stage.page(place).removeprefix("http://")
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    with stage.client(secret=False, **{"Host": host, **headers}) as browser:
        return browser.request(method, path)


# --- our API


@pytest.mark.parametrize(("method", "path"), API)
@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", "Basic eA=="])
def test_nothing_is_answered_without_the_secret(
    stage: Stage, method: str, path: str, given: str
) -> None:
    with stage.client(secret=False, Authorization=given) as page:
        answer = page.request(method, path, json={} if method == "POST" else None)
    assert (answer.status_code, reason(answer)) == (401, "not_signed_in")


def test_the_secret_of_another_start_opens_nothing(stage: Stage, other: Stage) -> None:
    with other.client(secret=False, Authorization=f"Bearer {stage.secret}") as page:
        assert page.get("/api/v1/visit").status_code == 401


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "localhost", "127.0.0.1", "[::1]", "owner.localhost", "console.localhost",
        "technician.localhost.evil.example", "technician.localhost@evil.example", "",
        "page-aaaaaaaaaaaaaaaaaaaaaaaaaa.localhost",
    ],
)  # fmt: skip
def test_a_name_that_is_rebound_to_loopback_is_refused_even_with_the_secret(
    stage: Stage, host: str
) -> None:
    with stage.client(Host=f"{host}:{stage.port}" if host else "") as page:
        answer = page.get("/api/v1/visit")
    assert answer.status_code in (400, 403)
    assert "phase" not in answer.text


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "page", "frame", "http://technician.localhost:1"]
)
def test_a_page_of_another_origin_cannot_leave_or_type(stage: Stage, origin: str) -> None:
    known = {"page": stage.page(1), "frame": stage.house.hosts.frame}
    with stage.client(Origin=known.get(origin, origin)) as page:
        answer = page.post("/api/v1/leave", json={})
    assert (answer.status_code, reason(answer)) == (403, "origin_not_allowed")
    assert stage.house.visit.known.phase == "open"


def test_no_other_origin_is_told_that_it_may_read(stage: Stage) -> None:
    asked = {"Origin": stage.page(1), "Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "authorization"}  # fmt: skip
    for method, path in (*API, ("GET", "/"), ("GET", "/favicon.svg")):
        with stage.client(secret=False, **asked) as page:
            for each in ("OPTIONS", method):
                found = [n for n in page.request(each, path).headers if n.startswith("access-")]
                assert found == [], (each, path)


def test_our_page_may_be_framed_by_nobody(stage: Stage) -> None:
    with stage.client(secret=False) as page:
        answer = page.get("/")
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert stage.secret not in answer.text
    assert f"frame-src {stage.house.hosts.frame}" in policy
    assert "set-cookie" not in answer.headers


def test_the_frame_has_no_origin_no_network_and_no_api(stage: Stage) -> None:
    with stage.client(Host=stage.house.hosts.frame_host + f":{stage.port}") as frame:
        page = frame.get("/")
        policy = page.headers["content-security-policy"]
        assert "sandbox allow-scripts" in policy
        assert "default-src 'none'" in policy
        assert "connect-src" not in policy
        assert f"frame-ancestors {stage.house.hosts.home}" in policy
        assert stage.secret not in page.text
        for path in ("/api/v1/visit", "/index.html", "/download/x", "/assets/../index.html"):
            assert frame.get(path).status_code == 404, path
    with stage.client() as home:
        assert home.get("/terminal.html").status_code == 404


def test_it_listens_on_loopback_alone(stage: Stage) -> None:
    assert {s.getsockname()[0] for s in stage.house.sockets if s.fileno() >= 0} <= {
        "127.0.0.1", "::1"
    }  # fmt: skip


# --- the machine's page


def test_the_page_of_a_session_is_reached_by_its_own_name_alone(stage: Stage) -> None:
    assert ask(stage, 1, "/hello?x=1").text == "GET /hello?x=1 0"
    for host in ("page-" + "a" * 26 + ".localhost", stage.page(1)[7:].upper() + ".evil.example"):
        with stage.client(secret=False, Host=host) as browser:
            assert browser.get("/hello").status_code == 403


def test_the_page_of_another_session_is_not_here(stage: Stage, other: Stage) -> None:
    host = other.page(0).removeprefix("http://").partition(":")[0]
    with stage.client(secret=False, Host=f"{host}:{stage.port}") as browser:
        assert browser.get("/").status_code == 403


def test_the_machine_sees_neither_our_host_nor_our_page(stage: Stage) -> None:
    Site.seen.clear()
    ask(stage, 1, "/look", referer=f"{stage.house.hosts.home}/#secret={stage.secret}")
    fields = str(Site.seen[-1])
    assert "localhost:8080" in fields
    for unseen in (stage.secret, "technician", "page-", str(stage.port)):
        assert unseen not in fields


def test_another_site_cannot_make_the_browser_post_to_the_machine(stage: Stage) -> None:
    Site.seen.clear()
    for fields in (
        {"origin": "http://evil.example"},
        {"origin": "null", "sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"},
        {"origin": stage.page(2)},
        {"origin": stage.house.hosts.home},
    ):
        answer = ask(stage, 1, "/restart", "POST", **fields)
        assert answer.status_code == 403
    assert Site.seen == []


def test_one_connection_cannot_be_used_for_two_hosts(stage: Stage) -> None:
    """The first request decides who answers; a later one for another host is refused by him."""
    Site.seen.clear()
    page, home = stage.page(1)[7:], f"technician.localhost:{stage.port}"
    secret = f"Authorization: Bearer {stage.secret}\r\n"
    pairs = (
        (f"GET / HTTP/1.1\r\nHost: {page}\r\n\r\n",
         f"GET /api/v1/visit HTTP/1.1\r\nHost: {home}\r\n{secret}\r\n", b"six_words"),
        (f"GET /favicon.svg HTTP/1.1\r\nHost: {home}\r\n\r\n",
         f"GET /hello HTTP/1.1\r\nHost: {page}\r\n\r\n", b"GET /hello 0"),
    )  # fmt: skip
    for first, second, unseen in pairs:
        with socket.create_connection(("127.0.0.1", stage.port), 5) as line:
            line.sendall(first.encode() + second.encode())
            line.settimeout(0.5)
            told = b""
            with contextlib.suppress(TimeoutError):
                while data := line.recv(65536):
                    told += data
        assert unseen not in told, told
    assert stage.secret not in str(Site.seen)
    assert [seen[1] for seen in Site.seen] == ["/"]


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\r\nHost: {page}\r\nHost: technician.localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: {page}\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "GET http://127.0.0.1:22/ HTTP/1.1\r\nHost: {page}\r\n\r\n",
        "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: {page}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : {page}\r\n\r\n",
    ],
)
def test_a_request_that_can_be_read_in_two_ways_reaches_nobody(stage: Stage, head: str) -> None:
    Site.seen.clear()
    with socket.create_connection(("127.0.0.1", stage.port), 5) as line:
        line.sendall(head.format(page=stage.page(1)[7:]).encode())
        line.settimeout(0.5)
        told = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while data := line.recv(65536):
                told += data
    assert b" 200 " not in told.split(b"\r\n")[0]


def test_the_machines_page_may_open_itself_to_nobody(stage: Stage) -> None:
    headers = ask(stage, 1, "/open").headers
    assert "access-control-allow-origin" not in headers
    assert "service-worker-allowed" not in headers
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] == "no-referrer"
    assert "form-action 'self'" in headers["content-security-policy"]
    assert ask(stage, 1, "/cookie").headers["set-cookie"] == "sid=1; Path=/"


def test_the_machines_page_installs_no_service_worker(stage: Stage) -> None:
    answer = ask(stage, 1, "/worker.js", service_worker="script", sec_fetch_site="same-origin")
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:22/",
        "http://owner.localhost:7480/",
        "http://2130706433/",
        "//evil.example",
    ],
)
def test_a_redirect_into_the_technicians_own_computer_is_shown_as_blocked(
    stage: Stage, target: str
) -> None:
    answer = ask(stage, 1, f"/to?{target}")
    assert answer.status_code == 403
    assert "location" not in answer.headers
    assert "This redirect was blocked" in answer.text
    assert "<a " not in answer.text
    assert "script" not in answer.headers["content-security-policy"]
    assert "<script" not in answer.text
    assert ask(stage, 1, "/to?http://localhost:8080/in").headers["location"] == (
        stage.page(1) + "/in"
    )


def test_a_blocked_address_is_text(stage: Stage) -> None:
    answer = ask(stage, 1, "/to?http://<script>alert(1)</script>/")
    assert "<script" not in answer.text


def test_a_machine_that_answers_nonsense_breaks_its_own_page_alone(stage: Stage) -> None:
    class Nonsense(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(
                {
                    "/split": b"HTTP/1.1 200 OK\r\nX: a\nb\r\n\r\n",
                    "/long": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
                    "/short": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
                    "/two": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                    "/switch": b"HTTP/1.1 101 Nobody asked\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
                }.get(self.path, b"\x00\xff" * 50)
            )

    with site(Nonsense) as port:
        machine: Any = stage.session
        machine.machine.ports[8081] = port
        for path in ("/split", "/long", "/short", "/two", "/switch", "/"):
            with contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError):
                assert ask(stage, 2, path).status_code == 502, path
    assert ask(stage, 1, "/hello").status_code == 200


def test_a_window_that_was_closed_holds_no_stream(stage: Stage) -> None:
    link = stage.house.visit.require_link()
    before = set(link._streams)
    head = f"GET /forever HTTP/1.1\r\nHost: {stage.page(1)[7:]}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", stage.port), 5) as line:
        line.sendall(head.encode())
        assert b" 200 " in line.recv(65536)
        (held,) = [link._streams[number] for number in set(link._streams) - before]
        assert not held.closed
    stage.until(lambda: held.closed, "the stream is closed")


# --- what the machine sends into our page


def test_the_machine_sets_no_clipboard_title_or_link(stage: Stage) -> None:
    with stage.client() as page:
        opened = page.post("/api/v1/terminals", json={"place": 0, "columns": 80, "rows": 24}).json()
        with page.stream("GET", f"/api/v1/terminals/{opened['id']}/output") as output:
            shown = b""
            for part in output.iter_raw():
                shown += part
                if b"alert" in shown:
                    break
            assert output.headers["content-type"] == "application/octet-stream"
    assert shown == b"abcclickdef<img src=x onerror=alert(1)>"


def test_a_terminal_is_shown_once_and_few_are_open(stage: Stage) -> None:
    wanted = {"place": 0, "columns": 80, "rows": 24}
    with stage.client() as page, contextlib.ExitStack() as open_:
        opened = [page.post("/api/v1/terminals", json=wanted).json() for _ in range(MAX_TERMINALS)]
        assert reason(page.post("/api/v1/terminals", json=wanted)) == "too_many_terminals"
        address = f"/api/v1/terminals/{opened[0]['id']}"
        output = open_.enter_context(page.stream("GET", f"{address}/output"))
        next(output.iter_raw())
        with stage.client() as window:
            assert reason(window.get(f"{address}/output")) == "shown_elsewhere"
            assert reason(window.get(f"/api/v1/terminals/{'0' * 32}")) == "terminal_not_found"
            for each in opened:
                window.post(f"/api/v1/terminals/{each['id']}/close", json={})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/terminals", {"place": 1, "columns": 80, "rows": 24}),
        ("/api/v1/terminals", {"place": 7, "columns": 80, "rows": 24}),
        ("/api/v1/files/ticket", {"place": 0, "path": "x"}),
    ],
)
def test_a_scope_is_used_for_what_it_is_alone(stage: Stage, path: str, body: Any) -> None:
    with stage.client() as page:
        assert reason(page.post(path, json=body)) == "not_granted"
        assert reason(page.get("/api/v1/logs?place=4")) == "not_granted"
        assert reason(page.get("/api/v1/files?place=3")) == "not_granted"


def test_logs_are_text(stage: Stage) -> None:
    with stage.client() as page:
        answer = page.get("/api/v1/logs?place=3&lines=10&follow=0")
    assert answer.text == "one red\ntwo\n"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_a_name_of_the_machine_is_shown_harmless_and_leads_nowhere(stage: Stage) -> None:
    with stage.client() as page:
        told = page.get("/api/v1/files?place=4").json()
    assert told["odd"] == 2
    shown = [each["shown"] for each in told["items"]]
    assert all(text.isprintable() and "\u202e" not in text for text in shown)
    assert not any(each["name"] in ("..",) or "/" in each["name"] for each in told["items"])


@pytest.mark.parametrize("name", ["page.html", "log\u202etxt.exe", "a\r\nSet-Cookie: x=1"])
def test_a_file_is_an_attachment_whatever_it_is_called(stage: Stage, name: str) -> None:
    with stage.client() as page:
        ticket = page.post("/api/v1/files/ticket", json={"place": 4, "path": name}).json()
    with stage.client(secret=False) as browser:
        answer = browser.get(ticket["address"])
        assert answer.content == NAMES[name]
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["x-content-type-options"] == "nosniff"
        saved = answer.headers["content-disposition"]
        assert re.fullmatch(
            r"attachment; filename=\"[ -!#-~]+\"; filename\*=UTF-8''[\w.%~-]+", saved
        )
        assert "set-cookie" not in answer.headers
        assert reason(browser.get(ticket["address"])) == "ticket_not_found"


def test_another_page_cannot_redeem_a_ticket(stage: Stage) -> None:
    with stage.client() as page:
        ticket = page.post("/api/v1/files/ticket", json={"place": 4, "path": "page.html"}).json()
    with stage.client(secret=False, **{"Sec-Fetch-Site": "cross-site"}) as browser:
        assert reason(browser.get(ticket["address"])) == "origin_not_allowed"


def test_a_file_that_is_shorter_or_longer_than_said_is_not_put(stage: Stage) -> None:
    machine: Any = stage.session
    for body in (b"ab", b"abcd"):
        with stage.client() as page, contextlib.suppress(httpx.HTTPError):
            answer = page.post("/api/v1/files?place=4&path=put.bin&size=3", content=body,
                               headers={"Content-Type": "application/octet-stream"})  # fmt: skip
            assert answer.status_code >= 400
    assert "put.bin" not in machine.machine.files


def test_a_grant_to_read_puts_nothing() -> None:
    session = MemorySession(FilesScope("/srv/app", "read", 1000), LogsScope("nginx.service"))
    with served(session) as stage:
        stage.allow()
        with stage.client() as page:
            answer = page.post("/api/v1/files?place=0&path=x&size=1", content=b"x")
            assert reason(answer) == "not_granted"
        assert session.machine.files == {}


# --- before and after


def test_before_the_owners_yes_and_after_the_end_nothing_of_the_machine_is_there() -> None:
    with site(Site) as port:
        session = MemorySession(
            TerminalScope("app"), TcpScope(8080, "http"), TcpScope(8082, "raw"),
            ports={8080: port, 8082: port},
        )  # fmt: skip
        with served(session) as stage, stage.client() as page:
            wanted = {"place": 0, "columns": 80, "rows": 24}
            assert reason(page.post("/api/v1/terminals", json=wanted)) == "session_not_open"
            assert page.get("/api/v1/visit").json()["given"] == []
            stage.allow()
            assert ask(stage, 1, "/hello").status_code == 200
            raw = stage.page(2).partition(":")
            assert raw[0] == "127.0.0.1"
            stage.stop("Stopped by Ada. enough")
            told = page.get("/api/v1/visit").json()
            assert (told["phase"], told["over_words"]) == ("over", "Stopped by Ada. enough")
            over = ask(stage, 1, "/hello")
            assert over.status_code == 410
            assert "cookies" in over.headers["clear-site-data"]
            assert reason(page.post("/api/v1/terminals", json=wanted)) == "session_not_open"
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", int(raw[2])), 5)


def test_a_no_of_the_owner_is_the_end(tmp_path: Any) -> None:
    with served() as stage, stage.client() as page:
        stage.deny()
        stage.until(lambda: stage.house.visit.known.phase == "over", "it is over")
        told = page.get("/api/v1/visit").json()
        assert (told["phase"], told["failed"], told["given"]) == ("over", True, [])
        assert told["over_words"] == "The owner said no."
