"""Sending somebody else: what a delegator signs, and what the delegate takes into his folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fleetward.keyholder.access.learning import Learned
from fleetward.keyholder.access.requester_folder import RequesterFolder
from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.delegation import (
    MAX_DAYS,
    MAX_DELEGATION_BYTES,
    Delegate,
    Delegation,
    make_delegation_payload,
    verify_delegation,
)
from fleetward.trust.envelope import seal
from fleetward.trust.errors import Refused, Untrusted
from fleetward.trust.keys import PublicKey, Signer
from fleetward.trust.words import device_words

DAY_MS: Final = 86_400_000
CLOCK_ROOM_MS: Final = 3_600_000
"""The machine's clock may be an hour slow."""


def delegate(learned: Learned, to: Delegate, signer: Signer, days: int, now_ms: int) -> Delegation:
    """Return a signed delegation. Raises `Refused` or `Untrusted` for what no machine would take.

    What the owner's rules do not allow may be delegated all the same; it is refused when asked.
    """
    if not 1 <= days < MAX_DAYS:
        raise Refused(f"Expected 1 to {MAX_DAYS - 1} days.", reason="delegation_too_long")
    policy = learned.judge.policy
    times = (now_ms, now_ms - CLOCK_ROOM_MS, now_ms + days * DAY_MS)
    payload = make_delegation_payload(policy, signer.public.key_id, to, times)
    return verify_delegation(seal(payload, [signer]), policy)


def write_delegation(path: Path, delegation: Delegation) -> None:
    """Write a delegation for the delegate. It is no secret. Raises `Refused` over another file."""
    if path.exists():
        raise Refused(f"Expected nothing at {path}; something is there.", reason="file_exists")
    atomic_write(path, delegation.raw)


def accept(folder: RequesterFolder, learned: Learned, path: Path, own: PublicKey) -> Delegation:
    """Keep a delegation to this folder's key. Raises `Untrusted` when it is to somebody else."""
    delegation = verify_delegation(read_bounded(path, MAX_DELEGATION_BYTES), learned.judge.policy)
    if delegation.key.key_id != own.key_id:
        raise Untrusted(
            "This delegation is to another key than this folder's. Send the line of `fleetward "
            "requester show` to who delegates.",
            reason="another_key",
        )
    folder.keep_delegation(delegation.raw)
    return delegation


def show_delegation(learned: Learned, delegation: Delegation) -> dict[str, Any]:
    """Return a delegation as JSON."""
    entries = learned.judge.entries
    return {
        "id": delegation.hash,
        "by": delegation.delegator_person,
        "person": delegation.person,
        "org": delegation.org,
        "key_id": delegation.key.key_id,
        "words": device_words(learned.judge.policy.owner, delegation.key.key_id),
        "machines": [
            {"id": d, "name": entries[d].name if d in entries else ""} for d in delegation.devices
        ],
        "scopes": [scope.words() for scope in delegation.scopes],
        "seconds": delegation.seconds,
        "not_before": to_rfc3339(delegation.not_before_ms),
        "not_after": to_rfc3339(delegation.not_after_ms),
    }


def tell_delegation(learned: Learned, delegation: Delegation) -> str:
    """Return a delegation in words."""
    shown = show_delegation(learned, delegation)
    machines = ", ".join(m["name"] or m["id"] for m in shown["machines"])
    return (
        f"{delegation.delegator_person} lets {delegation.person}"
        f"{f' of {delegation.org}' if delegation.org else ''} ask, until {shown['not_after']}:\n"
        f"  on {machines}\n  for {'; '.join(shown['scopes'])}\n"
        f"  {delegation.seconds // 60} min at most. The owner still says yes to each session.\n"
        f"  Six words of the key: {shown['words']}"
    )
