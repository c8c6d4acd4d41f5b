"""Files that survive, and files that are read without trust."""

import os
import stat
from pathlib import Path

import pytest

from fleetward.runtime.files import atomic_write, make_private_directory, read_bounded
from fleetward.trust.errors import Malformed, Refused, Unreachable


def test_a_write_replaces_the_whole_file_with_the_mode_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old" * 1000)
    path.chmod(0o644)
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    atomic_write(path, b"public", 0o644)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    atomic_write(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unreachable, match="No space left"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    link = tmp_path / "link"
    link.symlink_to(victim)
    atomic_write(link, b"mine")
    assert victim.read_bytes() == b"precious"
    assert not link.is_symlink()


def test_a_read_is_bounded_and_wants_a_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(Malformed) as too_long:
        read_bounded(path, 4)
    assert too_long.value.reason == "file_too_long"
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "."):
        with pytest.raises(Refused) as refused:
            read_bounded(tmp_path / name, 10)
        assert refused.value.reason == "file_not_regular"
    with pytest.raises(Unreachable) as missing:
        read_bounded(tmp_path / "none", 10)
    assert missing.value.reason == "file_missing"


def test_a_private_directory_is_closed_to_others(tmp_path: Path) -> None:
    path = make_private_directory(tmp_path / "a" / "b")
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    path.chmod(0o755)
    make_private_directory(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(path)
    for name in ("file", "link"):
        with pytest.raises(Refused):
            make_private_directory(tmp_path / name)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory away")
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    path.mkdir()
    os.chown(path, 12345, 12345)
    with pytest.raises(Refused) as caught:
        make_private_directory(path)
    assert caught.value.reason == "directory_not_private"
