"""Signing closings and their confirmations with the owner's approver key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetward.keyholder.desk import Desk
from fleetward.trust.closing import (
    MAX_DEVICES,
    RESTORE_SECONDS,
    Closing,
    ClosingWish,
    Kept,
    make_closing_payload,
    make_kept_payload,
    verify_closing_of_owner,
    verify_kept,
)
from fleetward.trust.envelope import seal
from fleetward.trust.errors import Malformed, Refused, Untrusted

FOLDER: Final = "closings"


@dataclass(frozen=True, slots=True)
class Signed:
    """A closing as it was signed, and where it lies."""

    closing: Closing
    name: str


def sign_closing(desk: Desk, wish: ClosingWish, now_ms: int) -> Signed:
    """Return a signed closing, verified as a machine will, and kept in the folder.

    Its serial is the time, so that two people with two folders do not use one twice; where the
    clock went back it is one more than the last. Raises `Refused` when the policy wants more
    people than this folder has keys of.
    """
    if not RESTORE_SECONDS[0] <= wish.restore_seconds <= RESTORE_SECONDS[1]:
        raise Malformed(
            f"Expected {RESTORE_SECONDS[0]} s to {RESTORE_SECONDS[1] // 3600} h until it opens "
            "again by itself.",
            reason="bad_length",
        )
    if len(wish.devices) > MAX_DEVICES:
        raise Malformed(
            f"Expected at most {MAX_DEVICES} machines in one closing, got {len(wish.devices)}. "
            "Close them in several, or all.",
            reason="too_many",
        )
    with desk.folder.locked():
        policy = desk.documents().policy
        serial = max([now_ms, *(number + 1 for number in desk.folder.numbers(FOLDER))])
        raw = seal(make_closing_payload(policy, wish, serial, now_ms), [desk.signer("approver")])
        try:
            closing = verify_closing_of_owner(raw, policy)
        except Untrusted as e:
            raise _explain(e) from e
        name = f"documents/{FOLDER}/{serial}.json"
        desk.folder.write_once(name, raw)
    return Signed(closing, name)


def sign_kept(desk: Desk, closing: str, now_ms: int) -> Kept:
    """Return the signed confirmation of the closing with this hash. Raises as `sign_closing`."""
    policy = desk.documents().policy
    raw = seal(make_kept_payload(policy, closing, now_ms), [desk.signer("approver")])
    try:
        return verify_kept(raw, policy)
    except Untrusted as e:
        raise _explain(e) from e


def _explain(error: Untrusted) -> Refused:
    return Refused(
        f"{error.message} A closing that takes more than one person cannot be signed from one "
        "folder in this release.",
        reason="more_signatures_needed",
    )
