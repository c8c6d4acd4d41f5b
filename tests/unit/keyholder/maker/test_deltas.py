"""A release names deltas: from what machines have, and out of nothing; each makes the very part."""

from __future__ import annotations

import hashlib
import io
import json
import random
from pathlib import Path

import pytest
from tests.maker_world import Maker, make_maker
from tests.unit.keyholder.maker.test_releases import read_bundle, refused
from typer.testing import CliRunner

from fleetward.cli.release import release_app
from fleetward.device.updates.delta import apply_delta
from fleetward.keyholder.maker.blobs import BlobStore
from fleetward.keyholder.maker.deltas import DeltaWish
from fleetward.keyholder.maker.parts import read_parts
from fleetward.keyholder.maker.showing import describe_release, tell_release
from fleetward.trust.errors import Refused, Untrusted
from fleetward.trust.release_manifest import Delta, Manifest, Part, list_segments
from fleetward.wire.delta import EMPTY_SOURCE

FIXED = {f"lib/{n}": random.Random(n).randbytes(4000) for n in range(20)}
"""Bytes that nothing packs, so that a delta saves what is the same and nothing else."""


def files(version: str) -> dict[str, bytes]:
    return {**FIXED, "version": version.encode(), "text": b"the same words " * 4000}


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return make_maker(tmp_path)


def read(maker: Maker, sha256: str) -> bytes:
    return b"" if sha256 == EMPTY_SOURCE else (maker.desk.repository.blobs / sha256).read_bytes()


def demand_part(maker: Maker, part: Part, delta: Delta) -> None:
    """Demand that a delta makes the part, and is stored with its list."""
    data = read(maker, delta.blob.sha256)
    assert len(data) == delta.blob.length_bytes < part.blob.length_bytes
    assert read(maker, delta.blob.segments) == list_segments(data)
    target = io.BytesIO()
    source = io.BytesIO(read(maker, delta.source))
    apply_delta(source, io.BytesIO(data), target, limit_bytes=part.blob.length_bytes)
    assert hashlib.sha256(target.getvalue()).hexdigest() == part.blob.sha256


def list_stored(maker: Maker) -> set[str]:
    return {path.name for path in maker.desk.repository.blobs.iterdir()}


def names(manifest: Manifest) -> set[str]:
    return {name for blob in manifest.blobs() for name in (blob.sha256, blob.segments)}


def test_the_newest_release_and_nothing_are_what_deltas_start_from(maker: Maker) -> None:
    first = maker.release("kiosk", "1", files("1")).parts[0]
    assert [each.source for each in first.deltas] == [EMPTY_SOURCE]
    second = maker.release("kiosk", "2", files("2")).parts[0]
    manifest = maker.release("kiosk", "3", files("3"))
    [part] = manifest.parts
    assert [each.source for each in part.deltas] == [EMPTY_SOURCE, second.blob.sha256]
    for delta in part.deltas:
        demand_part(maker, part, delta)
    packed, small = (each.blob.length_bytes for each in part.deltas)
    assert small * 20 < packed < part.blob.length_bytes
    assert names(manifest) <= list_stored(maker)
    assert not [name for name in list_stored(maker) if name.startswith(".")]


def test_named_releases_are_started_from(maker: Maker) -> None:
    olds = [maker.release("kiosk", each, files(each)).parts[0].blob.sha256 for each in "123"]
    wish = DeltaWish(("1", "3", "1"))
    [part] = maker.release("kiosk", "4", files("4"), deltas=wish).parts
    assert [each.source for each in part.deltas] == [EMPTY_SOURCE, olds[0], olds[2]]
    with refused("release_not_signed", Refused):
        maker.build("kiosk", "5", files("5"), deltas=DeltaWish(("9",)))
    maker.build("kiosk", "5", files("5"))
    with refused("release_not_signed", Refused):
        maker.build("kiosk", "6", files("6"), deltas=DeltaWish(("5",)))
    with refused("delta_and_none"):
        maker.build("kiosk", "6", files("6"), deltas=DeltaWish(("1",), are_made=False))


def test_more_releases_than_a_manifest_can_name(maker: Maker) -> None:
    versions = tuple(str(n) for n in range(1, 9))
    for each in versions:
        maker.release("kiosk", each, {"a": each.encode() * 3000}, deltas=DeltaWish(are_made=False))
    with refused("too_many_deltas"):
        maker.build("kiosk", "9", {"a": b"9" * 3000}, deltas=DeltaWish(versions))
    maker.build("kiosk", "9", {"a": b"9" * 3000}, deltas=DeltaWish(versions[1:]))


def test_without_deltas_every_machine_takes_the_part(maker: Maker) -> None:
    maker.release("kiosk", "1", files("1"))
    manifest = maker.release("kiosk", "2", files("2"), deltas=DeltaWish(are_made=False))
    assert manifest.parts[0].deltas == ()


