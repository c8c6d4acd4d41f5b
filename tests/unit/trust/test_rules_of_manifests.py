"""Manifests of releases, rule by rule, and their health checks."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from tests.release_manifests import (
    AGENT_RELEASE,
    APP,
    MARKED_RELEASE,
    OLD,
    agent_part,
    make_manifest,
    make_part,
    manifest_bytes,
)
from tests.trust_world import refused

from fleetward.trust import canonical
from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.errors import Malformed
from fleetward.trust.release_checks import KINDS, Check, check_path, read_check
from fleetward.trust.release_manifest import (
    INSTALLERS,
    MAX_MANIFEST_BYTES,
    SEGMENT_BYTES,
    UNPACKED,
    Conflict,
    Delta,
    Health,
    Needed,
    check_product,
    check_version,
    list_segments,
    make_blob,
    read_manifest,
    write_manifest,
)

CHECKS = (
    Check("process", name="kiosk"),
    Check("port", port=8080),
    Check("http", port=80, path="/health", status=200),
    Check("file", part="app", path="bin/kiosk"),
    Check("command", part="app", path="bin/check", arguments=("-v", "-v", ""), seconds=30),
)


def changed(**changes: Any) -> bytes:
    """Return a manifest with fields changed in its JSON; None takes one away."""
    value = canonical.decode_object(manifest_bytes())
    value |= changes
    return canonical.encode({name: v for name, v in value.items() if v is not None})


def part_of(**changes: Any) -> JsonObject:
    """Return a part's JSON, changed."""
    parts = canonical.decode_object(manifest_bytes())["parts"]
    assert isinstance(parts, list) and isinstance(parts[0], dict)
    value: JsonObject = parts[0] | changes
    return {name: v for name, v in value.items() if v is not None}


def test_what_was_written_is_read_again() -> None:
    image = make_part("os", "rauc", deltas=(), unpacked_bytes=0, unpacked_files=0, hook="")
    whole = make_manifest(
        hardware=("Kiosk 12", "Kiosk 15"), parts=(make_part(), image), replaces_agent=True,
        needs=(Needed("pump", 3),), conflicts=(Conflict("door", 1, 4),), least_before=7,
        health=Health(60, 0, CHECKS), reboot=True, notes="", fixes=(), support_ends_at_ms=0,
        sbom=None,
    )  # fmt: skip
    data = write_manifest(whole)
    read = read_manifest(data)
    assert read == replace(whole, hash=hashlib.sha256(data).hexdigest())
    assert write_manifest(read) == data
    assert read.replaces_agent and not read_manifest(manifest_bytes()).replaces_agent


def test_rule_1_the_path_says_product_and_version() -> None:
    assert read_manifest(manifest_bytes("kiosk", "1.1")).path == "kiosk/1.1/release.json"


@pytest.mark.parametrize("product", ["", "-", "a-", "-a", "A", "a_b", "a/b", "a.b", "a" * 49, "ä"])
def test_rule_1_a_product_is_a_plain_name(product: str) -> None:
    with refused(Malformed, "bad_product"):
        check_product(product)
    with refused(Malformed, "bad_product"):
        read_manifest(changed(product=product))


@pytest.mark.parametrize("version", ["", ".1", "-1", "1/2", "1 2", "1" * 65, "..", "~1", "1\n"])
def test_rule_1_a_version_is_a_plain_name(version: str) -> None:
    with refused(Malformed, "bad_version"):
        check_version(version)


@pytest.mark.parametrize("good", ["1", "1.2.3", "1.0~rc1", "2026-11-27+abc", "V1_2"])
def test_rule_1_usual_versions_are_taken(good: str) -> None:
    assert check_version(good) == good


@pytest.mark.parametrize("counter", ["0", "-1", '"1"', "true", str(2**53), "1.0", "null"])
def test_rule_2_a_counter_is_a_number_from_1(counter: str) -> None:
    data = manifest_bytes("kiosk", "1.1", 11)
    assert data.count(b'"counter":11') == 1
    with pytest.raises(Malformed):
        read_manifest(data.replace(b'"counter":11', f'"counter":{counter}'.encode()))


@pytest.mark.parametrize("length", [0, 1, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1])
def test_rule_3_segments_cover_a_file(length: int) -> None:
    data = bytes(length)
    blob = make_blob(data)
    listed = list_segments(data)
    assert len(listed) == 32 * blob.segment_count
    assert blob.segments == hashlib.sha256(listed).hexdigest()
    pieces = [data[at : at + SEGMENT_BYTES] for at in range(0, length, SEGMENT_BYTES)]
    assert listed == b"".join(hashlib.sha256(piece).digest() for piece in pieces)


