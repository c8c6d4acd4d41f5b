"""`fleetward owner approve PRODUCT/VERSION`, `withdraw`, `approvals`: what may be installed.

What judges releases loads python-tuf, which takes a third of a second: it is imported where a
release is looked at, so that no other command waits for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetward.cli.owner_options import (
    AsJson,
    Data,
    Owner,
    PassphraseFile,
    Server,
    TokenFile,
)
from fleetward.cli.owner_release_options import Near, ReleaseWish, ask_yes, read_terms
from fleetward.keyholder.access.answering import check_lease
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.named_key import open_named_key
from fleetward.keyholder.place import Unnamed, find_owner
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.keyholder.updates.desk import find_cases, keep_approval, read_all, withdraw
from fleetward.keyholder.updates.preparing import (
    MAX_DRAFT_BYTES,
    Prepared,
    prepare_approval,
    prepare_standing,
    sign_approval,
)
from fleetward.keyholder.updates.roots import find_maker
from fleetward.keyholder.updates.server_rows import ApprovalApi
from fleetward.keyholder.updates.telling import (
    say_subject,
    show_case,
    show_prepared,
    tell_cases,
    tell_prepared,
    tell_reach,
)
from fleetward.keyholder.updates.terms import (
    APPROVAL_SECONDS,
    STANDING_SECONDS,
    Reach,
    find_reach,
    read_wait,
)
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Refused, Unreachable, Untrusted
from fleetward.trust.release_approval import Approval, verify_approval
from fleetward.trust.release_manifest import check_product, check_version

if TYPE_CHECKING:
    from fleetward.keyholder.updates.draft import OpenedApproval
    from fleetward.keyholder.updates.finding import Found
    from fleetward.keyholder.updates.kept import KeptFolder


def approve_release(wish: ReleaseWish, near: Near, *, as_json: bool) -> None:
    """Approve a release, or a product ahead. Raises what is to be told."""
    desk = near.desk()
    documents, now_ms = desk.documents(), SystemClock().wall_ms()
    check_lease(documents, now_ms)
    if wish.out is None and not near.has_server():  # before anything is signed
        raise Unnamed(
            "Expected where the approval goes: --data DIR or --server URL with --token-file F; or "
            "--out FILE, for the bundle of a machine without a network.",
            reason="no_server_named",
        )
    if wish.draft is not None:
        prepared, raw = _take_draft(documents, wish, now_ms)
    else:
        prepared, raw = _sign(desk, documents, wish, near)
    approval = verify_approval(raw, documents.policy)
    keep_approval(desk.folder, approval)
    said = _deliver(desk, approval, wish, near)
    shown = {**show_prepared(prepared, _reach(prepared, documents)), "envelope": to_base64url(raw)}
    emit(shown, as_json, f"Approved: {say_subject(approval)}. {said}")


def withdraw_approval(
    named: Annotated[
        str, typer.Argument(help="PRODUCT/VERSION, or an approval's id (8 digits are enough).")
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands in the record.")] = "",
    key: Annotated[
        str | None, typer.Option("--key", help="Sign with this sealed key, or pkcs11:…")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write it to this file, for a USB bundle.")
    ] = None,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Take an approval back. What is installed already stays; nothing more is installed by it.

    fleetward owner withdraw kiosk/1.1 --reason "it fails on old screens" --data DIR
    """
    with refusals():
        near = Near(owner, data, server, token_file, passphrase_file, key)
        desk, now_ms = near.desk(), SystemClock().wall_ms()
        api = None if out is not None else ApprovalApi(near.client(desk.folder))
        cases, _ = read_all(desk.folder, api.rows() if api is not None else ())
        found = find_cases(cases, named, now_ms)
        if out is not None and len(found) > 1:
            raise Refused(
                f"{len(found)} approvals are meant, and a file holds one: name one by its id. "
                "See: fleetward owner approvals",
                reason="several_approvals",
            )
        signer = near.signer(desk)
        for case in found:
            keep_approval(desk.folder, case.approval)  # others may have signed it
            raw = withdraw(desk, case.approval.hash, reason, now_ms, signer)
            if api is not None:
                api.submit(raw)
            elif out is not None:
                atomic_write(out, raw, 0o644)
        cases, _ = read_all(desk.folder)
        ids = {case.approval.hash for case in found}
        shown = [show_case(case, now_ms) for case in cases if case.approval.hash in ids]
        words = "; ".join(say_subject(case.approval) for case in found)
        where = f"It is in {out}." if out is not None else "Machines obey when they hear of it."
        emit(shown, as_json, f"Withdrawn: {words}. {where}")


