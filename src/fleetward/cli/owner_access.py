"""`fleetward owner approve|deny|stop|cosign`: the owner's answers to those who ask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleetward.cli.access_options import SessionId
from fleetward.cli.owner_options import (
    AsJson,
    Data,
    Owner,
    PassphraseFile,
    Server,
    TokenFile,
    open_desk,
)
from fleetward.cli.owner_release_options import Near, ReleaseWish, ask_yes
from fleetward.cli.owner_updates import (
    approve_release,
    cosign_release,
    open_release_draft,
    tell_release_draft,
)
from fleetward.cli.owner_watch import watch_case
from fleetward.keyholder.access.answering import (
    Answer,
    Prepared,
    check_lease,
    check_may_approve,
    prepare_grant,
    read_question,
    sign_blind_stop,
    sign_grant,
    sign_stop,
    verify_own_grant,
)
from fleetward.keyholder.access.cosigning import MAX_DRAFT_BYTES, cosign, make_draft, open_draft
from fleetward.keyholder.access.judging import Judge, require_named
from fleetward.keyholder.access.scope_words import parse_length, parse_scope
from fleetward.keyholder.access.server_rows import WAITING, AccessApi, AccessPapers
from fleetward.keyholder.access.standing_draft import (
    OpenedStanding,
    cosign_standing,
    is_standing_draft,
    open_standing_draft,
)
from fleetward.keyholder.access.standing_telling import (
    show_prepared_standing,
    tell_prepared_standing,
)
from fleetward.keyholder.access.telling import (
    show_case,
    show_prepared,
    tell_prepared,
    tell_question,
)
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.hand import reach_server
from fleetward.keyholder.named_key import open_named_key
from fleetward.keyholder.place import find_owner
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.keyholder.updates.preparing import MAX_DRAFT_BYTES as MAX_RELEASE_DRAFT_BYTES
from fleetward.keyholder.updates.preparing import is_approval_draft
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import FleetwardError, Refused, Untrusted
from fleetward.trust.keys import Signer

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; the words are printed.")]


def approve(
    request: Annotated[
        str, typer.Argument(help="A session's request (8 digits of its id), or PRODUCT/VERSION.")
    ],
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Give this scope only; may repeat.")
    ] = None,
    length: Annotated[str, typer.Option("--for", help="Give less time, as 15m.")] = "",
    watch: Annotated[
        bool, typer.Option("--watch", help="End it when nobody watches; then watch it here.")
    ] = False,
    draft: Annotated[
        Path | None, typer.Option("--draft", help="Hand over a grant that others signed too.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", help="Sign with this sealed key, or pkcs11:…, and not with the folder's own."
        ),
    ] = None,
    yes: Yes = False,
    no_follow: Annotated[
        bool, typer.Option("--no-follow", help="Do not watch here; watch it elsewhere.")
    ] = False,
    groups: Annotated[
        list[str] | None, typer.Option("--group", help="Release: machines of it; may repeat.")
    ] = None,
    sites: Annotated[
        list[str] | None, typer.Option("--site", help="Release: machines there; may repeat.")
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", help="Release: machines of it; may repeat.")
    ] = None,
    devices: Annotated[
        list[str] | None, typer.Option("--device", help="Release: a name or id; may repeat.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Release: all machines, and those that come.")
    ] = False,
    not_before: Annotated[
        str, typer.Option("--not-before", help="Release: from then, as 2026-12-01T02:00 (UTC).")
    ] = "",
    until: Annotated[
        str, typer.Option("--until", help="Release: until then, or 30d; else 90 days.")
    ] = "",
    windows: Annotated[
        list[str] | None,
        typer.Option(
            "--window", help="Release: only then, as 'Mon-Fri 22:00-05:00 Europe/Vienna'."
        ),
    ] = None,
    standing: Annotated[
        bool, typer.Option("--standing", help="PRODUCT's releases ahead; needs --wait.")
    ] = False,
    wait: Annotated[
        str, typer.Option("--wait", help="Standing: how long after a machine first saw it, as 3d.")
    ] = "",
    reason: Annotated[
        str, typer.Option("--reason", help="Release: why; it stands in the record.")
    ] = "",
    origin: Annotated[
        Path | None, typer.Option("--from", help="Release: a bundle, or a maker's repository here.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Release: write it to this file, for a bundle.")
    ] = None,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Say yes to a request to come in, as it is or to less of it, or to a release of software.
    Compare the six words with who asks, or with the maker.

    fleetward owner approve 3f9a01bc --only terminal:app --for 15m --watch --data DIR

    fleetward owner approve 3f9a01bc --key cleo.key --data DIR

    fleetward owner approve kiosk/1.1 --group ward-3 --window "Mon-Fri 22:00-05:00 Europe/Vienna"

    fleetward owner approve kiosk --standing --wait 3d --all --data DIR
    """
    with refusals():
        wish = ReleaseWish(
            named=request, standing=standing, wait=wait, groups=tuple(groups or ()),
            sites=tuple(sites or ()), models=tuple(models or ()), devices=tuple(devices or ()),
            everything=everything, not_before=not_before, until=until,
            windows=tuple(windows or ()), reason=reason, origin=origin, out=out, draft=draft,
            yes=yes,
        )  # fmt: skip
        if wish.is_of_release:
            wish.check(for_sessions=bool(only or length or watch or no_follow))
            near = Near(owner, data, server, token_file, passphrase_file, key)
            approve_release(wish, near, as_json=as_json)
            return
        desk = _open(owner, data, passphrase_file, key)
        api = AccessApi(reach_server(desk.folder, data, server, token_file))
        if draft is not None:
            prepared, raw = _take_draft(desk, draft)
            _require_named(prepared.question.request.hash, request)
        else:
            answer = Answer(
                scopes=tuple(parse_scope(text) for text in only or ()),
                seconds=parse_length(length) if length else 0,
                watched=watch,
            )
            prepared, raw = _sign(desk, api, request, answer, (key, passphrase_file, yes))
        question = prepared.question
        api.hand(question.request.hash, "grant", raw)
        opens = f"It opens when {question.entry.name} has it."
        if question.request.break_glass:
            opens = f"BREAK-GLASS: it opens when somebody presses at {question.entry.name}."
        emit(show_prepared(prepared), as_json, f"Granted. {opens}")
        if prepared.terms.watched and not no_follow and not as_json:
            case = _judge(desk.documents()).read_case(api.papers(question.request.hash))
            watch_case(desk, api, case, as_json=as_json)


