"""Debian's versions, packages and waiting updates."""

from __future__ import annotations

import gzip
import lzma
import os
import time
from pathlib import Path

import pytest
from tests.unit.posture.trees import make_tree, stanza

from fleetward.device.posture.debversion import compare_versions
from fleetward.device.posture.dpkg import collect_updates, find_owners, parse_status
from fleetward.device.posture.files import Root
from fleetward.wire.posture import Section, Update

TRUTH = Path(__file__).parents[4] / "shared/data/versions/debian-versions.txt"
SIGNS = {"<": -1, "=": 0, ">": 1}

CASES = [
    ("1.0", "1.0-0", 0),
    ("1.0~rc1", "1.0", -1),
    ("1.0~~", "1.0~", -1),
    ("1.0~", "1.0", -1),
    ("1:0.1", "9.9", 1),
    ("0:1", "1", 0),
    ("1.0+b1", "1.0", 1),
    ("1.0a", "1.0+", -1),
    ("1.0.0010", "1.0.9", 1),
    ("2.36-9+deb12u10", "2.36-9+deb12u9", 1),
    ("1-1-1", "1-1-2", -1),
    ("99999999999999999999998", "99999999999999999999999", -1),
]


@pytest.mark.parametrize(("left", "right", "order"), CASES)
def test_versions_sort_as_deb_version_says(left: str, right: str, order: int) -> None:
    assert compare_versions(left, right) == order
    assert compare_versions(right, left) == -order


def test_versions_sort_as_the_shared_truth_says() -> None:
    if not TRUTH.exists():
        pytest.skip("the shared list of version comparisons is not on this machine")
    checked = 0
    for line in TRUTH.read_text().splitlines():
        words = line.split()
        if len(words) != 3 or line.startswith("#"):
            continue
        assert compare_versions(words[0], words[2]) == SIGNS[words[1]], line
        checked += 1
    assert checked > 15


def test_dpkg_itself_agrees_on_every_version_of_this_machine() -> None:
    if not Path("/usr/bin/dpkg").exists():
        pytest.skip("dpkg is not on this machine")
    import subprocess

    versions = ["1.0-1", "1.0-1+b1", "1.0~rc1-1", "2:0.9", "1.0-1.1", "1.0a-1", "1.0-1~bpo12+1"]
    for left in versions:
        for right in versions:
            order = compare_versions(left, right)
            relation = {-1: "lt", 0: "eq", 1: "gt"}[order]
            command = ["dpkg", "--compare-versions", left, relation, right]
            assert subprocess.run(command, check=False).returncode == 0, (left, right)


def test_status_keeps_only_what_is_installed() -> None:
    text = (
        stanza("bash", "5.2-1", source="bash-src (5.2)")
        + stanza("old", "1.0").replace("install ok installed", "deinstall ok config-files")
        + stanza("kept", "2.0").replace("install ok", "hold ok")
        + "Package: broken\nStatus: install ok installed\n\n"
    )
    rows, skipped = parse_status([text.encode()[:70], text.encode()[70:]])
    assert [(row.package.name, row.package.source, row.held) for row in rows] == [
        ("bash", "bash-src", False),
        ("kept", "kept", True),
    ]
    assert skipped == 1


MAIN = "/var/lib/apt/lists/deb.debian.org_debian_dists_bookworm_main_binary-amd64_Packages"
SECURITY = (
    "/var/lib/apt/lists/deb.debian.org_debian-security_dists_bookworm-security"
    "_main_binary-amd64_Packages"
)
BACKPORTS = (
    "/var/lib/apt/lists/deb.debian.org_debian_dists_bookworm-backports_main_binary-amd64_Packages"
)
RELEASES = {
    "/var/lib/apt/lists/deb.debian.org_debian_dists_bookworm_InRelease": "Origin: Debian\n",
    "/var/lib/apt/lists/deb.debian.org_debian-security_dists_bookworm-security_InRelease": (
        "Origin: Debian\nSuite: stable-security\n"
    ),
    "/var/lib/apt/lists/deb.debian.org_debian_dists_bookworm-backports_InRelease": (
        "Origin: Debian Backports\nNotAutomatic: yes\nButAutomaticUpgrades: yes\n"
    ),
}


