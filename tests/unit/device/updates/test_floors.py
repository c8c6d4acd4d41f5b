"""The highest counters, in a file alone and bound to a TPM: every cut, and what is put in doubt."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from tests.tpm_world import HeldCounter, PowerCut

from fleetward.device.updates import floors as floors_module
from fleetward.device.updates.floors import Floors
from fleetward.runtime.files import atomic_write
from fleetward.trust.errors import Refused

NOW_MS = 1_000


def open_floors(folder: Path, counter: HeldCounter | None, now_ms: int = NOW_MS) -> Floors:
    return Floors(folder, counter, lambda: now_ms)


def start(folder: Path, counter: HeldCounter | None, now_ms: int = NOW_MS) -> Floors:
    """Open what is there, as a start of the machine does."""
    opened = open_floors(folder, counter, now_ms)
    opened.load(None)
    return opened


def read(folder: Path, counter: HeldCounter | None) -> tuple[dict[str, int] | None, str]:
    opened = open_floors(folder, counter)
    return opened.load(None), opened.keeping


def test_without_a_tpm_they_are_in_a_file_and_that_is_said(tmp_path: Path) -> None:
    weak = start(tmp_path, None)
    weak.save({"kiosk": 3})
    assert (weak.keeping, weak.words) == ("file", "There is no TPM that guard may speak to.")
    assert read(tmp_path, None) == ({"kiosk": 3}, "file")


def test_a_weak_file_is_taken_over_by_a_tpm_that_comes(tmp_path: Path) -> None:
    start(tmp_path, None).save({"kiosk": 3})
    counter = HeldCounter()
    assert read(tmp_path, counter) == ({"kiosk": 3}, "tpm")
    assert not (tmp_path / "floors.json").exists()
    assert read(tmp_path, counter) == ({"kiosk": 3}, "tpm")


def test_every_commit_raises_the_number(tmp_path: Path) -> None:
    counter = HeldCounter()
    bound = start(tmp_path, counter)
    first = counter.number
    for number in range(1, 4):
        bound.save({"kiosk": number}, is_commit=True)
        bound.save({"kiosk": number}, is_commit=True)
    assert counter.number == (first or 0) + 3
    assert read(tmp_path, counter) == ({"kiosk": 3}, "tpm")


def cut_everywhere(
    folder: Path, counter: HeldCounter, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Have the power go at the step-th write or word to the TPM, before it or behind it."""
    done = 0
    at, behind = divmod(step, 2)

    def write(path: Path, data: bytes) -> None:
        nonlocal done
        done += 1
        if done == at and not behind:
            raise PowerCut
        atomic_write(path, data)
        if done == at:
            raise PowerCut

    monkeypatch.setattr(floors_module, "atomic_write", write)
    counter.cut_at, counter.cut_after, counter.steps = at, bool(behind), 0


@pytest.mark.parametrize("step", range(2, 14))
@pytest.mark.parametrize("where", ["disk", "tpm"])
def test_a_power_cut_leaves_the_old_or_the_new_and_no_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, where: str
) -> None:
    """While it is bound first, and while it is raised."""
    start(tmp_path, None).save({"kiosk": 3})
    counter = HeldCounter()
    with monkeypatch.context() as patch:
        cut_everywhere(tmp_path, counter, patch, step)
        if where == "disk":
            counter.cut_at = -1
        else:
            patch.undo()
        with contextlib.suppress(PowerCut):
            start(tmp_path, counter).save({"kiosk": 4}, is_commit=True)
    counter.cut_at = -1
    found, keeping = read(tmp_path, counter)
    assert found in ({"kiosk": 3}, {"kiosk": 4}) and keeping == "tpm"
    start(tmp_path, counter).save({"kiosk": 5}, is_commit=True)
    assert read(tmp_path, counter) == ({"kiosk": 5}, "tpm")


def copy(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def put_back(folder: Path, files: dict[str, bytes]) -> None:
    for path in folder.iterdir():
        path.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)


def test_an_older_copy_of_the_disk_is_noticed_and_still_counts(tmp_path: Path) -> None:
    counter = HeldCounter()
    bound = start(tmp_path, counter)
    bound.save({"kiosk": 3}, is_commit=True)
    older = copy(tmp_path)
    bound.save({"kiosk": 4}, is_commit=True)
    put_back(tmp_path, older)
    found = open_floors(tmp_path, counter)
    assert found.load(None) == {"kiosk": 3}
    assert found.keeping == "doubted" and "older copy of the disk" in found.words
    # And at the next start, with the time of the first.
    later = start(tmp_path, counter, NOW_MS + 500)
    assert later.doubt is not None and later.doubt == found.doubt
    # A number that rose since makes it another doubt.
    counter.increment()
    again = start(tmp_path, counter, NOW_MS + 900).doubt
    assert again is not None and again.at_ms == NOW_MS + 900
    assert later.doubt.at_ms == NOW_MS


