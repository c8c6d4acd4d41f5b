"""One history of a server in the wrong hands: moves, a machine that takes them, and an oracle.

The attacker has the director's key, every byte that was ever published, and the keys that a maker
keeps online; he has no product's key and no approver's. Maker and owner are honest and go on with
their work, the machine crashes, its installer fails, its clock is set. `play` plays the moves of a
seed; `tests/attack/test_hostile_director.py` plays hundreds, `bench/hostile_director.py` as many as
one likes.

The oracle knows what the maker signed, what the owner gave and took back, and what the machine was
told; how guard judges it knows not. It looks on at the very moment at which the installer is told
to switch, in the installer's own thread, while guard waits for the answer.
"""

from __future__ import annotations

import contextlib
import random
import select
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from tests.adversary.hostile_machine import (
    PRODUCTS,
    Copied,
    HostileServer,
    Watched,
    make_products,
    stamp,
)
from tests.adversary.update_watch import IN_MEMORY, file_of
from tests.keys_world import hand_over
from tests.trust_world import NOW_MS
from tests.unit.device.device_world import HeldClock
from tests.update_world import (
    DAY_MS,
    PRODUCT,
    make_bundle,
    make_manifest,
)
from tuf.api.metadata import Metadata

from fleetward.device.port import TakePushed
from fleetward.trust.canonical import from_base64url
from fleetward.trust.errors import FleetwardError
from fleetward.trust.release_approval import Approval, verify_approval
from fleetward.trust.release_manifest import Manifest, Needed, Part, make_blob
from fleetward.trust.roster import RETIRED
from fleetward.trust.selector import Selector
from fleetward.trust.update_windows import Window
from fleetward.wire.orders import Reduce
from fleetward.wire.updates import UpdateAnswer, UpdateQuestion

KINDS: Final = ("root", "director", "image", "manifest", "approvals", "blob")
HARDWARE: Final = (("*",), ("*",), ("P7",), ("P9",))
SELECTORS: Final = (
    Selector(), Selector(), Selector(groups=("ward",)), Selector(groups=("trial",)),
    Selector(models=("P7",)), Selector(sites=("Elsewhere",)),
)  # fmt: skip
WINDOWS: Final = ((), (), (Window("UTC", (0, 2, 4), 0, 1440),), (Window("UTC", (5,), 60, 120),))
PASSING_MS: Final = (1_000, 20_000, 70_000, 900_000, 4_000_000, 90_000_000)
CLOCKS_MS: Final = (-40 * DAY_MS, -DAY_MS, DAY_MS, 8 * DAY_MS, -NOW_MS)
MOVES: Final = (8, 16)
NUDGE: Final = msgspec.json.encode(Reduce(what="look_for_updates"))
REACHED: Final[Counter[str]] = Counter()
"""What histories got to: an oracle over a machine that never switches would prove nothing."""


