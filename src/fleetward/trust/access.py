"""What can be asked of a machine in a session, and what the owner's policy lets be asked.

A **scope** is one thing that a session may do; a session has one to eight. The **rules** are the
policy's field `access`: who may ask, and for each kind of scope how many people must say yes, how
long it may last, and what exactly may be reached. A kind that the rules do not name is never
granted; a policy without the field grants nothing at all.

    {"requesters": ["…key id…"], "walls": "any",
     "terminal": {"profiles": ["app"], "seconds": 3600, "threshold": 1, "watched": false}}

Nothing here judges a grant: that is `trust.grants`, which no file of the server can reach. This
file only says what the words mean, so that a server can show them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from fleetward.trust.access_rule import ANY, Rule
from fleetward.trust.access_runbook import MAX_SIGNERS, RunbookScope, read_runbook_scope
from fleetward.trust.access_serial import SerialScope, check_path, read_serial
from fleetward.trust.break_glass import BreakGlass, make_break_glass, read_break_glass
from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.errors import Malformed
from fleetward.trust.fields import Fields, require_digest, require_key_id

KINDS: Final = ("terminal", "root", "tcp", "logs", "files", "serial", "runbook")
WALLS: Final = ("any", "sandbox")
"""`sandbox`: only a machine that can put a session into a sandbox opens one."""
MAX_SCOPES: Final = 8
MAX_SECONDS: Final = 24 * 3600
"""Nobody works longer in one session; a longer one is a door left open."""
MAX_REQUESTERS: Final = 128
MAX_ALLOWED: Final = 64
MAX_FILE_BYTES: Final = 2**40
_PROFILE: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_UNIT: Final = re.compile(r"[A-Za-z0-9@._:-]{1,128}")
_SEGMENT: Final = re.compile(r"[^/\x00]{1,255}")


@dataclass(frozen=True, slots=True)
class TerminalScope:
    """A terminal as the user `profile`, who is never root."""

    profile: str
    kind: str = "terminal"

    def to_json(self) -> JsonObject:
        """Return the scope as it stands in signed documents."""
        return {"kind": self.kind, "profile": self.profile}

    def words(self) -> str:
        """Say it to a person."""
        return f"a terminal as {self.profile}"


@dataclass(frozen=True, slots=True)
class RootScope:
    """A terminal as root. A scope of its own, with rules of its own."""

    kind: str = "root"

    def to_json(self) -> JsonObject:
        """Return the scope as it stands in signed documents."""
        return {"kind": self.kind}

    def words(self) -> str:
        """Say it to a person."""
        return "a terminal as root, who may change everything"


@dataclass(frozen=True, slots=True)
class TcpScope:
    """One TCP port of the machine's own loopback, as web pages (`http`) or as bytes (`raw`)."""

    port: int
    mode: str
    kind: str = "tcp"

    def to_json(self) -> JsonObject:
        """Return the scope as it stands in signed documents."""
        return {"kind": self.kind, "mode": self.mode, "port": self.port}

    def words(self) -> str:
        """Say it to a person."""
        what = "the machine's web page on port" if self.mode == "http" else "the machine's port"
        return f"{what} {self.port}"


@dataclass(frozen=True, slots=True)
class LogsScope:
    """The journal of one systemd unit, or of all (`*`)."""

    unit: str
    kind: str = "logs"

    def to_json(self) -> JsonObject:
        """Return the scope as it stands in signed documents."""
        return {"kind": self.kind, "unit": self.unit}

    def words(self) -> str:
        """Say it to a person."""
        return "all logs" if self.unit == ANY else f"the logs of {self.unit}"


@dataclass(frozen=True, slots=True)
class FilesScope:
    """The files below one folder, to read or also to write, up to so many bytes in all."""

    root: str
    mode: str
    most_bytes: int
    kind: str = "files"

    def to_json(self) -> JsonObject:
        """Return the scope as it stands in signed documents."""
        return {
            "kind": self.kind,
            "mode": self.mode,
            "most_bytes": self.most_bytes,
            "root": self.root,
        }

    def words(self) -> str:
        """Say it to a person."""
        verb = "reading" if self.mode == "read" else "reading and writing"
        return f"{verb} files below {self.root}, {_size_words(self.most_bytes)} at most"


