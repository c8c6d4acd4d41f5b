"""Vectors of releases: what a maker describes, an owner approves, and a machine says of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.access_world import AccessWorld
from tests.release_manifests import (
    AGENT_RELEASE,
    MARKED_RELEASE,
    make_manifest,
    make_part,
    manifest_bytes,
)
from tests.trust_world import NOW_MS, alter, resign
from tests.vectors.making import Vectors, public, seeded_key
from tests.vectors.of_owners import chain_of
from tests.vectors.of_sessions import make_access_world

from fleetward.trust import canonical
from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.canonical import to_base64url as b64
from fleetward.trust.envelope import seal
from fleetward.trust.keys import ES256
from fleetward.trust.release_approval import (
    Terms,
    make_approval_payload,
    make_standing_payload,
    make_withdrawal_payload,
)
from fleetward.trust.release_checks import Check
from fleetward.trust.release_manifest import Conflict, Health, Needed, read_manifest, write_manifest
from fleetward.trust.selector import Selector
from fleetward.trust.update_report import (
    Finding,
    Installed,
    Slot,
    UpdateReport,
    make_report_payload,
)
from fleetward.trust.update_windows import Window

DAY_MS = 86_400_000
NIGHT = Window("Europe/Vienna", (0, 1, 4), 22 * 60, 5 * 60)
EMPTY: JsonObject = {"devices": [], "groups": [], "models": [], "sites": []}


def release_vectors() -> Vectors:
    v = Vectors("releases", "What a maker releases, an owner approves, and a machine says of it.")
    world = make_access_world()
    _add_manifests(v)
    _add_selectors(v, world)
    _add_windows(v)
    _add_approvals(v, world)
    _add_reports(v, world)
    return v


def _parts(manifest: JsonObject) -> list[Any]:
    parts = manifest["parts"]
    assert isinstance(parts, list)
    return parts


def _add_manifests(v: Vectors) -> None:
    check = "release.manifest"
    whole = make_manifest(
        hardware=("Kiosk 12",), needs=(Needed("pump", 3),), conflicts=(Conflict("door", 1, 4),),
        parts=(
            make_part(),
            make_part("os", "rauc", deltas=(), unpacked_bytes=0, unpacked_files=0, hook=""),
        ),
        health=Health(60, 0, (
            Check("process", name="kiosk"), Check("port", port=8080),
            Check("http", port=80, path="/health", status=200),
            Check("file", part="app", path="bin/kiosk"),
            Check("command", part="app", path="bin/check", arguments=("-v", "-v"), seconds=30),
        )),
        sbom=None,
    )  # fmt: skip
    v.good("a small release", check, manifest=b64(manifest_bytes()))
    v.good("every kind of part and check", check, manifest=b64(write_manifest(whole)))
    own = canonical.decode_object(manifest_bytes(**AGENT_RELEASE))
    v.good("the agent itself", check, manifest=b64(canonical.encode(own)))
    marked = manifest_bytes(**MARKED_RELEASE)
    v.good("the agent, in a form that its maker alone sees", check, manifest=b64(marked))
    for name, reason, lie in (
        ("the agent without the mark", "agent_not_marked", {"agent": False}),
        ("the agent and a restart", "agent_not_alone", {"reboot": True}),
        ("the agent beside another part", "agent_not_alone",
         {"parts": [*_parts(own), *_parts(canonical.decode_object(manifest_bytes()))]}),
        ("the agent with a hook", "agent_not_alone",
         {"parts": [{**_parts(own)[0], "hook": "bin/hook"}]}),
    ):  # fmt: skip
        v.bad(name, check, f"Malformed/{reason}", manifest=b64(canonical.encode({**own, **lie})))
    value = canonical.decode_object(manifest_bytes())
    parts = value["parts"]
    assert isinstance(parts, list) and isinstance(parts[0], dict)
    part: JsonObject = parts[0]
    bare = {name: each for name, each in part.items() if not name.startswith("unpacked")}
    health: JsonObject = {"checks": [], "steady_seconds": 0, "within_seconds": 60}
    cases: list[tuple[str, str, dict[str, Json]]] = [
        ("another type", "bad_field", {"type": "fleetward.release.v2"}),
        ("a field more", "unknown_field", {"command": "reboot"}),
        ("a product with a slash", "bad_product", {"product": "a/b"}),
        ("a product in capitals", "bad_product", {"product": "Kiosk"}),
        ("a version that is a path", "bad_version", {"version": "../1"}),
        ("an empty version", "bad_version", {"version": ""}),
        ("counter 0", "bad_field", {"counter": 0}),
        ("no hardware", "bad_hardware", {"hardware": []}),
        ("all hardware and one", "bad_hardware", {"hardware": ["*", "Kiosk 12"]}),
        ("no parts", "bad_parts", {"parts": []}),
        ("a part twice", "bad_parts", {"parts": [part, part]}),
        ("another installer", "bad_field", {"parts": [{**bare, "installer": "shell"}]}),
        ("an installer that is a list", "bad_field",
         {"parts": [{**bare, "installer": ["directory"]}]}),
        ("an archive without its size", "missing_field", {"parts": [bare]}),
        ("an image with a size", "unknown_field", {"parts": [{**part, "installer": "rauc"}]}),
        ("a place that is a path", "bad_name", {"parts": [{**part, "place": "/etc"}]}),
        ("a hook outside", "bad_relative_path", {"parts": [{**part, "hook": "../x"}]}),
        ("a hook that is an option", "bad_relative_path", {"parts": [{**part, "hook": "-rf"}]}),
        ("an empty blob", "bad_field", {"parts": [{**part, "length": 0}]}),
        ("nine deltas", "bad_field", {"parts": [{**part, "deltas": [{}] * 9}]}),
        ("a conflict that ends before it begins", "bad_field",
         {"conflicts": [{"first": 5, "last": 4, "product": "door"}]}),
        ("another check", "bad_check", {"health": {**health, "checks": [{"kind": "shell"}]}}),
        ("a check with a field more", "unknown_field",
         {"health": {**health, "checks": [{"kind": "port", "port": 1, "path": "/"}]}}),
        ("a check of a part that is none", "bad_check",
         {"health": {**health, "checks": [{"kind": "file", "part": "os", "path": "a"}]}}),
        ("a check that leaves the machine", "bad_check", {"health": {**health, "checks": [
            {"kind": "http", "path": "http://a/", "port": 80, "status": 200}]}}),
        ("a trial too short", "bad_field", {"health": {**health, "within_seconds": 4}}),
        ("notes with a line end", "bad_field", {"notes": "a\nb"}),
        ("a fix twice", "bad_field", {"fixes": ["a", "a"]}),
    ]  # fmt: skip
    for name, reason, changes in cases:
        data = canonical.encode({**value, **changes})
        v.bad(name, check, f"Malformed/{reason}", manifest=b64(data))
    v.good("segments of five megabytes", "release.segments", data=b64(b"fleetward!"), times=500_000)
    v.good("segments of four bytes", "release.segments", data=b64(b"four"), times=1)


def _add_selectors(v: Vectors, world: AccessWorld) -> None:
    check = "release.selector"
    entry = replace(world.machine.entry(site="Hall", groups=("a", "b")), model="K")
    given = {"entry": b64(entry.to_bytes())}
    beyond, ligature = "\U0001f512", "\ufb01"  # in another order where strings are UTF-16
    for selector in (
        Selector(), Selector((entry.device,)), Selector(("a" * 32,)), Selector(groups=("b", "z")),
        Selector(groups=("z",)), Selector(groups=("a",), models=("K",), sites=("Hall", "Yard")),
        Selector(groups=("a",), models=("L",)), Selector(sites=("",)),
        Selector(groups=(ligature, beyond)),
    ):  # fmt: skip
        said = selector.to_json()
        v.good(f"selector {canonical.encode(said).decode()}", check, selector=said, **given)
    lies: list[tuple[str, Json]] = [
        ("another word", "every"), ("nothing named", EMPTY),
        ("devices and groups", {**EMPTY, "devices": [entry.device], "groups": ["a"]}),
        ("not sorted", {**EMPTY, "groups": ["b", "a"]}),
        ("sorted as UTF-16", {**EMPTY, "groups": [beyond, ligature]}),
        ("a group twice", {**EMPTY, "groups": ["a", "a"]}),
        ("no device", {**EMPTY, "devices": ["pump 7"]}),
        ("65 groups", {**EMPTY, "groups": [*sorted(str(n) for n in range(65))]}),
        ("a field more", {**EMPTY, "names": ["a"]}),
    ]  # fmt: skip
    reasons = {
        "another word": "bad_fields", "a field more": "unknown_field", "a group twice": "bad_field",
        "no device": "bad_field", "65 groups": "bad_field",
    }  # fmt: skip
    for name, lie in lies:
        reason = reasons.get(name, "bad_selector")
        v.bad(f"selector: {name}", check, f"Malformed/{reason}", selector=lie, **given)


def _add_windows(v: Vectors) -> None:
    check = "release.windows"
    night = NIGHT.to_json()
    around = Window("UTC", (6,), 60, 60).to_json()
    for day, minute in ((0, 1320), (0, 1319), (1, 299), (1, 300), (2, 0), (5, 0), (6, 60), (0, 59)):
        v.good(f"windows on day {day} at minute {minute}", check, windows=[night, around], day=day,
               minute=minute)  # fmt: skip
    lies: list[tuple[str, str, Json]] = [
        ("no day", "bad_window", {**night, "days": []}),
        ("days out of order", "bad_window", {**night, "days": [1, 0]}),
        ("a day twice", "bad_window", {**night, "days": [1, 1]}),
        ("an eighth day", "bad_window", {**night, "days": [7]}),
        ("a day that is true", "bad_window", {**night, "days": [True]}),
        ("from midnight of the day after", "bad_field", {**night, "from": 1440}),
        ("beyond midnight", "bad_field", {**night, "to": 1441}),
        ("a zone that is a path", "bad_window", {**night, "zone": "../etc/localtime"}),
        ("a field more", "unknown_field", {**night, "until": 0}),
    ]
    for name, reason, lie in lies:
        v.bad(f"window: {name}", check, f"Malformed/{reason}", windows=[lie], day=0, minute=0)
    v.bad("17 windows", check, "Malformed/bad_window", windows=[night] * 17, day=0, minute=0)


def _add_approvals(v: Vectors, world: AccessWorld) -> None:
    check, policy = "release.approval", world.trust.policy
    ada, ben = world.trust.signers
    kiosk = read_manifest(manifest_bytes())
    agent = read_manifest(manifest_bytes(**AGENT_RELEASE))
    other = read_manifest(manifest_bytes("kiosk", "1.2", 12))
    terms = Terms(Selector(groups=("a",)), NOW_MS, NOW_MS + DAY_MS, (NIGHT,), "tested")
    one = seal(make_approval_payload(policy, kiosk, terms, NOW_MS), [ada])
    ahead = seal(make_standing_payload(policy, "kiosk", terms, 3600, NOW_MS), [ada])
    base: dict[str, Any] = {
        **chain_of(world.trust), "manifest": b64(write_manifest(kiosk)), "known_since": NOW_MS,
    }  # fmt: skip

    def given(raw: bytes, now: int = NOW_MS, **changes: Any) -> dict[str, Any]:
        return {**base, "approval": b64(raw), "now": now, **changes}

    v.good("an approval", check, **given(one))
    v.good("an approval by two", check, **given(resign(one, {}, [ada, ben])))
    v.good("an approval that is over", check, **given(one, NOW_MS + DAY_MS))
    v.good("an approval that is still to come", check, **given(one, NOW_MS - 1))
    v.good("of another release", check, **given(one, manifest=b64(write_manifest(other))))
    v.good("a standing one, waiting", check, **given(ahead, NOW_MS + 3_599_999))
    v.good("a standing one, waited", check, **given(ahead, NOW_MS + 3_600_000))
    v.good("a standing one never covers the agent", check,
           **given(ahead, NOW_MS + 3_600_000, manifest=b64(write_manifest(agent))))  # fmt: skip
    of_agent = seal(make_approval_payload(policy, agent, terms, NOW_MS), [ada])
    v.good("an approval of the agent", check,
           **given(of_agent, manifest=b64(write_manifest(agent))))  # fmt: skip
    v.good(
        "an approval of the agent that does not say so",
        check,
        **given(resign(of_agent, {"agent": False}, [ada]), manifest=b64(write_manifest(agent))),
    )
    v.bad("altered", check, "Untrusted/bad_signature", **given(alter(one, {"counter": 1})))
    v.bad("by nobody", check, "Untrusted/too_few_signatures", **given(resign(one, {}, [])))
    v.bad("by the technician", check, "Untrusted/too_few_signatures",
          **given(resign(ahead, {}, [world.technician])))  # fmt: skip
    for name, lie, refusal in (
        ("another owner", {"owner": "00" * 32}, "Untrusted/another_owner"),
        ("another epoch", {"epoch": 2}, "Untrusted/old_epoch"),
        ("over before it begins", {"not_after": NOW_MS}, "Malformed/bad_field"),
        ("a release that is no hash", {"release": "kiosk/1.1"}, "Malformed/bad_field"),
        ("a wait", {"wait_seconds": 1}, "Malformed/unknown_field"),
        ("a reason too long", {"reason": "x" * 201}, "Malformed/bad_field"),
        ("no selector", {"selector": ""}, "Malformed/bad_fields"),
        ("a withdrawal's type", {"type": "fleetward.release-withdrawal.v1"},
         "Malformed/wrong_type"),
    ):  # fmt: skip
        v.bad(name, check, refusal, **given(resign(one, dict(lie), [ada])))
    v.bad("a wait of more than a year", check, "Malformed/bad_field",
          **given(resign(ahead, {"wait_seconds": 365 * 86_400 + 1}, [ada])))  # fmt: skip
    payload = make_withdrawal_payload(policy, "ab" * 32, "fails", NOW_MS)
    back = {**chain_of(world.trust)}
    v.good("a withdrawal", "release.withdrawal", withdrawal=b64(seal(payload, [ben])), **back)
    v.bad("a withdrawal by nobody", "release.withdrawal", "Untrusted/too_few_signatures",
          withdrawal=b64(seal(payload, [world.technician])), **back)  # fmt: skip
    v.bad("an approval is no withdrawal", "release.withdrawal", "Malformed/wrong_type",
          withdrawal=b64(one), **back)  # fmt: skip
    v.bad("a withdrawal of another owner", "release.withdrawal", "Untrusted/another_owner",
          withdrawal=b64(seal({**payload, "owner": "00" * 32}, [ben])), **back)  # fmt: skip


def _add_reports(v: Vectors, world: AccessWorld) -> None:
    check, machine = "release.report", world.machine
    report = UpdateReport(
        device=machine.device, owner=world.trust.owner, product="kiosk", version="1.1", counter=11,
        release="ab" * 32, approval="cd" * 32, attempt=1, outcome="committed", rule="",
        words="It runs.", slots=(Slot("app", "ef" * 32), Slot("os", "")),
        installed=(Installed("kiosk", "1.1", 11, "ab" * 32, 11), Installed("pump", "", 0, "", 3)),
        findings=(Finding("process kiosk", True, "runs"),), at_ms=NOW_MS,
    )  # fmt: skip
    raw = seal(make_report_payload(report), [machine.identity])
    key = {**public(machine.key), "owner": world.trust.owner}
    v.good("a report", check, report=b64(raw), **key)
    refused = replace(report, outcome="refused", release="", approval="", rule="not_approved")
    bare = seal(make_report_payload(refused), [machine.identity])
    v.good("a report of a refusal", check, report=b64(bare), **key)
    for kept in ("tpm", "doubted"):
        bound = seal(make_report_payload(replace(report, counters=kept)), [machine.identity])
        v.good(f"a report of counters {kept}", check, report=b64(bound), **key)
    stranger = seeded_key(ES256, "stranger")
    product: JsonObject = {"counter": 1, "floor": 1, "product": "a", "release": "", "version": ""}
    lies: list[tuple[str, dict[str, Json], str]] = [
        ("another outcome", {"outcome": "fine"}, "bad_field"),
        ("a product twice", {"installed": [product, product]}, "bad_field"),
        ("a release that is no hash", {"release": "1.1"}, "bad_field"),
        ("words too long", {"words": "x" * 1001}, "bad_field"),
        ("a field more", {"fine": True}, "unknown_field"),
        ("a finding without an end", {"findings": [{"check": "a", "words": ""}]}, "missing_field"),
        ("counters kept in a third way", {"counters": "cloud"}, "bad_field"),
        ("counters in a file, said", {"counters": "file"}, "bad_field"),
        ("33 slots", {"slots": [{"active": "", "place": "a"}] * 33}, "bad_field"),
    ]
    for name, lie, reason in lies:
        bad = resign(raw, lie, [machine.identity])
        v.bad(f"report: {name}", check, f"Malformed/{reason}", report=b64(bad), **key)
    for name, bad, reason in (
        ("by another machine", resign(raw, {}, [stranger]), "wrong_signer"),
        ("about another machine", resign(raw, {"device": "a" * 32}, [machine.identity]),
         "another_device"),
        ("altered", alter(raw, {"outcome": "failed"}), "bad_signature"),
    ):  # fmt: skip
        v.bad(f"report: {name}", check, f"Untrusted/{reason}", report=b64(bad), **key)
    v.bad("report to another owner", check, "Untrusted/another_device", report=b64(raw),
          **{**key, "owner": "00" * 32})  # fmt: skip
