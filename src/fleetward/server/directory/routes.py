"""HTTP: owner documents in and out."""

from __future__ import annotations

from typing import Final

from litestar import get, post
from litestar.params import JSONBody
from litestar.types import ControllerRouterHandler

from fleetward.runtime.clock import Clock
from fleetward.runtime.http.times import to_rfc3339
from fleetward.server.directory.act import Directory
from fleetward.server.directory.announced import Announced
from fleetward.server.directory.model import (
    DocumentsStored,
    OwnerDocuments,
    RecoveryList,
    RecoveryRow,
    RecoverySubmitted,
    StoredDocuments,
)
from fleetward.server.web.permissions import ACTION
from fleetward.server.web.request import ApiRequest
from fleetward.trust.canonical import from_base64url, to_base64url

MAX_DOCUMENTS_BYTES: Final = 96 * 1024 * 1024
"""Bytes of one handing over: the entries of 100,000 machines have 50 MB, a third more as text."""


def make_directory_handlers(directory: Directory, clock: Clock) -> list[ControllerRouterHandler]:
    """Return the handlers of /owner/documents."""

    @get("/owner/documents", opt={ACTION: "owner.read"}, sync_to_thread=True)
    def show_documents() -> StoredDocuments:
        """Return every owner document that this server holds. Verify them; do not trust it."""
        return directory.show()

    @post(
        "/owner/documents",
        opt={ACTION: "owner.submit"},
        sync_to_thread=True,
        status_code=200,
        request_max_body_size=MAX_DOCUMENTS_BYTES,
    )
    def store_documents(request: ApiRequest, data: JSONBody[OwnerDocuments]) -> DocumentsStored:
        """Store documents that were signed off this server, when every signature holds.

        Refused for another owner, an older head, or a signature that the policy does not demand.
        """
        return directory.take(data, request.user.actor, clock.wall_ms())

    @get("/owner/recovery", opt={ACTION: "owner.read"}, sync_to_thread=True)
    def list_recoveries() -> RecoveryList:
        """Return the policies that recovery keys announced, and that nobody finished or refused."""
        return RecoveryList(items=[_show(each) for each in directory.announcements.waiting()])

    @post("/owner/recovery", opt={ACTION: "owner.submit"}, sync_to_thread=True, status_code=200)
    def announce_recovery(request: ApiRequest, data: JSONBody[RecoverySubmitted]) -> RecoveryRow:
        """Announce a policy that recovery keys signed: recorded, told to every machine, shown.

        It holds nowhere before the delay that the present policy demands. A newer policy of the
        present keys refuses it.
        """
        raw = from_base64url(data.policy)
        return _show(directory.announce(raw, request.user.actor, clock.wall_ms()))

    return [show_documents, store_documents, list_recoveries, announce_recovery]


def _show(announced: Announced) -> RecoveryRow:
    return RecoveryRow(
        hash=announced.hash,
        version=announced.version,
        people=list(announced.people),
        announced_at=to_rfc3339(announced.announced_at_ms),
        earliest_at=to_rfc3339(announced.earliest_ms),
        policy=to_base64url(announced.raw),
    )
