"""Backup and restore with the real programs: a running server, a machine that goes on meanwhile."""

from __future__ import annotations

import tarfile
import threading
import time
from pathlib import Path

import httpx
import pytest
from tests.system.command_line import Plane, run, running_plane

from fleetward.cli.backup import WHAT, read_backup, write_backup
from fleetward.runtime.sealed import open_stream, seal_stream
from fleetward.trust.errors import FleetwardError


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_restored_server_waits_for_its_owner_and_gets_everything_again(tmp_path: Path) -> None:
    kept = tmp_path / "fleetward.backup"
    with running_plane(tmp_path) as old:
        join = old.invite(uses=5)
        unused = old.invite(uses=5)
        assert old.agent("join", "pump", join).status == 0
        first = old.agent("run", "pump", "--once")
        assert first.status == 0, first.err
        token = old.fleetward("token", "create", "--role", "viewer", "--ttl", "3600", "--json")
        assert token.status == 0, token.err
        secret = token.json["token"]
        assert old.get("/today", secret).status_code == 200
        link = old.fleetward("login-link", "--json").json["url"]
        # While machines write.
        busy = threading.Thread(target=lambda: old.agent("run", "pump", "--once"))
        busy.start()
        said = old.fleetward("backup", "--out", kept, "--passphrase-file", old.passphrase)
        busy.join()
        assert said.status == 0, said.err
        assert (kept.stat().st_mode & 0o077) == 0
        assert b"fleetward.toml" not in kept.read_bytes()
        # After the backup: the machine goes on, and its proofs name a longer record.
        for _ in range(2):
            assert old.agent("run", "pump", "--once").status == 0
        before = old.get("/devices").json()["items"][0]
        last = old.get(f"/devices/{before['id']}").json()["proof"]["last_sequence"]
        size = old.get("/record").json()["size"]
        refused = old.fleetward("restore", kept, "--passphrase-file", old.passphrase)
        assert refused.status == 1
        assert "empty" in refused.err
    new = Plane(tmp_path, tmp_path / "restored")
    said = new.fleetward("restore", kept, "--passphrase-file", new.passphrase, "--json")
    assert said.status == 0, said.err
    assert not (new.data / "owner").exists()
    assert "state.db" not in (new.data / "fleetward.toml").read_text()
    assert new.up().status == 0
    try:
        assert new.get("/record/opening-request").json()["needed"] is True
        doctor = new.fleetward("doctor")
        assert (doctor.status, "owner restore-open" in doctor.out) == (1, True)
        assert new.get("/record").json()["size"] < size
        # What was handed out is dead.
        assert new.get("/today", secret).status_code == 401
        code = link.partition("#code=")[2]
        redeemed = httpx.post(f"{new.ready['api']}/session/redeem", json={"code": code})
        assert redeemed.status_code in (400, 401, 403)
        for dead in (join, unused):
            late = new.agent("join", "late", dead)
            assert late.status == 1
            assert "restored" in late.err or "used up" in late.err, late.err
        # The machine keeps what it has, and asks again and again, until the owner has spoken.
        waiting = new.start_agent("pump")
        time.sleep(8)
        shown = new.get(f"/devices/{before['id']}").json()
        assert (shown["connection"], shown["proof"]["last_leaf"] or 0) <= ("connected", size)
        assert new.get("/record/opening-request").json()["needed"] is True
        assert waiting.poll() is None
        opened = new.owner_does(
            "restore-open", "--reason", "the disk died", "--accept-loss", "--json"
        )
        assert opened.status == 0, opened.err
        assert opened.json["generation"] == 2
        assert waiting.wait(120) == 0
        shown = new.get(f"/devices/{before['id']}").json()
        assert shown["proof"]["last_sequence"] >= last
        assert new.get("/record").json()["generation"] == 2
        # A new invitation works, and the whole record verifies offline.
        assert new.agent("join", "late", new.invite()).status == 0
        assert new.fleetward("audit", "export", "--out", tmp_path / "record").status == 0
        root = new.get("/owner/documents").json()["owner_root"]
        verified = run(
            "fleetward", "audit", "verify", tmp_path / "record", "--root", root, "--json",
            home=tmp_path,
        )  # fmt: skip
        assert verified.json["contradicted"] == [], verified.out
    finally:
        new.fleetward("down")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stopped control plane."""
    with running_plane(tmp_path, owned=False) as plane:
        pass
    return plane.data


def test_a_backup_that_was_meddled_with_restores_nothing(folder: Path, tmp_path: Path) -> None:
    good = tmp_path / "good"
    size = write_backup(folder, good, b"secret")
    content = good.read_bytes()
    assert size == len(content)
    bad = tmp_path / "bad"
    target = tmp_path / "new" / "data"
    cases = {
        "altered": content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
        "header": content.replace(b'"cost":65536', b'"cost":65535', 1),
        "cut": content[:-1],
        "longer": content + b"x",
        "empty": b"",
        "noise": b"\x00" * 10_000,
    }
    for name, altered in cases.items():
        bad.write_bytes(altered)
        with pytest.raises(FleetwardError):
            read_backup(bad, target, b"secret")
        assert not target.exists(), name
        assert list((tmp_path / "new").iterdir()) == [], name
    with pytest.raises(FleetwardError) as caught:
        read_backup(good, target, b"another")
    assert caught.value.reason == "wrong_passphrase"
    names = read_backup(good, target, b"secret")
    assert "server/state.db" in names
    assert (target.stat().st_mode & 0o077) == 0


def test_what_is_in_a_backup_and_what_is_not(folder: Path, tmp_path: Path) -> None:
    (folder / "owner").mkdir()
    (folder / "owner" / "keys").write_text("the owner's")
    out = tmp_path / "kept"
    write_backup(folder, out, b"secret")
    plain = tmp_path / "plain.tar"
    with out.open("rb") as source:
        plain.write_bytes(b"".join(open_stream(source, b"secret", "control-plane-backup")))
    with tarfile.open(plain) as archive:
        assert sorted(archive.getnames()) == [
            "fleetward.toml", "server/ca/issuing.key", "server/ca/server-ca.key",
            "server/ca/server-ca.pem", "server/director/1.root.json",
            "server/director/director.key", "server/log.key", "server/state.db",
        ]  # fmt: skip
    assert str(folder) not in plain.read_bytes().decode("latin-1")


def test_a_backup_with_other_names_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("../../evil", "/etc/passwd", "server/other", "owner/keys"):
        plain = tmp_path / "evil.tar"
        with tarfile.open(plain, "w") as archive:
            archive.add(folder / "fleetward.toml", arcname=name)
        out = tmp_path / "evil"
        out.write_bytes(b"".join(seal_stream([plain.read_bytes()], b"secret", WHAT)))
        with pytest.raises(FleetwardError) as caught:
            read_backup(out, tmp_path / "new", b"secret")
        assert caught.value.reason == "bad_backup"
        assert not (tmp_path / "new").exists()
    out.write_bytes(b"".join(seal_stream([b"no tar at all" * 100], b"secret", WHAT)))
    with pytest.raises(FleetwardError):
        read_backup(out, tmp_path / "new", b"secret")
    assert not (tmp_path / "new").exists()


def test_another_database_is_not_backed_up_by_us(folder: Path, tmp_path: Path) -> None:
    config = folder / "fleetward.toml"
    config.write_text(
        config.read_text().replace('database_url = ""', 'database_url = "sqlite:///x"')
    )
    with pytest.raises(FleetwardError) as caught:
        write_backup(folder, tmp_path / "out", b"secret")
    assert caught.value.reason == "not_sqlite"
    assert not (tmp_path / "out").exists()
