"""People, links and tokens: each deed is recorded, then done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fleetward.runtime.clock import Clock
from fleetward.server.deeds import Deed, DeedRecorder, JsonValue
from fleetward.server.people.decide import (
    decide_admin_stays,
    decide_name,
    decide_person_found,
    decide_token_life,
)
from fleetward.server.people.model import LINK_LIFE_MS, LoginLink, Person, Token
from fleetward.server.people.secret import (
    LINK_PREFIX,
    TOKEN_PREFIX,
    hash_secret,
    make_id,
    make_secret,
)
from fleetward.server.people.store import PeopleStore
from fleetward.server.web.caller import ON_THE_HOST, WHOLE_FLEET, Caller, Role, Scope
from fleetward.trust.errors import Refused


@dataclass(frozen=True, slots=True)
class MadeLink:
    """A sign-in link, the only time that it is seen."""

    url: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A token with its secret, the only time that it is seen."""

    token: Token
    secret: str


@dataclass(frozen=True, slots=True)
class Writer:
    """What every act of the slice needs: where it writes, what records, whose it is, and when."""

    store: PeopleStore
    deeds: DeedRecorder
    clock: Clock
    owner_id: Callable[[], str]

    def record(
        self, kind: str, actor: str, subject: str, body: Mapping[str, JsonValue] | None = None
    ) -> int:
        """Record a deed and return the time of it. Raises Unreachable when it cannot."""
        now_ms = self.clock.wall_ms()
        self.deeds.record(Deed(kind, actor, subject, self.owner_id(), body or {}, now_ms))
        return now_ms


class People:
    """Adds, changes and removes people, and makes links and tokens."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._store = writer.store

    def bootstrap(self, name: str = "Admin") -> str:
        """Return the id of the first admin; make one when there is none."""
        first = self._store.first_admin()
        return (first or self.add_person(ON_THE_HOST, name, Role.ADMIN)).id

    def add_person(self, author: Caller, name: str, role: Role) -> Person:
        """Add somebody, who can sign in once a link is made. Raises Malformed (`name`)."""
        decide_name(name)
        person_id = make_id()
        words = f"{name} was added as {role.name.lower()}."
        body = {"name": name, "role": role.name.lower(), "words": words}
        now_ms = self._writer.record("person.added", author.actor, f"person:{person_id}", body)
        person = Person(person_id, name, role, now_ms)
        self._store.add_person(person, self._writer.owner_id())
        return person

    def change_role(self, author: Caller, person_id: str, role: Role) -> Person:
        """Give somebody another role. Raises Refused (`person_not_found`, `last_admin`)."""
        person = decide_person_found(self._store.find_person(person_id))
        decide_admin_stays(person, self._store.count_admins(), role)
        after, before = role.name.lower(), person.role.name.lower()
        words = f"{person.name} is {after} from now on, and was {before}."
        body = {"role": after, "before": before, "words": words}
        self._writer.record("person.role_changed", author.actor, f"person:{person.id}", body)
        if not self._store.change_role(person.id, role):
            decide_admin_stays(person, 1, role)
        return Person(person.id, person.name, role, person.created_at, person.last_seen_at)

    def remove_person(self, author: Caller, person_id: str) -> None:
        """Remove somebody, with sessions, passkeys, links and tokens made.

        Raises Refused (`person_not_found`, `last_admin`).
        """
        person = decide_person_found(self._store.find_person(person_id))
        decide_admin_stays(person, self._store.count_admins(), None)
        body = {"name": person.name, "words": f"{person.name} was removed."}
        now_ms = self._writer.record("person.removed", author.actor, f"person:{person.id}", body)
        if not self._store.remove_person(person.id, now_ms):
            decide_admin_stays(person, 1, None)

    def create_login_link(self, author: Caller, person_id: str, base_url: str) -> MadeLink:
        """Make a link that signs a person in once, within 15 minutes.

        The code is in the fragment, which no browser sends and no server logs. Raises Refused
        (`person_not_found`).
        """
        person = decide_person_found(self._store.find_person(person_id))
        now_ms = self._writer.record("login_link.made", author.actor, f"person:{person.id}")
        code = make_secret(LINK_PREFIX)
        link = LoginLink(hash_secret(code), person.id, now_ms + LINK_LIFE_MS)
        self._store.add_link(link, self._writer.owner_id(), now_ms)
        return MadeLink(f"{base_url.rstrip('/')}/login#code={code}", link.expires_at)

    def make_login_link(self, person_id: str, base_url: str) -> str:
        """Make a link for the command line on this host, which writes it to a 0600 file."""
        return self.create_login_link(ON_THE_HOST, person_id, base_url).url

    def make_token(
        self,
        author: Caller,
        name: str,
        role: Role,
        ttl_seconds: int,
        scope: Scope = WHOLE_FLEET,
    ) -> MadeToken:
        """Make a token.

        Raises Refused (`forbidden`), Malformed (`name`, `token_life`, `token_scope`).
        """
        decide_name(name)
        now_ms = self._writer.clock.wall_ms()
        expires_at = decide_token_life(author, role, scope, ttl_seconds, now_ms)
        token = Token(make_id(), name, role, scope, author.id, now_ms, expires_at)
        body: dict[str, JsonValue] = {
            "name": name,
            "role": role.name.lower(),
            "expires_at": expires_at,
            "whole_fleet": scope.whole_fleet,
            "sites": sorted(scope.sites or ()),
            "devices": sorted(scope.devices or ()),
        }
        self._writer.record("token.made", author.actor, f"token:{token.id}", body)
        secret = make_secret(TOKEN_PREFIX)
        self._store.add_token(token, hash_secret(secret), self._writer.owner_id())
        return MadeToken(token, secret)

    def revoke_token(self, author: Caller, token_id: str) -> None:
        """Revoke a token. Raises Refused (`token_not_found`)."""
        if not self._store.has_token(token_id):
            raise Refused(
                "there is no such token, or no longer: GET /api/v1/tokens lists them",
                reason="token_not_found",
            )
        now_ms = self._writer.record("token.revoked", author.actor, f"token:{token_id}")
        self._store.revoke_token(token_id, now_ms)

    def end_all_credentials(self, author: Caller, why: str) -> None:
        """End every session, token and link, as after a restore. Passkeys stay."""
        now_ms = self._writer.record("credentials.ended", author.actor, "server", {"why": why})
        self._store.end_all(now_ms)
