"""HTTP: rollouts, and updates at a glance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler

from fleetward.runtime.http.paging import DEFAULT_PER_PAGE, PageNumber, PerPage, offset_of
from fleetward.server.updates.freshness import GOAL_DAYS
from fleetward.server.updates.rollout_course import Course, RolloutCourses, Wish
from fleetward.server.updates.rollout_model import (
    Because,
    MachineSelector,
    NewRollout,
    RolloutDetail,
    RolloutForecast,
    RolloutList,
    RolloutRow,
    UpdatesOverview,
)
from fleetward.server.updates.rollout_show import RolloutsShown
from fleetward.server.updates.rollout_store import PartsWanted
from fleetward.server.updates.rollouts import Rollouts
from fleetward.server.web.caller import Caller
from fleetward.server.web.permissions import ACTION
from fleetward.server.web.request import ApiRequest
from fleetward.trust.canonical import JsonObject
from fleetward.trust.release_manifest import check_product, check_version
from fleetward.trust.selector import ALL, Selector, read_selector

States: TypeAlias = Annotated[str, QueryParameter(name="state", max_length=200)]
MAX_SEARCH: Final = 200
GoalDays: TypeAlias = Annotated[int, QueryParameter(ge=0, le=3650)]


@dataclass(frozen=True)
class RolloutRooms:
    """What the routes hand on to."""

    courses: RolloutCourses
    rollouts: Rollouts
    shown: RolloutsShown


def make_rollout_handlers(rooms: RolloutRooms) -> list[ControllerRouterHandler]:
    """Return the handlers of /updates/rollouts and /updates/overview."""
    return [*_make_showing(rooms), *_make_making(rooms), *_make_changing(rooms)]


def _make_showing(rooms: RolloutRooms) -> list[ControllerRouterHandler]:
    @get("/updates/overview", opt={ACTION: "updates.read"}, sync_to_thread=True)
    def show_updates(goal_days: GoalDays = GOAL_DAYS) -> UpdatesOverview:
        """Return who is behind, which rollouts run, and what failed by which cause."""
        return rooms.shown.overview(goal_days)

    @get("/updates/rollouts", opt={ACTION: "rollouts.read"}, sync_to_thread=True)
    def list_rollouts() -> RolloutList:
        """Return all rollouts, newest first."""
        return RolloutList(items=rooms.shown.rollouts())

    @get("/updates/rollouts/{rollout_id:str}", opt={ACTION: "rollouts.read"}, sync_to_thread=True)
    def show_rollout(
        rollout_id: FromPath[str],
        of_state: States = "",
        q: FromQuery[str] = "",
        page: PageNumber = 1,
        per_page: PerPage = DEFAULT_PER_PAGE,
    ) -> RolloutDetail:
        """Return a rollout with a page of the machines that it let in.

        `state` narrows them to one state or several, as `failed,rolled_back`; `q` to those whose
        name, site, id or cause of failure holds these letters.
        """
        course = rooms.courses.find(rollout_id)
        wanted = PartsWanted(frozenset(filter(None, of_state.split(","))), q[:MAX_SEARCH])
        return rooms.shown.detail(course, wanted, (offset_of(page, per_page), per_page), page)

    return [show_updates, list_rollouts, show_rollout]


def _make_making(rooms: RolloutRooms) -> list[ControllerRouterHandler]:
    @post(
        "/updates/rollout-forecasts",
        opt={ACTION: "rollouts.read"},
        sync_to_thread=True,
        status_code=200,
    )
    def forecast_rollout(data: JSONBody[NewRollout]) -> RolloutForecast:
        """Return what a rollout would be, and how many machines it can reach before somebody looks.

        Nothing is stored.
        """
        return rooms.shown.forecast(rooms.courses.preview(_read_wish(data)))

    @post("/updates/rollouts", opt={ACTION: "rollouts.create"}, sync_to_thread=True)
    def create_rollout(request: ApiRequest, data: JSONBody[NewRollout]) -> RolloutRow:
        """Make a rollout and let the first wave in."""
        return rooms.shown.rollout(rooms.rollouts.create(_read_wish(data), request.user))

    return [forecast_rollout, create_rollout]


def _make_changing(rooms: RolloutRooms) -> list[ControllerRouterHandler]:
    rollouts = rooms.rollouts
    verbs: dict[str, tuple[Callable[[str, str, Caller], Course], str]] = {
        "pause": (rollouts.pause, "Let no new machine in. Who has begun goes on."),
        "resume": (rollouts.resume, "Let a rollout that was stopped go on."),
        "hold": (rollouts.hold, "Hold a rollout as a failure would."),
        "continue": (
            rollouts.proceed,
            "Go on despite failures or silence, and open the next wave.",
        ),
        "cancel": (rollouts.cancel, "End a rollout. What is installed stays."),
        "offer-again": (rollouts.offer_again, "Offer it again where it failed."),
    }
    return [_make_change(rooms, verb, *what) for verb, what in verbs.items()]


def _make_change(
    rooms: RolloutRooms, verb: str, change: Callable[[str, str, Caller], Course], words: str
) -> ControllerRouterHandler:
    def change_rollout(
        request: ApiRequest, rollout_id: FromPath[str], data: JSONBody[Because]
    ) -> RolloutRow:
        return rooms.shown.rollout(change(rollout_id, data.reason, request.user))

    change_rollout.__name__ = f"{verb.replace('-', '_')}_rollout"
    change_rollout.__doc__ = words
    made: ControllerRouterHandler = post(
        f"/updates/rollouts/{{rollout_id:str}}/{verb}",
        opt={ACTION: "rollouts.change"},
        sync_to_thread=True,
        status_code=200,
    )(change_rollout)
    return made


def _read_wish(data: NewRollout) -> Wish:
    return Wish(
        product=check_product(data.product),
        version=check_version(data.version),
        selector=read_machines(data.selector),
        canaries=read_machines(data.canaries) if data.canaries is not None else None,
        waves=tuple(data.waves),
        soak_seconds=data.soak_seconds,
        allowed_failures=data.allowed_failures,
        bandwidth=data.bandwidth,
    )


def read_machines(data: MachineSelector) -> Selector:
    """Return which machines are meant. Raises `Malformed`."""
    lists = {name: sorted(getattr(data, name)) for name in ("devices", "groups", "models", "sites")}
    if not any(lists.values()):
        return read_selector(ALL)
    value: JsonObject = {name: [*words] for name, words in lists.items()}
    return read_selector(value)
