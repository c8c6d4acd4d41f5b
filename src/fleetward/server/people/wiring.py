"""Putting the slice together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from litestar.handlers import HTTPRouteHandler

from fleetward.runtime.clock import Clock
from fleetward.runtime.database import Database
from fleetward.server.deeds import DeedRecorder
from fleetward.server.people.act import People, Writer
from fleetward.server.people.passkeys import Passkeys, RelyingParty
from fleetward.server.people.routes import make_people_handlers, make_session_handlers
from fleetward.server.people.sessions import Sessions
from fleetward.server.people.store import PeopleStore


@dataclass(frozen=True, slots=True)
class PeopleSettings:
    """Under which address people reach the console.

    `origin` is scheme, host and port, as a browser shows them; `host` is its host alone and the
    relying party of passkeys. `loopback_only` says that the program listens on loopback and nowhere
    else: only then may a passkey be deferred.
    """

    host: str
    origin: str
    loopback_only: bool


@dataclass(frozen=True, slots=True)
class PeopleSlice:
    """The slice: `sessions` is the `Authenticator`, `people` has bootstrap and make_login_link."""

    people: People
    sessions: Sessions
    handlers: Sequence[HTTPRouteHandler]


def open_people(
    database: Database,
    deeds: DeedRecorder,
    clock: Clock,
    owner_id: Callable[[], str],
    settings: PeopleSettings,
) -> PeopleSlice:
    """Build the slice. It reads and writes nothing yet."""
    store = PeopleStore(database)
    writer = Writer(store, deeds, clock, owner_id)
    people = People(writer)
    sessions = Sessions(writer, may_defer_passkey=settings.loopback_only)
    passkeys = Passkeys(writer, sessions, RelyingParty(settings.host, settings.origin))
    return PeopleSlice(
        people,
        sessions,
        [
            *make_session_handlers(sessions, passkeys),
            *make_people_handlers(people, store, settings.origin),
        ],
    )
