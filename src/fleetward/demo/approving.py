"""What the demo's owner does about releases: names who may make them, and approves one for all."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Final

from fleetward.demo.owning import OwnerSide
from fleetward.demo.places import DemoPlaces
from fleetward.demo.tour import run_line
from fleetward.device.status import read_last_words
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.policy_changes import Change
from fleetward.keyholder.signing import PolicyDraft
from fleetward.keyholder.updates.desk import keep_approval
from fleetward.keyholder.updates.finding import find_release
from fleetward.keyholder.updates.kept import KeptFolder
from fleetward.keyholder.updates.preparing import prepare_approval, sign_approval
from fleetward.keyholder.updates.roots import (
    check_root,
    fetch_director,
    find_maker,
    set_director,
    set_maker,
)
from fleetward.keyholder.updates.server_rows import ApprovalApi
from fleetward.keyholder.updates.source import ServerSource
from fleetward.keyholder.updates.terms import APPROVAL_SECONDS, Chosen, make_selector
from fleetward.runtime.clock import Clock
from fleetward.runtime.files import read_bounded
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.release_approval import Terms, verify_approval

FOLLOW_SECONDS: Final = 15.0
LOOK_SECONDS: Final = 0.2
MAX_ROOT_BYTES: Final = 512 * 1024


class Approver:
    """The owner's side of releases. Raises as the functions of `keyholder.updates` do."""

    def __init__(
        self, places: DemoPlaces, owner: OwnerSide, client: ApiClient, clock: Clock,
        tell: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._places = places
        self._owner = owner
        self._client = client
        self._clock = clock
        self._tell = tell

    def name_makers(self, root: Path, products: Sequence[str]) -> None:
        """Have the policy name the maker of these products, and the director, where it does not."""
        digest = check_root(read_bounded(root, MAX_ROOT_BYTES)).digest
        roots = self._owner.desk.documents().policy.roots
        changes: list[Change] = []
        for product in products:
            if roots.makers.get(product) != digest:
                self._tell(self._line("owner", "policy", "set", "maker", product, root))
                changes.append(set_maker(product, digest))
        if not roots.director:
            found = fetch_director(self._client)
            if found is None:
                raise Refused("The server has no director of updates.", reason="no_director")
            self._tell(self._line("owner", "policy", "set", "director"))
            changes.append(set_director(found.digest))
        if changes:
            self._owner.change_policy(_all_of(changes), self._clock)

    def wait_followed(self, machines: Sequence[Path]) -> None:
        """Wait until machines, by their data directories, have the policy; for some seconds."""
        version = self._owner.desk.documents().policy.version
        deadline = time.monotonic() + FOLLOW_SECONDS
        left = list(machines)
        while left and time.monotonic() < deadline:
            left = [each for each in left if _policy_of(each) < version]
            time.sleep(LOOK_SECONDS)

    def approve(self, product: str, version: str) -> None:
        """Approve a release for every machine."""
        self._tell(self._line("owner", "approve", f"{product}/{version}", "--all", "--yes"))
        desk, now_ms = self._owner.desk, self._clock.wall_ms()
        policy = desk.documents().policy
        anchor = find_maker(policy, product)
        kept = KeptFolder(desk.folder, product, anchor)
        source = ServerSource(self._client)
        floor_ms = max(now_ms, policy.issued_at_ms)
        found = find_release(source, kept, anchor, (product, version), floor_ms)
        terms = Terms(
            selector=make_selector(Chosen(everything=True)),
            not_before_ms=now_ms,
            not_after_ms=now_ms + APPROVAL_SECONDS * 1000,
            windows=(),
            reason="",
        )
        prepared = prepare_approval(policy, found.manifest, terms, now_ms)
        raw = sign_approval(prepared, [desk.signer("approver")])
        keep_approval(desk.folder, verify_approval(raw, policy))
        ApprovalApi(self._client).submit(raw)

    def _line(self, *words: str | Path) -> str:
        places = self._places
        return run_line(
            "fleetward", *words, "--data", places.data, "--owner", places.owner,
            "--passphrase-file", places.passphrase,
        )  # fmt: skip


def _policy_of(machine: Path) -> int:
    """Return the version of the policy that a machine has, as its status says."""
    with contextlib.suppress(FleetwardError):
        return read_last_words(machine / "guard").versions.policy
    return 0


def _all_of(changes: Sequence[Change]) -> Change:
    def change(draft: PolicyDraft) -> PolicyDraft:
        return reduce(lambda done, each: each(done), changes, draft)

    return change
