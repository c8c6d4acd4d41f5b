"""Scopes and lengths as people type them: `terminal:app`, `tcp:8080/http`, `30m`."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, urlencode

from fleetward.trust.access import Scope, read_scope
from fleetward.trust.access_runbook import RunbookScope
from fleetward.trust.access_serial import DEFAULT_BAUD
from fleetward.trust.canonical import JsonObject
from fleetward.trust.errors import Malformed

DEFAULT_FILE_BYTES: Final = 100 * 1024 * 1024
EXAMPLES: Final = (
    "terminal:USER, root, tcp:PORT/http, tcp:PORT/raw, logs:UNIT, files:FOLDER:read, "
    "files:FOLDER:write, serial:/dev/ttyUSB0:115200"
)
_LENGTH: Final = re.compile(r"([0-9]{1,6})([smh]?)")
_UNITS: Final = {"": 60, "s": 1, "m": 60, "h": 3600}


def parse_scope(text: str) -> Scope:
    """Return the scope that a person typed. Raises `Malformed` with examples."""
    kind, _, rest = text.partition(":")
    value: JsonObject = {"kind": kind}
    try:
        if kind == "terminal":
            value["profile"] = rest
        elif kind == "tcp":
            port, _, mode = rest.partition("/")
            value |= {"port": int(port), "mode": mode or "raw"}
        elif kind == "logs":
            value["unit"] = rest or "*"
        elif kind == "files":
            value |= _parse_files(rest)
        elif kind == "serial":
            path, colon, baud = rest.rpartition(":")
            named = bool(colon) and baud.isdecimal()
            value["path"] = path if named else rest
            value["baud"] = int(baud) if named else DEFAULT_BAUD
        elif kind == "runbook":
            value |= _parse_runbook(rest)
        elif rest:
            raise ValueError("nothing belongs behind it")
        return read_scope(value)
    except (ValueError, Malformed) as e:
        words = e.message if isinstance(e, Malformed) else ""
        raise Malformed(
            f"Expected a scope as {EXAMPLES}; got {text[:120]!r}. {words}".rstrip(),
            reason="bad_scope",
        ) from e


def _parse_files(rest: str) -> JsonObject:
    parts = rest.split(":")
    if not 1 <= len(parts) <= 3:
        raise ValueError("too many parts")
    root, mode, most = [*parts, *("read", str(DEFAULT_FILE_BYTES))[len(parts) - 1 :]]
    return {"root": root, "mode": mode, "most_bytes": int(most)}


def _parse_runbook(rest: str) -> JsonObject:
    digest, user, given = rest.split(":", 2)
    pairs = parse_qsl(given, keep_blank_values=True, strict_parsing=bool(given))
    if len(dict(pairs)) != len(pairs):
        raise ValueError("an argument twice")
    return {"digest": digest, "run_as": user, "arguments": dict(pairs)}


def write_scope(scope: Scope) -> str:
    """Return a scope as `parse_scope` reads it."""
    if isinstance(scope, RunbookScope):
        return f"runbook:{scope.digest}:{scope.run_as}:{urlencode(scope.arguments)}"
    said = scope.to_json()
    kind = str(said["kind"])
    if kind == "tcp":
        return f"tcp:{said['port']}/{said['mode']}"
    if kind == "files":
        return f"files:{said['root']}:{said['mode']}:{said['most_bytes']}"
    if kind == "serial":
        return f"serial:{said['path']}:{said['baud']}"
    name = said.get("profile") or said.get("unit") or ""
    return f"{kind}:{name}" if name else kind


def parse_length(text: str) -> int:
    """Return the seconds of `30m`, `2h`, `90s`; a bare number is minutes. Raises `Malformed`."""
    found = _LENGTH.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        raise Malformed(
            f"Expected a length as 30m, 2h or 90s, got {text[:20]!r}.", reason="bad_length"
        )
    return int(found[1]) * _UNITS[found[2]]
