"""The part of the door that judges releases: what is asked for, and what is believed of the answer.

One look is a conversation, whoever answers: the server over the bus, or a bundle from a USB stick.
It never asks for a name that did not come out of something verified.

1. The director's root is the one of the owner's policy, or follows it; his word is for this machine
   (`trust.releases.director`). A bundle has no director.
2. For each release that he names: the maker's root is the one that the policy names for that
   product, or follows it; then the maker's metadata up to the target (`trusted`, `search`).
3. The manifest is what was signed, and what the director meant (`meeting`, rules 1 to 3).
4. Approvals and withdrawals are the owner's (`trust.release_approval`). A withdrawal is remembered
   for ever; approvals are judged anew each time that they are used.
5. The opinions meet (`meeting`, rules 4 to 10), or the release is refused by the first rule that
   was broken, recorded, and changes nothing.
6. Metadata that was verified is kept at once, also when what comes behind it is refused, so that an
   older state is never believed again.
7. What was admitted is judged again before the change, by what is known then: by the policy's
   maker of then too.
8. While the highest counters are in doubt (`updates.floors`), no approval counts but one that names
   the release and was given since. An older copy of the disk, put back, has the older approvals.

Time is the later of the machine's clock and of what its owner has signed. How long a release has
been known is powered-on time, which nobody sets.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from fleetward.device.gate_sessions import Here
from fleetward.device.refusals import REFUSED, Refusals
from fleetward.device.updates.floors import Floors
from fleetward.device.updates.memory import MAX_APPROVALS_BYTES, Memory
from fleetward.device.updates.shelf import Shelf
from fleetward.device.updates.surroundings import tell_local
from fleetward.trust.canonical import from_base64url
from fleetward.trust.envelope import read_envelope
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.release_approval import Approval, verify_approval, verify_withdrawal
from fleetward.trust.release_manifest import MAX_MANIFEST_BYTES, Manifest, check_product
from fleetward.trust.releases.director import Directed, DirectorRefresh, require_anchor
from fleetward.trust.releases.meeting import Meeting, Situation, meet, open_release
from fleetward.trust.releases.refresh import Refresh
from fleetward.trust.releases.search import Search
from fleetward.trust.releases.steps import Steps, Want
from fleetward.trust.releases.target import Target
from fleetward.trust.releases.trusted import TrustedSet
from fleetward.wire.updates import MAX_APPROVALS, UpdateAnswer, UpdateQuestion

T = TypeVar("T")

Look: TypeAlias = Generator[UpdateQuestion, UpdateAnswer, "tuple[Candidate, ...]"]
_Talk: TypeAlias = Generator[UpdateQuestion, UpdateAnswer, T]
SILENT: Final = frozenset({"installed_already", "failed_before"})
"""Rules that say nothing new: the director names what runs already, or did not run well."""
RELEASE: Final = "release"
DIRECTOR: Final = "director"
APPROVAL: Final = "approval"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A release that was named and signed, and what came of it: a meeting, or a refusal; neither
    where its maker's files were not there this time. `maker` is the root of the policy by which it
    was signed."""

    path: str
    manifest: Manifest | None
    data: bytes
    meeting: Meeting | None
    refusal: FleetwardError | None
    maker: str = ""


