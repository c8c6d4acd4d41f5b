"""What papers of permissions given ahead say, for showing and carrying them.

Pure. As in `reading`: no signature of a person is verified, and nothing is decided by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetward.server.access.reading import (
    ENTRY,
    STANDING,
    STATE,
    TYPES,
    open_paper,
    scope_words,
    signers_of,
)
from fleetward.trust.access import MAX_SECONDS
from fleetward.trust.canonical import Json
from fleetward.trust.envelope import verify_single
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.fields import Fields, require_key_id
from fleetward.trust.keys import PublicKey

MAX_LISTED: Final = 64
"""Machines, and windows, of one document; a machine refuses more."""
STATES: Final = ("held", "dropped", "revoked")


@dataclass(frozen=True, slots=True)
class Told:
    """What a standing document says. `windows` are pairs of Unix milliseconds."""

    hash: str
    devices: tuple[str, ...]
    requesters: tuple[str, ...]
    scopes: tuple[str, ...]
    seconds: int
    watched: bool
    windows: tuple[tuple[int, int], ...]
    reason: str
    time_zone: str
    issued_at_ms: int
    signers: tuple[str, ...]

    def end_of(self, window: int) -> int:
        """Return when a window ends; the last one's end for a place that is none."""
        return self.windows[min(window, len(self.windows) - 1)][1]


@dataclass(frozen=True, slots=True)
class Entered:
    """What an entry says. `signers` are the ids of keys that signed, whosever they are."""

    hash: str
    device: str
    request: str
    standing: str
    window: int
    signers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stated:
    """What a machine says that it keeps."""

    hash: str
    standing: str
    state: str
    next_window: int
    words: str
    at_ms: int


def read_standing(raw: bytes, owner: str) -> Told:
    """Return what a standing document says. Raises `Malformed`, `Untrusted` for another owner."""
    envelope, fields = open_paper(STANDING, raw, owner)
    windows = tuple(_read_window(each) for each in fields.items("windows", most=MAX_LISTED))
    devices = tuple(require_key_id(d, "a device") for d in fields.texts("devices", most=MAX_LISTED))
    if not windows or not devices:
        raise Malformed("Expected machines and windows.", reason="bad_field")
    return Told(
        hash=envelope.hash,
        devices=devices,
        requesters=fields.texts("requesters", most=MAX_LISTED),
        scopes=scope_words(fields),
        seconds=fields.integer("seconds", low=1, high=MAX_SECONDS),
        watched=fields.boolean("watched"),
        windows=windows,
        reason=fields.text("reason", most=500, least=1),
        time_zone=fields.text("time_zone", most=64),
        issued_at_ms=fields.integer("issued_at"),
        signers=signers_of(envelope),
    )


def read_entered(raw: bytes, owner: str) -> Entered:
    """Return what an entry says. Raises as `read_standing`."""
    envelope, fields = open_paper(ENTRY, raw, owner)
    return Entered(
        hash=envelope.hash,
        device=fields.key_id("device"),
        request=fields.digest("request"),
        standing=fields.digest("standing"),
        window=fields.integer("window", high=MAX_LISTED - 1),
        signers=signers_of(envelope),
    )


def verify_stated(raw: bytes, key: PublicKey, owner: str) -> Stated:
    """Return what the machine with this key says that it keeps. Raises as `read_standing`."""
    envelope, fields = open_paper(STATE, raw, owner)
    verify_single(envelope, TYPES[STATE], key)
    if fields.key_id("device") != key.key_id:
        raise Untrusted("This is said of another machine.", reason="another_device")
    return Stated(
        hash=envelope.hash,
        standing=fields.digest("standing"),
        state=fields.choice("state", STATES),
        next_window=fields.integer("next_window", high=MAX_LISTED),
        words=fields.text("words", most=500),
        at_ms=fields.integer("at"),
    )


def _read_window(value: Json) -> tuple[int, int]:
    fields = Fields(value, "a window", {"not_after", "not_before"})
    return fields.integer("not_before"), fields.integer("not_after")
