"""Who is told when somebody asks, and who next when nobody answers: pure.

    # notices.toml in the data folder, mode 0600: addresses may hold passwords
    link = "https://owner.example:8443"
    [[step]]
    after = "0m"
    to = [{ name = "Ada", url = "mailtos://user:secret@mail.example?to=ada@plant.example" }]
    [[step]]
    after = "10m"
    to = [{ name = "the night shift", url = "jsons://hooks.plant.example/fleetward" }]

A notice tells and asks; it allows nothing. Its link leads to the owner's own console, which asks
for the approver's key as ever.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from fleetward.trust.errors import Malformed

MAX_STEPS: Final = 8
MAX_RECIPIENTS: Final = 16
MAX_NAME_CHARACTERS: Final = 60
MAX_URL_CHARACTERS: Final = 2000
MAX_AFTER_SECONDS: Final = 7 * 86_400
"""A request that nobody answered for a week is over."""
TRIES: Final = 3
AGAIN_MS: Final = 60_000
SETTLE_MS: Final = 5_000
"""Who comes by what was allowed ahead asks for a moment only: nobody is woken for that."""
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}
_OPEN: Final = frozenset({"json", "xml", "form", "mailto"})
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
_NAMES: Final = {
    **dict.fromkeys(("mailto", "mailtos"), "e-mail"),
    **dict.fromkeys(("json", "jsons", "xml", "xmls", "form", "forms"), "webhook"),
}


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody, and an address in the spelling of the apprise library."""

    name: str
    url: str

    @property
    def channel(self) -> str:
        """How he is told, in a word. The address itself is shown to nobody."""
        scheme = self.url.partition("://")[0].lower()
        return _NAMES.get(scheme, scheme)


@dataclass(frozen=True, slots=True)
class Step:
    """Who is told so many seconds after somebody asked."""

    after_seconds: int
    to: tuple[Recipient, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps, in their order. `link` is where the owner's console is reached, or empty."""

    steps: tuple[Step, ...] = ()
    link: str = ""


@dataclass(frozen=True, slots=True)
class Tried:
    """One try to tell somebody."""

    step: int
    name: str
    at_ms: int
    good: bool


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be sent now."""

    step: int
    recipient: Recipient


@dataclass(frozen=True, slots=True)
class Next:
    """The next escalation, while nobody answers."""

    at_ms: int
    names: tuple[str, ...]


def read_plan(text: str) -> Plan:
    """Return what `notices.toml` says. Raises `Malformed`; no address is in its words."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise _bad(f"it is no TOML: {e}") from e
    if unknown := set(values) - {"link", "step"}:
        raise _bad(f"{sorted(unknown)[0]!r} is not known")
    steps = values.get("step", [])
    if not isinstance(steps, list) or len(steps) > MAX_STEPS:
        raise _bad(f"there are at most {MAX_STEPS} [[step]] tables")
    read = tuple(_read_step(step) for step in steps)
    if [s.after_seconds for s in read] != sorted({s.after_seconds for s in read}):
        raise _bad("the steps stand in their order, each later than the one before")
    return Plan(read, _read_link(values.get("link", "")))


def list_due(plan: Plan, asked_at_ms: int, now_ms: int, tried: Sequence[Tried]) -> tuple[Due, ...]:
    """Return what is to be sent now for a request that nobody has answered.

    Each recipient of a step is told once; what failed is tried again `TRIES` times in all.
    """
    due: list[Due] = []
    for number, step in enumerate(plan.steps):
        if now_ms < asked_at_ms + max(SETTLE_MS, step.after_seconds * 1000):
            break
        for recipient in step.to:
            before = [t for t in tried if (t.step, t.name) == (number, recipient.name)]
            waits = bool(before) and now_ms - before[-1].at_ms < AGAIN_MS
            if not any(t.good for t in before) and len(before) < TRIES and not waits:
                due.append(Due(number, recipient))
    return tuple(due)


def find_next(plan: Plan, asked_at_ms: int, now_ms: int) -> Next | None:
    """Return the next step, or None when there is none any more."""
    for step in plan.steps:
        at_ms = asked_at_ms + step.after_seconds * 1000
        if at_ms > now_ms:
            return Next(at_ms, tuple(r.name for r in step.to))
    return None


def _read_step(value: object) -> Step:
    if not isinstance(value, dict) or set(value) != {"after", "to"}:
        raise _bad("a [[step]] has `after` and `to`")
    to = value["to"]
    if not isinstance(to, list) or not 1 <= len(to) <= MAX_RECIPIENTS:
        raise _bad(f"`to` names 1 to {MAX_RECIPIENTS} recipients")
    recipients = tuple(_read_recipient(each) for each in to)
    if len({r.name for r in recipients}) != len(recipients):
        raise _bad("a step names each recipient once")
    return Step(_read_after(value["after"]), recipients)


def _read_after(value: object) -> int:
    text = value if isinstance(value, str) else ""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isdecimal() or len(number) > 6:
        raise _bad(f"`after` is a time as 0m, 10m or 2h; got {str(value)[:20]!r}")
    seconds = int(number) * _UNITS[unit]
    if seconds > MAX_AFTER_SECONDS:
        raise _bad("`after` is a week at most: then a request is over")
    return seconds


def _read_recipient(value: object) -> Recipient:
    if not isinstance(value, dict) or set(value) != {"name", "url"}:
        raise _bad("a recipient has `name` and `url`")
    name, url = value["name"], value["url"]
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise _bad(f"a recipient's name has 1 to {MAX_NAME_CHARACTERS} characters")
    if not name.isprintable():
        raise _bad("a recipient's name is printable")
    if not isinstance(url, str) or "://" not in url or len(url) > MAX_URL_CHARACTERS:
        raise _bad(f"the url of {name!r} is an address as mailtos://… or jsons://…")
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError as e:
        raise _bad(f"the url of {name!r} cannot be read") from e
    insecure = "mode=insecure" in parts.query.lower() or "verify=no" in parts.query.lower()
    if (parts.scheme.lower() in _OPEN or insecure) and host not in _LOOPBACK:
        raise _bad(
            f"the url of {name!r} goes over the network in plain text, or unchecked; use mailtos, "
            "jsons or another kind with TLS"
        )
    return Recipient(name, url)


def _read_link(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_URL_CHARACTERS or not value.isprintable():
        raise _bad("`link` is the address of the owner's console")
    if value and (not value.startswith("https://") or "?" in value or "#" in value):
        raise _bad("`link` begins with https:// and has neither ? nor #")
    return value.rstrip("/")


def _bad(words: str) -> Malformed:
    return Malformed(
        f"Expected a notices.toml by which approvers are told; {words}. Example: "
        "docs/operate/notices.md",
        reason="bad_notices",
    )
