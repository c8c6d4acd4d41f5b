"""States of the record that somebody besides the server has seen (rules 4, 6 and 7 of `ledger`).

A machine journals the state that it was shown and signs it with its next batch; a witness signs
states; an auditor keeps old ones. Each must be a state of this record. Together they are what
keeps a server, which holds the log key, from writing the record anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from fleetward.trust.errors import FleetwardError, Untrusted
from fleetward.trust.keys import PublicKey
from fleetward.trust.ledger_findings import Finding, Findings
from fleetward.trust.ledger_generation import Dispute, Generation
from fleetward.trust.note import (
    Checkpoint,
    origin_of,
    read_checkpoint,
    verify_checkpoint,
    verify_cosignature,
)
from fleetward.trust.sayings import say_count

MAX_DISPUTES: Final = 1000
"""Disputes of one generation that are kept; one is enough."""


class StatesSeen:
    """Compares what others have seen with the generations that were read."""

    def __init__(self, owner: str, findings: Findings) -> None:
        self._owner = owner
        self._findings = findings
        self.generations: dict[int, Generation] = {}

    def judge(
        self, generation: Generation, size: int, root: bytes, who: str, device: str = ""
    ) -> bool:  # fmt: skip
        """Say whether this is a state of the generation, and contradict it when it is not."""
        if size > generation.tree.size:
            self._judge_longer(generation, size, who, device)
            return False
        if generation.tree.root_at(size) == root:
            generation.vouched = max(generation.vouched, size)
            return True
        if len(generation.disputes) < MAX_DISPUTES:
            generation.disputes.append(Dispute(size, root, who, device))
        return False

    def settle(self, generation: Generation) -> None:
        """Contradict the disputes of a generation that was read whole.

        Where the entries of this copy were altered and the export's hashes are still those that
        the server signed, the altered entry is named already. Who has seen what the server signed
        has then no quarrel with the server.
        """
        signed = generation.signed_tree
        for each in generation.disputes:
            if signed and each.size <= signed.size and signed.root_at(each.size) == each.root:
                continue
            generation.doubted = True
            sound = min(generation.vouched, max(each.size - 1, 0))
            self._findings.contradict(
                Finding(
                    "seen_otherwise",
                    f"{each.who} has seen other entries among the first {each.size}: the record "
                    f"was rewritten at entry {sound} or behind it.",
                    generation.number,
                    sound,
                    each.device,
                )
            )

    def judge_notes(
        self, generation: Generation, notes: Iterable[bytes], log_keys: Mapping[str, PublicKey]
    ) -> None:
        """Judge older checkpoints that an auditor or a witness kept, where they are of this log."""
        origin = origin_of(self._owner, generation.number)
        for note in notes:
            try:
                if read_checkpoint(note).checkpoint.origin != origin:
                    continue
                older = _verify_by_any(note, origin, log_keys)
            except FleetwardError as e:
                words = f"An older checkpoint is of no use: {e.message}"
                self._findings.leave_open(Finding("older_unusable", words, generation.number))
                continue
            who = f"The older checkpoint of {older.size} entries"
            if self.judge(generation, older.size, older.root, who):
                words = f"The record begins with all {older.size} entries of the older checkpoint."
                self._findings.prove(Finding("extends_older", words, generation.number))

    def judge_witness(
        self, generation: Generation, name: str, key: PublicKey, notes: Iterable[bytes], now_ms: int
    ) -> bool:  # fmt: skip
        """Judge what a witness signed; say whether there was anything by that name."""
        origin = origin_of(self._owner, generation.number)
        found = False
        for note in notes:
            if name not in names_on(note) or read_checkpoint(note).checkpoint.origin != origin:
                continue
            found = True
            try:
                at_seconds = verify_cosignature(note, name, key)
            except FleetwardError as e:
                words = f"What stands as the signature of {name} is not: {e.message}"
                self._findings.contradict(Finding("bad_witness", words, generation.number))
                continue
            state = read_checkpoint(note).checkpoint
            if self.judge(generation, state.size, state.root, f"The witness {name}"):
                words = f"The witness {name} has seen the first {state.size} entries as they stand."
                age = max(0, now_ms // 1000 - at_seconds)
                self._findings.prove(
                    Finding("witnessed", words, generation.number, age_seconds=age)
                )
        return found

    def finish(self) -> None:
        """Say how much of each generation others have seen, and how much nobody has."""
        for generation in self.generations.values():
            if generation.doubted:
                continue
            number, vouched = generation.number, generation.vouched
            if vouched:
                words = (
                    f"The first {vouched} entries of generation {number} are as machines, "
                    "witnesses or older checkpoints had seen them."
                )
                self._findings.prove(Finding("seen_by_others", words, number))
            unseen = generation.tree.size - vouched
            if unseen:
                words = (
                    f"No machine, witness or older checkpoint has seen the last "
                    f"{say_count(unseen, 'entry', 'entries')} of generation {number} yet: the "
                    "server could still have written them otherwise."
                )
                self._findings.leave_open(Finding("unseen_entries", words, number, vouched))

    def _judge_longer(self, generation: Generation, size: int, who: str, device: str) -> None:
        following = self.generations.get(generation.number + 1)
        end = generation.tree.size
        words = f"{who} has seen {size} entries of generation {generation.number}; "
        if following is not None and following.opening is not None:
            words += f"those from {end} on were lost at a restore, as the owner signed."
            finding = Finding("lost_at_restore", words, generation.number, end, device)
            self._findings.leave_open(finding)
        else:
            words += f"this record ends after {end}: its end was cut off."
            self._findings.contradict(Finding("truncated", words, generation.number, end, device))


def names_on(note: bytes) -> set[str]:
    """Return the names of those who signed a note; none when it is no note."""
    try:
        return {signature.name for signature in read_checkpoint(note).signatures}
    except FleetwardError:
        return set()


def _verify_by_any(note: bytes, origin: str, keys: Mapping[str, PublicKey]) -> Checkpoint:
    problem: FleetwardError = Untrusted("There is no log key.", reason="no_log_key")
    for key in keys.values():
        try:
            return verify_checkpoint(note, origin, key)
        except FleetwardError as e:
            problem = e
    raise problem
