"""A server with a maker's real repository, an owner who approves, and machines that report.

with updates_world(database, folder) as there:
    release = there.release("1.1", counter=11)
    there.approve(release)
    there.word(there.pumps[0])
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
from tests.adversary.release_repository import Repository
from tests.server_world import ServerWorld, server_world
from tests.trust_world import DAY_MS, Machine

from fleetward.runtime.database import Database
from fleetward.runtime.files import make_private_directory
from fleetward.server.updates.reading import Paper
from fleetward.server.updates.rollout_course import Wish
from fleetward.server.web.caller import Caller, Role
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.release_approval import (
    Terms,
    make_approval_payload,
    make_standing_payload,
    make_withdrawal_payload,
)
from fleetward.trust.release_manifest import (
    Blob,
    Health,
    Manifest,
    Part,
    list_segments,
    make_blob,
    read_manifest,
    write_manifest,
)
from fleetward.trust.releases.director import Directed, DirectorRefresh
from fleetward.trust.selector import Selector
from fleetward.trust.update_report import (
    Finding,
    Installed,
    UpdateReport,
    make_report_payload,
)
from fleetward.wire.subjects import Up
from fleetward.wire.updates import UpdateAnswer, UpdateQuestion

OPERATOR = Caller("person", "p1", "Otto", Role.OPERATOR)
PRODUCT = "kiosk"


def make_manifest(version: str, counter: int, **changes: Any) -> tuple[Manifest, dict[str, bytes]]:
    """Return a release of the product, and the blobs that it names."""
    image = f"image {version}".encode()
    blob = make_blob(image)
    files = {blob.sha256: image, blob.segments: list_segments(image)}
    values: dict[str, Any] = {
        "product": PRODUCT, "version": version, "counter": counter, "released_at_ms": 1,
        "hardware": ("*",), "parts": (Part("app", "directory", "app", blob, (), 100, 1),),
        "needs": (), "conflicts": (), "least_before": 0, "health": Health(60, 0, ()),
        "reboot": False, "notes": "", "fixes": (), "support_ends_at_ms": 0, "sbom": None,
        "hash": "",
    }  # fmt: skip
    bill = changes.pop("bill", None)
    if bill is not None:
        named: Blob = make_blob(bill)
        values["sbom"] = named
        files |= {named.sha256: bill, named.segments: list_segments(bill)}
    made = write_manifest(Manifest(**(values | changes)))
    return read_manifest(made), files


@dataclass
class UpdatesWorld:
    """One server, some machines, one maker."""

    world: ServerWorld
    pumps: list[Machine]
    maker: Repository
    repository: str
    looked: list[str] = field(default_factory=list)
    manifests: list[Manifest] = field(default_factory=list)

    @classmethod
    def make(cls, world: ServerWorld, machines: int = 2) -> UpdatesWorld:
        """Let machines join, and name the maker's and the director's roots in the policy."""
        pumps = [world.join(f"pump {n}", preapproved=True) for n in range(machines)]
        maker = Repository.make()
        maker.delegate("targets", PRODUCT, f"{PRODUCT}/*/release.json")
        maker.publish_all(PRODUCT, "targets")
        book = world.house.updates.book
        there = cls(world, pumps, maker, "")
        there.repository = there.publish_metadata()
        roots = dict(world.trust.next_payload()["roots"])  # type: ignore[arg-type]
        roots["director"] = book.director.root_sha256
        roots["makers"] = {PRODUCT: there.repository}
        world.trust.next_policy({"roots": roots})
        world.confirm(*pumps)
        book.on_look(lambda devices: there.looked.extend(devices))
        return there

    @property
    def slice(self) -> Any:
        return self.world.house.updates

    def publish_metadata(self) -> str:
        """Upload what the maker serves."""
        files = list(self.maker.files.items())
        return str(self.world.house.updates.updates.publish_metadata(files, OPERATOR))

    def upload(self, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            if data:
                self.slice.updates.take_piece(name, 0, len(data), data, OPERATOR)

    def release(self, version: str, counter: int, **changes: Any) -> Manifest:
        """Sign a release as the maker, and publish it."""
        manifest, files = make_manifest(version, counter, **changes)
        data = write_manifest(manifest)
        self.maker.add_target(PRODUCT, manifest.path, data)
        self.maker.publish_all(PRODUCT)
        self.publish_metadata()
        self.upload(files)
        self.slice.updates.publish_release(self.repository, manifest.path, data, OPERATOR)
        self.manifests.append(manifest)
        return manifest

    def terms(self, selector: Selector | None = None, **changes: Any) -> Terms:
        now = self.world.clock.now
        selector = selector or Selector()
        return replace(Terms(selector, now, now + 90 * DAY_MS, (), "it is time"), **changes)

    def approve(
        self, manifest: Manifest, selector: Selector | None = None, **changes: Any
    ) -> Paper:
        """Approve a release as the owner, and hand it in."""
        trust = self.world.trust
        payload = make_approval_payload(
            trust.policy, manifest, self.terms(selector, **changes), self.world.clock.now
        )
        return self.submit(seal(payload, trust.signers))

    def roll_out(self, manifest: Manifest, *waves: str) -> None:
        """Let a release go to whom it is approved for: in these waves, or to all."""
        wish = Wish(
            manifest.product, manifest.version, Selector(), None, waves or ("100%",), 0, 0, 0
        )
        self.slice.rollouts.create(wish, OPERATOR)

    def stand(
        self, selector: Selector | None = None, wait_seconds: int = 0, **changes: Any
    ) -> Paper:
        """Approve whatever the maker releases."""
        trust = self.world.trust
        terms = self.terms(selector, **changes)
        payload = make_standing_payload(
            trust.policy, PRODUCT, terms, wait_seconds, self.world.clock.now
        )
        return self.submit(seal(payload, trust.signers))

    def withdraw(self, paper: Paper) -> Paper:
        trust = self.world.trust
        now = self.world.clock.now
        payload = make_withdrawal_payload(trust.policy, paper.approval, "it is bad", now)
        return self.submit(seal(payload, trust.signers[:1]))

    def submit(self, raw: bytes) -> Paper:
        paper: Paper = self.slice.updates.submit_paper(raw, OPERATOR)
        return paper

    def ask(self, machine: Machine, what: str, **asked: Any) -> UpdateAnswer:
        """Let a machine ask at the door."""
        question = UpdateQuestion(what=what, **asked)  # type: ignore[arg-type]
        said = self.world.send(machine, Up.UPDATE, msgspec.json.encode(question))
        assert said["type"] == "update", said
        return msgspec.convert(said, UpdateAnswer, strict=False)

    def file(self, machine: Machine, what: str, **asked: Any) -> bytes | None:
        """Let a machine ask for a whole file."""
        answer = self.ask(machine, what, **asked)
        return from_base64url(answer.data) if answer.found else None

    def refresh(self, machine: Machine, kept: dict[str, bytes] | None = None) -> Directed:
        """Let a machine look at the director's word, and verify it as its guard would."""
        policy, kept = self.world.trust.policy, {} if kept is None else kept
        anchor = self.file(machine, "root", name=policy.roots.director)
        assert anchor is not None
        refresh = DirectorRefresh(anchor, self.world.clock.now, machine.device, policy.owner)
        while (want := refresh.want) is not None:
            if want.is_kept:
                refresh.give(kept.get(want.role))
            else:
                version = want.version or 0
                refresh.give(self.file(machine, "director", name=want.role, version=version))
            kept |= {c.role: c.data for c in refresh.take_changes() if c.data is not None}
        return refresh.result

    def told(self, machine: Machine) -> list[str]:
        """Return the paths that the director names to a machine."""
        return [target.path for target in self.refresh(machine).targets]

    def report(
        self, machine: Machine, manifest: Manifest, outcome: str, **said: Any
    ) -> bytes:  # fmt: skip
        """Return a machine's signed report."""
        runs = [Installed(PRODUCT, manifest.version, manifest.counter, manifest.hash, 0)]
        values: dict[str, Any] = {
            "device": machine.device, "owner": self.world.trust.owner, "product": PRODUCT,
            "version": manifest.version, "counter": manifest.counter, "release": manifest.hash,
            "approval": "", "attempt": 1, "outcome": outcome, "rule": "", "words": "So it is.",
            "slots": (), "installed": tuple(runs) if outcome == "committed" else (),
            "findings": (), "at_ms": self.world.clock.now,
        }  # fmt: skip
        report = UpdateReport(**(values | said))
        return seal(make_report_payload(report), [machine.identity])

    def say(self, machine: Machine, manifest: Manifest, *outcomes: str, **said: Any) -> None:
        """Let a machine's journal hold signed reports, and send it."""
        for outcome in outcomes:
            raw = self.report(machine, manifest, outcome, **said)
            self.enter(machine, f"update.{outcome}", to_base64url(raw))

    def enter(self, machine: Machine, kind: str, report: str) -> None:
        machine.write(kind, {"report": report, "words": "It says so."})
        assert self.world.send(machine, Up.BATCH, machine.cut())["type"] == "receipt"


def failed(check: str) -> tuple[Finding, ...]:
    """Return findings of which one failed."""
    return (Finding("starts", good=True, words=""), Finding(check, good=False, words="no answer"))


@contextmanager
def updates_world(
    database: Database, folder: Path, machines: int = 2
) -> Iterator[UpdatesWorld]:  # fmt: skip
    """Yield a world; what it opened is closed at the end, the database apart."""
    with server_world(database, make_private_directory(folder / "ca")) as world:
        yield UpdatesWorld.make(world, machines)
