"""The metadata that a machine believes during one refresh, and the rules by which a file enters.

Sections in brackets are those of the TUF specification 1.0.x. Each rule's number stands on its
block below.

1.  The refresh begins with a root that the machine already trusts; it must be signed by itself
    (5.2). One time holds for the whole refresh (5.1).
2.  A next root is signed by the threshold of the root before it and by its own (5.3.4), and is
    exactly one version newer (5.3.5). Expiry of roots in between does not matter.
3.  When a root takes a key away from timestamp or snapshot, what was kept of both is forgotten, so
    that versions may fall again after a thief of those keys had raised them (5.3.11).
4.  The last root has not expired (5.3.10). After that no root is taken.
5.  A timestamp is signed (5.4.2). Its version does not fall, nor the snapshot's that it names
    (5.4.3). An equal version changes nothing, whatever it says. It has not expired (5.4.4).
6.  A snapshot has the length and hashes that the timestamp states (5.5.2), is signed (5.5.3), and
    has the version that the timestamp names (5.5.4).
7.  Of the snapshot before it no role vanishes and no version falls (5.5.5), nor its own, even if
    the timestamp that named it was lost. It has not expired (5.5.6).
8.  A targets file, delegated or not, is named by the snapshot, has the length and hashes stated
    there (5.6.2), is signed by the keys of the delegator by which it is reached (5.6.3), has the
    version named (5.6.4), and has not expired (5.6.5).
9.  A role that two delegators name is judged by the keys of each, each time. What was believed by
    one way is not believed by another.
10. A kept file passes the same rules as one that is served, except that it need not be the newest:
    a kept timestamp or snapshot that expired or was replaced still counts for rules 5 and 7.

Which root is trusted first, that `now_ms` is never below the machine's own floor, and that a root
is stored before anything that hangs from it, remain the caller's duty.
"""

from __future__ import annotations

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from fleetward.trust.errors import Misuse, Untrusted
from fleetward.trust.releases import limits
from fleetward.trust.releases.checks import (
    Delegator,
    require_fresh,
    require_not_older,
    require_threshold,
    require_version,
    require_whole,
)
from fleetward.trust.releases.names import name_kind
from fleetward.trust.releases.reading import read_metadata


