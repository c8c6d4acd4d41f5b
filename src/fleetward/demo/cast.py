"""Who plays in the demo: simulated machines on three sites, each with a part. Data, no logic.

The order is that of importance: a demo with few machines has the first of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from fleetward.demo.inventories import STILL, Play
from fleetward.trust.statements import MachineFacts
from fleetward.wire.posture import Socket

WARD: Final = "Ward 3"
PLANT: Final = "Plant 2"
SHOP: Final = "Main Street shop"

Part = Literal["confirmed", "waiting", "unconfirmed", "silent", "quarantined"]
"""`silent` stops for good after its first report; `waiting` has to be let in by the owner."""


@dataclass(frozen=True, slots=True)
class Member:
    """One simulated machine. `fixture` is the file that it looks like."""

    slug: str
    fixture: str
    site: str
    maker: str
    model: str
    part: Part = "confirmed"
    play: Play = STILL

    @property
    def preapproved(self) -> bool:
        """Whether its invitation lets it report before anybody compared words."""
        return self.part != "waiting"

    @property
    def facts(self) -> MachineFacts:
        """What it says of itself when it joins; always that it is simulated."""
        return MachineFacts(
            hostname=self.slug,
            model=self.model,
            maker=self.maker,
            system="Debian GNU/Linux 12",
            simulated=True,
        )


_MAINTENANCE: Final = Socket(
    proto="tcp",
    address="192.0.2.10",
    port=8081,
    exposure="lan",
    process="kiosk-service",
    executable="/opt/kiosk/kiosk-service",
    user="kiosk",
    unit="kiosk-service.service",
)
_DIAGNOSIS: Final = Socket(
    proto="tcp",
    address="192.0.2.10",
    port=9222,
    exposure="lan",
    process="doord",
    executable="/opt/doors/doord",
    user="doors",
    unit="doors.service",
)
QUARANTINE_REASON: Final = "VNC without a password, open to every network"
WAITING: Final = Member(
    "infusion-gateway-7", "infusion-gateway", WARD, "Halden Medical", "IG-40", "waiting"
)
STRAY: Final = Member("visitor-tablet", "small-sensor", WARD, "Any maker", "Tablet")
"""Tries to join by an invitation that is used up, once, and is refused."""
_CAST: Final = (
    WAITING,
    Member("camera-recorder-2", "camera-nvr", PLANT, "Corvid Optics", "NVR-16"),
    Member(
        "ward-kiosk-1",
        "ward-kiosk",
        WARD,
        "Lindqvist Displays",
        "Ward kiosk 22",
        play=Play(_MAINTENANCE, every_minutes=5, open_minutes=1),
    ),
    Member("lab-analyser-4", "lab-analyser", WARD, "Ostrava Instruments", "HX-900"),
    Member("plc-gateway-8", "plc-gateway", PLANT, "Brenner Automation", "EdgeLink 8", "silent"),
    Member(
        "vending-kiosk-3", "vending-kiosk", SHOP, "Tallow and Sons", "Snackmaster 5", "quarantined"
    ),
    Member("badge-printer-1", "badge-printer", PLANT, "Printworks Nord", "BP-2", "unconfirmed"),
    Member("mri-console-1", "mri-console", WARD, "Halden Medical", "Magnet console 3"),
    Member(
        "climate-controller-1", "building-controller", PLANT, "Brenner Automation", "Climate 12"
    ),
    Member(
        "shop-gateway-1",
        "shop-gateway",
        SHOP,
        "Tallow and Sons",
        "Shop gateway",
        play=Play(package="shop-forwarder", upgrade_minutes=7),
    ),
    Member(
        "door-controller-2",
        "door-controller",
        PLANT,
        "Corvid Optics",
        "Gate 4",
        play=Play(_DIAGNOSIS, every_minutes=8, open_minutes=2),
    ),
    Member("label-printer-5", "label-printer", SHOP, "Printworks Nord", "LP-4"),
)
_MORE: Final = tuple(m for m in _CAST if m.part == "confirmed" and m.fixture != "camera-nvr")


def make_cast(count: int) -> tuple[Member, ...]:
    """Return the first `count` machines; beyond a dozen the healthy ones come again, numbered."""
    more = []
    for number in range(max(0, count - len(_CAST))):
        like = _MORE[number % len(_MORE)]
        slug = f"{like.fixture}-{100 + number}"
        more.append(Member(slug, like.fixture, like.site, like.maker, like.model))
    return (*_CAST[:count], *more)
