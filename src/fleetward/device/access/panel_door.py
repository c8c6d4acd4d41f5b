"""The panel's socket in guard's loop: who may speak, how much, and how often.

1. A Unix socket in a folder of its own; never a port. Who may enter the folder, installing says;
   who may speak is checked again by the kernel's word for who connects (`SO_PEERCRED`, unix(7)):
   root, guard's own user, and the one user that installing named.
2. A line is at most 256 bytes of canonical JSON. What is anything else ends the connection.
3. At most `MOST_PEERS` at once; a new one takes the place of the one that has been quiet longest.
4. At most `LINES_A_SECOND` of all together are answered, and so many connections taken. Who says
   more waits, unread in the kernel, and guard does its other work meanwhile; who was answered
   longest ago comes first. A stop, a no and a press have lines of their own, which no flood of
   looking uses up.
5. Who does not read his answers is closed.

The panel's folder is below the agent's data directory, which every sandbox hides.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fleetward.device.access.panel_words import (
    MAX_LINE_BYTES,
    SHOW,
    SOCKET,
    Answer,
    Said,
    encode_answer,
    read_line,
)
from fleetward.device.refusals import Refusals
from fleetward.trust.errors import FleetwardError

MOST_PEERS: Final = 8
LINES_A_SECOND: Final = 40
"""A screen asks once a second; a person presses less often."""
BURST: Final = 20
READ_BYTES: Final = 4 * MAX_LINE_BYTES
LINES_A_TURN: Final = 4
"""Of one connection, before guard looks at the others."""
_PEER: Final = struct.Struct("=iII")


@dataclass(slots=True)
class Allowance:
    """So many a second, and so many at once. `now_ms` rises."""

    a_second: int
    burst: int
    now_ms: Callable[[], int]
    left_milli: int = field(init=False)
    at_ms: int = field(init=False)

    def __post_init__(self) -> None:
        self.left_milli, self.at_ms = self.burst * 1000, self.now_ms()

    def take(self) -> bool:
        """Use one, if there is one."""
        now = self.now_ms()
        more = max(0, now - self.at_ms) * self.a_second
        self.left_milli = min(self.burst * 1000, self.left_milli + more)
        self.at_ms = now
        if self.left_milli < 1000:
            return False
        self.left_milli -= 1000
        return True

    def wait_ms(self) -> int:
        """Return in how many milliseconds there is one again."""
        return max(1, -(-(1000 - self.left_milli) // self.a_second))


@dataclass(slots=True)
class _Peer:
    """One connection of somebody who may speak."""

    sock: socket.socket
    who: str
    heard_ms: int
    answered_ms: int = 0
    rests_until_ms: int = 0
    data: bytearray = field(default_factory=bytearray)

    @property
    def says(self) -> bool:
        """Whether a whole line of it waits here."""
        return b"\n" in self.data


class PanelDoor:
    """Serves the panel. `answer` is given a line and the user's name. Raises `OSError`."""

    def __init__(
        self,
        folder: Path,
        users: Mapping[int, str],
        answer: Callable[[Said, str], Answer],
        refusals: Refusals,
        now_ms: Callable[[], int],
    ) -> None:
        self._users = dict(users)
        self._answer = answer
        self._refusals = refusals
        self._now_ms = now_ms
        self._peers: list[_Peer] = []
        self._calls = Allowance(LINES_A_SECOND, BURST, now_ms)
        self._looks = Allowance(LINES_A_SECOND, BURST, now_ms)
        self._deeds = Allowance(LINES_A_SECOND, BURST, now_ms)
        self._calls_rest_until_ms = 0
        self._folder = open_folder(folder)
        self._socket = self._listen()

    def sockets(self) -> list[socket.socket]:
        """Return what to select on: not what has said too much for now."""
        now = self._now_ms()
        listening = [self._socket] if now >= self._calls_rest_until_ms else []
        return [*listening, *(p.sock for p in self._peers if now >= p.rests_until_ms)]

    def tick(self) -> int:
        """Answer what had to wait; return in how many milliseconds to call again."""
        now = self._now_ms()
        for peer in sorted(self._peers, key=lambda p: p.answered_ms):
            if now >= peer.rests_until_ms:
                self._take_lines(peer)
        due = [p.rests_until_ms for p in self._peers if p.says or p.rests_until_ms > now]
        due += [self._calls_rest_until_ms] if self._calls_rest_until_ms > now else []
        return max(0, min(due) - now) if due else 60_000

    def serve(self, sock: object) -> None:
        """Read what came on one of `sockets`."""
        if sock is self._socket:
            self._accept()
            return
        for peer in [p for p in self._peers if p.sock is sock]:
            self._hear(peer)

    def close(self) -> None:
        """Be gone, and leave no socket behind."""
        for peer in list(self._peers):
            self._drop(peer)
        self._socket.close()
        with contextlib.suppress(OSError):
            os.unlink(SOCKET, dir_fd=self._folder)
        os.close(self._folder)

    def _listen(self) -> socket.socket:
        """Put the socket into the folder: its name is short, however deep the folder is."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET, dir_fd=self._folder)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = f"/proc/self/fd/{self._folder}/{SOCKET}"
        try:
            sock.bind(path)
            # The folder says who comes as far as this; others enter it only where it was opened.
            Path(path).chmod(0o666)
            sock.listen(MOST_PEERS)
        except OSError:
            sock.close()
            os.close(self._folder)
            raise
        sock.setblocking(False)
        return sock

    def _accept(self) -> None:
        # 4.
        if not self._calls.take():
            self._calls_rest_until_ms = self._now_ms() + self._calls.wait_ms()
            return
        try:
            sock, _ = self._socket.accept()
        except OSError:
            return
        # 1.
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        uid = _PEER.unpack(raw)[1]
        who = self._users.get(uid)
        if who is None:
            sock.close()
            words = f"User {uid} tried to speak to this machine's panel, and may not."
            self._refusals.refuse("panel", "wrong_user", words)
            return
        # 3.
        if len(self._peers) >= MOST_PEERS:
            self._drop(min(self._peers, key=lambda p: p.heard_ms))
        sock.setblocking(False)
        self._peers.append(_Peer(sock, who, self._now_ms()))

    def _hear(self, peer: _Peer) -> None:
        try:
            data = peer.sock.recv(READ_BYTES - len(peer.data))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data and not peer.says:
            self._drop(peer)
            return
        peer.data += data
        peer.heard_ms = self._now_ms()
        self._take_lines(peer)

    def _take_lines(self, peer: _Peer) -> None:
        for _ in range(LINES_A_TURN):
            if peer not in self._peers or not peer.says:
                break
            line = bytes(peer.data[: peer.data.index(b"\n")])
            said = self._read(peer, line)
            if said is None:
                return
            # 4.
            allowance = self._looks if said.do == SHOW else self._deeds
            if not allowance.take():
                peer.rests_until_ms = self._now_ms() + allowance.wait_ms()
                return
            del peer.data[: len(line) + 1]
            peer.answered_ms = self._now_ms()
            self._say(peer, self._answer(said, peer.who))
        if not peer.says and len(peer.data) > MAX_LINE_BYTES:
            self._read(peer, bytes(peer.data))

    def _read(self, peer: _Peer, line: bytes) -> Said | None:
        """Return what a line says; None, and no connection any more, when it says nothing."""
        try:
            return read_line(line)
        except FleetwardError as e:
            words = f"Not a line of the panel: {e.message}"
            self._say(peer, Answer(good=False, reason=e.reason, words=words))
            self._drop(peer)
            return None

    def _say(self, peer: _Peer, answer: Answer) -> None:
        data = encode_answer(answer)
        try:
            sent = peer.sock.send(data)
        except OSError:
            sent = -1
        # 5.
        if sent != len(data):
            self._drop(peer)

    def _drop(self, peer: _Peer) -> None:
        if peer in self._peers:
            self._peers.remove(peer)
        peer.sock.close()


def open_folder(folder: Path) -> int:
    """Return a descriptor of the panel's folder, made where it is not. Raises `OSError`.

    A folder in which somebody else could put another socket is not used.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        os.close(descriptor)
        raise PermissionError(
            1, "the panel's folder must belong to whoever runs the agent, and to nobody else"
        )
    return descriptor
