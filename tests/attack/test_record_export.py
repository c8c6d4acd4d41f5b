"""A server that sends a hostile export: nothing of it reaches the auditor's disk."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.keyholder.ledger_world import NOW_MS, World, write_export
from tests.unit.keyholder.small_server import TOKEN, serving

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.fetch_export import fetch_export, unpack
from fleetward.keyholder.verify import verify_export
from fleetward.trust.errors import FleetwardError, Malformed, Refused
from fleetward.trust.ledger import Auditor


def tar_of(fill: Callable[[tarfile.TarFile], None]) -> io.BytesIO:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        fill(tar)
    data.seek(0)
    return data


def one(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "info",
    [
        one("/etc/cron.d/x"),
        one("../outside"),
        one("policies/../../outside.json"),
        one("log/1/tile/0/../../../../outside"),
        one("export.json\n"),
        one("batches/../x.jsonl"),
        one("root.json", tarfile.SYMTYPE, "/etc/passwd"),
        one("root.json", tarfile.LNKTYPE, "/etc/passwd"),
        one("root.json", tarfile.CHRTYPE),
        one("root.json", tarfile.FIFOTYPE),
        one("log", tarfile.DIRTYPE),
        one("root.json", tarfile.GNUTYPE_SPARSE),
    ],
    ids=lambda info: f"{info.name!a}-{info.type!r}",
)
def test_nothing_but_the_files_of_an_export_is_unpacked(
    tmp_path: Path, info: tarfile.TarInfo
) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    with pytest.raises(Malformed):
        unpack(tar_of(lambda tar: tar.addfile(info, io.BytesIO())), folder)
    assert [p for p in tmp_path.rglob("*") if not p.is_dir()] == []


def test_a_file_that_comes_twice_is_refused(tmp_path: Path) -> None:
    def fill(tar: tarfile.TarFile) -> None:
        tar.addfile(one("root.json"))
        tar.addfile(one("root.json"))

    with pytest.raises(Malformed, match="twice"):
        unpack(tar_of(fill), tmp_path)


@pytest.mark.parametrize("cut", [0, 1, 511, 700, 1500])
def test_a_cut_tar_is_no_export(tmp_path: Path, cut: int) -> None:
    def fill(tar: tarfile.TarFile) -> None:
        info = one("root.json")
        info.size = 1000
        tar.addfile(info, io.BytesIO(b"x" * 1000))

    with pytest.raises(Malformed):
        unpack(io.BytesIO(tar_of(fill).getvalue()[:cut]), tmp_path)


def test_an_honest_export_travels_and_is_whole(tmp_path: Path) -> None:
    world = World().live()
    folder = write_export(world, tmp_path / "there")

    def fill(tar: tarfile.TarFile) -> None:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            tar.add(path, path.relative_to(folder).as_posix())

    with serving(tmp_path) as server:
        server.answers["/record/export"] = tar_of(fill).getvalue()
        client = ApiClient(server.api, TOKEN)
        out = fetch_export(client, tmp_path / "here")
        with pytest.raises(Refused, match="never written over"):
            fetch_export(client, out)
        server.answers["/record/export"] = b"no tar at all" * 100
        with pytest.raises(FleetwardError):
            fetch_export(client, tmp_path / "bad")
    assert not (tmp_path / "bad").exists()
    assert verify_export(out, world.owner, Auditor(NOW_MS)).report.whole
