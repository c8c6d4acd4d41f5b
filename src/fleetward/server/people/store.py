"""All SQL of the slice. Rows become the values of `model.py`; dictionaries stop here."""

from __future__ import annotations

from typing import Any, Literal, TypedDict, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from fleetward.runtime.database import Database
from fleetward.server.people.model import (
    MAX_CHALLENGES,
    Challenge,
    LoginLink,
    Passkey,
    Person,
    Session,
    SignIn,
    Token,
)
from fleetward.server.people.tables import (
    CHALLENGES,
    LINKS,
    PASSKEYS,
    PERSONS,
    SESSIONS,
    TOKENS,
)
from fleetward.server.web.caller import Role, Scope
from fleetward.trust.errors import Refused


class _ScopeText(TypedDict):
    sites: list[str] | None
    devices: list[str] | None


class PeopleStore:
    """Reads and writes the people tables of one owner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Persons

    def add_person(self, person: Person, owner_id: str) -> None:
        """Insert a person. Raises Refused (`conflict`) for an id that exists."""
        with self._database.write() as conn:
            conn.execute(
                sa.insert(PERSONS).values(
                    id=person.id,
                    owner_id=owner_id,
                    name=person.name,
                    role=_role_name(person.role),
                    created_at=person.created_at,
                )
            )

    def find_person(self, person_id: str) -> Person | None:
        """Return a person, removed or not."""
        with self._database.read() as conn:
            return _find_person(conn, person_id)

    def list_persons(self, limit: int, offset: int) -> tuple[list[Person], int]:
        """Return the persons who were not removed, oldest first, and how many there are."""
        here = PERSONS.c.removed_at.is_(None)
        with self._database.read() as conn:
            rows = conn.execute(
                sa.select(PERSONS)
                .where(here)
                .order_by(PERSONS.c.created_at, PERSONS.c.id)
                .limit(limit)
                .offset(offset)
            ).all()
            return [_person(row) for row in rows], _count(conn, PERSONS, here)

    def first_admin(self) -> Person | None:
        """Return the admin who was there first, if there is one."""
        with self._database.read() as conn:
            row = conn.execute(
                sa.select(PERSONS)
                .where(_IS_ADMIN)
                .order_by(PERSONS.c.created_at, PERSONS.c.id)
                .limit(1)
            ).first()
        return None if row is None else _person(row)

    def count_admins(self) -> int:
        """Return how many admins there are."""
        with self._database.read() as conn:
            return _count(conn, PERSONS, _IS_ADMIN)

    def change_role(self, person_id: str, role: Role) -> bool:
        """Set a role, unless that would leave no admin; return whether it did."""
        with self._database.write() as conn:
            if role is not Role.ADMIN and not _other_admin(conn, person_id):
                return False
            conn.execute(
                sa.update(PERSONS).where(PERSONS.c.id == person_id).values(role=_role_name(role))
            )
        return True

    def remove_person(self, person_id: str, now_ms: int) -> bool:
        """Remove a person with all credentials, unless no admin would be left."""
        with self._database.write() as conn:
            if not _other_admin(conn, person_id):
                return False
            conn.execute(
                sa.update(PERSONS).where(PERSONS.c.id == person_id).values(removed_at=now_ms)
            )
            _end_sessions(conn, now_ms, SESSIONS.c.person_id == person_id)
            _revoke_tokens(conn, now_ms, TOKENS.c.made_by == person_id)
            conn.execute(sa.delete(LINKS).where(LINKS.c.person_id == person_id))
            conn.execute(sa.delete(PASSKEYS).where(PASSKEYS.c.person_id == person_id))
        return True

    # Links and sessions

    def add_link(self, link: LoginLink, owner_id: str, now_ms: int) -> None:
        """Insert a link, and drop those that expired."""
        with self._database.write() as conn:
            conn.execute(sa.delete(LINKS).where(LINKS.c.expires_at <= now_ms))
            conn.execute(
                sa.insert(LINKS).values(
                    code_hash=link.code_hash,
                    owner_id=owner_id,
                    person_id=link.person_id,
                    expires_at=link.expires_at,
                )
            )

    def find_link(self, code_hash: str) -> tuple[LoginLink | None, Person | None]:
        """Return a link and its person."""
        with self._database.read() as conn:
            row = conn.execute(sa.select(LINKS).where(LINKS.c.code_hash == code_hash)).first()
            if row is None:
                return None, None
            link = LoginLink(row.code_hash, row.person_id, row.expires_at, row.used_at)
            return link, _find_person(conn, link.person_id)

    def use_link(self, code_hash: str, session: Session, secret_hash: str, owner_id: str) -> bool:
        """Use up a link and open its session, both or neither; False when it was used before."""
        with self._database.write() as conn:
            used = conn.execute(
                sa.update(LINKS)
                .where(LINKS.c.code_hash == code_hash, LINKS.c.used_at.is_(None))
                .values(used_at=session.created_at)
            ).rowcount
            if used == 1:
                _insert_session(conn, session, secret_hash, owner_id)
        return used == 1

    def find_session(self, secret_hash: str) -> tuple[Session | None, Person | None]:
        """Return a session and its person."""
        with self._database.read() as conn:
            row = conn.execute(
                sa.select(SESSIONS).where(SESSIONS.c.secret_hash == secret_hash)
            ).first()
            if row is None:
                return None, None
            return _session(row), _find_person(conn, row.person_id)

    def get_session(self, session_id: str) -> Session | None:
        """Return a session by its id."""
        with self._database.read() as conn:
            row = conn.execute(sa.select(SESSIONS).where(SESSIONS.c.id == session_id)).first()
        return None if row is None else _session(row)

    def touch_session(self, session: Session, now_ms: int) -> None:
        """Write when a session and its person were last seen."""
        with self._database.write() as conn:
            conn.execute(
                sa.update(SESSIONS).where(SESSIONS.c.id == session.id).values(last_used_at=now_ms)
            )
            conn.execute(
                sa.update(PERSONS)
                .where(PERSONS.c.id == session.person_id)
                .values(last_seen_at=now_ms)
            )

    def end_session(self, session_id: str, now_ms: int) -> None:
        """End a session."""
        with self._database.write() as conn:
            _end_sessions(conn, now_ms, SESSIONS.c.id == session_id)

    # Passkeys

    def add_challenge(self, challenge: Challenge, owner_id: str, now_ms: int) -> None:
        """Insert a challenge, drop those that expired. Raises Refused when too many are open."""
        with self._database.write() as conn:
            conn.execute(sa.delete(CHALLENGES).where(CHALLENGES.c.expires_at <= now_ms))
            if _count(conn, CHALLENGES, sa.true()) >= MAX_CHALLENGES:
                raise Refused(
                    "too many sign-ins have begun and not ended: try again in five minutes",
                    reason="rate_limited",
                )
            conn.execute(
                sa.insert(CHALLENGES).values(
                    id=challenge.id,
                    owner_id=owner_id,
                    person_id=challenge.person_id,
                    purpose=challenge.purpose,
                    value=challenge.value,
                    expires_at=challenge.expires_at,
                )
            )

    def take_challenge(self, challenge_id: str) -> Challenge | None:
        """Return a challenge and delete it: it is answered once, rightly or wrongly."""
        with self._database.write() as conn:
            row = conn.execute(sa.select(CHALLENGES).where(CHALLENGES.c.id == challenge_id)).first()
            gone = conn.execute(sa.delete(CHALLENGES).where(CHALLENGES.c.id == challenge_id))
        if row is None or gone.rowcount != 1:
            return None
        purpose = cast('Literal["register", "login"]', row.purpose)
        return Challenge(row.id, row.person_id, purpose, row.value, row.expires_at)

    def add_passkey(self, passkey: Passkey, session_id: str, owner_id: str) -> None:
        """Insert a passkey and free the session that owed one. Raises Refused (`conflict`)."""
        with self._database.write() as conn:
            conn.execute(
                sa.insert(PASSKEYS).values(
                    id=passkey.id,
                    owner_id=owner_id,
                    person_id=passkey.person_id,
                    public_key=passkey.public_key,
                    sign_count=passkey.sign_count,
                    created_at=passkey.created_at,
                )
            )
            conn.execute(
                sa.update(SESSIONS).where(SESSIONS.c.id == session_id).values(passkey_only=False)
            )

    def passkeys_of(self, person_id: str) -> list[Passkey]:
        """Return a person's passkeys."""
        with self._database.read() as conn:
            rows = conn.execute(sa.select(PASSKEYS).where(PASSKEYS.c.person_id == person_id)).all()
        return [_passkey(row) for row in rows]

    def find_passkey(self, credential_id: str) -> tuple[Passkey | None, Person | None]:
        """Return a passkey and its person."""
        with self._database.read() as conn:
            row = conn.execute(sa.select(PASSKEYS).where(PASSKEYS.c.id == credential_id)).first()
            if row is None:
                return None, None
            return _passkey(row), _find_person(conn, row.person_id)

    def use_passkey(
        self, passkey: Passkey, sign_count: int, session: Session, secret_hash: str, owner_id: str
    ) -> bool:
        """Raise the counter and open the session; False when the counter moved meanwhile."""
        with self._database.write() as conn:
            used = conn.execute(
                sa.update(PASSKEYS)
                .where(PASSKEYS.c.id == passkey.id, PASSKEYS.c.sign_count == passkey.sign_count)
                .values(sign_count=sign_count, last_used_at=session.created_at)
            ).rowcount
            if used == 1:
                _insert_session(conn, session, secret_hash, owner_id)
        return used == 1

    # Tokens

    def add_token(self, token: Token, secret_hash: str, owner_id: str) -> None:
        """Insert a token."""
        scope = _ScopeText(sites=_sorted(token.scope.sites), devices=_sorted(token.scope.devices))
        with self._database.write() as conn:
            conn.execute(
                sa.insert(TOKENS).values(
                    id=token.id,
                    owner_id=owner_id,
                    secret_hash=secret_hash,
                    name=token.name,
                    role=_role_name(token.role),
                    scope=msgspec.json.encode(scope).decode("utf-8"),
                    made_by=token.made_by,
                    created_at=token.created_at,
                    expires_at=token.expires_at,
                )
            )

    def find_token(self, secret_hash: str) -> Token | None:
        """Return a token by the hash of its secret."""
        with self._database.read() as conn:
            row = conn.execute(sa.select(TOKENS).where(TOKENS.c.secret_hash == secret_hash)).first()
        return None if row is None else _token(row)

    def list_tokens(self, limit: int, offset: int) -> tuple[list[Token], int]:
        """Return the tokens that were not revoked, newest first, and how many there are."""
        here = TOKENS.c.revoked_at.is_(None)
        with self._database.read() as conn:
            rows = conn.execute(
                sa.select(TOKENS)
                .where(here)
                .order_by(TOKENS.c.created_at.desc(), TOKENS.c.id)
                .limit(limit)
                .offset(offset)
            ).all()
            return [_token(row) for row in rows], _count(conn, TOKENS, here)

    def has_token(self, token_id: str) -> bool:
        """Say whether there is a token with this id that was not revoked."""
        with self._database.read() as conn:
            here = sa.and_(TOKENS.c.id == token_id, TOKENS.c.revoked_at.is_(None))
            return _count(conn, TOKENS, here) == 1

    def touch_token(self, token_id: str, now_ms: int) -> None:
        """Write when a token was last used."""
        with self._database.write() as conn:
            conn.execute(
                sa.update(TOKENS).where(TOKENS.c.id == token_id).values(last_used_at=now_ms)
            )

    def revoke_token(self, token_id: str, now_ms: int) -> None:
        """Revoke a token."""
        with self._database.write() as conn:
            _revoke_tokens(conn, now_ms, TOKENS.c.id == token_id)

    def end_all(self, now_ms: int) -> None:
        """End every session, revoke every token and drop every link and challenge."""
        with self._database.write() as conn:
            _end_sessions(conn, now_ms, sa.true())
            _revoke_tokens(conn, now_ms, sa.true())
            conn.execute(sa.delete(LINKS))
            conn.execute(sa.delete(CHALLENGES))


