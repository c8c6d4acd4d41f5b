"""What the API says and takes about releases, approvals and machines' versions.

All of it is a claim of the server's, but for what stands in `manifest`, `envelope` and `report`:
those are signed, and the owner's own tools verify them.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from fleetward.runtime.http.times import Instant
from fleetward.server.updates.reading import MAX_FILE_BYTES
from fleetward.trust.release_approval import MAX_APPROVAL_BYTES
from fleetward.trust.release_manifest import MAX_MANIFEST_BYTES

MAX_FILES: Final = 64
"""Files of one upload; a repository with more is sent in several, the timestamp last."""
Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Counters = Literal["doubted", "file", "tpm"]
Outcome = Literal["", "accepted", "refused", "installed", "committed", "rolled_back", "failed"]


def _encoded(most: int) -> int:
    return most * 4 // 3 + 4


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Common settings of every answer."""


class _Taken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Common settings of everything taken."""


class NamedFile(_Taken, frozen=True):
    """A file of a maker's repository, as `3.kiosk.json`; its bytes in base64url."""

    name: Annotated[str, msgspec.Meta(max_length=220)]
    data: Annotated[str, msgspec.Meta(max_length=_encoded(MAX_FILE_BYTES))]


class NewMetadata(_Taken, frozen=True):
    """Files of one repository, `1.root.json` among them."""

    files: Annotated[list[NamedFile], msgspec.Meta(min_length=1, max_length=MAX_FILES)]


class RepositoryStored(_Answer, frozen=True):
    """The repository: the SHA-256 of its first root."""

    repository: str


class BlobState(_Answer, frozen=True):
    """How many bytes of a blob are here, and whether that is all of it. Go on at `size`."""

    size: int
    complete: bool


class NewRelease(_Taken, frozen=True):
    """A release's manifest in base64url, and the path of its target."""

    repository: Digest
    path: Annotated[str, msgspec.Meta(max_length=200)]
    manifest: Annotated[str, msgspec.Meta(max_length=_encoded(MAX_MANIFEST_BYTES))]


class SignedPaper(_Taken, frozen=True):
    """An approval or a withdrawal that the owner's people signed, base64url."""

    envelope: Annotated[str, msgspec.Meta(max_length=_encoded(MAX_APPROVAL_BYTES))]


class ReleaseRow(_Answer, frozen=True):
    """A release that was published here. Whether its maker signed it, the owner's tools verify."""

    id: str
    """The SHA-256 of its manifest."""
    repository: str
    product: str
    version: str
    counter: int
    path: str
    released_at: Instant
    published_at: Instant
    hardware: list[str]
    reboot: bool
    notes: str
    fixes: list[str]
    support_ends_at: Instant | None
    size_bytes: int
    """Of all its parts, deltas apart."""
    offerable: bool
    """Whether the owner's policy names the root of its repository for this product: no machine
    takes it otherwise."""
    approvals: int
    """Approvals that are neither withdrawn nor over."""
    rollouts: int
    """Rollouts of it that were not cancelled: without one, no machine is told of it."""
    installed: int
    """Machines that say, under their identity keys, that it runs."""


class ReleaseDetail(_Answer, frozen=True):
    """A release with its manifest, base64url, for the owner's tool to verify."""

    release: ReleaseRow
    manifest: str
    before: str
    """The version before it, by its counter; empty for the first."""
    components: int | None
    """Components in its bill of materials; None where it has none that can be read."""
    added: list[str]
    removed: list[str]
    changed: list[str]
    """What its bill of materials has more, less and otherwise than that of the version before."""
    approvals: list[ApprovalRow]


class ReleaseList(_Answer, frozen=True):
    """All releases, newest first."""

    items: list[ReleaseRow]


class ApprovalRow(_Answer, frozen=True):
    """An approval as it was handed in. People are shown as the stored policy has them: machines and
    the owner's tools verify."""

    id: str
    kind: Literal["approval", "standing", "withdrawal"]
    product: str
    version: str
    release: str
    withdraws: str
    machines: str
    """Which machines it is for, in words."""
    people: str
    reason: str
    issued_at: Instant
    not_before: Instant | None
    not_after: Instant | None
    wait_seconds: int
    windows: int
    state: Literal["holds", "later", "over", "withdrawn", "old_epoch", "withdraws"]
    envelope: str


class ApprovalList(_Answer, frozen=True):
    """All approvals and withdrawals, newest first."""

    items: list[ApprovalRow]


class DirectorRoot(_Answer, frozen=True):
    """The director's root, base64url, and its SHA-256, which the owner's policy names."""

    root: str
    sha256: str
    named: bool
    """Whether the newest policy stored here names it."""


class ProductOnDevice(_Answer, frozen=True):
    """How a product stands on a machine, by the newest report that the machine signed."""

    product: str
    version: str
    counter: int
    floor: int
    """Below this counter it installs nothing."""
    since: Instant | None
    days_behind: int | None
    """Days since the first approved release that it lacks; 0 when it has the newest."""
    newest: str
    """The newest release approved for it."""
    outcome: Outcome
    target: str
    attempt: int
    cause: str
    words: str
    said_at: Instant | None


class FindingRow(_Answer, frozen=True):
    """A health check, and how it ended."""

    check: str
    good: bool
    words: str


class ReportRow(_Answer, frozen=True):
    """A report, signed by the machine: verified with its identity key when it came."""

    id: str
    product: str
    version: str
    outcome: Outcome
    attempt: int
    rule: str
    cause: str
    words: str
    findings: list[FindingRow]
    said_at: Instant
    at: Instant
    simulated: bool
    report: str


class DeviceUpdates(_Answer, frozen=True):
    """A machine's products, what it was told of last, and a page of its reports, newest first."""

    device_id: str
    name: str
    site: str
    products: list[ProductOnDevice]
    told: list[str]
    """Releases that the director's newest word names, as `kiosk 1.1`."""
    told_at: Instant | None
    counters: Counters | None
    """How its newest report says that the highest counters are kept: in a file alone, which is
    weak, bound to its TPM, or in doubt. None before the first report."""
    items: list[ReportRow]
    total: int
    page: int
    per_page: int


class ReleaseDevice(_Answer, frozen=True):
    """A machine that says of itself that it runs a release, or tried to."""

    device_id: str
    name: str
    site: str
    simulated: bool
    runs: bool
    version: str
    """What it runs of the product; empty where it says nothing of it."""
    outcome: Outcome
    """Of its newest attempt, where that was at this release."""
    cause: str
    words: str
    said_at: Instant | None


class ReleaseDevices(_Answer, frozen=True):
    """A page of the machines that run a release, or tried to, by reports that they signed."""

    runs: int
    failed: int
    """Machines whose newest attempt was at this release, and failed or was undone."""
    items: list[ReleaseDevice]
    total: int
    page: int
    per_page: int
