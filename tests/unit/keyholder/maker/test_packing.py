"""A folder is packed into the same bytes each time, and nothing but files and folders goes in."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetward.keyholder.maker.blobs import PIECE_BYTES, BlobStore
from fleetward.keyholder.maker.packing import pack_files, pack_folder
from fleetward.keyholder.maker.progress import count_nothing
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.release_manifest import SEGMENT_BYTES, list_segments


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    (tmp_path / "blobs").mkdir()
    return BlobStore(tmp_path / "blobs")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "app"
    (made / "bin").mkdir(parents=True)
    (made / "empty").mkdir()
    (made / "bin/run").write_bytes(b"#!/bin/sh\n")
    (made / "bin/run").chmod(0o777)
    (made / "b.txt").write_bytes(b"b")
    (made / "a.txt").write_bytes(b"a" * 3000)
    (made / "a.txt").chmod(0o600)
    (made / "f=@1,x+").write_bytes(b"")
    return made


def open_archive(store: BlobStore, sha256: str) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(store.place(sha256).read_bytes()))


def test_the_same_files_are_the_same_bytes(folder: Path, store: BlobStore, tmp_path: Path) -> None:
    first = pack_folder(folder, store, count_nothing)
    other = tmp_path / "elsewhere"
    for path in sorted(folder.rglob("*"), reverse=True):
        place = other / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            place.mkdir(exist_ok=True)
        else:
            place.write_bytes(path.read_bytes())
            place.chmod(0o700 if path.stat().st_mode & 0o100 else 0o644)
            os.utime(place, (1, 1))
    again = pack_folder(other, store, count_nothing)
    assert again == first


def test_members_are_relative_plain_and_nobodys(folder: Path, store: BlobStore) -> None:
    packed = pack_folder(folder, store, count_nothing)
    with open_archive(store, packed.blob.sha256) as archive:
        members = archive.getmembers()
    assert [each.name for each in members] == [
        "a.txt", "b.txt", "bin", "bin/run", "empty", "f=@1,x+",
    ]  # fmt: skip
    assert {(each.uid, each.gid, each.uname, each.gname) for each in members} == {(0, 0, "", "")}
    assert {each.mtime for each in members} == {315532800}
    assert {each.name: oct(each.mode) for each in members if each.isfile()} == {
        "a.txt": "0o644", "b.txt": "0o644", "bin/run": "0o755", "f=@1,x+": "0o644",
    }  # fmt: skip
    assert packed.members == len(members)
    assert packed.unpacked_bytes == 3000 + 1 + 10
    data = store.place(packed.blob.sha256).read_bytes()
    assert data[257:262] == b"ustar", "a plain tar: a packed one leaves nothing to a delta"


def test_hashes_of_files_are_those_of_what_was_packed(folder: Path, store: BlobStore) -> None:
    packed = pack_folder(folder, store, count_nothing)
    with open_archive(store, packed.blob.sha256) as archive:
        for each in packed.files:
            inside = archive.extractfile(each.path)
            assert inside is not None
            assert hashlib.sha256(inside.read()).hexdigest() == each.sha256
    assert {each.path for each in packed.files if each.is_program} == {"bin/run"}


def test_two_names_of_one_file_are_two_files(folder: Path, store: BlobStore) -> None:
    os.link(folder / "b.txt", folder / "c.txt")
    packed = pack_folder(folder, store, count_nothing)
    with open_archive(store, packed.blob.sha256) as archive:
        assert all(each.isfile() or each.isdir() for each in archive.getmembers())
        inside = archive.extractfile("c.txt")
        assert inside is not None
        assert inside.read() == b"b"


def make_link(path: Path) -> None:
    path.symlink_to("a.txt")


def make_folder_link(path: Path) -> None:
    path.symlink_to("bin")


def make_dangling(path: Path) -> None:
    path.symlink_to("/etc/shadow")


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def make_setuid(path: Path) -> None:
    path.write_bytes(b"x")
    path.chmod(0o4755)


def make_setgid(path: Path) -> None:
    path.write_bytes(b"x")
    path.chmod(0o2755)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_link, "not_a_plain_file"),
        (make_folder_link, "not_a_plain_file"),
        (make_dangling, "not_a_plain_file"),
        (make_pipe, "not_a_plain_file"),
        (make_socket, "not_a_plain_file"),
        (make_setuid, "setuid"),
        (make_setgid, "setuid"),
    ],
)
def test_what_is_no_plain_file_is_refused(
    folder: Path, store: BlobStore, make: Callable[[Path], None], reason: str
) -> None:
    make(folder / "bin" / "odd")
    with pytest.raises(Refused) as caught:
        pack_folder(folder, store, count_nothing)
    assert caught.value.reason == reason
    assert "odd" in caught.value.message
    assert not list(store.path.iterdir())


def test_a_device_is_refused(folder: Path, store: BlobStore) -> None:
    try:
        os.mknod(folder / "null", 0o020666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")
    with pytest.raises(Refused) as caught:
        pack_folder(folder, store, count_nothing)
    assert caught.value.reason == "not_a_plain_file"


@pytest.mark.parametrize(
    "name", [b"new\nline", b"back\\slash", b"\xff\xfe", b"bell\x07", b"a b", "é".encode(), b"$(id)"]
)
def test_a_name_that_deceives_is_refused(folder: Path, store: BlobStore, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"x")
    with pytest.raises(Refused) as caught:
        pack_folder(folder, store, count_nothing)
    assert caught.value.reason == "bad_file_name"


@pytest.mark.parametrize("change", [b"", b"longer than before" * 100])
def test_a_file_that_changes_meanwhile_is_refused(
    folder: Path, store: BlobStore, change: bytes
) -> None:
    def meddle(done: int) -> None:
        del done
        (folder / "b.txt").write_bytes(change)

    with pytest.raises(Refused) as caught:
        pack_folder(folder, store, meddle)
    assert caught.value.reason == "file_changes"
    assert not list(store.path.iterdir())


def test_a_file_that_becomes_a_link_meanwhile_is_refused(folder: Path, store: BlobStore) -> None:
    def meddle(done: int) -> None:
        del done
        (folder / "b.txt").unlink(missing_ok=True)
        (folder / "b.txt").symlink_to("/etc/hostname")

    with pytest.raises(Refused):
        pack_folder(folder, store, meddle)
    assert not list(store.path.iterdir())


def test_an_empty_folder_is_no_part(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(Malformed) as caught:
        pack_folder(tmp_path / "nothing", store, count_nothing)
    assert caught.value.reason == "part_empty"


def test_files_of_one_name_do_not_cover_each_other(store: BlobStore, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same").write_bytes(name.encode())
    with pytest.raises(Malformed) as caught:
        pack_files([tmp_path / "one/same", tmp_path / "two/same"], store, count_nothing)
    assert caught.value.reason == "same_file_name"


@pytest.mark.parametrize(
    "size", [1, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 2 * SEGMENT_BYTES]
)
def test_the_list_of_segments_is_that_of_the_whole(
    store: BlobStore, tmp_path: Path, size: int
) -> None:
    data = os.urandom(size)
    (tmp_path / "image").write_bytes(data)
    blob = store.copy(tmp_path / "image", count_nothing)
    assert blob.sha256 == hashlib.sha256(data).hexdigest()
    assert store.place(blob.segments).read_bytes() == list_segments(data)
    assert store.place(blob.sha256).read_bytes() == data


def test_nothing_large_is_in_memory(store: BlobStore, tmp_path: Path) -> None:
    """64 MiB go through in pieces; sparse, so that the disk is not what is measured."""
    (tmp_path / "large").mkdir()
    image = tmp_path / "large/image"
    with image.open("wb") as file:
        file.truncate(64 * PIECE_BYTES)
    tracemalloc.start()
    try:
        pack_folder(tmp_path / "large", store, count_nothing)
        store.copy(image, count_nothing)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * PIECE_BYTES
