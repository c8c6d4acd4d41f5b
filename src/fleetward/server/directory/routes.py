"""HTTP: owner documents in and out."""

from __future__ import annotations

from litestar import get, post
from litestar.params import JSONBody
from litestar.types import ControllerRouterHandler

from fleetward.runtime.clock import Clock
from fleetward.server.directory.act import Directory
from fleetward.server.directory.model import DocumentsStored, OwnerDocuments, StoredDocuments
from fleetward.server.web.permissions import ACTION
from fleetward.server.web.request import ApiRequest


def make_directory_handlers(directory: Directory, clock: Clock) -> list[ControllerRouterHandler]:
    """Return the handlers of /owner/documents."""

    @get("/owner/documents", opt={ACTION: "owner.read"}, sync_to_thread=True)
    def show_documents() -> StoredDocuments:
        """Return every owner document that this server holds. Verify them; do not trust it."""
        return directory.show()

    @post("/owner/documents", opt={ACTION: "owner.submit"}, sync_to_thread=True, status_code=200)
    def store_documents(request: ApiRequest, data: JSONBody[OwnerDocuments]) -> DocumentsStored:
        """Store documents that were signed off this server, when every signature holds.

        Refused for another owner, an older head, or a signature that the policy does not demand.
        """
        return directory.take(data, request.user.actor, clock.wall_ms())

    return [show_documents, store_documents]
