"""Attacks on the files of a session: whatever is asked for, only the granted folder answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.session_world import (
    FilesScope,
    StreamEnd,
    rules_for,
    session_world,
)

from fleetward.device.access.files import Budget, Served, _walk, open_beneath, serve, split_path
from fleetward.trust.errors import FleetwardError
from fleetward.wire.access import OpenStream

SECRET = b"-----BEGIN PRIVATE KEY-----"


async def run(shell: StreamEnd, command: str) -> str:
    """Run a command in the terminal and return what it shows."""
    await shell.type(f"{command}; printf 'e%sd\\n' n\n")
    shown = await shell.until(b"end\r\n")
    return shown.decode(errors="replace")


@pytest.mark.parametrize(
    "path",
    ["..", "../x", "a/../b", "/etc/passwd", "a//b", "a/", "./a", "a/.", "\0", "a\0b", "x" * 256,
     "/".join("a" * 65), "\ud800"],
)  # fmt: skip
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(FleetwardError):
        split_path(path)


@pytest.mark.parametrize("way", ["openat2", "walk"])
@pytest.mark.parametrize("what", ["file", "folder"])
def test_no_race_leads_out_of_the_folder(tmp_path: Path, way: str, what: str) -> None:
    """Somebody swaps a file, or a folder on the way to it, for a link, all the time."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside / "real", outside):
        folder.mkdir(parents=True)
    (inside / "real" / "f").write_text("good")
    (outside / "f").write_text("SECRET")
    name = inside / ("real/f" if what == "file" else "real")
    target = outside / "f" if what == "file" else outside
    link, kept = inside / "link", inside / "kept"
    link.symlink_to(target)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for source, place in ((name, kept), (link, name), (name, link), (kept, name)):
                with contextlib.suppress(OSError):
                    source.rename(place)

    swapping = threading.Thread(target=swap)
    swapping.start()
    root = os.open(inside, os.O_RDONLY | os.O_DIRECTORY)
    good = 0
    try:
        for turn in range(300_000):
            if turn > 20_000 and good > 10:
                break
            try:
                if way == "openat2":
                    found = open_beneath(root, "real/f", os.O_RDONLY)
                else:
                    found = _walk(root, ["real", "f"], os.O_RDONLY)
            except (OSError, FleetwardError):
                continue
            content = os.read(found, 100)
            os.close(found)
            assert content == b"good"
            good += 1
    finally:
        stop.set()
        swapping.join()
        os.close(root)
    assert good, "the test reads at times"


def test_devices_pipes_sockets_and_links_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "sub").mkdir()
    names = ["pipe", "link", "sub"]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "sock"))
        names.append("sock")
        if os.geteuid() == 0:
            os.mknod(tmp_path / "tty", 0o20666, os.makedev(5, 0))
            names.append("tty")
        for name in names:
            for verb in ("get", "put"):
                words = transfer(tmp_path, OpenStream(verb=verb, path=name, size=1))
                assert words, (verb, name)


def test_a_put_replaces_a_link_that_races_it_and_follows_none(tmp_path: Path) -> None:
    inside, victim = tmp_path / "in", tmp_path / "victim"
    inside.mkdir()
    victim.write_text("untouched")
    stop = threading.Event()

    def plant() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                (inside / "f").symlink_to(victim)

    planting = threading.Thread(target=plant)
    planting.start()
    try:
        for _ in range(200):
            transfer(inside, OpenStream(verb="put", path="f", size=4), b"mine")
            with contextlib.suppress(OSError):
                (inside / "f").unlink()
    finally:
        stop.set()
        planting.join()
    assert victim.read_text() == "untouched"


def transfer(root: Path, wanted: OpenStream, data: bytes = b"") -> str:
    """Serve one transfer as a child of the attendant does; return its last words."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    links = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY)
    served = Served(folder, links, True, Budget(10**6))
    serving = threading.Thread(target=serve, args=(served, theirs, wanted))
    serving.start()
    ours.settimeout(10)
    words = ""
    with ours, theirs:
        while True:
            message = ours.recv(70_000)
            if message[:1] == b"M":
                ours.send(b"G")
            elif message[:1] == b"R" and wanted.verb == "put":
                ours.send(b"D" + data)
                ours.send(b"E")
            elif message[:1] in (b"C", b""):
                words = message[1:].decode()
                break
        serving.join()
    os.close(folder)
    os.close(links)
    return words


def test_a_folder_around_the_agents_own_does_not_open_it(tmp_path: Path) -> None:
    """An owner allows /var/lib; the identity key lies below it, and the transfer runs as root."""

    async def act() -> None:
        async with session_world(tmp_path) as world:
            world.access.set_rules(rules_for(world.data.parent))
            world.access.trust.publish()
            await world.push_documents()
            here = FilesScope(str(world.data.parent), "write", 10**6)
            inside = FilesScope(str(world.data / "guard"), "read", 10**6)
            session = await world.enter(here, inside)
            tried: list[tuple[int, dict[str, Any]]] = [
                (0, {"verb": "get", "path": "data/guard/identity.pem"}),
                (0, {"verb": "list", "path": "data"}),
                (0, {"verb": "put", "path": "data/guard/planted", "size": 0}),
                (1, {"verb": "get", "path": "identity.pem"}),
            ]
            for scope, wanted in tried:
                stream = await session.open(scope, **wanted)
                await stream.end()
                assert "the agent's own" in await stream.until_closed(), (scope, wanted)
                assert SECRET not in bytes(stream.data)
            assert not (world.data / "guard" / "planted").exists()
            await session.leave()
            await world.receipt(session.session)

    asyncio.run(act())


def test_the_words_of_a_listing_cannot_forge_lines(tmp_path: Path) -> None:
    (tmp_path / 'a\n{"name":"forged"}').write_text("")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    served = Served(folder, folder, False, Budget(10**6))
    serving = threading.Thread(target=serve, args=(served, theirs, OpenStream(verb="list")))
    serving.start()
    rows: list[dict[str, object]] = []
    with ours, theirs:
        while (message := ours.recv(70_000))[:1] != b"C":
            if message[:1] == b"M":
                ours.send(b"G")
            elif message[:1] == b"D":
                rows += [json.loads(line) for line in message[1:].splitlines()]
        serving.join()
    os.close(folder)
    assert [row["name"] for row in rows] == ['a\n{"name":"forged"}']
