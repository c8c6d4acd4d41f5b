"""What the machine starts by itself: by the clock, at boot, at a login, with every program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from fleetward.device.posture.compare.accounts import Account
from fleetward.device.posture.compare.reading import Reader
from fleetward.device.posture.compare.snapshot import MAX_TEXT, Row
from fleetward.device.posture.compare.tree import safe_name
from fleetward.device.posture.files import show_text

_TABLES: Final = ("/etc/crontab", "/etc/anacrontab")
_SCRIPTS: Final = ("/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly")
_SPOOLS: Final = ("/var/spool/cron/crontabs", "/var/spool/cron", "/etc/crontabs")
_AT: Final = ("/var/spool/cron/atjobs", "/var/spool/at", "/var/spool/atjobs")
_UNITS: Final = (
    "/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system", "/etc/systemd/user", "/usr/lib/systemd/user",
)  # fmt: skip
_USER_UNITS: Final = (".config/systemd/user", ".local/share/systemd/user")
_UNIT_ENDS: Final = (".service", ".timer", ".socket", ".path", ".mount", ".target", ".conf")
_LINK_ENDS: Final = (".wants", ".requires", ".d")
_BOOT: Final = (
    "/etc/rc.local", "/etc/rc.d/rc.local", "/etc/inittab", "/etc/modules", "/etc/init.d",
    "/etc/rc2.d", "/etc/rc3.d", "/etc/modules-load.d", "/etc/modprobe.d", "/etc/udev/rules.d",
    "/etc/network/if-up.d", "/etc/NetworkManager/dispatcher.d", "/etc/xdg/autostart",
    "/etc/update-motd.d", "/etc/apt/apt.conf.d", "/etc/ld.so.conf.d", "/etc/binfmt.d",
    "/etc/systemd/system-generators", "/usr/local/lib/systemd/system-generators",
)  # fmt: skip
_SHELLS: Final = (
    "/etc/profile", "/etc/profile.d", "/etc/bash.bashrc", "/etc/bashrc", "/etc/zsh",
    "/etc/environment", "/etc/shells",
)  # fmt: skip
_HOME_SHELLS: Final = (
    ".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".bash_aliases", ".profile",
    ".zshrc", ".zprofile", ".zshenv", ".zlogin", ".kshrc", ".cshrc", ".tcshrc", ".inputrc",
    ".config/fish/config.fish", ".xprofile", ".xinitrc", ".xsession", ".pam_environment",
    ".ssh/rc", ".ssh/environment", ".ssh/config", ".vimrc", ".gitconfig", ".config/autostart",
)  # fmt: skip
_PAM: Final = ("/etc/pam.d", "/etc/pam.conf", "/etc/security", "/etc/nsswitch.conf")
_SSHD: Final = ("/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d")
_COMMAND: Final = re.compile(r"^(?:ExecStart|OnCalendar|OnBootSec|ListenStream)\s*=\s*(.+)$")


def look_at_cron(reader: Reader) -> dict[str, Row]:
    """Return every line of a table of cron, and every script that it runs: path and line."""
    rows: dict[str, Row] = {}
    tables = [*_TABLES, *_below(reader, "/etc/cron.d")]
    for spool in _SPOOLS:
        tables += _below(reader, spool)
    for path in tables:
        target = reader.link(path)
        for line in [f"link to {target}"] if target is not None else reader.lines(path):
            rows[f"{_short(path)}: {_short(line)}"] = (_short(path), line)
    for folder in _SCRIPTS:
        for path in _below(reader, folder):
            rows[_short(path)] = (_short(path), f"script {reader.digest(path)}")
    return rows


def look_at_jobs(reader: Reader) -> dict[str, Row]:
    """Return jobs of `at` that wait: path, owner, digest."""
    rows: dict[str, Row] = {}
    for folder in _AT:
        for path in _below(reader, folder):
            state = reader.state(path)
            if not path.rsplit("/", 1)[-1].startswith(".") and state is not None:
                rows[_short(path)] = (_short(path), str(state.st_uid), reader.digest(path))
    return rows


def look_at_units(reader: Reader, homes: list[str]) -> tuple[dict[str, Row], dict[str, Row]]:
    """Return units of systemd (path, digest, what they run) and links that start them."""
    units: dict[str, Row] = {}
    links: dict[str, Row] = {}
    folders = [*_UNITS, *(f"{home}/{name}" for home in homes for name in _USER_UNITS)]
    for folder in folders:
        ours = not folder.startswith("/usr/lib/")
        for name in reader.names(folder):
            path = f"{folder}/{safe_name(name)}"
            if name.endswith(_LINK_ENDS):
                for inner in reader.names(f"{folder}/{name}"):
                    below = f"{folder}/{name}/{inner}"
                    seen = reader.link(below) or reader.digest(below)
                    links[_short(f"{path}/{safe_name(inner)}")] = (_short(seen),)
            elif name.endswith(_UNIT_ENDS):
                # What packages brought is known by the time of its folder; it need not be read.
                units[_short(path)] = _read_unit(reader, f"{folder}/{name}", ours=ours)
    return units, links


def look_at_files(reader: Reader, kind: str, homes: list[str]) -> dict[str, Row]:
    """Return the files of a kind (`boot`, `shell`, `pam`, `sshd`): path and digest."""
    places = {"boot": _BOOT, "shell": _SHELLS, "pam": _PAM, "sshd": _SSHD}[kind]
    paths = list(places)
    if kind == "shell":
        paths += [f"{home.rstrip('/')}/{name}" for home in homes for name in _HOME_SHELLS]
    rows: dict[str, Row] = {}
    for path in paths:
        for found in _files_at(reader, path):
            digest = reader.digest(found)
            if digest:
                rows[_short(found)] = (digest,)
    return rows


def look_at_preload(reader: Reader) -> dict[str, Row]:
    """Return the libraries that every program loads first."""
    return {_short(line): () for line in reader.lines("/etc/ld.so.preload")}


def homes_of_all(accounts: list[Account]) -> list[str]:
    """Return the home of every account, where start files may lie, each once."""
    return list(dict.fromkeys(a.home for a in accounts if a.home.startswith("/")))


def _files_at(reader: Reader, path: str) -> Iterator[str]:
    state = reader.state(path)
    if state is None:
        return
    if state.st_mode & 0o170000 == 0o040000:
        yield from _below(reader, path)
    else:
        yield path


def _below(reader: Reader, folder: str) -> list[str]:
    return [
        f"{folder}/{name}"
        for name in reader.names(folder)
        if (state := reader.state(f"{folder}/{name}")) is not None
        and state.st_mode & 0o170000 in (0o100000, 0o120000)
    ]


def _read_unit(reader: Reader, path: str, *, ours: bool) -> Row:
    target = reader.link(path)
    if target is not None:
        return (f"link:{target}", "")
    if not ours:
        state = reader.state(path)
        return ("" if state is None else f"{state.st_ino}.{state.st_ctime_ns}", "")
    for line in reader.lines(path):
        found = _COMMAND.match(line)
        if found:
            return (reader.digest(path), show_text(found[1], MAX_TEXT))
    return (reader.digest(path), "")


def _short(text: str) -> str:
    return show_text(text, 450)
