"""Archives made to hurt, at the real installer: refused, with a rule, and nothing on disk changed.

The hash is right each time where nothing else is said: the maker's key is stolen, or his tool is
broken. What a machine runs must still be what it ran.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.installer_world import DirectoryGround, DpkgGround, Session, make_archive

from fleetward.device.updates.installer_words import (
    CheckWord,
    Done,
    PartWord,
    Plan,
    Switch,
    Test,
    Write,
    Written,
    encode,
)
from fleetward.device.updates.installers.contract import Source
from fleetward.device.updates.installers.releases import Releases
from fleetward.trust.errors import Malformed

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
BLOCK = 512


@pytest.fixture
def ground(tmp_path: Path) -> DirectoryGround:
    made = DirectoryGround(tmp_path)
    made.install("1")
    return made


def pack(*members: tarfile.TarInfo, data: bytes = b"x") -> bytes:
    """Return a tar of these members; files hold `data`, as often as their size says."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(data * member.size) if member.isreg() else None)
    return raw.getvalue()


def member(name: str, **more: Any) -> tarfile.TarInfo:
    """Return a member; a file of one byte unless said otherwise."""
    made = tarfile.TarInfo(name)
    made.size = 1
    made.mode = 0o644
    for field, value in more.items():
        setattr(made, field, value)
    if not made.isreg():
        made.size = 0
    return made


def write(
    ground: DirectoryGround, blob: bytes, *, files: int = 100, size: int = 1 << 20
) -> Written:
    """Have an archive written whose hash is right, and demand that nothing changed."""
    was = ground.listing()
    part = PartWord(
        "part", "directory", "place", hashlib.sha256(blob).hexdigest(), len(blob),
        ground.part("1").sha256, size, files,
    )  # fmt: skip
    with ground.plan(Plan("kiosk", (part,)), blob) as session:
        assert session.surveyed.problem == ""
        found = session.write()
        done = session.do(Switch())
        assert done.rule == "not_written"
    assert ground.listing() == was
    assert ground.content() == "1"
    return found


def demand(ground: DirectoryGround, blob: bytes, rule: str, **bounds: int) -> None:
    """Demand that an archive is refused by this rule."""
    found = write(ground, blob, **bounds)
    assert found.rule == rule, found
    assert "build it again" in found.problem or "build the part again" in found.problem


@pytest.mark.parametrize(
    "name",
    [
        *("../evil", "a/../../evil", "a/..", "/etc/evil", "//evil", "a//b", "./../evil", ".."),
        *("a;reboot", "$(reboot)", "`reboot`", "a|b", "a b", "a\nb", "-rf", "~root", "a&b", "*"),
        *("a\\b", "a\tb", "\u202eexe.txt", "ünlich", "a'b", 'a"b', "x" * 256, "a/" * 70 + "b"),
        "./",
    ],
)
def test_names_lead_nowhere_and_mean_nothing_to_a_shell(ground: DirectoryGround, name: str) -> None:
    found = write(ground, pack(member("good"), member(name)))
    assert found.rule == "bad_archive_name"


def test_a_name_that_comes_twice(ground: DirectoryGround) -> None:
    demand(ground, pack(member("a"), member("a")), "bad_archive_name")
    demand(ground, pack(member("a"), member("a/b")), "bad_archive_name")
    demand(ground, pack(member("a/b"), member("a")), "bad_archive_name")
    demand(ground, pack(member("a"), member("a", type=tarfile.DIRTYPE)), "bad_archive_name")


@pytest.mark.parametrize(
    "kind",
    [
        *(tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE),
        *(tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"Z"),
    ],
)
def test_links_devices_and_pipes(ground: DirectoryGround, kind: bytes) -> None:
    outside = ground.folder / "outside"
    outside.mkdir()
    evil = member("evil", type=kind, linkname=str(outside), devmajor=1, devminor=3)
    through = member("evil/through")
    assert write(ground, pack(member("good"), evil, through)).rule == "bad_archive_member"
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o1755, 0o7777])
def test_files_that_would_run_as_another_user(ground: DirectoryGround, mode: int) -> None:
    demand(ground, pack(member("evil", mode=mode)), "bad_archive_member")


