"""HTTP: makers' files, releases, approvals, the director's root, and what runs on machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias

from anyio import to_thread
from litestar import Request, Response, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler

from fleetward.runtime.blob_folder import MAX_PIECE_BYTES
from fleetward.runtime.http.openapi import BODY_MEDIA, MEDIA
from fleetward.runtime.http.paging import DEFAULT_PER_PAGE, PageNumber, PerPage, offset_of
from fleetward.server.updates import store
from fleetward.server.updates.act import Updates
from fleetward.server.updates.model import (
    ApprovalList,
    ApprovalRow,
    BlobState,
    DeviceUpdates,
    DirectorRoot,
    NewMetadata,
    NewRelease,
    ReleaseDetail,
    ReleaseDevices,
    ReleaseList,
    ReleaseRow,
    RepositoryStored,
    SignedPaper,
)
from fleetward.server.updates.show import Shown
from fleetward.server.web.permissions import ACTION
from fleetward.server.web.request import ApiRequest
from fleetward.trust.canonical import from_base64url
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.fields import require_digest
from fleetward.trust.release_manifest import MAX_BLOB_BYTES

Offset: TypeAlias = Annotated[int, QueryParameter(ge=0, le=MAX_BLOB_BYTES)]
Length: TypeAlias = Annotated[int, QueryParameter(ge=1, le=MAX_BLOB_BYTES)]
PieceLength: TypeAlias = Annotated[int, QueryParameter(ge=1, le=MAX_PIECE_BYTES)]
BYTES: Final = "application/octet-stream"
MAX_SEARCH: Final = 200
MAX_METADATA_BYTES: Final = 12 * 1024 * 1024
"""Bytes of one upload of metadata in base64: the largest file of a maker's, and others beside."""


@dataclass(frozen=True)
class UpdateRooms:
    """What the routes hand on to."""

    updates: Updates
    shown: Shown


def make_update_handlers(rooms: UpdateRooms) -> list[ControllerRouterHandler]:
    """Return the handlers of /updates, rollouts apart."""
    return [
        *_make_publishing(rooms),
        *_make_uploading(rooms),
        *_make_fetching(rooms),
        *_make_papers(rooms),
        *_make_showing(rooms),
    ]


def _make_publishing(rooms: UpdateRooms) -> list[ControllerRouterHandler]:
    @post(
        "/updates/metadata",
        opt={ACTION: "updates.publish"},
        sync_to_thread=True,
        status_code=202,
        request_max_body_size=MAX_METADATA_BYTES,
    )
    def publish_metadata(request: ApiRequest, data: JSONBody[NewMetadata]) -> RepositoryStored:
        """Store files of a maker's repository. A file that is here stays as it is."""
        files = [(file.name, from_base64url(file.data)) for file in data.files]
        return RepositoryStored(repository=rooms.updates.publish_metadata(files, request.user))

    @post(
        "/updates/releases", opt={ACTION: "updates.publish"}, sync_to_thread=True, status_code=202
    )
    def publish_release(request: ApiRequest, data: JSONBody[NewRelease]) -> ReleaseRow:
        """Store a release, after its metadata and all of its blobs."""
        manifest = from_base64url(data.manifest)
        row = rooms.updates.publish_release(data.repository, data.path, manifest, request.user)
        return rooms.shown.release(row)

    return [publish_metadata, publish_release]


def _make_uploading(rooms: UpdateRooms) -> list[ControllerRouterHandler]:
    @get("/updates/blobs/{sha256:str}", opt={ACTION: "updates.read"}, sync_to_thread=True)
    def show_blob(sha256: FromPath[str]) -> BlobState:
        """Return how much of a blob is here: an upload goes on from there."""
        size = rooms.updates.blob_size(require_digest(sha256, "a blob"))
        return BlobState(size=size.received, complete=size.complete)

    @put(
        "/updates/blobs/{sha256:str}",
        opt={ACTION: "updates.upload", BODY_MEDIA: BYTES},
        request_max_body_size=MAX_PIECE_BYTES,
    )
    async def upload_piece(
        request: ApiRequest, sha256: FromPath[str], offset: Offset, length: Length
    ) -> BlobState:
        """Store a piece of a blob: up to 4 MiB, from `offset`, of `length` bytes in all.

        The answer says how much is here now. Where that is not the end of this piece, go on there.
        """
        digest = require_digest(sha256, "a blob")
        data = await _read_piece(request)
        size = await to_thread.run_sync(
            rooms.updates.take_piece, digest, offset, length, data, request.user
        )
        return BlobState(size=size.received, complete=size.complete)

    @get(
        "/updates/blob-bytes/{sha256:str}",
        opt={ACTION: "updates.read", MEDIA: BYTES},
        sync_to_thread=True,
    )
    def fetch_piece(
        sha256: FromPath[str], offset: Offset = 0, length: PieceLength = MAX_PIECE_BYTES
    ) -> Response[bytes]:
        """Return a piece of a blob as it is, for a tool that verifies it."""
        found = rooms.updates.book.blobs.read(require_digest(sha256, "a blob"), offset, length)
        if found is None:
            raise Refused("There is no such blob here.", reason="blob_not_found")
        return Response(found[0], media_type=BYTES)

    return [show_blob, upload_piece, fetch_piece]


