"""Showing a recording: in real time on a terminal, or as a file of asciinema v2.

Whatever was recorded passes `terminal_safe` first, also on its way into a file that some other
player will show. Only `--json`, which a terminal never obeys, has the text as it was.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from fleetward.keyholder.access.recordings import Event
from fleetward.keyholder.access.terminal_safe import RESET, VIEW, Filter, one_line

MAX_PAUSE_SECONDS: Final = 2.0
"""Nobody waits out a coffee break."""
DEFAULT_SIZE: Final = (80, 24)
_SIZE: Final = re.compile(r"([0-9]{1,4})x([0-9]{1,4})")


def make_safe(events: Iterable[Event], stream: Filter | None = None) -> Iterator[Event]:
    """Yield events whose text does nothing but draw. Output that shows nothing is left out.

    `stream` goes on from one call to the next, where a recording comes in pieces.
    """
    stream = stream or Filter(VIEW)
    for event in events:
        if event.code == "o":
            if text := stream.feed_text(event.text):
                yield event._replace(text=text)
        elif event.code == "r":
            if read_size(event.text):
                yield event
        else:
            yield event._replace(text=one_line(event.text))


def play(
    events: Iterable[Event],
    show: Callable[[bytes], None],
    speed: float = 1.0,
    still: Callable[[float], None] = time.sleep,
) -> None:
    """Show events at their pace, or all at once at `speed` 0; then put the terminal right."""
    last = 0.0
    try:
        for event in make_safe(events):
            pause = min(max(event.at - last, 0.0), MAX_PAUSE_SECONDS)
            last = event.at
            if speed > 0 and pause > 0:
                still(pause / speed)
            if event.code == "o":
                show(event.text.encode("utf-8"))
            elif event.code == "m":
                show(say_mark(event.text))
    finally:
        show(RESET)


def say_mark(text: str) -> bytes:
    """Return a mark as a line of its own."""
    return f"\r\n\x1b[2m-- {one_line(text)}\x1b[0m\r\n".encode()


def write_cast(
    events: Iterable[Event], started_at_ms: int, write: Callable[[bytes], object]
) -> int:
    """Write asciinema v2 and return how many events it has."""
    kept = iter(make_safe(events))
    first = next(kept, None)
    size = read_size(first.text) if first is not None and first.code == "r" else None
    columns, rows = size or DEFAULT_SIZE
    head = {"version": 2, "width": columns, "height": rows, "timestamp": started_at_ms // 1000}
    write(msgspec.json.encode(head) + b"\n")
    count = 0
    for event in _behind(first, kept):
        write(msgspec.json.encode(event) + b"\n")
        count += 1
    return count


def read_size(text: str) -> tuple[int, int] | None:
    """Return columns and rows of `80x24`, or None."""
    found = _SIZE.fullmatch(text)
    return (int(found[1]), int(found[2])) if found else None


def _behind(first: Event | None, rest: Iterator[Event]) -> Iterator[Event]:
    if first is not None:
        yield first
    yield from rest
