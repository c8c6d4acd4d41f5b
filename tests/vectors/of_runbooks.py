"""Vectors of runbooks: a document, a policy and a scope, and the steps that would run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from tests.runbook_world import Hole, Maker, forbid_runbooks, let_runbooks
from tests.trust_world import NOW_MS, alter, resign
from tests.vectors.making import Vectors, public, seeded_key
from tests.vectors.of_owners import chain_of
from tests.vectors.of_sessions import make_access_world

from fleetward.trust.access import Scope
from fleetward.trust.access_rule import Rule
from fleetward.trust.access_runbook import RunbookScope
from fleetward.trust.access_serial import SerialScope
from fleetward.trust.canonical import Json, JsonObject, from_base64url
from fleetward.trust.canonical import to_base64url as b64
from fleetward.trust.envelope import read_envelope
from fleetward.trust.keys import ED25519, ES256
from fleetward.trust.runbook import ChoiceArgument, IntegerArgument, TextArgument

DAY: Final = TextArgument("day", ("digit", "dash"), 10, 10)
FILE: Final = TextArgument("file", ("lower", "digit", "dot", "slash", "space"), 1, 32)
LINES: Final = IntegerArgument("lines", 1, 500)
HOW: Final = ChoiceArgument("how", ("--all", "--new"))
STEPS: Final = (
    ("/usr/bin/tail", "-n", Hole("lines"), Hole("file")),
    ("/opt/pump/bundle", Hole("how"), Hole("day"), "$(id); `id`"),
    ("/bin/sh", "-c", "exit 0"),
)
GIVEN: Final = {"day": "2026-11-26", "file": "/var/log/pump 1.log", "how": "--new", "lines": "9"}
BAD_VALUES: Final[tuple[tuple[str, str], ...]] = (
    ("day", "2026-11-2"), ("day", "2026-11-266"), ("day", "--26-11-26"), ("day", "2026;11-26"),
    ("day", "$(id)-1126"), ("file", "../x"), ("file", "a/../../x"), ("file", "UPPER"),
    ("file", "-rf"), ("file", "--"), ("file", ""), ("file", "a;b"), ("file", "\u0430"),
    ("lines", "0"), ("lines", "501"), ("lines", "-1"), ("lines", "+5"), ("lines", "05"),
    ("lines", "5 "), ("lines", "9" * 40), ("lines", "\u0665"), ("how", "--none"), ("how", ""),
)  # fmt: skip


def runbook_vectors() -> Vectors:
    """Return good and refused runs."""
    v = Vectors("runbooks", "Whether a machine runs a runbook, and what it would run.")
    world, maker = make_access_world(), Maker(seeded_key(ED25519, "maker"))
    let_runbooks(world, maker)
    book = maker.sign(STEPS, DAY, FILE, LINES, HOW)
    payload = read_envelope(book.raw).payload

    def case(
        raw: bytes = b"", scope: JsonObject | None = None, given: Mapping[str, str] = GIVEN
    ) -> dict[str, Any]:
        raw = raw or book.raw
        arguments: dict[str, Json] = {**GIVEN, **given}
        digest = read_envelope(raw, max_bytes=10**7).hash
        named: JsonObject = {"kind": "runbook", "digest": digest, "run_as": "app"}
        said = {**named, "arguments": arguments, **(scope or {})}
        return {**chain_of(world.trust), "runbook": b64(raw), "scope": said}

    def signed(**changes: Json) -> bytes:
        return resign(book.raw, changes, [maker.key])

    check = "runbook"
    v.good("as it stands", check, **case())
    for name, value in BAD_VALUES:
        v.bad(f"{name} {value[:12]!r}", check, "Refused/bad_argument", **case(given={name: value}))
    v.bad("a line break", check, "Malformed/bad_field", **case(given={"file": "a\nb"}))
    v.bad("a value too long", check, "Malformed/bad_field", **case(given={"file": "a" * 257}))
    v.bad("one argument more", check, "Refused/unknown_argument", **case(given={"more": "x"}))
    few: JsonObject = {"arguments": {"day": GIVEN["day"]}}
    v.bad("arguments missing", check, "Refused/missing_argument", **case(scope=few))
    v.bad("as another user", check, "Untrusted/another_user", **case(scope={"run_as": "other"}))
    v.bad("as nobody", check, "Malformed/bad_scope", **case(scope={"run_as": "../root"}))
    other: JsonObject = {"digest": "00" * 32}
    v.bad("another digest", check, "Untrusted/another_runbook", **case(scope=other))
    v.bad("steps altered", check, "Untrusted/bad_signature",
          **case(alter(book.raw, {"steps": [["/bin/id"]], "arguments": []})))  # fmt: skip
    thief = seeded_key(ES256, "another maker")
    v.bad(
        "signed by another", check, "Untrusted/wrong_signer", **case(resign(book.raw, {}, [thief]))
    )
    v.bad("by another signer", check, "Untrusted/unknown_signer",
          **case(resign(book.raw, {"signer": thief.public.key_id}, [thief])))  # fmt: skip
    v.bad("two signatures", check, "Untrusted/wrong_signer",
          **case(resign(book.raw, {}, [maker.key, thief])))  # fmt: skip
    v.bad("another document", check, "Malformed/wrong_type", **case(world.trust.heads[-1].raw))
    v.bad("64 KiB and more", check, "Malformed/too_large", **case(signed(steps=[["/x" * 40_000]])))
    declared = payload["arguments"]
    assert isinstance(declared, list)
    forms: list[tuple[str, Json, Json, str]] = [
        ("an open program", declared, [[{"argument": "day"}]], "bad_step"),
        ("a program by name", [], [["id"]], "bad_step"),
        ("a program by a way up", [], [["/bin/../bin/id"]], "bad_step"),
        ("no step", [], [], "bad_step"),
        ("an empty step", [], [[]], "bad_step"),
        ("a number in a step", [], [["/bin/id", 1]], "bad_field"),
        ("a hole in a text", [LINES.to_json()],
         [["/bin/id", {"argument": "lines"}, "--n={lines}"]], "placeholder_in_text"),
        ("a shell that is open", [DAY.to_json()],
         [["/bin/sh", "-c", {"argument": "day"}]], "open_interpreter"),
        ("python3.13 that is open", [DAY.to_json()],
         [["/usr/bin/python3.13", {"argument": "day"}]], "open_interpreter"),
        ("an argument that is not used", [DAY.to_json()], [["/bin/id"]], "unknown_argument"),
        ("one that is not declared", [], [["/bin/id", {"argument": "day"}]], "unknown_argument"),
        ("one declared twice", [DAY.to_json(), DAY.to_json()],
         [["/bin/id", {"argument": "day"}]], "duplicate_argument"),
        ("a pattern", [{"kind": "text", "name": "day", "pattern": "(a+)+$", "low": 1, "high": 9}],
         [["/bin/id", {"argument": "day"}]], "unknown_field"),
        ("an unknown class", [{**DAY.to_json(), "characters": ["any"]}],
         [["/bin/id", {"argument": "day"}]], "bad_field"),
        ("bounds the wrong way", [{**DAY.to_json(), "low": 11}],
         [["/bin/id", {"argument": "day"}]], "bad_field"),
        ("a number below zero", [{**LINES.to_json(), "low": -1}],
         [["/bin/id", {"argument": "lines"}]], "bad_field"),
    ]  # fmt: skip
    for name, arguments, steps, reason in forms:
        raw = signed(arguments=arguments, steps=steps)
        v.bad(name, check, f"Malformed/{reason}", **case(raw, {"arguments": {}}))
    v.bad("for a week", check, "Malformed/bad_field", **case(signed(seconds=7 * 86_400)))
    v.bad("a further field", check, "Malformed/unknown_field", **case(signed(shell=True)))
    _sessions(v)
    let_runbooks(world, maker, digests=["11" * 32])
    v.bad("not among the digests", check, "Refused/scope_not_allowed", **case())
    forbid_runbooks(world)
    v.bad("no rule", check, "Refused/scope_not_in_policy", **case())
    return v


def _sessions(v: Vectors) -> None:
    """Sessions with a serial port, and with runbooks as a user and as root."""
    world, maker = make_access_world(), Maker(seeded_key(ED25519, "maker"))
    ports = {"serial": Rule(1, 3600, watched=False, allowed=("/dev/ttyUSB0",))}
    let_runbooks(world, maker, rules=ports)
    ada, ben = world.trust.signers
    port = SerialScope("/dev/ttyUSB0", 115200)
    run = RunbookScope("ab" * 32, "app", (("day", "2026-11-26"), ("lines", "9")))
    root = replace(run, run_as="root")

    def case(*scopes: Scope, seconds: int = 600, watched: bool = False) -> dict[str, Any]:
        request = world.request(*scopes, seconds=seconds)
        offer = world.offer(request)
        terms = replace(world.terms(request), watched=watched)
        return {
            **chain_of(world.trust),
            "device": public(world.machine.identity.public),
            "request": b64(request.raw),
            "offer": b64(offer.raw),
            "grant": b64(world.grant(request, offer, terms, [ada, ben])),
            "boot": world.boot,
            "now": NOW_MS,
            "lease": 60,
            "sandboxed": True,
        }

    def asked(good: dict[str, Any], scope: JsonObject) -> dict[str, Any]:
        raw = resign(from_base64url(good["request"]), {"scopes": [scope]}, [world.technician])
        return {**good, "request": b64(raw)}

    good = case(port, run)
    v.good("a session with a serial port and a runbook", "session", **good)
    v.good("a runbook as root, two people, watched", "session", **case(root, watched=True))
    v.bad("a runbook as root, unwatched", "session", "Untrusted/not_watched", **case(root))
    one = case(root, watched=True)
    one["grant"] = b64(resign(from_base64url(one["grant"]), {}, [ada]))
    v.bad("a runbook as root, one person", "session", "Untrusted/too_few_signatures", **one)
    for name, change, refused in (
        ("another port", {"path": "/dev/ttyUSB1"}, "Refused/scope_not_allowed"),
        ("a way out of /dev", {"path": "/dev/../etc/passwd"}, "Malformed/bad_scope"),
        ("a folder of /dev", {"path": "/dev"}, "Malformed/bad_scope"),
        ("no speed", {"baud": 12345}, "Malformed/bad_scope"),
    ):
        scope = {**port.to_json(), **change}
        v.bad(f"a serial port: {name}", "session", refused, **asked(good, scope))
    values: list[tuple[str, Json, str]] = [
        ("a list", ["x"], "Malformed/bad_field"),
        ("a number as a value", {"day": 5}, "Malformed/bad_field"),
        ("a name of another kind", {"../day": "x"}, "Malformed/bad_scope"),
        ("seventeen", {f"a{n}": "x" for n in range(17)}, "Malformed/bad_scope"),
    ]
    for name, value, refused in values:
        given: JsonObject = {**run.to_json(), "arguments": value}
        v.bad(f"arguments: {name}", "session", refused, **asked(good, given))
