"""HTTP: the doctor and the tour."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final, Literal

import msgspec
from litestar import get, post
from litestar.params import JSONBody
from litestar.types import ControllerRouterHandler

from fleetward.runtime.database import Database
from fleetward.server.guide import store
from fleetward.server.guide.doctor import Doctor
from fleetward.server.web.permissions import ACTION

LAST_STEP: Final = 9
ADDED: Final = ((7, 5), (8, 6))
"""Steps that came in between: how many there were before, and which became a new one. Progress
that was stored then is moved up by one each."""
FIRST_STEPS: Final = 7
COUNTED: Final = "steps"


class TourWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the tour goes on, what was done, and what the reader wants first."""

    step: int | None = None
    done: int | None = None
    goal: Literal["update", "reach", "protect", "comply"] | None = None
    restart: bool = False


class TourFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo left for the tour: machines and commands. Every one of them may be missing."""

    device_id: str | None = None
    waiting_device_id: str | None = None
    open_port_command: str | None = None
    close_port_command: str | None = None
    owner_console_command: str | None = None
    panel_command: str | None = None
    connect_command: str | None = None
    stop_command: str | None = None
    replay_command: str | None = None
    release_command: str | None = None
    export_command: str | None = None
    verify_command: str | None = None
    alter_command: str | None = None
    invite_command: str | None = None
    join_command: str | None = None
    reset_command: str | None = None


class Tour(msgspec.Struct, frozen=True, kw_only=True):
    """Where the tour stands, and what its pages need to name."""

    step: int
    done: list[int]
    goal: str | None
    facts: TourFacts


def make_guide_handlers(
    database: Database, examine: Callable[[], Doctor], facts: Callable[[], TourFacts]
) -> list[ControllerRouterHandler]:
    """Return the handlers of /doctor and /tour. `facts` is what the demo left for the tour."""

    @get("/doctor", opt={ACTION: "doctor.read"}, sync_to_thread=True)
    def show_doctor() -> Doctor:
        """Return what is not as it should be, each with its cure."""
        return examine()

    @get("/tour", opt={ACTION: "tour.read"}, sync_to_thread=True)
    def show_tour() -> Tour:
        """Return where the tour stands."""
        with database.read() as conn:
            return _read(move_up(store.select_notes(conn)), facts())

    @post("/tour", opt={ACTION: "tour.step"}, sync_to_thread=True, status_code=200)
    def step_tour(data: JSONBody[TourWish]) -> Tour:
        """Remember where the tour goes on."""
        with database.write() as conn:
            if data.restart:
                store.delete_notes(conn)
            notes = move_up(store.select_notes(conn))
            for name, value in notes.items():
                store.write_note(conn, name, value)
            if data.step is not None:
                store.write_note(conn, "step", str(min(max(data.step, 1), LAST_STEP)))
            if data.done is not None and 1 <= data.done <= LAST_STEP:
                done = sorted({*json.loads(notes.get("done", "[]")), data.done})
                store.write_note(conn, "done", json.dumps(done))
            if data.goal is not None:
                store.write_note(conn, "goal", data.goal)
            return _read(store.select_notes(conn), facts())

    return [show_doctor, show_tour, step_tour]


def move_up(notes: dict[str, str]) -> dict[str, str]:
    """Return what is remembered, by the numbers that the steps have now."""
    counted = int(notes.get(COUNTED, str(FIRST_STEPS)))
    if counted == LAST_STEP:
        return notes
    done, step = json.loads(notes.get("done", "[]")), int(notes.get("step", "1"))
    for before, added in ADDED:
        if counted <= before:
            done = [each + (each >= added) for each in done]
            step += step > added
    return {**notes, "done": json.dumps(done), "step": str(step), COUNTED: str(LAST_STEP)}


def _read(notes: dict[str, str], facts: TourFacts) -> Tour:
    return Tour(
        step=int(notes.get("step", "1")),
        done=json.loads(notes.get("done", "[]")),
        goal=notes.get("goal"),
        facts=facts,
    )
