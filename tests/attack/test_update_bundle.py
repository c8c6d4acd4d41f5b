"""A file that somebody carries to a machine is believed where it is signed, and nowhere else.

The attacker has a stick: a bundle that is cut, lies about itself, is no file at all, has no end, or
is replaced while it is read. What comes of it is said in a file beside it, guard goes on, and no
release is installed that was not signed twice.
"""

from __future__ import annotations

import os
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.adversary.update_watch import (
    kept_versions,
    machine_with_a_release,
    names_rule,
    nothing_changes,
)
from tests.trust_world import World
from tests.update_world import PRODUCT, UpdateGuard, big_payload, make_bundle, make_manifest

from fleetward.device.status import lock_folder
from fleetward.device.updates import command
from fleetward.device.updates.bundle import BundleOutcome, read_outcome
from fleetward.trust import canonical
from fleetward.trust.errors import FleetwardError, Malformed, Refused
from fleetward.trust.release_manifest import Part, make_blob, write_manifest
from fleetward.wire.update_bundle import (
    BUNDLE_TYPE,
    HEAD_BYTES,
    LENGTH,
    MAGIC,
    index_length,
    read_index,
    write_head,
)

MOST_SECONDS = 5.0
MAX_PEAK_BYTES = 24 * 1024**2


@pytest.fixture
def guard() -> Iterator[UpdateGuard]:
    with machine_with_a_release() as guard:
        yield guard


def place_of(guard: UpdateGuard) -> Path:
    place = guard.folder / "updates" / "incoming" / "bundle"
    place.parent.mkdir(mode=0o700, exist_ok=True)
    return place


def bring(guard: UpdateGuard, data: bytes) -> BundleOutcome:
    """Put a bundle there, let guard do with it what it does, and return what it says."""
    place_of(guard).write_bytes(data)
    guard.go_on(60)
    outcome = read_outcome(place_of(guard).parent)
    assert outcome is not None
    return outcome


def files_of(data: bytes) -> list[tuple[str, bytes]]:
    """Return the files of a bundle, by name."""
    length = index_length(data[:HEAD_BYTES])
    index = read_index(data[HEAD_BYTES : HEAD_BYTES + length])
    return [(n, data[s.offset : s.offset + s.length]) for n, s in index.files.items()]


def join(files: list[tuple[str, bytes]]) -> bytes:
    return write_head([(n, len(d)) for n, d in files]) + b"".join(d for _, d in files)


def raw_bundle(files: object, body: bytes = b"", **changes: object) -> bytes:
    """Return a bundle whose index says what it likes."""
    index = canonical.encode({"files": files, "type": BUNDLE_TYPE, **changes})  # type: ignore[dict-item]
    return MAGIC + LENGTH.pack(len(index)) + index + body


def ready(guard: UpdateGuard) -> bytes:
    """Return an honest bundle with a release that the owner approved."""
    manifest = guard.release("1.1", 11, big_payload(1))
    guard.approve()
    return make_bundle(guard, manifest)


def test_an_honest_bundle_is_installed(guard: UpdateGuard) -> None:
    """Else nothing below would prove anything."""
    outcome = bring(guard, ready(guard))
    assert (outcome.state, outcome.rule) == ("committed", "")
    assert guard.core.updates.memory.held[PRODUCT].version == "1.1"


# --- files that are no bundles

