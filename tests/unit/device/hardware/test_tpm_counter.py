"""The number and the key, in a TPM in software, over its starts."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from tests.tpm_world import NEEDS_SWTPM, SocketLine, software_tpm

from fleetward.device.hardware import tpm
from fleetward.device.hardware.tpm import DeviceLine
from fleetward.device.hardware.tpm_counter import KEY_BYTES, Reading, TpmCounter
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable

KEY = bytes(range(KEY_BYTES))


@NEEDS_SWTPM
def test_the_number_rises_and_stays_over_starts_and_removal(tmp_path: Path) -> None:
    with software_tpm(tmp_path) as line:
        counter = TpmCounter(line, "pump")
        assert counter.read() is None
        first = counter.prepare()
        assert counter.prepare() == first, "it is prepared once"
        assert counter.read() is None, "nothing is bound without the key"
        counter.keep_key(KEY)
        assert counter.increment() == first + 1
        assert TpmCounter(line, "another").read() is None
    with software_tpm(tmp_path) as line:
        counter = TpmCounter(line, "pump")
        assert counter.read() == Reading(first + 1, KEY)
        # Whoever may remove it makes it larger thereby, not smaller.
        undefine(line, counter._number)
        assert counter.read() == Reading(0, KEY)
        assert counter.prepare() > first + 1


@NEEDS_SWTPM
def test_a_value_that_could_be_set_back_is_not_taken_for_a_counter(tmp_path: Path) -> None:
    with software_tpm(tmp_path) as line:
        counter = TpmCounter(line, "pump")
        tpm.define(line, counter._number, tpm.ORDINARY, 8)
        tpm.write(line, counter._number, b"\0" * 8)
        with pytest.raises(Refused) as caught:
            counter.prepare()
        assert caught.value.reason == "tpm_other_value"


@NEEDS_SWTPM
def test_what_the_tpm_refuses_is_said_with_its_code(tmp_path: Path) -> None:
    with software_tpm(tmp_path) as line:
        with pytest.raises(Unreachable, match="0x"):
            tpm.read(line, 0x01A00000, 8)
        with pytest.raises(Unreachable, match="0x"):
            tpm.increment(line, 0x01A00000)


def test_no_device_is_silence(tmp_path: Path) -> None:
    with pytest.raises(Unreachable) as caught:
        TpmCounter(DeviceLine(tmp_path / "tpmrm0"), "pump").read()
    assert caught.value.reason == "tpm_silent"


class Says:
    """A TPM that says what it likes."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)

    def exchange(self, command: bytes) -> bytes:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def answer(body: bytes = b"", code: int = 0) -> bytes:
    return struct.pack(">HII", 0x8001, 10 + len(body), code) + body


@pytest.mark.parametrize(
    "said",
    [
        b"", b"\x80\x01", answer()[:-1], answer() + b"x", answer(b"x"), answer(b"\0" * 8),
        answer(struct.pack(">HIHIHH", 14, 7, 11, 0, 0xFFFF, 8)),
    ],
)  # fmt: skip
def test_garbled_answers_are_refused(said: bytes) -> None:
    with pytest.raises(Malformed):
        tpm.read_public(Says(said), 0x01A00000)
    with pytest.raises(FleetwardError):
        tpm.read(Says(said), 0x01A00000, 8)


def test_a_busy_tpm_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tpm, "PAUSE_SECONDS", 0.0)
    public = struct.pack(">HIHIHH", 14, 7, 11, tpm.COUNTER | tpm.WRITTEN, 0, 8)
    line = Says(answer(code=0x922), answer(code=0x920), answer(public))
    assert tpm.read_public(line, 7) == tpm.Public(tpm.COUNTER, 8, written=True)
    with pytest.raises(Unreachable) as caught:
        tpm.read_public(Says(answer(code=0x922)), 7)
    assert caught.value.reason == "tpm_silent"


def undefine(line: SocketLine, index: int) -> None:
    """TPM2_NV_UndefineSpace, as an attacker with the TPM does it."""
    handles = struct.pack(">II", 0x4000_0001, index)
    code, _ = tpm._call(line, 0x122, handles, b"")
    assert code == 0
