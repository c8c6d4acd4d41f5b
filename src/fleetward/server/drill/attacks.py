"""What a thief of the whole server could try: pure, keys in, bytes out."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fleetward.server.drill.attack import Attack, HeldDocuments, make_order_attack
from fleetward.server.drill.session_attacks import Papers, make_session_attacks
from fleetward.trust.canonical import Json, JsonObject, decode_object, to_base64url
from fleetward.trust.documents import Bundle
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.head import make_head_payload, make_lease_payload, verify_head
from fleetward.trust.keys import Signer
from fleetward.trust.policy import ROLES, Policy, verify_policy_chain
from fleetward.trust.root import make_root, root_hash, verify_root
from fleetward.trust.roster import make_roster_payload, verify_roster
from fleetward.wire.orders import Documents


def make_attacks(
    held: HeldDocuments, papers: Papers, stolen: Sequence[Signer], now_ms: int
) -> list[Attack]:
    """Return every attack of the drill, with `stolen` keys, the real documents and papers."""
    policy = _forge_policy(held.policy, stolen, now_ms)
    return [
        Attack(
            "another-owner",
            "Hand the machine to another owner",
            "A complete, well-signed set of documents of an owner that the thief made.",
            "documents",
            (_documents(_forge_owner(held.policy, stolen[0], now_ms)),),
        ),
        Attack(
            "another-policy",
            "Give the thief's keys the right to decide",
            "The owner's next policy, signed with every key that the server holds.",
            "documents",
            (_documents(Bundle(root=held.root.raw, policies=(policy,))),),
        ),
        Attack(
            "false-roster",
            "Put a false machine on the list",
            "A new roster and a head that names it, signed with the server's keys.",
            "documents",
            (_documents(_forge_roster(held, stolen, now_ms)),),
        ),
        make_order_attack(
            "signed-code",
            "Run code with a stolen signature",
            "An order to run a command, signed with the server's own log key.",
            [seal(_runbook(now_ms), stolen)],
        ),
        Attack(
            "plain-code",
            "Run code without a signature",
            "A message that simply tells the machine what to run.",
            "order",
            (b'{"type":"run","command":"id > /tmp/owned"}',),
        ),
        *make_session_attacks(held, papers, stolen, now_ms),
    ]


def _documents(bundle: Bundle) -> bytes:
    return msgspec.json.encode(Documents(bundle=to_base64url(bundle.to_bytes())))


def _runbook(now_ms: int) -> JsonObject:
    return {
        "command": "id > /tmp/owned",
        "issued_at": now_ms,
        "type": "fleetward.runbook.v1",
    }


def _forge_policy(policy: Policy, stolen: Sequence[Signer], now_ms: int) -> bytes:
    """Return the policy after `policy` in which every role belongs to the thief."""
    payload = dict(read_envelope(policy.raw).payload)
    keys: list[Json] = [
        {**signer.public.to_json(), "org": "", "person": f"Thief {number}"}
        for number, signer in enumerate(stolen)
    ]
    ids = [signer.public.key_id for signer in stolen]
    payload |= {
        "issued_at": now_ms,
        "keys": keys,
        "roles": {role: {"keys": list(ids), "threshold": 1} for role in ROLES},
        "version": policy.version + 1,
    }
    access = payload.get("access")
    if isinstance(access, dict):
        payload["access"] = {**access, "requesters": list(ids)}
    return seal(payload, stolen)


def _forge_owner(policy: Policy, thief: Signer, now_ms: int) -> Bundle:
    """Return documents of a new owner: all in order, but another owner's."""
    root = make_root("The rightful owner", [("Thief", thief.public)], 1, now_ms)
    owner = root_hash(root)
    payload = decode_object(read_envelope(_forge_policy(policy, [thief], now_ms)).raw)["payload"]
    assert isinstance(payload, dict)
    first = seal({**payload, "owner": owner, "version": 1, "epoch": 1}, [thief])
    forged = verify_policy_chain(verify_root(root, owner), [first])
    roster = verify_roster(seal(make_roster_payload(forged, 1, now_ms, []), [thief]), forged)
    head = verify_head(seal(make_head_payload(forged, roster, 1, now_ms), [thief]), forged)
    lease = seal(make_lease_payload(head, 1, now_ms, forged.lease_seconds), [thief])
    return Bundle(root=root, policies=(first,), head=head.raw, roster=roster.raw, lease=lease)


def _forge_roster(held: HeldDocuments, stolen: Sequence[Signer], now_ms: int) -> Bundle:
    """Return a newer roster without any machine, and a head over it, by the server's keys."""
    payload = make_roster_payload(held.policy, held.roster.version + 1, now_ms, [])
    roster = seal(payload, stolen)
    head = dict(read_envelope(held.head.raw).payload)
    head |= {
        "issued_at": now_ms,
        "roster": {"hash": read_envelope(roster).hash, "version": held.roster.version + 1},
        "version": held.head.version + 1,
    }
    return Bundle(root=held.root.raw, head=seal(head, stolen), roster=roster)
