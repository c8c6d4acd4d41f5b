"""Approving releases from the command line: what is shown, signed, kept and handed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.release_manifests import MARKED_RELEASE
from tests.unit.keyholder.access_scene import now_ms
from tests.unit.keyholder.release_scene import ReleaseScene
from typer.testing import CliRunner, Result

from fleetward.cli.owner import owner_app
from fleetward.keyholder.policy_changes import add_person, change_policy, remove_person
from fleetward.keyholder.signing import PolicyDraft
from fleetward.runtime.keys import make_key, seal_key
from fleetward.trust.canonical import to_base64url
from fleetward.trust.keys import ED25519
from fleetward.trust.release_approval import Approval, verify_approval, verify_withdrawal
from fleetward.trust.release_manifest import read_manifest
from fleetward.trust.words import six_words
from fleetward.wire.update_bundle import write_head

pytestmark = pytest.mark.usefixtures("quick_keys")


def answer(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def newest(scene: ReleaseScene) -> Approval:
    return verify_approval(scene.taken[-1], scene.desk.documents().policy)


def test_a_release_is_shown_approved_and_handed_over(
    scene: ReleaseScene, passphrase_file: Path
) -> None:
    done = scene.says(
        passphrase_file, "approve", "kiosk/1.1", "--group", "ward-3", "--reason", "tested",
        "--window", "Mon-Fri 22:00-05:00 Europe/Vienna", "--yes",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    manifest = read_manifest(scene.manifests["kiosk", "1.1"])
    for said in (
        six_words(bytes.fromhex(manifest.hash)), "15 B, 4 B from a version before",
        "directory to app", "CVE-2026-0001", "Faster start.", "until 2027-", "every model",
        "It selects 2 machines", "kiosk-1 (Hall)", "1 other stays out", "group ward-3",
        "Mon, Tue, Wed, Thu, Fri 22:00-05:00 Europe/Vienna", "because   tested",
    ):  # fmt: skip
        assert said in done.stderr, said
    assert "AGENT" not in done.stderr
    approval = newest(scene)
    assert (approval.release, approval.version, approval.counter) == (manifest.hash, "1.1", 11)
    assert approval.terms.selector.groups == ("ward-3",) and not approval.agent
    ninety = approval.terms.not_after_ms - approval.terms.not_before_ms
    assert ninety == 90 * 86_400_000
    assert scene.desk.folder.has(f"documents/releases/{approval.hash}.json")


def test_json_tells_machines_and_others(scene: ReleaseScene, passphrase_file: Path) -> None:
    shown = answer(scene.says(
        passphrase_file, "approve", "kiosk/1.1", "--model", "Kiosk 12", "--site", "Hall", "--yes",
        "--until", "2030-01-01", "--not-before", "2029-01-01T02:00+01:00", "--json",
    ))  # fmt: skip
    assert [m["name"] for m in shown["machines"]] and shown["others"] == 1
    assert {m["name"] for m in shown["machines"]} == {"kiosk-1", "kiosk-2"}
    assert shown["not_before"] == "2029-01-01T01:00:00.000Z"
    assert shown["envelope"] == to_base64url(scene.taken[-1])
    assert shown["release"]["sbom"] and shown["needed"] == 1


def test_machines_by_name_and_a_release_for_other_models(
    scene: ReleaseScene, passphrase_file: Path
) -> None:
    scene.release("kiosk", "1.2", 12, hardware=("Kiosk 12",))
    done = scene.says(
        passphrase_file, "approve", "kiosk/1.2", "--device", "pump-7", "--device", "kiosk-1",
        "--yes",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "1 machine of them will refuse it" in done.stderr and "pump-7" in done.stderr
    pump = scene.machines["pump-7"].device
    assert pump in newest(scene).terms.selector.devices


def test_a_release_that_replaces_the_agent_is_called_that(
    scene: ReleaseScene, passphrase_file: Path
) -> None:
    scene.release("kiosk", "2", 20, **MARKED_RELEASE, reboot=True, fixes=())
    done = scene.says(passphrase_file, "approve", "kiosk/2", "--all", "--yes")
    assert "replaces the agent itself" in done.stderr and "starts again" in done.stderr
    assert newest(scene).agent


def test_a_standing_approval_says_that_it_never_covers_the_agent(
    scene: ReleaseScene, passphrase_file: Path
) -> None:
    done = scene.says(
        passphrase_file, "approve", "kiosk", "--standing", "--wait", "3d", "--all", "--yes"
    )
    assert done.exit_code == 0, done.stderr
    assert "never covers a release that replaces the agent" in done.stderr
    assert "3 days after each machine first saw it" in done.stderr
    approval = newest(scene)
    assert approval.standing and approval.wait_seconds == 3 * 86_400
    year = approval.terms.not_after_ms - approval.terms.not_before_ms
    assert year == 365 * 86_400_000


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("kiosk/1.1", "--yes"), "no_machines"),
        (("kiosk/1.1", "--all", "--only", "terminal:app"), "bad_options"),
        (("kiosk", "--all"), "bad_options"),
        (("kiosk", "--standing", "--all"), "bad_options"),
        (("kiosk/1.1", "--standing", "--wait", "3d"), "bad_options"),
        (("kiosk/1.1", "--wait", "3d", "--all"), "bad_options"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_words_that_do_not_go_together_are_misuse(
    scene: ReleaseScene, passphrase_file: Path, words: tuple[str, ...], reason: str
) -> None:
    done = scene.says(passphrase_file, "approve", *words)
    assert done.exit_code == 2 and f"[{reason}]" in done.stderr
    assert not scene.taken


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("kiosk/1.1", "--all", "--group", "ward-3"), "bad_selector"),
        (("kiosk/1.1", "--all", "--until", "2020-01-01"), "bad_time"),
        (("kiosk/1.1", "--all", "--until", "soon"), "bad_time"),
        (("kiosk/1.1", "--all", "--window", "nightly"), "bad_window"),
        (("kiosk/1.1", "--all", "--window", "Mon 1:00-2:00 Atlantis/Nowhere"), "bad_zone"),
        (("kiosk/1.1", "--device", "nobody"), "not_on_roster"),
        (("kiosk/1.9", "--all"), "release_absent"),
        (("pump/1.0", "--all"), "no_maker"),
        (("pump", "--standing", "--wait", "1d", "--all"), "no_maker"),
        (("kiosk/../x", "--all"), "bad_version"),
        (("kiosk/1.1", "--all", "--reason", "x" * 201), "bad_reason"),
        (("kiosk/1.1", "--all"), "not_confirmed"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else value,
)
def test_what_cannot_be_is_refused_and_nothing_is_signed(
    scene: ReleaseScene, passphrase_file: Path, words: tuple[str, ...], reason: str
) -> None:
    done = scene.says(passphrase_file, "approve", *words)
    assert done.exit_code == 1 and f"[{reason}]" in done.stderr
    assert not scene.taken


def test_without_a_server_it_is_written_for_a_bundle(
    scene: ReleaseScene, passphrase_file: Path, tmp_path: Path
) -> None:
    repository = scene.write_repository(tmp_path / "maker")
    out = tmp_path / "approval.json"
    done = scene.says(
        passphrase_file, "approve", "kiosk/1.1", "--all", "--yes", "--from", repository, "--out",
        out, near=False,
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert verify_approval(out.read_bytes(), scene.desk.documents().policy).version == "1.1"
    assert not scene.taken
    nowhere = scene.says(passphrase_file, "approve", "kiosk/1.1", "--all", "--yes", near=False)
    assert nowhere.exit_code == 2


def test_a_bundle_is_a_source_too(
    scene: ReleaseScene, passphrase_file: Path, tmp_path: Path
) -> None:
    files = scene.bundle_files()
    bundle = tmp_path / "kiosk.bundle"
    head = write_head([(name, len(data)) for name, data in files])
    bundle.write_bytes(head + b"".join(data for _, data in files))
    done = scene.says(passphrase_file, "approve", "kiosk/1.1", "--all", "--yes", "--from", bundle)
    assert done.exit_code == 0, done.stderr
    bundle.write_bytes(bundle.read_bytes()[:-1])
    cut = scene.says(passphrase_file, "approve", "kiosk/1.1", "--all", "--yes", "--from", bundle)
    assert "[no_bundle]" in cut.stderr and len(scene.taken) == 1


def test_what_was_approved_is_listed_and_taken_back(
    scene: ReleaseScene, passphrase_file: Path
) -> None:
    empty = scene.says(None, "approvals")
    assert "No release is approved" in empty.stdout and "PRODUCT/VERSION" in empty.stdout
    scene.says(passphrase_file, "approve", "kiosk/1.1", "--all", "--yes")
    scene.says(passphrase_file, "approve", "kiosk/1.1", "--all", "--yes", "--not-before", "7d")
    scene.says(passphrase_file, "approve", "kiosk", "--standing", "--wait", "1d", "--all", "--yes")
    states = [c["state"] for c in answer(scene.says(None, "approvals", "--json"))["approvals"]]
    assert sorted(states) == ["ahead", "holds", "holds"]
    done = scene.says(passphrase_file, "withdraw", "kiosk/1.1", "--reason", "fails on old screens")
    assert done.exit_code == 0, done.stderr
    policy = scene.desk.documents().policy
    withdrawn = [verify_withdrawal(raw, policy) for raw in scene.taken[-2:]]
    assert {w.reason for w in withdrawn} == {"fails on old screens"}
    told = scene.says(None, "approvals", near=False).stdout
    assert told.count("withdrawn ") >= 2 and "fails on old screens" in told and "holds" in told
    again = scene.says(passphrase_file, "withdraw", "kiosk/1.1")
    assert "[approval_not_found]" in again.stderr
    (standing,) = [
        c for c in answer(scene.says(None, "approvals", "--json"))["approvals"] if c["standing"]
    ]
    by_id = scene.says(passphrase_file, "withdraw", standing["id"][:12])
    assert by_id.exit_code == 0, by_id.stderr


def test_an_approval_of_another_folder_is_listed_once_it_verifies(
    scene: ReleaseScene, passphrase_file: Path
) -> None:
    scene.says(passphrase_file, "approve", "kiosk/1.1", "--all", "--yes")
    (scene.desk.folder.path / f"documents/releases/{newest(scene).hash}.json").unlink()
    scene.taken.append(b"{}")
    shown = answer(scene.says(None, "approvals", "--json"))
    assert len(shown["approvals"]) == 1 and len(shown["doubted"]) == 1
    assert answer(scene.says(None, "approvals", "--json", near=False))["approvals"] == []
    assert scene.says(passphrase_file, "withdraw", "kiosk/1.1").exit_code == 0
    (case,) = answer(scene.says(None, "approvals", "--json", near=False))["approvals"]
    assert case["state"] == "withdrawn"


def two_people(scene: ReleaseScene, folder: Path) -> Path:
    """Let approvals take two people; return the second one's sealed key."""
    bo = make_key(ED25519)

    def both(draft: PolicyDraft) -> PolicyDraft:
        ids = (*draft.roles["approve"][0], bo.public.key_id)
        draft = add_person("Bo", bo.public, ["approve"])(draft)
        draft.roles["approve"] = (ids, 2)  # type: ignore[index]
        return draft

    change_policy(scene.desk, both, now_ms())
    path = folder / "bo.key"
    path.write_bytes(seal_key(bo, b"correct horse battery staple", "bo.key"))
    return path


