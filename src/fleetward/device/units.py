"""`fleetward-agent install` and `uninstall`: hardened systemd units, and the sockets between them.

Guard runs as root without an internet socket; uplink runs as a user of its own. They meet at a
Unix socket that only that user may connect to. Guard keeps the machine's network name space on
purpose: its watch and its collectors read the kernel's tables of open ports there. That it cannot
open a socket itself is enforced by the address families that its unit and its own filter allow.

Guard has a session started by connecting to a second socket, which root alone may do: systemd
starts one unit for each connection. It is a control group of its own, outside guard's walls, whose
end ends every process in it. It sees the machine as it is, for a technician works there; what may
be seen and done is narrowed by its sandbox.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fleetward.device.access.doors import CLOSER_SOCKET, INSTALLER_SOCKET, SESSION_SOCKET
from fleetward.device.identity.joined import GuardFiles
from fleetward.device.launcher.store import agent_folder
from fleetward.device.privileges import UPLINK_USER
from fleetward.runtime.files import atomic_write
from fleetward.trust.errors import Refused, Unreachable

UNITS: Final = Path("etc/systemd/system")
SYSUSERS: Final = Path("etc/sysusers.d/fleetward.conf")
GUARD_UNIT: Final = "fleetward-guard.service"
UPLINK_UNIT: Final = "fleetward-uplink.service"
SOCKET_UNIT: Final = "fleetward-guard.socket"
SESSION_SOCKET_UNIT: Final = "fleetward-session.socket"
SESSION_UNIT: Final = "fleetward-session@.service"
CLOSER_SOCKET_UNIT: Final = "fleetward-closer.socket"
CLOSER_UNIT: Final = "fleetward-closer@.service"
INSTALLER_SOCKET_UNIT: Final = "fleetward-installer.socket"
INSTALLER_UNIT: Final = "fleetward-installer@.service"
TPM_GROUP: Final = "tss"
"""The group that distributions give the TPM's device to."""
SOCKET_PATH: Final = "/run/fleetward/guard.sock"
_HIDDEN: Final = (Path("/home"), Path("/root"), Path("/run/user"))
"""What the units' `ProtectHome` takes out of sight."""
_LAUNCHED: Final = "-I -m fleetward.device.launcher.main"
"""Everything is started by the launcher: it knows whether a release of the agent is to run."""
_ENABLED: Final = (
    UPLINK_UNIT, GUARD_UNIT, INSTALLER_SOCKET_UNIT, CLOSER_SOCKET_UNIT, SESSION_SOCKET_UNIT,
    SOCKET_UNIT,
)  # fmt: skip
"""In the order in which they are stopped."""

_COMMON: Final = """\
Restart=always
RestartSec=2
UMask=0077
# The machine has a purpose of its own: when it needs the processor, the agent waits.
CPUWeight=20
NoNewPrivileges=yes
ProtectSystem=strict
ProtectControlGroups=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectKernelLogs=yes
ProtectHostname=yes
PrivateTmp=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
"""


def guard_unit(data: Path, python: str, groups: str = "") -> str:
    """Return the unit of guard. `groups` are further ones it is in: that of the TPM's device, where
    the system has one, since guard may not open files of others."""
    joined = f"SupplementaryGroups={groups}" if groups else ""
    return f"""\
[Unit]
Description=Fleetward guard: journal, gate and identity of this machine
Requires={SOCKET_UNIT}
After={SOCKET_UNIT} local-fs.target
StartLimitIntervalSec=0

[Service]
ExecStart={python} {_LAUNCHED} {data} fleetward.device.guard_main --data {data}
ReadWritePaths={data}
# Code is written by the installer. Against mistakes: whoever has guard may mount as well.
ReadOnlyPaths=-{data}/agent
# Reading every file and process, and building the walls around collectors; nothing else.
CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_SYS_PTRACE CAP_SYS_ADMIN
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_SETPCAP CAP_KILL
# No socket but Unix ones. The network name space stays, so that open ports can be seen.
RestrictAddressFamilies=AF_UNIX
IPAddressDeny=any
SocketBindDeny=any
# Counters against older releases are bound to the TPM, where there is one.
DevicePolicy=closed
DeviceAllow=/dev/tpmrm0 rw
{joined}
# It reads whether the clock is synchronised (adjtimex); without CAP_SYS_TIME it sets nothing.
SystemCallFilter=@system-service @mount unshare adjtimex
SystemCallErrorNumber=EPERM
TimeoutStopSec=20
{_COMMON}
[Install]
WantedBy=multi-user.target
"""


