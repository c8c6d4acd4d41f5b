"""One history of a hostile server: people, what it may do to them, and an oracle that looks on.

The moves and their oracle are told in `test_hostile_server`. `play` plays a list of moves;
`bench/hostile_server.py` plays them for as long as one likes.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeAlias

from tests.access_world import FILES, LOGS, PAGE, RULES, TERMINAL
from tests.trust_world import NOW_MS, Machine, payload_of, resign
from tests.unit.device.device_world import HeldClock, join_machine, pushed
from tests.unit.device.session_guard import HeldDoors, Opened, SessionGuard

from fleetward.device.identity.keys import load_identity
from fleetward.device.port import TakePushed
from fleetward.runtime.keys import make_key
from fleetward.trust import canonical
from fleetward.trust.access import AccessRules, RootScope, Scope
from fleetward.trust.access_rule import Rule
from fleetward.trust.canonical import Json, JsonObject, from_base64url, to_base64url
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.errors import FleetwardError
from fleetward.trust.grants.ending import (
    BEAT_TYPE,
    STOP_TYPE,
    make_beat_payload,
    make_revocation_payload,
    make_stop_payload,
)
from fleetward.trust.grants.entry import ENTRY_TYPE
from fleetward.trust.grants.grant import GRANT_TYPE, Terms, make_grant_payload
from fleetward.trust.grants.offer import OFFER_TYPE, Offer, verify_offer
from fleetward.trust.grants.request import REQUEST_TYPE, Request
from fleetward.trust.grants.standing import (
    STANDING_TYPE,
    Permission,
    Window,
    make_standing_payload,
)
from fleetward.trust.keys import ED25519, Signer
from fleetward.wire.subjects import session_name

Move: TypeAlias = tuple[str, int, int, int]
MOVES: Final = 60
"""The most moves of a history; at least half as many."""
PASSING_MS: Final = (10, 10, 900, 900, 9_000, 14_000, 14_000, 61_000, 700_000, 90_000_000)
TYPES: Final = (
    REQUEST_TYPE, OFFER_TYPE, GRANT_TYPE, STOP_TYPE, BEAT_TYPE, STANDING_TYPE, ENTRY_TYPE,
)  # fmt: skip
WISHES: Final[tuple[tuple[Scope, ...], ...]] = (
    (TERMINAL,),
    (TERMINAL, PAGE),
    (LOGS, FILES),
    (RootScope(),),
)
IN_MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None
SECONDS: Final = (60, 600, 900)
WATCHED: Final = AccessRules(
    rules={"terminal": Rule(2, 600, True, ("app",)), "logs": Rule(1, 60, False, ("*",))}
)
SENDING: Final = replace(RULES, delegators=("whoever asks",))
POLICIES: Final = (SENDING, RULES, WATCHED, AccessRules(rules={}))
REACHED: Final[Counter[str]] = Counter()
"""What histories got to: an oracle over a door that never opens would prove nothing."""


@dataclass(frozen=True)
class Approval:
    """What approvers signed, as the test that made them sign it knows."""

    place: int
    request: Request
    offer: str
    terms: Terms
    people: frozenset[str]
    policy: str


@dataclass(frozen=True)
class Ahead:
    """What approvers allowed ahead."""

    owner: str
    given: Permission
    people: frozenset[str]


@dataclass
class Play:
    """One history. Every list is what the server holds."""

    guards: list[SessionGuard]
    thief: Signer
    envelopes: list[bytes] = field(default_factory=list)
    documents: list[bytes] = field(default_factory=list)
    requests: dict[str, Request] = field(default_factory=dict)
    offers: list[tuple[int, Offer]] = field(default_factory=list)
    fresh: list[set[str]] = field(default_factory=lambda: [set(), set(), set()])
    """Offers that each machine has made since it started."""
    approved: dict[str, Approval] = field(default_factory=dict)
    refused: set[tuple[int, str]] = field(default_factory=set)
    opened: dict[str, int] = field(default_factory=dict)
    inside: list[tuple[int, Opened]] = field(default_factory=list)
    ana: Signer = field(default_factory=lambda: make_key(ED25519))
    """Whom the technician sends now and then."""
    ahead: dict[str, Ahead] = field(default_factory=dict)
    entries: dict[str, JsonObject] = field(default_factory=dict)
    """Every entry that was handed over, honest or not."""
    used: dict[tuple[int, bytes], int] = field(default_factory=dict)
    """The highest window of a series that a machine has let anybody use."""

    # --- people, who are honest

    def ask(self, i: int, j: int, k: int) -> None:
        """The technician asks one machine."""
        access = self.guards[i % 3].access
        payload = access.request_payload(
            *WISHES[j % len(WISHES)], seconds=SECONDS[k % len(SECONDS)]
        )
        raw = seal(payload, [access.technician])
        if k & 256:
            sent = access.delegate(self.ana.public, *WISHES[(j + k // 512) % len(WISHES)])
            payload |= {"requester": self.ana.public.key_id, "delegation": to_base64url(sent)}
            raw = seal(payload, [self.ana])
        self.envelopes.append(raw)
        self.push(i % 3, raw)

    def allow(self, i: int, j: int, k: int) -> None:
        """Approvers allow ahead what may be asked for, in three windows, on one machine or two."""
        guard = self.guards[i % 3]
        access, now = guard.access, guard.clock.wall
        own = [g for g in self.guards if g.access.trust is access.trust]
        devices = [g.access.machine.device for g in (own if k & 4 else [guard])]
        given = Permission(
            series=bytes([j % 7] * 16),
            devices=tuple(devices),
            requesters=(access.technician.public.key_id,),
            scopes=WISHES[j % len(WISHES)],
            seconds=SECONDS[k // 8 % len(SECONDS)],
            idle_seconds=3600,
            watched=bool(k & 1),
            windows=tuple(
                Window(now + at, now + at + 600_000) for at in (-1000, 700_000, 90_000_000)
            ),
            reason="the weekly look",
            time_zone="UTC",
        )
        who = (("ada",), ("ben",), ("ada", "ben"))[j % 3]
        payload = make_standing_payload(access.trust.policy, given, now)
        raw = seal(payload, [access.trust.people[name] for name in who])
        name = read_envelope(raw).hash
        self.ahead[name] = Ahead(access.trust.owner, given, frozenset(who))
        self.envelopes.append(raw)
        if k & 2:
            self.push(i % 3, raw)

    def come(self, i: int, j: int, k: int) -> None:
        """The technician comes by a window, the right one or not; the server may keep it."""
        if not self.ahead or not self.offers:
            return
        place, offer = self.offers[-1 - i % min(3, len(self.offers))]
        access = self.guards[place].access
        payload: JsonObject = {
            "device": access.machine.device,
            "epoch": access.trust.policy.epoch,
            "offer": offer.hash,
            "owner": access.trust.owner,
            "request": offer.request,
            "standing": list(self.ahead)[-1 - j % len(self.ahead)],
            "type": ENTRY_TYPE,
            "window": k // 4 % 4,
        }
        raw = seal(payload, [access.technician])
        self.envelopes.append(raw)
        if k & 2:
            self.push(place, raw)

    def visit(self, i: int, j: int, k: int) -> None:
        """Everything is in order: allowed ahead, asked, offered; the technician comes."""
        self.allow(i, (j // 3 * 3) + 2, k | 2)
        heard = len(self.offers)
        self.ask(i, (j // 3 * 3) + 2, 0)
        self.hear(i, j, k)
        if len(self.offers) > heard:
            self.come(0, 0, 2)

    def hear(self, i: int, j: int, k: int) -> None:
        """The server takes what a machine has to say."""
        del j, k
        guard = self.guards[i % 3]
        for note in guard.notes():
            raw = from_base64url(note.envelope)
            self.envelopes.append(raw)
            request = self.requests.get(note.subject)
            if note.kind == "offer" and request is not None:
                offer = verify_offer(raw, guard.access.machine.key, request)
                self.offers.append((i % 3, offer))
                self.fresh[i % 3].add(offer.hash)

    def approve(self, i: int, j: int, k: int) -> None:
        """One approver, or two, say yes to an offer; perhaps to less than was asked for."""
        if not self.offers:
            return
        place, offer = self.offers[-1 - i % min(3, len(self.offers))]
        access, request = self.guards[place].access, self.requests[offer.request]
        who = (("ada",), ("ben",), ("ada", "ben"))[j % 3]
        now = self.guards[place].clock.wall
        terms = Terms(
            request.scopes[: 1 + k % len(request.scopes)],
            max(1, request.seconds - 30 * (k // 8 % 2)),
            3600,
            bool(k & 1),
            now - 1000,
            now + (3_600_000, 600_000_000)[k // 4 % 2],
        )
        payload = make_grant_payload(access.trust.policy, request, offer, terms)
        raw = seal(payload, [access.trust.people[name] for name in who])
        policy = access.trust.policy.hash
        session = read_envelope(raw).hash
        self.approved[session] = Approval(place, request, offer.hash, terms, frozenset(who), policy)
        self.envelopes.append(raw)
        if k & 2:
            self.push(place, raw)

    def enter(self, i: int, j: int, k: int) -> None:
        """Everybody is honest for once, the server too, up to the grant: that it may keep."""
        heard = len(self.offers)
        self.ask(i, j, k)
        self.hear(i, j, k)
        if len(self.offers) > heard:
            self.approve(0, (2, 0)[k // 32 % 2], k | 1)

    def renew(self, i: int, j: int, k: int) -> None:
        """An owner says again what holds, and all of his machines hear it."""
        del j, k
        trust = self.guards[i % 3].access.trust
        trust.publish()
        for place, guard in enumerate(self.guards):
            if guard.access.trust is trust:
                self.documents.append(pushed(trust.bundle(guard.access.machine.device)))
                self.push_word(place, self.documents[-1])

    def say_no(self, i: int, j: int, k: int) -> None:
        """An approver stops a session or refuses a request; the server may hold it back."""
        subjects = [*self.approved, *self.requests, *self.ahead]
        if not subjects:
            return
        place, subject = i % 3, subjects[-1 - j % len(subjects)]
        if k & 4 and self.offers:
            place, offer = self.offers[-1 - i % min(3, len(self.offers))]
            subject = offer.request
        access = self.guards[place].access
        make = make_revocation_payload if subject in self.ahead else make_stop_payload
        payload = make(access.trust.policy, subject, "no", NOW_MS)
        raw = seal(payload, [access.trust.signers[k % 2]])
        self.envelopes.append(raw)
        if k & 2:
            self.push(place, raw)

    def watch(self, i: int, j: int, k: int) -> None:
        """An approver watches."""
        if not self.opened:
            return
        guard = self.guards[i % 3]
        session = list(self.opened)[-1 - j % len(self.opened)]
        payload = make_beat_payload(guard.access.trust.policy, session, guard.clock.wall)
        raw = seal(payload, [guard.access.trust.signers[k % 2]])
        self.envelopes.append(raw)
        if k & 2:
            self.push(i % 3, raw)

    def rule(self, i: int, j: int, k: int) -> None:
        """An owner signs another policy, or retires or confirms a machine."""
        guard = self.guards[i % 3]
        trust = guard.access.trust
        if k % 4 == 0:
            trust.retire(guard.access.machine)
        elif k % 4 == 1:
            own = guard.access.machine
            trust.publish([*(e for e in trust.entries if e.device != own.device), own.entry()])
        else:
            # Who asks may be somebody who also approves: then his yes does not count.
            guard.access.set_rules(POLICIES[j % len(POLICIES)], ("tom", "ada")[j // 4 % 2])
            trust.publish()
        for place, other in enumerate(self.guards):
            if other.access.trust is trust:
                self.documents.append(pushed(trust.bundle(other.access.machine.device)))
                if k & 4:
                    self.push_word(place, self.documents[-1])

    # --- the server

    def replay(self, i: int, j: int, k: int) -> None:
        """Hand any envelope to any machine: late, again, out of order, or to another."""
        del k
        if self.envelopes:
            self.push(i % 3, self.envelopes[-1 - j % len(self.envelopes)])

    def replay_documents(self, i: int, j: int, k: int) -> None:
        """Hand old documents, or those of another owner or machine, whole or altered."""
        if self.documents:
            word = bytearray(self.documents[-1 - j % len(self.documents)])
            if k % 4 == 0:
                word[k % len(word)] ^= 1 + k % 7
            self.push_word(i % 3, bytes(word))

    def mix(self, i: int, j: int, k: int) -> None:
        """Put fields or signatures of one envelope into another."""
        if len(self.envelopes) < 2:
            return
        one = self.envelopes[-1 - j % len(self.envelopes)]
        other = self.envelopes[-1 - k % len(self.envelopes)]
        whole, more = canonical.decode_object(one), canonical.decode_object(other)
        payload, donor = payload_of(one), payload_of(other)
        shared = sorted(set(payload) & set(donor))
        name = shared[(j + k) % len(shared)]
        changed: JsonObject = {**payload, name: donor[name]}
        forgeries: list[JsonObject] = [
            {**whole, "payload": changed},
            {**whole, "signatures": more["signatures"]},
            {**whole, "signatures": _both(whole, more)},
            {**whole, "signatures": _both(whole, whole)},
            {**whole, "payload": {**payload, "type": TYPES[k % len(TYPES)]}},
        ]
        self.push(i % 3, canonical.encode(forgeries[j % len(forgeries)]))

    def forge(self, i: int, j: int, k: int) -> None:
        """Change a field and sign with what a thief has: a key of his own, the technician's keys,
        and those of the approvers of another owner."""
        if not self.envelopes:
            return
        guard, raw = self.guards[i % 3], self.envelopes[-1 - j % len(self.envelopes)]
        payload = payload_of(raw)
        if payload.get("type") in (REQUEST_TYPE, ENTRY_TYPE):
            return  # What a technician signs is a word of his, and no forgery.
        others = [g for g in self.guards if g.access.trust is not guard.access.trust]
        hands = [
            [self.thief],
            [guard.access.technician],
            others[0].access.trust.signers,
            [*others[0].access.trust.signers, guard.access.technician, self.thief],
        ]
        wanted: list[tuple[str, Json]] = [
            ("nothing", ""),
            ("scopes", [{"kind": "root"}]),
            ("seconds", 3600),
            ("watched", False),
            ("owner", guard.access.trust.owner),
            ("device", guard.access.machine.device),
            ("recording_key", f"es256:{'A' * 100}"),
        ]
        name, value = wanted[k % len(wanted)]
        changes = {name: value} if name in payload else {}
        self.push(i % 3, resign(raw, changes, hands[k // 8 % len(hands)]))

    def garble(self, i: int, j: int, k: int) -> None:
        """Say the same in other bytes: doubled keys, white space, a flipped bit, a tail."""
        if not self.envelopes:
            return
        raw = self.envelopes[-1 - j % len(self.envelopes)]
        place = k % len(raw)
        tricks = (
            raw + b" ",
            raw.replace(b'"seconds":', b'"seconds":1,"seconds":', 1),
            raw.replace(b'{"payload"', b'{"payload":{},"payload"', 1),
            raw[:place] + bytes([raw[place] ^ (1 << k % 8)]) + raw[place + 1 :],
            raw.replace(b":", b": ", 1),
            raw.replace(b'"kind":"terminal"', b'"kind":"root"', 1),
            raw[:place],
        )
        self.push(i % 3, tricks[j % len(tricks)])

    # --- the world

    def crash(self, i: int, j: int, k: int) -> None:
        """A machine's agent is killed and starts again; perhaps the machine boots."""
        del k
        guard = self.guards[i % 3]
        if j % 3 == 0:
            guard.boot = f"boot-{j}"
        for place, opened in self.inside:
            if place == i % 3:
                opened.close()
        self.inside = [pair for pair in self.inside if pair[0] != i % 3]
        self.fresh[i % 3].clear()
        guard.start()

    def wait(self, i: int, j: int, k: int) -> None:
        """Time passes everywhere; on one machine somebody sets the wall clock."""
        for guard in self.guards:
            guard.clock.pass_ms(PASSING_MS[j % len(PASSING_MS)])
        if k % 8 == 0:
            self.guards[i % 3].clock.wall += (k - 32_768) * 100
        self.tick()

    def leave(self, i: int, j: int, k: int) -> None:
        """Who is inside goes."""
        del j, k
        if self.inside:
            place, opened = self.inside.pop(i % len(self.inside))
            opened.end()
            self.guards[place].tick()

    def tick(self) -> None:
        """Let every guard do what is due, and end what it says must end."""
        for guard in self.guards:
            guard.tick()
        for place, opened in list(self.inside):
            live = self.guards[place].core.sessions.live.get(opened.order.session)
            if live is None or live.ended is not None:
                self.inside.remove((place, opened))
                opened.close()
                self.guards[place].tick()

    def push(self, place: int, raw: bytes) -> None:
        """Hand an order over, and note what of the honest ones was taken."""
        before = set(self.guards[place].core.sessions.live)
        self._note_entry(raw)
        try:
            self.guards[place].push(raw)
        except FleetwardError:
            return
        envelope = read_envelope(raw)
        if envelope.type == REQUEST_TYPE:
            self._note_request(place, envelope.hash)
        subject = envelope.payload.get("subject")
        if envelope.type == STOP_TYPE and isinstance(subject, str) and subject not in before:
            self.refused.add((place, subject))

    def push_word(self, place: int, word: bytes) -> None:
        """Hand over what is no order."""
        try:
            self.guards[place].core.handle(TakePushed(), word)
        except FleetwardError:
            return

    def _note_entry(self, raw: bytes) -> None:
        try:
            envelope = read_envelope(raw)
        except FleetwardError:
            return
        if envelope.type == ENTRY_TYPE:
            self.entries[envelope.hash] = envelope.payload

    def _note_request(self, place: int, name: str) -> None:
        gate = self.guards[place].core.gate._sessions
        assert gate is not None
        self.requests.setdefault(name, gate._offers[name].request)

    # --- the oracle

    def look(self) -> None:
        """See what has opened, and what is open still."""
        for place, guard in enumerate(self.guards):
            doors = guard.doors
            assert doors is not None
            while doors._waiting():
                opened = doors.take()
                self.inside.append((place, opened))
                self._judge_opening(place, guard, opened)
            for name, live in guard.core.sessions.live.items():
                if live.ended is None:
                    self._judge_open(guard, name)

    def _judge_opening(self, place: int, guard: SessionGuard, opened: Opened) -> None:
        order, view = opened.order, guard.core.view
        if order.session in self.entries:
            self.approved[order.session] = self._judge_visit(place, guard, opened)
        approval = self.approved.get(order.session)
        assert approval is not None, "it opened what no approver signed"
        REACHED["opened"] += 1
        assert approval.place == place, "it was for another machine"
        assert order.session not in self.opened, "it was used before"
        assert approval.offer in self.fresh[place], "the offer is of an earlier start"
        assert (place, approval.request.hash) not in self.refused, "the request was refused"
        assert guard.core.lease_seconds_left > 0
        self.opened[order.session] = guard.clock.since_boot
        # What was opened is what was approved, no more, to the one who asked.
        assert order.read_scopes() == approval.terms.scopes
        assert order.seconds_left == approval.terms.seconds
        assert order.requester_key == approval.request.session_key
        assert order.recording_key == view.policy.roots.recording_key
        assert (order.owner, order.device) == (view.policy.owner, guard.access.machine.device)
        # The policy that the machine holds is the one it was approved under; people are counted.
        assert view.policy.hash == approval.policy
        rules = [view.policy.access.rule_of(scope) for scope in approval.terms.scopes]
        others = approval.people - set(approval.request.people)
        assert all(rule is not None and len(others) >= rule.threshold for rule in rules)
        assert all(
            rule is not None and (approval.terms.watched or not rule.watched) for rule in rules
        )
        assert approval.terms.not_before_ms <= guard.clock.wall < approval.terms.not_after_ms
        # It was on the disk before anything started.
        assert (guard.folder / "access" / f"{session_name(order.session)}.json").is_file()

    def _judge_visit(self, place: int, guard: SessionGuard, opened: Opened) -> Approval:
        """Return what an entry means, when it may open what opened."""
        entry, device = self.entries[opened.order.session], guard.access.machine.device
        ahead = self.ahead.get(str(entry["standing"]))
        assert ahead is not None, "nobody allowed that ahead"
        given, number = ahead.given, entry["window"]
        assert isinstance(number, int)
        assert device in given.devices, "it was allowed for other machines"
        assert ahead.owner == guard.access.trust.owner
        assert (place, str(entry["standing"])) not in self.refused, "it was taken back"
        assert number > self.used.get((place, given.series), -1), "the window was used"
        self.used[place, given.series] = number
        window, now = given.windows[number], guard.clock.wall
        assert window.not_before_ms <= now < window.not_after_ms, "it is another hour"
        request = self.requests[str(entry["request"])]
        assert request.requester in given.requesters, "it was allowed to others"
        assert set(request.scopes) <= set(given.scopes)
        seconds = min(request.seconds, given.seconds, (window.not_after_ms - now) // 1000)
        REACHED["visited"] += 1
        terms = Terms(
            request.scopes, seconds, given.idle_seconds, given.watched, window.not_before_ms,
            window.not_after_ms,
        )  # fmt: skip
        policy = guard.core.view.policy.hash
        return Approval(place, request, str(entry["offer"]), terms, ahead.people, policy)

    def _judge_open(self, guard: SessionGuard, name: str) -> None:
        approval, view = self.approved[name], guard.core.view
        age_ms = guard.clock.since_boot - self.opened[name]
        assert age_ms <= approval.terms.seconds * 1000, "it is open for too long"
        assert view.confirmed, "the machine is retired"
        sent = approval.request.delegation
        asking = approval.request.requester if sent is None else sent.delegator
        allowed = view.policy.access.requesters if sent is None else view.policy.access.delegators
        assert asking in allowed, "he may not ask any more"
        for scope in approval.terms.scopes:
            assert view.policy.access.rule_of(scope) is not None, "the policy has no such rule"


def _both(one: JsonObject, other: JsonObject) -> list[Json]:
    first, second = one["signatures"], other["signatures"]
    assert isinstance(first, list)
    assert isinstance(second, list)
    return [*first, *second]


def make_second(first: SessionGuard, folder: Path) -> SessionGuard:
    """Return another machine of the same owner."""
    guard_folder, clock = folder / "data" / "guard", HeldClock()
    guard_folder.parent.mkdir(parents=True)
    join_machine(guard_folder, first.fleet, clock)
    trust = first.access.trust
    machine = Machine(name="fan", owner=trust.owner, identity=load_identity(guard_folder))
    access = replace(first.access, machine=machine)
    trust.confirm(machine)
    guard = SessionGuard(guard_folder, access, first.fleet, clock, HeldDoors(pid=0))
    guard.start()
    guard.publish()
    first.publish()
    return guard


def play(moves: list[Move]) -> None:
    """Play one history; the oracle looks after every move."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as name:
        one = SessionGuard.make(Path(name) / "one", doors=HeldDoors(pid=0))
        two = make_second(one, Path(name) / "two")
        three = SessionGuard.make(Path(name) / "three", doors=HeldDoors(pid=0))
        here = Play([one, two, three], make_key(ED25519))
        try:
            for move, i, j, k in moves:
                act: Callable[[int, int, int], None] = getattr(here, move)
                act(i, j, k)
                REACHED[move] += 1
                here.look()
        finally:
            for guard in here.guards:
                guard.close()


PEOPLE: Final = (
    *("ask", "hear", "approve", "enter", "enter", "enter"),
    *("allow", "come", "visit", "visit"),
    *("say_no", "watch", "rule", "renew"),
)
SERVER: Final = ("replay", "replay", "replay_documents", "mix", "forge", "garble")
WORLD: Final = ("crash", "wait", "wait", "leave")
NAMES: Final = (*PEOPLE, *SERVER, *WORLD)
"""Moves, as often as they are drawn."""
NUMBERS: Final = 65_536
"""A move has three numbers below this one; each means what the move makes of it."""