@pytest.mark.parametrize("standing", [False, True], ids=["a release", "standing"])
def test_two_people_approve_by_a_file_that_travels(
    scene: ReleaseScene, passphrase_file: Path, tmp_path: Path, standing: bool
) -> None:
    key = two_people(scene, tmp_path)
    named = ("kiosk", "--standing") if standing else ("kiosk/1.1",)
    more = ("--wait", "2d") if standing else ()
    first = scene.says(passphrase_file, "approve", *named, *more, "--all", "--yes")
    assert "[more_signatures_needed]" in first.stderr and not scene.taken
    (draft,) = (scene.desk.folder.path / "drafts").glob("approval-*.json")
    travelled = tmp_path / "travelled.json"
    travelled.write_bytes(draft.read_bytes())
    early = scene.says(passphrase_file, "approve", *named, "--draft", travelled)
    assert "[too_few_signatures]" in early.stderr
    root = scene.desk.documents().owner
    signed = CliRunner().invoke(owner_app, [
        "cosign", str(travelled), "--root", root, "--key", str(key), "--yes",
        "--passphrase-file", str(passphrase_file),
    ])  # fmt: skip
    assert signed.exit_code == 0, signed.stderr
    assert "it takes  2 people" in signed.stderr
    done = scene.says(passphrase_file, "approve", *named, "--draft", travelled)
    assert done.exit_code == 0, done.stderr
    assert newest(scene).people == ("Ada", "Bo")


