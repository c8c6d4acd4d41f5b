"""Drawing the panel: what is shown and a size in, lines out. Pure; it writes to no terminal.

Names, reasons and words of others are made harmless before they are drawn: no control character,
nothing that changes the direction of writing, nothing that joins another letter, and never more
than its place. Attributes are the screen's own and stand outside of all text.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.device.access.panel_words import Asking, Inside, Panel, WaitsHere
from fleetward.trust.sayings import say_length

LEAST: Final = (20, 6)
"""Columns and lines of the smallest screen that is drawn; a smaller one is cut off."""
MAX_FIELD: Final = 600
MARK: Final = "BREAK-GLASS"
_LEFT_TO_RIGHT: Final = frozenset({"L", "EN", "ES", "ET", "CS", "ON", "WS", "NSM", "BN", "S", "B"})

PLAIN, BOLD, LOUD, FAINT = "plain", "bold", "loud", "faint"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text, of harmless characters, and how it looks."""

    text: str
    look: str = PLAIN


@dataclass(frozen=True, slots=True)
class Item:
    """One thing on the panel that can be chosen. `deeds` are what keys do to it."""

    subject: str
    kind: str
    lines: tuple[Line, ...]
    deeds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """What the screen has to draw beside the panel: what is chosen, and a word to the user."""

    chosen: str = ""
    scroll: int = 0
    notice: str = ""
    confirming: bool = False


def harmless(text: str, most: int = MAX_FIELD) -> str:
    """Return text of others as it may be shown: one line, left to right, at most `most` wide."""
    made: list[str] = []
    width = 0
    for letter in text[: 4 * MAX_FIELD]:
        kind = unicodedata.category(letter)
        if kind[0] in "CM" or letter in "\u2028\u2029":
            # Controls, formats, surrogates, marks that sit on another letter: not even a place.
            if kind == "Cc" and (not made or made[-1] != " "):
                made.append(" ")
                width += 1
            continue
        safe = letter if unicodedata.bidirectional(letter) in _LEFT_TO_RIGHT else "?"
        safe = " " if kind[0] == "Z" else safe
        step = _width(safe)
        if width + step > most:
            break
        made.append(safe)
        width += step
    return "".join(made).strip()


def clip(text: str, columns: int) -> str:
    """Return as much of a harmless text as fits, with a sign where something is missing."""
    if sum(_width(c) for c in text) <= columns:
        return text
    made, width = "", 0
    for letter in text:
        if width + _width(letter) > columns - 1:
            break
        made += letter
        width += _width(letter)
    return f"{made}~" if columns > 0 else ""


def list_items(panel: Panel, columns: int) -> list[Item]:
    """Return what can be chosen: what waits for a press first, then who is inside, who asks."""
    return [
        *(_waiting_item(each, panel, columns) for each in panel.waiting),
        *(_inside_item(each, columns) for each in panel.inside),
        *(_asking_item(each, columns) for each in panel.asking),
    ]


def draw(panel: Panel, shown: Shown, size: tuple[int, int]) -> list[Line]:
    """Return exactly as many lines as the screen has, none wider than it is."""
    columns, rows = max(size[0], LEAST[0]), max(size[1], LEAST[1])
    items = list_items(panel, columns)
    head = _draw_head(panel, items, columns)
    foot = _draw_foot(items, shown, columns)
    room = max(1, rows - len(head) - len(foot))
    body: list[Line] = []
    first = 0
    for item in items:
        if item.subject == shown.chosen:
            first = len(body)
        mark = "> " if item.subject == shown.chosen else "  "
        body += [
            Line((mark if place == 0 else "  ") + line.text, line.look)
            for place, line in enumerate(item.lines)
        ]
    if not items:
        body = [Line("  Nobody is inside, and nobody asks.")]
    begin = min(max(0, first + shown.scroll), max(0, len(body) - 1))
    if len(body) <= room:
        begin = 0
    seen = body[begin : begin + room]
    if begin + room < len(body) and seen:
        seen[-1] = Line("  ... more: space, b", FAINT)
    seen += [Line("")] * (room - len(seen))
    lines = [*head, *seen, *foot]
    return [Line(clip(line.text, columns), line.look) for line in lines[:rows]]


def say_clock(at_ms: int) -> str:
    """Return a time of day, of Greenwich: the panel knows no place."""
    seconds = max(0, at_ms) // 1000 % 86_400
    return f"{seconds // 3600:02}:{seconds % 3600 // 60:02} UTC"


