"""The runbook: steps that somebody may have run on a machine without getting a shell.

A maker writes it once for every owner, so it names no owner and no machine. It is signed by one
key; what that is worth, the owner's policy says (`access`, rule `runbook`): whose key, and which
documents of that key. Who starts it chooses among what the document leaves open, and no more.

    {"type": "fleetward.runbook.v1", "name": "support-bundle", "version": 1,
     "description": "Collect the pump's own logs.", "signer": "…key id…",
     "run_as": "app", "seconds": 120,
     "arguments": [{"name": "day", "kind": "text", "characters": ["digit", "dash"],
                    "low": 10, "high": 10}],
     "steps": [["/opt/pump/bin/bundle", "--day", {"argument": "day"}]]}

1. One signature, by the key that `signer` names. The document's hash is its name: a scope names it,
   so another document, or the same under a changed step, is another runbook.
2. A step is a list of arguments, executed as it stands. No shell reads it.
3. What is left open is a whole argument, never a part of a text: a value cannot begin a second
   word, and cannot change the meaning of what stands beside it.
4. The first word of a step is an absolute path, and literal.
5. A program that runs what its arguments say (`sh`, `python3`, `env`) takes literal ones alone. The
   list of such programs catches a slip; the maker's signature is what a step's safety rests on.
6. A text is made of named classes of characters, is of bounded length, does not begin with `-` and
   does not hold `..`: it is no option and no way up. There is no pattern language that could
   backtrack.
7. A number is not negative, so that it is no option either. Choices are the maker's own words.
8. Every argument is used, and every argument that is used is declared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from fleetward.trust.access import MAX_SECONDS
from fleetward.trust.access_runbook import (
    MAX_ARGUMENTS,
    MAX_VALUE_CHARACTERS,
    Plan,
    RunbookScope,
    check_argument_name,
    check_run_as,
)
from fleetward.trust.canonical import MAX_INTEGER, Json, JsonObject
from fleetward.trust.envelope import Envelope, RoleKey, read_envelope, require_type, verify_holder
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.policy import Policy

RUNBOOK_TYPE: Final = "fleetward.runbook.v1"
MAX_RUNBOOK_BYTES: Final = 64 * 1024
"""A list of steps, not a program; a machine keeps sixty-four of them."""
MAX_STEPS: Final = 32
MAX_STEP_WORDS: Final = 64
MAX_CHOICES: Final = 64
CLASSES: Final[Mapping[str, str]] = {
    "at": "@",
    "colon": ":",
    "comma": ",",
    "dash": "-",
    "digit": "0123456789",
    "dot": ".",
    "equals": "=",
    "lower": "abcdefghijklmnopqrstuvwxyz",
    "plus": "+",
    "slash": "/",
    "space": " ",
    "underscore": "_",
    "upper": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
}
"""What a text may be made of. Nothing here means anything to a shell but what separates words."""
INTERPRETERS: Final = frozenset(
    {
        *("ash", "awk", "bash", "busybox", "bwrap", "chroot", "csh", "dash", "doas", "env"),
        *("expect", "fish", "gawk", "ionice", "ksh", "lua", "luajit", "make", "mawk", "mksh"),
        *("nawk", "nice", "node", "nodejs", "nohup", "nsenter", "parallel", "perl", "php"),
        *("pypy", "python", "ruby", "runuser", "script", "sed", "setpriv", "setsid", "sh"),
        *("ssh", "stdbuf", "su", "sudo", "systemd-run", "taskset", "tclsh", "tcsh", "time"),
        *("timeout", "toybox", "unshare", "watch", "xargs", "zsh"),
    }
)
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SEGMENT: Final = re.compile(r"[^/\x00]{1,255}")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_VERSION: Final = re.compile(r"[0-9.-]*$")
"""Behind a program's name, as in python3.13."""


