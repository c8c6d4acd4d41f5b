"""What a thief of the whole server could try to get software into a machine: pure.

He has the director's key, and every release that was published: manifests, metadata, parts. He has
no key of a maker and none of the owner's people. So he can name to the machine what he likes, and
the machine asks its maker's metadata and its owner's approvals. All of it goes into one word of the
director, since two looks of a machine are ten seconds apart; each is refused by its own path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

import msgspec

from fleetward.server.drill.attack import Attack, FalseTarget
from fleetward.trust.release_manifest import make_path
from fleetward.wire.orders import Reduce

LOOK: Final = msgspec.json.encode(Reduce(what="look_for_updates"))
CHANNEL: Final = "reduce"
UNSIGNED_VERSION: Final = "99.9-stolen"
UNSIGNED_BYTES: Final = 1234


class Published(Protocol):
    """A release that was published here, for one machine."""

    @property
    def product(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def length(self) -> int: ...

    @property
    def sha256(self) -> str: ...

    @property
    def counter(self) -> int: ...

    @property
    def approved(self) -> bool: ...


class Loot(Protocol):
    """What the thief finds of updates."""

    @property
    def directs(self) -> bool: ...

    @property
    def releases(self) -> Sequence[Published]: ...

    @property
    def floors(self) -> Mapping[str, int]: ...


def make_release_attacks(loot: Loot) -> list[Attack]:
    """Return the attacks with software. One that is not possible here says why it is not tried."""
    if not loot.directs or not loot.releases:
        why = (
            "No release by a maker whom the owner’s policy names was published here, so this "
            "machine asks for none."
            if loot.directs
            else "The owner’s policy names no director for this machine, so it asks for no release."
        )
        return [
            Attack(
                "releases",
                "Bring software that nobody allowed",
                "Releases that are unsigned, of another product, older, or not approved.",
                CHANNEL,
                (),
                skipped=f"Not tried: {why}",
            )
        ]
    older, unapproved = _find_older(loot), _find_unapproved(loot)
    taken = {each.path for each in (older, unapproved) if each is not None}
    return [
        _unsigned(loot),
        _another_product(loot, taken),
        _offer(
            older,
            "older-release",
            "Bring an older release back",
            "{0} {1}, truly signed by its maker, and older than what this machine has committed.",
            "Nothing older than what this machine runs was published here.",
        ),
        _offer(
            unapproved,
            "unapproved-release",
            "Bring software without the owner",
            "{0} {1}, truly signed by its maker, which the owner never approved.",
            "The owner has approved everything that was published here for this machine.",
        ),
    ]


def _unsigned(loot: Loot) -> Attack:
    product = loot.releases[0].product
    path = make_path(product, UNSIGNED_VERSION)
    digest = hashlib.sha256(b"software of the thief").hexdigest()
    return Attack(
        "unsigned-release",
        "Bring software that no maker signed",
        f"{product} {UNSIGNED_VERSION}, made by the thief, offered under the stolen director’s "
        "key.",
        CHANNEL,
        (LOOK,),
        target=FalseTarget(path, UNSIGNED_BYTES, digest),
    )


def _another_product(loot: Loot, taken: set[str]) -> Attack:
    """A release of one product in the place of another's."""
    attack = Attack(
        "another-product",
        "Bring another product’s software",
        "A release of one product, truly signed, offered as one of another.",
        CHANNEL,
        (LOOK,),
    )
    ordered = sorted(loot.releases, key=lambda each: each.counter, reverse=True)
    for mine in ordered:
        other = next((each for each in ordered if each.product != mine.product), None)
        if mine.path in taken or other is None:
            continue
        words = (
            f"{other.product} {other.version}, truly signed by its own key, offered as "
            f"{mine.product} {mine.version}."
        )
        target = FalseTarget(mine.path, other.length, other.sha256)
        return replace(attack, words=words, target=target)
    why = "Not tried: releases of two products are needed, and there are none here."
    return replace(attack, payloads=(), skipped=why)


def _offer(found: Published | None, name: str, attack: str, words: str, why: str) -> Attack:
    """Return the attack that offers a release as it is."""
    if found is None:
        said = words.format("A", "release")
        return Attack(name, attack, said, CHANNEL, (), skipped=f"Not tried: {why}")
    target = FalseTarget(found.path, found.length, found.sha256)
    said = words.format(found.product, found.version)
    return Attack(name, attack, said, CHANNEL, (LOOK,), target=target)


def _find_older(loot: Loot) -> Published | None:
    older = [each for each in loot.releases if each.counter < loot.floors.get(each.product, 0)]
    return max(older, key=lambda each: each.counter, default=None)


def _find_unapproved(loot: Loot) -> Published | None:
    fresh = [
        each
        for each in loot.releases
        if not each.approved and each.counter >= loot.floors.get(each.product, 0)
    ]
    return max(fresh, key=lambda each: each.counter, default=None)
