"""Output of somebody else's terminal, made harmless for the terminal that shows it.

A terminal obeys what it is shown: a sequence can set the clipboard (OSC 52), the title, open links,
print, answer by typing (DA, DSR, OSC 10), redefine keys, or leave it in a state where nothing can
be read. A recording is made by whoever was inside, so a replay must not hand these on.

Two ways through, both by an explicit list; what is not on it is dropped:

- `VIEW`, for replays and for watching: text, line ends, tabs, and of the control sequences colours
  and weights (SGR), the cursor within the screen, erasing, scrolling and the alternate screen.
- `LIVE`, for a technician's own terminal, which a full-screen program must be able to drive: all
  control sequences (CSI) but those that print and those that handle the window or tell its title,
  short escapes, and never a string (OSC, DCS, APC, PM, SOS).

Pure: bytes in, bytes out; a sequence may be cut anywhere between two calls.

    >>> Filter(VIEW).feed(b"a\\x1b]52;c;ZXZpbA==\\x07b\\x1b[31mc")
    b'ab\\x1b[31mc'
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

MAX_SEQUENCE: Final = 128
"""Characters of a control sequence. A real one has twenty; a longer one is dropped whole."""
_ESC: Final = "\x1b"
_TEXT_CONTROLS: Final = frozenset("\b\t\n\r\x0b\x0c")
_INTRODUCERS: Final = {
    "\x90": "P", "\x98": "X", "\x9b": "[", "\x9d": "]", "\x9e": "^", "\x9f": "_",
}  # fmt: skip
"""The C1 controls, and the escape that says the same (ECMA-48, section 5.3)."""
_STRINGS: Final = frozenset("P]X^_")
_VIEW_FINALS: Final = frozenset("ABCDEFGHIJKLMPSTXZ@`abdefmr")
_VIEW_MODES: Final = frozenset({"7", "25", "47", "1047", "1048", "1049"})
"""Private modes that only draw: wrapping, the cursor's visibility, the alternate screen."""
_VIEW_ESCAPES: Final = frozenset("78DEM")
_LIVE_DENIED: Final = frozenset("it")
"""Media copy (it prints), and the window: moved, resized, or its title typed as an answer."""
_LIVE_ESCAPES: Final = frozenset("78=>DEHMNOc")
_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_PLAIN: Final = re.compile(
    "[^\x00-\x07\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+"
)
"""A run of text that is let through as it is: most of what is shown."""
_CONTROL: Final = re.compile(r"\x1b\[[0-?]{0,100}[@-~]")
"""A whole control sequence without intermediate bytes: most of the rest."""


