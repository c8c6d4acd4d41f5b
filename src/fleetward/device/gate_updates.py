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

Time is the later of the machine's clock and of what its owner has signed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from fleetward.device.gate_sessions import Here
from fleetward.device.refusals import Refusals
from fleetward.device.updates.memory import Memory
from fleetward.device.updates.shelf import Shelf
from fleetward.trust.canonical import from_base64url
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.release_approval import Approval, verify_approval, verify_withdrawal
from fleetward.trust.release_manifest import MAX_MANIFEST_BYTES, Manifest, check_product
from fleetward.trust.releases.director import Directed, DirectorRefresh, require_anchor
from fleetward.trust.releases.meeting import Meeting, Situation, meet, open_release
from fleetward.trust.releases.refresh import Refresh
from fleetward.trust.releases.search import Search
from fleetward.trust.releases.steps import Steps, Want
from fleetward.trust.releases.target import Target
from fleetward.wire.updates import MAX_APPROVALS, UpdateAnswer, UpdateQuestion

T = TypeVar("T")

Look: TypeAlias = Generator[UpdateQuestion, UpdateAnswer, "tuple[Candidate, ...]"]
_Talk: TypeAlias = Generator[UpdateQuestion, UpdateAnswer, T]
SILENT: Final = frozenset({"installed_already", "failed_before"})
"""Rules that say nothing new: the director names what runs already, or did not run well."""
RELEASE: Final = "release"
DIRECTOR: Final = "director"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A release that was named and signed, and what came of it: a meeting, or a refusal."""

    path: str
    manifest: Manifest | None
    data: bytes
    meeting: Meeting | None
    refusal: FleetwardError | None


class UpdateGate:
    """Judges releases. Part of guard's single thread."""

    def __init__(
        self,
        here: Here,
        shelf: Shelf,
        memory: Memory,
        refusals: Refusals,
        wall_ms: Callable[[], int],
    ) -> None:
        self._here = here
        self._shelf = shelf
        self._memory = memory
        self._refusals = refusals
        self._wall_ms = wall_ms

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

    def judge_again(self, manifest: Manifest) -> Meeting:
        """Return the meeting for a release that was admitted before, as things stand now.

        Raises `Refused` when the opinions meet no more.
        """
        try:
            return meet(manifest, self._situation(manifest))
        except Refused as e:
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
        for path, directed in wanted:
            found.append((yield from self._judge(path, directed)))
        return tuple(found)

    def _judge(self, path: str, directed: Target | None) -> _Talk[Candidate]:
        manifest, data = None, b""
        try:
            target = yield from self._find_target(path)
            data = yield from self._ask_manifest(target)
            manifest = open_release(target, data, directed)
            self._memory.known.setdefault(manifest.hash, self.now_ms)
            return Candidate(path, manifest, data, self.judge_again(manifest), None)
        except (Malformed, Untrusted, Refused) as e:
            if e.reason not in SILENT:
                self._refusals.refuse(RELEASE, e.reason, f"{path}: {e.message}")
            return Candidate(path, manifest, data, None, e)

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

    def _find_target(self, path: str) -> _Talk[Target]:
        product = check_product(path.partition("/")[0])
        anchor = self._here.view().policy.roots.makers.get(product)
        if anchor is None:
            raise Refused(
                f"The owner's policy names no maker for {product!r}. The owner adds him with "
                f"`fleetward owner policy set maker {product} FILE`.",
                reason="unknown_maker",
            )
        root = yield from self._find_root(anchor)
        trusted = yield from self._drive(Refresh(root, self.now_ms), anchor, product)
        target = yield from self._drive(Search(trusted, path), anchor, product)
        if target is None:
            raise Untrusted(f"Its maker has released no {path}.", reason="not_released")
        return target

    def _find_root(self, anchor: str) -> _Talk[bytes]:
        """Return the newest root known under an anchor; ask for the anchor itself where none is."""
        kept = self._shelf.read_root(anchor)
        if kept is not None:
            return kept
        answer = yield UpdateQuestion(what="root", name=anchor)
        data = require_anchor(_bytes_of(answer), anchor)
        self._shelf.keep_root(anchor, data)
        return data

    def _drive(self, steps: Steps[T], anchor: str, product: str) -> _Talk[T]:
        """Answer what the steps want, and keep what they verified (rule 6)."""
        try:
            while (want := steps.want) is not None:
                if want.is_kept:
                    steps.give(self._shelf.read(anchor, want))
                    continue
                answer = yield _ask_for(want, product)
                steps.give(_bytes_of(answer) if answer.found else None)
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
                self._refusals.refuse("approval", e.reason, e.message)
        # What the server leaves out stays known: it takes no approval back.
        older = [raw for raw in self._memory.approvals if raw not in kept]
        self._memory.approvals = [*kept, *older][:MAX_APPROVALS]

    def _take_opinion(self, raw: bytes, kept: list[bytes]) -> None:
        """Keep an approval or remember a withdrawal. Raises `Malformed` or `Untrusted`."""
        policy = self._here.view().policy
        try:
            verify_approval(raw, policy)
        except Malformed as e:
            if e.reason != "wrong_type":
                raise
            withdrawn = verify_withdrawal(raw, policy).approval
            if withdrawn not in self._memory.withdrawn:
                self._memory.withdrawn.append(withdrawn)
            return
        kept.append(raw)

    # --- what is known here

    def _situation(self, manifest: Manifest) -> Situation:
        view = self._here.view()
        return Situation(
            entry=view.entry if view.confirmed else None,
            lease_seconds_left=self._here.lease_seconds_left(),
            held=self._memory.list_held(),
            approvals=self._approvals(self._memory.failed.get(manifest.hash, ())),
            known_since_ms=self._memory.known.get(manifest.hash, self.now_ms),
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
            if approval.hash not in self._memory.withdrawn and approval.hash not in used:
                found.append(approval)
        return tuple(found)

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