def list_approvals(
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """List what may be installed, newest first: what begins later, holds, is over, was withdrawn.

    fleetward owner approvals --data DIR
    """
    with refusals():
        folder, now_ms = OwnerFolder.open(find_owner(owner, data)), SystemClock().wall_ms()
        near = Near(owner, data, server, token_file, None, None)
        rows = ApprovalApi(near.client(folder)).rows() if near.has_server() else []
        cases, doubted = read_all(folder, rows)
        if not near.has_server():
            say("As your folder knows it; with --data or --server, what others approved too.")
        shown = {
            "approvals": [show_case(case, now_ms) for case in cases],
            "doubted": [{"name": d.name, "words": d.trouble, "own": d.own} for d in doubted],
        }
        emit(shown, as_json, tell_cases(cases, doubted, now_ms))


def open_release_draft(data: bytes, root: str) -> OpenedApproval:
    """Return a draft that waits for more signatures, for `owner cosign`. Raises as it does."""
    from fleetward.keyholder.updates.draft import open_approval_draft

    return open_approval_draft(data, root, SystemClock().wall_ms())


def cosign_release(
    path: Path, opened: OpenedApproval, how: tuple[str, Path | None], *, as_json: bool
) -> None:
    """Add a signature to a draft whose words were shown and agreed to."""
    from fleetward.keyholder.updates.draft import cosign_approval

    atomic_write(path, cosign_approval(opened, open_named_key(*how)))
    emit(show_prepared(opened.prepared), as_json, f"Signed. Give {path} back to the owner.")


def tell_release_draft(opened: OpenedApproval) -> str:
    """Return what a draft is about, for who signs too."""
    return tell_prepared(opened.prepared, SystemClock().wall_ms())


def _sign(
    desk: Desk, documents: OwnerDocuments, wish: ReleaseWish, near: Near
) -> tuple[Prepared, bytes]:
    now_ms = SystemClock().wall_ms()
    found, kept = (None, None) if wish.standing else _find(desk, documents, wish, near)
    if found is None:
        product = check_product(wish.named)
        find_maker(documents.policy, product)
        terms = read_terms(documents, wish, STANDING_SECONDS, now_ms)
        wait_seconds = read_wait(wish.wait)
        prepared = prepare_standing(documents.policy, product, terms, wait_seconds, now_ms)
    else:
        terms = read_terms(documents, wish, APPROVAL_SECONDS, now_ms)
        prepared = prepare_approval(documents.policy, found.manifest, terms, now_ms)
    say(tell_prepared(prepared, now_ms))
    say(tell_reach(_reach(prepared, documents)))
    ask_yes(yes=wish.yes)
    raw = sign_approval(prepared, [near.signer(desk)])
    try:
        verify_approval(raw, documents.policy)
    except Untrusted as e:
        if e.reason != "too_few_signatures":
            raise
        raise _keep_draft(desk, documents, wish, raw, (prepared, found, kept)) from e
    return prepared, raw


def _reach(prepared: Prepared, documents: OwnerDocuments) -> Reach:
    hardware = ("*",) if prepared.manifest is None else prepared.manifest.hardware
    return find_reach(prepared.terms.selector, documents.entries, hardware)


def _find(
    desk: Desk, documents: OwnerDocuments, wish: ReleaseWish, near: Near
) -> tuple[Found, KeptFolder]:
    """Return the release, verified as a machine does, and what the folder keeps of its maker."""
    from fleetward.keyholder.updates.finding import find_release
    from fleetward.keyholder.updates.kept import KeptFolder
    from fleetward.keyholder.updates.source import ServerSource, open_source

    product, _, version = wish.named.partition("/")
    check_version(version)
    anchor = find_maker(documents.policy, product)
    source = (
        ServerSource(near.client(desk.folder)) if wish.origin is None else open_source(wish.origin)
    )
    kept = KeptFolder(desk.folder, product, anchor)
    return find_release(source, kept, anchor, (product, version), _floor_ms(documents)), kept


def _floor_ms(documents: OwnerDocuments) -> int:
    """Return the time, never before what the owner himself has signed."""
    signed = [documents.policy.issued_at_ms]
    if documents.lease is not None:
        signed.append(documents.lease.issued_at_ms)
    return max(SystemClock().wall_ms(), *signed)


def _keep_draft(
    desk: Desk,
    documents: OwnerDocuments,
    wish: ReleaseWish,
    raw: bytes,
    what: tuple[Prepared, Found | None, KeptFolder | None],
) -> Refused:
    from fleetward.keyholder.updates.draft import make_approval_draft

    prepared, found, kept = what
    maker = (kept.roots(), kept.roles()) if kept is not None else ((), {})
    name = f"drafts/approval-{prepared.hash[:16]}.json"
    desk.folder.keep_draft(name, make_approval_draft(documents, raw, found, maker))
    again = f"{wish.named} --standing" if wish.standing else wish.named
    return Refused(
        f"It takes {prepared.needed} people; the draft is in {desk.folder.path / name}. Let others "
        f"run `fleetward owner cosign FILE --root {documents.owner} --key KEY`, then run "
        f"`fleetward owner approve {again} --draft FILE`.",
        reason="more_signatures_needed",
    )


def _take_draft(
    documents: OwnerDocuments, wish: ReleaseWish, now_ms: int
) -> tuple[Prepared, bytes]:
    from fleetward.keyholder.updates.draft import open_approval_draft

    assert wish.draft is not None
    opened = open_approval_draft(read_bounded(wish.draft, MAX_DRAFT_BYTES), documents.owner, now_ms)
    prepared, raw = opened.prepared, opened.draft.signed
    manifest = prepared.manifest
    subject = prepared.product if manifest is None else f"{prepared.product}/{manifest.version}"
    if subject != wish.named or wish.standing != (manifest is None):
        raise Untrusted(f"The draft approves {subject}.", reason="another_release")
    if prepared.policy.hash != documents.policy.hash:
        raise Refused(
            "The draft is under another policy than yours of now. Approve it anew.",
            reason="another_policy",
        )
    say(tell_prepared(prepared, now_ms))
    say(tell_reach(_reach(prepared, documents)))
    return prepared, raw


def _deliver(desk: Desk, approval: Approval, wish: ReleaseWish, near: Near) -> str:
    if wish.out is not None:
        atomic_write(wish.out, approval.raw, 0o644)
        return f"It is in {wish.out}, for the bundle: fleetward release bundle"
    try:
        ApprovalApi(near.client(desk.folder)).submit(approval.raw)
    except (Unreachable, Refused) as e:
        kept = f"documents/releases/{approval.hash}.json"
        raise type(e)(
            f"{e.message} What you signed is kept in {desk.folder.path / kept}; `fleetward "
            "owner refresh` hands it over when the server answers.",
            reason=e.reason,
        ) from e
    back = f"Take it back by: fleetward owner withdraw {approval.hash[:16]}"
    if approval.standing:
        return f"{back}\nEach new release gets a rollout by itself: one machine first."
    named = f"{approval.product}/{approval.version}"
    return f"{back}\nA rollout brings it to machines: fleetward rollout create {named} --all"
