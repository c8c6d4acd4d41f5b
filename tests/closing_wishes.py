"""Closings and confirmations, signed by the people of a test's world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.access_world import AccessWorld
from tests.trust_world import NOW_MS

from fleetward.trust.closing import (
    ClosedPort,
    Closing,
    ClosingWish,
    Kept,
    make_closing_payload,
    make_kept_payload,
    verify_closing_of_owner,
    verify_kept,
)
from fleetward.trust.envelope import seal
from fleetward.trust.keys import Signer


def wish(
    *ports: int, udp: Sequence[int] = (), ways: Sequence[str] = (), **said: Any
) -> ClosingWish:
    """Return a wish for these TCP ports."""
    listed = [ClosedPort("tcp", p) for p in ports] + [ClosedPort("udp", p) for p in udp]
    return ClosingWish(
        devices=tuple(said.get("devices", ())),
        ports=tuple(listed),
        local_access=tuple(ways),
        restore_seconds=said.get("restore_seconds", 600),
        reason=said.get("reason", "nobody needs it"),
    )


def sign_closing(
    access: AccessWorld, wanted: ClosingWish, serial: int, signers: Sequence[Signer] | None = None
) -> Closing:
    """Return a closing, signed by the first person unless others are given."""
    payload = make_closing_payload(access.trust.policy, wanted, serial, NOW_MS)
    raw = seal(payload, [access.trust.signers[0]] if signers is None else signers)
    return verify_closing_of_owner(raw, access.trust.policy)


def sign_kept(access: AccessWorld, closing: str) -> Kept:
    """Return the confirmation of a closing."""
    payload = make_kept_payload(access.trust.policy, closing, NOW_MS)
    return verify_kept(seal(payload, [access.trust.signers[0]]), access.trust.policy)
