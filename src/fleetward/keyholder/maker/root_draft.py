"""A root that several people sign on several computers: made, signed, compared, counted.

A draft is a root of TUF as it will be published, with the signatures that there are. It travels as
a file. It names the maker and each person beside the keys, in fields of its own, which are signed
along.

1. Every signature in a draft must be by a key that may sign it, over what the draft says now. A
   draft that was changed after somebody signed is refused by the next who looks.
2. Who signs sees six words of what he signs; the others, on the telephone, see the same.
3. The maker's folder keeps what it drafted, and takes signatures for that alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tuf.api.metadata import Key, Metadata, Role, Root

from fleetward.keyholder.maker.lives import ROOT_DAYS, end_of
from fleetward.keyholder.maker.tuf_keys import add_signature, is_same_key, write_tuf_key
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Untrusted
from fleetward.trust.keys import PublicKey, Signer
from fleetward.trust.releases import limits
from fleetward.trust.releases.checks import require_threshold, write_signed
from fleetward.trust.releases.reading import read_metadata
from fleetward.trust.words import six_words

MAKER_FIELD: Final = "x-fleetward-maker"
PEOPLE_FIELD: Final = "x-fleetward-people"
MAX_PEOPLE: Final = 16


@dataclass(frozen=True, slots=True)
class RootPerson:
    """Somebody with a root key."""

    name: str
    key: PublicKey


@dataclass(frozen=True, slots=True)
class DraftState:
    """What a draft says, and who has signed it."""

    version: int
    maker: str
    threshold: int
    people: tuple[tuple[str, bool], ...]
    """Name, and whether that person has signed."""
    words: str
    """Six words of what is signed, to compare over the telephone."""
    ends_at: str

    @property
    def missing(self) -> int:
        """How many more of its own people have to sign."""
        return max(0, self.threshold - sum(signed for _, signed in self.people))


def draft_first(
    maker: str,
    people: Sequence[RootPerson],
    threshold: int,
    roles: Mapping[str, PublicKey],
    now_ms: int,
) -> Metadata[Root]:
    """Return root 1, signed by nobody. Raises `Malformed` for people that cannot be."""
    root = Root(expires=end_of(ROOT_DAYS, now_ms), consistent_snapshot=True)
    root.unrecognized_fields[MAKER_FIELD] = maker
    _name_people(root, people, threshold)
    for role, public in roles.items():
        root.add_key(write_tuf_key(public), role)
    _require_distinct(root)
    return Metadata(root)


def draft_next(
    before: Metadata[Root],
    people: Sequence[RootPerson],
    roles: Mapping[str, PublicKey],
    now_ms: int,
) -> Metadata[Root]:
    """Return the root after `before`, with these people, and with new keys for some roles."""
    root = read_draft(before.to_bytes()).signed
    root.version += 1
    root.expires = end_of(ROOT_DAYS, now_ms)
    _name_people(root, people, root.roles["root"].threshold)
    for role, public in roles.items():
        for key_id in list(root.roles[role].keyids):
            root.revoke_key(key_id, role)
        root.add_key(write_tuf_key(public), role)
    _require_distinct(root)
    return Metadata(root)


def read_draft(data: bytes) -> Metadata[Root]:
    """Return a draft, of which nothing is believed yet. Raises `Malformed`."""
    return read_metadata(data, Root, "root", limits.MAX_ROOT_BYTES)


def sign_draft(draft: Metadata[Root], signer: Signer, before: Root | None = None) -> None:
    """Add a signature (rules 1 and 2). Raises `Refused` for a key that the draft does not name."""
    check_draft(draft, before)
    for key in _list_signers(draft.signed, before):
        if is_same_key(key, signer.public):
            add_signature(draft, signer, key)
            return
    raise Refused(
        "Expected a key that this root names; yours is another. Did they get your public key? "
        "They name it by: fleetward maker init --root-key FILE.pub",
        reason="another_key",
    )


def check_draft(draft: Metadata[Root], before: Root | None = None) -> None:
    """Demand that every signature is by a known key over what stands here (rule 1)."""
    signed = write_signed(draft)
    known = {key.keyid: key for key in _list_signers(draft.signed, before)}
    for key_id, signature in draft.signatures.items():
        try:
            known[key_id].verify_signature(signature, signed)
        except Exception as e:  # the boundary to the library, which raises many kinds
            raise Untrusted(
                "Expected every signature to fit what the draft says; one does not. It was changed "
                "after somebody signed it, or somebody else signed. Sign nothing, and ask who "
                "handed it to you.",
                reason="draft_changed",
            ) from e


def merge_signatures(own: Metadata[Root], come: Metadata[Root], before: Root | None = None) -> None:
    """Take others' signatures into the folder's own draft (rule 3)."""
    if write_signed(own) != write_signed(come):
        raise Untrusted(
            "Expected signatures for the root that this folder drafted; the file says something "
            "else. It was changed on its way. Sign nothing, and ask who handed it to you.",
            reason="draft_changed",
        )
    check_draft(come, before)
    own.signatures.update(come.signatures)


def is_complete(draft: Metadata[Root], before: Root | None = None) -> bool:
    """Say whether enough people have signed, by this root and by the one before it (5.3.4)."""
    try:
        require_threshold(draft.signed, "root", draft, "root")
        if before is not None:
            require_threshold(before, "root", draft, "root")
    except FleetwardError as e:
        if e.reason != "root_threshold":
            raise
        return False
    return True


def tell_draft(draft: Metadata[Root]) -> DraftState:
    """Return what a draft says, for people."""
    root = draft.signed
    return DraftState(
        version=root.version,
        maker=_text(root.unrecognized_fields.get(MAKER_FIELD)),
        threshold=root.roles["root"].threshold,
        people=tuple(
            (name_of(root, key_id), key_id in draft.signatures)
            for key_id in root.roles["root"].keyids
        ),
        words=six_words(hashlib.sha256(write_signed(draft)).digest()),
        ends_at=f"{root.expires:%Y-%m-%d}",
    )


def name_of(root: Root, key_id: str) -> str:
    """Return whose key it is, as the root says."""
    people = root.unrecognized_fields.get(PEOPLE_FIELD)
    return _text(people.get(key_id)) if isinstance(people, dict) else ""


def _text(value: object) -> str:
    text = value if isinstance(value, str) else ""
    return "".join(c if c.isprintable() else " " for c in text[:80])


def _name_people(root: Root, people: Sequence[RootPerson], threshold: int) -> None:
    if not 1 <= len(people) <= MAX_PEOPLE or not 1 <= threshold <= len(people):
        raise Malformed(
            f"Expected 1 to {MAX_PEOPLE} people and a threshold that they can reach, got "
            f"{len(people)} and {threshold}.",
            reason="bad_threshold",
        )
    old = root.roles["root"].keyids
    root.roles["root"] = Role([], threshold)
    others = {key_id for role in root.roles.values() for key_id in role.keyids}
    root.keys = {key_id: key for key_id, key in root.keys.items() if key_id in others - set(old)}
    for person in people:
        root.add_key(write_tuf_key(person.key), "root")
    root.unrecognized_fields[PEOPLE_FIELD] = {
        write_tuf_key(person.key).keyid: person.name for person in people
    }
    if len(root.roles["root"].keyids) != len(people):
        raise Malformed("Two people have the same key.", reason="same_key")


def _require_distinct(root: Root) -> None:
    used = [key_id for role in root.roles.values() for key_id in role.keyids]
    if len(set(used)) != len(used):
        raise Malformed(
            "Expected a key of its own for each role; one stands twice.", reason="same_key"
        )


def _list_signers(root: Root, before: Root | None) -> list[Key]:
    keys = [root.keys[key_id] for key_id in root.roles["root"].keyids]
    if before is not None:
        keys += [before.keys[key_id] for key_id in before.roles["root"].keyids]
    return keys