def deny(
    request: SessionId,
    reason: Annotated[str, typer.Option("--reason", help="Why; who asked reads it.")] = "",
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Say no to a request.

    fleetward owner deny 3f9a01bc --reason "not during surgery" --data DIR
    """
    with refusals():
        _end(open_desk(owner, data, passphrase_file), (data, server, token_file),
             (request, reason, as_json), denying=True)  # fmt: skip


def stop(
    session: SessionId,
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands in the record.")] = "",
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """End a session at once, and all that was started in it.

    fleetward owner stop 3f9a01bc --reason "enough" --data DIR
    """
    with refusals():
        _end(open_desk(owner, data, passphrase_file), (data, server, token_file),
             (session, reason, as_json), denying=False)  # fmt: skip


def cosign_grant(
    draft: Annotated[Path, typer.Argument(help="A grant that waits for more signatures.")],
    root: Annotated[
        str, typer.Option("--root", help="The owner root's 64 digits, as you know it.")
    ],
    key: Annotated[str, typer.Option("--key", help="Your sealed approver key, or pkcs11:…")],
    yes: Yes = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Add your yes to a grant, to what is allowed ahead, or to a release, that takes more than one
    person. Give the file back to the owner.

    fleetward owner cosign grant-3f9a01bc.json --root 5f1c… --key bo.key
    """
    with refusals():
        now_ms = SystemClock().wall_ms()
        data = read_bounded(draft, MAX_RELEASE_DRAFT_BYTES)
        if is_approval_draft(data):
            approval = open_release_draft(data, root)
            say(tell_release_draft(approval))
            ask_yes(yes=yes)
            cosign_release(draft, approval, (key, passphrase_file), as_json=as_json)
            return
        if is_standing_draft(data):
            _cosign_standing(draft, open_standing_draft(data, root), (key, passphrase_file),
                             yes=yes, as_json=as_json)  # fmt: skip
            return
        opened = open_draft(data, root, now_ms)
        _show(opened.prepared)
        ask_yes(yes=yes)
        signer = open_named_key(key, passphrase_file)
        atomic_write(draft, cosign(opened, signer))
        emit(show_prepared(opened.prepared), as_json, f"Signed. Give {draft} back to the owner.")


def _open(
    owner: Path | None, data: Path | None, passphrase_file: Path | None, key: str | None
) -> Desk:
    """Return the owner's desk; with another key, one that opens none of the folder's."""
    if key is None:
        return open_desk(owner, data, passphrase_file)
    return Desk(OwnerFolder.open(find_owner(owner, data)), b"", SystemClock())


def _cosign_standing(
    draft: Path,
    opened: OpenedStanding,
    how: tuple[str, Path | None],
    *,
    yes: bool,
    as_json: bool,
) -> None:
    say(tell_prepared_standing(opened.prepared))
    ask_yes(yes=yes)
    signer = open_named_key(*how)
    atomic_write(draft, cosign_standing(opened, signer))
    shown = show_prepared_standing(opened.prepared)
    emit(shown, as_json, f"Signed. Give {draft} back to the owner.")


def _sign(
    desk: Desk,
    api: AccessApi,
    request: str,
    answer: Answer,
    by: tuple[str | None, Path | None, bool],
) -> tuple[Prepared, bytes]:
    key, passphrase_file, yes = by
    documents, now_ms = desk.documents(), SystemClock().wall_ms()
    check_lease(documents, now_ms)
    question = read_question(_judge(documents), api.find(request), now_ms)
    _require_named(question.request.hash, request)
    signer: Signer = (
        desk.signer("approver")
        if key is None
        else open_named_key(key, passphrase_file, of=Path(key).name)
    )
    check_may_approve(question, signer.public.key_id)
    prepared = prepare_grant(question, answer, now_ms)
    _show(prepared)
    ask_yes(yes=yes)
    raw = sign_grant(prepared, [signer])
    try:
        verify_own_grant(raw, prepared)
    except Untrusted as e:
        if e.reason != "too_few_signatures":
            raise
        name = f"drafts/grant-{prepared.question.request.hash[:16]}.json"
        desk.folder.keep_draft(name, make_draft(documents, question, raw))
        raise Refused(
            f"{e.message} The draft is in {desk.folder.path / name}: let others run `fleetward "
            f"owner cosign FILE --root {documents.owner} --key KEY`, then run `fleetward owner "
            f"approve {question.request.hash[:16]} --draft FILE`.",
            reason="more_signatures_needed",
        ) from e
    return prepared, raw


def _take_draft(desk: Desk, path: Path) -> tuple[Prepared, bytes]:
    documents, now_ms = desk.documents(), SystemClock().wall_ms()
    opened = open_draft(read_bounded(path, MAX_DRAFT_BYTES), documents.owner, now_ms)
    if opened.prepared.question.policy.hash != documents.policy.hash:
        raise Refused(
            "The draft is under another policy than yours of now. Approve it anew.",
            reason="another_policy",
        )
    verify_own_grant(opened.draft.signed, opened.prepared)
    return opened.prepared, opened.draft.signed


def _end(
    desk: Desk,
    near: tuple[Path | None, str, Path | None],
    said: tuple[str, str, bool],
    *,
    denying: bool,
) -> None:
    named, reason, as_json = said
    api = AccessApi(reach_server(desk.folder, *near))
    papers = api.find(named)
    if denying and papers.state not in WAITING:
        raise Refused(
            f"This is {papers.state} already. A session is ended by `fleetward owner stop`.",
            reason="answered_already",
        )
    signer, now_ms = desk.signer("approver"), SystemClock().wall_ms()
    policy = desk.documents().policy
    try:
        case = require_named(_judge(desk.documents()).read_case(papers), named)
        ended = case.request if denying or case.grant is None else case.grant
        raw = sign_stop(policy, ended, reason, signer, now_ms).raw
        shown = show_case(case, papers.state)
        words = f"{case.entry.name}: {case.request.person}"
    except FleetwardError as e:
        subject = _hash_named(papers, named, denying=denying)
        say(f"Its papers are not believed ({e.message}); the stop is signed all the same.")
        raw = sign_blind_stop(policy, subject, reason, signer, now_ms)
        shown, words = {"id": papers.id, "session": papers.session}, papers.id[:16]
    api.hand(papers.id, "stop", raw)
    what = "Refused" if denying else "Stopped"
    shown |= {"stop": to_base64url(raw)}
    emit(shown, as_json, f"{what}: {words}. The machine obeys as soon as it hears it.")


def _hash_named(papers: AccessPapers, named: str, *, denying: bool) -> str:
    """Return the hash that a person named, of papers that are not believed. Raises `Untrusted`.

    A hash that the server puts beside it is not stopped. A stop of a request ends the session on
    it, too.
    """
    text = named.strip().lower()
    for each in (papers.id, "" if denying else papers.session):
        if each.startswith(text):
            return each
    raise Untrusted("The server shows papers of something else.", reason="another_request")


def _judge(documents: OwnerDocuments) -> Judge:
    return Judge(documents.policies, documents.entries)


def _require_named(hash_: str, named: str) -> None:
    if len(named) < 8 or not hash_.startswith(named.strip().lower()):
        raise Untrusted("This is for another request than was named.", reason="another_request")


def _show(prepared: Prepared) -> None:
    say(tell_question(prepared.question))
    say(tell_prepared(prepared))
