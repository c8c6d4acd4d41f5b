"""Facts of the kernel, the boot, the disk, the clock and the firmware, one row each.

A fact is only stated, never judged. One that cannot be read has no value, and says why.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fleetward.device.posture.files import Root, show_text
from fleetward.device.posture.processes import Snapshot
from fleetward.trust.errors import FleetwardError
from fleetward.wire.posture import Fact, Machine, Section, Sight

_EFI_GUID: Final = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
_CLOCK_UNSYNCHRONIZED: Final = 0x0040
_CLOCK_STATUS_OFFSET: Final = 40
_MAX_STACK: Final = 8
"""Layers of block devices under a file system: partition, LVM, LUKS, RAID, disk."""
_TIME_PROGRAMS: Final = ("chronyd", "ntpd", "ntpsec", "systemd-timesyn", "openntpd")

_SETTINGS: Final = (
    ("kernel.aslr", "kernel/randomize_va_space", "Address layout randomization (2 is full)"),
    ("kernel.kptr_restrict", "kernel/kptr_restrict", "Kernel addresses hidden (1 or 2)"),
    ("kernel.dmesg_restrict", "kernel/dmesg_restrict", "Kernel log for root only"),
    ("kernel.ptrace_scope", "kernel/yama/ptrace_scope", "Looking into other processes (1 to 3)"),
    ("kernel.unprivileged_bpf", "kernel/unprivileged_bpf_disabled", "BPF closed to users (1, 2)"),
    ("kernel.perf_paranoid", "kernel/perf_event_paranoid", "Performance events closed (2, 3)"),
    ("kernel.modules_disabled", "kernel/modules_disabled", "Loading modules is switched off"),
    ("kernel.kexec_disabled", "kernel/kexec_load_disabled", "Loading another kernel is off"),
    ("kernel.tainted", "kernel/tainted", "Kernel taint flags (0 is clean)"),
    ("kernel.mmap_min_addr", "vm/mmap_min_addr", "Lowest address that a program may map"),
    ("kernel.protected_symlinks", "fs/protected_symlinks", "Links in shared folders protected"),
    ("kernel.protected_hardlinks", "fs/protected_hardlinks", "Hard links protected"),
    ("kernel.suid_dumpable", "fs/suid_dumpable", "Memory dumps of privileged programs"),
    ("failure.core_pattern", "kernel/core_pattern", "Where crash dumps of programs go"),
    ("failure.panic_seconds", "kernel/panic", "Seconds until a crashed kernel restarts"),
)


def _fact(key: str, value: str | None, words: str) -> Fact:
    return Fact(key, words if value is not None else f"{words}: not visible", value)


def _section(rows: Iterable[Fact]) -> Section[Fact]:
    facts = tuple(sorted(rows, key=lambda fact: fact.key))
    blind = sum(1 for fact in facts if fact.value is None)
    if not blind:
        return Section(Sight("full"), facts)
    if blind == len(facts):
        return Section(Sight("none", "None of these facts is visible here."), facts)
    return Section(Sight("partial", f"{blind} of {len(facts)} facts are not visible."), facts)


def read_machine(root: Root, snapshot: Snapshot) -> Machine:
    """Return what the machine is, from os-release and the kernel."""
    fields: dict[str, str] = {}
    for name in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            text = root.read(name, follow=True).decode("utf-8", "replace")
        except FleetwardError:
            continue
        pairs = (line.partition("=") for line in text.splitlines())
        fields = {key: show_text(value.strip("\"'")) for key, mark, value in pairs if mark}
        break
    first = next((process.name for process in snapshot.processes if process.pid == 1), "")
    return Machine(
        os_id=fields.get("ID", ""),
        os_name=fields.get("NAME", "Linux"),
        os_version=fields.get("VERSION_ID", ""),
        kernel=root.read_word("/proc/sys/kernel/osrelease") or "",
        arch=root.read_word("/proc/sys/kernel/arch") or "",
        init=first,
        root=snapshot.root,
    )


def read_efi_switch(root: Root, name: str) -> str | None:
    """Return `on`, `off` or `absent` for a boolean variable of UEFI; None when not visible."""
    if not root.exists("/sys/firmware"):
        return None
    if not root.exists("/sys/firmware/efi"):
        return "absent"
    try:
        content = root.read(f"/sys/firmware/efi/efivars/{name}-{_EFI_GUID}")
    except FleetwardError:
        return None
    return {b"\1": "on", b"\0": "off"}.get(content[4:5])


def _read_modules(root: Root) -> str | None:
    if not root.exists("/proc/modules"):
        return "no modules" if root.exists("/proc/version") else None
    enforced = root.read_word("/sys/module/module/parameters/sig_enforce")
    return {"Y": "enforced", "N": "not enforced"}.get(enforced or "")


def _read_lockdown(root: Root) -> str | None:
    word = root.read_word("/sys/kernel/security/lockdown")
    chosen = re.search(r"\[(\w+)\]", word or "")
    return None if chosen is None else chosen.group(1)


def _read_weak_cpu(root: Root) -> str | None:
    folder = "/sys/devices/system/cpu/vulnerabilities"
    names = root.entries(folder)
    if not names:
        return None
    states = ((name, root.read_word(f"{folder}/{name}") or "") for name in names)
    weak = [name for name, state in states if state.startswith("Vulnerable")]
    return ", ".join(weak) or "none"


def _read_automatic(root: Root) -> str | None:
    """Tell whether the system updates itself, by the settings that Debian and Fedora use."""
    for name in root.entries("/etc/apt/apt.conf.d"):
        try:
            text = root.read(f"/etc/apt/apt.conf.d/{name}").decode("utf-8", "replace")
        except FleetwardError:
            continue
        if re.search(r'^\s*APT::Periodic::Unattended-Upgrade\s+"[1-9]', text, re.MULTILINE):
            return "on"
    for name in root.entries("/etc/systemd/system/timers.target.wants"):
        if name.startswith("dnf-automatic"):
            return "on"
    return "off" if root.exists("/etc/apt") or root.exists("/etc/dnf") else None


def collect_kernel(root: Root) -> Section[Fact]:
    """State how the kernel was started and how it is set."""
    rows = [
        _fact("boot.secure_boot", read_efi_switch(root, "SecureBoot"), "Secure Boot"),
        _fact("boot.setup_mode", read_efi_switch(root, "SetupMode"), "UEFI setup mode"),
        _fact("kernel.lsm", root.read_word("/sys/kernel/security/lsm"), "Security modules"),
        _fact("kernel.lockdown", _read_lockdown(root), "Kernel lockdown"),
        _fact("kernel.module_signing", _read_modules(root), "Signed kernel modules"),
        _fact("cpu.weaknesses", _read_weak_cpu(root), "Processor weaknesses without a cure"),
        _fact("updates.automatic", _read_automatic(root), "Automatic system updates"),
        _fact(
            "failure.pstore",
            "records" if root.entries("/sys/fs/pstore") else _present(root, "/sys/fs/pstore"),
            "Records of kernel crashes that outlive a restart",
        ),
        _fact("failure.watchdog", _present(root, "/dev/watchdog"), "Hardware watchdog"),
    ]
    rows += [
        _fact(key, root.read_word(f"/proc/sys/{name}"), words) for key, name, words in _SETTINGS
    ]
    return _section(rows)


def _present(root: Root, name: str) -> str | None:
    parent = name.rsplit("/", 1)[0]
    if root.exists(name):
        return "present"
    return "absent" if root.exists(parent) else None


def find_root_device(mounts: bytes) -> tuple[str, str, str] | None:
    """Return (major:minor, file system, source) of what is mounted on `/`, the last one."""
    found = None
    for line in mounts.splitlines():
        fields = line.decode("utf-8", "replace").split()
        if len(fields) < 9 or fields[4] != "/" or "-" not in fields:
            continue
        tail = fields[fields.index("-") + 1 :]
        if len(tail) >= 2:
            found = (fields[2], tail[0], tail[1])
    return found


def list_stack(root: Root, device: str) -> list[Path]:
    """Return the block devices under one, itself first, by their folders in /sys."""
    folder = root.at(f"/sys/dev/block/{device}")
    queue = [(folder, 0)]
    seen: list[Path] = []
    while queue and len(seen) < 64:
        current, depth = queue.pop(0)
        try:
            current = current.resolve(strict=True)
            slaves = sorted((current / "slaves").iterdir()) if depth < _MAX_STACK else []
        except (OSError, RuntimeError):
            slaves = []
        seen.append(current)
        queue += [(slave, depth + 1) for slave in slaves]
    return seen


def _device_uuid(root: Root, folder: Path) -> str:
    base = root.path.resolve()
    if not folder.is_relative_to(base):
        return ""
    return root.read_word("/" + str(folder.relative_to(base)) + "/dm/uuid") or ""


def collect_disk(root: Root, mounts: bytes) -> Section[Fact]:
    """State whether the root file system lies on an encrypted and a verified device."""
    found = find_root_device(mounts)
    if found is None:
        return Section(Sight("none", "What the root file system lies on is not visible."))
    device, kind, source = found
    if device.startswith("0:") and source.startswith("/dev/"):
        device = root.read_word(f"/sys/class/block/{source.rsplit('/', 1)[-1]}/dev") or device
    known = root.exists(f"/sys/dev/block/{device}")
    uuids = [_device_uuid(root, folder) for folder in list_stack(root, device)] if known else []
    encrypted = any(uuid.startswith("CRYPT-") and "-VERITY" not in uuid for uuid in uuids)
    verified = any(uuid.startswith("CRYPT-VERITY") for uuid in uuids)
    return _section(
        [
            Fact("disk.root_type", "File system of the root", show_text(kind)),
            _fact("disk.encrypted", _switch(known, encrypted), "Root disk encrypted"),
            _fact("disk.verified", _switch(known, verified), "Root disk verified at each read"),
        ]
    )


def _switch(known: bool, state: bool) -> str | None:  # noqa: FBT001 - a state, not an option
    return ("on" if state else "off") if known else None


def read_clock_state() -> str | None:
    """Ask the kernel whether its clock is held to a time source; changes nothing."""
    buffer = ctypes.create_string_buffer(256)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        answer = libc.adjtimex(buffer)
    except (OSError, AttributeError):
        return None
    if answer < 0:
        return None
    status = int.from_bytes(buffer.raw[_CLOCK_STATUS_OFFSET:][:4], "little")
    if ctypes.sizeof(ctypes.c_long) != 8:
        status = int.from_bytes(buffer.raw[20:24], "little")
    return "off" if status & _CLOCK_UNSYNCHRONIZED else "on"


def collect_clock(root: Root, snapshot: Snapshot) -> Section[Fact]:
    """State whether the clock is held to a source, and which program does it."""
    programs = {process.name for process in snapshot.processes} & set(_TIME_PROGRAMS)
    state = read_clock_state() if root.path == Path("/") else None
    return _section(
        [
            _fact("clock.synchronized", state, "Clock held to a time source"),
            Fact("clock.program", "Program for it", ", ".join(sorted(programs)) or "none"),
        ]
    )


def _read_memory(root: Root) -> str | None:
    try:
        match = re.search(rb"^MemTotal:\s+(\d{1,15}) kB", root.read("/proc/meminfo"), re.MULTILINE)
    except FleetwardError:
        return None
    return None if match is None else f"{int(match.group(1)) // 1024} MiB"


def _read_cpu(root: Root, name: str) -> str | None:
    try:
        text = root.read("/proc/cpuinfo", 16 << 20).decode("utf-8", "replace")
    except FleetwardError:
        return None
    match = re.search(rf"^{name}\s*:\s*(.*)$", text, re.MULTILINE)
    return None if match is None else match.group(1)


def _shown(raw: str | None) -> str | None:
    return None if raw is None else show_text(raw)


def collect_firmware(root: Root) -> Section[Fact]:
    """State memory, processor, firmware and the hardware that can keep a secret."""
    flags = (_read_cpu(root, "flags") or _read_cpu(root, "Features") or "").split()
    devices = root.entries("/sys/class/tpm")
    version = root.read_word(f"/sys/class/tpm/{devices[0]}/tpm_version_major") if devices else None
    tpm = f"TPM {version or ''}".strip() if devices else "absent"
    dmi = "/sys/class/dmi/id"
    rows = [
        _fact("memory.total", _read_memory(root), "Memory"),
        _fact("cpu.model", _shown(_read_cpu(root, "model name")), "Processor"),
        _fact(
            "cpu.virtual",
            ("yes" if "hypervisor" in flags else "no") if flags else None,
            "Runs in a virtual machine",
        ),
        _fact("hardware.tpm", tpm if root.exists("/sys/class") else None, "Hardware key store"),
        _fact(
            "hardware.iommu",
            "present" if root.entries("/sys/class/iommu") else "absent",
            "Devices fenced off from memory (IOMMU)",
        ),
        _fact("firmware.efi", _present(root, "/sys/firmware/efi"), "Started by UEFI"),
        _fact("firmware.maker", root.read_word(f"{dmi}/sys_vendor"), "Maker of the hardware"),
        _fact(
            "firmware.model",
            root.read_word(f"{dmi}/product_name") or root.read_word("/proc/device-tree/model"),
            "Model of the hardware",
        ),
        _fact("firmware.bios_version", root.read_word(f"{dmi}/bios_version"), "Firmware version"),
        _fact("firmware.bios_date", root.read_word(f"{dmi}/bios_date"), "Firmware date"),
    ]
    return _section(rows)
