"""HTTP: the record, its checkpoint, its tiles, its export, and the witnesses' signatures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.response import Stream
from litestar.types import ControllerRouterHandler

from fleetward.runtime.clock import Clock
from fleetward.runtime.database import Database
from fleetward.runtime.http.openapi import MEDIA
from fleetward.runtime.http.paging import DEFAULT_PER_PAGE, PageNumber, PerPage, offset_of
from fleetward.runtime.http.times import to_rfc3339
from fleetward.server.audit import store
from fleetward.server.audit.act import Ledger
from fleetward.server.audit.decide import describe_leaf
from fleetward.server.audit.export import export_files, from_documents, to_tar
from fleetward.server.audit.model import (
    CheckpointView,
    CosignatureView,
    Cosigned,
    OpeningRequest,
    OpeningSigned,
    RecordEntries,
    RecordEntry,
)
from fleetward.server.deeds import Deed, DeedRecorder
from fleetward.server.web.permissions import ACTION
from fleetward.server.web.request import ApiRequest
from fleetward.trust.canonical import from_base64url
from fleetward.trust.errors import Refused
from fleetward.trust.generation import verify_opening
from fleetward.trust.note import origin_of, verify_checkpoint, verify_cosignature
from fleetward.trust.policy import Policy

OwnerPolicy = Callable[[], Policy]


@dataclass(frozen=True)
class ExportSources:
    """What an export holds beside the log: StoredDocuments of the API, newest journal entries."""

    documents: Callable[[], Any]
    journals: Callable[[], list[tuple[str, int, bytes]]]


def make_record_handlers(
    ledger: Ledger, database: Database, clock: Clock, deeds: DeedRecorder,
    policy: OwnerPolicy, sources: ExportSources,
) -> list[ControllerRouterHandler]:  # fmt: skip
    """Return the handlers of /record."""
    return [
        *_make_readers(ledger, database, clock),
        _make_export(ledger, database, clock, sources),
        *_make_witness(ledger, database, clock, deeds, policy),
        *_make_opening(ledger, clock, deeds, policy),
    ]


def _make_readers(ledger: Ledger, database: Database, clock: Clock) -> list[HTTPRouteHandler]:
    @get("/record/checkpoint", opt={ACTION: "record.read"}, sync_to_thread=True)
    def show_checkpoint() -> CheckpointView:
        """Return a checkpoint over everything that was recorded so far."""
        size, note = ledger.checkpoint()
        return CheckpointView(
            generation=ledger.generation,
            size=size,
            note=note.decode("utf-8"),
            as_of=to_rfc3339(clock.wall_ms()),
        )

    @get("/record/entries", opt={ACTION: "record.read"}, sync_to_thread=True)
    def list_entries(
        page: PageNumber = 1, per_page: PerPage = DEFAULT_PER_PAGE, subject: FromQuery[str] = ""
    ) -> RecordEntries:
        """Return deeds and documents of the record, newest first; batches are left out."""
        with database.read() as conn:
            rows, total = store.select_deeds(
                conn, subject=subject, offset=offset_of(page, per_page), limit=per_page
            )
        return RecordEntries(
            items=[
                RecordEntry(
                    index=row.position,
                    generation=row.generation,
                    at=to_rfc3339(row.at),
                    kind=row.kind,
                    actor=row.actor,
                    subject=row.subject,
                    words=describe_leaf(row.kind, row.body),
                )
                for row in rows
            ],
            total=total,
            page=page,
            per_page=per_page,
        )

    return [show_checkpoint, list_entries]


def _make_export(
    ledger: Ledger, database: Database, clock: Clock, sources: ExportSources
) -> HTTPRouteHandler:
    @get(
        "/record/export",
        opt={ACTION: "record.export", MEDIA: "application/x-tar"},
        sync_to_thread=True,
    )
    def export_record() -> Stream:
        """Stream the whole record as a tar, for `fleetward audit verify`."""
        held = from_documents(msgspec.structs.asdict(sources.documents()))
        journals = sources.journals()
        ledger.checkpoint()
        now = clock.wall_ms()
        head: dict[str, str | int] = {
            "owner_root": ledger.owner_id,
            "generation": ledger.generation,
            "exported_at": to_rfc3339(now),
        }
        files = export_files(database, held, head, journals)
        return Stream(to_tar(files, now // 1000), media_type="application/x-tar")

    return export_record


def _make_witness(
    ledger: Ledger, database: Database, clock: Clock, deeds: DeedRecorder, policy: OwnerPolicy
) -> list[HTTPRouteHandler]:
    @get("/record/witnesses", opt={ACTION: "record.read"}, sync_to_thread=True)
    def list_witnesses() -> list[CosignatureView]:
        """Return the newest checkpoint of each witness."""
        with database.read() as conn:
            rows = store.select_cosignatures(conn, ledger.owner_id, ledger.generation)
        return [
            CosignatureView(witness=row.witness, size=row.size, at=to_rfc3339(row.at))
            for row in rows
        ]

    @post("/record/witnesses", opt={ACTION: "record.cosign"}, sync_to_thread=True, status_code=200)
    def store_cosignature(request: ApiRequest, data: JSONBody[Cosigned]) -> CosignatureView:
        """Keep a checkpoint that a witness of the owner's policy cosigned."""
        key = policy().roots.witnesses.get(data.witness)
        if key is None:
            raise Refused("The owner's policy names no such witness.", reason="unknown_witness")
        note = data.note.encode("utf-8")
        origin = origin_of(ledger.owner_id, ledger.generation)
        checkpoint = verify_checkpoint(note, origin, policy().roots.log_key)
        at_ms = verify_cosignature(note, data.witness, key) * 1000
        deeds.record(
            Deed(
                kind="record.cosigned",
                actor=request.user.actor,
                subject=f"witness:{data.witness}",
                owner_id=ledger.owner_id,
                body={
                    "words": f"{data.witness} cosigned the record at {checkpoint.size} entries.",
                    "size": checkpoint.size,
                },
                at_ms=clock.wall_ms(),
            )
        )
        with database.write() as conn:
            store.write_cosignature(
                conn,
                ledger.owner_id,
                ledger.generation,
                data.witness,
                (checkpoint.size, note, at_ms),
            )
        return CosignatureView(witness=data.witness, size=checkpoint.size, at=to_rfc3339(at_ms))

    return [list_witnesses, store_cosignature]


