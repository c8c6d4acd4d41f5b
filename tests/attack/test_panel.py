"""Somebody who may not reaches for the machine's panel, or somebody who may pours into it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.break_glass_world import allow_break_glass
from tests.session_world import (
    RequesterEnd,
    RootScope,
    SessionWorld,
    StreamEnd,
    TcpScope,
    TerminalScope,
    session_world,
    until,
)

from fleetward.device.access import panel_door
from fleetward.device.access.panel_client import PanelClient, connect
from fleetward.device.access.panel_door import PanelDoor
from fleetward.device.access.panel_screen import Line, Shown, draw, harmless, list_items
from fleetward.device.access.panel_tty import paint
from fleetward.device.access.panel_user import FILE, read_users
from fleetward.device.access.panel_words import (
    MAX_LINE_BYTES,
    PRESS,
    SOCKET,
    STOP,
    Answer,
    Asking,
    Inside,
    Panel,
    Said,
    WaitsHere,
)
from fleetward.device.refusals import Refusals
from fleetward.trust.access import Scope
from fleetward.trust.canonical import encode
from fleetward.trust.envelope import read_envelope
from fleetward.trust.errors import FleetwardError, Unreachable, Untrusted

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

# --- the door


@dataclass
class Door:
    """A door, the lines that came through it, and a clock that the test holds."""

    folder: Path
    users: dict[int, str]
    now: int = 1_000_000
    said: list[tuple[Said, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    door: PanelDoor = field(init=False)

    def __post_init__(self) -> None:
        refusals = SimpleNamespace(refuse=lambda w, r, _: self.refused.append((w, r)))
        self.door = PanelDoor(
            self.folder, self.users, self.answer, cast(Refusals, refusals), lambda: self.now
        )

    def answer(self, said: Said, who: str) -> Answer:
        self.said.append((said, who))
        return Answer(good=True)

    def turn(self) -> None:
        """Be guard's loop for a moment."""
        for _ in range(20):
            self.door.tick()
            sockets = self.door.sockets()
            ready = select.select(sockets, [], [], 0)[0] if sockets else []
            for sock in ready:
                self.door.serve(sock)

    def call(self) -> socket.socket:
        """Connect as whoever runs the tests."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(0.2)
        sock.connect(str(self.folder / SOCKET))
        self.turn()
        return sock


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    made = Door(tmp_path / "panel", {os.geteuid(): "kiosk"})
    yield made
    made.door.close()


def closed(sock: socket.socket) -> bool:
    """Say whether the other end has closed, whatever it said before."""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while sock.recv(65536):
            pass
        return True
    return False


def test_a_line_of_the_list_is_answered_and_says_who(door: Door) -> None:
    with door.call() as sock:
        sock.sendall(b'{"do":"show"}\n{"do":"stop","subject":"' + b"a" * 64 + b'"}\n')
        door.turn()
        assert sock.recv(4096).count(b'"good":true') == 2
    assert [(said.do, who) for said, who in door.said] == [("show", "kiosk"), ("stop", "kiosk")]


@pytest.mark.parametrize(
    "line",
    [
        b"{}", b"[]", b"null", b'"show"', b"", b"\x00", b"\xff\xfe", b'{"do":"open"}',
        b'{"do":"show","do":"show"}', b'{"do": "show"}', b'{"do":"show","more":1}',
        b'{"do":"stop"}', b'{"do":"stop","subject":"../../etc/passwd"}',
        b'{"do":"press","subject":"' + b"A" * 64 + b'"}', b'{"do":1}', b"[" * 200,
        b'{"do":"show"}\r', b"x" * MAX_LINE_BYTES * 3,
    ],
)  # fmt: skip
def test_any_other_line_ends_the_connection(door: Door, line: bytes) -> None:
    with door.call() as sock:
        sock.sendall(line + b"\n")
        door.turn()
        assert closed(sock)
    assert not door.said


def test_a_line_without_an_end_is_not_waited_for(door: Door) -> None:
    with door.call() as sock:
        sock.sendall(b"x" * (MAX_LINE_BYTES + 1))
        door.turn()
        assert closed(sock)


def test_another_user_is_turned_away_and_recorded(tmp_path: Path) -> None:
    other = Door(tmp_path / "panel", {os.geteuid() + 1: "somebody else"})
    with other.call() as sock:
        with contextlib.suppress(BrokenPipeError):
            sock.sendall(b'{"do":"show"}\n')
        other.turn()
        assert closed(sock)
    other.door.close()
    assert not other.said
    assert other.refused == [("panel", "wrong_user")]


@needs_root
def test_a_real_other_user_is_turned_away(tmp_path: Path) -> None:
    place = Path("/tmp") / f"fw-panel-{os.getpid()}"
    place.mkdir(mode=0o755)
    folder = place / "panel"
    made = Door(folder, {0: "root"})
    script = (
        "import os,socket,sys;os.setgid(64898);os.setuid(64898);s=socket.socket(socket.AF_UNIX);"
        's.connect(sys.argv[1]);s.sendall(b\'{"do":"show"}\\n\');print(s.recv(9))'
    )
    try:
        command = [sys.executable, "-c", script, str(folder / SOCKET)]
        # The folder is closed to him.
        closed_folder = subprocess.run(command, capture_output=True, timeout=10, check=False)
        assert b"PermissionError" in closed_folder.stderr
        # Were it open, the kernel says who he is.
        folder.chmod(0o755)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 10
        while process.poll() is None and time.monotonic() < deadline:
            made.turn()
            time.sleep(0.01)
        out, _ = process.communicate()
        assert b"good" not in out
        assert not made.said
        assert made.refused == [("panel", "wrong_user")]
    finally:
        made.door.close()
        folder.rmdir()
        place.rmdir()


def test_a_flood_is_held_back_and_a_stop_gets_through(door: Door) -> None:
    flood = door.call()
    with contextlib.suppress(TimeoutError):
        flood.sendall(b'{"do":"show"}\n' * 4000)
    door.turn()
    calm = [said for said, _ in door.said]
    assert len(calm) <= panel_door.BURST
    assert len(door.door.sockets()) == 1, "guard looks at other things meanwhile"
    good = socket.socket(socket.AF_UNIX)
    good.connect(str(door.folder / SOCKET))
    good.sendall(encode({"do": STOP, "subject": "b" * 64}) + b"\n")
    waited = 0
    while not any(said.do == STOP for said, _ in door.said) and waited < 1000:
        door.now += 10
        waited += 10
        door.turn()
    assert waited <= 100, "a stop waits for no flood"
    door.now += 1000
    before = len(door.said)
    for _ in range(100):
        door.turn()
    assert len(door.said) - before <= panel_door.BURST
    # Somebody else who looks is not kept waiting by it either.
    good.sendall(b'{"do":"show"}\n')
    good.settimeout(0)
    waited = 0
    while waited < 1000:
        door.now += 10
        waited += 10
        door.turn()
        with contextlib.suppress(BlockingIOError):
            if good.recv(4096).count(b"\n") >= 1 and waited > 10:
                break
    assert waited <= 200
    good.close()
    flood.close()


def test_a_flood_of_connections_shuts_nobody_out_for_long(door: Door) -> None:
    taken = []
    for _ in range(200):
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect(str(door.folder / SOCKET))
        taken.append(sock)
        door.turn()
    waited = 0
    good = socket.socket(socket.AF_UNIX)
    good.setblocking(False)
    while waited < 2000:
        door.now += 25
        waited += 25
        door.turn()
        with contextlib.suppress(BlockingIOError):
            good.connect(str(door.folder / SOCKET))
            break
    good.send(encode({"do": STOP, "subject": "b" * 64}) + b"\n")
    while not any(said.do == STOP for said, _ in door.said) and waited < 2000:
        door.now += 25
        waited += 25
        door.turn()
    assert waited < 1000
    for sock in [*taken, good]:
        sock.close()


def test_who_does_not_read_is_closed(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panel_door, "encode_answer", lambda _: b"x" * 10_000_000)
    with door.call() as sock:
        sock.sendall(b'{"do":"show"}\n')
        door.turn()
        assert closed(sock)


def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "panel"
    folder.mkdir(mode=0o700)
    folder.chmod(0o777)
    with pytest.raises(PermissionError):
        Door(folder, {})
    link = tmp_path / "link"
    folder.chmod(0o700)
    link.symlink_to(folder)
    with pytest.raises(OSError, match=r"director|symbolic"):
        Door(link, {})


def test_the_file_of_the_panels_user_is_roots_alone(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_bytes(encode({"name": "kiosk", "uid": 1234}))
    path.chmod(0o600)
    assert read_users(tmp_path)[1234] == "kiosk"
    path.chmod(0o622)
    with pytest.raises(Untrusted):
        read_users(tmp_path)
    path.chmod(0o600)
    for bad in ({"name": "kiosk", "uid": 0}, {"name": "kiosk"}, {"name": "k\x1b[2J", "uid": 7}):
        path.write_bytes(encode(cast(Any, bad)))
        with pytest.raises(FleetwardError):
            read_users(tmp_path)


# --- the screen

HOSTILE = (
    "Tom\x1b[2J\x1b]52;c;ZXZpbA==\x07\x9b31m",
    "\u202egnp.exe\u2066\u200f",
    "a\u0301\u0489" * 100,
    "W" * 500,
    "漢字" * 250,
    "שלום",
    "\r\n\n> INSIDE: Ada\x00\x7f",
    "\ud83d\ude00 \U0001f600" .encode("utf-16", "surrogatepass").decode("utf-16"),
)  # fmt: skip


def hostile_panel(text: str) -> Panel:
    """Return a panel in which every text of others is this one."""
    asking = Asking("a" * 64, "six words are here as ever", text, text, (text,), 60, text, text,
                    1, break_glass=True)  # fmt: skip
    inside = Inside("b" * 64, "six words are here as ever", text, text, (text, text), text, text,
                    (text,), True, (text,), 1, 2, 3, break_glass=False, ending=False)  # fmt: skip
    waits = WaitsHere("c" * 64, "six words are here as ever", text, 60, pressed=False)
    return Panel("d" * 32, text, "these are six words of it", text, "active", "none", "none", text,
                 1, (asking,), (inside,), (waits,))  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("size", [(80, 24), (40, 12), (20, 6), (200, 60)])
def test_hostile_names_stay_in_their_place(text: str, size: tuple[int, int]) -> None:
    panel = hostile_panel(text)
    for chosen in ("a" * 64, "b" * 64, "c" * 64, ""):
        for confirming in (False, True):
            lines = draw(panel, Shown(chosen, 0, text, confirming), size)
            assert len(lines) <= size[1]
            for line in lines:
                check_line(line, size[0])
            drawn = paint(lines)
            assert drawn.count("\x1b[2K") == len(lines), "only the screen's own sequences"
            assert "\n" not in drawn
            assert not set("\x07\x9b\x9d\x90\u202e\u2066\u200f\r\x00") & set(drawn)


def check_line(line: Line, columns: int) -> None:
    import unicodedata

    assert line.text.isprintable()
    widths = [2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line.text]
    assert sum(widths) <= columns
    assert not any(unicodedata.bidirectional(c) in ("R", "AL", "RLO", "LRO") for c in line.text)


def test_a_name_cannot_look_like_another_item() -> None:
    items = list_items(hostile_panel("\r\n> INSIDE: Ada"), 80)
    assert [item.kind for item in items] == ["waiting", "inside", "asking"]
    assert harmless("a\nb\tc\x1b[31md") == "a b c [31md"


def test_what_is_needed_to_decide_is_seen_on_the_smallest_screen() -> None:
    panel = hostile_panel("Tom")
    seen = "\n".join(line.text for line in draw(panel, Shown("c" * 64), (40, 12)))
    for words in ("these are six words", "six words are here", "BREAK-GLASS", "refuse"):
        assert words in seen, seen


@pytest.mark.parametrize("end", ["q", "\x03", "hang up", "kill"])
def test_the_terminal_is_as_it_was_at_any_end(door: Door, tmp_path: Path, end: str) -> None:
    """The screen runs on a terminal of its own; what it leaves behind is looked at."""
    panel = hostile_panel("Tom")
    door.answer = lambda *_: Answer(good=True, panel=panel)  # type: ignore[method-assign]
    door.door._answer = door.answer
    ours, theirs = pty.openpty()
    ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 40, 0, 0))
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [sys.executable, "-I", "-m", "fleetward.device.cli", "panel", "--data", str(tmp_path)],
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    shown = bytearray()

    def turn(seconds: float, done: bytes = b"\x00never") -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and done not in shown:
            door.now += 5
            door.turn()
            if select.select([ours], [], [], 0.005)[0]:
                with contextlib.suppress(OSError):
                    shown.extend(os.read(ours, 65536))

    turn(10, b"q quit")
    assert b"\x1b[?1049h" in shown
    assert termios.tcgetattr(theirs)[3] != before[3]
    if end == "hang up":
        process.send_signal(signal.SIGHUP)
    elif end == "kill":
        process.send_signal(signal.SIGTERM)
    else:
        os.write(ours, end.encode())
    turn(10, b"\x1b[?1049l")
    deadline = time.monotonic() + 5
    while process.poll() is None and time.monotonic() < deadline:
        turn(0.05)
    assert process.returncode is not None
    assert b"\x1b[?25h" in shown[shown.rindex(b"\x1b[?7h") :]
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


# --- whoever is inside

PYTHON = shutil.which("python3", path="/usr/bin:/bin:/usr/local/bin")
"""One that a user of the machine can run, unlike that of the tests."""
PRESS_MYSELF = """
import os, socket, sys
line = b'{"do":"press","subject":"' + sys.argv[2].encode() + b'"}\\n'
for path in (sys.argv[1] + "/panel/panel.sock", "/proc/1/root" + sys.argv[1] + "/panel/panel.sock"):
    try:
        s = socket.socket(socket.AF_UNIX); s.connect(path); s.sendall(line)
        print("answer:" + s.recv(9999).decode())
    except OSError as e:
        print("no:", e.strerror)
