"""`fleetward demo release`: new software for the machines of a demo that runs, good and broken."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fleetward.demo.places import DEFAULT_FOLDER, DemoPlaces, read_mark
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.runtime.clock import SystemClock

if TYPE_CHECKING:
    from fleetward.demo.bringing import Act


def release(
    data: Annotated[
        Path | None, typer.Option("--data", help="The demo's folder; in your home if not named.")
    ] = None,
    only: Annotated[
        Literal["good", "broken"] | None, typer.Option("--only", help="One of the two releases.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout.")
    ] = False,
) -> None:
    """Bring new software to a demo that runs: a good release, then one that machines take back.

    fleetward demo release --data ~/.local/share/fleetward-demo
    """
    from fleetward.demo.bringing import Play  # loads python-tuf, a third of a second

    with refusals():
        places = DemoPlaces((data or Path.home() / DEFAULT_FOLDER).absolute())
        read_mark(places)
        began = time.monotonic()
        play = Play(places, SystemClock(), say)
        play.set_up()
        acts: dict[str, Any] = {}
        for name in ("good", "broken"):
            if only in (None, name):
                act = play.bring(broken=name == "broken")
                acts[name] = asdict(act)
                say(_tell(act))
        shown = {**acts, "page": play.pages, "seconds": round(time.monotonic() - began, 1)}
        words = f"\nDone in {shown['seconds']} s. See it in the console: {play.pages}"
        emit(shown, as_json, words)


def _tell(act: Act) -> str:
    ended = act.rollout
    lines = [f"{ended.committed} of {ended.machines} machines run {act.version}."]
    if act.reason:
        lines = [
            "This machine went back by itself, and signed why:",
            f"  {act.reason}",
            f"The rollout is {ended.state}: {ended.words} "
            f"{ended.exposure} of {ended.machines} machines had it.",
        ]
    elif ended.silent:
        lines.append(f"Not connected: {ended.silent}. They get it when they come back.")
    lines.append(f"This machine serves {act.serves or 'its plain page'}.")
    return "\n".join(lines)
