"""Which machines a recall is about, and what shows that it is over for one of them.

A recall names a product and versions of it by their counters, and the machines that can have it by
what the owner signed of them; or, without a product, those machines as they are. How a machine
stands follows from two things alone, and so the server and the owner's offline check come to the
same result:

1. its entry on the owner's roster;
2. the newest report that it signed, which names what it runs for good.

A machine that has named no version of the product is `unknown`, and never counts as done: the agent
knows what it installed itself, and nothing of what was there before. A machine that says that it
runs a recalled version is `affected`, also where the recall was meant for others; once it was found
so, it stays in the recall when it names another version.

Nothing here makes a machine do anything; a recall is no order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.errors import Malformed
from fleetward.trust.fields import Fields
from fleetward.trust.release_manifest import check_product
from fleetward.trust.roster import RETIRED as OFF_THE_ROSTER
from fleetward.trust.roster import RosterEntry
from fleetward.trust.selector import Selector, read_selector
from fleetward.trust.update_report import Installed

AFFECTED: Final = "affected"
"""It says that it runs a recalled version; or, of a recall without a product, it exists."""
UNKNOWN: Final = "unknown"
CLEAR: Final = "clear"
"""It says that it runs another version, for good."""
RETIRED: Final = "retired"
MAX_RANGES: Final = 64
EVER: Final = 0
"""The last counter of a range without an end."""


@dataclass(frozen=True, slots=True)
class Range:
    """Counters from `first` to `last`, both among them; `last` EVER: all from `first` on."""

    first: int
    last: int

    def holds(self, counter: int) -> bool:
        """Whether a counter is in it."""
        return self.first <= counter and (self.last == EVER or counter <= self.last)


@dataclass(frozen=True, slots=True)
class RecallScope:
    """What a recall is about. Without a product, of machines; without ranges, every version."""

    product: str
    ranges: tuple[Range, ...]
    machines: Selector

    def is_recalled(self, counter: int) -> bool:
        """Whether a release with this counter is recalled."""
        return not self.ranges or any(each.holds(counter) for each in self.ranges)

    def judge(
        self, entry: RosterEntry, installed: Iterable[Installed] | None, *, found: bool = False
    ) -> str | None:
        """Return how a machine stands, or None where the recall is not about it.

        `installed` is what its newest report names; None: it has reported nothing. `found` is
        whether the recall found it before: then it is about it too when it names a version.
        """
        runs = next((each for each in installed or () if each.product == self.product), None)
        hit = self.product != "" and runs is not None and self.is_recalled(runs.counter)
        kept = found and self.product != "" and runs is not None
        if not hit and not kept and not self.machines.selects(entry):
            return None
        if entry.state == OFF_THE_ROSTER:
            return RETIRED
        if not self.product or hit:
            return AFFECTED
        return UNKNOWN if runs is None else CLEAR

    def to_json(self) -> JsonObject:
        """Return it as it stands in the record and in a proof."""
        return {
            "machines": self.machines.to_json(),
            "product": self.product,
            "ranges": [{"first": each.first, "last": each.last} for each in self.ranges],
        }


def read_scope(value: Json) -> RecallScope:
    """Return what a recall is about. Raises `Malformed`."""
    if not isinstance(value, dict):
        raise Malformed("Expected what a recall is about, as an object.", reason="bad_recall")
    fields = Fields(value, "what a recall is about", {"machines", "product", "ranges"})
    product = fields.text("product", most=48)
    ranges = tuple(_read_range(each) for each in fields.items("ranges", most=MAX_RANGES))
    return make_scope(product, ranges, read_selector(value["machines"]))


def make_scope(product: str, ranges: Sequence[Range], machines: Selector) -> RecallScope:
    """Return what a recall is about. Raises `Malformed` for one that is about nothing."""
    if product:
        check_product(product)
    elif ranges or machines.selects_all:
        raise Malformed(
            "Expected a product, or machines: a model, a site, a group or devices.",
            reason="bad_recall",
        )
    for each in ranges:
        if each.first < 1 or (each.last != EVER and each.last < each.first):
            raise Malformed("Expected counters from a lower to a higher one.", reason="bad_recall")
    return RecallScope(product, tuple(sorted(ranges, key=lambda e: (e.first, e.last))), machines)


def _read_range(value: Json) -> Range:
    fields = Fields(value, "a range of releases", {"first", "last"})
    return Range(fields.integer("first", low=1), fields.integer("last"))
