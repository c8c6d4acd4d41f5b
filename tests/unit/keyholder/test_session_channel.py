"""The requester's end of a session against a small machine: streams, credits, fronts, ends."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import secrets
import struct
import termios
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.access_world import LOGS, TERMINAL, AccessWorld
from tests.adversary.session_end import Alter, MachineEnd, MemoryWire, hand_on, make_wires

from fleetward.keyholder.access.connecting import SessionLink
from fleetward.keyholder.access.front_files import get_file, list_files, put_file
from fleetward.keyholder.access.front_logs import show_logs
from fleetward.keyholder.access.front_port import PortListener, join_stdio
from fleetward.keyholder.access.front_terminal import Leaving, run_terminal
from fleetward.keyholder.access.judging import Case
from fleetward.trust.access import FilesScope, TcpScope
from fleetward.trust.errors import Refused, Unreachable, Untrusted
from fleetward.wire.access import WINDOW_BYTES, Frame, OpenStream, Piece

RAW = TcpScope(8080, "raw")
PUT = FilesScope("/srv/app", "write", 10**8)


@pytest.fixture(scope="module")
def world() -> AccessWorld:
    return AccessWorld.make()


class Pair:
    """A granted session, and both of its ends."""

    def __init__(self, world: AccessWorld, alter: Alter = hand_on) -> None:
        request = world.request(TERMINAL, RAW, LOGS, PUT)
        offer = world.offer(request)
        grant = world.judge(world.grant(request, offer), request, offer)
        entry = world.machine.entry()
        self.case = Case(entry, world.trust.policy, request, offer, grant)
        self.private = world.session_private
        self.wire, there = make_wires(alter)
        self.machine = MachineEnd(
            there, world.machine_private, request.session_key, grant.hash, grant.scopes
        )

    @contextlib.asynccontextmanager
    async def open(self, wire: MemoryWire | None = None) -> AsyncIterator[SessionLink]:
        async with (
            self.machine.running(),
            SessionLink(wire or self.wire, self.case, self.private) as link,
        ):
            await link.open()
            yield link


def play(act: Coroutine[Any, Any, None], seconds: float = 20) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await act

    asyncio.run(bounded())


def test_a_session_opens_and_is_left(world: AccessWorld) -> None:
    pair = Pair(world)

    async def act() -> None:
        async with pair.machine.running():
            async with SessionLink(pair.wire, pair.case, pair.private) as link:
                welcome = await link.open()
                assert (welcome.sandbox, welcome.seconds_left) == ("bubblewrap", 600)
            await asyncio.sleep(0)
            while not pair.machine.over:
                await asyncio.sleep(0.01)

    play(act())
    assert pair.machine.seen[-1].kind is Frame.LEAVE


def test_it_knocks_until_the_machine_answers(world: AccessWorld) -> None:
    pair = Pair(world)
    pair.machine.silent_for = 2

    async def act() -> None:
        async with pair.open():
            pass

    play(act())
    knocks = [m for m in pair.wire.sent if len(m) == 32]
    assert len(knocks) >= 3
    assert len(set(knocks)) == 1


def test_a_megabyte_waits_for_credits_in_both_directions(world: AccessWorld) -> None:
    pair = Pair(world)
    sent = secrets.token_bytes(5 * WINDOW_BYTES + 17)

    async def act() -> None:
        async with pair.open() as link:
            stream = await link.open_stream(1, OpenStream())
            await stream.wait_ready()
            sending = asyncio.create_task(stream.send(sent))
            got = bytearray()
            while len(got) < len(sent):
                got += await stream.receive()
            await sending
            assert bytes(got) == sent
            await stream.end()
            assert await stream.receive() == b""
            assert await stream.wait_closed() == ""

    play(act())


def test_a_slow_reader_is_sent_no_more_than_a_window(world: AccessWorld) -> None:
    pair = Pair(world)

    async def act() -> None:
        async with pair.open() as link:
            stream = await link.open_stream(1, OpenStream())
            await stream.wait_ready()
            await stream.send(bytes(3 * WINDOW_BYTES))
            await asyncio.sleep(0.1)
            held = sum(len(part) for part in stream._arrived)
            assert held <= WINDOW_BYTES

    play(act())


def test_files_are_listed_fetched_and_put(world: AccessWorld, tmp_path: Path) -> None:
    pair = Pair(world)
    pair.machine.files = {"logs/pump.log": secrets.token_bytes(300_000), "empty": b""}
    told: list[tuple[str, int, int]] = []

    async def act() -> None:
        async with pair.open() as link:
            rows = await list_files(link, 3, ".")
            assert [row.name for row in rows] == ["logs/pump.log", "empty"]
            moved = await get_file(
                link, 3, "logs/pump.log", tmp_path, lambda *each: told.append(each)
            )
            assert (tmp_path / "pump.log").read_bytes() == pair.machine.files["logs/pump.log"]
            assert (moved.size, told[-1][1:]) == (300_000, (300_000, 300_000))
            await get_file(link, 3, "empty", tmp_path / "else", lambda *_: None)
            assert (tmp_path / "else").read_bytes() == b""
            local = tmp_path / "new.conf"
            local.write_bytes(b"x" * 100_000)
            await put_file(link, 3, local, "etc/new.conf", lambda *_: None)
            with pytest.raises(Refused, match="No such file"):
                await get_file(link, 3, "missing", tmp_path, lambda *_: None)

    play(act())
    assert pair.machine.files["etc/new.conf"] == b"x" * 100_000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["else", "new.conf", "pump.log"]


def test_a_file_that_is_cut_off_leaves_nothing(world: AccessWorld, tmp_path: Path) -> None:
    pair = Pair(world)
    pair.machine.files = {"big": bytes(4 * WINDOW_BYTES)}

    async def act() -> None:
        async with pair.open() as link:
            getting = asyncio.create_task(get_file(link, 3, "big", tmp_path, lambda *_: None))
            await asyncio.sleep(0)
            pair.wire.cut()
            with pytest.raises(Unreachable):
                await getting

    play(act())
    assert list(tmp_path.iterdir()) == []


def test_logs_are_written_and_made_harmless(world: AccessWorld) -> None:
    pair = Pair(world)
    pair.machine.lines = ("one", "\x1b]52;c;ZXZpbA==\x07two", "\x1b[31mthree")
    reading, writing = os.pipe()

    async def act() -> None:
        async with pair.open() as link:
            await show_logs(link, 2, 200, follow=False, sink=writing)

    play(act())
    os.close(writing)
    assert os.read(reading, 1000) == b"one\ntwo\n\x1b[31mthree\n"


def test_a_port_serves_many_connections(world: AccessWorld) -> None:
    pair = Pair(world)

    async def talk(port: int, text: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(text)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer

    async def act() -> None:
        async with pair.open() as link:
            listener = PortListener(link, 1, lambda words: None)
            port = await listener.start(0)
            texts = [secrets.token_bytes(40_000) for _ in range(12)]
            assert await asyncio.gather(*(talk(port, t) for t in texts)) == texts
            with pytest.raises(Unreachable, match="--listen"):
                await PortListener(link, 1, lambda words: None).start(port)
            await listener.stop()

    play(act())


def test_stdin_and_stdout_are_joined_with_a_port(world: AccessWorld) -> None:
    pair = Pair(world)
    source, feed = os.pipe()
    result, sink = os.pipe()
    text = b"SSH-2.0-x\r\n" + secrets.token_bytes(20_000)

    async def act() -> None:
        os.write(feed, text)
        os.close(feed)
        async with pair.open() as link:
            await join_stdio(link, 1, source, sink)

    play(act())
    os.close(sink)
    got = b""
    while part := os.read(result, 65536):
        got += part
    assert got == text


def test_a_terminal_in_a_script(world: AccessWorld) -> None:
    pair = Pair(world)
    source, feed = os.pipe()
    result, sink = os.pipe()

    async def act() -> None:
        os.write(feed, b"uname\n")
        os.close(feed)
        async with pair.open() as link:
            await run_terminal(link, 0, source, sink)

    play(act())
    assert os.read(result, 1000) == b"$ UNAME\n"


def test_a_terminal_is_raw_sized_and_put_back(world: AccessWorld) -> None:
    pair = Pair(world)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    before = termios.tcgetattr(theirs)
    during: list[Any] = []

    async def act() -> None:
        async with pair.open() as link:
            running = asyncio.create_task(run_terminal(link, 0, theirs, theirs))
            await asyncio.sleep(0.1)
            during.append(termios.tcgetattr(theirs))
            os.write(ours, b"a\x03b")
            await asyncio.sleep(0.1)
            os.write(ours, b"\rexit\r")
            assert await running == "The shell ended."

    play(act())
    opened = next(p for p in pair.machine.seen if p.kind is Frame.OPEN)
    assert b'"columns":120,"rows":40' in opened.data
    typed = b"".join(p.data for p in pair.machine.seen if p.kind is Frame.DATA)
    assert typed == b"a\x03b\rexit\r"  # Ctrl-C is the machine's
    assert not during[0][3] & termios.ICANON
    assert termios.tcgetattr(theirs) == before


def test_whatever_breaks_the_session_puts_the_terminal_back(world: AccessWorld) -> None:
    pair = Pair(world)
    _ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)

    async def act() -> None:
        async with pair.open() as link:
            running = asyncio.create_task(run_terminal(link, 0, theirs, theirs))
            await asyncio.sleep(0.1)
            pair.wire.cut()
            with pytest.raises(Unreachable):
                await running

    play(act())
    assert termios.tcgetattr(theirs) == before


def test_a_tilde_and_a_dot_leave(world: AccessWorld) -> None:
    leaving = Leaving()
    assert leaving.feed(b"a~.b\r") == b"a~.b\r"
    assert leaving.feed(b"~~x\r") == b"~x\r"
    assert leaving.feed(b"~x") == b"~x"
    assert not leaving.left
    assert leaving.feed(b"\r~") == b"\r"
    assert leaving.feed(b".rm") == b""
    assert leaving.left


def test_the_machine_ends_it_with_words(world: AccessWorld) -> None:
    pair = Pair(world)

    async def act() -> None:
        async with pair.open() as link:
            stream = await link.open_stream(0, OpenStream())
            await stream.wait_ready()
            await pair.machine.end("Its time is over.\x1b]52;c;eA==\x07")
            assert await link.wait_over() == "Its time is over. ]52;c;eA== "
            assert await stream.receive() == b"$ "
            with pytest.raises(Refused, match="Its time is over"):
                await stream.receive()

    play(act())


@pytest.mark.parametrize(
    "bad",
    [
        Piece(Frame.OPEN, 0, 1, b"{}"),
        Piece(Frame.RESIZE, 0, 1, b"\0\1\0\1"),
        Piece(Frame.CREDIT, 0, 1, (2**31).to_bytes(4, "big")),
        Piece(Frame.CREDIT, 0, 1, b"\0"),
    ],
)
def test_a_machine_that_breaks_the_contract(world: AccessWorld, bad: Piece) -> None:
    pair = Pair(world)

    async def act() -> None:
        with pytest.raises(Untrusted):
            async with pair.open() as link:
                stream = await link.open_stream(1, OpenStream())
                await stream.wait_ready()
                await pair.machine.say(bad)
                await stream.receive()

    play(act())


def test_more_than_the_window_is_not_kept(world: AccessWorld) -> None:
    pair = Pair(world)

    async def act() -> None:
        with pytest.raises(Untrusted, match="more than it may"):
            async with pair.open() as link:
                stream = await link.open_stream(1, OpenStream())
                await stream.wait_ready()
                for _ in range(WINDOW_BYTES // 65536 + 1):
                    await pair.machine.say(Piece(Frame.DATA, 1, 1, bytes(65536)))
                await link.wait_over()

    play(act())
