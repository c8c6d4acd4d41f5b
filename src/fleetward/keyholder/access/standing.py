"""Allowing ahead: what approvers are shown, what they sign, and what became of it.

What is shown is made of the owner's own documents: machines by the roster, people by the policy.
What is signed has its hash, and so its six words, before the first signature. What machines keep
of it is believed when they signed it, by the roster's keys; the server is asked for nothing else.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.keyholder.access.judging import Judge, require_active
from fleetward.keyholder.access.standing_rows import EntryRow, StandingRow
from fleetward.trust.access import MAX_SECONDS, Scope, read_scopes
from fleetward.trust.canonical import JsonObject, from_base64url
from fleetward.trust.envelope import add_signatures, document_hash, read_envelope, seal
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.grants.ending import make_revocation_payload, verify_stop_ahead
from fleetward.trust.grants.grant import IDLE_SECONDS
from fleetward.trust.grants.request import MAX_SCOPE_ITEMS, check_rules
from fleetward.trust.grants.standing import (
    MAX_DEVICES,
    MAX_STANDING_BYTES,
    MAX_STANDING_REQUESTERS,
    MAX_WINDOWS,
    MAX_ZONE_CHARACTERS,
    SERIES_BYTES,
    Permission,
    Standing,
    Window,
    make_standing_payload,
    verify_standing,
)
from fleetward.trust.grants.standing_state import DROPPED, REVOKED, StandingState, verify_state
from fleetward.trust.keys import Signer
from fleetward.trust.policy import Policy
from fleetward.trust.roster import RosterEntry
from fleetward.trust.words import six_words

DEFAULT_IDLE_SECONDS: Final = 900
USED: Final = "used"
MISSED: Final = "missed"
OPEN: Final = "open"
AHEAD: Final = "ahead"
CLOSED: Final = "revoked"
CAME: Final = ("open", "ended")
"""States of a request that somebody was let in by; a machine may have said no to an entry."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an approver wants to allow. No seconds: as long as the rules and windows allow."""

    machines: tuple[RosterEntry, ...]
    people: tuple[str, ...]
    """Names of requesters, or ids of their keys."""
    scopes: tuple[Scope, ...]
    windows: tuple[Window, ...]
    reason: str
    time_zone: str
    seconds: int = 0
    watched: bool = False
    idle_seconds: int = DEFAULT_IDLE_SECONDS


@dataclass(frozen=True, slots=True)
class PreparedStanding:
    """A permission before it is signed."""

    policy: Policy
    machines: tuple[RosterEntry, ...]
    given: Permission
    people: tuple[str, ...]
    """Who may come by it."""
    needed: int
    """How many people must sign; who may come by it is none of them."""
    payload: JsonObject
    hash: str

    @property
    def words(self) -> str:
        """The six words that everybody sees who sees this document."""
        return six_words(bytes.fromhex(self.hash))


def prepare_standing(policy: Policy, wanted: Wanted, now_ms: int) -> PreparedStanding:
    """Return the permission that somebody wants to give. Raises `Refused` by the owner's rules."""
    for entry in wanted.machines:
        require_active(entry)
    requesters = tuple(sorted(k for name in wanted.people for k in _keys_of(policy, name)))
    rules = check_rules(policy, wanted.scopes, wanted.seconds or 1)
    longest = max(w.not_after_ms - w.not_before_ms for w in wanted.windows) // 1000
    given = Permission(
        series=secrets.token_bytes(SERIES_BYTES),
        devices=tuple(sorted({entry.device for entry in wanted.machines})),
        requesters=tuple(dict.fromkeys(requesters)),
        scopes=wanted.scopes,
        seconds=wanted.seconds or min(longest, *(rule.seconds for rule in rules)),
        idle_seconds=min(max(wanted.idle_seconds, IDLE_SECONDS[0]), IDLE_SECONDS[1]),
        watched=wanted.watched or any(rule.watched for rule in rules),
        windows=wanted.windows,
        reason=wanted.reason,
        time_zone=wanted.time_zone,
    )
    payload = make_standing_payload(policy, given, now_ms)
    return _prepared(policy, wanted.machines, given, payload)