class TrustedSet:
    """What one refresh has verified so far. Files enter in the order root, timestamp, snapshot,
    targets; another order is a `Misuse`.

    Every method that takes bytes raises `Malformed`, `Untrusted` or `Refused` for a file that may
    not enter, and then has changed nothing.
    """

    def __init__(self, root: bytes, now_ms: int) -> None:
        """Begin with a root that is trusted already (rule 1)."""
        # Rule 1.
        first = read_metadata(root, Root, "root", limits.MAX_ROOT_BYTES)
        require_threshold(first.signed, "root", first, "root")
        self.root: Root = first.signed
        self._now_ms = now_ms
        self._roots_closed = False
        self._timestamp: Timestamp | None = None
        self._timestamp_settled = False
        self._snapshot: Snapshot | None = None
        self._snapshot_settled = False
        self._targets: dict[str, Metadata[Targets]] = {}
        self._ways: set[tuple[str, str]] = set()

    def accept_root(self, data: bytes) -> bool:
        """Take the next root; return whether what was kept must be forgotten."""
        if self._roots_closed:
            raise Misuse("A root came after the roots were closed.", reason="wrong_order")
        new = read_metadata(data, Root, "root", limits.MAX_ROOT_BYTES)
        # Rule 2.
        require_threshold(self.root, "root", new, "root")
        require_threshold(new.signed, "root", new, "root")
        require_version(new.signed, self.root.version + 1, "root")
        # Rule 3.
        rotated = any(
            set(self.root.roles[role].keyids) - set(new.signed.roles[role].keyids)
            for role in ("timestamp", "snapshot")
        )
        self.root = new.signed
        return rotated

    def close_roots(self) -> None:
        """End the chain of roots by judging the last one's age (rule 4)."""
        # Rule 4.
        require_fresh(self.root, self._now_ms, "root")
        self._roots_closed = True

    def recall_timestamp(self, data: bytes) -> None:
        """Take a kept timestamp, for comparison with the served one (rule 10)."""
        self._timestamp = self._read_timestamp(data)

    def accept_timestamp(self, data: bytes) -> bool:
        """Take the newest timestamp (rule 5); return whether it is another than the kept one."""
        new, old = self._read_timestamp(data), self._timestamp
        # Rule 5.
        is_new = old is None or new.version != old.version
        if old is not None:
            require_not_older(new.version, old.version, "timestamp")
            if is_new:
                require_not_older(new.snapshot_meta.version, old.snapshot_meta.version, "snapshot")
        settled = old if old is not None and not is_new else new
        require_fresh(settled, self._now_ms, "timestamp")
        self._timestamp, self._timestamp_settled = settled, True
        return is_new

    def _read_timestamp(self, data: bytes) -> Timestamp:
        if not self._roots_closed or self._timestamp_settled:
            raise Misuse("A timestamp came before or after its turn.", reason="wrong_order")
        new = read_metadata(data, Timestamp, "timestamp", limits.MAX_TIMESTAMP_BYTES)
        require_threshold(self.root, "timestamp", new, "timestamp")
        return new.signed

    @property
    def snapshot_file(self) -> MetaFile:
        """What the timestamp says of the snapshot."""
        if self._timestamp is None or not self._timestamp_settled or self._snapshot_settled:
            raise Misuse("A snapshot came before or after its turn.", reason="wrong_order")
        return self._timestamp.snapshot_meta

    def recall_snapshot(self, data: bytes) -> None:
        """Take a kept snapshot (rule 10). It ends the search for one if it is the one named.

        It counts against falling versions also when this raises because another one is needed.
        """
        stated = self.snapshot_file
        kept = self._read_snapshot(data)
        self._snapshot = kept
        require_whole(data, stated.length, stated.hashes, "snapshot")
        require_version(kept, stated.version, "snapshot")
        self._settle_snapshot(kept)

    def accept_snapshot(self, data: bytes) -> None:
        """Take the snapshot that the timestamp names (rules 6 and 7)."""
        stated = self.snapshot_file
        # Rule 6.
        require_whole(data, stated.length, stated.hashes, "snapshot")
        new = self._read_snapshot(data)
        require_version(new, stated.version, "snapshot")
        # Rule 7.
        if self._snapshot is not None:
            _compare_snapshots(new, self._snapshot)
        self._settle_snapshot(new)

    def _read_snapshot(self, data: bytes) -> Snapshot:
        new = read_metadata(data, Snapshot, "snapshot", limits.MAX_SNAPSHOT_BYTES)
        require_threshold(self.root, "snapshot", new, "snapshot")
        return new.signed

    def _settle_snapshot(self, snapshot: Snapshot) -> None:
        require_fresh(snapshot, self._now_ms, "snapshot")
        self._snapshot, self._snapshot_settled = snapshot, True

    def targets_file(self, role: str) -> MetaFile:
        """What the snapshot says of a targets role. Raises `Untrusted` when it names none."""
        if self._snapshot is None or not self._snapshot_settled:
            raise Misuse("A targets role was asked for too early.", reason="wrong_order")
        stated = self._snapshot.meta.get(f"{role}.json")
        if stated is None:
            raise Untrusted(
                f"The role {role[:80]!r} is delegated to, but the snapshot does not name it.",
                reason="role_not_in_snapshot",
            )
        return stated

    def accept_targets(self, data: bytes, role: str, delegator: str) -> Targets:
        """Take a targets file as the role that `delegator` names (rules 8 and 9)."""
        words, stated = name_kind(role), self.targets_file(role)
        # Rule 8.
        require_whole(data, stated.length, stated.hashes, words)
        new = read_metadata(data, Targets, words, limits.MAX_TARGETS_BYTES)
        require_threshold(self._find_delegator(delegator), role, new, words)
        require_version(new.signed, stated.version, words)
        require_fresh(new.signed, self._now_ms, words)
        self._targets[role] = new
        self._ways.add((delegator, role))
        return new.signed

    def find_targets(self, role: str, delegator: str) -> Targets | None:
        """Return a targets role that has entered, judged by this delegator's keys (rule 9)."""
        held = self._targets.get(role)
        if held is None:
            return None
        # Rule 9.
        if (delegator, role) not in self._ways:
            require_threshold(self._find_delegator(delegator), role, held, name_kind(role))
            self._ways.add((delegator, role))
        return held.signed

    def _find_delegator(self, name: str) -> Delegator:
        if name == "root":
            return self.root
        if name not in self._targets:
            raise Misuse("A role came before its delegator.", reason="wrong_order")
        return self._targets[name].signed

    @property
    def is_refreshed(self) -> bool:
        """Whether all four top-level roles have entered."""
        return "targets" in self._targets


def _compare_snapshots(new: Snapshot, old: Snapshot) -> None:
    require_not_older(new.version, old.version, "snapshot")
    for name, known in old.meta.items():
        role = name.removesuffix(".json")
        if name not in new.meta:
            raise Untrusted(
                f"The new snapshot no longer names the role {role[:80]!r}.",
                reason="role_vanished",
            )
        require_not_older(new.meta[name].version, known.version, name_kind(role))
