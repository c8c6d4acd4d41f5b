"""A maker with keys in memory, who builds, signs, publishes and bundles by the real code.

>>> maker = make_maker(tmp_path)
>>> maker.release("kiosk", "1.0", {"bin/kiosk": b"#!/bin/sh\n", "index.html": b"hello"})
>>> maker.bundle("kiosk", "1.0", tmp_path / "kiosk.bundle")

Nothing asks for a passphrase, and nothing is sealed: that is what `FolderKeys` is for, which has
tests of its own. A file that begins with `#!` is a program. A product is added when it is first
used.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fleetward.keyholder.maker.building import BuildWish, build_release
from fleetward.keyholder.maker.bundling import Along, write_bundle
from fleetward.keyholder.maker.ceremony import InitWish, begin_maker, continue_maker
from fleetward.keyholder.maker.desk import MakerDesk
from fleetward.keyholder.maker.key_ring import NEXT
from fleetward.keyholder.maker.leaving import Leaving, gather
from fleetward.keyholder.maker.parts import PartWish, guess_installer
from fleetward.keyholder.maker.products import add_product
from fleetward.keyholder.maker.publishing import publish_to_folder
from fleetward.keyholder.maker.releasing import sign_release
from fleetward.keyholder.maker.repository import FIRST_ROOT
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.keys import FileSigner, make_key
from fleetward.trust.errors import Refused
from fleetward.trust.keys import ED25519, Signer
from fleetward.trust.release_manifest import Manifest

SUPPORT_ENDS = "2035-12-31"
DAY_MS = 86_400_000


@dataclass
class MemoryKeys:
    """A `KeyRing` without files. What `note` names is looked for in `elsewhere`."""

    held: dict[str, Signer] = field(default_factory=dict)
    elsewhere: dict[str, Signer] = field(default_factory=dict)

    def open(self, name: str) -> Signer:
        if name not in self.held:
            raise Refused(f"There is no key {name}.", reason="key_not_here")
        return self.held[name]

    def make(self, name: str) -> Signer:
        return self._keep(name, make_key(ED25519))

    def note(self, name: str, named: str) -> Signer:
        return self._keep(name, self.elsewhere[named])

    def promote(self, name: str) -> None:
        if f"{name}{NEXT}" in self.held:
            self.held[name] = self.held.pop(f"{name}{NEXT}")

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.held))

    def private_bytes(self) -> list[bytes]:
        """Return every private key, raw, for a search of what must not hold one."""
        return [
            signer.private.private_bytes_raw()
            for signer in self.held.values()
            if isinstance(signer, FileSigner) and hasattr(signer.private, "private_bytes_raw")
        ]

    def _keep(self, name: str, signer: Signer) -> Signer:
        if name in self.held:
            raise Refused(f"There is a key {name}.", reason="key_exists")
        self.held[name] = signer
        return signer


@dataclass
class Maker:
    """One maker and his folder."""

    desk: MakerDesk
    keys: MemoryKeys
    work: Path

    @property
    def root(self) -> bytes:
        """The first root, as an owner gets it."""
        data = self.desk.repository.read(FIRST_ROOT)
        assert data is not None
        return data

    @property
    def root_digest(self) -> str:
        """What an owner's policy names."""
        return hashlib.sha256(self.root).hexdigest()

    @property
    def repository(self) -> Path:
        """The folder with metadata, targets and blobs."""
        return self.desk.repository.path

    def at(self, now_ms: int) -> Maker:
        """Return the same maker at another time."""
        return Maker(replace(self.desk, now_ms=now_ms), self.keys, self.work)

    def write(self, name: str, files: Mapping[str, bytes]) -> Path:
        """Write a folder to be packed; what was there under that name is gone."""
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
            (folder / path).chmod(0o755 if content.startswith(b"#!") else 0o644)
        return folder

    def part(self, name: str, source: Path, installer: str = "", hook: str = "") -> PartWish:
        """Name a part, whose place is called as it is."""
        return PartWish(name, (source,), installer or guess_installer(source), name, hook)

    def build(
        self, product: str, version: str, files: Mapping[str, bytes] | None = None, **wish: Any
    ) -> Manifest:
        """Build a draft: a part `app` of these files, or `parts=`; else fields of `BuildWish`."""
        if product not in self.desk.repository.verify().products:
            add_product(self.desk, product, SUPPORT_ENDS, "")
        if files is not None:
            source = self.write(f"{product}-{version}", files)
            given = (wish.pop("installer", ""), wish.pop("hook", ""))
            wish["parts"] = (self.part("app", source, *given),)
        return build_release(self.desk, BuildWish(product, version, **wish), quiet=True)

    def release(
        self, product: str, version: str, files: Mapping[str, bytes] | None = None, **wish: Any
    ) -> Manifest:
        """Build and sign."""
        self.build(product, version, files, **wish)
        return sign_release(self.desk, product, version)

    def leaving(self, product: str, version: str) -> Leaving:
        """Return all that leaves the maker's computer with a signed release."""
        return gather(self.desk, product, version)

    def publish(self, product: str, version: str, to: Path) -> None:
        """Publish to a folder."""
        publish_to_folder(self.desk, self.leaving(product, version), to, quiet=True)

    def bundle(
        self,
        product: str,
        version: str,
        out: Path,
        approvals: Sequence[Path] = (),
        *,
        everything: bool = False,
    ) -> Path:
        """Write a bundle for a stick."""
        along = Along(tuple(approvals), is_everything=everything)
        write_bundle(self.desk, self.leaving(product, version), out, along, quiet=True)
        return out


def make_maker(tmp: Path, name: str = "Acme", now_ms: int = 0) -> Maker:
    """Return a maker whose folder is `tmp/maker`; the time is the clock's, unless it is given."""
    now_ms = now_ms or SystemClock().wall_ms()
    keys = MemoryKeys()
    folder = begin_maker(tmp / "maker", InitWish(name), lambda _: keys, now_ms)
    desk = MakerDesk.of(folder, keys, now_ms)
    continue_maker(desk)
    return Maker(desk, keys, tmp / "work")