Scope: TypeAlias = (
    TerminalScope | RootScope | TcpScope | LogsScope | FilesScope | SerialScope | RunbookScope
)


@dataclass(frozen=True, slots=True)
class AccessRules:
    """The policy's rules for sessions. Without rules nobody may ask for anything."""

    requesters: tuple[str, ...] = ()
    rules: Mapping[str, Rule] | None = None
    walls: str = "any"
    delegators: tuple[str, ...] = ()
    """Requesters who may let somebody else ask in their place (`trust.delegation`)."""
    break_glass: BreakGlass | None = None
    """What holds when the usual approvers are away; None: nobody breaks in."""

    def rule_of(self, scope: Scope) -> Rule | None:
        """Return the rule for a scope's kind, or None where the owner named none."""
        return (self.rules or {}).get(scope.kind)


def read_scope(value: Json) -> Scope:
    """Return the scope that a JSON object says. Raises `Malformed`."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind == "terminal":
        fields = Fields(value, "the scope", {"kind", "profile"})
        return TerminalScope(_profile(fields.text("profile")))
    if kind == "root":
        Fields(value, "the scope", {"kind"})
        return RootScope()
    if kind == "tcp":
        fields = Fields(value, "the scope", {"kind", "mode", "port"})
        port = fields.integer("port", low=1, high=65535)
        return TcpScope(port, fields.choice("mode", ("http", "raw")))
    if kind == "logs":
        fields = Fields(value, "the scope", {"kind", "unit"})
        return LogsScope(_unit(fields.text("unit")))
    if kind == "files":
        fields = Fields(value, "the scope", {"kind", "mode", "most_bytes", "root"})
        return FilesScope(
            _folder(fields.text("root")),
            fields.choice("mode", ("read", "write")),
            fields.integer("most_bytes", low=1, high=MAX_FILE_BYTES),
        )
    return _read_other(value)


def _read_other(value: Json) -> Scope:
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind == "serial":
        return read_serial(value)
    if kind == "runbook":
        return read_runbook_scope(value)
    raise Malformed(f"Expected a scope of {list(KINDS)}.", reason="bad_scope")


def read_scopes(values: list[Json]) -> tuple[Scope, ...]:
    """Return one to `MAX_SCOPES` distinct scopes. Raises `Malformed`."""
    scopes = tuple(read_scope(value) for value in values)
    if not scopes or len(scopes) > MAX_SCOPES or len(set(scopes)) != len(scopes):
        raise Malformed(f"Expected 1 to {MAX_SCOPES} distinct scopes.", reason="bad_scope")
    return scopes


def read_access(value: Json) -> AccessRules:
    """Return the rules of a policy's field `access`. Raises `Malformed`."""
    optional = {*KINDS, "break_glass", "delegators"}
    fields = Fields(value, "the access rules", {"requesters", "walls"}, optional)
    requesters = fields.texts("requesters", most=MAX_REQUESTERS)
    delegators = fields.texts("delegators", most=MAX_REQUESTERS) if fields.has("delegators") else ()
    if not set(delegators) <= set(requesters):
        raise Malformed("Expected who delegates to be a requester.", reason="bad_role")
    return AccessRules(
        delegators=delegators,
        requesters=tuple(require_key_id(r, "a requester") for r in requesters),
        rules={kind: _read_rule(kind, fields.map(kind)) for kind in KINDS if fields.has(kind)},
        walls=fields.choice("walls", WALLS),
        break_glass=read_break_glass(fields.map("break_glass"), _read_rule, KINDS)
        if fields.has("break_glass")
        else None,
    )


def make_access(rules: AccessRules) -> JsonObject:
    """Return the field `access` for these rules, as `read_access` reads it."""
    value: JsonObject = {"requesters": list(rules.requesters), "walls": rules.walls}
    if rules.delegators:
        value["delegators"] = list(rules.delegators)
    for kind, rule in (rules.rules or {}).items():
        value[kind] = _make_rule(kind, rule)
    if rules.break_glass is not None:
        value["break_glass"] = make_break_glass(rules.break_glass, _make_rule)
    return value


