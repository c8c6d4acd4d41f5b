"""HTTP of the owner's console: it only translates between the page and the keeper."""

from __future__ import annotations

from typing import Any

from litestar import Request, get, post
from litestar.params import JSONBody
from litestar.response import Stream
from litestar.types import ControllerRouterHandler

from fleetward.keyholder.console.access_routes import make_access_handlers
from fleetward.keyholder.console.callers import caller_of
from fleetward.keyholder.console.closing_routes import make_closing_handlers
from fleetward.keyholder.console.keeper import Keeper
from fleetward.keyholder.console.model import (
    Confirm,
    Invitation,
    Invite,
    MachineList,
    Nothing,
    PendingList,
    PolicyView,
    Retire,
    ServerView,
    Signed,
    State,
    Verdict,
)
from fleetward.keyholder.console.passkey_routes import make_passkey_handlers
from fleetward.keyholder.console.phone_routes import (
    make_passkey_signers,
    make_phone_list_handlers,
)
from fleetward.keyholder.console.recovery_routes import make_recovery_handlers, show_recoveries
from fleetward.keyholder.console.views import (
    show_head,
    show_machine,
    show_pending,
    show_policy,
    show_roster,
    show_verdict,
)
from fleetward.keyholder.console.window_routes import make_window_handlers
from fleetward.keyholder.desk import find_entry
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.keyholder.init import SAME_HOST_WORDS
from fleetward.keyholder.pending import Confirmation
from fleetward.runtime.clock import Clock
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.errors import Misuse


def make_handlers(keeper: Keeper, clock: Clock) -> list[ControllerRouterHandler]:
    """Return all handlers below /api/v1."""
    return [
        *_make_readers(keeper),
        *_make_signers(keeper, clock),
        *make_access_handlers(keeper.access),
        *make_window_handlers(keeper.windows),
        *make_passkey_signers(keeper),
        *make_passkey_handlers(keeper.passkeys),
        *make_phone_list_handlers(keeper, clock),
        *make_recovery_handlers(keeper.recovery),
        *make_closing_handlers(keeper.closing),
    ]


def _make_readers(keeper: Keeper) -> list[ControllerRouterHandler]:
    @get("/state", sync_to_thread=True)
    def show_state() -> State:
        """Return what the owner's folder holds."""
        documents = keeper.desk.documents()
        url, reachable, words = keeper.server
        beside = keeper.facts_beside_server
        return State(
            name=documents.name,
            owner_root=documents.owner,
            policy=show_policy(documents.policy),
            roster=show_roster(documents),
            head=show_head(documents),
            server=ServerView(url=url, reachable=reachable, words=words),
            same_host=beside,
            same_host_words=SAME_HOST_WORDS if beside else "",
            recoveries=show_recoveries(keeper.recovery),
        )

    @get("/pending", sync_to_thread=True)
    def list_pending() -> PendingList:
        """Return the machines that wait, with words computed from their keys."""
        keeper.look()
        owner = keeper.desk.documents().owner
        return PendingList(items=[show_pending(owner, m) for m in keeper.pending])

    @get("/roster", sync_to_thread=True)
    def list_roster() -> MachineList:
        """Return the machines of the newest roster."""
        return MachineList(items=[show_machine(e) for e in keeper.desk.documents().entries])

    @get("/policy", sync_to_thread=True)
    def read_policy() -> PolicyView:
        """Return the newest policy."""
        return show_policy(keeper.desk.documents().policy)

    @get("/stream")
    async def stream_changes(request: Request[Any, Any, Any]) -> Stream:
        """Stream what changed."""
        caller = caller_of(request)
        return Stream(
            keeper.changes.frames(caller.phone, lambda: keeper.phones.is_there(caller)),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    return [show_state, list_pending, list_roster, read_policy, stream_changes]


def _make_signers(keeper: Keeper, clock: Clock) -> list[ControllerRouterHandler]:
    @post("/confirm", sync_to_thread=True, status_code=200)
    def confirm(data: JSONBody[Confirm]) -> Signed:
        """Put a waiting machine on the roster when the six words are its own."""
        said = Confirmation(data.device_id, data.words, data.name, data.site)
        return _signed(data.device_id, *keeper.confirm(said))

    @post("/retire", sync_to_thread=True, status_code=200)
    def retire(data: JSONBody[Retire]) -> Signed:
        """Sign a machine off the roster."""
        return _signed(data.device_id, *keeper.retire(data.device_id, data.reason))

    @post("/invitations", sync_to_thread=True)
    def invite(data: JSONBody[Invite]) -> Invitation:
        """Sign an invitation."""
        invited = keeper.invite(
            data.site, data.uses, data.ttl_seconds, preapproved=data.preapproved
        )
        return Invitation(
            join=invited.join,
            expires_at=to_rfc3339(invited.expires_at_ms),
            owner_root=invited.owner_root,
        )

    @post("/verify", sync_to_thread=True, status_code=200)
    def verify(data: JSONBody[Nothing]) -> Verdict:
        """Fetch the record and check it here."""
        result, path = keeper.verify()
        return show_verdict(result, path, keeper.desk.folder.path, clock.wall_ms())

    return [confirm, retire, invite, verify]


def _signed(device: str, documents: OwnerDocuments, trouble: str) -> Signed:
    entry = find_entry(documents, device)
    if entry is None:
        raise Misuse("A machine that was just signed is not on the roster.", reason="no_entry")
    return Signed(
        id=device,
        state=entry.state,
        roster=documents.roster.version,
        handed_over=not trouble,
        words=trouble or f"{entry.name} is {entry.state} on roster {documents.roster.version}.",
    )
