"""Following a closing until its machines have answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from fleetward.keyholder.closing.judging import Progress, read_progress
from fleetward.keyholder.closing.server_rows import ClosingApi
from fleetward.keyholder.documents import OwnerDocuments

POLL_SECONDS: Final = 0.5


def follow(
    api: ClosingApi,
    documents: OwnerDocuments,
    closing: str,
    seconds: float,
    tell: Callable[[Progress], None],
) -> Progress:
    """Return how a closing stands once every machine has answered, or the time is over.

    `tell` is called whenever something changed. Raises as the server's client does.
    """
    give_up = time.monotonic() + seconds
    told: dict[str, int] | None = None
    while True:
        progress = read_progress(api.detail(closing), documents.policy, documents.entries)
        if progress.counts != told:
            told = progress.counts
            tell(progress)
        if progress.answered or time.monotonic() >= give_up:
            return progress
        time.sleep(POLL_SECONDS)
