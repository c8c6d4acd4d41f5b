"""`fleetward owner window …`: let people in ahead, in windows of time, and take it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleetward.cli.access_options import PLAIN
from fleetward.cli.owner_access import Yes
from fleetward.cli.owner_options import (
    AsJson,
    Data,
    Owner,
    PassphraseFile,
    Server,
    TokenFile,
    open_desk,
)
from fleetward.cli.owner_release_options import ask_yes
from fleetward.keyholder.access.answering import check_lease
from fleetward.keyholder.access.cosigning import MAX_DRAFT_BYTES
from fleetward.keyholder.access.scope_words import EXAMPLES, parse_length, parse_scope
from fleetward.keyholder.access.standing import (
    PreparedStanding,
    Wanted,
    check_may_allow,
    prepare_standing,
    sign_standing,
)
from fleetward.keyholder.access.standing_desk import (
    find_case,
    finish_standing,
    read_all,
    take_back,
)
from fleetward.keyholder.access.standing_draft import open_standing_draft
from fleetward.keyholder.access.standing_rows import StandingApi
from fleetward.keyholder.access.standing_telling import (
    show_prepared_standing,
    show_standing_case,
    tell_prepared_standing,
    tell_standing_case,
    tell_standing_line,
)
from fleetward.keyholder.access.window_times import (
    find_zone,
    join_windows,
    read_date,
    single_window,
    weekly_windows,
)
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.hand import reach_server
from fleetward.keyholder.place import find_owner
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.files import read_bounded
from fleetward.trust.errors import Refused
from fleetward.trust.grants.standing import Window
from fleetward.trust.roster import ACTIVE, RosterEntry

window_app = typer.Typer(
    help="Let people in ahead, once in each window of time.", no_args_is_help=True, **PLAIN
)

WindowId = Annotated[str, typer.Argument(help="Its id, or 8 digits of its beginning.")]


@window_app.command("add")
def add(
    machines: Annotated[
        list[str] | None, typer.Argument(help="Machines: ids, or names on your roster.")
    ] = None,
    people: Annotated[
        list[str] | None, typer.Option("--for", help="Who may enter: a requester of your policy.")
    ] = None,
    scope: Annotated[list[str] | None, typer.Option("--scope", help=f"{EXAMPLES}.")] = None,
    every: Annotated[
        list[str] | None, typer.Option("--every", help="As 'Tue 02:00-04:00'; may repeat.")
    ] = None,
    weeks: Annotated[int, typer.Option("--weeks", min=1, help="For how many weeks.")] = 12,
    at: Annotated[
        list[str] | None, typer.Option("--at", help="One window, as 2026-12-01T02:00; may repeat.")
    ] = None,
    length: Annotated[str, typer.Option("--length", help="How long each --at is open.")] = "2h",
    skip: Annotated[
        list[str] | None, typer.Option("--skip", help="Leave this day out, as 2027-03-28.")
    ] = None,
    time_zone: Annotated[
        str, typer.Option("--time-zone", help="In which these are, as Europe/Berlin.")
    ] = "UTC",
    session: Annotated[
        str, typer.Option("--session", help="How long somebody may be inside, at most.")
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Only while somebody watches.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why. Everybody reads it.")] = "",
    draft: Annotated[
        Path | None, typer.Option("--draft", help="Hand over one that others signed too.")
    ] = None,
    yes: Yes = False,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Let somebody enter machines in windows of time, once in each, without being asked again.

    fleetward owner window add pump-7 pump-8 --for Tom --scope terminal:app --every "Tue
    02:00-04:00" --weeks 12 --time-zone Europe/Berlin --reason "the weekly update" --data DIR
    """
    with refusals():
        desk = open_desk(owner, data, passphrase_file)
        documents = desk.documents()
        check_lease(documents, SystemClock().wall_ms())
        if draft is not None:
            opened = open_standing_draft(read_bounded(draft, MAX_DRAFT_BYTES), documents.owner)
            prepared, raw = opened.prepared, opened.draft.signed
        else:
            wanted = Wanted(
                machines=tuple(_find_machine(documents, named) for named in machines or ()),
                people=tuple(people or ()),
                scopes=tuple(dict.fromkeys(parse_scope(text) for text in scope or ())),
                windows=_read_windows(
                    (every or [], weeks), (at or [], length), skip or [], time_zone
                ),
                reason=reason,
                time_zone=time_zone,
                seconds=parse_length(session) if session else 0,
                watched=watch,
            )
            prepared, raw = _sign(desk, documents, wanted, yes=yes)
        finish_standing(desk, prepared, raw)
        words = (
            "Allowed. Each machine signs when it has it: fleetward owner window show "
            f"{prepared.hash[:16]}"
        )
        _hand(desk, (data, server, token_file), raw)
        emit(show_prepared_standing(prepared), as_json, words)


