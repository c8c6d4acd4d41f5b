"""Any history of closings: an honest one is never blamed, and what it stands on is missed."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.closing_record import ClosingRecord, ids
from tests.closing_wishes import wish
from tests.unit.keyholder.ledger_world import Machine

from fleetward.trust.canonical import JsonObject, to_base64url
from fleetward.trust.closing import Closing, verify_closing_of_owner, verify_kept
from fleetward.trust.closing_standing import Standing, begin, keep, note_carried_out, restore
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.errors import Refused
from fleetward.trust.ledger_leaves import CLOSING_TYPES

STEPS = st.lists(
    st.tuples(st.sampled_from("cccokkrauj"), st.integers(1, 9), st.booleans()), max_size=14
)
"""Close, open all, keep, restore, say again, a filter undone and put back, a journal alone."""


@dataclass
class Honest:
    """Two machines that judge as `closing_standing` does, and a server that records all of it."""

    record: ClosingRecord
    standings: dict[str, Standing] = field(default_factory=dict)
    closings: dict[int, Closing] = field(default_factory=dict)
    leans: set[int] = field(default_factory=set)
    """Places of closings, and of confirmations, that a machine's word in the record needs."""
    places: dict[str, list[int]] = field(default_factory=dict)

    def step(self, what: str, number: int, second: bool) -> None:
        machine = self.record.door if second else self.record.pump
        standing = self.standings.get(machine.id, Standing())
        if what in "co":
            self._close(machine, standing, number, opens=what == "o")
        elif what == "k" and number in self.closings:
            self._keep(machine, standing, self.closings[number])
        elif what == "r" and standing.trial is not None:
            closing = self._by_hash(standing.trial.closing)
            self.standings[machine.id] = after = restore(standing)
            held = after.wanted
            self._say(machine, closing, "restored", closed=held.ports if held else ())
        elif what in "auj" and standing.wanted is not None:
            closing = self._by_hash(standing.wanted.closing)
            trial = standing.trial is not None
            left = closing.restore_seconds if trial else 0
            if what == "u":
                self._say(machine, closing, "undone", seconds_left=left)
            if what == "j":
                self.record.journal(machine, ("accepted", closing))
            outcome = "kept" if what == "a" and not trial and closing.ports else "applied"
            self._say(machine, closing, outcome, seconds_left=left)

    def _close(self, machine: Machine, standing: Standing, number: int, *, opens: bool) -> None:
        closing = self.closings.get(number)
        if closing is None:
            raw = self.record.sign(wish() if opens else wish(number), serial=number)
            closing = self.closings[number] = verify_closing_of_owner(raw, self.record.world.policy)
            self._place(closing.hash, raw)
        try:
            after = note_carried_out(begin(standing, closing))
        except Refused:
            self._say(machine, closing, "refused", closed=(), seconds_left=0)
            return
        self.standings[machine.id] = after
        self._say(machine, closing, "applied")

    def _keep(self, machine: Machine, standing: Standing, closing: Closing) -> None:
        raw = self.record.confirmation(closing)
        self._place("kept" + closing.hash, raw)
        kept = verify_kept(raw, self.record.world.policy)
        try:
            after = keep(standing, kept)
        except Refused:
            return
        self.standings[machine.id] = after
        if after != standing:
            self._say(machine, closing, "kept")

    def _place(self, name: str, raw: bytes) -> None:
        leaves = self.record.world.log.leaves
        self.places.setdefault(name, []).append(len(leaves))
        leaves.append(raw)

    def _say(self, machine: Machine, closing: Closing, outcome: str, **said: object) -> None:
        if outcome != "refused":
            self.leans.update(self.places[closing.hash])
        if outcome == "kept":
            self.leans.update(self.places["kept" + closing.hash][:1])
        self.record.say(machine, closing, outcome, **said)

    def _by_hash(self, name: str) -> Closing:
        return next(c for c in self.closings.values() if c.hash == name)


def live(steps: list[tuple[str, int, bool]]) -> Honest:
    honest = Honest(ClosingRecord.make())
    for what, number, second in steps:
        honest.step(what, number, second)
    return honest


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_an_honest_history_is_never_blamed(steps: list[tuple[str, int, bool]]) -> None:
    honest = live(steps)
    report = honest.record.audit()
    assert ids(report.contradicted) == set()
    assert ("closings" in ids(report.proven)) == bool(honest.closings)


@given(STEPS.filter(lambda steps: any(what in "co" for what, _, _ in steps)), st.data())
@settings(max_examples=60, deadline=None)
def test_what_a_word_stands_on_is_missed(
    steps: list[tuple[str, int, bool]], data: st.DataObject
) -> None:
    """A closing that a machine took, taken out of the record, or signed by nobody who may."""
    honest = live(steps)
    closings = sorted(place for c in honest.closings.values() for place in honest.places[c.hash])
    place = data.draw(st.sampled_from(closings))
    leaves = honest.record.world.log.leaves
    forged = seal(read_envelope(leaves[place]).payload, [honest.record.world.keys["refresh"]])
    leaves[place] = data.draw(st.sampled_from([forged, honest.record.world.deed("nothing")]))
    found = ids(honest.record.audit().contradicted)
    assert ("closing_not_signed" in found) == (place in honest.leans)


@given(st.sampled_from(sorted(CLOSING_TYPES)), st.binary(max_size=60), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_noise_of_these_types_never_raises(kind: str, noise: bytes, number: int) -> None:
    record = ClosingRecord.make()
    payload: JsonObject = {
        "type": kind, "device": record.pump.id, "closing": to_base64url(noise), "serial": number,
    }  # fmt: skip
    record.world.log.leaves.append(seal(payload, [record.pump.key]))
    assert ids(record.audit().contradicted) <= {"not_by_machine"}
