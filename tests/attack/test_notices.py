"""What is told of a request allows nothing, holds no address, and carries no markup of others.

Mail and webhooks are real ones, on loopback, through the real library.
"""

from __future__ import annotations

import json
import quopri
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.access_server import AccessServer, access_server

from fleetward.runtime.database import Database
from fleetward.runtime.files import make_private_directory
from fleetward.server.access.notice_plan import SETTLE_MS, Recipient, read_plan
from fleetward.server.access.notice_send import send_by_apprise
from fleetward.server.access.notifying import MOST_AN_HOUR, Notifier, load_plan
from fleetward.server.notices_main import describe, main
from fleetward.trust.errors import FleetwardError
from fleetward.trust.grants.request import Request

MINUTE_MS = 60_000


@contextmanager
def webhook() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Take what is posted to a loopback port."""
    got: list[dict[str, Any]] = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            got.append(json.loads(self.rfile.read(size)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Taker) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, got
        server.shutdown()


@contextmanager
def mail_server() -> Iterator[tuple[int, list[str]]]:
    """Take mail on a loopback port (RFC 5321, as far as a client here needs it)."""
    got: list[str] = []

    class Taker(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 here")
            while line := self.rfile.readline().decode().strip():
                word = line.upper().split(" ")[0]
                if word == "DATA":
                    self.say("354 go on")
                    lines = iter(lambda: self.rfile.readline().decode(), ".\r\n")
                    got.append(quopri.decodestring("".join(lines).encode()).decode())
                self.say("221 bye" if word == "QUIT" else "250 good")

        def say(self, words: str) -> None:
            self.wfile.write(f"{words}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Taker) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], got
        server.shutdown()


@pytest.fixture
def there(tmp_path: Path) -> Iterator[AccessServer]:
    database = Database.open(f"sqlite:///{tmp_path / 'state.db'}")
    with access_server(database, make_private_directory(tmp_path / "ca")) as made:
        yield made
    database.close()


def notifier(there: AccessServer, folder: Path, text: str, send: Any = send_by_apprise) -> Notifier:
    path = folder / "notices.toml"
    path.write_text(text)
    path.chmod(0o600)
    made = Notifier(there.house.book, path, send)
    there.house.shown.use_notifier(made)
    return made


def ask(there: AccessServer, **wish: Any) -> Request:
    """Ask, and let so much time pass that somebody is told of it."""
    request = there.ask(**wish)
    there.world.clock.now += SETTLE_MS
    return request


def remember(told: list[str], words: str) -> bool:
    """Take a message, and say that it was taken."""
    told.append(words)
    return True


def step(after: str, *to: tuple[str, str]) -> str:
    named = ", ".join(f'{{ name = "{name}", url = "{url}" }}' for name, url in to)
    return f'[[step]]\nafter = "{after}"\nto = [{named}]\n'


def test_approvers_are_told_by_mail_and_webhook_and_who_asked_sees_it(
    there: AccessServer, tmp_path: Path
) -> None:
    with webhook() as (port, posted), mail_server() as (smtp, mails):
        text = 'link = "https://owner.example:8443/"\n'
        text += step(
            "0m", ("Ada", f"mailto://127.0.0.1:{smtp}?from=f@x.org&to=ada@x.org&mode=insecure")
        )
        text += step("10m", ("the night shift", f"json://127.0.0.1:{port}/hook?secret=hunter2"))
        telling = notifier(there, tmp_path, text)
        request = ask(there, reason="the pump <b>does</b> not start")
        assert telling.run_round() == 1
        assert telling.run_round() == 0, "once"
        (mail,) = mails
        assert "tom of Makers Ltd asks to enter pump 7." in mail
        assert f"https://owner.example:8443/requests/{request.hash}" in mail
        assert "Reason: the pump <b>does</b> not start" in mail
        assert "text/html" not in mail
        detail = there.detail(request)
        assert [s.words for s in detail.steps if s.kind == "notice"] == ["Ada was told by e-mail."]
        assert detail.next_notice is not None
        assert detail.next_notice.names == ["the night shift"]
        there.world.clock.now += 10 * MINUTE_MS
        assert telling.run_round() == 1
        (post,) = posted
        assert post["title"] == "tom asks to enter pump 7"
        assert "Nothing opens without your key" in post["message"]
        detail = there.detail(request)
        assert detail.next_notice is None
        assert "hunter2" not in repr(detail)
        assert "ada@x.org" not in repr(detail)


def test_when_somebody_has_answered_nobody_else_is_woken(
    there: AccessServer, tmp_path: Path
) -> None:
    told: list[str] = []
    text = step("0m", ("Ada", "jsons://a.example")) + step("5m", ("Ben", "jsons://b.example"))
    telling = notifier(there, tmp_path, text, lambda to, *_: remember(told, to.name))
    request = ask(there)
    telling.run_round()
    there.grant(request, there.note_offer(request))
    there.world.clock.now += 10 * MINUTE_MS
    telling.run_round()
    assert told == ["Ada"]


def test_a_recipient_who_cannot_be_reached_is_tried_thrice_and_said(
    there: AccessServer, tmp_path: Path
) -> None:
    tries: list[str] = []

    def fail(to: Recipient, *_: str) -> bool:
        tries.append(to.name)
        raise OSError("the network is down")

    telling = notifier(there, tmp_path, step("0m", ("Ada", "jsons://a.example/?p=hunter2")), fail)
    request = ask(there)
    for _ in range(6):
        telling.run_round()
        there.world.clock.now += 2 * MINUTE_MS
    assert tries == ["Ada"] * 3
    said = [s.words for s in there.detail(request).steps if s.kind == "notice"]
    assert said == ["Ada could not be told by webhook."] * 3


def test_a_flood_of_requests_wakes_nobody_all_night(there: AccessServer, tmp_path: Path) -> None:
    told: list[str] = []
    telling = notifier(
        there, tmp_path, step("0m", ("Ada", "jsons://a.example")),
        lambda _, title, __: remember(told, title),
    )  # fmt: skip
    for number in range(MOST_AN_HOUR + 5):
        request = ask(there, reason=f"flood {number}")
        telling.run_round()
        there.stop(request, request.hash)
    assert len(told) == MOST_AN_HOUR + 1
    assert told[-1] == "More requests wait"


def test_notices_leave_a_machine_room_for_its_own_notes(
    there: AccessServer, tmp_path: Path
) -> None:
    many = [step(f"{n}s", *((f"p{i}", "jsons://a.example") for i in range(16))) for n in range(8)]
    telling = notifier(there, tmp_path, "".join(many), lambda *_: True)
    request = ask(there)
    there.world.clock.now += MINUTE_MS
    while telling.run_round():
        there.world.clock.now += 3_700_000 // 60
    assert len([s for s in there.detail(request).steps if s.kind == "notice"]) >= 64
    assert there.note("offer", request.hash, there.side.offer(request).raw)["type"] == "access"


@pytest.mark.parametrize(
    "text",
    [
        "step = 7",
        'unknown = "x"',
        'link = "http://owner.example"',
        'link = "https://owner.example/?next=evil"',
        step("10x", ("Ada", "jsons://a.example")),
        step("99999m", ("Ada", "jsons://a.example")),
        step("0m", ("Ada", "json://hooks.example/hunter2")),
        step("0m", ("Ada", "mailto://u:hunter2@mail.example")),
        step("0m", ("Ada", "mailtos://u:hunter2@mail.example?mode=insecure")),
        step("0m", ("Ada", "jsons://u:hunter2@hooks.example?verify=no")),
        step("0m", ("Ada", "hunter2")),
        step("0m", ("Ada", "jsons://a.example"), ("Ada", "jsons://b.example")),
        step("5m", ("Ada", "jsons://a.example")) + step("1m", ("Ben", "jsons://b.example")),
        "[[step]]\nafter = \"0m\"\nto = []\n",
        "[[step",
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused_without_showing_an_address(text: str) -> None:
    with pytest.raises(FleetwardError) as refused:
        read_plan(text)
    assert refused.value.reason == "bad_notices"
    assert "hunter2" not in refused.value.message


def test_a_file_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "notices.toml"
    path.write_text(step("0m", ("Ada", "jsons://a.example")))
    path.chmod(0o644)
    with pytest.raises(FleetwardError) as refused:
        load_plan(path)
    assert refused.value.reason == "notices_open"


def test_the_plan_is_shown_and_tried_without_its_addresses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with webhook() as (port, posted):
        path = tmp_path / "notices.toml"
        path.write_text(step("0m", ("Ada", f"json://u:hunter2@127.0.0.1:{port}/")))
        path.chmod(0o600)
        assert main(["--data", str(tmp_path), "--send"]) == 0
        said = capsys.readouterr().out
        assert "hunter2" not in said
        assert json.loads(said)["steps"][0]["to"] == [
            {"name": "Ada", "channel": "webhook", "good": True}
        ]
        assert [p["title"] for p in posted] == ["A trial"]
    unknown = describe(read_plan(step("0m", ("Ada", "nonsense://a.example"))), None)
    assert unknown["steps"][0]["to"][0]["good"] is False
