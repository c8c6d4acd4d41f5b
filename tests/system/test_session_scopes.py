"""Ports, files and logs through sessions of a real machine."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.session_world import (
    FilesScope,
    RequesterEnd,
    TcpScope,
    session_world,
    until,
)

from fleetward.trust.access import LogsScope


class Page(BaseHTTPRequestHandler):
    """A page that says which path was asked for, and takes what is posted."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._say(f"you asked for {self.path}".encode())

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        self._say(b"took " + self.rfile.read(size))

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Be silent."""


@contextlib.contextmanager
def local_page() -> Iterator[int]:
    """Serve pages on a port of loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.asynccontextmanager
async def local_echo() -> AsyncIterator[int]:
    """Serve a port that says back what it hears."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def test_the_machines_page_and_a_raw_port(tmp_path: Path) -> None:
    async def act() -> None:
        with local_page() as page:
            async with local_echo() as echo, session_world(tmp_path) as world:
                session = await world.enter(TcpScope(page, "http"), TcpScope(echo, "raw"))
                await see_a_page(session, page)
                await see_an_echo(session)
                await session.leave()
                await world.receipt(session.session)
                marks = [text for _, code, text in world.replay(session.session) if code == "m"]
                assert any("GET /first?x=1 HTTP/1.1" in mark for mark in marks), marks
                assert any("POST /second HTTP/1.1" in mark for mark in marks)
                assert any("300000 bytes in, 300000 bytes out" in mark for mark in marks), marks

    asyncio.run(act())


async def see_a_page(session: RequesterEnd, port: int) -> None:
    """Two requests on one connection, then what is refused on others."""
    page = await session.open(0)
    assert page.closed is None, page.closed
    await page.type(f"GET /first?x=1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n")
    await page.until(b"you asked for /first?x=1")
    await page.type("POST /second HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel")
    await page.type("lo")
    await page.until(b"took hello")
    await page.close()
    for bad in (
        "GET http://example.org/ HTTP/1.1\r\n\r\n",
        "CONNECT example.org:443 HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /\r\n\r\n",
    ):
        refused = await session.open(0)
        await refused.type(bad)
        assert "closed" in await refused.until_closed(), bad
        assert not refused.data


async def see_an_echo(session: RequesterEnd) -> None:
    """Bytes in both directions, more than a window holds back, and the end of both."""
    echo = await session.open(1)
    await echo.send(b"x" * 300_000)
    await echo.end()
    assert await echo.until_closed() == ""
    assert len(echo.data) == 300_000


def test_files_below_a_folder(tmp_path: Path) -> None:
    async def act() -> None:
        async with session_world(tmp_path) as world:
            (world.files / "sub").mkdir()
            content = os.urandom(3_000_000)
            (world.files / "sub" / "data.bin").write_bytes(content)
            (world.files / "link").symlink_to("/etc/passwd")
            os.mkfifo(world.files / "pipe")
            session = await world.enter(FilesScope(str(world.files), "write", 10**7))
            listing = await session.open(0, verb="list", path="")
            assert await listing.until_closed() == ""
            rows = {r["name"]: r["kind"] for r in map(json.loads, listing.data.splitlines())}
            assert rows == {"sub": "folder", "link": "other", "pipe": "other"}
            got = await session.open(0, verb="get", path="sub/data.bin")
            assert got.ready == {"size": len(content)}
            assert await got.until_closed() == ""
            assert bytes(got.data) == content
            for path in ("link", "pipe", "../etc/passwd", "sub/../../x", "/etc/passwd", "sub", ""):
                bad = await session.open(0, verb="get", path=path)
                assert await bad.until_closed() != "", path
                assert not bad.data
            put = await session.open(0, verb="put", path="sub/new.txt", size=2_000_000)
            await put.send(content[:2_000_000])
            await put.end()
            assert await put.until_closed() == ""
            assert (world.files / "sub" / "new.txt").read_bytes() == content[:2_000_000]
            assert not [p for p in (world.files / "sub").iterdir() if p.name.endswith(".part")]
            # Ten million bytes in all: 3 and 2 are gone, 3 more fit, the next 3 do not.
            again = await session.open(0, verb="get", path="sub/data.bin")
            assert await again.until_closed() == ""
            spent = await session.open(0, verb="get", path="sub/data.bin")
            assert "used up" in await spent.until_closed()
            await session.leave()
            await world.receipt(session.session)
            marks = [text for _, code, text in world.replay(session.session) if code == "m"]
            digest = hashlib.sha256(content).hexdigest()
            assert any(f"get sub/data.bin 3000000 bytes sha256 {digest}" in m for m in marks)
            assert any("put sub/new.txt 2000000 bytes sha256" in m for m in marks)

    asyncio.run(act())


def test_logs_are_shown_or_it_is_said_what_is_missing(tmp_path: Path) -> None:
    async def act() -> None:
        async with session_world(tmp_path) as world:
            session = await world.enter(LogsScope("*"))
            logs = await session.open(0, lines=5)
            words = await logs.until_closed()
            assert words == "" or "journal" in words
            await session.leave()
            await until(lambda: session.left is not None, "the machine says goodbye")

    asyncio.run(act())
