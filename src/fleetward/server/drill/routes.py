"""HTTP: starting a drill and watching it."""

from __future__ import annotations

from typing import Literal

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody
from litestar.types import ControllerRouterHandler

from fleetward.runtime.http.times import Instant, to_rfc3339, to_rfc3339_or_none
from fleetward.server.drill.act import Drill, Drills, Outcome
from fleetward.server.web.permissions import ACTION
from fleetward.server.web.request import ApiRequest


class DrillWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which drill, against which machine."""

    kind: Literal["stolen-server"]
    device_id: str


class DrillStep(msgspec.Struct, frozen=True, kw_only=True):
    """One attack and what came of it."""

    id: str
    attack: str
    words: str
    outcome: Outcome
    reason: str
    answer: str
    at: Instant | None


class DrillView(msgspec.Struct, frozen=True, kw_only=True):
    """A drill as it stands."""

    id: str
    device_id: str
    state: Literal["running", "passed", "failed", "unanswered"]
    started_at: Instant
    steps: list[DrillStep]


def make_drill_handlers(drills: Drills) -> list[ControllerRouterHandler]:
    """Return the handlers of /drills."""

    @post("/drills", opt={ACTION: "drills.start"}, sync_to_thread=True, status_code=201)
    def start_drill(request: ApiRequest, data: JSONBody[DrillWish]) -> DrillView:
        """Attack one machine with everything that this server holds; it answers by its journal."""
        return _show(drills.start(data.device_id, request.user.actor))

    @get("/drills/{drill_id:str}", opt={ACTION: "drills.read"}, sync_to_thread=True)
    def show_drill(drill_id: FromPath[str]) -> DrillView:
        """Return a drill with the answers that came so far."""
        return _show(drills.get(drill_id))

    return [start_drill, show_drill]


def _show(drill: Drill) -> DrillView:
    return DrillView(
        id=drill.id,
        device_id=drill.device_id,
        state=drill.state,
        started_at=to_rfc3339(drill.started_ms),
        steps=[
            DrillStep(
                id=step.id,
                attack=step.attack,
                words=step.words,
                outcome=step.outcome,
                reason=step.reason,
                answer=step.answer,
                at=to_rfc3339_or_none(step.at_ms or None),
            )
            for step in drill.steps
        ],
    )
