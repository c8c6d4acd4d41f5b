"""HTTP: recoveries on the owner's console."""

from __future__ import annotations

from litestar import post
from litestar.params import JSONBody
from litestar.types import ControllerRouterHandler

from fleetward.keyholder.console.model import Question, RecoveryView
from fleetward.keyholder.console.passkey_routes import Passphrase, PolicySigned, show_signed
from fleetward.keyholder.console.recovery_keeper import RecoveryKeeper


class RefuseRecovery(Question, frozen=True, kw_only=True):
    """Nobody asked for it: the present keys sign the next policy."""

    passphrase: Passphrase


def show_recoveries(keeper: RecoveryKeeper) -> list[RecoveryView]:
    """Return what waits, in the words of the verified policy."""
    return [
        RecoveryView(
            version=policy.version,
            people=sorted({h.person for h in policy.roles["policy"].keys.values()}),
            announced_at=row.announced_at,
            earliest_at=row.earliest_at,
        )
        for row, policy in keeper.waiting
    ]


def make_recovery_handlers(keeper: RecoveryKeeper) -> list[ControllerRouterHandler]:
    """Return the handlers below /api/v1/recovery."""

    @post("/recovery/refuse", sync_to_thread=True, status_code=200)
    def refuse(data: JSONBody[RefuseRecovery]) -> PolicySigned:
        """Sign the next policy without recovery keys, and hand it over."""
        return show_signed(*keeper.veto(data.passphrase))

    return [refuse]
