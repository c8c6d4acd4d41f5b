"""What a history of a hostile director begins with: a machine, its installer, its server.

Joining takes longer than a history may last. So one machine joins, and each history plays with a
copy of its folder; maker and director have the same keys each time.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.adversary.release_repository import Repository
from tests.adversary.update_watch import IN_MEMORY, data_of
from tests.update_world import (
    PRODUCT,
    HeldInstaller,
    ReleaseServer,
    UpdateGuard,
    make_repository,
)

from fleetward.device.updates.installer_words import Plan, Switch, Upward
from fleetward.trust.canonical import from_base64url
from fleetward.wire.updates import UpdateAnswer, UpdateQuestion

PRODUCTS = (PRODUCT, "pump")


@dataclass
class Stamp:
    """A machine that has joined, made once; each history begins with a copy of it."""

    guard: UpdateGuard
    anchor: str


def make_products() -> Repository:
    repository = make_repository()
    repository.delegate("targets", "pump", "pump/*/release.json")
    repository.publish_all("pump", "targets")
    return repository


@cache
def stamp() -> Stamp:
    folder = Path(tempfile.mkdtemp(dir=IN_MEMORY))
    guard = UpdateGuard.make(folder / "m")
    world = guard.fleet.world
    roots = world.next_payload()["roots"]
    assert isinstance(roots, dict)
    anchor = world.policy.roots.makers[PRODUCT]
    roots["makers"] = dict.fromkeys(PRODUCTS, anchor)
    world.next_policy({"roots": roots})
    guard.confirm(groups=("ward",))
    guard.core.close()
    return Stamp(guard, anchor)


@dataclass
class Watched(HeldInstaller):
    """An installer that tells the oracle of each switch, and may die right after a word."""

    dies_after: str = ""
    on_switch: Callable[[str, tuple[str, ...]], None] = lambda _product, _parts: None

    def _answer(self, word: object, plan: Plan, descriptors: list[int]) -> Upward:
        if isinstance(word, Switch) and "switch" not in self.problems:
            self.on_switch(plan.product, tuple(part.sha256 for part in plan.parts))
        answer = super()._answer(word, plan, descriptors)
        if self.dies_after and self.dies_after == type(word).__struct_config__.tag:  # type: ignore[attr-defined]
            raise OSError("The process ended after its deed.")
        return answer


@dataclass
class HostileServer(ReleaseServer):
    """Answers as it likes, out of what it has seen."""

    seen: dict[str, list[UpdateAnswer]] = field(default_factory=dict)
    source: random.Random = field(default_factory=random.Random)
    ways: dict[str, str] = field(default_factory=dict)
    """By kind of question, how it lies."""

    def answer(self, question: UpdateQuestion) -> UpdateAnswer:
        honest = self._answer(question)
        if question.what == "approvals":
            return honest
        seen = self.seen.setdefault(f"{question.what} {question.name}", [])
        every = self.seen.setdefault(question.what, [])
        if honest.found and question.what != "blob":
            seen.append(honest)
            every.append(honest)
        way = self.ways.get(question.what, "")
        if way == "silent" or (way == "replay" and not seen) or (way == "swap" and not every):
            return UpdateAnswer(found=False)
        if way == "replay":
            return self.source.choice(seen)
        if way == "swap":
            return self.source.choice(every)
        return self._break(honest) if way == "broken" else honest

    def _break(self, honest: UpdateAnswer) -> UpdateAnswer:
        data = bytearray(from_base64url(honest.data))
        if data and self.source.random() < 0.5:
            at = self.source.randrange(len(data))
            data[at] ^= 1 << self.source.randrange(8)
            return data_of(bytes(data))
        return data_of(bytes(data[: len(data) // 2]))


class Copied(UpdateGuard):
    """The machine of the stamp, in a folder of its own."""

    def __post_init__(self) -> None:
        self.device = stamp().guard.device
        self.start()
