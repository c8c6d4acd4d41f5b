"""What a delta saves, and what it costs a machine to apply one, beside xdelta3.

    python bench/delta.py [--old FILE --new FILE] [--folder FOLDER] [--archives]

Workload, unless two files are named: the Python packages below for Linux on x86-64, unpacked and
laid into one plain tar, files sorted by name, all times 0; once in the older and once in the newer
version. That is some 330 MB of programs, libraries and text: a machine's application before and
after a maintenance release. They are fetched by `pip download`, so a network is needed; a folder
that is named keeps them.

Both tools run as programs of their own, one after the other, on the same files. A row says how long
the delta is, and for making and applying: wall time, CPU time of all threads, and the highest
resident size, interpreter included. xdelta3 runs with `-9` and otherwise as it comes; its source
window is 64 MiB then. What was made is compared with the new file by SHA-256. Files lie in the
page cache. `--archives` shows what xdelta3 finds when the same two tars were packed by gzip first.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

PEAK_GOAL_MIB = 100
OLD = (
    *("matplotlib==3.10.1", "numpy==2.2.5", "onnxruntime==1.22.0", "pandas==2.2.2"),
    *("scikit-learn==1.6.0", "scipy==1.15.2"),
)
NEW = (
    *("matplotlib==3.10.3", "numpy==2.2.6", "onnxruntime==1.22.1", "pandas==2.2.3"),
    *("scikit-learn==1.6.1", "scipy==1.15.3"),
)
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_27_x86_64", "manylinux_2_28_x86_64")

MAKE = """
import sys
from pathlib import Path
from fleetward.keyholder.maker.delta import make_delta
make_delta(*(Path(name) for name in sys.argv[1:4]))
"""
APPLY = """
import sys
from fleetward.device.updates.delta import apply_delta
with open(sys.argv[1], "rb") as old, open(sys.argv[2], "rb") as delta:
    with open(sys.argv[3], "wb") as new:
        apply_delta(old, delta, new, limit_bytes=2**36)
"""


@dataclass(frozen=True)
class Run:
    """What one program cost."""

    seconds: float
    cpu_seconds: float
    peak_mib: float

    def __str__(self) -> str:
        return (
            f"{self.seconds:7.1f} s, CPU {self.cpu_seconds:6.1f} s, peak {self.peak_mib:6.1f} MiB"
        )


def run(*command: str | Path) -> Run:
    """Run a program to its good end. This process stays small: its size would count."""
    began = time.perf_counter()
    child = os.posix_spawnp(str(command[0]), [str(each) for each in command], os.environ)
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - began
    if status:
        raise SystemExit(f"{command[0]} ended with status {os.waitstatus_to_exitcode(status)}.")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def fetch(packages: tuple[str, ...], folder: Path) -> None:
    """Bring packages into a folder, unless they are there."""
    if folder.is_dir():
        return
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp"]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    part = folder.with_suffix(".part")
    subprocess.run([*command, "--dest", str(part), *packages], check=True)
    part.rename(folder)


def lay_out(wheels: Path, image: Path) -> None:
    """Unpack wheels and lay what was in them into one plain tar."""
    with tempfile.TemporaryDirectory(dir=wheels.parent) as name:
        tree = Path(name)
        for wheel in sorted(wheels.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(tree)
        with tarfile.open(image, "w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(path for path in tree.rglob("*") if path.is_file()):
                entry = tar.gettarinfo(path, str(path.relative_to(tree)))
                entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
                with path.open("rb") as file:
                    tar.addfile(entry, file)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tell(name: str, delta: Path, made: Run, applied: Run) -> None:
    """Print one row."""
    print(f"{name:<10} {delta.stat().st_size / 1e6:8.2f} MB   make  {made}")
    print(f"{'':<10} {'':8}      apply {applied}")


def compare(old: Path, new: Path, folder: Path) -> bool:
    """Run both; return whether ours met its goals."""
    wanted = digest(new)
    ours, theirs, back = folder / "ours.delta", folder / "theirs.vcdiff", folder / "back"
    made = run(sys.executable, "-c", MAKE, old, new, ours)
    applied = run(sys.executable, "-c", APPLY, old, ours, back)
    assert digest(back) == wanted, "ours made another file"
    tell("ours", ours, made, applied)
    made = run("xdelta3", "-e", "-f", "-9", "-s", old, new, theirs)
    other = run("xdelta3", "-d", "-f", "-s", old, theirs, back)
    assert digest(back) == wanted, "xdelta3 made another file"
    tell("xdelta3 -9", theirs, made, other)
    good = ours.stat().st_size <= theirs.stat().st_size and applied.peak_mib <= PEAK_GOAL_MIB
    print(f"Both made the new file, byte by byte. Goals (no larger, peak <= {PEAK_GOAL_MIB} MiB): "
          f"{'met' if good else 'MISSED'}.")  # fmt: skip
    return good


def show_archives(old: Path, new: Path, folder: Path) -> None:
    """Print what a delta of packed archives comes to."""
    packed = []
    for path in (old, new):
        packed.append(folder / f"{path.name}.gz")
        with (
            path.open("rb") as plain,
            packed[-1].open("wb") as raw,
            gzip.GzipFile("", "wb", 6, raw, mtime=0) as file,
        ):
            shutil.copyfileobj(plain, file, 1024 * 1024)
    theirs = folder / "packed.vcdiff"
    run("xdelta3", "-e", "-f", "-D", "-9", "-s", *packed, theirs)
    print(
        f"The same two packed by gzip: {packed[1].stat().st_size / 1e6:.2f} MB whole, xdelta3 -9 "
        f"{theirs.stat().st_size / 1e6:.2f} MB."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure deltas.")
    parser.add_argument("--old", type=Path)
    parser.add_argument("--new", type=Path)
    parser.add_argument("--folder", type=Path, help="where packages are kept")
    parser.add_argument("--archives", action="store_true", help="packed archives as well")
    asked = parser.parse_args()
    if shutil.which("xdelta3") is None:
        print("xdelta3 is not here: install it with the system's package manager.")
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        old, new = asked.old or folder / "old.tar", asked.new or folder / "new.tar"
        if asked.old is None or asked.new is None:
            kept = asked.folder or folder
            kept.mkdir(parents=True, exist_ok=True)
            fetch(OLD, kept / "old-wheels")
            fetch(NEW, kept / "new-wheels")
            lay_out(kept / "old-wheels", old)
            lay_out(kept / "new-wheels", new)
        print(f"old {old.stat().st_size / 1e6:.1f} MB, new {new.stat().st_size / 1e6:.1f} MB, "
              f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")  # fmt: skip
        good = compare(old, new, folder)
        if asked.archives:
            show_archives(old, new, folder)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
