"""One generation of a record: its entries as a tree, and what does not fit (rule 3 of `ledger`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from fleetward.trust.generation import Opening
from fleetward.trust.ledger_findings import Finding, Findings
from fleetward.trust.ledger_tree import Misfit, RecordTree
from fleetward.trust.note import Checkpoint

_WHAT: Final = {
    "missing": "is missing",
    "added": "was added",
    "reordered": "stands in another place than it was recorded",
    "altered": "is not the one that was recorded: it was altered",
}


@dataclass(slots=True)
class Generation:
    """One generation as far as it was read."""

    number: int
    checkpoint: Checkpoint | None
    notes: tuple[bytes, ...]
    """Its checkpoint, and those that witnesses signed."""
    tree: RecordTree
    opening: Opening | None = None
    vouched: int = 0
    """Entries at the start that somebody besides the server has seen as they stand."""
    doubted: bool = False
    """Whether somebody has seen them otherwise."""
    deeds: int = 0
    deed_at_ms: int = 0
    bad: int = 0
    disputes: list[Dispute] = field(default_factory=list)
    signed_tree: RecordTree | None = None
    """The tree that the server signed, where these entries are not its own: the export's hashes
    give it."""


@dataclass(frozen=True, slots=True)
class Dispute:
    """Somebody has seen another state than the entries give."""

    size: int
    root: bytes
    who: str
    device: str


def judge_tree(generation: Generation, findings: Findings) -> None:
    """Compare the entries with the checkpoint, and name the first that does not fit."""
    tree, checkpoint = generation.tree, generation.checkpoint
    if checkpoint is None:
        return
    whole = (checkpoint.size, checkpoint.root) == (tree.size, tree.root_at(tree.size))
    misfit = tree.find_misfit()
    if misfit is not None:
        finding = _name_misfit(generation, misfit, checkpoint, whole=whole)
        if finding.id == "entry_altered" and generation.signed_tree is not None:
            findings.explain(generation.number, misfit.entry)
    elif not whole:
        finding = _name_by_size(generation, checkpoint)
    else:
        if not generation.bad:
            findings.prove(_praise(generation))
        return
    findings.contradict(finding)


def _praise(generation: Generation) -> Finding:
    return Finding(
        "record_whole",
        f"The {generation.tree.size} entries of generation {generation.number} are those that the "
        f"server signed, in their order; {generation.deeds} of them are deeds, in the server's own "
        "words.",
        generation.number,
    )


def _name_misfit(
    generation: Generation, misfit: Misfit, checkpoint: Checkpoint, *, whole: bool
) -> Finding:
    number, entry = generation.number, misfit.entry
    if whole:
        return Finding(
            "hash_altered",
            f"The hash that came for entry {entry} is not the entry's; the entry itself is the "
            "one that was signed.",
            number,
            entry,
        )
    claimed = generation.tree.claimed_tree()
    sure = claimed is not None and claimed.root_at(claimed.size) == checkpoint.root
    generation.signed_tree = claimed if sure else None
    doubt = "" if sure else " (the hashes were altered too, so an earlier one may be)"
    return Finding(
        f"entry_{misfit.what}", f"Entry {entry} {_WHAT[misfit.what]}{doubt}.", number, entry
    )


def _name_by_size(generation: Generation, checkpoint: Checkpoint) -> Finding:
    size, number = generation.tree.size, generation.number
    if size < checkpoint.size:
        return Finding(
            "truncated",
            f"The server signed {checkpoint.size} entries; this record ends after {size}.",
            number,
            size,
        )
    if size > checkpoint.size:
        return Finding(
            "entry_added",
            f"The server signed {checkpoint.size} entries; this record has {size}.",
            number,
            checkpoint.size,
        )
    return Finding(
        "rewritten",
        "The entries do not give what the server signed: at least one from entry "
        f"{generation.vouched} on was altered. Its hash was altered too, so it cannot be named.",
        number,
        generation.vouched,
    )
