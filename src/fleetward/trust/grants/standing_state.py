"""What a machine says, under its identity key, of a permission given ahead.

`held`: it keeps the document and would let somebody in by it. `dropped`: the policy in force does
not permit it. `revoked`: it was taken back, that is on the machine's disk, and no window of it will
open there again. Only this last word makes taking back done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetward.trust.canonical import JsonObject
from fleetward.trust.envelope import read_envelope, verify_single
from fleetward.trust.errors import Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.grants.standing import MAX_WINDOWS
from fleetward.trust.keys import PublicKey

STATE_TYPE: Final = "fleetward.standing-state.v1"
MAX_STATE_BYTES: Final = 4096
HELD: Final = "held"
DROPPED: Final = "dropped"
REVOKED: Final = "revoked"
STATES: Final = (HELD, DROPPED, REVOKED)


@dataclass(frozen=True, slots=True)
class StandingState:
    """A verified word. `next_window` is the lowest place that may still be used."""

    device: str
    owner: str
    standing: str
    state: str
    next_window: int
    words: str
    at_ms: int
    hash: str
    raw: bytes


def make_state_payload(state: StandingState) -> JsonObject:
    """Return the payload; `hash` and `raw` of the argument are ignored."""
    return {
        "at": state.at_ms,
        "device": state.device,
        "next_window": state.next_window,
        "owner": state.owner,
        "standing": state.standing,
        "state": state.state,
        "type": STATE_TYPE,
        "words": state.words,
    }


def verify_state(data: bytes, key: PublicKey, owner: str) -> StandingState:
    """Return what the machine with this key said. Raises `Malformed` or `Untrusted`."""
    envelope = read_envelope(data, max_bytes=MAX_STATE_BYTES)
    verify_single(envelope, STATE_TYPE, key)
    names = {"at", "device", "next_window", "owner", "standing", "state", "type", "words"}
    fields = Fields(envelope.payload, "the machine's word", names)
    if fields.key_id("device") != key.key_id or fields.digest("owner") != owner:
        raise Untrusted("This is said of another machine or owner.", reason="another_device")
    return StandingState(
        device=key.key_id,
        owner=owner,
        standing=fields.digest("standing"),
        state=fields.choice("state", STATES),
        next_window=fields.integer("next_window", high=MAX_WINDOWS),
        words=fields.text("words", most=500),
        at_ms=fields.integer("at"),
        hash=envelope.hash,
        raw=data,
    )
