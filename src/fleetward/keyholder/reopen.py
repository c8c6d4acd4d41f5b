"""`owner restore-open`: the owner's word that a restored server may go on, and what was lost.

The server says which state it still holds. The owner's folder says which state it found whole
last. When that one is longer, what lies between is lost, and the owner's signature says so for
ever; so it is asked for.
"""

from __future__ import annotations

import msgspec

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.folder import document_name
from fleetward.keyholder.kept_checkpoint import read_kept
from fleetward.trust.canonical import to_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.errors import Refused, Untrusted
from fleetward.trust.fields import require_digest
from fleetward.trust.generation import Opening, make_opening_payload, verify_opening
from fleetward.trust.journal import SeenCheckpoint
from fleetward.trust.note import origin_of, read_checkpoint


class _Request(msgspec.Struct, frozen=True):
    needed: bool
    generation: int
    size: int
    root: str


def open_anew(
    desk: Desk, client: ApiClient, reason: str, now_ms: int, *, accept_loss: bool
) -> Opening:
    """Sign the opening that a restored server waits for, and hand it over.

    Raises `Refused` when it waits for none, or when entries would be lost and `accept_loss` was
    not said; `Untrusted` when the server shows a state that is not the one this folder knows.
    """
    asked = client.get("/record/opening-request", _Request)
    if not asked.needed:
        raise Refused(
            "The server was not restored; its record goes on as it is.", reason="nothing_to_open"
        )
    known = SeenCheckpoint(
        asked.generation, asked.size, require_digest(asked.root, "the record's root")
    )
    policy = desk.documents().policy
    _compare_with_kept(desk, known, policy.owner, accept_loss=accept_loss)
    payload = make_opening_payload(policy, known, reason, now_ms)
    opening = verify_opening(seal(payload, [desk.signer("root")]), [policy])
    client.post("/record/opening", {"opening": to_base64url(opening.raw)}, dict)
    desk.folder.write_once(document_name("openings", opening.generation), opening.raw)
    return opening


def _compare_with_kept(desk: Desk, known: SeenCheckpoint, owner: str, *, accept_loss: bool) -> None:
    for note in read_kept(desk.folder):
        kept = read_checkpoint(note).checkpoint
        if kept.origin != origin_of(owner, known.generation):
            continue
        if kept.size == known.size and kept.root.hex() != known.root:
            raise Untrusted(
                f"The server shows another record of {kept.size} entries than the one that was "
                "found whole here. It was not only restored: it was rewritten.",
                reason="forked",
            )
        if kept.size > known.size and not accept_loss:
            raise Refused(
                f"The server holds {known.size} entries; {kept.size} were found whole here. "
                f"{kept.size - known.size} entries are lost for good if you sign. A newer backup "
                "may have them. To sign nevertheless: --accept-loss",
                reason="entries_would_be_lost",
            )