class _State(Enum):
    TEXT = auto()
    ESCAPE = auto()
    CONTROL = auto()
    STRING = auto()
    STRING_ESCAPE = auto()
    SHIFT = auto()


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a filter lets through."""

    every_control: bool
    escapes: frozenset[str]
    bell: bool


VIEW: Final = Allowance(every_control=False, escapes=_VIEW_ESCAPES, bell=False)
LIVE: Final = Allowance(every_control=True, escapes=_LIVE_ESCAPES, bell=True)
RESET: Final = b"\x1b[0m\x1b[?25h\x1b[?1049l\x1b[?7h\x1b[r"
"""Written behind a replay: colours, cursor, screen, wrapping and margins as they were."""
_LIVE_MODES: Final = (1, 9, 66, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 2004, 2048)
RESET_LIVE: Final = (
    b"".join(b"\x1b[?%dl" % mode for mode in _LIVE_MODES)
    + b"\x1b[2l\x1b[4l\x1b[12h\x1b[20l\x1b[>4m\x1b[<99u\x1b>\x1b(B"
    + RESET
)
"""Written behind a live terminal, too: mouse, focus and resizing are told nobody, pasting is not
wrapped, keys say what they say, and the keyboard is not locked."""


class Filter:
    """Lets through what is harmless. It keeps what was cut off for the next call."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowed = allowance
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._state = _State.TEXT
        self._held = ""

    def feed(self, data: bytes) -> bytes:
        """Return what of `data` may be shown."""
        return self.feed_text(self._decoder.decode(data)).encode("utf-8")

    def feed_text(self, text: str) -> str:
        """Return what of `text` may be shown."""
        shown: list[str] = []
        place = 0
        while place < len(text):
            if self._state is _State.TEXT and (run := _PLAIN.match(text, place)):
                shown.append(run[0])
                place = run.end()
            elif self._state is _State.TEXT and (whole := _CONTROL.match(text, place)):
                shown.append(whole[0] if self._may_pass(whole[0]) else "")
                place = whole.end()
            else:
                shown.append(self._step(text[place]))
                place += 1
        return "".join(shown)

    def _step(self, c: str) -> str:
        if self._state is _State.TEXT:
            return self._in_text(c)
        if self._state in (_State.STRING, _State.STRING_ESCAPE):
            self._in_string(c)
            return ""
        if c == _ESC:
            self._become(_State.ESCAPE, _ESC)
            return ""
        if c in "\x18\x1a":  # CAN and SUB end a sequence
            self._become(_State.TEXT)
            return ""
        if self._state is _State.ESCAPE:
            return self._in_escape(c)
        if self._state is _State.SHIFT:
            return self._in_shift(c)
        return self._in_control(c)

    def _in_text(self, c: str) -> str:
        if c == _ESC:
            self._become(_State.ESCAPE, _ESC)
            return ""
        if c in _INTRODUCERS:
            self._become(_State.ESCAPE, _ESC)
            return self._in_escape(_INTRODUCERS[c])
        if c in _TEXT_CONTROLS or (c == "\a" and self._allowed.bell):
            return c
        if c < " " or "\x7f" <= c <= "\x9f" or (c in _BIDI and not self._allowed.every_control):
            return ""
        return c

    def _in_escape(self, c: str) -> str:
        if c == "[":
            self._become(_State.CONTROL, "\x1b[")
        elif c in _STRINGS:
            self._become(_State.STRING)
        elif c in "()*+-./ #%":
            self._become(_State.SHIFT, _ESC + c)
        else:
            self._become(_State.TEXT)
            return _ESC + c if c in self._allowed.escapes else ""
        return ""

    def _in_shift(self, c: str) -> str:
        """Read the character behind ESC ( and its like; only line drawing is let through."""
        held = self._held
        self._become(_State.TEXT)
        return held + c if held in ("\x1b(", "\x1b)") and c in "0AB" else ""

    def _in_control(self, c: str) -> str:
        if c < " ":  # a control inside a sequence acts at once (ECMA-48); it is not needed
            return ""
        self._held += c
        if not "@" <= c <= "~":
            if len(self._held) > MAX_SEQUENCE or not " " <= c <= "?":
                self._become(_State.TEXT)
            return ""
        held = self._held
        self._become(_State.TEXT)
        return held if self._may_pass(held) else ""

    def _may_pass(self, sequence: str) -> bool:
        if self._allowed.every_control:
            return sequence[-1] not in _LIVE_DENIED
        parameters, final = sequence[2:-1], sequence[-1]
        if final in "hl" and parameters.startswith("?"):
            return set(parameters[1:].split(";")) <= _VIEW_MODES
        return final in _VIEW_FINALS and all(p in "0123456789;:" for p in parameters)

    def _in_string(self, c: str) -> None:
        """Drop a string up to its end: ST, BEL, or CAN. It never ends at a size: nothing of it
        shall turn into text."""
        if self._state is _State.STRING_ESCAPE:
            self._state = _State.STRING if c != "\\" else _State.TEXT
            if c == _ESC:
                self._state = _State.STRING_ESCAPE
        elif c == _ESC:
            self._state = _State.STRING_ESCAPE
        elif c in "\a\x9c\x18\x1a":
            self._become(_State.TEXT)

    def _become(self, state: _State, held: str = "") -> None:
        self._state, self._held = state, held


def one_line(text: str, most: int = 500) -> str:
    """Return text of somebody else on one line, without anything that a terminal would obey."""
    return "".join(c if c.isprintable() and c not in _BIDI else " " for c in text[:most])
