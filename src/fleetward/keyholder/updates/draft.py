"""An approval that takes more than one person: it travels as a file, and each checks it alone.

The file holds the owner's public documents, the maker's metadata and manifest, and the signatures
so far. Whoever signs needs the owner root that he knows and his key: the release is verified anew,
from the root that the owner's policy names, as the first who signed did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from fleetward.keyholder.documents import OwnerDocuments
from fleetward.keyholder.updates.finding import Found, find_release
from fleetward.keyholder.updates.kept import NothingKept
from fleetward.keyholder.updates.preparing import (
    DRAFT_FORMAT,
    Prepared,
    prepare_again,
    read_begun,
    sign_approval,
)
from fleetward.keyholder.updates.roots import find_maker
from fleetward.keyholder.updates.source import FilesSource
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.keys import Signer
from fleetward.trust.policy import Policy, verify_first_policy, verify_following_policy
from fleetward.trust.root import verify_root


class ApprovalDraft(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What travels. Nothing in it is believed: see `open_approval_draft`."""

    format: str
    root: str
    policies: list[str]
    maker_roots: list[str] = []
    maker_roles: dict[str, str] = {}
    manifest: str = ""
    approval: str

    @property
    def signed(self) -> bytes:
        """The approval with the signatures so far."""
        return from_base64url(self.approval)


@dataclass(frozen=True, slots=True)
class OpenedApproval:
    """A draft that was checked."""

    draft: ApprovalDraft
    prepared: Prepared


def make_approval_draft(
    documents: OwnerDocuments,
    approval: bytes,
    found: Found | None = None,
    maker: tuple[tuple[bytes, ...], Mapping[str, bytes]] = ((), {}),
) -> bytes:
    """Return the file's bytes. `maker` is his roots and the other files of his metadata."""
    return msgspec.json.encode(
        ApprovalDraft(
            format=DRAFT_FORMAT,
            root=to_base64url(documents.root.raw),
            policies=[to_base64url(policy.raw) for policy in documents.policies],
            maker_roots=[to_base64url(root) for root in maker[0]],
            maker_roles={name: to_base64url(data) for name, data in maker[1].items()},
            manifest="" if found is None else to_base64url(found.raw),
            approval=to_base64url(approval),
        )
    )


def open_approval_draft(data: bytes, owner_root: str, now_ms: int) -> OpenedApproval:
    """Return a draft that is what it says, under this owner root.

    Raises `Malformed`, `Untrusted`, or `Refused` when the maker's metadata is over by now.
    """
    try:
        draft = msgspec.json.decode(data, type=ApprovalDraft)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Malformed(f"Expected the draft of an approval; {e}.", reason="bad_draft") from e
    if draft.format != DRAFT_FORMAT or not draft.policies:
        raise Malformed("Expected the draft of an approval of this release.", reason="bad_draft")
    root = verify_root(from_base64url(draft.root), owner_root)
    policies: list[Policy] = [verify_first_policy(from_base64url(draft.policies[0]), root)]
    for each in draft.policies[1:]:
        policies.append(verify_following_policy(from_base64url(each), policies[-1]))
    policy = policies[-1]
    begun = read_begun(draft.signed, policy)
    manifest = None
    if not begun.standing:
        source = FilesSource(
            tuple(from_base64url(each) for each in draft.maker_roots),
            {name: from_base64url(each) for name, each in draft.maker_roles.items()},
            from_base64url(draft.manifest),
        )
        named = (begun.product, begun.version)
        anchor = find_maker(policy, begun.product)
        manifest = find_release(source, NothingKept(), anchor, named, now_ms).manifest
        if manifest.hash != begun.release:
            raise Untrusted(
                "The draft shows another release than the one that was approved.",
                reason="another_release",
            )
    return OpenedApproval(draft, prepare_again(begun, policy, manifest))


def cosign_approval(opened: OpenedApproval, signer: Signer) -> bytes:
    """Return the file's bytes with one more signature. Raises `Refused` for who may not approve."""
    signed = sign_approval(opened.prepared, [signer], opened.draft.signed)
    return msgspec.json.encode(msgspec.structs.replace(opened.draft, approval=to_base64url(signed)))
