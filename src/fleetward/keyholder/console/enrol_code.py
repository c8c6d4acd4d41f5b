"""The code by which a phone is added: one at a time, for ten minutes, for one phone.

It has 60 bits. Wrong ones are answered slower and slower, and ten of them end it, so that nobody in
the owner's network finds it by trying; while one has to wait, nothing is compared at all.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from typing import Final

from fleetward.runtime.clock import Clock
from fleetward.trust.errors import Refused, Untrusted

CODE_SECONDS: Final = 600
MAX_WRONG: Final = 10
MAX_WAIT_SECONDS: Final = 60
_ALPHABET: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
"""32 letters, without those that are read as others: 0 and O, 1 and I."""
_GROUPS, _GROUP = 3, 4


class EnrolCode:
    """The one code that may be in use. Safe to call from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._acting = threading.Lock()
        self._code = ""
        self._ends_ms = 0
        self._wrong = 0
        self._wait_until_ms = 0

    def make(self) -> str:
        """Return a new code; one that was made before serves no more."""
        letters = "".join(secrets.choice(_ALPHABET) for _ in range(_GROUPS * _GROUP))
        with self._acting:
            self._code = letters
            self._ends_ms = self._clock.boottime_ms() + CODE_SECONDS * 1000
            self._wrong = self._wait_until_ms = 0
        return "-".join(letters[at : at + _GROUP] for at in range(0, len(letters), _GROUP))

    def take(self, given: str) -> None:
        """Use the code up. Raises `Refused` while one has to wait, `Untrusted` for a wrong one."""
        with self._acting:
            now_ms = self._clock.boottime_ms()
            if now_ms < self._wait_until_ms:
                seconds = -(-(self._wait_until_ms - now_ms) // 1000)
                raise Refused(
                    f"Codes were wrong. Wait {seconds} s, then try again.", reason="rate_limited"
                )
            alive = bool(self._code) and now_ms < self._ends_ms
            said = _plain(given)
            right = hmac.compare_digest(said.encode(), self._code.encode())
            if alive and right:
                self._code = ""
                return
            self._wrong += 1
            self._wait_until_ms = now_ms + min(2 ** (self._wrong - 1), MAX_WAIT_SECONDS) * 1000
            if self._wrong >= MAX_WRONG:
                self._code = ""
        raise Untrusted(
            "Expected the code that the owner's computer shows now; it serves one phone, for ten "
            "minutes. Have another one shown: page Phones of the owner's console.",
            reason="code_not_valid",
        )

    def is_in_use(self) -> bool:
        """Say whether a code could let somebody in now."""
        with self._acting:
            return bool(self._code) and self._clock.boottime_ms() < self._ends_ms

    def give_back(self, taken: str) -> None:
        """Let a code that was taken serve again: no phone was added by it."""
        with self._acting:
            if not self._code:
                self._code = _plain(taken)


def _plain(given: str) -> str:
    return "".join(given.upper().replace("-", " ").split())
