"""A delegation: a requester's word that somebody else may ask in his place, for less.

A maker of a machine lets the maker of its drive ask for the drive's port. The owner lets the first
delegate (`access.delegators` in the policy); whom, for which machines, for what and how long says
the delegation. It can only narrow: what is asked for under it is judged by the owner's rules as if
the delegator asked, and by the delegation beside them, and still takes the owner's yes.

1. A requester whom the policy in force lets delegate signed it, alone. One step: who is delegated
   to delegates nothing, for the policy names his key nowhere.
2. It is for this owner and epoch.
3. The delegate's key and name stand nowhere in the policy: nobody gets a second name by it. Names
   are compared as an eye reads them, without case, width, spaces and marks that are not seen.
4. It ends within `MAX_DAYS` of its beginning. When it holds is the caller's duty: only it has a
   clock. Taking the delegator's right away ends every delegation of his.
5. A request under it is for one of its machines, for scopes among its scopes, no longer than its
   seconds.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.trust.access import MAX_SCOPES, MAX_SECONDS, Scope, read_scopes
from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.envelope import RoleKey, read_envelope, verify_holder
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.fields import Fields, require_key_id
from fleetward.trust.keys import PublicKey, read_key_fields
from fleetward.trust.policy import Policy

DELEGATION_TYPE: Final = "fleetward.delegation.v1"
MAX_DELEGATION_BYTES: Final = 8 * 1024
"""A request carries it, and has 16 KiB in all."""
MAX_DEVICES: Final = 64
MAX_DAYS: Final = 90
"""A delegator who left his firm is forgotten after a quarter at most."""
_DAY_MS: Final = 86_400_000
_UNSEEN: Final = frozenset({"Cf", "Mn", "Zs"})
"""Unicode's categories of format characters, marks upon the letter before, and spaces."""
_BLANK: Final = "\u115f\u1160\u2800"
"""Letters and symbols that are drawn as nothing."""


@dataclass(frozen=True, slots=True)
class Delegation:
    """A verified delegation. `person` and `org` are what the delegator says of the delegate."""

    delegator: str
    delegator_person: str
    delegator_org: str
    key: PublicKey
    person: str
    org: str
    devices: tuple[str, ...]
    scopes: tuple[Scope, ...]
    seconds: int
    not_before_ms: int
    not_after_ms: int
    hash: str
    raw: bytes

    @property
    def holder(self) -> RoleKey:
        """The delegate, as a signer of requests."""
        return RoleKey(self.key, self.person)

    @property
    def words(self) -> str:
        """The delegate's organisation, and who sent him; to a person."""
        sender = self.delegator_person
        sender += f" of {self.delegator_org}" if self.delegator_org else ""
        return f"{self.org}, sent by {sender}" if self.org else f"sent by {sender}"


@dataclass(frozen=True, slots=True)
class Delegate:
    """To whom, and what, before it is signed."""

    key: PublicKey
    person: str
    org: str
    devices: tuple[str, ...]
    scopes: tuple[Scope, ...]
    seconds: int


def make_delegation_payload(
    policy: Policy, delegator: str, to: Delegate, times: tuple[int, int, int]
) -> JsonObject:
    """Return the payload. `times`: issued at, not before, not after; Unix milliseconds."""
    return {
        "delegator": delegator,
        "devices": list[Json](sorted(to.devices)),
        "epoch": policy.epoch,
        "issued_at": times[0],
        "key": to.key.to_json(),
        "not_after": times[2],
        "not_before": times[1],
        "org": to.org,
        "owner": policy.owner,
        "person": to.person,
        "scopes": [scope.to_json() for scope in to.scopes],
        "seconds": to.seconds,
        "type": DELEGATION_TYPE,
    }


