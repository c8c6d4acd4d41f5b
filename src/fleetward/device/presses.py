""" "Yes, I am here": what waits for somebody at the machine itself, and whether he has pressed.

What the gate has verified, and what opens only when a person stands before the machine, waits here
by its hash. A **press** names one such hash. It counts once, for five minutes, on powered-on time;
it lives in memory, so that no restart, reboot or copied disk brings one back.

1. Nobody presses for what does not wait: not ahead, and not for something else.
2. A press is in the journal, with what was shown, before it counts.
3. Taking a press uses it up, and what waited waits no more.
4. What was not pressed for in time waits no more.

    presses.waiting(grant.hash, "BREAK-GLASS: tom asks for a terminal as root")
    presses.press(grant.hash, "kiosk")     # somebody at the panel
    presses.take(grant.hash)               # True, once

Nothing here says who may press: the panel knows who speaks to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from fleetward.device.audit.diary import Diary
from fleetward.trust.canonical import JsonObject
from fleetward.trust.errors import Refused
from fleetward.trust.words import six_words

PRESS_MS: Final = 5 * 60_000
"""A press that nobody used meanwhile is forgotten: whoever pressed may have gone."""
WAIT_SECONDS: Final = 10 * 60
"""So long does something wait, unless its gate says otherwise: a walk through a plant."""
MOST_WAITING: Final = 8
"""What a person can tell apart on one small screen."""
ROOM_AHEAD: Final = 5
"""So many of them may be what was allowed ahead: who may come ahead, and asks again and again,
takes no place of BREAK-GLASS."""
MAX_SHOWN: Final = 1000


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that waits. `pressed_ms` is when somebody pressed, or -1.

    `named` is the hash of the document that it belongs to, where that is not the subject itself.
    """

    subject: str
    words: str
    since_ms: int
    until_ms: int
    pressed_ms: int = -1
    named: str = ""

    @property
    def six_words(self) -> str:
        """The six words that every other place shows for this."""
        return six_words(bytes.fromhex(self.named or self.subject))


class Presses:
    """Part of guard's single thread. `powered_ms` returns powered-on time."""

    def __init__(self, powered_ms: Callable[[], int], diary: Diary) -> None:
        self._powered_ms = powered_ms
        self._diary = diary
        self._waiting: dict[str, Waiting] = {}

    def waiting(
        self,
        subject: str,
        words: str,
        *,
        seconds: int = WAIT_SECONDS,
        named: str = "",
        room: int = MOST_WAITING,
    ) -> None:
        """Have `subject`, a hash of 64 hex digits, wait for a press; `words` are what is shown.

        What the words say has to follow from the subject: who presses has read the words, and says
        the subject. It waits from now, once more if it did. Raises `Refused` when `room` or more
        wait already.
        """
        now = self._powered_ms()
        self._forget_old(now)
        if subject not in self._waiting and len(self._waiting) >= min(room, MOST_WAITING):
            raise Refused(
                f"{len(self._waiting)} things wait already for somebody to press at this machine.",
                reason="too_many_waiting",
            )
        until = now + seconds * 1000
        self._waiting[subject] = Waiting(subject, words[:MAX_SHOWN], now, until, named=named)

    def forget(self, subject: str) -> None:
        """This waits no more."""
        self._waiting.pop(subject, None)

    def waits(self, subject: str) -> bool:
        """Return whether this waits, pressed or not."""
        self._forget_old(self._powered_ms())
        return subject in self._waiting

    def press(self, subject: str, who: str = "") -> None:
        """Somebody (`who`, for the record) says that he is here, for this.

        Raises `Refused` when it does not wait, or was pressed for already; `Unreachable` when the
        record cannot be written, and then it does not count.
        """
        now = self._powered_ms()
        self._forget_old(now)
        found = self._waiting.get(subject)
        if found is None:
            raise Refused(
                "Nothing of that name waits for a press here. Look again at what the panel shows.",
                reason="nothing_waits",
            )
        if found.pressed_ms >= 0:
            raise Refused("Somebody has pressed for this already.", reason="pressed_already")
        by = f" by {who}" if who else ""
        body: JsonObject = {
            "shown": found.words,
            "six_words": found.six_words,
            "subject": subject,
            "who": who,
            "words": f"Somebody pressed at the machine{by}, for: {found.words}",
        }
        # 2.
        self._diary.order("session.pressed", body)
        self._waiting[subject] = replace(found, pressed_ms=now)

    def take(self, subject: str) -> bool:
        """Use a press up. Return whether there was one, not older than `PRESS_MS`."""
        now = self._powered_ms()
        self._forget_old(now)
        found = self._waiting.get(subject)
        if found is None or found.pressed_ms < 0:
            return False
        # 3.
        del self._waiting[subject]
        return True

    def shown(self) -> tuple[Waiting, ...]:
        """Return what waits, the oldest first."""
        self._forget_old(self._powered_ms())
        return tuple(sorted(self._waiting.values(), key=lambda w: w.since_ms))

    def now_ms(self) -> int:
        """Return the time on which all of this runs."""
        return self._powered_ms()

    def _forget_old(self, now: int) -> None:
        # 4.
        self._waiting = {
            subject: each for subject, each in self._waiting.items() if now < _ends_ms(each)
        }


def _ends_ms(each: Waiting) -> int:
    return each.until_ms if each.pressed_ms < 0 else each.pressed_ms + PRESS_MS
