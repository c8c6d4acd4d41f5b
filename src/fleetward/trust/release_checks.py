"""Health checks of a release: what has to hold after the switch, in words a machine can ask.

| kind    | holds when                                                              |
|---------|-------------------------------------------------------------------------|
| process | a process of this name runs                                             |
| port    | something on this machine answers on this TCP port of 127.0.0.1         |
| http    | a GET of `path` on that port is answered with `status`                  |
| file    | the file exists below the part                                          |
| command | the file of the part, run with these arguments, ends with 0 in `seconds`|

Nothing here leaves the machine, and a command is a file that the maker signed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.errors import Malformed
from fleetward.trust.fields import Fields

KINDS: Final = ("process", "port", "http", "file", "command")
COMMAND_SECONDS: Final = (1, 300)
MAX_ARGUMENTS: Final = 16
MAX_PATH_CHARACTERS: Final = 256
MAX_PROCESS_CHARACTERS: Final = 15
"""What the kernel keeps of a process's name (proc(5), `comm`)."""
_FIELDS: Final = {
    "process": {"name"},
    "port": {"port"},
    "http": {"path", "port", "status"},
    "file": {"part", "path"},
    "command": {"arguments", "part", "path", "seconds"},
}
_PART_OF_PATH: Final = re.compile(r"[A-Za-z0-9_+=@,][A-Za-z0-9_+=@,.~-]{0,119}")
_URL_PATH: Final = re.compile(r"/[A-Za-z0-9._~/-]{0,255}")
_PROCESS: Final = re.compile(r"[A-Za-z0-9_.+:@-]{1,15}")


@dataclass(frozen=True, slots=True)
class Check:
    """One check; only the fields of its kind mean anything."""

    kind: str
    name: str = ""
    port: int = 0
    path: str = ""
    status: int = 0
    part: str = ""
    arguments: tuple[str, ...] = ()
    seconds: int = 0

    def to_json(self) -> JsonObject:
        """Return the check as it stands in a manifest."""
        every: JsonObject = {
            "arguments": list(self.arguments),
            "name": self.name,
            "part": self.part,
            "path": self.path,
            "port": self.port,
            "seconds": self.seconds,
            "status": self.status,
        }
        return {"kind": self.kind, **{name: every[name] for name in sorted(_FIELDS[self.kind])}}

    def words(self) -> str:
        """Say it to a person."""
        return {
            "process": f"the process {self.name} runs",
            "port": f"port {self.port} answers",
            "http": f"http port {self.port} answers {self.path} with {self.status}",
            "file": f"{self.path} exists",
            "command": f"{self.path} ends well within {self.seconds} s",
        }[self.kind]


def check_path(text: str) -> str:
    """Return a path below a part unchanged: plain, relative, without `..`. Raises `Malformed`."""
    if len(text) > MAX_PATH_CHARACTERS or not all(
        _PART_OF_PATH.fullmatch(part) for part in text.split("/")
    ):
        raise Malformed(
            f"Expected a plain relative path, got {text[:80]!r}.", reason="bad_relative_path"
        )
    return text


def read_check(value: Json) -> Check:
    """Return a check, with exactly the fields of its kind. Raises `Malformed`."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise Malformed(f"Expected a check of {', '.join(KINDS)}.", reason="bad_check")
    fields = Fields(value, "a check", {"kind", *_FIELDS[kind]})
    low, high = COMMAND_SECONDS
    return Check(
        kind=kind,
        name=_match(fields, "name", _PROCESS) if fields.has("name") else "",
        port=fields.integer("port", low=1, high=65535) if fields.has("port") else 0,
        path=_read_path(fields, kind) if fields.has("path") else "",
        status=fields.integer("status", low=100, high=599) if fields.has("status") else 0,
        part=fields.text("part", most=32, least=1) if fields.has("part") else "",
        arguments=_read_arguments(fields) if fields.has("arguments") else (),
        seconds=fields.integer("seconds", low=low, high=high) if fields.has("seconds") else 0,
    )


def _read_arguments(fields: Fields) -> tuple[str, ...]:
    """Arguments may repeat, as on any command line."""
    values = fields.items("arguments", most=MAX_ARGUMENTS)
    return tuple(Fields({"each": value}, "an argument", {"each"}).text("each") for value in values)


def _read_path(fields: Fields, kind: str) -> str:
    return _match(fields, "path", _URL_PATH) if kind == "http" else check_path(fields.text("path"))


def _match(fields: Fields, name: str, pattern: re.Pattern[str]) -> str:
    text = fields.text(name)
    if pattern.fullmatch(text) is None:
        raise Malformed(
            f"Expected another {name} of a check than {text[:60]!r}.", reason="bad_check"
        )
    return text
