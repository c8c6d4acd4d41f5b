"""What vectors of releases ask of an implementation: manifests, approvals, reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from fleetward.trust.canonical import from_base64url as b
from fleetward.trust.keys import PublicKey, read_public_key
from fleetward.trust.policy import Policy, verify_policy_chain
from fleetward.trust.release_approval import verify_approval, verify_withdrawal
from fleetward.trust.release_manifest import list_segments, read_manifest
from fleetward.trust.root import verify_root
from fleetward.trust.roster import read_entry
from fleetward.trust.selector import read_selector
from fleetward.trust.update_report import verify_report
from fleetward.trust.update_windows import LocalTime, read_windows

Given = Mapping[str, Any]
Found = dict[str, Any]


def _policy(given: Given) -> Policy:
    root = verify_root(b(given["root"]), given["owner"])
    return verify_policy_chain(root, [b(p) for p in given["policies"]])


def _key(given: Given) -> PublicKey:
    return read_public_key(given["suite"], b(given["public"]))


def manifest(given: Given) -> Found:
    found = read_manifest(b(given["manifest"]))
    return {
        "agent": found.replaces_agent,
        "blobs": [blob.sha256 for blob in found.blobs()],
        "checks": [check.kind for check in found.health.checks],
        "counter": found.counter,
        "hardware": list(found.hardware),
        "hash": found.hash,
        "parts": [f"{part.installer} {part.place} {part.hook}" for part in found.parts],
        "path": found.path,
    }


def segments(given: Given) -> Found:
    return {"segments": list_segments(b(given["data"]) * given["times"]).hex()}


def selector(given: Given) -> Found:
    found = read_selector(given["selector"])
    return {"all": found.selects_all, "selects": found.selects(read_entry(b(given["entry"])))}


def windows(given: Given) -> Found:
    found = read_windows(given["windows"])
    now = LocalTime(given["day"], given["minute"])
    return {"holds": [window.holds(now) for window in found]}


def approval(given: Given) -> Found:
    found = verify_approval(b(given["approval"]), _policy(given))
    release = read_manifest(b(given["manifest"]))
    return {
        "allows": found.allows(release, given["known_since"], given["now"]),
        "hash": found.hash,
        "names": found.names(release),
        "opens_at": found.opens_at_ms(given["known_since"]),
        "people": list(found.people),
        "standing": found.standing,
    }


def withdrawal(given: Given) -> Found:
    found = verify_withdrawal(b(given["withdrawal"]), _policy(given))
    return {"approval": found.approval, "person": found.person}


def report(given: Given) -> Found:
    found = verify_report(b(given["report"]), _key(given), given["owner"])
    return {
        "floors": {each.product: each.floor for each in found.installed},
        "outcome": found.outcome,
        "release": found.release,
        "slots": [f"{slot.place} {slot.active}" for slot in found.slots],
    }


RELEASE_CHECKS: Final[Mapping[str, Callable[[Given], Found]]] = {
    "release.manifest": manifest,
    "release.segments": segments,
    "release.selector": selector,
    "release.windows": windows,
    "release.approval": approval,
    "release.withdrawal": withdrawal,
    "release.report": report,
}
