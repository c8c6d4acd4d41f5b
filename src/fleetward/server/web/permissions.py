"""Who may do what: role x action x resource, as data.

Every route names its action in `opt={"action": …}` and has a row here; a test fails when one has
not. What is not in the table cannot be reached: the guard refuses it.

- `role` is the least role that may, or None for everybody, signed in or not;
- `deed` says that the action leaves an entry in the owner's ledger; the guard's other half turns an
  answer without one into an error;
- `scoped` says that the route honours `caller.scope`. A caller with a narrowed scope is refused
  everywhere else;
- `person` says that tokens may not: what makes credentials is for people;
- `without_passkey` says that a session may that still owes a passkey;
- `browser` says that it serves a person's browser: it is refused where the server has no name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fleetward.server.web.caller import Role

ACTION: Final = "action"
"""The `opt` key under which a handler names its action."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row."""

    action: str
    resource: str
    role: Role | None
    deed: bool = False
    scoped: bool = False
    person: bool = False
    without_passkey: bool = False
    browser: bool = False


def _read(action: str, resource: str, role: Role = Role.VIEWER, *, scoped: bool = False) -> Rule:
    return Rule(action=action, resource=resource, role=role, scoped=scoped)


def _deed(action: str, resource: str, role: Role, *, scoped: bool = False) -> Rule:
    return Rule(action=action, resource=resource, role=role, deed=True, scoped=scoped)


def _people(action: str, resource: str, *, deed: bool = True, browser: bool = False) -> Rule:
    return Rule(
        action=action, resource=resource, role=Role.ADMIN, deed=deed, person=True, browser=browser
    )


def _own(action: str, resource: str, *, deed: bool = False, browser: bool = False) -> Rule:
    return Rule(
        action=action,
        resource=resource,
        role=Role.VIEWER,
        deed=deed,
        scoped=True,
        without_passkey=True,
        browser=browser,
    )


def _public(action: str, resource: str, *, deed: bool = False, browser: bool = False) -> Rule:
    return Rule(action=action, resource=resource, role=None, deed=deed, browser=browser)


_ROWS: Final = (
    # Everybody
    _public("console.read", "console", browser=True),
    _public("csp.report", "console"),
    _public("api.describe", "api"),
    _public("session.redeem", "session", deed=True, browser=True),
    _public("passkey.login_begin", "passkey", browser=True),
    _public("passkey.login", "passkey", deed=True, browser=True),
    # One's own session and passkeys
    _own("session.read", "session"),
    _own("session.end", "session", deed=True),
    _own("passkey.register_begin", "passkey", browser=True),
    _own("passkey.register", "passkey", deed=True, browser=True),
    # People
    _people("persons.read", "person", deed=False),
    _people("persons.add", "person"),
    _people("persons.change", "person"),
    _people("persons.remove", "person"),
    _people("login_links.create", "person", browser=True),
    _people("tokens.create", "token"),
    _people("tokens.revoke", "token"),
    _read("tokens.read", "token", Role.ADMIN),
    # The fleet
    _read("stream.read", "fleet"),
    _read("today.read", "fleet", scoped=True),
    _read("sites.read", "fleet", scoped=True),
    _read("devices.read", "device", scoped=True),
    _deed("devices.quarantine", "device", Role.OPERATOR, scoped=True),
    _deed("devices.readmit", "device", Role.OPERATOR, scoped=True),
    _read("events.read", "event", scoped=True),
    _read("timeline.read", "event", scoped=True),
    # Sessions: the server carries and shows; what decides are signatures, and the machine
    _read("access.read", "session", scoped=True),
    _deed("access.request", "session", Role.OPERATOR, scoped=True),
    _deed("access.grant", "session", Role.OPERATOR, scoped=True),
    _deed("access.stop", "session", Role.OPERATOR, scoped=True),
    _deed("access.connect", "session", Role.OPERATOR, scoped=True),
    _deed("access.enter", "session", Role.OPERATOR, scoped=True),
    _read("standing.read", "session", scoped=True),
    _deed("standing.add", "session", Role.OPERATOR, scoped=True),
    _deed("standing.revoke", "session", Role.OPERATOR, scoped=True),
    # Once a person, session and hour: a beat comes every few seconds, and a replay in pieces
    _read("access.watch", "session", Role.OPERATOR, scoped=True),
    _read("access.replay", "session", Role.OPERATOR, scoped=True),
    # Closings: signed by the owner's people, judged by each machine
    _read("closing.read", "closing"),
    _read("closing.machines", "device", scoped=True),
    _deed("closing.submit", "closing", Role.OPERATOR),
    _deed("closing.keep", "closing", Role.OPERATOR),
    # Releases and what the owner says of them: signed by makers and owners, judged by each machine
    _read("updates.read", "release"),
    _deed("updates.publish", "release", Role.OPERATOR),
    # The first piece of a blob leaves a deed; there are thousands of others
    _read("updates.upload", "release", Role.OPERATOR),
    _deed("updates.approve", "release", Role.OPERATOR),
    _read("rollouts.read", "rollout"),
    _deed("rollouts.create", "rollout", Role.OPERATOR),
    _deed("rollouts.change", "rollout", Role.OPERATOR),
    # Recalls: they find machines and tell people; no machine is made to do anything
    _read("recalls.read", "recall"),
    _deed("recalls.open", "recall", Role.OPERATOR),
    _deed("recalls.change", "recall", Role.OPERATOR),
    # Proof
    _read("record.read", "record"),
    _read("record.export", "record", Role.OPERATOR),
    _deed("record.cosign", "record", Role.OPERATOR),
    _deed("record.open", "record", Role.ADMIN),
    # The owner's documents: what decides about them is their signatures, not the role
    _read("owner.read", "document"),
    _read("owner.pending", "device"),
    _deed("owner.submit", "document", Role.OPERATOR),
    # Looking after the program
    _read("doctor.read", "server"),
    _read("tour.read", "tour"),
    Rule(action="tour.step", resource="tour", role=Role.VIEWER),
    _deed("drills.start", "drill", Role.ADMIN),
    _read("drills.read", "drill"),
)

PERMISSIONS: Final[Mapping[str, Rule]] = {rule.action: rule for rule in _ROWS}
