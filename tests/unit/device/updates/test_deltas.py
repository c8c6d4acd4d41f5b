"""Which of its ways a part takes to a machine, and what comes when that one fails."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import delta_world
from tests.update_world import UpdateGuard, make_bundle

from fleetward.device.updates.memory import Attempt
from fleetward.device.updates.plans import MOST_DELTAS_FAILED, choose_delta, pass_over
from fleetward.device.updates.trial import MOST_FETCHED_AGAIN, OF_THE_PART, fetch_again
from fleetward.trust.release_manifest import Delta, Manifest, Part, make_blob, write_manifest
from fleetward.wire.delta import EMPTY_SOURCE
from fleetward.wire.updates import UpdateAnswer, UpdateQuestion

FIXED = random.Random(1).randbytes(6000) + b"the same words " * 2000


@pytest.fixture
def guard(tmp_path: Path) -> UpdateGuard:
    return UpdateGuard.make(tmp_path / "m")


class Line:
    """Releases of one product, each with a delta from the one before and one out of nothing."""

    def __init__(self, guard: UpdateGuard, folder: Path) -> None:
        self.guard = guard
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        self.counter = 10
        self.before = b""
        self.payload = self.packed = self.small = b""

    def release(self, change: Callable[[bytes], bytes] = lambda delta: delta) -> Manifest:
        """Release the next one; `change` is what the maker's tool did wrong to both deltas."""
        self.counter += 1
        version = f"1.{self.counter}"
        self.payload = FIXED + version.encode()
        blob = make_blob(self.payload)
        self.packed = change(delta_world.make(b"", self.payload, self.folder))
        deltas = [Delta(EMPTY_SOURCE, make_blob(self.packed))]
        if self.before:
            self.small = change(delta_world.make(self.before, self.payload, self.folder))
            source = hashlib.sha256(self.before).hexdigest()
            deltas.append(Delta(source, make_blob(self.small)))
        part = Part("app", "directory", "app", blob, tuple(deltas), len(self.payload), 1)
        manifest = self.guard.release(version, self.counter, self.payload, parts=(part,))
        self.guard.publish(manifest, self.payload, self.packed, *([self.small] * bool(self.small)))
        self.before = self.payload
        self.guard.approve()
        return manifest

    def fetched(self) -> set[str]:
        """Return what of the newest release was fetched, and forget what was asked."""
        known = {"part": self.payload, "packed": self.packed, "small": self.small}
        names = {q.name for q in self.guard.server.asked if q.what == "blob"}
        self.guard.server.asked.clear()
        return {n for n, data in known.items() if hashlib.sha256(data).hexdigest() in names}


@pytest.fixture
def line(guard: UpdateGuard, tmp_path: Path) -> Line:
    return Line(guard, tmp_path / "made")


def flip(delta: bytes) -> bytes:
    """Return a delta that is signed, and no delta any more."""
    return delta[:-1] + bytes([delta[-1] ^ 1])


def test_a_new_machine_takes_the_packed_form_and_then_deltas(line: Line) -> None:
    line.release()
    line.guard.run()
    assert line.fetched() == {"packed"}
    for _ in range(2):
        manifest = line.release()
        line.guard.run()
        assert line.fetched() == {"small"}
        assert line.guard.outcomes()[-1] == "committed"
        assert line.guard.installer.active == {"app": manifest.parts[0].blob.sha256}
    assert line.guard.installer.words.count("write") == 0


def test_a_machine_that_keeps_no_archive_takes_the_packed_form(line: Line) -> None:
    line.release()
    line.guard.run()
    line.fetched()
    line.guard.installer.kept = {EMPTY_SOURCE: b""}
    line.release()
    line.guard.run()
    assert line.fetched() == {"packed"}
    assert line.guard.outcomes()[-1] == "committed"


def test_a_machine_that_is_two_behind_takes_the_packed_form(line: Line) -> None:
    line.release()
    line.guard.run()
    line.release()
    line.release()
    line.fetched()
    line.guard.run()
    assert line.fetched() == {"packed"}
    assert line.guard.outcomes()[-1] == "committed"


def test_deltas_that_are_bad_end_with_the_whole_part(line: Line) -> None:
    line.release()
    line.guard.run()
    line.fetched()
    manifest = line.release(flip)
    line.guard.run()
    assert line.fetched() == {"small", "packed", "part"}
    assert line.guard.installer.words[-6:].count("write") == 1
    assert line.guard.outcomes()[-1] == "committed"
    assert line.guard.installer.active == {"app": manifest.parts[0].blob.sha256}


def test_a_source_that_is_another_ends_with_the_packed_form(line: Line) -> None:
    line.release()
    line.guard.run()
    line.fetched()
    kept = line.guard.installer.kept
    for digest in kept.keys() - {EMPTY_SOURCE}:
        kept[digest] = kept[digest][:100] + b"?" + kept[digest][101:]
    line.release()
    line.guard.run()
    assert line.fetched() == {"small", "packed"}
    assert line.guard.outcomes()[-1] == "committed"


def test_a_failed_delta_is_remembered_over_a_crash(line: Line) -> None:
    line.release(flip)
    line.guard.look()
    for _ in range(40):
        line.guard.core.tick()
        line.guard._let_the_installer_answer()
        attempt = line.guard.core.updates.memory.attempt
        if attempt is not None and attempt.passed:
            break
        line.guard.carry(1)
        line.guard.clock.pass_ms(100)
    line.guard.core.tick()
    line.guard.crash()
    line.fetched()
    line.guard.go_on()
    assert line.fetched() == {"part"}
    assert line.guard.outcomes()[-1] == "committed"


