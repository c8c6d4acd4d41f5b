"""Machines that wait for the owner's word, and giving it.

The server's list is hearsay. What is confirmed is a key: its id and its six words are computed
here from the public key itself, and the words that a person typed must be those. A server that
shows another name, another key or another word gets nothing signed for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.desk import Desk, find_entry
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.trust.canonical import from_base64url
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Untrusted
from fleetward.trust.keys import ES256, PublicKey, read_public_key
from fleetward.trust.roster import ACTIVE, MAX_NAME_CHARACTERS, RosterEntry
from fleetward.trust.words import device_words, normalise_words


class PendingMachine(msgspec.Struct, frozen=True, kw_only=True):
    """One waiting machine, as the server tells it."""

    id: Annotated[str, msgspec.Meta(pattern="^[a-z2-7]{32}$")]
    suite: str
    public: Annotated[str, msgspec.Meta(max_length=256)]
    name_suggested: str
    site: str
    model: str
    joined_at: str
    preapproved: bool
    maker: str = ""
    simulated: bool = False


class _PendingList(msgspec.Struct, frozen=True):
    items: list[PendingMachine]


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a person said: these six words stand on the machine, and this is what it is."""

    device: str
    words: str
    name: str = ""
    site: str = ""


def fetch_pending(client: ApiClient) -> list[PendingMachine]:
    """Return the machines that wait. Raises `Unreachable`, `Refused` or `Malformed`."""
    return client.get("/owner/pending", _PendingList).items


def words_of(owner: str, machine: PendingMachine) -> str:
    """Return the six words of a waiting machine, from its key. Raises `Malformed`, `Untrusted`."""
    return device_words(owner, read_machine_key(machine).key_id)


def read_machine_key(machine: PendingMachine) -> PublicKey:
    """Return the identity key of a waiting machine; it must be the one that its id names."""
    if machine.suite != ES256:
        raise Malformed("Expected an identity key on P-256.", reason="bad_key")
    key = read_public_key(ES256, from_base64url(machine.public))
    if key.key_id != machine.id:
        raise Untrusted(
            f"The server shows another key than the one of {machine.id}. Do not confirm it; "
            "look at the machine itself: fleetward-agent status",
            reason="another_key",
        )
    return key


def confirm_machine(
    desk: Desk, machines: list[PendingMachine], said: Confirmation
) -> OwnerDocuments:
    """Put a waiting machine on the roster when the words that a person typed are its own.

    Raises `Malformed` for words that are none, `Refused` when they are another machine's, or no
    such machine waits.
    """
    documents = desk.documents()
    machine = next((m for m in machines if m.id == said.device), None)
    if machine is None:
        raise Refused(_not_waiting(documents, said.device), reason="not_waiting")
    key = read_machine_key(machine)
    if normalise_words(said.words) != device_words(documents.owner, key.key_id):
        raise Refused(
            "The six words are not those of this machine's key. Read them from the machine's own "
            "screen again. If they still differ, somebody stands between: do not confirm it.",
            reason="words_differ",
        )
    entry = RosterEntry(
        device=key.key_id,
        key=key,
        name=_line(said.name or machine.name_suggested or key.key_id, "name"),
        site=_line(said.site or machine.site, "site"),
        groups=(),
        model=_line(machine.model, "model"),
        maker=_line(machine.maker, "maker"),
        state=ACTIVE,
    )
    return desk.put_on_roster(entry)


def compute_words(owner: str, machine: PendingMachine) -> str:
    """Return the words to show for a waiting machine, or why there are none."""
    try:
        return words_of(owner, machine)
    except FleetwardError as e:
        return f"none: {e.message}"


def _not_waiting(documents: OwnerDocuments, device: str) -> str:
    entry = find_entry(documents, device)
    if entry is not None and entry.state == ACTIVE:
        return f"{entry.name} is on the roster already; nothing is to be confirmed."
    return (
        f"Expected a machine that waits, got {device[:64]!r}. See which wait: "
        "fleetward owner pending"
    )


def _line(text: str, what: str) -> str:
    if len(text) > MAX_NAME_CHARACTERS or not text.isprintable():
        raise Malformed(
            f"Expected the {what} to be at most {MAX_NAME_CHARACTERS} printable characters. "
            f"Give it by --{what}.",
            reason="bad_name",
        )
    return text