def test_rule_3_every_blob_is_named_once() -> None:
    manifest = make_manifest(parts=(make_part(), make_part("b")), sbom=APP)
    assert [blob.sha256 for blob in manifest.blobs()] == [
        APP.sha256, make_blob(b"less").sha256
    ]  # fmt: skip


@pytest.mark.parametrize("changes", [
    {"sha256": "AB" * 32}, {"sha256": "ab"}, {"length": 0}, {"length": 64 * 1024**3 + 1},
    {"segments": ""}, {"length": None}, {"more": 1},
], ids=str)  # fmt: skip
def test_rule_3_a_blob_is_whole(changes: dict[str, Json]) -> None:
    with pytest.raises(Malformed):
        read_manifest(changed(parts=[part_of(**changes)]))


@pytest.mark.parametrize("marks", [AGENT_RELEASE, MARKED_RELEASE])
def test_rule_7_a_release_that_replaces_the_agent_says_so(marks: dict[str, Any]) -> None:
    read = read_manifest(manifest_bytes(**marks))
    assert read.replaces_agent and read.has_agent == (marks is AGENT_RELEASE)
    assert not read_manifest(manifest_bytes()).replaces_agent


@pytest.mark.parametrize(("changes", "reason"), [
    ({"replaces_agent": False}, "agent_not_marked"),
    ({"reboot": True}, "agent_not_alone"),
    ({"parts": (agent_part(), make_part())}, "agent_not_alone"),
    ({"parts": (replace(agent_part(), hook="bin/hook"),)}, "agent_not_alone"),
], ids=str)  # fmt: skip
def test_rule_7_the_agent_itself_comes_alone(changes: dict[str, Any], reason: str) -> None:
    with refused(Malformed, reason):
        read_manifest(manifest_bytes(**AGENT_RELEASE | changes))


@pytest.mark.parametrize("changes", [
    {"installer": "shell"}, {"installer": ["directory"]}, {"installer": {}}, {"installer": None},
    {"place": "/etc"}, {"place": "../app"}, {"place": ""}, {"name": "App"}, {"name": "a" * 33},
    {"hook": "/bin/sh"}, {"hook": "../x"}, {"hook": ""}, {"hook": "bin/ a"}, {"hook": "-rf"},
    {"unpacked_bytes": None}, {"unpacked_files": -1}, {"unpacked_bytes": 64 * 1024**3 + 1},
    {"deltas": [{}] * 9}, {"command": "reboot"},
], ids=str)  # fmt: skip
def test_rule_4_a_part_says_by_which_installer_it_goes_where(changes: dict[str, Json]) -> None:
    with pytest.raises(Malformed):
        read_manifest(changed(parts=[part_of(**changes)]))


@pytest.mark.parametrize("installer", INSTALLERS)
def test_rule_4_an_archive_says_its_size_and_an_image_does_not(installer: str) -> None:
    sizes: dict[str, Any] = {"unpacked_bytes": 1, "unpacked_files": 1}
    bare: dict[str, Any] = dict.fromkeys(sizes)
    right, wrong = (sizes, bare) if installer in UNPACKED else (bare, sizes)
    checks = make_manifest(health=Health(60, 0, ())).health
    health: Json = {"checks": [], "steady_seconds": 0, "within_seconds": checks.within_seconds}
    rest: dict[str, Any] = {"agent": installer == "agent", "health": health}
    part = part_of(installer=installer, hook=None, **right)
    assert read_manifest(changed(parts=[part], **rest)).parts[0].installer == installer
    with pytest.raises(Malformed):
        wrong_part = part_of(installer=installer, hook=None, **wrong)
        read_manifest(changed(parts=[wrong_part], **rest))


@pytest.mark.parametrize("parts", [[], [part_of(), part_of()]], ids=["none", "one name twice"])
def test_rule_4_parts_have_names_of_their_own(parts: list[Json]) -> None:
    with refused(Malformed, "bad_parts"):
        read_manifest(changed(parts=parts))


