"""A server may ask for what a newer inventory has replaced, and for nothing that never was ours."""

from __future__ import annotations

from pathlib import Path

from fleetward.device.blobs import KEPT_BLOBS, Blobs
from fleetward.device.state import GuardState


def test_replaced_inventories_are_passed_over_and_strange_ones_counted(tmp_path: Path) -> None:
    state = GuardState()
    blobs = Blobs(tmp_path / "blobs", state)
    digests = []
    for number in range(KEPT_BLOBS + 3):
        digests.append(blobs.keep(b'{"n":%d}' % number))
        state.inventory = digests[-1]

    assert blobs.want((digests[0], digests[1])) == 0
    assert blobs.wanted == 0
    assert blobs.want(("0" * 64,)) == 1

    assert blobs.want((digests[0], digests[-1])) == 0
    chunk = blobs.next_chunk()
    assert chunk is not None
    assert chunk.digest == digests[-1]

    again = Blobs(tmp_path / "blobs", state)
    assert again.want((digests[0],)) == 0
