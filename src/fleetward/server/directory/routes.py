"""HTTP: owner documents in and out."""

from __future__ import annotations

from litestar import Controller, get, post

from fleetward.runtime.clock import Clock
from fleetward.server.directory.act import Directory
from fleetward.server.directory.model import DocumentsStored, OwnerDocuments, StoredDocuments


class OwnerDocumentsController(Controller):
    """Owner documents: shown to whoever may view, taken when they carry the owner's signatures."""

    path = "/owner/documents"
    tags = ("owner",)

    @get(opt={"action": "owner.documents.view"}, sync_to_thread=True)
    def show_documents(self, directory: Directory) -> StoredDocuments:
        """Return every owner document that this server holds. Verify them; do not trust it."""
        return directory.show()

    @post(opt={"action": "owner.documents.store"}, sync_to_thread=True, status_code=200)
    def store_documents(
        self, data: OwnerDocuments, directory: Directory, clock: Clock
    ) -> DocumentsStored:
        """Store documents signed off this server. Refused unless every signature holds."""
        return directory.take(data, clock.wall_ms())