def _make_opening(
    ledger: Ledger, clock: Clock, deeds: DeedRecorder, policy: OwnerPolicy
) -> list[HTTPRouteHandler]:
    @get("/record/opening-request", opt={ACTION: "record.read"}, sync_to_thread=True)
    def show_opening_request() -> OpeningRequest:
        """Return what the owner's opening of a new generation must name."""
        known = ledger.last_known()
        return OpeningRequest(
            needed=ledger.waiting_for_owner,
            generation=known.generation,
            size=known.size,
            root=known.root,
        )

    @post("/record/opening", opt={ACTION: "record.open"}, sync_to_thread=True, status_code=200)
    def open_generation(request: ApiRequest, data: JSONBody[OpeningSigned]) -> CheckpointView:
        """Begin a new generation of the record, which the owner signed, after a restore."""
        now = clock.wall_ms()
        opening = verify_opening(from_base64url(data.opening), [policy()])
        deeds.record(
            Deed(
                kind="record.opened",
                actor=request.user.actor,
                subject=f"owner:{ledger.owner_id[:12]}",
                owner_id=ledger.owner_id,
                body={"words": f"Generation {opening.generation} of the record was opened."},
                at_ms=now,
            )
        )
        ledger.open_generation(opening, now)
        size, note = ledger.checkpoint()
        return CheckpointView(
            generation=ledger.generation,
            size=size,
            note=note.decode("utf-8"),
            as_of=to_rfc3339(now),
        )

    return [show_opening_request, open_generation]


def make_tile_handler(database: Database, ledger: Ledger) -> HTTPRouteHandler:
    """Return the handler that serves the log as static tiles (C2SP tlog-tiles)."""

    @get(
        "/record/log/{generation:int}/tile/{level:int}/{index:int}",
        opt={ACTION: "record.read", MEDIA: "application/octet-stream"},
        sync_to_thread=True,
    )
    def show_tile(
        generation: FromPath[int], level: FromPath[int], index: FromPath[int]
    ) -> Response[bytes]:
        """Return the hashes of a tile as they stand: up to 256 of 32 bytes."""
        with database.read() as conn:
            tile = store.select_tile(conn, ledger.owner_id, generation, level, index)
        if not tile:
            raise Refused("There is no such tile.", reason="not_found")
        return Response(tile, media_type="application/octet-stream")

    return show_tile
