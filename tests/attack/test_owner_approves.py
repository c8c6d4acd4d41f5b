"""What a lying server, a lying stick or a thief of some keys can have an owner approve: nothing
but what the maker signed, as the maker signed it, for the machines of the owner's own roster."""

# ruff: noqa: F811  (pytest takes fixtures by the names of arguments)

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.release_manifests import AGENT_RELEASE, MARKED_RELEASE, make_manifest, manifest_bytes
from tests.release_world import edit
from tests.unit.keyholder.access_scene import now_ms
from tests.unit.keyholder.owner_fixtures import (  # noqa: F401
    clock,
    desk,
    made_once,
    one_server,
    owner,
    passphrase_file,
    quick_keys,
    server,
)
from tests.unit.keyholder.release_scene import (
    OtherRepository,
    ReleaseScene,
    make_release_scene,
    make_repository,
)
from tests.unit.keyholder.small_server import SmallServer

from fleetward.keyholder.ceremony import NewOwner
from fleetward.keyholder.policy_changes import change_policy
from fleetward.keyholder.speak import make_plain
from fleetward.keyholder.updates.desk import read_all
from fleetward.keyholder.updates.draft import make_approval_draft, open_approval_draft
from fleetward.keyholder.updates.finding import find_release
from fleetward.keyholder.updates.kept import KeptFolder, NothingKept
from fleetward.keyholder.updates.preparing import prepare_approval, sign_approval
from fleetward.keyholder.updates.roots import fetch_director, set_maker
from fleetward.keyholder.updates.server_rows import PaperRow
from fleetward.keyholder.updates.source import BundleSource, FolderSource, ServerSource
from fleetward.keyholder.updates.telling import tell_release
from fleetward.runtime.keys import make_key
from fleetward.trust.canonical import to_base64url
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Untrusted
from fleetward.trust.keys import ED25519
from fleetward.trust.release_approval import Terms, make_approval_payload
from fleetward.trust.release_manifest import Manifest, make_path, read_manifest, write_manifest
from fleetward.trust.selector import Selector
from fleetward.wire.update_bundle import write_head

EVIL = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\u202eevil"
pytestmark = pytest.mark.usefixtures("quick_keys")


@pytest.fixture
def scene(owner: NewOwner, server: SmallServer) -> ReleaseScene:
    return make_release_scene(owner.folder, server)


def refused(scene: ReleaseScene, family: type[FleetwardError], *reasons: str) -> None:
    """Demand that the owner's tool does not believe what the server shows."""
    with pytest.raises(family) as caught:
        scene.look()
    assert caught.value.reason in reasons


def terms() -> Terms:
    return Terms(Selector(), now_ms(), now_ms() + 86_400_000, (), "")


def test_an_honest_server_is_believed(scene: ReleaseScene) -> None:
    assert scene.look().manifest.version == "1.1"


def test_another_release_under_the_same_name(scene: ReleaseScene) -> None:
    """The server has a manifest of its own, and one that the maker signed under another version."""
    own = manifest_bytes("kiosk", "1.1", 11, notes="Mine.")
    scene.manifests["kiosk", "1.1"] = own
    refused(scene, Untrusted, "wrong_hash", "wrong_length")
    scene.manifests["kiosk", "1.1"] = scene.release("kiosk", "1.0", 10)
    refused(scene, Untrusted, "wrong_hash", "wrong_length")
    scene.lie = lambda path, answer: {"manifest": "!!!"} if "/releases/" in path else answer
    refused(scene, Malformed, "not_base64url")
    scene.lie = lambda path, answer: {"manifest": 7} if "/releases/" in path else answer
    refused(scene, Malformed, "bad_answer")


def test_a_maker_who_signs_one_version_under_the_path_of_another(scene: ReleaseScene) -> None:
    data = manifest_bytes("kiosk", "1.0", 10)
    scene.repository.add_target("kiosk", make_path("kiosk", "1.1"), data)
    scene.repository.publish_all("kiosk")
    scene.manifests["kiosk", "1.1"] = data
    refused(scene, Untrusted, "another_release")


