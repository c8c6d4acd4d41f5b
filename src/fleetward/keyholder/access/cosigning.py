"""A grant that takes more than one person: it travels as a file, and each checks it alone.

The file holds the owner's public documents and the papers of one request, so that whoever signs
needs no server and no owner's folder: only the owner root that he knows, and his own key. What he
is shown comes from there, and the six words are of the very grant that he signs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from fleetward.keyholder.access.answering import (
    Prepared,
    Question,
    read_question,
    sign_grant,
    terms_of,
)
from fleetward.keyholder.access.judging import Judge
from fleetward.keyholder.access.server_rows import AccessPapers, PaperRunbook
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.errors import Malformed
from fleetward.trust.keys import Signer
from fleetward.trust.merkle import Frontier, hash_leaf, prove_inclusion
from fleetward.trust.policy import Policy, owner_name, verify_first_policy, verify_following_policy
from fleetward.trust.root import verify_root
from fleetward.trust.roster import read_entry, verify_entry, verify_roster

FORMAT: Final = "fleetward-grant-draft/1"
MAX_DRAFT_BYTES: Final = 4 * 1024 * 1024


class GrantDraft(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What travels. Nothing in it is believed: see `open_draft`."""

    format: str
    root: str
    policies: list[str]
    roster: str
    entry: str
    entry_index: int
    entry_proof: list[str]
    request_id: str
    request: str
    offer: str
    grant: str
    runbooks: list[str] = []

    @property
    def signed(self) -> bytes:
        """The grant with the signatures so far."""
        return from_base64url(self.grant)


@dataclass(frozen=True, slots=True)
class Opened:
    """A draft that was checked."""

    draft: GrantDraft
    owner: str
    prepared: Prepared


def make_draft(documents: OwnerDocuments, question: Question, grant: bytes) -> bytes:
    """Return the file's bytes for a grant that more people must sign."""
    nodes: dict[tuple[int, int], bytes] = {}
    frontier = Frontier()
    place = 0
    for number, entry in enumerate(documents.entries):
        frontier.append(
            hash_leaf(entry.to_bytes()), lambda level, i, node: nodes.__setitem__((level, i), node)
        )
        if entry.device == question.entry.device:
            place = number
    proof = prove_inclusion(place, len(documents.entries), lambda level, i: nodes[level, i])
    return msgspec.json.encode(
        GrantDraft(
            format=FORMAT,
            root=to_base64url(documents.root.raw),
            policies=[to_base64url(p.raw) for p in documents.policies],
            roster=to_base64url(documents.roster.raw),
            entry=to_base64url(question.entry.to_bytes()),
            entry_index=place,
            entry_proof=[to_base64url(h) for h in proof],
            request_id=question.request.hash,
            request=to_base64url(question.request.raw),
            offer=to_base64url(question.offer.raw),
            grant=to_base64url(grant),
            runbooks=[to_base64url(runbook.raw) for runbook in question.runbooks.values()],
        )
    )


def open_draft(data: bytes, owner_root: str, now_ms: int) -> Opened:
    """Return a draft that is what it says, under this owner root.

    Raises `Malformed`, `Untrusted`, or `Refused` for an old request or a retired machine.
    """
    try:
        draft = msgspec.json.decode(data, type=GrantDraft)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Malformed(f"Expected the draft of a grant; {e}.", reason="bad_draft") from e
    if draft.format != FORMAT or not draft.policies:
        raise Malformed("Expected the draft of a grant of this release.", reason="bad_draft")
    root = verify_root(from_base64url(draft.root), owner_root)
    policies: list[Policy] = [verify_first_policy(from_base64url(draft.policies[0]), root)]
    for each in draft.policies[1:]:
        policies.append(verify_following_policy(from_base64url(each), policies[-1]))
    roster = verify_roster(from_base64url(draft.roster), policies[-1])
    proof = [from_base64url(h) for h in draft.entry_proof]
    raw = from_base64url(draft.entry)
    device = read_entry(raw).device
    entry = verify_entry(roster, raw, draft.entry_index, proof, device)
    papers = AccessPapers(
        id=draft.request_id,
        device_id=entry.device,
        request=draft.request,
        offer=draft.offer,
        runbooks=[PaperRunbook(envelope=each) for each in draft.runbooks],
    )
    question = read_question(Judge(policies, [entry]), papers, now_ms)
    return Opened(draft, owner_name(root, policies[-1]), terms_of(draft.signed, question))


def cosign(opened: Opened, signer: Signer) -> bytes:
    """Return the file's bytes with one more signature. Raises `Refused` for who may not approve."""
    signed = sign_grant(opened.prepared, [signer], opened.draft.signed)
    return msgspec.json.encode(msgspec.structs.replace(opened.draft, grant=to_base64url(signed)))
