"""Bills of materials are CycloneDX, are read strictly, and can be compared."""

from __future__ import annotations

import io
import json
import lzma
import re
import tarfile
from pathlib import Path

import pytest

from fleetward.keyholder.maker.bills import BillPart, compare_bills, make_bill, read_bill
from fleetward.keyholder.maker.debs import DebPackage, read_deb
from fleetward.keyholder.maker.packing import PackedFile
from fleetward.trust.errors import Malformed

FILES = (PackedFile("bin/run", 10, "ab" * 32, is_program=True),)
CONTROL = (
    "Package: libfoo\nVersion: 1:2.3-4+deb12u1\nArchitecture: arm64\n"
    "Description: long\n Version: 9 of a line that goes on\n"
)


def write_deb(path: Path, control: str = CONTROL, ending: str = ".xz") -> Path:
    """Write a package as deb(5) says: an `ar` archive of three members."""
    inside = io.BytesIO()
    with tarfile.open(fileobj=inside, mode="w") as archive:
        head = tarfile.TarInfo("./control")
        head.size = len(control)
        archive.addfile(head, io.BytesIO(control.encode()))
    data = inside.getvalue()
    packed = lzma.compress(data) if ending == ".xz" else data
    members = (("debian-binary", b"2.0\n"), (f"control.tar{ending}", packed), ("data.tar", b"x"))
    out = b"!<arch>\n"
    for name, content in members:
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        out += content + b"\n" * (len(content) % 2)
    path.write_bytes(out)
    return path


def test_a_bill_has_the_form_of_cyclonedx() -> None:
    package = DebPackage("libfoo_2.deb", "libfoo", "1:2.3+x", "arm64", "cd" * 32)
    parts = [BillPart("app", "ef" * 32, FILES), BillPart("debs", "01" * 32, (), [package])]
    bill = json.loads(make_bill("kiosk", "1.0", parts, 1_700_000_000_000))
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", bill["serialNumber"])
    assert bill["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    assert bill["metadata"]["component"]["name"] == "kiosk"
    rows = {each["name"]: each for each in bill["components"]}
    assert rows["app/bin/run"]["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert rows["libfoo"]["purl"] == "pkg:deb/libfoo@1%3A2.3%2Bx?arch=arm64"
    assert all(each["type"] in ("file", "library") for each in bill["components"])
    refs = [each["bom-ref"] for each in bill["components"]]
    assert len(set(refs)) == len(refs)


def test_the_same_content_has_the_same_serial_number() -> None:
    serials = {
        json.loads(make_bill("kiosk", "1.0", [BillPart("app", "ef" * 32, FILES)], now))[
            "serialNumber"
        ]
        for now in (0, 86_400_000)
    }
    assert len(serials) == 1


def test_a_difference_names_what_came_went_and_changed() -> None:
    before = read_bill(
        b'{"bomFormat":"CycloneDX","components":[{"type":"library","name":"a","version":"1"},'
        b'{"type":"library","name":"b","version":"1","components":[{"name":"in","type":"file"}]}]}'
    )
    after = read_bill(
        b'{"bomFormat":"CycloneDX","components":[{"type":"library","name":"a","version":"2"},'
        b'{"type":"library","group":"g","name":"c"}]}'
    )
    difference = compare_bills(before, after)
    assert difference.added == ("library g/c: ",)
    assert difference.removed == ("file in: ", "library b: 1")
    assert difference.changed == ("library a: 1 -> 2",)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"[]", b"[" * 100_000, b'{"bomFormat":"SPDX"}', b"\xff",
        b'{"bomFormat":"CycloneDX","components":{}}',
        b'{"bomFormat":"CycloneDX","components":[1]}',
        b'{"bomFormat":"CycloneDX","components":[{"name":1}]}',
        b'{"bomFormat":"CycloneDX","components":[{"name":"a","components":7}]}',
    ],
)  # fmt: skip
def test_what_is_no_bill_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        read_bill(data)
    assert caught.value.reason == "bad_sbom"


@pytest.mark.parametrize("ending", ["", ".xz"])
def test_a_package_says_what_it_is(tmp_path: Path, ending: str) -> None:
    found = read_deb(write_deb(tmp_path / "odd-name.deb", ending=ending))
    assert (found.name, found.version, found.architecture) == (
        "libfoo", "1:2.3-4+deb12u1", "arm64",
    )  # fmt: skip


def test_the_name_of_a_file_stands_for_what_cannot_be_read(tmp_path: Path) -> None:
    found = read_deb(write_deb(tmp_path / "foo_1%3a2-1_amd64.deb", ending=".zst"))
    assert (found.name, found.version, found.architecture) == ("foo", "1:2-1", "amd64")
    with pytest.raises(Malformed) as caught:
        read_deb(write_deb(tmp_path / "foo.deb", ending=".zst"))
    assert caught.value.reason == "unknown_deb"


@pytest.mark.parametrize("cut", [0, 4, 8, 40, 68, 75, 130, 200])
def test_a_broken_package_is_refused(tmp_path: Path, cut: int) -> None:
    whole = write_deb(tmp_path / "foo.deb").read_bytes()
    (tmp_path / "cut.deb").write_bytes(whole[:cut])
    with pytest.raises(Malformed) as caught:
        read_deb(tmp_path / "cut.deb")
    assert caught.value.reason == "bad_deb"


def test_a_package_without_a_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Malformed):
        read_deb(write_deb(tmp_path / "foo.deb", "Package: foo\n"))
