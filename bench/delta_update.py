"""What a machine fetches for a release, by a delta and otherwise: guard and installer for real.

    python bench/delta_update.py [--old FOLDER --new FOLDER] [--folder FOLDER] [--levels]

Workload, unless two folders are named: the Python packages below for Linux on x86-64, unpacked;
once in the older and once in the newer version, one maintenance release apart. They are fetched by
`pip download`, so a network is needed; a folder that is named keeps them.

The maker's own code builds both releases. One machine, guard and the installer's real process,
takes them one after the other out of a server's mouth; another one, without deltas, takes the whole
parts. Counted is what guard asked for of blobs, lists of segments included, and the time of all.
All lies on one disk. How large an installer grows, `tests/attack/test_delta_patch.py` measures.

`--levels` makes the deltas of the second release at zstd's levels 12 and 19, and says what each
took of CPU time, of all threads.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.maker_world import Maker, make_maker
from tests.trust_world import NOW_MS
from tests.update_world import HeldInstaller, UpdateGuard

from fleetward.keyholder.maker.deltas import DeltaWish
from fleetward.keyholder.maker.parts import PartWish
from fleetward.trust.release_manifest import Manifest
from fleetward.wire.delta import EMPTY_SOURCE

OLD = ("numpy==2.2.5", "scikit-learn==1.6.0")
NEW = ("numpy==2.2.6", "scikit-learn==1.6.1")
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_28_x86_64")
REPOSITORY = Path(__file__).parents[1]


@dataclass
class RealInstaller(HeldInstaller):
    """Starts the installer's own process, and ends it with the talk."""

    data: Path = Path()
    places: Path = Path()
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_installer(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "tests.adversary.installer_process", str(self.places)]
            command += ["0", "--guard", str(theirs.fileno()), "--data", str(self.data)]
            self.running.append(
                subprocess.Popen(command, cwd=REPOSITORY, pass_fds=(theirs.fileno(),))
            )
        return ours

    def wait(self) -> None:
        """Wait for the processes, whose sockets were closed."""
        while self.running:
            self.running.pop().wait()


class Bench:
    """A machine with a guard and an installer, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        places = folder / "places.toml"
        places.write_text(
            f'[places.app]\nproduct = "kiosk"\ninstaller = "directory"\npath = "{folder}/app"\n'
        )
        installer = RealInstaller(data=folder / "data", places=places)
        installer.data.mkdir()
        self.installer = installer
        self.guard = UpdateGuard.make(folder / "guard", installer=installer)

    def take(self, maker: Maker, manifest: Manifest) -> tuple[int, float]:
        """Have it take a release; return the bytes that it asked for, and how long all took."""
        names = {name for blob in manifest.blobs() for name in (blob.sha256, blob.segments)}
        for name in names:
            self.guard.server.blobs[name] = (maker.repository / "blobs" / name).read_bytes()
        self.guard.publish(manifest)
        self.guard.approve()
        self.guard.server.asked.clear()
        began = time.perf_counter()
        self.guard.run(seconds=600, step_ms=50)
        seconds = time.perf_counter() - began
        assert self.guard.outcomes()[-1] == "committed", self.guard.reports()[-1]
        self.installer.wait()
        self.guard.server.blobs.clear()
        asked = (q.length for q in self.guard.server.asked if q.what == "blob")
        return sum(asked), seconds


def fetch(packages: tuple[str, ...], folder: Path) -> Path:
    """Bring packages into a folder, unless they are there; return where they are unpacked."""
    tree = folder / "tree"
    if not tree.is_dir():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp"]
        for platform in PLATFORMS:
            command += ["--platform", platform]
        subprocess.run([*command, "--dest", str(folder / "wheels"), *packages], check=True)
        part = folder / "tree.part"
        for wheel in sorted((folder / "wheels").glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(part)
        part.rename(tree)
    return tree


def build(maker: Maker, version: str, tree: Path, wish: DeltaWish) -> tuple[Manifest, float]:
    """Build and sign; return the release and the CPU time of it."""
    began = time.process_time()
    parts = (PartWish("app", (tree,), "directory", "app"),)
    manifest = maker.release("kiosk", version, parts=parts, deltas=wish)
    return manifest, time.process_time() - began


def tell(words: str, size: int, whole: int, seconds: float = 0) -> None:
    """Print one row."""
    took = f"   {seconds:6.1f} s from the first question to committed" if seconds else ""
    print(f"{words:<44} {size / 1e6:8.2f} MB  {size / whole:7.2%}{took}")


def compare(old: Path, new: Path, folder: Path) -> None:
    """Have one machine take both releases by deltas, and another one whole."""
    maker = make_maker(folder / "ours", now_ms=NOW_MS)
    first, _ = build(maker, "1", old, DeltaWish())
    second, cpu = build(maker, "2", new, DeltaWish())
    [part] = second.parts
    whole = part.blob.length_bytes
    print(f"the part {whole / 1e6:.1f} MB, {part.unpacked_files} files; building took "
          f"{cpu:.1f} s of CPU")  # fmt: skip
    machine = Bench(folder / "machine")
    size, seconds = machine.take(maker, first)
    tell("first release, out of nothing", size, first.parts[0].blob.length_bytes, seconds)
    size, seconds = machine.take(maker, second)
    tell("second release, from the first", size, whole, seconds)
    machine.guard.core.close()
    maker = make_maker(folder / "plain", now_ms=NOW_MS)
    plain, _ = build(maker, "2", new, DeltaWish(are_made=False))
    other = Bench(folder / "other")
    size, seconds = other.take(maker, plain)
    tell("second release, whole", size, whole, seconds)
    other.guard.core.close()


def show_levels(old: Path, new: Path, folder: Path) -> None:
    """Print what the levels come to."""
    for is_best in (False, True):
        maker = make_maker(folder / f"level-{is_best}", now_ms=NOW_MS)
        build(maker, "1", old, DeltaWish(are_made=False))
        manifest, cpu = build(maker, "2", new, DeltaWish(is_best=is_best))
        sizes = {d.source == EMPTY_SOURCE: d.blob.length_bytes for d in manifest.parts[0].deltas}
        print(f"level {19 if is_best else 12}: out of nothing {sizes[True] / 1e6:.2f} MB, from the "
              f"first {sizes[False] / 1e6:.2f} MB; {cpu:.1f} s of CPU")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure what machines fetch.")
    parser.add_argument("--old", type=Path)
    parser.add_argument("--new", type=Path)
    parser.add_argument("--folder", type=Path, help="where packages are kept")
    parser.add_argument("--levels", action="store_true", help="compare zstd's levels too")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = asked.folder or folder
        for each in ("old", "new"):
            (kept / each).mkdir(parents=True, exist_ok=True)
        old = asked.old or fetch(OLD, kept / "old")
        new = asked.new or fetch(NEW, kept / "new")
        compare(old, new, folder)
        if asked.levels:
            show_levels(old, new, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