@dataclass
class Play:
    """One history. `log` is what happened, for whoever reads of a failure."""

    guard: Copied
    server: HostileServer
    source: random.Random
    log: list[str] = field(default_factory=list)
    released: dict[str, Manifest] = field(default_factory=dict)
    """What the maker signed, by the SHA-256 of the part."""
    given: dict[str, tuple[Approval, bytes]] = field(default_factory=dict)
    withdrawals: dict[bytes, str] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    """Approvals that the machine was told are withdrawn."""
    shown_powered: dict[str, int] = field(default_factory=dict)
    """Since when, in powered-on time, the machine can have known a release."""
    powered_ms: int = 0
    switched: set[str] = field(default_factory=lambda: {""})
    floors: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    states: list[dict[str, bytes]] = field(default_factory=list)
    documents: list[bytes] = field(default_factory=list)
    patience: int = 60
    """How many questions are answered in one step: a server may let a machine wait."""
    broken: set[str] = field(default_factory=set)
    """Products of which a release could not be taken back: what is active then is not said."""

    @property
    def true_ms(self) -> int:
        """What the time is for everybody but the machine, whose clock may be wrong."""
        return NOW_MS + self.powered_ms

    # --- maker and owner, who are honest

    def release(self) -> None:
        """The maker signs a release, newer or older than another."""
        source, guard = self.source, self.guard
        product, counter = source.choice(PRODUCTS), source.randint(1, 12)
        payload = source.randbytes(200)
        changes: dict[str, Any] = {"hardware": source.choice(HARDWARE)}
        if source.random() < 0.2:
            changes["needs"] = (Needed(source.choice(PRODUCTS), source.randint(1, 5)),)
        if source.random() < 0.2:
            changes["least_before"] = source.randint(1, 8)
        version = f"{counter}.{len(self.released)}"
        self.states.append(dict(guard.repository.files))
        # Each product has a part of its own name: the held installer goes by names.
        part = Part(product, "directory", product, make_blob(payload), (), len(payload), 1)
        manifest = make_manifest(
            version, counter, payload, product=product, parts=(part,), **changes
        )
        before = guard.server.directed
        guard.publish(manifest, payload)
        guard.server.directed = [*before, *guard.server.directed][-3:]
        self.released[manifest.parts[0].blob.sha256] = manifest

    def do_everything_right(self) -> None:
        """Everybody is honest and everything works, for a moment: then a switch may come next."""
        self.repair()
        self.set_it_right()
        self.guard.fleet.world.publish([self.guard._entry(("ward",), "P7")])
        self.guard.fleet.world.lease(at_ms=self.true_ms)
        self.hand(self.guard.fleet.world.bundle(self.guard.device).to_bytes())
        if self.source.random() < 0.7:
            self.release()
        if self.released:
            name = self.guard.approve(
                list(self.released.values())[-1], self.true_ms, reason=f"good {len(self.given)}"
            )
            raw = self.guard.server.approvals[-1]
            self.given[name] = (verify_approval(raw, self.guard.fleet.world.policy), raw)
        self.be_honest()
        self.guard.core.updates.talk.look_now()
        for _ in range(self.source.randint(1, 4)):
            self.step()
            self.pass_ms(1_000)

    def approve(self) -> None:
        """The owner approves a release, or allows a product ahead."""
        source, guard = self.source, self.guard
        if not self.released:
            return
        now = self.true_ms
        terms: dict[str, Any] = {
            "selector": source.choice(SELECTORS),
            "windows": source.choice(WINDOWS),
            "not_before_ms": now + source.choice((-DAY_MS, -DAY_MS, 600_000)),
            "not_after_ms": now + source.choice((2 * DAY_MS, 2 * DAY_MS, 1_200_000)),
            "reason": str(len(self.given)),
        }
        manifest = source.choice(list(self.released.values())[-4:])
        if source.random() < 0.25:
            name = guard.allow_all(wait_seconds=source.choice((0, 600, 90_000)), **terms)
        else:
            name = guard.approve(manifest, at_ms=now, **terms)
        raw = guard.server.approvals[-1]
        self.given[name] = (verify_approval(raw, guard.fleet.world.policy), raw)

    def withdraw(self) -> None:
        """The owner takes an approval back."""
        if self.given:
            name = self.source.choice(list(self.given))
            self.guard.withdraw(name)
            self.withdrawals[self.guard.server.approvals[-1]] = name

    def tell(self) -> None:
        """The owner changes something or nothing; the server hands the documents over."""
        source, guard, world = self.source, self.guard, self.guard.fleet.world
        what = source.random()
        if what < 0.08:
            hand_over(world, f"Buyer {world.policy.version}")
        elif what < 0.2:
            roots = world.next_payload()["roots"]
            assert isinstance(roots, dict)
            other = source.choice((stamp().anchor, stamp().anchor, "ab" * 32))
            world.next_policy({"roots": {**roots, "makers": {PRODUCT: other, "pump": other}}})
        entry = guard._entry(source.choice((("ward",), ("trial",), ())), "P7")
        if source.random() < 0.1:
            entry = replace(entry, state=RETIRED)
        world.publish([entry])
        world.lease(at_ms=self.true_ms)
        self.documents.append(world.bundle(guard.device).to_bytes())
        if source.random() < 0.8:
            self.hand(self.documents[-1])

    def hand(self, documents: bytes) -> None:
        with contextlib.suppress(FleetwardError):
            self.guard.core.updates.bundled._on_documents(documents)

    # --- the server

    def be_honest(self) -> None:
        """Everything that there is, as it is, to the machine that it is for."""
        self.server.ways.clear()
        self.patience = 60
        self.server.approvals = [*self._all_opinions()][-60:]
        self.server.directed = [file_of(m) for m in list(self.released.values())[-3:]]

    def let_it_wait(self) -> None:
        """Answers come one by one, or not at all, until further notice; a look begins."""
        self.guard.core.updates.talk.look_now()
        self.patience = self.source.choice((0, 0, 1, 3))
        self.step(self.source.randint(0, 6))

    def lie(self) -> None:
        for kind in self.source.sample(KINDS, self.source.randint(1, 3)):
            self.server.ways[kind] = self.source.choice(("silent", "replay", "swap", "broken", ""))

    def name_anything(self) -> None:
        """The director's key names releases, signed, approved or not."""
        every = list(self.released.values())
        some = self.source.sample(every, min(len(every), self.source.randint(0, 4)))
        self.server.directed = [file_of(m) for m in some]
        if self.source.random() < 0.3:
            evil = make_manifest("6.6", 66, b"evil")
            self.server.manifests[evil.hash] = b"evil"
            self.server.directed.append(file_of(evil))

    def choose_opinions(self) -> None:
        """Approvals are handed over as it pleases, and withdrawals kept back."""
        every = self._all_opinions()
        self.server.approvals = self.source.sample(
            every, min(len(every), self.source.randint(0, 12))
        )

    def show_an_old_state(self) -> None:
        if self.states:
            files = self.guard.repository.files
            files.update(self.source.choice(self.states))

    def steal_the_online_keys(self) -> None:
        """With the timestamp's key, a next timestamp names another snapshot."""
        repository = self.guard.repository
        old = Metadata.from_bytes(repository.files["timestamp.json"])
        old.signed.version += self.source.choice((1, 2, 1000))
        old.signatures.clear()
        old.sign(repository.signers["timestamp"][0])
        repository.files["timestamp.json"] = old.to_bytes()

    def hand_old_documents(self) -> None:
        if self.documents:
            self.hand(self.source.choice(self.documents))

    def nudge(self) -> None:
        with contextlib.suppress(FleetwardError):
            self.guard.core.handle(TakePushed(), NUDGE)

    def bring_a_bundle(self) -> None:
        """A stick with what the server knows of one release, whole or broken."""
        if not self.released:
            return
        manifest = self.source.choice(list(self.released.values()))
        if manifest.product != PRODUCT:
            return
        data = bytearray(make_bundle(self.guard, manifest))
        if self.source.random() < 0.3:
            data[self.source.randrange(len(data))] ^= 4
        place = self.guard.folder / "updates" / "incoming" / "bundle"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(data)
        for manifest in self.released.values():
            self._show(manifest.hash)
        self.run()
        self.told |= {n for n in self.withdrawals.values() if n in self._memory().withdrawn}

    # --- the machine

    def run(self) -> None:
        """Let it go on for a while."""
        for _ in range(self.source.randint(1, 6)):
            self.step()
            self.pass_ms(self.source.choice((1_000, 5_000)))

    def look(self) -> None:
        self.guard.core.updates.talk.look_now()
        self.step()
        self.run()

    def step(self, most: int = -1) -> None:
        guard = self.guard
        most = self.patience if most < 0 else most
        guard.core.tick()
        guard._let_the_installer_answer()
        for _ in range(most):
            question = guard.core.updates.next_question()
            if question is None:
                break
            answer = self.server.answer(question)
            self._note(question, answer)
            guard.core.updates.take_answer(answer)
        guard.core.tick()
        guard._let_the_installer_answer()

    def crash(self) -> None:
        """The power goes, now or in the middle of a look."""
        if self.source.random() < 0.5:
            self.step(self.source.randint(1, 8))
        self.settle()
        if self.source.random() < 0.5:
            self.guard.boot = f"boot-{self.source.random()}"
            self.guard.clock.since_boot = 1_000
        self.guard.crash()

    def settle(self) -> None:
        """Wait until the installer has done what it was told: what is cut off is guard alone."""
        working = self.guard.core.updates._working
        if working is not None and working.busy:
            select.select(working.sockets(), [], [], 2)

    def fail(self) -> None:
        """The installer fails, dies before or after a word, or the release is not healthy."""
        source, installer = self.source, self.guard.installer
        assert isinstance(installer, Watched)
        word = source.choice(("write", "switch", "commit", "back", "clear", "plan", "test", ""))
        installer.dies_at = word if source.random() < 0.3 else ""
        installer.dies_after = word if source.random() < 0.3 else ""
        broken = source.random() < 0.3 and word in ("write", "switch", "commit", "back", "clear")
        installer.problems = {word: ("It broke.", "broken")} if broken else {}
        healthy = source.random() < 0.7
        installer.healthy = lambda: healthy
        installer.in_use = source.choice(("", "", "", "a patient"))

    def repair(self) -> None:
        installer = self.guard.installer
        assert isinstance(installer, Watched)
        installer.dies_at = installer.dies_after = installer.in_use = ""
        installer.problems, installer.healthy = {}, lambda: True

    def wait(self) -> None:
        self.pass_ms(self.source.choice(PASSING_MS))
        self.step()

    def set_the_clock(self) -> None:
        self.guard.clock.wall = max(0, self.guard.clock.wall + self.source.choice(CLOCKS_MS))

    def set_it_right(self) -> None:
        self.guard.clock.wall = self.true_ms

    def pass_ms(self, milliseconds: int) -> None:
        self.powered_ms += milliseconds
        self.guard.clock.pass_ms(milliseconds)

    # --- the oracle

    def _all_opinions(self) -> list[bytes]:
        return [*(raw for _, raw in self.given.values()), *self.withdrawals]

    def _memory(self) -> Any:
        return self.guard.core.updates.memory

    def _show(self, release: str) -> None:
        self.shown_powered.setdefault(release, self.powered_ms)

    def _note(self, question: UpdateQuestion, answer: UpdateAnswer) -> None:
        """Note what the machine is told by an answer, whatever it makes of it."""
        if question.what == "manifest":
            self._show(question.name)
        if question.what == "approvals":
            epoch = self.guard.core.view.policy.epoch
            for text in answer.envelopes:
                name = self.withdrawals.get(from_base64url(text))
                if name and self.given[name][0].epoch == epoch:
                    self.told.add(name)

    def judge_switch(self, product: str, parts: tuple[str, ...]) -> None:
        """Say what is wrong with a switch, if anything is."""
        REACHED["switched"] += 1
        for sha256 in parts:
            manifest = self.released.get(sha256)
            problem = "nobody signed it" if manifest is None else self._judge(manifest)
            self.log.append(f"    switched to {product} {sha256[:8]}: {problem or 'allowed'}")
            if problem:
                self.wrong.append(f"{product} {sha256[:8]}: {problem}")
            self.switched.add(sha256)

    def _judge(self, manifest: Manifest) -> str:
        view = self.guard.core.view
        entry = view.entry
        if view.policy.roots.makers.get(manifest.product) != stamp().anchor:
            return "the owner names another maker"
        if entry is None or entry.state != "active":
            return "the machine is on no roster"
        if "*" not in manifest.hardware and entry.model not in manifest.hardware:
            return "it is for other hardware"
        if manifest.counter < self.floors.get(manifest.product, 0):
            return "its counter is below one that was committed"
        now = max(self.guard.clock.wall, view.signed_at_ms)
        if not any(self._allows(a, manifest, now) for a, _ in self.given.values()):
            return "no approval in force allows it"
        return ""

    def _allows(self, approval: Approval, manifest: Manifest, now: int) -> bool:
        view, terms = self.guard.core.view, approval.terms
        assert view.entry is not None
        names = approval.release == manifest.hash or (
            not approval.release and approval.product == manifest.product
        )
        shown = self.shown_powered.get(manifest.hash, self.powered_ms)
        waited = approval.release or self.powered_ms - shown >= approval.wait_seconds * 1000
        there = datetime.fromtimestamp(now / 1000, UTC)
        minute = there.hour * 60 + there.minute
        opened = not terms.windows or any(
            there.weekday() in w.days and w.from_minute <= minute < w.to_minute
            for w in terms.windows
        )
        return bool(
            names
            and waited
            and opened
            and approval.epoch == view.policy.epoch
            and approval.hash not in self.told
            and terms.selector.selects(view.entry)
            and terms.not_before_ms <= now < terms.not_after_ms
        )

    def check(self) -> None:
        """Demand what holds after every move."""
        assert not self.wrong, self.wrong
        active, memory = self.guard.installer.active, self._memory()
        strange = set(active.values()) - self.switched
        assert not strange, f"active and never switched to: {strange}"
        if "could not be taken back" in self.guard.core.updates.last:
            self.broken |= set(PRODUCTS)
        if memory.attempt is None:
            for product in set(PRODUCTS) - self.broken:
                held = memory.held.get(product)
                wanted = held.parts[0].sha256 if held else ""
                assert active.get(product, "") == wanted, f"{product} is not what is said to run"
        floors = memory.floors
        for product, floor in self.floors.items():
            assert floors.get(product, 0) >= floor, f"the counter of {product} fell"
        if floors != self.floors:
            REACHED["committed"] += 1
        self.floors = dict(floors)