def test_older_metadata_is_refused_once_newer_was_seen(scene: ReleaseScene) -> None:
    """Both the stick and the server: who looked once is shown no earlier state again."""
    before = dict(scene.repository.files)
    scene.release("kiosk", "1.2", 12)
    assert scene.look("kiosk", "1.2").manifest.counter == 12
    newer = scene.repository.files
    scene.repository.files = {**newer, "timestamp.json": before["timestamp.json"]}
    refused(scene, Untrusted, "rollback_timestamp")
    assert scene.look_error("kiosk", "1.2") == "rollback_timestamp"
    scene.repository.files = newer
    assert scene.look("kiosk", "1.2").manifest.counter == 12


def test_a_withheld_file_is_no_other_release(scene: ReleaseScene) -> None:
    for name, reason in (
        ("/roots/", "root_absent"),
        ("timestamp.json", "timestamp_absent"),
        ("kiosk.json", "delegated_absent"),
        ("/releases/", "release_absent"),
    ):
        scene.lie = lambda path, answer, name=name: None if name in path else answer  # type: ignore[misc]
        assert scene.look_error() == reason


def test_another_products_key(scene: ReleaseScene) -> None:
    """The key of `pump` signs below `kiosk/`, and below `pump/` something that says `kiosk`."""
    data = manifest_bytes("kiosk", "9", 99)
    scene.repository.add_target("pump", make_path("kiosk", "9"), data)
    scene.repository.publish_all("pump")
    scene.manifests["kiosk", "9"] = data
    assert scene.look_error("kiosk", "9") == "release_absent"
    # The maker's own `targets` gives kiosk's paths to pump's key, before kiosk's own.
    delegations = scene.repository.targets().delegations
    assert delegations is not None and delegations.roles is not None
    delegations.roles["pump"].paths = ["pump/*/release.json", "kiosk/*/release.json"]
    delegations.roles = dict(sorted(delegations.roles.items(), reverse=True))
    scene.repository.publish_all("targets")
    assert scene.look_error("kiosk", "9") == "another_products_key"


def test_another_makers_repository(scene: ReleaseScene) -> None:
    """A whole repository, truly signed, by somebody whom the policy does not name."""
    other = make_repository("kiosk", "pump", kind=OtherRepository)
    honest, scene.repository = scene.repository, other
    scene.release("kiosk", "1.1", 11)
    anchor = sha256(honest.files["1.root.json"]).hexdigest()
    kept = KeptFolder(scene.desk.folder, "kiosk", anchor)
    mine = honest.files["1.root.json"]
    scene.lie = lambda path, answer: other.files["1.root.json"] if "/roots/" in path else answer
    source = _server(scene)
    with pytest.raises(Untrusted) as caught:
        find_release(source, kept, anchor, ("kiosk", "1.1"), now_ms())
    assert caught.value.reason == "another_root" and kept.newest_root() is None
    scene.lie = lambda path, answer: mine if "/roots/" in path else answer
    with pytest.raises(Untrusted) as caught:
        find_release(source, kept, anchor, ("kiosk", "1.1"), now_ms())
    assert caught.value.reason == "root_threshold"


def test_a_root_that_somebody_exchanged_in_the_folder(scene: ReleaseScene) -> None:
    scene.look()
    kept = KeptFolder(scene.desk.folder, "kiosk", scene.anchor)
    path = scene.desk.folder.path / "updates" / "kiosk" / scene.anchor / "roots" / "00001.json"
    path.write_bytes(make_repository("kiosk", kind=OtherRepository).files["1.root.json"])
    with pytest.raises(Untrusted) as caught:
        kept.newest_root()
    assert caught.value.reason == "another_root"


def test_a_manifest_of_another_hash_and_signatures_that_are_none(scene: ReleaseScene) -> None:
    newest = sorted(n for n in scene.repository.files if n.endswith(".kiosk.json"))[-1]
    lie = edit(scene.repository.files[newest], lambda m: m["signed"].update(x=1))
    scene.repository.files[newest] = lie
    assert scene.look_error() in {"wrong_hash", "wrong_length", "answer_too_large"}


