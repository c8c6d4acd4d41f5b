"""Guard's questions about releases, one at a time, and when they are asked.

Looks are an hour apart. When the server says that there is something, one comes sooner, but ten
seconds after the one before at least; how often a server may say so in an hour, `refusals` bounds.
A look that failed is repeated after a pause that grows to an hour, and who answered what nobody
signed does not shorten that pause by saying that there is something. So what a machine asks is
bounded, whoever refuses it, and for how long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fleetward.device.gate_updates import Candidate, Look
from fleetward.runtime.clock import Clock
from fleetward.trust.errors import Malformed, Refused, Unreachable, Untrusted
from fleetward.wire.updates import UpdateAnswer, UpdateQuestion

LOOK_EVERY_MS: Final = 3_600_000
LEAST_GAP_MS: Final = 10_000
FIRST_PAUSE_MS: Final = 60_000
MAX_PAUSE_MS: Final = 3_600_000
MAX_QUESTIONS: Final = 400
"""Questions of one look: 256 roots that were missed, and every product's metadata."""
MAX_LOOK_CHARACTERS: Final = 64 * 1024 * 1024
"""Of all answers of one look together; metadata of sixteen products has a tenth of it."""
MAX_LOOK_MS: Final = 1_800_000
"""A look that takes longer is begun anew: one time holds for all of it, that of its beginning."""


class Talk:
    """One look after another. `spread` (0 to 1) is this machine's own, so that a fleet's looks do
    not come at once."""

    def __init__(self, clock: Clock, spread: float) -> None:
        self._clock = clock
        self._spread = spread
        self._look: Look | None = None
        self._asked: UpdateQuestion | None = None
        self._count = self._characters = 0
        self._pause_ms = self._lied_ms = 0
        self._looked_ms = -LEAST_GAP_MS
        self._due_ms = clock.boottime_ms() + int(5_000 * spread)
        self.problem = ""
        """Why the last look learnt nothing; empty when it did."""

    @property
    def running(self) -> bool:
        """Whether a look is under way."""
        return self._look is not None

    @property
    def drawn_out(self) -> bool:
        """Whether the look under way has taken too long to be answered by any more."""
        return self.running and self._clock.boottime_ms() - self._looked_ms > MAX_LOOK_MS

    @property
    def due(self) -> bool:
        """Whether it is time for a look."""
        return self._look is None and self._clock.boottime_ms() >= self._due_ms

    @property
    def asked(self) -> UpdateQuestion | None:
        """The question that waits for its answer."""
        return self._asked

    def look_soon(self) -> None:
        """Look as soon as it may be: soon after the look before, or when a pause ends that lies
        have earned."""
        self._due_ms = min(self._due_ms, self._looked_ms + max(LEAST_GAP_MS, self._lied_ms))

    def look_now(self) -> None:
        """Look at once: something here has changed, or a person asks."""
        self._due_ms = self._clock.boottime_ms()

    def begin(self, look: Look) -> tuple[Candidate, ...] | None:
        """Begin a look; `asked` is its first question then. Returns and raises as `answer`."""
        self._look, self._count, self._characters = look, 0, 0
        self._looked_ms = self._clock.boottime_ms()
        return self._advance(lambda: next(look))

    def answer(self, answer: UpdateAnswer) -> tuple[Candidate, ...] | None:
        """Give the answer; return what was found when the look is over, and None before.

        Raises what the gate refused, when nothing can be learnt from this look any more.
        """
        look = self._look
        if look is None:
            return None
        self._characters += len(answer.data) + sum(map(len, answer.envelopes))
        if self._characters > MAX_LOOK_CHARACTERS:
            self.break_off("The look had no end.", lied=True)
            return None
        return self._advance(lambda: look.send(answer))

    def break_off(self, words: str, *, lied: bool = False) -> None:
        """Nobody answers, or without end: look again later."""
        if self._look is not None:
            self._look.close()
        self._fail(words, lied=lied)

    def _advance(self, step: Callable[[], UpdateQuestion]) -> tuple[Candidate, ...] | None:
        self._count += 1
        try:
            self._asked = step()
        except StopIteration as e:
            self._look, self._asked = None, None
            self._pause_ms, self._lied_ms, self.problem = 0, 0, ""
            self._due_ms = self._clock.boottime_ms() + self._vary(LOOK_EVERY_MS)
            found: tuple[Candidate, ...] = e.value
            return found
        except (Malformed, Untrusted, Refused, Unreachable) as e:
            self._fail(e.message, lied=not isinstance(e, Unreachable))
            raise
        if self._count > MAX_QUESTIONS:
            self.break_off("The look had no end.", lied=True)
        return None

    def _fail(self, words: str, *, lied: bool) -> None:
        self._look, self._asked, self.problem = None, None, words
        self._pause_ms = min(MAX_PAUSE_MS, max(FIRST_PAUSE_MS, self._pause_ms * 2))
        self._lied_ms = self._pause_ms if lied else self._lied_ms
        self._due_ms = self._clock.boottime_ms() + self._vary(self._pause_ms)

    def _vary(self, pause_ms: int) -> int:
        return int(pause_ms * (0.8 + 0.4 * self._spread))