@window_app.command("list")
def list_windows(
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """List what was allowed ahead, the newest first, with the next window of each.

    fleetward owner window list --data DIR
    """
    with refusals():
        folder = OwnerFolder.open(find_owner(owner, data))
        api = StandingApi(reach_server(folder, data, server, token_file))
        cases, doubted = read_all(folder, api)
        now_ms = SystemClock().wall_ms()
        lines = [tell_standing_line(case, now_ms) for case in cases]
        lines += [f"{each.id[:16]}  {each.trouble}" for each in doubted]
        shown = [show_standing_case(case, now_ms) for case in cases]
        shown += [{"id": each.id, "trouble": each.trouble} for each in doubted]
        emit(shown, as_json, "\n".join(lines) or "Nothing was allowed ahead.")


@window_app.command("show")
def show(
    named: WindowId,
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one permission: its windows, what machines have signed of it, and who came.

    fleetward owner window show 3f9a01bc --data DIR
    """
    with refusals():
        folder = OwnerFolder.open(find_owner(owner, data))
        api = StandingApi(reach_server(folder, data, server, token_file))
        case = find_case(read_all(folder, api)[0], named)
        now_ms = SystemClock().wall_ms()
        emit(show_standing_case(case, now_ms), as_json, tell_standing_case(case, now_ms))


@window_app.command("revoke")
def revoke(
    named: WindowId,
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands in the record.")] = "",
    owner: Owner = None,
    data: Data = None,
    server: Server = "",
    token_file: TokenFile = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Take a permission back; who is inside by it is put out. Any one approver may.

    It is done when every machine has signed so; until then the machines that have not are named.

    fleetward owner window revoke 3f9a01bc --reason "Tom has left" --data DIR
    """
    with refusals():
        desk = open_desk(owner, data, passphrase_file)
        api = StandingApi(reach_server(desk.folder, data, server, token_file))
        case = find_case(read_all(desk.folder, api)[0], named)
        now_ms = SystemClock().wall_ms()
        raw = take_back(desk, case.standing.hash, reason, now_ms)
        try:
            api.revoke(case.standing.hash, raw)
        except Refused as e:
            if e.reason != "not_found":
                raise
            api.add(case.standing.raw)  # a server that was put back learns of both
            api.revoke(case.standing.hash, raw)
        after = find_case(read_all(desk.folder, api)[0], case.standing.hash)
        names = ", ".join(after.waiting_for)
        words = (
            "Taken back; every machine has signed so."
            if after.done
            else f"Taken back. It is done when these have signed so: {names}. "
            f"See: fleetward owner window show {after.standing.hash[:16]}"
        )
        emit(show_standing_case(after, now_ms), as_json, words)


def _sign(
    desk: Desk, documents: OwnerDocuments, wanted: Wanted, *, yes: bool
) -> tuple[PreparedStanding, bytes]:
    _check(wanted)
    signer = desk.signer("approver")
    prepared = prepare_standing(documents.policy, wanted, SystemClock().wall_ms())
    check_may_allow(prepared, signer.public.key_id)
    say(tell_prepared_standing(prepared))
    ask_yes(yes=yes)
    return prepared, sign_standing(prepared, [signer])


def _hand(desk: Desk, near: tuple[Path | None, str, Path | None], raw: bytes) -> None:
    StandingApi(reach_server(desk.folder, *near)).add(raw)


def _check(wanted: Wanted) -> None:
    missing = [
        words
        for given, words in (
            (wanted.machines, "the machines"),
            (wanted.people, "who may enter (--for)"),
            (wanted.scopes, "what for (--scope)"),
            (wanted.reason, "why (--reason)"),
        )
        if not given
    ]
    if missing:
        raise Refused(f"Name {', '.join(missing)}.", reason="nothing_allowed")


def _read_windows(
    every: tuple[list[str], int], at: tuple[list[str], str], skip: list[str], zone_name: str
) -> tuple[Window, ...]:
    zone, now_ms = find_zone(zone_name), SystemClock().wall_ms()
    days = {read_date(text) for text in skip}
    windows = [w for text in every[0] for w in weekly_windows(text, every[1], zone, now_ms, days)]
    windows += [single_window(text, parse_length(at[1]), zone) for text in at[0]]
    if not windows:
        raise Refused("Name the windows by --every or --at.", reason="no_window")
    return join_windows(windows)


def _find_machine(documents: OwnerDocuments, named: str) -> RosterEntry:
    found = [
        e
        for e in documents.entries
        if e.device == named
        or (
            e.state == ACTIVE
            and (e.name == named or (len(named) >= 8 and e.device.startswith(named)))
        )
    ]
    if len(found) != 1:
        raise Refused(
            f"Expected one machine on your roster for {named[:80]!r}, found {len(found)}. Name it "
            "by its id.",
            reason="device_not_found",
        )
    return found[0]
