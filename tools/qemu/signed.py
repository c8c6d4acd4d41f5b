"""What the machine signed, read from its disk while it is off, and verified.

Neither the console nor anything that the machine merely says counts here: each report is judged
under the identity key that the machine had when it joined, by the code that auditors use.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from tools.qemu.people import BIN, People
from tools.reference_image.layout import MIB, Layout, Partition

from fleetward.device.identity.joined import GuardFiles
from fleetward.device.identity.keys import load_identity
from fleetward.trust.canonical import decode_object, from_base64url
from fleetward.trust.update_report import UpdateReport, verify_report


def read_reports(disk: Path, layout: Layout, people: People) -> list[UpdateReport]:
    """Return every report about updates, the oldest first.

    Raises `Untrusted` for one that the machine did not sign, and `RuntimeError` for a journal that
    is not whole.
    """
    data = people.folder / "disk"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    image = people.folder / "data.img"
    _copy_out(disk, layout.find("data"), image)
    # What the file system still has in its journal, as the next start would do it.
    replayed = _run("e2fsck", "-fp", image)
    if replayed.returncode > 1:
        raise RuntimeError(f"The disk is damaged: {replayed.stdout.decode()[-300:]}")
    _run("debugfs", "-R", f"rdump /guard {data}", image)
    whole = subprocess.run(
        [str(BIN / "fleetward-agent"), "journal", "verify", "--data", str(data), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if whole.returncode != 0 or not json.loads(whole.stdout)["ok"]:
        raise RuntimeError(f"The journal is not whole: {whole.stderr.strip()}")
    # The key is the one of the beginning, and not what lies on the disk now.
    key = load_identity(GuardFiles(people.machine / "guard").folder).public
    found = []
    for path in sorted((data / "guard/journal").glob("*.entries")):
        for line in path.read_bytes().splitlines():
            if not line.startswith(b'{"at"'):
                continue
            entry = decode_object(line)
            body, kind = entry["body"], str(entry["kind"])
            if kind.startswith("update.") and isinstance(body, dict) and "report" in body:
                raw = from_base64url(str(body["report"]))
                found.append(verify_report(raw, key, people.owner_root))
    return found


def _copy_out(disk: Path, part: Partition, image: Path) -> None:
    """Copy a partition into a file of its own, without what is empty in it."""
    with disk.open("rb") as source, image.open("wb") as target:
        source.seek(part.start_bytes)
        for at in range(0, part.size_bytes, MIB):
            block = source.read(MIB)
            if block.strip(b"\0"):
                target.seek(at)
                target.write(block)
        target.truncate(part.size_bytes)


def _run(*command: str | Path) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
    words = [str(word) for word in command]
    return subprocess.run(words, env=env, check=False, capture_output=True)
