"""`fleetward-agent panel`: the screen, one look as JSON, or one deed."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from fleetward.device.access.panel_client import PanelClient, find_subject
from fleetward.device.access.panel_screen import Line, Shown, draw, list_items
from fleetward.device.access.panel_words import Panel
from fleetward.trust.errors import Refused, Unreachable

GONE_SECONDS: Final = 5.0
DONE_WORDS: Final = {
    "stop": "Stopped: nothing of that session is left.",
    "refuse": "Refused. Who asked is told.",
    "press": "Pressed. It opens now, if it still may.",
}


def run_panel(data: Path, wanted: tuple[str | None, str | None], *, as_json: bool) -> int:
    """Do what a command says; return the exit status. Raises the families of `trust.errors`."""
    deed, subject = wanted
    client = PanelClient(data)
    try:
        if deed is not None:
            return _do(client, deed, subject, as_json=as_json)
        if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            panel = client.show()
            sys.stdout.write(_as_json(panel) if as_json else _as_text(panel))
            return 0
        # The screen alone needs the modules of a terminal.
        from fleetward.device.access.panel_tty import PanelScreen

        client.show()
        PanelScreen(client).run()
    finally:
        client.close()
    return 0


def _do(client: PanelClient, deed: str, subject: str | None, *, as_json: bool) -> int:
    if not subject:
        raise Refused(
            f"Say what to {deed}: 8 digits or more of what `fleetward-agent panel --json` shows.",
            reason="nothing_named",
        )
    # A whole hash is not looked up first: a stop takes one turn.
    whole = len(subject) == 64
    named = subject.lower() if whole else find_subject(client.show(), deed, subject)
    client.do(deed, named)
    if deed == "stop" and not _is_gone(client, named):
        raise Unreachable("The session is being ended, and is not over yet.", reason="slow_end")
    if as_json:
        sys.stdout.write(msgspec.json.encode({"done": deed, "subject": named}).decode() + "\n")
    sys.stderr.write(DONE_WORDS[deed] + "\n")
    return 0


def _is_gone(client: PanelClient, session: str) -> bool:
    """Return whether nothing of a session is left, once that is so or has taken too long."""
    deadline = time.monotonic() + GONE_SECONDS
    while any(each.session == session for each in client.show().inside):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _as_json(panel: Panel) -> str:
    return msgspec.json.encode(panel).decode() + "\n"


def _as_text(panel: Panel) -> str:
    """Return everything, for a pipe: the screen without a size."""
    items = list_items(panel, 100)
    rows = 8 + sum(len(item.lines) for item in items)
    lines: list[Line] = draw(panel, Shown(), (100, rows))
    return "".join(f"{line.text.rstrip()}\n" for line in lines[:-1])