@dataclass(frozen=True, slots=True)
class TextArgument:
    """A text of `low` to `high` characters, each out of the named classes."""

    name: str
    characters: tuple[str, ...]
    low: int
    high: int

    def to_json(self) -> JsonObject:
        """Return the argument as it stands in the document."""
        said: JsonObject = {"kind": "text", "name": self.name, "low": self.low, "high": self.high}
        return {**said, "characters": list(self.characters)}

    def fits(self, value: str) -> bool:
        """Return whether the value is such a text (rule 6)."""
        allowed = "".join(CLASSES[name] for name in self.characters)
        made = self.low <= len(value) <= self.high and all(c in allowed for c in value)
        return made and not value.startswith("-") and ".." not in value

    def words(self) -> str:
        """Say what it takes."""
        return f"{self.low} to {self.high} characters out of {', '.join(self.characters)}"


@dataclass(frozen=True, slots=True)
class IntegerArgument:
    """A whole number from `low` to `high`, written as people write it."""

    name: str
    low: int
    high: int

    def to_json(self) -> JsonObject:
        """Return the argument as it stands in the document."""
        return {"kind": "integer", "name": self.name, "low": self.low, "high": self.high}

    def fits(self, value: str) -> bool:
        """Return whether the value is such a number, in its one spelling."""
        return bool(_NUMBER.fullmatch(value)) and self.low <= int(value) <= self.high

    def words(self) -> str:
        """Say what it takes."""
        return f"a number from {self.low} to {self.high}"


@dataclass(frozen=True, slots=True)
class ChoiceArgument:
    """One of the maker's own words."""

    name: str
    choices: tuple[str, ...]

    def to_json(self) -> JsonObject:
        """Return the argument as it stands in the document."""
        return {"kind": "choice", "name": self.name, "choices": list(self.choices)}

    def fits(self, value: str) -> bool:
        """Return whether the value is one of them."""
        return value in self.choices

    def words(self) -> str:
        """Say what it takes."""
        return f"one of {', '.join(self.choices)}"


Argument: TypeAlias = TextArgument | IntegerArgument | ChoiceArgument


@dataclass(frozen=True, slots=True)
class Hole:
    """A place in a step that a value fills."""

    name: str


StepWord: TypeAlias = str | Hole


@dataclass(frozen=True, slots=True)
class Runbook:
    """A runbook. `digest` and `raw` are empty before it is sealed."""

    name: str
    version: int
    description: str
    signer: str
    run_as: str
    seconds: int
    arguments: tuple[Argument, ...]
    steps: tuple[tuple[StepWord, ...], ...]
    digest: str = ""
    raw: bytes = b""


def make_runbook_payload(runbook: Runbook) -> JsonObject:
    """Return the payload of a runbook; `digest` and `raw` of the argument are ignored."""
    steps: list[Json] = [
        [{"argument": word.name} if isinstance(word, Hole) else word for word in step]
        for step in runbook.steps
    ]
    return {
        "arguments": [argument.to_json() for argument in runbook.arguments],
        "description": runbook.description,
        "name": runbook.name,
        "run_as": runbook.run_as,
        "seconds": runbook.seconds,
        "signer": runbook.signer,
        "steps": steps,
        "type": RUNBOOK_TYPE,
        "version": runbook.version,
    }


def read_runbook(data: bytes) -> Runbook:
    """Return what a document says, in form. **No signature is checked.** Raises `Malformed`.

    For makers, and for who has to know the signer before he can look for the key.
    """
    return _read(read_envelope(data, max_bytes=MAX_RUNBOOK_BYTES))


def verify_runbook(data: bytes, holder: RoleKey) -> Runbook:
    """Return the runbook that this key signed. Raises `Malformed` or `Untrusted`.

    Whether an owner lets this key sign runbooks is `judge_runbook`'s to say.
    """
    envelope = read_envelope(data, max_bytes=MAX_RUNBOOK_BYTES)
    require_type(envelope, RUNBOOK_TYPE)
    # Rule 1.
    verify_holder(envelope, RUNBOOK_TYPE, holder)
    runbook = _read(envelope)
    if runbook.signer != holder.key.key_id:
        raise Untrusted("The runbook names another signer than signed it.", reason="wrong_signer")
    return runbook


