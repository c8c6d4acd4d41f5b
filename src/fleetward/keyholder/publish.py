"""Carrying signed documents to the server. It stores and hands them on; it cannot alter one."""

from __future__ import annotations

from typing import Any

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.trust.canonical import to_base64url


def upload(client: ApiClient, documents: OwnerDocuments, issuing_chain: str) -> None:
    """Hand the newest documents, and the chain of the issuing CA in PEM, to the server.

    Raises `Refused` when the server's own check refuses a document, `Unreachable` when it does
    not answer: `fleetward owner refresh` tries again.
    """
    body: dict[str, Any] = {
        "root": to_base64url(documents.root.raw),
        "policies": [to_base64url(p.raw) for p in documents.policies],
        "roster": to_base64url(documents.roster.raw),
        "entries": [to_base64url(e.to_bytes()) for e in documents.entries],
        "head": to_base64url(documents.head.raw),
        "lease": to_base64url(documents.lease.raw) if documents.lease else "",
        "issuing_chain": issuing_chain,
    }
    client.post("/owner/documents", body, dict)