def test_modes_and_owners_of_the_archive_do_not_count(ground: DirectoryGround) -> None:
    blob = pack(
        member("a", mode=0o666, uid=1234), member("b", mode=0o777, gid=99), member("c", mode=0)
    )
    part = PartWord(
        "part", "directory", "place", hashlib.sha256(blob).hexdigest(), len(blob),
        ground.part("1").sha256, 100, 10,
    )  # fmt: skip
    with ground.plan(Plan("kiosk", (part,)), blob) as session:
        assert session.write() == Written()
    tree = ground.folder / "app/releases" / part.sha256
    modes = {p.name: p.stat().st_mode & 0o7777 for p in tree.iterdir()}
    assert modes == {"a": 0o644, "b": 0o755, "c": 0o644}
    assert {p.stat().st_uid for p in tree.iterdir()} == {os.geteuid()}
    assert tree.stat().st_mode & 0o7777 == 0o755


def test_a_bomb_of_bytes(ground: DirectoryGround) -> None:
    blob = pack(member("a", size=64 * 1024 * 1024), data=b"\0")
    demand(ground, blob, "archive_too_big", size=1000)
    # Headers unpack to something too, and are never written.
    header = member("a")
    header.pax_headers = {"comment": "x" * (32 * 1024 * 1024)}
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(header, io.BytesIO(b"x"))
    demand(ground, raw.getvalue(), "archive_too_big", size=1000)


def test_a_bomb_of_files_and_of_folders(ground: DirectoryGround) -> None:
    many = [member(f"f{number}") for number in range(101)]
    assert write(ground, pack(*many), files=100).rule == "archive_too_big"
    folders = [member(f"d{number}", type=tarfile.DIRTYPE) for number in range(1200)]
    assert write(ground, pack(*folders), files=100).rule == "archive_too_big"
    deep = [member(f"{n}/" + "d/" * 59 + "f") for n in range(20)]
    assert write(ground, pack(*deep), files=20).rule == "archive_too_big"


def test_archives_cut_short_or_followed_by_something(ground: DirectoryGround) -> None:
    good = pack(member("a"), member("b", size=2000))
    plain = good[: -len(good) % BLOCK or None]
    for blob in (plain[: 3 * BLOCK], plain[: 3 * BLOCK + 100], plain[:BLOCK]):
        demand(ground, blob, "bad_archive")
    end = 2 * BLOCK + BLOCK + 4 * BLOCK
    assert write(ground, plain[:end]).rule == "bad_archive"
    demand(ground, good + b"more", "trailing_bytes")
    demand(ground, good + pack(member("c")), "trailing_bytes")
    # Nothing on the machine unpacks these: a bomb has nobody to burst in.
    for packed in (gzip.compress(good), lzma.compress(good)):
        demand(ground, packed, "bad_archive")


def test_bytes_made_to_hurt_the_reader(ground: DirectoryGround) -> None:
    header = bytearray(pack(member("a"))[:BLOCK])
    header[124:136] = b"\xff" * 12  # A size of minus one, as GNU writes large numbers.
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    negative = bytes(header) + bytes(3 * BLOCK)
    long_names = b"".join(
        pack(member("n", type=tarfile.GNUTYPE_LONGNAME))[:BLOCK] for _ in range(4000)
    )
    for blob in (b"", b"\0" * 5000, b"\x1f\x8b" + b"x" * 500, os.urandom(5000)):
        assert write(ground, blob).rule in ("bad_archive", "trailing_bytes")
    for blob in (negative, long_names + bytes(2 * BLOCK)):
        assert write(ground, blob).rule in ("bad_archive", "bad_archive_member")


@pytest.mark.parametrize("swap", ["other", "longer"])
def test_a_part_that_changes_after_its_hash_was_right(ground: DirectoryGround, swap: str) -> None:
    """Guard's file is written to while it is copied, or after: what is unpacked is our own copy."""
    good = make_archive({f"f{n}": os.urandom(200_000) for n in range(40)})
    evil = bytearray(good)
    at = len(good) - 100_000 if swap == "other" else len(good) // 2
    evil[at : at + 4] = b"evil"
    was = ground.listing()
    part = PartWord(
        "part", "directory", "place", hashlib.sha256(good).hexdigest(), len(good),
        ground.part("1").sha256, 1 << 24, 100,
    )  # fmt: skip
    stop = threading.Event()

    def change(descriptor: int) -> None:
        releases = ground.folder / "app/releases"
        while not stop.is_set():
            if any(p.name.endswith(".tar.part") for p in releases.iterdir()):
                os.pwrite(descriptor, bytes(evil), 0)
                return

    with ground.plan(Plan("kiosk", (part,)), good) as session, session.holding(good) as descriptor:
        thread = threading.Thread(target=change, args=(descriptor,))
        thread.start()
        try:
            found = session.installer.say(Write("part"), descriptor)
        finally:
            stop.set()
            thread.join()
        assert isinstance(found, Written)
        if found.rule:
            assert found.rule == "wrong_hash"
            assert ground.listing() == was
    if not found.rule:
        tree = ground.folder / "app/releases" / part.sha256
        files = {path.name: path.read_bytes() for path in tree.iterdir()}
        assert make_archive({f"f{n}": files[f"f{n}"] for n in range(40)}) == good


