"""Which machines something is for, said in what the owner signed of them.

A selector is `all`, or a list of devices, or words that a machine's roster entry must fulfil: one
of these groups, one of these models, one of these sites, as far as they are named. A machine that
joins the list later is selected too; what a server says of a machine counts for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.errors import Malformed
from fleetward.trust.fields import Fields, require_key_id
from fleetward.trust.roster import RosterEntry

ALL: Final = "all"
MAX_DEVICES: Final = 1000
MAX_WORDS: Final = 64


@dataclass(frozen=True, slots=True)
class Selector:
    """With nothing named, all machines."""

    devices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()

    @property
    def selects_all(self) -> bool:
        """Whether it is for every machine of the owner."""
        return not (self.devices or self.groups or self.models or self.sites)

    def selects(self, entry: RosterEntry) -> bool:
        """Whether a machine with this entry is meant."""
        if self.devices:
            return entry.device in self.devices
        return (
            (not self.groups or not set(self.groups).isdisjoint(entry.groups))
            and (not self.models or entry.model in self.models)
            and (not self.sites or entry.site in self.sites)
        )

    def to_json(self) -> Json:
        """Return the selector as it stands in signed documents."""
        if self.selects_all:
            return ALL
        value: JsonObject = {
            "devices": [*sorted(self.devices)],
            "groups": [*sorted(self.groups)],
            "models": [*sorted(self.models)],
            "sites": [*sorted(self.sites)],
        }
        return value

    def words(self) -> str:
        """Say it to a person."""
        if self.selects_all:
            return "all machines"
        if self.devices:
            return "1 machine" if len(self.devices) == 1 else f"{len(self.devices)} machines"
        named = (("group", self.groups), ("model", self.models), ("site", self.sites))
        return ", ".join(f"{noun} {' or '.join(values)}" for noun, values in named if values)


def read_selector(value: Json) -> Selector:
    """Return the selector. Raises `Malformed`, also for one that names nothing but is not `all`."""
    if value == ALL:
        return Selector()
    fields = Fields(value, "the selector", {"devices", "groups", "models", "sites"})
    devices = fields.texts("devices", most=MAX_DEVICES)
    selector = Selector(
        tuple(require_key_id(each, "a device") for each in devices),
        fields.texts("groups", most=MAX_WORDS),
        fields.texts("models", most=MAX_WORDS),
        fields.texts("sites", most=MAX_WORDS),
    )
    words = selector.groups or selector.models or selector.sites
    if selector.selects_all or (devices and words):
        raise Malformed(
            "Expected `all`, devices, or groups, models and sites.", reason="bad_selector"
        )
    if selector.to_json() != value:
        raise Malformed("Expected the lists of a selector sorted.", reason="bad_selector")
    return selector
