"""Releases are built, signed, shown, published and bundled, each as a machine takes it."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest
from tests.adversary.release_repository import Machine
from tests.maker_world import Maker, make_maker
from tests.unit.keyholder.maker.test_bills import write_deb

from fleetward.keyholder.maker.blobs import BlobStore
from fleetward.keyholder.maker.parts import read_health, read_parts
from fleetward.keyholder.maker.products import support_ends_at_ms
from fleetward.keyholder.maker.releasing import sign_release
from fleetward.keyholder.maker.repository import read_verified
from fleetward.keyholder.maker.showing import DRAFT, SIGNED, find_release, list_all, tell_release
from fleetward.runtime.keys import make_key
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Untrusted
from fleetward.trust.keys import ED25519
from fleetward.trust.release_approval import APPROVAL_TYPE, STANDING_TYPE, WITHDRAWAL_TYPE
from fleetward.trust.release_manifest import Conflict, Needed, Part, list_segments, read_manifest
from fleetward.wire.update_bundle import HEAD_BYTES, Index, index_length, read_index

FILES = {"bin/hook": b"#!/bin/sh\n", "bin/check": b"#!/bin/sh\n", "index.html": b"hello"}


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return make_maker(tmp_path)


def refused(reason: str, family: type[FleetwardError] = Malformed) -> pytest.RaisesExc:
    return pytest.raises(family, check=lambda e: e.reason == reason)


def read_bundle(path: Path) -> tuple[Index, bytes]:
    data = path.read_bytes()
    end = HEAD_BYTES + index_length(data[:HEAD_BYTES])
    return read_index(data[HEAD_BYTES:end]), data


def test_a_release_says_what_was_named(maker: Maker) -> None:
    manifest = maker.release(
        "kiosk", "1.0", FILES, hook="bin/hook", hardware=("m1", "m2"), reboot=True,
        checks=read_health(["http:8080/=204", "command:app/bin/check --quick"]),
        within_seconds=30, steady_seconds=5, needs=(Needed("os", 3),),
        conflicts=(Conflict("old", 1, 4),), least_before=0, notes="What is new.",
        fixes=("CVE-2026-1",),
    )  # fmt: skip
    assert (manifest.product, manifest.version, manifest.counter) == ("kiosk", "1.0", 1)
    assert manifest.hardware == ("m1", "m2")
    assert manifest.reboot
    assert manifest.support_ends_at_ms == support_ends_at_ms("2035-12-31")
    [part] = manifest.parts
    assert (part.installer, part.place, part.hook) == ("directory", "app", "bin/hook")
    assert (part.unpacked_files, part.unpacked_bytes) == (4, 25)
    assert manifest.health.within_seconds == 30
    assert "http port 8080 answers / with 204" in tell_release(manifest)
    assert maker.leaving("kiosk", "1.0").manifest == manifest


def test_a_whole_machine_is_one_version(maker: Maker) -> None:
    """Firmware, system, application, packages and policy: parts of one manifest."""
    work = maker.write("whole", {"mcu.bin": b"mcu", "os.raucb": b"rauc", "policy/p.json": b"{}"})
    (work / "debs").mkdir()
    write_deb(work / "debs/libfoo.deb")
    parts = read_parts(
        [f"firmware={work}/mcu.bin", f"system={work}/os.raucb", f"policy={work}/policy",
         f"packages={work}/debs"],
        [],
    )  # fmt: skip
    manifest = maker.release("pump", "7.0", parts=parts)
    assert {each.name: each.installer for each in manifest.parts} == {
        "firmware": "file-slot", "system": "rauc", "policy": "directory", "packages": "dpkg",
    }  # fmt: skip
    store = BlobStore(maker.desk.repository.blobs)
    by_name: dict[str, Part] = {each.name: each for each in manifest.parts}
    assert store.place(by_name["firmware"].blob.sha256).read_bytes() == b"mcu"
    with tarfile.open(store.place(by_name["packages"].blob.sha256), "r:") as archive:
        assert archive.getnames() == ["libfoo.deb"]
    assert manifest.sbom is not None
    bill = json.loads(store.place(manifest.sbom.sha256).read_bytes())
    assert {"libfoo", "policy/p.json"} <= {each["name"] for each in bill["components"]}


def test_a_release_that_replaces_the_agent_is_marked_where_that_can_be_seen(
    maker: Maker, tmp_path: Path
) -> None:
    code = {"fleetward/device/guard_main.py": b"", "fleetward/__init__.py": b""}
    own = maker.release("agent", "1", code, installer="agent")
    assert own.replaces_agent and own.has_agent
    assert "REPLACES THE AGENT" in tell_release(own)
    folder = maker.release("kiosk", "1", {f"venv/lib/{name}": b"" for name in code})
    assert folder.replaces_agent and not folder.has_agent
    package = write_deb(tmp_path / "a.deb", "Package: fleetward\nVersion: 1\nArchitecture: all\n")
    debs = maker.release("kiosk", "2", {"a.deb": package.read_bytes()}, installer="dpkg")
    assert debs.replaces_agent
    assert maker.release("kiosk", "3", FILES, replaces_agent=True).replaces_agent
    assert not maker.release("kiosk", "4", FILES).replaces_agent
    with refused("not_an_agent"):
        maker.release("agent", "2", FILES, installer="agent")


def test_counters_rise_by_themselves_and_never_fall(maker: Maker) -> None:
    assert maker.release("kiosk", "1", FILES).counter == 1
    assert maker.release("kiosk", "2", FILES, counter=10).counter == 10
    with refused("counter_too_low", Refused):
        maker.build("kiosk", "3", FILES, counter=10)
    assert maker.release("kiosk", "3", FILES).counter == 11


def test_a_draft_that_was_overtaken_is_not_signed(maker: Maker) -> None:
    maker.build("kiosk", "1", FILES)
    maker.release("kiosk", "2", FILES)
    with refused("counter_too_low", Refused):
        sign_release(maker.desk, "kiosk", "1")


def test_a_signed_version_stays_what_it_is(maker: Maker) -> None:
    first = maker.release("kiosk", "1", FILES)
    with refused("release_exists", Refused):
        maker.build("kiosk", "1", {"other": b"other"})
    assert sign_release(maker.desk, "kiosk", "1") == first


def test_the_same_files_are_the_same_blobs(maker: Maker) -> None:
    one, two = maker.release("kiosk", "1", FILES), maker.release("kiosk", "2", FILES)
    assert one.parts == two.parts
    assert one.hash != two.hash


@pytest.mark.parametrize(
    ("hook", "check", "reason"),
    [
        ("bin/gone", "", "path_not_in_part"),
        ("index.html", "", "not_a_program"),
        ("", "file:app/bin/gone", "path_not_in_part"),
        ("", "file:other/index.html", "bad_check"),
        ("", "command:app/index.html", "not_a_program"),
    ],
)
def test_what_is_run_or_looked_for_must_be_in_the_part(
    maker: Maker, hook: str, check: str, reason: str
) -> None:
    with refused(reason):
        maker.build("kiosk", "1", FILES, hook=hook, checks=read_health([check] if check else []))


def test_a_part_of_the_wrong_kind_is_refused(maker: Maker) -> None:
    folder = maker.write("x", FILES)
    for parts, reason in (
        ((maker.part("p", folder, "file-slot"),), "wrong_installer"),
        ((maker.part("p", folder, "dpkg"),), "wrong_installer"),
        ((maker.part("p", folder / "gone", "rauc"),), "no_such_part"),
        ((), "no_part"),
    ):
        with refused(reason):
            maker.build("kiosk", "1", parts=parts)
    with pytest.raises(FleetwardError):
        maker.build("kiosk", "1", parts=(maker.part("Bad Name", folder),))
    assert not list(maker.desk.folder.drafts.iterdir())


def test_a_given_bill_is_taken_and_a_bad_one_is_not(maker: Maker) -> None:
    bill = maker.write("b", {"bill.json": b'{"bomFormat":"CycloneDX","components":[]}'})
    manifest = maker.build("kiosk", "1", FILES, bill=bill / "bill.json")
    assert manifest.sbom is not None
    data = (bill / "bill.json").read_bytes()
    assert manifest.sbom.sha256 == hashlib.sha256(data).hexdigest()
    (bill / "bill.json").write_bytes(b"{}")
    with refused("bad_sbom"):
        maker.build("kiosk", "1", FILES, bill=bill / "bill.json")


def test_a_release_is_shown_with_what_changed(maker: Maker) -> None:
    maker.release("kiosk", "1", FILES)
    maker.build("kiosk", "2", {**FILES, "index.html": b"new", "more": b"more"})
    shown = find_release(maker.desk, "kiosk", "2")
    assert shown.state == DRAFT
    assert shown.before is not None
    assert shown.before.version == "1"
    assert shown.difference is not None
    assert [row.split(":")[0] for row in shown.difference.added] == ["file app/more"]
    assert [row.split(":")[0] for row in shown.difference.changed] == [
        "file app", "file app/index.html",
    ]  # fmt: skip
    assert [(each.version, state) for each, state in list_all(maker.desk)] == [
        ("1", SIGNED), ("2", DRAFT),
    ]  # fmt: skip


def test_a_release_whose_blobs_are_gone_is_not_signed(maker: Maker) -> None:
    manifest = maker.build("kiosk", "1", FILES)
    (maker.desk.repository.blobs / manifest.parts[0].blob.segments).unlink()
    with refused("blob_missing", Refused):
        sign_release(maker.desk, "kiosk", "1")


def test_a_published_folder_is_whole_and_is_brought_up_to_date(
    maker: Maker, tmp_path: Path
) -> None:
    out = tmp_path / "www"
    maker.release("kiosk", "1", FILES)
    maker.publish("kiosk", "1", out)
    machine = Machine(maker.root)

    def answer(want: object) -> bytes | None:
        path = out / "metadata" / want.file_name  # type: ignore[attr-defined]
        return path.read_bytes() if path.is_file() else None

    first = machine.find(answer, "kiosk/1/release.json", maker.desk.now_ms)
    assert first is not None
    manifest = read_manifest((out / "targets" / first.file_name).read_bytes())
    for blob in manifest.blobs():
        data = (out / "blobs" / blob.sha256).read_bytes()
        assert hashlib.sha256(data).hexdigest() == blob.sha256
        assert (out / "blobs" / blob.segments).read_bytes() == list_segments(data)
    maker.release("kiosk", "2", {"a": b"b"})
    maker.publish("kiosk", "2", out)
    assert machine.find(answer, "kiosk/2/release.json", maker.desk.now_ms)
    assert read_verified(lambda name: answer(type("W", (), {"file_name": name})())).products


def test_a_folder_of_another_maker_is_left_alone(maker: Maker, tmp_path: Path) -> None:
    other = make_maker(tmp_path / "other")
    other.release("kiosk", "1", FILES)
    other.publish("kiosk", "1", tmp_path / "www")
    before = (tmp_path / "www/metadata/timestamp.json").read_bytes()
    maker.release("kiosk", "1", FILES)
    with refused("another_maker", Refused):
        maker.publish("kiosk", "1", tmp_path / "www")
    assert (tmp_path / "www/metadata/timestamp.json").read_bytes() == before


def test_a_bundle_holds_what_a_machine_needs(maker: Maker, tmp_path: Path) -> None:
    maker.release("kiosk", "1", FILES)
    maker.release("other", "1", FILES)
    index, data = read_bundle(maker.bundle("kiosk", "1", tmp_path / "b"))
    assert index.total_bytes == len(data)
    files = {n: data[s.offset : s.offset + s.length] for n, s in index.files.items()}
    assert files[f"root/{maker.root_digest}"] == maker.root
    machine = Machine(maker.root)
    target = machine.find(
        lambda want: files.get(f"image/kiosk/{want.file_name}"),
        "kiosk/1/release.json", maker.desk.now_ms,
    )  # fmt: skip
    assert target is not None
    manifest = read_manifest(files[f"manifest/{dict(target.hashes)['sha256']}"])
    [part] = manifest.parts
    [packed] = part.deltas
    assert manifest.sbom is not None
    assert f"blob/{part.blob.sha256}" not in files, "the packed form is enough, and shorter"
    for blob in (packed.blob, manifest.sbom):
        whole = files[f"blob/{blob.sha256}"]
        assert hashlib.sha256(whole).hexdigest() == blob.sha256
        assert files[f"blob/{blob.segments}"] == list_segments(whole)
    assert not [name for name in files if "other" in name]


def test_a_bundle_takes_approvals_and_nothing_else_for_one(maker: Maker, tmp_path: Path) -> None:
    maker.release("kiosk", "1", FILES)
    odd = tmp_path / "odd"
    odd.write_bytes(b'{"payload":{"type":"fleetward.policy.v1"},"signatures":[]}')
    with pytest.raises(FleetwardError):
        maker.bundle("kiosk", "1", tmp_path / "b", [odd])
    assert not (tmp_path / "b").exists()


def test_a_damaged_blob_is_in_no_bundle(maker: Maker, tmp_path: Path) -> None:
    manifest = maker.release("kiosk", "1", FILES)
    place = maker.desk.repository.blobs / manifest.parts[0].blob.sha256
    data = bytearray(place.read_bytes())
    data[-1] ^= 1
    place.write_bytes(data)
    with refused("blob_damaged", Untrusted):
        maker.bundle("kiosk", "1", tmp_path / "b", everything=True)
    with refused("blob_damaged", Untrusted):
        maker.publish("kiosk", "1", tmp_path / "www")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".b", "b"))]


def test_an_unsigned_release_does_not_leave(maker: Maker) -> None:
    maker.build("kiosk", "1", FILES)
    with refused("release_not_signed", Refused):
        maker.leaving("kiosk", "1")


def test_drafts_beside_each_other_have_counters_of_their_own(maker: Maker) -> None:
    assert [maker.build("kiosk", version, FILES).counter for version in "123"] == [1, 2, 3]
    assert maker.build("kiosk", "3", FILES).counter == 3, "the same draft again"
    for version in "123":
        sign_release(maker.desk, "kiosk", version)


@pytest.mark.parametrize(
    "wish",
    [
        {"counter": 2**60}, {"counter": -1}, {"within_seconds": 1}, {"steady_seconds": -1},
        {"hardware": ("*", "m1")}, {"hardware": ()}, {"notes": "x" * 4001}, {"notes": "a\x1b[2J"},
        {"fixes": ("a", "a")}, {"fixes": ("\ud800",)}, {"least_before": -1},
    ],
)  # fmt: skip
def test_what_no_machine_reads_is_refused_before_it_is_packed(
    maker: Maker, wish: dict[str, object]
) -> None:
    with pytest.raises((Malformed, Refused)):
        maker.build("kiosk", "1", FILES, **wish)
    assert not list(maker.desk.repository.blobs.iterdir())


@pytest.mark.parametrize("kind", [APPROVAL_TYPE, STANDING_TYPE, WITHDRAWAL_TYPE])
def test_a_bundle_carries_the_owners_words_as_they_are(
    maker: Maker, tmp_path: Path, kind: str
) -> None:
    """Who signed them a machine judges; the maker's tool has no owner's policy."""
    maker.release("kiosk", "1", FILES)
    approval = tmp_path / "approval.json"
    approval.write_bytes(seal({"type": kind}, [make_key(ED25519)]))
    index, data = read_bundle(maker.bundle("kiosk", "1", tmp_path / "b", [approval, approval]))
    for name in ("approval/0", "approval/1"):
        span = index.files[name]
        assert data[span.offset : span.offset + span.length] == approval.read_bytes()
