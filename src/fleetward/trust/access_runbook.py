"""The scope `runbook`: a signed list of steps, started once, with exactly these arguments.

    {"kind": "runbook", "digest": "3f9a…", "run_as": "app", "arguments": {"unit": "pump"}}

The digest is the hash of the runbook's document (see `runbook`), which is not needed to read the
scope. `run_as` stands here a second time so that whoever judges a request or a grant, the machine
and the offline verifier alike, sees without the document whether it runs as root; a machine with
the document in hand refuses a scope that names another user than it.

The arguments are part of the scope, so that the approver says yes to them and to no others. Every
value is text here; what the document lets it be is judged with the document in hand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.errors import Malformed
from fleetward.trust.fields import Fields

ROOT: Final = "root"
MAX_ARGUMENTS: Final = 16
MAX_VALUE_CHARACTERS: Final = 256
"""Sixteen values of this length fit into a request beside everything else."""
MAX_SIGNERS: Final = 16
SHOWN_DIGITS: Final = 16
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_USER: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class RunbookScope:
    """One run of one runbook. `arguments` are pairs of name and value, in order of the names."""

    digest: str
    run_as: str
    arguments: tuple[tuple[str, str], ...]
    kind: str = "runbook"

    def to_json(self) -> JsonObject:
        """Return the scope as it stands in signed documents."""
        return {
            "arguments": dict(self.arguments),
            "digest": self.digest,
            "kind": self.kind,
            "run_as": self.run_as,
        }

    def words(self) -> str:
        """Say it to a person. The values are the requester's, so each stands in quotes."""
        given = ", ".join(f"{name} “{value}”" for name, value in self.arguments)
        with_ = f" with {given}" if given else ""
        return f"the runbook {self.digest[:SHOWN_DIGITS]} as {self.run_as}{with_}"


@dataclass(frozen=True, slots=True)
class Plan:
    """One run: the steps of a verified runbook with the arguments of a scope filled in."""

    name: str
    version: int
    run_as: str
    seconds: int
    steps: tuple[tuple[str, ...], ...]


def read_runbook_scope(value: Json) -> RunbookScope:
    """Return the scope that a JSON object says. Raises `Malformed`."""
    fields = Fields(value, "the scope", {"arguments", "digest", "kind", "run_as"})
    given = fields.map("arguments")
    if len(given) > MAX_ARGUMENTS:
        raise Malformed(f"Expected at most {MAX_ARGUMENTS} arguments.", reason="bad_scope")
    names = [check_argument_name(name) for name in sorted(given)]
    read = Fields(given, "the arguments", set(names))
    return RunbookScope(
        digest=fields.digest("digest"),
        run_as=check_run_as(fields.text("run_as")),
        arguments=tuple((name, read.text(name, most=MAX_VALUE_CHARACTERS)) for name in names),
    )


def check_argument_name(text: str) -> str:
    """Return the name of an argument. Raises `Malformed`."""
    if not _NAME.fullmatch(text):
        raise Malformed(
            "Expected the name of an argument: lower-case letters, digits and '_', 32 at most.",
            reason="bad_scope",
        )
    return text


def check_run_as(text: str) -> str:
    """Return the user that a runbook runs as. Raises `Malformed`."""
    if not _USER.fullmatch(text):
        raise Malformed("Expected the name of a user, or root.", reason="bad_scope")
    return text
