"""The owner's console over a scene of sessions, served for a browser to look at.

python -m tests.unit.keyholder.access_stage     prints the address, until Ctrl-C
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.runbook_world import Hole, scope_of
from tests.unit.keyholder.access_scene import Scene, make_scene
from tests.unit.keyholder.owner_fixtures import PASSPHRASE
from tests.unit.keyholder.small_server import TOKEN, serving
from tests.unit.keyholder.test_access_flow import asked, granted

from fleetward.keyholder.access.answering import Answer
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.console.keeper import Keeper
from fleetward.keyholder.console.main import ConsoleWish, Opened, PhoneWish, serve_console
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.init import init_owner, name_local_server
from fleetward.runtime.clock import SystemClock
from fleetward.trust.access import FilesScope, LogsScope, RootScope, TcpScope, TerminalScope
from fleetward.trust.access_serial import SerialScope
from fleetward.trust.runbook import IntegerArgument, TextArgument
from fleetward.wire.comparison import Difference, Finding

SHELL = (
    b'[0.0,"r","80x20"]',
    b'[0.1,"m","terminal opened as app"]',
    b'[0.4,"o","\\u001b[32mapp@pump-7\\u001b[0m:~$ "]',
    b'[1.2,"i","systemctl status pump\\r"]',
    b'[1.3,"o","systemctl status pump\\r\\n\\u001b[31m\\u25cf\\u001b[0m pump.service - "]',
    b'[1.4,"o","Infusion pump\\r\\n'
    b'     Active: \\u001b[1;31mfailed\\u001b[0m (Result: exit-code)\\r\\n"]',
    b'[9.0,"o","\\u001b]52;c;ZXZpbA==\\u0007\\u001b[32mapp@pump-7\\u001b[0m:~$ "]',
)


FINDINGS = (
    Finding(
        rule="new_key",
        severity="warning",
        words="A new key opens the user app",
        evidence="/srv/app/.ssh/authorized_keys SHA256:" + "x" * 43 + " ssh-ed25519 <b>eve</b>",
        attack=("T1098.004",),
    ),
    Finding(
        rule="approved_remote_tool", severity="info", words="AnyDesk, approved by Ada",
        evidence="package anydesk (contract 7)", attack=("T1219",),
    ),
)  # fmt: skip
CHANGES = (
    Difference(kind="key", change="added", name="app /srv/app/.ssh/authorized_keys SHA256:xx"),
    Difference(kind="file", change="changed", name="/srv/app/" + "n" * 200, before="1 bytes",
               after="2 bytes"),
    Difference(kind="file", change="removed", name="/etc/old", before="file 0644 of 0:0"),
)  # fmt: skip


def fill(scene: Scene) -> None:
    """Put requests and sessions of every kind into a scene."""
    scene.server.answers["/owner/pending"] = {"items": []}
    asked(scene)
    granted(scene)
    scene.record(scene.row, *SHELL[:3])
    scene.record(scene.row, *SHELL[3:])
    scene.record(scene.row, b'[12.0,"m","terminal closed"]')
    scene.compare(scene.row, findings=FINDINGS, changes=CHANGES, unseen=("/opt: not read.",))
    scene.finish(scene.row)
    asked(scene, FilesScope("/srv/app", "read", 10**6))
    scene.row.papers["offer"] = b""
    scene.row.state = "asked"
    asked(scene, TcpScope(8080, "http"))
    granted(scene, Answer(watched=True))
    scene.record(scene.row, *SHELL)
    asked(scene, RootScope())
    asked(scene, TerminalScope("app"), LogsScope("nginx.service"), TcpScope(8080, "raw"))
    book = scene.maker.sign(
        [
            ["/usr/bin/df", "-h", "/"],
            ["/opt/pump/bin/bundle", "--since", Hole("day"), "--lines", Hole("lines")],
            ["/bin/sh", "-c", "tar -cf - /var/log/pump | gzip > ~/bundle.tar.gz"],
        ],
        TextArgument("day", ("digit", "dash"), 10, 10),
        IntegerArgument("lines", 1, 500),
    )
    run = scope_of(book, day="2026-11-26", lines="200")
    asked(scene, run, SerialScope("/dev/ttyUSB0", 9600), runbooks=(book.raw,))


@contextmanager
def served(folder: Path) -> Iterator[tuple[Scene, str]]:
    """Serve the console over such a scene; yield it and the address with its secret."""
    with opened(folder) as (scene, where):
        yield scene, where.address


@contextmanager
def opened(folder: Path, phones: PhoneWish | None = None) -> Iterator[tuple[Scene, Opened]]:
    """Serve the console over such a scene, with phones where they are wished for."""
    with serving(folder) as server:
        named = name_local_server(server.write_data(folder / "data"))
        init_owner(folder / "owner", PASSPHRASE, named, ("Ward 3", "Ada"), SystemClock())
        desk = Desk.open(folder / "owner", _passphrase(folder), SystemClock())
        scene = make_scene(desk, server, folder)
        fill(scene)
        keeper = Keeper(desk, lambda: ApiClient(server.api, TOKEN), SystemClock())
        found: list[Opened] = []
        thread = threading.Thread(
            target=serve_console,
            args=(keeper, SystemClock(), ConsoleWish(phones=phones), found.append),
            daemon=True,
        )
        thread.start()
        while not found and thread.is_alive():
            time.sleep(0.05)
        yield scene, found[0]


def _passphrase(folder: Path) -> Path:
    path = folder / "passphrase"
    path.write_bytes(PASSPHRASE)
    path.chmod(0o600)
    return path


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp(prefix="access-stage-"))
    try:
        with served(place) as (_, address):
            print(address, flush=True)
            while True:
                time.sleep(1)
    finally:
        shutil.rmtree(place, ignore_errors=True)
