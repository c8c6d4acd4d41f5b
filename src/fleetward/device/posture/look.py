"""Taking a look for the agent: start the collector behind walls, check what it gives, say it.

Nothing that the collector read is parsed here but its own document, strictly and bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import msgspec

from fleetward.device.confine import Wall, run_confined
from fleetward.trust.canonical import JsonObject
from fleetward.trust.errors import Unreachable
from fleetward.wire.posture import (
    MAX_INVENTORY_BYTES,
    Change,
    Inventory,
    InventoryNotice,
    SectionName,
    decode_inventory,
    digest_inventory,
    summarize,
)

COLLECTOR: Final = "fleetward.device.posture.collect"
LOOK_SECONDS: Final = 60
"""A full look takes about half a second; a slow disk or a hostile file may take longer."""
LOOK_MEMORY_BYTES: Final = 512 * 1024 * 1024
"""Address space, not memory: a look at 1,000 packages has about 40 MB resident."""

_FAILURES: Final = {
    "failed": "it ended with an error",
    "too_slow": f"it took longer than {LOOK_SECONDS} s and was ended",
    "too_much": f"it gave more than {MAX_INVENTORY_BYTES} bytes and was ended",
}


@dataclass(frozen=True, slots=True)
class Look:
    """One look at this machine. `walls` says which stood around the collector."""

    document: bytes
    digest: str
    inventory: Inventory
    walls: tuple[Wall, ...]


def take_look(hidden: Sequence[Path], sections: Sequence[SectionName] = ()) -> Look:
    """Look at this machine, at all sections when none is named.

    `hidden` are the agent's own secrets. Raises Unreachable when the collector failed, and
    Malformed when what it gave is no inventory; in both cases the next look may succeed.
    """
    chosen = ["--sections", ",".join(sections)] if sections else []
    result = run_confined(
        [COLLECTOR, *chosen],
        hidden=hidden,
        timeout_seconds=LOOK_SECONDS,
        memory_bytes=LOOK_MEMORY_BYTES,
        output_bytes=MAX_INVENTORY_BYTES,
    )
    if result.state != "done":
        said = f" It said: {result.errors[-300:]}" if result.errors else ""
        raise Unreachable(
            f"The collector gave no inventory: {_FAILURES[result.state]}.{said}",
            reason=f"collector_{result.state}",
        )
    inventory = decode_inventory(result.output)
    return Look(result.output, digest_inventory(result.output), inventory, result.walls)


def describe_look(look: Look) -> JsonObject:
    """Return the body of the journal entry `posture.inventory`."""
    notice = InventoryNotice(look.digest, len(look.document), summarize(look.inventory))
    return cast(JsonObject, msgspec.to_builtins(notice))


def describe_change(change: Change) -> JsonObject:
    """Return the body of a journal entry `posture.changed`."""
    return cast(JsonObject, msgspec.to_builtins(change))
