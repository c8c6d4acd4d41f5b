"""From what a technician types to the scopes that are asked for, and back to the ones granted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleetward.keyholder.access.scope_words import DEFAULT_FILE_BYTES, parse_scope
from fleetward.trust.access import (
    AccessRules,
    FilesScope,
    LogsScope,
    RootScope,
    Scope,
    TcpScope,
    TerminalScope,
)
from fleetward.trust.access_rule import ANY
from fleetward.trust.access_runbook import RunbookScope
from fleetward.trust.access_serial import DEFAULT_BAUD, SerialScope
from fleetward.trust.errors import Refused

UNNAMED = "-"
"""What an option says when nothing stood behind it: the only one that the policy allows."""


@dataclass(frozen=True, slots=True)
class Fronts:
    """What `connect` shall do. Empty: not wanted; `UNNAMED`: wanted, and not named."""

    terminal: str = ""
    ports: tuple[int, ...] = ()
    http: bool = False
    logs: str = ""
    files: str = ""
    write: bool = False
    serial: str = ""
    baud: int = DEFAULT_BAUD
    runbooks: tuple[RunbookScope, ...] = ()

    @property
    def any(self) -> bool:
        """Whether anything is wanted."""
        one_of = (self.terminal, self.ports, self.logs, self.files, self.serial, self.runbooks)
        return any(one_of)


def rules_for(access: AccessRules, *, break_glass: bool) -> AccessRules:
    """Return the rules that a request goes by: those of every day, or those of BREAK-GLASS."""
    if not break_glass:
        return access
    return AccessRules(rules=access.break_glass.rules if access.break_glass else {})


def choose_scopes(fronts: Fronts, more: Sequence[str], rules: AccessRules) -> tuple[Scope, ...]:
    """Return the scopes to ask for. Raises `Refused` when one has to be named."""
    scopes: list[Scope] = [parse_scope(text) for text in more]
    if fronts.terminal == "root":
        scopes.append(RootScope())
    elif fronts.terminal:
        scopes.append(parse_scope(f"terminal:{_only(rules, 'terminal', fronts.terminal)}"))
    for port in fronts.ports:
        scopes.append(TcpScope(port, "http" if fronts.http else "raw"))
    if fronts.logs:
        scopes.append(parse_scope(f"logs:{_only(rules, 'logs', fronts.logs)}"))
    if fronts.files:
        root = _only(rules, "files", fronts.files)
        mode = "write" if fronts.write else "read"
        scopes.append(parse_scope(f"files:{root}:{mode}:{DEFAULT_FILE_BYTES}"))
    if fronts.serial:
        scopes.append(parse_scope(f"serial:{_only(rules, 'serial', fronts.serial)}:{fronts.baud}"))
    scopes += fronts.runbooks
    if not scopes:
        raise Refused(
            "Expected what to ask for: --terminal, --port N, --logs, --files, --serial, --runbook, "
            "or --scope.",
            reason="nothing_asked",
        )
    return tuple(dict.fromkeys(scopes))


def fronts_of(scopes: Sequence[Scope]) -> Fronts:
    """Return what can be done with granted scopes, for a `connect` that names nothing."""
    terminal = next((s for s in scopes if isinstance(s, TerminalScope | RootScope)), None)
    return Fronts(
        terminal=_name_of(terminal) if terminal is not None else "",
        ports=tuple(s.port for s in scopes if isinstance(s, TcpScope)),
        logs=next((s.unit for s in scopes if isinstance(s, LogsScope)), ""),
        files=next((s.root for s in scopes if isinstance(s, FilesScope)), ""),
        serial=next((s.path for s in scopes if isinstance(s, SerialScope)), ""),
        runbooks=tuple(s for s in scopes if isinstance(s, RunbookScope)),
    )


def place_of(scopes: Sequence[Scope], kind: str, name: str) -> int:
    """Return the place of a granted scope in the grant. Raises `Refused` when it is not there."""
    for place, scope in enumerate(scopes):
        if scope.kind == kind and name in (UNNAMED, _name_of(scope)):
            return place
    raise Refused(
        f"This session was granted {'; '.join(s.words() for s in scopes)}: no {kind}"
        f"{'' if name == UNNAMED else ' ' + name}.",
        reason="not_granted",
    )


def _only(rules: AccessRules, kind: str, named: str) -> str:
    if named != UNNAMED:
        return named
    rule = (rules.rules or {}).get(kind)
    allowed = rule.allowed if rule is not None else ()
    if ANY in allowed:
        return ANY
    if len(allowed) != 1:
        raise Refused(
            f"Name which: the owner's policy allows {kind} for {', '.join(allowed) or 'nothing'}.",
            reason="scope_unnamed",
        )
    return allowed[0]


def _name_of(scope: Scope) -> str:
    if isinstance(scope, TerminalScope):
        return scope.profile
    if isinstance(scope, TcpScope):
        return str(scope.port)
    if isinstance(scope, LogsScope):
        return scope.unit
    if isinstance(scope, SerialScope):
        return scope.path
    if isinstance(scope, RunbookScope):
        return scope.digest
    return scope.root if isinstance(scope, FilesScope) else "root"