@pytest.mark.parametrize("garbage", [b"", b"{}", b"[" * 20_000, b"\xff" * 100, b"x" * 3_000_000])
def test_garbage_in_the_place_of_any_file(scene: ReleaseScene, garbage: bytes) -> None:
    for place in ("/roots/", "timestamp.json", "snapshot.json", "targets.json", "kiosk.json",
                  "root.json", "/releases/"):  # fmt: skip
        scene.lie = lambda path, answer, place=place: garbage if place in path else answer  # type: ignore[misc]
        assert scene.look_error()
    scene.lie = lambda path, answer: answer
    assert scene.look().manifest.version == "1.1"


def test_metadata_that_expired_is_refused_and_a_clock_set_back_does_not_help(
    scene: ReleaseScene,
) -> None:
    source, kept = _server(scene), KeptFolder(scene.desk.folder, "kiosk", scene.anchor)
    late = now_ms() + 20 * 365 * 86_400_000
    with pytest.raises(Refused) as caught:
        find_release(source, kept, scene.anchor, ("kiosk", "1.1"), late)
    assert caught.value.reason == "root_expired"


def test_machines_that_the_server_hides_are_selected_all_the_same(
    scene: ReleaseScene, passphrase_file: Path
) -> None:
    """Which machines are meant is read from the owner's roster; no list of the server is asked."""
    asked: list[str] = []

    def lie(path: str, answer: Any) -> Any:
        asked.append(path)
        return answer

    scene.lie = lie
    scene.server.answers["/devices"] = {"items": [], "total": 0}
    done = scene.says(passphrase_file, "approve", "kiosk/1.1", "--group", "ward-3", "--yes")
    assert "It selects 2 machines" in done.stderr and "kiosk-2" in done.stderr
    assert all(path.startswith("/updates/") for path in asked)


def test_words_of_the_maker_drive_no_terminal(scene: ReleaseScene, passphrase_file: Path) -> None:
    """A signed manifest holds no control characters; what is shown passes a filter besides."""
    for changes in ({"notes": EVIL}, {"fixes": (EVIL,)}, {"hardware": (EVIL,)}):
        scene.release("kiosk", "1.3", 13, **changes)
        assert scene.look_error("kiosk", "1.3") == "bad_field"
        done = scene.says(passphrase_file, "approve", "kiosk/1.3", "--all", "--yes")
        assert done.exit_code == 1 and "\x1b" not in done.stderr and "\u202e" not in done.stderr
    evil = replace(make_manifest(), notes=EVIL, fixes=(EVIL,), hardware=(EVIL,), hash="00" * 32)
    shown = tell_release(evil)
    assert "\x1b" not in shown and "\u202e" not in shown and shown == make_plain(shown)


def test_many_words_of_the_maker_do_not_hide_the_question(scene: ReleaseScene) -> None:
    many = tuple(f"CVE-2026-{n:04}" for n in range(256))
    scene.release("kiosk", "1.4", 14, fixes=many, notes="x" * 4000)
    shown = tell_release(scene.look("kiosk", "1.4").manifest)
    assert len(shown.splitlines()) < 20 and len(shown) < 3000 and "and 244 more" in shown


@pytest.mark.parametrize("marks", [AGENT_RELEASE, MARKED_RELEASE])
def test_a_release_that_replaces_the_agent_is_never_shown_without_that(
    scene: ReleaseScene, marks: dict[str, Any]
) -> None:
    scene.release("kiosk", "1.5", 15, **marks)
    found = scene.look("kiosk", "1.5")
    assert "AGENT" in tell_release(found.manifest)
    policy = scene.desk.documents().policy
    payload = make_approval_payload(policy, found.manifest, terms(), now_ms())
    assert payload["agent"] is True


# --- drafts that travel


