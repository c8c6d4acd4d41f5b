"""Every dependency is pinned by a hash, and no lock file names where it came from."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from tests.unit.house.tracked import ROOT, list_tracked

LOCKS = sorted((ROOT / "locks").glob("*.txt"))
NODE_LOCK = ROOT / "console" / "package-lock.json"
ADDRESS = re.compile(r"[a-z+]+://|\bindex-url\b|\bfind-links\b|\btrusted-host\b|\.(?:org|com|io)/")
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^\]]+\])?==\S+(?: ; .+)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


def read_names(lock: Path) -> set[str]:
    found = (PIN.match(line) for line in lock.read_text().splitlines())
    return {match[1] for match in found if match}


def name_package(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def test_locks_are_there() -> None:
    names = {lock.name for lock in LOCKS}
    assert names == {"dev.txt", "device.txt", "hsm.txt", "node.txt", "server.txt", "tools.txt"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_line_is_a_pin_a_hash_or_a_comment(lock: Path) -> None:
    lines = lock.read_text().splitlines()
    told = [line for line in lines if line and not line.lstrip().startswith("#")]
    strange = [line for line in told if not PIN.match(line) and not HASH.match(line)]
    assert not strange
    assert any(HASH.match(line) for line in lines)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_pin_is_followed_by_a_hash(lock: Path) -> None:
    lines = lock.read_text().splitlines()
    pins = [at for at, line in enumerate(lines) if PIN.match(line)]
    assert pins
    assert all(HASH.match(lines[at + 1]) for at in pins)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_python_lock_names_no_address(lock: Path) -> None:
    assert not ADDRESS.search(lock.read_text())


def test_node_lock_names_no_address_and_holds_hashes() -> None:
    packages = json.loads(NODE_LOCK.read_text())["packages"]
    foreign = {name: entry for name, entry in packages.items() if name}
    assert foreign
    assert not [name for name, entry in foreign.items() if "resolved" in entry]
    assert not [name for name, entry in foreign.items() if "integrity" not in entry]


@pytest.mark.parametrize(("extra", "lock"), [("device", "device"), ("server", "server")])
def test_lock_covers_what_the_project_asks_for(extra: str, lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = project["dependencies"] + project["optional-dependencies"][extra]
    assert {name_package(one) for one in asked} <= read_names(ROOT / "locks" / f"{lock}.txt")
    assert {name_package(one) for one in asked} <= read_names(ROOT / "locks" / "dev.txt")


def test_agent_lock_stays_small() -> None:
    names = read_names(ROOT / "locks" / "device.txt")
    ours = {"backports-zstd", "cffi", "cryptography", "msgspec", "nats-py", "pycparser", "pyhpke"}
    assert names == ours | {"securesystemslib", "tuf", "urllib3"}


def test_locks_agree_with_each_other() -> None:
    pins: dict[str, str] = {}
    for lock in LOCKS:
        for line in lock.read_text().splitlines():
            if match := PIN.match(line):
                assert pins.setdefault(match[1], line) == line, lock.name


def test_no_other_file_configures_a_registry() -> None:
    names = {"pip.conf", "uv.toml", ".pypirc", ".yarnrc", ".yarnrc.yml"}
    assert not [path for path in list_tracked() if path.name in names]