def judge_runbook(data: bytes, policy: Policy) -> Runbook:
    """Return the runbook that this policy lets be run. Raises `Malformed`, `Untrusted`, `Refused`.

    That a request may name it, and as whom it runs, is for the rules of requests to say.
    """
    envelope = read_envelope(data, max_bytes=MAX_RUNBOOK_BYTES)
    require_type(envelope, RUNBOOK_TYPE)
    rule = (policy.access.rules or {}).get("runbook")
    if rule is None:
        raise Refused(
            "The owner's policy has no rule for runbooks. The owner changes that with `fleetward "
            "owner policy access allow runbook`.",
            reason="scope_not_in_policy",
        )
    signer = envelope.payload.get("signer")
    holder = policy.keys.get(signer) if isinstance(signer, str) else None
    if holder is None or signer not in rule.signers:
        raise Untrusted(
            "The runbook is signed by nobody whose runbooks this machine's owner allows. The owner "
            "names signers with `fleetward owner policy access allow runbook --signer`.",
            reason="unknown_signer",
        )
    runbook = verify_runbook(data, holder)
    if not rule.allows(runbook.digest):
        raise Refused(
            f"The owner's policy does not allow the runbook {runbook.name} {runbook.version}; it "
            "names others. The owner changes that with `fleetward owner policy access`.",
            reason="scope_not_allowed",
        )
    return runbook


def plan_run(runbook: Runbook, scope: RunbookScope) -> Plan:
    """Return the run that a scope means. Raises `Untrusted` when it means another runbook, and
    `Refused` when its arguments do not fit."""
    if scope.digest != runbook.digest:
        raise Untrusted("The scope names another runbook.", reason="another_runbook")
    if scope.run_as != runbook.run_as:
        raise Untrusted(
            f"The runbook runs as {runbook.run_as}, and {scope.run_as} was asked for.",
            reason="another_user",
        )
    return fill_in(runbook, dict(scope.arguments))


def fill_in(runbook: Runbook, given: Mapping[str, str]) -> Plan:
    """Return the run with these values. Raises `Refused` for one that does not fit."""
    known = {argument.name: argument for argument in runbook.arguments}
    if unknown := sorted(set(given) - set(known)):
        raise Refused(
            f"The runbook {runbook.name} has no argument {unknown[0]!r}; it has "
            f"{', '.join(known) or 'none'}.",
            reason="unknown_argument",
        )
    for name, argument in known.items():
        if name not in given:
            raise Refused(
                f"The runbook {runbook.name} wants the argument {name}: {argument.words()}.",
                reason="missing_argument",
            )
        if not argument.fits(given[name]):
            raise Refused(
                f"The argument {name} of the runbook {runbook.name} takes {argument.words()}.",
                reason="bad_argument",
            )
    steps = tuple(
        tuple(given[word.name] if isinstance(word, Hole) else word for word in step)
        for step in runbook.steps
    )
    return Plan(runbook.name, runbook.version, runbook.run_as, runbook.seconds, steps)


def _read(envelope: Envelope) -> Runbook:
    require_type(envelope, RUNBOOK_TYPE)
    fields = Fields(
        envelope.payload,
        "the runbook",
        {
            "arguments", "description", "name", "run_as", "seconds", "signer", "steps", "type",
            "version",
        },
    )  # fmt: skip
    name = fields.text("name")
    if not _NAME.fullmatch(name):
        raise Malformed(
            "Expected a runbook's name of lower-case letters, digits, '.', '_' and '-'.",
            reason="bad_field",
        )
    arguments = tuple(_read_argument(v) for v in fields.items("arguments", most=MAX_ARGUMENTS))
    steps = tuple(_read_step(v) for v in fields.items("steps", most=MAX_STEPS))
    _check_names(arguments, steps)
    return Runbook(
        name=name,
        version=fields.integer("version", low=1),
        description=fields.text("description", most=500),
        signer=fields.key_id("signer"),
        run_as=check_run_as(fields.text("run_as")),
        seconds=fields.integer("seconds", low=1, high=MAX_SECONDS),
        arguments=arguments,
        steps=steps,
        digest=envelope.hash,
        raw=envelope.raw,
    )