def test_a_server_that_does_not_take_it_loses_nothing(
    scene: ReleaseScene, passphrase_file: Path
) -> None:
    scene.server.refuse = "not_now"
    done = scene.says(passphrase_file, "approve", "kiosk/1.1", "--all", "--yes")
    assert done.exit_code == 1 and "is kept in" in done.stderr
    scene.server.refuse = ""
    kept = answer(scene.says(None, "approvals", "--json", near=False))["approvals"]
    assert [c["state"] for c in kept] == ["holds"]
    for handed in (1, 0):
        told = answer(scene.says(passphrase_file, "refresh", "--json"))
        assert told["approvals_handed"] == handed and len(scene.taken) == 1


def test_a_restored_server_gets_withdrawals_again_and_an_old_one_is_left_alone(
    scene: ReleaseScene, passphrase_file: Path
) -> None:
    scene.says(passphrase_file, "approve", "kiosk/1.1", "--all", "--yes")
    scene.says(passphrase_file, "withdraw", "kiosk/1.1")
    withdrawal = scene.taken.pop()
    assert answer(scene.says(passphrase_file, "refresh", "--json"))["approvals_handed"] == 1
    assert scene.taken[-1] == withdrawal
    scene.lie = lambda path, answer: None
    assert answer(scene.says(passphrase_file, "refresh", "--json"))["approvals_handed"] == 0