MOVE_NAMES: Final = (
    *("release", "release", "approve", "approve", "approve", "withdraw", "tell", "tell"),
    *("be_honest", "be_honest", "lie", "name_anything", "choose_opinions", "show_an_old_state"),
    *("steal_the_online_keys", "hand_old_documents", "nudge", "bring_a_bundle"),
    *(
        "let_it_wait",
        "let_it_wait",
        "look",
        "look",
        "look",
        "run",
        "run",
        "crash",
        "crash",
        "fail",
        "repair",
        "wait",
        "wait",
    ),
    *("set_the_clock", "set_it_right", "do_everything_right", "do_everything_right"),
    *("do_everything_right", "do_everything_right", "do_everything_right"),
)


def play(seed: int) -> Play:
    """Play the history of a seed; a failure prints its log."""
    source = random.Random(seed)
    first = stamp()
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        place = Path(folder) / "m"
        shutil.copytree(first.guard.folder, place)
        world = first.guard.fleet.world
        fleet = replace(
            first.guard.fleet,
            world=replace(
                world,
                policies=[*world.policies],
                rosters=[*world.rosters],
                heads=[*world.heads],
                leases=[*world.leases],
                entries=[*world.entries],
            ),
        )
        clock = HeldClock(first.guard.clock.wall, first.guard.clock.since_boot)
        installer = Watched()
        repository, director = make_products(), first.guard.director
        guard = Copied(
            place, fleet, clock, installer=installer, repository=repository,
            director=replace(director, version=0),
        )  # fmt: skip
        server = HostileServer(repository, guard.director, guard.device, world.owner)
        guard.server, server.source, server.anchor = server, source, first.guard.server.anchor
        one = Play(guard, server, source)
        server.now_ms = lambda: one.true_ms
        installer.on_switch = one.judge_switch
        try:
            _play(one)
        except BaseException:
            print(f"seed {seed}:", *one.log, sep="\n  ")
            raise
        finally:
            guard.core.updates.close()
            guard.core.journal.close()
        return one


def _play(one: Play) -> None:
    for _ in range(one.source.randint(*MOVES)):
        _move(one, one.source.choice(MOVE_NAMES))


def _move(one: Play, name: str) -> None:
    attempt = one._memory().attempt
    one.log.append(f"{name}  ({attempt.phase if attempt else 'idle'})")
    REACHED["moves"] += 1
    getattr(one, name)()
    one.settle()
    one.check()


__all__ = ["MOVES", "REACHED", "Play", "play"]
