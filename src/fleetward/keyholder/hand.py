"""The server of one command, with what the owner's folder knows of it."""

from __future__ import annotations

from pathlib import Path

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.keyholder.folder import ISSUING_CHAIN_FILE, OwnerFolder
from fleetward.keyholder.pinned_record import read_authority
from fleetward.keyholder.place import find_server
from fleetward.keyholder.publish import upload
from fleetward.trust.errors import Refused, Unreachable


def reach_server(
    folder: OwnerFolder, data: Path | None, server: str, token_file: Path | None
) -> ApiClient:
    """Return a client of the server that a command names. Raises `Refused` when it names none."""
    place = find_server(data, server, token_file)
    return ApiClient(place.api, place.token, read_authority(folder))


def hand_over(folder: OwnerFolder, client: ApiClient, documents: OwnerDocuments) -> None:
    """Upload what was signed.

    Raises `Unreachable` or `Refused` with the word that the signature stands in the folder.
    """
    chain = folder.read(ISSUING_CHAIN_FILE).decode("ascii", errors="replace")
    try:
        upload(client, documents, chain)
    except (Unreachable, Refused) as e:
        raise type(e)(
            f"{e.message} What you signed is kept in {folder.path}; hand it over later by "
            "`fleetward owner refresh`.",
            reason=e.reason,
        ) from e