def _machine(base: Path, lists: dict[str, str | bytes]) -> Root:
    status = (
        stanza("openssl", "3.0.9-1")
        + stanza("zlib", "1.2")
        + stanza("held", "1.0").replace("install ok", "hold ok")
    )
    files: dict[str, str | bytes] = {"/var/lib/dpkg/status": status, **RELEASES, **lists}
    return make_tree(base, files)


def _updates(root: Root, now: float | None = None) -> Section[Update]:
    return collect_updates(root, time.time() if now is None else now)


def test_security_updates_are_told_by_their_suite(tmp_path: Path) -> None:
    main = stanza("openssl", "3.0.9-1") + stanza("held", "1.1") + stanza("zlib", "1.1")
    root = _machine(
        tmp_path,
        {
            MAIN + ".xz": lzma.compress(main.encode()),
            SECURITY + ".gz": gzip.compress(stanza("openssl", "3.0.17-1~deb12u2").encode()),
        },
    )
    found = _updates(root)
    assert found.sight.level == "full", found.sight
    rows = [(u.name, u.installed, u.candidate, u.security, u.held) for u in found.items]
    assert rows == [
        ("held", "1.0", "1.1", False, True),
        ("openssl", "3.0.9-1", "3.0.17-1~deb12u2", True, False),
    ]
    assert found.items[1].origin == "Debian bookworm-security"


def test_lists_packed_by_lz4_are_read(tmp_path: Path) -> None:
    """One literal-only lz4 frame, built by hand: header, one uncompressed block, end mark."""
    body = stanza("zlib", "1.3").encode()
    frame = b"\x04\x22\x4d\x18\x60\x40\x82" + (len(body) | 0x80000000).to_bytes(4, "little")
    frame += body + b"\0\0\0\0"
    found = _updates(_machine(tmp_path, {MAIN + ".lz4": frame}))
    if "needs liblz4" in found.sight.reason or "need liblz4" in found.sight.reason:
        pytest.skip("the system has no liblz4")
    assert [u.candidate for u in found.items] == ["1.3"], found.sight


def test_backports_count_only_for_what_came_from_there(tmp_path: Path) -> None:
    main, backports = stanza("openssl", "3.0.9-1"), stanza("openssl", "3.2-1") + stanza("zlib", "2")
    root = _machine(tmp_path, {MAIN: main, BACKPORTS: backports})
    assert [(u.name, u.candidate) for u in _updates(root).items] == [("zlib", "2")]


def test_a_broken_list_lowers_the_sight_and_the_rest_is_read(tmp_path: Path) -> None:
    root = _machine(tmp_path, {MAIN: stanza("zlib", "1.3"), SECURITY + ".xz": b"not xz at all"})
    found = _updates(root)
    assert found.sight.level == "partial"
    assert "bookworm-security cannot be read" in found.sight.reason
    assert [u.name for u in found.items] == ["zlib"]


def test_without_lists_nothing_is_said(tmp_path: Path) -> None:
    found = _updates(_machine(tmp_path, {}))
    assert (found.sight.level, found.items) == ("none", ())


def test_old_lists_are_said_to_be_old(tmp_path: Path) -> None:
    root = _machine(tmp_path, {MAIN: stanza("zlib", "1.2")})
    found = _updates(root, time.time() + 40 * 86_400)
    assert found.sight.level == "partial"
    assert "more than 30 days old" in found.sight.reason


def test_owners_are_found_across_the_usr_merge(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path,
        {
            "/var/lib/dpkg/info/bash.list": "/.\n/bin\n/bin/bash\n",
            "/var/lib/dpkg/info/openssh-server:amd64.list": "/usr/sbin/sshd\n",
        },
    )
    owners = find_owners(root, ["/usr/bin/bash", "/usr/sbin/sshd", "/opt/own"])
    assert owners == {"/usr/bin/bash": "bash", "/usr/sbin/sshd": "openssh-server"}


def test_this_machine_answers_as_dpkg_query_does() -> None:
    if not Path("/usr/bin/dpkg-query").exists():
        pytest.skip("dpkg-query is not on this machine")
    import subprocess

    command = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\n"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    told = sorted(line.split(" ", 1)[1] for line in lines if line.startswith("installed "))
    with os.fdopen(Root(Path("/")).open("/var/lib/dpkg/status"), "rb") as stream:
        rows, skipped = parse_status([stream.read()])
    assert sorted(f"{r.package.name} {r.package.version}" for r in rows) == told
    assert skipped == 0