HASH = "ab" * 32
NO_BUNDLES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no_bundle"),
    "zeros": (bytes(4096), "no_bundle"),
    "only a head": (MAGIC, "no_bundle"),
    "an index that is not there": (MAGIC + LENGTH.pack(1000), "not_json"),
    "an index of four gigabytes": (MAGIC + b"\xff\xff\xff\xff", "bad_bundle"),
    "an index that is no JSON": (MAGIC + LENGTH.pack(3) + b"{{{", "not_json"),
    "a deep index": (MAGIC + LENGTH.pack(60_000) + b"[" * 60_000, "too_deep"),
    "another type": (raw_bundle([], type="fleetward.other.v1"), "bad_field"),
    "something behind it": (raw_bundle([], b"x"), "bad_bundle"),
    "a length below zero": (raw_bundle([{"length": -1, "name": "documents"}]), "bad_field"),
    "a length of petabytes": (
        raw_bundle([{"length": 2**50, "name": f"blob/{HASH}"}], b"x"), "bad_field"
    ),
    "terabytes that are not there": (
        raw_bundle([{"length": 2**36, "name": f"blob/{n:064x}"} for n in range(4000)], b"x"),
        "bad_bundle",
    ),
    "a name twice": (
        raw_bundle([{"length": 1, "name": "documents"}] * 2, b"xx"), "bad_bundle"
    ),
    "a name that leads out": (
        raw_bundle([{"length": 1, "name": "blob/../../../etc/passwd"}], b"x"), "bad_bundle"
    ),
    "an absolute name": (raw_bundle([{"length": 1, "name": "/etc/passwd"}], b"x"), "bad_bundle"),
    "dots in metadata": (
        raw_bundle([{"length": 1, "name": "image/kiosk/../x.json"}], b"x"), "bad_bundle"
    ),
    "a line end in a name": (
        raw_bundle([{"length": 1, "name": f"blob/{HASH}\n"}], b"x"), "bad_field"
    ),
    "too many files": (
        raw_bundle([{"length": 0, "name": f"blob/{n:064x}"} for n in range(4097)]), "bad_field"
    ),
    "many empty files": (
        raw_bundle([{"length": 0, "name": f"blob/{n:064x}"} for n in range(4096)]), "empty"
    ),
    "a huge manifest": (
        raw_bundle([{"length": 300_000, "name": f"manifest/{HASH}"}], bytes(300_000)), "bad_bundle"
    ),
    "a manifest that is none": (
        raw_bundle([{"length": 2, "name": f"manifest/{HASH}"}], b"{}"), "missing_field"
    ),
    "a huge approval": (
        raw_bundle([{"length": 70_000, "name": "approval/0"}], bytes(70_000)), "bad_bundle"
    ),
    "documents that are none": (raw_bundle([{"length": 2, "name": "documents"}], b"{}"), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_BUNDLES)
