"""A run of a runbook at the technician's own terminal. What it says does nothing but draw."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Final

from fleetward.keyholder.access.connecting import SessionLink
from fleetward.keyholder.access.local_bytes import write_all
from fleetward.keyholder.access.terminal_safe import VIEW, Filter, one_line
from fleetward.wire.access import OpenStream

MAX_KEPT_BYTES: Final = 1024 * 1024
"""Of the output in a JSON answer; the recording has all of it."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended. `words` are empty when every step ended well."""

    digest: str
    words: str
    output: str

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "digest": self.digest,
            "good": not self.words,
            "words": self.words,
            "output": self.output,
        }


async def run_runbook(
    link: SessionLink, scope: int, digest: str, *, keep: bool, sink: int | None = None
) -> Ran:
    """Start the runbook of a scope and show what it says until it is over.

    With `keep` its output is returned and not shown. Raises `Refused` when it does not start.
    """
    stream = await link.open_stream(scope, OpenStream())
    await stream.wait_ready()
    shown = Filter(VIEW)
    kept = bytearray()
    while data := await stream.receive():
        text = shown.feed(data)
        if keep:
            kept += text[: MAX_KEPT_BYTES - len(kept)]
        else:
            await write_all(sys.stdout.fileno() if sink is None else sink, text)
    words = one_line(await stream.wait_closed())
    return Ran(digest, words, kept.decode("utf-8", "replace"))