def test_an_older_copy_from_within_a_commit_is_no_way_back(tmp_path: Path) -> None:
    """The file that a cut left behind, one number ahead, is older as soon as the next is written.
    A TPM that fell silent in between does not make two files of one number."""
    counter = HeldCounter()
    bound = start(tmp_path, counter)
    bound.save({"kiosk": 3}, is_commit=True)
    counter.silent = True
    bound.save({"kiosk": 4}, is_commit=True)
    ahead = copy(tmp_path)
    bound.save({"kiosk": 5}, is_commit=True)
    counter.silent = False
    assert read(tmp_path, counter) == ({"kiosk": 5}, "tpm")
    start(tmp_path, counter).save({"kiosk": 6}, is_commit=True)
    put_back(tmp_path, ahead)
    assert read(tmp_path, counter) == ({"kiosk": 4}, "doubted")


@pytest.mark.parametrize("name", ["floors.bound", "floors.json"])
def test_a_file_that_this_machine_did_not_write_is_noticed(tmp_path: Path, name: str) -> None:
    counter = HeldCounter()
    start(tmp_path, counter).save({"kiosk": 3}, is_commit=True)
    bound = (tmp_path / "floors.bound").read_bytes()
    (tmp_path / "floors.bound").unlink()
    other = bound.replace(b'"kiosk":3', b'"kiosk":1') if name == "floors.bound" else b'{"kiosk":1}'
    (tmp_path / name).write_bytes(other)
    found = open_floors(tmp_path, counter)
    found.load(None)
    assert found.keeping == "doubted"


def test_a_tpm_that_is_silent_or_forgot_is_noticed(tmp_path: Path) -> None:
    counter = HeldCounter()
    start(tmp_path, counter).save({"kiosk": 3}, is_commit=True)
    counter.silent = True
    assert read(tmp_path, counter) == ({"kiosk": 3}, "doubted")
    assert read(tmp_path, None) == ({"kiosk": 3}, "doubted")
    for now_ms in (NOW_MS, NOW_MS + 500):
        doubt = start(tmp_path, counter, now_ms).doubt
        assert doubt is not None and doubt.at_ms == now_ms, "nobody vouches for an older one"
    counter.silent = False
    assert read(tmp_path, counter)[1] == "tpm"
    counter.forget()
    found = open_floors(tmp_path, counter)
    found.load({"kiosk": 3})
    assert found.keeping == "doubted"


@pytest.mark.parametrize("why", ["older", "forgot", "altered"])
def test_a_commit_in_doubt_ends_it(tmp_path: Path, why: str) -> None:
    counter = HeldCounter()
    bound = start(tmp_path, counter)
    bound.save({"kiosk": 3}, is_commit=True)
    older = copy(tmp_path)
    bound.save({"kiosk": 4}, is_commit=True)
    if why == "older":
        put_back(tmp_path, older)
    elif why == "forgot":
        counter.forget()
    else:
        (tmp_path / "floors.bound").write_bytes(b"{}")
    doubted = start(tmp_path, counter)
    assert doubted.doubt is not None
    doubted.save({"kiosk": 4}, is_commit=True)
    assert read(tmp_path, counter) == ({"kiosk": 4}, "tpm")
    put_back(tmp_path, older)
    assert read(tmp_path, counter)[1] == "doubted"


def test_a_commit_with_a_silent_tpm_stays_in_doubt_and_is_kept(tmp_path: Path) -> None:
    counter = HeldCounter()
    start(tmp_path, counter).save({"kiosk": 3}, is_commit=True)
    counter.silent = True
    doubted = start(tmp_path, counter)
    doubted.save({"kiosk": 9}, is_commit=True)
    assert doubted.keeping == "doubted"
    assert read(tmp_path, counter) == ({"kiosk": 9}, "doubted")


def test_a_number_that_does_not_rise_is_asked_for_once_and_ends_in_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A TPM that says yes and does nothing would hold guard up for ever."""
    counter = HeldCounter()
    bound = start(tmp_path, counter)
    asked = 0

    def stay() -> int:
        nonlocal asked
        asked += 1
        assert asked < 3, "asked again and again"
        return counter.number or 0

    monkeypatch.setattr(counter, "increment", stay)
    bound.save({"kiosk": 4}, is_commit=True)
    assert (asked, bound.keeping) == (1, "tpm")
    assert "was to raise its number" in bound.words
    bound.save({"kiosk": 5}, is_commit=True)
    assert (asked, bound.keeping) == (2, "doubted")
    asked = 0
    opened = open_floors(tmp_path, counter)
    assert opened.load(None) == {"kiosk": 5} and asked == 1


def test_a_value_of_another_kind_in_the_tpm_leaves_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise Refused("Something else lies there.", reason="tpm_other_value")

    counter = HeldCounter()
    monkeypatch.setattr(counter, "read", refuse)
    opened = start(tmp_path, counter)
    opened.save({"kiosk": 3})
    assert (opened.keeping, opened.words) == ("file", "Something else lies there.")


def test_a_doubt_is_not_older_than_the_clock_says(tmp_path: Path) -> None:
    """A clock that was years ahead when the doubt began does not keep the owner out for years."""
    counter = HeldCounter()
    start(tmp_path, counter).save({"kiosk": 3}, is_commit=True)
    (tmp_path / "floors.bound").write_bytes(b"{}")
    start(tmp_path, counter, NOW_MS * 1000)
    doubt = start(tmp_path, counter, NOW_MS).doubt
    assert doubt is not None and doubt.at_ms == NOW_MS
