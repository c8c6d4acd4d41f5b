"""What the server hands out and takes about approvals. What comes back is hearsay."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from fleetward.keyholder.api import ApiClient, NotThere
from fleetward.trust.canonical import to_base64url
from fleetward.trust.release_approval import MAX_APPROVAL_BYTES

PER_PAGE: Final = 500
MAX_PAGES: Final = 40
APPROVALS_PATH: Final = "/updates/approvals"


class PaperRow(msgspec.Struct, frozen=True):
    """An approval, or a withdrawal, as it was signed."""

    envelope: Annotated[str, msgspec.Meta(max_length=2 * MAX_APPROVAL_BYTES)]


class _Page(msgspec.Struct, frozen=True):
    items: list[PaperRow]
    total: int = 0


class ApprovalApi:
    """The server's half of approvals, over one client."""

    def __init__(self, client: ApiClient) -> None:
        self.client: Final = client

    def submit(self, envelope: bytes) -> None:
        """Hand over an approval or a withdrawal. Raises `Refused`, `Unreachable`, `Malformed`."""
        self.client.post(APPROVALS_PATH, {"envelope": to_base64url(envelope)}, dict[str, Any])

    def rows(self) -> list[PaperRow]:
        """Return the papers that the server has; none where it knows of no such thing."""
        found: list[PaperRow] = []
        for number in range(1, MAX_PAGES + 1):
            path = f"{APPROVALS_PATH}?page={number}&per_page={PER_PAGE}"
            try:
                page = self.client.get(path, _Page)
            except NotThere:
                break
            found += page.items
            if len(found) >= page.total or not page.items:
                break
        return found
