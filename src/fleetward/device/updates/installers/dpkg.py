"""The installer `dpkg`: an archive of packages, installed together by the system's own tool.

    PATH/releases/SHA256/*.deb     the packages of a release (`releases`)
    PATH/current                   leads to those that are installed
    PATH/.unsettled                a release whose packages dpkg was told to install, until it is
                                   committed or gone back from

dpkg is not one step: while it works, the machine has packages of both. A word that was cut short is
therefore carried out again, whole, in one direction or the other, and `.unsettled` says that it has
to be. Going back installs the packages of the release before, which are kept, and purges those
that it did not have. For packages that this place did not install there would be no way back, so a
release with one of those is refused, with the rule `no_way_back`.

A package that is the agent's, or has its files, is refused unless the release says that it replaces
the agent. An archive holds files `*.deb` and nothing else. Scripts of packages run as root, as dpkg
runs them: they are signed by the maker, as everything here. They get no terminal, and no answer to
a question.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetward.device.updates.installer_words import PartWord, Patch
from fleetward.device.updates.installers.contract import (
    Found,
    Source,
    Tell,
    is_digest,
    not_active,
    not_written,
    nothing_before,
)
from fleetward.device.updates.installers.releases import PREVIOUS, Releases
from fleetward.device.updates.own_files import AGENT_PACKAGES, list_code_folders, not_marked
from fleetward.device.updates.programs import Command, run_program
from fleetward.runtime.files import atomic_write, read_bounded, sync_directory
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable

INSTALL_SECONDS: Final = 1800.0
ASK_SECONDS: Final = 120.0
UNPACKS_TO: Final = 4
"""How many times the bytes of packages the files in them have, about."""
MAX_PACKAGES: Final = 512
MAX_LIST_BYTES: Final = 8 * 1024 * 1024
UNSETTLED: Final = ".unsettled"
_OPTIONS: Final = ("--force-confdef", "--force-confold")
"""Nobody answers: who changed a file of settings keeps his."""
_FIELD: Final = re.compile(
    r"Package: ([a-z0-9][a-z0-9+.-]{1,100})\nVersion: ([0-9A-Za-z.+~:-]{1,100})\n"
    r"Architecture: [a-z0-9-]{1,40}\n?"
)


@dataclass(frozen=True, slots=True)
class Package:
    """One package of a release."""

    name: str
    version: str
    file: Path


class DpkgInstaller:
    """One place of this kind. `lock` is held by dpkg too, while it works."""

    def __init__(self, path: Path, root: Path, lock: int) -> None:
        self._path = path
        self._releases = Releases(path, needs=UNPACKS_TO)
        self._root = root
        self._lock = lock

    def survey(self, part: PartWord) -> Found:
        """Say what is there."""
        releases = self._releases
        releases.check_ours()
        active = releases.read()
        written = active != part.sha256 and releases.has(part.sha256)
        needed = releases.needed_bytes(part)
        if active != part.sha256:
            needed += UNPACKS_TO * part.unpacked_bytes
        return Found(active, written, needed, self._path, releases.has_archive(active))

    def write(self, part: PartWord, source: Source, tell: Tell) -> None:
        """Unpack the archive beside the others, and look at every package."""
        self._releases.put(part, source, tell)
        self._look_at_packages(part, tell)

    def patch(self, part: PartWord, delta: Source, word: Patch, tell: Tell) -> None:
        """The same, out of the archive of what is active, or of nothing."""
        self._releases.patch(part, delta, word, tell)
        self._look_at_packages(part, tell)

    def _look_at_packages(self, part: PartWord, tell: Tell) -> None:
        """Return when all of it are packages that can be gone back from; else drop the part."""
        releases = self._releases
        try:
            packages = self._read_packages(part.sha256, tell)
            if not part.replaces_agent:
                self._require_no_agent(part, packages, tell)
            if self._read_unsettled() != part.sha256:
                self._require_way_back(part, packages, tell)
        except FleetwardError:
            kept = (releases.read(), releases.read(PREVIOUS), part.before)
            if part.sha256 not in kept and not self._read_unsettled():
                releases.drop(part.sha256, tell)
            raise

    def switch(self, part: PartWord, tell: Tell) -> None:
        """Have these packages installed, and none that only the release before had."""
        releases = self._releases
        if not releases.has(part.sha256):
            raise not_written(part)
        if releases.read() == part.sha256:
            return
        packages = self._read_packages(part.sha256, tell)
        unsettled = self._read_unsettled()
        if unsettled not in ("", part.sha256):
            raise Refused(
                "The packages of another release were being installed and were not gone back "
                f"from. Go back from {unsettled[:16]}… first.",
                reason="place_damaged",
            )
        if not unsettled:
            self._require_way_back(part, packages, tell)
            atomic_write(self._path / UNSETTLED, part.sha256.encode() + b"\n")
        self._install(packages, self._packages_if_there(part.before, tell), tell)
        releases.point(part.sha256)

    def commit(self, part: PartWord, tell: Tell) -> None:
        """Keep these packages and those before, and drop every other."""
        releases = self._releases
        if releases.read() != part.sha256:
            raise not_active(part)
        previous = releases.read(PREVIOUS)
        if part.before not in ("", part.sha256) and releases.has(part.before):
            previous = part.before
            releases.point(previous, PREVIOUS)
        self._settle()
        releases.keep({part.sha256, previous}, part.sha256, tell)

    def back(self, part: PartWord, tell: Tell) -> None:
        """Have installed what was before, and purge what was not."""
        releases = self._releases
        unsettled = self._read_unsettled()
        if part.sha256 == part.before or (releases.read() == part.before and not unsettled):
            return
        if part.before and not releases.has(part.before):
            raise nothing_before(part)
        if not unsettled:
            atomic_write(self._path / UNSETTLED, part.sha256.encode() + b"\n")
        before = self._packages_if_there(part.before, tell)
        self._install(before, self._packages_if_there(part.sha256, tell), tell)
        releases.point(part.before)
        self._settle()

    def clear(self, part: PartWord, tell: Tell) -> None:
        """Drop these packages, unless they are installed or kept."""
        releases = self._releases
        kept = (releases.read(), releases.read(PREVIOUS), part.before, self._read_unsettled())
        if part.sha256 not in kept:
            releases.drop(part.sha256, tell)

    def waits_restart(self) -> bool:
        """What is active runs at once."""
        return False

    def tree(self) -> Path | None:
        """Packages put their files into the system itself."""
        return self._root

    def _install(self, packages: Sequence[Package], others: Sequence[Package], tell: Tell) -> None:
        """Install packages, and purge those of `others` that are not among them."""
        names = {package.name for package in packages}
        if packages:
            files = (str(package.file) for package in packages)
            self._dpkg((*_OPTIONS, "--install", *files), tell)
        there = self._list_installed(tell)
        too_many = [p.name for p in others if p.name not in names and p.name in there]
        if too_many:
            self._dpkg(("--force-remove-reinstreq", "--purge", *too_many), tell)
            there = self._list_installed(tell)
        wrong = [p.name for p in packages if there.get(p.name) != (p.version, "installed")]
        wrong += [name for name in too_many if name in there]
        if wrong:
            raise Unreachable(
                f"dpkg ended well, and these packages are not as they should be: "
                f"{', '.join(wrong)[:120]}.",
                reason="tool_failed",
            )

    def _require_way_back(self, part: PartWord, packages: Iterable[Package], tell: Tell) -> None:
        """Return when no package is there that this place did not install. Raises `Refused`."""
        ours = {package.name for package in self._packages_if_there(part.before, tell)}
        there = self._list_installed(tell)
        strange = [p.name for p in packages if p.name in there and p.name not in ours]
        if strange:
            raise Refused(
                "These packages are on the machine, and not by a release, so that there is no "
                f"way back to them: {', '.join(strange)[:120]}. Remove them, or put them into the "
                "machine's image.",
                reason="no_way_back",
            )

    def _require_no_agent(self, part: PartWord, packages: Iterable[Package], tell: Tell) -> None:
        """Return when none of them is the agent's, or has or gets its files. Raises `Refused`."""
        folders = list_code_folders() if self._root == Path("/") else ()
        owners = {owner for folder in folders for owner in self._find_owners(folder, tell)}
        for package in packages:
            named = package.name.startswith(AGENT_PACKAGES) or package.name in owners
            if named or (folders and self._brings_any(package, folders, tell)):
                raise not_marked(part.name, package.name)

    def _brings_any(self, package: Package, folders: Iterable[Path], tell: Tell) -> bool:
        """Say whether files of a package go below one of these folders. Raises `Malformed`."""
        argv = ("dpkg-deb", "--contents", str(package.file))
        command = Command(argv, ASK_SECONDS, kept_bytes=MAX_LIST_BYTES, whole=True)
        ended = run_program(command, tell)
        if not ended.good:
            raise _bad(f"{package.file.name} does not list its files")
        return any(f" .{folder}/" in ended.words for folder in folders)

    def _find_owners(self, folder: Path, tell: Tell) -> list[str]:
        """Return the packages that brought a folder."""
        command = Command(("dpkg-query", "--search", str(folder)), ASK_SECONDS, whole=True)
        ended = run_program(command, tell)
        names = (line.rpartition(": ")[0] for line in ended.words.splitlines() if ended.good)
        return [name.strip().partition(":")[0] for each in names for name in each.split(",")]

    def _packages_if_there(self, sha256: str, tell: Tell) -> list[Package]:
        return self._read_packages(sha256, tell) if self._releases.has(sha256) else []

    def _read_packages(self, sha256: str, tell: Tell) -> list[Package]:
        """Return what is in a release. Raises `Malformed` (`bad_package`)."""
        packages = []
        files = sorted(self._releases.tree_of(sha256).iterdir())
        if not files or len(files) > MAX_PACKAGES:
            raise _bad(f"expected 1 to {MAX_PACKAGES} of them, got {len(files)}")
        for file in files:
            if file.suffix != ".deb" or not file.is_file():
                raise _bad(f"{file.name} is none")
            argv = ("dpkg-deb", "--show", f"--showformat={_SHOWN}", str(file))
            ended = run_program(Command(argv, ASK_SECONDS, whole=True), tell)
            found = _FIELD.fullmatch(ended.words) if ended.good else None
            if found is None:
                raise _bad(f"{file.name} says of itself: {ended.words[:80]!r}")
            packages.append(Package(found[1], found[2], file))
        if len({package.name for package in packages}) != len(packages):
            raise _bad("one of them comes twice")
        return packages

    def _list_installed(self, tell: Tell) -> dict[str, tuple[str, str]]:
        """Return the version and state of every package that is there, in part or whole."""
        admin = self._root / "var/lib/dpkg"
        argv = ("dpkg-query", f"--admindir={admin}", "--show", f"--showformat={_LISTED}")
        command = Command(argv, ASK_SECONDS, kept_bytes=MAX_LIST_BYTES, whole=True)
        ended = run_program(command, tell)
        if not ended.good and "no packages found" not in ended.words:
            raise _failed("dpkg-query", ended.why(ASK_SECONDS))
        rows = (line.split("|") for line in ended.words.splitlines())
        return {
            row[0]: (row[1], row[2])
            for row in rows
            if len(row) == 3 and row[2] not in ("not-installed", "config-files")
        }

    def _dpkg(self, arguments: Sequence[str], tell: Tell) -> None:
        argv = ("dpkg", f"--root={self._root}", *arguments)
        ended = run_program(Command(argv, INSTALL_SECONDS, inherits=(self._lock,)), tell)
        if not ended.good:
            raise _failed("dpkg", ended.why(INSTALL_SECONDS))

    def _read_unsettled(self) -> str:
        try:
            said = read_bounded(self._path / UNSETTLED, 128).decode("ascii", "replace").strip()
        except FleetwardError:
            return ""
        return said if is_digest(said) else ""

    def _settle(self) -> None:
        (self._path / UNSETTLED).unlink(missing_ok=True)
        sync_directory(self._path)


_SHOWN: Final = "Package: ${Package}\\nVersion: ${Version}\\nArchitecture: ${Architecture}\\n"
_LISTED: Final = "${Package}|${Version}|${db:Status-Status}\\n"


def _bad(why: str) -> Malformed:
    return Malformed(
        f"The packages of the part are not taken: {why}. Its maker has to build it again.",
        reason="bad_package",
    )


def _failed(tool: str, why: str) -> Unreachable:
    return Unreachable(f"{tool} {why}", reason="tool_failed")
