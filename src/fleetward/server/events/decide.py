"""Whether a batch follows what is stored: pure."""

from __future__ import annotations

from dataclasses import dataclass

from fleetward.trust.errors import Refused, Untrusted
from fleetward.trust.journal import BatchHeader, start_of_chain


@dataclass(frozen=True, slots=True)
class Fresh:
    """The batch continues the stored journal: store it."""


@dataclass(frozen=True, slots=True)
class Known:
    """The batch is stored already: answer with the receipt again."""


def decide_place(
    header: BatchHeader, last: int, head: str, stored_hash: str | None, *, restored: bool = False
) -> Fresh | Known:
    """Return whether to store a verified batch behind a journal that ends at `last` with `head`.

    `stored_hash` is the hash of the stored batch that starts where this one does, if any.
    `restored` says that this store was restored and has not heard of the machine since: what the
    machine no longer keeps is lost then, as the owner signed, and it goes on behind it. Raises
    `Refused` (reason `out_of_sequence`) when the machine must resend from elsewhere, `Untrusted`
    (reason `forked_journal`) when two histories of one machine exist.
    """
    if header.first == last + 1:
        if header.previous != head:
            raise Untrusted(
                f"Entry {header.first} does not follow the journal that this machine sent before. "
                "Two machines may be using one identity: compare them, then retire both.",
                reason="forked_journal",
            )
        return Fresh()
    if header.last <= last:
        if stored_hash is not None and stored_hash != header.hash:
            raise Untrusted(
                f"Entries {header.first} to {header.last} came before with another content.",
                reason="forked_journal",
            )
        if stored_hash is not None:
            return Known()
    if restored and header.first > last + 1:
        return Fresh()
    raise Refused(
        f"Expected the entry {last + 1} next, got {header.first}.", reason="out_of_sequence"
    )


def first_head(owner: str, device: str) -> str:
    """Return the chain's head before the first entry."""
    return start_of_chain(owner, device).hex()
