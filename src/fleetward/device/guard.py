"""Guard as a process: one thread, one `select`, no network.

New connections come as descriptors over a control socket (from `fleetward-agent run`), or from a
Unix socket that the service manager listens on. One uplink at a time: the newest replaces the one
before it. What connects to a listening socket must be the user that uplink runs as.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import struct
from pathlib import Path
from typing import Final

from fleetward.device.access.panel_door import PanelDoor
from fleetward.device.frames import Connection
from fleetward.device.guard_core import GuardCore
from fleetward.device.launcher.vitals import Vitals

ONCE_SECONDS: Final = 180.0
"""`run --once` gives up after this long, and says what is missing."""
ONLY_THE_OWNER_HELPS: Final = frozenset({"waiting_for_owner", "retired"})
"""Reasons of a server for taking nothing, for which `run --once` does not wait."""
_PEER = struct.Struct("=iII")


class GuardLoop:
    """Runs a `GuardCore` until SIGTERM, or until it is settled (`once`)."""

    def __init__(
        self,
        core: GuardCore,
        source: socket.socket,
        peer_uid: int | None,
        panel: PanelDoor | None = None,
        vitals: Vitals | None = None,
    ) -> None:
        source.setblocking(False)
        self._core = core
        self._panel = panel
        self._vitals = vitals or Vitals(None)
        self._source = source
        self._listens = source.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        self._peer_uid = peer_uid
        self._uplink: Connection | None = None
        self._stop = False
        self._selector = selectors.DefaultSelector()
        self._session_sockets: set[socket.socket] = set()
        self._signals, self._signal_in = socket.socketpair()

    def run(self) -> int:
        """Serve; return 0, or 1 when `once` did not get there, or cannot for now."""
        self._take_signals()
        self._selector.register(self._source, selectors.EVENT_READ)
        self._selector.register(self._signals, selectors.EVENT_READ)
        self._core.call_on_news(self._wake_uplink)
        deadline_ms = self._core.seat.clock.boottime_ms() + int(ONCE_SECONDS * 1000)
        try:
            status = self._turn(deadline_ms)
            self._core.say_healthy()
            return status
        finally:
            if self._panel is not None:
                self._panel.close()
            self._core.close()

    def _turn(self, deadline_ms: int) -> int:
        while not self._stop:
            delay_ms = min(self._core.tick(), self._panel.tick() if self._panel else 60_000)
            self._vitals.tell(healthy=self._core.healthy, connected=self._core.connected)
            if self._core.makes_room:
                return 0
            if self._core.seat.once:
                if self._core.settled:
                    return 0
                if self._core.server_reason in ONLY_THE_OWNER_HELPS:
                    return 1
                if self._core.seat.clock.boottime_ms() > deadline_ms:
                    return 1
            self._serve(delay_ms / 1000)
        return 0

    def _serve(self, timeout_seconds: float) -> None:
        self._watch_uplink()
        self._watch_sessions()
        for key, events in self._selector.select(timeout_seconds):
            if key.fileobj is self._source:
                self._take_connection()
            elif key.fileobj is self._signals:
                self._signals.recv(64)
            elif self._uplink is not None and key.fileobj is self._uplink.sock:
                good = not events & selectors.EVENT_READ or self._uplink.read()
                # An answer usually fits at once; asking the selector first would cost a turn.
                good = good and (not self._uplink.wants_write or self._uplink.write())
                if not good:
                    self._drop_uplink()
            elif self._panel is not None:
                self._panel.serve(key.fileobj)

    def _watch_uplink(self) -> None:
        if self._uplink is None:
            return
        events = selectors.EVENT_READ if self._uplink.wants_read else 0
        events |= selectors.EVENT_WRITE if self._uplink.wants_write else 0
        self._selector.modify(self._uplink.sock, events)

    def _watch_sessions(self) -> None:
        """Be woken by what sessions, closings and updates say, and by the panel."""
        now = {*self._core.sessions.sockets(), *self._core.closings.sockets()}
        now |= set(self._core.updates.sockets())
        now |= set(self._panel.sockets() if self._panel is not None else ())
        for sock in self._session_sockets - now:
            # It is closed, and its number may be another socket's already.
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(sock)
        for sock in now - self._session_sockets:
            self._selector.register(sock, selectors.EVENT_READ)
        self._session_sockets = now

    def _take_connection(self) -> None:
        sock = self._accept() if self._listens else self._receive()
        if sock is None:
            return
        self._drop_uplink()
        self._uplink = Connection(sock, self._core)
        self._selector.register(sock, selectors.EVENT_READ)

    def _accept(self) -> socket.socket | None:
        try:
            sock, _ = self._source.accept()
        except OSError:
            return None
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        _, uid, _ = _PEER.unpack(raw)
        if self._peer_uid is not None and uid != self._peer_uid:
            sock.close()
            words = f"User {uid} tried to speak to guard in uplink's place."
            self._core.refusals.refuse("uplink", "wrong_user", words)
            return None
        return sock

    def _receive(self) -> socket.socket | None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._source, 16, 1)
        except OSError:
            return None
        if not data and not descriptors:
            self._stop = True  # The supervisor has ended.
            return None
        return socket.socket(fileno=descriptors[0]) if descriptors else None

    def _drop_uplink(self) -> None:
        if self._uplink is None:
            return
        self._selector.unregister(self._uplink.sock)
        self._uplink.close()
        self._uplink = None
        self._core.lose_uplink()

    def _wake_uplink(self) -> None:
        if self._uplink is not None:
            self._uplink.wake()

    def _take_signals(self) -> None:
        self._signals.setblocking(False)
        self._signal_in.setblocking(False)
        signal.set_wakeup_fd(self._signal_in.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        del number, frame
        self._stop = True


def read_boot_id() -> str:
    """Return the id of this boot, as the kernel gives it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()[:64]
    except OSError:
        return f"pid-{os.getpid()}"
