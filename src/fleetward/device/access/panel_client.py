"""Speaking to guard as the panel does: from the screen, from a command, from a maker's own display.

Nothing that comes back is believed to be harmless for a terminal: see `panel_screen.harmless`.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Final

import msgspec

from fleetward.device.access.panel_words import (
    MAX_ANSWER_BYTES,
    SHOW,
    SOCKET,
    Answer,
    Panel,
    socket_folder,
)
from fleetward.trust.canonical import JsonObject, encode
from fleetward.trust.errors import Malformed, Refused, Unreachable

WAIT_SECONDS: Final = 5.0
LEAST_DIGITS: Final = 8


class PanelClient:
    """One connection, made when it is needed and again when it broke."""

    def __init__(self, data: Path) -> None:
        self._folder = socket_folder(data)
        self._sock: socket.socket | None = None
        self._data = bytearray()

    def show(self) -> Panel:
        """Return what there is to see. Raises `Unreachable`, `Refused`, `Malformed`."""
        panel = self._ask({"do": SHOW}).panel
        if panel is None:
            raise Malformed("Expected guard to show something.", reason="bad_answer")
        return panel

    def do(self, deed: str, subject: str) -> None:
        """Stop, refuse or press. Raises `Refused` when guard does not, `Unreachable`."""
        self._ask({"do": deed, "subject": subject})

    def close(self) -> None:
        """Be gone."""
        if self._sock is not None:
            self._sock.close()
        self._sock = None
        self._data.clear()

    def _ask(self, said: JsonObject) -> Answer:
        line = encode(said) + b"\n"
        fresh = self._sock is None
        try:
            answer = self._try(line)
        except (ConnectionError, EOFError) as e:
            self.close()
            if fresh:
                raise _gone() from e
            # Guard has started anew, or gave the place to another screen.
            try:
                answer = self._try(line)
            except (OSError, EOFError) as again:
                self.close()
                raise _gone() from again
        except OSError as e:
            self.close()
            raise _gone() from e
        if not answer.good:
            raise Refused(answer.words or "Guard said no.", reason=answer.reason or "refused")
        return answer

    def _try(self, line: bytes) -> Answer:
        if self._sock is None:
            self._sock = connect(self._folder)
        self._sock.sendall(line)
        while b"\n" not in self._data:
            data = self._sock.recv(65536)
            if not data:
                raise EOFError
            self._data += data
            if len(self._data) > MAX_ANSWER_BYTES:
                raise Malformed("Expected a shorter answer.", reason="bad_answer")
        answer, _, rest = bytes(self._data).partition(b"\n")
        self._data[:] = rest
        try:
            return msgspec.json.decode(answer, type=Answer)
        except msgspec.MsgspecError as e:
            raise Malformed("Expected an answer of guard.", reason="bad_answer") from e


def connect(folder: Path) -> socket.socket:
    """Return a connection to the socket in this folder, however long its name. Raises `OSError`."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(WAIT_SECONDS)
        sock.connect(f"/proc/self/fd/{descriptor}/{SOCKET}")
    except OSError:
        sock.close()
        raise
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    return sock


def find_subject(panel: Panel, deed: str, named: str) -> str:
    """Return the whole hash of what somebody named by its beginning. Raises `Refused`."""
    sets = {
        "stop": [each.session for each in panel.inside],
        "press": [each.subject for each in panel.waiting],
        "refuse": [each.request for each in panel.asking]
        + [each.subject for each in panel.waiting],
    }
    typed = named.strip().lower()
    found = [hash_ for hash_ in sets[deed] if hash_.startswith(typed)]
    if len(typed) < LEAST_DIGITS or len(found) != 1:
        raise Refused(
            f"Expected {LEAST_DIGITS} digits or more of one thing to {deed}; "
            f"{len(found) if len(typed) >= LEAST_DIGITS else 'too few'} match. "
            "`fleetward-agent panel --json` shows what there is.",
            reason="no_such_session",
        )
    return found[0]


def _gone() -> Unreachable:
    return Unreachable(
        "The panel of this machine's agent cannot be reached: the agent does not run, or you are "
        "not among the users that its install named.",
        reason="panel_unreachable",
    )