def test_what_is_no_bundle_is_said_to_be_none(guard: UpdateGuard, name: str) -> None:
    data, rule = NO_BUNDLES[name]
    began = time.monotonic()
    tracemalloc.start()
    try:
        with nothing_changes(guard):
            outcome = bring(guard, data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert outcome.state == "refused"
    assert outcome.rule == rule or (not rule and outcome.rule)
    assert not place_of(guard).exists()
    assert time.monotonic() - began < MOST_SECONDS
    assert peak < MAX_PEAK_BYTES


def test_every_cut_of_a_bundle(guard: UpdateGuard) -> None:
    manifest = guard.release("1.1", 11)
    guard.approve()
    data = make_bundle(guard, manifest)
    source = random.Random(1)
    cuts = {0, 1, len(MAGIC), HEAD_BYTES, len(data) - 1, *source.sample(range(len(data)), 25)}
    with nothing_changes(guard):
        for cut in sorted(cuts):
            assert bring(guard, data[:cut]).state == "refused"
    assert bring(guard, data).state == "committed"


# --- bundles that lie


def test_blobs_that_are_not_what_was_signed(guard: UpdateGuard) -> None:
    """The release is not blamed: an honest copy installs it, under the same approval."""
    data = ready(guard)
    part = guard.newest.parts[0].blob
    liar = [(n, b"j" * len(d) if n == f"blob/{part.sha256}" else d) for n, d in files_of(data)]
    with nothing_changes(guard):
        outcome = bring(guard, join(liar))
    assert (outcome.state, outcome.rule) == ("refused", "bundle_incomplete")
    assert "wrong_hash" in names_rule(guard)
    assert guard.outcomes()[-1] == "refused"
    assert bring(guard, data).state == "committed"


def test_a_part_that_is_not_in_it(guard: UpdateGuard) -> None:
    """No failure is reported of a release whose stick was bad: it would halt a rollout."""
    data = ready(guard)
    part = guard.newest.parts[0].blob
    lacking = [(n, d) for n, d in files_of(data) if n != f"blob/{part.sha256}"]
    with nothing_changes(guard):
        outcome = bring(guard, join(lacking))
    assert (outcome.state, outcome.rule) == ("refused", "bundle_incomplete")
    assert "failed" not in guard.outcomes()
    assert bring(guard, data).state == "committed"


def test_a_bundle_of_another_owner(guard: UpdateGuard) -> None:
    other = World.make(name="Other")
    manifest = guard.release("1.1", 11)
    guard.approve()
    data = make_bundle(guard, manifest, documents=other.bundle(guard.device).to_bytes())
    view = guard.core.view
    with nothing_changes(guard):
        outcome = bring(guard, data)
    assert outcome.state == "refused"
    assert outcome.rule == "another_owner"
    assert guard.core.view == view


def test_documents_older_than_the_machines_are_passed_over(guard: UpdateGuard) -> None:
    """The stick was long on its way; what the owner said since decides about what is on it."""
    manifest = guard.release("1.1", 11)
    old = guard.fleet.world.bundle(guard.device).to_bytes()
    guard.fleet.world.publish()
    guard.core.updates.bundled._on_documents(guard.fleet.world.bundle(guard.device).to_bytes())
    view = guard.core.view
    data = make_bundle(guard, manifest, documents=old)
    assert bring(guard, data).rule == "not_approved"
    guard.approve()
    assert bring(guard, make_bundle(guard, manifest, documents=old)).state == "committed"
    assert guard.core.view == view


def test_an_older_release_on_a_stick(guard: UpdateGuard) -> None:
    old = make_bundle(guard, guard.newest)
    guard.release("1.1", 11)
    guard.approve()
    guard.run()
    with nothing_changes(guard):
        outcome = bring(guard, old)
    assert outcome.state == "refused"
    # The metadata of then is older than what the machine has seen.
    assert outcome.rule == "rollback_timestamp"


def test_a_release_that_nobody_approved(guard: UpdateGuard) -> None:
    manifest = guard.release("1.1", 11)
    with nothing_changes(guard):
        assert bring(guard, make_bundle(guard, manifest)).rule == "not_approved"


def test_a_manifest_that_its_maker_never_signed(guard: UpdateGuard) -> None:
    data = ready(guard)
    evil = make_manifest("1.1", 11, b"evil")
    changed = [
        (f"manifest/{evil.hash}", write_manifest(evil)) if n.startswith("manifest/") else (n, d)
        for n, d in files_of(data)
    ]
    guard.approve(evil)
    changed.append(("approval/9", guard.server.approvals[-1]))
    with nothing_changes(guard):
        assert bring(guard, join(changed)).state == "refused"


def test_a_withdrawal_in_a_bundle_that_is_refused_is_remembered(guard: UpdateGuard) -> None:
    manifest = guard.release("1.1", 11)
    approval = guard.approve()
    guard.withdraw(approval)
    data = join([f for f in files_of(make_bundle(guard, manifest)) if "timestamp" not in f[0]])
    with nothing_changes(guard):
        assert bring(guard, data).state == "refused"
        guard.crash()
        guard.server.approvals.pop()
        assert bring(guard, make_bundle(guard, manifest)).rule == "not_approved"


def test_many_releases_cost_bounded_time(guard: UpdateGuard) -> None:
    """Two thousand manifests: the first sixteen are judged."""
    parts = (Part("app", "directory", "app", make_blob(b"x"), (), 1, 1),)
    manifests = [make_manifest(f"9.{n}", 99, b"x", parts=parts) for n in range(2000)]
    files = files_of(ready(guard))
    files = [f for f in files if not f[0].startswith(("manifest/", "blob/"))]
    files += [(f"manifest/{m.hash}", write_manifest(m)) for m in manifests]
    began = time.monotonic()
    with nothing_changes(guard):
        outcome = bring(guard, join(files))
    assert outcome.rule == "not_released"
    assert time.monotonic() - began < MOST_SECONDS


@pytest.mark.parametrize("seed", range(6))
def test_bytes_of_a_bundle_changed_anywhere(guard: UpdateGuard, seed: int) -> None:
    """Guard goes on whatever lies there, and installs what was signed or nothing."""
    data = bytearray(make_bundle(guard, guard.release("1.1", 11)))
    guard.approve()
    honest = make_bundle(guard, guard.newest)
    source = random.Random(seed)
    before = dict(guard.installer.active)
    for _ in range(25):
        data = bytearray(honest)
        for _ in range(source.randint(1, 3)):
            at = source.randrange(len(data))
            how = source.randrange(3)
            if how == 0:
                data[at] ^= 1 << source.randrange(8)
            elif how == 1:
                data[at : at + source.randint(1, 40)] = source.randbytes(source.randint(1, 40))
            else:
                data[at:at] = data[at : at + 100]
        bring(guard, bytes(data))
        good = {"app": guard.newest.parts[0].blob.sha256}
        assert guard.installer.active in (before, good)
        if guard.installer.active == good:
            break
    versions = kept_versions(guard)
    bring(guard, honest)
    assert guard.core.updates.memory.held[PRODUCT].version == "1.1"
    assert all(kept_versions(guard)[n] >= v for n, v in versions.items())


# --- the file itself


def test_a_bundle_that_is_replaced_while_it_is_read(guard: UpdateGuard) -> None:
    """What was begun goes on from the file that was opened; the other is judged by itself."""
    first = ready(guard)
    place = place_of(guard)
    place.write_bytes(first)
    guard.core.tick()
    guard._let_the_installer_answer()
    assert guard.core.updates.memory.attempt is not None
    other = place.with_name("other")
    other.write_bytes(raw_bundle([]))
    other.replace(place)
    guard.go_on(60)
    assert guard.core.updates.memory.held[PRODUCT].version == "1.1"
    guard.go_on(5)
    assert not place.exists()
    outcome = read_outcome(place.parent)
    assert outcome is not None
    assert outcome.rule == "empty"


def test_a_bundle_that_is_cut_while_it_is_read(guard: UpdateGuard) -> None:
    data = ready(guard)
    place = place_of(guard)
    place.write_bytes(data)
    with nothing_changes(guard):
        guard.core.tick()
        os.truncate(place, len(data) // 2)
        guard.go_on(60)
    assert guard.reports()[-1].rule == "bundle_incomplete"


def link(place: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"x")
    place.symlink_to(target)


def fifo(place: Path, tmp_path: Path) -> None:
    del tmp_path
    os.mkfifo(place)


def folder(place: Path, tmp_path: Path) -> None:
    del tmp_path
    place.mkdir()


def device(place: Path, tmp_path: Path) -> None:
    del tmp_path
    os.mknod(place, 0o600 | 0o020000, os.makedev(1, 5))


STRANGE: tuple[Callable[[Path, Path], None], ...] = (link, fifo, folder, device)


def make_strange(make: Callable[[Path, Path], None], place: Path, tmp_path: Path) -> None:
    try:
        make(place, tmp_path)
    except PermissionError:
        pytest.skip("only root makes devices")


@pytest.mark.parametrize("make", STRANGE, ids=lambda make: make.__name__)
def test_guard_reads_no_link_pipe_or_device(
    guard: UpdateGuard, make: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    make_strange(make, place_of(guard), tmp_path)
    with nothing_changes(guard):
        for _ in range(5):
            guard.core.tick()
    outcome = read_outcome(place_of(guard).parent)
    assert outcome is not None
    assert outcome.state == "refused"


@pytest.mark.parametrize("make", STRANGE, ids=lambda make: make.__name__)
def test_nobody_copies_a_link_pipe_or_device(
    guard: UpdateGuard, make: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    """A pipe would hold the command for ever, /dev/zero would fill the disk."""
    make_strange(make, tmp_path / "stick", tmp_path)
    with lock_folder(guard.folder), pytest.raises(FleetwardError) as caught:
        run(guard, tmp_path / "stick")
    assert caught.value.reason in ("file_not_regular", "disk_refused")
    assert not list((guard.folder / "updates" / "incoming").glob("*bundle*"))


def run(guard: UpdateGuard, file: Path) -> None:
    """Apply a bundle by the command, on the data folder of this guard."""
    data = guard.folder.parent / "data"
    data.mkdir(exist_ok=True)
    if not (data / "guard").exists():
        (data / "guard").symlink_to(guard.folder)
    command.run_bundle(data, file, as_json=False)


def test_a_bundle_that_would_fill_the_disk_is_not_copied(
    guard: UpdateGuard, tmp_path: Path
) -> None:
    """A sparse file costs its maker nothing."""
    files = [{"length": 2**36, "name": f"blob/{n:064x}"} for n in range(60)]
    stick = tmp_path / "stick"
    stick.write_bytes(raw_bundle(files))
    os.truncate(stick, stick.stat().st_size + 60 * 2**36)
    with lock_folder(guard.folder), pytest.raises(Refused) as caught:
        run(guard, stick)
    assert caught.value.reason == "disk_full"
    assert not list((guard.folder / "updates" / "incoming").glob("*bundle*"))


def test_a_second_bundle_waits_for_the_first(guard: UpdateGuard, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.write_bytes(ready(guard))
    place_of(guard).write_bytes(b"the first")
    with lock_folder(guard.folder), pytest.raises(Refused) as caught:
        run(guard, stick)
    assert caught.value.reason == "bundle_under_way"
    assert place_of(guard).read_bytes() == b"the first"


@pytest.mark.parametrize("exists", [True, False])
def test_without_an_agent_nothing_is_copied(
    guard: UpdateGuard, tmp_path: Path, exists: bool
) -> None:
    stick = tmp_path / "stick"
    stick.write_bytes(ready(guard))
    with pytest.raises(Refused) as caught:
        if exists:
            run(guard, stick)
        else:
            command.run_bundle(tmp_path / "nowhere", stick, as_json=False)
    assert caught.value.reason == "agent_stopped"
    assert not place_of(guard).exists()


def test_a_cut_stick_is_said_at_once(guard: UpdateGuard, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.write_bytes(ready(guard)[:-1])
    with lock_folder(guard.folder), pytest.raises(Malformed) as caught:
        run(guard, stick)
    assert caught.value.reason == "bad_bundle"