class Tight(Releases):
    """A disk with room for a tree, and none for an archive beside it."""

    def _free(self) -> int:
        return 10 * 1024 * 1024


def test_a_part_that_changes_where_there_is_no_room_for_a_copy(tmp_path: Path) -> None:
    """It is read twice then, and hashed both times."""
    good = make_archive({f"f{n}": os.urandom(200_000) for n in range(40)})
    evil = good[:-100_000] + b"evil" + good[-99_996:]
    file = tmp_path / "staged"
    file.write_bytes(good)
    part = PartWord(
        "part", "directory", "place", hashlib.sha256(good).hexdigest(), len(good),
        unpacked_bytes=8_000_000, unpacked_files=40,
    )  # fmt: skip
    releases = Tight(tmp_path / "app")

    def tell(done: int) -> None:
        if done == len(good) // 2:
            file.write_bytes(evil)

    source = Source(os.open(file, os.O_RDONLY), 0, len(good))
    with pytest.raises(Malformed, check=lambda e: e.reason == "wrong_hash"):
        releases.put(part, source, tell)
    assert list((tmp_path / "app/releases").iterdir()) == []
    file.write_bytes(good)
    releases.put(part, source, lambda done: None)
    os.close(source.descriptor)
    assert releases.has(part.sha256)
    assert not releases.has_archive(part.sha256)


def test_a_file_that_shrinks_and_descriptors_that_are_no_files(ground: DirectoryGround) -> None:
    was = ground.listing()
    with ground.begin("2", "1") as session:
        reading, writing = os.pipe()
        found = session.installer.say(Write("part"), reading)
        assert isinstance(found, Written)
        assert found.rule == "wrong_source"
        os.close(reading)
        os.close(writing)
        folder = os.open(ground.folder, os.O_RDONLY)
        found = session.installer.say(Write("part"), folder)
        os.close(folder)
        assert isinstance(found, Written)
        assert found.rule == "wrong_source"
        assert session.answer(Write("part", 1)).rule == "wrong_length"
        assert session.answer(Write("nobody")).rule == "unknown_part"
    assert ground.listing() == was


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", folder], check=False
    ).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@needs_root
def test_a_full_disk(small_disk: Path) -> None:
    ground = DirectoryGround(small_disk)
    ground.bounds = (400_000, 50)
    ground.install("1")
    # It is seen before anything is written.
    blob = pack(member("a", size=3 * 1024 * 1024))
    found = write(ground, blob, files=1, size=3 * 1024 * 1024)
    assert found.rule == "disk_full"
    assert "are free" in found.problem
    part = msgspec.structs.replace(ground.part("2", "1"), unpacked_bytes=3 * 1024 * 1024)
    with ground.plan(Plan("kiosk", (part,)), b"") as session:
        assert session.surveyed.problem == ""
        assert session.surveyed.needed_bytes > session.surveyed.free_bytes


@needs_root
def test_a_disk_that_fills_while_it_is_written(ground: DirectoryGround) -> None:
    """No file may grow beyond a bound: the disk says no in the middle of the second file."""
    blob = pack(member("a"), member("b", size=900_000), member("c"))
    was = ground.listing()
    part = PartWord(
        "part", "directory", "place", hashlib.sha256(blob).hexdigest(), len(blob),
        ground.part("1").sha256, 1 << 20, 100,
    )  # fmt: skip
    with ground.plan(Plan("kiosk", (part,)), blob) as session:
        limit = ["prlimit", f"--pid={session.installer.process.pid}", "--fsize=500000:unlimited"]
        subprocess.run(limit, check=True)
        found = session.write()
        assert found.rule == "disk_full"
        assert ground.listing() == was
        subprocess.run([*limit[:2], "--fsize=unlimited:unlimited"], check=True)
        assert session.write() == Written()


def test_a_place_that_somebody_else_can_write(ground: DirectoryGround) -> None:
    (ground.folder / "app/releases").chmod(0o777)
    with ground.begin("2", "1") as session:
        assert session.surveyed.rule == "place_not_ours"
        assert session.write().rule == "place_not_ours"
        assert session.do(Switch()).rule == "place_not_ours"
    assert ground.content() == "1"


