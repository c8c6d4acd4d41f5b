"""A machine, a maker's random history, and a server that mixes, withholds, cuts and changes.

The server also holds the keys of timestamp and snapshot, as a stolen one does, and one of root's
three; two are needed. The oracle is the
list of what the maker's own keys really signed: root, targets and the product's role.

`FLEETWARD_HISTORIES=5000` tries more of them.
"""

from __future__ import annotations

import contextlib
import os
import random
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.adversary.release_repository import DAY_MS, NOW_MS, Machine, Repository, signer
from tuf.api.metadata import Metadata, MetaFile, Root

from fleetward.trust.errors import Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.releases.names import name_file
from fleetward.trust.releases.steps import Want

HISTORIES = int(os.environ.get("FLEETWARD_HISTORIES", "60"))
ACTIONS = ("release", "root", "rotate", "steal", "forge", "idle")
MAKERS = ("root", "targets", "pump")


@dataclass
class History:
    """The maker's true history, the thief's, and all bytes that a server may hand out."""

    repository: Repository
    signed: dict[str, set[bytes]] = field(default_factory=dict)
    releases: dict[str, set[int]] = field(default_factory=dict)
    rotated: bool = False
    every: list[bytes] = field(default_factory=list)
    forged: dict[str, bytes] = field(default_factory=dict)
    number: int = 0

    @classmethod
    def make(cls) -> History:
        repository = Repository.make()
        repository.delegate("targets", "pump", "pump/*")
        history = cls(repository)
        history.do("release")
        return history

    def do(self, action: str) -> None:
        repository = self.repository
        if action == "release":
            self.number += 1
            data = b"x" * self.number
            repository.add_target("pump", "pump/1.img", data)
            self.releases.setdefault("pump/1.img", set()).add(len(data))
            repository.publish_all("pump", "targets")
        elif action == "root":
            repository.publish("root")
        elif action == "rotate":
            self.rotated = True
            repository.rotate("timestamp", "snapshot")
            repository.publish("root", "snapshot", "timestamp")
        self.record()

    def record(self) -> None:
        for name, data in self.repository.files.items():
            role = name.removesuffix(".json").rpartition(".")[2]
            self.signed.setdefault(role, set()).add(data)
            if data not in self.every:
                self.every.append(data)

    def act(self, action: str, chance: random.Random) -> None:
        if action == "steal":
            self.steal(chance)
        elif action == "forge":
            self.forge(chance)
        else:
            self.do(action)

    def steal(self, chance: random.Random) -> None:
        """Let the thief state any versions under the keys of timestamp and snapshot."""
        repository = self.repository
        for role in ("targets", "pump"):
            data = chance.choice(sorted(self.signed[role]))
            version = Metadata.from_bytes(data).signed.version
            repository.snapshot.meta[f"{role}.json"] = MetaFile(version)
        repository.publish("snapshot", "timestamp")
        self.record()

    def forge(self, chance: random.Random) -> None:
        """Let the thief sign a maker's file himself, and one of a root's three keys with it."""
        repository = self.repository
        role = chance.choice(MAKERS)
        forged: Metadata[Any] = Metadata.from_bytes(repository.roles[role].to_bytes())
        forged.signed.version += 1
        thief = signer(1000)
        signers = [thief, *repository.signers["root"][:1]]
        if isinstance(forged.signed, Root):
            for name in ("root", "targets", "timestamp", "snapshot"):
                forged.signed.roles[name].keyids.clear()
                forged.signed.add_key(thief.public_key, name)
            forged.signed.roles["root"].threshold = 1
        else:
            repository.snapshot.meta[f"{role}.json"] = MetaFile(forged.signed.version)
            repository.publish("snapshot", "timestamp")
            self.record()
        for one in signers:
            forged.sign(one, append=True)
        self.forged[name_file(role, forged.signed.version)] = forged.to_bytes()


def lie(history: History, chance: random.Random, want: Want) -> bytes | None:
    """Answer honestly, with another true file, with a broken one, or not at all."""
    draw = chance.random()
    if draw < 0.9:
        honest = history.repository.answer(want)
        return history.forged.get(want.file_name, honest) if draw < 0.45 else honest
    if draw < 0.92:
        return None
    data = bytearray(chance.choice(history.every))
    if draw < 0.95:
        return bytes(data)
    if draw < 0.97:
        return bytes(data[: chance.randrange(len(data))])
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


@settings(max_examples=HISTORIES, deadline=None)
@given(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=8), st.integers(0, 2**32))
def test_no_server_leads_a_machine_off_its_makers_history(actions: list[str], seed: int) -> None:
    chance = random.Random(seed)
    history = History.make()
    machine = Machine.make(history.repository)
    for action in actions:
        history.act(action, chance)
        for _ in range(2):
            before = {role: machine.version(role) for role in MAKERS}
            now_ms = NOW_MS + chance.choice([-20000, 0, 0, 0, 1, 500]) * DAY_MS
            try:
                target = machine.find(lambda want: lie(history, chance, want), "pump/1.img", now_ms)
            except (Malformed, Untrusted, Refused, Unreachable):
                target = None
            if target is not None:
                assert target.length_bytes in history.releases[target.path]
                assert target.signed_by == ("targets", "pump")
            for role in MAKERS:
                data = machine.root if role == "root" else machine.kept.get(f"{role}.json")
                assert data is None or means_the_same(data, history.signed[role])
                if not history.rotated:
                    assert machine.version(role) >= before[role]


def means_the_same(data: bytes, signed: set[bytes]) -> bool:
    """Whether the maker signed this: a changed space or unsigned part is none of his words."""
    found = Metadata.from_bytes(data).signed.to_dict()
    return any(found == Metadata.from_bytes(one).signed.to_dict() for one in signed)


@settings(max_examples=HISTORIES, deadline=None)
@given(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=6), st.integers(0, 2**32))
def test_lies_hinder_only_as_long_as_they_last(actions: list[str], seed: int) -> None:
    """After any lies an honest server brings the machine to the newest release.

    Not so after a thief of the online keys: then new keys do, and they do it at once.
    """
    chance = random.Random(seed)
    history = History.make()
    machine = Machine.make(history.repository)
    for action in actions:
        history.act(action, chance)
        with contextlib.suppress(Malformed, Untrusted, Refused, Unreachable):
            machine.find(lambda want: lie(history, chance, want), "pump/1.img")
    for role in MAKERS[1:]:  # the forger's versions are taken; the maker goes beyond them
        history.repository.roles[role].signed.version += 10
    history.do("rotate")
    history.do("release")
    target = machine.find(history.repository.answer, "pump/1.img")
    assert target is not None
    assert target.length_bytes == history.number
