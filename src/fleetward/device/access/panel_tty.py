"""The panel on a terminal: keys in, lines out, and the terminal as it was at any end.

What a key means, it means for what was chosen when the screen was drawn. When that is gone, and
something else moves into its place, keys that do something count again only after a second.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import Final

from fleetward.device.access.panel_client import PanelClient
from fleetward.device.access.panel_screen import (
    BOLD,
    FAINT,
    LOUD,
    PLAIN,
    Line,
    Shown,
    draw,
    list_items,
)
from fleetward.device.access.panel_words import PRESS, REFUSE, STOP, Panel
from fleetward.trust.errors import FleetwardError

LOOK_SECONDS: Final = 1.0
SETTLE_SECONDS: Final = 1.0
_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_LEAVE: Final = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_LOOKS: Final = {PLAIN: "", BOLD: "\x1b[1m", LOUD: "\x1b[1;7m", FAINT: "\x1b[2m"}
_KEYS: Final = {"\x1b[A": "up", "\x1b[B": "down", "k": "up", "j": "down", "\x1b[5~": "b",
                "\x1b[6~": " "}  # fmt: skip
_DEEDS: Final = {"s": STOP, "r": REFUSE, "p": PRESS}
_DONE: Final = {STOP: "Stopped.", REFUSE: "Refused.", PRESS: "Pressed: it opens now."}
_NONE: Final = "The agent does not answer; the panel tries again."


class PanelScreen:
    """One terminal. `run` returns when somebody quits."""

    def __init__(self, client: PanelClient) -> None:
        self._client = client
        self._panel: Panel | None = None
        self._chosen = ""
        self._scroll = 0
        self._notice = ""
        self._confirming = ""
        self._settled_at = 0.0
        self._over = False

    def run(self) -> None:
        """Show the panel until somebody quits. Raises `OSError` without a terminal."""
        with _raw_terminal() as woken:
            while not self._over:
                self._look()
                self._draw()
                self._wait(woken)

    def _wait(self, woken: int) -> None:
        deadline = time.monotonic() + LOOK_SECONDS
        while not self._over and (left := deadline - time.monotonic()) > 0:
            ready = select.select([sys.stdin.fileno(), woken], [], [], left)[0]
            if woken in ready:
                os.read(woken, 256)
                self._draw()
            if sys.stdin.fileno() in ready:
                data = os.read(sys.stdin.fileno(), 64)
                if not data:
                    self._over = True
                    return
                for key in split_keys(data.decode("utf-8", "replace")):
                    self._take(key)
                self._draw()
                return

    def _look(self) -> None:
        try:
            self._panel = self._client.show()
        except FleetwardError as e:
            self._panel, self._notice = None, e.message
            return
        subjects = [item.subject for item in list_items(self._panel, 80)]
        if self._chosen not in subjects:
            if self._chosen:
                self._settled_at = time.monotonic() + SETTLE_SECONDS
            self._chosen = subjects[0] if subjects else ""
            self._confirming, self._scroll = "", 0

    def _take(self, key: str) -> None:
        if key in ("q", "\x03", "\x04"):
            self._over = True
        elif self._confirming:
            subject, self._confirming = self._confirming, ""
            if key == "y" and subject == self._chosen:
                self._do(PRESS, subject)
        elif key in ("up", "down"):
            self._move(1 if key == "down" else -1)
        elif key in (" ", "b"):
            self._scroll = max(0, self._scroll + (5 if key == " " else -5))
        elif key in _DEEDS:
            self._begin(_DEEDS[key])

    def _begin(self, deed: str) -> None:
        if time.monotonic() < self._settled_at or self._panel is None:
            return
        for item in list_items(self._panel, 80):
            if item.subject == self._chosen and deed in item.deeds:
                if deed == PRESS:
                    self._confirming = item.subject
                else:
                    self._do(deed, item.subject)

    def _do(self, deed: str, subject: str) -> None:
        try:
            self._client.do(deed, subject)
            self._notice = _DONE[deed]
        except FleetwardError as e:
            self._notice = e.message
        self._look()

    def _move(self, step: int) -> None:
        if self._panel is None:
            return
        subjects = [item.subject for item in list_items(self._panel, 80)]
        if self._chosen in subjects:
            place = min(max(0, subjects.index(self._chosen) + step), len(subjects) - 1)
            self._chosen, self._scroll, self._notice = subjects[place], 0, ""

    def _draw(self) -> None:
        size = tuple(shutil.get_terminal_size())
        if self._panel is None:
            lines = [Line(_NONE, BOLD), Line(self._notice), Line("q quit")]
            lines = [Line(line.text[: size[0]], line.look) for line in lines[: size[1]]]
        else:
            shown = Shown(self._chosen, self._scroll, self._notice, bool(self._confirming))
            lines = draw(self._panel, shown, (size[0], size[1]))[: size[1]]
        sys.stdout.write(paint(lines))
        sys.stdout.flush()


def paint(lines: list[Line]) -> str:
    """Return what draws these lines on a terminal, each in its place."""
    drawn = [
        f"\x1b[{row};1H\x1b[2K{_LOOKS[line.look]}{line.text}\x1b[0m"
        for row, line in enumerate(lines, start=1)
    ]
    return "\x1b[0m" + "".join(drawn) + "\x1b[J" * (not lines)


def split_keys(text: str) -> Iterator[str]:
    """Return the keys in what a terminal sent, arrows and the like by name."""
    while text:
        found = next((key for key in _KEYS if text.startswith(key)), text[0])
        yield _KEYS.get(found, found)
        text = text[len(found) :]


@contextlib.contextmanager
def _raw_terminal() -> Iterator[int]:
    """Have keys come one by one, and the screen for ourselves; put everything back at any end."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    handlers = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    handlers[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, lambda *_: None)
    old = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        tty.setraw(descriptor, termios.TCSAFLUSH)
        sys.stdout.write(_ENTER)
        yield woken
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.write(_LEAVE)
            sys.stdout.flush()
        with contextlib.suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        signal.set_wakeup_fd(old)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(woken)
        os.close(wake)


def _end(number: int, frame: object) -> None:
    del frame
    raise SystemExit(128 + number)