def test_a_link_that_leads_elsewhere(ground: DirectoryGround) -> None:
    current = ground.folder / "app/current"
    current.unlink()
    current.symlink_to("/etc")
    with ground.begin("2", "1") as session:
        assert session.surveyed.rule == "place_damaged"
        assert session.write().rule == "place_damaged"
        assert session.do(Switch()).rule == "place_damaged"
    assert str(current.readlink()) == "/etc"


def test_without_the_makers_file_only_folders_of_ours(ground: DirectoryGround) -> None:
    ground.places.unlink()
    was = ground.listing()
    with ground.begin("2") as session:
        assert session.surveyed.problem == ""
        assert session.write() == Written()
        assert session.do(Switch()) == Done()
    assert ground.listing() == was
    assert (ground.data / "software/kiosk/place/current/version").read_text() == "2"
    for other in ("file-slot", "dpkg", "rauc"):
        with ground.begin("2", installer=other) as session:
            assert session.surveyed.rule == "wrong_installer"
            assert session.write().rule == "wrong_installer"


def test_another_makers_product_does_not_reach_a_place(ground: DirectoryGround) -> None:
    """Both makers are the owner's; the place is one's alone."""
    was = ground.listing()
    with ground.plan(Plan("lights", (ground.part("2", "1"),)), ground.make("2")) as session:
        assert session.surveyed.rule == "another_product"
        assert session.write().rule == "another_product"
        assert session.do(Switch()).rule == "another_product"
    assert (ground.listing(), ground.content()) == (was, "1")


@pytest.mark.parametrize("hook", ["../hook", "/bin/sh", "bin/../../x", "a b", "$(x)", "bin/sh -c"])
def test_hooks_and_commands_lie_below_the_part(ground: DirectoryGround, hook: str) -> None:
    with ground.begin("2", "1", hook=hook) as session:
        assert session.surveyed.rule == "bad_relative_path"
        assert session.write().rule == "bad_relative_path"
    for kind in ("command", "file"):
        check = CheckWord(kind, part="part", path=hook, seconds=5)
        with ground.begin("1", "1", checks=(check,)) as session:
            (finding,) = session.test().findings
            assert not finding.good
            assert "relative path" in finding.words


def test_words_out_of_turn_end_it(ground: DirectoryGround) -> None:
    was = ground.listing()
    for first in (encode(Test()), b"{}", b"\xff" * 100, b"[" * 10_000):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            done = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-m", "fleetward.device.updates.installer_main"),
                    *("--guard", str(theirs.fileno()), "--data", str(ground.data)),
                ],
                pass_fds=(theirs.fileno(),),
                stderr=subprocess.PIPE,
            )
            ours.send(first)
            _, said = done.communicate(timeout=30)
            assert done.returncode == 1
            assert said.startswith(b"installer: Expected")
    with ground.begin("2", "1") as session:
        session.installer.send(session.plan)
        assert session.installer.process.wait(30) == 1
    with ground.begin("2", "1") as session:
        session.installer.send(Write("part"))
        assert session.installer.process.wait(30) == 1
    assert ground.listing() == was


@needs_root
def test_packages_that_are_none_and_packages_that_were_there(tmp_path: Path) -> None:
    ground = DpkgGround(tmp_path)

    def take(session: Session, rule: str) -> None:
        assert session.write().rule == rule
        assert session.do(Switch()).rule == "not_written"
        assert ground.content() == ""
        assert not list(tmp_path.glob("debs/releases/*"))

    for files in (
        {"readme": b"x"},
        {"tool_1.deb": b"not a package"},
        {"a.deb": ground.deb("tool", "1"), "b.deb": ground.deb("tool", "2")},
        {"folder/tool_1.deb": ground.deb("tool", "1")},
    ):
        blob = make_archive(files)
        part = PartWord(
            "part", "dpkg", "place", hashlib.sha256(blob).hexdigest(), len(blob), "", 1 << 20, 9
        )
        with ground.plan(Plan("kiosk", (part,)), blob) as session:
            take(session, "bad_package")
    # A package that the machine has already could not be brought back.
    file = tmp_path / "there.deb"
    file.write_bytes(ground.deb("tool", "0"))
    argv = ["dpkg", f"--root={ground.root}", "--install", str(file)]
    subprocess.run(argv, check=True, capture_output=True)
    status = (ground.root / "var/lib/dpkg/status").read_bytes()
    with ground.begin("1") as session:
        found = session.write()
        assert (found.rule, "tool" in found.problem) == ("no_way_back", True)
        assert session.do(Switch()).rule == "not_written"
    assert (ground.root / "var/lib/dpkg/status").read_bytes() == status