def _make_rule(kind: str, rule: Rule) -> JsonObject:
    said: JsonObject = {
        "seconds": rule.seconds,
        "threshold": rule.threshold,
        "watched": rule.watched,
    }
    if kind == "tcp":
        said["ports"] = [[first, last] for first, last in rule.ports]
    elif kind in _NAMES:
        said[_NAMES[kind]] = list(rule.allowed)
    if kind == "runbook":
        said["signers"] = list(rule.signers)
    return said


def permits(rule: Rule, scope: Scope) -> bool:
    """Return whether what the scope names is among what the rule allows."""
    if isinstance(scope, TcpScope):
        return any(first <= scope.port <= last for first, last in rule.ports)
    if isinstance(scope, TerminalScope):
        return scope.profile in rule.allowed
    if isinstance(scope, LogsScope):
        return rule.allows(scope.unit)
    if isinstance(scope, FilesScope):
        return any(scope.root == root or scope.root.startswith(root + "/") for root in rule.allowed)
    if isinstance(scope, SerialScope):
        return scope.path in rule.allowed
    return rule.allows(scope.digest) if isinstance(scope, RunbookScope) else True


_NAMES: Final = {
    "terminal": "profiles",
    "logs": "units",
    "files": "roots",
    "serial": "paths",
    "runbook": "digests",
}


def _read_rule(kind: str, value: JsonObject) -> Rule:
    names = {"seconds", "threshold", "watched"}
    if kind == "tcp":
        names |= {"ports"}
    elif kind in _NAMES:
        names |= {_NAMES[kind]}
    if kind == "runbook":
        names |= {"signers"}
    fields = Fields(value, f"the rule for {kind}", names)
    return Rule(
        threshold=fields.integer("threshold", low=1, high=32),
        seconds=fields.integer("seconds", low=1, high=MAX_SECONDS),
        watched=fields.boolean("watched"),
        allowed=_read_allowed(kind, fields) if kind in _NAMES else (),
        ports=_read_ports(fields) if kind == "tcp" else (),
        signers=_read_signers(fields) if kind == "runbook" else (),
    )


def _read_allowed(kind: str, fields: Fields) -> tuple[str, ...]:
    check = _CHECKS[kind]
    return tuple(check(text) for text in fields.texts(_NAMES[kind], most=MAX_ALLOWED))


def _read_signers(fields: Fields) -> tuple[str, ...]:
    signers = fields.texts("signers", most=MAX_SIGNERS)
    return tuple(require_key_id(each, "a signer of runbooks") for each in signers)


def _read_ports(fields: Fields) -> tuple[tuple[int, int], ...]:
    ports: list[tuple[int, int]] = []
    for pair in fields.items("ports", most=MAX_ALLOWED):
        if not isinstance(pair, list) or len(pair) != 2:
            raise Malformed("Expected pairs of a first and a last port.", reason="bad_scope")
        ends = Fields({"first": pair[0], "last": pair[1]}, "the ports", {"first", "last"})
        first = ends.integer("first", low=1, high=65535)
        ports.append((first, ends.integer("last", low=first, high=65535)))
    return tuple(ports)


def _size_words(size_bytes: int) -> str:
    """Return a size as people say it; whole units only where nothing is lost by it."""
    for name, unit in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size_bytes % unit == 0:
            return f"{size_bytes // unit} {name}"
    return f"{size_bytes:,} bytes"


def _profile(text: str) -> str:
    if not _PROFILE.fullmatch(text) or text == "root":
        raise Malformed(
            "Expected the name of a user other than root; root is a scope of its own.",
            reason="bad_scope",
        )
    return text


def _unit(text: str) -> str:
    if text != ANY and (not _UNIT.fullmatch(text) or text.startswith("-")):
        raise Malformed("Expected the name of a systemd unit, or *.", reason="bad_scope")
    return text


def _folder(text: str) -> str:
    parts = text.split("/")
    whole = text.startswith("/") and len(text) > 1
    if not whole or any(p in (".", "..") or not _SEGMENT.fullmatch(p) for p in parts[1:]):
        raise Malformed(
            "Expected an absolute folder without '.', '..', or a slash at its end.",
            reason="bad_scope",
        )
    return text


def _digest(text: str) -> str:
    return text if text == ANY else require_digest(text, "a runbook's digest")


_CHECKS: Final[Mapping[str, Callable[[str], str]]] = {
    "terminal": _profile,
    "logs": _unit,
    "files": _folder,
    "serial": check_path,
    "runbook": _digest,
}
