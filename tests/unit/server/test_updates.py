"""Updates on the server: published, approved, directed, carried and reported; never judged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient
from tests.adversary.release_repository import Machine as Verifier
from tests.adversary.release_repository import Repository
from tests.trust_world import DAY_MS, refused, resign
from tests.unit.trust.test_ledger_sessions import audit, words
from tests.unit.web.floor import HOST, Names
from tests.updates_world import (
    OPERATOR,
    PRODUCT,
    UpdatesWorld,
    failed,
    make_manifest,
    updates_world,
)

from fleetward.runtime.database import Database
from fleetward.runtime.http.hosts import HostPolicy
from fleetward.runtime.keys import make_key
from fleetward.server.updates import ingest
from fleetward.server.updates.act import MAX_COPIES
from fleetward.server.updates.director import WORD_MS
from fleetward.server.updates.routes import UpdateRooms, make_update_handlers
from fleetward.server.web.app import Services, create_app
from fleetward.server.web.coverage import find_gaps
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.keys import ED25519
from fleetward.trust.release_approval import verify_approval, verify_withdrawal
from fleetward.trust.release_manifest import write_manifest
from fleetward.trust.releases.steps import Want
from fleetward.trust.selector import Selector
from fleetward.trust.update_report import verify_report
from fleetward.wire.updates import MAX_APPROVALS, MAX_PIECE_BYTES

HOUR_MS = 3_600_000


@pytest.fixture
def there(database: Database, tmp_path: Path) -> Iterator[UpdatesWorld]:
    with updates_world(database, tmp_path) as made:
        yield made


def test_from_the_maker_over_the_owner_to_the_machine_and_back(there: UpdatesWorld) -> None:
    pump, other = there.pumps
    release = there.release("1.1", 11)
    assert there.told(pump) == []
    there.looked.clear()
    paper = there.approve(release, Selector(devices=(pump.device,)))
    assert there.looked == [pump.device]
    assert there.told(pump) == []  # Nothing goes anywhere without a rollout.
    there.roll_out(release)
    assert set(there.looked) == {pump.device}
    assert there.told(pump) == ["kiosk/1.1/release.json"]
    assert there.told(other) == []
    # The maker's metadata reaches the machine, and verifies there.
    verifier = Verifier(there.maker.files["1.root.json"])

    def answer(want: Want) -> bytes | None:
        name = {"name": want.role, "version": want.version or 0}
        return there.file(pump, "image", product=PRODUCT, **name)

    target = verifier.find(answer, release.path)
    assert target is not None
    manifest = there.file(pump, "manifest", name=release.hash)
    assert manifest == write_manifest(release)
    for blob in release.blobs():
        data = there.file(pump, "blob", name=blob.sha256)
        assert data is not None and hashlib.sha256(data).hexdigest() == blob.sha256
    [envelope] = there.ask(pump, "approvals").envelopes
    policy = there.world.trust.policy
    assert verify_approval(from_base64url(envelope), policy).hash == paper.approval
    assert there.ask(other, "approvals").envelopes == ()
    there.say(pump, release, "accepted", "installed", "committed")
    shown = there.slice.shown.device(pump.device, (0, 10), 1)
    assert [row.outcome for row in shown.items] == ["committed", "installed", "accepted"]
    assert (shown.products[0].version, shown.products[0].days_behind) == ("1.1", 0)
    assert shown.told == ["kiosk 1.1"]
    first = from_base64url(shown.items[0].report)
    assert verify_report(first, pump.key, policy.owner).outcome == "committed"
    kinds = [d["payload"]["outcome"] for d in there.world.deeds("document.update-report")]
    assert kinds == ["accepted", "installed", "committed"]
    assert len(there.world.deeds("document.release-approval")) == 1


def test_what_is_recorded_of_updates_is_no_riddle_to_who_checks_the_record(
    there: UpdatesWorld,
) -> None:
    release = there.release("1.1", 11)
    paper = there.approve(release)
    there.withdraw(paper)
    there.stand()
    there.say(there.pumps[0], release, "accepted", "failed", approval=paper.approval)
    report = audit(there)
    assert report.whole, report.contradicted
    assert words(report.unknown, "strange_entries") == []
    kinds = ("release-approval", "release-standing", "release-withdrawal", "update-report")
    assert [len(there.world.deeds(f"document.{kind}")) for kind in kinds] == [1, 1, 1, 2]


def test_a_withdrawal_takes_it_away_and_reaches_the_machine(there: UpdatesWorld) -> None:
    pump = there.pumps[0]
    release = there.release("1.1", 11)
    paper = there.approve(release)
    there.roll_out(release)
    assert there.told(pump) != []
    there.looked.clear()
    there.withdraw(paper)
    assert set(there.looked) == {each.device for each in there.pumps}
    assert there.told(pump) == []
    policy = there.world.trust.policy
    newest, approval = (from_base64url(e) for e in there.ask(pump, "approvals").envelopes)
    assert verify_withdrawal(newest, policy).approval == verify_approval(approval, policy).hash


def test_what_was_approved_ahead_rolls_out_by_itself_one_machine_first(
    there: UpdatesWorld,
) -> None:
    there.release("1.0", 10)
    there.stand()
    [course] = there.slice.courses.all()
    assert (course.row.version, course.row.created_by) == ("1.0", "the owner's approval ahead")
    there.slice.rollouts.cancel(course.plan.id, "another way", OPERATOR)
    there.slice.rollouts.begin_standing()
    assert len(there.slice.courses.all()) == 1  # Who ended it is not overruled.
    there.looked.clear()
    release = there.release("1.1", 11)
    told = [pump.device for pump in there.pumps if there.told(pump)]
    assert there.looked == told and len(told) == 1
    first, second = sorted(there.pumps, key=lambda pump: pump.device not in told)
    assert there.told(first) == ["kiosk/1.1/release.json"]
    there.say(first, release, "accepted", "installed", "committed")
    for _ in range(2):  # A tenth of two machines is one.
        assert there.told(second) == []
        there.world.clock.now += HOUR_MS + 1
        there.slice.motion.advance()
    assert there.told(second) == ["kiosk/1.1/release.json"]
    assert len(there.world.deeds("rollout.created")) == 2


def test_a_release_that_replaces_the_agent_never_rolls_out_by_itself(there: UpdatesWorld) -> None:
    manifest, _ = make_manifest("9", 90)
    agent = manifest.parts[0].__class__(
        "agent", "agent", "agent", manifest.parts[0].blob, (), 100, 1
    )
    there.stand()
    there.release("9", 90, parts=(agent,), replaces_agent=True)
    there.release("10", 100, replaces_agent=True)
    assert there.slice.courses.all() == []


def test_what_is_not_reached_from_what_runs_comes_with_what_lies_between(
    there: UpdatesWorld,
) -> None:
    pump, other = there.pumps
    old = there.release("1.0", 10)
    there.say(pump, old, "committed")
    between = [there.release("1.1", 11), there.release("1.2", 12)]
    newest = there.release("2.0", 20, least_before=12)
    for release in (*between, newest):
        there.approve(release)
    there.roll_out(newest)
    assert there.told(pump) == ["kiosk/1.2/release.json", "kiosk/2.0/release.json"]
    assert there.told(other) == ["kiosk/2.0/release.json"]
    there.roll_out(between[1])
    [course] = [each for each in there.slice.courses.all() if each.row.version == "1.2"]
    there.slice.rollouts.cancel(course.plan.id, "it is bad", OPERATOR)
    assert there.told(pump) == ["kiosk/2.0/release.json"]  # What was stopped is no way either.


def test_hardware_epoch_end_and_the_makers_root_decide(there: UpdatesWorld) -> None:
    pump = there.pumps[0]
    wrong = there.release("1.1", 11, hardware=("another model",))
    there.approve(wrong)
    there.roll_out(wrong)
    assert there.told(pump) == []
    release = there.release("1.2", 12)
    there.approve(release, not_after_ms=there.world.clock.now + HOUR_MS)
    there.roll_out(release)
    assert there.told(pump) == ["kiosk/1.2/release.json"]
    there.world.clock.now += HOUR_MS
    assert there.told(pump) == []
    assert len(there.ask(pump, "approvals").envelopes) == 1
    roots = dict(there.world.trust.next_payload()["roots"])  # type: ignore[arg-type]
    there.approve(release)
    assert there.told(pump) != []
    there.world.trust.next_policy({"roots": roots | {"makers": {PRODUCT: "0" * 64}}})
    there.world.trust.publish()
    there.world.publish()
    assert there.told(pump) == []
    assert there.file(pump, "image", product=PRODUCT, name="timestamp") is None


def test_one_that_replaces_the_agent_needs_an_approval_of_its_own(there: UpdatesWorld) -> None:
    manifest, _ = make_manifest("9", 90)
    agent = manifest.parts[0].__class__(
        "agent", "agent", "agent", manifest.parts[0].blob, (), 100, 1
    )
    there.stand()
    release = there.release("9", 90, parts=(agent,), replaces_agent=True)
    there.roll_out(release)
    assert there.told(there.pumps[0]) == []
    there.approve(release)
    assert there.told(there.pumps[0]) == ["kiosk/9/release.json"]


def test_a_word_rises_only_with_news_and_at_half_of_its_life(there: UpdatesWorld) -> None:
    pump, kept = there.pumps[0], dict[str, bytes]()
    first = there.refresh(pump, kept).version
    assert there.refresh(pump, kept).version == first
    release = there.release("1.1", 11)
    there.approve(release)
    there.roll_out(release)
    second = there.refresh(pump, kept).version
    assert second > first
    there.world.clock.now += WORD_MS // 2 - 1
    assert there.refresh(pump, kept).version == second
    there.world.clock.now += 1
    assert there.refresh(pump, kept).version > second
    there.world.restart()
    assert there.refresh(pump, kept).version > second


def test_a_server_that_was_put_back_does_not_fall_behind_its_machines(
    there: UpdatesWorld,
) -> None:
    pump, kept = there.pumps[0], dict[str, bytes]()
    there.refresh(pump, kept)
    with there.world.database.write() as conn:
        conn.exec_driver_sql("DELETE FROM updates_director")
    there.world.clock.now += 1000
    release = there.release("1.1", 11)
    there.approve(release)
    there.roll_out(release)
    assert there.refresh(pump, kept).targets != ()


def test_a_machine_that_is_not_on_the_roster_is_told_nothing(there: UpdatesWorld) -> None:
    stranger = there.world.join("stranger", preapproved=True)
    release = there.release("1.1", 11)
    there.approve(release)
    there.roll_out(release)
    assert there.file(stranger, "director", name="targets") is None


def test_a_blob_goes_on_after_every_cut_and_lies_are_thrown_away(there: UpdatesWorld) -> None:
    take = there.slice.updates.take_piece
    data = bytes(range(256)) * 40
    name = hashlib.sha256(data).hexdigest()
    assert take(name, 0, len(data), data[:100], OPERATOR).received == 100
    # Another place than its end changes nothing, and says where to go on.
    assert take(name, 50, len(data), data[50:200], OPERATOR).received == 100
    there.world.restart()
    take = there.slice.updates.take_piece
    assert there.ask(there.pumps[0], "blob", name=name).found is False
    done = take(name, 100, len(data), data[100:], OPERATOR)
    assert (done.received, done.complete) == (len(data), True)
    assert take(name, 0, len(data), data[:10], OPERATOR).complete
    answer = there.ask(there.pumps[0], "blob", name=name, offset=9_000, length=5_000)
    assert (answer.total, from_base64url(answer.data)) == (len(data), data[9_000:])
    assert len(there.world.deeds("update.blob_begun")) == 1
    other = "0" * 64
    with refused(Untrusted, "wrong_digest"):
        take(other, 0, 3, b"lie", OPERATOR)
    assert there.slice.updates.blob_size(other).received == 0
    for offset, total, piece in ((0, 2, b"abc"), (0, 0, b""), (0, 2**40, b"x")):
        with refused(Malformed, "bad_piece"):
            take("1" * 64, offset, total, piece, OPERATOR)
    take("2" * 64, 0, 10, b"abc", OPERATOR)
    with refused(Refused, "another_length"):
        take("2" * 64, 3, 11, b"abc", OPERATOR)
    assert there.slice.book.blobs.forget_parts(2**50) == 1
    assert there.slice.updates.blob_size("2" * 64).received == 0


def test_a_disk_without_room_refuses_the_first_piece(
    there: UpdatesWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetward.runtime.blob_folder.RESERVE_BYTES", 2**60)
    with refused(Refused, "disk_full"):
        there.slice.updates.take_piece("3" * 64, 0, 10, b"abc", OPERATOR)


def test_a_published_file_stays_as_it_is(there: UpdatesWorld) -> None:
    publish = there.slice.updates.publish_metadata
    root = ("1.root.json", there.maker.files["1.root.json"])
    changed = there.maker.files["1.targets.json"].replace(b'"sig"', b' "sig"', 1)
    with refused(Refused, "other_file"):
        publish([root, ("1.targets.json", changed)], OPERATOR)
    old = there.maker.files["timestamp.json"]
    there.maker.publish_all(PRODUCT)
    there.publish_metadata()
    with refused(Refused, "other_file"):
        publish([root, ("timestamp.json", old)], OPERATOR)
    newer = json.loads(old)
    newer["signed"]["version"] = 90
    newer["signed"]["meta"]["snapshot.json"]["version"] = 89
    with refused(Refused, "snapshot_missing"):
        publish([root, ("timestamp.json", json.dumps(newer).encode())], OPERATOR)
    assert publish([root], OPERATOR) == there.repository
    with refused(Malformed, "no_first_root"):
        publish([("timestamp.json", old)], OPERATOR)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("../1.root.json", b"{}"), ("root.json", b"{}"), ("1.timestamp.json", b"{}"),
        ("01.root.json", b"{}"), ("2.kiosk.json", b"[]"), ("2.kiosk.json", b'{"signed": 3}'),
        ("2.kiosk.json", b'{"signed": {"_type": "root", "version": 2}}'),
        ("2.kiosk.json", b'{"signed": {"_type": "targets", "version": 3}}'),
        ("2.kiosk.json", b'{"signed": {"_type": "targets", "version": true}}'),
        ("timestamp.json", b'{"signed": {"_type": "timestamp", "version": 2, "meta": []}}'),
        ("2.kiosk.json", b"\xff"), ("2.kiosk.json", b"[" * 5000),
    ],
)  # fmt: skip
def test_what_is_no_metadata_is_refused(there: UpdatesWorld, name: str, body: bytes) -> None:
    root = ("1.root.json", there.maker.files["1.root.json"])
    with pytest.raises(Malformed):
        there.slice.updates.publish_metadata([root, (name, body)], OPERATOR)


def test_a_release_comes_last_and_stays_as_it_is(there: UpdatesWorld) -> None:
    publish = there.slice.updates.publish_release
    manifest, files = make_manifest("3.0", 30)
    data = write_manifest(manifest)
    with refused(Refused, "blob_missing"):
        publish(there.repository, manifest.path, data, OPERATOR)
    there.upload(files)
    with refused(Refused, "another_path"):
        publish(there.repository, "kiosk/3.1/release.json", data, OPERATOR)
    with refused(Refused, "repository_not_found"):
        publish("0" * 64, manifest.path, data, OPERATOR)
    publish(there.repository, manifest.path, data, OPERATOR)
    assert publish(there.repository, manifest.path, data, OPERATOR).counter == 30
    other, _ = make_manifest("3.0", 31)
    with refused(Refused, "other_release"):
        publish(there.repository, other.path, write_manifest(other), OPERATOR)
    with refused(Refused, "release_not_found"):
        there.slice.updates.find_release(PRODUCT, "9.9")


def test_a_copy_that_nobody_signed_does_not_keep_the_true_one_out(there: UpdatesWorld) -> None:
    release = there.release("1.1", 11)
    paper = there.approve(release)
    for _ in range(MAX_COPIES - 1):
        there.submit(resign(paper.raw, {}, [make_key(ED25519)]))
    assert len(there.ask(there.pumps[0], "approvals").envelopes) == MAX_COPIES
    assert len(there.slice.book.holding(there.world.clock.now)) == 1
    with refused(Refused, "too_many_copies"):
        there.submit(resign(paper.raw, {}, [make_key(ED25519)]))
    there.submit(paper.raw)
    signers = there.world.trust.signers
    with refused(Untrusted, "another_owner"):
        there.submit(resign(paper.raw, {"owner": "0" * 64}, signers))
    with refused(Malformed, "unknown_field"):
        there.submit(resign(paper.raw, {"more": 1}, signers))
    with refused(Malformed, "wrong_type"):
        there.submit(there.world.trust.policy.raw)


def test_the_newest_papers_come_first_and_never_too_many(there: UpdatesWorld) -> None:
    release = there.release("1.1", 11)
    for _ in range(MAX_APPROVALS + 3):
        there.world.clock.now += 1
        last = there.approve(release)
    envelopes = there.ask(there.pumps[0], "approvals").envelopes
    assert len(envelopes) == MAX_APPROVALS
    assert from_base64url(envelopes[0]) == last.raw


def test_a_report_counts_only_by_the_machines_own_key_and_for_itself(
    there: UpdatesWorld,
) -> None:
    pump, other = there.pumps
    release = there.release("1.1", 11)
    forged = there.report(other, release, "committed")
    for text in ("", "????", to_base64url(b"{}"), to_base64url(forged)):
        there.enter(pump, "update.committed", text)
    assert there.world.count("updates_report") == 0
    assert there.slice.shown.device(pump.device, (0, 10), 1).products == []
    raw = to_base64url(there.report(pump, release, "committed"))
    there.enter(pump, "update.committed", raw)
    there.enter(pump, "update.committed", raw)
    assert there.world.count("updates_report") == 1


def test_a_failure_keeps_what_runs_and_says_by_what(
    there: UpdatesWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    pump = there.pumps[0]
    old, new = there.release("1.0", 10), there.release("1.1", 11)
    there.approve(new)
    there.say(pump, old, "committed")
    runs = verify_report(
        there.report(pump, old, "committed"), pump.key, there.world.trust.owner
    ).installed
    there.world.clock.now += 3 * DAY_MS
    there.say(
        pump, new, "rolled_back", installed=runs, rule="health", findings=failed("http /ping")
    )
    [product] = there.slice.shown.device(pump.device, (0, 10), 1).products
    assert (product.version, product.outcome) == ("1.0", "rolled_back")
    assert (product.target, product.cause) == ("1.1", "health: http /ping")
    assert (product.newest, product.days_behind) == ("1.1", 3)
    monkeypatch.setattr(ingest, "MOST_REPORTS", 2)
    there.say(pump, new, "failed", attempt=2, installed=runs)
    assert len(there.world.deeds("document.update-report")) == 2
    assert there.world.count("updates_report") == 3


def test_a_machine_that_asks_too_often_is_told_to_come_later(there: UpdatesWorld) -> None:
    desk, asked = there.slice.desk, 0
    from fleetward.wire.updates import UpdateQuestion

    question, waited = UpdateQuestion(what="approvals"), 0.0
    with refused(Refused, "too_often"):
        while asked < 10_000:
            waited = desk.pace(there.pumps[0].device, question)
            asked += 1
    assert 100 < asked < 400 and waited > 3
    assert desk.pace(there.pumps[1].device, question) == 0
    there.world.clock.now += 60_000
    assert desk.pace(there.pumps[0].device, question) == 0


@pytest.mark.parametrize(
    "asked",
    [
        {"what": "root", "name": "../x"}, {"what": "manifest", "name": "A" * 64},
        {"what": "blob", "name": "0" * 64, "length": MAX_PIECE_BYTES + 1},
        {"what": "blob", "name": "0" * 64, "offset": -1}, {"what": "director", "name": "snapshot"},
        {"what": "image", "product": PRODUCT, "name": ""},
        {"what": "image", "product": PRODUCT, "name": "é"}, {"what": "everything"},
    ],
)  # fmt: skip
def test_what_nobody_asks_is_refused(there: UpdatesWorld, asked: dict[str, Any]) -> None:
    from fleetward.wire.subjects import Up

    said = there.world.send(there.pumps[0], Up.UPDATE, json.dumps(asked).encode())
    assert (said["type"], said["reason"] in ("bad_message", "too_large")) == ("refusal", True)


def test_what_changed_in_a_bill_of_materials(there: UpdatesWorld) -> None:
    def bill(**components: str) -> bytes:
        listed = [{"name": name, "version": version} for name, version in components.items()]
        return json.dumps({"bomFormat": "CycloneDX", "components": listed}).encode()

    there.release("1.0", 10, bill=bill(openssl="3.0", zlib="1.2", nano="7"))
    there.release("1.1", 11, bill=bill(openssl="3.1", zlib="1.2", curl="8"), fixes=("CVE-2026-1",))
    row = there.slice.updates.find_release(PRODUCT, "1.1")
    shown = there.slice.shown.detail(row)
    assert (shown.before, shown.components) == ("1.0", 3)
    assert (shown.added, shown.removed) == (["curl 8"], ["nano 7"])
    assert shown.changed == ["openssl 3.0 to 3.1"]
    assert shown.release.fixes == ["CVE-2026-1"]
    there.release("1.2", 12, bill=b"no bill")
    assert there.slice.shown.detail(there.slice.updates.find_release(PRODUCT, "1.2")).added == []


def test_the_routes(there: UpdatesWorld, tmp_path: Path) -> None:
    app = create_app(
        Services(
            handlers=make_update_handlers(UpdateRooms(there.slice.updates, there.slice.shown)),
            authenticator=Names(),
            hosts=HostPolicy(frozenset({"console.localhost"})),
            static=tmp_path / "static",
        )
    )
    assert find_gaps(app) == []
    manifest, files = make_manifest("5.0", 50)
    base, maker = "/api/v1/updates", Repository.make(root_keys=5)
    with TestClient(app, base_url=f"http://{HOST}") as client:

        def bearer(who: str = "operator", **more: str) -> dict[str, str]:
            return {"authorization": f"Bearer {who}", **more}

        def put(name: str, offset: int, data: bytes, total: int) -> Any:
            return client.put(
                f"{base}/blobs/{name}?offset={offset}&length={total}",
                content=data,
                headers=bearer(**{"content-type": "application/octet-stream"}),
            )

        sent = {"files": [{"name": n, "data": to_base64url(d)} for n, d in maker.files.items()]}
        no = client.post(f"{base}/metadata", json=sent, headers=bearer("viewer"))
        assert no.status_code == 403
        made = client.post(f"{base}/metadata", json=sent, headers=bearer())
        assert made.status_code == 202, made.text
        repository = made.json()["repository"]
        assert repository == hashlib.sha256(maker.files["1.root.json"]).hexdigest()
        for name, data in files.items():
            half = len(data) // 2
            assert put(name, 0, data[:half], len(data)).json() == {"size": half, "complete": False}
            known = client.get(f"{base}/blobs/{name}", headers=bearer("viewer"))
            assert known.json() == {"size": half, "complete": False}
            assert put(name, half, data[half:], len(data)).json()["complete"] is True
            read = client.get(f"{base}/blob-bytes/{name}?offset=1", headers=bearer("viewer"))
            assert read.content == data[1:]
        large = put("0" * 64, 0, bytes(4 * 1024 * 1024 + 1), 2**23)
        assert large.status_code == 413
        typed = client.put(f"{base}/blobs/{'0' * 64}?offset=0&length=2", json={}, headers=bearer())
        assert typed.status_code == 415
        wish = {
            "repository": there.repository, "path": manifest.path,
            "manifest": to_base64url(write_manifest(manifest)),
        }  # fmt: skip
        taken = client.post(f"{base}/releases", json=wish, headers=bearer())
        assert (taken.status_code, taken.json()["offerable"]) == (202, True)
        listed = client.get(f"{base}/releases", headers=bearer("viewer")).json()
        assert [row["version"] for row in listed["items"]] == ["5.0"]
        shown = client.get(f"{base}/releases/kiosk/5.0", headers=bearer("viewer")).json()
        assert from_base64url(shown["manifest"]) == write_manifest(manifest)
        assert client.get(f"{base}/releases/kiosk/5.1", headers=bearer()).status_code == 404
        file = client.get(f"{base}/metadata/kiosk/timestamp.json", headers=bearer("viewer"))
        assert file.content == there.maker.files["timestamp.json"]
        assert client.get(f"{base}/metadata/kiosk/x", headers=bearer()).status_code == 404
        root = client.get(f"{base}/roots/{repository}", headers=bearer("viewer"))
        assert root.content == maker.files["1.root.json"]
        director = client.get(f"{base}/director/root", headers=bearer("viewer")).json()
        assert director["named"] is True
        root = client.get(f"{base}/roots/{director['sha256']}", headers=bearer("viewer"))
        assert root.content == from_base64url(director["root"])
        raw = there.approve(manifest).raw
        body = {"envelope": to_base64url(raw)}
        assert client.post(f"{base}/approvals", json=body, headers=bearer()).status_code == 202
        approvals = client.get(f"{base}/approvals", headers=bearer("viewer")).json()["items"]
        assert [(row["state"], row["envelope"]) for row in approvals] == [
            ("holds", to_base64url(raw))
        ]
        device = client.get(f"{base}/devices/{there.pumps[0].device}", headers=bearer("viewer"))
        assert (device.status_code, device.json()["total"]) == (200, 0)
        pump, other = there.pumps[:2]
        there.say(pump, manifest, "committed", findings=failed("http /ping"))
        there.say(other, manifest, "rolled_back", rule="health", findings=failed("http /ping"))
        device = client.get(f"{base}/devices/{pump.device}", headers=bearer("viewer")).json()
        assert [(f["check"], f["good"]) for f in device["items"][0]["findings"]] == [
            ("starts", True), ("http /ping", False),
        ]  # fmt: skip
        on = f"{base}/releases/kiosk/5.0/devices"
        shown = client.get(on, headers=bearer("viewer")).json()
        assert (shown["runs"], shown["failed"], shown["total"]) == (1, 1, 2)
        assert [(row["name"], row["runs"], row["outcome"]) for row in shown["items"]] == [
            ("pump 1", False, "rolled_back"), ("pump 0", True, "committed"),
        ]  # fmt: skip
        for text, total in (("PUMP 1", 1), ("/ping", 2), ("%", 0)):
            found = client.get(on, params={"q": text}, headers=bearer("viewer")).json()
            assert found["total"] == total, text
        assert client.get(f"{base}/releases/kiosk/5.1/devices", headers=bearer()).status_code == 404
        assert client.get(f"{base}/devices/{'b' * 32}", headers=bearer()).status_code == 404
        there.world.trust.retire(pump)
        there.world.publish()
        gone = client.get(f"{base}/devices/{pump.device}", headers=bearer("viewer"))
        assert (gone.status_code, gone.json()["total"]) == (200, 1)