def _make_fetching(rooms: UpdateRooms) -> list[ControllerRouterHandler]:
    book = rooms.updates.book

    @get(
        "/updates/metadata/{product:str}/{file:str}",
        opt={ACTION: "updates.read", MEDIA: BYTES},
        sync_to_thread=True,
    )
    def fetch_metadata(product: FromPath[str], file: FromPath[str]) -> Response[bytes]:
        """Return a file of the repository of a product as it is: `3.kiosk.json`, `timestamp.json`.

        The repository is the one whose root the owner's policy names, or else that of the
        product's newest release.
        """
        repository = book.repository_of(product) or _newest_repository(rooms, product)
        with book.near.database.read() as conn:
            row = store.select_file(conn, repository, file) if repository else None
        if row is None:
            raise Refused("There is no such file here.", reason="not_found")
        return Response(bytes(row.body), media_type=BYTES)

    @get(
        "/updates/roots/{sha256:str}",
        opt={ACTION: "updates.read", MEDIA: BYTES},
        sync_to_thread=True,
    )
    def fetch_root(sha256: FromPath[str]) -> Response[bytes]:
        """Return a maker's or the director's root by its SHA-256, as it is."""
        digest = require_digest(sha256, "a root")
        if digest == book.director.root_sha256:
            return Response(book.director.root, media_type=BYTES)
        with book.near.database.read() as conn:
            row = store.select_root(conn, digest)
        if row is None:
            raise Refused("There is no such root here.", reason="not_found")
        return Response(bytes(row.body), media_type=BYTES)

    @get("/updates/director/root", opt={ACTION: "updates.read"}, sync_to_thread=True)
    def show_director_root() -> DirectorRoot:
        """Return the director's root, whose SHA-256 the owner's policy is to name."""
        return rooms.shown.director_root()

    return [fetch_metadata, fetch_root, show_director_root]


def _make_papers(rooms: UpdateRooms) -> list[ControllerRouterHandler]:
    @post(
        "/updates/approvals", opt={ACTION: "updates.approve"}, sync_to_thread=True, status_code=202
    )
    def submit_approval(request: ApiRequest, data: JSONBody[SignedPaper]) -> ApprovalRow:
        """Store an approval, or a withdrawal of one, that the owner's people signed."""
        paper = rooms.updates.submit_paper(from_base64url(data.envelope), request.user)
        return rooms.shown.paper(paper)

    @get("/updates/approvals", opt={ACTION: "updates.read"}, sync_to_thread=True)
    def list_approvals() -> ApprovalList:
        """Return approvals and withdrawals, newest first, each with what was signed. Verify it."""
        return ApprovalList(items=rooms.shown.papers())

    return [submit_approval, list_approvals]


def _make_showing(rooms: UpdateRooms) -> list[ControllerRouterHandler]:
    @get("/updates/releases", opt={ACTION: "updates.read"}, sync_to_thread=True)
    def list_releases() -> ReleaseList:
        """Return what was published here, newest first."""
        return ReleaseList(items=rooms.shown.releases())

    @get(
        "/updates/releases/{product:str}/{version:str}",
        opt={ACTION: "updates.read"},
        sync_to_thread=True,
    )
    def show_release(product: FromPath[str], version: FromPath[str]) -> ReleaseDetail:
        """Return a release with its manifest, what it mends, and what changed in it."""
        return rooms.shown.detail(rooms.updates.find_release(product, version))

    @get(
        "/updates/releases/{product:str}/{version:str}/devices",
        opt={ACTION: "updates.read"},
        sync_to_thread=True,
    )
    def list_release_devices(
        product: FromPath[str],
        version: FromPath[str],
        q: FromQuery[str] = "",
        page: PageNumber = 1,
        per_page: PerPage = DEFAULT_PER_PAGE,
    ) -> ReleaseDevices:
        """Return the machines that say that they run a release, or tried to.

        `q` narrows them to those whose name, site, id or cause of failure holds these letters.
        """
        row = rooms.updates.find_release(product, version)
        span = (offset_of(page, per_page), per_page)
        return rooms.shown.release_devices(row, q[:MAX_SEARCH], span, page)

    @get("/updates/devices/{device_id:str}", opt={ACTION: "updates.read"}, sync_to_thread=True)
    def show_device_updates(
        device_id: FromPath[str], page: PageNumber = 1, per_page: PerPage = DEFAULT_PER_PAGE
    ) -> DeviceUpdates:
        """Return what runs on a machine and how it came there, by reports that it signed."""
        return rooms.shown.device(device_id, (offset_of(page, per_page), per_page), page)

    return [list_releases, show_release, list_release_devices, show_device_updates]


async def _read_piece(request: Request[Any, Any, Any]) -> bytes:
    media_type, _ = request.content_type
    if media_type != BYTES:
        raise Malformed(
            f"expected a body of type {BYTES}, got {media_type or 'no type'!r}: set the "
            "Content-Type header",
            reason="media_type",
        )
    return await request.body()


def _newest_repository(rooms: UpdateRooms, product: str) -> str:
    known = rooms.updates.book.known
    mine = [each for each in known.releases if each.product == product]
    newest = max(mine, key=lambda each: each.counter, default=None)
    return known.repositories[newest.id] if newest is not None else ""