def test_a_key_of_ones_own_signs_without_the_folders(
    scene: ReleaseScene, passphrase_file: Path, tmp_path: Path
) -> None:
    bo = make_key(ED25519)
    change_policy(scene.desk, add_person("Bo", bo.public, ["approve"]), now_ms())
    key = tmp_path / "bo.key"
    key.write_bytes(seal_key(bo, b"correct horse battery staple", "bo.key"))
    done = scene.says(passphrase_file, "approve", "kiosk/1.1", "--all", "--yes", "--key", key)
    assert done.exit_code == 0, done.stderr
    approval = newest(scene)
    assert approval.people == ("Bo",)
    stranger = tmp_path / "eve.key"
    stranger.write_bytes(seal_key(make_key(ED25519), b"correct horse battery staple", "eve.key"))
    no = scene.says(passphrase_file, "approve", "kiosk/1.1", "--all", "--yes", "--key", stranger)
    assert "[no_approver]" in no.stderr
    out = tmp_path / "withdrawal.json"
    back = scene.says(
        passphrase_file, "withdraw", approval.hash[:16], "--key", key, "--out", out, near=False
    )
    assert back.exit_code == 0, back.stderr
    assert verify_withdrawal(out.read_bytes(), scene.desk.documents().policy).person == "Bo"


def test_a_withdrawal_is_signed_once_and_a_file_holds_one(
    scene: ReleaseScene, passphrase_file: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        scene.says(passphrase_file, "approve", "kiosk/1.1", "--all", "--yes")
    out = tmp_path / "withdrawal.json"
    both = scene.says(passphrase_file, "withdraw", "kiosk/1.1", "--out", out, near=False)
    assert "[several_approvals]" in both.stderr and not out.exists()
    one = newest(scene).hash
    for _ in range(2):
        assert scene.says(passphrase_file, "withdraw", one, "--out", out).exit_code == 0
    first = out.read_bytes()
    assert scene.says(passphrase_file, "withdraw", one, "--out", out).exit_code == 0
    assert out.read_bytes() == first


def test_an_approval_whose_signer_left_the_policy_counts_no_longer(
    scene: ReleaseScene, passphrase_file: Path, tmp_path: Path
) -> None:
    bo = make_key(ED25519)
    change_policy(scene.desk, add_person("Bo", bo.public, ["approve"]), now_ms())
    key = tmp_path / "bo.key"
    key.write_bytes(seal_key(bo, b"correct horse battery staple", "bo.key"))
    scene.says(passphrase_file, "approve", "kiosk/1.1", "--all", "--yes", "--key", key)
    change_policy(scene.desk, remove_person("Bo"), now_ms())
    told = scene.says(None, "approvals", near=False)
    assert "counts no longer" in told.stdout
    shown = answer(scene.says(None, "approvals", "--json", near=False))
    assert shown["approvals"] == [] and shown["doubted"][0]["own"]
