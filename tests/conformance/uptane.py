"""Replay the public Uptane vectors against the door that an agent judges releases at.

    make uptane VECTORS=http://127.0.0.1:18431

Every step is said in our form (`uptane_form`) and answered to a real guard's `UpdateGate`, which
asks as it asks a server. A step that must fail has to be refused by a rule that the vector's error
means; a good one has to end where the three opinions meet. What is otherwise by design stands in
`BY_DESIGN`, is demanded as exactly, and is printed with its reason.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.conformance.uptane_form import HARDWARE, PRODUCT, Served, Translator, path_of
from tests.conformance.uptane_vectors import Step, Vector, VectorServer
from tests.update_world import UpdateGuard

from fleetward.device.gate_updates import Candidate, Look
from fleetward.trust.canonical import to_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError, Unreachable
from fleetward.trust.release_approval import make_standing_payload
from fleetward.trust.releases.names import name_file
from fleetward.wire.updates import UpdateAnswer, UpdateQuestion

MEANT: Final = {
    "BadEcuId": ("another_device",),
    "BadHardwareId": ("another_device", "wrong_hardware"),
    "BadKeyId": ("*_threshold",),
    "DelegationMissing": ("delegated_absent",),
    "DirectorDelegation": ("director_delegates",),
    "ExpiredMetadata": ("*_expired",),
    "IllegalThreshold": ("*_malformed",),
    "MetadataFetchFailure": ("*_too_large",),
    "NonUniqueSignatures": ("*_malformed",),
    "OversizedTarget": ("wrong_length",),
    "RootRotationError": ("root_wrong_version",),
    "SecurityException": ("*_malformed",),
    "TargetHashMismatch": ("wrong_hash", "wrong_length"),
    "TargetMismatch": ("director_differs", "wrong_hardware", "not_released", "delegated_expired"),
    "UnmetThreshold": ("*_threshold",),
    "VersionMismatch": ("targets_wrong_version", "delegated_wrong_version", "role_not_in_snapshot"),
}
"""The reasons of ours that an error of the vectors means. `*` is the role at fault."""

BY_DESIGN: Final = {
    ("director_targets_same_ecu", 0): (
        "met",
        "A word may name several releases: one for each product, and those that have to come "
        "between. What its maker did not sign is refused (not_released); the other is as good as "
        "alone, and one is installed.",
    ),
    ("delegation_redundant", 0): (
        "another_products_key",
        "A release that the top role names itself is refused: a product's own role releases it.",
    ),
    ("image_repo_metadata_changed_while_version_same", 1): (
        "not_released",
        "Another timestamp of the same version is no news, as TUF's own suite demands (5.4.3), so "
        "that what it leads to is not looked at.",
    ),
}
"""Vector and step, what is demanded in place of the vector's word, and why."""

ROLES: Final = ("root", "timestamp", "snapshot", "targets")


@dataclass(frozen=True)
class Outcome:
    """What came of a step: `met`, or the reason, and whose word was refused where that is known."""

    reason: str
    side: str = ""


class Replay:
    """One vector at one machine, which keeps what it verified from step to step."""

    def __init__(self, folder: Path, translator: Translator) -> None:
        self._guard = UpdateGuard.make(folder)
        self._translator = translator
        self._approval = b""

    def play(self, step: Step, *, first: bool) -> Outcome:
        """Serve a step, and return what the machine makes of it."""
        guard = self._guard
        owner = guard.fleet.world.owner
        served = self._translator.translate(step, guard.device, owner)
        if first:
            self._name_roots(served)
        look = guard.core.updates._gate.look()
        try:
            candidates = self._answer(look, served)
        except Unreachable as e:  # it ends the look, whoever lacks the file
            return Outcome(e.reason)
        except FleetwardError as e:
            return Outcome(e.reason, "director")
        return _sum_up(candidates)

    def _name_roots(self, served: Served) -> None:
        """Have the owner's policy name the first roots, and allow whatever is released."""
        world = self._guard.fleet.world
        roots = world.next_payload()["roots"]
        assert isinstance(roots, dict)
        roots["makers"] = {PRODUCT: hashlib.sha256(served.image["1.root"]).hexdigest()}
        roots["director"] = hashlib.sha256(served.director["1.root"]).hexdigest()
        world.next_policy({"roots": roots})
        world.publish()
        self._guard.confirm(model=HARDWARE)
        payload = make_standing_payload(
            world.policy, PRODUCT, self._guard.terms(), 0, self._guard.clock.wall_ms()
        )
        self._approval = seal(payload, world.signers)
        self._anchors = (served.director["1.root"], served.image["1.root"])

    def _answer(self, look: Look, served: Served) -> tuple[Candidate, ...]:
        """Carry questions and answers until the look is over. Raises what the look raises."""
        try:
            question = next(look)
            while True:
                question = look.send(self._find(question, served))
        except StopIteration as e:
            found: tuple[Candidate, ...] = e.value
            return found

    def _find(self, question: UpdateQuestion, served: Served) -> UpdateAnswer:
        if question.what == "approvals":
            return UpdateAnswer(found=True, envelopes=(to_base64url(self._approval),))
        data: bytes | None = served.manifest
        if question.what == "root":
            data = next(
                each for each in self._anchors if hashlib.sha256(each).hexdigest() == question.name
            )
        elif question.what in ("director", "image"):
            files = served.director if question.what == "director" else served.image
            name = name_file(question.name, question.version or None)
            data = files.get(name.removesuffix(".json"))
        return (
            UpdateAnswer(found=False)
            if data is None
            else UpdateAnswer(found=True, data=to_base64url(data), total=len(data))
        )


