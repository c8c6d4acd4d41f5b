"""What vectors of handovers and recoveries check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from fleetward.trust.canonical import from_base64url as b
from fleetward.trust.documents import (
    Anchor,
    OwnerView,
    advance,
    find_announced,
    first_view,
    read_bundle,
)
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.policy import owner_name, verify_first_policy, verify_following_policy
from fleetward.trust.root import verify_root
from fleetward.trust.takeover import verify_offer_to_take_over

Given = Mapping[str, Any]
Found = dict[str, Any]


def turns(given: Given) -> Found:
    """Say of each policy of a chain whose it is, and how it came about."""
    root = verify_root(b(given["root"]), given["owner"])
    chain = [verify_first_policy(b(given["policies"][0]), root)]
    for data in given["policies"][1:]:
        chain.append(verify_following_policy(b(data), chain[-1]))
    return {
        "turns": [
            {"epoch": p.epoch, "name": owner_name(root, p), "recovered": p.recovered} for p in chain
        ]
    }


def waiting_view(given: Given) -> Found:
    """Hand bundles to a machine, at each step with the recoveries that it has waited for."""
    anchor = Anchor(**given["anchor"])
    held: OwnerView | None = None
    steps: list[Found] = []
    for data, waited in zip(given["bundles"], given["waited"], strict=True):
        bundle = read_bundle(b(data))
        try:
            held = (
                first_view(anchor, bundle)
                if held is None
                else advance(held, bundle, frozenset(waited))
            )
            steps.append({"policy": held.policy.version, "name": held.owner_name})
        except Refused:
            assert held is not None
            found = find_announced(held, bundle, frozenset(waited))
            assert found is not None
            steps.append({"waits": found[0].hash, "seconds": found[2].delay_seconds})
        except FleetwardError as e:
            steps.append({"family": type(e).__name__, "reason": e.reason})
    return {"steps": steps}


def takeover(given: Given) -> Found:
    """Verify a buyer's offer."""
    offer = verify_offer_to_take_over(b(given["offer"]))
    keys = {name: key.key_id for name, key in offer.keys.items()}
    return {"hash": offer.hash, "keys": keys, "name": offer.name}


KEY_CHECKS: Final[Mapping[str, Callable[[Given], Found]]] = {
    "policy.turns": turns,
    "view.waiting": waiting_view,
    "takeover.offer": takeover,
}