def draft_of(scene: ReleaseScene, manifest: Manifest, raw: bytes, **changes: Any) -> bytes:
    """Return a draft with one signature over an approval of `manifest`, changed by a thief."""
    documents = scene.desk.documents()
    payload = make_approval_payload(documents.policy, manifest, terms(), now_ms())
    approval = seal({**payload, **changes}, [scene.desk.signer("approver")])
    kept = KeptFolder(scene.desk.folder, "kiosk", scene.anchor)
    found = replace(scene.look(), raw=raw)
    return make_approval_draft(documents, approval, found, (kept.roots(), kept.roles()))


def test_a_draft_that_shows_one_release_and_approves_another(scene: ReleaseScene) -> None:
    owner_root = scene.desk.documents().owner
    honest = scene.look()
    opened = open_approval_draft(draft_of(scene, honest.manifest, honest.raw), owner_root, now_ms())
    assert opened.prepared.manifest == honest.manifest
    other = read_manifest(manifest_bytes("kiosk", "1.1", 11, notes="Mine."))
    agentless = {"agent": True}
    for draft, reason in (
        (draft_of(scene, other, honest.raw), "another_release"),
        (draft_of(scene, other, write_manifest(other)), "wrong_hash"),
        (draft_of(scene, honest.manifest, honest.raw, **agentless), "another_approval"),
        (draft_of(scene, honest.manifest, honest.raw, counter=7), "another_approval"),
        (draft_of(scene, honest.manifest, honest.raw, version="9"), "release_absent"),
    ):
        with pytest.raises(FleetwardError) as caught:
            open_approval_draft(draft, owner_root, now_ms())
        assert caught.value.reason in {reason, "wrong_length"}


def test_a_draft_under_another_root_policy_or_maker(scene: ReleaseScene) -> None:
    honest = scene.look()
    raw = draft_of(scene, honest.manifest, honest.raw)
    with pytest.raises(Untrusted):
        open_approval_draft(raw, "00" * 32, now_ms())
    value = json.loads(raw)
    other = make_repository("kiosk", kind=OtherRepository).files["1.root.json"]
    lies: list[dict[str, Any]] = [
        {"policies": value["policies"][1:]},
        {"policies": []},
        {"maker_roots": [to_base64url(other)]},
        {"maker_roots": []},
        {"maker_roles": {}},
        {"manifest": ""},
        {"format": "fleetward-approval-draft/2"},
        {"more": 1},
        {"approval": ""},
    ]
    for changes in lies:
        changed = json.dumps(value | changes).encode()
        with pytest.raises(FleetwardError):
            open_approval_draft(changed, scene.desk.documents().owner, now_ms())


def test_strangers_add_no_yes_and_take_nothing_back(scene: ReleaseScene) -> None:
    stranger = make_key(ED25519)
    found, policy = scene.look(), scene.desk.documents().policy
    prepared = prepare_approval(policy, found.manifest, terms(), now_ms())
    with pytest.raises(Refused) as caught:
        sign_approval(prepared, [stranger])
    assert caught.value.reason == "no_approver"
    signed = sign_approval(prepared, [scene.desk.signer("approver")])
    forged = seal(read_envelope(signed).payload, [stranger])
    other = seal({**prepared.payload, "epoch": 2}, [scene.desk.signer("approver")])
    rows = [PaperRow(to_base64url(each)) for each in (signed, forged, other, b"{}", b"")]
    cases, doubted = read_all(scene.desk.folder, [*rows, PaperRow("!")])
    assert [case.approval.hash for case in cases] == [prepared.hash]
    assert len(doubted) == 5 and not any(each.own for each in doubted)
    with pytest.raises(Untrusted):
        sign_approval(prepared, [scene.desk.signer("approver")], other)


# --- roots


def test_a_director_that_the_server_names_wrongly(scene: ReleaseScene) -> None:
    root = scene.repository.files["1.root.json"]
    right = {"sha256": sha256(root).hexdigest(), "root": to_base64url(root)}
    scene.director = right
    found = fetch_director(scene.client)
    assert found is not None and found.digest == right["sha256"]
    unsigned = edit(root, lambda metadata: metadata["signatures"].clear())
    for lie in (
        right | {"sha256": "00" * 32},
        right | {"root": to_base64url(unsigned)},
        right | {"root": to_base64url(b"{}")},
        right | {"root": "!"},
        {"sha256": right["sha256"]},
    ):
        scene.director = lie
        with pytest.raises((Malformed, Untrusted)):
            fetch_director(scene.client)
    scene.director = None
    assert fetch_director(scene.client) is None