"""


async def _run(shell: StreamEnd, command: str) -> str:
    await shell.type(f"{command}; printf 'e%sd\\n' n\n")
    return (await shell.until(b"end\r\n")).decode(errors="replace")


async def _hold(world: SessionWorld) -> tuple[str, tuple[bytes, bytes]]:
    """Have a grant wait for a press on this machine; return its hash, and the keys to enter by."""
    keys = allow_break_glass(world.access)
    world.access.trust.publish()
    await world.push_documents()
    await until(lambda: len(world.entries("gate.accepted")) > 1, "the policy is there")
    request = world.make_request(TcpScope(8080, "raw"), break_glass=True)
    offer = await world.offered(request)
    grant = world.make_grant(request, offer, keys.two_people)
    await world.push(grant)
    await until(lambda: world.entries("breakglass.granted"), "it waits")
    return read_envelope(grant).hash, (world.access.session_private, offer.session_key)


@pytest.mark.parametrize("as_root", [pytest.param(True, marks=needs_root), False])
def test_who_is_inside_does_not_press_for_himself(tmp_path: Path, as_root: bool) -> None:
    """As the user of a terminal, and where the agent is root, as root; a real sandbox."""

    async def act() -> None:
        async with session_world(tmp_path, as_root=as_root) as world:
            client = PanelClient(world.data)
            waiting, keys = await _hold(world)
            scopes: list[Scope] = [TerminalScope(world.user)]
            scopes += [RootScope()] if as_root else []
            session = await world.enter(*scopes)
            script = world.files / "press.py"
            script.write_text(PRESS_MYSELF)
            for place in range(len(scopes)):
                shell = await session.open(place)
                await shell.type("stty -echo; PS1=; set +o history\n")
                await asyncio.sleep(0.3)
                tried = await _run(
                    shell, f"{PYTHON} {script} {world.data} {waiting}; ls {world.data}"
                )
                assert "answer" not in tried, tried
                assert tried.count("no:") == 2, tried
                assert "panel" not in tried.replace("panel/panel", ""), tried
                assert "uid" not in tried
            assert world.entries("session.pressed") == []
            panel = await asyncio.to_thread(client.show)
            assert [each.session for each in panel.inside] == [session.session]
            assert [each.subject for each in panel.waiting] == [waiting]
            # Somebody at the machine stops it, and presses.
            await asyncio.to_thread(client.do, STOP, session.session)
            receipt = await world.receipt(session.session)
            assert receipt["ended_by"] == "panel"
            await asyncio.to_thread(client.do, PRESS, waiting)
            await until(lambda: world.entries("breakglass.opened"), "it opens")
            # Who was let in is there, without a further word of the server.
            entered = await RequesterEnd(world.bus, world.device, waiting, keys).begin()
            await entered.leave()
            assert (await world.receipt(waiting))["ended_by"] == "closed"
            client.close()

    asyncio.run(act())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to hide bubblewrap")
def test_a_machine_without_a_sandbox_says_so_and_takes_no_press(tmp_path: Path) -> None:
    """Whoever is inside is guard's own user, and reaches the panel: it takes nothing but less."""

    async def act() -> None:
        async with session_world(tmp_path, as_root=False, start=False) as world:
            world.start_agent(hide=["/usr/bin/bwrap"])
            await world.connected()
            client = PanelClient(world.data)
            session = await world.enter(TerminalScope(world.user), TcpScope(80, "raw"))
            shell = await session.open(0)
            script = world.files / "press.py"
            script.write_text(PRESS_MYSELF)
            tried = await _run(shell, f"{PYTHON} {script} {world.data} {'a' * 64}")
            assert "no_sandbox_no_press" in tried, tried
            panel = await asyncio.to_thread(client.show)
            assert "no sandbox" in panel.no_press
            assert panel.wall == "none"
            assert world.entries("session.pressed") == []
            client.close()

    asyncio.run(act())


def test_there_is_no_port_and_no_panel_without_an_agent(tmp_path: Path) -> None:
    (tmp_path / "panel").mkdir()
    with pytest.raises(FileNotFoundError):
        connect(tmp_path / "panel")
    with pytest.raises(Unreachable):
        PanelClient(tmp_path).show()
