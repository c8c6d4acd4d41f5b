"""The steps from packages to a disk. Each is done again only when what it is made from changed.

base      Debian's packages, by mmdebstrap and the machine's own apt       base.tar
agent     the agent and what it needs, as `locks/device.txt` has it        agent/
boot      GRUB, with its configuration inside                              boot.img, core.img
slot      one version of the whole system                                  VERSION.squashfs
disk      partitions, GRUB, a slot, and the folder of the agent            any file
"""

from __future__ import annotations

import compileall
import io
import os
import py_compile
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tools.environment import build_environment, name_index_to_uv
from tools.reference_image.compose import EPOCH, Added, Base, compose_slot, make_initrd
from tools.reference_image.layout import Layout, lay_out, make_tables, place_core
from tools.reference_image.recipe import FOLDER, ROOT, Recipe, read_recipe
from tools.stamps import Stamps, hash_inputs, list_sources

HOME: Final = "/opt/fleetward"
PYTHON: Final = "3.11"
LIBRARY: Final = f"usr/lib/python{PYTHON}/"
UPLINK: Final = 990
"""The number of uplink's user, the same in every version: its folder outlives them."""
GRUB_MODULES: Final = (
    "biosdisk", "part_gpt", "squash4", "ext2", "memdisk", "tar", "normal", "linux", "loadenv",
    "test", "echo", "serial", "terminal", "boot", "reboot", "sleep", "minicmd",
)  # fmt: skip
GRUB_FILES: Final = Path("/usr/lib/grub/i386-pc")
ENVIRONMENT_BYTES: Final = 1024
AGENT_PARTS: Final = ("trust", "wire", "runtime", "device")
TOOLS: Final = {
    "mmdebstrap": "mmdebstrap",
    "mksquashfs": "squashfs-tools",
    "grub-mkimage": "grub-common",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
}
"""By program, the package of Debian that has it; and grub-pc-bin, which has none."""


