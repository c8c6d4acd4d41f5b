"""Looks before and after a session on a small machine, and what is found between them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.unit.posture.compare_world import FRAME, KEY, SESSION, SmallMachine, compare
from tests.unit.posture.trees import HEAD, add_process, table_row

from fleetward.device.posture.compare.findings import RULES
from fleetward.device.posture.compare.look import Before, look_at_machine
from fleetward.device.posture.compare.making import make_comparison
from fleetward.device.posture.compare.snapshot import Snapshot, pack_snapshot
from fleetward.device.posture.files import Root
from fleetward.device.posture.processes import take_snapshot
from fleetward.wire.comparison import MAX_COMPARISON_BYTES, decode_comparison

KEY_LINE = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHUk0o8mPzMnQ7oJk2dPzq8kq9l1l8pQ1m0n8vW9yW1u eve@x\n"
)


@pytest.fixture
def machine(tmp_path: Path) -> SmallMachine:
    return SmallMachine.make(tmp_path)


def test_nothing_changed(machine: SmallMachine) -> None:
    found = machine.compare()
    assert (found.findings, found.changes, found.left) == ((), (), ())
    assert (found.finding_count, found.change_count) == (0, 0)
    assert (found.session, found.before_at, found.after_at) == (SESSION, 1000, 4000)


def new_user(m: SmallMachine) -> None:
    m.append("/etc/passwd", "eve:x:1001:1001::/home/eve:/bin/bash\n")


def new_root(m: SmallMachine) -> None:
    m.append("/etc/passwd", "toor:x:0:0::/root:/bin/bash\n")


def raised_user(m: SmallMachine) -> None:
    m.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:0:1000::/home/app:/bin/bash\n")


def new_password(m: SmallMachine) -> None:
    m.write("/etc/shadow", "root:!:1::::::\napp:$6$salt$xyz:1::::::\n")


def no_password(m: SmallMachine) -> None:
    m.write("/etc/shadow", "root:!:1::::::\napp::1::::::\n")


def new_member(m: SmallMachine) -> None:
    m.write("/etc/group", "root:x:0:\nsudo:x:27:app\n")


def enabled(m: SmallMachine) -> None:
    folder = m.base / "etc/systemd/system/multi-user.target.wants"
    folder.mkdir(parents=True)
    (folder / "evil.service").symlink_to("/etc/systemd/system/evil.service")


def set_back(m: SmallMachine) -> None:
    path = m.base / "etc/ssh/sshd_config"
    times = path.stat()
    path.write_text("Port 23\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def listens(m: SmallMachine) -> None:
    m.write("/proc/net/tcp", HEAD + table_row("00000000", 4444, "0A", 7))
    add_process(m.base, 77, "nc", inodes=(7,), executable="/usr/bin/nc")


CASES: list[tuple[Callable[[SmallMachine], object], set[str]]] = [
    (new_user, {"new_user"}),
    (new_root, {"root_user"}),
    (raised_user, {"root_user", "user_changed"}),
    (new_password, {"password_changed"}),
    (no_password, {"password_changed"}),
    (new_member, {"group_changed"}),
    (lambda m: m.write("/home/app/.ssh/authorized_keys", KEY_LINE), {"new_key"}),
    (lambda m: m.write("/etc/sudoers.d/x", "app ALL=(ALL) NOPASSWD: ALL\n"), {"new_sudo_rule"}),
    (lambda m: m.write("/etc/cron.d/x", "* * * * * root /tmp/x\n"), {"new_cron_entry"}),
    (lambda m: m.write("/var/spool/cron/crontabs/app", "@reboot x\n"), {"new_cron_entry"}),
    (lambda m: m.write("/etc/cron.daily/x", "#!/bin/sh\n"), {"new_cron_entry"}),
    (lambda m: m.write("/var/spool/cron/atjobs/a001", "x\n"), {"new_at_job"}),
    (lambda m: m.write("/etc/systemd/system/x.timer", "[Timer]\nOnBootSec=1\n"), {"new_timer"}),
    (
        lambda m: m.write("/home/app/.config/systemd/user/x.service", "[Service]\nExecStart=/x\n"),
        {"new_service"},
    ),
    (enabled, {"service_enabled"}),
    (lambda m: m.write("/etc/rc.local", "#!/bin/sh\n"), {"boot_changed"}),
    (lambda m: m.write("/etc/ld.so.preload", "/tmp/x.so\n"), {"preload_changed"}),
    (lambda m: m.append("/home/app/.profile", "x &\n"), {"shell_start_changed"}),
    (lambda m: m.write("/etc/profile.d/x.sh", "x &\n"), {"shell_start_changed"}),
    (lambda m: m.write("/etc/pam.d/login", "auth sufficient pam_permit.so\n"), {"pam_changed"}),
    (lambda m: m.append("/etc/ssh/sshd_config", "PermitRootLogin yes\n"), {"sshd_changed"}),
    (set_back, {"sshd_changed", "time_set_back"}),
    (lambda m: m.write("/tmp/.x/sh", "\x7fELF", 0o4755), {"new_setuid_file"}),
    (lambda m: (m.base / "usr/bin/true").chmod(0o4755), {"new_setuid_file"}),
    (listens, {"new_listening_socket"}),
    (lambda m: m.write("/proc/modules", "ext4 1 0 - Live 0\nrk 1 0 - Live 0\n"),
     {"new_kernel_module"}),
    (lambda m: m.write("/usr/bin/anydesk", "x"), {"remote_tool"}),
    (lambda m: m.write("/etc/systemd/system/teamviewerd.service", "[Service]\n"),
     {"remote_tool", "new_service"}),
]  # fmt: skip


@pytest.mark.parametrize(("act", "rules"), CASES, ids=[str(sorted(r)) for _, r in CASES])
def test_each_change_is_a_finding(
    machine: SmallMachine, act: Callable[[SmallMachine], object], rules: set[str]
) -> None:
    act(machine)
    found = machine.compare()
    assert {finding.rule for finding in found.findings} == rules
    assert all(finding.words and finding.evidence for finding in found.findings)


def test_every_rule_is_tried() -> None:
    tried = set().union(*(rules for _, rules in CASES))
    elsewhere = {"approved_remote_tool", "approvals_changed"}
    assert tried | elsewhere == {rule.name for rule in RULES}


def test_a_secret_is_never_in_a_look_and_never_in_a_comparison(machine: SmallMachine) -> None:
    machine.write("/etc/shadow", "root:!:1::::::\napp:$6$salt$xyz:1::::::\n")
    assert machine.before is not None
    for made in (msgspec.msgpack.encode(machine.before), msgspec.json.encode(machine.compare())):
        assert b"$6$" not in made
    marks = {look.facts["user"]["app"][5] for look in (machine.before, machine.see())}
    assert len(marks) == 2
    other = look_at_machine(
        machine.base, (), Before(take_snapshot(Root(machine.base), deep=False), b"z" * 32)
    )
    assert other.facts["user"]["app"][5] not in marks
    assert all(mark not in str(msgspec.json.encode(machine.compare())) for mark in marks)


def test_a_key_is_told_by_its_print_and_its_options(machine: SmallMachine) -> None:
    machine.write("/home/app/.ssh/authorized_keys", 'command="/bin/x",no-pty ' + KEY_LINE)
    (finding,) = machine.compare().findings
    assert finding.words == "A new key opens the user app"
    assert "SHA256:" in finding.evidence and 'command="/bin/x"' in finding.evidence
    machine.look()
    machine.write("/home/app/.ssh/authorized_keys", KEY_LINE)
    (finding,) = machine.compare().findings
    assert finding.words == "A key with other options opens the user app"


def test_keys_in_another_place_are_keys(machine: SmallMachine) -> None:
    machine.append("/etc/ssh/sshd_config", "AuthorizedKeysFile /etc/keys/%u .ssh/authorized_keys\n")
    machine.look()
    machine.write("/etc/keys/app", KEY_LINE)
    assert machine.rules() == ["new_key"]


def test_what_is_taken_away_is_a_change_and_no_finding(machine: SmallMachine) -> None:
    machine.write("/etc/cron.d/x", "* * * * * root true\n")
    machine.look()
    (machine.base / "etc/cron.d/x").unlink()
    found = machine.compare()
    assert found.findings == ()
    assert {(c.kind, c.change) for c in found.changes} == {("cron", "removed"), ("file", "removed")}


def test_files_are_told_by_how_they_differ(machine: SmallMachine) -> None:
    machine.write("/etc/app/a", "1\n")
    machine.write("/etc/app/b", "1\n", 0o644)
    machine.write("/etc/app/c", "1\n")
    machine.look()
    machine.write("/etc/app/a", "22\n")
    (machine.base / "etc/app/b").chmod(0o666)
    (machine.base / "etc/app/c").unlink()
    (machine.base / "etc/app/c").mkdir()
    told = {c.name: (c.change, c.before, c.after) for c in machine.compare().changes}
    assert told["/etc/app/a"] == ("changed", "2 bytes", "3 bytes")
    assert told["/etc/app/b"] == ("changed", "0644", "0666")
    assert told["/etc/app/c"] == ("changed", "file", "folder")


def test_a_folder_of_the_session_is_walked_through(tmp_path: Path) -> None:
    machine = SmallMachine.make(tmp_path)
    machine.folders = ("/srv/data",)
    machine.write("/srv/data/deep/er/x", "1")
    machine.look()
    machine.write("/srv/data/deep/er/y", "2")
    assert [c.name for c in machine.compare().changes] == ["/srv/data/deep/er/y"]


def test_a_machine_without_passwd_is_looked_at_all_the_same(tmp_path: Path) -> None:
    machine = SmallMachine(tmp_path)
    machine.look()
    machine.write("/etc/cron.d/x", "* * * * * root true\n")
    found = machine.compare()
    assert [f.rule for f in found.findings] == ["new_cron_entry"]
    assert "/etc/passwd names no user." in found.unseen


def test_the_document_is_bounded_and_counts_what_is_left_out(machine: SmallMachine) -> None:
    for number in range(3000):
        machine.write(f"/etc/many/{number:05}-{'n' * 120}", "x")
    machine.write("/etc/cron.d/x", "".join(f"0 0 * * * root job-{n}\n" for n in range(500)))
    assert machine.before is not None
    document = make_comparison(FRAME, machine.before, machine.see())
    assert len(document) <= MAX_COMPARISON_BYTES
    found = decode_comparison(document)
    assert len(found.findings) == 100
    assert found.finding_count == 500
    assert found.change_count == 3000 + 500 + 3
    assert {left.kind for left in found.left} == {"file", "finding"}


def test_a_kind_that_only_one_look_has_is_passed_over(machine: SmallMachine) -> None:
    assert machine.before is not None
    facts = {kind: rows for kind, rows in machine.before.facts.items() if kind != "user"}
    blind = msgspec.structs.replace(machine.before, facts=facts)
    assert compare(blind, machine.before).changes == ()
    assert compare(machine.before, blind).changes == ()


def test_a_look_is_small(machine: SmallMachine) -> None:
    assert machine.before is not None
    assert len(pack_snapshot(machine.before)) < 8192
    assert isinstance(machine.before, Snapshot)
    assert len(KEY) == 32
