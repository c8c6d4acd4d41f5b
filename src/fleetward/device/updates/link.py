"""Guard's end of the talk with an installer: one word at a time, answered or given up.

The process is started when it is needed, told the plan first, and ended when the attempt is over.
One that ends, keeps silent or speaks what nobody asked for is given up; guard starts another, and
says the same word again, as the contract allows.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final, Protocol

from fleetward.device.updates.installer_words import (
    MAX_WORD_BYTES,
    Done,
    Downward,
    Plan,
    Progress,
    Surveyed,
    Tested,
    Upward,
    Written,
    encode,
    read_upward,
)
from fleetward.runtime.clock import Clock
from fleetward.trust.errors import FleetwardError, Malformed, Unreachable

SILENT_MS: Final = 120_000
"""An installer that says nothing for so long, not even how far it is, is given up."""
_ANSWERS: Final = {
    "plan": Surveyed,
    "write": Written,
    "patch": Written,
    "switch": Done,
    "restart": Done,
    "test": Tested,
    "commit": Done,
    "back": Done,
    "clear": Done,
}


class Installers(Protocol):
    """Starts processes that install."""

    def start_installer(self) -> socket.socket:
        """Start one, and return guard's end of the socket to it. Raises `Unreachable`."""


class Link(Protocol):
    """Guard's end of the talk: of a process, or of what stands for one on a simulated machine."""

    done_bytes: int

    @property
    def busy(self) -> bool:
        """Whether a word waits for its answer."""

    def sockets(self) -> list[socket.socket]:
        """Return what to select on."""

    def begin(self, plan: Plan) -> None:
        """Start an installer and tell it the plan; `Surveyed` will come. Raises `Unreachable`."""

    def say(self, word: Downward, file: Path | None = None) -> None:
        """Say a word, with a file where it needs one. Raises `Unreachable`."""

    def hear(self) -> Upward | None:
        """Return the answer, if it has come. Raises `Unreachable` when none will."""

    def close(self) -> None:
        """End the installer."""


class InstallerLink:
    """The talk with a process. Part of guard's single thread."""

    def __init__(self, installers: Installers, clock: Clock) -> None:
        self._installers = installers
        self._clock = clock
        self._sock: socket.socket | None = None
        self._waits_for: type | None = None
        self._heard_ms = 0
        self.done_bytes = 0

    @property
    def busy(self) -> bool:
        """Whether a word waits for its answer."""
        return self._waits_for is not None

    def sockets(self) -> list[socket.socket]:
        """Return what to select on."""
        return [self._sock] if self._sock is not None else []

    def begin(self, plan: Plan) -> None:
        """Start an installer and tell it the plan; `Surveyed` will come. Raises `Unreachable`."""
        self.close()
        try:
            self._sock = self._installers.start_installer()
            self._sock.setblocking(False)
        except OSError as e:
            raise _ended() from e
        except Unreachable as e:
            # Whoever opens the door may be of the code that is on trial: its silence is no reason
            # to wait for ever.
            raise Unreachable(e.message, reason="installer_ended") from e
        self.say(plan)

    def say(self, word: Downward, file: Path | None = None) -> None:
        """Say a word, with a file where it needs one. Raises `Unreachable`."""
        sock = self._sock
        if sock is None:
            raise _ended()
        tag = type(word).__struct_config__.tag
        try:
            if file is None:
                sock.send(encode(word))
            else:
                with file.open("rb") as opened:
                    socket.send_fds(sock, [encode(word)], [opened.fileno()])
        except OSError as e:
            self.close()
            raise _ended() from e
        self._waits_for = _ANSWERS[str(tag)]
        self._heard_ms = self._clock.boottime_ms()
        self.done_bytes = 0

    def hear(self) -> Upward | None:
        """Return the answer, if it has come. Raises `Unreachable` when none will."""
        sock = self._sock
        if sock is None or self._waits_for is None:
            return None
        while True:
            try:
                data = sock.recv(MAX_WORD_BYTES)
                word = read_upward(data) if data else None
            except BlockingIOError:
                if self._clock.boottime_ms() - self._heard_ms > SILENT_MS:
                    self.close()
                    raise _ended() from None
                return None
            except (OSError, Malformed):
                word = None
            if isinstance(word, Progress):
                self._heard_ms, self.done_bytes = self._clock.boottime_ms(), word.done_bytes
                continue
            if word is None or not isinstance(word, self._waits_for):
                self.close()
                raise _ended()
            self._waits_for = None
            return word

    def close(self) -> None:
        """End the installer."""
        if self._sock is not None:
            self._sock.close()
        self._sock, self._waits_for = None, None


def _ended() -> FleetwardError:
    return Unreachable(
        "The process that installs ended early, or did not start.", reason="installer_ended"
    )
