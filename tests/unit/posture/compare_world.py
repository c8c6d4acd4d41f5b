"""Small machines that are looked at twice.

machine = SmallMachine(tmp_path)
machine.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\\n")
machine.look()
machine.write("/etc/cron.d/x", "* * * * * root true\\n")
assert machine.rules() == ["new_cron_entry"]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.unit.posture.trees import HEAD, make_tree

from fleetward.device.posture.compare.look import Before, look_at_machine
from fleetward.device.posture.compare.making import Frame, make_comparison
from fleetward.device.posture.compare.snapshot import Snapshot, pack_snapshot, unpack_snapshot
from fleetward.device.posture.files import Root
from fleetward.device.posture.processes import take_snapshot
from fleetward.wire.comparison import Comparison, decode_comparison

KEY = b"k" * 32
SESSION = "ab" * 32
FRAME = Frame(
    device="a" * 32, session=SESSION, before_at=1000, opened_at=2000, ended_at=3000, after_at=4000
)
PASSWD = (
    "root:x:0:0::/root:/bin/sh\nbin:x:1:1::/:/sbin/nologin\napp:x:1000:1000::/home/app:/bin/bash\n"
)


def compare(before: Snapshot, after: Snapshot, frame: Frame = FRAME) -> Comparison:
    """Return the comparison of two looks, after its way through bytes."""
    return decode_comparison(make_comparison(frame, before, after))


@dataclass
class SmallMachine:
    """A tree with the usual files."""

    base: Path
    before: Snapshot | None = None
    folders: tuple[str, ...] = ()

    @classmethod
    def make(cls, base: Path) -> SmallMachine:
        """Return one that has been looked at."""
        machine = cls(base)
        make_tree(
            base,
            {
                "/etc/passwd": PASSWD,
                "/etc/shadow": "root:!:1::::::\napp:$6$salt$abc:1::::::\n",
                "/etc/group": "root:x:0:\nsudo:x:27:\n",
                "/etc/ssh/sshd_config": "Port 22\n",
                "/home/app/.profile": "umask 22\n",
                "/root/.bashrc": "true\n",
                "/proc/uptime": "1000.0 1.0\n",
                "/proc/net/tcp": HEAD,
                "/proc/modules": "ext4 1 0 - Live 0\n",
                "/usr/bin/true": "#!/bin/sh\n",
            },
        )
        machine.look()
        return machine

    def write(self, name: str, content: str | bytes, mode: int | None = None) -> Path:
        """Write a file."""
        make_tree(self.base, {name: content})
        path = self.base / name.lstrip("/")
        if mode is not None:
            path.chmod(mode)
        return path

    def append(self, name: str, content: str) -> None:
        """Append to a file."""
        with (self.base / name.lstrip("/")).open("a") as file:
            file.write(content)

    def see(self) -> Snapshot:
        """Look, and let the look go through bytes as it does from a child."""
        kernel = take_snapshot(Root(self.base), deep=False)
        found = look_at_machine(self.base, self.folders, Before(kernel, KEY))
        return unpack_snapshot(pack_snapshot(found))

    def look(self) -> Snapshot:
        """Look before a session."""
        self.before = self.see()
        return self.before

    def compare(self) -> Comparison:
        """Look after a session, and compare."""
        assert self.before is not None
        return compare(self.before, self.see())

    def rules(self) -> list[str]:
        """Return the rules of the findings."""
        return [finding.rule for finding in self.compare().findings]