_IS_ADMIN = sa.and_(PERSONS.c.role == "admin", PERSONS.c.removed_at.is_(None))


def _other_admin(conn: Connection, person_id: str) -> bool:
    """Say whether somebody else is an admin, and keep it so until the transaction ends."""
    rows = conn.execute(sa.select(PERSONS.c.id).where(_IS_ADMIN).with_for_update()).all()
    return any(row.id != person_id for row in rows)


def _insert_session(conn: Connection, session: Session, secret_hash: str, owner_id: str) -> None:
    conn.execute(
        sa.insert(SESSIONS).values(
            id=session.id,
            owner_id=owner_id,
            secret_hash=secret_hash,
            person_id=session.person_id,
            made_by=session.made_by,
            passkey_only=session.passkey_only,
            created_at=session.created_at,
            expires_at=session.expires_at,
            last_used_at=session.last_used_at,
        )
    )
    conn.execute(
        sa.update(PERSONS)
        .where(PERSONS.c.id == session.person_id)
        .values(last_seen_at=session.created_at)
    )


def _end_sessions(conn: Connection, now_ms: int, which: sa.ColumnElement[bool]) -> None:
    conn.execute(
        sa.update(SESSIONS).where(which, SESSIONS.c.ended_at.is_(None)).values(ended_at=now_ms)
    )