def test_a_root_file_of_a_maker_that_nobody_signed(
    scene: ReleaseScene, passphrase_file: Path, tmp_path: Path
) -> None:
    before = scene.desk.documents().policy.version
    file = tmp_path / "root.json"
    root = scene.repository.files["1.root.json"]
    for data in (b"{}", edit(root, lambda metadata: metadata["signatures"].clear())):
        file.write_bytes(data)
        done = scene.says(passphrase_file, "policy", "set", "maker", "pump", file)
        assert done.exit_code == 1
    assert scene.desk.documents().policy.version == before


def test_what_one_makers_folder_kept_is_not_taken_for_anothers(scene: ReleaseScene) -> None:
    """After the policy names another root, nothing of the maker before counts."""
    scene.look()
    other = make_repository("kiosk", "pump", kind=OtherRepository)
    digest = sha256(other.files["1.root.json"]).hexdigest()
    change_policy(scene.desk, set_maker("kiosk", digest), now_ms())
    assert KeptFolder(scene.desk.folder, "kiosk", digest).newest_root() is None
    with pytest.raises(FleetwardError) as caught:
        find_release(
            _server(scene), KeptFolder(scene.desk.folder, "kiosk", digest), digest,
            ("kiosk", "1.1"), now_ms(),
        )  # fmt: skip
    assert caught.value.reason == "root_absent"


# --- sticks


def test_a_stick_that_lies(scene: ReleaseScene, tmp_path: Path) -> None:
    files = scene.bundle_files()
    bundle = tmp_path / "x.bundle"

    def write(changed: list[tuple[str, bytes]], cut: int = 0) -> None:
        data = write_head([(n, len(d)) for n, d in changed]) + b"".join(d for _, d in changed)
        bundle.write_bytes(data[: len(data) - cut])

    def look() -> Manifest:
        named = ("kiosk", "1.1")
        return find_release(
            BundleSource(bundle), NothingKept(), scene.anchor, named, now_ms()
        ).manifest

    write(files)
    assert look().version == "1.1"
    mine = manifest_bytes("kiosk", "1.1", 11, notes="Mine.")
    lies = [
        [(n, mine if n.startswith("manifest/") else d) for n, d in files],
        [(n, d[:-1] if n.startswith("image/") else d) for n, d in files],
        [(n, d) for n, d in files if not n.endswith("timestamp.json")],
        [(n, d) for n, d in files if not n.startswith("root/")],
        [(n, d + b" " * 600_000) for n, d in files],
    ]
    for lie in lies:
        write(lie)
        with pytest.raises(FleetwardError):
            look()
    write(files, cut=1)
    with pytest.raises(FleetwardError):
        look()
    for head in (b"", b"FLEETWARD-BUNDLE-1\n\xff\xff\xff\xff", b"x" * 100):
        bundle.write_bytes(head)
        with pytest.raises(Malformed):
            BundleSource(bundle)


def test_a_repository_on_a_stick_leads_nowhere_else(scene: ReleaseScene, tmp_path: Path) -> None:
    place = scene.write_repository(tmp_path / "maker")
    secret = tmp_path / "secret"
    secret.write_bytes(b"{}")
    (place / "metadata" / "timestamp.json").unlink()
    (place / "metadata" / "timestamp.json").symlink_to(secret)
    with pytest.raises(FleetwardError):
        find_release(FolderSource(place), NothingKept(), scene.anchor, ("kiosk", "1.1"), now_ms())
    for version in ("../1.1", "..", "1.1/..", "", "-x", "a b", "\x1b[2J"):
        with pytest.raises(Malformed):
            find_release(
                FolderSource(place), NothingKept(), scene.anchor, ("kiosk", version), now_ms()
            )


def _server(scene: ReleaseScene) -> ServerSource:
    return ServerSource(scene.client)
