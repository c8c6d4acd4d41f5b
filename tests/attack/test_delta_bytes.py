"""A delta whose bytes lie: what unpacks it has root's rights, and must not be led astray by it.

On a machine the delta's hash is compared before it is opened, so these bytes come from a maker's
tool that was taken over, or through a fault of ours. Nothing may be written beyond what was
announced, no memory taken beyond a few segments, and no error raised but ours.
"""

from __future__ import annotations

import io
import json
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import delta_world as world
from tests.delta_world import zstd

from fleetward.device.updates.delta import apply_delta
from fleetward.trust.errors import Malformed, Refused
from fleetward.wire.delta import (
    ENTRY,
    HEAD_BYTES,
    LENGTHS,
    MAGIC,
    MAX_DICTIONARY_BYTES,
    MAX_PACKED_BYTES,
    SEGMENT_BYTES,
    Head,
    Kind,
    Segment,
)

OLD = world.noise(300_000) + world.prose(SEGMENT_BYTES)
NEW = OLD[:SEGMENT_BYTES] + OLD[1000:90_000] + b"new words" + world.prose(70_000, seed=2)


@pytest.fixture(scope="module")
def delta(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    made = world.make(OLD, NEW, tmp_path_factory.mktemp("delta"))
    assert [each.kind for each in world.table(made)] == [Kind.COPY, Kind.DICTIONARY]
    return made


def feed(bytes_of_delta: bytes, limit_bytes: int = len(NEW)) -> bytes | None:
    """Apply it; return what was made, or nothing when it was refused as it has to be."""
    target = io.BytesIO()
    try:
        apply_delta(io.BytesIO(OLD), io.BytesIO(bytes_of_delta), target, limit_bytes=limit_bytes)
    except (Malformed, Refused):
        return None
    finally:
        assert len(target.getvalue()) <= limit_bytes
    return target.getvalue()


def test_each_bit_of_head_and_table(delta: bytes) -> None:
    """A few make no difference (a source said to be longer); of the others nothing comes."""
    ends = []
    for at in range(HEAD_BYTES + 2 * ENTRY.size):
        for bit in range(8):
            changed = bytearray(delta)
            changed[at] ^= 1 << bit
            ends.append(feed(bytes(changed)))
    assert ends.count(None) > len(ends) * 3 // 4
    assert all(made is None or len(made) == len(NEW) for made in ends)


def test_random_changes_to_what_is_packed(delta: bytes) -> None:
    chosen = random.Random(7)
    begin = HEAD_BYTES + 2 * ENTRY.size
    refused = 0
    for _ in range(400):
        changed = bytearray(delta)
        for _ in range(chosen.choice((1, 1, 2, 8))):
            changed[chosen.randrange(begin, len(changed))] = chosen.randrange(256)
        made = feed(bytes(changed))
        refused += made is None
        assert made is None or len(made) == len(NEW)
    assert refused > 40


def test_a_delta_that_was_cut_or_that_goes_on(delta: bytes) -> None:
    ends = [*range(HEAD_BYTES + 2 * ENTRY.size), len(delta) - 1, len(delta) // 2]
    assert [feed(delta[:end]) for end in ends] == [None] * len(ends)
    assert feed(delta + b"\0") is None
    assert feed(delta + delta) is None


def test_more_than_was_announced_is_never_written(delta: bytes) -> None:
    target = io.BytesIO()
    with pytest.raises(Refused) as caught:
        apply_delta(io.BytesIO(OLD), io.BytesIO(delta), target, limit_bytes=len(NEW) - 1)
    assert caught.value.reason == "delta_too_long"
    assert target.getvalue() == b""


@pytest.mark.parametrize(
    "entry",
    [
        (3, 10, 0, 0),
        (255, 10, 0, 0),
        (Kind.PLAIN, 0, 0, 0),
        (Kind.PLAIN, MAX_PACKED_BYTES + 1, 0, 0),
        (Kind.PLAIN, 10, 1, 0),
        (Kind.PLAIN, 10, 0, 1),
        (Kind.DICTIONARY, 10, 0, 0),
        (Kind.DICTIONARY, 10, 0, 7),
        (Kind.DICTIONARY, 10, 0, MAX_DICTIONARY_BYTES + 1),
        (Kind.DICTIONARY, 10, len(OLD) - 99, 100),
        (Kind.DICTIONARY, 10, 2**64 - 8, 8),
        (Kind.DICTIONARY, 0, 0, 100),
        (Kind.COPY, 0, len(OLD) - 99, 100),
        (Kind.COPY, 0, 2**64 - 1, 100),
        (Kind.COPY, 0, 0, 99),
        (Kind.COPY, 0, 0, 101),
        (Kind.COPY, 1, 0, 100),
    ],
)
def test_numbers_out_of_their_bounds(entry: tuple[int, int, int, int]) -> None:
    """They are found before anything is written, though the segment before is right."""
    right = ENTRY.pack(Kind.COPY, 0, 0, SEGMENT_BYTES)
    head = MAGIC + LENGTHS.pack(len(OLD), SEGMENT_BYTES + 100)
    target = io.BytesIO()
    with pytest.raises(Malformed) as caught:
        apply_delta(
            io.BytesIO(OLD),
            io.BytesIO(head + right + ENTRY.pack(*entry) + bytes(10)),
            target,
            limit_bytes=2**40,
        )
    assert caught.value.reason == "bad_delta"
    assert target.getvalue() == b""


def test_a_source_that_is_shorter_than_the_delta_says() -> None:
    head = Head(2**30, 100)
    with pytest.raises(Refused) as caught:
        world.apply(OLD, world.build(head, [Segment(Kind.COPY, 0, 2**29, 100)], b""))
    assert caught.value.reason == "source_too_short"


def test_a_table_of_a_file_without_end_is_not_read() -> None:
    """Its length is compared first, so that no table is read for what will not be taken."""

    class Endless(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert size == HEAD_BYTES
            return super().read(size)

    head = MAGIC + LENGTHS.pack(0, 64 * 1024**3)
    with pytest.raises(Refused):
        apply_delta(io.BytesIO(), Endless(head), io.BytesIO(), limit_bytes=2**30)
    with pytest.raises(Malformed):
        apply_delta(
            io.BytesIO(),
            Endless(MAGIC + LENGTHS.pack(0, 2**64 - 1)),
            io.BytesIO(),
            limit_bytes=2**64,
        )


def frame(data: bytes, **settings: int) -> bytes:
    """Pack as a maker's tool would not."""
    options: dict[int, int] = {
        int(zstd.CompressionParameter[name]): value for name, value in settings.items()
    }
    return zstd.compress(data, options=options)


def blocks(count: int) -> bytes:
    """Return blocks of zstd that each say 128 KiB of one byte (RFC 8878, section 3.1.1.2)."""
    told = [1 << 1 | 128 * 1024 << 3 | (number == count - 1) for number in range(count)]
    return b"".join(struct.pack("<I", each)[:3] + b"\0" for each in told)


def head_of_frame(length: int, *, window_log: int | None = None) -> bytes:
    """Return the header of a frame; without a window it is a single segment (section 3.1.1.1)."""
    if window_log is None:
        return b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", length)
    return b"\x28\xb5\x2f\xfd\x80" + bytes([(window_log - 10) << 3]) + struct.pack("<I", length)


SKIPPED = b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"skip"

BOMBS: dict[str, Callable[[], bytes]] = {
    "a gigabyte that says four megabytes": lambda: head_of_frame(SEGMENT_BYTES) + blocks(8192),
    "one block too many": lambda: head_of_frame(SEGMENT_BYTES) + blocks(33),
    "one block too few": lambda: head_of_frame(SEGMENT_BYTES) + blocks(31),
    "a window of two gigabytes": lambda: head_of_frame(SEGMENT_BYTES, window_log=31) + blocks(32),
    "a window of 16 megabytes": lambda: head_of_frame(SEGMENT_BYTES, window_log=24) + blocks(32),
    "another length": lambda: head_of_frame(SEGMENT_BYTES + 1) + blocks(32),
    "the length of two gigabytes": lambda: head_of_frame(2**31) + blocks(16384),
    "no length": lambda: frame(bytes(SEGMENT_BYTES), content_size_flag=0),
    "two frames": lambda: frame(bytes(SEGMENT_BYTES)) + frame(b"more"),
    "a frame and something": lambda: frame(bytes(SEGMENT_BYTES)) + b"\0",
    "a frame and a skipped one": lambda: frame(bytes(SEGMENT_BYTES)) + SKIPPED,
    "a skipped frame before": lambda: SKIPPED + frame(bytes(SEGMENT_BYTES)),
    "only skipped": lambda: SKIPPED,
    "a dictionary of another name": lambda: (
        b"\x28\xb5\x2f\xfd\xa1\x05" + struct.pack("<I", SEGMENT_BYTES) + blocks(32)
    ),
    "a length without end": lambda: b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 8 + blocks(32),
    "a length that means a fault": lambda: b"\x28\xb5\x2f\xfd\xe0\xfe" + b"\xff" * 7 + blocks(32),
    "a form of long ago": lambda: (
        b"\x27\xb5\x2f\xfd\xa0" + struct.pack("<I", SEGMENT_BYTES) + blocks(32)
    ),
    "cut": lambda: frame(world.prose(SEGMENT_BYTES))[:-1],
    "a cut header": lambda: b"\x28\xb5\x2f\xfd",
    "noise": lambda: world.noise(1000),
    "another format": lambda: b"\x1f\x8b\x08" + bytes(50),
}


def test_the_hand_made_frame_is_right_when_it_does_not_lie() -> None:
    for packed in (
        head_of_frame(SEGMENT_BYTES) + blocks(32),
        head_of_frame(SEGMENT_BYTES, window_log=22) + blocks(32),
        frame(bytes(SEGMENT_BYTES)),
    ):
        head = Head(0, SEGMENT_BYTES)
        delta = world.build(head, [Segment(Kind.PLAIN, len(packed))], packed)
        assert world.apply(b"", delta) == bytes(SEGMENT_BYTES)


@pytest.mark.parametrize("name", BOMBS)
def test_frames_that_lie(name: str) -> None:
    packed = BOMBS[name]()
    for segment in (
        Segment(Kind.PLAIN, len(packed)),
        Segment(Kind.DICTIONARY, len(packed), 0, 1000),
    ):
        target = io.BytesIO()
        delta = world.build(Head(len(OLD), SEGMENT_BYTES), [segment], packed)
        with pytest.raises(Malformed) as caught:
            apply_delta(io.BytesIO(OLD), io.BytesIO(delta), target, limit_bytes=2**40)
        assert caught.value.reason == "bad_delta"
        assert target.getvalue() == b""


def test_a_dictionary_reference_beyond_the_dictionary() -> None:
    """A frame that was packed with a longer dictionary reaches for what is not there."""
    new = OLD[:200_000]
    whole = zstd.ZstdDict(OLD[:300_000], is_raw=True).as_prefix
    packed = zstd.compress(new, zstd_dict=whole)
    assert len(packed) < 1000
    for length in (8, 1000, 150_000):
        segment = Segment(Kind.DICTIONARY, len(packed), 0, length)
        delta = world.build(Head(len(OLD), len(new)), [segment], packed)
        made = feed(delta, len(new))
        assert made is None or (made != new and len(made) == len(new))


MEASURE = """
import io, json, sys
from pathlib import Path
from fleetward.device.updates.delta import apply_delta
from fleetward.trust.errors import FleetwardError

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

class Nowhere(io.RawIOBase):
    def write(self, data):
        return len(data)

before = peak()
outcomes = []
for name in sys.argv[2:]:
    with open(sys.argv[1], "rb") as source, open(name, "rb") as delta:
        try:
            apply_delta(source, delta, Nowhere(), limit_bytes=2**40)
            outcomes.append("made")
        except FleetwardError as e:
            outcomes.append(e.reason)
print(json.dumps([outcomes, (peak() - before) / 1024]))
"""


def test_memory_stays_bounded_for_long_files_and_for_bombs(tmp_path: Path) -> None:
    """A file of 256 MiB, each segment with the longest dictionary, and every bomb from above."""
    (tmp_path / "source").write_bytes(world.prose(MAX_DICTIONARY_BYTES))
    packed = frame(bytes(SEGMENT_BYTES), checksum_flag=0)
    segment = Segment(Kind.DICTIONARY, len(packed), 0, MAX_DICTIONARY_BYTES)
    long = world.build(Head(MAX_DICTIONARY_BYTES, 64 * SEGMENT_BYTES), [segment] * 64, packed * 64)
    (tmp_path / "long").write_bytes(long)
    names = [str(tmp_path / "long")]
    for number, make in enumerate(BOMBS.values()):
        bomb = make()
        told = Segment(Kind.DICTIONARY, len(bomb), 0, MAX_DICTIONARY_BYTES)
        path = tmp_path / f"bomb-{number}"
        path.write_bytes(world.build(Head(MAX_DICTIONARY_BYTES, SEGMENT_BYTES), [told], bomb))
        names.append(str(path))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "source"), *names],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    outcomes, grown_mib = json.loads(done.stdout)
    assert outcomes == ["made"] + ["bad_delta"] * len(BOMBS)
    assert grown_mib < 64
