"""What a lying server can make an owner believe, or sign, about closings: nothing."""

# ruff: noqa: F811  (pytest takes fixtures by the names of arguments)

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.keyholder.access_scene import now_ms
from tests.unit.keyholder.closing_scene import ClosingScene, make_closing_scene
from tests.unit.keyholder.owner_fixtures import (  # noqa: F401
    clock,
    desk,
    made_once,
    one_server,
    owner,
    passphrase_file,
    server,
)
from tests.unit.keyholder.small_server import TOKEN, SmallServer
from typer.testing import CliRunner, Result

from fleetward.cli.owner import owner_app
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.closing.judging import Progress, read_progress
from fleetward.keyholder.closing.signing import sign_closing, sign_kept
from fleetward.keyholder.closing.telling import say_countdown, tell_preview, tell_progress
from fleetward.keyholder.console.closing_keeper import ClosingKeeper
from fleetward.keyholder.console.stream import Changes
from fleetward.keyholder.desk import Desk
from fleetward.runtime.clock import SystemClock
from fleetward.trust.canonical import to_base64url
from fleetward.trust.closing import ClosedPort, Closing, ClosingWish
from fleetward.trust.errors import FleetwardError, Malformed, Untrusted

SSH = ClosingWish((), (ClosedPort("tcp", 8080),), ("ssh",), 600, "nobody needs it")


@pytest.fixture
def scene(desk: Desk, server: SmallServer) -> ClosingScene:
    return make_closing_scene(desk, server)


def close(scene: ClosingScene, wish: ClosingWish = SSH) -> Closing:
    closing = sign_closing(scene.desk, wish, now_ms()).closing
    scene.api.submit(closing.raw)
    return closing


def owner_says(scene: ClosingScene, passphrase_file: Path, *words: str) -> Result:
    """Run `fleetward owner close …` near the scene's server."""
    token = scene.desk.folder.path.parent / "token-of-a-test"
    token.write_text(TOKEN)
    token.chmod(0o600)
    return CliRunner().invoke(owner_app, [
        "close", *words, "--owner", str(scene.desk.folder.path), "--server",
        scene.server.api.removesuffix("/api/v1"), "--token-file", str(token),
        "--passphrase-file", str(passphrase_file),
    ])  # fmt: skip


def progress(scene: ClosingScene, closing: Closing) -> Progress:
    documents = scene.desk.documents()
    return read_progress(scene.api.detail(closing.hash), documents.policy, documents.entries)


def test_machines_that_signed_are_counted_and_others_are_not(scene: ClosingScene) -> None:
    scene.off.add(list(scene.machines)[1])
    found = progress(scene, close(scene))
    assert found.counts == {"applied": 1, "silent": 1}
    assert not found.answered and "1 not heard of" in tell_progress(found)


def test_the_servers_word_about_a_state_counts_for_nothing(scene: ClosingScene) -> None:
    scene.off |= set(list(scene.machines)[:1])
    closing = close(scene)

    def lie(path: str, answer: Any) -> Any:
        for part in answer.get("machines", []):
            part |= {"state": "kept", "report": ""}
        return answer

    scene.lie = lie
    assert progress(scene, closing).counts == {"silent": 2}


def test_reports_of_others_or_about_another_closing_are_not_believed(scene: ClosingScene) -> None:
    older, newer = close(scene), close(scene)
    one, two = scene.machines.values()
    for false in (
        scene.report(two, newer, "applied"),
        scene.report(one, older, "applied"),
        b"{}",
    ):
        scene.reports[newer.hash, one.device] = false
        found = progress(scene, newer)
        assert found.counts == {"applied": 1, "silent": 1}
        (doubted,) = [m for m in found.machines if m.entry.device == one.device]
        assert doubted.trouble.startswith("Not believed")


def test_one_closing_is_not_shown_as_another(scene: ClosingScene) -> None:
    first, second = close(scene), close(scene)
    scene.lie = lambda path, answer: answer | {"envelope": to_base64url(first.raw)}
    with pytest.raises(FleetwardError, match="as another"):
        progress(scene, second)


