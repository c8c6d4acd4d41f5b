"""Small file trees of machines, made by the tests that need them."""

from __future__ import annotations

import struct
from pathlib import Path

from fleetward.device.posture.files import Root


def make_tree(base: Path, files: dict[str, str | bytes]) -> Root:
    """Write the files below `base` and return it as a root."""
    for name, content in files.items():
        path = base / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Root(base)


def stanza(name: str, version: str, **more: str) -> str:
    """Return one record of dpkg's status or of one of apt's lists."""
    fields = {"Package": name, "Status": "install ok installed", "Architecture": "amd64"}
    fields |= {key.capitalize(): value for key, value in more.items()}
    fields["Version"] = version
    return "".join(f"{key}: {value}\n" for key, value in fields.items()) + "\n"


def add_process(
    base: Path,
    pid: int,
    name: str,
    *,
    uid: int = 0,
    executable: str = "",
    inodes: tuple[int, ...] = (),
    started: int = 1,
    cgroup: str = "0::/",
) -> None:
    """Write one process as /proc shows it."""
    folder = base / "proc" / str(pid)
    (folder / "fd").mkdir(parents=True)
    rest = ["S", "1", str(pid), str(pid), "0", "-1", "0", *["0"] * 12, str(started), "0"]
    (folder / "stat").write_text(f"{pid} ({name}) {' '.join(rest)}")
    (folder / "status").write_text(
        f"Name:\t{name}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapEff:\t0000000000000000\n"
        "CapBnd:\t000001ffffffffff\nNoNewPrivs:\t1\nSeccomp:\t2\n"
    )
    (folder / "cgroup").write_text(cgroup + "\n")
    if executable:
        (folder / "exe").symlink_to(executable)
    for number, inode in enumerate(inodes):
        (folder / "fd" / str(number)).symlink_to(f"socket:[{inode}]")


def table_row(address: str, port: int, state: str, inode: int, uid: int = 0) -> str:
    """Return one row of /proc/net/tcp; `address` is in the kernel's hexadecimal form."""
    nothing = "0" * len(address)
    return (
        f"   0: {address}:{port:04X} {nothing}:0000 {state} 00000000:00000000 00:00000000 "
        f"00000000 {uid:5d}        0 {inode} 1 0000000000000000 100 0 0 10 0\n"
    )


HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"


def rpm_header(name: str, version: str, release: str, epoch: int = 0) -> bytes:
    """Return an rpm header blob with four tags."""
    data = b"".join(text.encode() + b"\0" for text in (name, version, release))
    while len(data) % 4:
        data += b"\0"
    number = len(data)
    data += struct.pack(">I", epoch)
    offsets = (0, len(name) + 1, len(name) + len(version) + 2)
    entries = [(1000, 6, offsets[0], 1), (1001, 6, offsets[1], 1), (1002, 6, offsets[2], 1)]
    entries.append((1003, 4, number, 1))
    index = b"".join(struct.pack(">IIiI", *entry) for entry in entries)
    return struct.pack(">II", len(entries), len(data)) + index + data