def test_a_delta_that_the_server_has_not_is_done_without(line: Line) -> None:
    line.release()
    line.guard.run()
    line.release()
    for data in (line.small, line.packed):
        del line.guard.server.blobs[hashlib.sha256(data).hexdigest()]
    line.fetched()
    line.guard.run()
    assert line.fetched() == {"small", "packed", "part"}
    assert line.guard.outcomes()[-1] == "committed"


def test_a_server_that_hands_over_another_delta_is_asked_again(line: Line) -> None:
    """It is no failure of the delta: what was signed may still come."""
    lies = iter([True])

    def lie(question: UpdateQuestion, honest: UpdateAnswer) -> UpdateAnswer:
        return UpdateAnswer(True, data="AAAA", total=3) if next(lies, False) else honest

    line.guard.server.lies["blob"] = lie
    line.release()
    line.guard.run()
    assert line.fetched() == {"packed"}
    assert line.guard.outcomes()[-1] == "committed"


@pytest.mark.parametrize("lacks", ["part", "packed", "small", "part packed", "part small",
                                   "packed small"])  # fmt: skip
def test_a_bundle_serves_whatever_it_lacks_but_one(line: Line, lacks: str) -> None:
    line.release()
    line.guard.run()
    manifest = line.release()
    known = {"part": line.payload, "packed": line.packed, "small": line.small}
    without = [hashlib.sha256(known[each]).hexdigest() for each in lacks.split()]
    incoming = line.guard.folder / "updates/incoming"
    incoming.mkdir(exist_ok=True)
    (incoming / "bundle").write_bytes(make_bundle(line.guard, manifest, without=without))
    line.guard.server.directed = []
    line.fetched()
    line.guard.go_on(5)
    line.guard.go_on()
    assert line.guard.outcomes()[-1] == "committed"
    assert line.fetched() == set()
    assert line.guard.installer.active == {"app": manifest.parts[0].blob.sha256}


def test_a_bundle_without_any_way_is_incomplete(line: Line) -> None:
    manifest = line.release()
    known = (line.payload, line.packed)
    without = [hashlib.sha256(each).hexdigest() for each in known]
    incoming = line.guard.folder / "updates/incoming"
    incoming.mkdir(exist_ok=True)
    (incoming / "bundle").write_bytes(make_bundle(line.guard, manifest, without=without))
    line.guard.server.directed = []
    line.guard.go_on(5)
    line.guard.go_on()
    assert line.guard.reports()[-1].rule == "bundle_incomplete"
    assert line.guard.installer.active == {}


# --- the choice itself


def attempt_of(part: Part, **more: object) -> Attempt:
    from tests.update_world import make_manifest

    raw = write_manifest(make_manifest("1.1", 11, b"x", parts=(part,)))
    attempt = Attempt(raw, "", 1, False, 0)
    for name, value in more.items():
        setattr(attempt, name, value)
    return attempt


OLD, LONG = "a" * 64, b"y" * 900
NOTHING = Delta(EMPTY_SOURCE, make_blob(b"z" * 500))
ACTIVE = Delta(OLD, make_blob(b"a" * 100))
PART = Part("app", "directory", "app", make_blob(LONG), (NOTHING, ACTIVE), 900, 1)


def test_the_order_of_ways() -> None:
    attempt = attempt_of(PART, before={"app": OLD}, sources=["app"])
    assert choose_delta(PART, attempt) == ACTIVE
    attempt.passed.append(ACTIVE.blob.sha256)
    assert choose_delta(PART, attempt) == NOTHING
    attempt.passed.append(NOTHING.blob.sha256)
    assert choose_delta(PART, attempt) is None
    assert choose_delta(PART, attempt_of(PART, before={"app": OLD})) == NOTHING
    assert choose_delta(PART, attempt_of(PART, before={"app": ""}, sources=["app"])) == NOTHING
    used_up = attempt_of(PART, before={"app": OLD}, sources=["app"])
    used_up.fetched_again = MOST_DELTAS_FAILED
    assert choose_delta(PART, used_up) is None
    assert MOST_DELTAS_FAILED < MOST_FETCHED_AGAIN


def test_a_delta_as_long_as_the_part_is_none() -> None:
    long = Part("app", "directory", "app", make_blob(LONG), (Delta(OLD, make_blob(LONG)),), 900, 1)
    assert choose_delta(long, attempt_of(long, before={"app": OLD}, sources=["app"])) is None


def test_only_what_is_of_a_delta_is_passed_over() -> None:
    attempt = attempt_of(PART, before={"app": OLD}, sources=["app"])

    def ask(name: str) -> bool:
        return pass_over(attempt, UpdateQuestion(what="blob", name=name, offset=0, length=1))

    assert not ask(PART.blob.sha256)
    assert not ask(NOTHING.blob.sha256), "it is not asked for yet"
    assert ask(ACTIVE.blob.segments)
    assert ask(NOTHING.blob.sha256)
    assert not ask(NOTHING.blob.sha256)
    assert attempt.passed == [ACTIVE.blob.sha256, NOTHING.blob.sha256]


def test_what_is_wrong_with_the_part_itself_is_not_fetched_otherwise() -> None:
    for rule in OF_THE_PART:
        assert not fetch_again(attempt_of(PART), rule, "", delta=ACTIVE.blob.sha256)
    for rule in ("wrong_source", "bad_delta", "disk_full", "wrong_hash"):
        attempt = attempt_of(PART)
        for _ in range(MOST_FETCHED_AGAIN):
            assert fetch_again(attempt, rule, "", delta=ACTIVE.blob.sha256)
        assert not fetch_again(attempt, rule, "", delta=ACTIVE.blob.sha256)
