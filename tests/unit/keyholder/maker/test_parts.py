"""What is named on the command line is read in one way, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetward.keyholder.maker.parts import (
    read_conflicts,
    read_health,
    read_needs,
    read_notes,
    read_parts,
)
from fleetward.trust.errors import Malformed
from fleetward.trust.release_manifest import Conflict, Needed


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/x").write_bytes(b"x")
    (tmp_path / "debs").mkdir()
    for name in ("a.deb", "b.deb", "debs/c.deb", "os.raucb", "mcu.bin", "odd:directory"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "installer", "at"),
    [
        ("p={}/app", "directory", "p"),
        ("p={}/app:agent", "agent", "p"),
        ("p={}/app:directory:kiosk", "directory", "kiosk"),
        ("p={}/debs", "dpkg", "p"),
        ("p={}/a.deb", "dpkg", "p"),
        ("p={}/os.raucb", "rauc", "p"),
        ("p={}/mcu.bin", "file-slot", "p"),
        ("p={}/mcu.bin:rauc:system", "rauc", "system"),
    ],
)
def test_a_part_is_read(place: Path, text: str, installer: str, at: str) -> None:
    [wish] = read_parts([text.format(place)], [])
    assert (wish.name, wish.installer, wish.place) == ("p", installer, at)
    assert wish.sources[0].exists()


def test_a_path_may_hold_colons(place: Path) -> None:
    [wish] = read_parts([f"p={place}/odd:directory:file-slot"], [])
    assert wish.sources == (place / "odd:directory",)
    assert wish.installer == "file-slot"


def test_several_debs_are_one_set(place: Path) -> None:
    [wish] = read_parts([f"p={place}/a.deb", f"p={place}/b.deb"], [])
    assert wish.installer == "dpkg"
    assert [path.name for path in wish.sources] == ["a.deb", "b.deb"]


@pytest.mark.parametrize(
    ("parts", "hooks", "reason"),
    [
        (["app"], [], "bad_part"),
        (["=x"], [], "bad_part"),
        (["p="], [], "bad_part"),
        (["p=a.bin", "p=b.bin"], [], "part_twice"),
        (["p=a.deb", "p=b.bin"], [], "part_twice"),
        (["p=a.bin"], ["q=bin/hook"], "bad_hook"),
        (["p=a.bin"], ["bin/hook"], "bad_hook"),
    ],
)
def test_a_part_that_says_nothing_is_refused(
    parts: list[str], hooks: list[str], reason: str
) -> None:
    with pytest.raises(Malformed) as caught:
        read_parts(parts, hooks)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http:8080/healthz=200", "http port 8080 answers /healthz with 200"),
        ("http:80/", "http port 80 answers / with 200"),
        ("port:8080", "port 8080 answers"),
        ("process:kiosk", "the process kiosk runs"),
        ("file:app/data/ready", "data/ready exists"),
        ("command:app/bin/check --quick 'two words'", "bin/check ends well within 60 s"),
    ],
)
def test_a_check_is_read(text: str, words: str) -> None:
    [check] = read_health([text])
    assert check.words() == words


def test_arguments_of_a_command_are_split_as_a_shell_does() -> None:
    [check] = read_health(["command:app/bin/check --quick 'two words'"], 5)
    assert check.arguments == ("--quick", "two words")
    assert check.seconds == 5


@pytest.mark.parametrize(
    "text",
    [
        "", "ping:host", "port:", "port:0", "port:70000", "port:80x", "http:80", "http:0/",
        "http:80/x y", "http:80/x=99", "http:99999999/", "process:", "process:a b", "file:app",
        "file:app/../etc/passwd", "file:app//etc/passwd", "file:app/.hidden", "command:app",
        "command:/bin/sh", "command:app/../../bin/sh", "command:app/bin/check 'open",
        "http://example.com:80/",
    ],
)  # fmt: skip
def test_a_check_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        read_health([text])


def test_needs_and_conflicts_are_read() -> None:
    assert read_needs(["firmware>=7"]) == (Needed("firmware", 7),)
    assert read_conflicts(["old:1-4", "odd:9"]) == (Conflict("old", 1, 4), Conflict("odd", 9, 9))


@pytest.mark.parametrize("text", ["firmware", "firmware>7", "firmware>=", "Firmware>=7", ">=7"])
def test_needs_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_needs([text])
    assert caught.value.reason == "bad_needs"


@pytest.mark.parametrize("text", ["old", "old:", "old:4-1", "old:-1", "OLD:1"])
def test_conflicts_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_conflicts([text])
    assert caught.value.reason == "bad_conflict"


def test_notes_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("First.\n\n  Second.\r\n")
    assert read_notes(f"@{tmp_path / 'notes'}") == "First. / Second."
    assert read_notes("plain") == "plain"
