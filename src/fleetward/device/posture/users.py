"""Accounts that can log in, from passwd, group, shadow and the SSH keys of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from fleetward.device.posture.files import Root, show_text
from fleetward.trust.errors import FleetwardError, Unreachable
from fleetward.wire.posture import Section, Sight, User

_NO_LOGIN: Final = ("nologin", "false", "sync", "shutdown", "halt", "true")
_ADMINISTRATORS: Final = ("root", "sudo", "wheel", "admin")
_LOCAL: Final = ("files", "compat", "systemd")
MAX_USERS: Final = 5000
Password = Literal["set", "empty", "locked", "not_visible"]


def read_lines(root: Root, name: str) -> list[list[str]]:
    """Return the colon-separated records of a file of /etc. Raises Unreachable or Malformed."""
    text = root.read(name, 8 << 20).decode("utf-8", "backslashreplace")
    return [line.split(":") for line in text.split("\n") if line and not line.startswith("#")]


def read_user_names(root: Root) -> dict[int, str]:
    """Return names by user id; empty when passwd cannot be read."""
    names: dict[int, str] = {}
    try:
        records = read_lines(root, "/etc/passwd")
    except FleetwardError:
        return names
    for record in records:
        if len(record) >= 7 and record[2].isdecimal():
            names.setdefault(int(record[2]), show_text(record[0]))
    return names


def _read_passwords(root: Root) -> Mapping[str, str] | None:
    try:
        return {record[0]: record[1] for record in read_lines(root, "/etc/shadow") if record[1:]}
    except FleetwardError:
        return None


def judge_password(field: str | None) -> Password:
    """Name the state of a password field of shadow; the hash itself goes nowhere."""
    if field is None:
        return "locked"
    if field == "":
        return "empty"
    return "locked" if field[0] in "!*" else "set"


def count_keys(root: Root, home: str) -> int | None:
    """Count authorized SSH keys, or return None when the folder is not visible."""
    total = 0
    for name in ("authorized_keys", "authorized_keys2"):
        try:
            content = root.read(f"{home}/.ssh/{name}")
        except Unreachable as error:
            cause = error.__cause__
            if isinstance(cause, FileNotFoundError | NotADirectoryError):
                continue
            return None
        except FleetwardError:
            return None
        lines = [line.strip() for line in content.split(b"\n")]
        total += sum(1 for line in lines if line and not line.startswith(b"#"))
    return min(total, 10_000)


def _administrators(root: Root) -> set[str]:
    try:
        groups = read_lines(root, "/etc/group")
    except FleetwardError:
        return set()
    members: set[str] = set()
    for record in groups:
        if len(record) >= 4 and record[0] in _ADMINISTRATORS:
            members.update(name for name in record[3].split(",") if name)
    return members


def _find_other_sources(root: Root) -> list[str]:
    """Return the directories beside passwd from which this machine takes accounts."""
    try:
        lines = root.read("/etc/nsswitch.conf").decode("utf-8", "replace").splitlines()
    except FleetwardError:
        return []
    named = next((line[7:].split() for line in lines if line.startswith("passwd:")), [])
    return [show_text(name, 40) for name in named if name.isalnum() and name not in _LOCAL][:5]


def _read_user(root: Root, record: list[str], passwords: Mapping[str, str] | None) -> User:
    name, field = record[0], record[1]
    state: Password
    if passwords is None:
        state = "not_visible" if field == "x" else judge_password(field)
    else:
        state = judge_password(passwords.get(name) if field == "x" else field)
    return User(
        name=show_text(name),
        uid=int(record[2]),
        shell=show_text(record[6]),
        password=state,
        keys=count_keys(root, record[5]),
        administrator=False,
    )


def collect_users(root: Root) -> Section[User]:
    """List accounts with a login shell. Raises Unreachable when passwd cannot be read."""
    passwords = _read_passwords(root)
    administrators = _administrators(root)
    rows: list[User] = []
    for record in read_lines(root, "/etc/passwd")[:MAX_USERS]:
        if len(record) < 7 or not record[2].isdecimal() or len(record[2]) > 10:
            continue
        if record[6].rsplit("/", 1)[-1] in _NO_LOGIN:
            continue
        row = _read_user(root, record, passwords)
        admin = row.uid == 0 or record[0] in administrators
        rows.append(msgspec.structs.replace(row, administrator=admin))
    doubts = [f"Accounts from {name} are not listed." for name in _find_other_sources(root)]
    if passwords is None:
        doubts.append("Whether a password is set is not visible without root.")
    if any(row.keys is None for row in rows):
        doubts.append("The SSH keys of some users are not visible without root.")
    sight = Sight("partial", " ".join(doubts)) if doubts else Sight("full")
    return Section(sight, tuple(sorted(rows, key=lambda row: (row.uid, row.name))))
