"""A stop before it is signed: for a signature that is not made here, such as a passkey's.

What is signed is what was prepared, and nothing leaves this computer that `trust` does not take as
a stop of exactly that. It needs no threshold and no papers that are believed: stopping is safe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from fleetward.trust.canonical import JsonObject
from fleetward.trust.envelope import document_hash, read_envelope
from fleetward.trust.errors import Untrusted
from fleetward.trust.grants.ending import (
    MAX_ENDING_BYTES,
    Stop,
    make_stop_payload,
    verify_stop,
    verify_stop_ahead,
)
from fleetward.trust.grants.grant import Grant
from fleetward.trust.grants.request import Request
from fleetward.trust.policy import Policy

Ended: TypeAlias = Grant | Request | str
"""What is ended; by its hash alone where its papers are not believed."""


@dataclass(frozen=True, slots=True)
class PreparedStop:
    """A stop before it is signed."""

    policy: Policy
    ended: Ended
    payload: JsonObject
    hash: str


def prepare_stop(policy: Policy, ended: Ended, reason: str, now_ms: int) -> PreparedStop:
    """Return the stop of a session or a request. Nothing is signed yet."""
    subject = ended if isinstance(ended, str) else ended.hash
    payload = make_stop_payload(policy, subject, reason, now_ms)
    return PreparedStop(policy, ended, payload, document_hash(payload))


def verify_own_stop(data: bytes, prepared: PreparedStop) -> Stop:
    """Return the stop as the machine will judge it. Raises as `verify_stop` does."""
    if read_envelope(data, max_bytes=MAX_ENDING_BYTES).hash != prepared.hash:
        raise Untrusted("The stop is for another session.", reason="another_session")
    if isinstance(prepared.ended, str):
        return verify_stop_ahead(data, prepared.policy)
    return verify_stop(data, prepared.policy, prepared.ended)