def _revoke_tokens(conn: Connection, now_ms: int, which: sa.ColumnElement[bool]) -> None:
    conn.execute(
        sa.update(TOKENS).where(which, TOKENS.c.revoked_at.is_(None)).values(revoked_at=now_ms)
    )


def _count(conn: Connection, table: sa.Table, which: sa.ColumnElement[bool]) -> int:
    return conn.execute(sa.select(sa.func.count()).select_from(table).where(which)).scalar_one()


def _find_person(conn: Connection, person_id: str) -> Person | None:
    row = conn.execute(sa.select(PERSONS).where(PERSONS.c.id == person_id)).first()
    return None if row is None else _person(row)


def _person(row: Row[Any]) -> Person:
    return Person(
        row.id, row.name, Role[row.role.upper()], row.created_at, row.last_seen_at, row.removed_at
    )


def _session(row: Row[Any]) -> Session:
    return Session(
        row.id,
        row.person_id,
        cast("SignIn", row.made_by),
        row.passkey_only,
        row.created_at,
        row.expires_at,
        row.last_used_at,
        row.ended_at,
    )


def _passkey(row: Row[Any]) -> Passkey:
    return Passkey(
        row.id, row.person_id, row.public_key, row.sign_count, row.created_at, row.last_used_at
    )


def _token(row: Row[Any]) -> Token:
    scope = msgspec.json.decode(row.scope, type=_ScopeText)
    return Token(
        row.id,
        row.name,
        Role[row.role.upper()],
        Scope(_set(scope["sites"]), _set(scope["devices"])),
        row.made_by,
        row.created_at,
        row.expires_at,
        row.last_used_at,
        row.revoked_at,
    )


def _role_name(role: Role) -> str:
    return role.name.lower()


def _set(values: list[str] | None) -> frozenset[str] | None:
    return None if values is None else frozenset(values)


def _sorted(values: frozenset[str] | None) -> list[str] | None:
    return None if values is None else sorted(values)