def _draw_head(panel: Panel, items: Sequence[Item], columns: int) -> list[Line]:
    name = harmless(panel.name or panel.device, 120)
    lines = [Line(clip(f"{name}  ({harmless(panel.owner, 60)})", columns), BOLD)]
    lines += [Line(part, BOLD) for part in _wrap(panel.six_words, columns)]
    if any(item.lines[0].look == LOUD for item in items):
        lines.append(Line(f" {MARK} ", LOUD))
    if panel.wall == "none" and columns >= 60:
        lines.append(Line("No wall: programs of the agent's own user can press here too.", FAINT))
    return lines


def _draw_foot(items: Sequence[Item], shown: Shown, columns: int) -> list[Line]:
    chosen = next((item for item in items if item.subject == shown.chosen), None)
    if shown.confirming and chosen is not None:
        return [Line(part, LOUD) for part in _wrap("y: yes, I am here   n: no", columns)]
    keys = {"stop": "s stop", "refuse": "r refuse", "press": "p yes, I am here"}
    parts = [keys[deed] for deed in (chosen.deeds if chosen else ())]
    line = "   ".join([*parts, "q quit"])
    foot = [Line(part, BOLD) for part in _wrap(line, columns)]
    if shown.notice:
        said = _wrap(harmless(shown.notice), columns)
        foot = [*(Line(part) for part in said[:3]), *foot]
    return foot


def _waiting_item(each: WaitsHere, panel: Panel, columns: int) -> Item:
    loud = each.words.startswith(MARK)
    state = "pressed" if each.pressed else f"waits for a press, {say_length(each.seconds_left)}"
    lines = [Line(state.capitalize() + " left" * (not each.pressed), LOUD if loud else BOLD)]
    lines += _details(columns, each.six_words, harmless(each.words))
    if panel.no_press:
        lines += _details(columns, harmless(panel.no_press))
    deeds = ("refuse",) if panel.no_press or each.pressed else ("press", "refuse")
    return Item(each.subject, "waiting", tuple(lines), deeds)


def _inside_item(each: Inside, columns: int) -> Item:
    loud = f"{MARK}: " if each.break_glass else ""
    who = _who(each.person, each.org)
    title = Line(f"{loud}INSIDE: {who}", LOUD if loud else BOLD)
    until = f"since {say_clock(each.opened_at_ms)}, until {say_clock(each.ends_at_ms)}, "
    until += "ending" if each.ending else f"{say_length(each.seconds_left)} left"
    watched = f"watched by {_names(each.watchers) or 'nobody yet'}" if each.watched else ""
    lines = _details(
        columns,
        each.six_words,
        until,
        f"allowed by {_names(each.people)}",
        watched or ("watched by " + _names(each.watchers) if each.watchers else "not watched"),
        *(harmless(scope) for scope in each.scopes),
        f"because: {harmless(each.reason)}",
        f"case: {harmless(each.case)}" if each.case else "",
    )
    return Item(each.session, "inside", (title, *lines), ("stop",))


def _asking_item(each: Asking, columns: int) -> Item:
    loud = f"{MARK}: " if each.break_glass else ""
    title = Line(f"{loud}ASKS: {_who(each.person, each.org)}", LOUD if loud else BOLD)
    lines = _details(
        columns,
        each.six_words,
        *(harmless(scope) for scope in each.scopes),
        f"for {say_length(each.seconds)}, asked {say_clock(each.asked_at_ms)}",
        f"because: {harmless(each.reason)}",
        f"case: {harmless(each.case)}" if each.case else "",
    )
    return Item(each.request, "asking", (title, *lines), ("refuse",))


def _details(columns: int, *texts: str) -> list[Line]:
    return [Line(f"  {part}") for text in texts if text for part in _wrap(text, columns - 4)]


def _names(people: Sequence[str]) -> str:
    return ", ".join(harmless(person, 60) for person in people)


def _who(person: str, org: str) -> str:
    return f"{harmless(person, 60)} ({harmless(org, 60)})" if org else harmless(person, 60)


def _wrap(text: str, columns: int) -> list[str]:
    """Return a text as lines; a wide letter counts as two."""
    room = max(8, columns)
    if sum(_width(c) for c in text) > len(text):
        room = max(4, room // 2)
    return textwrap.wrap(text, room) or [""]


def _width(letter: str) -> int:
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