def read_prepared(data: bytes, policy: Policy, entries: Sequence[RosterEntry]) -> PreparedStanding:
    """Return what somebody else prepared, for one who signs too; by the policy and the roster.

    What it says is read here and made anew: the bytes that are signed are those that are shown.
    Whether it holds, `verify_standing` says when it is signed. Raises `Malformed`, `Untrusted`,
    and `Refused` by the owner's rules.
    """
    envelope = read_envelope(data, max_bytes=MAX_STANDING_BYTES)
    given, issued_at_ms = _read_permission(envelope.payload)
    known = {entry.device: entry for entry in entries}
    if missing := [d for d in given.devices if d not in known]:
        raise Refused(f"{missing[0]} is not on the owner's roster.", reason="not_on_roster")
    if any(key not in policy.access.requesters for key in given.requesters):
        raise Refused("The policy does not let all of these ask.", reason="unknown_requester")
    payload = make_standing_payload(policy, given, issued_at_ms)
    if document_hash(payload) != envelope.hash:
        raise Untrusted("The draft says something else than it shows.", reason="another_standing")
    return _prepared(policy, tuple(known[d] for d in given.devices), given, payload)


def _read_permission(payload: JsonObject) -> tuple[Permission, int]:
    fields = Fields(payload, "the permission", set(payload))
    try:
        windows = tuple(
            Window(each.integer("not_before"), each.integer("not_after"))
            for value in fields.items("windows", most=MAX_WINDOWS)
            for each in [Fields(value, "a window", {"not_after", "not_before"})]
        )
        given = Permission(
            series=fields.binary("series", most=SERIES_BYTES),
            devices=fields.texts("devices", most=MAX_DEVICES),
            requesters=fields.texts("requesters", most=MAX_STANDING_REQUESTERS),
            scopes=read_scopes(fields.items("scopes", most=MAX_SCOPE_ITEMS)),
            seconds=fields.integer("seconds", low=1, high=MAX_SECONDS),
            idle_seconds=fields.integer("idle_seconds"),
            watched=fields.boolean("watched"),
            windows=windows,
            reason=fields.text("reason", most=500, least=1),
            time_zone=fields.text("time_zone", most=MAX_ZONE_CHARACTERS),
        )
        return given, fields.integer("issued_at")
    except KeyError as e:
        raise Malformed(f"Expected a permission with {e}.", reason="missing_field") from e


def sign_standing(
    prepared: PreparedStanding, signers: Sequence[Signer], signed: bytes = b""
) -> bytes:
    """Return the document with these signatures, and those of `signed`, which is the same one.

    Raises `Refused` for who may not approve, or may come by it himself.
    """
    for signer in signers:
        check_may_allow(prepared, signer.public.key_id)
    if not signed:
        return seal(prepared.payload, signers)
    envelope = read_envelope(signed, max_bytes=MAX_STANDING_BYTES)
    if envelope.hash != prepared.hash:
        raise Untrusted("What was signed before is something else.", reason="another_standing")
    return add_signatures(envelope, signers)


def check_may_allow(prepared: PreparedStanding, key_id: str) -> None:
    """Raise `Refused` when this key's person cannot say yes to this."""
    holder = prepared.policy.roles["approve"].keys.get(key_id)
    if holder is None:
        raise Refused("The policy does not let this key approve.", reason="no_approver")
    if holder.person in prepared.people:
        raise Refused(
            f"{holder.person} could come by it, so somebody else has to say yes. No machine would "
            "count it.",
            reason="approves_himself",
        )


def sign_revocation(
    policy: Policy, standing: str, reason: str, signer: Signer, at_ms: int
) -> bytes:
    """Return a signed stop of a permission. Any approver may; it needs no second person."""
    raw = seal(make_revocation_payload(policy, standing, reason, at_ms), [signer])
    verify_stop_ahead(raw, policy)
    return raw


@dataclass(frozen=True, slots=True)
class MachineCase:
    """A machine of a permission. `said` is its own signed word, None before the first."""

    device: str
    entry: RosterEntry | None
    said: StandingState | None
    entries: tuple[EntryRow, ...]

    @property
    def name(self) -> str:
        """The machine's name on the roster."""
        return self.entry.name if self.entry else self.device

    def state_of(self, window: int, standing: Standing, now_ms: int) -> str:
        """Return how one window stands on this machine.

        That a window was used, the machine has signed for the highest one; for those below, the
        server says which, and `session verify` proves.
        """
        span, next_window = standing.windows[window], self.said.next_window if self.said else 0
        came = any(e.window == window and e.state in CAME for e in self.entries)
        if window == next_window - 1 or came:
            return USED
        if self.said is not None and self.said.state == REVOKED:
            return CLOSED
        if window < next_window or span.not_after_ms <= now_ms:
            return MISSED
        return OPEN if span.not_before_ms <= now_ms else AHEAD


