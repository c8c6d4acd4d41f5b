"""Five families of failure, chosen by what the caller must do.

| family        | the caller                  |
|---------------|-----------------------------|
| `Malformed`   | drops the bytes and counts  |
| `Untrusted`   | stops and records           |
| `Refused`     | tells who asked             |
| `Unreachable` | retries later               |
| `Misuse`      | has a bug                   |

A message says what was expected, what came, and what to do next. `reason` is a stable code in
snake_case: programs and translations use it, so it never changes its meaning.
"""

from __future__ import annotations


class FleetwardError(Exception):
    """Base of every error that Fleetward raises on purpose."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.reason))


def _rebuild(kind: type[FleetwardError], message: str, reason: str) -> FleetwardError:
    return kind(message, reason=reason)


class Malformed(FleetwardError):
    """The bytes are not what they claim to be. Drop them and count."""


class Untrusted(FleetwardError):
    """The bytes are well formed, but nobody entitled has signed them. Stop and record."""


class Refused(FleetwardError):
    """Somebody known asked for something that may not be. Tell them why."""


class Unreachable(FleetwardError):
    """Something that is needed did not answer. Retry later; nothing is lost."""


class Misuse(FleetwardError):
    """A caller broke a contract. This is a bug of ours."""