def test_what_saves_nothing_is_not_named_and_not_kept(maker: Maker) -> None:
    """Files of noise: an image that nothing packs, and a release that nothing is left of."""
    (maker.work / "images").mkdir(parents=True)
    for number in (1, 2):
        image = maker.work / f"images/{number}.bin"
        image.write_bytes(random.Random(number).randbytes(50_000))
        parts = read_parts([f"mcu={image}"], [])
        manifest = maker.release("pump", str(number), parts=parts)
        assert manifest.parts[0].deltas == ()
    assert len(list_stored(maker)) == 2 * 4, "two images and two bills, with their lists"


def test_a_rauc_bundle_has_none_and_another_place_is_another_part(maker: Maker) -> None:
    work = maker.write("w", {"os.raucb": b"rauc" * 9000, "mcu.bin": b"mcu" * 9000})
    for version, place in (("1", "mcu"), ("2", "other")):
        (work / "mcu.bin").write_bytes((f"mcu {version}".encode()) * 9000)
        (work / "os.raucb").write_bytes((f"rauc {version}".encode()) * 9000)
        parts = read_parts([f"os={work}/os.raucb", f"mcu={work}/mcu.bin:file-slot:{place}"], [])
        os, mcu = maker.release("pump", version, parts=parts).parts
        assert (os.installer, os.deltas) == ("rauc", ())
        assert [each.source for each in mcu.deltas] == [EMPTY_SOURCE]


def test_the_same_deltas_again_and_what_is_known_is_not_made_again(maker: Maker) -> None:
    maker.release("kiosk", "1", files("1"))
    first = maker.build("kiosk", "2", files("2"))
    again = maker.build("kiosk", "2", files("2"))
    assert again.parts == first.parts
    small = maker.release("kiosk", "2", files("2"), deltas=DeltaWish(is_best=True))
    assert [d.source for d in small.parts[0].deltas] == [d.source for d in first.parts[0].deltas]
    # The same part once more: it is active already, and its packed form is that of before.
    [part] = maker.release("kiosk", "3", files("2")).parts
    assert part.deltas == small.parts[0].deltas[:1]


def test_a_release_whose_part_is_gone_is_not_started_from(maker: Maker) -> None:
    [part] = maker.release("kiosk", "1", files("1")).parts
    BlobStore(maker.desk.repository.blobs).drop(part.blob)
    with refused("blob_missing", Refused):
        maker.build("kiosk", "2", files("2"))
    maker.build("kiosk", "2", files("2"), deltas=DeltaWish(are_made=False))


def test_deltas_are_published_and_a_bundle_takes_what_is_enough(
    maker: Maker, tmp_path: Path
) -> None:
    maker.release("kiosk", "1", files("1"))
    manifest = maker.release("kiosk", "2", files("2"))
    [part] = manifest.parts
    maker.publish("kiosk", "2", tmp_path / "www")
    there = {path.name for path in (tmp_path / "www/blobs").iterdir()}
    assert names(manifest) <= there
    index, _ = read_bundle(maker.bundle("kiosk", "2", tmp_path / "small"))
    blobs = {name.removeprefix("blob/") for name in index.files if name.startswith("blob/")}
    assert part.deltas[0].blob.sha256 in blobs
    assert not blobs & {part.blob.sha256, part.deltas[1].blob.sha256}
    assert index.total_bytes < part.blob.length_bytes
    index, _ = read_bundle(maker.bundle("kiosk", "2", tmp_path / "all", everything=True))
    assert names(manifest) <= {name.removeprefix("blob/") for name in index.files}


def test_a_damaged_delta_is_neither_published_nor_bundled(maker: Maker, tmp_path: Path) -> None:
    [part] = maker.release("kiosk", "1", files("1")).parts
    place = maker.desk.repository.blobs / part.deltas[0].blob.sha256
    data = bytearray(place.read_bytes())
    data[-1] ^= 1
    place.write_bytes(data)
    for leave in (maker.publish, maker.bundle):
        with refused("blob_damaged", Untrusted):
            leave("kiosk", "1", tmp_path / "out")


def test_a_person_is_told_what_machines_fetch(maker: Maker) -> None:
    old = maker.release("kiosk", "1", files("1")).parts[0].blob.sha256
    manifest = maker.release("kiosk", "2", files("2"))
    words = tell_release(manifest)
    assert "    packed: " in words
    assert f"for machines that have {old[:12]}…: " in words
    [part] = describe_release(manifest)["parts"]
    assert [each["source"] for each in part["deltas"]] == ["", old]


def test_the_command_takes_what_is_named(maker: Maker) -> None:
    maker.release("kiosk", "1", files("1"))
    source = maker.write("next", files("2"))
    common = ["build", "kiosk", "2", "--part", f"app={source}", "--json"]
    common += ["--maker", str(maker.desk.folder.path)]
    for more, many in (([], 2), (["--no-delta"], 0), (["--delta-from", "1", "--best"], 2)):
        done = CliRunner().invoke(release_app, [*common, *more])
        assert done.exit_code == 0, done.output
        assert len(json.loads(done.stdout)["parts"][0]["deltas"]) == many
