"""What each kind of vector asks of an implementation. Bytes come as unpadded base64url.

A case is `{"name", "check", "input"}` with either `"expect"` (all that must come out) or
`"refused"` (`{"family", "reason"}`). Another implementation has to refuse with the same family;
the reason is a hint to its author, since it also depends on the order of its checks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.vectors.checks_keys import KEY_CHECKS
from tests.vectors.checks_releases import RELEASE_CHECKS

from fleetward.trust import canonical
from fleetward.trust.access import read_scope
from fleetward.trust.access_runbook import RunbookScope
from fleetward.trust.canonical import from_base64url as b
from fleetward.trust.canonical import to_base64url
from fleetward.trust.closing import verify_closing, verify_closing_report, verify_kept
from fleetward.trust.documents import Anchor, Bundle, OwnerView, advance, first_view, read_bundle
from fleetward.trust.envelope import (
    Role,
    RoleKey,
    read_envelope,
    verify_single,
    verify_threshold,
)
from fleetward.trust.errors import FleetwardError
from fleetward.trust.generation import verify_opening
from fleetward.trust.grants import entry as entries
from fleetward.trust.grants.ending import verify_stop, verify_stop_ahead
from fleetward.trust.grants.grant import Grant, Situation, verify_grant
from fleetward.trust.grants.offer import verify_offer
from fleetward.trust.grants.report import verify_receipt
from fleetward.trust.grants.request import verify_request
from fleetward.trust.grants.standing import verify_standing
from fleetward.trust.grants.standing_state import verify_state
from fleetward.trust.head import verify_head, verify_lease
from fleetward.trust.invitation import read_join_string, split_address, verify_invitation
from fleetward.trust.journal import start_of_chain, verify_batch
from fleetward.trust.keys import PublicKey, read_public_key
from fleetward.trust.merkle import hash_leaf, root_of, verify_consistency, verify_inclusion
from fleetward.trust.note import verify_checkpoint, verify_cosignature
from fleetward.trust.policy import (
    Policy,
    verify_first_policy,
    verify_next_policy,
    verify_policy_chain,
)
from fleetward.trust.root import verify_root
from fleetward.trust.roster import verify_entries, verify_entry, verify_roster
from fleetward.trust.runbook import judge_runbook, plan_run
from fleetward.trust.statements import verify_hello, verify_join, verify_renewal
from fleetward.trust.words import device_words, six_words
from fleetward.wire.comparison import verify_comparison

Given = Mapping[str, Any]
"""The input of a case, as JSON gives it: the one place where tests hold untyped values."""
Found = dict[str, Any]


def _key(given: Given) -> PublicKey:
    return read_public_key(given["suite"], b(given["public"]))


def _policy(given: Given) -> Policy:
    root = verify_root(b(given["root"]), given["owner"])
    return verify_policy_chain(root, [b(p) for p in given["policies"]])


def _policies(given: Given) -> list[Policy]:
    root = verify_root(b(given["root"]), given["owner"])
    chain = [verify_first_policy(b(given["policies"][0]), root)]
    for data in given["policies"][1:]:
        chain.append(verify_next_policy(b(data), chain[-1]))
    return chain


def decode(given: Given) -> Found:
    canonical.decode(b(given["data"]))
    return {}


def encode(given: Given) -> Found:
    return {"data": to_base64url(canonical.encode(given["value"]))}


def key_read(given: Given) -> Found:
    return {"key_id": _key(given).key_id}


def key_verify(given: Given) -> Found:
    _key(given).verify(b(given["signature"]), b(given["message"]))
    return {}


def envelope_threshold(given: Given) -> Found:
    keys = [RoleKey(key=_key(k), person=k["person"]) for k in given["keys"]]
    role = Role("test", {k.key.key_id: k for k in keys}, given["threshold"])
    envelope = read_envelope(b(given["envelope"]))
    people = verify_threshold(envelope, given["type"], role)
    return {"people": list(people), "hash": envelope.hash}


def envelope_single(given: Given) -> Found:
    envelope = read_envelope(b(given["envelope"]))
    verify_single(envelope, given["type"], _key(given))
    return {"hash": envelope.hash}


def policy_chain(given: Given) -> Found:
    policy = _policy(given)
    return {"epoch": policy.epoch, "hash": policy.hash, "version": policy.version}


def roster_entry(given: Given) -> Found:
    roster = verify_roster(b(given["roster"]), _policy(given))
    proof = [b(h) for h in given["proof"]]
    entry = verify_entry(roster, b(given["entry"]), given["index"], proof, given["device"])
    return {"name": entry.name, "state": entry.state, "version": roster.version}


def roster_whole(given: Given) -> Found:
    roster = verify_roster(b(given["roster"]), _policy(given))
    entries = verify_entries(roster, [b(e) for e in given["entries"]])
    return {"devices": [e.device for e in entries], "hash": roster.hash}


def head(given: Given) -> Found:
    found = verify_head(b(given["head"]), _policy(given))
    return {
        "hash": found.hash,
        "policy_version": found.policy_version,
        "roster_version": found.roster_version,
        "version": found.version,
    }


def lease(given: Given) -> Found:
    policy = _policy(given)
    found = verify_lease(b(given["lease"]), policy, verify_head(b(given["head"]), policy))
    return {"seconds": found.seconds, "serial": found.serial}


def invitation(given: Given) -> Found:
    found = verify_invitation(b(given["invitation"]), _policy(given), given["now"])
    return {
        "expires_at": found.expires_at_ms,
        "id": found.id,
        "preapproved": found.preapproved,
        "site": found.site,
        "uses": found.uses,
    }


def opening(given: Given) -> Found:
    found = verify_opening(b(given["opening"]), _policies(given))
    return {
        "generation": found.generation,
        "policy_version": found.policy_version,
        "size": found.last_known.size,
    }


def session(given: Given) -> Found:
    found, _ = _session(given)
    return {
        "people": list(found.people),
        "scopes": [scope.to_json() for scope in found.scopes],
        "seconds": found.seconds,
        "session": found.hash,
        "words": found.words,
    }


def runbook(given: Given) -> Found:
    scope = read_scope(given["scope"])
    assert isinstance(scope, RunbookScope)
    plan = plan_run(judge_runbook(b(given["runbook"]), _policy(given)), scope)
    return {
        "name": plan.name,
        "run_as": plan.run_as,
        "seconds": plan.seconds,
        "argv": [list(step) for step in plan.steps],
        "version": plan.version,
    }


def session_stop(given: Given) -> Found:
    found, policy = _session(given)
    return {"person": verify_stop(b(given["stop"]), policy, found).person}


def standing(given: Given) -> Found:
    found = verify_standing(b(given["standing"]), _policy(given))
    return {
        "hash": found.hash,
        "people": list(found.people),
        "scopes": [scope.to_json() for scope in found.scopes],
        "seconds": found.seconds,
        "windows": [[each.not_before_ms, each.not_after_ms] for each in found.windows],
        "words": found.words,
    }


def standing_entry(given: Given) -> Found:
    policy, key = _policy(given), _key(given["device"])
    request = verify_request(b(given["request"]), policy, key.key_id)
    offer = verify_offer(b(given["offer"]), key, request)
    allowed = verify_standing(b(given["standing"]), policy)
    here = Situation(policy, given["boot"], given["now"], given["lease"], given["sandboxed"])
    moment = entries.Moment(
        here, given["last_used"], given["signed"], given["doubt"], pressed=given["pressed"]
    )
    found = entries.verify_entry(b(given["entry"]), moment, allowed, request, offer)
    return {"people": list(found.people), "seconds": found.seconds, "session": found.hash}


def standing_state(given: Given) -> Found:
    found = verify_state(b(given["word"]), _key(given), given["owner"])
    return {"next": found.next_window, "standing": found.standing, "state": found.state}


def standing_stop(given: Given) -> Found:
    found = verify_stop_ahead(b(given["stop"]), _policy(given))
    return {"person": found.person, "subject": found.subject, "what": found.what}


def receipt(given: Given) -> Found:
    found = verify_receipt(b(given["receipt"]), _key(given["device"]), given["owner"])
    return {
        "session": found.session, "changes": found.changes, "findings": found.findings,
        "not_compared": found.not_compared,
    }  # fmt: skip


def comparison(given: Given) -> Found:
    found = verify_comparison(b(given["document"]), given["digest"], given["session"])
    return {"findings": found.finding_count, "changes": found.change_count}


def _session(given: Given) -> tuple[Grant, Policy]:
    policy, key = _policy(given), _key(given["device"])
    request = verify_request(b(given["request"]), policy, key.key_id)
    offer = verify_offer(b(given["offer"]), key, request)
    moment = (given["boot"], given["now"], given["lease"], given["sandboxed"])
    return verify_grant(b(given["grant"]), Situation(policy, *moment), request, offer), policy


def closing(given: Given) -> Found:
    found = verify_closing(b(given["closing"]), _policy(given), given["device"])
    return {
        "hash": found.hash,
        "local_access": list(found.local_access),
        "people": list(found.people),
        "ports": [port.to_json() for port in found.ports],
        "restore_seconds": found.restore_seconds,
        "serial": found.serial,
    }


def closing_kept(given: Given) -> Found:
    found = verify_kept(b(given["kept"]), _policy(given))
    return {"closing": found.closing, "people": list(found.people)}


def closing_report(given: Given) -> Found:
    found = verify_closing_report(b(given["report"]), _key(given), given["owner"])
    return {
        "closed": [port.to_json() for port in found.closed],
        "closing": found.closing,
        "outcome": found.outcome,
        "seconds_left": found.seconds_left,
    }


def join_string(given: Given) -> Found:
    found = read_join_string(given["text"])
    return {
        "bus": list(found.bus_addresses),
        "enrol": list(found.enrol_addresses),
        "invitation": to_base64url(found.invitation),
        "owner": found.owner,
        "policy_hash": found.policy_hash,
        "policy_version": found.policy_version,
        "server_ca": found.server_ca,
    }


def address(given: Given) -> Found:
    host, port = split_address(given["text"])
    return {"host": host, "port": port}


def join_statement(given: Given) -> Found:
    found = verify_join(b(given["statement"]))
    return {"device": found.device, "lineage": found.lineage, "owner": found.owner}


def renewal(given: Given) -> Found:
    found = verify_renewal(b(given["statement"]), _key(given))
    return {"device": found.device, "lineage": found.lineage}


def hello(given: Given) -> Found:
    found = verify_hello(b(given["statement"]), _key(given), b(given["nonce"]))
    return {"device": found.device, "sequence": found.sequence}


def journal_start(given: Given) -> Found:
    return {"head": start_of_chain(given["owner"], given["device"]).hex()}


def journal_batch(given: Given) -> Found:
    found = verify_batch(b(given["batch"]), _key(given), given["owner"])
    return {
        "first": found.header.first,
        "hash": found.header.hash,
        "head": found.header.head,
        "kinds": [e.kind for e in found.entries],
        "last": found.header.last,
    }


def merkle_root(given: Given) -> Found:
    return {"root": root_of(hash_leaf(b(leaf)) for leaf in given["leaves"]).hex()}


def merkle_inclusion(given: Given) -> Found:
    path = [b(h) for h in given["path"]]
    leaf = hash_leaf(b(given["leaf"]))
    verify_inclusion(leaf, given["index"], given["size"], path, bytes.fromhex(given["root"]))
    return {}


def merkle_consistency(given: Given) -> Found:
    verify_consistency(
        given["old_size"],
        bytes.fromhex(given["old_root"]),
        given["new_size"],
        bytes.fromhex(given["new_root"]),
        [b(h) for h in given["proof"]],
    )
    return {}


def checkpoint(given: Given) -> Found:
    found = verify_checkpoint(given["note"].encode(), given["origin"], _key(given))
    return {"root": found.root.hex(), "size": found.size}


def cosignature(given: Given) -> Found:
    return {"at": verify_cosignature(given["note"].encode(), given["name"], _key(given))}


def words_of_digest(given: Given) -> Found:
    return {"words": six_words(bytes.fromhex(given["digest"]))}


def words_of_device(given: Given) -> Found:
    return {"words": device_words(given["owner"], given["device"])}


def view(given: Given) -> Found:
    """Hand bundles to a machine one after another; a refused one leaves the view as it was."""
    anchor = Anchor(**given["anchor"])
    held: OwnerView | None = None
    steps: list[Found] = []
    for data in given["bundles"]:
        try:
            bundle: Bundle = read_bundle(b(data))
            held = first_view(anchor, bundle) if held is None else advance(held, bundle)
            steps.append(_state(held))
        except FleetwardError as e:
            steps.append({"family": type(e).__name__, "reason": e.reason})
    return {"steps": steps}


def _state(held: OwnerView) -> Found:
    return {
        "confirmed": held.confirmed,
        "head": held.head.version if held.head else 0,
        "lease": held.lease.serial if held.lease else 0,
        "policy": held.policy.version,
        "roster": held.roster.version if held.roster else 0,
    }


CHECKS: Final[Mapping[str, Callable[[Given], Found]]] = {
    "canonical.decode": decode,
    "canonical.encode": encode,
    "key.read": key_read,
    "key.verify": key_verify,
    "envelope.threshold": envelope_threshold,
    "envelope.single": envelope_single,
    "policy.chain": policy_chain,
    "roster.entry": roster_entry,
    "roster.whole": roster_whole,
    "head": head,
    "lease": lease,
    "invitation": invitation,
    "opening": opening,
    "session": session,
    "runbook": runbook,
    "receipt": receipt,
    "comparison": comparison,
    "session.stop": session_stop,
    "standing": standing,
    "standing.entry": standing_entry,
    "standing.state": standing_state,
    "standing.stop": standing_stop,
    "closing": closing,
    "closing.kept": closing_kept,
    "closing.report": closing_report,
    "join_string": join_string,
    "address": address,
    "statement.join": join_statement,
    "statement.renewal": renewal,
    "statement.hello": hello,
    "journal.start": journal_start,
    "journal.batch": journal_batch,
    "merkle.root": merkle_root,
    "merkle.inclusion": merkle_inclusion,
    "merkle.consistency": merkle_consistency,
    "note.checkpoint": checkpoint,
    "note.cosignature": cosignature,
    "words.digest": words_of_digest,
    "words.device": words_of_device,
    "view": view,
    **KEY_CHECKS,
    **RELEASE_CHECKS,
}