def _sum_up(candidates: tuple[Candidate, ...]) -> Outcome:
    """Return what came of the release that the vectors are about, or of the one named. No vector
    has a second one that is good."""
    found = {each.path: each for each in candidates}
    one = found.pop(path_of("file.txt"), candidates[0])
    if any(each.refusal is None for each in found.values() if each is not one):
        return Outcome("met_twice")
    return Outcome("met" if one.refusal is None else one.refusal.reason, "image_repo")


def judge(step: Step, outcome: Outcome) -> str:
    """Return what is wrong with the outcome of a step, or nothing."""
    errors = step.errors
    if not errors:
        return "" if outcome.reason == "met" else f"is good, and was refused: {outcome.reason}"
    if outcome.reason == "met":
        return "must fail, and was taken"
    if any(_means(error, repository, outcome) for repository, error in errors):
        return ""
    return f"must fail by {errors}, and failed by {outcome.reason} of the {outcome.side}"


def _means(error: str, repository: str, outcome: Outcome) -> bool:
    """Whether a reason is what an error means, and found where the error is."""
    kind, _, role = error.partition("::")
    # Errors of one target stand with either repository: what differs has two sides.
    at_target = not role and kind.startswith(("Target", "Oversized", "Bad"))
    if outcome.side not in ("", repository) and not at_target:
        return False
    for meant in MEANT[kind]:
        if meant == outcome.reason:
            return True
        if meant.startswith("*") and outcome.reason.endswith(meant[1:]):
            at_fault = outcome.reason.removesuffix(meant[1:])
            return at_fault in _roles_of(kind, role.partition("::")[0], repository)
    return False


def _roles_of(kind: str, role: str, repository: str) -> tuple[str, ...]:
    """Return in which of our files a role's defect is found."""
    role = role.lower()
    if kind == "BadKeyId":  # the vectors do not say whose
        return (*ROLES, "director", "delegated")
    if kind == "IllegalThreshold":  # it stands with the delegator
        return ("root",) if role in ROLES else ("targets",)
    if role not in ROLES:
        return ("delegated",)
    return ("director", role) if repository == "director" and role == "targets" else (role,)


@dataclass
class Score:
    """What is printed at the end, and whether all is well."""

    counts: Counter[str]
    wrong: int = 0

    def note(self, vector: Vector, number: int, outcome: Outcome) -> None:
        """Judge one step, and print what is not as the vector says."""
        step = vector.steps[number]
        what = "must fail" if step.errors else "good"
        self.counts[what] += 1
        demanded = BY_DESIGN.get((vector.name, number))
        problem = judge(step, outcome)
        if demanded is None:
            self.counts[f"{what}: as the vector says"] += not problem
        elif demanded[0] == outcome.reason and problem:
            self.counts[f"{what}: otherwise by design"] += 1
            print(f"by design: {vector.name}, step {number} ({what}): {outcome.reason}")
            print(f"    {demanded[1]}")
            return
        if problem or demanded is not None:
            self.wrong += 1
            print(f"WRONG: {vector.name}, step {number}: {problem or 'no longer by design'}")


def main(url: str) -> int:
    """Replay every vector; 0 when each ended as it has to."""
    vectors = VectorServer(url).read_all()
    translator = Translator()
    for vector in vectors:
        for step in vector.steps:
            translator.learn(step)
    score = Score(Counter())
    for vector in vectors:
        with tempfile.TemporaryDirectory() as folder:
            replay = Replay(Path(folder), translator)
            for number, step in enumerate(vector.steps):
                score.note(vector, number, replay.play(step, first=number == 0))
    print(f"{len(vectors)} vectors, {sum(len(each.steps) for each in vectors)} steps")
    for line, count in sorted(score.counts.items()):
        print(f"  {count:4} {line}")
    print(f"  {score.wrong:4} wrong")
    return 1 if score.wrong or not vectors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
