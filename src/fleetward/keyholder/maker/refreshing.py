"""`maker refresh`: snapshot and timestamp are signed again, and what runs out with them."""

from __future__ import annotations

from tuf.api.metadata import Targets

from fleetward.keyholder.maker.desk import MakerDesk
from fleetward.keyholder.maker.lives import RENEW_DAYS, Life, list_lives
from fleetward.keyholder.maker.signing import sign_change


def refresh(desk: MakerDesk, *, everything: bool = False) -> tuple[Life, ...]:
    """Sign again, and return what runs out when.

    Targets and products are signed again when they run out within `RENEW_DAYS`, or with
    `everything`. The root is not: that takes its people (`maker key renew`).
    """
    with desk.folder.locked():
        state = desk.repository.verify()
        edited = {
            life.role: state.open(life.role, Targets)
            for life in list_lives(state, desk.now_ms)
            if life.role not in ("root", "snapshot", "timestamp")
            and (everything or life.days_left < RENEW_DAYS)
        }
        desk.repository.commit(sign_change(state, edited, desk.keys, desk.now_ms), desk.now_ms)
        return list_lives(desk.repository.verify(), desk.now_ms)