@dataclass(frozen=True, slots=True)
class StandingCase:
    """A permission, verified, and what became of it.

    `doubt` says why no machine would let anybody in by it now; it is empty while it is in force.
    `revoked_by` is who took it back, empty while nobody has.
    """

    standing: Standing
    people: tuple[str, ...]
    machines: tuple[MachineCase, ...]
    doubt: str
    revoked_by: str

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """The machines that have not signed that it was taken back, when it was."""
        if not self.revoked_by:
            return ()
        return tuple(m.name for m in self.machines if m.said is None or m.said.state != REVOKED)

    @property
    def done(self) -> bool:
        """Whether it was taken back, and every machine has signed so."""
        return bool(self.revoked_by) and not self.waiting_for

    def next_window(self, now_ms: int) -> int | None:
        """Return the place of the first window that is not over, or None."""
        spans = enumerate(self.standing.windows)
        return next((i for i, span in spans if span.not_after_ms > now_ms), None)


def read_standing_case(judge: Judge, row: StandingRow) -> StandingCase:
    """Return what is true of a permission. Raises `Malformed`, `Untrusted` when nothing is.

    A document that was in force under an older policy of the owner is shown, with its doubt.
    """
    raw = from_base64url(row.envelope)
    standing, policy, doubt = _verify_under_any(judge, raw)
    if standing.hash != row.id:
        raise Untrusted("The server shows one permission as another.", reason="another_standing")
    rows = {machine.device_id: machine.signed for machine in row.machines}
    machines = tuple(
        MachineCase(
            device,
            judge.entries.get(device),
            _read_state(judge, device, rows.get(device, ""), standing),
            tuple(e for e in row.entries if e.device_id == device),
        )
        for device in standing.devices
    )
    if not doubt and machines and all(m.said and m.said.state == DROPPED for m in machines):
        doubt = machines[0].said.words if machines[0].said else ""
    holders = [policy.keys[key].person for key in standing.requesters if key in policy.keys]
    people = tuple(dict.fromkeys(holders))
    return StandingCase(standing, people, machines, doubt, _read_stop(judge, row, standing))


def _verify_under_any(judge: Judge, raw: bytes) -> tuple[Standing, Policy, str]:
    doubt, first = "", None
    for policy in reversed(judge.policies):
        try:
            return verify_standing(raw, policy), policy, doubt
        except FleetwardError as e:
            doubt, first = doubt or e.message, first or e
    assert first is not None
    raise first


def _read_state(judge: Judge, device: str, signed: str, standing: Standing) -> StandingState | None:
    entry = judge.entries.get(device)
    if not signed or entry is None:
        return None
    said = verify_state(from_base64url(signed), entry.key, standing.owner)
    if said.standing != standing.hash:
        raise Untrusted("A machine's word is about something else.", reason="another_standing")
    return said


def _read_stop(judge: Judge, row: StandingRow, standing: Standing) -> str:
    if not row.stop:
        return ""
    for policy in reversed(judge.policies):
        try:
            stop = verify_stop_ahead(from_base64url(row.stop), policy)
        except FleetwardError:
            continue
        if stop.subject == standing.hash:
            return stop.person
    return ""


def _prepared(
    policy: Policy, machines: Sequence[RosterEntry], given: Permission, payload: JsonObject
) -> PreparedStanding:
    rules = check_rules(policy, given.scopes, given.seconds)
    needed = max(policy.roles["approve"].threshold, *(rule.threshold for rule in rules))
    people = tuple(dict.fromkeys(policy.keys[key].person for key in given.requesters))
    return PreparedStanding(
        policy, tuple(machines), given, people, needed, payload, document_hash(payload)
    )


def _keys_of(policy: Policy, name: str) -> Iterator[str]:
    """Yield the requester's keys of a person, or the one of an id. Raises `Refused`."""
    found = [key for key in policy.access.requesters if name in (key, policy.keys[key].person)]
    if not found:
        people = sorted({policy.keys[key].person for key in policy.access.requesters})
        raise Refused(
            f"Your policy lets no {name[:80]!r} ask. Those whom it lets: "
            f"{', '.join(people) or 'nobody'}. Name one by `fleetward owner policy requester`.",
            reason="unknown_requester",
        )
    yield from found
