"""A maker's repository of releases, and a machine that reads it: both honest until a test lies.

`Repository` holds what the maker means (`roles`, `signers`) and what a server hands out (`files`,
by name). `publish` signs what is meant; whatever a test writes into `files` afterwards is a lie of
the server, and what it signs with a signer by hand is a lie of a thief. `Machine` keeps files as an
agent would, and lists what it asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from fleetward.trust.releases.names import name_file
from fleetward.trust.releases.refresh import Refresh
from fleetward.trust.releases.search import Search
from fleetward.trust.releases.steps import Change, Steps, Want
from fleetward.trust.releases.target import Target
from fleetward.trust.releases.trusted import TrustedSet

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
DAY_MS = 24 * 3600 * 1000
TOP = ("root", "targets", "snapshot", "timestamp")


@cache
def signer(number: int) -> CryptoSigner:
    """Return the signer of a number, the same each time: making keys takes longer than a test."""
    del number
    return CryptoSigner.generate_ed25519()


@dataclass
class Repository:
    """What the maker means, and what is served."""

    roles: dict[str, Metadata[Any]] = field(default_factory=dict)
    signers: dict[str, list[CryptoSigner]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    with_hashes: bool = True
    _next_signer: int = 0

    @classmethod
    def make(cls, *, root_keys: int = 3, threshold: int = 2, consistent: bool = True) -> Repository:
        """Make a repository whose root takes so many of its keys, and publish it."""
        one = cls()
        later = NOW + timedelta(days=365)
        root = Root(expires=later, consistent_snapshot=consistent)
        one.roles = {
            "root": Metadata(root),
            "targets": Metadata(Targets(expires=later)),
            "snapshot": Metadata(Snapshot(expires=NOW + timedelta(days=30))),
            "timestamp": Metadata(Timestamp(expires=NOW + timedelta(days=7))),
        }
        for role in TOP:
            one.signers[role] = []
            for _ in range(root_keys if role == "root" else 1):
                one.add_key(role)
        root.roles["root"].threshold = threshold
        one.publish(*TOP, rise=False)
        return one

    @property
    def root(self) -> Root:
        signed = self.roles["root"].signed
        assert isinstance(signed, Root)
        return signed

    @property
    def snapshot(self) -> Snapshot:
        signed = self.roles["snapshot"].signed
        assert isinstance(signed, Snapshot)
        return signed

    @property
    def timestamp(self) -> Timestamp:
        signed = self.roles["timestamp"].signed
        assert isinstance(signed, Timestamp)
        return signed

    def targets(self, role: str = "targets") -> Targets:
        signed = self.roles[role].signed
        assert isinstance(signed, Targets)
        return signed

    def new_signer(self) -> CryptoSigner:
        self._next_signer += 1
        return signer(self._next_signer)

    def add_key(self, role: str) -> CryptoSigner:
        """Give a top-level role one key more."""
        new = self.new_signer()
        self.root.add_key(new.public_key, role)
        self.signers[role].append(new)
        return new

    def rotate(self, *roles: str) -> None:
        """Replace the keys of top-level roles; root is to be published then."""
        for role in roles:
            for old in self.signers[role]:
                self.root.revoke_key(old.public_key.keyid, role)
            count, self.signers[role] = len(self.signers[role]), []
            for _ in range(count):
                self.add_key(role)

    def delegate(
        self, delegator: str, name: str, *patterns: str, ends: bool = True, threshold: int = 1
    ) -> None:
        """Let a role below `delegator` sign for paths; a role of that name may be there already."""
        parent = self.targets(delegator)
        if parent.delegations is None:
            parent.delegations = Delegations({}, {})
        assert parent.delegations.roles is not None
        new = [self.new_signer() for _ in range(threshold)]
        keyids = [one.public_key.keyid for one in new]
        parent.delegations.keys |= {one.public_key.keyid: one.public_key for one in new}
        parent.delegations.roles[name] = DelegatedRole(
            name, keyids, threshold, ends, list(patterns)
        )
        self.signers.setdefault(name, []).extend(new)
        later = NOW + timedelta(days=365)
        self.roles.setdefault(name, Metadata(Targets(expires=later)))

    def add_target(self, role: str, path: str, data: bytes, **custom: object) -> None:
        """Add a file to what a role signs, and to what is served."""
        file = TargetFile.from_data(path, data, ["sha256", "sha512"])
        if custom:
            file.unrecognized_fields["custom"] = custom
        self.targets(role).targets[path] = file

    def sign(self, role: str, signers: Iterable[CryptoSigner] | None = None) -> bytes:
        """Sign what is meant, as it is."""
        metadata = self.roles[role]
        metadata.signatures.clear()
        for one in self.signers[role] if signers is None else signers:
            metadata.sign(one, append=True)
        return metadata.to_bytes()

    def publish(self, *roles: str, rise: bool = True) -> None:
        """Sign roles, in this order, a version higher, and serve them."""
        for role in roles:
            metadata = self.roles[role]
            metadata.signed.version += 1 if rise and self._is_published(role) else 0
            data = self.sign(role)
            self.serve(role, data)
            stated = MetaFile(metadata.signed.version)
            if self.with_hashes:
                stated = MetaFile.from_data(metadata.signed.version, data, ["sha256"])
            if role == "snapshot":
                self.timestamp.snapshot_meta = stated
            elif role not in ("root", "timestamp"):
                self.snapshot.meta[f"{role}.json"] = stated

    def publish_all(self, *roles: str) -> None:
        """Publish targets roles and what must follow them."""
        self.publish(*roles, "snapshot", "timestamp")

    def serve(self, role: str, data: bytes) -> None:
        """Hand out bytes as the newest of a role."""
        version: int | None = self.roles[role].signed.version
        if role == "timestamp" or (role != "root" and not self.root.consistent_snapshot):
            version = None
        self.files[name_file(role, version)] = data

    def answer(self, want: Want) -> bytes | None:
        """Answer as an honest server does: with what is there."""
        return self.files.get(want.file_name)

    def _is_published(self, role: str) -> bool:
        return bool(self.roles[role].signatures)


Answer = Callable[[Want], "bytes | None"]


@dataclass
class Machine:
    """A machine that trusts a root from elsewhere, and what it kept since."""

    root: bytes
    kept: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @classmethod
    def make(cls, repository: Repository) -> Machine:
        """Return a machine that has the first root from its owner, and nothing else."""
        return cls(repository.files["1.root.json"])

    def drive(self, steps: Steps[Any], answer: Answer) -> None:
        """Do what `steps` asks of a driver."""
        while (want := steps.want) is not None:
            if want.is_kept:
                data = self.kept.get(want.file_name)
            else:
                self.asked.append(want.file_name)
                data = answer(want)
            try:
                steps.give(data)
            finally:
                self.store(steps.take_changes())

    def store(self, changes: Iterable[Change]) -> None:
        """Keep and forget, in this order."""
        for change in changes:
            if change.role == "root" and change.data is not None:
                self.root = change.data
            elif change.data is None:
                self.kept.pop(change.file_name, None)
            else:
                self.kept[change.file_name] = change.data

    def refresh(self, answer: Answer, now_ms: int = NOW_MS) -> TrustedSet:
        """Bring the four roles up to date, or raise what the machine raises."""
        refresh = Refresh(self.root, now_ms)
        self.drive(refresh, answer)
        return refresh.result

    def find(self, answer: Answer, path: str, now_ms: int = NOW_MS) -> Target | None:
        """Refresh and look for a target."""
        search = Search(self.refresh(answer, now_ms), path)
        self.drive(search, answer)
        return search.result

    def version(self, role: str) -> int:
        """Return the version of what is kept of a role; 0 when nothing is."""
        data = self.root if role == "root" else self.kept.get(name_file(role, None))
        if data is None:
            return 0
        version: int = Metadata.from_bytes(data).signed.version
        return version

    def versions(self) -> tuple[int, ...]:
        """Return the versions of the four top-level roles."""
        return tuple(self.version(role) for role in TOP)
