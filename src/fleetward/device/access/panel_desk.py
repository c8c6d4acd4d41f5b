"""What somebody at the machine itself sees and may do: stop, refuse, and say that he is here.

Part of guard's single thread. A stop and a no only reduce, and are always taken; a press adds, and
is taken only where no session can reach this panel by itself: where there is a sandbox, which hides
the panel's folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fleetward.device.access.panel_words import (
    PRESS,
    REFUSE,
    SHOW,
    Answer,
    Asking,
    Inside,
    Panel,
    Said,
    WaitsHere,
    refusal,
)
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.words import device_words, six_words

if TYPE_CHECKING:
    from fleetward.device.access.sessions import Live
    from fleetward.device.guard_core import GuardCore
    from fleetward.trust.grants.request import Request

NO_SANDBOX: Final = (
    "This panel takes no press: this machine has no sandbox, so whoever is inside could press for "
    "himself. Installing bubblewrap gives it one."
)
NOT_TRIED: Final = "This panel takes no press yet: the sandbox is being tried."


class PanelDesk:
    """Answers for one guard."""

    def __init__(self, core: GuardCore) -> None:
        self._core = core

    def answer(self, said: Said, who: str) -> Answer:
        """Answer one line of `who`, a user of this machine."""
        if said.do == SHOW:
            return Answer(good=True, panel=self.show())
        try:
            if said.do == PRESS:
                self._press(said.subject, who)
            elif said.do == REFUSE:
                self._refuse(said.subject, who)
            else:
                self._stop(said.subject, who)
        except FleetwardError as e:
            if said.do == PRESS:
                self._core.refusals.refuse("press", e.reason, f"A press by {who}: {e.message}")
            return refusal(e)
        return Answer(good=True)

    def show(self) -> Panel:
        """Return what there is to see."""
        core = self._core
        view, entry = core.view, core.view.entry
        sandbox = core.sessions.known_sandbox
        sessions = core.gate.sessions
        return Panel(
            device=core.joined.device,
            name=entry.name if entry else core.joined.name,
            six_words=device_words(core.joined.owner, core.joined.device),
            owner=view.root.name,
            state=entry.state if entry else "unconfirmed",
            wall=core.seat.wall,
            sandbox=sandbox.sandbox if sandbox else "",
            no_press=self._no_press(),
            now_ms=core.time.wall_ms(),
            asking=tuple(_show_asking(each) for each in sessions.asking) if sessions else (),
            inside=tuple(self._show_inside(each) for each in core.sessions.live.values()),
            waiting=self._show_waiting(),
        )

    def _show_inside(self, live: Live) -> Inside:
        kept = live.kept
        left_ms = live.deadline_ms - self._core.seat.clock.boottime_ms()
        return Inside(
            session=kept.session,
            six_words=kept.words,
            person=kept.person,
            org=kept.org,
            scopes=kept.scopes,
            reason=kept.reason,
            case=kept.case,
            people=kept.people,
            watched=kept.watched,
            watchers=tuple(sorted(live.watchers)),
            opened_at_ms=kept.opened_at_ms,
            ends_at_ms=kept.opened_at_ms + kept.seconds * 1000,
            seconds_left=max(0, left_ms // 1000),
            break_glass=kept.break_glass,
            ending=live.ended is not None,
        )

    def _show_waiting(self) -> tuple[WaitsHere, ...]:
        presses = self._core.presses
        now = presses.now_ms()
        return tuple(
            WaitsHere(
                subject=each.subject,
                six_words=each.six_words,
                words=each.words,
                seconds_left=max(0, (each.until_ms - now) // 1000),
                pressed=each.pressed_ms >= 0,
            )
            for each in presses.shown()
        )

    def _no_press(self) -> str:
        sandbox = self._core.sessions.known_sandbox
        if sandbox is None:
            return NOT_TRIED
        return NO_SANDBOX if sandbox.sandbox == "none" else ""

    def _stop(self, subject: str, who: str) -> None:
        live = self._core.sessions.live.get(subject)
        if live is None or live.ended is not None:
            raise Refused("There is no such session here now.", reason="no_such_session")
        self._core.sessions.end(live, "panel", who, f"Stopped at the machine's panel by {who}.")

    def _refuse(self, subject: str, who: str) -> None:
        sessions = self._core.gate.sessions
        if sessions is None:
            raise Refused("Nothing of that name waits here.", reason="no_such_session")
        sessions.refuse_at_panel(subject, who)

    def _press(self, subject: str, who: str) -> None:
        barred = self._no_press()
        if barred:
            reason = "sandbox_not_tried" if barred == NOT_TRIED else "no_sandbox_no_press"
            raise Refused(barred, reason=reason)
        self._core.presses.press(subject, who)


def _show_asking(request: Request) -> Asking:
    return Asking(
        request=request.hash,
        six_words=six_words(bytes.fromhex(request.hash)),
        person=request.person,
        org=request.org,
        scopes=tuple(scope.words() for scope in request.scopes),
        seconds=request.seconds,
        reason=request.reason,
        case=request.case,
        asked_at_ms=request.issued_at_ms,
        break_glass=request.break_glass,
    )