def test_a_closing_is_kept_under_its_own_name(scene: ClosingScene, passphrase_file: Path) -> None:
    """The true papers of one that the owner lets run out are no papers of the one he keeps."""
    wanted, other = close(scene), close(scene, replace(SSH, reason="by mistake"))
    scene.lie = lambda path, answer: (
        scene._detail(other) if f"/closings/{wanted.hash[:8]}" in path else answer
    )
    for named in (wanted.hash, wanted.hash[:8]):
        done = owner_says(scene, passphrase_file, "keep", named)
        assert done.exit_code == 1 and "[another_closing]" in done.stderr
    keeper = ClosingKeeper(
        scene.desk, lambda: ApiClient(scene.server.api, TOKEN), Changes(), SystemClock()
    )
    with pytest.raises(Untrusted, match="answers about closing"):
        keeper.keep(wanted.hash)
    assert not scene.kept


def test_without_a_name_the_owners_own_newest_is_kept(
    scene: ClosingScene, passphrase_file: Path
) -> None:
    """Which one that is, the server does not say."""
    older, newer = close(scene), close(scene)
    scene.lie = lambda path, answer: (
        answer | {"items": [scene._row(older)]} if "items" in answer else answer
    )
    done = owner_says(scene, passphrase_file, "keep")
    assert done.exit_code == 0, done.stderr
    assert scene.kept == {newer.hash}


def test_what_is_asked_is_what_will_be_signed(scene: ClosingScene, passphrase_file: Path) -> None:
    """How many machines an order is for, and what they are called, is the roster's word."""
    first, second = scene.machines.values()
    scene.lie = lambda path, answer: (
        answer | {"items": [scene._machine(first) | {"name": "test rig", "site": "\x1b[2JWard 9"}]}
        if path.startswith("/closing-machines")
        else answer
    )
    asked = owner_says(scene, passphrase_file, "now", "--all", "--ssh", "--preview")
    assert asked.exit_code == 0, asked.stderr
    assert "pump-7 (Ward 3)" in asked.stdout and "pump-8 (Ward 3)" in asked.stdout
    assert "not been looked at" in asked.stdout
    assert "test rig" not in asked.stdout and "\x1b" not in asked.stdout
    asked = owner_says(scene, passphrase_file, "now", second.device, "--ssh", "--preview")
    assert "pump-8" in asked.stdout and "pump-7" not in asked.stdout


def test_a_list_draws_no_lines_of_its_own(scene: ClosingScene, passphrase_file: Path) -> None:
    close(scene)
    hostile = {"words": "x\n9f9f9f9f  kept\x1b]52;c;eA==\x07", "issued_at": "\x9b2J"}
    scene.lie = lambda path, answer: (
        answer | {"items": [answer["items"][0] | hostile]} if "items" in answer else answer
    )
    done = owner_says(scene, passphrase_file, "list")
    assert done.exit_code == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert not set(done.stdout) & set("\x1b\x07\x9b")


def test_serials_rise_also_when_the_clock_goes_back(scene: ClosingScene) -> None:
    first = sign_closing(scene.desk, SSH, now_ms()).closing
    second = sign_closing(scene.desk, SSH, now_ms() - 10**9).closing
    assert second.serial == first.serial + 1


def test_a_wish_out_of_bounds_is_not_signed(scene: ClosingScene) -> None:
    for seconds in (59, 86_401):
        with pytest.raises(Malformed):
            sign_closing(scene.desk, ClosingWish((), (), (), seconds, ""), now_ms())
    many = tuple("a" * 32 for _ in range(1001))
    with pytest.raises(Malformed, match="at most 1000"):
        sign_closing(scene.desk, ClosingWish(many, (), (), 600, ""), now_ms())


def test_kept_is_said_by_the_machines(scene: ClosingScene) -> None:
    closing = close(scene)
    scene.api.keep(closing.hash, sign_kept(scene.desk, closing.hash, now_ms()).raw)
    assert progress(scene, closing).counts == {"kept": 2}


def test_a_preview_names_who_would_be_cut_off_and_its_age(scene: ClosingScene) -> None:
    words = tell_preview(scene.api.machines(), SSH.ports, SSH.local_access)
    assert "10.2.3.9 is connected to tcp/22: it would be cut off" in words
    assert "sshd waits for others" in words and words.count("as of") == 4
    assert [say_countdown(n) for n in (598, 3723, -1)] == ["9:58", "1:02:03", "0:00"]