def uplink_unit(data: Path, python: str) -> str:
    """Return the unit of uplink."""
    return f"""\
[Unit]
Description=Fleetward uplink: the one connection of this machine
Requires={GUARD_UNIT}
After={GUARD_UNIT} network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
User={UPLINK_USER}
Group={UPLINK_USER}
ExecStart={python} {_LAUNCHED} {data} fleetward.device.uplink_main --folder {data}/uplink \
--connect {SOCKET_PATH}
ReadWritePaths={data}/uplink
InaccessiblePaths=-{data}/guard -{data}/panel
ProtectClock=yes
MemoryMax=256M
TasksMax=64
CapabilityBoundingSet=
AmbientCapabilities=
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SocketBindDeny=any
PrivateDevices=yes
PrivateUsers=yes
ProtectHome=yes
ProtectProc=invisible
ProcSubset=pid
RestrictNamespaces=yes
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
{_COMMON}
[Install]
WantedBy=multi-user.target
"""


def socket_unit() -> str:
    """Return the unit of the socket between the two."""
    return f"""\
[Unit]
Description=Where Fleetward's uplink speaks to its guard

[Socket]
ListenStream={SOCKET_PATH}
SocketUser={UPLINK_USER}
SocketGroup={UPLINK_USER}
SocketMode=0600
DirectoryMode=0755

[Install]
WantedBy=sockets.target
"""


def closer_socket_unit() -> str:
    """Return the socket by which guard has ports closed."""
    return _starting_socket("Where Fleetward's guard has ports closed", CLOSER_SOCKET)


def session_socket_unit() -> str:
    """Return the socket by which guard has a session started."""
    return _starting_socket("Where Fleetward's guard has a session started", SESSION_SOCKET)


def _starting_socket(words: str, path: Path) -> str:
    return f"""\
[Unit]
Description={words}

[Socket]
ListenSequentialPacket={path}
SocketMode=0600
DirectoryMode=0755
Accept=yes
MaxConnections=32

[Install]
WantedBy=sockets.target
"""


def closer_unit(data: Path, python: str) -> str:
    """Return the unit of what closes ports, for a moment."""
    return f"""\
[Unit]
Description=Fleetward closer: closes what this machine's owner ordered closed
PartOf={GUARD_UNIT}
CollectMode=inactive-or-failed

[Service]
ExecStart=-{python} {_LAUNCHED} {data} fleetward.device.access.closer_main --guard 0
StandardInput=socket
StandardOutput=journal
StandardError=journal
KillMode=control-group
TimeoutStopSec=2
RuntimeMaxSec=180
TasksMax=32
# Changing the filter, seeing which program waits on a port, and asking systemd; nothing else.
CapabilityBoundingSet=CAP_NET_ADMIN CAP_SYS_PTRACE CAP_DAC_READ_SEARCH
RestrictAddressFamilies=AF_UNIX AF_NETLINK
IPAddressDeny=any
SocketBindDeny=any
ProtectSystem=strict
ProtectHome=yes
ProtectControlGroups=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectKernelLogs=yes
ProtectClock=yes
PrivateTmp=yes
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictRealtime=yes
RestrictNamespaces=yes
SystemCallArchitectures=native
"""


def installer_socket_unit() -> str:
    """Return the socket by which guard has software installed."""
    return _starting_socket("Where Fleetward's guard has software installed", INSTALLER_SOCKET)