def verify_delegation(data: bytes, policy: Policy) -> Delegation:
    """Return a delegation under the policy in force. Raises `Malformed` or `Untrusted`."""
    envelope = read_envelope(data, max_bytes=MAX_DELEGATION_BYTES)
    fields = Fields(
        envelope.payload,
        "the delegation",
        {
            "delegator", "devices", "epoch", "issued_at", "key", "not_after", "not_before", "org",
            "owner", "person", "scopes", "seconds", "type",
        },
    )  # fmt: skip
    # 1. By a requester who may delegate.
    delegator = fields.key_id("delegator")
    holder = policy.keys.get(delegator)
    if holder is None or delegator not in policy.access.delegators:
        raise Untrusted(
            "The delegation is by nobody whom this machine's owner lets delegate. The owner does "
            "so with `fleetward owner policy requester delegating`.",
            reason="unknown_delegator",
        )
    verify_holder(envelope, DELEGATION_TYPE, holder)
    # 2. For this owner and epoch.
    if fields.digest("owner") != policy.owner:
        raise Untrusted("The delegation is of another owner.", reason="another_owner")
    if fields.integer("epoch", low=1) != policy.epoch:
        raise Untrusted("The delegation is of an epoch that has passed.", reason="old_epoch")
    # 3. To somebody whom the policy does not know.
    key = read_key_fields(Fields(fields.map("key"), "the key", {"key_id", "public", "suite"}))
    person = fields.text("person", most=80, least=1)
    shown = _as_read(person)
    known = any(shown == _as_read(each.person) for each in policy.keys.values())
    if key.key_id in policy.keys or known or not shown:
        raise Untrusted(
            "The delegation is to somebody whom the owner's policy names already.",
            reason="known_delegate",
        )
    # 4. Not for ever.
    fields.integer("issued_at")
    not_before, not_after = fields.integer("not_before"), fields.integer("not_after")
    if not 0 < not_after - not_before <= MAX_DAYS * _DAY_MS:
        raise Untrusted(
            f"Expected a delegation of at most {MAX_DAYS} days.", reason="delegation_too_long"
        )
    return Delegation(
        delegator=delegator,
        delegator_person=holder.person,
        delegator_org=policy.orgs.get(delegator, ""),
        key=key,
        person=person,
        org=fields.text("org", most=80),
        devices=_read_devices(fields),
        scopes=read_scopes(fields.items("scopes", most=MAX_SCOPES)),
        seconds=fields.integer("seconds", low=1, high=MAX_SECONDS),
        not_before_ms=not_before,
        not_after_ms=not_after,
        hash=envelope.hash,
        raw=data,
    )


def check_delegated(
    delegation: Delegation, device: str, scopes: Sequence[Scope], seconds: int
) -> None:
    """Return when a request is within its delegation (rule 5). Raises `Refused`."""
    if device not in delegation.devices:
        raise Refused(
            f"{delegation.delegator_person} delegated nothing about this machine.",
            reason="device_not_delegated",
        )
    for scope in scopes:
        if scope not in delegation.scopes:
            raise Refused(
                f"{delegation.delegator_person} did not delegate {scope.words()}.",
                reason="scope_not_delegated",
            )
    if seconds > delegation.seconds:
        raise Refused(
            f"{delegation.delegator_person} delegated sessions of {delegation.seconds} seconds at "
            f"most; {seconds} were asked for.",
            reason="longer_than_delegated",
        )


def check_delegation_time(delegation: Delegation, now_ms: int, seconds: int) -> None:
    """Return when a session of so many seconds, begun now, is over in time. Raises `Refused`."""
    if now_ms < delegation.not_before_ms:
        raise Refused("The delegation does not hold yet.", reason="delegation_not_yet")
    if now_ms + seconds * 1000 > delegation.not_after_ms:
        raise Refused(
            f"The delegation by {delegation.delegator_person} ends before the session would. Ask "
            "for less time, or have it renewed.",
            reason="delegation_over",
        )


def _as_read(name: str) -> str:
    """Return a name without what an eye does not tell apart. Letters of other scripts that look
    alike stay different: who reads a name reads who sent it, too."""
    plain = unicodedata.normalize("NFKC", name).lower()
    return "".join(c for c in plain if unicodedata.category(c) not in _UNSEEN and c not in _BLANK)


def _read_devices(fields: Fields) -> tuple[str, ...]:
    devices = tuple(
        require_key_id(each, "a machine") for each in fields.texts("devices", most=MAX_DEVICES)
    )
    if not devices or list(devices) != sorted(set(devices)):
        raise Malformed("Expected machines in their order, each once.", reason="bad_field")
    return devices
