"""What ends a session or keeps it open: stops, and the beats of who watches.

A stop that says `what` it is of (`standing`) takes back a permission given ahead. Without the field
it is of a session or a request, as in the releases before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fleetward.trust.canonical import JsonObject
from fleetward.trust.envelope import Envelope, RoleKey, read_envelope, verify_holder
from fleetward.trust.errors import Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.grants.grant import Grant
from fleetward.trust.grants.request import Request
from fleetward.trust.policy import Policy

STOP_TYPE: Final = "fleetward.stop.v1"
BEAT_TYPE: Final = "fleetward.beat.v1"
STANDING: Final = "standing"
"""What a stop is of when it takes back a permission given ahead."""
MAX_ENDING_BYTES: Final = 4096
"""A stop by a passkey has 670 to 1,760 bytes: the longest has the longest host name, and a reason
of 200 characters of four bytes."""
BEAT_SECONDS: Final = 15
"""A watched session ends when no beat has been signed for so long: a relay cannot hold a stop back
longer, neither by holding back everything nor by saving beats up. By the first beat, which alone
says how clocks stand to each other, it gains as much again."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A verified stop. `subject` is the hash of the grant, the request, or the permission given
    ahead that it ends; `what` is `standing` for the last, and empty for the others."""

    subject: str
    person: str
    reason: str
    hash: str
    raw: bytes
    what: str = ""
    issued_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Beat:
    """A verified beat of somebody who watches. Serials rise within a session: they are the
    milliseconds of his clock. That an old beat keeps nothing open is the caller's duty."""

    session: str
    serial: int
    person: str


def make_stop_payload(policy: Policy, subject: str, reason: str, issued_at_ms: int) -> JsonObject:
    """Return the payload of a stop. `subject` is the hash of a grant or of a request."""
    return {
        "issued_at": issued_at_ms,
        "owner": policy.owner,
        "reason": reason,
        "subject": subject,
        "type": STOP_TYPE,
    }


def make_revocation_payload(
    policy: Policy, standing: str, reason: str, issued_at_ms: int
) -> JsonObject:
    """Return the payload of a stop that takes a permission given ahead back."""
    return {**make_stop_payload(policy, standing, reason, issued_at_ms), "what": STANDING}


def make_beat_payload(policy: Policy, session: str, serial: int) -> JsonObject:
    """Return the payload of a beat. `serial` is the watcher's clock, in milliseconds."""
    return {"owner": policy.owner, "serial": serial, "session": session, "type": BEAT_TYPE}


def verify_stop(data: bytes, policy: Policy, ended: Grant | Request) -> Stop:
    """Return the stop of a session or a request. Raises `Malformed` or `Untrusted`.

    No threshold: any one approver stops, and so does who asked.
    """
    envelope = read_envelope(data, max_bytes=MAX_ENDING_BYTES)
    request = ended.request if isinstance(ended, Grant) else ended
    # 1. An approver of the policy in force, the requester, or a stand-in of BREAK-GLASS signed it.
    holder = _find_signer(envelope, _stoppers(policy, request))
    stop = _read_stop(envelope, policy, holder)
    # 2. It ends this, and nothing else.
    if stop.subject != ended.hash:
        raise Untrusted("The stop is for another session.", reason="another_session")
    return stop


def verify_stop_ahead(data: bytes, policy: Policy) -> Stop:
    """Return an approver's stop of something that the caller has not seen yet.

    Raises `Malformed` or `Untrusted`. A relay may hand over a stop before what it stops: who keeps
    it in mind opens nothing that was stopped. Who asked stops only what is known to be his.
    """
    envelope = read_envelope(data, max_bytes=MAX_ENDING_BYTES)
    return _read_stop(envelope, policy, _find_signer(envelope, policy.roles["approve"].keys))


def _read_stop(envelope: Envelope, policy: Policy, holder: RoleKey) -> Stop:
    verify_holder(envelope, STOP_TYPE, holder)
    names = {"issued_at", "owner", "reason", "subject", "type"}
    fields = Fields(envelope.payload, "the stop", names, {"what"})
    if fields.digest("owner") != policy.owner:
        raise Untrusted("The stop is for another session.", reason="another_session")
    return Stop(
        subject=fields.digest("subject"),
        person=holder.person,
        reason=fields.text("reason", most=200),
        hash=envelope.hash,
        raw=envelope.raw,
        what=fields.choice("what", (STANDING,)) if fields.has("what") else "",
        issued_at_ms=fields.integer("issued_at"),
    )


def verify_beat(data: bytes, policy: Policy, grant: Grant, after: int) -> Beat:
    """Return the beat of a watcher whose serial is above `after`. Raises as `verify_stop`.

    A watcher is an approver, and not the one who is inside.
    """
    envelope = read_envelope(data, max_bytes=MAX_ENDING_BYTES)
    holder = _find_signer(envelope, _watchers(policy, grant.request))
    if holder.person in grant.request.people:
        raise Untrusted("Who is inside does not watch himself.", reason="watches_himself")
    verify_holder(envelope, BEAT_TYPE, holder)
    fields = Fields(envelope.payload, "the beat", {"owner", "serial", "session", "type"})
    if fields.digest("owner") != policy.owner or fields.digest("session") != grant.hash:
        raise Untrusted("The beat is for another session.", reason="another_session")
    serial = fields.integer("serial", low=1)
    if serial <= after:
        raise Untrusted("The beat came before.", reason="old_beat")
    return Beat(grant.hash, serial, holder.person)


def _find_signer(envelope: Envelope, keys: Mapping[str, RoleKey]) -> RoleKey:
    """Return whose key the first signature names, of those who may say so. Raises `Untrusted`."""
    named = envelope.signatures[0].key_id if envelope.signatures else ""
    holder = keys.get(named)
    if holder is None:
        raise Untrusted("This is signed by nobody who may say so.", reason="wrong_signer")
    return holder


def _watchers(policy: Policy, request: Request) -> dict[str, RoleKey]:
    """Return the approvers, and for BREAK-GLASS who stands in for them too."""
    keys = dict(policy.roles["approve"].keys)
    rules = policy.access.break_glass
    if request.break_glass and rules is not None:
        keys |= {key_id: policy.keys[key_id] for key_id in rules.keys}
    return keys


def _stoppers(policy: Policy, request: Request) -> dict[str, RoleKey]:
    """Return who may stop what was asked for so: those who watch, and who asked."""
    # An approver's key stays an approver's, should he ask too.
    return {request.requester: request.holder, **_watchers(policy, request)}