def installer_unit(data: Path, python: str) -> str:
    """Return the unit of what installs, for a moment.

    It writes wherever the maker's places are, and what it runs (hooks, packages' scripts) has its
    walls too. So the file system is not closed to it, nor are files that run as another user:
    packages bring them. What takes away rights that no installing needs, stands here.
    """
    return f"""\
[Unit]
Description=Fleetward installer: installs what this machine's maker and owner signed
PartOf={GUARD_UNIT}
CollectMode=inactive-or-failed

[Service]
ExecStart=-{python} {_LAUNCHED} {data} fleetward.device.updates.installer_main --guard 0 \
--data {data}
StandardInput=socket
StandardOutput=journal
StandardError=journal
KillMode=control-group
KillSignal=SIGKILL
TimeoutStopSec=2
TasksMax=256
# The machine's own work comes first: an update waits for the processor and the disk.
CPUWeight=20
IOWeight=20
# Writing everywhere, giving files to their users, running hooks as the place's user; nothing else.
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_SETFCAP CAP_SYS_CHROOT CAP_KILL
# Health checks ask this machine's own ports; nothing else can be reached, and nothing waits.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
IPAddressDeny=any
IPAddressAllow=localhost
SocketBindDeny=any
# Slots are partitions.
DevicePolicy=closed
DeviceAllow=block-* rw
ProtectHome=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelLogs=yes
ProtectClock=yes
PrivateTmp=yes
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictNamespaces=yes
KeyringMode=private
SystemCallArchitectures=native
"""


def session_unit(data: Path, python: str) -> str:
    """Return the unit of one session."""
    return f"""\
[Unit]
Description=Fleetward session: somebody whom this machine's owner let in
PartOf={GUARD_UNIT}
CollectMode=inactive-or-failed

[Service]
ExecStart=-{python} {_LAUNCHED} {data} fleetward.device.access.session_main --guard 0
StandardInput=socket
StandardOutput=journal
StandardError=journal
# Whoever is inside may not leave anything behind, however it hides.
KillMode=control-group
KillSignal=SIGKILL
TimeoutStopSec=2
UMask=0022
CPUWeight=20
TasksMax=1024
OOMPolicy=continue
NoNewPrivileges=yes
# One port of this machine's own loopback, if the grant names one; netlink builds the sandbox.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
IPAddressDeny=any
IPAddressAllow=localhost
SocketBindDeny=any
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
LockPersonality=yes
RestrictRealtime=yes
SystemCallArchitectures=native
"""


def install(root: Path, data: Path, python: str = "") -> list[str]:
    """Write and enable the units below `root`; return what was done, in words.

    On the running system the units are started too. The tree of an image may name another Python
    than the one that runs this. Raises `Refused` without the rights, or when the machine has not
    joined.
    """
    live = root == Path("/")
    if live and python:
        raise Refused(
            "The running system takes the Python that runs this command. Leave --python out, or "
            "name the tree of an image with --root.",
            reason="python_of_an_image",
        )
    if live and os.geteuid() != 0:
        raise Refused(
            "Installing needs root: the units, their user and /etc/systemd are the system's. "
            "Run it with sudo, or use `fleetward-agent run` as yourself (wall: none).",
            reason="needs_root",
        )
    data = data.absolute()
    if live:
        GuardFiles(data / "guard").require_joined()
        require_reachable((Path(sys.executable), Path(__file__)))
    units = root / UNITS
    python = python or sys.executable
    contents = {
        units / GUARD_UNIT: guard_unit(data, python, _find_tpm_group(root)),
        units / UPLINK_UNIT: uplink_unit(data, python),
        units / SOCKET_UNIT: socket_unit(),
        units / SESSION_SOCKET_UNIT: session_socket_unit(),
        units / SESSION_UNIT: session_unit(data, python),
        units / CLOSER_SOCKET_UNIT: closer_socket_unit(),
        units / CLOSER_UNIT: closer_unit(data, python),
        units / INSTALLER_SOCKET_UNIT: installer_socket_unit(),
        units / INSTALLER_UNIT: installer_unit(data, python),
        root / SYSUSERS: f'u {UPLINK_USER} - "Fleetward uplink" /nonexistent /usr/sbin/nologin\n',
    }
    for path, text in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, text.encode("utf-8"), 0o644)
    for unit, target in _links(units):
        unit.parent.mkdir(parents=True, exist_ok=True)
        unit.unlink(missing_ok=True)
        unit.symlink_to(target)
    said = [f"Written: {path}" for path in contents]
    return said + (_start(data) if live else ["Enabled for the next start of that system."])


def _find_tpm_group(root: Path) -> str:
    """Return the group that may speak to the TPM of the system below `root`, or nothing."""
    try:
        groups = (root / "etc/group").read_text("utf-8", "replace")
    except OSError:
        return ""
    return TPM_GROUP if any(g.startswith(f"{TPM_GROUP}:") for g in groups.splitlines()) else ""


