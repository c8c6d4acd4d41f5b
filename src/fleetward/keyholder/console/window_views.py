"""Permissions given ahead as the page shows them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fleetward.keyholder.access.scope_words import DEFAULT_FILE_BYTES, write_scope
from fleetward.keyholder.access.standing import PreparedStanding, StandingCase
from fleetward.keyholder.access.standing_desk import Doubted
from fleetward.keyholder.access.standing_telling import STATE_WORDS
from fleetward.keyholder.access.window_times import say_window
from fleetward.keyholder.console.access_model import PasskeyChoice
from fleetward.keyholder.console.access_views import show_scopes
from fleetward.keyholder.console.passkey_keeper import RP_ID
from fleetward.keyholder.console.window_model import (
    Choice,
    PreparedWindow,
    SpanView,
    WindowMachine,
    WindowView,
)
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.access import (
    AccessRules,
    FilesScope,
    LogsScope,
    RootScope,
    Scope,
    TerminalScope,
)
from fleetward.trust.canonical import to_base64url
from fleetward.trust.envelope import RoleKey, signed_bytes
from fleetward.trust.grants.standing import Window
from fleetward.trust.passkey import challenge_of


def show_spans(windows: Sequence[Window], zone: str) -> list[SpanView]:
    """Return windows with their words."""
    return [
        SpanView(
            words=say_window(each, zone),
            not_before=to_rfc3339(each.not_before_ms),
            not_after=to_rfc3339(each.not_after_ms),
        )
        for each in windows
    ]


def show_window(case: StandingCase, now_ms: int) -> WindowView:
    """Return a verified permission and what became of it."""
    standing, place = case.standing, case.next_window(now_ms)
    return WindowView(
        id=standing.hash,
        six_words=standing.words,
        allowed_by=list(standing.people),
        people=list(case.people),
        scopes=show_scopes(standing.scopes, {}),
        seconds=standing.seconds,
        watched=standing.watched,
        reason=standing.reason,
        time_zone=standing.time_zone,
        windows=show_spans(standing.windows, standing.time_zone),
        next_window=place,
        open_now=place is not None and standing.windows[place].not_before_ms <= now_ms,
        doubt=case.doubt,
        revoked_by=case.revoked_by,
        waiting_for=list(case.waiting_for),
        machines=[
            WindowMachine(
                device_id=machine.device,
                name=machine.name,
                state=machine.said.state if machine.said else "",
                words=STATE_WORDS[machine.said.state if machine.said else ""],
                windows=[
                    machine.state_of(i, standing, now_ms) for i in range(len(standing.windows))
                ],
            )
            for machine in case.machines
        ],
    )


def show_doubted_window(doubted: Doubted) -> WindowView:
    """Return one of which nothing is believed."""
    return WindowView(id=doubted.id, trouble=doubted.trouble)


def show_prepared_window(
    prepared: PreparedStanding, keys: Mapping[str, RoleKey], names: Sequence[str], *, own_key: bool
) -> PreparedWindow:
    """Return a permission that is ready to be signed, and the passkeys that may sign it here."""
    given = prepared.given
    choice = PasskeyChoice(
        challenge=to_base64url(challenge_of(signed_bytes(prepared.payload))),
        rp_id=RP_ID,
        names=list(names),
        people=sorted({holder.person for holder in keys.values()}),
    )
    return PreparedWindow(
        standing=prepared.hash,
        six_words=prepared.words,
        machines=[entry.name for entry in prepared.machines],
        people=list(prepared.people),
        scopes=show_scopes(given.scopes, {}),
        seconds=given.seconds,
        watched=given.watched,
        reason=given.reason,
        windows=show_spans(given.windows, given.time_zone),
        people_needed=prepared.needed,
        passkey=choice if keys else None,
        own_key=own_key,
    )


def scope_choices(rules: AccessRules) -> list[Choice]:
    """Return the scopes that the policy names one by one; a port is typed."""
    named = rules.rules or {}

    def allowed(kind: str) -> tuple[str, ...]:
        return named[kind].allowed if kind in named else ()

    scopes: list[Scope] = [TerminalScope(name) for name in allowed("terminal")]
    scopes += [RootScope()] if "root" in named else []
    scopes += [LogsScope(name) for name in allowed("logs")]
    modes = ("read", "write")
    scopes += [
        FilesScope(root, mode, DEFAULT_FILE_BYTES) for root in allowed("files") for mode in modes
    ]
    return [Choice(id=write_scope(scope), words=scope.words()) for scope in scopes]