def find_missing(tools: Mapping[str, str] = TOOLS) -> list[str]:
    """Return the packages of Debian that this computer lacks for the recipe."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    missing = {package for tool, package in tools.items() if shutil.which(tool, path=path) is None}
    if not (GRUB_FILES / "boot.img").exists():
        missing.add("grub-pc-bin")
    return sorted(missing)


class Builder:
    """Builds below `folder`, and remembers there what was built from what."""

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self.folder = folder
        self.recipe: Recipe = read_recipe()
        self.layout: Layout = lay_out(
            self.recipe.bootenv_mib, self.recipe.slot_mib, self.recipe.data_mib
        )
        self._tell = tell
        self._stamps = Stamps(folder / "stamps")
        self._env = {
            **build_environment(ROOT),
            "SOURCE_DATE_EPOCH": str(EPOCH),
            "LC_ALL": "C.UTF-8",
        }
        self._env["PATH"] = f"{self._env.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        self._added: dict[str, Added] | None = None
        self.seconds = 0.0

    # --- what every version has

    def prepare(self) -> None:
        """Have base, agent and boot be there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        recipe = self.recipe
        wanted = repr((recipe.suite, recipe.packages, recipe.without))
        self._step("base", wanted, self._make_base)
        sources = [
            path
            for part in AGENT_PARTS
            for path in list_sources(
                ROOT / "src/fleetward" / part, without=frozenset({"__pycache__"})
            )
        ]
        sources += [ROOT / "pyproject.toml", ROOT / "locks/device.txt", Path(__file__)]
        self._step("agent", hash_inputs(ROOT, sources), self._make_agent)
        boot = [FOLDER / "grub.cfg", Path(__file__), *GRUB_FILES.glob("*.img")]
        self._step("boot", hash_inputs(Path("/"), boot), self._make_boot)
        based = (self._stamps.folder / "base").read_text() + repr(recipe.drop)
        self._step("library", based, self._make_library)

    def _step(self, name: str, wanted: str, work: Callable[[], None]) -> None:
        if self._stamps.is_current(name, wanted):
            return
        started = time.monotonic()
        work()
        self._stamps.write(name, wanted)
        took = time.monotonic() - started
        self.seconds += took
        self._tell(f"built {name} in {took:.1f} s")

    def _make_base(self) -> None:
        recipe = self.recipe
        options = [f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.without]
        self._run(
            "mmdebstrap", "--quiet", "--variant=essential",
            f"--include={','.join(recipe.packages)}", "--aptopt=APT::Install-Recommends false",
            *options, recipe.suite, self.folder / "base.new.tar",
        )  # fmt: skip
        (self.folder / "base.new.tar").replace(self.folder / "base.tar")

    def _make_agent(self) -> None:
        """Install the wheel's parts for machines, and compile everything ahead: a slot is read-only
        and could not keep what is compiled later."""
        agent, wheels = self.folder / "agent", self.folder / "wheels"
        shutil.rmtree(agent, ignore_errors=True)
        shutil.rmtree(wheels, ignore_errors=True)
        uv = ROOT / ".venv/bin/uv"
        env = name_index_to_uv(self._env, [sys.executable, "-m", "pip"])
        self._run(
            uv, "build", "-q", "--wheel", "--offline", "--no-build-isolation",
            "--python", sys.executable, "--out-dir", wheels, ROOT,
        )  # fmt: skip
        into = (
            uv, "pip", "install", "-q", "--no-deps", "--target", agent, "--python-version", PYTHON,
            "--python-platform", "x86_64-manylinux_2_36", "--only-binary", ":all:",
        )  # fmt: skip
        self._run(*into, "--require-hashes", "-r", ROOT / "locks/device.txt", env=env)
        self._run(*into, *wheels.glob("*.whl"), env=env)
        for folder in (agent / "fleetward").iterdir():
            if folder.is_dir() and folder.name not in AGENT_PARTS:
                shutil.rmtree(folder)
        shutil.rmtree(agent / "bin")
        for tests in agent.rglob("test_data"):
            shutil.rmtree(tests)
        compile_ahead(agent, f"{HOME}/lib/python{PYTHON}/site-packages")

    def _make_boot(self) -> None:
        memdisk = self.folder / "grub.tar"
        data = (FOLDER / "grub.cfg").read_bytes()
        with tarfile.open(memdisk, "w", format=tarfile.USTAR_FORMAT) as tar:
            info = tarfile.TarInfo("boot/grub/grub.cfg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        self._run(
            "grub-mkimage", "-O", "i386-pc", "-d", GRUB_FILES, "-p", "(memdisk)/boot/grub",
            "-m", memdisk, "-o", self.folder / "core.img", *GRUB_MODULES,
        )  # fmt: skip
        shutil.copyfile(GRUB_FILES / "boot.img", self.folder / "boot.img")

    # --- one version

    def make_slot(self, version: str, *, initrd: bool = True) -> Path:
        """Return the image of a version. Without `initrd` its kernel finds no first program."""
        out = self.folder / f"{version}.squashfs"
        inputs = [*list_sources(FOLDER, without=frozenset()), *Path(__file__).parent.glob("*.py")]
        wanted = hash_inputs(ROOT, inputs, also=repr((version, initrd)))
        for before in ("base", "agent"):
            wanted += (self._stamps.folder / before).read_text()
        self._step(version, wanted, lambda: self._make_slot(version, out, initrd=initrd))
        return out

    def _make_slot(self, version: str, out: Path, *, initrd: bool) -> None:
        base = Base(self.folder / "base.tar", self.recipe.drop)
        if self._added is None:
            self._added = self._list_added(base)
        added = {
            **self._added,
            "etc/os-release": Added(_name_release(version)),
            f"usr/share/reference/www/{version}.txt": Added(version.encode() + b"\n"),
        }
        if not initrd:
            added["boot/initrd"] = Added(make_initrd({"init": Added(b"no program\n", 0o755)}))
        compose_slot(base, added, out)

    def _list_added(self, base: Base) -> dict[str, Added]:
        modules = {f"/kernel/{name}.ko": f"modules/{Path(name).name}.ko"
                   for name in self.recipe.modules}  # fmt: skip
        files = base.read(
            {**modules, "usr/bin/busybox": "bin/busybox", "etc/passwd": "etc/passwd",
             "etc/group": "etc/group", "etc/shadow": "etc/shadow"}
        )  # fmt: skip
        accounts = {name: files.pop(name) for name in ("etc/passwd", "etc/group", "etc/shadow")}
        order = " ".join(Path(name).name for name in self.recipe.modules)
        first = {name: Added(data, 0o755) for name, data in files.items()}
        first |= {
            "bin/sh": Added(link="busybox"),
            "init": Added((FOLDER / "init").read_bytes(), 0o755),
            "modules/order": Added(order.encode()),
            **{name: Added(mode=0o40755) for name in ("dev", "proc", "sys", "slot")},
        }
        return {
            "boot": Added(mode=0o40755),
            "boot/env": Added(mode=0o40755),
            "boot/vmlinuz": Added(base.find_kernel()),
            "boot/initrd": Added(make_initrd(first)),
            "etc/machine-id": Added(mode=0o444),
            "etc/hostname": Added(b"reference\n"),
            **_add_user(accounts),
            **list_tree(FOLDER / "root", ""),
            **self._list_agent(),
            **self._list_units(),
            **self._list_library(),
        }

    def _list_agent(self) -> dict[str, Added]:
        home = HOME.lstrip("/")
        packages = f"{home}/lib/python{PYTHON}/site-packages"
        command = (
            f"#!{HOME}/bin/python3 -I\nimport sys\nfrom fleetward.device.cli import main\n"
            "sys.exit(main())\n"
        )
        return {
            home: Added(mode=0o40755),
            f"{home}/bin": Added(mode=0o40755),
            f"{home}/bin/python3": Added(link=f"/usr/bin/python{PYTHON}"),
            f"{home}/bin/fleetward-agent": Added(command.encode(), 0o755),
            f"{home}/pyvenv.cfg": Added(b"home = /usr/bin\ninclude-system-site-packages = false\n"),
            **list_tree(self.folder / "agent", packages),
        }

    def _list_units(self) -> dict[str, Added]:
        """Have the agent write its own units, as on any machine, for the Python that it finds."""
        root = self.folder / "units"
        shutil.rmtree(root, ignore_errors=True)
        self._run(
            ROOT / ".venv/bin/fleetward-agent", "install", "--root", root,
            "--python", f"{HOME}/bin/python3",
        )  # fmt: skip
        return list_tree(root, "")

    def _make_library(self) -> None:
        """Compile Python's own library too: what its packages compiled is not in a tar."""
        folder = self.folder / "library"
        shutil.rmtree(folder, ignore_errors=True)
        for member, data in Base(self.folder / "base.tar", self.recipe.drop).members():
            if data is not None and member.name.endswith(".py") and LIBRARY in member.name:
                path = folder / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data.read())
        compile_ahead(folder / "usr", "/usr")

    def _list_library(self) -> dict[str, Added]:
        found = list_tree(self.folder / "library", "")
        return {name: each for name, each in found.items() if "__pycache__" in name}

    # --- a disk

    def make_disk(self, out: Path, slot: Path, data: Path, environment: bytes) -> None:
        """Write a disk that starts this slot, as `root-a`. `data` is the agent's folder."""
        layout = self.layout
        first, second = make_tables(layout)
        boot, core = place_core(
            (self.folder / "boot.img").read_bytes(),
            (self.folder / "core.img").read_bytes(),
            layout.find("grub"),
        )
        out.unlink(missing_ok=True)
        with out.open("wb") as disk:
            disk.truncate(layout.disk_bytes)
            disk.write(first)
            disk.seek(0)
            disk.write(boot)
            disk.seek(layout.find("grub").start_bytes)
            disk.write(core)
            root = layout.find("root-a")
            if slot.stat().st_size > root.size_bytes:
                raise ValueError(f"The slot has {root.size_bytes} bytes, its image more.")
            disk.seek(root.start_bytes)
            with slot.open("rb") as image:
                shutil.copyfileobj(image, disk, 1 << 20)
            disk.seek(layout.disk_bytes - len(second))
            disk.write(second)
        remembered = self.folder / "bootenv"
        remembered.mkdir(exist_ok=True)
        (remembered / "grubenv").write_bytes(environment)
        # Blocks of 1,024 bytes: the file is one of them, and never moves.
        self._make_files(out, "bootenv", remembered, "-t", "ext2", "-b", "1024")
        self._make_files(out, "data", data, "-t", "ext4")
        self._give(out, "data", data)

    def _make_files(self, disk: Path, name: str, folder: Path, *options: str) -> None:
        """Make a file system in a partition, with these files."""
        part = self.layout.find(name)
        self._run(
            "mke2fs", "-q", "-F", *options, "-L", name, "-E", f"offset={part.start_bytes}",
            "-d", folder, disk, f"{part.size_bytes // 1024}k",
        )  # fmt: skip

    def _give(self, disk: Path, name: str, folder: Path) -> None:
        """Give the agent's files to the users that they have on the machine."""
        owners = []
        for path in [folder, *sorted(folder.rglob("*"))]:
            inside = path.relative_to(folder)
            owner = UPLINK if inside.parts[:1] == ("uplink",) else 0
            shown = "/" if path == folder else f"/{inside}"
            owners += [f'sif "{shown}" uid {owner}', f'sif "{shown}" gid {owner}']
        commands = self.folder / "owners"
        commands.write_text("\n".join(owners) + "\n")
        offset = self.layout.find(name).start_bytes
        self._run("debugfs", "-w", "-f", commands, f"{disk}?offset={offset}")

    def _run(self, *command: str | Path, env: Mapping[str, str] | None = None) -> None:
        done = subprocess.run(
            [str(word) for word in command],
            env=dict(env or self._env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            words = done.stderr.decode("utf-8", "replace").strip()[-2000:]
            raise RuntimeError(f"{Path(str(command[0])).name} failed:\n{words}")


def make_environment(**values: str) -> bytes:
    """Return GRUB's memory with these values (GRUB's manual, "Environment block")."""
    lines = "".join(f"{name}={value}\n" for name, value in values.items())
    return ("# GRUB Environment Block\n" + lines).encode().ljust(ENVIRONMENT_BYTES, b"#")


def compile_ahead(folder: Path, shown: str) -> None:
    """Compile every module below a folder, for good: nobody changes them there. Raises
    `RuntimeError` by another Python than the machine's."""
    if sys.version_info[:2] != tuple(map(int, PYTHON.split("."))):
        raise RuntimeError(f"The image has Python {PYTHON}; run this by the same.")
    compileall.compile_dir(
        folder,
        quiet=2,
        stripdir=str(folder),
        prependdir=shown,
        workers=0,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def list_tree(folder: Path, below: str) -> dict[str, Added]:
    """Return every file of a folder, by its name in the image."""
    found: dict[str, Added] = {}
    for path in sorted(folder.rglob("*")):
        name = str(Path(below) / path.relative_to(folder))
        if path.is_symlink():
            found[name] = Added(link=str(path.readlink()))
        elif path.is_dir():
            found[name] = Added(mode=0o40755)
        else:
            mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            found[name] = Added(path.read_bytes(), mode)
    return found


def _add_user(accounts: Mapping[str, bytes]) -> dict[str, Added]:
    from fleetward.device.privileges import UPLINK_USER

    lines = {
        "etc/passwd": f"{UPLINK_USER}:x:{UPLINK}:{UPLINK}::/nonexistent:/usr/sbin/nologin\n",
        "etc/group": f"{UPLINK_USER}:x:{UPLINK}:\n",
        "etc/shadow": f"{UPLINK_USER}:!:1::::::\n",
    }
    modes = {"etc/shadow": 0o600}
    return {
        name: Added(accounts[name] + line.encode(), modes.get(name, 0o644))
        for name, line in lines.items()
    }


def _name_release(version: str) -> bytes:
    return (
        'PRETTY_NAME="Fleetward reference machine"\nID=fleetward-reference\nID_LIKE=debian\n'
        f'VERSION_ID="12"\nIMAGE_ID=reference\nIMAGE_VERSION={version}\n'
    ).encode()
