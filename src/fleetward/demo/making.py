"""The demo's maker: his folder, his products, and releases, as `fleetward maker|release` make them.

Made when it is first wanted, since six sealed keys take some seconds. Besides the display he has a
second product, of which the owner never approves anything.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Final

from fleetward.demo.display import HEALTH_PATH, PART, PRODUCT, write_display
from fleetward.demo.owning import PASSPHRASE_BYTES
from fleetward.demo.places import DemoPlaces
from fleetward.demo.tour import run_line
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.maker.building import BuildWish, build_release
from fleetward.keyholder.maker.ceremony import InitWish, begin_maker, continue_maker
from fleetward.keyholder.maker.desk import MakerDesk
from fleetward.keyholder.maker.folder import FACTS_FILE, MakerFolder
from fleetward.keyholder.maker.key_ring import FolderKeys, KeyRing
from fleetward.keyholder.maker.leaving import gather
from fleetward.keyholder.maker.parts import read_health, read_parts
from fleetward.keyholder.maker.products import add_product
from fleetward.keyholder.maker.released import list_released
from fleetward.keyholder.maker.releasing import sign_release
from fleetward.keyholder.maker.sending import send_release
from fleetward.keyholder.passphrase import read_passphrase_file
from fleetward.runtime.clock import Clock
from fleetward.runtime.files import atomic_write
from fleetward.trust.release_manifest import Manifest

MAKER_NAME: Final = "Lindqvist Displays"
OTHER: Final = "ward-lights"
"""A product that the owner's policy knows and of which he approves nothing."""
SUPPORT_DAYS: Final = 5 * 365
WITHIN_SECONDS: Final = 10
STEADY_SECONDS: Final = 2


class MakerSide:
    """The maker's desk of a demo. `tell` says what is done, and by which command a maker does it.

    Every method raises as the functions of `keyholder.maker` do.
    """

    def __init__(self, places: DemoPlaces, clock: Clock, tell: Callable[[str], None]) -> None:
        self._places = places
        self._clock = clock
        self._tell = tell

    @property
    def first_root(self) -> Path:
        """What an owner is given to name in the policy."""
        return MakerFolder(self._places.maker).first_root

    def set_up(self) -> None:
        """Make the folder and both products, as far as they are not there."""
        places = self._places
        if not places.maker_passphrase.exists():
            passphrase = secrets.token_urlsafe(PASSPHRASE_BYTES).encode("ascii")
            atomic_write(places.maker_passphrase, passphrase + b"\n")
        if not (places.maker / FACTS_FILE).exists():
            self._tell(self._line("maker", "init", "--name", MAKER_NAME))
            begin_maker(places.maker, InitWish(MAKER_NAME), self._open_ring, self._clock.wall_ms())
        continue_maker(self._desk)
        known = self._desk.repository.verify().products
        ends = datetime.fromtimestamp(self._clock.wall_ms() / 1000, UTC)
        ends += timedelta(days=SUPPORT_DAYS)
        for product in (PRODUCT, OTHER):
            if product not in known:
                day = ends.date().isoformat()
                self._tell(self._line("maker", "product", "add", product, "--support-ends", day))
                add_product(self._desk, product, day, "")

    def versions(self, product: str) -> list[str]:
        """Return what was signed of a product, the oldest first."""
        desk = self._desk
        released = list_released(desk.repository, desk.repository.verify(), product)
        return [each.version for each in sorted(released, key=lambda each: each.counter)]

    def release(
        self, client: ApiClient, product: str, version: str, port: int, *, broken: bool = False
    ) -> Manifest:
        """Build, sign and publish a release of the display."""
        named = f"{product}/{version}"
        source = write_display(self._places.maker_work / product / version, version, broken=broken)
        part, health = f"{PART}={source}", f"http:{port}{HEALTH_PATH}/{version}=200"
        self._tell(
            self._line(
                "release", "build", product, version, "--part", part, "--health", health,
                "--within", str(WITHIN_SECONDS), "--steady", str(STEADY_SECONDS),
            )
        )  # fmt: skip
        wish = BuildWish(
            product,
            version,
            read_parts([part], []),
            checks=read_health([health]),
            within_seconds=WITHIN_SECONDS,
            steady_seconds=STEADY_SECONDS,
            notes="A page for the ward's display.",
        )
        build_release(self._desk, wish, quiet=True)
        self._tell(self._line("release", "sign", named))
        manifest = sign_release(self._desk, product, version)
        self._tell(self._line("release", "publish", named, "--data", self._places.data))
        send_release(client, self._desk, gather(self._desk, product, version), quiet=True)
        return manifest

    @cached_property
    def _ring(self) -> KeyRing:
        """Keys that were opened once stay open: each costs a fifth of a second."""
        return self._open_ring(MakerFolder.open(self._places.maker))

    @property
    def _desk(self) -> MakerDesk:
        """A desk of this moment."""
        folder = MakerFolder.open(self._places.maker)
        return MakerDesk.of(folder, self._ring, self._clock.wall_ms())

    def _open_ring(self, folder: MakerFolder) -> KeyRing:
        passphrase = read_passphrase_file(self._places.maker_passphrase)
        return FolderKeys(folder, lambda: passphrase, self._places.maker_passphrase)

    def _line(self, *words: str | Path) -> str:
        where: tuple[str | Path, ...] = ("--maker", self._places.maker)
        if words[1] not in ("build", "publish"):
            where = (*where, "--passphrase-file", self._places.maker_passphrase)
        return run_line("fleetward", *words, *where)
