"""The invitation: how a machine joins with nothing trusted on first use.

An invitation is the owner's signature on: this many machines may join at this site until then.
The **join string** carries it to the machine, together with the addresses, the hash of the
server's CA, the hash of the owner root and the lowest acceptable policy with its hash. It is all
that a person types on a new machine, and all that the machine believes at that moment.

Rules for the server and for the owner's tools, by `verify_invitation`:

1. The invitation is signed by the threshold of the policy's role `invite`.
2. Owner and epoch are the policy's.
3. It has not expired, by the verifier's clock.
4. Its nonce has 16 to 32 bytes, so that no two invitations share an id and a count of uses.

Counting the uses is the caller's duty. A machine does not check the invitation: it was handed the
join string by its owner, and the roster decides what it becomes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from fleetward.trust import canonical
from fleetward.trust.canonical import JsonObject, from_base64url, to_base64url
from fleetward.trust.envelope import read_envelope, verify_threshold
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.policy import Policy

INVITATION_TYPE: Final = "fleetward.invitation.v1"
JOIN_PREFIX: Final = "fleetward-join-1."
MAX_JOIN_CHARACTERS: Final = 8192
MAX_USES: Final = 100_000
MAX_ADDRESSES: Final = 8
_ADDRESS: Final = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9._-]{1,253})):(?P<port>[1-9][0-9]{0,4})"
)
NONCE_BYTES: Final = (16, 32)
"""The fewest and the most bytes of an invitation's nonce."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """A verified invitation."""

    id: str
    owner: str
    epoch: int
    site: str
    uses: int
    issued_at_ms: int
    expires_at_ms: int
    preapproved: bool
    hash: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class JoinString:
    """What a person hands to a new machine. It is believed because of who handed it over."""

    enrol_addresses: tuple[str, ...]
    bus_addresses: tuple[str, ...]
    server_ca: str
    owner: str
    policy_version: int
    policy_hash: str
    invitation: bytes

    def to_text(self) -> str:
        """Return the one line to copy."""
        value: JsonObject = {
            "bus": list(self.bus_addresses),
            "enrol": list(self.enrol_addresses),
            "invitation": to_base64url(self.invitation),
            "owner_root": self.owner,
            "policy": {"hash": self.policy_hash, "version": self.policy_version},
            "server_ca": self.server_ca,
        }
        return JOIN_PREFIX + to_base64url(canonical.encode(value))


def make_invitation_payload(
    policy: Policy, *, nonce: bytes, site: str, uses: int, times_ms: tuple[int, int],
    preapproved: bool,
) -> JsonObject:  # fmt: skip
    """Return the payload to sign; `times_ms` is when it is issued and when it expires."""
    return {
        "epoch": policy.epoch,
        "expires_at": times_ms[1],
        "issued_at": times_ms[0],
        "nonce": to_base64url(nonce),
        "owner": policy.owner,
        "preapproved": preapproved,
        "site": site,
        "type": INVITATION_TYPE,
        "uses": uses,
    }


def verify_invitation(data: bytes, policy: Policy, now_ms: int) -> Invitation:
    """Return the invitation, by the four rules above.

    Raises `Malformed`, `Untrusted`, or `Refused` when it has expired.
    """
    envelope = read_envelope(data)
    # Rule 1.
    verify_threshold(envelope, INVITATION_TYPE, policy.roles["invite"])
    fields = Fields(
        envelope.payload,
        "the invitation",
        {
            "epoch",
            "expires_at",
            "issued_at",
            "nonce",
            "owner",
            "preapproved",
            "site",
            "type",
            "uses",
        },
    )
    # Rule 2.
    if fields.digest("owner") != policy.owner:
        raise Untrusted("The invitation is of another owner.", reason="another_owner")
    if fields.integer("epoch", low=1) != policy.epoch:
        raise Untrusted("The invitation is of another epoch.", reason="old_epoch")
    # Rule 4.
    if len(fields.binary("nonce", most=NONCE_BYTES[1])) < NONCE_BYTES[0]:
        raise Malformed("Expected a nonce of 16 bytes or more.", reason="bad_field")
    invitation = Invitation(
        id=envelope.hash,
        owner=policy.owner,
        epoch=policy.epoch,
        site=fields.text("site", most=80),
        uses=fields.integer("uses", low=1, high=MAX_USES),
        issued_at_ms=fields.integer("issued_at"),
        expires_at_ms=fields.integer("expires_at"),
        preapproved=fields.boolean("preapproved"),
        hash=envelope.hash,
        raw=data,
    )
    # Rule 3.
    if now_ms >= invitation.expires_at_ms:
        raise Refused(
            "The invitation has expired. Ask the owner for a new one.", reason="invitation_expired"
        )
    return invitation


def read_join_string(text: str) -> JoinString:
    """Parse a join string as a person pasted it. Raises `Malformed` with what to do."""
    text = "".join(text.split())
    if not text.startswith(JOIN_PREFIX) or len(text) > MAX_JOIN_CHARACTERS:
        raise Malformed(
            f"Expected a join string that begins with {JOIN_PREFIX!r}. Copy the whole line that "
            "`fleetward owner invite` printed.",
            reason="bad_join_string",
        )
    try:
        return _read_join(text[len(JOIN_PREFIX) :])
    except Malformed as e:
        raise Malformed(
            f"The join string is damaged ({e.message}) Copy the whole line again.",
            reason="bad_join_string",
        ) from e


def _read_join(text: str) -> JoinString:
    fields = Fields(
        canonical.decode(from_base64url(text)),
        "the join string",
        {"bus", "enrol", "invitation", "owner_root", "policy", "server_ca"},
    )
    policy = Fields(fields.map("policy"), "the join string's policy", {"hash", "version"})
    return JoinString(
        enrol_addresses=_read_addresses(fields, "enrol"),
        bus_addresses=_read_addresses(fields, "bus"),
        server_ca=fields.digest("server_ca"),
        owner=fields.digest("owner_root"),
        policy_version=policy.integer("version", low=1),
        policy_hash=policy.digest("hash"),
        invitation=fields.binary("invitation", most=4096),
    )


def _read_addresses(fields: Fields, name: str) -> tuple[str, ...]:
    addresses = fields.texts(name, most=MAX_ADDRESSES)
    if not addresses:
        raise Malformed("Expected at least one address.", reason="bad_field")
    for address in addresses:
        split_address(address)
    return addresses


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of `name:port`, `v4:port` or `[v6]:port`. Raises `Malformed`."""
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise Malformed("Expected an address host:port.", reason="bad_address")
    return match["v6"] or match["name"], int(match["port"])
