"""Who may come in: users, groups, SSH keys, and who may become root.

A password is never carried away: what stands for it is a keyed digest that shows a change alone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from dataclasses import dataclass
from typing import Final

from fleetward.device.posture.compare.reading import Reader
from fleetward.device.posture.compare.snapshot import MAX_TEXT, Row
from fleetward.device.posture.files import show_text
from fleetward.device.posture.users import judge_password

MAX_ACCOUNTS: Final = 5000
MAX_HOMES: Final = 64
"""Homes that are looked through; of all others the keys and start files are read all the same."""
KEY_FILES: Final = (".ssh/authorized_keys", ".ssh/authorized_keys2", ".rhosts", ".shosts")
_NO_LOGIN: Final = ("nologin", "false", "sync", "shutdown", "halt", "true")
_NO_HOMES: Final = ("", "/", "/bin", "/dev", "/sbin", "/usr", "/var", "/etc", "/nonexistent")
_SHELLS: Final = re.compile(r"(?:^|[\s,])(?P<type>(?:ssh|ecdsa|sk)-[A-Za-z0-9@.-]+)\s+(?P<key>\S+)")
_KEYS_ELSEWHERE: Final = re.compile(r"(?i)^\s*AuthorizedKeysFile\s+(.*)$")


@dataclass(frozen=True)
class Account:
    """A line of passwd."""

    name: str
    uid: int
    home: str
    shell: str

    @property
    def can_log_in(self) -> bool:
        """Say whether the shell is one, or whether that is not known."""
        return self.shell.rsplit("/", 1)[-1] not in _NO_LOGIN


def read_accounts(reader: Reader) -> list[Account]:
    """Return the accounts of passwd, as far as its lines are such."""
    found = []
    for fields in _records(reader, "/etc/passwd"):
        if len(fields) >= 7 and fields[2].isdecimal() and len(fields[2]) <= 10:
            found.append(Account(fields[0], int(fields[2]), fields[5], fields[6]))
    if not found:
        reader.say("/etc/passwd names no user.")
    return found[:MAX_ACCOUNTS]


def look_at_users(reader: Reader) -> dict[str, Row]:
    """Return users: uid, gid, shell, home, how the password is, and its mark."""
    secrets = {f[0]: f[1] for f in _records(reader, "/etc/shadow") if len(f) > 1}
    rows: dict[str, Row] = {}
    for fields in _records(reader, "/etc/passwd")[:MAX_ACCOUNTS]:
        if len(fields) < 7:
            continue
        stored = secrets.get(fields[0]) if fields[1] == "x" else fields[1]
        seen = secrets or fields[1] != "x"
        state = judge_password(stored) if seen else "not_visible"
        mark = reader.mark(stored) if stored and state == "set" else ""
        # Two lines of one name are two users: the second is how somebody hides.
        name = fields[0] if fields[0] not in rows else f"{fields[0]}/{fields[2]}"
        rows[show_text(name, MAX_TEXT)] = tuple(
            show_text(text, MAX_TEXT)
            for text in (fields[2], fields[3], fields[6], fields[5], state, mark)
        )
    return rows


def look_at_groups(reader: Reader) -> dict[str, Row]:
    """Return groups: gid and members."""
    rows: dict[str, Row] = {}
    for fields in _records(reader, "/etc/group")[:MAX_ACCOUNTS]:
        if len(fields) >= 4:
            members = ", ".join(sorted(name for name in fields[3].split(",") if name))
            rows[show_text(fields[0], MAX_TEXT)] = (
                show_text(fields[2], MAX_TEXT), show_text(members, MAX_TEXT),
            )  # fmt: skip
    return rows


def look_at_keys(reader: Reader, accounts: list[Account]) -> dict[str, Row]:
    """Return every key that opens an account: user, file, fingerprint, options, comment."""
    elsewhere = _key_files_elsewhere(reader)
    rows: dict[str, Row] = {}
    for account in accounts:
        paths = [f"{account.home.rstrip('/')}/{name}" for name in KEY_FILES if account.home]
        paths += [_fill(pattern, account) for pattern in elsewhere]
        for path in paths:
            target = reader.link(path)
            if target is not None:
                _put(rows, (account.name, path, f"link to {target}", "", ""))
                continue
            for line in reader.lines(path):
                _put(rows, (account.name, path, *_read_key(line)))
    return rows


def look_at_sudo(reader: Reader) -> dict[str, Row]:
    """Return every line by which somebody may become another."""
    paths = ["/etc/sudoers", "/etc/doas.conf"]
    paths += [f"/etc/sudoers.d/{name}" for name in reader.names("/etc/sudoers.d")]
    paths += [f"/etc/polkit-1/rules.d/{name}" for name in reader.names("/etc/polkit-1/rules.d")]
    rows: dict[str, Row] = {}
    for path in paths:
        for line in reader.lines(path):
            rows[f"{_short(path)}: {_short(line)}"] = (_short(path), line)
    return rows


def list_homes(reader: Reader, accounts: list[Account]) -> list[str]:
    """Return the homes of people, each once."""
    homes: dict[str, None] = {}
    for account in accounts:
        home = os.path.normpath(account.home) if account.home.startswith("/") else ""
        person = account.can_log_in or 1000 <= account.uid < 65534
        if person and home not in _NO_HOMES and show_text(home, 900) == home:
            homes[home] = None
    if len(homes) > MAX_HOMES:
        reader.say(f"Only the first {MAX_HOMES} of {len(homes)} homes were looked through.")
    return list(homes)[:MAX_HOMES]


def _records(reader: Reader, path: str) -> list[list[str]]:
    content = reader.read(path, 8 << 20)
    text = (content or b"").decode("utf-8", "backslashreplace")
    return [line.split(":") for line in text.split("\n") if line and line[0] != "#"]


def _read_key(line: str) -> tuple[str, str, str]:
    """Return fingerprint, options and comment of a line of authorized_keys."""
    found = _SHELLS.search(line)
    if found is None:
        return "unknown form", "", line
    try:
        raw = base64.b64decode(found["key"], validate=True)
    except (binascii.Error, ValueError):
        return "unknown form", "", line
    print_ = base64.b64encode(hashlib.sha256(raw).digest()).decode("ascii").rstrip("=")
    rest = line[found.end() :].strip()
    return f"SHA256:{print_}", line[: found.start()].strip(), f"{found['type']} {rest}".strip()


def _key_files_elsewhere(reader: Reader) -> list[str]:
    paths = ["/etc/ssh/sshd_config"]
    paths += [f"/etc/ssh/sshd_config.d/{name}" for name in reader.names("/etc/ssh/sshd_config.d")]
    found: list[str] = []
    for path in paths:
        for line in reader.lines(path):
            named = _KEYS_ELSEWHERE.match(line)
            words = named[1].split() if named else []
            found += [word for word in words if word not in KEY_FILES and word != "none"]
    return list(dict.fromkeys(found))[:8]


def _fill(pattern: str, account: Account) -> str:
    path = pattern.replace("%u", account.name).replace("%h", account.home)
    path = path.replace("%U", str(account.uid)).replace("%%", "%")
    return path if path.startswith("/") else f"{account.home.rstrip('/')}/{path}"


def _put(rows: dict[str, Row], row: tuple[str, ...]) -> None:
    shown = tuple(show_text(text, MAX_TEXT) for text in row)
    rows[f"{_short(shown[0])} {_short(shown[1])} {_short(shown[2])}"] = shown


def _short(text: str) -> str:
    return show_text(text, 300)