def _read_argument(value: Json) -> Argument:
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind == "text":
        fields = Fields(value, "an argument", {"characters", "high", "kind", "low", "name"})
        characters = fields.texts("characters", most=len(CLASSES))
        if not characters or any(name not in CLASSES for name in characters):
            raise Malformed(
                f"Expected classes of characters out of {', '.join(CLASSES)}.", reason="bad_field"
            )
        low = fields.integer("low", low=1, high=MAX_VALUE_CHARACTERS)
        high = fields.integer("high", low=low, high=MAX_VALUE_CHARACTERS)
        return TextArgument(check_argument_name(fields.text("name")), characters, low, high)
    if kind == "integer":
        fields = Fields(value, "an argument", {"high", "kind", "low", "name"})
        low = fields.integer("low")
        high = fields.integer("high", low=low, high=MAX_INTEGER)
        return IntegerArgument(check_argument_name(fields.text("name")), low, high)
    if kind == "choice":
        fields = Fields(value, "an argument", {"choices", "kind", "name"})
        choices = fields.texts("choices", most=MAX_CHOICES)
        if not choices or any(not 1 <= len(c) <= MAX_VALUE_CHARACTERS for c in choices):
            raise Malformed(
                f"Expected choices of 1 to {MAX_VALUE_CHARACTERS} characters.", reason="bad_field"
            )
        return ChoiceArgument(check_argument_name(fields.text("name")), choices)
    raise Malformed("Expected an argument of text, integer or choice.", reason="bad_field")


def _read_step(value: Json) -> tuple[StepWord, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_STEP_WORDS:
        raise Malformed(
            f"Expected a step as a list of 1 to {MAX_STEP_WORDS} arguments.", reason="bad_step"
        )
    step = tuple(_read_word(word) for word in value)
    program = step[0]
    # Rule 4.
    if isinstance(program, Hole) or not _is_whole_path(program):
        raise Malformed(
            "Expected a step to begin with a program's absolute path, as it stands.",
            reason="bad_step",
        )
    # Rule 5.
    if _is_interpreter(program) and any(isinstance(word, Hole) for word in step):
        raise Malformed(
            f"{program} runs what its arguments say, so none of them may be left open.",
            reason="open_interpreter",
        )
    return step


def _read_word(value: Json) -> StepWord:
    if isinstance(value, dict):
        # Rule 3.
        fields = Fields(value, "an open argument", {"argument"})
        return Hole(check_argument_name(fields.text("argument")))
    return Fields({"word": value}, "a step", {"word"}).text("word")


def _check_names(arguments: Sequence[Argument], steps: Sequence[Sequence[StepWord]]) -> None:
    names = [argument.name for argument in arguments]
    if len(set(names)) != len(names):
        raise Malformed("Expected each argument once.", reason="duplicate_argument")
    if not steps:
        raise Malformed("Expected at least one step.", reason="bad_step")
    used = {word.name for step in steps for word in step if isinstance(word, Hole)}
    # Rule 8.
    if used != set(names):
        raise Malformed(
            "Expected every argument to be declared, and to be used: "
            f"{', '.join(sorted(used ^ set(names)))}.",
            reason="unknown_argument",
        )
    for step in steps:
        for word in step:
            if isinstance(word, str) and any(f"{{{name}}}" in word for name in names):
                raise Malformed(
                    "An argument is a whole argument of a step, not a part of a text: write "
                    '{"argument": "name"} in its place.',
                    reason="placeholder_in_text",
                )


def _is_whole_path(text: str) -> bool:
    parts = text.split("/")
    good = all(part not in (".", "..") and _SEGMENT.fullmatch(part) for part in parts[1:])
    return text.startswith("/") and len(parts) > 1 and good


def _is_interpreter(program: str) -> bool:
    name = program.rpartition("/")[2]
    return name in INTERPRETERS or _VERSION.sub("", name) in INTERPRETERS
