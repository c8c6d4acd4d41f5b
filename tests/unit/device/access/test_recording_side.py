"""Following recordings from outside, and handing them over."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.trust_world import refused

from fleetward.device.access.kept import KeptSession, KeptSessions
from fleetward.device.access.notes import MOST_TRIES, MOST_WAITING, Notes
from fleetward.device.access.recorder import LEAST_FREE_BYTES, LEAST_FREE_PART, Recorder, Text
from fleetward.device.access.recordings import KEEP_STORED_MS, Recordings
from fleetward.device.access.tail import Tail
from fleetward.device.access.words import make_pair, receive
from fleetward.runtime.keys import make_key
from fleetward.runtime.recording import Sealer
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.errors import Unreachable, Untrusted
from fleetward.trust.keys import ES256
from fleetward.wire.access import RecordingReply

SESSION = "ab" * 32


def make_kept(session: str = SESSION) -> KeptSession:
    return KeptSession(
        session=session, request="cd" * 32, person="tom", org="", people=("ada",), scopes=("x",),
        seconds=60, watched=False, words="a b c d e f", reason="r", case="", sandbox="none",
        opened_at_ms=5,
    )  # fmt: skip


def make_sealer() -> Sealer:
    key = f"{ES256}:{to_base64url(make_key(ES256).public.spki)}"
    return Sealer("00" * 32, "a" * 32, SESSION, key, 0)


@pytest.mark.parametrize("cut", [1, 3, 4, 20, 60])
def test_the_end_that_a_crash_left_is_cut_off(tmp_path: Path, cut: int) -> None:
    path, sealer = tmp_path / "rec", make_sealer()
    whole = sealer.header + b"".join(sealer.seal(b"line %d\n" % n) for n in range(3))
    head = sealer.head
    path.write_bytes(whole + sealer.seal(b"the last one")[:-cut])
    tail = Tail(path)
    tail.seal()
    assert path.read_bytes() == whole
    assert (tail.size, tail.records, tail.head) == (len(whole), 3, head)


def test_what_grows_is_followed_in_whole_records(tmp_path: Path) -> None:
    path, sealer = tmp_path / "rec", make_sealer()
    tail = Tail(path)
    with path.open("ab", buffering=0) as file:
        file.write(sealer.header[:50])
        assert not tail.follow()
        file.write(sealer.header[50:])
        assert tail.follow()
        record = sealer.seal(b"x" * 1000)
        file.write(record[:500])
        assert not tail.follow()
        file.write(record[500:])
        assert tail.follow()
    assert (tail.records, tail.head) == (1, sealer.head)


def test_a_recording_that_cannot_be_written_ends_the_session(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    descriptor = os.open(tmp_path / "full", os.O_WRONLY)
    with refused(Unreachable, "recording_disk"):
        Recorder(make_sealer(), descriptor)
    os.close(descriptor)


def test_a_recording_leaves_the_machine_its_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is inside has /dev/urandom shown for an hour; the disk is not his to fill."""
    descriptor = os.open(tmp_path / "rec", os.O_WRONLY | os.O_CREAT)
    recorder = Recorder(make_sealer(), descriptor)

    def look(descriptor: int) -> SimpleNamespace:
        del descriptor
        return SimpleNamespace(f_blocks=10**9, f_frsize=1, f_bavail=left)

    monkeypatch.setattr(os, "fstatvfs", look)
    left = min(LEAST_FREE_BYTES, 10**9 // LEAST_FREE_PART)
    recorder.sync()
    left -= 1
    with refused(Unreachable, "recording_disk"):
        recorder.sync()
    os.close(descriptor)


def test_a_letter_in_two_pieces_is_one_letter() -> None:
    text = Text()
    data = "grüße\n".encode()
    assert text.take(data[:3]) + text.take(data[3:]) == "grüße\n"
    assert text.take(b"\xff") == "\ufffd"


def test_a_recording_is_handed_over_resumed_and_removed_after_a_week(tmp_path: Path) -> None:
    kept, sealer = KeptSessions(tmp_path / "access"), make_sealer()
    one = make_kept()
    kept.write(one)
    path = kept.recording(one)
    whole = sealer.header + sealer.seal(os.urandom(200_000)) + sealer.seal(os.urandom(200_000))
    path.write_bytes(whole + sealer.seal(os.urandom(200_000)))
    recordings = Recordings(kept)
    tail = recordings.tail(one)
    while tail.follow():
        continue
    chunk = recordings.next_chunk()
    assert chunk is not None
    assert not chunk.done
    # The server has a part from before; the next piece begins behind it.
    assert recordings.take_reply(RecordingReply(session=SESSION, size=1000), 0)
    chunk = recordings.next_chunk()
    assert chunk is not None
    assert chunk.offset == 1000
    with refused(Untrusted, "unknown_recording"):
        recordings.take_reply(RecordingReply(session=SESSION, size=10**9), 0)
    chunk = recordings.next_chunk()
    assert chunk is not None
    size = chunk.offset + len(from_base64url(chunk.data))
    recordings.take_reply(RecordingReply(session=SESSION, size=size), 0)
    one.ended_at_ms = 9
    while (chunk := recordings.next_chunk()) is not None and not chunk.done:
        size = chunk.offset + len(from_base64url(chunk.data))
        recordings.take_reply(RecordingReply(session=SESSION, size=size), 77)
    assert chunk is not None
    recordings.take_reply(RecordingReply(session=SESSION, size=tail.size), 77)
    assert one.stored_powered_ms == 77
    assert recordings.next_chunk() is None
    recordings.remove_old(77 + KEEP_STORED_MS - 1)
    assert path.exists()
    recordings.remove_old(77 + KEEP_STORED_MS)
    assert not path.exists()
    # And all of it is remembered.
    again = KeptSessions(tmp_path / "access").sessions[SESSION]
    assert again.recording_removed


def test_what_is_not_stored_is_never_removed(tmp_path: Path) -> None:
    kept = KeptSessions(tmp_path / "access")
    one = make_kept()
    one.ended_at_ms = 9
    kept.write(one)
    kept.recording(one).write_bytes(b"x")
    Recordings(kept).remove_old(10**15)
    assert kept.recording(one).exists()


def test_notes_are_said_until_they_are_stored() -> None:
    notes = Notes()
    notes.put("offer", "a", b"1")
    notes.put("receipt", "b", b"2")
    notes.put("offer", "a", b"3")
    first = notes.next()
    assert first is not None
    assert (first.kind, first.subject) == ("receipt", "b")
    assert notes.take_reply("another") is None
    assert notes.next() == first
    assert notes.take_reply("b") == first
    for _ in range(MOST_TRIES):
        assert notes.next() is not None
        notes.take_refusal()
    assert notes.next() is None, "an offer that nobody wants is dropped"
    notes.put("receipt", "b", b"2")
    for _ in range(3 * MOST_TRIES):
        assert notes.next() is not None
        notes.take_refusal()


def test_denials_make_room_for_receipts() -> None:
    notes = Notes()
    notes.put("receipt", "b", b"2")
    for number in range(2 * MOST_WAITING):
        notes.put("denial", str(number), b"no")
    assert notes.waiting == MOST_WAITING
    first = notes.next()
    assert first is not None
    assert first.kind == "receipt"


def test_the_last_words_of_who_left_messages_unread_are_heard() -> None:
    ours, theirs = make_pair()
    ours.send(b"nobody reads this")
    theirs.send(b"my last words")
    theirs.close()
    with ours:
        assert receive(ours) == b"my last words"
        assert receive(ours) == b""