class UpdateGate:
    """Judges releases. Part of guard's single thread."""

    def __init__(
        self,
        here: Here,
        known: tuple[Shelf, Memory, Floors],
        refusals: Refusals,
        clocks: tuple[Callable[[], int], Callable[[], int]],
    ) -> None:
        """`clocks` are the wall clock, and powered-on time."""
        self._here = here
        self._shelf, self._memory, self._floors = known
        self._refusals = refusals
        self._wall_ms, self._powered_ms = clocks

    @property
    def now_ms(self) -> int:
        """The time that metadata and approvals are judged by."""
        return max(self._wall_ms(), self._here.view().signed_at_ms)

    @property
    def missing(self) -> str:
        """What the owner's policy lacks for updates over the network, in words; or nothing."""
        roots = self._here.view().policy.roots
        if not roots.makers:
            return "The owner's policy names no maker. `fleetward owner policy set maker` does."
        if not roots.director:
            return "The owner's policy names no director. `fleetward owner policy set director`."
        return ""

    # --- one look

    def look(self) -> Look:
        """Ask for everything that there is for this machine now.

        Raises the families of `trust.errors` when nothing could be learnt at all, recorded.
        """
        try:
            directed = yield from self._ask_director()
            yield from self._ask_approvals()
        except (Malformed, Untrusted, Refused) as e:
            self._refusals.refuse(DIRECTOR, e.reason, e.message)
            raise
        return (yield from self._judge_all([(t.path, t) for t in directed.targets]))

    def look_at_bundle(self, paths: Sequence[str]) -> Look:
        """The same for a bundle, whose releases are named by the manifests in it."""
        yield from self._ask_approvals()
        return (yield from self._judge_all([(path, None) for path in paths]))

    def judge_again(self, manifest: Manifest, maker: str) -> Meeting:
        """Return the meeting for a release that was admitted before, as things stand now.

        `maker` is the root by which it was signed. Raises `Refused` when the opinions meet no more.
        """
        # Rule 7.
        if self._find_maker(manifest.product) != maker:
            raise Refused(
                f"The owner's policy names another maker for {manifest.product} by now.",
                reason="another_maker",
            )
        try:
            meeting = meet(manifest, self._situation(manifest))
            for window in meeting.approval.terms.windows:
                tell_local(self.now_ms, window.zone)
            return meeting
        except Refused as e:
            if e.reason == "not_approved" and self._floors.doubt is not None:
                raise Refused(
                    f"It is not certain which releases this machine has had. "
                    f"{self._floors.words} Nothing is installed but what the owner approves by "
                    f"name from now on: `fleetward owner approve {manifest.product}/"
                    f"{manifest.version}`.",
                    reason="counters_in_doubt",
                ) from e
            if e.reason == "not_approved" and self._memory.failed.get(manifest.hash):
                raise Refused(
                    f"{manifest.product} {manifest.version} was tried here and failed. It is tried "
                    "again when the owner approves it anew.",
                    reason="failed_before",
                ) from e
            raise

    def _judge_all(self, wanted: list[tuple[str, Target | None]]) -> Look:
        self._shelf.forget_others(self._anchors())
        found: list[Candidate] = []
        missing: Unreachable | None = None
        for path, directed in wanted:
            try:
                found.append((yield from self._judge(path, directed)))
            except Unreachable as e:
                # One maker's files are not there: that holds up no other's.
                missing = missing or e
                found.append(Candidate(path, None, b"", None, None))
        is_mute = not any(each.meeting or each.refusal for each in found)
        if missing is not None and is_mute:
            raise missing
        return tuple(found)

    def _judge(self, path: str, directed: Target | None) -> _Talk[Candidate]:
        manifest, data, maker = None, b"", ""
        try:
            maker = self._find_maker(check_product(path.partition("/")[0]))
            target = yield from self._find_target(path, maker)
            data = yield from self._ask_manifest(target)
            manifest = open_release(target, data, directed)
            self._note_known(manifest)
            meeting = self.judge_again(manifest, maker)
            return Candidate(path, manifest, data, meeting, None, maker)
        except (Malformed, Untrusted, Refused) as e:
            if e.reason not in SILENT:
                self._refusals.refuse(RELEASE, e.reason, f"{path}: {e.message}")
            return Candidate(path, manifest, data, None, e)

    def _note_known(self, manifest: Manifest) -> None:
        """Remember since when a release is known. A time ahead is of a state that was lost."""
        known, now = self._memory.known, self._powered_ms()
        known[manifest.hash] = min(now, known.get(manifest.hash, now))

    def has_room(self, words: str) -> bool:
        """Whether one more release may be reported as refused in this hour: whoever directs the
        machine may name what he likes. Beyond it they are counted."""
        return self._refusals.has_room(REFUSED, RELEASE, "reported_refused", words)

    def note_lie(self, error: FleetwardError) -> None:
        """Record that a piece of a part was not what was signed."""
        self._refusals.refuse("part", error.reason, error.message)

    @staticmethod
    def read_piece(answer: UpdateAnswer) -> bytes:
        """Return the bytes of a piece. Raises `Malformed`."""
        return from_base64url(answer.data)

    # --- what is asked for

    def _ask_director(self) -> _Talk[Directed]:
        policy = self._here.view().policy
        anchor = policy.roots.director
        if not anchor:
            raise Refused(self.missing, reason="no_director")
        root = yield from self._find_root(anchor)
        steps = DirectorRefresh(root, self.now_ms, self._here.device, policy.owner)
        return (yield from self._drive(steps, anchor, ""))

    def _find_maker(self, product: str) -> str:
        """Return the root of a product's maker that the policy names. Raises `Refused`."""
        anchor = self._here.view().policy.roots.makers.get(product)
        if anchor is None:
            raise Refused(
                f"The owner's policy names no maker for {product!r}. The owner adds him with "
                f"`fleetward owner policy set maker {product} FILE`.",
                reason="unknown_maker",
            )
        return anchor

    def _find_target(self, path: str, anchor: str) -> _Talk[Target]:
        product = path.partition("/")[0]
        root = yield from self._find_root(anchor)
        trusted = yield from self._drive(Refresh(root, self.now_ms), anchor, product)
        target = yield from self._drive(Search(trusted, path), anchor, product)
        if target is None:
            raise Untrusted(f"Its maker has released no {path}.", reason="not_released")
        return target

    def _find_root(self, anchor: str) -> _Talk[bytes]:
        """Return the newest root known under an anchor; ask for the anchor itself where none is, or
        where the disk gave back something else than was written."""
        kept = self._shelf.read_root(anchor)
        if kept is not None and self._is_whole(kept):
            return kept
        answer = yield UpdateQuestion(what="root", name=anchor)
        data = require_anchor(_bytes_of(answer), anchor)
        self._shelf.keep_root(anchor, data)
        return data

    def _is_whole(self, root: bytes) -> bool:
        try:
            TrustedSet(root, self.now_ms)
        except (Malformed, Untrusted) as e:
            self._refusals.refuse("kept_root", e.reason, f"What was kept is damaged: {e.message}")
            return False
        return True

    def _drive(self, steps: Steps[T], anchor: str, product: str) -> _Talk[T]:
        """Answer what the steps want, and keep what they verified (rule 6): before the next is
        asked for, since the power may go while somebody lets the machine wait."""
        while (want := steps.want) is not None:
            if want.is_kept:
                data = self._shelf.read(anchor, want)
            else:
                answer = yield _ask_for(want, product)
                data = _bytes_of(answer) if answer.found else None
            try:
                steps.give(data)
            finally:
                self._shelf.keep(anchor, steps.take_changes())
        return steps.result

    def _ask_manifest(self, target: Target) -> _Talk[bytes]:
        digest = dict(target.hashes).get("sha256")
        if digest is None or target.length_bytes > MAX_MANIFEST_BYTES:
            raise Refused(
                f"Expected a release of at most {MAX_MANIFEST_BYTES} bytes, named by SHA-256.",
                reason="bad_release",
            )
        answer = yield UpdateQuestion(what="manifest", name=digest)
        if not answer.found:
            raise Unreachable(f"{target.path} is not there yet.", reason="release_absent")
        return _bytes_of(answer)

    def _ask_approvals(self) -> _Talk[None]:
        answer = yield UpdateQuestion(what="approvals")
        kept: list[bytes] = []
        for text in answer.envelopes[:MAX_APPROVALS]:
            try:
                raw = from_base64url(text)
                self._take_opinion(raw, kept)
            except (Malformed, Untrusted) as e:
                self._refusals.refuse(APPROVAL, e.reason, e.message)
        # What the server leaves out stays known: it takes no approval back.
        self._memory.approvals = self._choose_kept([*self._memory.approvals, *kept])

    def _choose_kept(self, approvals: Sequence[bytes]) -> list[bytes]:
        """Return what of these is kept: each once, what is in force first, then the newest.

        An approval may be sent again with signatures that mean nothing, and is longer then.
        """
        once: dict[str, bytes] = {}
        for raw in sorted(approvals, key=len):
            once.setdefault(read_envelope(raw).hash, raw)
        kept: list[bytes] = []
        room = MAX_APPROVALS_BYTES
        for raw in sorted(once.values(), key=self._rank):
            if len(kept) < MAX_APPROVALS and len(raw) <= room:
                kept.append(raw)
                room -= len(raw)
        return kept

    def _rank(self, raw: bytes) -> tuple[int, int]:
        """Return the place of an approval among those that are kept."""
        try:
            approval = verify_approval(raw, self._here.view().policy)
        except (Malformed, Untrusted):
            return 3, 0
        if not self._holds(approval):
            return 2, -approval.issued_at_ms
        return int(self.now_ms >= approval.terms.not_after_ms), -approval.issued_at_ms

    def _holds(self, approval: Approval) -> bool:
        """Whether an approval was not withdrawn."""
        memory = self._memory
        voided = approval.issued_at_ms <= memory.void_until_ms
        return approval.hash not in memory.withdrawn and not voided

    def _take_opinion(self, raw: bytes, kept: list[bytes]) -> None:
        """Keep an approval or remember a withdrawal. Raises `Malformed` or `Untrusted`."""
        policy = self._here.view().policy
        try:
            verify_approval(raw, policy)
        except Malformed as e:
            if e.reason != "wrong_type":
                raise
            given = verify_withdrawal(raw, policy)
            if self._memory.withdraw(given.approval, given.issued_at_ms, self.now_ms):
                words = "So many approvals were withdrawn that all until now are void."
                self._refusals.refuse(APPROVAL, "too_many_withdrawals", words)
            return
        kept.append(raw)

    # --- what is known here

    def _situation(self, manifest: Manifest) -> Situation:
        view = self._here.view()
        powered = self._powered_ms()
        known_ms = max(0, powered - self._memory.known.get(manifest.hash, powered))
        return Situation(
            entry=view.entry if view.confirmed else None,
            lease_seconds_left=self._here.lease_seconds_left(),
            held=self._memory.list_held(),
            approvals=self._approvals(self._memory.failed.get(manifest.hash, ())),
            known_since_ms=self.now_ms - known_ms,
            now_ms=self.now_ms,
        )

    def _approvals(self, used: Collection[str]) -> tuple[Approval, ...]:
        """Return what the owner allows, under the policy in force (rule 4), but for those `used`:
        by them a release was tried, and failed."""
        policy = self._here.view().policy
        found: list[Approval] = []
        for raw in self._memory.approvals:
            try:
                approval = verify_approval(raw, policy)
            except (Malformed, Untrusted):
                continue  # It was the owner's under an earlier policy.
            if self._holds(approval) and approval.hash not in used and self._is_certain(approval):
                found.append(approval)
        return tuple(found)

    def _is_certain(self, approval: Approval) -> bool:
        """Whether an approval counts for counters that are in doubt, if they are (rule 8)."""
        doubt = self._floors.doubt
        return doubt is None or (not approval.standing and approval.issued_at_ms > doubt.at_ms)

    def _anchors(self) -> frozenset[str]:
        roots = self._here.view().policy.roots
        return frozenset({*roots.makers.values(), roots.director} - {""})


def _ask_for(want: Want, product: str) -> UpdateQuestion:
    if product:
        return UpdateQuestion(
            what="image", product=product, name=want.role, version=want.version or 0
        )
    return UpdateQuestion(what="director", name=want.role, version=want.version or 0)


def _bytes_of(answer: UpdateAnswer) -> bytes:
    """Return the bytes of an answer. Raises `Unreachable` when there are none, `Malformed`."""
    if not answer.found:
        raise Unreachable("What was asked for is not there.", reason="not_there")
    return from_base64url(answer.data)