def require_reachable(paths: Iterable[Path]) -> None:
    """Return when uplink's user can reach these files. Raises `Refused` naming the closed folder.

    A link is followed, and what it leads to must be reachable too.
    """
    for path in paths:
        for shown in (path.absolute(), path.resolve()):
            for folder in shown.parents:
                hidden = folder in _HIDDEN or not folder.stat().st_mode & 0o001
                if hidden:
                    raise Refused(
                        f"Uplink runs as a user of its own and cannot enter {folder}, where "
                        f"{shown.name} lies. Install Fleetward into /opt or /usr/local, by a "
                        "Python of the system, and run install from there.",
                        reason="code_not_reachable",
                    )


def uninstall(root: Path) -> list[str]:
    """Stop and remove the units; the data directory stays. Raises `Refused` without the rights."""
    live = root == Path("/")
    if live and os.geteuid() != 0:
        raise Refused("Uninstalling needs root. Run it with sudo.", reason="needs_root")
    if live and _runs_systemd():
        _systemctl("disable", "--now", *_ENABLED)
    units = root / UNITS
    started = (SESSION_UNIT, CLOSER_UNIT, INSTALLER_UNIT)
    paths = [units / name for name in (*_ENABLED, *started)] + [root / SYSUSERS]
    removed = [p for p in [*paths, *(link for link, _ in _links(units))] if _remove(p)]
    if live and _runs_systemd():
        _systemctl("daemon-reload")
    return [f"Removed: {path}" for path in removed] or ["Nothing was installed."]


def _links(units: Path) -> list[tuple[Path, str]]:
    wants = units / "multi-user.target.wants"
    return [
        (wants / GUARD_UNIT, f"../{GUARD_UNIT}"),
        (wants / UPLINK_UNIT, f"../{UPLINK_UNIT}"),
        (units / "sockets.target.wants" / SOCKET_UNIT, f"../{SOCKET_UNIT}"),
        (units / "sockets.target.wants" / SESSION_SOCKET_UNIT, f"../{SESSION_SOCKET_UNIT}"),
        (units / "sockets.target.wants" / CLOSER_SOCKET_UNIT, f"../{CLOSER_SOCKET_UNIT}"),
        (units / "sockets.target.wants" / INSTALLER_SOCKET_UNIT, f"../{INSTALLER_SOCKET_UNIT}"),
    ]


def _start(data: Path) -> list[str]:
    said = [_make_user()]
    owner = pwd.getpwnam(UPLINK_USER)
    folder = data / "uplink"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in (folder, *folder.iterdir()):
        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
    # It has to be there for guard's unit to have it read-only.
    agent_folder(data).mkdir(mode=0o755, exist_ok=True)
    data.chmod(0o711)
    if not _runs_systemd():
        return [*said, "systemd does not run here now; the units start with it at the next start."]
    _systemctl("daemon-reload")
    _systemctl("enable", "--now", *reversed(_ENABLED))
    return [*said, "The agent runs, and starts with this machine."]


def _make_user() -> str:
    try:
        pwd.getpwnam(UPLINK_USER)
    except KeyError:
        pass
    else:
        return f"User {UPLINK_USER} exists."
    if shutil.which("systemd-sysusers"):
        _command("systemd-sysusers", str(Path("/") / SYSUSERS))
    else:
        _command("useradd", "--system", "--no-create-home", "--user-group", UPLINK_USER)
    return f"User {UPLINK_USER} was made."


def _runs_systemd() -> bool:
    return Path("/run/systemd/system").is_dir()


def _systemctl(*arguments: str) -> None:
    _command("systemctl", *arguments)


def _command(*argv: str) -> None:
    """Run a tool of the system. Raises `Unreachable` with its last words."""
    try:
        done = subprocess.run(argv, capture_output=True, timeout=90, check=False)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Unreachable(f"Expected {argv[0]} to work: {e}.", reason="tool_failed") from e
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip()[-300:]
        raise Unreachable(f"{' '.join(argv)} failed: {words}", reason="tool_failed")


def _remove(path: Path) -> bool:
    there = path.is_symlink() or path.exists()
    path.unlink(missing_ok=True)
    return there
