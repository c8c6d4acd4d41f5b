"""What is closed on one machine, and by which closing: the rules by which that changes. Pure.

    open ── closing ──▶ on trial ── kept ──▶ kept
                           │
                           └── its time is over, or the machine cannot ──▶ what was kept before

1. A closing counts when its serial is above the highest that was ever taken in its epoch. A newer
   epoch starts anew; an older one is refused.
2. A closing on trial replaces another that was on trial. What comes back is what was kept last,
   never something that nobody confirmed.
3. A confirmation counts for the very closing that is on trial and was carried out.
4. A closing that opens everything is kept at once: it cuts nobody off.
5. Going back never lowers the highest serial: what was undone is not taken again.

The caller persists a standing before it acts on it, and measures the trial on a clock that nobody
sets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fleetward.trust.closing import ClosedPort, Closing, Kept
from fleetward.trust.errors import Refused


@dataclass(frozen=True, slots=True)
class Held:
    """What a closing wants, as it is remembered."""

    closing: str
    serial: int
    ports: tuple[ClosedPort, ...] = ()
    local_access: tuple[str, ...] = ()
    restore_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds on one machine. `serial` is the highest ever taken in `epoch`."""

    epoch: int = 0
    serial: int = 0
    kept: Held | None = None
    trial: Held | None = None
    carried_out: bool = False
    """Whether what is on trial has been carried out."""

    @property
    def wanted(self) -> Held | None:
        """What is to be closed now; None when nothing is."""
        return self.trial or self.kept


def begin(standing: Standing, closing: Closing) -> Standing:
    """Return the standing after a verified closing. Raises `Refused`."""
    # 1. Serials rise.
    if closing.epoch < standing.epoch:
        raise Refused("The closing is of an epoch that has passed.", reason="old_epoch")
    if closing.epoch == standing.epoch and closing.serial <= standing.serial:
        raise Refused(
            f"Expected a closing with a serial above {standing.serial}, got {closing.serial}: it "
            "was taken before, or a newer one was.",
            reason="old_serial",
        )
    held = Held(
        closing.hash, closing.serial, closing.ports, closing.local_access, closing.restore_seconds
    )
    after = replace(standing, epoch=closing.epoch, serial=closing.serial, carried_out=False)
    # 4. Opening needs no confirmation.
    if closing.opens_all:
        return replace(after, kept=held, trial=None)
    # 2.
    return replace(after, trial=held)


def note_carried_out(standing: Standing) -> Standing:
    """Return the standing after the machine has done what is on trial."""
    return replace(standing, carried_out=standing.trial is not None)


def keep(standing: Standing, kept: Kept) -> Standing:
    """Return the standing after a verified confirmation. Raises `Refused`.

    The confirmation of what is kept already changes nothing.
    """
    if standing.kept is not None and standing.kept.closing == kept.closing:
        return standing
    # 3. The very one, and after it was carried out.
    if standing.trial is None or standing.trial.closing != kept.closing:
        raise Refused(
            "The confirmation is for a closing that is not on trial here: its time was over, or "
            "another one came. Close again.",
            reason="not_on_trial",
        )
    if not standing.carried_out:
        raise Refused(
            "The confirmation came before this machine has closed anything.",
            reason="not_applied_yet",
        )
    return replace(standing, kept=standing.trial, trial=None, carried_out=False)


def restore(standing: Standing) -> Standing:
    """Return the standing after the trial is over without a confirmation."""
    return replace(standing, trial=None, carried_out=False)