def test_rule_5_a_delta_is_a_blob_and_names_its_source() -> None:
    delta = read_manifest(manifest_bytes()).parts[0].deltas[0]
    assert delta == Delta(OLD, make_blob(b"less"))
    for lie in ({"source": "x"}, {"source": None}):
        value = {**make_blob(b"less").to_json(), "source": OLD, **lie}
        kept = {name: v for name, v in value.items() if v is not None}
        with pytest.raises(Malformed):
            read_manifest(changed(parts=[part_of(deltas=[kept])]))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.kind)
def test_rule_6_checks_are_read_as_written(check: Check) -> None:
    assert read_check(check.to_json()) == check
    assert check.words() and {each.kind for each in CHECKS} == set(KINDS)
    with pytest.raises(Malformed):
        read_check({**check.to_json(), "shell": True})


@pytest.mark.parametrize("value", [
    None, [], "process", {}, {"kind": "shell"}, {"kind": ["process"]}, {"kind": {}},
    {"kind": "process", "name": "a b"}, {"kind": "process", "name": "x" * 16},
    {"kind": "process", "name": ""}, {"kind": "port", "port": 0}, {"kind": "port", "port": 65536},
    {"kind": "port", "port": "80"}, {"kind": "port", "port": 80, "path": "/"},
    {"kind": "http", "path": "//x y", "port": 80, "status": 200},
    {"kind": "http", "path": "http://a/", "port": 80, "status": 200},
    {"kind": "http", "path": "/", "port": 80, "status": 99},
    {"kind": "file", "part": "", "path": "a"}, {"kind": "file", "part": "app", "path": "/etc"},
    {"kind": "file", "part": "app", "path": "a/../b"},
    {"kind": "command", "arguments": [], "part": "app", "path": "a", "seconds": 301},
    {"kind": "command", "arguments": ["\x1b"], "part": "app", "path": "a", "seconds": 1},
    {"kind": "command", "arguments": ["a"] * 17, "part": "app", "path": "a", "seconds": 1},
    {"kind": "command", "arguments": [1], "part": "app", "path": "a", "seconds": 1},
], ids=str)  # fmt: skip
def test_rule_6_no_check_but_of_the_list(value: Json) -> None:
    with pytest.raises(Malformed):
        read_check(value)


@pytest.mark.parametrize("path", ["", "/", "a//b", "./a", "a/..", ".a", "-a", "a\\b", "a" * 257,
                                  "a b", "a\x00", "ä"])  # fmt: skip
def test_rule_6_paths_lie_below_a_part(path: str) -> None:
    with refused(Malformed, "bad_relative_path"):
        check_path(path)


def test_rule_6_a_check_is_about_files_that_there_are() -> None:
    for part in ("other", "os"):
        image = make_part("os", "rauc", deltas=(), unpacked_bytes=0, unpacked_files=0, hook="")
        checks = (Check("file", part=part, path="a"),)
        manifest = make_manifest(parts=(make_part(), image), health=Health(60, 0, checks))
        with refused(Malformed, "bad_check"):
            read_manifest(write_manifest(manifest))


@pytest.mark.parametrize("changes", [
    {"type": "fleetward.release.v2"}, {"type": None}, {"more": 1}, {"sbom": {}},
    {"hardware": []}, {"hardware": ["*", "a"]}, {"hardware": [""]}, {"hardware": ["a", "a"]},
    {"hardware": "a"}, {"needs": [{"product": "pump"}]}, {"needs": [{"least": 0, "product": "a"}]},
    {"conflicts": [{"first": 5, "last": 4, "product": "a"}]}, {"least_before": -1},
    {"conflicts": [{"first": 1, "last": 4, "product": "A"}]}, {"released_at": -1},
    {"health": {"checks": [], "steady_seconds": 0, "within_seconds": 4}},
    {"health": {"checks": [], "steady_seconds": 3601, "within_seconds": 5}},
    {"health": {"checks": [{}] * 17, "steady_seconds": 0, "within_seconds": 5}},
    {"notes": "x" * 4001}, {"notes": "a\nb"}, {"notes": "\u202e"}, {"fixes": ["\x1b"]},
    {"fixes": [str(n) for n in range(257)]}, {"reboot": 1}, {"support_ends_at": "never"},
], ids=lambda changes: str(changes)[:60])  # fmt: skip
def test_other_fields_have_bounds(changes: dict[str, Json]) -> None:
    with pytest.raises(Malformed):
        read_manifest(changed(**changes))


def test_a_manifest_has_a_largest_size() -> None:
    with pytest.raises(Malformed):
        read_manifest(manifest_bytes() + b" " * MAX_MANIFEST_BYTES)
